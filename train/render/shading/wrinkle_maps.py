"""Wrinkles and folds that action units press into the skin, drawn in the (x, y) of the mesh's mean face.

The mesh is too coarse to fold. So each wrinkle is a dark line with lighter flanks on a map that moves with the skin,
deepened by the units that cause it. The lines follow FACS's descriptions of the appearance changes of units. They differ
between people: a seed moves each line a little and varies its depth, and wrinkles deepen with age.
"""

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator

from exprgan.wrinkles import HEIGHT, LEFT, TOP, WIDTH, WRINKLES, wrinkle_depths

from ..face_model.action_units import UnitWeights, mean_weight
from ..face_model.webmorph_template import measure_fractions
from ..pixel_fields import blur

PX_PER_UNIT = 20.0
MAP_SHAPE = int(HEIGHT * PX_PER_UNIT), int(WIDTH * PX_PER_UNIT)

FLANK_BRIGHTNESS, FLANK_WIDTH = 0.56, 2.6  # of the flanks, relative to darkness and width of the line
MAX_SHIFT, DEPTH_VARIATION = 0.12, 0.25  # between people: of a line's points in mesh units, and of its depth
TYPICAL_AGE, DEPTH_PER_YEAR, AGE_GAIN_RANGE = 26.0, 0.012, (0.85, 1.35)

Line = Sequence[tuple[float, float]]


def _mirror(*lines: Line) -> list[Line]:
    return [*lines, *([(-x, y) for x, y in line] for line in lines)]


_BROW_X = (-3.9, -2.6, -1.2, 0.0, 1.2, 2.6, 3.9)
WRINKLE_LINES: dict[str, list[tuple[list[Line], float, float]]] = {
    "forehead": [
        ([list(zip(_BROW_X, (y - 0.45, y + 0.15, y + 0.1, y - 0.12, y + 0.1, y + 0.15, y - 0.45), strict=True))
          for y in (7.5, 8.35, 9.2)], 0.13, 1.0),
    ],
    "mid_forehead": [
        ([[(-2.0, y - 0.35), (-1.0, y + 0.2), (0, y + 0.25), (1.0, y + 0.2), (2.0, y - 0.35)] for y in (7.3, 8.0, 8.7)],
         0.13, 1.0),
    ],
    "glabella": [
        (_mirror([(0.42, 4.7), (0.50, 5.3), (0.62, 6.2), (0.6, 6.9)]), 0.17, 1.0),
        ([[(-0.7, 4.45), (0, 4.3), (0.7, 4.45)]], 0.15, 0.35),
    ],
    "nose_root": [
        ([[(-0.75, y), (0, y - 0.12), (0.75, y)] for y in (4.2, 3.75)]
         + _mirror([(0.5, 3.6), (1.0, 3.0), (1.35, 2.3)], [(0.85, 3.9), (1.3, 3.3), (1.7, 2.7)]), 0.11, 1.0),
    ],
    "nasolabial": [(_mirror([(2.1, 0.15), (2.45, -0.5), (2.95, -1.5), (3.4, -2.6), (3.6, -3.6)]), 0.23, 1.0)],
    "under_eye": [(_mirror([(1.7, 2.75), (2.6, 2.15), (3.6, 2.1), (4.6, 2.6), (5.0, 3.1)]), 0.13, 1.0)],
    "crow_feet": [
        (_mirror([(5.0, 3.6), (5.6, 3.9), (6.1, 4.3)], [(5.05, 3.4), (5.7, 3.35), (6.3, 3.4)],
                     [(5.0, 3.15), (5.5, 2.85), (6.0, 2.5)]), 0.09, 1.0),
    ],
    "marionette": [(_mirror([(2.75, -3.7), (3.1, -4.4), (3.15, -5.2)]), 0.16, 1.0)],
    "chin": [([[(-1.6, -4.95), (-0.8, -4.75), (0, -4.7), (0.8, -4.75), (1.6, -4.95)]], 0.16, 0.8)],
}  # fmt: skip
"""Wrinkle -> lines, their width (sigma, mesh units) and their share of the wrinkle's depth."""

SOCKETS = [(side * x, 4.75, *radii) for side in (-1, 1) for x, *radii in ((1.55, 0.9, 0.8), (3.2, 1.5, 0.55))]
"""Soft shadows under a lowered brow: x, y and their radii in both."""

NUM_CHIN_DIMPLES, CHIN_BOX = 26, (-1.3, 1.3, -7.0, -5.4)


