"""Sources of labelled photos: one function per data set, registered in `SOURCES`. A new source is added only here.

A source yields a `LabelledPhoto` for every photo whose label it knows, in a fixed order, and a `MissingPhotos` for
everything that should be there and is not. The photos of all sources are processed in the same way (see `prepare`).
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from exprgan.folder_paths import stays_inside

from ..core.train_errors import DataError
from .metadata import read_table


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo and its labels.

    Attributes:
        path: the photo's file, below the source's folder.
        subject: the person's name within the source; if empty, the person is unknown and counts as one of their own.
        expression: the source's label; photos whose label is neither an expression nor an alias are skipped and counted.
        intensity: 0..1, None where unknown.
        split: "train" or "test", None to let a hash of the name decide.
        fold: 0, 1, ..., None where the source has no folds.
    """

    path: Path
    subject: str
    expression: str
    intensity: float | str | None = None
    split: str | None = None
    fold: int | str | None = None


@dataclass(frozen=True)
class MissingPhotos:
    """Photos that should be there and are not, or cannot be used, in a sentence."""

    text: str


Entries = Iterator[LabelledPhoto | MissingPhotos]
ReadSource = Callable[[Path, Path | None], Entries]
"""Takes an absolute folder, and a table of labels or None."""


@dataclass(frozen=True)
class PhotoSource:
    """A registered function, the number of photos it should find (None: any), and a line of help."""

    read: ReadSource
    expects: int | None
    help: str


SOURCES: dict[str, PhotoSource] = {}


def register_source(name: str, *, expects: int | None = None) -> Callable[[ReadSource], ReadSource]:
    """Registers a function as a source of photos; the first line of its docstring becomes the help text."""

    def register(read: ReadSource) -> ReadSource:
        SOURCES[name] = PhotoSource(read, expects, (read.__doc__ or "").partition("\n")[0])
        return read

    return register


PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
LAST_FRAMES = 3
"""Number of frames at the end of a sequence, from neutral to the peak, that show the expression (paper: the last three)."""

OULU_PEOPLE, OULU_TRAIN, OULU_FOLD = 80, 72, 8
"""80 people; the authors train on P001-P072 and test on P073-P080; ten folds of eight people in order."""

OULU_EMOTIONS = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")


@register_source("oulu", expects=OULU_PEOPLE * len(OULU_EMOTIONS) * LAST_FRAMES)
def oulu(src: Path, labels: Path | None) -> Entries:
    """Oulu-CASIA: .../VL/Strong/P001/Anger/000.jpeg, the last three frames of every sequence.

    `split` is the authors'. `fold` counts tenths of the people in order: fold 9 is the authors' test set.
    """
    roots = sorted(folder for folder, _ in _walk(src) if [part.lower() for part in folder.parts[-2:]] == ["vl", "strong"])
    if not roots:
        raise DataError(
            f"{src} holds no folder VL/Strong, where Oulu-CASIA keeps the photos of the visible-light camera under strong "
            "light; unpack OriginalImg, or name the folder above VL"
        )
    if len(roots) > 1:
        names = ", ".join(map(str, roots))
        raise DataError(f"{src} holds {len(roots)} folders VL/Strong: {names}; name the one to use")
    people = {int(m[1]): path for path in _folders(roots[0]) if (m := re.fullmatch(r"[Pp](\d{3})", path.name))}
    if missing := sorted(set(range(1, OULU_PEOPLE + 1)) - set(people)):
        yield MissingPhotos(f"{len(missing)} of {OULU_PEOPLE} people are missing: {_ranges(missing)}")
    if extra := sorted(set(people) - set(range(1, OULU_PEOPLE + 1))):
        yield MissingPhotos(f"{_ranges(extra)} are none of the {OULU_PEOPLE} people and are left out")
    for number in sorted(set(people) - set(extra)):
        emotions = {path.name.lower(): path for path in _folders(people[number])}
        for emotion in OULU_EMOTIONS:
            folder = emotions.get(emotion.lower())
            files = folder.iterdir() if folder else ()
            frames = [path for path in files if path.stem.isdecimal() and path.suffix.lower() in PHOTO_SUFFIXES]
            frames.sort(key=lambda path: (int(path.stem), path.name))
            if len(frames) < LAST_FRAMES:
                state = f"has {len(frames)} of at least {LAST_FRAMES} frames" if folder else "is missing"
                yield MissingPhotos(f"sequence P{number:03d}/{emotion} {state}")
            split, fold = "train" if number <= OULU_TRAIN else "test", (number - 1) // OULU_FOLD
            for path in frames[-LAST_FRAMES:]:
                yield LabelledPhoto(path, f"P{number:03d}", emotion, None, split, fold)


@register_source("folder")
def folder(src: Path, labels: Path | None) -> Entries:
    """Your own photos: SRC/happy/x.jpg, SRC/PERSON/happy/x.jpg, or any folder with --labels (file_name, expression)."""
    if labels:
        yield from _read_labels(src, labels, "file_name", str)
        return
    for path in _photos_below(src):
        *parents, label = path.relative_to(src).parts[:-1] or ("",)
        split = _SPLIT_FOLDERS.get(parents[0].lower()) if parents else None
        person = parents[1:] if split else parents  # train/ and test/ are splits, not people
        yield LabelledPhoto(path, "/".join(person), label, None, split)


@register_source("kdef")
def kdef(src: Path, labels: Path | None) -> Entries:
    """KDEF: AF01/AF01AFS.JPG, pictures from the front (S); both sessions of a person count as one person."""
    for path in _photos_below(src):
        if m := re.fullmatch(r"[AB]([FM]\d\d)(AF|AN|DI|HA|NE|SA|SU)S", path.stem.upper()):
            yield LabelledPhoto(path, m[1], _KDEF[m[2]])


