"""The 189 points of WebMorph's FRL template: names of the points, reading of .tem files, and sampling of lines.

Right and left are the subject's, as in the mesh: the subject's right eye is on the left of the image. Coordinates are
(x, y) in px, pixel centres at whole numbers.
"""

from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator

from ...core.train_errors import DataError

NUM_POINTS = 189

PUPILS = [0, 1]
IRIS = {"R": list(range(2, 10)), "L": list(range(10, 18))}
NOSE_RIDGES = [[50, 51, 52, 53, 54], [56, 57, 58, 59, 60]]
NOSE_BASE = 55
NOSE_TIP = 54
NOSE_WINGS = {"R": 62, "L": 67}
NOSTRILS = {"R": [63, 64], "L": [68, 69]}
UPPER_LID_MIDDLES = [20, 25]
BROW_LOWER_EDGE = [83, 84, 85, 86]
FEATURE_LINES = {
    "upper_lid_R": [18, 19, 20, 21, 22],
    "lower_lid_R": [18, 28, 29, 30, 22],
    "upper_lid_L": [23, 24, 25, 26, 27],
    "lower_lid_L": [23, 31, 32, 33, 27],
    "upper_lip_outer": [87, 88, 89, 90, 91, 92, 93],
    "lower_lip_outer": [87, 104, 105, 106, 107, 108, 93],
    "upper_lip_inner": [87, 94, 95, 96, 97, 98, 93],
    "lower_lip_inner": [87, 99, 100, 101, 102, 103, 93],
    "upper_brow_R": [71, 72, 73, 74, 75, 76],
    "lower_brow_R": [71, 83, 84, 76],
    "upper_brow_L": [77, 78, 79, 80, 81, 82],
    "lower_brow_L": [77, 85, 86, 82],
    "jaw": [111, *range(125, 134), 114],
}
"""The points of each line of the face; lids and lips are named as in `Mesh.feature_lines`."""
OUTLINE = [109, 185, 110, 186, 111, *range(125, 134), 114, 188, 113, 187, 112]
"""From one temple over ear, jaw and chin to the other."""


def read_template(path: str | Path) -> np.ndarray:
    """Reads a .tem file of WebMorph: the number of points, then x and y of each point on a line of its own.

    Returns:
        (189, 2) float64, photo px.

    Raises:
        DataError: there is no such file, it has another number of points, or a line is not a pair of numbers.
    """
    try:
        number, *lines = Path(path).read_text(encoding="utf-8").splitlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the template {path} cannot be read ({error}); save it with WebMorph as .tem") from error
    if number.strip() != str(NUM_POINTS):
        raise DataError(f"the template {path} declares {number.strip()!r} points; {NUM_POINTS} are needed, as in "
                        "WebMorph's FRL template")  # fmt: skip
    points = []
    for row, line in enumerate(lines[:NUM_POINTS], start=2):
        try:
            x, y = (float(value) for value in line.split()[:2])
        except ValueError as error:
            raise DataError(f"the template {path} has {line!r} in line {row}, not x and y; save it again") from error
        points.append((x, y))
    if len(points) < NUM_POINTS:
        raise DataError(f"the template {path} ends after {len(points)} of {NUM_POINTS} points; save it again")
    template = np.array(points)
    if not np.isfinite(template).all() or np.linalg.norm(template[1] - template[0]) < 4:
        pupils = f"{tuple(template[0])} and {tuple(template[1])}"
        raise DataError(f"the template {path} has pupils at {pupils}, which fix no face")
    return template


def sample_line(points: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Samples a smooth line without overshoot (PCHIP) through points (N, 2) at fractions (M,) of its length: (M, 2)."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1) + 1e-3  # two points may coincide
    length = np.r_[0, np.cumsum(steps)]
    return PchipInterpolator(length, points)(np.clip(fractions, 0, 1) * length[-1])


def measure_fractions(points: np.ndarray) -> np.ndarray:
    """Measures how far along their line points lie, 0..1, in front view: (N, 2 or 3) -> (N,)."""
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1))]
    return length / length[-1]
