"""Follows one person's face through a film: found by a search, followed from frame to frame, lost and found again."""

from collections.abc import Callable
from dataclasses import dataclass
from math import dist, hypot

import numpy as np
from PIL import Image

from ..photo.alignment import crop_from_photo, invert, transform
from ..photo.detection import Face, are_consistent, find_faces
from ..photo.face_following import follow_face
from .one_euro import OneEuroFilter

MIN_SCORE = 0.8
"""Score of a followed face below which it is lost. Faces score above 0.99, also blurred; half a face above 0.9."""
MAX_SCALE_STEP = 1.3
"""Largest factor by which the eye distance changes from one frame to the next."""
CHECK_S, SEARCH_S = 1.0, 0.2
"""Intervals in s at which a followed face is searched for anew, to notice if something else is followed, and a lost one."""
MAX_MISSES = 2
"""Number of such searches in a row that do not find the followed face, after which it is lost."""
SAME_PERSON, PERHAPS = 0.55, 0.35
"""Cosine between two codes z from which they are of one person; and from which they are if the face is also found where it
was lost. Of 42 pictures of 6 people, 99 % of the pairs of one person have at least 0.71, of two people at most 0.4."""
NEW_LOOK, MAX_LOOKS = 0.8, 8
"""A code less similar than this to all known ones of the person is remembered as well, up to this number."""
HOLD_S = 0.2
"""How long a lost face is taken to be where it was, in s, while its edit fades out."""
NEAR_S, NEAR = 1.0, 0.7
"""A face found so soon, in s, and so near to where it was lost, in sides of the crop, is probably the same."""
THUMBNAIL_PX, CUT, CUT_FACTOR = 24, 18.0, 4.0
"""A cut is a mean difference of two successive thumbnails of at least CUT levels of 255 that is also CUT_FACTOR times the
usual one."""
PLACE_FILTER, TURN_FILTER, SHAPE_FILTER = (0.7, 5.0), (0.3, 4.0), (1.0, 5.0)
"""`min_cutoff` and `beta` of the filters on the place of the eyes, in eye distances; on the logarithm of the scale and the
angle; and on nose and mouth in sides of the crop. What rests is smoothed over a quarter of a second, and what moves lags by
at most a thirtieth of an eye distance."""


@dataclass(frozen=True)
class Track:
    """The face in one frame."""

    landmarks: np.ndarray
    """(5, 2) in px of the frame, as in `Face`, smoothed over time."""
    is_held: bool
    """Whether it was lost less than HOLD_S ago, and the landmarks are the last that were known."""
    is_new: bool
    """Whether the face was found in this frame."""


