"""Finds everything that is wrong with a training folder at once, before hours of training are spent on it."""

import math
from collections import Counter, defaultdict
from pathlib import Path

from exprgan.expressions import EXPRESSIONS, NEUTRAL, canonical

from ..core.threads import map_threads
from ..core.train_errors import DataError
from .metadata import (
    METADATA_NAME,
    REQUIRED_COLUMNS,
    Findings,
    find_outside_files,
    has_class,
    print_warnings,
    raise_problems,
    read_metadata,
    read_unchecked_metadata,
    unit_weights,
)
from .picture_checks import SIDES, find_copies, picture_digest
from .picture_pack import PicturePack, PictureReader

SPLITS = ("train", "test")
"""The splits that training and evaluation use. Pictures of other splits are ignored."""

MIN_CLASS_PEOPLE = 20
"""An expression of fewer people is hardly learned. On the published set, with all pictures of the other expressions, a
linear classifier of gradient histograms recognises an expression of 10 training people in 3 % of the held-out pictures
that show it, of 20 people in 14 %, of 40 in 31 %, and of all 369 in 70 %."""

_RANGES = {"intensity": (0, 1), "yaw": (-90, 90), "pitch": (-90, 90)}
"""Columns of numbers that may be empty; yaw and pitch of the head are in degrees."""


def inspect_folder(
    root: str | Path, expressions: tuple[str, ...] = EXPRESSIONS, fold: int | None = None, *, training: bool = True
) -> Findings:
    """Runs all checks of a training folder; every picture is decoded once, unless it is packed (see `picture_pack`).

    Args:
        expressions: the valid labels of the table, beside neutral and their known aliases.
        fold: the fold that is held out in training, instead of the people of split "test".
        training: also find what the table lacks for training, as `find_shortages` does.

    Raises:
        DataError: there is no readable metadata.csv, or it has no folds.
    """
    root = Path(root)
    rows = read_unchecked_metadata(root)
    outside = dict(find_outside_files(rows, root))
    findings = Findings([*outside.values(), *find_row_problems(rows, expressions)], [])
    if training and not findings.errors:
        findings += find_shortages(rows, expressions, fold)
    empty = [split for split in SPLITS if not any(map(has_class, select_rows(rows, split, fold)))]
    findings += Findings([empty_split_problem(split, fold) for split in empty], [])
    names = list(dict.fromkeys(row["file_name"] for row in rows if row["file_name"] and row["file_name"] not in outside))
    try:
        pack = PicturePack.find(root, names)
    except DataError as error:
        findings, pack = findings + Findings([str(error)], []), None
    if pack:  # its pictures were checked when they were packed
        digests: dict[str, bytes | DataError] = {name: pack.pictures[name].digest for name in names}
    else:
        digests = dict(zip(names, map_threads(lambda name: picture_digest(root / name), names), strict=True))
    broken = [str(digest) for digest in digests.values() if isinstance(digest, DataError)]
    return findings + Findings(broken, []) + find_copies(rows, digests, expressions)


def find_problems(root: str | Path, expressions: tuple[str, ...] = EXPRESSIONS) -> list[str]:
    """Finds everything that makes a training folder invalid, whichever training it is for.

    Args:
        expressions: as for `inspect_folder`.

    Returns:
        One sentence per problem; empty if the folder is valid.
    """
    try:
        return inspect_folder(root, expressions, training=False).errors
    except DataError as error:
        return [str(error)]


