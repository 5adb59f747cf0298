"""Dense flow between two of the decoder's pictures: how an edit moves a face, for models without the detail network T."""

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS_PX = (16, 32, 64)
"""Sides at which flow is sought, coarse to fine; finer would follow the decoder's noise."""
WARPS, SWEEPS = 3, 15
"""How often the picture is warped anew at each level, and how often flow is smoothed and corrected in between."""
SMOOTHNESS = 0.4
"""Weight of smoothness against brightness in [-1, 1] (alpha squared in Horn and Schunck, 1981)."""


def dense_flow(own: Tensor, edited: Tensor) -> Tensor:
    """Horn and Schunck's flow, coarse to fine, over all three channels.

    Args:
        own: (3, S, S) float in [-1, 1].
        edited: likewise.

    Returns:
        (2, S, S) in px of S: edited at p looks like own at p + flow(p); x first.
    """
    flow = torch.zeros(1, 2, LEVELS_PX[0], LEVELS_PX[0])
    for side in (side for side in LEVELS_PX if side <= own.shape[-1]):
        flow = F.interpolate(flow, (side, side), mode="bilinear", align_corners=False) * (side / flow.shape[-1])
        a, b = (F.interpolate(x[None], (side, side), mode="area") for x in (own, edited))
        for _ in range(WARPS):
            flow = _correct(flow, backward_warp(a, flow / side), b)
    flow = F.interpolate(flow, own.shape[-2:], mode="bicubic", align_corners=False) * (own.shape[-1] / flow.shape[-1])
    return flow[0]


def backward_warp(x: Tensor, flow: Tensor) -> Tensor:
    """Pictures (B, C, H, W) looked up at p + flow(p); flow (B, 2, H, W), x first, in sides; edges repeated."""
    height, width = x.shape[-2:]
    rows, columns = (torch.arange(n, device=x.device, dtype=flow.dtype) for n in (height, width))
    where = torch.stack((
        flow[:, 0] * 2 + (columns * 2 + 1) / width - 1,
        flow[:, 1] * 2 + (rows[:, None] * 2 + 1) / height - 1,
    ), dim=-1)  # fmt: skip
    return F.grid_sample(x, where, mode="bilinear", padding_mode="border", align_corners=False)


def _correct(flow: Tensor, warped: Tensor, wanted: Tensor) -> Tensor:
    """Minimises, over flow, the linearised difference of brightness plus SMOOTHNESS times unevenness, by Jacobi sweeps."""
    dx, dy = ((warped.roll(-1, d) - warped.roll(1, d)) / 2 for d in (3, 2))
    error = warped - wanted - dx * flow[:, :1] - dy * flow[:, 1:]
    xx, xy, yy = (dx * dx).sum(1) + SMOOTHNESS, (dx * dy).sum(1), (dy * dy).sum(1) + SMOOTHNESS
    ex, ey, scale = (dx * error).sum(1), (dy * error).sum(1), 1 / (xx * yy - xy * xy)
    for _ in range(SWEEPS):
        around = F.avg_pool2d(F.pad(flow, (1, 1, 1, 1), mode="replicate"), 3, stride=1) * SMOOTHNESS
        rx, ry = around[:, 0] - ex, around[:, 1] - ey
        flow = torch.stack(((yy * rx - xy * ry) * scale, (xx * ry - xy * rx) * scale), dim=1)
    return flow
