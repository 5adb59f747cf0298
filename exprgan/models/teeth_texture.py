"""A texture of teeth and gums, mapped into an open mouth by uv coordinates, so that it is sharp at any resolution.

T (`warp_network`) predicts smooth uv coordinates on the two rows of teeth, which can be upsampled; gaps between teeth,
their edges and the gum line come from the texture.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

HALF_ROW_CM, ROW_TOP_CM, ROW_BOTTOM_CM = 3.0, -0.25, 2.0
"""Extent of the texture of a row in cm: u from -HALF_ROW_CM to HALF_ROW_CM about the midline, v from ROW_TOP_CM, beyond the
teeth's edges, to ROW_BOTTOM_CM, in the gums."""
TEXTURE_PX_PER_CM = 128
GUMS_RGB = (0.80, 0.47, 0.48)
ENAMEL_RGB = (0.99, 0.96, 0.90)
WARM_RGB, CLEAR_RGB = (0.02, 0.05, 0.10), (0.07, 0.04, 0.02)  # subtracted from the enamel at the gums and at the edge
GAP_CM = 0.016  # half the width of the line between two teeth


class Tooth(NamedTuple):
    """One tooth in front view; lengths in cm."""

    near: float
    far: float  # distances of its nearer and its farther side from the midline
    edge: float  # recess of its edge behind the edge of the row
    gum: float  # height of the gum line above the edge of the row
    corner: float  # recess of its corners behind the middle of its edge
    shape: float  # exponent of the edge's curve: 1.5 for a canine's point, 6 for an incisor's straight edge


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
"""From the midline outwards; the rows are symmetric."""


def composite_teeth(background: Tensor, shading: Tensor, uv: Tensor, px_per_cm: float = 16,
                    rows: Callable[[int], Tensor] | None = None) -> Tensor:  # fmt: skip
    """Renders the inside of a mouth, (B, 3, H, W) in [0, 1]: two rows of teeth over a background.

    Args:
        background: (B, 3, H, W) in [0, 1], visible between and beside the teeth.
        shading: (B, 3, H, W), the colour of a white tooth at each point.
        uv: (B, 4, H, W) in cm: u (from the midline to the right of the image) and v (from the teeth's edges to the gums) on
            the upper row, then on the lower one. Outside the extent of the texture nothing is drawn.
        px_per_cm: approximate resolution of the image, which selects the mip level of the texture.
        rows: the textures at a mip level, as `tooth_rows`, the default.
    """
    middle, half, image = (ROW_TOP_CM + ROW_BOTTOM_CM) / 2, (ROW_BOTTOM_CM - ROW_TOP_CM) / 2, background
    level = int(np.log2(2 * TEXTURE_PX_PER_CM / max(px_per_cm, 1)))  # texels at least half an image px: finer ones flicker
    textures = (rows or tooth_rows)(max(0, min(5, level))).to(uv, non_blocking=True)
    for texture, row_uv in reversed([*zip(textures, uv.split(2, dim=1), strict=True)]):  # the upper row occludes the lower
        grid = torch.stack((row_uv[:, 0] / HALF_ROW_CM, (row_uv[:, 1] - middle) / half), dim=-1)
        texture = texture.expand(uv.shape[0], -1, -1, -1)
        rgba = F.grid_sample(texture, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        image = rgba[:, :3] * shading + (1 - rgba[:, 3:]) * image
    return image.clamp(0, 1)


@cache
def tooth_rows(level: int) -> Tensor:
    """Textures of both rows, upper first, halved `level` times: (2, 4, h, w) float32, premultiplied RGB and alpha."""
    if level:
        return F.avg_pool2d(tooth_rows(level - 1), 2)
    return torch.from_numpy(np.stack([_draw_row(UPPER), _draw_row(LOWER)]))


def _draw_row(teeth: tuple[Tooth, ...], supersampling: int = 2) -> np.ndarray:
    """The texture of one row at full resolution: (4, h, w), premultiplied RGB and alpha."""
    px_per_cm = TEXTURE_PX_PER_CM * supersampling
    u = np.abs((np.arange(int(2 * HALF_ROW_CM * px_per_cm), dtype=np.float32) + 0.5) / px_per_cm - HALF_ROW_CM)
    height = int((ROW_BOTTOM_CM - ROW_TOP_CM) * px_per_cm)
    v = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / px_per_cm + ROW_TOP_CM
    shape = len(v), len(u)
    rgb = np.tile(np.array(GUMS_RGB, np.float32)[:, None, None], shape)
    alpha, gum_line = np.zeros(shape, np.float32), np.full_like(u, 2 * ROW_BOTTOM_CM)
    for tooth in teeth:
        columns = (u >= tooth.near) & (u < tooth.far)
        side = (u[columns] - tooth.near) / (tooth.far - tooth.near) * 2 - 1
        edge = tooth.edge + tooth.corner * np.abs(side) ** tooth.shape
        gum_line[columns] = tooth.gum - 0.24 * np.abs(side) ** 2.2
        alpha[:, columns] = v >= edge
        is_enamel = (v >= edge) & (v < gum_line[columns])
        enamel = _enamel_rgb(tooth, side, (v - edge) / (gum_line[columns] - edge))
        rgb[:, :, columns] = np.where(is_enamel, enamel, rgb[:, :, columns])
    below = v - gum_line
    rim, swelling = np.exp(-((below / 0.10) ** 2)), np.exp(-(((below - 0.22) / 0.14) ** 2))
    rgb *= np.where(below >= 0, 1 - 0.16 * rim + 0.10 * swelling, 1)
    row = np.concatenate((rgb.clip(0, 1) * alpha, alpha[None]))
    blocks = row.reshape(4, shape[0] // supersampling, supersampling, shape[1] // supersampling, supersampling)
    return blocks.mean((2, 4), dtype=np.float32)


def _enamel_rgb(tooth: Tooth, side: np.ndarray, up: np.ndarray) -> np.ndarray:
    """The colour of a tooth, (3, h, w): warm at the gums, translucent at the edge, dark beside its neighbours.

    `side`, (w,), is -1 at its nearer side and 1 at its farther one; `up`, (h, w), is 0 at its edge and 1 at the gums.
    """
    to_side = (1 - np.abs(side)) * (tooth.far - tooth.near) / 2
    shade = (1 - 0.16 * np.abs(side) ** 3) * (1 - 0.36 * np.exp(-((to_side / GAP_CM) ** 2)))
    shade = shade * (1 - 0.10 * np.exp(-((up / 0.08) ** 2)))
    highlight = 0.05 * np.exp(-(((side + 0.1) / 0.4) ** 2) - ((up - 0.55) / 0.22) ** 2)
    white, warm, clear = (np.array(rgb, np.float32)[:, None, None] for rgb in (ENAMEL_RGB, WARM_RGB, CLEAR_RGB))
    return (white - warm * np.clip((up - 0.5) / 0.5, 0, 1) ** 2 - clear * np.exp(-((up / 0.18) ** 2))) * (shade + highlight)
