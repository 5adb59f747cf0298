"""From labelled photos to a training folder: detect, align, crop, and write the table last. The same for every source."""

import json
import statistics
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image, PngImagePlugin
from tqdm import tqdm

from exprgan.atomic_write import delete_partial_files
from exprgan.batch.remote_folder import is_url, local_copy, local_listing
from exprgan.errors import BadImageError
from exprgan.expressions import canonical
from exprgan.folder_paths import find_path_problems
from exprgan.photo.alignment import crop_face
from exprgan.photo.detection import Face, choose_face, find_faces
from exprgan.photo.image_io import load_photo
from exprgan.process_pool import default_workers, map_items
from exprgan.ray_pool import map_on_cluster

from ..core.config_flags import option
from ..core.files import durable_write, write_json, writes_folder
from ..core.train_errors import DataError
from .five_point_alignment import ALIGNMENTS
from .metadata import MAX_LISTED, METADATA_NAME, raise_problems, write_metadata
from .photo_sources import PHOTO_SUFFIXES, SOURCES, LabelledPhoto, MissingPhotos
from .picture_pack import pack_if_large
from .splits import split_people
from .validation import SPLITS, find_row_problems, summarize_splits

REPORT_NAME = "report.json"
CROPS = "images"
"""Folder of the crops inside OUT: each lies under its photo's path below SRC, with .png added."""

PHOTOS_PER_WORKER = 100
"""Photos that take a process longer than its start, so that fewer are done in this one."""

_CROP_INFO = "exprgan"
"""The PNG text field of a crop that records how it was made."""


@dataclass(frozen=True)
class PrepareConfig:
    """Settings of `prepare`.

    Raises:
        ValueError: a value that cannot work; the message names it.
    """

    labels: str = option("", "CSV file with the labels (folder, affectnet); its file names start at SRC")
    test_share: float = option(0.1, "share of the people in `test`, chosen by a hash of the name, where SRC does not say")
    align: Literal["eyes", "landmarks"] = option("eyes", "what fixes the crop: the eyes, as in the app, or five points")
    image_size: int = option(128, "side of the crops in px")
    allow_incomplete: bool = option(False, "continue although photos of the data set are missing")
    follow_links: bool = option(False, "read photos also where links lead out of SRC")
    workers: int = option(0, f"processes; 0 for one a core, and for no more than one per {PHOTOS_PER_WORKER} photos")
    engine: Literal["processes", "ray"] = option("processes", "of this machine, or ray for a cluster: docs/scale.md")
    dry_run: bool = option(False, "count and check only; look for no faces, write nothing")

    def __post_init__(self):
        if not 0 <= self.test_share < 1:
            raise ValueError(f"test_share must lie in 0..1 and below 1, not {self.test_share!r}")
        if self.image_size < 16:
            raise ValueError(f"image_size must be at least 16, not {self.image_size!r}")
        if self.workers < 0:
            raise ValueError(f"workers must be at least 0, not {self.workers!r}")


def prepare(name: str, src: str, out: str, config: PrepareConfig) -> None:
    """Makes a training folder of a source's photos; the same call resumes where it was stopped.

    Crops are PNG files of `image_size` px. Photos without a face, and files that are no photo, are left out and named in
    OUT/report.json. Of several faces the widest is taken.

    Args:
        name: a key of `SOURCES`.
        src: folder of the photos, or its URL, of which each photo is downloaded where it is cropped.
        out: folder to write: images/, report.json and, last, metadata.csv.

    Raises:
        DataError: there is nothing to prepare, or the labels are incomplete or contradict each other.
        RunError: `out` cannot be written.
        RemoteError: a URL cannot be reached.
    """
    target, folder = Path(out).absolute(), src
    if not is_url(src):
        root = Path(src).absolute()
        if not root.is_dir():
            raise DataError(f"{src} is no folder; name the one that holds the photos")
        if target.resolve().is_relative_to(root.resolve()):
            raise DataError(f"{out} lies inside {src}, so the crops would count as photos; choose another folder to write")
        folder = str(root)
    with local_listing(folder, lambda file: file.lower().endswith(PHOTO_SUFFIXES)) as listing:
        try:
            rows, photos, report = _read_source(name, listing, config)
        except DataError as error:
            raise DataError(str(error).replace(str(listing), src)) from error
    expected = SOURCES[name].expects
    print(f"{name}: {len(rows):,} pictures" + (f" of {expected:,} expected" if expected else "") + f" in {src}")
    print(summarize_splits(rows))
    for split in (split for split in SPLITS if split not in {row["split"] for row in rows}):
        print(f"note: nobody is in {split!r}, without which there is no training; see --test-share")
    for label, number in report["skipped"].items():
        print(f"skipped: {number:,} labelled {label!r}, which is none of the expressions")
    if not config.allow_incomplete:
        raise_problems(
            f"{src} is incomplete", report["missing"], "Add what is missing, or go on without it by --allow-incomplete"
        )
    for line in report["missing"][:MAX_LISTED]:
        print(f"missing: {line}")
    if (rest := len(report["missing"]) - MAX_LISTED) > 0:
        print(f"missing: {rest:,} more, in {REPORT_NAME}")
    if not config.dry_run:
        _write_folder(target, rows, [_Crop(folder, photo, target / row["file_name"], config)
                                     for row, photo in zip(rows, photos, strict=True)], report, config)  # fmt: skip


