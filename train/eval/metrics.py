"""What is measured. A metric is one decorated function of an `Exam`; it returns plain numbers by name.

The people are held out (split `test`): no network has seen them. The judge is the model's own face network, which training
used for L_id; figures of it are marked so in the model card.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor

from exprgan.editor import ExpressionEditor
from exprgan.images import from_bytes, to_tensor
from exprgan.subject import EditResult, Subject

from ..data import FaceFolder
from ..samples import read_one
from .strength import StrengthJudge

STRONG = 0.6
"""Pictures of the set count as full expressions from this intensity on."""
INTENSITIES = (0.0, 0.25, 0.5, 0.75, 1.0)

METRICS: dict[str, Callable[["Exam"], dict[str, float]]] = {}


def metric(function: Callable[["Exam"], dict[str, float]]) -> Callable[["Exam"], dict[str, float]]:
    """Files a metric under its function's name."""
    METRICS[function.__name__] = function
    return function


@dataclass(frozen=True)
class Judged:
    """What the face network says of some pictures."""

    certainty: Tensor
    """(N, K + 1) probabilities, neutral last."""
    embedding: Tensor
    """(N, E) unit vectors."""


class Exam:
    """The held-out people and their edits, made once for all metrics.

    Args:
        editor: with the model to be measured.
        people: the held-out people.
        strength: says how strong an expression looks, where the set knows true intensities to learn that from.
    """

    def __init__(self, editor: ExpressionEditor, people: FaceFolder, strength: StrengthJudge | None = None):
        self.editor, self.people, self.strength = editor, people, strength
        neutral = people.expression == len(people.expressions)
        certain = neutral & (people.intensity.nan_to_num(0.0) == 0)
        self.calm = bool(certain.any())
        """Whether the set has neutral pictures; where not, as in the paper's, expressive ones are edited."""
        self.inputs = people.select(certain if self.calm else ~neutral)

    @torch.inference_mode()
    def judge(self, pictures: list[Image.Image] | Tensor) -> Judged:
        """Pictures, PIL or (N, 3, S, S) uint8, in front of the face network."""
        if isinstance(pictures, Tensor):
            x = from_bytes(pictures)
        else:
            x = torch.stack([to_tensor(picture) for picture in pictures])
        device = next(self.editor.model.parameters()).device
        outputs = [self.editor.model.classifier(part.to(device)) for part in x.split(64)]
        logits, embedding = (torch.cat(parts).float().cpu() for parts in zip(*outputs, strict=True))
        return Judged(logits.softmax(1), embedding)

    @cached_property
    def subjects(self) -> list[Subject]:
        """Every input, neutral pictures of the held-out people, read as the aligned crop that it is."""
        return [read_one(self.editor, self.inputs, index) for index in range(len(self.inputs))]

    def edits(self, intensity: float) -> list[EditResult]:
        """Every input with every expression: N * K edits, people outermost."""
        names = self.editor.model.config.expressions
        return [self.editor.edit(subject, name, intensity) for subject in self.subjects for name in names]

    @cached_property
    def judged(self) -> dict[str, Judged]:
        """Edits at full intensity: the bare decoder's, and what a visitor gets."""
        full = self.edits(1.0)
        return {"decoder": self.judge([r.crop for r in full]), "detail": self.judge([r.face for r in full])}

    def seen(self, results: list[EditResult], wanted: Tensor) -> np.ndarray:
        """How strong edits look, as a visitor gets them: (N,), for the wanted expressions (N,)."""
        if self.strength:
            pictures = np.stack([np.asarray(result.face) for result in results])
            return self.strength(torch.from_numpy(pictures).permute(0, 3, 1, 2), wanted)
        certainty = self.judge([result.face for result in results]).certainty
        return certainty[torch.arange(len(certainty)), wanted].numpy()

    @cached_property
    def before(self) -> Judged:
        return self.judge(self.inputs.images)

    @cached_property
    def strong(self) -> FaceFolder:
        """The set's own pictures of full expressions."""
        return self.people.expressive(STRONG)


@metric
def expression_accuracy(exam: Exam) -> dict[str, float]:
    """Share of edits at full intensity that show the wanted expression, of K + 1; beside it the set's own pictures."""
    wanted = torch.arange(len(exam.people.expressions)).repeat(len(exam.inputs))
    values = {kind: _share(j.certainty.argmax(1) == wanted) for kind, j in exam.judged.items()}
    real = exam.judge(exam.strong.images).certainty.argmax(1) == exam.strong.expression
    return values | {"real": _share(real)}


@metric
def identity_cosine(exam: Exam) -> dict[str, float]:
    """Mean cosine of an edit with its photo; beside it two real pictures of one person, and of two people."""
    k = len(exam.people.expressions)
    before = exam.before.embedding.repeat_interleave(k, dim=0)
    values = {kind: (j.embedding * before).sum(1).mean().item() for kind, j in exam.judged.items()}
    cosine = exam.before.embedding @ exam.judge(exam.strong.images).embedding.T
    same = exam.inputs.subject[:, None] == exam.strong.subject[None]
    itself = torch.tensor([[a == b for b in exam.strong.file_names] for a in exam.inputs.file_names])
    return values | {"real": cosine[same & ~itself].mean().item(), "other_people": cosine[~same].mean().item()}


@metric
def intensity_correlation(exam: Exam) -> dict[str, float]:
    """Pearson r of the intensity asked for and the one seen, over everyone; detail.

    Seen is what a regressor of true intensities says, else the certainty of the wanted expression. `spearman` and
    `monotone` (the share of pairs of levels of one person that come in order) are means over the expressions; `real` is
    the r of the regressor's reading of the set's own pictures of held-out people.
    """
    names = exam.people.expressions
    wanted = torch.arange(len(names)).repeat(len(exam.inputs))
    seen = np.stack([exam.seen(exam.edits(level), wanted) for level in INTENSITIES])
    seen = seen.reshape(len(INTENSITIES), -1, len(names))
    asked = np.repeat(np.array(INTENSITIES), seen.shape[1])
    values = {name: float(np.corrcoef(asked, seen[:, :, i].ravel())[0, 1]) for i, name in enumerate(names)}
    values["mean"] = float(np.mean(list(values.values())))
    values["spearman"] = float(np.mean([spearmanr(asked, seen[:, :, i].ravel())[0] for i in range(len(names))]))
    pairs = [seen[j] > seen[i] for i in range(len(seen)) for j in range(i + 1, len(seen))]
    values["monotone"] = float(np.mean(pairs))
    if exam.strength:
        shown = exam.people.expressive()
        values["real"] = float(np.corrcoef(shown.intensity, exam.strength(shown.images, shown.expression))[0, 1])
    return values


@metric
def reconstruction(exam: Exam) -> dict[str, float]:
    """Mean |x_hat - x| of inputs decoded with the code they show (neutral ones: all -1), in [0, 1] of the full range."""
    neutral = exam.editor.model.F_ctrl.neutral()
    made = [exam.editor.decode(s, neutral if exam.calm else s.reading.code).crop for s in exam.subjects]
    errors = [(to_tensor(a) - to_tensor(s.crop)).abs().mean().item() / 2 for a, s in zip(made, exam.subjects, strict=True)]
    return {"l1": float(np.mean(errors))}


def _share(hits: Tensor) -> float:
    return hits.float().mean().item()
