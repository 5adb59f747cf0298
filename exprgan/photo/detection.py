"""Finds faces in a photo with MTCNN (Zhang et al. 2016), which facenet-pytorch brings, weights and all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import atan2, degrees, dist
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..errors import NoFaceError
from .alignment import crop_face, crop_from_photo, photo_from_wide_crop, invert, transform

if TYPE_CHECKING:
    from torch import Tensor, nn

SEARCH_PX = 1024
"""Long side of the copy that is searched; a face too small for it is too small to edit."""

BORDER = 1 / 8
"""The copy's edges are repeated outwards by this part of its short side. In a face that fills the picture, as
in a tight crop, MTCNN would otherwise set the eyes 2 % of the crop too high (measured on training crops)."""

SMALLEST_FACE = 0.04
"""Width of the smallest face sought at first, as part of the copy's short side. The finest scale of MTCNN's
pyramid costs as much as all the others, and hardly ever finds the face that is meant."""

SMALLEST_FACE_PX = 20
"""Width in the copy of the smallest face sought at all: a second look, if the first finds none."""

THRESHOLDS = (0.6, 0.7, 0.7)
"""The scores a candidate needs to pass MTCNN's three networks: the usual ones."""

PYRAMID_STEP = 0.709
"""From one scale to the next: half the area, as usual."""

LOWEST_SCORE = 0.9
"""What scores less is most often no face. Faces seen from the front score above 0.99."""

MOST_CANDIDATES = 1024
"""The surest ones reach MTCNN's last network, which takes 2 ms for each; a picture can be tiled with thousands."""

CLOSEST_EYES = 0.15
"""Eyes nearer to each other than this part of the box's width (from the front: 0.45) fix no crop."""

LEVEL_DEGREES = 8.0
"""A head that leans farther is turned upright and looked at again: MTCNN's points drift towards an upright face's, and
of one that leans by 42 degrees it once said 13."""
LOOKS, MOST_TURNED = 3, 12
"""How often it is turned at most; and how many of a photo's faces are, the widest: a look takes about 55 ms."""
TURNED_PX, WIDER = 192, 1.6
"""Side of the turned picture, and of what it shows in sides of the crop: all of the head."""


@dataclass(frozen=True)
class Face:
    """A face in a photo. Coordinates are (x, y) in photo px, from its top left corner.

    Attributes:
        box: (x0, y0, x1, y1); may reach past the photo.
        landmarks: the eye on the picture's left and the one on its right, the nose, the left and right mouth
            corner.
        score: how sure the finder is, `LOWEST_SCORE`..1.
    """

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    score: float

    @property
    def width(self) -> float:
        """Of the box, in px."""
        return self.box[2] - self.box[0]


def find_faces(photo: Image.Image) -> list[Face]:
    """All faces that show both eyes, the widest first; an empty list if there are none.

    Runs on the CPU. The networks (2 MB) are loaded by the first call and only read after it, so calls side by
    side from several threads do not meet.

    Args:
        photo: RGB, upright.
    """
    if photo.mode != "RGB":
        raise ValueError(f"expected an RGB photo, got mode {photo.mode}; read it with load_photo")
    copy = photo
    if max(photo.size) > SEARCH_PX:
        size = tuple(max(1, round(side * SEARCH_PX / max(photo.size))) for side in photo.size)
        copy = photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    border = round(min(copy.size) * BORDER)
    picture = np.pad(copy, ((border, border), (border, border), (0, 0)), mode="edge")
    to_photo = np.divide(photo.size, copy.size)
    usual = max(SMALLEST_FACE_PX, SMALLEST_FACE * min(copy.size))
    for smallest in sorted({usual, SMALLEST_FACE_PX}, reverse=True):
        widest = sorted(_detect(picture, smallest), key=lambda seen: seen[0][0] - seen[0][2])
        seen = [*(_upright(picture, *one) for one in widest[:MOST_TURNED]), *widest[MOST_TURNED:]]
        found = (_in_photo(box, points, border, to_photo) for box, points in seen)
        faces = [face for face in found if _is_sound(face, photo)]
        if faces:
            return sorted(faces, key=lambda face: face.width, reverse=True)
    return []


def load_detector() -> None:
    """Loads what `find_faces` needs, which its first call does otherwise: about two seconds."""
    _networks()


def choose_face(faces: Sequence[Face], index: int | None = None) -> Face:
    """One of the faces found.

    Args:
        faces: from `find_faces`.
        index: 0 is the widest, which None takes too.

    Raises:
        NoFaceError: there are none, or not so many.
    """
    if not faces:
        raise NoFaceError(
            "No face was found in this photo. "
            "Use one in which a face is seen from the front, upright, well lit, and at least 60 pixels wide."
        )
    index = 0 if index is None else index
    if not 0 <= index < len(faces):
        there = "only face 0" if len(faces) == 1 else f"only faces 0 to {len(faces) - 1}"
        raise NoFaceError(f"There is no face {index} in this photo, {there}. Choose one of these.")
    return faces[index]


