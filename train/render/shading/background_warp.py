"""What the face pulls along: displacement beyond the mesh, and where the photo's own face ends."""

import cv2
import numpy as np

from ..face_model.canonical_frame import EYE_Y, SHAPE
from ..face_model.webmorph_template import OUTLINE
from ..pixel_fields import blur, blur_coarsely, extend, filled, pixels, polygon, sample

RIM = np.ones((5, 5), np.uint8)
NEAR_PX, FAR_PX = 8.0, 24.0  # the further from the face, the smoother
REACH_ABOVE_PX = 70.0  # forehead and hair follow softly
REACH_BELOW_PX = 7.0  # the jaw slides over a still neck and collar: else the backdrop is dragged along
BELOW_FROM, BELOW_AT = EYE_Y + 30, EYE_Y + 110


class Surround:
    """The border of one person's face.

    Args:
        template: (189, 2), patch px.
        covered: (H, W) bool, the pixels that the mesh covers in the neutral face.
    """

    def __init__(self, template: np.ndarray, covered: np.ndarray):
        line = template[list(OUTLINE)]
        first, last = line[0], line[-1]
        open_top = [(first[0] - 60, 0), first - np.array([60, 60]), *line, last + np.array([60, -60]), (last[0] + 60, 0)]
        self.face = cv2.dilate(polygon(np.array(open_top), SHAPE), RIM)  # the mesh reaches beyond it, onto the backdrop
        was_face = cv2.dilate((covered & (self.face > 0.5)).astype(np.uint8), RIM) > 0
        rows = np.interp(np.arange(SHAPE[0]), (BELOW_FROM, BELOW_AT), (REACH_ABOVE_PX, REACH_BELOW_PX))[:, None]
        # what was face is filled by what is now beside it, however far the jaw went
        self._reach = blur(np.where(was_face, REACH_ABOVE_PX, rows).astype(np.float32), 2)
        self._pixels = pixels(SHAPE)

    def inside(self, source: np.ndarray, covered: np.ndarray) -> np.ndarray:
        """Pixels (H, W) bool that the mesh covers with the photo's face, not with its backdrop."""
        return covered & (sample(self.face, source) > 0.5)

    def displacement(self, source: np.ndarray, covered: np.ndarray) -> np.ndarray:
        """From what the mesh says to all of the patch.

        Args:
            source: (H, W, 2) float32, where covered pixels came from, patch px.
            covered: (H, W) bool.

        Returns:
            (H, W, 2) float32, px: source minus pixel. The mesh's own on the face, continued around it, zero far away.
        """
        known = covered.astype(np.float32)
        moved = extend((source - self._pixels) * known[..., None], known)
        distance = cv2.distanceTransform(1 - filled(covered), cv2.DIST_L2, 5)
        near = np.clip((distance + 2) / 14, 0, 1)[..., None]
        far = np.clip((distance - 8) / 40, 0, 1)[..., None]
        moved = (moved * (1 - near) + blur(moved, NEAR_PX) * near) * (1 - far) + blur_coarsely(moved, FAR_PX) * far
        return moved * np.exp(-((distance / self._reach) ** 2))[..., None]
