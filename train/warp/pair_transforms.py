"""What visitors' photos differ in from a studio's, done to both pictures of a pair, so that the flow between stays true."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.models.warping import backward_warp

GLASSES = 0.2
"""Share of pairs that get glasses drawn on: they must stay where they are while the brows move."""

HOLD = 7
"""Cells about the rim of glasses over which a flow comes to rest: one that is smooth cannot go round a line."""


def frames(x: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Pictures (B, C, H, W) seen through (B, 2, 3) affine matrices of `F.affine_grid` -> (B, C, size, size)."""
    grid = F.affine_grid(matrix, [len(x), x.shape[1], size, size], align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def affine(count: int, generator: torch.Generator) -> Tensor:
    """Flips, turns, scales, shears and shifts a little: (count, 2, 3)."""

    def draw(reach: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * reach

    angle, shear, wide, high = draw(math.radians(6)), draw(0.06), 1 + draw(0.08), 1 + draw(0.06)
    wide = torch.where(torch.rand(count, generator=generator) < 0.5, wide, -wide)
    cos, sin = angle.cos(), angle.sin()
    rows = torch.stack((torch.stack((cos, shear - sin), 1), torch.stack((sin, cos), 1)), 1)
    rows = rows * torch.stack((wide, high), 1)[:, None]
    return torch.cat((rows, torch.stack((draw(0.05), draw(0.05)), 1)[:, :, None]), dim=2)


def glasses(eyes: Tensor, size: int, chance: torch.Generator, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Drawn spectacles, from the distance of every pixel to their rims, bridge and temples.

    Args:
        eyes: (B, 2, 2), x and y of both pupils in px, the left one first.
        size: side of the pictures in px.

    Returns:
        Colours (B, 3, 1, 1) and covers (B, 1, size, size), both in [0, 1].
    """
    told = torch.cat((eyes.flatten(1), torch.rand(len(eyes), 9, generator=chance)), dim=1).to(device, non_blocking=True)
    x0, y0, x1, y1, *drawn = told[:, :, None, None].unbind(1)
    left = iter(drawn)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * next(left)

    apart = torch.hypot(x1 - x0, y1 - y0)
    line = (draw(0.015, 0.07) * apart).clamp(min=1 / 3)
    wide, high = draw(0.34, 0.46) * apart, draw(0.22, 0.36) * apart
    corner, strength = draw(0.1, 0.9) * high, draw(0.6, 1.0)
    shade = torch.stack([draw(0, 0.5) for _ in range(3)], dim=1) * draw(0.1, 1.0)[:, None]
    x = (torch.arange(size, device=told.device) + 0.5).expand(size, size)
    y = x.mT
    rims = [_box(x - eye_x, y - eye_y - 0.1 * high, wide, high, corner) + line / 2 for eye_x, eye_y in ((x0, y0), (x1, y1))]
    reach, drop = 0.35 * apart, 0.03 * apart
    lines = [
        _line(x, y, x0 + wide, y0, x1 - wide, y1),
        _line(x, y, x0 - wide, y0, x0 - wide - reach, y0 - drop),
        _line(x, y, x1 + wide, y1, x1 + wide + reach, y1 - drop),
    ]
    away = torch.stack([part.abs() for part in (*rims, *lines)]).amin(0)
    return shade, ((line / 2 + 0.5 - away).clamp(0, 1) * strength)[:, None]


def _box(x: Tensor, y: Tensor, wide: Tensor, high: Tensor, corner: Tensor) -> Tensor:
    """Signed distance to a rounded box about the origin, half as wide and high as said."""
    across, down = x.abs() - wide + corner, y.abs() - high + corner
    return torch.hypot(across.clamp(min=0), down.clamp(min=0)) + torch.maximum(across, down).clamp(max=0) - corner


def _line(x: Tensor, y: Tensor, x0: Tensor, y0: Tensor, x1: Tensor, y1: Tensor) -> Tensor:
    """Distance to a line from one point to another."""
    dx, dy = x1 - x0, y1 - y0
    along = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy + 1e-6)).clamp(0, 1)
    return torch.hypot(x - x0 - along * dx, y - y0 - along * dy)


def held(source: Tensor, target: Tensor, flow: Tensor, cover: Tensor) -> tuple[Tensor, Tensor]:
    """What pairs would be if nothing moved at the rim of glasses, nor much near it.

    Args:
        source, target: (B, 3, n S, n S), without glasses.
        flow: (B, 2, S, S) in sides, from target to source.
        cover: (B, 1, S, S) in [0, 1], the glasses.

    Returns:
        The target and the flow; where they are held, the target is the source as the flow moves it.
    """
    hold = F.max_pool2d((cover > 0.1).float(), HOLD, stride=1, padding=HOLD // 2)
    for _ in range(2):
        hold = F.avg_pool2d(hold, HOLD, stride=1, padding=HOLD // 2)
    hold = (hold * 1.6).clamp(max=1)  # after which the rim itself is held in full
    flow = flow * (1 - hold)
    large = F.interpolate(torch.cat((flow, hold), dim=1), target.shape[2:], mode="bilinear", align_corners=False)
    return torch.lerp(target, backward_warp(source, large[:, :2]), large[:, 2:]), flow
