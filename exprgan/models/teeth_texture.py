"""Teeth and gums, painted once and laid into an open mouth by coordinates: sharp at any size, where drawn colours are soft.

T (detail.py) says where on the two rows every point of a mouth lies, which is smooth and can be enlarged; gaps between
teeth, their edges and the gums' come from here.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

HALF_ROW_CM, ROW_TOP_CM, ROW_BOTTOM_CM = 3.0, -0.25, 2.0
"""What is painted of a row, in cm: from -ALONG to ALONG beside its middle, and from BEYOND the teeth's edges to DEEP in the
gums."""
TEXTURE_PX_PER_CM = 128
"""Px a cm."""
GUMS = (0.80, 0.47, 0.48)
ENAMEL = (0.99, 0.96, 0.90)
WARM, CLEAR = (0.02, 0.05, 0.10), (0.07, 0.04, 0.02)
"""What enamel lacks at the gums and at its edge."""
SOFT_CM = 0.016
"""Half the width of the line between two teeth."""


class Tooth(NamedTuple):
    """One tooth as it is seen from the front; lengths in cm."""

    near: float
    """Where it begins, beside the row's middle."""
    far: float
    edge: float
    """How far its edge stays behind the row's."""
    gum: float
    """Where it meets the gums."""
    corner: float
    """How far its corners stay behind the middle of its edge."""
    shape: float
    """Power of the edge's curve: 1.5 a canine's point, 6 an incisor's straight edge."""


# fmt: off
UPPER = (
    Tooth(0.00, 0.86, 0.00, 1.10, 0.11, 5.0),
    Tooth(0.86, 1.46, 0.09, 1.00, 0.13, 4.0),
    Tooth(1.46, 1.99, 0.04, 1.10, 0.19, 1.9),
    Tooth(1.99, 2.36, 0.12, 0.98, 0.20, 1.8),
    Tooth(2.36, 2.63, 0.18, 0.90, 0.18, 2.0),
    Tooth(2.63, 2.90, 0.24, 0.84, 0.14, 2.0),
)
LOWER = (
    Tooth(0.00, 0.55, 0.02, 0.92, 0.06, 5.0),
    Tooth(0.55, 1.14, 0.02, 0.92, 0.08, 4.0),
    Tooth(1.14, 1.70, 0.00, 1.02, 0.17, 1.8),
    Tooth(1.70, 2.10, 0.06, 0.90, 0.20, 1.8),
    Tooth(2.10, 2.42, 0.10, 0.84, 0.16, 2.0),
    Tooth(2.42, 2.75, 0.14, 0.78, 0.12, 2.0),
)
# fmt: on
"""From the middle outwards; both sides are alike."""


def composite_teeth(behind: Tensor, light: Tensor, places: Tensor, per_cm: float = 16) -> Tensor:
    """The inside of a mouth with its two rows of teeth.

    Args:
        behind: (B, 3, H, W) in [0, 1], what is seen between and beside them.
        light: (B, 3, H, W), what a white tooth would look like there.
        places: (B, 4, H, W) in cm: on the upper row, how far from its middle to the picture's right, and how far from the
            teeth's edges towards the gums; then likewise on the lower one. Beyond what is painted there is nothing.
        per_cm: px a cm of row, about: painted pixels far finer than those of the picture would flicker.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    middle, half, seen = (ROW_TOP_CM + ROW_BOTTOM_CM) / 2, (ROW_BOTTOM_CM - ROW_TOP_CM) / 2, behind
    rows = tooth_rows(_level(per_cm)).to(places, non_blocking=True)
    for picture, place in reversed([*zip(rows, places.split(2, dim=1), strict=True)]):  # the upper row is the nearer one
        where = torch.stack((place[:, 0] / HALF_ROW_CM, (place[:, 1] - middle) / half), dim=-1)
        picture = picture.expand(len(places), -1, -1, -1)
        tooth = F.grid_sample(picture, where, mode="bilinear", padding_mode="zeros", align_corners=False)
        seen = tooth[:, :3] * light + (1 - tooth[:, 3:]) * seen
    return seen.clamp(0, 1)


def _level(per_cm: float) -> int:
    """By which power of two FINEST is divided: painted pixels are no smaller than half of the picture's."""
    return max(0, min(5, int(np.log2(2 * TEXTURE_PX_PER_CM / max(per_cm, 1)))))


