"""Dials: action units by plain names, set by hand on one side of the face or both, and what they make of given units."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor

from ..facs import SIDES


class Dial(NamedTuple):
    """What the values of a dial move."""

    unit: int
    """The action unit that values above 0 add; values below 0 take that part of it away."""
    opposite: int | None = None
    """The action unit that values below 0 add, and of which values above 0 take that part away."""
    scale: float = 1.0
    """Weight of the unit at 1, and of the opposite at -1."""
    sided: bool = True
    """Whether each side can move alone."""
    needs_eyes: bool = False
    """Whether it moves lids over eyeballs, which takes a T with an eye network."""


MAX_WEIGHT, MAX_WEIGHTS = 2.0, {43: 1.0}
"""The largest weight of a unit, and that of single ones: by unit 43 an eye is closed at 1."""

DIALS: dict[str, Dial] = {
    "lids": Dial(5, 43, needs_eyes=True), "squint": Dial(7, scale=2.0, needs_eyes=True),
    "brows_inner": Dial(1), "brows_outer": Dial(2), "brows_lower": Dial(4), "cheeks": Dial(6),
    "nose": Dial(9), "smile": Dial(12), "frown": Dial(15, scale=2.0),
    "lips_apart": Dial(25, scale=2.0, sided=False), "jaw": Dial(26, scale=0.5, sided=False), "stretch": Dial(20, scale=2.0),
    "pucker": Dial(18, scale=2.0, sided=False), "press": Dial(24, scale=2.0, sided=False),
}  # fmt: skip
"""Name -> dial. "lids" goes from closed, -1, to wide open, 1. A sided one has also NAME_left and NAME_right, the
subject's own sides; their values take the place of that of NAME."""


def dials_of(units: Sequence[int], has_eyes: bool) -> dict[str, Dial]:
    """The dials of a T that takes these action units, all those of a dial: without eyes, none of lids."""
    return {name: dial for name, dial in DIALS.items()
            if {dial.unit, dial.opposite} <= {*units, None} and (has_eyes or not dial.needs_eyes)}  # fmt: skip


def check_dials(values: Mapping[str, float], dials: Mapping[str, Dial] = DIALS) -> dict[str, float]:
    """The values of dials as floats.

    Raises:
        ValueError: no mapping, a name that is not among `dials`, or a value that is no number in [-1, 1].
    """
    if not isinstance(values, Mapping):
        raise ValueError(f'units must be values by name, such as {{"smile": 0.4}}, not {values!r}')
    checked = {}
    for name, value in values.items():
        base, side = split_side(str(name))
        if base not in dials:
            raise ValueError(f"unknown unit {name!r}; there are {', '.join(dials)}, most also with _left or _right, "
                             "the side of the person")  # fmt: skip
        if side and not dials[base].sided:
            raise ValueError(f"{base} has no sides; leave {name.removeprefix(base)} out")
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
        if not -1 <= number <= 1:
            raise ValueError(f"{name} must be a number from -1 to 1, not {value!r}")
        checked[str(name)] = number
    return checked


def split_side(name: str) -> tuple[str, str]:
    """The name of a dial and the side it has: ("smile", "left"), or ("smile", "")."""
    base, _, side = name.rpartition("_")
    return (base, side) if side in SIDES else (name, "")


def turn_dials(weights: Tensor, units: Sequence[int], values: Mapping[str, float]) -> Tensor:
    """The weights of action units, (U, 2) on the subject's right and left side, after dials were turned.

    They are limited by `limit_weights`.

    Args:
        weights: (U, 2), in the order of `units`.
        values: checked by `check_dials` for these units.
    """
    turned = weights.clone()
    for name, dial in DIALS.items():
        for column, side in enumerate(SIDES):
            value = values.get(f"{name}_{side}", values.get(name, 0.0))
            for unit, part in ((dial.unit, value), (dial.opposite, -value)):
                if unit is None or not value:
                    continue
                row = units.index(unit)
                turned[row, column] = turned[row, column] * (1 + min(part, 0.0)) + dial.scale * max(part, 0.0)
    return limit_weights(turned, units, weights)


def limit_weights(weights: Tensor, units: Sequence[int], start: Tensor | None = None) -> Tensor:
    """Limits weights of action units, (U, 2), to 0..MAX_WEIGHT or, for single ones, 0..MAX_WEIGHTS.

    start: (U, 2), what the face shows; where it is more than that it is the limit, so that closed eyes are not opened.
    """
    limit = weights.new_tensor([MAX_WEIGHTS.get(unit, MAX_WEIGHT) for unit in units])[:, None]
    return torch.minimum(weights.clamp(min=0), limit if start is None else torch.maximum(limit, start))
