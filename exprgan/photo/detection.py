"""Detects faces in a photo with MTCNN (`mtcnn`), and decides which of its detections are faces that can be edited."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import atan2, degrees, dist
from numbers import Integral

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..deadline import check
from ..errors import NoFaceError
from ..torch_state import own_torch_state
from .alignment import crop_face, crop_from_photo, invert, photo_from_enlarged_crop, transform
from .mtcnn import MTCNNPart, detect, load_networks

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

MIN_SCORE = 0.9
"""Detections with a lower score are mostly not faces. Faces seen from the front score above 0.99."""
CERTAIN_SCORE = 0.9995
"""A detection with a lower score is scored again on its aligned crop (`_look_again`), which separates faces from other
things better: there faces score above 0.995, dark, blurred and grey ones too, and most drawings and textures lower."""
MIN_SECOND_SCORE = 0.995
"""A detection whose second score is lower is uncertain."""
MAX_CANDIDATES = 1024
"""Number of candidates, those with the highest scores, that MTCNN's last network sees. It takes 2 ms for each, and a
picture of many small faces has thousands."""
MIN_EYE_DISTANCE = 0.15
"""In widths of the box (0.45 in a face seen from the front). Eyes closer together do not determine a crop."""
MAX_LANDMARK_OFFSET = 1 / 3
"""In eye distances: how far nose and mouth may lie beside the eyes, as in a head turned to the side."""

MAX_TILT_DEGREES = 8.0
"""A face that is tilted more is rotated upright and detected again: MTCNN's landmarks are biased towards an upright face
(a tilt of 42 degrees was once detected as 13)."""
MAX_ROTATIONS, MAX_ROTATED_FACES = 3, 12
"""Rotations per face, and number of a photo's faces that are rotated, the widest first: a detection takes about 55 ms."""
ROTATED_PX, ROTATED_SCALE = 192, 1.6
"""Side of the rotated picture in px, and side of the region it shows, the whole head, in sides of the crop."""

UNCERTAIN = "This may be no face, or one that is hardly seen from the front: look closely at the result."

TURNED_PX, TURNED_BORDER, TURNED_MIN_FACE = 320, 1 / 4, 32
"""Where no face is found, a smaller copy is searched in four orientations (`_search_turned`): its long side in px, the
border around it in long sides, and the smallest width of a face in px of the copy."""

_Detection = tuple[np.ndarray, np.ndarray]  # x0, y0, x1, y1, score; landmarks (5, 2)


@dataclass(frozen=True)
class Face:
    """A face in a photo. Coordinates are in photo px.

    Attributes:
        box: (x0, y0, x1, y1); may reach past the photo.
        landmarks: (x, y) of the eyes, the nose and the mouth corners; of eyes and corners, those on the left of the upright
            face come first.
        score: the detector's confidence, `MIN_SCORE`..1.
        is_certain: False if `score` is below `CERTAIN_SCORE` and that of the aligned crop below `MIN_SECOND_SCORE`: it may
            be no face.
    """

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    score: float
    is_certain: bool = True

    @property
    def width(self) -> float:
        """Width of the box in px."""
        return self.box[2] - self.box[0]

    @property
    def warning(self) -> str:
        """A sentence on a face that is not certain; empty for one that is."""
        return "" if self.is_certain else UNCERTAIN


@own_torch_state()
def find_faces(photo: Image.Image) -> list[Face]:
    """Finds all faces that show both eyes in an RGB photo, from left to right; an empty list if there are none.

    If none is found, a small grey copy is searched in four orientations, and if none of those found is certain, in the
    three others; faces found there are at least a tenth of the photo's long side wide. Runs on the CPU. The networks
    (2 MB) are loaded by the first call. Several threads may call it at once.
    """
    if photo.mode != "RGB":
        raise ValueError(f"expected an RGB photo, got mode {photo.mode}; read it with load_photo")
    copy = photo
    if max(photo.size) > SEARCH_PX:
        width, height = (max(1, round(side * SEARCH_PX / max(photo.size))) for side in photo.size)
        copy = photo.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    border = round(min(copy.size) * BORDER)
    picture = np.pad(np.asarray(copy), ((border, border), (border, border), (0, 0)), mode="edge")
    faces: list[Face] = []
    for min_face in sorted({max(MIN_FACE_PX, MIN_FACE * min(copy.size)), MIN_FACE_PX}, reverse=True):
        if faces := _select(_detect(picture, min_face), picture, border, photo.size):
            break
    if any(face.is_certain for face in faces):
        return faces
    uncertain = faces
    for detections, grey in _search_turned(picture, border, range(1 if faces else 0, 4)):
        faces = _select(detections, grey, border, photo.size, refine_all=True)
        if any(face.is_certain for face in faces):
            return faces
        uncertain = uncertain or faces
    return uncertain


