"""Makes a film of a clip frame by frame, in segments, so that a run that was stopped, even by `kill -9`, is continued."""

import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ..atomic_write import atomic_write, delete_partial_files
from ..errors import BadVideoError, ExprGANError, NoFaceError
from ..file_lock import hold_lock
from ..models.exprgan import ExprGAN
from .clip_reader import ClipReader, Frame
from .film_writer import FilmFormat, join_segments, write_segment

SEGMENT_S = 4
"""Duration of a segment in s: a run that was stopped loses no more."""
SPEED_FRAMES = 50
"""Number of frames over which the speed is measured."""
PARTS_SUFFIX, JOB_FILE, LOCK_FILE = ".parts", "job.json", ".lock"
EXTRA_S = 0.5
"""Seconds by which a film may be longer than `max_seconds`: a camera does not stop on the second."""
HASHED_BYTES = 1 << 20
"""Bytes at the start and at the end of a clip by which it is recognised, beside its size."""


@dataclass(frozen=True)
class FilmProgress:
    """How far a film is."""

    frames: int
    """Number of frames done, those of an earlier run included."""
    total: int
    """Number of all frames, as far as the clip declares it; never less than `frames`."""
    frames_per_second: float
    """Frames done per second, lately; 0 before the first."""
    note: str = ""
    """A sentence on where this run started, if not at the beginning of an empty folder."""

    @property
    def seconds_left(self) -> float:
        """Estimated time until the end in s; infinite before the first frame."""
        return (self.total - self.frames) / self.frames_per_second if self.frames_per_second else float("inf")


@dataclass(frozen=True)
class FilmResult:
    """What became of a film."""

    path: Path
    frames: int
    """Number of its frames."""
    edited: int
    """Number of frames in which the face was found and edited; the others are those of the clip."""
    seconds: float
    """Duration in s."""
    warning: str = ""
    """A sentence on damaged parts of the clip; empty if there are none."""


Progress = Callable[[FilmProgress], object]


class Painter(Protocol):
    """Makes a picture of each frame, in their order."""

    def paint(self, frame: Frame) -> tuple[Image.Image, bool]:
        """The picture, RGB, and whether the face was edited in it."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """All that the next `paint` depends on, as arrays by name."""
        ...

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continues from a `state`."""
        ...