class FaceTracker:
    """Follows one person; frames are given in their order.

    Args:
        encode: the code z (z_dim,) of a face, by which people are distinguished.
        face: index of the person in the first frame that shows so many faces, from left to right; None: the largest face
            of the first frame that shows one.
    """

    def __init__(self, encode: Callable[[Image.Image, np.ndarray], np.ndarray], face: int | None = None):
        self._encode, self._choice = encode, face
        self._filters = OneEuroFilter(*PLACE_FILTER), OneEuroFilter(*TURN_FILTER), OneEuroFilter(*SHAPE_FILTER)
        self._known: list[np.ndarray] = []  # codes of the person
        self._raw: np.ndarray | None = None  # the landmarks last measured; None while the face is lost
        self._smooth: np.ndarray | None = None  # the landmarks last returned
        self._seen = self._searched = -1e9  # times at which the face was seen and searched for last
        self._misses, self._usual_change = 0, CUT / CUT_FACTOR
        self._thumbnail: np.ndarray | None = None

    @property
    def has_person(self) -> bool:
        """Whether the person to be followed was seen."""
        return bool(self._known)

    def update(self, image: Image.Image, time: float) -> tuple[Track | None, bool]:
        """The face in the next frame, None where it is not seen; and whether a new shot begins with the frame.

        Args:
            image: RGB.
            time: of the frame, in seconds.
        """
        is_cut = self._is_cut(image)
        if is_cut:
            self._lose()
            self._smooth, self._searched = None, -1e9
        was_lost = self._raw is None
        if self._raw is not None:
            self._follow(image, time)
        if self._raw is None and time - self._searched >= SEARCH_S:
            self._searched = time
            self._find(image, time)
        if self._raw is None:
            is_held = self._smooth is not None and time - self._seen <= HOLD_S
            return (Track(self._smooth, True, False) if is_held else None), is_cut  # type: ignore[arg-type]
        if was_lost and (is_cut or time - self._seen > HOLD_S):
            for each in self._filters:
                each.reset()
        self._seen = time
        self._smooth = self._filter(self._raw, time)
        return Track(self._smooth, False, was_lost), is_cut

    def _follow(self, image: Image.Image, time: float) -> None:
        assert self._raw is not None
        found, score = follow_face(image, self._raw)
        ratio = dist(*found[:2]) / max(dist(*self._raw[:2]), 1e-6)
        if score < MIN_SCORE or not 1 / MAX_SCALE_STEP < ratio < MAX_SCALE_STEP or not are_consistent(found):
            self._lose()
            return
        self._raw = found
        if time - self._searched < CHECK_S:
            return
        self._searched = time
        at_place = [face for face in find_faces(image) if _distance(face.landmarks, found) < NEAR / 2]
        similarity = self._similarity(code := self._encode(image, found))
        self._misses = 0 if at_place and similarity > PERHAPS else self._misses + 1
        if self._misses >= MAX_MISSES:
            self._lose()
        elif at_place and SAME_PERSON < similarity < NEW_LOOK and len(self._known) < MAX_LOOKS:
            self._known.append(code)

    def _find(self, image: Image.Image, time: float) -> None:
        """Searches for the person; leaves the face lost where it is not certain which one is hers or his."""
        faces = find_faces(image)
        chosen: Face | None = None
        if not self.has_person:
            if faces and (self._choice is None or self._choice < len(faces)):
                chosen = max(faces, key=lambda face: face.width) if self._choice is None else faces[self._choice]
        elif faces:
            similarity = [self._similarity(self._encode(image, np.array(face.landmarks))) for face in faces]
            best = int(np.argmax(similarity))
            is_near = self._smooth is not None and time - self._seen < NEAR_S
            is_near = is_near and _distance(faces[best].landmarks, self._smooth) < NEAR
            if similarity[best] >= (PERHAPS if is_near else SAME_PERSON):
                chosen = faces[best]
        if chosen is None:
            return
        landmarks, score = follow_face(image, np.array(chosen.landmarks))
        self._raw = landmarks if score >= MIN_SCORE and are_consistent(landmarks) else np.array(chosen.landmarks)
        self._misses = 0
        if not self.has_person:
            self._known.append(self._encode(image, self._raw))

    def _lose(self) -> None:
        self._raw, self._misses = None, 0

    def _similarity(self, code: np.ndarray) -> float:
        """The largest cosine to a known code of the person."""
        return max(float(code @ known / (np.linalg.norm(code) * np.linalg.norm(known) + 1e-9)) for known in self._known)

    def _is_cut(self, image: Image.Image) -> bool:
        small = image.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX, reducing_gap=1.0)
        thumbnail, before = np.asarray(small, np.float32), self._thumbnail
        self._thumbnail = thumbnail
        if before is None:
            return False
        change = float(np.abs(thumbnail - before).mean())
        is_cut = change >= CUT and change >= CUT_FACTOR * self._usual_change
        if not is_cut:
            self._usual_change += 0.2 * (change - self._usual_change)
        return is_cut

    def _filter(self, landmarks: np.ndarray, time: float) -> np.ndarray:
        """Smooths the crop that the eyes fix, and nose and mouth in that crop."""
        place, turn, shape = self._filters
        (x0, y0), (x1, y1) = landmarks[:2]
        unit = hypot(x1 - x0, y1 - y0)
        log_scale, angle = np.log(unit), np.arctan2(y1 - y0, x1 - x0)
        if turn.value is not None:  # without a jump between 180 and -180 degrees
            angle = turn.value[1] + (angle - turn.value[1] + np.pi) % (2 * np.pi) - np.pi
        log_scale, angle = turn(np.array([log_scale, angle]), time)
        unit = np.exp(log_scale)
        if place.value is not None and place.time != time:
            place.value = place.value * (self._unit / unit)  # the same place in the new unit
        centre = place(landmarks[:2].mean(0) / unit, time) * unit
        self._unit = float(unit)
        half = unit / 2 * np.array([np.cos(angle), np.sin(angle)])
        eyes = np.stack([centre - half, centre + half])
        in_crop = transform(crop_from_photo(landmarks, 1), landmarks[2:])
        rest = shape(in_crop.ravel(), time).reshape(3, 2)
        return np.concatenate([eyes, transform(invert(crop_from_photo(eyes, 1)), rest)])

    _unit = 1.0  # px of the eye distance last returned

    # What must be kept so that a film can be continued: arrays by name.

    def state(self) -> dict[str, np.ndarray]:
        """All that the next `update` depends on."""
        numbers = [self._seen, self._searched, self._misses, self._usual_change, self._unit]
        state = {"numbers": np.array(numbers, np.float64), "known": np.array(self._known)}
        optional = {"raw": self._raw, "smooth": self._smooth, "thumbnail": self._thumbnail}
        for i, each in enumerate(self._filters):
            optional |= {f"value{i}": each.value, f"speed{i}": each.speed, f"time{i}": np.array(each.time)}
        return state | {name: value for name, value in optional.items() if value is not None}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continues from a `state`."""
        self._seen, self._searched, misses, self._usual_change, self._unit = state["numbers"].tolist()
        self._misses, self._known = int(misses), list(state["known"])
        self._raw, self._smooth, self._thumbnail = (state.get(name) for name in ("raw", "smooth", "thumbnail"))
        for i, each in enumerate(self._filters):
            each.value, each.speed = state.get(f"value{i}"), state.get(f"speed{i}")
            each.time = float(state[f"time{i}"])


def _distance(a: np.ndarray | tuple, b: np.ndarray | None) -> float:
    """Distance of the middles of the eyes, in sides of the crop of `b`."""
    assert b is not None
    matrix = crop_from_photo(b, 1)
    return float(np.linalg.norm(transform(matrix, np.asarray(a)[:2]).mean(0) - transform(matrix, b[:2]).mean(0)))
