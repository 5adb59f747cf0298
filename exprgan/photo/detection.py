"""Detects faces in a photo with MTCNN (Zhang et al. 2016), which facenet-pytorch brings, weights included."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import atan2, degrees, dist
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..errors import NoFaceError
from .alignment import crop_face, crop_from_photo, invert, photo_from_enlarged_crop, transform

SEARCH_PX = 1024
"""Long side of the copy that is searched; faces too small to be found in it are too small to edit."""
BORDER = 1 / 8
"""Width of the border of repeated edge pixels around the copy, in its short sides. Without it, MTCNN places
the eyes of a face that fills the picture 2 % of the crop too high (measured on training crops)."""
MIN_FACE = 0.04
"""Smallest width of a face in the first search, in short sides of the copy. The finest scale of MTCNN's pyramid costs as
much as all the others together, and hardly ever finds a face that would be edited."""
MIN_FACE_PX = 20
"""Smallest width of a face in the second search, in px of the copy, which is made if the first one finds no face."""

THRESHOLDS, PYRAMID_STEP = (0.6, 0.7, 0.7), 0.709
"""Scores needed to pass MTCNN's three networks, and the factor between scales of its pyramid: the defaults of MTCNN."""
MIN_SCORE = 0.9
"""Detections with a lower score are mostly not faces. Faces seen from the front score above 0.99."""
MAX_CANDIDATES = 1024
"""Number of candidates, those with the highest scores, that MTCNN's last network sees. It takes 2 ms for each, and a
picture of many small faces has thousands."""
MIN_EYE_DISTANCE = 0.15
"""In widths of the box (0.45 in a face seen from the front). Eyes closer together do not determine a crop."""

MAX_TILT_DEGREES = 8.0
"""A face that is tilted more is rotated upright and detected again: MTCNN's landmarks are biased towards an upright face
(a tilt of 42 degrees was once detected as 13)."""
MAX_ROTATIONS, MAX_ROTATED_FACES = 3, 12
"""Rotations per face, and number of a photo's faces that are rotated, the widest first: a detection takes about 55 ms."""
ROTATED_PX, ROTATED_SCALE = 192, 1.6
"""Side of the rotated picture in px, and side of the region it shows, the whole head, in sides of the crop."""

_Detection = tuple[np.ndarray, np.ndarray]  # x0, y0, x1, y1, score; landmarks (5, 2)


@dataclass(frozen=True)
class Face:
    """A face in a photo. Coordinates are in photo px.

    Attributes:
        box: (x0, y0, x1, y1); may reach past the photo.
        landmarks: (x, y) of the eyes on the picture's left and right, the nose, the left and right mouth corner.
        score: the detector's confidence, `MIN_SCORE`..1.
    """

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    score: float

    @property
    def width(self) -> float:
        """Width of the box in px."""
        return self.box[2] - self.box[0]


def find_faces(photo: Image.Image) -> list[Face]:
    """Finds all faces that show both eyes in an upright RGB photo, the widest first; an empty list if there are none.

    Runs on the CPU. The networks (2 MB) are loaded by the first call. Several threads may call it at once.
    """
    if photo.mode != "RGB":
        raise ValueError(f"expected an RGB photo, got mode {photo.mode}; read it with load_photo")
    copy = photo
    if max(photo.size) > SEARCH_PX:
        width, height = (max(1, round(side * SEARCH_PX / max(photo.size))) for side in photo.size)
        copy = photo.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    border = round(min(copy.size) * BORDER)
    picture = np.pad(np.asarray(copy), ((border, border), (border, border), (0, 0)), mode="edge")
    scale = np.divide(photo.size, copy.size)
    for min_face in sorted({max(MIN_FACE_PX, MIN_FACE * min(copy.size)), MIN_FACE_PX}, reverse=True):
        detections = sorted(_detect(picture, min_face), key=lambda detection: detection[0][0] - detection[0][2])
        detections[:MAX_ROTATED_FACES] = [_refine_tilted(picture, *one) for one in detections[:MAX_ROTATED_FACES]]
        candidates = (_in_photo(box, landmarks, border, scale) for box, landmarks in detections)
        faces = [face for face in candidates if _is_valid(face, photo)]
        if faces:
            return sorted(faces, key=lambda face: face.width, reverse=True)
    return []


def choose_face(faces: Sequence[Face], index: int | None = None) -> Face:
    """Returns the face of an index, by default the first and widest; raises NoFaceError if there are not so many."""
    if not faces:
        raise NoFaceError("No face was found in this photo. Use one in which a face is seen from the front, upright, "
                          "well lit, and at least 60 pixels wide.")  # fmt: skip
    index = 0 if index is None else index
    if not 0 <= index < len(faces):
        there = "only face 0" if len(faces) == 1 else f"only faces 0 to {len(faces) - 1}"
        raise NoFaceError(f"There is no face {index} in this photo, {there}. Choose one of these.")
    return faces[index]


