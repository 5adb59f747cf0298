"""Backward warping: sampling an image along a dense flow field."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Window = Callable[[Tensor], Tensor]
FIELD_SCALE = 2
"""The input photo of T and its mask have this many times `image_size` px a side; flow and gain have `image_size`."""


def backward_warp(x: Tensor, flow: Tensor) -> Tensor:
    """Samples x (B, C, H, W) at p + flow(p), bilinearly; beyond the border the edge pixels are repeated.

    The flow, (B, 2, H, W) with the x component first, is in units of the image's sides; the result has its type.
    """
    return _sample(x, flow, _whole)


def warp_and_relight(x: Tensor, flow: Tensor, gain: Tensor, window: Window | None = None) -> Tensor:
    """Warps x (B, 3, H, W) in [-1, 1] and multiplies its brightness in [0, 1] by exp(gain), (B, 3, H, W).

    `window` cuts a part out of fields (..., H, W); only that part is computed.
    """
    cut = window or _whole
    return ((_sample(x, flow, cut) + 1) / 2 * cut(gain).exp()).clamp(max=1) * 2 - 1


def _sample(x: Tensor, flow: Tensor, cut: Window) -> Tensor:
    """The part `cut` of x, sampled at p + flow(p)."""
    height, width = x.shape[-2:]
    rows, columns = (torch.arange(n, device=x.device, dtype=flow.dtype) for n in (height, width))
    flow = cut(flow)
    grid_x = flow[:, 0] * 2 + cut(((columns * 2 + 1) / width - 1).expand(height, width))
    grid_y = flow[:, 1] * 2 + cut(((rows[:, None] * 2 + 1) / height - 1).expand(height, width))
    grid = torch.stack((grid_x, grid_y), dim=-1)
    return F.grid_sample(x.to(grid.dtype), grid, mode="bilinear", padding_mode="border", align_corners=False)


def _whole(x: Tensor) -> Tensor:
    return x


def upsample_fields(x: Tensor) -> Tensor:
    """Upsamples smooth fields bilinearly: (B, C, S, S) -> (B, C, FIELD_SCALE * S, FIELD_SCALE * S)."""
    return F.interpolate(x, scale_factor=FIELD_SCALE, mode="bilinear", align_corners=False)
