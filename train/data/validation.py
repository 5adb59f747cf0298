"""Finds everything that is wrong with a training folder at once, before hours of training are spent on it."""

import math
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from exprgan.expressions import EXPRESSIONS, NEUTRAL, canonical

from ..core.train_errors import DataError
from .metadata import METADATA_NAME, REQUIRED_COLUMNS, raise_problems, read_metadata

SPLITS = ("train", "test")
"""The splits that training and evaluation use. Pictures of other splits are ignored."""


def find_problems(root: str | Path, expressions: tuple[str, ...] = EXPRESSIONS) -> list[str]:
    """Finds everything that is wrong with a training folder; every picture is decoded once.

    Args:
        expressions: the valid labels of the table, beside neutral and their known aliases.

    Returns:
        One sentence per problem, in the table's order; empty if the folder is valid.
    """
    root = Path(root)
    try:
        rows = read_metadata(root)
    except DataError as error:
        return [str(error)]
    splits = {row["split"] for row in rows}
    problems = find_row_problems(rows, expressions)
    problems += [f"{METADATA_NAME} has no rows with split {split!r}" for split in SPLITS if split not in splits]
    with ThreadPoolExecutor() as pool:
        broken = pool.map(_picture_problem, dict.fromkeys(root / row["file_name"] for row in rows if row["file_name"]))
        return problems + [problem for problem in broken if problem]


def find_row_problems(rows: list[dict[str, str]], expressions: tuple[str, ...] = EXPRESSIONS) -> list[str]:
    """Checks a table alone: empty cells, unknown labels, invalid numbers, duplicates, people in two splits."""
    problems = []
    has_folds = any(row.get("fold") for row in rows)
    required = (*REQUIRED_COLUMNS, *["fold"] * has_folds)
    for number, row in enumerate(rows, start=2):  # as a spreadsheet counts them; the header is row 1
        name = row["file_name"] or f"row {number}"
        problems += [f"{name} has no {column}" for column in required if not row[column].strip()]
        if None in row:  # csv's key for cells beyond the header
            problems.append(f"{name} has more cells than {METADATA_NAME} has columns")
        try:
            canonical(row["expression"], expressions)
        except ValueError as error:
            problems += [f"{name}: {error}"] if row["expression"].strip() else []
        problems += _number_problems(name, row)
    counts = Counter(row["file_name"] for row in rows if row["file_name"])
    problems += [f"{name} is listed {count} times; once is right" for name, count in counts.items() if count > 1]
    return problems + [problem for column in ("split", "fold") for problem in _people_on_two_sides(rows, column)]


def open_picture(path: Path) -> Image.Image:
    """Decodes one picture of a training folder, in RGB.

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
    """Runs `check`: prints how many people and pictures a valid folder has, per split and label.

    Raises:
        DataError: the folder is not valid; the message lists every problem.
    """
    raise_problems(data, find_problems(data, expressions), limit=None)
    rows = read_metadata(Path(data))
    print(summarize_splits(rows, expressions))
    if any(row.get("fold") for row in rows):
        folds = Counter(int(row["fold"]) for row in rows)
        print("folds: " + ", ".join(f"{fold}: {count:,}" for fold, count in sorted(folds.items())))
    known = sum(bool(row.get("intensity")) for row in rows)
    print(f"intensity known for {known:,} of {len(rows):,}")
    sizes = Counter(_size(Path(data, row["file_name"])) for row in rows)
    print("sizes: " + ", ".join(f"{w} x {h} px: {count:,}" for (w, h), count in sizes.most_common(5)))


def summarize_splits(rows: list[dict[str, str]], expressions: tuple[str, ...] = EXPRESSIONS) -> str:
    """Formats one line per split: its people, its pictures, and the number of each label."""
    lines = []
    for split in sorted({row["split"] for row in rows}, key=lambda name: (name not in SPLITS, name != "train", name)):
        selected = [row for row in rows if row["split"] == split]
        labels = Counter(canonical(row["expression"], expressions) for row in selected)
        subjects = len({row["subject"] for row in selected})
        counts = ", ".join(f"{label} {labels[label]:,}" for label in (*expressions, NEUTRAL))
        lines.append(f"{split}: {len(selected):,} pictures of {subjects:,} people ({counts})")
    return "\n".join(lines)


def _number_problems(name: str, row: dict[str, str]) -> list[str]:
    """intensity lies in 0..1 or is empty or NaN (unknown); fold is a whole number from 0."""
    problems = []
    if text := (row.get("intensity") or "").strip():
        try:
            value = float(text)
        except ValueError:
            problems.append(f"{name} has the intensity {text!r}, which is no number; leave it empty where it is unknown")
        else:
            if not (math.isnan(value) or 0 <= value <= 1):
                problems.append(f"{name} has the intensity {text}, which is outside 0..1")
    fold = (row.get("fold") or "").strip()
    if fold and not (fold.isascii() and fold.isdecimal()):
        problems.append(f"{name} has the fold {fold!r}, which is no whole number from 0")
    return problems


def _people_on_two_sides(rows: list[dict[str, str]], column: str) -> list[str]:
    """Finds people in two splits or folds, also by virtual people mixed from them: a test needs people new to training."""
    direct, with_children = defaultdict(set), defaultdict(set)
    for row in rows:
        if row["subject"] and row.get(column):
            direct[row["subject"]].add(row[column])
            for name in (row["subject"], *(row.get("parents") or "").split()):
                with_children[name].add(row[column])
    problems = []
    for name, sides in with_children.items():
        if len(sides) > 1:
            both = f"in {column} {' and '.join(map(repr, sorted(sides)))}"
            by = "" if len(direct[name]) > 1 else ", by those who are mixed from them"
            problems.append(f"person {name!r} is {both}{by}; each person belongs in one")
    return problems


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _picture_problem(path: Path) -> str:
    try:
        open_picture(path)
    except DataError as error:
        return str(error)
    return ""
