"""How a photo's face comes to lie in the crop: by the eyes, as everywhere in the library, or by five points."""

from collections.abc import Sequence

import numpy as np

from exprgan.photo.alignment import EYES, crop_from_photo

FIVE_POINTS = (*EYES, (0.5, 0.445), (0.376, 0.6165), (0.624, 0.6165))
"""Where eyes, nose and mouth corners lie, as (x, y) parts of the crop's side. Below the eyes: the mean of what MTCNN
finds on the neutral photos of the 112 training people of the bundled weights, laid on `EYES` and made symmetric."""


def crop_by_landmarks(landmarks: Sequence[Sequence[float]], size: int) -> np.ndarray:
    """The similarity (turn, scale, shift; no mirroring) that takes five points nearest to `FIVE_POINTS`.

    To compare with: the mouth counts, so a smile or a dropped jaw moves and zooms the crop.

    Args:
        landmarks: (5, 2) in photo px, in the order of `exprgan.photo.detection.Face.landmarks`.
        size: side of the crop in px.

    Returns:
        (2, 3) float64, photo px -> crop px: least squares over the five points.

    Raises:
        ValueError: there are not five points, or they coincide.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape != (5, 2):
        raise ValueError(f"expected five landmarks (5, 2), got {points.shape}")
    here = points[:, 0] + 1j * points[:, 1]
    there = np.array([complex(x, y) for x, y in FIVE_POINTS]) * size
    spread = here - here.mean()
    if not np.abs(spread).any():
        raise ValueError(f"all five landmarks lie at ({points[0, 0]:g}, {points[0, 1]:g}): they fix no crop")
    turn = np.vdot(spread, there) / np.vdot(spread, spread)  # complex regression: there ~ turn * here + shift
    shift = there.mean() - turn * here.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


ALIGNMENTS = {"eyes": crop_from_photo, "landmarks": crop_by_landmarks}
"""name -> crop from photo."""
