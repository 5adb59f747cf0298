"""A visitor's photo between two events, and the files that the page makes, which gradio deletes."""

import functools
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image, ImageOps

from ..deadline import Deadline
from ..editing.multi_face import draw_numbers
from ..editing.results import PREVIEW_PX, Subject, in_copy, shrink
from ..editor import ExpressionEditor
from ..errors import ExprGANError
from ..photo.detection import Face, choose_face
from ..photo.image_io import encode_image, load_photo, save_photo
from .session_memory import SessionMemory
from .workers import claim_heavy_work

EXAMPLE_FOLDER = Path(__file__).parent / "examples"
MAX_AGE_S = 3600
"""No file and no session is kept longer."""
PREVIEW_SUFFIX = ".jpg"
"""Of pictures shown while a slider moves. A PNG takes forty times as long to write and is four times as large."""
MAX_TUNED_FACES, TUNING_S = 3, 20
"""Faces that one request may have tuned, and the seconds that each of them may take: several times what it needs."""
MANY_FACES = 12
"""A request for more faces is heavy work, see `claim_heavy_work`."""
TOO_MANY_TUNED = (f"The model can be fitted to {MAX_TUNED_FACES} faces at a time, not to {{}}. "
                  "Choose one face, or the photo's own pixels for all of them.")  # fmt: skip
TUNING_TOO_LONG = (f"Fitting the model to a face took longer than {TUNING_S} seconds. "
                   "Please try again later, or choose the photo's own pixels.")  # fmt: skip
EXPIRED = "This photo was deleted, as every photo is within an hour. Please add it again."


class PhotoSession:
    """A visitor's photo, read once: its faces are found when it arrives, each face is encoded when it is first edited.

    A session holds a preview and, of each face, some MB of network output; the full-size photo is opened again when needed,
    also for what `session_memory` has forgotten.

    Raises:
        ExprGANError: the file was deleted, or it cannot be read (BadImageError), or it shows no face (NoFaceError).
    """

    def __init__(self, editor: ExpressionEditor, path: str):
        self.path = path
        photo = self._load()
        self.photo_size = photo.size
        self.faces = example_faces().get(path) or editor.find(photo)
        self.largest = self.faces.index(choose_face(self.faces))
        self._photo_from_crop: dict[int, np.ndarray] = {}
        self._memory = SessionMemory()
        self._preview_path: str | None = None
        self.subjects(editor, {self.largest: False}, photo=photo)
        self._memory.recall("thumbnails", lambda: self._crop_thumbnails(photo))

    @classmethod
    def resume(cls, editor: ExpressionEditor, path: str, session: "PhotoSession | None") -> "PhotoSession":
        """Returns the session if it is of this photo, or a new one."""
        return session if session and session.path == path else cls(editor, path)

    def index(self, number: float | None) -> int:
        """The index of a face that people count from 1, left to right; the largest's for 0 or None.

        Raises:
            NoFaceError: the photo does not show so many.
            ValueError: no whole number.
        """
        number = number or 0
        if isinstance(number, bool) or not isinstance(number, (int, float)) or number != number // 1:
            raise ValueError(f"face must be a whole number, 1 for the leftmost or 0 for the largest, not {number!r}")
        if number:
            choose_face(self.faces, int(number) - 1)
        return int(number) - 1 if number else self.largest

    @property
    def boxes(self) -> list[list[float]]:
        """x0, y0, x1, y1 of every face, in widths and heights of the photo."""
        width, height = self.photo_size
        return [[x0 / width, y0 / height, x1 / width, y1 / height] for x0, y0, x1, y1 in (face.box for face in self.faces)]

    def subject(self, editor: ExpressionEditor, face: int = 0) -> Subject:
        """A face in the preview."""
        return self.subjects(editor, {face: False})[face]

    def subjects(self, editor: ExpressionEditor, tuned: Mapping[int, bool], progress: Callable[[float], None] | None = None,
                 photo: Image.Image | None = None) -> dict[int, Subject]:  # fmt: skip
        """Faces in the preview, by number; where `tuned` says so with a decoder fitted to the face, once, in some seconds.

        Raises:
            ExprGANError: more than MAX_TUNED_FACES are to be tuned, one takes longer than TUNING_S, or another visitor's
                tuned or many faces occupy the app.
        """
        to_tune = [face for face in tuned if tuned[face] and ("tuned", face) not in self._memory]
        if len(to_tune) > MAX_TUNED_FACES:
            raise ExprGANError(TOO_MANY_TUNED.format(len(to_tune)))
        for face in tuned:
            choose_face(self.faces, face)
        if to_tune or len(tuned) > MANY_FACES:
            claim_heavy_work()
        load = functools.cache(lambda: photo or self._load())  # once, if at all
        subjects = {face: self._memory.recall(("face", face), partial(self._encode, editor, load, face)) for face in tuned}
        for face in filter(tuned.get, tuned):
            with Deadline(TUNING_S, TUNING_TOO_LONG).running():
                tune = partial(editor.tune, subjects[face], progress=progress)
                subjects[face] = self._memory.recall(("tuned", face), tune)
        return subjects

    def full_subjects(self, subjects: Mapping[int, Subject]) -> dict[int, Subject]:
        """Moves subjects, by face, from the preview to the full-size photo, which is opened once."""
        photo = self._load()
        return {face: replace(subject, photo=photo, photo_from_crop=self._photo_from_crop[face])
                for face, subject in subjects.items()}  # fmt: skip

    @property
    def thumbnails(self) -> list[tuple[Image.Image, str]]:
        """A picture of every face and its number, from 1, if there are several."""
        return self._memory.recall("thumbnails", lambda: self._crop_thumbnails(self._load()))

    @property
    def preview(self) -> Image.Image:
        """The unedited photo, at most PREVIEW_PX."""
        return self._memory.recall("preview", lambda: to_preview(self._load()))

    def save_numbered(self, chosen: int) -> str | None:
        """Writes the preview with a number from 1 at every face and returns its path; None if there is one face only."""
        if len(self.faces) < 2:
            return None
        preview, path = self.preview, new_path()
        boxes = np.array([face.box for face in self.faces]) * (preview.width / self.photo_size[0])
        faces = [replace(face, box=tuple(box)) for face, box in zip(self.faces, boxes, strict=True)]
        Path(path).write_bytes(encode_image(draw_numbers(preview, faces, first=1, chosen=[chosen]), "JPEG", quality=90))
        return path

    def save_preview(self) -> str:
        """Writes the unedited preview, once, and returns its path; encoded as `save_photo` encodes the edited one."""
        if self._preview_path is None or not Path(self._preview_path).exists():
            self._preview_path = new_path()
            Path(self._preview_path).write_bytes(encode_image(self.preview, "JPEG", quality=95, subsampling=0))
        return self._preview_path

    def _load(self) -> Image.Image:
        if not Path(self.path).exists():
            raise ExprGANError(EXPIRED)
        return load_photo(self.path)

    def _encode(self, editor: ExpressionEditor, load: Callable[[], Image.Image], face: int) -> Subject:
        subject = editor.read(load(), self.faces[face])
        self._photo_from_crop[face] = subject.photo_from_crop
        return in_copy(subject, self._memory.recall("preview", lambda: to_preview(load())))  # all faces share it

    def _crop_thumbnails(self, photo: Image.Image) -> list[tuple[Image.Image, str]]:
        to_choose = self.faces if len(self.faces) > 1 else []
        return [(crop_thumbnail(photo, face), str(number)) for number, face in enumerate(to_choose, 1)]


