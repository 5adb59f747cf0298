"""Augmentation of whole batches on the training device: flips as in the paper, and the variation of visitors' photos."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.photo.image_io import LUMA

WARMTH = (0.3, 0.0, -0.3)
"""Offsets of log red, green and blue under the warmest light, a bulb beside daylight; the coldest has the negatives."""


def augment(x: Tensor, generator: torch.Generator, *, colour: float = 0.0, shift: float = 0.0,
            flip: Tensor | None = None) -> Tensor:  # fmt: skip
    """Flips half of the pictures, and varies colours and frame a little.

    Args:
        x: (B, 3, H, W) uint8.
        generator: on the CPU, so that every device draws the same.
        colour: 0 leaves colours alone; 1 varies brightness, contrast, saturation and tint about as much as cameras do.
        shift: 0 leaves the frame alone; 1 varies it by 4 degrees, 5 % of scale and 3 % of shift.
        flip: (B,) bool, which pictures to flip; None: half of them, at random.

    Returns:
        (B, 3, H, W) float in [-1, 1].
    """

    def draw(*shape: int) -> Tensor:
        return (torch.rand(len(x), *shape, generator=generator) * 2 - 1).to(x.device, non_blocking=True)

    flip = torch.rand(len(x), generator=generator) < 0.5 if flip is None else flip
    flip = flip.to(x.device, non_blocking=True)[:, None, None, None]
    x = x.float().div_(127.5).sub_(1)
    x = torch.where(flip, x.flip(3), x)
    if shift:
        angle, scale = draw() * shift * math.radians(4), 1 + draw() * shift * 0.05
        cos, sin = angle.cos() * scale, angle.sin() * scale
        offset = draw(2) * shift * 0.06  # of half the side
        matrix = torch.stack((torch.stack((cos, -sin, offset[:, 0]), 1), torch.stack((sin, cos, offset[:, 1]), 1)), 1)
        grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    if colour:
        grey = (x * _per_channel(LUMA, x)).sum(1, keepdim=True)
        x = grey + (x - grey) * (1 + draw(1, 1, 1) * 0.3 * colour)
        mean = x.mean((1, 2, 3), keepdim=True)
        x = (x - mean) * (1 + draw(1, 1, 1) * 0.2 * colour) + mean
        x = x + (draw(1, 1, 1) * 0.25 + draw(3, 1, 1) * 0.06) * colour
    return x.clamp_(-1, 1)


def augment_scene(x: Tensor, generator: torch.Generator) -> Tensor:
    """Relights half of the pictures, and gives a third the surroundings of another face: (B, 3, S, S) in [-1, 1]."""
    draws = [torch.rand(len(x), 1, 1, 1, generator=generator) < share for share in (0.5, 0.33)]
    relit, moved = (draw.to(x.device, non_blocking=True) for draw in draws)
    order = torch.randperm(len(x), generator=generator).to(x.device, non_blocking=True)
    x = torch.where(moved, torch.lerp(x[order], x, _face_ellipse(x)), x)
    return torch.where(relit, augment_lighting((x[:, None] + 1) / 2, generator)[:, 0] * 2 - 1, x)


def augment_lighting(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Varies exposure, contrast, tint, saturation, side light and blur, in which visitors' photos differ from a studio's.

    Args:
        pictures: (B, N, 3, S, S) in [0, 1]; the N of each row are changed alike.

    Returns:
        Tensor of the same shape and range.
    """
    count, size = len(pictures), pictures.shape[-1]

    def draw(*shape: int) -> Tensor:
        return (torch.rand(count, *shape, generator=generator) * 2 - 1).to(pictures.device, non_blocking=True)

    def uniform() -> Tensor:
        return torch.rand(count, 1, 1, 1, 1, generator=generator).to(pictures.device, non_blocking=True)

    x = pictures
    grey = (x * _per_channel(LUMA, x)).sum(2, keepdim=True)
    black_and_white = (uniform() < 0.06).float()
    x = grey + (x - grey) * (1 + 0.5 * draw(1, 1, 1, 1)) * (1 - black_and_white)
    x = x.clamp(1e-3, 1) ** (draw(1, 1, 1, 1) * 0.45).exp()
    side_light = F.interpolate(draw(1, 3, 3), (size, size), mode="bicubic", align_corners=True)[:, None]
    strength = uniform()
    warmth = draw(1, 1, 1, 1) * _per_channel(WARMTH, x)
    x = x * (draw(1, 1, 1, 1) * 0.3 + draw(1, 3, 1, 1) * 0.12 + warmth + side_light * 0.35 * strength).exp()
    rows = list(x)
    for i in (torch.rand(count, generator=generator) < 0.35).nonzero().flatten().tolist():
        small = int(size / (1 + 2.5 * torch.rand((), generator=generator).item()))
        shrunk = F.interpolate(rows[i], (small, small), mode="bilinear", antialias=True)
        rows[i] = F.interpolate(shrunk, (size, size), mode="bicubic")
    return torch.stack(rows).clamp(0, 1)


def _per_channel(values: tuple[float, ...], x: Tensor) -> Tensor:
    """(3, 1, 1) on x's device, copied without waiting for what the device is busy with."""
    return torch.tensor(values).to(x.device, non_blocking=True)[:, None, None]


def _face_ellipse(x: Tensor) -> Tensor:
    """A soft mask (S, S): 1 in an ellipse about brows, eyes, cheeks and chin, 0 well outside of it."""
    side = torch.linspace(0, 1, x.shape[-1], device=x.device)
    radius = (((side[None] - 0.5) / 0.36) ** 2 + ((side[:, None] - 0.5) / 0.5) ** 2).sqrt()
    return ((1.1 - radius) / 0.1).clamp(0, 1)
