"""manifest.csv: who is in a folder of photos, and on what terms. Without one, no photo is used (docs/provenance.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.licences import SOURCES_NAME, WORD, SourceSet, read_sources, write_rows, write_sources
from ..data.metadata import DataError, read_table, raise_listing
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
        template: its 189 points in WebMorph's form; None where there is none.
        smile: the same person smiling; None where there is none.
        sex, age, ethnicity: as stated, empty where not.
        split: "train" or "test"; "" lets the tool decide.
        source, smile_source: where photo and smile lie in the folder, with "/"; "" where there is none.
        licence, consent, credit: of the set that the photos are from; of several sets, all that differ, "; " between.
        parents: of a virtual person, whom it was mixed from.
        balance: whether the backdrop is coloured and has to be made neutral first.
        sets: what the photos are from.
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
    """The people in a folder of photos, in the manifest's order.

    Args:
        folder: the photos; every path in the manifest starts here.
        manifest: the table, where it lies elsewhere (the photos may be read-only); sources.csv lies beside it.

    Raises:
        DataError: there is no manifest, or it does not state licence, consent and credit for every photo, or contradicts
            itself or the folder. Everything that is wrong is said at once.
    """
    path = manifest or folder / MANIFEST_NAME
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; name the one that holds the photos")
    if not path.is_file():
        raise DataError(f"{path} does not exist, and photos are used only where licence, consent and credit are stated; "
                        f"write two files (docs/provenance.md):\n{EXAMPLE}")  # fmt: skip
    rows = [{column: (row.get(column) or "").strip() for column in COLUMNS} for row in read_table(path, COLUMNS[:2])]
    sets = read_sources(path.with_name(SOURCES_NAME))
    found = [] if rows else ["it names nobody; write a row for each person"]
    for number, row in enumerate(rows, 2):
        found += _problems(f"row {number} ({row['subject'] or 'without a subject'})", row, folder, sets)
    found += _twice(rows)
    raise_listing(path, found)
    return [_sitter(row, folder, sets) for row in rows]


def write_manifest(path: Path, rows: Sequence[dict[str, str]], sets: Sequence[SourceSet]) -> None:
    """Writes a manifest and, before it, sources.csv beside it.

    Args:
        path: where the manifest goes.
        rows: `COLUMNS` -> text; an absent column is empty.
        sets: what `source_set` names.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    write_sources(path.with_name(SOURCES_NAME), sets)
    write_rows(path, COLUMNS, [{column: row.get(column, "") for column in COLUMNS} for row in rows])


def sets_of(sitters: Sequence[Person]) -> list[SourceSet]:
    """All sets that some people's photos are from, each once."""
    return list(dict.fromkeys(one for sitter in sitters for one in sitter.sets))


def _problems(place: str, row: dict[str, str], folder: Path, sets: dict[str, SourceSet]) -> list[str]:
    found = []
    for name in (row["subject"], *row["parents"].split()):
        if not WORD.fullmatch(name):
            found.append(f"{place}: {name!r} is no name; a name is one word of letters, digits, '.', '-' and '_'")
    if row["subject"] in row["parents"].split():
        found.append(f"{place} is its own parent")
    for column in ("photo", "template", "smile"):
        if row[column] and not _inside(folder, row[column]):
            found.append(f"{place}: {column} {row[column]!r} leads out of {folder}; name a file inside it")
        elif row[column] and not (folder / row[column]).is_file():
            found.append(f"{place}: {column} {row[column]!r} is no file in {folder}")
    if not row["photo"]:
        found.append(f"{place} has no photo")
    if row["split"] not in ("", *SPLITS):
        found.append(f"{place} has the split {row['split']!r}; write {' or '.join(SPLITS)}, or leave it empty")
    if row["balance"].lower() not in YES + NO:
        found.append(f"{place} has {row['balance']!r} in balance; write yes or no")
    if row["age"] and not _number(row["age"]):
        found.append(f"{place} has the age {row['age']!r}, which is no number; leave it empty where it is unknown")
    if not row["source_set"] and len(sets) > 1:
        found.append(f"{place} has no source_set, and {SOURCES_NAME} has {len(sets)}; write {' or '.join(sets)}")
    for name in row["source_set"].split():
        if name not in sets:
            found.append(f"{place} is of the source_set {name!r}, which has no row in {SOURCES_NAME}")
    return found


def _twice(rows: Sequence[dict[str, str]]) -> list[str]:
    """People and photos that are listed twice: somebody could then stand on both sides of the split."""
    found = []
    for column, sentence in (("subject", "the subject {!r} has two rows"), ("photo", "the photo {!r} is two people's")):
        seen: set[str] = set()
        for row in rows:
            key = row[column].casefold()  # one folder on many disks
            if key and key in seen:
                found.append(sentence.format(row[column]) + "; keep one")
            seen.add(key)
    return found


def _sitter(row: dict[str, str], folder: Path, sets: dict[str, SourceSet]) -> Person:
    named = tuple(sets[name] for name in row["source_set"].split()) or tuple(sets.values())
    stated = {
        column: "; ".join(dict.fromkeys(getattr(one, column) for one in named))
        for column in ("licence", "consent", "credit")
    }
    return Person(
        subject=row["subject"],
        photo=folder / row["photo"],
        template=folder / row["template"] if row["template"] else None,
        smile=folder / row["smile"] if row["smile"] else None,
        sex=row["sex"],
        age=row["age"],
        ethnicity=row["ethnicity"],
        split=row["split"],
        source=Path(row["photo"]).as_posix(),
        smile_source=Path(row["smile"]).as_posix() if row["smile"] else "",
        **stated,
        parents=tuple(row["parents"].split()),
        balance=row["balance"].lower() in YES,
        sets=named,
    )


def _inside(folder: Path, name: str) -> bool:
    return (folder / name).resolve().is_relative_to(folder.resolve())


def _number(text: str) -> bool:
    try:
        return 0 <= float(text) < 150
    except ValueError:
        return False
