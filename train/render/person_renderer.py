"""All pictures of one person: read, fit, render, cut, write. Runs in a process of its own."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from exprgan.errors import NoFaceError
from exprgan.photo.image_io import encode_image, load_photo

from ..core.files import write_json, atomic_write
from ..data.metadata import DataError
from . import sampling_plan as plan
from .face_model.canonical_frame import Patch
from .face_model.mesh import Mesh
from .face_model.template_regression import derive_template
from .face_model.webmorph_template import read_template
from .face_renderer import Face, Rendered
from .photo_manifest import Person
from .render_config import RenderConfig
from .shading.wrinkles import Creases
from .smile_tracking import Smile
from .training_crop import cut, cut_flow, cut_places, frame, write_fields

VERSION = 2
"""Counts up when the same settings make other pictures."""

RECORDS = ".people"
"""Folder inside OUT: a file for each finished person, with the rows of metadata.csv."""

COLUMNS = ("file_name", "subject", "parents", "sex", "age", "ethnicity", "expression", "style", "kind", "intensity",
           "action_units", "split", "source", "licence", "credit")  # fmt: skip
_NOT_MADE_OF = ("photos", "manifest", "mesh", "out", "split_from", "test_share", "workers")


@dataclass(frozen=True)
class Task:
    """A person, where the pictures go, and how they are made."""

    sitter: Person
    split: str
    config: RenderConfig
    mesh: str
    """Hash of the mesh file."""

    @property
    def record(self) -> Path:
        """The file that stands once the person is finished."""
        return Path(self.config.out) / RECORDS / f"{self.sitter.subject}.json"

    def key(self) -> str:
        """A hash of all that the pictures depend on.

        Raises:
            DataError: a file cannot be read.
        """
        sitter = self.sitter
        facts: dict[str, Any] = {name: getattr(sitter, name) for name in COLUMNS if hasattr(sitter, name)}
        facts |= {"smile": sitter.smile_source, "balance": sitter.balance, "split": self.split, "mesh": self.mesh}
        facts |= {"version": VERSION, "settings": settings(self.config)}
        total = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for path in (sitter.photo, sitter.template, sitter.smile if self.config.smiles else None):
            try:
                total.update(hashlib.sha256(path.read_bytes()).digest() if path else b"none")
            except OSError as error:
                raise DataError(f"{path} of {sitter.subject} cannot be read ({error.strerror})") from error
        return total.hexdigest()


def settings(config: RenderConfig) -> dict[str, Any]:
    """What of a configuration the pictures depend on."""
    return {name: value for name, value in asdict(config).items() if name not in _NOT_MADE_OF}


def finished(task: Task) -> bool:
    """Whether a person's pictures are all there, as they would be made now."""
    try:
        record = json.loads(task.record.read_text(encoding="utf-8"))
        names = record["files"]
    except (OSError, ValueError, KeyError):
        return False
    return record["key"] == task.key() and all((Path(task.config.out) / name).is_file() for name in names)


def make(task: Task, mesh: Mesh) -> str:
    """Makes all pictures of a person, and then the record.

    Returns:
        What should be told of the person; empty if all went well.

    Raises:
        DataError: the template is broken or shows no face that can be fitted.
        ExprGANError: the photo cannot be read.
        RunError: OUT cannot be written.
    """
    sitter, config, out, note = task.sitter, task.config, Path(task.config.out), ""
    key = task.key()
    _forget(task)
    photo = load_photo(sitter.photo)
    points = read_template(sitter.template) if sitter.template else derive_template(photo, str(sitter.photo))
    if points.min() < -max(photo.size) or points.max() > 2 * max(photo.size):
        raise DataError(f"the template {sitter.template} lies outside {sitter.photo}; it is another photo's")
    age = float(sitter.age) if sitter.age else None
    face = Face(mesh, Patch.of(photo, points, sitter.balance), Creases(sitter.subject, age))
    pictures = [(picture, None) for picture in plan.of_neutral(sitter, config)]
    if sitter.smile and config.smiles:
        try:
            smile = Smile.follow(face, photo, load_photo(sitter.smile))
            found = plan.of_smile(sitter, smile.intensity, smile.followed, config)
            pictures += [(picture, smile) for picture in found]
        except NoFaceError:
            note = f"{sitter.subject}: no face was found in {sitter.smile_source}, so there is no smile to follow"
    rows, files = [], []
    for n, (picture, smile) in enumerate(pictures):
        percent = round(picture.intensity * 100)
        name = f"{task.split}/{sitter.subject}/{picture.expression}_{picture.style}_{percent:03d}_{n:03d}.jpg"
        image, pupils, made = _image(face, smile, picture)
        matrix = frame(pupils, config.image_size, picture.jitter, config.frame)
        _save(cut(image, matrix, config.image_size), out / name, config.quality)
        files.append(name)
        if config.flow and made:
            fields = cut_flow(made.flow, made.invented, matrix, config.image_size)
            fields += cut_places(made.inside.places, made.inside.known, matrix, config.image_size)
            atomic_write(out / f"{name}.npz", lambda path, fields=fields: write_fields(path, *fields))
            files.append(f"{name}.npz")
        rows.append(_row(task, picture, name))
    write_json(task.record, {"key": key, "files": files, "rows": rows})
    return note


def _image(face: Face, smile: Smile | None, picture: plan.Picture) -> tuple[Any, Any, Rendered | None]:
    """The patch, its pupils, and what is known of its pixels."""
    if picture.kind == "rendered":
        made = face.render(picture.units)
    elif picture.part and smile:
        made = smile.render(picture.part)
    elif smile:
        return smile.image, smile.pupils, None
    else:
        return face.patch.image.astype("uint8"), face.pupils, None
    return made.image, made.pupils, made


def _save(image: Image.Image, path: Path, quality: int) -> None:
    # full colour resolution: lips are small and red
    content = encode_image(image, "JPEG", quality=quality, subsampling=0)
    atomic_write(path, lambda temporary: temporary.write_bytes(content))


def _row(task: Task, picture: plan.Picture, name: str) -> dict[str, str]:
    sitter = task.sitter
    units = {str(unit): weights for unit, weights in picture.units.items()}
    source = sitter.smile_source if picture.smiling else sitter.source
    return {
        "file_name": name,
        "subject": sitter.subject,
        "parents": " ".join(sitter.parents),
        "sex": sitter.sex,
        "age": sitter.age,
        "ethnicity": sitter.ethnicity or "unknown",
        "expression": picture.expression,
        "style": picture.style,
        "kind": picture.kind,
        "intensity": f"{picture.intensity:.4f}",
        "action_units": json.dumps(units, separators=(",", ":")) if units else "",
        "split": task.split,
        "source": "" if sitter.parents else source,
        "licence": sitter.licence,
        "credit": sitter.credit,
    }


def _forget(task: Task) -> None:
    """Removes what an earlier, finished run wrote of a person who has changed since."""
    try:
        names = json.loads(task.record.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return
    task.record.unlink()
    for name in names:
        (Path(task.config.out) / name).unlink(missing_ok=True)