def _read_source(name: str, src: Path, config: PrepareConfig) -> tuple[list[dict[str, str]], list[str], dict[str, Any]]:
    """Returns the rows of metadata.csv, the path below `src` of each one's photo, and the first entries of the report."""
    entries = list(SOURCES[name].read(src, Path(config.labels) if config.labels else None))
    if not config.follow_links:
        names = {entry: entry.path.relative_to(src).as_posix() for entry in entries if isinstance(entry, LabelledPhoto)}
        outside = find_path_problems(names.values(), src)
        entries = [entry for entry in entries if names.get(entry) not in outside]
        entries += [MissingPhotos(f"{name!r} {problem}; --follow-links reads it") for name, problem in outside.items()]
    labelled, skipped = [], Counter()
    for photo in (entry for entry in entries if isinstance(entry, LabelledPhoto)):
        try:
            labelled.append((photo, canonical(photo.expression)))
        except ValueError:
            skipped[photo.expression or "no label"] += 1
    if not labelled:
        found = f"; the labels found are {', '.join(map(repr, sorted(skipped)[:MAX_LISTED]))}" if skipped else ""
        raise DataError(f"{src} holds no labelled photos in the form of {name}: {SOURCES[name].help}{found}")
    photos = [photo for photo, _ in labelled]
    split_of = _splits(src, photos, config.test_share)
    rows = [
        {
            "file_name": f"{CROPS}/{photo.path.relative_to(src).as_posix()}.png",
            "subject": (person := _person(src, photo)),
            "expression": expression,
            "intensity": "" if photo.intensity is None else str(photo.intensity),
            "split": photo.split or split_of[person],
            "fold": "" if photo.fold is None else str(photo.fold),
        }
        for photo, expression in labelled
    ]
    for column in ("intensity", "fold"):
        if not any(row[column] for row in rows):
            rows = [{key: value for key, value in row.items() if key != column} for row in rows]
    raise_problems(f"the labels of {src}", find_row_problems(rows), "Mend them and start again")
    report = {
        "source": name,
        "found": len(rows),
        "expected": SOURCES[name].expects,
        "missing": [entry.text for entry in entries if isinstance(entry, MissingPhotos)],
        "skipped": dict(sorted(skipped.items())),
    }
    return rows, [photo.path.relative_to(src).as_posix() for photo in photos], report


def _person(src: Path, photo: LabelledPhoto) -> str:
    """Returns the subject's name; a photo of an unknown person is a person of its own, named by its path."""
    return photo.subject or photo.path.relative_to(src).as_posix()


def _splits(src: Path, photos: list[LabelledPhoto], test_share: float) -> dict[str, str]:
    """Returns person -> split: that of any of their photos which the source states, else by a hash of the name."""
    known = {_person(src, photo): photo.split for photo in photos if photo.split}
    return split_people((_person(src, photo) for photo in photos), known, test_share)


