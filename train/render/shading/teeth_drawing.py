"""Textures of the two rows of teeth for any `TeethLook`, in the layout of `exprgan.models.teeth_texture.tooth_rows`."""

from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from exprgan.models.teeth_texture import (
    CLEAR_RGB,
    ENAMEL_RGB,
    GAP_CM,
    GUMS_RGB,
    HALF_ROW_CM,
    LOWER,
    ROW_BOTTOM_CM,
    ROW_TOP_CM,
    TEXTURE_PX_PER_CM,
    UPPER,
    WARM_RGB,
    Tooth,
    tooth_rows,
)

from .mouth_look import TeethLook

SUPERSAMPLING = 4
MAX_RISE_CM, MAX_SHIFT_CM, MAX_TILT, MAX_TURN, MAX_TONE = 0.13, 0.05, 0.14, 0.45, 0.10  # at irregularity 1
WEAR_CM, CHIP_CM = 0.16, 0.035  # at wear 1: the height that is lost, and the unevenness of the edges
BLUISH_RGB, YELLOW_RGB = (0.955, 0.965, 0.97), (0.93, 0.85, 0.66)  # enamel at yellowness -1 and 1
STAIN_RGB, PIGMENT_RGB = (0.16, 0.26, 0.34), (0.46, 0.29, 0.27)  # subtracted from the enamel; of brown gums
SMOOTHING_CM = 0.03  # of the gum line
RIDGE_CM = 0.12  # by which the gums are lower where a tooth is missing
NUM_BRACKETS = 5  # teeth with brackets on each side
BRACKET_CM, WIRE_CM = (0.17, 0.15), 0.028  # half the width and height of a bracket, half the height of the wire
METAL_RGB, CERAMIC_RGB, SHADOW = (0.60, 0.61, 0.63), (0.90, 0.88, 0.83), 0.35
ELASTICS_RGB = ((0.55, 0.56, 0.58), (0.30, 0.42, 0.68), (0.60, 0.24, 0.32), (0.25, 0.50, 0.48), (0.45, 0.36, 0.58))


@dataclass(frozen=True)
class _PlacedTooth:
    """A tooth in its place; lengths in cm."""

    tooth: Tooth
    centre: float  # u of its middle
    half_width: float
    rise: float  # of its edge, away from the other row
    tilt: float  # slope of its axis
    turn: float  # about its axis, -1..1: positive darkens its right side
    tone: float  # factor on its colour
    wear_cm: float
    chips: tuple[float, float]  # phases of the unevenness of its edge


@lru_cache(maxsize=8)
def draw_rows(teeth: TeethLook, level: int) -> torch.Tensor:
    """Draws the textures of both rows at a mip level of `tooth_rows`, but at twice the resolution.

    Returns:
        (2, 4, h, w) float32, upper row first: premultiplied RGB and alpha. Of the default look: `tooth_rows`.
    """
    if teeth == TeethLook():
        return tooth_rows(level)
    px_per_cm = TEXTURE_PX_PER_CM >> max(level - 1, 0)
    return torch.from_numpy(np.stack([_draw_row(teeth, row, px_per_cm) for row in (0, 1)]))


def _place_teeth(look: TeethLook, row: int) -> list[_PlacedTooth]:
    """Places the teeth of a row, the last ones first, so that those near the midline overlap them."""
    placed = []
    for side in (-1, 1):
        far = look.gap_cm / 2 if row == 0 else 0.0
        for index, tooth in enumerate((UPPER, LOWER)[row], 1):
            generator = Random(f"{look.seed} {row} {side * index}")
            rise, shift, tilt, turn, tone = (generator.uniform(-1, 1) * look.irregularity for _ in range(5))
            chips = generator.uniform(0, 6.3), generator.uniform(0, 6.3)
            near, far = far, far + (tooth.far - tooth.near) * look.width
            if row == 0 and side * index == look.missing:
                continue
            placed.append(_PlacedTooth(
                tooth, side * (near + far) / 2 + shift * MAX_SHIFT_CM,
                (far - near) / 2 * (1 - 0.25 * (turn * MAX_TURN) ** 2),
                rise * MAX_RISE_CM, tilt * MAX_TILT, turn * MAX_TURN, 1 + tone * MAX_TONE - (0.05 if index == 3 else 0.0),
                look.wear * WEAR_CM if index <= 3 else 0.0, chips,
            ))  # fmt: skip
    return sorted(placed, key=lambda one: -abs(one.centre))


