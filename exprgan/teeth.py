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

ALONG, BEYOND, DEEP = 3.0, -0.25, 2.0
"""What is painted of a row, in cm: from -ALONG to ALONG beside its middle, from BEYOND the teeth's edges to DEEP in the gums."""
FINEST = 128
"""Px a cm."""
GUMS = (0.80, 0.47, 0.48)
ENAMEL = (0.99, 0.96, 0.90)
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


UPPER = (Tooth(0.0, 0.86, 0.0, 1.10, 0.11, 5), Tooth(0.86, 1.46, 0.09, 1.00, 0.13, 4), Tooth(1.46, 1.99, 0.04, 1.10, 0.19, 1.9),
         Tooth(1.99, 2.36, 0.12, 0.98, 0.20, 1.8), Tooth(2.36, 2.63, 0.18, 0.90, 0.18, 2), Tooth(2.63, 2.9, 0.24, 0.84, 0.14, 2))  # fmt: skip
LOWER = (Tooth(0.0, 0.55, 0.02, 0.92, 0.06, 5), Tooth(0.55, 1.14, 0.02, 0.92, 0.08, 4), Tooth(1.14, 1.70, 0.0, 1.02, 0.17, 1.8),
         Tooth(1.70, 2.10, 0.06, 0.90, 0.20, 1.8), Tooth(2.10, 2.42, 0.10, 0.84, 0.16, 2), Tooth(2.42, 2.75, 0.14, 0.78, 0.12, 2))  # fmt: skip


def laid_in(behind: Tensor, light: Tensor, places: Tensor, per_cm: float = 16) -> Tensor:
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
    middle = torch.tensor([0.0, (BEYOND + DEEP) / 2], device=places.device, dtype=places.dtype)
    half = torch.tensor([ALONG, (DEEP - BEYOND) / 2], device=places.device, dtype=places.dtype)
    seen = behind
    for row, place in reversed([*enumerate(places.split(2, dim=1))]):  # the upper row lies before the lower one
        where = (place.permute(0, 2, 3, 1) - middle) / half
        picture = painted(_level(per_cm))[row].to(places).expand(len(places), -1, -1, -1)
        tooth = F.grid_sample(picture, where, mode="bilinear", padding_mode="zeros", align_corners=False)
        seen = tooth[:, :3] * light + (1 - tooth[:, 3:]) * seen
    return seen.clamp(0, 1)


def _level(per_cm: float) -> int:
    """By which power of two FINEST is divided: painted pixels are no smaller than half of the picture's."""
    return max(0, min(5, int(np.log2(2 * FINEST / max(per_cm, 1)))))


@cache
def painted(level: int) -> Tensor:
    """Both rows, upper first: (2, 4, h, w) float32, albedo in [0, 1] times cover, and cover; gums at the bottom."""
    if level:
        return F.avg_pool2d(painted(level - 1), 2)
    return torch.from_numpy(np.stack([_row(UPPER), _row(LOWER)]))


def _row(teeth: tuple[Tooth, ...], finer: int = 2) -> np.ndarray:
    per_cm = FINEST * finer
    across = (np.arange(int(2 * ALONG * per_cm), dtype=np.float32) + 0.5) / per_cm - ALONG
    deep = (np.arange(int((DEEP - BEYOND) * per_cm), dtype=np.float32)[:, None] + 0.5) / per_cm + BEYOND
    x = np.abs(across)
    colour = np.empty((3, len(deep), len(across)), np.float32)
    colour[:] = np.array(GUMS, np.float32)[:, None, None]
    begin = np.full_like(x, 9.0)  # of the gums, where teeth do not hide them
    cover = np.zeros(colour.shape[1:], np.float32)
    for tooth in teeth:
        inside = (x >= tooth.near) & (x < tooth.far)
        side = (x[inside] - tooth.near) / (tooth.far - tooth.near) * 2 - 1
        edge = tooth.edge + tooth.corner * np.abs(side) ** tooth.shape
        margin = tooth.gum - 0.24 * np.abs(side) ** 2.2
        begin[inside] = margin
        along = (deep - edge) / (margin - edge)  # 0 at the edge, 1 at the gums
        shade = (1 - 0.16 * np.abs(side) ** 3) * (1 - 0.10 * np.exp(-(along / 0.08) ** 2))
        shade = shade * (1 - 0.36 * np.exp(-(((1 - np.abs(side)) * (tooth.far - tooth.near) / 2 / SOFT_CM) ** 2)))
        shade = shade + 0.05 * np.exp(-(((side + 0.1) / 0.4) ** 2) - ((along - 0.55) / 0.22) ** 2)
        enamel = np.array(ENAMEL, np.float32)[:, None, None]
        warm = np.clip((along - 0.5) / 0.5, 0, 1) ** 2 * np.array([0.02, 0.05, 0.10], np.float32)[:, None, None]
        clear = np.exp(-(along / 0.18) ** 2) * np.array([0.07, 0.04, 0.02], np.float32)[:, None, None]
        at = (deep >= edge) & (deep < margin)
        column = colour[:, :, inside]
        column[:, at] = ((enamel - warm - clear) * shade)[:, at]
        colour[:, :, inside] = column
        cover[:, inside] = deep >= edge
    below = deep - begin
    rim = (below >= 0) * np.exp(-(below / 0.10) ** 2)
    colour *= 1 - 0.16 * rim + 0.10 * (below >= 0) * np.exp(-((below - 0.22) / 0.14) ** 2)
    cover = np.clip(cover, 0, 1)
    row = np.concatenate((colour.clip(0, 1) * cover, cover[None]))
    return row.reshape(4, len(deep) // finer, finer, len(across) // finer, finer).mean((2, 4), dtype=np.float32)