@writes_folder(lambda out, *_: out)
def _write_folder(
    out: Path, rows: list[dict[str, str]], crops: list["_Crop"], report: dict[str, Any], config: PrepareConfig
) -> None:
    """Writes crops, report, pack, table: in this order, so that a folder with a table is complete."""
    written, eye_distances = [], []
    left_out: dict[str, Any] = defaultdict(list)
    (out / METADATA_NAME).unlink(missing_ok=True)  # of an earlier run: it is written again once all crops match it
    workers = config.workers or min(default_workers(), len(crops) // PHOTOS_PER_WORKER)
    made = {}
    results = (map_on_cluster(_make_crop, crops, _report_death) if config.engine == "ray"
               else map_items(_make_crop, crops, min(workers, len(crops)), _report_death))  # fmt: skip
    with closing(results):
        for path, outcome in tqdm(results, total=len(crops), desc="crops", unit="photo"):
            made[path] = outcome
    num_reused = sum(outcome.reused for outcome in made.values())
    for row in rows:
        outcome, name = made[out / row["file_name"]], row["file_name"].removeprefix(f"{CROPS}/").removesuffix(".png")
        info = outcome.info
        if outcome.problem:
            left_out["unreadable"].append(f"{name}: {outcome.problem}")
            continue
        if info is None:
            left_out["no_face"].append(name)
            continue
        if info["faces"] > 1:
            left_out["several_faces"].append(name)
        eye_distances.append(info["eye_distance_px"])
        written.append(row)
    if not written:
        raise DataError(f"no face was found in any of the {len(rows):,} photos; see whether they show faces, upright")
    report |= {"align": config.align, "image_size": config.image_size, "written": len(written)}
    report |= {key: left_out[key] for key in ("no_face", "unreadable", "several_faces")}
    spread = (min(eye_distances), statistics.median(eye_distances), max(eye_distances))
    report["eye_distance_px"] = dict(zip(("min", "median", "max"), (round(value, 1) for value in spread), strict=True))
    delete_partial_files(out)
    write_json(out / REPORT_NAME, report)
    pack_if_large(out, [row["file_name"] for row in written], config.image_size)
    write_metadata(out, written)
    listed = {out / row["file_name"] for row in written}
    if stray := sum(path not in listed for path in (out / CROPS).rglob("*.png")):
        print(f"note: {stray:,} more pictures in {out / CROPS} are of an earlier run, and in no row of {METADATA_NAME}")
    print(f"{out}: {len(written):,} crops of {config.image_size} px, {num_reused:,} of them from before")
    print(summarize_splits(written))
    notes = {"no_face": "without a face", "unreadable": "unreadable", "several_faces": "with several faces"}
    for key, words in notes.items():
        if names := report[key]:
            print(f"{words}: {len(names):,} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}); see {REPORT_NAME}")


@dataclass(frozen=True)
class _Crop:
    """A crop to make of a photo in a folder, which may be at a URL, in any process."""

    folder: str
    photo: str
    path: Path
    config: PrepareConfig


@dataclass(frozen=True)
class _Outcome:
    """How a crop was made, None if the photo has no face; or why it could not be; and whether it was there before."""

    info: dict[str, Any] | None = None
    problem: str = ""
    reused: bool = False


def _make_crop(crop: _Crop) -> tuple[Path, _Outcome]:
    if info := _read_crop_info(crop.path, crop.config):
        return crop.path, _Outcome(info, reused=True)
    try:
        with local_copy(crop.folder, crop.photo) as folder:
            return crop.path, _Outcome(_crop(Path(folder, crop.photo), crop.path, crop.config))
    except BadImageError as error:
        return crop.path, _Outcome(problem=str(error))


def _report_death(crop: _Crop, how: str) -> tuple[Path, _Outcome]:
    return crop.path, _Outcome(problem=f"the process that read it died ({how}); is it very large, or memory short?")


def _crop(photo_path: Path, path: Path, config: PrepareConfig) -> dict[str, Any] | None:
    """Writes the crop of a photo's widest face and returns how it was made; None if there is no face.

    Raises:
        BadImageError: the file is no photo.
    """
    photo = load_photo(photo_path)
    faces = find_faces(photo)
    if not faces:
        return None
    face = choose_face(faces)
    matrix = ALIGNMENTS[config.align](face.landmarks, config.image_size)
    crop = crop_face(photo, matrix, config.image_size)
    info = {"align": config.align, "faces": len(faces), "eye_distance_px": _eye_distance(face)}
    text = PngImagePlugin.PngInfo()
    text.add_text(_CROP_INFO, json.dumps(info))
    with durable_write(path) as part:
        crop.save(part, format="PNG", pnginfo=text)
    return info


def _read_crop_info(path: Path, config: PrepareConfig) -> dict[str, Any] | None:
    """Returns how an existing crop was made; None if there is none, or if it was made with other settings."""
    try:
        with Image.open(path) as image:
            info = json.loads(image.info[_CROP_INFO])
            size = image.size
    except (OSError, SyntaxError, ValueError, KeyError):
        return None
    return info if info["align"] == config.align and size == (config.image_size,) * 2 else None


def _eye_distance(face: Face) -> float:
    """Returns the distance in photo px. Below 0.31 of the crop's side, the crop is an enlargement."""
    (x0, y0), (x1, y1) = face.landmarks[:2]
    return round(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 2)
