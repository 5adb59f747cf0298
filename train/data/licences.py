"""sources.csv: licence, consent and credit of the photos that a folder descends from, one row per set of photos."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from markupsafe import Markup

from exprgan.markdown import escape_markdown

from .metadata import raise_problems, read_table, write_table

SOURCES_NAME = "sources.csv"
REQUIRED_TERMS = ("licence", "consent", "credit")
"""Columns that must be filled for every set of photos."""
NAME_PATTERN = re.compile(r"[^\W_][\w.-]*")
"""Valid names of people and of sets: they become names of folders, and are listed with spaces between them."""

WEB_ADDRESS = re.compile(r"https?://[\w.~:/?#@!$&'()*+,;=%-]+", re.ASCII)
"""What is written as a link; anything else in the column url is shown as text."""


@dataclass(frozen=True)
class SourceSet:
    """A set of photos that came under the same terms.

    Attributes:
        name: one word, by which manifest.csv refers to it.
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
    """Reads sources.csv: name -> set, in the file's order.

    Raises:
        DataError: there is no such table, or a set's licence, consent or credit is not stated.
    """
    table = read_table(path, ("name", *REQUIRED_TERMS))
    problems = [] if table else ["it has no row; write one for each set of photos"]
    sets: dict[str, SourceSet] = {}
    for number, cells in enumerate(table, 2):
        row = {column: (cells.get(column) or "").strip() for column in COLUMNS}
        name = row["name"]
        if not NAME_PATTERN.fullmatch(name):
            problems.append(f"row {number} has the name {name!r}; a name is one word of letters, digits, '.', '-' and '_'")
        if name in sets:
            problems.append(f"the set {name!r} has two rows; keep one")
        problems += [
            f"{column} of the set {name!r} is empty; state it, in your own words"
            for column in REQUIRED_TERMS
            if not row[column]
        ]
        sets[name] = SourceSet(**row)
    raise_problems(path, problems, "Photos are used only where licence, consent and credit are stated" if table else "")
    return sets


def write_sources(path: Path, sets: Iterable[SourceSet]) -> None:
    """Writes sources.csv.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    write_table(path, COLUMNS, [asdict(source) for source in sets])


def add_sources(path: Path, sets: Iterable[SourceSet]) -> None:
    """Adds sets to a sources.csv, or creates it: a training folder may be made of several folders of photos.

    Raises:
        DataError: a set of that name is there on other terms.
        RunError: the disk is full or the folder cannot be written.
    """
    known = read_sources(path) if path.is_file() else {}
    sets = list(sets)
    problems = [f"the set {source.name!r} is there on other terms" for source in sets
                if known.get(source.name, source) != source]  # fmt: skip
    raise_problems(path, problems, "Give one of them another name in the manifest's sources.csv")
    write_sources(path, dict.fromkeys([*known.values(), *sets]))


def credit_lines(sets: Iterable[SourceSet]) -> Markup:
    """Formats a list in Markdown: the credit of each set, its licence, and what the people in it agreed to."""
    lines = []
    for source in sets:
        url = f" <{source.url}>" if WEB_ADDRESS.fullmatch(source.url) else f" {escape_markdown(source.url)}".rstrip()
        credit, licence, consent = map(
            escape_markdown, (source.credit.rstrip("."), source.licence, source.consent.rstrip("."))
        )
        lines.append(f"- {credit}. Licence: {licence}. Consent: {consent}.{url}")
    return Markup("\n".join(lines))
