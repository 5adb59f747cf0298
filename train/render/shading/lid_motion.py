"""The lids of an eye in the image plane: where their edges lie, and how skin and lashes move with them.

The mesh is too coarse for lids: its edges leave a slit where they should meet, and its skin stretches the lashes. So only
the height of the edges is taken from it, as a smooth curve. A narrow rim along each edge moves rigidly, and the skin beyond
it passes smoothly into the flow of the mesh. The upper lashes are a layer of their own, which turns down as the lid closes.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from ..face_model.canonical_frame import Patch
from ..face_model.webmorph_template import FEATURE_LINES
from ..pixel_fields import Window, blur, pixel_grid, sample

RIM_PX = 3.0  # of skin along an edge, which moves with it as it is
REACH_PX = 24.0  # from the edge to where skin moves as the mesh does, more by as much as the lid is lowered
FULL_STRETCH_PX, STRETCH_SIGMA_PX = 4.0, 8.0  # a lid lowered by this unfolds wholly as the mesh's does; smoothed along it
CORNER_FADE_PX = 25.0  # beyond the corners of the eye, within which the motion of the edges fades
MOTION_RANGE_PX = (0.25, 1.25)  # of the farthest point of a lid: below it the photo stays, above it all of this acts
ARCH_EXPONENT = 0.75  # of the sine along a lid: an arch that is a little flatter than a sine's
MEETING = 0.06  # closing lids meet at this part of the opening, from the lower lid

STRETCH_RANGE = (1.5, 3.0)  # between which skin is smoothed along the lid: its texture would become streaks
STREAK_PX = 8.0
GRAIN_BELOW_PX, GRAIN_ROWS = 30, 50  # the cheek from so far below the eye lends its texture
GRAIN_SIGMA_PX, GRAIN_RANGE = 3.0, (-0.08, 0.08)

LASH_PX = 40  # the longest lashes, seen from the front
LASH_WIDTH_PX = 17  # what is darker than its surroundings and narrower than this is a lash
LASH_ROOT_PX, LID_DARKENING = 16, 0.99  # below this height lashes can be dense; the skin darkens so much a px to the edge
LASH_CONTRAST = 0.02  # relative to the skin; what is weaker is its texture
BROW_GAP_PX = 4.0  # lashes end below the brow
LASH_TURN = 1.65  # seen length: 1 with the eye open as in the photo, 1 - 1.65 when closed, below the edge
MIN_LASH_LENGTH = 0.3  # seen from their tips
LASH_LINE, LASH_LINE_PX = 0.6, 2.0  # light that is lost where closed lids meet, and the width of that line
ROOT_PX = 3.5  # of height, above which lashes are separated from the rim
TUCK_PX = (1.0, 4.0)  # of the upper and the lower lid's wet edge, which closed lids hide

Lids = tuple[np.ndarray, np.ndarray]
"""Vertices of the upper and the lower lid, (N, 3) each, patch px; the first and the last one are the corners of the eye."""


@dataclass(frozen=True, eq=False)
class LidEdges:
    """The edges of the lids of one eye in each column of its window: (w,) each, y in patch px."""

    upper: np.ndarray
    lower: np.ndarray


@dataclass(frozen=True, eq=False)
class LidLayer:
    """The lids of one eye of a photo.

    Attributes:
        window: the part of the patch that contains the eye and its lids.
        edges: of the photo.
        fraction: (w,) in 0..1, the place of a column between the corners.
        influence: (w,) in 0..1, which fades beyond the corners.
        lashes: (LASH_PX + 1, w, 3) float32 in 0..1: the part of light that upper lashes absorb, by the px above the edge.
        grain: (h, w, 1) float32, the texture of the cheek as a part of its light, for skin that is stretched.
    """

    window: Window
    edges: LidEdges
    fraction: np.ndarray
    influence: np.ndarray
    lashes: np.ndarray
    grain: np.ndarray

    @classmethod
    def from_patch(cls, patch: Patch, side: str, window: Window, lids: Lids) -> "LidLayer":
        """Locates the edges by the neutral lids of the mesh, and separates the lashes from the skin behind them."""
        columns = np.arange(window[1].start, window[1].stop)
        left, right = sorted(lids[0][[0, -1], 0])
        edges = LidEdges(*(line_at(lid, columns) for lid in lids))
        beyond = np.maximum(np.maximum(left - columns, columns - right), 0)
        influence = _smooth_step(1 - beyond / CORNER_FADE_PX)
        lashes = _find_lashes(patch, side, columns, edges.upper) * influence.astype(np.float32)[:, None]
        place = np.clip((columns - left) / (right - left), 0, 1)
        return cls(window, edges, place, influence, lashes, _find_grain(patch, window, edges))

    def move(
        self, neutral: Lids, lids: Lids, closure: float = 0.0, follow_px: tuple[float, float] = (0.0, 0.0)
    ) -> LidEdges:
        """Computes where the edges lie.

        Args:
            neutral: of the mesh.
            lids: of the mesh with all action units but the closure of the eye.
            closure: in 0..1, from open to closed.
            follow_px: how far the middles of the upper and the lower lid move down with the gaze.
        """
        upper, lower = (
            edge + self._fit_shift(before, after) + follow * self._arch(self.fraction)
            for edge, before, after, follow in zip(
                (self.edges.upper, self.edges.lower), neutral, lids, follow_px, strict=True
            )
        )
        lower = np.maximum(lower, upper)  # lids never cross
        meeting = lower + MEETING * (upper - lower)
        closure = float(np.clip(closure, 0, 1))
        return LidEdges(upper + (meeting - upper) * closure, lower + (meeting - lower) * closure)

    def measure_strength(self, edges: LidEdges) -> float:
        """Measures in 0..1 how far the lids have left their place in the photo; 0 where they rest."""
        peak = max(np.abs(edges.upper - self.edges.upper).max(), np.abs(edges.lower - self.edges.lower).max())
        return float(np.clip((peak - MOTION_RANGE_PX[0]) / (MOTION_RANGE_PX[1] - MOTION_RANGE_PX[0]), 0, 1))

    def bend_flow(self, flow: np.ndarray, edges: LidEdges) -> None:
        """Makes the skin's flow, (H, W, 2), follow the edges, in place."""
        if not (strength := self.measure_strength(edges)):
            return
        part = flow[self.window].astype(np.float64)
        y = np.arange(self.window[0].start, self.window[0].stop, dtype=np.float64)[:, None]
        above = edges.upper - y
        lowered = np.clip((edges.upper - self.edges.upper) / FULL_STRETCH_PX, 0, 1)
        lowered = cv2.GaussianBlur(lowered[None], (0, 0), STRETCH_SIGMA_PX)[0]
        closure = self._measure_closure(edges) * self._arch(self.fraction)
        upper_rest, lower_rest = self.edges.upper - TUCK_PX[0] * closure, self.edges.lower + TUCK_PX[1] * closure
        stretched = self._follow_mesh(part, above, edges.upper, upper_rest)
        upper = self._pass_to_mesh(part, above, edges.upper, upper_rest, sign=1)
        lower = self._pass_to_mesh(part, y - edges.lower, edges.lower, lower_rest, sign=-1)
        upper += (stretched - upper) * lowered[:, None]
        bent = np.where((y < (edges.upper + edges.lower) / 2)[..., None], upper, lower)
        weight = (self.influence * strength)[None, :, None]
        flow[self.window] = part + (bent - part) * weight

    def remove_lashes(self, image: np.ndarray, flow: np.ndarray, edges: LidEdges) -> None:
        """Removes the upper lashes from the warped photo, (H, W, 3), in place."""
        if strength := self.measure_strength(edges):
            absorbed = self._absorb_at_source(flow) * strength
            skin = np.clip(image[self.window] / (1 - absorbed), 0, 255)
            stretch = 1 / np.maximum(1 + np.gradient(flow[self.window][..., 1], axis=0), 0.1)
            smooth = np.clip((blur(stretch, 4.0) - STRETCH_RANGE[0]) / (STRETCH_RANGE[1] - STRETCH_RANGE[0]), 0, 1)
            lowered = np.clip((edges.upper - self.edges.upper) / FULL_STRETCH_PX, 0, 1)
            weight = (smooth * lowered * strength).astype(np.float32)[..., None]
            blurred = cv2.GaussianBlur(skin * weight, (0, 0), sigmaX=STREAK_PX, sigmaY=1.0)
            total = cv2.GaussianBlur(weight[..., 0], (0, 0), sigmaX=STREAK_PX, sigmaY=1.0)[..., None]
            image[self.window] = skin + (blurred / np.maximum(total, 1e-3) * (1 + self.grain) - skin) * weight

    def draw_lashes(self, image: np.ndarray, flow: np.ndarray, inpaint_mask: np.ndarray, edges: LidEdges) -> None:
        """Draws the upper lashes along the edge, (H, W, 3), in place; `inpaint_mask`, (H, W), is updated."""
        if not (strength := self.measure_strength(edges)):
            return
        rows, columns = self.window
        length = 1 - LASH_TURN * self._measure_closure(edges)
        length = np.copysign(max(abs(length), MIN_LASH_LENGTH), length)
        y = np.arange(rows.start, rows.stop)[:, None]
        height = (edges.upper + (1 if length > 0 else -1) - y) / length
        if length < 0:
            height = np.where(height >= 0, np.maximum(height, ROOT_PX), height)  # no gap between the edge and the roots
        x = np.broadcast_to(np.arange(columns.stop - columns.start), height.shape)
        lashes = cv2.GaussianBlur(
            self.lashes, (0, 0), sigmaX=max(0.3 / abs(length), 0.3), sigmaY=max(0.5 / abs(length), 0.3)
        )
        drawn = sample(lashes, np.stack([x, np.clip(height, 0, LASH_PX)], axis=2)) * (height >= 0)[..., None] * strength
        drawn = 1 - (1 - drawn) ** (abs(length) ** -0.5)  # seen from their tips, lashes are denser
        line = np.exp(-(((y - edges.upper) / LASH_LINE_PX) ** 2)) * self._measure_closure(edges) * self._arch(self.fraction)
        image[self.window] *= (1 - drawn) * (1 - LASH_LINE * line[..., None])
        change = np.abs(drawn - self._absorb_at_source(flow) * strength).mean(axis=2)
        inpaint_mask[self.window] = np.maximum(inpaint_mask[self.window], np.clip(3 * change - 0.3, 0, 1))

    def _follow_mesh(self, flow: np.ndarray, distance: np.ndarray, edge: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """Shifts the mesh's flow, (h, w, 2), so that a lowered upper lid unfolds from its crease as the mesh's does."""
        reach = REACH_PX + max(float((edge - rest).max()), 0.0)
        rim = np.stack([np.arange(len(edge)), edge - RIM_PX - self.window[0].start], axis=1).astype(np.float32)
        goal = np.stack([np.zeros(len(edge)), rest - edge], axis=1)
        share = _smooth_step((reach - distance) / (reach - RIM_PX))[..., None]
        moved = flow + (goal - sample(flow, rim[None])) * share
        moved = np.where(distance[..., None] < RIM_PX, goal, moved)
        y = np.arange(len(flow))[:, None]
        # upwards from the edge, the source goes up too: skin never folds
        source = np.where(distance >= 0, moved[..., 1] + y, np.inf)
        moved[..., 1] = np.where(distance >= 0, np.minimum.accumulate(source[::-1], axis=0)[::-1] - y, moved[..., 1])
        return moved

    def _pass_to_mesh(
        self, flow: np.ndarray, distance: np.ndarray, edge: np.ndarray, rest: np.ndarray, sign: int
    ) -> np.ndarray:
        """Passes from the rigid rim of a lid to the mesh's flow, (h, w, 2), by a cubic that never folds.

        Args:
            flow: of the mesh.
            distance: (h, w), px from the edge into the skin.
            edge: (w,), y of the edge.
            rest: (w,), of the photo.
            sign: 1 for the upper lid, -1 for the lower one.
        """
        top, columns = self.window[0].start, np.arange(len(edge))
        far = np.clip(edge - sign * REACH_PX, top, self.window[0].stop - 1)
        end = sample(flow, np.stack([columns, far - top], axis=1).astype(np.float32)[None])[0, :, 1]
        length = REACH_PX - RIM_PX
        rise = np.maximum(sign * (rest - far - end) - RIM_PX, 0.1 * length)  # from the rim's end, in the photo
        slope = np.minimum(1, 3 * rise / length)
        u = np.clip((distance - RIM_PX) / length, 0, 1)
        hermite = (u**3 - 2 * u**2 + u + u**3 - u**2) * length * slope + (3 * u**2 - 2 * u**3) * rise
        away = np.where(distance < RIM_PX, distance, RIM_PX + hermite)
        moved = flow * u[..., None] ** 2 * [1, 0]
        moved[..., 1] = rest - sign * away - (edge - sign * distance)
        return np.where((distance < REACH_PX)[..., None], moved, flow)

    def _absorb_at_source(self, flow: np.ndarray) -> np.ndarray:
        """The part of light, (h, w, 3), that lashes absorb in the photo where each pixel comes from."""
        part = flow[self.window]
        x, y = np.moveaxis(pixel_grid(part.shape[:2]) + part, 2, 0)
        height = np.interp(x, np.arange(len(self.edges.upper)), self.edges.upper) + 1 - (y + self.window[0].start)
        absorbed = sample(self.lashes, np.stack([x, np.clip(height, 0, LASH_PX)], axis=2))
        return absorbed * (height >= 0)[..., None]

    def _measure_closure(self, edges: LidEdges) -> float:
        """Measures how far the opening has shrunk, from 0, as in the photo or wider, to 1, closed."""
        middle = np.abs(self.fraction - 0.5) < 0.25
        before, now = ((lids.lower - lids.upper)[middle].mean() for lids in (self.edges, edges))
        return float(np.clip(1 - now / max(before, 1e-3), 0, 1))

    def _fit_shift(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Fits the motion of a lid's vertices down the image by a line and an arch, (w,) px."""
        left, right = sorted(before[[0, -1], 0])
        place = np.clip((before[:, 0] - left) / (right - left), 0, 1)
        basis = np.stack([1 - place, place, self._arch(place)], axis=1)
        factors = np.linalg.lstsq(basis, after[:, 1] - before[:, 1], rcond=None)[0]
        return np.stack([1 - self.fraction, self.fraction, self._arch(self.fraction)], axis=1) @ factors

    @staticmethod
    def _arch(fraction: np.ndarray) -> np.ndarray:
        return np.sin(np.pi * fraction).clip(0) ** ARCH_EXPONENT


def line_at(line: np.ndarray, x: np.ndarray, axis: int = 1) -> np.ndarray:
    """Interpolates y (or z) of a line, (N, 2 or 3), at x; beyond its ends it is level."""
    order = np.argsort(line[:, 0])
    return np.interp(x, line[order, 0], line[order, axis])


def _smooth_step(value: np.ndarray) -> np.ndarray:
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)


def _find_grain(patch: Patch, window: Window, edges: LidEdges) -> np.ndarray:
    """Finds the texture of the cheek as a part of its light, (h, w, 1), mirrored to the height of the window."""
    top = int(edges.lower.max()) + GRAIN_BELOW_PX
    cheek = patch.image[top : top + GRAIN_ROWS, window[1]].mean(axis=2)
    grain = np.clip(cheek / np.maximum(blur(cheek, GRAIN_SIGMA_PX), 1) - 1, *GRAIN_RANGE)
    height = window[0].stop - window[0].start
    return np.pad(grain, ((0, max(height - len(grain), 0)), (0, 0)), "symmetric")[:height, :, None]


def _find_lashes(patch: Patch, side: str, columns: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """Finds the light that the upper lashes absorb, (LASH_PX + 1, w, 3): what a closing along the lid removes."""
    height = np.arange(LASH_PX + 1, dtype=np.float64)[:, None]
    positions = np.stack(np.broadcast_arrays(columns[None].astype(np.float64), edge + 1 - height), axis=2)
    photo = sample(patch.image, positions)
    skin = cv2.morphologyEx(photo, cv2.MORPH_CLOSE, np.ones((1, LASH_WIDTH_PX), np.uint8))
    for row in range(LASH_ROOT_PX, -1, -1):  # where lashes are dense, the skin is that above them
        above = LID_DARKENING * skin[row + 1]
        skin[row] = np.where((skin[row].mean(axis=1) < above.mean(axis=1))[:, None], above, skin[row])
    skin = cv2.GaussianBlur(skin, (0, 0), sigmaX=3, sigmaY=1)
    dark = np.maximum(skin - photo - LASH_CONTRAST * skin, 0)
    brow = line_at(patch.points[FEATURE_LINES[f"lower_brow_{side}"]], columns)
    room = np.minimum(edge - brow - BROW_GAP_PX, LASH_PX)
    fade = np.clip((height - 0.5) / (ROOT_PX - 0.5), 0, 1) * np.clip((room - height) / 5, 0, 1)
    return (dark / (photo + dark + 1e-3) * fade[..., None]).astype(np.float32)
