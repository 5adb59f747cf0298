"""From labelled photos to a training folder: find, align, crop, and write the table last. The same for every source."""

import json
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image, PngImagePlugin
from tqdm import tqdm

from exprgan.errors import BadImageError
from exprgan.expressions import canonical
from exprgan.photo.alignment import crop_face
from exprgan.photo.detection import Face, find_faces
from exprgan.photo.image_io import load_photo

from ..core.config_flags import option
from ..core.files import write_json, atomic_write, writes_folder
from .five_point_alignment import ALIGNMENTS
from .metadata import METADATA_NAME, SHOWN, DataError, raise_listing, write_metadata
from .photo_sources import SOURCES, MissingPhotos, LabelledPhoto
from .splits import split_people
from .validation import SPLITS, counts, row_problems

REPORT_NAME = "report.json"
CROPS = "images"
"""Folder of the crops inside OUT: each lies under its photo's path below SRC, with .png added."""

_FACTS = "exprgan"  # the PNG text field in which a crop keeps how it was made


@dataclass(frozen=True)
class PrepareConfig:
    """How photos become a training folder.

    Raises:
        ValueError: a value that cannot work; the message names it.
    """

    labels: str = option("", "CSV file with the labels (folder, affectnet); its file names start at SRC")
    test_share: float = option(0.1, "share of the people in `test`, chosen by a hash of the name, where SRC does not say")
    align: Literal["eyes", "landmarks"] = option("eyes", "what fixes the crop: the eyes, as in the app, or five points")
    image_size: int = option(128, "side of the crops in px")
    allow_incomplete: bool = option(False, "go on though photos that should be there are missing")
    dry_run: bool = option(False, "count and check only; look for no faces, write nothing")

    def __post_init__(self):
        if not 0 <= self.test_share < 1:
            raise ValueError(f"test_share must lie in 0..1 and below 1, not {self.test_share!r}")
        if self.image_size < 16:
            raise ValueError(f"image_size must be at least 16, not {self.image_size!r}")


def prepare(name: str, src: str, out: str, config: PrepareConfig) -> None:
    """Makes a training folder of a source's photos; the same call goes on where it was stopped.

    Crops are PNG files of `image_size` px. Photos without a face, and files that are no photo, are left out and named in
    OUT/report.json. Of several faces the widest is taken.

    Args:
        name: a key of `SOURCES`.
        src: folder of the photos.
        out: folder to write: images/, report.json and, last, metadata.csv.

    Raises:
        DataError: there is nothing to prepare, or what is there is incomplete or contradicts itself.
        RunError: `out` cannot be written.
    """
    root, target = Path(src).absolute(), Path(out).absolute()
    if not root.is_dir():
        raise DataError(f"{src} is no folder; name the one that holds the photos")
    if target.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{out} lies inside {src}, so the crops would count as photos; choose another folder to write")
    table, photos, report = _plan(name, root, config)
    expected = SOURCES[name].expects
    print(f"{name}: {len(table):,} pictures" + (f" of {expected:,} expected" if expected else "") + f" in {src}")
    print(counts(table))
    for split in (split for split in SPLITS if split not in {line["split"] for line in table}):
        print(f"note: nobody is in {split!r}, without which there is no training; see --test-share")
    for label, number in report["skipped"].items():
        print(f"skipped: {number:,} labelled {label!r}, which is none of the expressions")
    if not config.allow_incomplete:
        raise_listing(
            f"{src} is incomplete", report["missing"], "Add what is missing, or go on without it by --allow-incomplete"
        )
    for line in report["missing"][:SHOWN]:
        print(f"missing: {line}")
    if (rest := len(report["missing"]) - SHOWN) > 0:
        print(f"missing: {rest:,} more, in {REPORT_NAME}")
    if not config.dry_run:
        _write(target, table, photos, report, config)


def _plan(name: str, src: Path, config: PrepareConfig) -> tuple[list[dict[str, str]], list[Path], dict[str, Any]]:
    """What is there: the rows of metadata.csv, the photo of each, and the first lines of the report."""
    entries = list(SOURCES[name].read(src, Path(config.labels) if config.labels else None))
    rows, skipped = [], Counter()
    for row in (entry for entry in entries if isinstance(entry, LabelledPhoto)):
        try:
            rows.append((row, canonical(row.expression)))
        except ValueError:
            skipped[row.expression or "no label"] += 1
    if not rows:
        seen = f"; the labels found are {', '.join(map(repr, sorted(skipped)[:SHOWN]))}" if skipped else ""
        raise DataError(f"{src} holds no labelled photos in the form of {name}: {SOURCES[name].help}{seen}")
    split_of = _splits(src, [row for row, _ in rows], config.test_share)
    table = []
    for row, expression in rows:
        person = _person(src, row)
        line = {"file_name": f"{CROPS}/{row.path.relative_to(src).as_posix()}.png", "subject": person}
        line |= {"expression": expression, "intensity": "" if row.intensity is None else str(row.intensity)}
        line |= {"split": row.split or split_of[person], "fold": "" if row.fold is None else str(row.fold)}
        table.append(line)
    for column in ("intensity", "fold"):
        if not any(line[column] for line in table):
            table = [{key: value for key, value in line.items() if key != column} for line in table]
    raise_listing(f"the labels of {src}", row_problems(table), "Mend them and start again")
    report = {
        "source": name,
        "found": len(table),
        "expected": SOURCES[name].expects,
        "missing": [entry.text for entry in entries if isinstance(entry, MissingPhotos)],
        "skipped": dict(sorted(skipped.items())),
    }
    return table, [row.path for row, _ in rows], report


