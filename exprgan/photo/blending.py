"""Pastes an edited crop back into its photo: mask, colour matching, grain, and a warp to the photo's resolution.

Coordinates and matrices are as in `alignment`.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from math import ceil, floor
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from .alignment import compose, invert, scale_input, scale_of, transform, translation
from .image_io import LUMA

ImageLike = np.ndarray | Image.Image
Pixels = TypeVar("Pixels", np.ndarray, torch.Tensor)
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in whole px of a photo."""

MIN_GRAIN, MAX_GRAIN = 0.3, 12.0
"""Standard deviations in levels of 255: less would vanish in rounding, coarser noise is texture, not grain."""

_NOISE_TILE_PX = 256
_PAD_PX = 2  # edge pixels repeated around a patch, so that bicubic finds neighbours there
_BAND_PX = 64  # rows of the photo blended at once, so that the work stays in the processor's cache


def face_mask(size: int) -> np.ndarray:
    """Builds the weight with which an edit goes back into the photo, over the crop: (size, size) float32 in [0, 1].

    1 from the raised brows to the chin, fading smoothly to 0 at the hairline, at the edge of the cheeks and below a
    dropped jaw, so that hair and background stay the photo's own. Always 0 on the crop's border.
    """
    middle = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(np.abs(middle - 0.5) / 0.38, middle - 0.45)
    forehead = (x**4 + (y / 0.45) ** 4) ** (1 / 4)  # nearly a rectangle, to hold the outer ends of the brows
    jaw = np.hypot(x, y / 0.55)  # an ellipse
    mask = smooth_step((1 - np.where(y < 0, forehead, jaw)) / 0.3)
    mask[[0, -1]] = mask[:, [0, -1]] = 0
    return mask.astype(np.float32)


def paste_back(photo: Image.Image, patch: ImageLike, photo_from_crop: np.ndarray, mask: np.ndarray,
               grain: float = 0.0) -> Image.Image:  # fmt: skip
    """Blends an edited crop of side S into a copy of the RGB photo it came from.

    Args:
        patch: the edited crop, (S, S, 3) in 0..255 or an RGB image.
        mask: (S, S) in [0, 1]; where it is 0, with its neighbours, the photo's pixels do not change.
        grain: see `blend_planes`.
    """
    if photo.mode != "RGB":
        raise ValueError(f"expected an RGB photo, got mode {photo.mode}; read it with load_photo")
    patch = np.asarray(patch, np.float32)
    if patch.shape != (*mask.shape, 3):
        raise ValueError(f"expected a patch {(*mask.shape, 3)} like the mask, got {patch.shape}")
    result = photo.copy()
    for box, planes, weight in planes_in_photo(np.moveaxis(patch, 2, 0), photo_from_crop, mask, photo.size):
        blend_planes(result, box, planes, weight, grain)
    return result


def blend_planes(photo: Image.Image, box: Box, planes: Iterable[np.ndarray], weight: np.ndarray, grain: float) -> None:
    """Blends colours into a part of an RGB photo, in place: pixel + weight * (plane - pixel).

    Args:
        planes: red, green and blue, (h, w) in 0..255.
        weight: (h, w) in [0, 1].
        grain: standard deviation, in levels of 255, of noise added to the planes; it depends on a pixel's position alone.
    """
    if (noise := grain_at(box, grain)) is not None:
        planes = (plane + noise for plane in planes)
    pixels = np.array(photo.crop(box))
    for channel, plane in enumerate(planes):  # one by one: numpy is slow along an axis of three
        original = pixels[..., channel].astype(np.float32)
        pixels[..., channel] = np.rint(original + weight * (plane - original)).clip(0, 255)
    photo.paste(Image.fromarray(pixels), box)


def grain_at(box: Box, grain: float) -> np.ndarray | None:
    """The noise of `blend_planes` over a box, (h, w), the same for all channels; None if it is less than MIN_GRAIN."""
    if grain < MIN_GRAIN:
        return None
    columns, rows = (np.arange(box[i], box[i + 2]) % _NOISE_TILE_PX for i in (0, 1))
    return _noise_tile()[rows[:, None], columns] * grain


