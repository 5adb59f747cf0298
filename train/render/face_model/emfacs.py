"""Action units of each expression (EMFACS), and how the weights of an image are sampled from them.

The units follow EMFACS (Friesen and Ekman 1983, Emotional Facial Action Coding System) and table 1 of the investigator's
guide to FACS (Ekman, Friesen and Hager 2002): anger 4+5+7 with 23 or 24, or with bared teeth 10+25+16; disgust 9 or 10 with
15+17 or 16+26; fear 1+2+4+5+20 with 25 or 26; happiness 6+12, with 25; sadness 1+4+15 with 17; surprise 1+2+5+26. The
styles are the open and closed variants of Ekman and Friesen, Unmasking the Face (1975). The weights, on the scale of
`action_units`, were searched so that networks trained elsewhere read the expression, and corrected by eye (docs/render.md).
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from exprgan.expressions import EXPRESSIONS

from .action_units import UnitWeights

EMFACS_TABLE: dict[str, dict[str, dict[int, float]]] = {
    "angry": {
        "closed": {4: 1.55, 5: 0.5, 7: 0.35, 9: 0.6, 23: 1.0, 24: 0.15, 22: 0.2, 15: 0.3},
        "bared": {4: 1.3, 5: 0.65, 7: 0.2, 9: 0.85, 10: 0.5, 16: 1.05, 22: 0.55, 23: 0.6, 25: 0.35},
        "shout": {4: 1.4, 5: 0.6, 7: 0.2, 9: 0.9, 10: 0.85, 16: 1.05, 22: 0.35, 20: 0.3, 25: 0.6, 26: 0.16},
    },
    "disgust": {
        "closed": {9: 1.7, 10: 0.3, 17: 0.9, 4: 0.6, 6: 0.35, 15: 0.4, 7: 0.35},
        "raised": {9: 1.65, 10: 0.6, 17: 0.85, 4: 0.5, 6: 0.35, 15: 0.4, 7: 0.3, 25: 0.1},
        "open": {9: 1.6, 10: 0.9, 17: 0.6, 4: 0.45, 6: 0.3, 15: 0.6, 7: 0.25, 25: 0.25, 16: 0.15, 26: 0.12},
    },
    "fear": {
        "tense": {1: 1.7, 2: 0.4, 4: 0.4, 5: 1.6, 20: 1.4, 25: 0.7, 16: 0.25, 26: 0.12},
        "bared": {1: 1.7, 2: 0.35, 4: 0.3, 5: 1.75, 20: 1.5, 25: 0.95, 16: 0.55, 26: 0.28},
        "open": {1: 1.6, 2: 0.25, 4: 0.3, 5: 1.8, 20: 1.35, 25: 0.9, 16: 0.3, 26: 0.5},
    },
    "happy": {
        "closed": {6: 0.9, 12: 1.1, 7: 0.25},
        "teeth": {6: 1.0, 12: 1.2, 25: 1.3, 10: 0.35, 7: 0.25},
        "laugh": {6: 1.1, 12: 1.2, 25: 1.3, 10: 0.4, 26: 0.26, 7: 0.35},
    },
    "sad": {
        "closed": {1: 1.35, 4: 0.55, 15: 1.2, 17: 0.75, 43: 0.15},
        "droop": {1: 1.45, 4: 0.55, 15: 1.4, 17: 0.45, 43: 0.25},
        "cry": {1: 1.25, 4: 0.75, 15: 1.25, 17: 0.5, 7: 0.4, 20: 0.45, 25: 0.6, 6: 0.4},
    },
    "surprise": {
        "mild": {1: 1.1, 2: 1.1, 5: 0.9, 26: 0.38, 25: 0.2},
        "open": {1: 1.1, 2: 1.1, 5: 1.0, 26: 0.65, 10: 0.12},
        "drop": {1: 1.2, 2: 1.2, 5: 1.1, 26: 0.9, 10: 0.15},
    },
}
"""Expression -> style -> action unit -> weight at full intensity."""

MAX_ASYMMETRY = dict.fromkeys(EXPRESSIONS, 0.08) | {"disgust": 0.16, "surprise": 0.05}
"""By what part one side may exceed the mean of both; disgust often shows on one side of the nose."""

WEIGHT_VARIATION = 0.15  # the weight of each unit is the table's times a factor in 1 -+ this
NOISE_UNITS = (1, 2, 4, 5, 6, 7, 10, 12, 15, 17, 20, 24, 43)
NUM_NOISE_UNITS, MAX_NOISE_WEIGHT = 5, 0.1


def get_units(expression: str, style: str, intensity: float = 1.0) -> UnitWeights:
    """Returns the table's units at some intensity, equal on both sides.

    Raises:
        ValueError: the table has no such expression or style.
    """
    if expression not in EMFACS_TABLE:
        raise ValueError(f"there are no action units for {expression!r}; choose one of {', '.join(EMFACS_TABLE)}")
    if style not in EMFACS_TABLE[expression]:
        raise ValueError(f"{expression} has no style {style!r}; choose one of {', '.join(EMFACS_TABLE[expression])}")
    return {unit: (weight * intensity,) * 2 for unit, weight in EMFACS_TABLE[expression][style].items()}


def sample_units(expression: str, style: str, intensity: float, rng: Random) -> UnitWeights:
    """Samples the units of one image: weights and sides differ a little from the table, as they do between people."""
    units = {}
    for unit, (weight, _) in get_units(expression, style, intensity).items():
        weight *= rng.uniform(1 - WEIGHT_VARIATION, 1 + WEIGHT_VARIATION)
        asymmetry = rng.uniform(-1, 1) * MAX_ASYMMETRY[expression]
        units[unit] = round(weight * (1 - asymmetry), 4), round(weight * (1 + asymmetry), 4)
    return units


def sample_noise(rng: Random) -> UnitWeights:
    """Samples five units so weak that the face stays neutral: so being rendered does not reveal an expression."""
    units = {}
    for unit in _shuffle(NOISE_UNITS, rng)[:NUM_NOISE_UNITS]:
        weight = rng.uniform(0, MAX_NOISE_WEIGHT)
        units[unit] = round(weight * rng.uniform(0.8, 1.2), 4), round(weight * rng.uniform(0.8, 1.2), 4)
    return units


def sample_intensities(number: int, rng: Random, low: float, high: float = 1.0) -> list[float]:
    """Samples intensities in [low, high], stratified: one from each of `number` equal parts, in ascending order."""
    step = (high - low) / number
    return [round(low + step * (n + rng.random()), 4) for n in range(number)]


def sample_styles(expression: str, number: int, rng: Random) -> list[str]:
    """Samples styles of an expression, each about equally often, in random order."""
    names = list(EMFACS_TABLE[expression])
    return _shuffle([names[n % len(names)] for n in range(max(number, len(names)))], rng)[:number]


def _shuffle(items: Sequence[Any], rng: Random) -> list[Any]:
    """Shuffles by `random()` alone, which gives the same order in every version of Python."""
    return [item for _, item in sorted(((rng.random(), item) for item in items), key=lambda pair: pair[0])]
