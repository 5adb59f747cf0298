"""Backward warping: sampling an image along a dense flow field."""

import torch
import torch.nn.functional as F
from torch import Tensor

FIELD_SCALE = 2
"""The photo that T sees, and its mask, have this many times `image_size` px a side; flow and gain have `image_size`."""


def backward_warp(x: Tensor, flow: Tensor) -> Tensor:
    """Samples images at p + flow(p), bilinearly; beyond the border the edge pixels are repeated.

    Args:
        x: (B, C, H, W).
        flow: (B, 2, H, W), x component first, in units of the image's sides.

    Returns:
        (B, C, H, W).
    """
    height, width = x.shape[-2:]
    rows, columns = (torch.arange(n, device=x.device, dtype=flow.dtype) for n in (height, width))
    grid = torch.stack((
        flow[:, 0] * 2 + (columns * 2 + 1) / width - 1,
        flow[:, 1] * 2 + (rows[:, None] * 2 + 1) / height - 1,
    ), dim=-1)  # fmt: skip
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def warp_and_relight(x: Tensor, flow: Tensor, gain: Tensor) -> Tensor:
    """Warps images and multiplies their brightness by exp(gain).

    Args:
        x: (B, 3, H, W) in [-1, 1].
        flow: as in `backward_warp`.
        gain: (B, 3, H, W), change of the logarithm of brightness in [0, 1].

    Returns:
        (B, 3, H, W) in [-1, 1].
    """
    return ((backward_warp(x, flow) + 1) / 2 * gain.exp()).clamp(max=1) * 2 - 1


def upsample_fields(x: Tensor) -> Tensor:
    """Upsamples smooth fields bilinearly: (B, C, S, S) -> (B, C, FIELD_SCALE * S, FIELD_SCALE * S)."""
    return F.interpolate(x, scale_factor=FIELD_SCALE, mode="bilinear", align_corners=False)
