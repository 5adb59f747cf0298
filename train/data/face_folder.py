"""The one data format: pictures and metadata.csv (the Hub's imagefolder form), held in memory as bytes or mapped into it.

The columns file_name, subject, expression and split are required; intensity, action_units and fold are used where present.
Pictures of no class (an empty expression) are loaded on request. `validation` finds what is wrong with a folder.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from exprgan.expressions import EXPRESSIONS, NEUTRAL, canonical
from exprgan.facs import ACTION_UNITS

from ..core.threads import map_threads
from ..core.train_errors import DataError
from .metadata import has_class, is_neutral, is_varied, raise_problems, read_metadata, unit_weights
from .picture_pack import PACK_FROM, MappedPictures, PicturePack, PictureReader, to_array
from .style_codes import Label
from .validation import empty_split_problem, find_row_problems, select_rows


@dataclass(frozen=True)
class FaceFolder:
    """One split of a training folder.

    Attributes:
        images: (N, 3, S, S) uint8, or `MappedPictures` of that shape.
        expression: (N,) long, 0..K-1, K for neutral, and -1 for pictures of no class.
        subject: (N,) long, an index into `subjects`.
        intensity: (N,) float 0..1, NaN where unknown.
        units: (N, U, 2) float, weights of `ACTION_UNITS` on the subject's right and left side, NaN where unknown.
        style: of each picture, as in metadata.csv; "" where there is none.
        subjects: names of the people, sorted.
        expressions: the names of the K expressions.
        file_names: the path of each picture, relative to the folder.
    """

    images: Tensor | MappedPictures
    expression: Tensor
    subject: Tensor
    intensity: Tensor
    units: Tensor
    style: tuple[str, ...]
    subjects: tuple[str, ...]
    expressions: tuple[str, ...]
    file_names: tuple[str, ...]

    @classmethod
    def load(cls, root: str | Path, split: str, image_size: int = 128,
             expressions: tuple[str, ...] = EXPRESSIONS, fold: int | None = None,
             varied: bool = False, unclassed: bool = False, mapped: bool = False) -> "FaceFolder":  # fmt: skip
        """Reads one split.

        Args:
            split: a value of the column `split`; with `fold`, "train" or "test".
            fold: divide by the column `fold` instead: the pictures of this fold are "test", all others "train".
            varied: read also rendered pictures whose head pose, gaze or light differs from that of the person's photo.
            unclassed: read also pictures of no class, such as random combinations of action units.
            mapped: map the pictures of a folder that was packed at this size, instead of reading them all. Of a large
                folder that was not, a note on stderr says what that takes.

        Raises:
            DataError: metadata.csv is missing or wrong, a picture of the split is missing, broken, not square or of one
                colour, or changed since it was packed, or the split is empty. The message lists all problems.
            ValueError: `fold` with another split than "train" or "test".
        """
        root = Path(root)
        table = read_metadata(root)
        problems = find_row_problems(table, expressions)
        rows = [
            row
            for row in select_rows(table, split, fold)
            if (unclassed or has_class(row)) and (varied or not is_varied(row))
        ]
        problems += [] if rows else [empty_split_problem(split, fold)]
        names = tuple(row["file_name"] for row in rows)
        images, wrong = _open_pictures(root, names, image_size, mapped)
        raise_problems(root, problems + list(dict.fromkeys(wrong)))
        subjects = tuple(sorted({row["subject"] for row in rows}))
        subject_index = {name: i for i, name in enumerate(subjects)}
        expression_index = {name: i for i, name in enumerate((*expressions, NEUTRAL))}
        return cls(
            images=images,
            expression=torch.tensor(
                [expression_index[canonical(row["expression"], expressions)] if has_class(row) else -1 for row in rows]
            ),
            subject=torch.tensor([subject_index[row["subject"]] for row in rows]),
            intensity=torch.tensor([float((row.get("intensity") or "").strip() or "nan") for row in rows]),
            units=torch.from_numpy(np.stack([_unit_weights(row, expressions) for row in rows])),
            style=tuple((row.get("style") or "").strip() for row in rows),
            subjects=subjects,
            expressions=expressions,
            file_names=names,
        )

    def __len__(self) -> int:
        return len(self.images)

    def select(self, mask: Tensor) -> "FaceFolder":
        """Selects pictures by a (N,) bool tensor. People keep their indices."""
        if mask.all():
            return self
        indices = mask.nonzero().squeeze(1)
        rows, images = indices.tolist(), self.images
        return FaceFolder(
            images.select(indices) if isinstance(images, MappedPictures) else images[indices], self.expression[indices],
            self.subject[indices], self.intensity[indices], self.units[indices], tuple(self.style[i] for i in rows),
            self.subjects, self.expressions, tuple(self.file_names[i] for i in rows),
        )  # fmt: skip

    def expressive(self, min_intensity: float = 0.0, *, neutral: bool = False) -> "FaceFolder":
        """Selects what the paper trains on: expressions, of at least `min_intensity` where the intensity is known.

        Args:
            min_intensity: 0..1.
            neutral: keep neutral pictures as well, which the paper's y has no class for: their y is all 0.
        """
        strong = self.intensity.isnan() | (self.intensity >= min_intensity)
        is_neutral = self.expression == len(self.expressions)
        return self.select(torch.where(is_neutral, neutral, strong))

    def one_hot(self, indices: Tensor) -> Tensor:
        """Returns y of the pictures at `indices`: (B, K), all 0 for neutral."""
        return torch.eye(len(self.expressions) + 1)[self.expression[indices], :-1]

    def labels(self, indices: Tensor) -> list[Label]:
        """What the pictures at `indices` show."""
        names = (*self.expressions, NEUTRAL)
        return [Label(names[self.expression[i]], self.style[i], float(self.intensity[i])) for i in indices.tolist()]


def batch_indices(num_items: int, batch_size: int, step: int, *, seed: int = 0, rank: int = 0, world: int = 1) -> Tensor:
    """Returns the batch of one step of endless shuffled epochs: (batch_size,) indices, a function of the arguments alone.

    Every epoch has a new order; its incomplete last batch is dropped. Processes (rank of world) share an epoch without
    overlap. If there are fewer items than a batch, they are drawn with repetition.
    """
    num_batches = num_items // (batch_size * world)
    epoch_seed = seed * 1_000_003 + step // max(num_batches, 1)
    if not num_batches:
        generator = torch.Generator().manual_seed(epoch_seed)
        return torch.randint(num_items, (world, batch_size), generator=generator)[rank]
    order = _epoch_order(num_items, epoch_seed)
    return order[: num_batches * world * batch_size].view(num_batches, world, batch_size)[step % num_batches, rank]


@lru_cache(maxsize=2)
def _epoch_order(num_items: int, seed: int) -> Tensor:
    return torch.randperm(num_items, generator=torch.Generator().manual_seed(seed))


def _unit_weights(row: dict[str, str], expressions: tuple[str, ...]) -> np.ndarray:
    """(U, 2) float32: the column `action_units`; 0 for a neutral photo, and NaN for others without it."""
    weights = unit_weights(row)
    if weights is None:
        return np.full((len(ACTION_UNITS), 2), 0 if is_neutral(row, expressions) else np.nan, np.float32)
    return np.array([weights.get(unit, (0, 0)) for unit in ACTION_UNITS], np.float32)


def _open_pictures(
    root: Path, names: Sequence[str], image_size: int, mapped: bool
) -> tuple[Tensor | MappedPictures, list[str]]:
    """The pictures, and a sentence for each that cannot be read. They are decoded into one array, which takes them once."""
    pack = PicturePack.find(root, names, image_size)
    if pack and mapped and names:
        return pack.open(names), []
    if mapped and len(names) >= PACK_FROM:
        size = len(names) * 3 * image_size**2 / 1e9
        print(f"note: {len(names):,} pictures take {size:.1f} GB of memory in every process; `python -m train pack {root} "
              f"--image-size {image_size}` makes files that processes map and share", file=sys.stderr)  # fmt: skip
    if pack:
        return pack.open(names)[:], []
    reader = PictureReader(root)
    images = np.empty((len(names), 3, image_size, image_size), np.uint8)

    def read(index: int) -> str:
        try:
            images[index] = to_array(reader.open(names[index]), image_size)
        except DataError as error:
            return str(error)
        return ""

    problems = [problem for problem in map_threads(read, range(len(names))) if problem]
    return torch.from_numpy(images), problems
