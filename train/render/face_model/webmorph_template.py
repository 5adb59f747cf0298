"""The 189 points of WebMorph's FRL template: read from a .tem file, named, and sampled along their lines.

Right and left are the subject's, as in the mesh: the subject's right eye is on the picture's left. Coordinates are (x,
y) in px.
"""

from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator

from ...data.metadata import DataError

POINTS = 189

PUPILS = (0, 1)
IRIS = {"R": range(2, 10), "L": range(10, 18)}
UPPER_LID = {"R": (18, 19, 20, 21, 22), "L": (23, 24, 25, 26, 27)}
LOWER_LID = {"R": (18, 28, 29, 30, 22), "L": (23, 31, 32, 33, 27)}
NOSE_RIDGES = (50, 51, 52, 53, 54), (56, 57, 58, 59, 60)
NOSE_BASE = 55
NOSE_TIP = 54
NOSE_WINGS = {"R": 62, "L": 67}
NOSTRILS = {"R": (63, 64), "L": (68, 69)}
BROW_UPPER = {"R": (71, 72, 73, 74, 75, 76), "L": (77, 78, 79, 80, 81, 82)}
BROW_LOWER = {"R": (71, 83, 84, 76), "L": (77, 85, 86, 82)}
BROW_EDGE = (83, 84, 85, 86)
UPPER_LIP_OUTER = (87, 88, 89, 90, 91, 92, 93)
UPPER_LIP_INNER = (87, 94, 95, 96, 97, 98, 93)
LOWER_LIP_INNER = (87, 99, 100, 101, 102, 103, 93)
LOWER_LIP_OUTER = (87, 104, 105, 106, 107, 108, 93)
JAW = (111, *range(125, 134), 114)
OUTLINE = (109, 185, 110, 186, 111, *range(125, 134), 114, 188, 113, 187, 112)
"""From one temple over ear, jaw and chin to the other."""

LIDS_BEST = ((UPPER_LID["R"][2], UPPER_LID["L"][2]), (LOWER_LID["R"][2], LOWER_LID["L"][2]))


def read_template(path: str | Path) -> np.ndarray:
    """The points of a WebMorph template file: their number, then x and y of each on a line of its own.

    Returns:
        (189, 2) float64, px of the photo, pixel centres at whole numbers.

    Raises:
        DataError: there is no such file, it has another number of points, or a line is no pair of numbers.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the template {path} cannot be read ({error}); save it with WebMorph as .tem") from error
    number = lines[0].strip() if lines else ""
    if number != str(POINTS):
        raise DataError(
            f"the template {path} says {number!r} points; {POINTS} are needed, as WebMorph's FRL template has them"
        )
    points = []
    for line, text in enumerate(lines[1 : POINTS + 1], start=2):
        try:
            x, y = (float(value) for value in text.split()[:2])
        except ValueError as error:
            raise DataError(f"the template {path} has {text!r} in line {line}, not x and y; save it anew") from error
        points.append((x, y))
    if len(points) < POINTS:
        raise DataError(f"the template {path} ends after {len(points)} of {POINTS} points; save it anew")
    found = np.array(points)
    if not np.isfinite(found).all() or np.linalg.norm(found[1] - found[0]) < 4:
        raise DataError(f"the template {path} has pupils at {tuple(found[0])} and {tuple(found[1])}, which fix no face")
    return found


def along(points: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Points on a smooth line, without overshoot (PCHIP), at fractions 0..1 of its length.

    Args:
        points: (N, 2), the line's own points.
        fractions: (M,).

    Returns:
        (M, 2) float64.
    """
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1) + 1e-3  # two points may coincide
    length = np.r_[0, np.cumsum(steps)]
    return PchipInterpolator(length, points)(np.clip(fractions, 0, 1) * length[-1])


def fractions_of(points: np.ndarray) -> np.ndarray:
    """How far along their line points lie, 0..1, seen from the front: (N, 2 or 3) -> (N,)."""
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1))]
    return length / length[-1]
