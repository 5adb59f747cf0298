"""Where labelled photos come from: one function a data set, filed in `SOURCES`. A new source is added here alone.

A source yields a `LabelledPhoto` for every photo it knows a label for, in a fixed order, and a `MissingPhotos` for everything that should be
there and is not. What happens to the photos is the same for all (see `prepare`).
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .metadata import DataError, read_table


@dataclass(frozen=True)
class LabelledPhoto:
    """A labelled photo.

    Attributes:
        path: the photo's file, below the source's folder.
        subject: the person's name within the source; empty where unknown, and then the photo is its own person.
        expression: the source's word for it; photos whose word is neither of ours nor an alias are skipped and counted.
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
    """Something that should be there and is not, or cannot be used: a sentence."""

    text: str


Source = Callable[[Path, Path | None], Iterator[LabelledPhoto | MissingPhotos]]


@dataclass(frozen=True)
class _Filed:
    read: Source
    expects: int | None
    help: str


SOURCES: dict[str, _Filed] = {}
"""name -> its function, which takes an absolute folder and a table of labels or None; how many photos it should find; a
line of help."""


def register_source(name: str, *, expects: int | None = None) -> Callable[[Source], Source]:
    """Files a function in `SOURCES`, with the first line of its docstring as help."""

    def file(read: Source) -> Source:
        SOURCES[name] = _Filed(read, expects, (read.__doc__ or "").partition("\n")[0])
        return read

    return file


PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
LAST_FRAMES = 3
"""Of a sequence from neutral to the peak, these are taken as showing the expression (paper: the last three)."""

OULU_PEOPLE, OULU_TRAIN, OULU_FOLD = 80, 72, 8
"""80 people; the authors train on P001-P072 and test on P073-P080; ten folds of eight people in order."""

OULU_EMOTIONS = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")


@register_source("oulu", expects=OULU_PEOPLE * len(OULU_EMOTIONS) * LAST_FRAMES)
def oulu(src: Path, labels: Path | None) -> Iterator[LabelledPhoto | MissingPhotos]:
    """Oulu-CASIA: .../VL/Strong/P001/Anger/000.jpeg, the last three frames of every sequence.

    `split` is the authors' and `fold` is the tenth of the people, in order: fold 9 is the authors' test set.
    """
    found = sorted(folder for folder, _ in _walk(src) if [p.lower() for p in folder.parts[-2:]] == ["vl", "strong"])
    if not found:
        raise DataError(
            f"{src} holds no folder VL/Strong, where Oulu-CASIA keeps the photos of the visible-light camera under strong "
            "light; unpack OriginalImg, or name the folder above VL"
        )
    if len(found) > 1:
        names = ", ".join(map(str, found))
        raise DataError(f"{src} holds {len(found)} folders VL/Strong: {names}; name the one to use")
    people = {int(m[1]): path for path in _folders(found[0]) if (m := re.fullmatch(r"[Pp](\d{3})", path.name))}
    if absent := sorted(set(range(1, OULU_PEOPLE + 1)) - set(people)):
        yield MissingPhotos(f"{len(absent)} of {OULU_PEOPLE} people are missing: {_ranges(absent)}")
    if strange := sorted(set(people) - set(range(1, OULU_PEOPLE + 1))):
        yield MissingPhotos(f"{_ranges(strange)} are none of the {OULU_PEOPLE} people and are left out")
    for number in sorted(set(people) - set(strange)):
        emotions = {path.name.lower(): path for path in _folders(people[number])}
        for emotion in OULU_EMOTIONS:
            place = f"P{number:03d}/{emotion}"
            folder = emotions.get(emotion.lower())
            frames = _photos(folder) if folder else []
            frames = sorted(
                (path for path in frames if path.stem.isdecimal()), key=lambda path: (int(path.stem), path.name)
            )
            if len(frames) < LAST_FRAMES:
                there = f"has {len(frames)} of at least {LAST_FRAMES} frames" if folder else "is missing"
                yield MissingPhotos(f"sequence {place} {there}")
            for path in frames[-LAST_FRAMES:]:
                split, fold = "train" if number <= OULU_TRAIN else "test", (number - 1) // OULU_FOLD
                yield LabelledPhoto(path, f"P{number:03d}", emotion, None, split, fold)


@register_source("folder")
def folder(src: Path, labels: Path | None) -> Iterator[LabelledPhoto | MissingPhotos]:
    """Your own photos: SRC/happy/x.jpg, SRC/PERSON/happy/x.jpg, or any folder with --labels (file_name, expression)."""
    if labels:
        yield from _table(src, labels, "file_name", str)
        return
    for path in _photos_below(src):
        *above, label = path.relative_to(src).parts[:-1] or ("",)
        split = _SPLIT_FOLDERS.get(above[0].lower()) if above else None
        person = above[1:] if split else above  # train/ and test/ are splits, not people
        yield LabelledPhoto(path, "/".join(person), label, None, split)