def _draw_row(look: TeethLook, row: int, px_per_cm: int) -> np.ndarray:
    """Draws one row: (4, h, w) float32, premultiplied RGB and alpha."""
    fine = px_per_cm * SUPERSAMPLING
    u = (np.arange(round(2 * HALF_ROW_CM * fine), dtype=np.float32) + 0.5) / fine - HALF_ROW_CM
    v = (np.arange(round((ROW_BOTTOM_CM - ROW_TOP_CM) * fine), dtype=np.float32)[:, None] + 0.5) / fine + ROW_TOP_CM
    teeth = _place_teeth(look, row)
    gum_line = _find_gum_line(teeth, look, u)
    gums = np.array(GUMS_RGB) * (1 - look.gum_pigment) + np.array(PIGMENT_RGB) * look.gum_pigment
    below = v - gum_line
    rim, swelling = np.exp(-((below / 0.10) ** 2)), np.exp(-(((below - 0.22) / 0.14) ** 2))
    rgb = gums[:, None, None] * (1 - 0.16 * rim + 0.10 * swelling)
    alpha = (below >= 0).astype(np.float32)
    for placed in teeth:
        _draw_tooth(rgb, alpha, placed, look, u, v, gum_line)
    if look.braces != "none":
        _draw_braces(rgb, alpha, teeth, look, u, v, 1 if row == 0 else -1)
    layers = np.concatenate((rgb.clip(0, 1) * alpha, alpha[None]))
    blocks = layers.reshape(4, len(v) // SUPERSAMPLING, SUPERSAMPLING, len(u) // SUPERSAMPLING, SUPERSAMPLING)
    return blocks.mean((2, 4), dtype=np.float32)


def _find_gum_line(teeth: list[_PlacedTooth], look: TeethLook, u: np.ndarray) -> np.ndarray:
    """Finds the height of the gums at each u, (w,): arches over teeth, straight where there is none."""
    line = np.full(len(u), np.nan)
    for placed in teeth:
        side = (u - placed.centre) / placed.half_width
        arch = placed.tooth.gum * look.height + 0.5 * placed.rise - 0.24 * np.abs(side) ** 2.2
        line = np.where(np.abs(side) <= 1, np.fmin(line, arch), line)
    known = ~np.isnan(line)
    line = np.interp(u, u[known], line[known], ROW_BOTTOM_CM, ROW_BOTTOM_CM)
    if look.missing:
        hole = UPPER[abs(look.missing) - 1]
        middle, half = (hole.near + hole.far) / 2 * np.sign(look.missing), (hole.far - hole.near) / 2
        line = line - RIDGE_CM * np.clip(1 - ((u - middle) / half) ** 2, 0, 1)
    line[known] = gaussian_filter1d(line[known], SMOOTHING_CM / (u[1] - u[0]), mode="nearest")
    return line


def _draw_tooth(rgb: np.ndarray, alpha: np.ndarray, placed: _PlacedTooth, look: TeethLook,
                u: np.ndarray, v: np.ndarray, gum_line: np.ndarray) -> None:  # fmt: skip
    """Draws a tooth over its row, in place."""
    tooth, reach = placed.tooth, placed.half_width + 0.2
    columns = slice(*np.searchsorted(u, (placed.centre - reach, placed.centre + reach)))
    side = (u[columns] - placed.centre - placed.tilt * (v - 0.5)) / placed.half_width  # (h, n), -1 and 1 at its sides
    worn = placed.wear_cm / WEAR_CM
    corner = tooth.corner * look.roundness * (1 - 0.7 * worn)
    chips = np.sin(2.5 * side + placed.chips[0]) * np.sin(6 * side + placed.chips[1]) * CHIP_CM * worn
    edge = tooth.edge + placed.rise + placed.wear_cm + chips + corner * np.abs(side) ** (tooth.shape + 2 * worn)
    gum = np.minimum(gum_line[columns], tooth.gum * look.height + 0.1)
    inside = (np.abs(side) < 1) & (v >= edge) & (v < gum)
    up = (v - edge) / np.maximum(gum - edge, 0.05)
    colour = _compute_enamel(placed, look, side.clip(-1, 1), up)
    rgb[:, :, columns] = np.where(inside, colour, rgb[:, :, columns])
    alpha[:, columns] = np.maximum(alpha[:, columns], inside)


def _compute_enamel(placed: _PlacedTooth, look: TeethLook, side: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Computes the colour of a tooth, (3, h, n): `side` is -1 and 1 at its sides, `up` 0 at its edge and 1 at the gums."""
    extreme = np.array(YELLOW_RGB if look.yellowness > 0 else BLUISH_RGB)
    white = np.array(ENAMEL_RGB) + (extreme - ENAMEL_RGB) * abs(look.yellowness)
    to_side = (1 - np.abs(side)) * placed.half_width
    shade = (
        (1 - 0.16 * np.abs(side) ** 3) * (1 - 0.36 * np.exp(-((to_side / GAP_CM) ** 2))) * (1 - 0.25 * placed.turn * side)
    )
    shade = shade * (1 - 0.10 * np.exp(-((up / 0.08) ** 2)))
    highlight = 0.05 * np.exp(-(((side + 0.1) / 0.4) ** 2) - ((up - 0.55) / 0.22) ** 2)
    warm = np.clip((up - 0.5) / 0.5, 0, 1) ** 2
    clear = np.exp(-((up / 0.18) ** 2)) * look.translucency
    stain = look.stain * np.clip(np.exp(-((to_side / 0.06) ** 2)) + np.exp(-(((1 - up) / 0.10) ** 2)), 0, 1)
    layers = ((warm, WARM_RGB), (clear, CLEAR_RGB), (stain, STAIN_RGB))
    colour = white[:, None, None] - sum(amount * np.array(subtracted)[:, None, None] for amount, subtracted in layers)
    return colour * (shade + highlight) * placed.tone * look.brightness


def _draw_braces(rgb: np.ndarray, alpha: np.ndarray, teeth: list[_PlacedTooth], look: TeethLook,
                 u: np.ndarray, v: np.ndarray, up: int) -> None:  # fmt: skip
    """Draws brackets on the teeth and the wire that joins them, in place; `up` is the sign of v upwards in the picture."""
    held = sorted(teeth, key=lambda one: abs(one.centre))[: 2 * NUM_BRACKETS]
    centres = [
        (one.centre, one.tooth.edge + one.rise + 0.47 * (one.tooth.gum * look.height - one.tooth.edge)) for one in held
    ]
    centres.sort()
    metal, elastic = np.array(METAL_RGB), np.array(ELASTICS_RGB[look.seed % len(ELASTICS_RGB)])
    body = metal if look.braces == "metal" else np.array(CERAMIC_RGB)
    wire = (v - np.interp(u, *zip(*centres, strict=True))) / WIRE_CM
    between = (u > centres[0][0]) & (u < centres[-1][0])
    metal_wire = metal[:, None, None] * (0.85 + 0.45 * np.exp(-(((up * wire - 0.4) / 0.4) ** 2)))
    rgb *= 1 - SHADOW * np.exp(-(((up * wire + 1.6) / 1.2) ** 2)) * between
    rgb[:] = np.where((np.abs(wire) < 1) & between, metal_wire, rgb)
    alpha[:] = np.maximum(alpha, (np.abs(wire) < 1) & between)
    for (centre, height), placed in zip(centres, sorted(held, key=lambda one: one.centre), strict=True):
        half_width, half_height = BRACKET_CM[0] * min(1.0, placed.half_width / 0.36), BRACKET_CM[1]
        columns = slice(*np.searchsorted(u, (centre - 2 * half_width, centre + 2 * half_width)))
        rows = slice(*np.searchsorted(v[:, 0], (height - 2 * half_height, height + 2 * half_height)))
        window = np.s_[:, rows, columns]
        x, y = (u[columns] - centre) / half_width, up * (v[rows] - height) / half_height
        shadow = SHADOW * np.exp(-((np.maximum(np.abs(x), np.abs(y + 0.25)) / 1.15) ** 8))
        slot = (np.abs(y) < 0.2) | ((np.abs(x) < 0.16) & (np.abs(y) > 0.5))
        colour = body[:, None, None] * (0.85 + 0.30 * y + 0.25 * np.exp(-(((y - 0.72) / 0.16) ** 2)) - 0.35 * slot)
        if look.braces == "metal":
            on_ring = np.abs(np.maximum(np.abs(x), np.abs(y)) - 0.72) < 0.14
            colour = np.where(on_ring, elastic[:, None, None] * (0.9 + 0.2 * y), colour)
        colour = np.where(np.abs(wire[rows, columns]) < 1, metal_wire[window], colour)
        on_bracket = (np.abs(x) < 1) & (np.abs(y) < 1) & (x**4 + y**4 < 1.5)
        rgb[window] = np.where(on_bracket, colour, rgb[window] * (1 - shadow))
        alpha[rows, columns] = np.maximum(alpha[rows, columns], on_bracket)
