"""The photo in the frame that everything is computed in: pupils level, 200 px apart, at one place.

All constants of the renderer are in px of this frame. London's photos have about this resolution.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from .webmorph_template import PUPILS

SHAPE = (840, 760)
"""Height and width of a patch."""

EYE_DISTANCE = 200.0
EYE_Y = 320.0

MOST_SHRUNK = 0.7  # a photo that is shrunk by more is smoothed first
GREYEST, LIFTED, LIFT = 1.0, 188.0, 1.3  # an underexposed backdrop is lifted to 188 of 255, but by no more than 1.3
GAINS = (0.6, 1.7)


@dataclass(frozen=True, eq=False)
class Patch:
    """A photo in the common frame.

    Attributes:
        image: (H, W, 3) float32, RGB in 0..255; the photo's border is repeated outside of it.
        points: (189, 2) float64, the template, px of the patch, pixel centres at whole numbers.
        matrix: (2, 3) float64, photo px -> patch px.
    """

    image: np.ndarray
    points: np.ndarray
    matrix: np.ndarray

    @classmethod
    def of(cls, photo: Image.Image, points: np.ndarray, balance: bool = False) -> "Patch":
        """Lays a photo into the frame by its template's pupils.

        Args:
            photo: RGB, upright.
            points: (189, 2) in photo px.
            balance: neutralise a coloured studio backdrop first.
        """
        image = np.asarray(photo)
        image = neutral_backdrop(image) if balance else image
        matrix = by_pupils(points[list(PUPILS)])
        return cls(lay(image, matrix), points @ matrix[:, :2].T + matrix[:, 2], matrix)


def by_pupils(pupils: np.ndarray) -> np.ndarray:
    """(2, 2) photo px -> (2, 3): the similarity that brings the pupils to their place."""
    target = np.array([[-0.5, 0], [0.5, 0]]) * EYE_DISTANCE + [SHAPE[1] / 2, EYE_Y]
    return similarity(pupils, target)


def similarity(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The turn, scale and shift that takes points nearest to others (least squares): (N, 2), (N, 2) -> (2, 3)."""
    a, b = here @ [1, 1j], there @ [1, 1j]
    turn = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean())
    shift = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def lay(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 -> the patch, (H, W, 3) float32."""
    if (scale := float(np.hypot(*matrix[:, 0]))) < MOST_SHRUNK:
        image = cv2.GaussianBlur(image, (0, 0), 0.5 / scale)
    laid = cv2.warpAffine(image, matrix, SHAPE[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return laid.astype(np.float32)


def neutral_backdrop(image: np.ndarray) -> np.ndarray:
    """Removes a coloured light: the backdrop in the two top corners becomes grey, and a dark one brighter."""
    height, width = image.shape[:2]
    rows = slice(20, height // 6)
    corners = [image[rows, 20 : width // 8].reshape(-1, 3), image[rows, -width // 8 : -20].reshape(-1, 3)]
    backdrop = np.median(np.vstack(corners), axis=0)
    target = min(LIFT * backdrop.mean(), max(backdrop.mean(), LIFTED))
    return np.clip(image * np.clip(target / np.maximum(backdrop, GREYEST), *GAINS), 0, 255).astype(np.uint8)
