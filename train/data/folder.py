"""THE data format: pictures and metadata.csv (the Hub's imagefolder form), held in memory as bytes.

Columns: file_name, subject, expression, split are needed; intensity is used where present; others are kept for people.
"""

import csv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from exprgan.errors import ExprGANError
from exprgan.expressions import EXPRESSIONS, NEUTRAL, canonical

NEEDED = ("file_name", "subject", "expression", "split")


class DataError(ExprGANError):
    """The training folder is not what the trainer needs; the message lists what is wrong."""


@dataclass(frozen=True)
class FaceFolder:
    """One split of a folder, in memory.

    Attributes:
        images: (N, 3, S, S) uint8.
        expression: (N,) long, 0..K-1, and K for neutral.
        subject: (N,) long, an index into `subjects`.
        intensity: (N,) float 0..1, NaN where unknown.
        subjects: names of the people, sorted.
        expressions: the K names behind `expression`.
        file_names: where each picture came from, relative to the folder.
    """

    images: Tensor
    expression: Tensor
    subject: Tensor
    intensity: Tensor
    subjects: tuple[str, ...]
    expressions: tuple[str, ...]
    file_names: tuple[str, ...]

    @classmethod
    def load(cls, root: str | Path, split: str, image_size: int = 128,
             expressions: tuple[str, ...] = EXPRESSIONS) -> "FaceFolder":  # fmt: skip
        """Reads one split.

        Raises:
            DataError: metadata.csv is missing or wrong, a picture is missing or broken, or the split is empty.
        """
        root = Path(root)
        rows = [row for row in read_metadata(root) if row["split"] == split]
        if not rows:
            raise DataError(f"{root / 'metadata.csv'} has no rows with split {split!r}")
        try:
            names = [canonical(row["expression"], expressions) for row in rows]
        except ValueError as error:
            raise DataError(f"{root / 'metadata.csv'}: {error}") from error
        subjects = tuple(sorted({row["subject"] for row in rows}))
        paths = [root / row["file_name"] for row in rows]
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(lambda path: _read(path, image_size), paths))
        number = {name: i for i, name in enumerate((*expressions, NEUTRAL))}
        return cls(
            images=torch.from_numpy(np.stack(images)),
            expression=torch.tensor([number[name] for name in names]),
            subject=torch.tensor([subjects.index(row["subject"]) for row in rows]),
            intensity=torch.tensor([float(row.get("intensity") or "nan") for row in rows]),
            subjects=subjects,
            expressions=expressions,
            file_names=tuple(row["file_name"] for row in rows),
        )

    def __len__(self) -> int:
        return len(self.images)

    def select(self, keep: Tensor | Callable[["FaceFolder"], Tensor]) -> "FaceFolder":
        """The pictures for which `keep` (a (N,) bool tensor, or a function making one) holds; people keep their index."""
        mask = keep(self) if callable(keep) else keep
        chosen = mask.nonzero().squeeze(1)
        return FaceFolder(
            self.images[chosen], self.expression[chosen], self.subject[chosen], self.intensity[chosen],
            self.subjects, self.expressions, tuple(self.file_names[i] for i in chosen.tolist()),
        )  # fmt: skip

    def expressive(self, min_intensity: float = 0.0, *, neutral: bool = False) -> "FaceFolder":
        """What the paper trains on: no neutral, and where the strength is known, at least `min_intensity`.

        Args:
            min_intensity: 0..1.
            neutral: keep neutral pictures as well, which the paper's y has no class for: their y is all 0.
        """
        strong = self.intensity.isnan() | (self.intensity >= min_intensity)
        calm = self.expression == len(self.expressions)
        return self.select(torch.where(calm, neutral, strong))

    def one_hot(self, indices: Tensor) -> Tensor:
        """y of these pictures: (B, K), all 0 for neutral."""
        return torch.eye(len(self.expressions) + 1)[self.expression[indices], :-1]


def batch_at(num_items: int, batch_size: int, step: int, *, seed: int = 0, rank: int = 0, world: int = 1) -> Tensor:
    """The batch of one step in endless shuffled passes: (batch_size,) indices, known from the arguments alone.

    Every pass is a new order; its short last batch is dropped. Processes (rank of world) share a pass without overlap.
    Fewer items than a batch needs are drawn with repetition.
    """
    whole = num_items // (batch_size * world)
    chance = torch.Generator().manual_seed(seed * 1_000_003 + step // max(whole, 1))
    if not whole:
        return torch.randint(num_items, (world, batch_size), generator=chance)[rank]
    order = torch.randperm(num_items, generator=chance)
    return order[: whole * world * batch_size].view(whole, world, batch_size)[step % whole, rank]


def read_metadata(root: Path) -> list[dict[str, str]]:
    """The rows of metadata.csv, checked for the needed columns.

    Raises:
        DataError: the file is missing or lacks a column.
    """
    path = root / "metadata.csv"
    if not path.is_file():
        raise DataError(f"{path} does not exist; the folder needs one, with the columns {', '.join(NEEDED)}")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in NEEDED if name not in (reader.fieldnames or ())]:
            raise DataError(f"{path} lacks the column {missing[0]!r}; it needs {', '.join(NEEDED)}")
        return list(reader)


def _read(path: Path, image_size: int) -> np.ndarray:
    """One picture -> (3, S, S) uint8."""
    try:
        image = Image.open(path).convert("RGB")
    except OSError as error:
        raise DataError(f"{path} cannot be read as a picture: {error}") from error
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return np.asarray(image).transpose(2, 0, 1).copy()
