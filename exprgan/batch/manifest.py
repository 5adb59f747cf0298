"""The state of a batch of edits on disk: edits.csv with a record per photo, the settings, and the lock of the folder."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from ..atomic_write import atomic_write, delete_partial_files
from ..csv_cells import format_row, unescape_cell
from ..errors import ExprGANError
from ..file_lock import hold_lock
from ..folder_paths import is_inside, stays_inside

TABLE, SETTINGS, LOCK = "edits.csv", "edits.json", ".edits.lock"
"""Files beside the results."""

Status = Literal["edited", "no face", "unreadable", "in the way", "outside", "failed"]
"""Outcome of a photo; `in the way`: another file has the result's name and is not overwritten; `outside`: a link
leads out of the folder of photos or of results, and links are not followed."""
FINAL_STATUSES: tuple[Status, ...] = ("no face", "unreadable")
"""Outcomes that cannot change while the photo does not, so that it is not tried again."""


@dataclass(frozen=True)
class BatchRecord:
    """Outcome of one photo: a line of edits.csv."""

    file: str  # path of the photo in its folder, with / between folders
    status: Status
    result: str = ""  # path of the edited photo in the folder of results; empty if there is none
    expression: str = ""
    intensity: float = 0.0
    faces: int = 0  # number of faces that were edited
    seconds: float = 0.0
    bytes: int = 0  # size of the photo; without a result the record is outdated once the file has another
    message: str = ""  # the error, and what to do about it


COLUMNS = {field.name: {"int": int, "float": float}.get(str(field.type), str) for field in dataclasses.fields(BatchRecord)}


class BatchManifest:
    """The records of one folder of results, which one process at a time holds.

    A line is appended when a photo is done; on exit the table is sorted by file. Partial lines and files that a killed
    process left are removed on entry. A folder is continued only with the `settings` (for JSON) it was begun with. Records
    whose result would lie elsewhere are ignored, and so are those of status `outside`, which every run finds anew.

    Args:
        out: the folder that the files of the table are in.
        settings: of the batch.
        name: what messages call the folder.
        results: the files in the folder of results, if that is elsewhere than `out`.

    Raises:
        ExprGANError: on entry and exit: another process holds it, it has other settings, it cannot be written, or one of
            its own files is a link to elsewhere.
    """

    def __init__(self, out: Path, settings: dict[str, Any], name: str = "", results: Container[str] | None = None):
        self.out, self.table, self.settings = out, out / TABLE, settings
        self._name, self._results = name or str(out), results
        self.records: dict[str, BatchRecord] = {}  # photo -> its outcome, also those of earlier runs
        self.resumed = False  # whether an earlier run began the folder

    def __enter__(self) -> BatchManifest:
        busy = (f"Process {{pid}} is editing photos into {self._name} right now. "
                "Wait until it is done, or choose another folder.")  # fmt: skip
        with _report_unwritable(self._name), ExitStack() as stack:
            self.out.mkdir(parents=True, exist_ok=True)
            for name in (TABLE, SETTINGS, LOCK):
                if not is_inside(self.out / name, self.out):
                    raise ExprGANError(f"{name} in {self._name} is a link to a file elsewhere. Delete the link, "
                                       "or choose another folder.")  # fmt: skip
            stack.enter_context(hold_lock(self.out / LOCK, busy))
            self.resumed = self._check_settings()
            self.records = _read_records(self.table)
            delete_partial_files(self.out)
            self._write_table()
            self._file = stack.enter_context(_open_text(self.table, "a"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_) -> None:
        with _report_unwritable(self._name), self._stack:
            self._file.close()  # which fails if the disk is full
            self._write_table()

    def add(self, record: BatchRecord) -> None:
        """Appends a record to the table at once; raises ExprGANError if that fails."""
        self.records[record.file] = record
        with _report_unwritable(self._name):
            self._file.write(format_row(dataclasses.astuple(record)))
            self._file.flush()

    def is_done(self, file: str, size: int) -> bool:
        """Tests whether a photo of a size in bytes needs no further edit."""
        record = self.records.get(file)
        if record and record.status == "edited":
            return (self.out / record.result).exists() if self._results is None else record.result in self._results
        return record is not None and record.status in FINAL_STATUSES and record.bytes == size

    def _check_settings(self) -> bool:
        """Compares the settings with those of an earlier run, or writes them; returns whether there was one."""
        path = self.out / SETTINGS
        if not path.exists() and not self.table.exists():
            with atomic_write(path) as part, _open_text(part, "w") as file:
                file.write(json.dumps(self.settings, indent=2, ensure_ascii=False) + "\n")
            return False
        try:
            earlier = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ExprGANError(f"{path} is unreadable, so the settings of this folder are unknown. "
                               "Choose another folder.") from error  # fmt: skip
        for name, value in self.settings.items():
            if earlier.get(name) != value:
                raise ExprGANError(f"{self._name} was begun with {name} {earlier.get(name)!r}, not {value!r}. "
                                   "Choose another folder for other settings.")  # fmt: skip
        return True

    def _write_table(self) -> None:
        records = sorted(self.records.values(), key=lambda record: record.file.split("/"))
        with atomic_write(self.table) as part, _open_text(part, "w") as file:
            file.writelines(map(format_row, [COLUMNS, *map(dataclasses.astuple, records)]))


def _read_records(path: Path) -> dict[str, BatchRecord]:
    """Reads the lines of a table by photo; those that a kill cut off are skipped."""
    if not path.exists():
        return {}
    with _open_text(path, "r") as file:
        text = file.read()
    records = {}
    for row in list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))[1:]:
        with suppress(ValueError):
            values = {name: parse(unescape_cell(cell)) for (name, parse), cell in zip(COLUMNS.items(), row, strict=True)}
            record = BatchRecord(**values)
            if stays_inside(record.result) and record.status != "outside":
                records[record.file] = record
    return records


def _open_text(path: Path, mode: str) -> IO[str]:
    # surrogateescape: a file's name need not be text; newline="" is what csv requires
    return open(path, mode, encoding="utf-8", errors="surrogateescape", newline="")


@contextmanager
def _report_unwritable(out: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExprGANError(f"{out} cannot be written: {error.strerror or error}. "
                           "Make room, or choose another folder.") from error  # fmt: skip
