"""Retrieval (paper, Fig. 7): the nearest pictures by Euclidean distance, on the code c, on the label y, or on pixels x."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..errors import BadImageError
from ..photo.image_io import SUFFIXES, to_tensor
from .results import Subject

By = Literal["c", "y", "x"]
"""What is compared: `c`, the code that Q reads; `y`, the classifier's probabilities; `x`, the aligned crop's pixels."""
BY: tuple[By, ...] = ("c", "y", "x")


@dataclass(frozen=True)
class Match:
    """One picture that was found."""

    index: int
    """Where it stands in the list that was searched; of a folder, in the order of its file names."""
    path: Path | None
    """Its file, where it was given as one."""
    distance: float
    """Euclidean, 0 for the same; comparable within one search only."""


def check_by(by: str) -> None:
    """Refuses what is no way to compare.

    Raises:
        ValueError: `by` is none of "c", "y" and "x".
    """
    if by not in BY:
        raise ValueError(f"by must be one of {', '.join(BY)} (code, label, pixels), not {by!r}")


def vector(subject: Subject, by: By) -> Tensor:
    """What is compared of one face, flat: (K * d,) in [-1, 1] for c, (K + 1,) in [0, 1] for y, (3 * S * S,) for x."""
    if by == "c":
        return subject.reading.code
    return torch.tensor(list(subject.reading.certainties.values())) if by == "y" else to_tensor(subject.crop).flatten()


def distances(queries: Tensor, others: Tensor) -> Tensor:
    """Euclidean distances of (M, F) and (N, F): (M, N), exactly 0 between equal rows."""
    return torch.cdist(queries.float(), others.float(), compute_mode="donot_use_mm_for_euclid_dist")


def pictures_in(folder: str | os.PathLike[str]) -> list[Path]:
    """Every picture in a folder and the folders in it, by name.

    Raises:
        BadImageError: there is no such folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadImageError(f"There is no folder {folder}. Name a folder of pictures.")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not paths:
        raise BadImageError(f"The folder {folder} holds no picture. Put {', '.join(SUFFIXES)} files in it.")
    return paths