def planes_in_photo(
    planes: Iterable[np.ndarray], photo_from_crop: np.ndarray, mask: np.ndarray, photo_size: tuple[int, int],
    smooth: bool = False,
) -> Iterator[tuple[Box, list[np.ndarray], np.ndarray]]:  # fmt: skip
    """Warps planes (S, S) over a crop of side S to the photo's resolution, in bands of rows, wherever the mask reaches.

    Args:
        mask: (S, S) in [0, 1].
        smooth: planes and mask have no detail as fine as one of their pixels, which makes the warp cheaper.

    Yields:
        The band's box, its planes (h, w) float32, and the mask there (h, w) in [0, 1].
    """
    box = mask_bounds(mask, photo_from_crop, photo_size)
    if box is None:
        return
    pad = (_PAD_PX, _PAD_PX)
    padded = [*(np.pad(plane, pad, mode="edge") for plane in planes), np.pad(mask, pad)]
    stack = np.stack(padded, dtype=np.float32, casting="same_kind")
    coarse, stride = _warp_coarsely(stack, compose(photo_from_crop, translation(-_PAD_PX, -_PAD_PX)), box, smooth)
    left, top, right, bottom = box
    wide = _enlarge_rows(coarse, stride, right - left)
    for y in range(top, bottom, _BAND_PX):
        end = min(y + _BAND_PX, bottom)
        rows, weights = _bicubic_weights(wide.shape[1], stride, y - top, end - top)
        columns = wide[-1, rows].any(0).nonzero()  # where the mask is not 0
        if len(columns) > 0:
            first, last = int(columns[0]), int(columns[-1]) + 1
            *band, weight = (weights @ wide[:, rows, first:last]).numpy()
            yield (left + first, y, left + last, end), band, weight.clip(0, 1)


def mask_bounds(mask: np.ndarray, photo_from_crop: np.ndarray, photo_size: tuple[int, int]) -> Box | None:
    """Bounds the photo's whole pixels that a mask (S, S) over a crop may reach; None if there are none."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0:
        return None
    x, y = (columns[0] - 1, columns[-1] + 2), (rows[0] - 1, rows[-1] + 2)
    corners = transform(photo_from_crop, [(a, b) for a in x for b in y])
    left, top = (max(0, floor(v)) for v in corners.min(0))
    right, bottom = (min(end, ceil(v)) for end, v in zip(photo_size, corners.max(0), strict=True))
    return (left, top, right, bottom) if left < right and top < bottom else None


def match_color(patch: ImageLike, reference: ImageLike, mask: np.ndarray) -> np.ndarray:
    """Matches the brightness and contrast of a patch to those of the crop it replaces, so that no seam shows.

    Mean and standard deviation of each channel are compared where a seam would be: where the mask (S, S) is neither 0
    nor 1 and both pictures show. One gain (0.7..1.4) and one offset per channel serve the whole patch, so that what the
    edit does inside the face is kept.

    `patch` and `reference`, the edited and the unedited crop, are (S, S, 3) in 0..255 or RGB images. The result is
    (S, S, 3) float32, not clipped to 0..255; it is the patch itself if the mask is nowhere between 0 and 1.
    """
    patch, reference = (np.asarray(picture, dtype=np.float32) for picture in (patch, reference))
    rim = mask * (1 - mask)
    if rim.sum() == 0:
        return patch
    (mean, deviation), (target_mean, target_deviation) = (_channel_statistics(x, rim) for x in (patch, reference))
    gain = np.clip(target_deviation / np.maximum(deviation, 1e-3), 0.7, 1.4)
    return ((patch - mean) * gain + target_mean).astype(np.float32)


def estimate_grain(photo: Image.Image, photo_from_crop: np.ndarray, size: int) -> float:
    """Estimates the standard deviation of an RGB photo's fine noise on the cheeks, in levels of 255.

    From the median of |second differences| along rows and columns, which edges hardly move (Immerkaer, 1996).
    `photo_from_crop` is for a crop of side `size` px.
    """
    estimates = []
    for middle in ((0.3, 0.5), (0.7, 0.5)):
        x, y = photo_from_crop @ (middle[0] * size, middle[1] * size, 1)
        half = min(0.07 * size * scale_of(photo_from_crop), 128.0)
        left, top = max(0, x - half), max(0, y - half)
        right, bottom = min(photo.width, x + half), min(photo.height, y + half)
        if right - left < 8 or bottom - top < 8:
            continue
        grey = np.asarray(photo.crop((left, top, right, bottom)), np.float32) @ np.array(LUMA, np.float32)
        differences = np.diff(np.diff(grey, 2, axis=0), 2, axis=1)  # white noise of deviation s has 6 s here
        estimates.append(float(np.median(np.abs(differences))) / 0.6745 / 6)
    return min(min(estimates, default=0.0), MAX_GRAIN)


def smooth_step(x: Pixels) -> Pixels:
    """Maps x to 0 below 0, to 1 above 1, and to 3 x^2 - 2 x^3 between."""
    x = x.clip(0, 1)
    return x * x * (3 - 2 * x)


@cache
def _noise_tile() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((_NOISE_TILE_PX, _NOISE_TILE_PX), np.float32)


def _channel_statistics(picture: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the weighted mean and standard deviation of each channel, (3,) each."""
    pixels, weight = picture.reshape(-1, 3), weight.ravel()
    mean = np.average(pixels, axis=0, weights=weight)
    return mean, np.sqrt(np.average((pixels - mean) ** 2, axis=0, weights=weight))


