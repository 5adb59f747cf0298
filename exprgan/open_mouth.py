"""The open mouth that T drew, painted as finely as the photo shows it: a sharp border, and teeth with gaps."""

from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .alignment import scale_of, smooth_step
from .detail import Detail
from .mouth import CM, FINE
from .teeth import laid_in

UNSURE, SURE = 0.3, 0.7
"""A mask below the one draws nothing, above the other all: half of a drawn tooth over half of a lip looks like neither. In
a photo n times as fine as the mask they are nearer to one another, by the root of n, so that lips end as sharply there."""
FINEST = 16
"""A mouth is painted with at most so many px for one of the mask; beyond 4,000 px of face it is enlarged."""
AROUND = 2
"""Px of the mask beyond its border: bicubic looks there."""


@dataclass(frozen=True)
class Mouth:
    """A square of T's frame, cut out around what is drawn.

    Attributes:
        side: of the whole frame, in px of the mask.
        corner: x and y of the part's corner in it, even.
        mask: (1, 1, s, s) in [0, 1].
        inside: (1, 10, s / FINE, s / FINE): behind, light and places, as `teeth.laid_in` takes them.
    """

    side: int
    corner: tuple[int, int]
    mask: Tensor
    inside: Tensor

    @classmethod
    def of(cls, detail: Detail) -> "Mouth":
        """Of one face, whose mask reaches UNSURE somewhere."""
        mask = detail.mask[:1]
        side = mask.shape[-1]
        (left, right), (top, bottom) = (_reach((mask[0, 0] > UNSURE).any(axis), side) for axis in (0, 1))
        square = min(side, max(right - left, bottom - top))
        left, top = (max(0, min(first, side - square)) for first in (left, top))
        right, bottom = left + square, top + square
        inside = torch.cat((detail.behind, detail.light, detail.places), dim=1)
        inside = inside[:1, :, top // FINE : bottom // FINE, left // FINE : right // FINE]
        return cls(side, (left, top), mask[..., top:bottom, left:right], inside)

    def painted(self, photo_from_frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is to be laid over a photo.

        Args:
            photo_from_frame: (2, 3), from px of the whole mask.

        Returns:
            (S, S, 3) float32 in 0..255; how much of it shows, (S, S) in [0, 1]; and (2, 3), photo px from px of these.
        """
        finer = min(FINEST, max(1, ceil(scale_of(photo_from_frame))))
        size = [n * finer for n in self.mask.shape[2:]]
        inside = F.interpolate(self.inside, size, mode="bilinear", align_corners=False)
        colour = laid_in(*inside.split((3, 3, 4), dim=1), per_cm=self.side * CM * finer)
        calm = F.avg_pool2d(self.mask, 3, stride=1, padding=1, count_include_pad=False)  # else its px show as steps
        mask = F.interpolate(calm, size, mode="bicubic", align_corners=False)[0, 0].numpy()
        half = (SURE - UNSURE) / 2 / finer**0.5
        shown = smooth_step((mask - ((SURE + UNSURE) / 2 - half)) / (2 * half))
        linear = photo_from_frame[:, :2]
        placed = np.column_stack([linear / finer, linear @ self.corner + photo_from_frame[:, 2]])
        return colour[0].permute(1, 2, 0).numpy() * 255, shown, placed


def _reach(some: Tensor, side: int) -> tuple[int, int]:
    """From where to where something is drawn, and AROUND it: whole px of the coarser fields."""
    where = some.nonzero()
    first, last = int(where[0]) - AROUND, int(where[-1]) + 1 + AROUND
    return max(0, first // FINE * FINE), min(side, -(-last // FINE) * FINE)
