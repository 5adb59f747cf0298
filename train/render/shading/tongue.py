"""The tongue as a smooth surface in the jaw, with a groove along the middle, papillae and moist highlights."""

from functools import cache
from random import Random
from typing import NamedTuple

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator

from ..face_model.rasterizer import compute_normals, rasterise
from ..pixel_fields import sample
from .mouth_look import TongueLook

# From root to tip: y and z of the middle line in the mean face at rest, and half the width, all in mesh units (about cm).
CENTRE_LINES = {
    "rest": [(-5.0, 2.2, 1.8), (-3.8, 4.0, 2.3), (-3.3, 6.5, 2.4), (-3.4, 8.2, 2.05), (-3.75, 9.3, 1.4),
             (-4.15, 9.8, 0.75), (-4.6, 9.95, 0.1)],
    "raised": [(-4.0, 2.0, 1.8), (-2.75, 4.0, 2.3), (-2.25, 6.5, 2.4), (-2.4, 8.2, 2.1), (-2.9, 9.2, 1.55),
               (-3.45, 9.65, 0.95), (-4.1, 9.8, 0.1)],
    "forward": [(-5.0, 2.2, 1.8), (-3.6, 4.0, 2.3), (-2.95, 6.5, 2.35), (-2.8, 8.6, 2.0), (-2.95, 10.1, 1.6),
                (-3.2, 10.85, 1.15), (-3.55, 11.15, 0.65), (-3.9, 11.1, 0.1)],
}  # fmt: skip
LIGHT_DIRECTION, AMBIENT, DIFFUSE = np.array([0, 0.6, 0.8]), 0.35, 0.75
DARK_CM = 5.0  # from the tip: there the throat takes half the light
NUM_ROWS, NUM_COLUMNS = 48, 33
HALF_ANGLE, CROWN_CM = 1.75, 0.55  # of the cross-section: radians from its top to its sides, and half its height
GROOVE_CM, GROOVE_HALF_WIDTH_CM = 0.16, 0.28
TONGUE_RGB, PALE_RGB, RED_RGB, COATING_RGB = (190, 108, 110), (198, 136, 132), (176, 84, 92), (206, 172, 164)
NOISE_CM, NOISE_LEVEL = 0.05, 0.045  # size and contrast of the papillae
HALFWAY = np.array([0.0, 0.28, 0.96])  # between the light and the viewer
GLOSS, GLOSS_EXPONENT = 70.0, 40
NOISE_SIDE = 128


class TonguePicture(NamedTuple):
    """A tongue in a window of the patch."""

    rgb: np.ndarray  # (H, W, 3) float32 in 0..255, in the light of a bright face
    covered: np.ndarray  # (H, W) bool
    depth: np.ndarray  # (H, W) float32, larger is nearer


def build_surface(look: TongueLook) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Builds the surface in the mean face at rest.

    Returns:
        (N, 3) vertices in mesh units; (N, 2): distance from the middle line and from the tip along it, in cm; (T, 3) int32,
        triangles.
    """
    points = np.array(CENTRE_LINES[look.pose]) + np.array([look.lift_cm, 0, 0])
    lengths = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1))]
    along = lengths[-1] * (1 - np.linspace(0, 1, NUM_ROWS) ** 1.5)  # tip first, with dense rows there
    y, z, half = PchipInterpolator(lengths, points)(along).T[:, :, None]
    angle = np.linspace(-HALF_ANGLE, HALF_ANGLE, NUM_COLUMNS)
    across = half * look.width * np.sin(angle) / np.sin(min(HALF_ANGLE, np.pi / 2))
    crown = CROWN_CM * np.minimum(1, half) * (1 - np.cos(angle))
    groove = look.groove * GROOVE_CM * np.exp(-((across / GROOVE_HALF_WIDTH_CM) ** 2)) * np.clip(half - 0.4, 0, 1)
    side = look.side_cm * (along[:, None] / lengths[-1]) ** 3
    vertices = np.stack([across + side, y - crown - groove, z - 0.6 * crown + 0 * across], axis=2).reshape(-1, 3)
    index = np.arange(len(vertices)).reshape(NUM_ROWS, NUM_COLUMNS)
    a, b, c, d = (corner.ravel() for corner in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    triangles = np.vstack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    from_tip = np.broadcast_to(lengths[-1] - along[:, None], across.shape)
    return vertices, np.stack([across, from_tip], axis=2).reshape(-1, 2), triangles


def draw_tongue(look: TongueLook, points: np.ndarray, coordinates: np.ndarray, triangles: np.ndarray,
                shape: tuple[int, int]) -> TonguePicture:  # fmt: skip
    """Draws the surface.

    Args:
        points: (N, 3), its vertices in px of the window.
        coordinates: (N, 2) from `build_surface`, of the same vertices.
        triangles: (T, 3).
        shape: (H, W) of the window.
    """
    raster = rasterise(points, triangles, shape)
    normals = compute_normals(points * [1, -1, 1], triangles)
    across, from_tip, *normal = np.moveaxis(raster.interpolate(np.hstack([coordinates, normals])), 2, 0)
    normal = np.stack(normal, axis=2)
    noise = sample(_papillae(), np.stack([across, from_tip], axis=2) / NOISE_CM % (NOISE_SIDE - 1))
    extreme = np.array(RED_RGB if look.redness > 0 else PALE_RGB)
    base = np.array(TONGUE_RGB) + (extreme - TONGUE_RGB) * abs(look.redness)
    coated = look.coating * np.clip((from_tip - 0.8) / 2.5, 0, 0.8) * np.exp(-((across / 1.3) ** 2))
    rgb = base + (np.array(COATING_RGB) - base) * coated[..., None]
    rgb *= (1 + NOISE_LEVEL * noise * np.clip(from_tip / 0.5, 0.3, 1))[..., None]
    rgb *= (1 - 0.22 * look.groove * np.exp(-((across / 0.07) ** 2)) * np.clip((from_tip - 0.3) / 0.8, 0, 1))[..., None]
    light = (AMBIENT + DIFFUSE * np.clip(normal @ LIGHT_DIRECTION, 0, 1)) / (1 + (from_tip / DARK_CM) ** 4)
    gloss = GLOSS * look.moisture * np.clip(normal @ HALFWAY, 0, 1) ** GLOSS_EXPONENT * np.clip(0.5 + 0.2 * noise, 0, 1)
    return TonguePicture((rgb * light[..., None] + gloss[..., None]).astype(np.float32), raster.covered, raster.depth)


@cache
def _papillae() -> np.ndarray:
    """Smooth noise with a standard deviation of 1: (NOISE_SIDE, NOISE_SIDE) float32."""
    generator = Random(0)
    noise = np.array([generator.uniform(-1, 1) for _ in range(NOISE_SIDE**2)], np.float32).reshape(NOISE_SIDE, NOISE_SIDE)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.8, borderType=cv2.BORDER_REFLECT)
    return noise / noise.std()
