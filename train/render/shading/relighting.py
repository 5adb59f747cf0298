"""Changes of light as the skin moves: by the normals of the mesh, and by wrinkles."""

import cv2
import numpy as np

from exprgan.wrinkles import (
    ABSORPTION_RANGE,
    CHANNEL_EXPONENTS,
    DARK_SKIN_GAIN,
    MAX_DARK_SKIN_GAIN,
    TYPICAL_SKIN_LEVEL,
)

from ..pixel_fields import blur

LIGHT_DIRECTION = np.array([0.0, 0.45, 0.9], np.float32) / np.hypot(0.45, 0.9)  # of a studio: from the front and above
AMBIENT = 0.45
SHADING_RATIO_RANGE = (0.65, 1.25)
GRAZING_NORMAL_Z = (0.15, 0.5)  # between which relighting sets in: a mesh is unreliable at its edge
SHADING_STRENGTH, LIP_REDUCTION = 0.9, 0.7  # lips shine and are modelled coarsely: 70 % less there
INNER_LIP_SHADE = 0.45


def compute_wrinkle_gain(skin: np.ndarray) -> float:
    """Computes how much deeper wrinkles are drawn on dark skin; `skin` is its median colour, (3,), 0..255."""
    return float(np.clip(1 + DARK_SKIN_GAIN * (1 - skin.mean() / TYPICAL_SKIN_LEVEL), 1.0, MAX_DARK_SKIN_GAIN))


def compute_shading_ratio(before: np.ndarray, after: np.ndarray, covered: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """Computes the ratio by which the shading of the mesh changes.

    Args:
        before, after: (H, W, 3) normals of the skin at each pixel, in the neutral face and now.
        covered: (H, W) bool.
        lips: (H, W) float32 in 0..1.

    Returns:
        (H, W) float32, 1 where nothing changes.
    """
    ratio = np.where(covered, _shade(after) / np.maximum(_shade(before), 0.1), 1).astype(np.float32)
    low, high = GRAZING_NORMAL_Z
    certainty = np.clip((np.minimum(before[..., 2], after[..., 2]) - low) / (high - low), 0, 1)
    ratio = blur(1 + (np.clip(ratio, *SHADING_RATIO_RANGE) - 1) * certainty, 2.0)
    return 1 + (ratio - 1) * SHADING_STRENGTH * (1 - LIP_REDUCTION * blur(lips, 2))


def compute_wrinkle_ratio(absorption: np.ndarray) -> np.ndarray:
    """Computes the ratio of light that wrinkles leave where they absorb a part of it: (H, W) float32."""
    return 1 - np.clip(blur(absorption, 1.2), *ABSORPTION_RANGE)


def apply_light_ratio(image: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Multiplies the light of an image (H, W, 3) in 0..255 by (H, W), in nearly linear light (gamma 2)."""
    if np.all(ratio == 1):
        return image
    gain = cv2.exp(cv2.log(np.maximum(ratio, 1e-3))[..., None] * np.array(CHANNEL_EXPONENTS, np.float32))
    return np.sqrt(np.clip(np.square(image.clip(0, 255) / np.float32(255)) * gain, 0, 1)) * 255


def _shade(normals: np.ndarray) -> np.ndarray:
    return AMBIENT + (1 - AMBIENT) * np.clip(normals @ LIGHT_DIRECTION, 0, 1)
