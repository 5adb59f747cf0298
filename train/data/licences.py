"""Whose pictures these are: sources.csv, a row for each set of photos, with licence, consent and credit."""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..core.files import atomic_write
from .metadata import read_table, raise_listing

SOURCES_NAME = "sources.csv"
STATED = ("licence", "consent", "credit")
"""What has to be stated of every set of photos."""
WORD = re.compile(r"[^\W_][\w.-]*")
"""Names of people and of sets: they become names of folders, and stand side by side with spaces between them."""


@dataclass(frozen=True)
class SourceSet:
    """A set of photos that came under the same terms.

    Attributes:
        name: one word, by which manifest.csv names it.
        licence: what the photos may be used for, in the words of those who gave it, such as CC-BY-4.0.
        consent: what the people in the photos agreed to, and how.
        credit: the line that goes wherever pictures made from them go.
        url: where they are from, if anywhere.
    """

    name: str
    licence: str
    consent: str
    credit: str
    url: str = ""


COLUMNS = tuple(field.name for field in fields(SourceSet))


def read_sources(path: Path) -> dict[str, SourceSet]:
    """name -> set, in the file's order.

    Raises:
        DataError: there is no such table, or a set's licence, consent or credit is not stated.
    """
    rows = [{column: (row.get(column) or "").strip() for column in COLUMNS} for row in read_table(path, ("name", *STATED))]
    found = [] if rows else ["it has no row; write one for each set of photos"]
    sets: dict[str, SourceSet] = {}
    for number, row in enumerate(rows, 2):
        name = row["name"]
        if not WORD.fullmatch(name):
            found.append(f"row {number} has the name {name!r}; a name is one word of letters, digits, '.', '-' and '_'")
        if name in sets:
            found.append(f"the set {name!r} has two rows; keep one")
        found += [
            f"{column} of the set {name!r} is empty; state it, in your own words" for column in STATED if not row[column]
        ]
        sets[name] = SourceSet(**row)
    raise_listing(path, found, "Photos are used only where licence, consent and credit are stated" if rows else "")
    return sets


def write_sources(path: Path, sets: Iterable[SourceSet]) -> None:
    """Writes sources.csv, whole or not at all.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    write_rows(path, COLUMNS, [asdict(one) for one in sets])


def add_sources(path: Path, sets: Iterable[SourceSet]) -> None:
    """Adds sets to a sources.csv, or begins one: a training folder may be made of several folders of photos.

    Raises:
        DataError: a set of that name is there on other terms.
        RunError: the disk is full or the folder cannot be written.
    """
    known = read_sources(path) if path.is_file() else {}
    sets = list(sets)
    differing = [f"the set {one.name!r} is there on other terms" for one in sets if known.get(one.name, one) != one]
    raise_listing(path, differing, "Give one of them another name in the manifest's sources.csv")
    write_sources(path, dict.fromkeys([*known.values(), *sets]))


def credit_lines(sets: Iterable[SourceSet]) -> str:
    """A list in Markdown: the credit of each set, its licence, and what the people in it agreed to."""
    lines = []
    for one in sets:
        where = f" <{one.url}>" if one.url else ""
        lines.append(f"- {one.credit.rstrip('.')}. Licence: {one.licence}. Consent: {one.consent.rstrip('.')}.{where}")
    return "\n".join(lines)


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[dict[str, str]]) -> None:
    """A table in CSV, whole or not at all.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    atomic_write(path, write)