def choose_face(faces: Sequence[Face], index: int | None = None) -> Face:
    """Returns the face of an index, by default the widest.

    Raises:
        NoFaceError: there are not so many.
        ValueError: the index is no whole number.
    """
    if index is not None and not isinstance(index, Integral):
        raise ValueError(f"face must be a whole number from 0, from left to right, not {index!r}")
    if not faces:
        raise NoFaceError("No face was found in this photo. Use one in which a face is seen from the front, upright, "
                          "well lit, and at least 60 pixels wide.")  # fmt: skip
    if index is None:
        return max(faces, key=lambda face: face.width)
    if not 0 <= index < len(faces):
        raise NoFaceError(f"There is no face number {index + 1} from the left in this photo, only {len(faces)}. "
                          "Choose one of these.")  # fmt: skip
    return faces[index]


_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a process forked while another thread loads them would wait for ever
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


@own_torch_state()
def load_detector() -> tuple[MTCNNPart, ...]:
    """Loads MTCNN's three networks, once for all threads: about 20 ms, otherwise part of the first search."""
    with _lock:
        return _load_networks()


@cache
def _load_networks() -> tuple[MTCNNPart, ...]:
    networks = load_networks()
    for network in networks:
        network.register_forward_pre_hook(lambda *_: check())  # before each scale, and each batch of candidates
    return networks


def _detect(picture: np.ndarray, min_face: float) -> list[_Detection]:
    """Runs MTCNN on a picture (H, W, 3) uint8; coordinates are in its px."""
    if min(picture.shape[:2]) < min_face:  # a pyramid without scales
        return []
    pnet, rnet, onet = load_detector()
    found = detect(picture, min_face, pnet, rnet, _limit_candidates(onet))
    return [*zip(*(part.astype(np.float64) for part in found), strict=True)]


