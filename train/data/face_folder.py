"""THE data format: pictures and metadata.csv (the Hub's imagefolder form), held in memory as bytes.

Columns: file_name, subject, expression, split are needed; intensity and fold are used where present; others are kept for
people. `validate` says what is wrong with a folder.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from exprgan.expressions import EXPRESSIONS, NEUTRAL, canonical

from .metadata import METADATA_NAME, DataError, read_metadata, raise_listing
from .validation import SPLITS, open_picture, row_problems


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
             expressions: tuple[str, ...] = EXPRESSIONS, fold: int | None = None) -> "FaceFolder":  # fmt: skip
        """Reads one split.

        Args:
            split: a word of the column `split`; with `fold`, "train" or "test".
            fold: divide by the column `fold` instead: its pictures of this number are "test", all others "train".

        Raises:
            DataError: metadata.csv is missing or wrong, a picture of the split is missing or broken, or the split is
                empty. The message lists all that is wrong, not only the first.
            ValueError: `fold` with another split than "train" or "test".
        """
        root = Path(root)
        table = read_metadata(root)
        found = row_problems(table, expressions)
        rows = _rows_of(table, split, fold)
        if not rows:
            of_fold = "" if fold is None else f" without fold {fold}" if split == "train" else f" of fold {fold}"
            found.append(
                f"{METADATA_NAME} has no rows{of_fold}" if of_fold else f"{METADATA_NAME} has no rows with split {split!r}"
            )
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(lambda row: _read(root / row["file_name"], image_size), rows))
        raise_listing(root, found + list(dict.fromkeys(problem for problem in images if isinstance(problem, str))))
        subjects = tuple(sorted({row["subject"] for row in rows}))
        person = {name: i for i, name in enumerate(subjects)}
        number = {name: i for i, name in enumerate((*expressions, NEUTRAL))}
        return cls(
            images=torch.from_numpy(np.stack(images)),
            expression=torch.tensor([number[canonical(row["expression"], expressions)] for row in rows]),
            subject=torch.tensor([person[row["subject"]] for row in rows]),
            intensity=torch.tensor([float((row.get("intensity") or "").strip() or "nan") for row in rows]),
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


def _rows_of(table: list[dict[str, str]], split: str, fold: int | None) -> list[dict[str, str]]:
    """The rows of one split, as the column `split` or the column `fold` divides them."""
    if fold is None:
        return [row for row in table if row["split"] == split]
    if split not in SPLITS:
        raise ValueError(f"with a fold the split is 'train' or 'test', not {split!r}")
    if not any(row.get("fold") for row in table):
        raise DataError(
            f"{METADATA_NAME} has no column 'fold' to divide by; `prepare oulu` makes one, or leave out the fold"
        )
    tested = [row["fold"].strip().isdecimal() and int(row["fold"]) == fold for row in table]
    return [row for row, inside in zip(table, tested, strict=True) if inside == (split == "test")]


def _read(path: Path, image_size: int) -> np.ndarray | str:
    """One picture -> (3, S, S) uint8, or what is wrong with it."""
    try:
        image = open_picture(path)
    except DataError as error:
        return str(error)
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return np.asarray(image).transpose(2, 0, 1).copy()
