"""The eyes: a static layer over which the lids slide, so that irises stay round.

Where a lid opens beyond the aperture of the photo, the layer is inpainted: the white by diffusion of its visible part, the
iris as a disc of the median colours of its visible rings. Where no lid moved, the photo stays.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from ..face_model.canonical_frame import EYE_DISTANCE_PX, Patch
from ..face_model.mesh import Mesh
from ..face_model.webmorph_template import FEATURE_LINES, IRIS, PUPILS, sample_line
from ..pixel_fields import Window, blur, polygon_mask

MARGIN_PX = (25, 45)  # around the lids, horizontally and vertically: a lid moves no farther
LASHES_PX, LID_PX = 3, 2  # eroded from the aperture, at the top and elsewhere
RADIUS_RANGE_PX = (0.05 * EYE_DISTANCE_PX, 0.11 * EYE_DISTANCE_PX)
TYPICAL_RADIUS_PX, MIN_RADIUS_PX = 16.0, 13.0
LIMBUS_DARKENING, LIMBUS_PX = 0.35, 2.0  # the dark rim of the iris
DEFAULT_WHITE = (195.0, 190.0, 190.0)  # where none is visible
WHITE_PERCENTILE = 35  # of brightness; the white is trusted above it, below are shadows and vessels
WHITE_SIGMA_PX = 9.0
LID_SHADOW, LID_SHADOW_PX = 0.38, 4.5
OCCLUSION_PX = 6.0  # a fold of brow or lid that is nearer than the lid's edge by more than this hides the eye
FULL_MOTION_PX = 2.5  # where a lid moved by less, part of the photo stays
OPENING_RANGE = (0.45, 1.15)

Lids = tuple[np.ndarray, np.ndarray]
"""Vertices of the upper and the lower lid, (N, 3) each."""


@dataclass(frozen=True, eq=False)
class EyeLayer:
    """One eye of a photo, without lids."""

    side: str  # "R" or "L", the subject's
    centre: np.ndarray  # (2,) of the iris, patch px
    radius: float  # of the iris, px
    opening: float  # height by width of the aperture
    window: Window  # the part of the patch that contains the eye
    image: np.ndarray  # (h, w, 3) float32, the eye in the window
    inpaint_mask: np.ndarray  # (h, w) float32 in 0..1, how much of the image is inpainted
    white: np.ndarray  # (3,), the mean colour of the visible white

    @classmethod
    def from_patch(cls, patch: Patch, side: str) -> "EyeLayer":
        """Locates iris and aperture by the template and inpaints what the lids hide."""
        lines = (patch.points[FEATURE_LINES[f"{lid}_lid_{side}"]] for lid in ("upper", "lower"))
        upper, lower = (sample_line(line, np.linspace(0, 1, 30)) for line in lines)
        centre, radius = _fit_circle(patch.points[IRIS[side]])
        centre = (centre + patch.points[PUPILS["RL".index(side)]]) / 2
        lids = np.vstack([upper, lower[::-1]])
        (left, top), (right, bottom) = lids.min(axis=0).astype(int) - MARGIN_PX, lids.max(axis=0).astype(int) + MARGIN_PX
        window = slice(max(top, 0), bottom), slice(max(left, 0), right)
        photo = patch.image[window]
        origin = np.array([window[1].start, window[0].start])
        aperture = (polygon_mask(lids, photo.shape[:2], origin) > 0.5).astype(np.uint8)
        aperture = cv2.erode(aperture, np.ones((2 * LID_PX + 1, 3), np.uint8), anchor=(1, LASHES_PX))
        visible = cv2.erode(aperture, np.ones((3, 3), np.uint8)) > 0
        inpainted, white = _inpaint(photo, visible, centre - origin, radius)
        alpha = np.clip(blur(visible.astype(np.float32), 1.6) * 1.6 - 0.6, 0, 1)
        image = photo * alpha[..., None] + inpainted * (1 - alpha[..., None])
        opening = (lower[15, 1] - upper[15, 1]) / np.linalg.norm(upper[-1] - upper[0])
        return cls(side, centre, radius, float(opening), window, image.astype(np.float32), 1 - alpha, white)

    def paint(self, image: np.ndarray, flow: np.ndarray, inpaint_mask: np.ndarray, lids: Lids, neutral_lids: Lids,
              depth: np.ndarray) -> None:  # fmt: skip
        """Composites the eye between its lids, in place.

        Args:
            image: (H, W, 3), the warped face; `flow` (H, W, 2) and `inpaint_mask` (H, W) are updated with it.
            lids: in the patch.
            neutral_lids: in the patch, of the neutral face.
            depth: (H, W), of the skin.
        """
        rows, columns = self.window
        y, x = np.arange(rows.start, rows.stop)[:, None], np.arange(columns.start, columns.stop)
        upper, lower = (lid[:, :2] for lid in lids)
        lower = np.stack([lower[:, 0], np.maximum(lower[:, 1], _line_at(upper, lower[:, 0]))], axis=1)  # lids never cross
        origin = columns.start, rows.start
        alpha = blur(polygon_mask(np.vstack([upper, lower[::-1]]), self.image.shape[:2], origin), 0.8)
        occluded = depth[self.window] > _line_at(lids[0], x, 2)[None] + OCCLUSION_PX
        alpha *= 1 - blur(occluded.astype(np.float32), 0.8)
        upper_y, neutral_y, neutral_lower_y = _line_at(upper, x), _line_at(neutral_lids[0], x), _line_at(neutral_lids[1], x)
        raised, lowered = np.abs(upper_y - neutral_y), np.abs(_line_at(lower, x) - neutral_lower_y)
        middle = (neutral_lower_y + neutral_y) / 2
        motion = np.clip(np.where(y < middle[None], raised[None], lowered[None]) / FULL_MOTION_PX, 0, 1)
        weight = alpha * blur(motion.astype(np.float32), 2)
        shadow = np.exp(-((np.clip(y - upper_y[None], 0, None) / LID_SHADOW_PX) ** 2)) * np.clip(raised / 3, 0, 1)[None]
        shade = 1 - LID_SHADOW * shadow * alpha
        photo = image[self.window]
        image[self.window] = (photo + (self.image - photo) * weight[..., None]) * shade[..., None]
        flow[self.window] *= 1 - weight[..., None]
        inpaint_mask[self.window] = np.maximum(inpaint_mask[self.window], weight * self.inpaint_mask)


def measure_mesh_opening(mesh: Mesh, side: str) -> float:
    """Measures height by width of an eye of the mesh."""
    upper, lower = (mesh.neutral[mesh.feature_lines[f"{lid}_lid_{side}"]] for lid in ("upper", "lower"))
    return float((upper[:, 1].max() - lower[:, 1].min()) / abs(upper[0, 0] - upper[-1, 0]))


def _line_at(line: np.ndarray, x: np.ndarray, axis: int = 1) -> np.ndarray:
    """Interpolates y (or z) of a line, (N, 2 or 3), at x."""
    order = np.argsort(line[:, 0])
    return np.interp(x, line[order, 0], line[order, axis])


def _fit_circle(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Fits a circle to points (N, 2) by least squares, |p|^2 = 2 c.p + (r^2 - |c|^2): its centre and a plausible radius."""
    solution = np.linalg.lstsq(np.c_[2 * points, np.ones(len(points))], (points**2).sum(1), rcond=None)[0]
    radius = np.sqrt(max(solution[2] + solution[:2] @ solution[:2], 1))
    plausible = RADIUS_RANGE_PX[0] < radius < RADIUS_RANGE_PX[1]
    return solution[:2], max(radius if plausible else TYPICAL_RADIUS_PX, MIN_RADIUS_PX)