_lock = threading.Lock()


def load_detector() -> tuple[nn.Module, ...]:
    """Loads MTCNN's three networks, once for all threads: about two seconds, otherwise part of the first search."""
    with _lock:  # facenet-pytorch cannot be imported by two threads at a time
        return _load_networks()


@cache
def _load_networks() -> tuple[nn.Module, ...]:
    """Reads the networks from the files beside facenet-pytorch's code; nothing is downloaded."""
    from facenet_pytorch.models import mtcnn

    with torch.random.fork_rng(devices=()):  # their random initial weights must not change the caller's random state
        networks = mtcnn.PNet(pretrained=False), mtcnn.RNet(pretrained=False), mtcnn.ONet(pretrained=False)
    folder = Path(mtcnn.__file__).parents[1] / "data"
    for network, name in zip(networks, ("pnet", "rnet", "onet"), strict=True):
        network.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True))
    return networks


def _detect(picture: np.ndarray, min_face: float) -> list[_Detection]:
    """Runs MTCNN on a picture (H, W, 3) uint8; coordinates are in its px."""
    if min(picture.shape[:2]) < min_face:  # MTCNN fails on a pyramid without scales
        return []
    pnet, rnet, onet = load_detector()
    from facenet_pytorch.models.utils.detect_face import detect_face

    with torch.inference_mode():
        boxes, landmarks = detect_face(picture, min_face, pnet, rnet, _limit_candidates(onet), THRESHOLDS, PYRAMID_STEP,
                                       torch.device("cpu"))  # fmt: skip
    return list(zip(boxes[0].astype(np.float64), landmarks[0].astype(np.float64), strict=True))


def _limit_candidates(network: nn.Module) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Wraps a network so that only the first `MAX_CANDIDATES`, which come sorted by score, are run; the others score 0."""
    left = MAX_CANDIDATES

    def forward(batch: Tensor) -> tuple[Tensor, ...]:
        nonlocal left
        left -= len(batch)
        if left >= 0:
            return network(batch)
        return tuple(part.new_zeros(len(batch), part.shape[1]) for part in network(batch[:1]))

    return forward


def _refine_tilted(picture: np.ndarray, box: np.ndarray, landmarks: np.ndarray) -> _Detection:
    """Replaces the landmarks of a leaning face by those detected once it is rotated upright; all in px of the picture."""
    upright = landmarks  # in the picture of the last detection
    for _ in range(MAX_ROTATIONS):
        x, y = upright[1] - upright[0]
        if abs(degrees(atan2(y, x))) <= MAX_TILT_DEGREES or dist(*landmarks[:2]) < 1:
            break
        picture_from_crop = invert(crop_from_photo(landmarks, ROTATED_PX))
        picture_from_rotated = photo_from_enlarged_crop(picture_from_crop, ROTATED_PX, ROTATED_SCALE, ROTATED_PX)
        rotated_from_picture = invert(picture_from_rotated)
        rotated = crop_face(Image.fromarray(picture), rotated_from_picture, ROTATED_PX)
        detections = _detect(np.array(rotated), ROTATED_PX / 4)
        candidates = [points - 0.5 for box, points in detections if box[4] >= MIN_SCORE]
        if not candidates:
            break
        middle = transform(rotated_from_picture, landmarks[:2]).mean(0)
        upright = min(candidates, key=lambda points: dist(points[:2].mean(0), middle))
        landmarks = transform(picture_from_rotated, upright) + 0.5  # half a pixel, here and above: see _in_photo
    return box, landmarks


def _in_photo(box: np.ndarray, landmarks: np.ndarray, border: int, scale: np.ndarray) -> Face:
    """Converts a detection in the bordered copy to the photo's coordinates."""
    # detect_face rounds the corners of its windows down to whole pixels, but not when it converts landmarks from windows
    # to the picture: on average they are half a pixel too far to the right and down.
    corners = (box[:4].reshape(2, 2) - border - 0.5) * scale
    points = (landmarks - border - 0.5) * scale
    x0, y0, x1, y1 = corners.ravel().tolist()
    return Face((x0, y0, x1, y1), tuple((x, y) for x, y in points.tolist()), float(box[4]))


def _is_valid(face: Face, photo: Image.Image) -> bool:
    """Tests the score, and that both eyes lie inside the photo and far enough apart."""
    left, right = face.landmarks[:2]
    inside = all(0 <= x < photo.width and 0 <= y < photo.height for x, y in (left, right))
    return face.score >= MIN_SCORE and inside and dist(left, right) > MIN_EYE_DISTANCE * face.width
