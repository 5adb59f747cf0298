"""Smoothing, polygons and smooth extension of what varies over the pixels of a patch."""

import cv2
import numpy as np

Window = tuple[slice, slice]
"""Rows, columns."""


def blur(field: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian smoothing of (H, W) or (H, W, C) float32."""
    return cv2.GaussianBlur(field, (0, 0), sigma_px)


def blur_coarsely(field: np.ndarray, sigma_px: float, reduction: int = 4) -> np.ndarray:
    """Nearly the same for a large sigma, at a fraction of the cost: on a copy that is `reduction` times smaller."""
    height, width = field.shape[:2]
    small = cv2.resize(field, (width // reduction, height // reduction), interpolation=cv2.INTER_AREA)
    return cv2.resize(blur(small, sigma_px / reduction), (width, height), interpolation=cv2.INTER_LINEAR)


def polygon(points: np.ndarray, shape: tuple[int, int], origin: tuple[float, float] = (0, 0)) -> np.ndarray:
    """Coverage of a polygon's pixels, with smooth edges.

    Args:
        points: (N, 2) as (x, y) in px.
        shape: (H, W) of the result.
        origin: (x, y) of the result's first pixel, in the points' px.

    Returns:
        (H, W) float32 in 0..1.
    """
    mask = np.zeros(shape, np.uint8)
    sixteenths = np.round((points - np.asarray(origin)) * 16).astype(np.int32)
    cv2.fillPoly(mask, [sixteenths], 255, cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255


def filled(mask: np.ndarray) -> np.ndarray:
    """A boolean mask with its holes closed -> (H, W) uint8, 0 or 1."""
    result = np.zeros(mask.shape, np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(result, outlines, -1, 1, -1)
    return result


def extend(field: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Continues a field smoothly to where it is not known (push-pull: averages over ever coarser cells).

    Args:
        field: (H, W, C) float32.
        known: (H, W) float32 in 0..1; where it is 1, the field stays as it is.
    """
    if min(known.shape) <= 4:
        mean = (field * known[..., None]).sum((0, 1)) / max(known.sum(), 1e-6)
        return np.broadcast_to(mean, field.shape).astype(np.float32)
    height, width = known.shape
    half = (width + 1) // 2, (height + 1) // 2
    summed = cv2.resize(field * known[..., None], half, interpolation=cv2.INTER_AREA).reshape(half[1], half[0], -1)
    share = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    mean = summed / np.maximum(share, 1e-6)[..., None]
    coarse = extend(mean, np.minimum(share * 4, 1).astype(np.float32) * (share > 1e-6))
    there = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, -1)
    return field * known[..., None] + there * (1 - known[..., None])


def sample(field: np.ndarray, where: np.ndarray) -> np.ndarray:
    """A field read at (H, W, 2) positions (x, y), linearly between its pixels; at the border it goes on as it ends."""
    x, y = np.ascontiguousarray(where[..., 0], np.float32), np.ascontiguousarray(where[..., 1], np.float32)
    return cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def warp(image: np.ndarray, source: np.ndarray) -> np.ndarray:
    """An image whose pixels come from `source`, (H, W, 2) positions (x, y) in it: bicubic."""
    x, y = np.ascontiguousarray(source[..., 0], np.float32), np.ascontiguousarray(source[..., 1], np.float32)
    return cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def pixels(shape: tuple[int, int]) -> np.ndarray:
    """(H, W, 2) float32: each pixel's own (x, y)."""
    return np.stack(np.meshgrid(np.arange(shape[1]), np.arange(shape[0])), axis=2).astype(np.float32)


def window_around(mask: np.ndarray, margin: int) -> Window:
    """The rows and columns of a mask's pixels, and `margin` more on each side, inside the picture."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    rows = slice(max(y - margin, 0), min(y + height + margin, mask.shape[0]))
    return rows, slice(max(x - margin, 0), min(x + width + margin, mask.shape[1]))
