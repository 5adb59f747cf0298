"""`calibrate --reading`: makes the classifier's certainties true for people it has never seen.

Logits l become l / t, and that of neutral is shifted (Guo et al., On Calibration of Modern Neural Networks, 2017): t and
the shift minimise the cross entropy of the pictures of held-out people, all poses and lights, and their grey copies. Then
the shift moves the share of neutral faces from that of the set to NEUTRAL_PRIOR.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.models.exprgan import ExprGAN

from ..core.files import writes_folder
from ..core.published_parts import replace_parts
from ..data import FaceFolder
from ..perceptual.face_trainer import prior_shift
from .reading_metrics import calibration_error, grey_copies, read_logits

MAX_ITERATIONS = 100
"""Of L-BFGS, which needs some ten."""


@dataclass(frozen=True)
class Scaling:
    """Logits (N, K + 1) are multiplied by `factor`, 1 / t; then `shift` is added to that of neutral, the last one."""

    factor: float
    shift: float

    @classmethod
    def fit(cls, logits: Tensor, expression: Tensor) -> "Scaling":
        """Fits to logits (N, K + 1) and classes (N,)."""
        parameters = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([parameters], max_iter=MAX_ITERATIONS, line_search_fn="strong_wolfe")
        neutral = F.one_hot(torch.tensor(logits.shape[1] - 1), logits.shape[1])

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = F.cross_entropy(logits.double() * parameters[0].exp() + parameters[1] * neutral, expression)
            value.backward()
            return value

        optimizer.step(loss)
        share = (expression == logits.shape[1] - 1).float().mean().item()
        return cls(parameters[0].exp().item(), parameters[1].item() + prior_shift(share))

    def __call__(self, logits: Tensor) -> Tensor:
        """The logits, scaled and shifted."""
        logits = logits * self.factor
        logits[:, -1] += self.shift
        return logits


@writes_folder(lambda weights, data: weights)
def calibrate_reading(weights: str, data: str) -> dict[str, float]:
    """Writes the scaling into the head of expressions in published weights.

    Args:
        weights: a folder that `publish` wrote.
        data: a folder with metadata.csv, with people in split `test`.

    Returns:
        `factor` and `shift`; and calibration error and the share of neutral pictures that are read as neutral, `before`
        and `after`, where each person is read with the scaling that was fitted to the others.
    """
    model = ExprGAN.from_pretrained(weights)
    faces = FaceFolder.load(data, "test", model.config.image_size, model.config.expressions, varied=True)
    faces = faces.select(faces.expression >= 0)
    logits = torch.cat([read_logits(model.classifier, x) for x in (faces.images, grey_copies(faces.images))])
    expression, subject = faces.expression.repeat(2), faces.subject.repeat(2)
    scaling, unseen = Scaling.fit(logits, expression), logits.clone()
    for person in subject.unique():
        others = subject != person
        unseen[~others] = Scaling.fit(logits[others], expression[others])(logits[~others])
    head = model.classifier.expression.requires_grad_(False)
    head.weight.mul_(scaling.factor)
    head.bias.mul_(scaling.factor)[-1] += scaling.shift
    state = {f"classifier.expression.{name}": value for name, value in head.state_dict().items()}
    numbers = dataclasses.asdict(scaling) | _numbers(logits, expression, "before") | _numbers(unseen, expression, "after")
    replace_parts(Path(weights), {}, (), state, "reading", {name: round(value, 4) for name, value in numbers.items()})
    print(", ".join(f"{name} {value:.3f}" for name, value in numbers.items()))
    return numbers


def _numbers(logits: Tensor, expression: Tensor, when: str) -> dict[str, float]:
    highest, label = logits.softmax(1).max(1)
    hits, is_neutral = (label == expression).float(), expression == logits.shape[1] - 1
    neutral = hits[is_neutral].mean().item() if is_neutral.any() else math.nan
    return {f"calibration error {when}": calibration_error(highest, hits), f"neutral {when}": neutral}
