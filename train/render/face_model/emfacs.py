"""Which action units make up an expression: the tables, and how a picture's weights are drawn from them.

The units follow EMFACS (Friesen and Ekman 1983, Emotional Facial Action Coding System) and table 1 of the
investigator's guide to FACS (Ekman, Friesen and Hager 2002): anger 4+5+7 with 23 or 24, or with bared teeth 10+25+16;
disgust 9 or 10 with 15+17 or 16+26; fear 1+2+4+5+20 with 25 or 26; happiness 6+12, with 25; sadness 1+4+15 with 17;
surprise 1+2+5+26. Ekman and Friesen, Unmasking the Face (1975), tells the open and closed variants that are the styles
here. The weights, on the scale of `units`, were chosen by eye so that each expression is plain at full strength and
the six stay apart at 128 px.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from exprgan.expressions import EXPRESSIONS

from .action_units import ActionUnits

Recipe = Mapping[int, float]
"""Unit -> weight at full strength."""

RECIPES: dict[str, dict[str, Recipe]] = {
    "angry": {
        "closed": {4: 1.35, 5: 0.35, 7: 0.8, 23: 0.9, 24: 0.35, 17: 0.35, 15: 0.25},
        "bared": {4: 1.35, 5: 0.45, 7: 0.75, 9: 0.3, 10: 0.6, 25: 0.8, 16: 0.8, 20: 0.15, 26: 0.06},
        "shout": {4: 1.35, 5: 0.5, 7: 0.65, 9: 0.3, 10: 0.85, 16: 1.1, 20: 0.35, 25: 0.4, 26: 0.28},
    },
    "disgust": {
        "closed": {9: 1.3, 10: 0.2, 15: 0.95, 17: 1.1, 4: 0.35, 7: 0.75, 6: 0.35, 23: 0.2},
        "raised": {9: 1.45, 10: 0.6, 15: 1.05, 17: 0.6, 4: 0.35, 7: 0.75, 6: 0.35},
        "open": {9: 1.5, 10: 0.85, 16: 0.3, 15: 1.05, 17: 0.3, 26: 0.16, 18: 0.15, 4: 0.35, 7: 0.8, 6: 0.35},
    },
    "fear": {
        "tense": {1: 1.1, 2: 0.45, 4: 0.75, 5: 1.0, 20: 1.3, 25: 0.7, 26: 0.08},
        "bared": {1: 1.1, 2: 0.45, 4: 0.75, 5: 1.1, 20: 1.45, 25: 1.0, 16: 0.7, 26: 0.14},
        "open": {1: 1.15, 2: 0.5, 4: 0.7, 5: 1.1, 20: 1.25, 25: 0.9, 26: 0.32, 16: 0.4},
    },
    "happy": {
        "closed": {6: 0.9, 12: 1.1, 7: 0.35},
        "teeth": {6: 1.0, 12: 1.2, 25: 1.3, 10: 0.35, 7: 0.4},
        "laugh": {6: 1.1, 12: 1.2, 25: 1.3, 10: 0.4, 26: 0.26, 7: 0.5},
    },
    "sad": {
        "closed": {1: 1.3, 4: 0.5, 15: 1.1, 17: 0.65, 43: 0.28},
        "droop": {1: 1.3, 4: 0.55, 15: 1.3, 17: 0.4, 43: 0.45},
        "cry": {1: 1.2, 4: 0.7, 15: 1.25, 17: 0.5, 7: 0.6, 20: 0.4, 25: 0.6, 6: 0.4},
    },
    "surprise": {
        "mild": {1: 1.1, 2: 1.1, 5: 0.9, 26: 0.38, 25: 0.2},
        "open": {1: 1.1, 2: 1.1, 5: 1.0, 26: 0.65, 10: 0.12},
        "drop": {1: 1.2, 2: 1.2, 5: 1.1, 26: 0.9, 10: 0.15},
    },
}
"""expression -> style -> recipe."""

ASYMMETRY = dict.fromkeys(EXPRESSIONS, 0.08) | {"disgust": 0.16, "surprise": 0.05}
"""The most by which one side is stronger than the mean; disgust is often shown with one side of the nose."""

VARIATION = 0.15
"""Each unit's weight is drawn from 1 -+ this part of the recipe's."""

NOISE_UNITS = (1, 2, 4, 5, 6, 7, 10, 12, 15, 17, 20, 24, 43)
NOISE_COUNT, NOISE_WEIGHT = 5, 0.1


def exact(expression: str, style: str, intensity: float = 1.0) -> ActionUnits:
    """A recipe's units at some strength, the same on both sides.

    Raises:
        ValueError: there is no such expression, or the expression has no such style.
    """
    if expression not in RECIPES:
        raise ValueError(f"there is no recipe for {expression!r}; choose one of {', '.join(RECIPES)}")
    if style not in RECIPES[expression]:
        raise ValueError(f"{expression} has no style {style!r}; choose one of {', '.join(RECIPES[expression])}")
    return {unit: (weight * intensity,) * 2 for unit, weight in RECIPES[expression][style].items()}


def varied(expression: str, style: str, intensity: float, rng: Random) -> ActionUnits:
    """A recipe's units as one person might show them: strengths and sides differ a little from the table."""
    units = {}
    for unit, (weight, _) in exact(expression, style, intensity).items():
        weight *= rng.uniform(1 - VARIATION, 1 + VARIATION)
        side = rng.uniform(-1, 1) * ASYMMETRY[expression]
        units[unit] = round(weight * (1 - side), 4), round(weight * (1 + side), 4)
    return units


def noise(rng: Random) -> ActionUnits:
    """Five random units so weak that the face stays neutral: so being rendered is no sign of an expression."""
    units = {}
    for unit in _shuffled(NOISE_UNITS, rng)[:NOISE_COUNT]:
        weight = rng.uniform(0, NOISE_WEIGHT)
        units[unit] = round(weight * rng.uniform(0.8, 1.2), 4), round(weight * rng.uniform(0.8, 1.2), 4)
    return units


def intensities(number: int, rng: Random, weakest: float, strongest: float = 1.0) -> list[float]:
    """So many intensities from `weakest` to `strongest`, one from each of as many equal parts of the range."""
    step = (strongest - weakest) / number
    return [round(weakest + step * (n + rng.random()), 4) for n in range(number)]


def styles(expression: str, number: int, rng: Random) -> list[str]:
    """So many styles of an expression, each about equally often, in random order."""
    names = list(RECIPES[expression])
    order = [names[n % len(names)] for n in range(max(number, len(names)))]
    return _shuffled(order, rng)[:number]


def _shuffled(things: Sequence[Any], rng: Random) -> list[Any]:
    """In random order; `random()` alone gives the same in every version of Python."""
    return [thing for _, thing in sorted(((rng.random(), thing) for thing in things), key=lambda pair: pair[0])]
