"""Two ways to align a face to the crop: by the eyes, as everywhere in the library, or by five landmarks."""

from collections.abc import Sequence

import numpy as np

from exprgan.photo.alignment import EYES, crop_from_photo

FIVE_POINTS = (*EYES, (0.5, 0.445), (0.376, 0.6165), (0.624, 0.6165))
"""Positions (x, y) of eyes, nose and mouth corners, in parts of the crop's side. Nose and mouth are the mean of MTCNN's
landmarks on the neutral photos of the 112 training people of the bundled weights, aligned by `EYES` and made symmetric."""


def crop_by_landmarks(landmarks: Sequence[Sequence[float]], size: int) -> np.ndarray:
    """Fits the similarity (rotation, scale, shift; no mirroring) that takes five landmarks nearest to `FIVE_POINTS`.

    It is there for comparison: as the mouth counts too, a smile or a dropped jaw moves and zooms the crop.

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
    source = points[:, 0] + 1j * points[:, 1]
    target = np.array([complex(x, y) for x, y in FIVE_POINTS]) * size
    centred = source - source.mean()
    if not np.abs(centred).any():
        raise ValueError(f"all five landmarks lie at ({points[0, 0]:g}, {points[0, 1]:g}): they fix no crop")
    factor = np.vdot(centred, target) / np.vdot(centred, centred)  # complex regression: target ~ factor * source + shift
    shift = target.mean() - factor * source.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


ALIGNMENTS = {"eyes": crop_from_photo, "landmarks": crop_by_landmarks}
"""--align -> function of (landmarks, size) that returns the matrix photo px -> crop px."""
