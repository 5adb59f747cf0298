"""Augmentation of whole batches on the training device: flips as in the paper, and what visitors' photos differ in."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.images import LUMA


def augment(x: Tensor, generator: torch.Generator, *, colour: float = 0.0, shift: float = 0.0) -> Tensor:
    """Flips half of the pictures, and changes light and frame a little.

    Args:
        x: (B, 3, H, W) uint8.
        generator: source of chance, on the CPU, so that every device draws the same.
        colour: 0 leaves colours alone; 1 varies brightness, contrast, saturation and tint about as much as cameras do.
        shift: 0 leaves the frame alone; 1 varies it by 4 degrees, 5 % of scale and 3 % of shift.

    Returns:
        (B, 3, H, W) float in [-1, 1].
    """

    def draw(*shape: int) -> Tensor:
        return (torch.rand(len(x), *shape, generator=generator) * 2 - 1).to(x.device)

    flip = torch.rand(len(x), 1, 1, 1, generator=generator).to(x.device) < 0.5
    x = x.float().div_(127.5).sub_(1)
    x = torch.where(flip, x.flip(3), x)
    if shift:
        angle, scale = draw() * shift * math.radians(4), 1 + draw() * shift * 0.05
        cos, sin = angle.cos() * scale, angle.sin() * scale
        move = draw(2) * shift * 0.06  # of the half side
        matrix = torch.stack((torch.stack((cos, -sin, move[:, 0]), 1), torch.stack((sin, cos, move[:, 1]), 1)), 1)
        grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    if colour:
        grey = (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        x = grey + (x - grey) * (1 + draw(1, 1, 1) * 0.3 * colour)
        mean = x.mean((1, 2, 3), keepdim=True)
        x = (x - mean) * (1 + draw(1, 1, 1) * 0.2 * colour) + mean
        x = x + (draw(1, 1, 1) * 0.25 + draw(3, 1, 1) * 0.06) * colour
    return x.clamp_(-1, 1)
