"""Continues the displacement of the mesh into the background, and separates the face of the photo from its backdrop."""

import cv2
import numpy as np

from ..face_model.canonical_frame import EYE_Y_PX, PATCH_SHAPE
from ..face_model.webmorph_template import OUTLINE
from ..pixel_fields import blur, blur_downsampled, extrapolate, fill_holes, pixel_grid, polygon_mask, sample

DILATION = np.ones((5, 5), np.uint8)
NEAR_SIGMA_PX, FAR_SIGMA_PX = 8.0, 24.0  # the farther from the face, the smoother
REACH_ABOVE_PX = 70.0  # forehead and hair follow softly
REACH_BELOW_PX = 7.0  # the jaw slides over a still neck and collar, or it would drag the backdrop along
TRANSITION_Y_PX = EYE_Y_PX + 30, EYE_Y_PX + 110  # between which the reach changes from above to below


class BackgroundWarp:
    """The surroundings of one person's face.

    Args:
        template: (189, 2), patch px.
        covered: (H, W) bool, the pixels that the mesh covers in the neutral face.
    """

    def __init__(self, template: np.ndarray, covered: np.ndarray):
        line = template[OUTLINE]
        first, last = line[0], line[-1]
        open_top = [(first[0] - 60, 0), first - np.array([60, 60]), *line, last + np.array([60, -60]), (last[0] + 60, 0)]
        # the mesh covers some of the backdrop too
        self._face = cv2.dilate(polygon_mask(np.array(open_top), PATCH_SHAPE), DILATION)
        neutral_face = cv2.dilate((covered & (self._face > 0.5)).astype(np.uint8), DILATION) > 0
        rows = np.interp(np.arange(PATCH_SHAPE[0]), TRANSITION_Y_PX, (REACH_ABOVE_PX, REACH_BELOW_PX))[:, None]
        # pixels of the neutral face are filled from beside it, however far the jaw moved
        self._reach = blur(np.where(neutral_face, REACH_ABOVE_PX, rows).astype(np.float32), 2)
        self._pixels = pixel_grid(PATCH_SHAPE)

    def mask_face(self, source: np.ndarray, covered: np.ndarray) -> np.ndarray:
        """Finds the pixels, (H, W) bool, that the mesh covers with the face of the photo and not with its backdrop."""
        return covered & (sample(self._face, source) > 0.5)

    def extend_flow(self, source: np.ndarray, covered: np.ndarray) -> np.ndarray:
        """Extends the flow of covered pixels, (H, W) bool, smoothly around the face; it is zero far away.

        Args:
            source: (H, W, 2) float32, where covered pixels came from, patch px.

        Returns:
            (H, W, 2) float32, px: source minus pixel.
        """
        known = covered.astype(np.float32)
        flow = extrapolate((source - self._pixels) * known[..., None], known)
        distance = cv2.distanceTransform(1 - fill_holes(covered), cv2.DIST_L2, 5)
        near = np.clip((distance + 2) / 14, 0, 1)[..., None]
        far = np.clip((distance - 8) / 40, 0, 1)[..., None]
        smooth, smoothest = blur(flow, NEAR_SIGMA_PX), blur_downsampled(flow, FAR_SIGMA_PX)
        flow = (flow * (1 - near) + smooth * near) * (1 - far) + smoothest * far
        return flow * np.exp(-((distance / self._reach) ** 2))[..., None]
