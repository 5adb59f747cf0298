"""metadata.csv: the table of a training folder, in the Hub's imagefolder form. Only this module reads and writes it."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from exprgan.errors import ExprGANError

from ..core.files import atomic_write

METADATA_NAME = "metadata.csv"
REQUIRED_COLUMNS = ("file_name", "subject", "expression", "split")
"""Columns that must be there and filled; `intensity` and `fold` are used where present, others are kept for people."""

SHOWN = 20
"""So many problems are shown before "and N more"."""


class DataError(ExprGANError):
    """Photos or a training folder are not what is needed; the message lists what is wrong."""


def raise_listing(about: str | Path, found: Sequence[str], remedy: str = "", limit: int | None = SHOWN) -> None:
    """Says everything that is wrong at once; does nothing if nothing is.

    Raises:
        DataError: `found` is not empty. The first `limit` of it are shown, all of it if None.
    """
    if not found:
        return
    remedy = f". {remedy}" if remedy else ""
    if len(found) == 1:
        raise DataError(f"{about}: {found[0]}{remedy}")
    shown = list(found[:limit])
    if rest := len(found) - len(shown):
        shown.append(f"and {rest:,} more")
    raise DataError(f"{about}: {len(found):,} problems{remedy}" + "".join(f"\n  - {line}" for line in shown))


def read_metadata(root: Path) -> list[dict[str, str]]:
    """The rows of metadata.csv, checked for the needed columns; an absent cell is an empty string.

    Raises:
        DataError: the file is missing, is no CSV in UTF-8, or lacks a column.
    """
    path = root / METADATA_NAME
    if not path.is_file():
        raise DataError(f"{path} does not exist; the folder needs one, with the columns {', '.join(REQUIRED_COLUMNS)}")
    return read_table(path, REQUIRED_COLUMNS)


def read_table(path: Path, needed: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header, checked for columns; an absent cell is an empty string.

    Raises:
        DataError: the file is missing, is no CSV in UTF-8, or lacks a column.
    """
    needed = tuple(needed)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # -sig: spreadsheets put a mark at the start
            reader = csv.DictReader(file, restval="")
            rows = list(reader)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); name a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV in UTF-8 ({error}); save it as such") from error
    columns = reader.fieldnames or ()
    if missing := [name for name in needed if name not in columns]:
        raise DataError(f"{path} lacks the column {missing[0]!r}; it needs {', '.join(needed)}")
    return rows


def write_metadata(root: Path, rows: Sequence[dict[str, str]]) -> None:
    """Writes metadata.csv, whole or not at all. All rows have the same columns.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    atomic_write(root / METADATA_NAME, write)
