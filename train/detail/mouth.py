"""D_mouth: whether an open mouth looks like one.

The mean of many mouths is right on average, and blurred; D_mouth tells it from a mouth.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

WINDOW = (0.44, 0.86), (0.28, 0.72)
"""The lower face in sides of T's frame: from and to, down and across."""
CHANNELS = (24, 48, 96)
LEAST = 0.002
"""Share of the window that must be new in a picture for it to be judged."""


class Judged(NamedTuple):
    """What D_mouth says of the mouths of a batch, of those that opened."""

    logits: Tensor
    """(N, 1, h, w), above 0 for "real"."""
    maps: list[Tensor]


class MouthDiscriminator(nn.Module):
    """Three strided convolutions and a head, spectrally normalised: one logit for every patch of the lower face."""

    def __init__(self):
        super().__init__()
        sizes = (3, *CHANNELS)
        self.blocks = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in zip(sizes, CHANNELS, strict=False)
        )
        self.head = spectral_norm(nn.Conv2d(CHANNELS[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> Judged:
        """x: (N, 3, H, W) in [-1, 1], windows of faces."""
        maps = []
        for block in self.blocks:
            x = F.leaky_relu(block(x), 0.2)
            maps.append(x)
        return Judged(self.head(x).float(), maps)


def windows(edited: Tensor, target: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """The lower faces of those pictures of a batch whose mouths opened.

    Args:
        edited, target: (B, 3, S, S) in [-1, 1].
        new: (B, 1, S, S) in [0, 1]: where no pixel of the source will do.

    Returns:
        made, real: (N, 3, H, W), N <= B. They differ only in and around what is new: the rest is not the mouth's affair.
    """
    rows, columns = (slice(*(round(end * new.shape[-1]) for end in ends)) for ends in WINDOW)
    edited, target, new = (part[..., rows, columns] for part in (edited, target, new))
    open_ = new.mean((1, 2, 3)) > LEAST
    edited, target, new = edited[open_], target[open_], new[open_]
    if not len(new):
        return target, target
    near = F.avg_pool2d(F.max_pool2d(new, 9, stride=1, padding=4), 5, stride=1, padding=2)
    return torch.lerp(target, edited, near), target


def discrimination(real: Judged, made: Judged) -> Tensor:
    """D_mouth's own loss: hinge."""
    return F.relu(1 - real.logits).mean() + F.relu(1 + made.logits).mean()
