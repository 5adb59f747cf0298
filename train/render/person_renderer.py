"""Renders all pictures of one person: reads and fits the photos, renders, crops and writes."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exprgan.errors import NoFaceError
from exprgan.photo.image_io import encode_image, load_photo

from ..core.files import durable_write, write_bytes, write_json
from ..core.train_errors import DataError
from .face_model.canonical_frame import PUPIL_TARGETS, Patch
from .face_model.mesh import Mesh
from .face_model.template_regression import predict_template
from .face_model.webmorph_template import read_template
from .face_renderer import FaceRenderer, RenderedFace
from .head_pose import project, turn
from .photo_manifest import Person
from .render_config import RenderConfig
from .sampling_plan import Picture, plan_neutral_photo, plan_smile
from .shading.mouth_look import MouthLook
from .shading.scene_light import relight
from .shading.wrinkle_maps import Wrinkles
from .smile_tracking import TrackedSmile
from .training_crop import crop_image, crop_matrix, write_fields

VERSION = 4
"""Is increased when the same settings give other pictures."""
FIELDS_VERSION = 3
"""Likewise, of the pictures and fields that are written with `--flow`."""

RECORDS_FOLDER = ".people"
"""Folder inside OUT with a file for each finished person: the names of its files and the rows of metadata.csv."""

_UNRELATED_SETTINGS = ("photos", "manifest", "mesh", "out", "split_from", "test_share", "workers")


@dataclass(frozen=True)
class RenderTask:
    """A person to be rendered, with the split and the configuration."""

    person: Person
    split: str
    config: RenderConfig
    mesh_hash: str

    @property
    def record_path(self) -> Path:
        """The file that is written when the person is finished."""
        return Path(self.config.out) / RECORDS_FOLDER / f"{self.person.subject}.json"

    def read_record(self) -> dict[str, Any]:
        """Reads the person's record; it is empty if the person is not finished."""
        try:
            return json.loads(self.record_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def compute_key(self) -> str:
        """Hashes everything that the pictures depend on.

        Raises:
            DataError: a file cannot be read.
        """
        person = self.person
        names = ("subject", "parents", "sex", "age", "ethnicity", "source", "licence", "credit", "balance")
        content = {name: getattr(person, name) for name in names}
        content |= {"smile": person.smile_source, "split": self.split, "mesh": self.mesh_hash}
        content |= {"version": VERSION, "settings": select_settings(self.config)}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
        for path in (person.photo, person.template, person.smile if self.config.smiles else None):
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest() if path else b"none")
            except OSError as error:
                raise DataError(f"{path} of {person.subject} cannot be read ({error.strerror})") from error
        return digest.hexdigest()

    def is_finished(self) -> bool:
        """Returns whether all of the person's pictures exist and were made from what is given now."""
        record = self.read_record()
        return bool(record) and record["key"] == self.compute_key() and all(path.is_file() for path in self._files(record))

    def delete_old_pictures(self) -> None:
        """Deletes what an earlier, finished run wrote of a person who has changed since."""
        if record := self.read_record():
            self.record_path.unlink()
            for path in self._files(record):
                path.unlink(missing_ok=True)

    def _files(self, record: dict[str, Any]) -> list[Path]:
        return [Path(self.config.out) / name for name in record["files"]]


def select_settings(config: RenderConfig) -> dict[str, Any]:
    """Selects the settings that the pictures depend on."""
    settings = {name: value for name, value in asdict(config).items() if name not in _UNRELATED_SETTINGS}
    return settings | ({"fields": FIELDS_VERSION} if config.flow else {})


