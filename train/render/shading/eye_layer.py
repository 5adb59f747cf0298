"""The eyes: a layer that does not move, over which the lids slide, so that irises stay round.

Where a lid opens beyond the photo's own aperture, the layer goes on: the white from what is seen of it, the iris as a
disc from the rings that are seen. Where no lid moved, the photo stays.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from ..face_model import webmorph_template as points
from ..face_model.canonical_frame import EYE_DISTANCE, Patch
from ..face_model.mesh import Mesh
from ..face_model.webmorph_template import along
from ..pixel_fields import Window, blur, polygon

MARGIN = (25, 45)  # px around the lids, across and up or down: a lid goes no further
LASHES_PX, LID_PX = 3, 2  # what is cut off the aperture, above and elsewhere
RADII = (0.05 * EYE_DISTANCE, 0.11 * EYE_DISTANCE)
USUAL_RADIUS, SMALLEST_RADIUS = 16.0, 13.0
LIMBUS, LIMBUS_PX = 0.35, 2.0  # the iris's dark rim
WHITE = (195.0, 190.0, 190.0)  # where none is seen
BRIGHTEST = 35  # percentile of the white above which it is trusted: below are shadows and vessels
SMOOTH_PX = 9.0
LID_SHADOW, LID_SHADOW_PX = 0.38, 4.5
IN_FRONT_PX = 6.0  # a fold of brow or lid that hangs before the lid's edge
MOVED_PX = 2.5  # a lid that moved less leaves the photo as it is
OPENINGS = (0.45, 1.15)


@dataclass(frozen=True, eq=False)
class Eye:
    """One eye of a photo.

    Attributes:
        side: "R" or "L", the subject's.
        centre: (2,) of the iris, patch px.
        radius: of the iris, px.
        opening: height by width of the aperture.
        window: the part of the patch that the eye is painted in.
        layer: (h, w, 3) float32, the eye without lids, in the window.
        invented: (h, w) float32 in 0..1, how much of the layer the photo does not show.
        white: (3,), the mean colour of the white that is seen.
    """

    side: str
    centre: np.ndarray
    radius: float
    opening: float
    window: Window
    layer: np.ndarray
    invented: np.ndarray
    white: np.ndarray

    @classmethod
    def of(cls, patch: Patch, side: str) -> "Eye":
        """Finds iris and aperture by the template and completes what the lids hide."""
        upper, lower = (
            along(patch.points[list(lid[side])], np.linspace(0, 1, 30)) for lid in (points.UPPER_LID, points.LOWER_LID)
        )
        centre, radius = _circle(patch.points[list(points.IRIS[side])])
        centre = (centre + patch.points[points.PUPILS["RL".index(side)]]) / 2
        lids = np.vstack([upper, lower[::-1]])
        (left, top), (right, bottom) = lids.min(axis=0).astype(int) - MARGIN, lids.max(axis=0).astype(int) + MARGIN
        window = slice(max(top, 0), bottom), slice(max(left, 0), right)
        photo = patch.image[window]
        origin = np.array([window[1].start, window[0].start])
        aperture = (polygon(lids, photo.shape[:2], origin) > 0.5).astype(np.uint8)
        aperture = cv2.erode(aperture, np.ones((2 * LID_PX + 1, 3), np.uint8), anchor=(1, LASHES_PX))
        sure = cv2.erode(aperture, np.ones((3, 3), np.uint8)) > 0
        completed, white = _completed(photo, sure, centre - origin, radius)
        shown = np.clip(blur(sure.astype(np.float32), 1.6) * 1.6 - 0.6, 0, 1)
        layer = photo * shown[..., None] + completed * (1 - shown[..., None])
        opening = (lower[15, 1] - upper[15, 1]) / np.linalg.norm(upper[-1] - upper[0])
        return cls(side, centre, radius, float(opening), window, layer.astype(np.float32), 1 - shown, white)

    def paint(
        self,
        image: np.ndarray,
        flow: np.ndarray,
        invented: np.ndarray,
        lids: tuple[np.ndarray, np.ndarray],
        neutral_lids: tuple[np.ndarray, np.ndarray],
        depth: np.ndarray,
    ) -> None:
        """Puts the eye between its lids, in place.

        Args:
            image: (H, W, 3), the moved face; `flow` (H, W, 2) and `invented` (H, W) go with it.
            lids: the upper and lower lid's vertices, (N, 3) in the patch.
            neutral_lids: the same in the photo.
            depth: (H, W), of the skin.
        """
        rows, columns = self.window
        y, x = np.arange(rows.start, rows.stop)[:, None], np.arange(columns.start, columns.stop)
        upper, lower = (lid[:, :2] for lid in lids)
        lower = np.stack([lower[:, 0], np.maximum(lower[:, 1], _height(lids[0], lower[:, 0]))], axis=1)  # never cross
        alpha = blur(polygon(np.vstack([upper, lower[::-1]]), self.layer.shape[:2], (columns.start, rows.start)), 0.8)
        before = depth[self.window] > _height(lids[0], x, 2)[None] + IN_FRONT_PX
        alpha *= 1 - blur(before.astype(np.float32), 0.8)
        above, below = _height(upper, x), _height(neutral_lids[0], x)
        raised, lowered = np.abs(above - below), np.abs(_height(lower, x) - _height(neutral_lids[1], x))
        middle = (_height(neutral_lids[1], x) + below) / 2
        moved = np.clip(np.where(y < middle[None], raised[None], lowered[None]) / MOVED_PX, 0, 1)
        moved = alpha * blur(moved.astype(np.float32), 2)
        under_lid = np.exp(-((np.clip(y - above[None], 0, None) / LID_SHADOW_PX) ** 2)) * np.clip(raised / 3, 0, 1)[None]
        shade = 1 - LID_SHADOW * under_lid * alpha
        here = image[self.window]
        image[self.window] = (here + (self.layer - here) * moved[..., None]) * shade[..., None]
        flow[self.window] *= 1 - moved[..., None]
        invented[self.window] = np.maximum(invented[self.window], moved * self.invented)


def mesh_opening(mesh: Mesh, side: str) -> float:
    """Height by width of the mesh's own eye."""
    upper, lower = mesh.neutral[mesh.paths[f"upper_lid_{side}"]], mesh.neutral[mesh.paths[f"lower_lid_{side}"]]
    return float((upper[:, 1].max() - lower[:, 1].min()) / abs(upper[0, 0] - upper[-1, 0]))


