"""Reads and writes manifest.csv: the people in a folder of photos, and the terms of use (docs/provenance.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exprgan.folder_paths import find_path_problems

from ..core.train_errors import DataError
from ..data.licences import NAME_PATTERN, REQUIRED_TERMS, SOURCES_NAME, SourceSet, read_sources, write_sources
from ..data.metadata import raise_problems, read_table, write_table
from ..data.validation import SPLITS

MANIFEST_NAME = "manifest.csv"
COLUMNS = ("subject", "photo", "template", "smile", "sex", "age", "ethnicity", "split", "parents", "balance", "source_set")
YES, NO = ("yes", "true", "1"), ("no", "false", "0", "")

EXAMPLE = f"""\
  {MANIFEST_NAME}, a row for each person:
    subject,photo,template,source_set
    ann,ann.jpg,ann.tem,ours
  {SOURCES_NAME} beside it, a row for each set of photos that came on the same terms:
    name,licence,consent,credit
    ours,CC-BY-4.0,signed: use in original and altered form,"Photos: Our Lab, 2026\""""


@dataclass(frozen=True)
class Person:
    """A person with the photos that a set is made from.

    Attributes:
        subject: the person's name, one word.
        photo: the neutral face.
        template: the file of its 189 points in WebMorph's format, or None.
        smile: a photo of the same person smiling, or None.
        sex, age, ethnicity: as stated in the manifest; empty if unknown.
        split: "train" or "test"; if empty, a hash of the name decides.
        source, smile_source: paths of photo and smile within the folder, with "/"; empty if there is none.
        licence, consent, credit: of the set that the photos are from; those of several sets are joined by "; ".
        parents: names of the two people that a virtual person was mixed from; empty for a real person.
        balance: whether the backdrop is coloured and has to be neutralised first.
        sets: the sets that the photos are from.
    """

    subject: str
    photo: Path
    template: Path | None
    smile: Path | None
    sex: str
    age: str
    ethnicity: str
    split: str
    source: str
    smile_source: str
    licence: str
    consent: str
    credit: str
    parents: tuple[str, ...]
    balance: bool
    sets: tuple[SourceSet, ...] = ()


def read_manifest(folder: Path, manifest: Path | None = None) -> list[Person]:
    """Reads the people in a folder of photos, in the manifest's order.

    Args:
        folder: the photos; paths in the manifest are relative to it.
        manifest: the table, if it lies elsewhere (the photos may be read-only); sources.csv lies beside it.

    Raises:
        DataError: there is no manifest, it does not state licence, consent and credit for every photo, or it contradicts
            itself or the folder. The message lists every problem.
    """
    path = manifest or folder / MANIFEST_NAME
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; name the one that holds the photos")
    if not path.is_file():
        raise DataError(f"{path} does not exist, and photos are used only where licence, consent and credit are stated; "
                        f"write two files (docs/provenance.md):\n{EXAMPLE}")  # fmt: skip
    rows = [{column: (row.get(column) or "").strip() for column in COLUMNS} for row in read_table(path, COLUMNS[:2])]
    sets = read_sources(path.with_name(SOURCES_NAME))
    problems = [] if rows else ["it names nobody; write a row for each person"]
    for number, row in enumerate(rows, 2):
        problems += _find_problems(f"row {number} ({row['subject'] or 'without a subject'})", row, folder, sets)
    problems += _find_duplicates(rows)
    raise_problems(path, problems)
    return [_to_person(row, folder, sets) for row in rows]


def write_manifest(path: Path, rows: Sequence[dict[str, str]], sets: Sequence[SourceSet]) -> None:
    """Writes sources.csv, then the manifest beside it.

    Args:
        path: of the manifest.
        rows: name of a column in `COLUMNS` -> text; an absent column is written as empty.
        sets: the sets that the column `source_set` names.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    write_sources(path.with_name(SOURCES_NAME), sets)
    write_table(path, COLUMNS, [{column: row.get(column, "") for column in COLUMNS} for row in rows])


def collect_source_sets(people: Sequence[Person]) -> list[SourceSet]:
    """Returns the sets that the people's photos are from, without duplicates."""
    return list(dict.fromkeys(source for person in people for source in person.sets))


def _find_problems(label: str, row: dict[str, str], folder: Path, sets: dict[str, SourceSet]) -> list[str]:
    problems = []
    for name in (row["subject"], *row["parents"].split()):
        if not NAME_PATTERN.fullmatch(name):
            problems.append(f"{label}: {name!r} is no name; a name is one word of letters, digits, '.', '-' and '_'")
    if row["subject"] in row["parents"].split():
        problems.append(f"{label} is its own parent")
    for column in ("photo", "template", "smile"):
        path = folder / row[column]
        if problem := find_path_problems([row[column]], folder).get(row[column]):
            problems.append(f"{label}: {column} {row[column]!r} {problem}; name a file inside it")
        elif row[column] and not path.is_file():
            problems.append(f"{label}: {column} {row[column]!r} is no file in {folder}")
    if not row["photo"]:
        problems.append(f"{label} has no photo")
    if row["split"] not in ("", *SPLITS):
        problems.append(f"{label} has the split {row['split']!r}; write {' or '.join(SPLITS)}, or leave it empty")
    if row["balance"].lower() not in YES + NO:
        problems.append(f"{label} has {row['balance']!r} in balance; write yes or no")
    if row["age"] and not _is_age(row["age"]):
        problems.append(f"{label} has the age {row['age']!r}, which is no number; leave it empty where it is unknown")
    if not row["source_set"] and len(sets) > 1:
        problems.append(f"{label} has no source_set, and {SOURCES_NAME} has {len(sets)}; write {' or '.join(sets)}")
    for name in row["source_set"].split():
        if name not in sets:
            problems.append(f"{label} is of the source_set {name!r}, which has no row in {SOURCES_NAME}")
    return problems


def _find_duplicates(rows: Sequence[dict[str, str]]) -> list[str]:
    """Finds people and photos that are listed twice: a person could then be on both sides of the split."""
    problems = []
    for column, sentence in (("subject", "the subject {!r} has two rows"), ("photo", "the photo {!r} is two people's")):
        keys: set[str] = set()
        for row in rows:
            key = row[column].casefold()  # many file systems ignore case
            if key and key in keys:
                problems.append(sentence.format(row[column]) + "; keep one")
            keys.add(key)
    return problems


def _to_person(row: dict[str, str], folder: Path, sets: dict[str, SourceSet]) -> Person:
    sources = tuple(sets[name] for name in row["source_set"].split()) or tuple(sets.values())
    return Person(
        **{column: row[column] for column in ("subject", "sex", "age", "ethnicity", "split")},
        photo=folder / row["photo"],
        template=folder / row["template"] if row["template"] else None,
        smile=folder / row["smile"] if row["smile"] else None,
        source=Path(row["photo"]).as_posix(),
        smile_source=Path(row["smile"]).as_posix() if row["smile"] else "",
        **{column: "; ".join(dict.fromkeys(getattr(source, column) for source in sources)) for column in REQUIRED_TERMS},
        parents=tuple(row["parents"].split()),
        balance=row["balance"].lower() in YES,
        sets=sources,
    )


def _is_age(text: str) -> bool:
    try:
        return 0 <= float(text) < 150
    except ValueError:
        return False