def find_shortages(
    rows: list[dict[str, str]], expressions: tuple[str, ...] = EXPRESSIONS, fold: int | None = None
) -> Findings:
    """Finds expressions that no picture shows, or too few people, and a training split of one person.

    Args:
        rows: a table without row problems.
        expressions: the names of the K expressions.
        fold: as for `inspect_folder`.
    """
    errors, warnings = [], []
    for split in SPLITS:
        selected = [row for row in select_rows(rows, split, fold) if has_class(row)]
        if not selected:
            continue
        where = f"split {split!r}" if fold is None else f"{'all but ' if split == 'train' else ''}fold {fold}"
        owners = _owners_by_label(selected, expressions)
        shown, missing = ([name for name in expressions if bool(owners[name]) == wanted] for wanted in (True, False))
        if split != "train":
            if missing:
                warnings.append(f"{where} has no pictures of {', '.join(missing)}, which are then not measured; add some")
            continue
        if missing:
            counts = ", ".join(f"{name} {len(owners[name]):,}" for name in (*shown, NEUTRAL) if owners[name])
            alone = f", or train a model of the others alone (--expressions {','.join(shown)})" if len(shown) > 1 else ""
            errors.append(
                f"{where} has {len(selected):,} pictures of {len(shown)} of the {len(expressions)} expressions ({counts}) "
                f"and none of {', '.join(missing)}; add pictures of each{alone}"
            )
        if len(people := {row["subject"] for row in selected}) == 1:
            errors.append(f"{where} shows one person only, {people.pop()!r}, from whom no identity is learned; add others")
        elif all(row["subject"] == row["file_name"] for row in selected):
            warnings.append(f"{METADATA_NAME} has no column 'subject', so people are unknown: no identity is learned, and "
                            "whoever is in both splits makes results look better than they are")  # fmt: skip
        if few := [name for name in shown if len(set(owners[name])) < MIN_CLASS_PEOPLE]:
            counts = ", ".join(
                f"{name} ({len(owners[name]):,} pictures of {len(set(owners[name]))} people)" for name in few
            )
            warnings.append(f"{where} has few people for {counts}; add others, to at least {MIN_CLASS_PEOPLE} for each")
    return Findings(errors, warnings)


def check_before_training(
    root: str | Path, expressions: tuple[str, ...], fold: int | None = None, *, verbose: bool = True
) -> None:
    """Checks a folder before a training run, and prints warnings.

    Args:
        expressions: the names of the K expressions that are trained.
        fold: as for `inspect_folder`.
        verbose: print; False in all processes of a run but one.

    Raises:
        DataError: training on the folder is impossible, or its results would be wrong. The message lists the problems.
    """
    findings = inspect_folder(root, expressions, fold)
    raise_problems(root, findings.errors)
    if verbose:
        print_warnings(findings.warnings, f"`python -m train check {root}` lists all")


def warn_of_shortages(root: str | Path, expressions: tuple[str, ...], *, verbose: bool = True) -> None:
    """Checks the table of a folder that continues the training of a model, and prints what `find_shortages` finds.

    Args:
        expressions: the names of the model's K expressions.
        verbose: as for `check_before_training`.

    Raises:
        DataError: the table is missing or wrong.
    """
    rows = read_metadata(Path(root))
    raise_problems(root, find_row_problems(rows, expressions))
    shortages = find_shortages(rows, expressions)
    if verbose:
        print_warnings(shortages.errors + shortages.warnings)


def select_rows(rows: list[dict[str, str]], split: str, fold: int | None = None) -> list[dict[str, str]]:
    """Selects the rows of one split, by the column `split` or, with a fold, by the column `fold`.

    Raises:
        DataError: a fold is asked for and the table has none.
        ValueError: `fold` with another split than "train" or "test".
    """
    if fold is None:
        return [row for row in rows if row["split"] == split]
    if split not in SPLITS:
        raise ValueError(f"with a fold the split is 'train' or 'test', not {split!r}")
    if not any(row.get("fold") for row in rows):
        raise DataError(
            f"{METADATA_NAME} has no column 'fold' to divide by; `prepare oulu` makes one, or leave out the fold"
        )
    in_fold = [row["fold"].strip().isdecimal() and int(row["fold"]) == fold for row in rows]
    return [row for row, inside in zip(rows, in_fold, strict=True) if inside == (split == "test")]


def empty_split_problem(split: str, fold: int | None = None) -> str:
    """The problem of a split without pictures of a class."""
    wanted = f"with split {split!r}" if fold is None else f"{'without' if split == 'train' else 'of'} fold {fold}"
    return f"{METADATA_NAME} has no rows {wanted} and an expression"


