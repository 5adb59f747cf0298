"""A visitor's photo between two events, and the files that the page makes, which gradio deletes."""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image, ImageOps

from ..editing.multi_face import draw_numbers
from ..editing.results import Subject
from ..editor import ExpressionEditor
from ..errors import ExprGANError
from ..photo.detection import Face, choose_face
from ..photo.image_io import encode_image, load_photo, save_photo

EXAMPLE_FOLDER = Path(__file__).parent / "examples"
MAX_AGE_S = 3600
"""No file and no session is kept longer."""
PREVIEW_SUFFIX = ".jpg"
"""Of pictures shown while a slider moves. A PNG takes forty times as long to write and is four times as large."""
EXPIRED = "This photo was deleted, as every photo is within an hour. Please add it again."


class PhotoSession:
    """A visitor's photo, read once: its faces are found when it arrives, each face is encoded when it is first edited.

    A session holds a preview and, of each face, some MB of network output; the full-size photo is opened again when needed.

    Raises:
        ExprGANError: the file was deleted, or it cannot be read (BadImageError), or it shows no face (NoFaceError).
    """

    def __init__(self, editor: ExpressionEditor, path: str):
        self.path = path
        photo = self._load()
        self._photo_width = photo.width
        self.faces = example_faces().get(path) or editor.find(photo)
        self._subjects: dict[int, Subject] = {}
        self._photo_from_crop: dict[int, np.ndarray] = {}
        self._tuned_subjects: dict[int, Subject] = {}
        self._preview_path: str | None = None
        self._encode(editor, photo, 0)
        to_choose = self.faces if len(self.faces) > 1 else []
        self.thumbnails = [(crop_thumbnail(photo, face), str(number)) for number, face in enumerate(to_choose, 1)]

    @classmethod
    def resume(cls, editor: ExpressionEditor, path: str, session: "PhotoSession | None") -> "PhotoSession":
        """Returns the session if it is of this photo, or a new one."""
        return session if session and session.path == path else cls(editor, path)

    def subject(self, editor: ExpressionEditor, face: int = 0, tuned: bool = False,
                progress: Callable[[float], None] | None = None) -> Subject:  # fmt: skip
        """A face in the preview; tuned: with a decoder that was fitted to it, once, which takes some seconds."""
        if face not in self._subjects:
            self._encode(editor, self._load(), face)
        if not tuned:
            return self._subjects[face]
        if face not in self._tuned_subjects:
            self._tuned_subjects[face] = editor.tune(self._subjects[face], progress=progress)
        return self._tuned_subjects[face]

    def full_subjects(self, subjects: Mapping[int, Subject]) -> dict[int, Subject]:
        """Moves subjects, by face, from the preview to the full-size photo, which is opened once."""
        photo = self._load()
        return {face: replace(subject, photo=photo, photo_from_crop=self._photo_from_crop[face])
                for face, subject in subjects.items()}  # fmt: skip

    def save_numbered(self, chosen: int) -> str | None:
        """Writes the preview with a number from 1 at every face and returns its path; None if there is one face only."""
        if len(self.faces) < 2:
            return None
        preview, path = self._subjects[0].photo, new_path()
        boxes = np.array([face.box for face in self.faces]) * (preview.width / self._photo_width)
        faces = [replace(face, box=tuple(box)) for face, box in zip(self.faces, boxes, strict=True)]
        Path(path).write_bytes(encode_image(draw_numbers(preview, faces, first=1, chosen=[chosen]), "JPEG", quality=90))
        return path

    def face_at(self, x: float, y: float) -> int:
        """The face whose centre is nearest to a point of the preview, in px."""
        corners = np.reshape([face.box for face in self.faces], (-1, 2, 2))
        point = np.array([x, y]) * (self._photo_width / self._subjects[0].photo.width)
        return int(np.linalg.norm(corners.mean(axis=1) - point, axis=1).argmin())

    def save_preview(self) -> str:
        """Writes the unedited preview, once, and returns its path; encoded as `save_photo` encodes the edited one."""
        if self._preview_path is None or not Path(self._preview_path).exists():
            self._preview_path = new_path()
            data = encode_image(self._subjects[0].photo, "JPEG", quality=95, subsampling=0)
            Path(self._preview_path).write_bytes(data)
        return self._preview_path

    def _load(self) -> Image.Image:
        if not Path(self.path).exists():
            raise ExprGANError(EXPIRED)
        return load_photo(self.path)

    def _encode(self, editor: ExpressionEditor, photo: Image.Image, face: int) -> None:
        subject = editor.read(photo, choose_face(self.faces, face))
        preview = subject.preview
        if self._subjects:  # all faces share one preview
            preview = replace(preview, photo=self._subjects[0].photo)
        self._subjects[face], self._photo_from_crop[face] = preview, subject.photo_from_crop


@cache
def example_faces() -> dict[str, list[Face]]:
    """The faces of the example photos, by path, so that the first page does not wait for the detector."""
    faces = json.loads((EXAMPLE_FOLDER / "faces.json").read_text(encoding="utf-8"))
    return {str(EXAMPLE_FOLDER / name): [Face(tuple(box), tuple(map(tuple, landmarks)), score)]
            for name, (box, landmarks, score) in faces.items()}  # fmt: skip


def crop_thumbnail(photo: Image.Image, face: Face) -> Image.Image:
    """A face with some margin, 160 x 160 px, to choose it by."""
    start, end = np.reshape(face.box, (2, 2))
    centre, radius = (start + end) / 2, 0.7 * max(end - start)
    left, top = map(round, np.maximum(0, centre - radius))
    right, bottom = map(round, np.minimum(photo.size, centre + radius))
    return ImageOps.fit(photo.crop((left, top, right, bottom)), (160, 160))


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
