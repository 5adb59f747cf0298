"""Says all that is wrong with a training folder at once, before hours of training are spent on it."""

import math
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from exprgan.expressions import EXPRESSIONS, NEUTRAL, canonical

from .metadata import METADATA_NAME, REQUIRED_COLUMNS, DataError, read_metadata, raise_listing

SPLITS = ("train", "test")
"""What training and evaluation ask for. Pictures of other splits are left alone."""


def problems(root: str | Path, expressions: tuple[str, ...] = EXPRESSIONS) -> list[str]:
    """Everything that is wrong with a training folder; every picture is decoded once.

    Args:
        expressions: the labels that may stand in the table, beside neutral and the known other words for them.

    Returns:
        One sentence a problem, in the table's order; empty if the folder is sound.
    """
    root = Path(root)
    try:
        rows = read_metadata(root)
    except DataError as error:
        return [str(error)]
    splits = {row["split"] for row in rows}
    found = row_problems(rows, expressions)
    found += [f"{METADATA_NAME} has no rows with split {split!r}" for split in SPLITS if split not in splits]
    with ThreadPoolExecutor() as pool:
        broken = pool.map(_picture_problem, dict.fromkeys(root / row["file_name"] for row in rows if row["file_name"]))
        return found + [problem for problem in broken if problem]


def row_problems(rows: list[dict[str, str]], expressions: tuple[str, ...] = EXPRESSIONS) -> list[str]:
    """What is wrong with a table by itself: empty cells, unknown labels, bad numbers, doubles, people on two sides."""
    found = []
    folds = any(row.get("fold") for row in rows)
    for number, row in enumerate(rows, start=2):  # as a spreadsheet counts them; the header is row 1
        name = row["file_name"] or f"row {number}"
        found += [f"{name} has no {column}" for column in (*REQUIRED_COLUMNS, *["fold"] * folds) if not row[column].strip()]
        if None in row:  # csv's key for what goes beyond the header
            found.append(f"{name} has more cells than {METADATA_NAME} has columns")
        try:
            canonical(row["expression"], expressions)
        except ValueError as error:
            found += [f"{name}: {error}"] if row["expression"].strip() else []
        found += _number_problems(name, row)
    times = Counter(row["file_name"] for row in rows if row["file_name"])
    found += [f"{name} is listed {number} times; once is right" for name, number in times.items() if number > 1]
    return found + [problem for column in ("split", "fold") for problem in _people_on_two_sides(rows, column)]


def open_picture(path: Path) -> Image.Image:
    """One picture of a training folder, decoded, in RGB.

    Raises:
        DataError: it is missing or broken.
    """
    try:
        return Image.open(path).convert("RGB")
    except FileNotFoundError as error:
        raise DataError(f"{path} cannot be read as a picture: there is no such file") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, and more
        raise DataError(f"{path} cannot be read as a picture: {error}") from error


def check(data: str, expressions: tuple[str, ...] = EXPRESSIONS) -> None:
    """The verb: prints how many people and pictures a sound folder has, per split and label.

    Raises:
        DataError: the folder is not sound; the message lists every problem.
    """
    raise_listing(data, problems(data, expressions), limit=None)
    rows = read_metadata(Path(data))
    print(counts(rows, expressions))
    if any(row.get("fold") for row in rows):
        folds = Counter(int(row["fold"]) for row in rows)
        print("folds: " + ", ".join(f"{fold}: {number:,}" for fold, number in sorted(folds.items())))
    known = sum(bool(row.get("intensity")) for row in rows)
    print(f"intensity known for {known:,} of {len(rows):,}")
    sizes = Counter(_size(Path(data, row["file_name"])) for row in rows)
    print("sizes: " + ", ".join(f"{w} x {h} px: {number:,}" for (w, h), number in sizes.most_common(5)))


def counts(rows: list[dict[str, str]], expressions: tuple[str, ...] = EXPRESSIONS) -> str:
    """A line a split: its people, its pictures, and how many of each label."""
    lines = []
    for split in sorted({row["split"] for row in rows}, key=lambda name: (name not in SPLITS, name != "train", name)):
        inside = [row for row in rows if row["split"] == split]
        labels = Counter(canonical(row["expression"], expressions) for row in inside)
        people = len({row["subject"] for row in inside})
        each = ", ".join(f"{label} {labels[label]:,}" for label in (*expressions, NEUTRAL))
        lines.append(f"{split}: {len(inside):,} pictures of {people:,} people ({each})")
    return "\n".join(lines)


def _number_problems(name: str, row: dict[str, str]) -> list[str]:
    """intensity lies in 0..1 or is empty or NaN (unknown); fold is a whole number from 0."""
    found = []
    if text := (row.get("intensity") or "").strip():
        try:
            value = float(text)
        except ValueError:
            found.append(f"{name} has the intensity {text!r}, which is no number; leave it empty where it is unknown")
        else:
            if not (math.isnan(value) or 0 <= value <= 1):
                found.append(f"{name} has the intensity {text}, which is outside 0..1")
    fold = (row.get("fold") or "").strip()
    if fold and not (fold.isascii() and fold.isdecimal()):
        found.append(f"{name} has the fold {fold!r}, which is no whole number from 0")
    return found


def _people_on_two_sides(rows: list[dict[str, str]], column: str) -> list[str]:
    """A person seen in training proves nothing in testing, nor does one who is mixed from them."""
    sides, families = defaultdict(set), defaultdict(set)
    for row in rows:
        if row["subject"] and row.get(column):
            sides[row["subject"]].add(row[column])
            for name in (row["subject"], *(row.get("parents") or "").split()):
                families[name].add(row[column])
    found = []
    for who, where in families.items():
        if len(where) > 1:
            both = f"in {column} {' and '.join(map(repr, sorted(where)))}"
            by = "" if len(sides[who]) > 1 else ", by those who are mixed from them"
            found.append(f"person {who!r} is {both}{by}; each person belongs in one")
    return found


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _picture_problem(path: Path) -> str:
    try:
        open_picture(path)
    except DataError as error:
        return str(error)
    return ""
