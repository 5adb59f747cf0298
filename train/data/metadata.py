"""metadata.csv: the table of a training folder, in the Hub's imagefolder form. Only this module reads and writes it."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.files import write_text
from ..core.train_errors import DataError

METADATA_NAME = "metadata.csv"
REQUIRED_COLUMNS = ("file_name", "subject", "expression", "split")
"""Columns that must be there and filled, but for `expression` (see `has_class`). `intensity`, `fold`, `action_units`, `yaw`
and `pitch` are used or checked where present; others are kept for readers."""

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
        DataError: the file is missing, is no CSV in UTF-8, or lacks a column.
    """
    path = root / METADATA_NAME
    if not path.is_file():
        raise DataError(f"{path} does not exist; the folder needs one, with the columns {', '.join(REQUIRED_COLUMNS)}")
    return read_table(path, REQUIRED_COLUMNS)


def read_table(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Reads the rows of a CSV file with a header and checks for columns; an absent cell is an empty string.

    Raises:
        DataError: the file is missing, is no CSV in UTF-8, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # -sig: spreadsheets begin the file with a mark
            reader = csv.DictReader(file, restval="")
            rows = list(reader)
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
    """Writes a CSV file with a header, completely or not at all.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def is_varied(row: dict[str, str]) -> bool:
    """Whether a rendered picture has another head pose, gaze or light than the person's photo."""
    return any((row.get(column) or "").strip() for column in VARIED_COLUMNS)