def _detect(picture: np.ndarray, smallest: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """MTCNN itself: (H, W, 3) uint8 -> (x0, y0, x1, y1, score) and landmarks (5, 2) of each face, in px."""
    if min(picture.shape[:2]) < smallest:  # its pyramid would have no scale, which it does not foresee
        return []
    finder, refiner, last = _networks()
    import torch
    from facenet_pytorch.models.utils.detect_face import detect_face

    with torch.inference_mode():
        cpu = torch.device("cpu")
        boxes, points = detect_face(picture, smallest, finder, refiner, _of_the_surest(last), THRESHOLDS, PYRAMID_STEP, cpu)
    return list(zip(boxes[0].astype(np.float64), points[0].astype(np.float64), strict=True))


def _upright(picture: np.ndarray, box: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What was detected, with the landmarks (5, 2) that a leaning face has when it is turned upright; all in px."""
    seen, looks = points, 0
    while abs(_lean(seen)) > LEVEL_DEGREES and looks < LOOKS and dist(*points[:2]) >= 1:
        picture_from_turned = photo_from_wide_crop(invert(crop_from_photo(points, TURNED_PX)), TURNED_PX, WIDER, TURNED_PX)
        turned = crop_face(Image.fromarray(picture), invert(picture_from_turned), TURNED_PX)
        faces = [points - 0.5 for box, points in _detect(np.array(turned), TURNED_PX / 4) if box[4] >= LOWEST_SCORE]
        if not faces:
            break
        middle = transform(invert(picture_from_turned), points[:2]).mean(0)
        seen = min(faces, key=lambda face: dist(face[:2].mean(0), middle))
        points, looks = transform(picture_from_turned, seen) + 0.5, looks + 1  # half a pixel less and more: see _in_photo
    return box, points


def _lean(points: np.ndarray) -> float:
    """The angle of the line through the eyes, in degrees: 0 if level, above it if the one on the right is lower."""
    (x0, y0), (x1, y1) = points[:2]
    return degrees(atan2(y1 - y0, x1 - x0))


def _of_the_surest(network: nn.Module) -> Callable:
    """The network, for `MOST_CANDIDATES`; all after them, which come in batches by how sure they are, score 0."""
    left = MOST_CANDIDATES

    def look(batch: Tensor) -> tuple[Tensor, ...]:
        nonlocal left
        left -= len(batch)
        if left >= 0:
            return network(batch)
        return tuple(part.new_zeros(len(batch), part.shape[1]) for part in network(batch[:1]))

    return look


_loading = threading.Lock()


def _networks() -> tuple[nn.Module, ...]:
    """MTCNN's three networks, once for all threads: facenet-pytorch cannot be imported by two of them at a time."""
    with _loading:
        return _load_networks()


@cache
def _load_networks() -> tuple[nn.Module, ...]:
    """From the files beside their code; nothing is downloaded."""
    import torch
    from facenet_pytorch.models import mtcnn

    with torch.random.fork_rng(devices=()):  # what they draw at first is overwritten, and the caller's chance is not theirs
        networks = mtcnn.PNet(pretrained=False), mtcnn.RNet(pretrained=False), mtcnn.ONet(pretrained=False)
    folder = Path(mtcnn.__file__).parents[1] / "data"
    for network, name in zip(networks, ("pnet", "rnet", "onet"), strict=True):
        network.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True))
    return networks


def _in_photo(box: np.ndarray, points: np.ndarray, border: int, to_photo: np.ndarray) -> Face:
    """What was found in the bordered copy, in the photo's coordinates."""
    # detect_face cuts its windows out at whole pixels, rounded down, but forgets this when it places the
    # points: they come out half a pixel too far to the right and down on average.
    corners = (box[:4].reshape(2, 2) - border - 0.5) * to_photo
    landmarks = (points - border - 0.5) * to_photo
    return Face(tuple(corners.ravel().tolist()), tuple(map(tuple, landmarks.tolist())), float(box[4]))


def _is_sound(face: Face, photo: Image.Image) -> bool:
    """Sure enough, and with two eyes that lie apart and inside the photo."""
    left, right = face.landmarks[:2]
    inside = all(0 <= x < photo.width and 0 <= y < photo.height for x, y in (left, right))
    return face.score >= LOWEST_SCORE and inside and dist(left, right) > CLOSEST_EYES * face.width
