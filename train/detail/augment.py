"""What visitors' photos differ in from a studio's, done to both pictures of a pair, so that the flow between stays true."""

import math

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from exprgan.flow import look_up

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


def glasses(size: int, eyes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Drawn spectacles over (size, size): colour (3, 1, 1) in [0, 1] and cover (1, size, size) in [0, 1].

    Args:
        eyes: (2, 2), x and y of both pupils in px.
    """

    def draw(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    fine = 3
    canvas = Image.new("L", (size * fine, size * fine))
    pen = ImageDraw.Draw(canvas)
    apart = (eyes[1] - eyes[0]).norm().item() * fine
    line, wide, high, round_ = max(1, int(apart * draw(0.015, 0.07))), draw(0.34, 0.46), draw(0.22, 0.36), draw(0.1, 0.9)
    middle = eyes * fine
    for x, y in middle.tolist():
        box = (x - wide * apart, y - high * apart * 0.9, x + wide * apart, y + high * apart * 1.1)
        pen.rounded_rectangle(box, radius=round_ * high * apart, outline=255, width=line)
    (x0, y0), (x1, y1) = sorted(middle.tolist())
    pen.line((x0 + wide * apart, y0, x1 - wide * apart, y1), fill=255, width=line)
    pen.line((x0 - wide * apart, y0, x0 - (wide + 0.35) * apart, y0 - 0.03 * apart), fill=255, width=line)
    pen.line((x1 + wide * apart, y1, x1 + (wide + 0.35) * apart, y1 - 0.03 * apart), fill=255, width=line)
    cover = torch.frombuffer(bytearray(canvas.tobytes()), dtype=torch.uint8).view(1, 1, size * fine, size * fine)
    cover = F.avg_pool2d(cover.float() / 255, fine)[0] * draw(0.6, 1.0)
    shade = torch.tensor([draw(0, 0.5) for _ in range(3)]) * draw(0.1, 1.0)
    return shade[:, None, None], cover


def held(source: Tensor, target: Tensor, flow: Tensor, cover: Tensor) -> tuple[Tensor, Tensor]:
    """What a pair would be if nothing moved at the rim of glasses, nor much near it.

    Args:
        source, target: (3, n S, n S), without glasses.
        flow: (2, S, S) in sides, from target to source.
        cover: (1, S, S) in [0, 1], the glasses.

    Returns:
        The target and the flow; where they are held, the target is the source as the flow moves it.
    """
    hold = F.max_pool2d((cover > 0.1).float(), HOLD, stride=1, padding=HOLD // 2)
    for _ in range(2):
        hold = F.avg_pool2d(hold, HOLD, stride=1, padding=HOLD // 2)
    hold = (hold * 1.6).clamp(max=1)  # after which the rim itself is held in full
    flow = flow * (1 - hold)
    large = F.interpolate(torch.cat((flow, hold))[None], target.shape[1:], mode="bilinear", align_corners=False)
    moved = look_up(source[None], large[:, :2])[0]
    return torch.lerp(target, moved, large[0, 2:]), flow
