"""Checkpoints: written whole, named after their content, the last few kept; a damaged one is passed over when reading."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import torch

from .files import RunError, atomic_write


class Checkpoints:
    """RUN/checkpoints: `<stage number>-<stage>-<steps done in it>-<start of its SHA-256>.pt`, in the order of their names.

    Args:
        run: the run folder.
        keep: how many of the latest are kept; those of step 0, which end a stage, are kept as well.
    """

    def __init__(self, run: str | Path, keep: int = 2):
        self.folder, self.keep = Path(run) / "checkpoints", keep

    def save(self, stage: int, name: str, step: int, state: dict[str, Any]) -> Path:
        """Writes one, then deletes what is no longer kept.

        Args:
            stage: number of the stage it will go on with.
            name: that stage's name.
            step: steps done in it.
            state: tensors, numbers, strings, lists and dicts alone.

        Raises:
            RunError: the disk is full or the folder cannot be written; the checkpoints before it still stand.
        """
        stem = f"{stage}-{name}-{step:06d}"
        path = atomic_write(
            self.folder / f"{stem}.pt",
            lambda temporary: torch.save(state, temporary),
            lambda temporary: self.folder / f"{stem}-{_digest(temporary)}.pt",
        )
        for old in self.paths():  # of the same step: what an earlier start of the run wrote
            if old.name.startswith(f"{stem}-") and old != path:
                old.unlink()
        passing = [old for old in self.paths() if _step(old)]
        for old in passing[: -self.keep]:
            old.unlink()
        return path

    def paths(self) -> list[Path]:
        """All that are there, oldest first."""
        return sorted(path for path in self.folder.glob("[0-9]-*-*-*.pt") if not path.name.startswith("."))

    def sweep(self) -> None:
        """Deletes what a kill in the middle of writing left behind."""
        for left in self.folder.glob(".*.tmp"):
            left.unlink()

    def latest(self) -> dict[str, Any] | None:
        """The newest whole one; None where there is none at all.

        Raises:
            RunError: there are some, but none of them is whole.
        """
        paths = self.paths()
        for path in reversed(paths):
            if _digest(path) == path.stem.rpartition("-")[2]:
                return torch.load(path, map_location="cpu", weights_only=True)
            print(f"{path} is damaged (its content does not match its name); trying the one before it", file=sys.stderr)
        if paths:
            raise RunError(f"no checkpoint in {self.folder} is whole; delete the folder to start anew")
        return None


def _step(path: Path) -> int:
    return int(path.stem.split("-")[-2])


def _digest(path: Path) -> str:
    """The first 12 hexadecimal digits of a file's SHA-256."""
    content = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            content.update(chunk)
    return content.hexdigest()[:12]