def find_row_problems(rows: list[dict[str, str]], expressions: tuple[str, ...] = EXPRESSIONS) -> list[str]:
    """Checks a table alone: empty cells, unknown labels, invalid numbers, duplicates, people in two splits.

    An empty expression is valid where the column `action_units` says what the picture shows.
    """
    problems = []
    has_folds = any(row.get("fold") for row in rows)
    always = (*(column for column in REQUIRED_COLUMNS if column != "expression"), "subject", *["fold"] * has_folds)
    for number, row in enumerate(rows, start=2):  # as a spreadsheet counts them; the header is row 1
        name = row["file_name"] or f"row {number}"
        problems += [f"{name} has no {column}" for column in always if not row[column].strip()]
        if not has_class(row) and not (row.get("action_units") or "").strip():
            problems.append(f"{name} has no expression, nor action_units instead of one")
        if None in row:  # csv's key for cells beyond the header
            problems.append(f"{name} has more cells than {METADATA_NAME} has columns")
        try:
            canonical(row["expression"], expressions)
        except ValueError as error:
            problems += [f"{name}: {error}"] if has_class(row) else []
        problems += _number_problems(name, row)
    counts = Counter(row["file_name"] for row in rows if row["file_name"])
    problems += [f"{name} is listed {count} times; once is right" for name, count in counts.items() if count > 1]
    return problems + [problem for column in SIDES for problem in _people_on_two_sides(rows, column)]


def check(data: str, expressions: tuple[str, ...] = EXPRESSIONS) -> None:
    """Runs `check`: prints all warnings, and how many people and pictures a valid folder has, per split and label.

    Raises:
        DataError: the folder cannot be trained on; the message lists every problem.
    """
    findings = inspect_folder(data, expressions)
    print_warnings(findings.warnings, limit=None)
    raise_problems(data, findings.errors, limit=None)
    rows = read_metadata(Path(data))
    print(summarize_splits(rows, expressions))
    if any(row.get("fold") for row in rows):
        folds = Counter(int(row["fold"]) for row in rows)
        print("folds: " + ", ".join(f"{fold}: {count:,}" for fold, count in sorted(folds.items())))
    known = sum(bool(row.get("intensity")) for row in rows)
    print(f"intensity known for {known:,} of {len(rows):,}")
    reader = PictureReader(data)
    sizes = Counter(reader.size(row["file_name"]) for row in rows)
    print("sizes: " + ", ".join(f"{w} x {h} px: {count:,}" for (w, h), count in sizes.most_common(5)))


def summarize_splits(rows: list[dict[str, str]], expressions: tuple[str, ...] = EXPRESSIONS) -> str:
    """Formats one line per split: its people, its pictures, and the number of each label and of pictures of no class."""
    lines = []
    for split in sorted({row["split"] for row in rows}, key=lambda name: (name not in SPLITS, name != "train", name)):
        selected = [row for row in rows if row["split"] == split]
        labels = Counter(canonical(row["expression"], expressions) for row in selected if has_class(row))
        subjects = len({row["subject"] for row in selected})
        counts = ", ".join(f"{label} {labels[label]:,}" for label in (*expressions, NEUTRAL))
        rest = len(selected) - labels.total()
        counts += f"; {rest:,} pictures of no class" if rest else ""
        lines.append(f"{split}: {len(selected):,} pictures of {subjects:,} people ({counts})")
    return "\n".join(lines)


def _number_problems(name: str, row: dict[str, str]) -> list[str]:
    """The numbers of `_RANGES` lie there or are empty or NaN (unknown); fold is a whole number from 0."""
    problems = []
    for column, (low, high) in _RANGES.items():
        if not (text := (row.get(column) or "").strip()):
            continue
        try:
            value = float(text)
        except ValueError:
            problems.append(f"{name} has the {column} {text!r}, which is no number; leave it empty where it is unknown")
        else:
            if not (math.isnan(value) or low <= value <= high):
                problems.append(f"{name} has the {column} {text}, which is outside {low}..{high}")
    fold = (row.get("fold") or "").strip()
    if fold and not (fold.isascii() and fold.isdecimal()):
        problems.append(f"{name} has the fold {fold!r}, which is no whole number from 0")
    try:
        unit_weights(row)
    except (ValueError, TypeError, AttributeError):
        problems.append(f'{name} has the action_units {row["action_units"]!r}; they must be like {{"12": [0.8, 0.75]}}: '
                        "each unit with its weights on the subject's right and left side")  # fmt: skip
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


def _owners_by_label(rows: list[dict[str, str]], expressions: tuple[str, ...]) -> dict[str, list[str]]:
    """Label -> the subject of each of its pictures."""
    owners = defaultdict(list)
    for row in rows:
        owners[canonical(row["expression"], expressions)].append(row["subject"])
    return owners
