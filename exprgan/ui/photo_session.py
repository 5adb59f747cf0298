"""A visitor's photo between two actions, and the files that the app makes, which gradio deletes."""

import dataclasses
import json
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image, ImageOps

from exprgan import ExpressionEditor, ExprGANError, Subject, draw_numbers
from exprgan.editing.pivotal_tuning import TuningProgress
from exprgan.photo.detection import Face, choose_face
from exprgan.photo.image_io import encode_image, load_photo, save_photo

EXAMPLE_FOLDER = Path(__file__).parent / "examples"
HOUR_S = 3600
"""No file and no session is kept longer."""
PREVIEW_SUFFIX = ".jpg"
"""Of what is shown while the slider moves. PNG takes forty times as long to write and is four times as large."""
EXPIRED = "This photo was deleted, as every photo is within an hour. Please add it again."


class PhotoSession:
    """A visitor's photo, read once: searched when it arrives, each face encoded when first edited.

    It keeps a preview, and of each face some MB of what the networks said, and opens the photo again for its full size.
    """

    def __init__(self, editor: ExpressionEditor, path: str):
        self.path = path
        photo = self._photo()
        self._width = photo.width
        self.faces = example_faces().get(path) or editor.find(photo)
        choose_face(self.faces)  # says so if there is none
        self.portraits = [(portrait(photo, face), str(i + 1)) for i, face in enumerate(self.faces) if len(self.faces) > 1]
        self._subjects: dict[int, tuple[Subject, np.ndarray]] = {}
        self._tuned: dict[int, Subject] = {}
        self._read(editor, photo, 0)
        self._before: str | None = None

    @classmethod
    def of(cls, editor: ExpressionEditor, path: str, last: "PhotoSession | None") -> "PhotoSession":
        """The last one, if it was of this photo."""
        return last if last and last.path == path else cls(editor, path)

    def subject(
        self, editor: ExpressionEditor, face: int = 0, tuned: bool = False, progress: TuningProgress | None = None
    ) -> Subject:
        """A face in the preview; tuned: with a decoder fitted to it, once, which takes some seconds."""
        if face not in self._subjects:
            self._read(editor, self._photo(), face)
        small = self._subjects[face][0]
        if tuned and face not in self._tuned:
            self._tuned[face] = editor.tune(small, progress=progress)
        return self._tuned[face] if tuned else small

    def full_subject(self, editor: ExpressionEditor, face: int = 0) -> Subject:
        """The same face in the photo as it came."""
        return self.full_subjects({face: self.subject(editor, face)})[face]

    def full_subjects(self, small: Mapping[int, Subject]) -> dict[int, Subject]:
        """Some faces in the photo as it came, which is opened once."""
        photo = self._photo()
        return {face: dataclasses.replace(one, photo=photo, photo_from_crop=self._subjects[face][1])
                for face, one in small.items()}  # fmt: skip

    def numbered(self, chosen: int) -> str | None:
        """The preview with a number from 1 at every face, if there are several."""
        if len(self.faces) < 2:
            return None
        preview, path = self._subjects[0][0].photo, new_path(PREVIEW_SUFFIX)
        scale = preview.width / self._width
        faces = [dataclasses.replace(one, box=tuple(scale * v for v in one.box)) for one in self.faces]
        Path(path).write_bytes(encode_image(draw_numbers(preview, faces, first=1, chosen=[chosen]), "JPEG", quality=90))
        return path

    def face_at(self, x: float, y: float) -> int:
        """The face nearest to a place in the preview."""
        scale = self._width / self._subjects[0][0].photo.width
        away = [np.hypot(scale * x - (x0 + x1) / 2, scale * y - (y0 + y1) / 2) for x0, y0, x1, y1 in
                (one.box for one in self.faces)]  # fmt: skip
        return int(np.argmin(away))

    def before(self) -> str:
        """The photo as it came, to lay beside a preview."""
        if self._before is None or not Path(self._before).exists():
            self._before = new_path(PREVIEW_SUFFIX)
            as_save_photo = {"quality": 95, "subsampling": 0}
            Path(self._before).write_bytes(encode_image(self._subjects[0][0].photo, "JPEG", **as_save_photo))
        return self._before

    def _photo(self) -> Image.Image:
        if not Path(self.path).exists():
            raise ExprGANError(EXPIRED)
        return load_photo(self.path)

    def _read(self, editor: ExpressionEditor, photo: Image.Image, face: int) -> None:
        subject = editor.read(photo, choose_face(self.faces, face))
        small = subject.preview
        if self._subjects:  # all faces share one preview
            small = dataclasses.replace(small, photo=self._subjects[0][0].photo)
        self._subjects[face] = small, subject.photo_from_crop


@cache
def example_faces() -> dict[str, list[Face]]:
    """Where the faces of the examples are: so the first page need not wait for the networks that find them."""
    told = json.loads((EXAMPLE_FOLDER / "faces.json").read_text(encoding="utf-8"))
    return {str(EXAMPLE_FOLDER / name): [Face(tuple(box), tuple(map(tuple, landmarks)), score)]
            for name, (box, landmarks, score) in told.items()}  # fmt: skip


def portrait(photo: Image.Image, face: Face) -> Image.Image:
    """A face cut out with some air around it, to choose it by."""
    x0, y0, x1, y1 = face.box
    x, y, reach = (x0 + x1) / 2, (y0 + y1) / 2, 0.7 * max(x1 - x0, y1 - y0)
    inside = max(0, x - reach), max(0, y - reach), min(photo.width, x + reach), min(photo.height, y + reach)
    return ImageOps.fit(photo.crop(tuple(map(round, inside))), (160, 160))


def save_result(image: Image.Image, suffix: str, name: str = "") -> str:
    """Writes a picture, marked as edited by AI, and tells where."""
    path = new_path(suffix, name)
    save_photo(image, path)
    return path


def new_path(suffix: str, name: str = "") -> str:
    """A file in the folder that gradio empties; in a folder of its own if the visitor is to see its name."""
    folder = Path(get_upload_folder()) / (uuid.uuid4().hex if name else "exprgan")
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / f"{name or uuid.uuid4().hex}{suffix}")
