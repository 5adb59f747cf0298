"""The held-out people and their edits: every edit is made once, and judged once by each judge, whatever metrics ask."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from exprgan.editing.results import EditResult, Subject
from exprgan.editor import ExpressionEditor
from exprgan.models.latent_prior import Prior

from ..data import FaceFolder
from ..data.contact_sheets import read_one
from .evaluators import Evaluator, Judgement

STRONG = 0.6
"""Pictures of the set count as full expressions from this intensity on."""
NEW = 100
"""How many people are made up."""
INTENSITIES = (0.0, 0.25, 0.5, 0.75, 1.0)

EditKind = Literal["decoder", "model", "detail"]
KINDS: tuple[EditKind, ...] = ("decoder", "model", "detail")
"""The bare decoder's picture; the same pasted back, as in the paper; and what a visitor gets."""


class EditSet:
    """What every metric is given.

    Pictures are (N, 3, S, S) uint8. Of edits, people are outermost, then their photos, then expressions.

    Args:
        editor: with the model to be measured.
        people: the held-out people.
        judges: who judges; the first one counts most.
    """

    def __init__(self, editor: ExpressionEditor, people: FaceFolder, judges: list[Evaluator]):
        self.editor, self.people, self.judges = editor, people, judges
        self.names = people.expressions
        neutral = people.expression == len(people.expressions)
        certain = neutral & (people.intensity.nan_to_num(0.0) == 0)
        self.calm = bool(certain.any())
        """Whether the set has neutral pictures; where not, as in the paper's, expressive ones are edited."""
        self.inputs = people.select(certain if self.calm else ~neutral)
        self._made: dict[tuple[int, bytes], dict[EditKind, Tensor]] = {}
        self._new: dict[Prior, Tensor] = {}
        self._judged: dict[tuple, Judgement] = {}

    @cached_property
    def subjects(self) -> list[Subject]:
        """Every input, neutral pictures of the held-out people, read as the aligned crop that it is."""
        return [read_one(self.editor, self.inputs, index) for index in range(len(self.inputs))]

    @cached_property
    def one_each(self) -> list[int]:
        """The first input of every person."""
        owners = self.inputs.subject.tolist()
        return [owners.index(person) for person in sorted(set(owners))]

    @cached_property
    def strong(self) -> FaceFolder:
        """The set's own pictures of full expressions."""
        return self.people.expressive(STRONG)

    @cached_property
    def wanted(self) -> Tensor:
        """The expression asked for in each of the edits of all inputs: (inputs * K,)."""
        return torch.arange(len(self.names)).repeat(len(self.inputs))

    def edits(self, kind: EditKind, intensity: float = 1.0) -> Tensor:
        """Every input with every expression: inputs * K pictures."""
        codes = [self.editor.model.F_ctrl.code(name, intensity) for name in self.names]
        return torch.stack([self._edit(i, code)[kind] for i in range(len(self.inputs)) for code in codes])

    def neutral(self, kind: EditKind) -> Tensor:
        """Every input made neutral: one picture an input."""
        code = self.editor.model.F_ctrl.neutral()
        return torch.stack([self._edit(i, code)[kind] for i in range(len(self.inputs))])

    def recovered(self, kind: EditKind) -> Tensor:
        """Every input decoded with the code that it shows: all -1 for neutral pictures, as read for others."""
        if self.calm:
            return self.neutral(kind)
        return torch.stack([self._edit(i, subject.reading.code)[kind] for i, subject in enumerate(self.subjects)])

    def styles(self, kind: EditKind) -> Tensor:
        """One input of each person, with each expression, in each of its d styles: (people, K, d, 3, S, S)."""
        control = self.editor.model.F_ctrl
        codes = [control.code(name, style=k) for name in self.names for k in range(control.numbers_each)]
        made = torch.stack([self._edit(i, code)[kind] for i in self.one_each for code in codes])
        return made.unflatten(0, (len(self.one_each), len(self.names), control.numbers_each))

    @cached_property
    def calmed(self) -> dict[EditKind, Tensor]:
        """The set's own full expressions, one of each person and expression, made neutral."""
        pairs = list(zip(self.strong.subject.tolist(), self.strong.expression.tolist(), strict=True))
        chosen = [i for i, pair in enumerate(pairs) if pairs.index(pair) == i]
        made = [self._pictures(self.editor.edit(read_one(self.editor, self.strong, i), "neutral")) for i in chosen]
        return {kind: torch.stack([pictures[kind] for pictures in made]) for kind in KINDS}

    def new_people(self, prior: Prior) -> Tensor:
        """People who do not exist, with each expression: NEW * K pictures of the bare decoder."""
        if prior not in self._new:
            made = [self.editor.generate(NEW, name, seed=0, prior=prior) for name in self.names]
            self._new[prior] = torch.stack([_bytes(picture) for person in zip(*made, strict=True) for picture in person])
        return self._new[prior]

    def judged(self, judge: Evaluator, key: tuple, pictures: Callable[[], Tensor]) -> Judgement:
        """What a judge says of pictures; asked again under the same key, it answers from memory."""
        key = (judge.name, *key)
        if key not in self._judged:
            self._judged[key] = judge(pictures())
        return self._judged[key]

    def of_edits(self, judge: Evaluator, kind: EditKind, intensity: float = 1.0) -> Judgement:
        """A judge on every input with every expression."""
        return self.judged(judge, (kind, intensity), lambda: self.edits(kind, intensity))

    def of_inputs(self, judge: Evaluator) -> Judgement:
        """A judge on the photos before any edit."""
        return self.judged(judge, ("inputs",), lambda: self.inputs.images)

    def of_strong(self, judge: Evaluator) -> Judgement:
        """A judge on the set's own full expressions."""
        return self.judged(judge, ("strong",), lambda: self.strong.images)

    def _edit(self, index: int, code: Tensor) -> dict[EditKind, Tensor]:
        """One input with one code, of every kind, each (3, S, S)."""
        key = index, code.numpy().tobytes()
        if key not in self._made:
            self._made[key] = self._pictures(self.editor.decode(self.subjects[index], code))
        return self._made[key]

    def _pictures(self, result: EditResult) -> dict[EditKind, Tensor]:
        """An edit's pictures alone; what else it holds is large."""
        pasted = dataclasses.replace(result, fidelity="model", detail=None, decode=lambda: result.x_hat)
        return {"decoder": _bytes(result.crop), "model": _bytes(pasted.face), "detail": _bytes(result.face)}


def _bytes(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)
