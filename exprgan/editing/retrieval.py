"""Retrieval (paper, Fig. 7): the nearest pictures by Euclidean distance, on the code c, on the label y, or on pixels x."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import BadImageError
from ..photo.image_io import SUFFIXES, to_tensor
from .results import Subject

By = Literal["c", "y", "x"]
"""Features compared: `c`, the code read by Q; `y`, the classifier's probabilities; `x`, the pixels of the aligned crop."""
BY: tuple[By, ...] = get_args(By)


@dataclass(frozen=True)
class Match:
    """One retrieved picture."""

    index: int
    """Index into the list that was searched, or into the sorted file names of the folder."""
    path: Path | None
    """Its file; None if it was given otherwise."""
    distance: float
    """Euclidean distance, comparable within one search only."""


def feature_vector(subject: Subject, by: By) -> Tensor:
    """The features of one face: (K * d,) in [-1, 1] for c, (K + 1,) in [0, 1] for y, (3 * S * S,) in [-1, 1] for x."""
    if by == "c":
        return subject.reading.code
    return torch.tensor(list(subject.reading.certainties.values())) if by == "y" else to_tensor(subject.crop).flatten()


def distances(queries: Tensor, others: Tensor) -> Tensor:
    """Euclidean distances between the rows of (M, F) and (N, F): (M, N), exactly 0 for equal rows."""
    return torch.cdist(queries.float(), others.float(), compute_mode="donot_use_mm_for_euclid_dist")


def pictures_in(folder: str | os.PathLike[str]) -> list[Path]:
    """All pictures in a folder and its subfolders, sorted by path. BadImageError: no such folder, or no picture in it."""
    folder = Path(folder)
    if not folder.is_dir():
        raise BadImageError(f"There is no folder {folder}. Name a folder of pictures.")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not paths:
        raise BadImageError(f"The folder {folder} holds no picture. Put {', '.join(SUFFIXES)} files in it.")
    return paths
