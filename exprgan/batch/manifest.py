"""What a batch of edits has done so far: edits.csv, the settings it was begun with, and who is at it."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from ..errors import ExprGANError

TABLE, SETTINGS, LOCK = "edits.csv", "edits.json", ".edits.lock"
"""The files beside the results."""

Status = Literal["edited", "no face", "unreadable", "in the way", "failed"]
"""What became of a photo; `in the way`: something else has the result's name, and stays."""
FINAL: tuple[Status, ...] = ("no face", "unreadable")
"""What would come out the same for the same photo, so that it is not tried again."""

_HALF_WRITTEN = re.compile(r"\.[0-9a-f]{32}\.part")  # save_photo's


@dataclass(frozen=True)
class BatchRecord:
    """What became of one photo: a line of edits.csv."""

    file: str
    """Where the photo is in its folder, with / between folders."""
    status: Status
    result: str = ""
    """Where the edited photo is in the folder of results; empty if there is none."""
    expression: str = ""
    intensity: float = 0.0
    faces: int = 0
    """How many were edited."""
    seconds: float = 0.0
    bytes: int = 0
    """The photo's size: of a file that has another since, what was found no longer counts."""
    message: str = ""
    """What is wrong, and what to do about it."""


COLUMNS = {field.name: {"int": int, "float": float}.get(str(field.type), str) for field in dataclasses.fields(BatchRecord)}


class BatchManifest:
    """The record of one folder of results, held by one process at a time.

    A line is added when a photo is done; when the ledger is closed the table is sorted by file. What a kill left behind is
    mended when the folder is opened next.

    Args:
        out: the folder of results; made if it is not there.
        settings: what the edits are made with, for json; the same each time.

    Raises:
        ExprGANError: another process is at it, it was begun with other settings, or it cannot be written.
    """

    def __init__(self, out: Path, settings: dict[str, Any]):
        self.out, self.table = out, out / TABLE
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(out / LOCK)
            try:
                self.resumed = self._same_settings(settings)
                self.outcomes = {outcome.file: outcome for outcome in _read(self.table)}
                for file in out.rglob(".*.part"):
                    if _HALF_WRITTEN.fullmatch(file.name):
                        file.unlink()
                self._write_whole()
                self._file: IO[str] = _open(self.table, "a")
            except BaseException:
                self._lock.close()
                raise
        except OSError as error:
            raise _unwritable(out, error) from error

    def __enter__(self) -> BatchManifest:
        return self

    def __exit__(self, *_) -> None:
        try:
            self._file.close()  # of a full disk, with what it could not write
            self._write_whole()
        except OSError as error:
            raise _unwritable(self.out, error) from error
        finally:
            self._lock.truncate(0)
            self._lock.close()

    def add(self, outcome: BatchRecord) -> None:
        """Writes a line, at once.

        Raises:
            ExprGANError: it cannot be written.
        """
        self.outcomes[outcome.file] = outcome
        try:
            self._file.write(_lines([outcome]))
            self._file.flush()
        except OSError as error:
            raise _unwritable(self.out, error) from error

    def is_done(self, file: str, size: int) -> bool:
        """Whether a photo of this size in bytes needs no further look."""
        before = self.outcomes.get(file)
        if before is None:
            return False
        if before.status == "edited":
            return (self.out / before.result).exists()
        return before.status in FINAL and before.bytes == size

    def _same_settings(self, settings: dict[str, Any]) -> bool:
        """Whether the folder was begun before, with these settings; begins it otherwise."""
        path = self.out / SETTINGS
        if not path.exists() and not self.table.exists():
            _replace(path, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
            return False
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            known = dict(before)
        except (OSError, ValueError, TypeError) as error:
            raise ExprGANError(f"{path} does not say how its photos were edited. Choose another folder.") from error
        for name in settings:
            if known.get(name) != settings[name]:
                raise ExprGANError(f"{self.out} was begun with {name} {known.get(name)!r}, not {settings[name]!r}. "
                                   "Choose another folder for other settings.")  # fmt: skip
        return True

    def _write_whole(self) -> None:
        order = sorted(self.outcomes.values(), key=lambda outcome: outcome.file.split("/"))
        _replace(self.table, ",".join(COLUMNS) + "\n" + _lines(order))


def _locked(path: Path) -> IO[str]:
    """The lock, held until it is closed or this process dies, however it does."""
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115, the lock lasts as long as it is open
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            file.seek(1 << 20)  # behind what is to be read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.close()
        who = path.read_text(encoding="utf-8").strip() or "?"
        raise ExprGANError(f"Process {who} is editing photos into {path.parent} right now. "
                           "Wait until it is done, or choose another folder.") from error  # fmt: skip
    except OSError:  # a disk that knows no locks
        pass
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _read(path: Path) -> list[BatchRecord]:
    """The lines of a table; one that a kill cut in half is passed over."""
    with suppress(FileNotFoundError):
        with _open(path, "r") as file:
            text = file.read()
        rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
        return [outcome for row in rows[1:] if (outcome := _outcome(row))]
    return []


def _outcome(row: list[str]) -> BatchRecord | None:
    try:
        return BatchRecord(**{name: kind(text) for (name, kind), text in zip(COLUMNS.items(), row, strict=True)})
    except ValueError:
        return None


def _lines(outcomes: list[BatchRecord]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(dataclasses.astuple(outcome) for outcome in outcomes)
    return text.getvalue()


def _open(path: Path, mode: str) -> IO[str]:
    # a file's name need not be text; newline="" is what csv wants
    return open(path, mode, encoding="utf-8", errors="surrogateescape", newline="")


def _replace(path: Path, text: str) -> None:
    """Writes a file that appears whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    try:
        with _open(new, "w") as file:
            file.write(text)
        os.replace(new, path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise


def _unwritable(out: Path, error: OSError) -> ExprGANError:
    return ExprGANError(f"{out} cannot be written: {error.strerror or error}. Make room, or choose another folder.")
