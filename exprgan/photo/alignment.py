"""Geometry between a photo and the crop the networks see: where the crop lies, and how an edit returns.

Coordinates are continuous (x, y) in px: (0, 0) is the top left corner of the picture, (0.5, 0.5) the centre
of its first pixel. A matrix is a (2, 3) float64 array named after both its ends: `crop_from_photo` takes a
point of the photo to the crop.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, floor

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from .film_grain import add_grain

ImageLike = np.ndarray | Image.Image
Box = tuple[int, int, int, int]
"""Whole px of a photo: x0, y0, x1, y1."""

EYES = ((0.345, 0.28), (0.655, 0.28))
"""Where the pupils lie in every crop, as (x, y) parts of its side; first the one on the picture's left. They
alone fix the crop: were the mouth to count too, a smile or a dropped jaw would move or zoom it, and the edit
would no longer fit the photo it came from."""

SUPERSAMPLING = 4
"""A face larger than the crop is warped at this many times the crop's size and then shrunk, as the training
crops were: a plain warp would skip pixels."""

_RIM_PX = 2  # repeated around a patch, so that bicubic finds neighbours at its edges
_BAND_PX = 64  # rows of the photo blended at once, so that the work stays in the processor's cache


def crop_from_photo(landmarks: Sequence[Sequence[float]] | np.ndarray, size: int) -> np.ndarray:
    """The similarity (turn, scale, shift; no mirroring) that takes the two eyes to `EYES`.

    Args:
        landmarks: (2 or more, 2) in photo px; the first two are the eyes on the picture's left and right.
        size: side of the crop in px.

    Returns:
        (2, 3) float64, photo px -> crop px.

    Raises:
        ValueError: the eyes coincide.
    """
    (x0, y0), (x1, y1) = np.asarray(landmarks, dtype=np.float64)[:2]
    eyes = complex(x0, y0), complex(x1, y1)
    targets = [complex(x, y) * size for x, y in EYES]
    if abs(eyes[1] - eyes[0]) < 1e-6:
        raise ValueError(f"both eyes lie at ({x0:g}, {y0:g}): they fix no crop")
    turn = (targets[1] - targets[0]) / (eyes[1] - eyes[0])
    shift = targets[0] - turn * eyes[0]
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def invert(matrix: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix of the way back."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def transform(matrix: np.ndarray, points: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """Points (N, 2) at the one end of a matrix -> (N, 2) float64 at the other."""
    return np.asarray(points, dtype=np.float64) @ matrix[:, :2].T + matrix[:, 2]


def photo_from_wide_crop(photo_from_crop: np.ndarray, size: int, frame: float, cells: int) -> np.ndarray:
    """Photo from a frame of `cells` px a side, which lies about the crop's centre and is `frame` times as large.

    Args:
        photo_from_crop: (2, 3), for a crop of side `size`.
    """
    step = size * frame / cells  # crop px per frame px
    start = size * (1 - frame) / 2
    return _compose(photo_from_crop, np.array([[step, 0, start], [0, step, start]]))


def crop_face(photo: Image.Image, matrix: np.ndarray, size: int) -> Image.Image:
    """Cut the face out of a photo. Where the frame reaches past the photo, its edge pixels are repeated.

    Args:
        photo: RGB.
        matrix: crop from photo, made for the same `size`.
        size: side of the crop in px.

    Returns:
        RGB, `size` x `size`.
    """
    step = 1 / scale_of(matrix)  # photo px per crop px
    sampling = SUPERSAMPLING if step > 1 else 1
    shrink = max(1, round(step / sampling))
    canvas, canvas_from_photo = _cut_out(photo, _corners(invert(matrix), size), shrink)
    canvas_from_crop = _compose(canvas_from_photo, invert(matrix))
    crop = _warp(canvas, _scaled(canvas_from_crop, 1 / sampling), (size * sampling, size * sampling))
    return crop if sampling == 1 else crop.resize((size, size), Image.Resampling.LANCZOS)


def face_mask(size: int) -> np.ndarray:
    """How much of an edit goes back into the photo, over the crop: (size, size) float32 in [0, 1].

    1 from the raised brows to the chin, then fading smoothly: to 0 at the hairline, at the edge of the cheeks
    and below a dropped jaw, so that hair and background stay the photo's own. Always 0 on the crop's border.
    """
    middle = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(np.abs(middle - 0.5) / 0.38, middle - 0.45)
    forehead = (x**4 + (y / 0.45) ** 4) ** (1 / 4)  # nearly a rectangle, to hold the outer ends of the brows
    jaw = np.hypot(x, y / 0.55)  # an ellipse
    mask = smooth_step((1 - np.where(y < 0, forehead, jaw)) / 0.3)
    mask[[0, -1]] = mask[:, [0, -1]] = 0
    return mask.astype(np.float32)


def paste_back(
    photo: Image.Image,
    patch: ImageLike,
    photo_from_crop: np.ndarray,
    mask: np.ndarray,
    grain: float = 0.0,
) -> Image.Image:
    """Lay a crop over the photo it came from.

    Args:
        photo: RGB.
        patch: the edited crop, (S, S, 3) in 0..255 or an RGB image.
        photo_from_crop: (2, 3), for a crop of side S.
        mask: (S, S) in [0, 1]; where it is 0, with its neighbours, the photo keeps its very pixels.
        grain: standard deviation of the noise that the patch gets, in levels of 255.

    Returns:
        RGB, the size of `photo`, with its `info`.
    """
    if photo.mode != "RGB":
        raise ValueError(f"expected an RGB photo, got mode {photo.mode}; read it with load_photo")
    patch = np.asarray(patch, np.float32)
    if patch.shape != (*mask.shape, 3):
        raise ValueError(f"expected a patch {(*mask.shape, 3)} like the mask, got {patch.shape}")
    result = photo.copy()
    for band, planes, weight in planes_in_photo(np.moveaxis(patch, 2, 0), photo_from_crop, mask, photo.size):
        blend_planes(result, band, planes, weight, grain)
    return result


def blend_planes(photo: Image.Image, band: Box, planes: Iterable[np.ndarray], weight: np.ndarray,
        grain: float) -> None:  # fmt: skip
    """Lays colours over a part of a photo, which is changed.

    Args:
        photo: RGB.
        band: the part's box (x0, y0, x1, y1) in whole px.
        planes: red, green and blue, (h, w) in 0..255.
        weight: (h, w) in [0, 1], how much of them shows.
        grain: standard deviation of the noise that they get, in levels of 255.
    """
    pixels = np.array(photo.crop(band))
    for channel, plane in enumerate(add_grain(planes, grain, band)):  # one by one: numpy is slow along an axis of three
        own = pixels[..., channel].astype(np.float32)
        pixels[..., channel] = np.rint(own + weight * (plane - own)).clip(0, 255)
    photo.paste(Image.fromarray(pixels), band)


def planes_in_photo(
    planes: Iterable[np.ndarray],
    photo_from_crop: np.ndarray,
    mask: np.ndarray,
    photo_size: tuple[int, int],
    smooth: bool = False,
) -> Iterator[tuple[Box, list[np.ndarray], np.ndarray]]:
    """What lies over a crop, at the photo's resolution, band by band, wherever the mask reaches.

    Args:
        planes: C of (S, S).
        photo_from_crop: (2, 3), for a crop of side S.
        mask: (S, S) in [0, 1].
        photo_size: width and height in px.
        smooth: nothing in planes and mask is as fine as a pixel of theirs, which makes it cheaper.

    Yields:
        The band's box (x0, y0, x1, y1) in whole photo px, C planes (h, w) float32, and the mask's (h, w) in [0, 1].
    """
    box = mask_bounds(mask, photo_from_crop, photo_size)
    if box is None:
        return
    rim = (_RIM_PX, _RIM_PX)
    padded = [*(np.pad(plane, rim, mode="edge") for plane in planes), np.pad(mask, rim)]
    stack = np.stack(padded, dtype=np.float32, casting="same_kind")
    coarse, stride = _warp_coarsely(stack, _compose(photo_from_crop, _shift(-_RIM_PX, -_RIM_PX)), box, smooth)
    left, top, right, bottom = box
    wide = _widened(coarse, stride, right - left)
    for y in range(top, bottom, _BAND_PX):
        end = min(y + _BAND_PX, bottom)
        rows, down = _bicubic(wide.shape[1], stride, y - top, end - top)
        reached = wide[-1, rows].any(0).nonzero()
        if len(reached) > 0:
            first, last = int(reached[0]), int(reached[-1]) + 1
            *over, weight = (down @ wide[:, rows, first:last]).numpy()
            yield (left + first, y, left + last, end), over, weight.clip(0, 1)


def mask_bounds(mask: np.ndarray, photo_from_crop: np.ndarray, photo_size: tuple[int, int]) -> Box | None:
    """The photo's whole pixels that a mask (S, S) over a crop may reach; None if there are none. See `planes_in_photo`."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0:
        return None
    x, y = (columns[0] - 1, columns[-1] + 2), (rows[0] - 1, rows[-1] + 2)
    corners = transform(photo_from_crop, [(a, b) for a in x for b in y])
    left, top = (max(0, floor(v)) for v in corners.min(0))
    right, bottom = (min(end, ceil(v)) for end, v in zip(photo_size, corners.max(0), strict=True))
    return (left, top, right, bottom) if left < right and top < bottom else None


