"""Editing one photo of many, in this process or in one of a `Crew`'s.

Such a process is `python -c "from exprgan.batch.worker import main; main()"`: its first line of input is the setup, every further
one a task; it answers each with a line of json. When its input ends, because whoever started it is gone, it ends as well.
"""

import dataclasses
import errno
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from ..editing.results import Fidelity
from ..editor import ExpressionEditor
from ..errors import BadImageError, ExprGANError, NoFaceError
from ..models.exprgan import ExprGAN
from ..photo.detection import choose_face
from ..photo.image_io import is_marked, load_photo, save_photo
from .manifest import BatchRecord, Status

RAW = (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".raw", ".rw2")
"""Camera raws. PIL would take some for a TIFF, and find the thumbnail."""

HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of the disk that every further photo would meet as well."""


@dataclass(frozen=True)
class BatchTask:
    """A photo to edit."""

    file: str
    """Where it is in the folder."""
    result: str
    """Where the edited one goes in the folder of results."""


@dataclass(frozen=True)
class BatchSettings:
    """What all tasks share."""

    folder: str
    out: str
    expression: str | dict[str, float]
    intensity: float
    style: int | None
    fidelity: Fidelity
    faces: Literal["largest", "all"]
    resumed: bool
    """Whether a result without a line in the table may be one of ours."""

    @property
    def told(self) -> str:
        """The expression as the table has it: "happy", or "happy 0.6 + surprise 0.4"."""
        mix = self.expression
        return mix if isinstance(mix, str) else " + ".join(f"{name} {part:g}" for name, part in mix.items())


def edit_one(editor: ExpressionEditor, job: BatchSettings, task: BatchTask) -> BatchRecord:
    """Edits one photo into a file, or says why not; whatever is wrong with the photo, it returns.

    Raises:
        ExprGANError: the disk takes no more files at all.
    """
    source, target, start = Path(job.folder, task.file), Path(job.out, task.result), time.perf_counter()

    def outcome(status: Status, message: str = "", faces: int = 0) -> BatchRecord:
        seconds = round(time.perf_counter() - start, 3)
        result = task.result if status == "edited" else ""
        message = " ".join(message.split())
        return BatchRecord(task.file, status, result, job.told, job.intensity, faces, seconds, bytes_of(source), message)

    try:
        if target.exists() and job.resumed and _is_marked(target):
            return outcome("edited", "Written just before a stop.")
        if target.exists():
            raise FileExistsError
        if source.is_dir():
            return outcome("unreadable", "This folder cannot be opened. Allow it, or leave it out.")
        if source.suffix.lower() in RAW:
            return outcome("unreadable", "Camera raws cannot be read. Develop it to a JPEG or TIFF file first.")
        image = load_photo(source)
        found = editor.find(image)
        chosen = found if job.faces == "all" and found else [choose_face(found)]
        look = {"intensity": job.intensity, "style": job.style, "fidelity": job.fidelity}
        for face in chosen:  # each goes into the photo that the last one left
            image = editor.edit(image, job.expression, face=face, **look).image
        target.parent.mkdir(parents=True, exist_ok=True)
        save_photo(image, target, replace=False)
        return outcome("edited", faces=len(chosen))
    except NoFaceError as error:
        return outcome("no face", str(error))
    except BadImageError as error:
        return outcome("unreadable", str(error))
    except FileExistsError:
        there = f"{task.result} is there already and was not made by this job. Move it, or choose another folder."
        return outcome("in the way", there)
    except Exception as error:  # one photo in thousands must not stop the others
        if getattr(error.__cause__ or error, "errno", None) in HOPELESS:
            raise ExprGANError(str(error)) from error
        return outcome("failed", str(error) if isinstance(error, ExprGANError) else f"{type(error).__name__}: {error}")


def bytes_of(path: Path) -> int:
    """A file's size; 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_marked(path: Path) -> bool:
    try:
        return is_marked(path)
    except BadImageError:
        return False


def main() -> None:
    """The process: setup, then tasks, from standard input."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what anything else prints is no answer
    try:
        _serve(sys.stdin, answers)
    except (KeyboardInterrupt, BrokenPipeError):  # nobody waits any more
        os._exit(1)


def _serve(questions: IO[str], answers: IO[str]) -> None:
    import torch

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    try:
        setup = json.loads(questions.readline())
        torch.set_num_threads(1)
        editor = ExpressionEditor(ExprGAN.from_pretrained(setup["weights"], device=setup["device"]))
        job = BatchSettings(**setup["job"])
    except Exception as error:
        return answer({"error": str(error)})
    answer({})
    for line in questions:
        try:
            answer(dataclasses.asdict(edit_one(editor, job, BatchTask(**json.loads(line)))))
        except ExprGANError as error:
            answer({"error": str(error)})