@register_source("kdef")
def kdef(src: Path, labels: Path | None) -> Iterator[LabelledPhoto | MissingPhotos]:
    """KDEF: AF01/AF01AFS.JPG, pictures from the front (S); both sessions of a person count as one person."""
    for path in _photos_below(src):
        if m := re.fullmatch(r"[AB]([FM]\d\d)(AF|AN|DI|HA|NE|SA|SU)S", path.stem.upper()):
            yield LabelledPhoto(path, m[1], _KDEF[m[2]])


@register_source("rafd")
def rafd(src: Path, labels: Path | None) -> Iterator[LabelledPhoto | MissingPhotos]:
    """RaFD: Rafd090_01_Caucasian_female_angry_frontal.jpg, the camera in front (090), eyes to the camera (frontal)."""
    for path in _photos_below(src):
        if m := re.fullmatch(r"rafd090_(\d+)_.+_([a-z]+)_frontal", path.stem.lower()):
            yield LabelledPhoto(path, m[1], m[2])


@register_source("ckplus")
def ckplus(src: Path, labels: Path | None) -> Iterator[LabelledPhoto | MissingPhotos]:
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
        label = _number(path.read_text(encoding="utf-8", errors="replace"), _CKPLUS, path)
        if frames[:-LAST_FRAMES]:
            yield LabelledPhoto(frames[0], person, "neutral")
        yield from (LabelledPhoto(frame, person, label) for frame in frames[-LAST_FRAMES:])


@register_source("affectnet")
def affectnet(src: Path, labels: Path | None) -> Iterator[LabelledPhoto | MissingPhotos]:
    """AffectNet: train_set/images with annotations/*_exp.npy, folders 0..7, or its table by --labels training.csv."""
    if labels:
        yield from _table(src, labels, "subDirectory_filePath", lambda text: _number(text, _AFFECTNET, labels))
        return
    for path in _photos_below(src):
        parts = path.relative_to(src).parts
        split = next((name for part in parts[:-1] if (name := _SPLIT_FOLDERS.get(part.lower()))), None)
        if path.parent.name == "images":
            note = path.parent.with_name("annotations") / f"{path.stem}_exp.npy"
            if not note.is_file():
                yield MissingPhotos(f"{path.relative_to(src)} has no annotations/{note.name}")
                continue
            yield LabelledPhoto(path, "", _number(str(np.load(note, allow_pickle=False)), _AFFECTNET, note), None, split)
        elif path.parent.name.isdecimal():
            yield LabelledPhoto(path, "", _number(path.parent.name, _AFFECTNET, path.parent), None, split)


_SPLIT_FOLDERS = {
    "train": "train", "training": "train", "train_set": "train",
    "test": "test", "val": "test", "valid": "test", "validation": "test", "val_set": "test", "test_set": "test",
}  # fmt: skip
_KDEF = {"AF": "fear", "AN": "angry", "DI": "disgust", "HA": "happy", "NE": "neutral", "SA": "sad", "SU": "surprise"}
_CKPLUS = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
_AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt",
              "none of these", "uncertain", "no face")  # fmt: skip


def _number(text: str, names: tuple[str, ...], place: Path) -> str:
    """The label behind a number that may be written as 3, 3.0 or 3.0000000e+00."""
    try:
        value = float(text)
        if value == int(value) and 0 <= value < len(names):
            return names[int(value)]
    except (ValueError, OverflowError):
        pass
    raise DataError(f"{place} holds {text.strip()!r}, which is no label from 0 to {len(names) - 1}")


def _table(
    src: Path, labels: Path, file_column: str, label: Callable[[str], str]
) -> Iterator[LabelledPhoto | MissingPhotos]:
    """The rows of a CSV file whose paths start at `src`."""
    for row in read_table(labels, (file_column, "expression")):
        path = src / row[file_column]
        if path.resolve().is_relative_to(src.resolve()) and path.is_file():
            more = (row.get(column) or None for column in ("intensity", "split", "fold"))
            yield LabelledPhoto(path, row.get("subject") or "", label(row["expression"]), *more)
        else:
            yield MissingPhotos(f"{labels.name} lists {row[file_column]!r}, which is no file below {src}")


def _walk(src: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder from `src` down with the names of its files, sorted; links are followed, but no folder twice."""
    seen = set()
    for name, folders, files in os.walk(src, followlinks=True):
        if (real := os.path.realpath(name)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        yield Path(name), sorted(file for file in files if not file.startswith("."))  # ._x.jpg is no photo


def _photos_below(src: Path) -> Iterator[Path]:
    return (folder / file for folder, files in _walk(src) for file in files if file.lower().endswith(PHOTO_SUFFIXES))


def _photos(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.lower().endswith(PHOTO_SUFFIXES) and path.name[0] != "."]


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _ranges(numbers: list[int]) -> str:
    """[1, 2, 3, 7] -> P001-P003, P007."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"P{run[0]:03d}" + (f"-P{run[-1]:03d}" if len(run) > 1 else "") for run in runs)
