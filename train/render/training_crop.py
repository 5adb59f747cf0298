"""From a patch to the picture of a training folder: the pupils alone fix the frame, up to a small random jitter."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

import cv2
import numpy as np
from PIL import Image

from exprgan.photo.alignment import EYES, SUPERSAMPLING

from .face_model.canonical_frame import similarity
from .pixel_fields import sample

TURN_DEG, SCALE, SHIFT = 4.0, 0.05, 0.02
FLOW_STEPS = 32.0  # flow is stored to 1/32 px: it packs better


@dataclass(frozen=True)
class Jitter:
    """A small change of the frame about its middle: a turn in degrees, a factor, a shift in parts of the side."""

    turn_deg: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def drawn(cls, rng: Random) -> "Jitter":
        """At random, as in the published set: 4 degrees, 5 %, 2 %."""
        turn, scale = rng.uniform(-TURN_DEG, TURN_DEG), 1 + rng.uniform(-SCALE, SCALE)
        return cls(turn, scale, (rng.uniform(-SHIFT, SHIFT), rng.uniform(-SHIFT, SHIFT)))


def frame(pupils: np.ndarray, size: int, jitter: Jitter | None = None, wider: float = 1.0) -> np.ndarray:
    """The similarity that brings the pupils to `exprgan.photo.alignment.EYES`.

    Args:
        pupils: (2, 2), patch px, pixel centres at whole numbers.
        size: side of the crop in px.
        wider: side of the crop in sides of the set's frame, about the same centre.

    Returns:
        (2, 3) float64, patch px -> crop px, pixel centres at whole numbers in both.
    """
    matrix = similarity(pupils, (0.5 + (np.array(EYES) - 0.5) / wider) * size - 0.5)
    jitter = jitter or Jitter()
    turn, middle = np.radians(jitter.turn_deg), np.full(2, size / 2 - 0.5)
    turned = jitter.scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shift = turned @ (matrix[:, 2] - middle) + middle + np.array(jitter.shift) * size
    return np.hstack([turned @ matrix[:, :2], shift[:, None]])


def cut(image: np.ndarray, matrix: np.ndarray, size: int) -> Image.Image:
    """(H, W, 3) uint8 patch -> the crop; warped at four times its size, then shrunk (Lanczos)."""
    large = size * SUPERSAMPLING
    # pixel centres at whole numbers: x' + 0.5 = 4 (x + 0.5)
    matrix = np.hstack([matrix[:, :2] * SUPERSAMPLING, (matrix[:, 2:] + 0.5) * SUPERSAMPLING - 0.5])
    warped = cv2.warpAffine(image, matrix, (large, large), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return Image.fromarray(warped).resize((size, size), Image.Resampling.LANCZOS)


def cut_flow(flow: np.ndarray, invented: np.ndarray, matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The same crop of a flow and of what is invented.

    Returns:
        (size, size, 2) float32, px of the crop, x and y: a pixel came from itself plus this, in the neutral picture that is
        cut by the same matrix; (size, size) float32 in 0..1.
    """
    linear = matrix[:, :2]
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    here = (np.stack([x, y], axis=2) - matrix[:, 2]) @ np.linalg.inv(linear).T
    smoothed = 0.4 / float(np.hypot(*linear[:, 0]))  # as an average over the pixels that a pixel of the crop stands for
    flow, invented = (cv2.GaussianBlur(field, (0, 0), smoothed) for field in (flow, invented))
    return (sample(flow, here) @ linear.T).astype(np.float32), sample(invented, here)


def cut_places(places: np.ndarray, known: np.ndarray, matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The same crop of where pixels lie on the two rows of teeth, and of where that is known (`mouth.Inside`).

    Returns:
        (size, size, 4) float32 and (size, size, 2) bool; 0 where it is not known.
    """
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    here = (np.stack([x, y], axis=2) - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    sure = sample(cv2.erode(known.astype(np.float32), np.ones((3, 3), np.uint8)), here) > 0.99
    return sample(places, here) * np.repeat(sure, 2, axis=2), sure


def write_fields(path: Path, flow: np.ndarray, invented: np.ndarray, places: np.ndarray, known: np.ndarray) -> None:
    """A .npz with `flow`, (S, S, 2) float16 px, `invented`, (S, S) uint8, 255 for 1, `places`, (S, S, 4) float16 cm, and
    `known`, (S, S, 2) bool."""
    rounded = (np.round(flow * FLOW_STEPS) / FLOW_STEPS).astype(np.float16)
    with path.open("wb") as file:
        np.savez_compressed(file, flow=rounded, invented=np.rint(invented * 255).astype(np.uint8),
                            places=places.astype(np.float16), known=known)  # fmt: skip