def _inpaint(photo: np.ndarray, visible: np.ndarray, centre: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Completes white and iris as if there were no lids: (h, w, 3), and the mean colour of the white, (3,)."""
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]].astype(np.float32)
    distance = np.hypot(x - centre[0], y - centre[1])
    white = (visible & (distance > radius * 1.06)).astype(np.float32)
    brightness = photo.mean(axis=2)
    if white.sum() > 20:
        white *= brightness > np.percentile(brightness[white > 0], WHITE_PERCENTILE)
    mean = photo[white > 0].mean(axis=0) if white.sum() > 5 else np.array(DEFAULT_WHITE)
    weight = blur(white, WHITE_SIGMA_PX)[..., None]
    sclera = (blur(photo * white[..., None], WHITE_SIGMA_PX) + mean * 0.02) / (weight + 0.02)

    visible_iris = visible & (distance <= radius)
    ring = np.minimum(distance.astype(int), int(radius) + 1)
    colours = np.full((int(radius) + 2, 3), 20.0, np.float32)
    for n in range(len(colours)):
        pixels = visible_iris & (ring == n)
        colours[n] = np.median(photo[pixels], axis=0) if pixels.sum() > 2 else colours[max(n - 1, 0)]
    iris = cv2.GaussianBlur(colours[:, None], (1, 3), 0.8)[:, 0][ring]
    mirrored_y = 2 * np.float32(centre[1]) - y
    mirrored = cv2.remap(photo, x, mirrored_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mirrored_visible = cv2.remap(visible_iris.astype(np.float32), x, mirrored_y, cv2.INTER_LINEAR)[..., None] > 0.99
    iris = (iris + np.where(mirrored_visible, mirrored, iris)) / 2

    inside = np.clip((radius - distance) / 1.5 + 0.5, 0, 1)[..., None]
    limbus = 1 - LIMBUS_DARKENING * np.exp(-(((distance - radius) / LIMBUS_PX) ** 2))[..., None]
    return (sclera * (1 - inside) + iris * inside) * limbus, mean
