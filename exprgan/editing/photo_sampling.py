"""Sampling of a photo's pixels at any position."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..photo.blending import Box


def sample_photo(pixels: Tensor, origin: tuple[int, int], box: Box, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bicubic sampling of a photo at an offset from each pixel of a box.

    Args:
        pixels: (1, 3, H, W) float32, a part of the photo; beyond it, its edge is repeated.
        origin: x and y of that part in the photo.
        box: in the photo, w x h px.
        x, y: the offsets, (h, w) px.

    Returns:
        (3, h, w) float32.
    """
    grid = np.empty((*x.shape, 2), np.float32)  # -1..1 over the part
    for axis, (offset, start, side) in enumerate(zip((x, y), origin, pixels.shape[:1:-1], strict=True)):
        position = np.arange(offset.shape[1 - axis], dtype=np.float32) + (box[axis] - start + 0.5)
        np.multiply(offset, 2 / side, out=grid[..., axis])
        grid[..., axis] += (position * (2 / side) - 1)[:, None] if axis else position * (2 / side) - 1
    points = torch.from_numpy(grid)[None]
    return F.grid_sample(pixels, points, mode="bicubic", padding_mode="border", align_corners=False)[0].numpy()
