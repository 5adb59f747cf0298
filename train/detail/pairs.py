"""Pairs for T: two pictures of one person in one frame, what moved between them, and what is new in the second.

The folder comes from `render --no-jitter --no-smiles --flow --frame 1.1852 --image-size 304`: every picture over T's frame,
metadata.csv, and beside each rendered picture a .npz with its flow.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from exprgan.expressions import NEUTRAL, canonical

from ..data.metadata import DataError, read_metadata, refuse
from ..data.validate import open_picture
from .codes import Label

NEUTRAL_SOURCE = 0.65
"""Share of pairs that start from the neutral picture, whose flow is known."""
UNCHANGED = 0.12
"""Share of pairs that end in the picture they start from: who laughs already is to be left alone by more of it."""
TO_NEUTRAL = 0.05
"""Share of pairs that end in it."""


@dataclass(frozen=True)
class Person:
    """All pictures of one person; the first is the neutral photo.

    Attributes:
        images: (N, S, S, 3) uint8.
        flow: (N, S', S', 2) float16, sides of the frame, x first: where in the neutral picture a pixel came from.
        invented: (N, S', S') uint8, 255 where no pixel of the neutral picture explains it.
        labels: what each shows.
    """

    images: Tensor
    flow: Tensor
    invented: Tensor
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class Pairs:
    """A batch before augmentation: sources and targets (B, S, S, 3) uint8, flow, invented and labels of the targets."""

    source: Tensor
    target: Tensor
    flow: Tensor
    invented: Tensor
    known: Tensor
    """(B,) bool: the source is the neutral picture or the target itself, so `flow` holds."""
    labels: tuple[Label, ...]


def load_people(root: str | Path, split: str, expressions: tuple[str, ...]) -> list[Person]:
    """Everyone of a split who has a neutral picture and another.

    Raises:
        DataError: the folder is no such folder, or has nobody to learn from; the message says what is wrong.
    """
    root = Path(root)
    rows: dict[str, list[dict[str, str]]] = {}
    for row in read_metadata(root):
        if row["split"] == split:
            rows.setdefault(row["subject"], []).append(row)
    people, found = [], []
    for subject in tqdm(sorted(rows), desc="pairs"):
        ordered = sorted(rows[subject], key=lambda row: not _starts(row))
        if not _starts(ordered[0]) or len(ordered) < 2:
            continue
        try:
            people.append(_person(root, ordered, expressions))
        except (DataError, OSError, ValueError, KeyError) as error:
            found.append(f"{subject}: {error}")
    refuse(root, found, "render it again with --no-jitter --no-smiles --flow")
    if not people:
        raise DataError(f"{root} has nobody with a neutral photo and another picture in split {split!r}")
    return people


def draw_pairs(people: list[Person], count: int, chance: torch.Generator) -> Pairs:
    """`count` pairs, people alike often."""

    def below(end: int) -> int:
        return int(torch.randint(end, (), generator=chance))

    def happens(share: float) -> bool:
        return torch.rand((), generator=chance).item() < share

    chosen = []
    for _ in range(count):
        person = people[below(len(people))]
        target = 0 if happens(TO_NEUTRAL) else below(len(person.labels))
        source = 0 if happens(NEUTRAL_SOURCE) else below(len(person.labels))
        source = target if happens(UNCHANGED) else source
        chosen.append((person, source, target))
    return Pairs(
        source=torch.stack([person.images[source] for person, source, _ in chosen]),
        target=torch.stack([person.images[target] for person, _, target in chosen]),
        flow=torch.stack([person.flow[target] * (source != target) for person, source, target in chosen]),
        invented=torch.stack([person.invented[target] * (source != target) for person, source, target in chosen]),
        known=torch.tensor([source in (0, target) for _, source, target in chosen]),
        labels=tuple(person.labels[target] for person, _, target in chosen),
    )


def _starts(row: dict[str, str]) -> bool:
    """Whether it is the neutral picture that the others were made from."""
    return row["expression"] == NEUTRAL and row.get("style") in ("real", "virtual")


def _person(root: Path, rows: list[dict[str, str]], expressions: tuple[str, ...]) -> Person:
    images = np.stack([np.asarray(open_picture(root / row["file_name"])) for row in rows])
    flows, invented = [], []
    for row in rows:
        file = root / f"{row['file_name']}.npz"
        if _starts(row) and not file.is_file():  # nothing moved in it
            flows.append(np.zeros((images.shape[1] // 2, images.shape[2] // 2, 2), np.float16))
            invented.append(np.zeros(flows[-1].shape[:2], np.uint8))
            continue
        with np.load(file) as made:
            side = made["flow"].shape[0]
            flows.append((_halved(made["flow"].astype(np.float32)) / side).astype(np.float16))
            invented.append(_halved(made["invented"].astype(np.float32)).astype(np.uint8))
    labels = [
        Label(canonical(r["expression"], expressions), r.get("style", ""), float(r.get("intensity") or 1)) for r in rows
    ]
    kinds = (torch.from_numpy(np.stack(part)) for part in (images, flows, invented))
    return Person(*kinds, tuple(labels))


def _halved(field: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels: T finds flow at half the side of what it sees."""
    even = field[: len(field) // 2 * 2, : field.shape[1] // 2 * 2]
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