def match_color(patch: ImageLike, reference: ImageLike, mask: np.ndarray) -> np.ndarray:
    """Give a patch the light and contrast of the crop it replaces, so that no seam shows.

    Mean and spread of each channel are compared where a seam would be: on the rim where the mask is neither
    0 nor 1 and both pictures are seen at once. One gain (0.7..1.4) and one shift per channel then serve the
    whole patch, so what the edit does inside the face stays as it is.

    Args:
        patch: (S, S, 3) in 0..255 or an RGB image.
        reference: the unedited crop, likewise.
        mask: (S, S) in [0, 1].

    Returns:
        (S, S, 3) float32, not clipped to 0..255. The patch itself if the mask has no rim.
    """
    patch, reference = (np.asarray(picture, dtype=np.float32) for picture in (patch, reference))
    rim = mask * (1 - mask)
    if rim.sum() == 0:
        return patch
    (mean, spread), (wanted_mean, wanted_spread) = (_statistics(x, rim) for x in (patch, reference))
    gain = np.clip(wanted_spread / np.maximum(spread, 1e-3), 0.7, 1.4)
    return ((patch - mean) * gain + wanted_mean).astype(np.float32)


def smooth_step(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, between them a curve that is level at both ends: 3 x^2 - 2 x^3."""
    x = x.clip(0, 1)
    return x * x * (3 - 2 * x)


def _statistics(picture: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation of each channel, (3,) each."""
    pixels, weight = picture.reshape(-1, 3), weight.ravel()
    mean = np.average(pixels, axis=0, weights=weight)
    return mean, np.sqrt(np.average((pixels - mean) ** 2, axis=0, weights=weight))


def scale_of(matrix: np.ndarray) -> float:
    """By how much it enlarges lengths."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def _scaled(matrix: np.ndarray, factor: float) -> np.ndarray:
    """The matrix for input coordinates that are to be multiplied by `factor` first."""
    return matrix * np.array([factor, factor, 1])


def _compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """First `inner`, then `outer`."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer @ np.append(inner[:, 2], 1)])


def _shift(x: float, y: float) -> np.ndarray:
    """The matrix that adds (x, y)."""
    return np.array([[1.0, 0, x], [0, 1, y]])


def _corners(photo_from_crop: np.ndarray, size: int) -> np.ndarray:
    """The crop's corners in photo px, (4, 2)."""
    return transform(photo_from_crop, [(0, 0), (size, 0), (0, size), (size, size)])


def _warp(image: Image.Image, image_from_output: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Bicubic; 0 beyond the image's edges."""
    coefficients = tuple(image_from_output.ravel())
    return image.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)


def _cut_out(photo: Image.Image, corners: np.ndarray, shrink: int) -> tuple[Image.Image, np.ndarray]:
    """The part of the photo around some points, 1/shrink its size, with its edges repeated where it ends.

    Returns:
        The part and the matrix part from photo.
    """
    margin = 3 * shrink  # what bicubic looks at, and some
    wanted = [*(floor(v - margin) for v in corners.min(0)), *(ceil(v + margin) for v in corners.max(0))]
    left, top = (min(max(wanted[i], 0), photo.size[i] - 1) for i in (0, 1))
    right, bottom = (max(min(wanted[i + 2], photo.size[i]), (left, top)[i] + 1) for i in (0, 1))
    part = photo.crop((left, top, right, bottom))
    if shrink > 1:
        part = part.reduce(shrink)
    missing = [max(0, ceil(v / shrink)) for v in (left - wanted[0], wanted[2] - right)]
    missing += [max(0, ceil(v / shrink)) for v in (top - wanted[1], wanted[3] - bottom)]
    if any(missing):
        part = Image.fromarray(np.pad(part, (missing[2:], missing[:2], (0, 0)), mode="edge"))
    shift = [missing[0] - left / shrink, missing[2] - top / shrink]
    return part, np.column_stack([np.eye(2) / shrink, shift])


def _warp_coarsely(stack: np.ndarray, photo_from_stack: np.ndarray, box: Box, smooth: bool) -> tuple[torch.Tensor, int]:
    """Warp (C, S, S) onto a box of the photo, one value for every stride x stride of its pixels.

    A stride is at most half a pixel of the stack, or a whole one if it is smooth, so nothing is lost; enlarging the
    rest of the way along the axes is many times faster than a warp in full. Where the photo is coarser than the stack,
    the stack is shrunk first, so that none of its pixels is skipped.

    Returns:
        (C, h, w) float32, and the stride in px.
    """
    size, scale = stack.shape[1], scale_of(photo_from_stack)
    fewer = max(1, min(size, ceil(size * scale)))
    stride = max(1, int(scale if smooth else scale / 2))
    left, top, right, bottom = box
    columns, rows = (np.arange(ceil(length / stride), dtype=np.float32) + 0.5 for length in (right - left, bottom - top))
    if fewer < size:
        images = (Image.fromarray(plane) for plane in stack)
        stack = np.stack([image.resize((fewer, fewer), Image.Resampling.LANCZOS) for image in images])
    (xx, xy, x0), (yx, yy, y0) = _scaled(_compose(invert(photo_from_stack), _shift(left, top)), stride) * (2 / size)
    where = np.empty((len(rows), len(columns), 2), np.float32)  # -1..1 over the stack
    where[..., 0] = xx * columns + xy * rows[:, None] + (x0 - 1)
    where[..., 1] = yx * columns + yy * rows[:, None] + (y0 - 1)
    planes, mode = torch.from_numpy(stack)[None], "bilinear" if smooth else "bicubic"
    found = F.grid_sample(planes, torch.from_numpy(where)[None], mode=mode, padding_mode="border", align_corners=False)
    return found[0], stride


def _widened(coarse: torch.Tensor, stride: int, width: int) -> torch.Tensor:
    """(C, h, w) with a value for every `stride` px of a row -> (C, h, width), for every one."""
    parts = []
    for x in range(0, width, 2 * _BAND_PX):
        columns, across = _bicubic(coarse.shape[2], stride, x, min(x + 2 * _BAND_PX, width))
        parts.append(coarse[..., columns] @ across.T)
    return torch.cat(parts, dim=2)


def _bicubic(count: int, stride: int, start: int, stop: int) -> tuple[slice, torch.Tensor]:
    """How pixels come about from `count` values, one for every `stride` of them.

    Returns:
        Which values the pixels from start to stop need, n of them, and what each counts for in each: (stop - start, n).
    """
    first, last = max(0, start // stride - 2), min(count, ceil(stop / stride) + 2)
    alone = Image.fromarray(np.eye(last - first, dtype=np.float32))
    part = (0, start / stride - first, last - first, stop / stride - first)
    across = alone.resize((last - first, stop - start), Image.Resampling.BICUBIC, box=part)
    return slice(first, last), torch.from_numpy(np.array(across))
