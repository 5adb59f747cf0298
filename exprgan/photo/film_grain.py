"""The grain of a photo, measured on its skin and given to what is invented: smooth teeth in a noisy photo look pasted."""

from functools import cache

import numpy as np
from PIL import Image

from .image_io import LUMA

TILE_PX = 256
MAX_GRAIN = 12.0
"""Levels of 255: what is rougher is texture, not grain."""


def estimate_grain(photo: Image.Image, photo_from_crop: np.ndarray, size: int) -> float:
    """Standard deviation of the photo's fine noise on the cheeks, in levels of 255.

    From the median of |second differences| along rows and columns, which edges hardly move (Immerkaer, 1996).
    """
    reaches = []
    for middle in ((0.3, 0.5), (0.7, 0.5)):
        x, y = photo_from_crop @ (middle[0] * size, middle[1] * size, 1)
        half = 0.07 * size * float(np.sqrt(abs(np.linalg.det(photo_from_crop[:, :2]))))
        half = min(half, 128.0)
        left, top, right, bottom = (
            max(0, x - half),
            max(0, y - half),
            min(photo.width, x + half),
            min(photo.height, y + half),
        )
        if right - left < 8 or bottom - top < 8:
            continue
        grey = np.asarray(photo.crop((left, top, right, bottom)), np.float32) @ np.float32(LUMA)
        fine = np.diff(np.diff(grey, 2, axis=0), 2, axis=1)  # of white noise of deviation s: deviation 6 s
        reaches.append(float(np.median(np.abs(fine))) / 0.6745 / 6)
    return min(min(reaches, default=0.0), MAX_GRAIN)


def add_grain(planes: tuple[np.ndarray, ...], grain: float, band: tuple[int, int, int, int]) -> list[np.ndarray]:
    """Planes (h, w) over a band (x0, y0, x1, y1) of the photo, with grain that depends on the place alone."""
    if grain < 0.3:  # it would drown in rounding
        return list(planes)
    rows, columns = np.arange(band[1], band[3]) % TILE_PX, np.arange(band[0], band[2]) % TILE_PX
    noise = _tile()[rows[:, None], columns] * grain
    return [plane + noise for plane in planes]


@cache
def _tile() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((TILE_PX, TILE_PX), np.float32)
