"""The wrinkles that action units press into the skin, and how deep they are.

They are lines on a map over (x, y) of the mesh's mean face, which `train render` draws and T carries along
(`models.wrinkle_network`). Which units cause which follows FACS's descriptions of their appearance changes.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any

LEFT, TOP, WIDTH, HEIGHT = -12.0, 13.0, 24.0, 26.0
"""Extent of the map in mesh units of about 1 cm: x to the subject's left, y upwards, from the tip of the nose."""
ABSORPTION_RANGE = (-0.15, 0.5)
"""The part of the light that wrinkles absorb together; the flanks of a wrinkle are lighter than the skin."""
CHANNEL_EXPONENTS = (0.8, 1.1, 1.2)
"""Of red, green and blue: in a fold of skin red darkens least."""
TYPICAL_SKIN_LEVEL, DARK_SKIN_GAIN, MAX_DARK_SKIN_GAIN = 140.0, 0.9, 1.7
"""On skin darker than this mean of red, green and blue, 0..255, wrinkles are deeper by up to a factor: the same wrinkle
takes a smaller part of what the eye sees there."""
WRINKLES = (
    "sockets", "forehead", "mid_forehead", "glabella", "nose_root", "nasolabial", "under_eye", "crow_feet", "marionette",
    "chin",
)  # fmt: skip
"""Their names, in the order of `wrinkle_depths`."""


def wrinkle_depths(weight: Callable[[int], Any]) -> list[Any]:
    """The part of the light that each of WRINKLES absorbs at its deepest.

    `weight` gives the weight of an action unit: a number, or an array or tensor, and so are the depths.
    """
    w = {unit: weight(unit) for unit in (1, 2, 4, 6, 7, 9, 10, 12, 15, 17, 20)}
    lifted = _smallest(w[1], 1.0)
    return [
        0.22 * w[4] * (1 - lifted),
        0.26 * _smallest(w[1], w[2]),
        0.26 * _largest(w[1] - w[2], 0.0),
        0.48 * w[4] * (1 - 0.75 * lifted),
        0.36 * w[9],
        0.30 * _largest(0.9 * w[12], w[9], 0.9 * w[10], 0.5 * w[20]),
        0.22 * _largest(w[6], 0.7 * w[7], 0.6 * w[9]),
        0.25 * w[6],
        0.28 * _largest(w[15], 0.4 * w[20]),
        0.30 * w[17],
    ]


def _smallest(a: Any, b: Any) -> Any:
    return (a + b - abs(a - b)) / 2  # `min` compares no tensors


def _largest(*values: Any) -> Any:
    return reduce(lambda a, b: (a + b + abs(a - b)) / 2, values)