def _warp_coarsely(stack: np.ndarray, photo_from_stack: np.ndarray, box: Box, smooth: bool) -> tuple[torch.Tensor, int]:
    """Warps (C, S, S) onto a box of the photo, one value for every stride x stride of its pixels.

    A stride is at most half a pixel of the stack, or a whole one if it is smooth, so nothing is lost; enlarging the
    rest of the way along the axes is many times faster than a full warp. Where the photo is coarser than the stack,
    the stack is shrunk first, so that none of its pixels is skipped.

    Returns (C, h, w) float32, and the stride in px.
    """
    size, scale = stack.shape[1], scale_of(photo_from_stack)
    shrunk = max(1, min(size, ceil(size * scale)))
    stride = max(1, int(scale if smooth else scale / 2))
    left, top, right, bottom = box
    columns, rows = (np.arange(ceil(length / stride), dtype=np.float32) + 0.5 for length in (right - left, bottom - top))
    if shrunk < size:
        images = (Image.fromarray(plane) for plane in stack)
        stack = np.stack([np.asarray(image.resize((shrunk, shrunk), Image.Resampling.LANCZOS)) for image in images])
    stack_from_grid = scale_input(compose(invert(photo_from_stack), translation(left, top)), stride)
    (xx, xy, x0), (yx, yy, y0) = stack_from_grid * (2 / size)
    grid = np.empty((len(rows), len(columns), 2), np.float32)  # -1..1 over the stack
    grid[..., 0] = xx * columns + xy * rows[:, None] + (x0 - 1)
    grid[..., 1] = yx * columns + yy * rows[:, None] + (y0 - 1)
    warped = F.grid_sample(torch.from_numpy(stack)[None], torch.from_numpy(grid)[None], padding_mode="border",
                           mode="bilinear" if smooth else "bicubic", align_corners=False)  # fmt: skip
    return warped[0], stride


def _enlarge_rows(coarse: torch.Tensor, stride: int, width: int) -> torch.Tensor:
    """Interpolates (C, h, w), a value for every `stride` px of a row, to (C, h, width), a value for every px."""
    parts = []
    for x in range(0, width, 2 * _BAND_PX):
        columns, weights = _bicubic_weights(coarse.shape[2], stride, x, min(x + 2 * _BAND_PX, width))
        parts.append(coarse[..., columns] @ weights.T)
    return torch.cat(parts, dim=2)


def _bicubic_weights(count: int, stride: int, start: int, stop: int) -> tuple[slice, torch.Tensor]:
    """Computes the weights that interpolate pixels start to stop from `count` values, one for every `stride` pixels.

    Returns the n values that are needed, as a slice, and their weights (stop - start, n).
    """
    first, last = max(0, start // stride - 2), min(count, ceil(stop / stride) + 2)
    identity = Image.fromarray(np.eye(last - first, dtype=np.float32))
    box = (0, start / stride - first, last - first, stop / stride - first)
    weights = identity.resize((last - first, stop - start), Image.Resampling.BICUBIC, box=box)
    return slice(first, last), torch.from_numpy(np.array(weights))
