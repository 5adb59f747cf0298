"""How light changes as the skin moves: by the mesh's normals, and by the folds of `creases`."""

import cv2
import numpy as np

from ..pixel_fields import blur

LIGHT = np.array([0.0, 0.45, 0.9], np.float32) / np.hypot(0.45, 0.9)  # a studio's: from the front and above
AMBIENT = 0.45
LIMITS = (0.65, 1.25)
GRAZING = (0.15, 0.5)  # z of the normal between which relighting sets in: a mesh is unreliable at its edge
STRENGTH, ON_LIPS = 0.9, 0.7  # lips shine and are modelled coarsely: 70 % less there
FOLD_LIMITS = (-0.15, 0.5)
INNER_LIP = 0.45
WARMTH = np.array([0.8, 1.1, 1.2], np.float32)  # of red, green, blue: in a fold of skin red darkens least
TYPICAL_SKIN = 140.0  # mean level; on darker skin the same fold takes a smaller part of what the eye sees
DARK_GAIN, MOST_DARK_GAIN = 0.9, 1.7


def fold_gain(skin: np.ndarray) -> float:
    """How much deeper folds are drawn on dark skin; `skin` is its median colour, (3,), 0..255."""
    return float(np.clip(1 + DARK_GAIN * (1 - skin.mean() / TYPICAL_SKIN), 1.0, MOST_DARK_GAIN))


def light(before: np.ndarray, after: np.ndarray, covered: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """The ratio by which the mesh's shading changes.

    Args:
        before, after: (H, W, 3) normals of the skin that a pixel shows, in the neutral face and now.
        covered: (H, W) bool.
        lips: (H, W) float32 in 0..1.

    Returns:
        (H, W) float32, 1 where nothing changes.
    """
    ratio = np.where(covered, _shade(after) / np.maximum(_shade(before), 0.1), 1).astype(np.float32)
    facing = np.minimum(before[..., 2], after[..., 2])
    sure = np.clip((facing - GRAZING[0]) / (GRAZING[1] - GRAZING[0]), 0, 1)
    ratio = blur(1 + (np.clip(ratio, *LIMITS) - 1) * sure, 2.0)
    return 1 + (ratio - 1) * STRENGTH * (1 - ON_LIPS * blur(lips, 2))


def fold(taken: np.ndarray) -> np.ndarray:
    """The ratio that is left where folds take a part of the light, (H, W) float32."""
    return 1 - np.clip(blur(taken, 1.2), *FOLD_LIMITS)


def multiply(image: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) in 0..255 under (H, W) times the light, in nearly linear light (gamma 2)."""
    if np.all(ratio == 1):
        return image
    each = cv2.exp(cv2.log(np.maximum(ratio, 1e-3))[..., None] * WARMTH)
    return np.sqrt(np.clip(np.square(image.clip(0, 255) / np.float32(255)) * each, 0, 1)) * 255


def _shade(normals: np.ndarray) -> np.ndarray:
    return AMBIENT + (1 - AMBIENT) * np.clip(normals @ LIGHT, 0, 1)
