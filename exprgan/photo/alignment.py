"""Geometry of face crops: the matrix from the photo to the crop the networks see, and the crop itself.

Coordinates are continuous (x, y) in px: (0, 0) is the top left corner of the picture, (0.5, 0.5) the centre of its
first pixel. A matrix is a (2, 3) float64 array named after both its ends: `crop_from_photo` maps photo px to crop px.
"""

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
from PIL import Image

EYES = ((0.345, 0.28), (0.655, 0.28))
"""Positions of the pupils in every crop, (x, y) in sides of the crop; the eye on the picture's left comes first. They
alone fix the crop: if the mouth counted too, a smile or a dropped jaw would move or scale it, and the edit would no
longer fit the photo it came from."""

SUPERSAMPLING = 4
"""A face larger than the crop is warped at this many times the crop's size and then shrunk, as the training crops
were: a plain warp would skip pixels."""


def crop_from_photo(landmarks: Sequence[Sequence[float]] | np.ndarray, size: int) -> np.ndarray:
    """Computes the similarity (rotation, scale, translation; no reflection) that takes the two eyes to `EYES`.

    Args:
        landmarks: (2 or more, 2) in photo px; the first two are the eyes on the picture's left and right.
        size: side of the crop in px.

    Raises:
        ValueError: the eyes coincide.
    """
    (x0, y0), (x1, y1) = np.asarray(landmarks, dtype=np.float64)[:2]
    eyes = complex(x0, y0), complex(x1, y1)
    targets = [complex(x, y) * size for x, y in EYES]
    if abs(eyes[1] - eyes[0]) < 1e-6:
        raise ValueError(f"both eyes lie at ({x0:g}, {y0:g}): they fix no crop")
    rotation = (targets[1] - targets[0]) / (eyes[1] - eyes[0])  # and scale
    shift = targets[0] - rotation * eyes[0]
    return np.array([[rotation.real, -rotation.imag, shift.real], [rotation.imag, rotation.real, shift.imag]])


def invert(matrix: np.ndarray) -> np.ndarray:
    """Inverts a (2, 3) matrix."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Returns the matrix that applies `inner` first, then `outer`."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer @ np.append(inner[:, 2], 1)])


def translation(x: float, y: float) -> np.ndarray:
    """Returns the matrix that adds (x, y)."""
    return np.array([[1.0, 0, x], [0, 1, y]])


def scale_input(matrix: np.ndarray, factor: float) -> np.ndarray:
    """Returns the matrix that multiplies its input by `factor` before it applies `matrix`."""
    return matrix * np.array([factor, factor, 1])


def scale_of(matrix: np.ndarray) -> float:
    """Returns the factor by which a similarity enlarges lengths."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def transform(matrix: np.ndarray, points: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """Applies a matrix to points: (N, 2) -> (N, 2) float64."""
    return np.asarray(points, dtype=np.float64) @ matrix[:, :2].T + matrix[:, 2]


def photo_from_enlarged_crop(photo_from_crop: np.ndarray, crop_px: int, scale: float, output_px: int) -> np.ndarray:
    """Computes the matrix from an enlarged crop, which has the centre of the crop and `scale` times its side, to the photo.

    `crop_px` is the side of the crop in its px, `output_px` that of the enlarged crop in its own px.
    """
    step = crop_px * scale / output_px  # crop px per output px
    start = crop_px * (1 - scale) / 2
    return compose(photo_from_crop, np.array([[step, 0, start], [0, step, start]]))


def crop_face(photo: Image.Image, matrix: np.ndarray, size: int, supersampling: int = SUPERSAMPLING) -> Image.Image:
    """Cuts a crop of side `size` px out of an RGB photo; `matrix`: crop from photo.

    Where the crop reaches past the photo, the photo's edge pixels are repeated. It keeps the photo's colour profile.
    """
    step = 1 / scale_of(matrix)  # photo px per crop px
    sampling = supersampling if step > 1 else 1
    shrink = max(1, round(step / sampling))
    photo_from_crop = invert(matrix)
    corners = transform(photo_from_crop, [(0, 0), (size, 0), (0, size), (size, size)])
    part, part_from_photo = _extract_region(photo, corners, shrink)
    part_from_crop = scale_input(compose(part_from_photo, photo_from_crop), 1 / sampling)
    crop = part.transform((size * sampling, size * sampling), Image.Transform.AFFINE, tuple(part_from_crop.ravel()),
                          Image.Resampling.BICUBIC)  # fmt: skip
    crop = crop if sampling == 1 else crop.resize((size, size), Image.Resampling.LANCZOS)
    crop.info = photo.info.copy()
    return crop


def _extract_region(photo: Image.Image, corners: np.ndarray, shrink: int) -> tuple[Image.Image, np.ndarray]:
    """Cuts out the photo around some points at 1/shrink of its size, padded with edge pixels; and the matrix to it."""
    margin = 3 * shrink  # bicubic's support, and some
    wanted = [*(floor(v - margin) for v in corners.min(0)), *(ceil(v + margin) for v in corners.max(0))]
    left, top = (min(max(wanted[i], 0), photo.size[i] - 1) for i in (0, 1))
    right, bottom = (max(min(wanted[i + 2], photo.size[i]), (left, top)[i] + 1) for i in (0, 1))
    part = photo.crop((left, top, right, bottom))
    if shrink > 1:
        part = part.reduce(shrink)
    pad_x = [max(0, ceil(v / shrink)) for v in (left - wanted[0], wanted[2] - right)]
    pad_y = [max(0, ceil(v / shrink)) for v in (top - wanted[1], wanted[3] - bottom)]
    if any(pad_x + pad_y):
        part = Image.fromarray(np.pad(np.asarray(part), (pad_y, pad_x, (0, 0)), mode="edge"))
    return part, np.column_stack([np.eye(2) / shrink, [pad_x[0] - left / shrink, pad_y[0] - top / shrink]])
