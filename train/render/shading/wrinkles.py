"""Wrinkles and folds that action units press into the skin, drawn on the mesh's mean face.

The mesh is too coarse to fold. So each fold is a dark line with lighter flanks on a map in the mesh's own (x, y),
which moves with the skin, deepened by the units that cause it. Where they run is told by FACS's descriptions of the
units' appearance changes. People differ: a seed moves each line a little and makes it deeper or fainter, and folds
deepen with age.
"""

from collections.abc import Callable, Sequence
from random import Random

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator

from ..face_model.action_units import ActionUnits, both
from ..pixel_fields import blur

PX_PER_UNIT = 20.0
LEFT, TOP, WIDTH, HEIGHT = -12.0, 13.0, 24.0, 26.0  # the part of the mesh that the maps show, mesh units
MAP_SHAPE = int(HEIGHT * PX_PER_UNIT), int(WIDTH * PX_PER_UNIT)

FLANK = 0.56  # brightness of a fold's flanks, of its darkness, over 2.6 times its width
FLANK_WIDTH = 2.6
SHIFT, DEPTH = 0.12, 0.25  # how people differ: mesh units that a point of a line moves, part by which a fold is deeper
TYPICAL_AGE, PER_YEAR, AGE_RANGE = 26.0, 0.012, (0.85, 1.35)

Line = Sequence[tuple[float, float]]
Shift = Callable[[Line], Line]


def _both_sides(*lines: Line) -> list[Line]:
    return [*lines, *([(-x, y) for x, y in line] for line in lines)]


_BROW_X = (-3.9, -2.6, -1.2, 0.0, 1.2, 2.6, 3.9)
LINES: dict[str, list[tuple[list[Line], float, float]]] = {
    "forehead": [
        ([list(zip(_BROW_X, (y - 0.45, y + 0.15, y + 0.1, y - 0.12, y + 0.1, y + 0.15, y - 0.45), strict=True))
          for y in (7.5, 8.35, 9.2)], 0.13, 1.0),
    ],
    "mid_forehead": [
        ([[(-2.0, y - 0.35), (-1.0, y + 0.2), (0, y + 0.25), (1.0, y + 0.2), (2.0, y - 0.35)] for y in (7.3, 8.0, 8.7)],
         0.13, 1.0),
    ],
    "glabella": [
        (_both_sides([(0.42, 4.7), (0.50, 5.3), (0.62, 6.2), (0.6, 6.9)]), 0.17, 1.0),
        ([[(-0.7, 4.45), (0, 4.3), (0.7, 4.45)]], 0.15, 0.35),
    ],
    "nose_root": [
        ([[(-0.75, y), (0, y - 0.12), (0.75, y)] for y in (4.2, 3.75)]
         + _both_sides([(0.5, 3.6), (1.0, 3.0), (1.35, 2.3)], [(0.85, 3.9), (1.3, 3.3), (1.7, 2.7)]), 0.11, 1.0),
    ],
    "nasolabial": [(_both_sides([(2.1, 0.15), (2.45, -0.5), (2.95, -1.5), (3.4, -2.6), (3.6, -3.6)]), 0.23, 1.0)],
    "under_eye": [(_both_sides([(1.7, 2.75), (2.6, 2.15), (3.6, 2.1), (4.6, 2.6), (5.0, 3.1)]), 0.13, 1.0)],
    "crow_feet": [
        (_both_sides([(5.0, 3.6), (5.6, 3.9), (6.1, 4.3)], [(5.05, 3.4), (5.7, 3.35), (6.3, 3.4)],
                     [(5.0, 3.15), (5.5, 2.85), (6.0, 2.5)]), 0.09, 1.0),
    ],
    "marionette": [(_both_sides([(2.75, -3.7), (3.1, -4.4), (3.15, -5.2)]), 0.16, 1.0)],
    "chin": [([[(-1.6, -4.95), (-0.8, -4.75), (0, -4.7), (0.8, -4.75), (1.6, -4.95)]], 0.16, 0.8)],
}  # fmt: skip
"""Fold -> lines that run together, their width (sigma, mesh units) and their share of the fold's depth."""

SOCKETS = [(side * x, 4.75, *reach) for side in (-1, 1) for x, *reach in ((1.55, 0.9, 0.8), (3.2, 1.5, 0.55))]
"""Soft shadows under a lowered brow: x, y and their reach in both."""

CHIN_DIMPLES, CHIN_BOX = 26, (-1.3, 1.3, -7.0, -5.4)


