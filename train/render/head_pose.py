"""Turns of the head: a picture, its fields and its points, turned by the depth of its pixels in weak perspective.

A pixel p of depth z moves to P(p), the (x, y) of R (p - c, z - c_z) + c, where R is the rotation and c `PIVOT`. The turned
picture shows at p what lies at h(p), the inverse of P. The depth of `depth_map.py` makes P one to one: what turns away is
compressed and what turns to the viewer is stretched, and nothing is hidden (face profiling, Zhu et al. 2016).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from .face_model.canonical_frame import EYE_Y_PX, PATCH_SHAPE
from .face_renderer import RenderedFace
from .pixel_fields import pixel_grid, sample, warp

MAX_YAW_DEG, MAX_PITCH_DEG, MAX_ROLL_DEG = 25.0, 15.0, 6.0
PIVOT = np.array([PATCH_SHAPE[1] / 2, EYE_Y_PX, 250.0])  # between the pupils of a typical face, which so hardly move
NUM_STEPS = 8  # of Newton's method, with bisection where it leaves its bounds
MIN_DERIVATIVE = 0.2


@dataclass(frozen=True)
class HeadPose:
    """A rotation of the head, in degrees as seen by the viewer.

    Attributes:
        yaw_deg: turns the face towards the right of the image.
        pitch_deg: turns it upwards.
        roll_deg: turns the image clockwise, after the other two.
    """

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0

    @classmethod
    def sample(cls, generator: Random) -> "HeadPose":
        """Draws yaw, pitch and roll uniformly, up to 25, 15 and 6 degrees to either side."""
        return cls(*(generator.uniform(-limit, limit) for limit in (MAX_YAW_DEG, MAX_PITCH_DEG, MAX_ROLL_DEG)))

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3): of (x, y, z) with x to the right, y down and z towards the viewer."""
        return Rotation.from_euler("yxz", (self.yaw_deg, self.pitch_deg, self.roll_deg), degrees=True).as_matrix()


@dataclass(frozen=True, eq=False)
class TurnedView:
    """A turned picture.

    Attributes:
        image: (H, W, 3) uint8 or float32, as the picture's.
        depth: (H, W) float32, px towards the viewer, in the turned view.
        fields: (H, W) or (H, W, C) float32 each.
        points: (N, 2) float64.
        sources: (H, W, 2) float32, where each pixel comes from: h(p).
    """

    image: np.ndarray
    depth: np.ndarray
    fields: list[np.ndarray]
    points: np.ndarray
    sources: np.ndarray


def turn(
    image: np.ndarray,
    depth: np.ndarray,
    pose: HeadPose,
    fields: Sequence[np.ndarray] = (),
    points: np.ndarray | None = None,
) -> TurnedView:
    """Turns a picture, its fields and its points; by `HeadPose()` they come back as they are.

    Beyond its edges a picture is continued by the values at them.

    Args:
        image: (H, W, 3) uint8 or float32; it is resampled bicubically.
        depth: (H, W) float32, px, of `RenderedFace.depth`.
        fields: (H, W) or (H, W, C) float32 or bool, resampled bilinearly.
        points: (N, 2), patch px.
    """
    points = np.zeros((0, 2)) if points is None else points
    if pose == HeadPose():
        grid = pixel_grid(depth.shape)
        return TurnedView(image, depth, [field.astype(np.float32) for field in fields], points, grid)
    sources, turned_depth = _invert(depth, pose.rotation)
    fields = [sample(field.astype(np.float32), sources) for field in fields]
    return TurnedView(warp(image, sources), turned_depth, fields, project(points, depth, pose), sources)


def project(points: np.ndarray, depth: np.ndarray, pose: HeadPose) -> np.ndarray:
    """Computes where points of a picture lie once it is turned, P(p): (..., 2) px -> (..., 2) float64."""
    if not len(points) or pose == HeadPose():
        return points
    field = points.reshape(len(points), -1, 2)
    z = sample(depth, field) - PIVOT[2]
    a, b = pose.rotation[:2, :2], pose.rotation[:2, 2]
    return ((field - PIVOT[:2]) @ a.T + z[..., None] * b + PIVOT[:2]).reshape(points.shape)


