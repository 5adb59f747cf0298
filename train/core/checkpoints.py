"""Checkpoints, named after their content. The last few are kept; a damaged one is skipped when reading."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from exprgan.atomic_write import delete_partial_files

from .config_flags import describe_difference
from .files import write_bytes
from .train_errors import RunError

DATA_SETTING = "metadata.csv"
"""Name, among a run's settings, of the digest of its data's table; checkpoints of earlier versions have none."""


class Checkpoints:
    """RUN/checkpoints: `<stage number>-<stage>-<steps done in it>-<start of its SHA-256>.pt`, ordered by stage and step.

    Args:
        run: the run folder.
        keep: how many of the latest are kept; those of step 0, which end a stage, are kept as well.
    """

    def __init__(self, run: str | Path, keep: int = 2):
        self.folder, self.keep = Path(run) / "checkpoints", keep

    def save(self, stage: int, name: str, step: int, state: dict[str, Any]) -> Path:
        """Writes a checkpoint, then deletes those that are no longer kept, and all that are not before it.

        What lies at the same step or after it is of an earlier start of the run, or damaged.

        Args:
            stage: number of the stage that it continues with.
            name: that stage's name.
            step: steps done in it.
            state: tensors, numbers, strings, lists and dicts alone.

        Raises:
            RunError: the disk is full or the folder cannot be written; the earlier checkpoints remain.
        """
        buffer = BytesIO()
        torch.save(state, buffer)
        content, stem = buffer.getvalue(), f"{stage}-{name}-{step:06d}"
        path = self.folder / f"{stem}-{_digest(content)}.pt"
        write_bytes(path, content)
        for old in self.paths():
            if _position(old) >= (stage, step) and old != path:
                old.unlink()
        unfinished = [old for old in self.paths() if _position(old)[1]]
        for old in unfinished[: -self.keep]:
            old.unlink()
        return path

    def paths(self) -> list[Path]:
        """All checkpoints, oldest first."""
        return sorted(self.folder.glob("[0-9]-*-*-*.pt"), key=_position)

    def delete_partial_files(self) -> None:
        """Deletes the temporary files of processes that were killed while writing."""
        delete_partial_files(self.folder)

    def latest(self) -> dict[str, Any] | None:
        """Reads the newest undamaged checkpoint; None if there is no checkpoint at all.

        Raises:
            RunError: there are some, but all are damaged.
        """
        paths = self.paths()
        for path in reversed(paths):
            content = path.read_bytes()
            if _digest(content) == path.stem.rpartition("-")[2]:
                return torch.load(BytesIO(content), map_location="cpu", weights_only=True)
            print(f"{path} is damaged (its content does not match its name); trying the one before it", file=sys.stderr)
        if paths:
            raise RunError(f"all checkpoints in {self.folder} are damaged; delete the folder to start again")
        return None


def check_continuation(out: str | Path, current: Mapping[str, Any], previous: Mapping[str, Any], ignored: Sequence[str], *,
                       finished: bool, verbose: bool) -> None:  # fmt: skip
    """Compares the settings of a run with those that it is continued with, and prints what differs.

    Args:
        out: the run folder, for messages.
        current: settings asked for now.
        previous: settings of the checkpoint; those that it lacks are not compared.
        ignored: names of settings that the result does not depend on.
        finished: whether nothing is left to do.
        verbose: print; False in all processes of a run but one.

    Raises:
        RunError: settings differ, and the run is finished.
    """
    by_time = current.get("minutes") and previous.get("minutes")  # the number of steps then has no effect
    names = [name for name in previous if name in current and name not in (*ignored, *["steps"] * bool(by_time))]
    difference = describe_difference(*({name: values[name] for name in names} for values in (previous, current)))
    if difference and finished:
        raise RunError(
            f"{out} is finished, and other settings do not change it ({difference}); choose another --out, which may "
            "start from its weights"
        )
    if difference and verbose:
        print(f"note: {out} continues with other settings: {difference}", file=sys.stderr)


def _position(path: Path) -> tuple[int, int]:
    """Stage and step in a checkpoint's name."""
    stage, *_, step, _ = path.stem.split("-")
    return int(stage), int(step)


def _digest(content: bytes) -> str:
    """The first 12 hexadecimal digits of the content's SHA-256."""
    return hashlib.sha256(content).hexdigest()[:12]
