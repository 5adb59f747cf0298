"""The held-out people's photos and their edits. Every edit is made once, and every evaluator predicts on it once."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from exprgan.editing.results import EditResult, Subject
from exprgan.editor import ExpressionEditor
from exprgan.expressions import NEUTRAL
from exprgan.models.latent_prior import Prior

from ..data import FaceFolder
from ..data.contact_sheets import read_sample
from .evaluators import Evaluator, Prediction

MIN_FULL_INTENSITY = 0.6
"""Real pictures of at least this intensity count as full expressions in every metric. Calibration aims at stronger ones
only: `calibration.MIN_TARGET_INTENSITY` (0.8)."""
NUM_NEW_PEOPLE = 100
"""Number of people to generate."""
EVALUATED_INTENSITIES = (0.0, 0.25, 0.5, 0.75, 1.0)

EditKind = Literal["decoder", "model", "detail"]
EDIT_KINDS: tuple[EditKind, ...] = ("decoder", "model", "detail")
"""The decoder's image; the same pasted back into the photo, as in the paper; and the editor's default result."""

PairEdit = tuple[Literal["smile to neutral", "neutral to smile"], Literal["edit", "overdone"]]


class EditSet:
    """The input of every metric: photos, their edits, and what evaluators predict on both.

    Images are (N, 3, S, S) uint8. Edits are ordered by person, then photo, then expression.

    Args:
        editor: with the model to be measured.
        faces: pictures of the held-out people.
        evaluators: the first one's numbers are the main ones.
        real_pairs: indices into `faces` of the neutral photo and the real smile of one person, as `find_real_pairs` returns
            them.

    Attributes:
        inputs: the photos that are edited: the neutral ones or, if the set has none (as the paper's), the expressive ones.
        has_neutral: whether the set has neutral pictures.
    """

    def __init__(self, editor: ExpressionEditor, faces: FaceFolder, evaluators: list[Evaluator],
                 real_pairs: Sequence[tuple[int, int]] = ()):  # fmt: skip
        self.editor, self.faces, self.evaluators, self.real_pairs = editor, faces, evaluators, tuple(real_pairs)
        self.expressions = faces.expressions
        neutral = faces.expression == len(faces.expressions)
        certain = neutral & (faces.intensity.nan_to_num(0.0) == 0)
        self.has_neutral = bool(certain.any())
        self.inputs = faces.select(certain if self.has_neutral else ~neutral)
        self._edits: dict[tuple[int, bytes], dict[EditKind, Tensor]] = {}
        self._predictions: dict[tuple, Prediction] = {}

    @cached_property
    def subjects(self) -> list[Subject]:
        """The inputs, read by the editor as aligned crops."""
        return [read_sample(self.editor, self.inputs, index) for index in range(len(self.inputs))]

    @cached_property
    def first_inputs(self) -> list[int]:
        """The index of every person's first input."""
        owners = self.inputs.subject.tolist()
        return [owners.index(person) for person in sorted(set(owners))]

    @cached_property
    def full_expressions(self) -> FaceFolder:
        """The set's own pictures of full expressions."""
        return self.faces.expressive(MIN_FULL_INTENSITY)

    @cached_property
    def target(self) -> Tensor:
        """The requested expression of each of `expression_edits`: (inputs * K,)."""
        return torch.arange(len(self.expressions)).repeat(len(self.inputs))

    def expression_edits(self, kind: EditKind, intensity: float = 1.0) -> Tensor:
        """Every input edited to every expression: inputs * K images."""
        codes = [self.editor.model.F_ctrl.code(name, intensity) for name in self.expressions]
        return torch.stack([self._edit(i, code)[kind] for i in range(len(self.inputs)) for code in codes])

    def neutral_edits(self, kind: EditKind) -> Tensor:
        """Every input edited to neutral: one image per input."""
        code = self.editor.model.F_ctrl.neutral()
        return torch.stack([self._edit(i, code)[kind] for i in range(len(self.inputs))])

    def reconstructions(self, kind: EditKind) -> Tensor:
        """Every input decoded with the code of its own expression: all -1 if neutral, else as Q reads it."""
        if self.has_neutral:
            return self.neutral_edits(kind)
        return torch.stack([self._edit(i, subject.reading.code)[kind] for i, subject in enumerate(self.subjects)])

    def style_edits(self, kind: EditKind) -> Tensor:
        """Each person's first input with each expression in each of its d styles: (people, K, d, 3, S, S)."""
        control = self.editor.model.F_ctrl
        codes = [control.code(name, style=k) for name in self.expressions for k in range(control.numbers_each)]
        edits = torch.stack([self._edit(i, code)[kind] for i in self.first_inputs for code in codes])
        return edits.unflatten(0, (len(self.first_inputs), len(self.expressions), control.numbers_each))

    @cached_property
    def expressive_inputs(self) -> FaceFolder:
        """One of the set's own full expressions per person and expression."""
        faces = self.full_expressions
        pairs = list(zip(faces.subject.tolist(), faces.expression.tolist(), strict=True))
        return faces.select(torch.tensor([pairs.index(pair) == i for i, pair in enumerate(pairs)], dtype=torch.bool))

    @cached_property
    def neutralized(self) -> dict[EditKind, Tensor]:
        """`expressive_inputs` edited to neutral."""
        subjects = [read_sample(self.editor, self.expressive_inputs, i) for i in range(len(self.expressive_inputs))]
        return _stack([_images_of(self.editor.edit(subject, NEUTRAL)) for subject in subjects])

    @cached_property
    def pair_edits(self) -> dict[PairEdit, dict[EditKind, Tensor]]:
        """Edits of `real_pairs` towards the person's other photo, and overdone ones: one image per pair.

        The smile made neutral; overdone: fully sad, as the corners of the mouth then go on downwards. The neutral photo
        made happy at the smile's own intensity; overdone: at full intensity.
        """
        edits: dict[PairEdit, list[dict[EditKind, Tensor]]] = {}
        for neutral, smile in self.real_pairs:
            calm, smiling = (read_sample(self.editor, self.faces, index) for index in (neutral, smile))
            intensity = self.faces.intensity[smile].nan_to_num(1.0).item()
            requests: dict[PairEdit, EditResult] = {
                ("smile to neutral", "edit"): self.editor.edit(smiling, NEUTRAL),
                ("smile to neutral", "overdone"): self.editor.edit(smiling, "sad"),
                ("neutral to smile", "edit"): self.editor.edit(calm, "happy", intensity),
                ("neutral to smile", "overdone"): self.editor.edit(calm, "happy"),
            }
            for key, result in requests.items():
                edits.setdefault(key, []).append(_images_of(result))
        return {key: _stack(images) for key, images in edits.items()}

    @cached_property
    def new_people(self) -> dict[Prior, Tensor]:
        """Generated people with each expression, by prior: NUM_NEW_PEOPLE * K images of the decoder."""
        images = {}
        for prior in get_args(Prior) if self.editor.model.latent_prior.is_fitted else ("uniform",):
            rows = self.editor.generate_rows(NUM_NEW_PEOPLE, self.expressions, seed=0, prior=prior, fidelity="model")
            images[prior] = torch.stack([_to_uint8(face) for row in rows for face in row])
        return images

    def predict(self, evaluator: Evaluator, key: tuple, images: Callable[[], Tensor]) -> Prediction:
        """What an evaluator predicts on images, cached under the evaluator's name and `key`."""
        key = (evaluator.name, *key)
        if key not in self._predictions:
            self._predictions[key] = evaluator(images())
        return self._predictions[key]

    def predict_edits(self, evaluator: Evaluator, kind: EditKind, intensity: float = 1.0) -> Prediction:
        """Prediction on `expression_edits`."""
        return self.predict(evaluator, (kind, intensity), lambda: self.expression_edits(kind, intensity))

    def predict_inputs(self, evaluator: Evaluator) -> Prediction:
        """Prediction on the photos before any edit."""
        return self.predict(evaluator, ("inputs",), lambda: self.inputs.images)

    def predict_full_expressions(self, evaluator: Evaluator) -> Prediction:
        """Prediction on the set's own full expressions."""
        return self.predict(evaluator, ("full expressions",), lambda: self.full_expressions.images)

    def _edit(self, index: int, code: Tensor) -> dict[EditKind, Tensor]:
        """One input decoded with one code, as every kind of edit, each (3, S, S)."""
        key = index, code.numpy().tobytes()
        if key not in self._edits:
            self._edits[key] = _images_of(self.editor.decode(self.subjects[index], code))
        return self._edits[key]


def _images_of(result: EditResult) -> dict[EditKind, Tensor]:
    """The images of an edit, without the rest of it, which is large."""
    pasted = dataclasses.replace(result, fidelity="model", prediction=None, decode=lambda: result.x_hat)
    return {"decoder": _to_uint8(result.crop), "model": _to_uint8(pasted.face), "detail": _to_uint8(result.face)}


def _stack(edits: Sequence[dict[EditKind, Tensor]]) -> dict[EditKind, Tensor]:
    return {kind: torch.stack([images[kind] for images in edits]) for kind in EDIT_KINDS}


def _to_uint8(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)