class Wrinkles:
    """The wrinkles of one person.

    Attribute `maps`: of each of WRINKLES, `MAP_SHAPE` float32, 1 where it is darkest.

    Args:
        seed: the person's name; the same name has the same wrinkles. None draws them as the tables give them.
        age: in years; None if unknown.
    """

    def __init__(self, seed: str | None = None, age: float | None = None):
        rng = Random(f"creases of {seed}") if seed is not None else None  # another prefix would change every rendered set
        gain = np.clip(1 + DEPTH_PER_YEAR * ((age or TYPICAL_AGE) - TYPICAL_AGE), *AGE_GAIN_RANGE)
        self.maps = {name: _draw_wrinkle(groups, rng) for name, groups in WRINKLE_LINES.items()}
        self.maps["chin"] += _draw_dimples(rng or Random(3))
        self.maps["sockets"] = _draw_sockets()
        low, high = 1 - DEPTH_VARIATION, 1 + DEPTH_VARIATION
        self._gains = {name: gain * (rng.uniform(low, high) if rng else 1.0) for name in self.maps}

    def compute_map(self, units: UnitWeights, gain: float = 1.0) -> np.ndarray:
        """Computes the part of the light that wrinkles absorb, `MAP_SHAPE` float32; below 0 where flanks are lighter."""
        absorption = np.zeros(MAP_SHAPE, np.float32)
        depths = wrinkle_depths(lambda unit: mean_weight(units, unit))
        for name, depth in zip(WRINKLES, depths, strict=True):
            if depth > 0.01:
                absorption += self.maps[name] * np.float32(depth * gain * self._gains[name])
        return absorption


def to_map_px(points: np.ndarray) -> np.ndarray:
    """Converts (x, y) in mesh units, (..., 2), to px of the maps, (..., 2) float32."""
    return (np.stack([points[..., 0] - LEFT, TOP - points[..., 1]], axis=-1) * PX_PER_UNIT).astype(np.float32)


def _draw_wrinkle(groups: list[tuple[list[Line], float, float]], rng: Random | None) -> np.ndarray:
    total = np.zeros(MAP_SHAPE, np.float32)
    for lines, width, share in groups:
        for line in lines:
            shifts = [[rng.uniform(-MAX_SHIFT, MAX_SHIFT) for _ in "xy"] for _ in line] if rng else 0
            total += share * _draw_line(np.array(line, np.float64) + shifts, width)
    return total


def _draw_line(points: np.ndarray, width: float) -> np.ndarray:
    """Draws a line that fades towards its ends: 1 at its darkest, with lighter flanks."""
    fractions = np.linspace(0, 1, 80)
    line = to_map_px(PchipInterpolator(measure_fractions(points), points)(fractions))
    drawn = np.zeros(MAP_SHAPE, np.float32)
    for (start, end), fraction in zip(pairwise(np.round(line * 16).astype(int).tolist()), fractions, strict=False):
        strength = float(np.sin(np.pi * np.clip(fraction, 0.02, 0.98)) ** 0.7)
        cv2.line(drawn, start, end, strength, 1, cv2.LINE_8, 4)
    valley, flanks = blur(drawn, width * PX_PER_UNIT), blur(drawn, FLANK_WIDTH * width * PX_PER_UNIT)
    return (valley - FLANK_BRIGHTNESS * flanks) / (valley.max() + 1e-6)


def _draw_dimples(rng: Random) -> np.ndarray:
    """Draws the dimpled skin of a raised chin."""
    spots = np.zeros(MAP_SHAPE, np.float32)
    left, right, bottom, top = CHIN_BOX
    for _ in range(NUM_CHIN_DIMPLES):
        centre = to_map_px(np.array([rng.uniform(left, right), rng.uniform(bottom, top)]))
        cv2.circle(spots, centre.astype(int).tolist(), round(0.1 * PX_PER_UNIT), 1.0, -1)
    near, wide = blur(spots, 0.125 * PX_PER_UNIT), blur(spots, 0.625 * PX_PER_UNIT)
    return (near - 0.35 * wide) / near.max()


def _draw_sockets() -> np.ndarray:
    rows, columns = np.mgrid[: MAP_SHAPE[0], : MAP_SHAPE[1]] / PX_PER_UNIT
    x, y = columns + LEFT, TOP - rows
    return sum(np.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2) for cx, cy, rx, ry in SOCKETS).astype(np.float32)