def _person(src: Path, row: LabelledPhoto) -> str:
    """The subject's name; a photo of an unknown person is a person of its own, named by its path."""
    return row.subject or row.path.relative_to(src).as_posix()


def _splits(src: Path, rows: list[LabelledPhoto], test_share: float) -> dict[str, str]:
    """person -> split: what the source says of any of their photos, else by a hash of the name."""
    said = {_person(src, row): row.split for row in rows if row.split}
    return split_people((_person(src, row) for row in rows), said, test_share)


@writes_folder(lambda out, *_: out)
def _write(
    out: Path, table: list[dict[str, str]], photos: list[Path], report: dict[str, Any], config: PrepareConfig
) -> None:
    """Crops, report, table: in this order, so that a folder with a table is a whole one."""
    lines, eye_distance = [], []
    odd: dict[str, Any] = defaultdict(list)
    kept = 0
    (out / METADATA_NAME).unlink(missing_ok=True)  # of an earlier run: it comes back when all crops are as it says
    for line, photo in zip(tqdm(table, desc="crops", unit="photo"), photos, strict=True):
        path, name = out / line["file_name"], line["file_name"].removeprefix(f"{CROPS}/").removesuffix(".png")
        facts = _facts(path, config)
        kept += facts is not None
        if facts is None:
            try:
                facts = _crop(photo, path, config)
            except BadImageError as error:
                odd["unreadable"].append(f"{name}: {error}")
                continue
        if facts is None:
            odd["no_face"].append(name)
            continue
        if facts["faces"] > 1:
            odd["several_faces"].append(name)
        eye_distance.append(facts["eye_distance_px"])
        lines.append(line)
    if not lines:
        raise DataError(f"no face was found in any of the {len(table):,} photos; see whether they show faces, upright")
    report |= {"align": config.align, "image_size": config.image_size, "written": len(lines)}
    report |= {key: odd[key] for key in ("no_face", "unreadable", "several_faces")}
    spread = (min(eye_distance), statistics.median(eye_distance), max(eye_distance))
    report["eye_distance_px"] = dict(zip(("min", "median", "max"), (round(value, 1) for value in spread), strict=True))
    for left in out.rglob(".*.tmp"):  # what a killed run was writing
        left.unlink()
    write_json(out / REPORT_NAME, report)
    write_metadata(out, lines)
    listed = {out / line["file_name"] for line in lines}
    if stray := sum(path not in listed for path in (out / CROPS).rglob("*.png")):
        print(f"note: {stray:,} more pictures in {out / CROPS} are of an earlier run, and in no row of {METADATA_NAME}")
    print(f"{out}: {len(lines):,} crops of {config.image_size} px, {kept:,} of them from before")
    print(counts(lines))
    for key, words in (
        ("no_face", "without a face"),
        ("unreadable", "unreadable"),
        ("several_faces", "with several faces"),
    ):
        if names := odd[key]:
            print(f"{words}: {len(names):,} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}); see {REPORT_NAME}")


def _crop(photo_path: Path, path: Path, config: PrepareConfig) -> dict[str, Any] | None:
    """Writes the crop of a photo's widest face and says how it was made; None if there is no face.

    Raises:
        BadImageError: the file is no photo.
    """
    photo = load_photo(photo_path)
    faces = find_faces(photo)
    if not faces:
        return None
    matrix = ALIGNMENTS[config.align](faces[0].landmarks, config.image_size)
    crop = crop_face(photo, matrix, config.image_size)
    facts = {"align": config.align, "faces": len(faces), "eye_distance_px": _eye_distance(faces[0])}
    text = PngImagePlugin.PngInfo()
    text.add_text(_FACTS, json.dumps(facts))
    atomic_write(path, lambda temporary: crop.save(temporary, format="PNG", pnginfo=text))
    return facts


def _facts(path: Path, config: PrepareConfig) -> dict[str, Any] | None:
    """How a crop from before was made; None if there is none, or it was made otherwise and has to be made anew."""
    try:
        with Image.open(path) as image:
            facts = json.loads(image.info[_FACTS])
            size = image.size
    except (OSError, SyntaxError, ValueError, KeyError):
        return None
    return facts if facts["align"] == config.align and size == (config.image_size,) * 2 else None


def _eye_distance(face: Face) -> float:
    """In photo px. A crop needs 0.31 of its side, or it is an enlargement."""
    (x0, y0), (x1, y1) = face.landmarks[:2]
    return round(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 2)