def depths(units: ActionUnits) -> dict[str, float]:
    """Fold -> how much of the light it takes, for action units."""
    w = {unit: both(units, unit) for unit in (1, 2, 4, 6, 7, 9, 10, 12, 15, 17, 20)}
    lifted = min(1.0, w[1])
    return {
        "sockets": 0.22 * w[4] * (1 - lifted),
        "forehead": 0.26 * min(w[1], w[2]),
        "mid_forehead": 0.26 * max(0.0, w[1] - w[2]),
        "glabella": 0.48 * w[4] * (1 - 0.75 * lifted),
        "nose_root": 0.36 * w[9],
        "nasolabial": 0.30 * max(0.9 * w[12], w[9], 0.9 * w[10], 0.5 * w[20]),
        "under_eye": 0.22 * max(w[6], 0.7 * w[7], 0.6 * w[9]),
        "crow_feet": 0.25 * w[6],
        "marionette": 0.28 * max(w[15], 0.4 * w[20]),
        "chin": 0.30 * w[17],
    }


class Creases:
    """One person's folds.

    Args:
        seed: the person's name; the same name has the same folds. None draws them as the tables stand.
        age: in years; None where unknown.
    """

    def __init__(self, seed: str | None = None, age: float | None = None):
        rng = Random(f"creases of {seed}") if seed is not None else None
        years = np.clip(1 + PER_YEAR * ((age or TYPICAL_AGE) - TYPICAL_AGE), *AGE_RANGE)
        self._maps = {name: _fold(parts, rng) for name, parts in LINES.items()}
        self._maps["chin"] += _dimples(rng or Random(3))
        self._maps["sockets"] = _shadows()
        self._depth = {name: years * (rng.uniform(1 - DEPTH, 1 + DEPTH) if rng else 1.0) for name in self._maps}

    def map(self, units: ActionUnits, gain: float = 1.0) -> np.ndarray:
        """The light that all folds together take, `MAP_SHAPE` float32; below 0 where flanks are lighter."""
        taken = np.zeros(MAP_SHAPE, np.float32)
        for name, depth in depths(units).items():
            if depth > 0.01:
                taken += self._maps[name] * np.float32(depth * gain * self._depth[name])
        return taken


def on_map(x_y: np.ndarray) -> np.ndarray:
    """Mesh units (..., 2) -> px of the maps (..., 2) float32."""
    return (np.stack([x_y[..., 0] - LEFT, TOP - x_y[..., 1]], axis=-1) * PX_PER_UNIT).astype(np.float32)


def _fold(parts: list[tuple[list[Line], float, float]], rng: Random | None) -> np.ndarray:
    total = np.zeros(MAP_SHAPE, np.float32)
    for lines, width, share in parts:
        for line in lines:
            points = [(x + rng.uniform(-SHIFT, SHIFT), y + rng.uniform(-SHIFT, SHIFT)) for x, y in line] if rng else line
            total += share * _valley(np.array(points, np.float64), width)
    return total


def _valley(points: np.ndarray, width: float) -> np.ndarray:
    """A line that fades towards its ends: 1 at its darkest, `FLANK` of it lighter beside it."""
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    at = np.linspace(0, 1, 80)
    course = on_map(PchipInterpolator(length / length[-1], points)(at))
    drawn = np.zeros(MAP_SHAPE, np.float32)
    for start, end, where in zip(course[:-1], course[1:], at, strict=False):
        strength = float(np.sin(np.pi * np.clip(where, 0.02, 0.98)) ** 0.7)
        ends = [tuple(np.round(point * 16).astype(int).tolist()) for point in (start, end)]
        cv2.line(drawn, *ends, strength, 1, cv2.LINE_8, 4)
    valley, flanks = blur(drawn, width * PX_PER_UNIT), blur(drawn, FLANK_WIDTH * width * PX_PER_UNIT)
    return (valley - FLANK * flanks) / (valley.max() + 1e-6)


def _dimples(rng: Random) -> np.ndarray:
    """The raised chin's orange peel."""
    spots = np.zeros(MAP_SHAPE, np.float32)
    left, right, bottom, top = CHIN_BOX
    for _ in range(CHIN_DIMPLES):
        centre = on_map(np.array([rng.uniform(left, right), rng.uniform(bottom, top)]))
        cv2.circle(spots, tuple(centre.astype(int).tolist()), round(0.1 * PX_PER_UNIT), 1.0, -1)
    near, wide = blur(spots, 0.125 * PX_PER_UNIT), blur(spots, 0.625 * PX_PER_UNIT)
    return (near - 0.35 * wide) / near.max()


def _shadows() -> np.ndarray:
    rows, columns = np.mgrid[: MAP_SHAPE[0], : MAP_SHAPE[1]] / PX_PER_UNIT
    x, y = columns + LEFT, TOP - rows
    return sum(np.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2) for cx, cy, rx, ry in SOCKETS).astype(np.float32)