def turn_face(face: RenderedFace, pose: HeadPose) -> RenderedFace:
    """Turns a rendered face with all that is known of its pixels; its flow leads to the neutral picture turned alike.

    With P_e and P_n of the expression and of the neutral picture, the flow at p is P_n(q + flow(q)) - p, where q = h_e(p).
    The pupils are those of the turned neutral picture, so that both are cropped alike.
    """
    if pose == HeadPose():
        return face
    inside, weights = face.inside, np.repeat(face.inside.known, 2, axis=2).astype(np.float32)
    fields = face.flow, face.inpaint_mask, inside.alpha, inside.uv * weights, weights, face.eyeballs
    view = turn(face.image, face.depth, pose, fields, face.landmarks)
    flow, inpaint_mask, alpha, uv, weights, eyeballs = view.fields
    flow = project(view.sources + flow, face.neutral_depth, pose) - pixel_grid(flow.shape[:2])
    neutral = turn(face.neutral_depth, face.neutral_depth, pose, (face.neutral_eyeballs,))
    known = weights > 0.5
    inside = replace(inside, alpha=alpha, uv=np.where(known, uv / np.maximum(weights, 0.5), 0), known=known[..., ::2])
    return replace(face, image=view.image, flow=flow.astype(np.float32), inpaint_mask=inpaint_mask,
                   pupils=project(face.pupils, face.neutral_depth, pose), landmarks=view.points,
                   inside=inside, depth=view.depth, neutral_depth=neutral.depth,
                   eyeballs=eyeballs, neutral_eyeballs=neutral.fields[0])  # fmt: skip


def _invert(depth: np.ndarray, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes h(p), (H, W, 2) float32, and the turned depth, (H, W) float32.

    What can be seen at p lies on the line q(t) = A^-1 (p - c - b t) + c, where A and b are the parts of R that act on
    (x, y) and on z; what is seen there has the depth t.
    """
    height, width = depth.shape
    inverse = np.linalg.inv(rotation[:2, :2])
    step = (inverse @ rotation[:2, 2]).astype(np.float32)
    # the inverse is smooth, and found at half of the resolution
    half = pixel_grid((height // 2, width // 2)) * 2 + np.float32(0.5)
    start = ((half - PIVOT[:2]) @ inverse.T + PIVOT[:2]).astype(np.float32)
    slope_x, slope_y = (cv2.Sobel(depth, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    slope_x[:, [0, -1]], slope_y[[0, -1]] = 0, 0  # as beyond the edges, where depth is repeated
    slope = step[0] * slope_x + step[1] * slope_y
    stack = cv2.merge([depth - np.float32(PIVOT[2]), np.maximum(1 + slope, np.float32(MIN_DERIVATIVE))])
    t = sample(stack, half)[..., 0]
    low, high = np.full_like(t, stack[..., 0].min()), np.full_like(t, stack[..., 0].max())
    for _ in range(NUM_STEPS):
        there = sample(stack, start - t[..., None] * step)
        excess = there[..., 0] - t
        low, high = np.where(excess > 0, t, low), np.where(excess > 0, high, t)
        t = t + excess / there[..., 1]
        t = np.where((t >= low) & (t <= high), t, (low + high) / 2)
    t = cv2.resize(t, (width, height), interpolation=cv2.INTER_LINEAR)
    start = ((pixel_grid(depth.shape) - PIVOT[:2]) @ inverse.T + PIVOT[:2]).astype(np.float32)
    sources = start - t[..., None] * step
    solid = cv2.merge([*cv2.split(sources - PIVOT[:2].astype(np.float32)), t])
    return sources, cv2.transform(solid, rotation[2:].astype(np.float32)) + np.float32(PIVOT[2])