def _limit_candidates(network: MTCNNPart) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Wraps a network so that only the first `MAX_CANDIDATES`, which come sorted by score, are run; the others score 0."""
    left = MAX_CANDIDATES

    def forward(batch: Tensor) -> tuple[Tensor, ...]:
        nonlocal left
        left -= len(batch)
        if left >= 0:
            return network(batch)
        return tuple(part.new_zeros(len(batch), part.shape[1]) for part in network(batch[:1]))

    return forward


def _search_turned(picture: np.ndarray, border: int, turns: Sequence[int]) -> Iterator[tuple[list[_Detection], np.ndarray]]:
    """Searches a small copy of a bordered picture in grey, with a wide border, turned counterclockwise by these quarters.

    The border shows MTCNN faces that fill the photo, the lightest channel at full contrast those in light of one colour.

    Yields:
        The detections of each orientation that has some, those with the highest score first; and the grey picture, in whose
        px they are.
    """
    photo = picture[border : picture.shape[0] - border, border : picture.shape[1] - border]
    small = Image.fromarray(photo.max(axis=2))
    small.thumbnail((TURNED_PX, TURNED_PX), Image.Resampling.BILINEAR)
    scale = np.divide(photo.shape[1::-1], small.size)
    side = round((1 + 2 * TURNED_BORDER) * max(small.size))
    x0, y0 = ((side - length) // 2 for length in small.size)
    margins = (y0, side - small.height - y0), (x0, side - small.width - x0)
    square = np.pad(np.asarray(ImageOps.autocontrast(small, cutoff=1)), margins, mode="edge")

    def in_picture(points: np.ndarray, quarter_turns: int) -> np.ndarray:
        x, y = points.T - 0.5  # half a pixel, here and below: see _in_photo
        unturned = [(x, y), (side - y, x), (side - x, side - y), (y, side - x)][quarter_turns]
        return (np.column_stack(unturned) - (x0, y0)) * scale + border + 0.5

    orientations = []
    for quarter_turns in turns:
        detections = []
        turned = np.rot90(square, quarter_turns)[..., None].repeat(3, axis=2)
        for box, landmarks in _detect(turned, TURNED_MIN_FACE):
            corners = in_picture(box[:4].reshape(2, 2), quarter_turns)
            detections.append((np.array([*corners.min(0), *corners.max(0), box[4]]), in_picture(landmarks, quarter_turns)))
        if detections and (best := max(box[4] for box, _ in detections)) >= MIN_SCORE:
            orientations.append((best, detections))
    if orientations:
        grey = np.asarray(ImageOps.autocontrast(Image.fromarray(picture.max(axis=2)), cutoff=1).convert("RGB"))
        for _, detections in sorted(orientations, key=lambda orientation: orientation[0], reverse=True):
            yield detections, grey


def _select(
    detections: list[_Detection], picture: np.ndarray, border: int, photo_size: tuple[int, int], refine_all: bool = False
) -> list[Face]:
    """Returns the faces among the detections in a bordered copy of a photo, from left to right, in photo px."""
    detections = sorted(detections, key=lambda detection: detection[0][0] - detection[0][2])
    detections[:MAX_ROTATED_FACES] = [_refine(picture, *one, refine_all) for one in detections[:MAX_ROTATED_FACES]]
    scale = np.divide(photo_size, np.subtract(picture.shape[1::-1], 2 * border))
    faces, looks = [], 0
    for box, landmarks in detections:
        face = _in_photo(box, landmarks, border, scale)
        if not _is_valid(face, photo_size):
            continue
        if face.score < CERTAIN_SCORE and looks < MAX_ROTATED_FACES:
            looks += 1
            score, is_upright = _look_again(picture, landmarks)
            if not is_upright:
                continue
            face = replace(face, is_certain=score >= MIN_SECOND_SCORE)
        faces.append(face)
    return sorted(faces, key=lambda face: face.box[0] + face.box[2])


def _look_again(picture: np.ndarray, landmarks: np.ndarray) -> tuple[float, bool]:
    """Scores the aligned crop by MTCNN's last network, in four orientations.

    The crop has full contrast: otherwise a dark photo lowers the score as much as a drawn face does.

    Returns:
        The score, 0..1, and whether it is the highest of the four.
    """
    size = 48  # the input of the network
    crop = ImageOps.autocontrast(crop_face(Image.fromarray(picture), crop_from_photo(landmarks, size), size), cutoff=1)
    upright = (torch.tensor(np.asarray(crop), dtype=torch.float32).permute(2, 0, 1) - 127.5) / 128
    scores, _, _ = load_detector()[2](torch.stack([upright.rot90(turns, (1, 2)) for turns in range(4)]))
    score, *others = scores[:, 1].tolist()
    return score, score >= max(others)


def _refine(picture: np.ndarray, box: np.ndarray, landmarks: np.ndarray, always: bool) -> _Detection:
    """Replaces the landmarks of a leaning face, or always, by those detected once it is rotated upright; in picture px.

    In a cut-out that repeats the edge pixels around the head, they are also better for a face that fills the photo.
    """
    upright = landmarks  # in the picture of the last detection
    for rotations in range(MAX_ROTATIONS):
        x, y = upright[1] - upright[0]
        is_upright = abs(degrees(atan2(y, x))) <= MAX_TILT_DEGREES and (rotations > 0 or not always)
        if box[4] < MIN_SCORE or is_upright or dist(*landmarks[:2]) < 1:
            break
        picture_from_crop = invert(crop_from_photo(landmarks, ROTATED_PX))
        picture_from_rotated = photo_from_enlarged_crop(picture_from_crop, ROTATED_PX, ROTATED_SCALE, ROTATED_PX)
        rotated_from_picture = invert(picture_from_rotated)
        rotated = crop_face(Image.fromarray(picture), rotated_from_picture, ROTATED_PX)
        detections = _detect(np.asarray(rotated), ROTATED_PX / 4)
        candidates = [points - 0.5 for box, points in detections if box[4] >= MIN_SCORE]
        if not candidates:
            break
        middle = transform(rotated_from_picture, landmarks[:2]).mean(0)
        upright = min(candidates, key=lambda points: dist(points[:2].mean(0), middle))
        landmarks = transform(picture_from_rotated, upright) + 0.5  # half a pixel, here and above: see _in_photo
    return box, landmarks


def _in_photo(box: np.ndarray, landmarks: np.ndarray, border: int, scale: np.ndarray) -> Face:
    """Converts a detection in the bordered copy to the photo's coordinates."""
    # MTCNN rounds the corners of its windows down to whole pixels, but not when it converts landmarks from windows
    # to the picture: on average they are half a pixel too far to the right and down.
    corners = (box[:4].reshape(2, 2) - border - 0.5) * scale
    points = (landmarks - border - 0.5) * scale
    x0, y0, x1, y1 = corners.ravel().tolist()
    return Face((x0, y0, x1, y1), tuple((x, y) for x, y in points.tolist()), float(box[4]))


def _is_valid(face: Face, photo_size: tuple[int, int]) -> bool:
    """Tests the score, that both eyes lie inside the photo and far enough apart, and that the landmarks form a face."""
    left, right = face.landmarks[:2]
    inside = all(0 <= x < photo_size[0] and 0 <= y < photo_size[1] for x, y in (left, right))
    apart = dist(left, right) > MIN_EYE_DISTANCE * face.width
    return face.score >= MIN_SCORE and inside and apart and are_consistent(face.landmarks)


def are_consistent(landmarks: Sequence[Sequence[float]] | np.ndarray) -> bool:
    """Tests that five landmarks (5, 2) can be those of one face.

    In the crop that the eyes fix, eyes, nose and mouth must lie below each other, nose and mouth at most
    `MAX_LANDMARK_OFFSET` beside the eyes, and the mouth's left corner on its left.
    """
    (left, eye_y), (right, _), nose, *corners = transform(crop_from_photo(landmarks, 1), landmarks)
    margin = MAX_LANDMARK_OFFSET * (right - left)
    beside = all(left - margin <= x <= right + margin for x, _ in (nose, *corners))
    return bool(beside and eye_y < nose[1] < min(corners[0][1], corners[1][1]) and corners[0][0] < corners[1][0])