def _height(line: np.ndarray, x: np.ndarray, axis: int = 1) -> np.ndarray:
    """y (or z) of a line over x."""
    order = np.argsort(line[:, 0])
    return np.interp(x, line[order, 0], line[order, axis])


def _circle(rim: np.ndarray) -> tuple[np.ndarray, float]:
    """The circle nearest to points (N, 2), least squares: |p|^2 = 2 c.p + (r^2 - |c|^2)."""
    solution = np.linalg.lstsq(np.c_[2 * rim, np.ones(len(rim))], (rim**2).sum(1), rcond=None)[0]
    radius = np.sqrt(max(solution[2] + solution[:2] @ solution[:2], 1))
    return solution[:2], max(radius if RADII[0] < radius < RADII[1] else USUAL_RADIUS, SMALLEST_RADIUS)


def _completed(photo: np.ndarray, sure: np.ndarray, centre: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """White and iris as if there were no lids, (h, w, 3); the white's mean colour, (3,)."""
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]].astype(np.float32)
    distance = np.hypot(x - centre[0], y - centre[1])
    white = (sure & (distance > radius * 1.06)).astype(np.float32)
    brightness = photo.mean(axis=2)
    if white.sum() > 20:
        white *= brightness > np.percentile(brightness[white > 0], BRIGHTEST)
    mean = photo[white > 0].mean(axis=0) if white.sum() > 5 else np.array(WHITE)
    weight = blur(white, SMOOTH_PX)[..., None]
    sclera = (blur(photo * white[..., None], SMOOTH_PX) + mean * 0.02) / (weight + 0.02)

    seen = sure & (distance <= radius)
    ring = np.minimum(distance.astype(int), int(radius) + 1)
    rings = np.full((int(radius) + 2, 3), 20.0, np.float32)
    for n in range(len(rings)):
        on_it = seen & (ring == n)
        rings[n] = np.median(photo[on_it], axis=0) if on_it.sum() > 2 else rings[max(n - 1, 0)]
    iris = cv2.GaussianBlur(rings[:, None], (1, 3), 0.8)[:, 0][ring]
    upside = 2 * np.float32(centre[1]) - y
    mirrored = cv2.remap(photo, x, upside, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mirrored_seen = cv2.remap(seen.astype(np.float32), x, upside, cv2.INTER_LINEAR)[..., None] > 0.99
    iris = (iris + np.where(mirrored_seen, mirrored, iris)) / 2

    inside = np.clip((radius - distance) / 1.5 + 0.5, 0, 1)[..., None]
    limbus = 1 - LIMBUS * np.exp(-(((distance - radius) / LIMBUS_PX) ** 2))[..., None]
    return (sclera * (1 - inside) + iris * inside) * limbus, mean