@functools.cache
def example_faces() -> dict[str, list[Face]]:
    """The faces of the example photos, by path, so that the first page does not wait for the detector."""
    faces = json.loads((EXAMPLE_FOLDER / "faces.json").read_text(encoding="utf-8"))
    return {str(EXAMPLE_FOLDER / name): [Face(tuple(box), tuple(map(tuple, landmarks)), score)]
            for name, (box, landmarks, score) in faces.items()}  # fmt: skip


def to_preview(photo: Image.Image) -> Image.Image:
    """The photo, or a copy of at most PREVIEW_PX, as `Subject.preview` has it."""
    return photo if max(photo.size) <= PREVIEW_PX else shrink(photo, PREVIEW_PX)


def crop_thumbnail(photo: Image.Image, face: Face) -> Image.Image:
    """A face with some margin, 160 x 160 px, to choose it by."""
    box = (np.reshape(face.box, (2, 2)) / photo.size).ravel().tolist()
    return ImageOps.fit(photo.crop(face_square(box, photo.size, margin=0.2)), (160, 160))


def face_square(box: Sequence[float], size: tuple[int, int], margin: float = 0.45) -> tuple[int, int, int, int]:
    """A square around a face, as far as it lies in the photo, in px.

    Args:
        box: x0, y0, x1, y1 in widths and heights of the photo.
        size: width and height of the photo in px.
        margin: added on every side, in longer sides of the box.
    """
    start, end = np.reshape(box, (2, 2)) * size
    centre, radius = (start + end) / 2, (0.5 + margin) * max(end - start)
    left, top = map(round, np.maximum(0, centre - radius))
    right, bottom = map(round, np.minimum(size, centre + radius))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def save_result(image: Image.Image, suffix: str = PREVIEW_SUFFIX, name: str = "") -> str:
    """Writes a picture, marked as edited by AI, and returns its path."""
    path = new_path(suffix, name)
    save_photo(image, path)
    return path


def new_path(suffix: str = PREVIEW_SUFFIX, name: str = "") -> str:
    """A new path in the folder that gradio empties; in a subfolder of its own if the visitor is to see the name."""
    folder = Path(get_upload_folder()) / (uuid.uuid4().hex if name else "exprgan")
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / f"{name or uuid.uuid4().hex}{suffix}")