def render_person(task: RenderTask, mesh: Mesh) -> str:
    """Renders and writes all pictures of a person, then the record.

    Returns:
        A note to the user about the person; empty if all went well.

    Raises:
        DataError: the template is broken or shows no face that can be fitted.
        ExprGANError: the photo cannot be read.
        RunError: OUT cannot be written.
    """
    person, config, out, note = task.person, task.config, Path(task.config.out), ""
    key = task.compute_key()
    task.delete_old_pictures()
    photo = load_photo(person.photo)
    points = read_template(person.template) if person.template else predict_template(photo, str(person.photo))
    if points.min() < -max(photo.size) or points.max() > 2 * max(photo.size):
        raise DataError(f"the template {person.template} lies outside {person.photo}; it is another photo's")
    wrinkles = Wrinkles(person.subject, float(person.age) if person.age else None)
    face = FaceRenderer(mesh, Patch.from_photo(photo, points, person.balance), wrinkles)
    pictures, smile = plan_neutral_photo(person, config), None
    if person.smile and config.smiles:
        try:
            smile = TrackedSmile.track(face, photo, load_photo(person.smile))
            pictures += plan_smile(person, smile.intensity, smile.is_reliable, config)
        except NoFaceError:
            note = f"{person.subject}: no face was found in {person.smile_source}, so there is no smile to follow"
    rows, files = [], []
    for n, picture in enumerate(pictures):
        percent = round(picture.intensity * 100)
        name = f"{task.split}/{person.subject}/{picture.expression or 'no_class'}_{picture.style}_{percent:03d}_{n:03d}.jpg"
        image, pupils, rendered = _render_picture(face, smile, picture)
        matrix = crop_matrix(pupils, config.image_size, picture.jitter, config.frame)
        crop = crop_image(image, matrix, config.image_size)
        # without chroma subsampling: lips are small and red
        write_bytes(out / name, encode_image(crop, "JPEG", quality=config.quality, subsampling=0))
        files.append(name)
        if config.flow and rendered:
            with durable_write(out / f"{name}.npz") as part:
                write_fields(part, rendered, matrix, config.image_size)
            files.append(f"{name}.npz")
        rows.append(_metadata_row(task, picture, name))
    write_json(task.record_path, {"key": key, "files": files, "rows": rows})
    return note


def _render_picture(
    face: FaceRenderer, smile: TrackedSmile | None, picture: Picture
) -> tuple[np.ndarray, np.ndarray, RenderedFace | None]:
    """Returns the patch and its pupils; for a rendered or morphed picture also all else that is known of its pixels."""
    if picture.kind == "rendered":
        rendered = face.render(picture.units, gaze=picture.scene.gaze, mouth=picture.mouth)
    elif smile and picture.progress:
        rendered = smile.render(picture.progress)
    elif smile and picture.from_smile:
        return smile.image, PUPIL_TARGETS, None
    else:
        return face.patch.image.astype("uint8"), face.pupils, None
    pose, light = picture.scene.pose, picture.scene.light
    view = turn(rendered.image, rendered.depth, pose)
    return relight(view.image, view.depth, light), project(rendered.pupils, rendered.neutral_depth, pose), rendered


def _metadata_row(task: RenderTask, picture: Picture, name: str) -> dict[str, str]:
    person = task.person
    units = {str(unit): weights for unit, weights in picture.units.items()}
    source = person.smile_source if picture.from_smile else person.source
    return {
        "file_name": name,
        "subject": person.subject,
        "parents": " ".join(person.parents),
        "sex": person.sex,
        "age": person.age,
        "ethnicity": person.ethnicity or "unknown",
        "expression": picture.expression,
        "style": picture.style,
        "kind": picture.kind,
        "intensity": f"{picture.intensity:.4f}",
        "action_units": _to_json(units) if units else "",
        **picture.scene.to_columns(),
        "mouth": _to_json(asdict(picture.mouth)) if picture.mouth != MouthLook() else "",
        "split": task.split,
        "source": "" if person.parents else source,
        "licence": person.licence,
        "credit": person.credit,
    }


def _to_json(values: dict[str, Any]) -> str:
    return json.dumps(values, separators=(",", ":"))