@register_source("rafd")
def rafd(src: Path, labels: Path | None) -> Entries:
    """RaFD: Rafd090_01_Caucasian_female_angry_frontal.jpg, the camera in front (090), eyes to the camera (frontal)."""
    for path in _photos_below(src):
        if m := re.fullmatch(r"rafd090_(\d+)_.+_([a-z]+)_frontal", path.stem.lower()):
            yield LabelledPhoto(path, m[1], m[2])


@register_source("ckplus")
def ckplus(src: Path, labels: Path | None) -> Entries:
    """CK+: cohn-kanade-images and Emotion; the first frame of a labelled sequence is neutral, the last three show it."""
    sequences, numbers = defaultdict(list), {}
    for folder, files in _walk(src):
        for file in files:
            if m := re.fullmatch(r"(S\d+)_(\d+)_(\d+)(\.png|_emotion\.txt)", file):
                if m[4] == ".png":
                    sequences[m[1], m[2]].append((int(m[3]), folder / file))
                else:
                    numbers[m[1], m[2]] = folder / file
    if not numbers:
        raise DataError(f"{src} holds no file like Emotion/S005/001/S005_001_00000011_emotion.txt; unpack Emotion_labels")
    for (person, sequence), path in sorted(numbers.items()):
        frames = [path for _, path in sorted(sequences[person, sequence])]
        if len(frames) <= LAST_FRAMES:
            yield MissingPhotos(
                f"sequence {person}/{sequence} has a label, but {len(frames)} of at least {LAST_FRAMES + 1} frames"
            )
        label = _label_by_number(path.read_text(encoding="utf-8", errors="replace"), _CKPLUS, path)
        if frames[:-LAST_FRAMES]:
            yield LabelledPhoto(frames[0], person, "neutral")
        yield from (LabelledPhoto(frame, person, label) for frame in frames[-LAST_FRAMES:])


@register_source("affectnet")
def affectnet(src: Path, labels: Path | None) -> Entries:
    """AffectNet: train_set/images with annotations/*_exp.npy, folders 0..7, or its table by --labels training.csv."""
    if labels:
        yield from _read_labels(
            src, labels, "subDirectory_filePath", lambda text: _label_by_number(text, _AFFECTNET, labels)
        )
        return
    for path in _photos_below(src):
        parts = path.relative_to(src).parts
        split = next((name for part in parts[:-1] if (name := _SPLIT_FOLDERS.get(part.lower()))), None)
        if path.parent.name == "images":
            annotation = path.parent.with_name("annotations") / f"{path.stem}_exp.npy"
            if not annotation.is_file():
                yield MissingPhotos(f"{path.relative_to(src)} has no annotations/{annotation.name}")
                continue
            try:
                number = str(np.load(annotation, allow_pickle=False))
            except (EOFError, ValueError, BadZipFile) as error:
                raise DataError(f"{annotation} is damaged ({error}); unpack it again") from error
            label = _label_by_number(number, _AFFECTNET, annotation)
            yield LabelledPhoto(path, "", label, None, split)
        elif path.parent.name.isdecimal():
            yield LabelledPhoto(path, "", _label_by_number(path.parent.name, _AFFECTNET, path.parent), None, split)


_SPLIT_FOLDERS = {
    "train": "train", "training": "train", "train_set": "train",
    "test": "test", "val": "test", "valid": "test", "validation": "test", "val_set": "test", "test_set": "test",
}  # fmt: skip
_KDEF = {"AF": "fear", "AN": "angry", "DI": "disgust", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise"}
_CKPLUS = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
_AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt",
              "none of these", "uncertain", "no face")  # fmt: skip


def _label_by_number(text: str, names: tuple[str, ...], file: Path) -> str:
    """Looks up the label of a number that may be written as 3, 3.0 or 3.0000000e+00."""
    try:
        value = float(text)
        if value == int(value) and 0 <= value < len(names):
            return names[int(value)]
    except (ValueError, OverflowError):
        pass
    raise DataError(f"{file} holds {text.strip()!r}, which is no label from 0 to {len(names) - 1}")


def _read_labels(src: Path, labels: Path, file_column: str, to_label: Callable[[str], str]) -> Entries:
    """Yields the rows of a CSV file whose paths start at `src`."""
    for row in read_table(labels, (file_column, "expression")):
        path = src / row[file_column]
        if stays_inside(row[file_column]) and path.is_file():
            optional = (row.get(column) or None for column in ("intensity", "split", "fold"))
            yield LabelledPhoto(path, row.get("subject") or "", to_label(row["expression"]), *optional)
        else:
            yield MissingPhotos(f"{labels.name} lists {row[file_column]!r}, which is no file below {src}")


def _walk(src: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yields every folder from `src` down with the names of its files, sorted. Links are followed, no folder twice."""
    visited = set()
    for name, folders, files in os.walk(src, followlinks=True):
        if (real := os.path.realpath(name)) in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        yield Path(name), sorted(file for file in files if not file.startswith("."))  # ._x.jpg is no photo


def _photos_below(src: Path) -> Iterator[Path]:
    return (folder / file for folder, files in _walk(src) for file in files if file.lower().endswith(PHOTO_SUFFIXES))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _ranges(numbers: list[int]) -> str:
    """Formats [1, 2, 3, 7] as P001-P003, P007."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"P{run[0]:03d}" + (f"-P{run[-1]:03d}" if len(run) > 1 else "") for run in runs)
