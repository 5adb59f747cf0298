"""Makes a tree with Oulu-CASIA's layout and file names, from the faces in tests/data: the set itself may not be shipped.

Frames are 320 x 240 JPEG as in the set. Each distinct frame is one file on disk; all others are hard links to it.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

FACES = Path(__file__).parent / "data" / "faces"
EMOTIONS = {
    "Anger": "angry",
    "Disgust": "disgust",
    "Fear": "fear",
    "Happiness": "happy",
    "Sadness": "sad",
    "Surprise": "surprise",
}
PEOPLE = range(1, 81)
FACE_PX = 150
DECOYS = ("NI/Strong", "NI/Weak", "NI/Dark", "VL/Weak", "VL/Dark")
"""Folders of the other cameras and lights; only VL/Strong is read."""


def make_oulu(root: Path, people: Iterable[int] = PEOPLE, decoys: Iterable[str] = DECOYS) -> Path:
    """Writes root/OriginalImg/{VL,NI}/{Strong,Weak,Dark}/P001/Anger/000.jpeg ... and returns `root`.

    Sequences go from neutral to the expression and have 9 to 13 frames, of which the last four show it; those of the
    decoys have four frames.
    """
    frames = _frames(root / "OriginalImg" / ".frames")
    for camera, number in ((camera, number) for camera in ("VL/Strong", *decoys) for number in people):
        person = frames[number % len(frames)]
        for order, (emotion, label) in enumerate(EMOTIONS.items()):
            folder = root / "OriginalImg" / camera / f"P{number:03d}" / emotion
            folder.mkdir(parents=True)
            length = 9 + (number + order) % 5 if camera == "VL/Strong" else 4
            for frame in range(length):
                os.link(person[label if frame >= length - 4 else "neutral"], folder / f"{frame:03d}.jpeg")
    return root


def frame(face: Path, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Returns a frame with the face, 46 px from eye to eye; the crop's edges are repeated around it."""
    with Image.open(face) as image:
        crop = image.resize((FACE_PX, FACE_PX), Image.Resampling.LANCZOS)
    margins = [((side - FACE_PX) // 2, (side - FACE_PX + 1) // 2) for side in reversed(size)]
    return Image.fromarray(np.pad(crop, (*margins, (0, 0)), mode="edge"))


def _frames(folder: Path) -> list[dict[str, Path]]:
    """Writes one frame per expression of each person in tests/data/faces; returns label -> file of each person."""
    folder.mkdir(parents=True)
    people = []
    for person in sorted(path for path in FACES.glob("*/*") if path.is_dir()):
        people.append({})
        for face in sorted(person.glob("*.jpg")):
            people[-1][face.name.partition("_")[0]] = path = folder / f"{person.name}-{face.stem}.jpeg"
            frame(face).save(path, quality=95)
    return people
