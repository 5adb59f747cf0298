"""Follows a face from frame to frame with MTCNN's last network, in a fiftieth of the time of a search."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..torch_state import own_torch_state
from .alignment import crop_face, crop_from_photo, invert, photo_from_enlarged_crop, transform
from .detection import load_detector

INPUT_PX = 48
"""Side of the network's input in px."""
REGION_PX, REGION_SCALE = 96, 1.15
"""Side in px of the upright region that the windows are cut from, and its side in sides of the crop."""
WINDOW, CENTRE = 0.885, (0.5, 0.37)
"""Side and centre (x, y) of a detection's window in sides of the crop, as MTCNN places it on a face seen from the front."""
VARIANTS = ((0.94, -0.02), (1.0, 0.0), (1.06, 0.02))
"""Factors on the window, and its shifts to the right and down in sides of the crop. The network sees all of these, mirrored
as well, since the mean of their landmarks varies less than those of one window."""
MIRRORED = (1, 0, 2, 4, 3)
"""Order of the landmarks in a mirrored picture."""
MAX_STEP = 0.15
"""In sides of the crop: a face that moved further is looked at again from its new place."""


@own_torch_state()
def follow_face(photo: Image.Image, landmarks: np.ndarray) -> tuple[np.ndarray, float]:
    """Finds the landmarks of a face that was near `landmarks` in the frame before.

    Args:
        photo: RGB.
        landmarks: (5, 2) in photo px, as in `Face`.

    Returns:
        The landmarks (5, 2) in photo px, and the network's score, 0..1, that this is a face.
    """
    found, score, moved = _look(photo, landmarks)
    if moved > MAX_STEP and score > 0.5:
        found, score, _ = _look(photo, found)
    return found, score


def _look(photo: Image.Image, landmarks: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Landmarks and score of one look, and how far the eyes lie from where they were, in sides of the crop."""
    photo_from_crop = invert(crop_from_photo(landmarks, 1))
    photo_from_region = photo_from_enlarged_crop(photo_from_crop, 1, REGION_SCALE, REGION_PX)
    region = crop_face(photo, invert(photo_from_region), REGION_PX, 2)
    pixels = (torch.tensor(np.asarray(region), dtype=torch.float32).permute(2, 0, 1) - 127.5) / 128
    windows = [(CENTRE[0] + shift, CENTRE[1] + shift, WINDOW * scale) for scale, shift in VARIANTS]
    batch = torch.cat([_cut(pixels, window) for window in windows])
    scores, _, points = load_detector()[2](torch.cat([batch, batch.flip(3)]))
    points = points.reshape(-1, 2, 5).transpose(1, 2).double().numpy()  # (x, y) in windows
    straight, mirrored = points[: len(windows)], points[len(windows) :, MIRRORED]
    mirrored = mirrored * (-1, 1) + (1, 0)
    in_windows = (straight + mirrored) / 2
    in_crop = np.mean([part * side + (x - side / 2, y - side / 2)
                       for part, (x, y, side) in zip(in_windows, windows, strict=True)], axis=0)  # fmt: skip
    found = transform(photo_from_crop, in_crop)
    moved = np.abs(in_crop[:2] - transform(invert(photo_from_crop), landmarks[:2])).max()
    return found, float(scores[:, 1].mean()), float(moved)


def _cut(region: Tensor, window: tuple[float, float, float]) -> Tensor:
    """Samples a window, centre and side in sides of the crop, from the region: (3, R, R) -> (1, 3, INPUT_PX, INPUT_PX)."""
    x, y, side = window
    to_region = torch.tensor([[side, 0.0, (x - 0.5) * 2], [0.0, side, (y - 0.5) * 2]]) / REGION_SCALE
    grid = F.affine_grid(to_region[None], [1, 3, INPUT_PX, INPUT_PX], align_corners=False)
    return F.grid_sample(region[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
