"""The canonical frame: photos warped so that the pupils are level, 200 px apart and at a fixed position.

All constants of the renderer are in px of this frame. The photos of the London set have about this resolution.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from exprgan.photo.alignment import transform

from .webmorph_template import PUPILS

PATCH_SHAPE = (840, 760)  # height, width
EYE_DISTANCE_PX = 200.0
EYE_Y_PX = 320.0
PUPIL_TARGETS = np.array([[-0.5, 0], [0.5, 0]]) * EYE_DISTANCE_PX + [PATCH_SHAPE[1] / 2, EYE_Y_PX]  # (x, y) in a patch

MIN_UNSMOOTHED_SCALE = 0.7  # a photo that is shrunk below this is smoothed first
MIN_BACKDROP_LEVEL = 1.0  # against division by zero
BRIGHT_BACKDROP_LEVEL, MAX_BRIGHTENING = 188.0, 1.3  # an underexposed backdrop is lifted to 188 of 255, by at most 1.3
CHANNEL_GAIN_RANGE = (0.6, 1.7)


@dataclass(frozen=True, eq=False)
class Patch:
    """A photo in the canonical frame."""

    image: np.ndarray  # (H, W, 3) float32, RGB in 0..255; beyond the photo its edge pixels are repeated
    points: np.ndarray  # (189, 2) float64, the template in patch px, pixel centres at whole numbers
    matrix: np.ndarray  # (2, 3) float64, photo px -> patch px

    @classmethod
    def from_photo(cls, photo: Image.Image, points: np.ndarray, balance: bool = False) -> "Patch":
        """Warps a photo into the frame by the pupils of its template.

        Args:
            photo: RGB, upright.
            points: (189, 2) in photo px.
            balance: neutralise a coloured studio backdrop first.
        """
        image = np.asarray(photo)
        matrix = fit_similarity(points[PUPILS], PUPIL_TARGETS)
        image = warp_to_patch(neutralise_backdrop(image) if balance else image, matrix)
        return cls(image, transform(matrix, points), matrix)


def fit_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Fits rotation, scale and shift by least squares, as the complex regression b = z a + t: (N, 2), (N, 2) -> (2, 3)."""
    a, b = source @ [1, 1j], target @ [1, 1j]
    z = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean())
    t = b.mean() - z * a.mean()
    return np.array([[z.real, -z.imag, t.real], [z.imag, z.real, t.imag]])


def warp_to_patch(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Warps (h, w, 3) uint8 into the frame: (H, W, 3) float32. `matrix` is (2, 3), photo px -> patch px."""
    if (scale := float(np.hypot(*matrix[:, 0]))) < MIN_UNSMOOTHED_SCALE:
        image = cv2.GaussianBlur(image, (0, 0), 0.5 / scale)
    patch = cv2.warpAffine(image, matrix, PATCH_SHAPE[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return patch.astype(np.float32)


def neutralise_backdrop(image: np.ndarray) -> np.ndarray:
    """Removes a colour cast: makes the backdrop in the two top corners grey, and a dark one brighter. (h, w, 3) uint8."""
    height, width = image.shape[:2]
    rows = slice(20, height // 6)
    corners = [image[rows, 20 : width // 8].reshape(-1, 3), image[rows, -width // 8 : -20].reshape(-1, 3)]
    backdrop = np.median(np.vstack(corners), axis=0)
    level = min(MAX_BRIGHTENING * backdrop.mean(), max(backdrop.mean(), BRIGHT_BACKDROP_LEVEL))
    gain = np.clip(level / np.maximum(backdrop, MIN_BACKDROP_LEVEL), *CHANNEL_GAIN_RANGE)
    return np.clip(image * gain, 0, 255).astype(np.uint8)
