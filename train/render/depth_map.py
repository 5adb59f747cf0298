"""Depth of every pixel of a patch: the mesh's on the face, a simple head, neck and backdrop around it.

The result is a height field z(x, y) that a turn of the head maps one to one: its slope is limited, so that no pixel hides
another one. A turn by t degrees in all is one to one wherever the slope is below cot t, which is 1.81 for a yaw of 25 and a
pitch of 15 degrees (`head_pose.py`).
"""

import cv2
import numpy as np

from .face_model.canonical_frame import PATCH_SHAPE
from .face_model.webmorph_template import FEATURE_LINES
from .pixel_fields import blur, extrapolate, fill_holes

CELL_PX = 4  # the field is computed at a quarter of the resolution, which also smooths the facets of the mesh
MAX_SLOPE, OUTER_SLOPE = 1.75, 1.4  # within the face, and around it
SLOPE_TRANSITION_PX = 15.0
NUM_DILATIONS = 100
_SQUARED = np.add.outer(np.arange(-2, 3) ** 2, np.arange(-2, 3) ** 2)
RINGS = [(np.float32(np.sqrt(n)), (n == _SQUARED).astype(np.uint8)) for n in (1, 2, 5)]
"""Neighbours of a cell in 16 directions, by their distance in cells."""
BACKDROP_DEPTH_PX, NECK_DEPTH_PX, CHEST_DEPTH_PX = 70.0, 140.0, 170.0
NECK_SHARE = 0.75  # width in widths of the jaw
NECK_RISE_PX = 160.0  # above the chin, within which the neck sets in
CHEST_Y_PX = (40.0, 200.0)  # below the chin, within which neck and backdrop give way to shoulders and chest
FACE_SIGMA_PX, OUTER_SIGMA_PX = 4.0, 28.0
BLEND_PX = (-20.0, 35.0)  # distances from the border of the face, between which it becomes smoother


class DepthMap:
    """Extends the depth of one person's face over the whole patch.

    Args:
        template: (189, 2), patch px.
    """

    def __init__(self, template: np.ndarray):
        jaw = template[FEATURE_LINES["jaw"]]
        (left, _), chin, (right, _) = jaw[0], jaw[len(jaw) // 2], jaw[-1]
        y, x = (np.mgrid[: PATCH_SHAPE[0] // CELL_PX, : PATCH_SHAPE[1] // CELL_PX] + 0.5) * CELL_PX
        neck = _smoothstep((y - chin[1] + NECK_RISE_PX) / NECK_RISE_PX)
        neck = neck * np.exp(-(((x - chin[0]) / (NECK_SHARE * (right - left) / 2)) ** 2))
        field = BACKDROP_DEPTH_PX + (NECK_DEPTH_PX - BACKDROP_DEPTH_PX) * neck
        top, bottom = CHEST_Y_PX
        field += (CHEST_DEPTH_PX - field) * _smoothstep((y - chin[1] - top) / (bottom - top))
        self._surroundings = field.astype(np.float32)

    def extend(self, depth: np.ndarray, covered: np.ndarray) -> np.ndarray:
        """Extends the depth of an expression.

        Args:
            depth: (H, W) float32, px towards the viewer, from the plane of the ears.
            covered: (H, W) bool, where `depth` is the face's.

        Returns:
            (H, W) float32, px: smooth, and with a slope of at most about `MAX_SLOPE`.
        """
        size = PATCH_SHAPE[1] // CELL_PX, PATCH_SHAPE[0] // CELL_PX
        share = cv2.resize(covered.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        mean = cv2.resize(np.where(covered, depth, 0), size, interpolation=cv2.INTER_AREA) / np.maximum(share, 1e-3)
        known = (share > 0.5).astype(np.float32)
        solid = fill_holes(known > 0)  # eyes and mouth
        field = np.where(solid > 0, extrapolate(mean[..., None], known)[..., 0], self._surroundings)
        inside = cv2.distanceTransform(solid, cv2.DIST_L2, 5) * CELL_PX
        step = CELL_PX * (OUTER_SLOPE + (MAX_SLOPE - OUTER_SLOPE) * np.clip(inside / SLOPE_TRANSITION_PX, 0, 1))
        for _ in range(NUM_DILATIONS):  # raises what is lower than a cone on any other cell
            for distance, neighbours in RINGS:
                np.maximum(field, cv2.dilate(field, neighbours) - step * distance, out=field)
        near, far = blur(field, FACE_SIGMA_PX / CELL_PX), blur(field, OUTER_SIGMA_PX / CELL_PX)
        outside = cv2.distanceTransform(1 - solid, cv2.DIST_L2, 5) * CELL_PX
        start, end = BLEND_PX
        field = (near + (far - near) * _smoothstep((outside - inside - start) / (end - start))).astype(np.float32)
        return blur(cv2.resize(field, PATCH_SHAPE[::-1], interpolation=cv2.INTER_LINEAR), CELL_PX / 2)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
