"""The expression of a face over time: smoothed, so that an edit does not start from another expression in every frame."""

import math

import numpy as np
import torch
from torch import Tensor

from ..editing.results import MIN_CERTAINTY, Reading
from ..expressions import NEUTRAL

READING_S, UNITS_S = 0.15, 0.06
"""Time constants in s of certainties and codes, and of action units, which follow the lips of a person who talks."""
STILL_CERTAIN = 0.55
"""A face that was read as expressive, with MIN_CERTAINTY or more, counts as such until its certainty is lower than this."""
CHANGE_S = 0.4
"""How long an edit takes to change from that of a neutral to that of an expressive face, or back."""


class ReadingSmoother:
    """Readings over time: `update` takes that of the next frame; `code_dim` is the length K * d of a code."""

    def __init__(self, code_dim: int):
        self._code_dim = code_dim
        self.reset()

    def reset(self) -> None:
        """Forgets the past, as after a cut."""
        self._names: tuple[str, ...] = ()
        self._unit_names: tuple[int, ...] = ()
        self._certainties = self._code = self._units = self._shown = np.zeros(0)
        self._is_expressive, self._time, self.weight = False, 0.0, 0.0

    weight: float
    """How far the face counts as expressive, 0..1; it changes evenly over CHANGE_S."""

    @property
    def is_empty(self) -> bool:
        """Whether there was no reading since the start, or since `reset`."""
        return not self._names

    @property
    def shown_code(self) -> Tensor:
        """The code (K * d,) that the face shows: that of each frame, nearer to neutral the less certain, smoothed."""
        return torch.tensor(self._shown, dtype=torch.float32)

    @property
    def units(self) -> dict[int, tuple[float, float]]:
        """The smoothed action units, as in `Reading`."""
        return {unit: (right, left) for unit, (right, left) in zip(self._unit_names, self._units.tolist(), strict=True)}

    def update(self, reading: Reading, time: float) -> None:
        """Adds the reading of a frame, at a time in seconds."""
        step, is_first = time - self._time, self.is_empty
        self._time, self._names, self._unit_names = time, tuple(reading.certainties), tuple(reading.units)
        certainties, code = np.array([*reading.certainties.values()]), reading.code.numpy().astype(np.float64)
        expressive = 1 - reading.certainties.get(NEUTRAL, 0.0)
        self._certainties = _average(self._certainties, certainties, step, READING_S)
        self._units = _average(self._units, np.array([*reading.units.values()]).reshape(-1, 2), step, UNITS_S)
        self._shown = _average(self._shown, (code + 1) * expressive - 1, step, READING_S)
        if reading.expression != NEUTRAL:
            self._code = _average(self._code, code, step, READING_S)
        certainty = max(self._by_name()[1:])[0] if len(self._names) > 1 else 0.0
        threshold = STILL_CERTAIN if self._is_expressive else MIN_CERTAINTY
        self._is_expressive = bool(certainty >= threshold and self._code.size)
        change = 1.0 if is_first else step / CHANGE_S
        self.weight += min(change, max(-change, float(self._is_expressive) - self.weight))

    def as_reading(self, expressive: bool) -> Reading:
        """The smoothed reading, certain to be of an expression or of a neutral face, from which an edit starts."""
        expressive = expressive and self._code.size > 0
        name = max(self._by_name()[1:])[1] if expressive else NEUTRAL
        code = torch.tensor(self._code, dtype=torch.float32) if expressive else torch.full((self._code_dim,), -1.0)
        return Reading(name, dict.fromkeys(self._names, 0.0) | {name: 1.0}, code, self.units)

    def _by_name(self) -> list[tuple[float, str]]:
        """(certainty, name) of neutral, and then of the expressions."""
        pairs = zip(self._certainties.tolist(), self._names, strict=True)
        return sorted(((certainty, name) for certainty, name in pairs), key=lambda pair: pair[1] != NEUTRAL)

    def state(self) -> dict[str, np.ndarray]:
        """All that the next `update` depends on, as arrays by name."""
        return {"names": np.array(self._names, dtype=str), "unit_names": np.array(self._unit_names, dtype=np.int64),
                "certainties": self._certainties, "code": self._code, "units": self._units, "shown": self._shown,
                "numbers": np.array([self._is_expressive, self._time, self.weight], np.float64)}  # fmt: skip

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continues from a `state`."""
        self._names, self._unit_names = tuple(state["names"].tolist()), tuple(state["unit_names"].tolist())
        self._certainties, self._code, self._units, self._shown = (
            state[name] for name in ("certainties", "code", "units", "shown")
        )
        is_expressive, self._time, self.weight = state["numbers"].tolist()
        self._is_expressive = bool(is_expressive)


def _average(before: np.ndarray, value: np.ndarray, step: float, constant: float) -> np.ndarray:
    """The exponential average with a time constant in s, after a step in s; the value itself if there was none before."""
    if before.shape != value.shape:
        return value.astype(np.float64)
    return before + (1 - math.exp(-max(step, 0.0) / constant)) * (value - before)
