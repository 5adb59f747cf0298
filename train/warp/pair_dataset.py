"""Pairs for T: two pictures of one person in one frame, what moved between them, and what is new in the second.

The folder comes from `render --no-jitter --flow --frame 1.1852 --image-size 304 --weakest 0.05`: every picture over T's
frame, metadata.csv, and beside each picture that was made of a neutral one a .npz with its flow. Others, such as a photo of
a smile, have a frame of their own and are passed over.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from exprgan.expressions import NEUTRAL, canonical

from ..data.metadata import DataError, read_metadata, raise_listing
from ..data.validation import open_picture
from .flow_composition import inverse, through_neutral
from .style_codes import Label

NEUTRAL_SOURCE = 0.5
"""Share of pairs that start from the neutral picture."""
SMILING = 0.15
"""Share of pairs that start from a real smile: its teeth are none of `exprgan.models.teeth_texture`."""
UNCHANGED = 0.1
"""Share of pairs that end in the picture they start from: who laughs already is to be left alone by more of it."""
TO_NEUTRAL = 0.15
"""Share of pairs that end in the neutral picture."""
ONLY_SOURCE = "morph"
"""The style of steps to a real smile, where the head moved too, and no code says how: pairs start there, but never end."""


@dataclass(frozen=True)
class Person:
    """All pictures of one person; the first is the neutral photo. Fields as in `fields`, at half the pictures' side, but
    for what is new, whose corners are thinner than that.

    Attributes:
        images: (N, S, S, 3) uint8.
        flow: (N, S', S', 2) float16: where in the neutral picture a pixel came from.
        invented: (N, S, S) uint8, 255 where no pixel of the neutral picture explains it.
        back: (N, S', S', 2) float16: where a pixel of the neutral picture went.
        hidden: (N, S', S') uint8, 255 where it is not to be seen.
        places: (N, S', S', 4) float16, cm: where on both rows of teeth a pixel lies, 0 where that is not known.
        known: (N, S', S', 2) uint8, 255 where it is.
        labels: what each shows.
    """

    images: Tensor
    flow: Tensor
    invented: Tensor
    back: Tensor
    hidden: Tensor
    places: Tensor
    known: Tensor
    labels: tuple[Label, ...]

    def to(self, device: torch.device) -> "Person":
        """The same on another device; 26 MB at 304 px and 33 pictures."""
        moved = {name: part.to(device) for name, part in vars(self).items() if isinstance(part, Tensor)}
        return dataclasses.replace(self, **moved)

    @cached_property
    def smiles(self) -> list[int]:
        """Which are steps to a real smile."""
        return [i for i, label in enumerate(self.labels) if label.style == ONLY_SOURCE]


@dataclass(frozen=True)
class Pairs:
    """A batch before augmentation. Labels are the targets'.

    Attributes:
        source, target: (B, S, S, 3) uint8.
        flow, invented: (B, S', S', 2) and (B, S, S) float32, from target to source.
        places, known: (B, S', S', 4) and (B, S', S', 2) float32, of the target's teeth; known is 0 or 1.
    """

    source: Tensor
    target: Tensor
    flow: Tensor
    invented: Tensor
    places: Tensor
    known: Tensor
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
    chosen = {}
    for subject in sorted(rows):
        framed = [row for row in rows[subject] if _starts(row) or _flow_of(root, row).is_file()]
        ordered = sorted(framed, key=lambda row: not _starts(row))
        if not ordered or not _starts(ordered[0]) or len(ordered) < 2:
            continue
        chosen[subject] = ordered
    people, found = [], []
    with ThreadPoolExecutor() as pool:
        started = [pool.submit(_person, root, ordered, expressions) for ordered in chosen.values()]
        for subject, one in zip(chosen, tqdm(started, desc="pairs"), strict=True):
            try:
                people.append(one.result())
            except (DataError, OSError, ValueError, KeyError) as error:
                found.append(f"{subject}: {error}")
    raise_listing(root, found, "render it again with --no-jitter --flow")
    if not people:
        raise DataError(
            f"{root} has nobody with a neutral photo and a picture made of it, with its flow, in split {split!r}; "
            "render it with --no-jitter --flow"
        )
    return people


def draw_pairs(people: list[Person], count: int, chance: torch.Generator) -> Pairs:
    """`count` pairs, people alike often."""

    def below(end: int) -> int:
        return int(torch.randint(end, (), generator=chance))

    def happens(share: float) -> bool:
        return torch.rand((), generator=chance).item() < share

    smiling, chosen = [person for person in people if person.smiles], []
    for _ in range(count):
        from_smile = happens(SMILING) and bool(smiling)
        person = smiling[below(len(smiling))] if from_smile else people[below(len(people))]
        ends = [i for i, label in enumerate(person.labels) if label.style != ONLY_SOURCE]
        target = 0 if happens(TO_NEUTRAL) else ends[below(len(ends))]
        source = 0 if happens(NEUTRAL_SOURCE) else below(len(person.labels))
        source = person.smiles[below(len(person.smiles))] if from_smile else source
        target = source if happens(UNCHANGED) else target
        chosen.append((person, source, target))
    same = torch.tensor([source == target for _, source, target in chosen])
    same = same.to(people[0].images.device, non_blocking=True)
    flow, lost = through_neutral(
        torch.stack([person.back[source] for person, source, _ in chosen]),
        torch.stack([person.hidden[source] for person, source, _ in chosen]).float() / 255,
        torch.stack([person.flow[target] for person, _, target in chosen]),
    )
    invented = torch.stack([person.invented[target] for person, _, target in chosen]).float() / 255
    lost = F.interpolate(lost[:, None], invented.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    return Pairs(
        source=torch.stack([person.images[source] for person, source, _ in chosen]),
        target=torch.stack([person.images[target] for person, _, target in chosen]),
        flow=torch.where(same[:, None, None, None], 0.0, flow),
        invented=torch.where(same[:, None, None], 0.0, torch.maximum(invented, lost)),
        places=torch.stack([person.places[target] for person, _, target in chosen]).float(),
        known=torch.stack([person.known[target] for person, _, target in chosen]).float() / 255,
        labels=tuple(person.labels[target] for person, _, target in chosen),
    )


def _starts(row: dict[str, str]) -> bool:
    """Whether it is the neutral picture that the others were made from."""
    return row["expression"] == NEUTRAL and row.get("style") in ("real", "virtual")


def _person(root: Path, rows: list[dict[str, str]], expressions: tuple[str, ...]) -> Person:
    images = np.stack([np.asarray(open_picture(root / row["file_name"])) for row in rows])
    side = images.shape[1]
    fields: tuple[list, ...] = ([], [], [], [], [], [])
    for row in rows:
        flow, invented, places, known = _still(side) if _starts(row) else _read(_flow_of(root, row))
        for kept, field in zip(fields, (flow, invented, *inverse(flow, _halved(invented)), places, known), strict=True):
            kept.append(_packed(field))
    labels = [
        Label(canonical(r["expression"], expressions), r.get("style", ""), float(r.get("intensity") or 1)) for r in rows
    ]
    return Person(torch.from_numpy(images), *(torch.from_numpy(np.stack(field)) for field in fields), tuple(labels))


def _flow_of(root: Path, row: dict[str, str]) -> Path:
    return root / f"{row['file_name']}.npz"


def _still(side: int) -> tuple[np.ndarray, ...]:
    """What `_read` says of the neutral picture."""
    half, fields = (side // 2, side // 2), ((2, np.float32), (4, np.float32), (2, bool))
    flow, places, known = (np.zeros((*half, channels), dtype) for channels, dtype in fields)
    return flow, np.zeros((side, side), np.float32), places, known


def _read(file: Path) -> tuple[np.ndarray, ...]:
    """Flow (S', S', 2) in sides of the frame, invented (S, S) in [0, 1], places (S', S', 4) in cm, and where they are
    known, (S', S', 2), 0 or 1: all but invented at half the size that the file has."""
    with np.load(file) as made:
        flow, invented, places, known = (made[name].astype(np.float32) for name in ("flow", "invented", "places", "known"))
    sure = _halved(known) > 0.99
    return _halved(flow) / len(flow), invented / 255, _halved(places) * np.repeat(sure, 2, axis=2), sure


def _halved(field: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels: T finds flow at half the side of what it sees."""
    even = field[: len(field) // 2 * 2, : field.shape[1] // 2 * 2]
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def _packed(field: np.ndarray) -> np.ndarray:
    """Flow and places in float16, masks in uint8."""
    return field.astype(np.float16) if field.ndim == 3 and field.dtype != bool else np.rint(field * 255.0).astype(np.uint8)