def make_film(
    clip: ClipReader, out: Path, painter: Painter, film: FilmFormat, settings: Mapping[str, Any], *,
    progress: Progress | None = None, keep_parts: bool = True, max_seconds: float | None = None,
) -> FilmResult:  # fmt: skip
    """Writes an MP4 of the pictures that the painter makes of a clip's frames, with their times and the clip's sound.

    The segments done are kept beside `out`, in a folder whose name ends in .parts, until the film is complete. The same
    call continues after the last of them; with other `settings` or another clip it starts anew.

    Args:
        settings: all that the pictures depend on beside the clip, as JSON knows it.
        keep_parts: False deletes the segments if the run is stopped by an error.
        max_seconds: a clip that is longer by more than EXTRA_S is refused.

    Raises:
        ValueError: `out` does not end in .mp4, or is the clip.
        BadVideoError: the clip is too long, or none of its frames can be decoded.
        NoFaceError: the face was found in no frame.
        ExprGANError: a file cannot be written, or another run writes the same film.
    """
    check_output(out, clip.path)
    if max_seconds is not None and clip.seconds > max_seconds + EXTRA_S:
        raise BadVideoError(f"{clip.path.name} is {clip.seconds:.1f} s long; at most {max_seconds:g} s are edited here.")
    with _Parts.opened(out, {"clip": fingerprint(clip.path), **settings}, keep_parts) as parts:
        done = parts.resume(painter)
        report = _Reporter(clip.num_frames, done.frames, parts.note, progress)
        count, edited, end = done.frames, done.edited, done.end
        frames = clip.frames(None if done.frames == 0 else done.pts)
        last: Frame | None = None

        def pictures(segment: Iterator[Frame]) -> Iterator[tuple[Image.Image, int, int]]:
            nonlocal count, edited, last, end
            for frame in segment:
                if max_seconds is not None and frame.time > max_seconds + EXTRA_S:
                    raise BadVideoError(f"{clip.path.name} is longer than {max_seconds:g} s, which is the limit here.")
                picture, is_edited = painter.paint(frame)
                yield picture, frame.pts, frame.duration
                count, edited, last = count + 1, edited + is_edited, frame
                end = frame.time + float(frame.duration * clip.time_base or 1 / clip.rate)
                report(count)

        for number, segment in itertools.groupby(frames, lambda frame: int(frame.time // SEGMENT_S)):
            write_segment(parts.segment(number), pictures(segment), film)
            assert last is not None
            parts.commit(number, painter.state(), _Done(count, edited, last.pts, end))
        if edited == 0:
            parts.is_complete = True
            raise NoFaceError(f"No face to edit was found in {clip.path.name}. Use a film in which a face is seen from the "
                              "front, upright, well lit, and at least 60 pixels wide, or choose another face.")  # fmt: skip
        join_segments(parts.segments(), clip, out)
        parts.is_complete = True
    return FilmResult(out, count, edited, end, clip.warning)


def check_output(out: Path, clip: Path) -> None:
    """Raises ValueError if a film cannot be written to `out`."""
    if out.suffix.lower() != ".mp4":
        raise ValueError(f"cannot write {out.name!r}: films are MP4; choose a name that ends in .mp4")
    with suppress(OSError):
        if out.exists() and out.samefile(clip):
            raise ValueError(f"{out} is the film to be edited; choose another name for the result")


def fingerprint(path: Path) -> str:
    """Recognises a file: a hash of its size, its beginning and its end."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(HASHED_BYTES)
        file.seek(max(0, size - HASHED_BYTES))
        return hashlib.sha256(f"{size}:".encode() + start + file.read()).hexdigest()


def model_fingerprint(model: ExprGAN) -> str:
    """Recognises a model: a hash of some of the numbers of each of its tensors."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        hashed.update(name.encode() + tensor.flatten()[:64].float().cpu().numpy().tobytes())
    return hashed.hexdigest()


@dataclass(frozen=True)
class _Done:
    """What earlier segments hold."""

    frames: int = 0
    edited: int = 0
    pts: int = 0  # of the last frame
    end: float = 0.0  # of the last frame, in s


class _Parts:
    """The folder of the segments of one film."""

    def __init__(self, folder: Path):
        self.folder, self.note, self.is_complete = folder, "", False

    @classmethod
    @contextmanager
    def opened(cls, out: Path, job: dict[str, Any], keep: bool) -> Iterator["_Parts"]:
        """Locks the folder, and empties it if it is of another job; deletes it once the film is complete."""
        parts = cls(out.with_name(out.name + PARTS_SUFFIX))
        try:
            parts.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ExprGANError(f"Cannot write {out}: {error.strerror}. Choose another folder or name.") from error
        busy = f"{out} is being written by process {{pid}}. Wait for it, or choose another name."
        try:
            with hold_lock(parts.folder / LOCK_FILE, busy):
                delete_partial_files(parts.folder)
                parts._begin(job)
                yield parts
        finally:
            if parts.is_complete or not keep:
                shutil.rmtree(parts.folder, ignore_errors=True)

    def _begin(self, job: dict[str, Any]) -> None:
        file, text = self.folder / JOB_FILE, json.dumps(job, sort_keys=True)
        try:
            before = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            before = ""
        if before == text:
            return
        for path in (*self.folder.glob("*.nut"), *self.folder.glob("*.npz")):
            path.unlink()
            self.note = "The film or its settings are others than those of the run before; starting anew."
        with atomic_write(file) as part:
            part.write_text(text, encoding="utf-8")

    def segment(self, number: int) -> Path:
        return self.folder / f"{number:06d}.nut"

    def segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.nut"))

    def commit(self, number: int, state: dict[str, np.ndarray], done: _Done) -> None:
        """Records that a segment is complete, and what the next one depends on."""
        numbers = np.array([done.frames, done.edited, done.pts], np.int64)
        path = self.folder / f"{number:06d}.npz"
        with atomic_write(path, sync=True) as part, open(part, "wb") as file:
            np.savez(file, **{"film.done": numbers, "film.end": np.array(done.end)}, **state)  # type: ignore[arg-type]
        for older in self.folder.glob("*.npz"):
            if older != path:
                older.unlink()

    def resume(self, painter: Painter) -> _Done:
        """Restores the painter's state after the last segment that is complete, and deletes those after it."""
        states = sorted(self.folder.glob("*.npz"))
        done, last = _Done(), ""
        if states:
            with suppress(OSError, ValueError, KeyError, EOFError), np.load(states[-1], allow_pickle=False) as stored:
                state = dict(stored)
                frames, edited, pts = state.pop("film.done").tolist()
                end = float(state.pop("film.end"))
                painter.restore(state)
                done, last = _Done(frames, edited, pts, end), states[-1].stem
                self.note = f"Continuing after {end:.1f} s."
        for path in self.segments():
            if path.stem > last:
                path.unlink()
        return done


class _Reporter:
    """Calls a progress callback with the speed over the last frames."""

    def __init__(self, total: int, done: int, note: str, progress: Progress | None):
        self._total, self._note, self._progress = total, note, progress
        self._times: list[tuple[float, int]] = [(time.monotonic(), done)]
        if progress:
            progress(FilmProgress(done, max(total, done), 0.0, note))

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        self._times = [*self._times[-SPEED_FRAMES:], (now, done)]
        start, before = self._times[0]
        if self._progress:
            speed = (done - before) / max(now - start, 1e-6)
            self._progress(FilmProgress(done, max(self._total, done), speed, self._note))