@cache
def tooth_rows(level: int) -> Tensor:
    """Both rows, upper first: (2, 4, h, w) float32, albedo in [0, 1] times cover, and cover; gums at the bottom."""
    if level:
        return F.avg_pool2d(tooth_rows(level - 1), 2)
    return torch.from_numpy(np.stack([_row(UPPER), _row(LOWER)]))


def _row(teeth: tuple[Tooth, ...], finer: int = 2) -> np.ndarray:
    """One row as in `tooth_rows`, (4, h, w), painted `finer` times as fine first."""
    per_cm = TEXTURE_PX_PER_CM * finer
    across = np.abs((np.arange(int(2 * HALF_ROW_CM * per_cm), dtype=np.float32) + 0.5) / per_cm - HALF_ROW_CM)
    deep = (np.arange(int((ROW_BOTTOM_CM - ROW_TOP_CM) * per_cm), dtype=np.float32)[:, None] + 0.5) / per_cm + ROW_TOP_CM
    shape = len(deep), len(across)
    colour = np.repeat(np.array(GUMS, np.float32), shape[0] * shape[1]).reshape(3, *shape)
    cover, margin = np.zeros(shape, np.float32), np.full_like(across, 2 * ROW_BOTTOM_CM)
    for tooth in teeth:
        at = (across >= tooth.near) & (across < tooth.far)
        side = (across[at] - tooth.near) / (tooth.far - tooth.near) * 2 - 1
        edge = tooth.edge + tooth.corner * np.abs(side) ** tooth.shape
        margin[at] = tooth.gum - 0.24 * np.abs(side) ** 2.2
        cover[:, at] = deep >= edge
        enamel = (deep >= edge) & (deep < margin[at])
        colour[:, :, at] = np.where(enamel, _enamel(tooth, side, (deep - edge) / (margin[at] - edge)), colour[:, :, at])
    below = deep - margin
    rim, swelling = np.exp(-((below / 0.10) ** 2)), np.exp(-(((below - 0.22) / 0.14) ** 2))
    colour *= np.where(below >= 0, 1 - 0.16 * rim + 0.10 * swelling, 1)
    row = np.concatenate((colour.clip(0, 1) * cover, cover[None]))
    return row.reshape(4, shape[0] // finer, finer, shape[1] // finer, finer).mean((2, 4), dtype=np.float32)


def _enamel(tooth: Tooth, side: np.ndarray, up: np.ndarray) -> np.ndarray:
    """A tooth's colour, (3, h, w): warm at the gums, clear at its edge, dark where it meets its neighbours.

    Args:
        side: (w,), -1 at its nearer side to 1 at its farther one.
        up: (h, w), 0 at its edge to 1 at the gums.
    """
    to_side = (1 - np.abs(side)) * (tooth.far - tooth.near) / 2
    shade = (1 - 0.16 * np.abs(side) ** 3) * (1 - 0.36 * np.exp(-((to_side / SOFT_CM) ** 2)))
    shade = shade * (1 - 0.10 * np.exp(-((up / 0.08) ** 2)))
    shine = 0.05 * np.exp(-(((side + 0.1) / 0.4) ** 2) - ((up - 0.55) / 0.22) ** 2)
    white, warm, clear = (np.array(rgb, np.float32)[:, None, None] for rgb in (ENAMEL, WARM, CLEAR))
    return (white - warm * np.clip((up - 0.5) / 0.5, 0, 1) ** 2 - clear * np.exp(-((up / 0.18) ** 2))) * (shade + shine)
