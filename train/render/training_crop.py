"""Crops a patch to a picture of a training folder; the pupils alone fix the frame, up to a small random jitter."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

import cv2
import numpy as np
from PIL import Image

from exprgan.photo.alignment import EYES, SUPERSAMPLING

from .face_model.canonical_frame import fit_similarity
from .face_renderer import RenderedFace
from .pixel_fields import blur, pixel_grid, sample

MAX_ROTATION_DEG, MAX_SCALE_CHANGE, MAX_SHIFT = 4.0, 0.05, 0.02
FLOW_STEPS_PER_PX, DEPTH_STEPS_PER_PX = 32.0, 4.0  # both are rounded, which compresses better
CANONICAL_STEPS_PER_UNIT = 64.0  # likewise


@dataclass(frozen=True)
class Jitter:
    """A small similarity about the crop's centre: a rotation in degrees, a scale, a shift in sides of the crop."""

    rotation_deg: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def sample(cls, generator: Random) -> "Jitter":
        """Draws a jitter uniformly, as in the published set: up to 4 degrees, 5 % and 2 %."""
        rotation = generator.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG)
        scale = 1 + generator.uniform(-MAX_SCALE_CHANGE, MAX_SCALE_CHANGE)
        return cls(rotation, scale, (generator.uniform(-MAX_SHIFT, MAX_SHIFT), generator.uniform(-MAX_SHIFT, MAX_SHIFT)))


def crop_matrix(pupils: np.ndarray, size: int, jitter: Jitter | None = None, crop_scale: float = 1.0) -> np.ndarray:
    """Computes the similarity that brings the pupils to `exprgan.photo.alignment.EYES`.

    Args:
        pupils: (2, 2), patch px, pixel centres at whole numbers.
        size: side of the crop in px.
        jitter: is applied after it.
        crop_scale: side of the crop in sides of the set's frame, about the same centre.

    Returns:
        (2, 3) float64, patch px -> crop px, pixel centres at whole numbers in both.
    """
    matrix = fit_similarity(pupils, (0.5 + (np.array(EYES) - 0.5) / crop_scale) * size - 0.5)
    jitter = jitter or Jitter()
    angle, centre = np.radians(jitter.rotation_deg), np.full(2, size / 2 - 0.5)
    linear = jitter.scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = linear @ (matrix[:, 2] - centre) + centre + np.array(jitter.shift) * size
    return np.hstack([linear @ matrix[:, :2], shift[:, None]])


