"""Operations on fields over the pixels of a patch: smoothing, polygons, resampling and smooth extrapolation."""

import cv2
import numpy as np

Window = tuple[slice, slice]
"""Rows, columns."""


def blur(field: np.ndarray, sigma_px: float) -> np.ndarray:
    """Smooths (H, W) or (H, W, C) float32 with a Gaussian."""
    return cv2.GaussianBlur(field, (0, 0), sigma_px)


def blur_downsampled(field: np.ndarray, sigma_px: float, factor: int = 4) -> np.ndarray:
    """Approximates `blur` with a large sigma at a fraction of the cost, on a copy that is `factor` times smaller."""
    height, width = field.shape[:2]
    small = cv2.resize(field, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    return cv2.resize(blur(small, sigma_px / factor), (width, height), interpolation=cv2.INTER_LINEAR)


def polygon_mask(points: np.ndarray, shape: tuple[int, int], origin: tuple[float, float] = (0, 0)) -> np.ndarray:
    """Rasterises a polygon with antialiased edges.

    Args:
        points: (N, 2) as (x, y) in px.
        shape: (H, W) of the result.
        origin: (x, y) of the result's first pixel, in the same px as the points.

    Returns:
        (H, W) float32: coverage in 0..1.
    """
    mask = np.zeros(shape, np.uint8)
    sixteenths = np.round((points - np.asarray(origin)) * 16).astype(np.int32)
    cv2.fillPoly(mask, [sixteenths], 255, cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Closes the holes of a boolean mask: (H, W) uint8, 0 or 1."""
    outside = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(outside, None, (0, 0), 2)
    return (outside[1:-1, 1:-1] != 2).astype(np.uint8)


def extrapolate(field: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Continues a field smoothly into its unknown pixels by push-pull: averages over ever coarser cells.

    Args:
        field: (H, W, C) float32.
        known: (H, W) float32 in 0..1; where it is 1, the field keeps its values.
    """
    if min(known.shape) <= 4:
        mean = (field * known[..., None]).sum((0, 1)) / max(known.sum(), 1e-6)
        return np.broadcast_to(mean, field.shape).astype(np.float32)
    height, width = known.shape
    half = (width + 1) // 2, (height + 1) // 2
    weighted = cv2.resize(field * known[..., None], half, interpolation=cv2.INTER_AREA).reshape(half[1], half[0], -1)
    weight = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    mean = weighted / np.maximum(weight, 1e-6)[..., None]
    coarse = extrapolate(mean, np.minimum(weight * 4, 1).astype(np.float32) * (weight > 1e-6))
    filled = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, -1)
    return field * known[..., None] + filled * (1 - known[..., None])


def sample(field: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Samples a field bilinearly at (H, W, 2) positions (x, y); border values are repeated outside of it."""
    return _remap(field, positions, cv2.INTER_LINEAR)


def warp(image: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Samples an image bicubically at (H, W, 2) positions (x, y): a backward warp; border values are repeated."""
    return _remap(image, positions, cv2.INTER_CUBIC)


def _remap(field: np.ndarray, positions: np.ndarray, interpolation: int) -> np.ndarray:
    x, y = (np.ascontiguousarray(positions[..., axis], np.float32) for axis in (0, 1))
    return cv2.remap(field, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE)


def pixel_grid(shape: tuple[int, int]) -> np.ndarray:
    """Returns the (x, y) of every pixel: (H, W, 2) float32."""
    return np.stack(np.meshgrid(np.arange(shape[1]), np.arange(shape[0])), axis=2).astype(np.float32)


def padded_bounds(mask: np.ndarray, margin: int) -> Window:
    """Returns the window around a mask's pixels with `margin` more on each side, clipped to the picture."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    rows = slice(max(y - margin, 0), min(y + height + margin, mask.shape[0]))
    return rows, slice(max(x - margin, 0), min(x + width + margin, mask.shape[1]))
