"""Edits one photo of a batch, in this process or in a worker process of `map_items`."""

import errno
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..editing.results import Fidelity
from ..editor import ExpressionEditor
from ..errors import BadImageError, ExprGANError, NoFaceError
from ..folder_paths import is_inside
from ..photo.detection import choose_face
from ..photo.image_io import is_marked, load_photo, save_photo
from .manifest import BatchRecord, Status
from .remote_folder import RemoteError, local_copy

Faces = Literal["largest", "all"]
"""Which faces of a photo are edited."""

RAW_SUFFIXES = (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".raw", ".rw2")
"""Camera raws. PIL would read some as a TIFF, and find the thumbnail."""
FATAL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of the disk that every further photo would meet as well."""


@dataclass(frozen=True)
class BatchSettings:
    """Settings that all tasks share.

    Attributes:
        folder, out: the folders of photos and of results, or their URLs.
        expression, intensity, style, units, fidelity, faces, follow_links: as in `edit_folder`.
        resumed: whether a result without a record may be one of an earlier run.
    """

    folder: str
    out: str
    expression: str | dict[str, float] | None
    intensity: float
    style: int | None
    fidelity: Fidelity
    units: dict[str, float] | None
    faces: Faces
    resumed: bool
    follow_links: bool = False

    @property
    def expression_text(self) -> str:
        """The expression and units as the table has them: "happy", or "happy 0.6 + surprise 0.4 + smile_left 0.4"."""
        mix = self.expression
        parts = [] if mix is None else [mix] if isinstance(mix, str) else map(_weighted, mix.items())
        return " + ".join([*parts, *map(_weighted, (self.units or {}).items())])


def _weighted(item: tuple[str, float]) -> str:
    return f"{item[0]} {item[1]:g}"


def edit_photo(editor: ExpressionEditor, settings: BatchSettings, task: tuple[str, str]) -> BatchRecord:
    """Edits a photo, (file, result): `file` in the folder of photos into `result` in that of results.

    Raises:
        ExprGANError: the disk takes no more files at all. Every other problem becomes a record.
    """
    file, result = task
    try:
        with local_copy(settings.folder, file) as folder, local_copy(settings.out, result, writes=True) as out:
            return _edit_photo(editor, replace(settings, folder=folder, out=out), file, result)
    except RemoteError as error:
        return BatchRecord(file, "failed", message=" ".join(str(error).split()))


def _edit_photo(editor: ExpressionEditor, settings: BatchSettings, file: str, result: str) -> BatchRecord:
    source, target, start = Path(settings.folder, file), Path(settings.out, result), time.perf_counter()

    def record(status: Status, message: str = "", faces: int = 0) -> BatchRecord:
        return BatchRecord(file, status, result if status == "edited" else "", settings.expression_text,
                           settings.intensity, faces, round(time.perf_counter() - start, 3), file_size(source),
                           " ".join(message.split()))  # fmt: skip

    if not settings.follow_links:
        if not is_inside(source, Path(settings.folder)):
            return BatchRecord(file, "outside", message=f"A link leads out of {settings.folder} here. Copy into the folder "
                               "what it links to, or add --follow-links.")  # fmt: skip
        if not is_inside(target.parent, Path(settings.out)):
            return BatchRecord(file, "outside", message=f"By a link, {result} would be written outside of {settings.out}. "
                               "Remove the link, or add --follow-links.")  # fmt: skip
    try:
        if target.is_symlink():  # results are files: it is none of an earlier run
            raise FileExistsError
        if target.exists():
            with suppress(BadImageError):
                if settings.resumed and is_marked(target):
                    return record("edited", "Written just before a stop.")
            raise FileExistsError
        if source.is_dir():
            return record("unreadable", "This folder cannot be opened. Allow it, or leave it out.")
        if source.suffix.lower() in RAW_SUFFIXES:
            return record("unreadable", "Camera raws cannot be read. Develop it to a JPEG or TIFF file first.")
        image = load_photo(source)
        faces = editor.find(image)
        if settings.faces == "largest" or not faces:
            faces = [choose_face(faces)]
        warnings = []
        for face in faces:  # each is edited in the result of the one before
            edit = editor.edit(image, settings.expression, settings.intensity, face=face, style=settings.style,
                               units=settings.units, fidelity=settings.fidelity)  # fmt: skip
            image = edit.image
            warnings.append(edit.warning)
        target.parent.mkdir(parents=True, exist_ok=True)
        save_photo(image, target, replace=False)
        return record("edited", " ".join(dict.fromkeys(warnings)), len(faces))
    except NoFaceError as error:
        return record("no face", str(error))
    except BadImageError as error:
        return record("unreadable", str(error))
    except FileExistsError:
        return record("in the way", f"{result} is there already and was not made by this job. "
                      "Move it, or choose another folder.")  # fmt: skip
    except Exception as error:  # one photo in thousands must not stop the others
        if getattr(error.__cause__ or error, "errno", None) in FATAL_ERRNOS:
            raise ExprGANError(str(error)) from error
        return record("failed", str(error) if isinstance(error, ExprGANError) else f"{type(error).__name__}: {error}")


def file_size(path: Path) -> int:
    """Returns a file's size in bytes; 0 if it cannot be read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