def crop_image(image: np.ndarray, matrix: np.ndarray, size: int) -> Image.Image:
    """Crops a (H, W, 3) uint8 patch; it is warped at four times the size, then reduced (Lanczos)."""
    large = size * SUPERSAMPLING
    # pixel centres at whole numbers: x' + 0.5 = 4 (x + 0.5)
    matrix = np.hstack([matrix[:, :2] * SUPERSAMPLING, (matrix[:, 2:] + 0.5) * SUPERSAMPLING - 0.5])
    warped = cv2.warpAffine(image, matrix, (large, large), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return Image.fromarray(warped).resize((size, size), Image.Resampling.LANCZOS)


def crop_flow(flow: np.ndarray, inpaint_mask: np.ndarray, matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Crops the flow and the inpainting mask of a `RenderedFace`.

    Returns:
        flow: (size, size, 2) float32, (x, y) in px of the crop: a pixel's source in the neutral picture that is cropped by
            the same matrix, relative to the pixel.
        inpaint_mask: (size, size) float32 in 0..1.
    """
    positions = _patch_positions(matrix, size)
    sigma = _crop_sigma(matrix)
    flow, inpaint_mask = blur(flow, sigma), blur(inpaint_mask, sigma)
    return (sample(flow, positions) @ matrix[:, :2].T).astype(np.float32), sample(inpaint_mask, positions)


def write_fields(path: Path, face: RenderedFace, matrix: np.ndarray, size: int) -> None:
    """Crops the fields of a face to a side of S px and writes them as .npz.

    The arrays are `flow`, (S, S, 2) float16 px, `invented`, (S, S) uint8, the inpainting mask, `places`, (S, S, 4) float16,
    the uv coordinates in cm on both rows of teeth, 0 where unknown, `known`, (S, S, 2) bool, and `depth` and
    `neutral_depth`, (S // 2, S // 2) float16, of the picture and of the neutral photo in the same crop, in px of the crop.
    `eyeballs` and `neutral_eyeballs`, (S, S) uint8, are the opacity of the visible eyeballs, 255 where no lid is.
    `canonical` and `neutral_canonical`, (S // 4, S // 4, 3) float16, are places on the mean face, `RenderedFace.canonical`,
    where (x, y) are multiplied by the share of the pixel that shows skin.
    """
    flow, inpaint_mask = crop_flow(face.flow, face.inpaint_mask, matrix, size)
    positions = _patch_positions(matrix, size)
    known = sample(cv2.erode(face.inside.known.astype(np.float32), np.ones((3, 3), np.uint8)), positions) > 0.99
    uv = sample(face.inside.uv, positions) * np.repeat(known, 2, axis=2)
    rounded = (np.round(flow * FLOW_STEPS_PER_PX) / FLOW_STEPS_PER_PX).astype(np.float16)
    scale = float(np.hypot(*matrix[:, 0]))
    depth, neutral_depth = (
        _crop_reduced(each, matrix, size, 2, DEPTH_STEPS_PER_PX, scale) for each in (face.depth, face.neutral_depth)
    )
    canonical, neutral_canonical = (
        _crop_reduced(each, matrix, size, 4, CANONICAL_STEPS_PER_UNIT) for each in (face.canonical, face.neutral_canonical)
    )
    eyeballs, neutral_eyeballs = (
        sample(blur(opacity, _crop_sigma(matrix)), positions) for opacity in (face.eyeballs, face.neutral_eyeballs)
    )
    invented, eyeballs, neutral_eyeballs = (
        np.rint(share * 255).astype(np.uint8) for share in (inpaint_mask, eyeballs, neutral_eyeballs)
    )
    with path.open("wb") as file:
        np.savez_compressed(file, flow=rounded, invented=invented, places=uv.astype(np.float16), known=known,
                            depth=depth, neutral_depth=neutral_depth,
                            eyeballs=eyeballs, neutral_eyeballs=neutral_eyeballs,
                            canonical=canonical, neutral_canonical=neutral_canonical)  # fmt: skip


def _crop_sigma(matrix: np.ndarray) -> float:
    """Returns the blur that averages over the patch's pixels within a pixel of the crop, in px of the patch."""
    return 0.4 / float(np.hypot(*matrix[:, 0]))


def _crop_reduced(
    field: np.ndarray, matrix: np.ndarray, size: int, divisor: int, steps: float, unit: float = 1.0
) -> np.ndarray:
    """Crops a field that is smooth at a fraction of the resolution: (size // divisor, size // divisor, ...) float16.

    Args:
        field: (H, W) or (H, W, C) float32.
        matrix: as in `crop_flow`.
        size: of the whole crop in px.
        divisor: of the crop's side.
        steps: values are rounded to a multiple of 1 / steps.
        unit: factor on the values.
    """
    part = size // divisor / size
    matrix = np.hstack([matrix[:, :2] * part, (matrix[:, 2:] + 0.5) * part - 0.5])
    cropped = sample(blur(field, _crop_sigma(matrix)), _patch_positions(matrix, size // divisor)) * unit
    return (np.round(cropped * steps) / steps).astype(np.float16)


def _patch_positions(matrix: np.ndarray, size: int) -> np.ndarray:
    """Returns the position in the patch of every pixel of the crop: (size, size, 2) float64."""
    return (pixel_grid((size, size)) - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
