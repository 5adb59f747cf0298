"""Random combinations of action units, which belong to no expression, such as raised brows over a half smile, or a wink."""

from collections.abc import Sequence
from random import Random

from exprgan.editing.dials import DIALS

from .action_units import UnitWeights

GROUPS: tuple[tuple[float, tuple[tuple[int, ...], ...]], ...] = (
    (0.50, ((1,), (2,), (1, 2), (4,), (1, 4), (1, 2, 4))),  # brows
    (0.65, ((5,), (7,), (43,), (43,))),  # lids
    (0.35, ((6,), (9,), (6, 9))),  # cheeks and nose
    (0.55, ((12,), (12,), (14,), (15,))),  # corners of the mouth
    (
        0.60,
        ((10,), (16,), (10, 16), (17,), (18,), (20,), (22,), (22, 25), (23,), (24,), (25,), (28,), (34,)),
    ),  # lips, cheeks
    (0.40, ((26,), (25, 26), (26,), (30,), (29,))),  # jaw
)
"""Parts of the face: the probability that one takes part in a combination, and the choices among which it draws."""
SINGLE_UNITS = sorted({unit for _, choices in GROUPS for choice in choices for unit in choice})

SINGLE_SHARE = 0.5
"""Of the combinations, the share in which one unit moves alone, as far as a dial moves it: from the others alone T would
learn units by what moves beside them, and none beyond MAX_WEIGHTS."""
MAX_WEIGHTS = {26: 0.75, 43: 1.0, 28: 1.0, 29: 0.8, 30: 0.8}
DEFAULT_MAX_WEIGHT = 1.2
DIAL_WEIGHTS = {dial.unit: dial.scale for dial in DIALS.values()}
MIN_WEIGHT = 0.2
ONE_SIDED_SHARE = 0.3  # of the draws of a part, in which only one side moves
ONE_SIDED_UNITS = {1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 20, 43}
SIDEWAYS_UNITS = {30}  # always to one side
MAX_ASYMMETRY = 0.12  # of the others: by what part one side may exceed the mean of both


def sample_combination(rng: Random) -> UnitWeights:
    """Samples a combination: at least one part of the face moves, each by units of its choices; or one unit alone."""
    units: dict[int, tuple[float, float]] = {}
    if rng.random() < SINGLE_SHARE:
        unit = SINGLE_UNITS[int(rng.random() * len(SINGLE_UNITS))]
        return _sample_weights((unit,), rng, DIAL_WEIGHTS.get(unit, 0.0))
    while not units:
        for share, choices in GROUPS:
            if rng.random() < share:
                chosen = choices[int(rng.random() * len(choices))]
                units |= _sample_weights(chosen, rng)
    return units


def _sample_weights(chosen: Sequence[int], rng: Random, dial_weight: float = 0.0) -> UnitWeights:
    one_sided, right = rng.random() < ONE_SIDED_SHARE, rng.random() < 0.5
    weights = {}
    for unit in chosen:
        weight = rng.uniform(MIN_WEIGHT, max(dial_weight, MAX_WEIGHTS.get(unit, DEFAULT_MAX_WEIGHT)))
        asymmetry = rng.uniform(-1, 1) * MAX_ASYMMETRY
        sides = (1 - asymmetry, 1 + asymmetry)
        if unit in SIDEWAYS_UNITS or (one_sided and unit in ONE_SIDED_UNITS):
            sides = (1.0, 0.0) if right else (0.0, 1.0)
        weights[unit] = round(weight * sides[0], 4), round(weight * sides[1], 4)
    return weights
