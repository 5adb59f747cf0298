"""metadata.csv: the table of a training folder, in the Hub's imagefolder form. Only this module reads and writes it."""

import csv
import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from exprgan.csv_cells import format_row, unescape_cell
from exprgan.expressions import EXPRESSIONS, NEUTRAL, canonical
from exprgan.folder_paths import find_path_problems

from ..core.files import write_text
from ..core.train_errors import DataError

METADATA_NAME = "metadata.csv"
REQUIRED_COLUMNS = ("file_name", "expression", "split")
"""Columns that must be there and filled, but for `expression` (see `has_class`). Without a column `subject` people are
unknown, and each picture is of a person of its own, named as the picture; with one, it is filled. `intensity`, `fold`,
`action_units`, `yaw` and `pitch` are used or checked where present; others are kept for readers."""

VARIED_COLUMNS = ("yaw", "pitch", "gaze", "light")
"""Columns that are filled where a rendered picture differs in them from the person's photo."""

MAX_LISTED = 20
"""The number of problems that are listed before "and N more"."""


@dataclass(frozen=True)
class Findings:
    """What checks found, one sentence each.

    Attributes:
        errors: what makes training impossible, or its results wrong.
        warnings: what makes results worse.
    """

    errors: list[str]
    warnings: list[str]

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(self.errors + other.errors, self.warnings + other.warnings)


def raise_problems(about: str | Path, problems: Sequence[str], remedy: str = "", limit: int | None = MAX_LISTED) -> None:
    """Raises one error that lists all problems; does nothing if there are none.

    Raises:
        DataError: there are problems. The first `limit` of them are listed, all if None.
    """
    if not problems:
        return
    remedy = f". {remedy}" if remedy else ""
    if len(problems) == 1:
        raise DataError(f"{about}: {problems[0]}{remedy}")
    listed = list(problems[:limit])
    if rest := len(problems) - len(listed):
        listed.append(f"and {rest:,} more")
    raise DataError(f"{about}: {len(problems):,} problems{remedy}" + "".join(f"\n  - {line}" for line in listed))


def print_warnings(warnings: list[str], remedy: str = "", limit: int | None = MAX_LISTED) -> None:
    """Prints the first `limit` warnings on stderr, all if None, and how many more there are."""
    listed = list(warnings[:limit])
    if rest := len(warnings) - len(listed):
        listed.append(f"{rest:,} more; {remedy}")
    for line in listed:
        print(f"warning: {line}", file=sys.stderr)


def has_class(row: dict[str, str]) -> bool:
    """Whether a picture has an expression or is neutral; a random combination of action units has an empty cell."""
    return bool(row["expression"].strip())


def is_neutral(row: dict[str, str], expressions: tuple[str, ...] = EXPRESSIONS) -> bool:
    """Whether a picture is neutral, by any word for it that is none of the expressions."""
    try:
        return canonical(row["expression"], expressions) == NEUTRAL
    except ValueError:  # of no class, or an unknown one
        return False


def unit_weights(row: dict[str, str]) -> dict[int, tuple[float, float]] | None:
    """The weights of the action units of a picture on the subject's right and left side, None if they are unknown.

    Raises:
        ValueError, TypeError, AttributeError: the cell is not of that form.
    """
    if not (text := (row.get("action_units") or "").strip()):
        return None
    return {int(unit): (float(right), float(left)) for unit, (right, left) in json.loads(text).items()}


def read_metadata(root: Path) -> list[dict[str, str]]:
    """Reads the rows of metadata.csv and checks for the required columns; an absent cell is an empty string.

    Raises:
        DataError: the file is missing, is no CSV in UTF-8, lacks a column, or names pictures outside of the folder.
    """
    rows = read_unchecked_metadata(root)
    raise_problems(root / METADATA_NAME, [problem for _, problem in find_outside_files(rows, root)])
    return rows


def metadata_digest(root: str | Path) -> str:
    """The first 12 hexadecimal digits of metadata.csv's SHA-256, by which a run knows that its data are others.

    Raises:
        DataError: the file cannot be read.
    """
    path = Path(root) / METADATA_NAME
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); name a training folder") from error


def find_outside_files(rows: Sequence[dict[str, str]], root: Path) -> list[tuple[str, str]]:
    """Finds the rows whose file_name is absolute or leads out of the folder, by ".." or by a link.

    Returns:
        file_name and a sentence with the number of the row, as a spreadsheet counts: the header is row 1.
    """
    problems = find_path_problems((row["file_name"] for row in rows), root)
    return [
        (name, f"row {number}: {name!r} {problems[name]}; put the picture itself into the folder")
        for number, name in enumerate((row["file_name"] for row in rows), start=2)
        if name in problems
    ]


def read_unchecked_metadata(root: Path) -> list[dict[str, str]]:
    """Reads metadata.csv as `read_metadata` does, whatever its file names lead to. For reports of what is wrong with it.

    Raises:
        DataError: the file is missing, is no CSV in UTF-8, or lacks a column.
    """
    path = root / METADATA_NAME
    if not path.is_file():
        raise DataError(f"{path} does not exist; the folder needs one, with the columns {', '.join(REQUIRED_COLUMNS)}")
    rows = read_table(path, REQUIRED_COLUMNS)
    return rows if rows and "subject" in rows[0] else [row | {"subject": row["file_name"]} for row in rows]


def read_table(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Reads the rows of a CSV file with a header and checks for columns; an absent cell is an empty string.

    An apostrophe before what would be a formula is removed, as `write_table` puts it there (see `exprgan.csv_cells`).

    Raises:
        DataError: the file is missing, is no CSV in UTF-8, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # -sig: spreadsheets begin the file with a mark
            reader = csv.DictReader(file, restval="")
            rows = [{name: unescape_cell(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
                    for row in reader]  # fmt: skip
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); name a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV in UTF-8 ({error}); save it as such") from error
    columns = reader.fieldnames or ()
    if missing := [name for name in required if name not in columns]:
        raise DataError(f"{path} lacks the column {missing[0]!r}; it needs {', '.join(required)}")
    return rows


def write_metadata(root: Path, rows: Sequence[dict[str, str]]) -> None:
    """Writes metadata.csv. All rows have the same columns.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    write_table(root / METADATA_NAME, list(rows[0]), rows)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[dict[str, str]]) -> None:
    """Writes a CSV file with a header, completely or not at all; no cell of it is a formula (see `exprgan.csv_cells`).

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    write_text(path, "".join(map(format_row, [columns, *([row.get(column, "") for column in columns] for row in rows)])))


def is_varied(row: dict[str, str]) -> bool:
    """Whether a rendered picture has another head pose, gaze or light than the person's photo."""
    return any((row.get(column) or "").strip() for column in VARIED_COLUMNS)
