"""Writing into run folders: every file completely or not at all, and by one process at a time."""

import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from exprgan.atomic_write import atomic_write, sync_to_disk
from exprgan.file_lock import hold_lock

from .train_errors import RunError


@contextmanager
def durable_write(path: Path) -> Iterator[Path]:
    """`exprgan.atomic_write` for run folders: creates the file's folder, and flushes the content to disk.

    Raises:
        RunError: the disk is full or the folder cannot be written; what `path` held before remains.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error.strerror}. Choose another folder.") from error
    with atomic_write(path, sync=True, error=RunError) as part:
        yield part


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file by `durable_write`."""
    with durable_write(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes a dict as readable JSON."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a dict from JSON; an empty one if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_weights(state: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Writes a state dict as safetensors."""
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    write_bytes(path, save(tensors, metadata={"format": "pt", **metadata}))


def copy_together(source: Path, folder: Path, names: Sequence[str], stale: Sequence[str] = ()) -> None:
    """Copies files that belong together: all are written before the first is renamed, so that old and new never mix.

    Args:
        source: the folder of the files.
        folder: the folder to copy them to.
        names: the files' names.
        stale: names of files in `folder` that describe the replaced ones; they are deleted.

    Raises:
        RunError: the disk is full or the folder cannot be written; what it held before remains.
    """
    with ExitStack() as stack:
        for name in names:
            part = stack.enter_context(durable_write(folder / name))
            shutil.copyfile(source / name, part)
            sync_to_disk(part)  # now, so that the renames that follow come at once
        for name in stale:
            (folder / name).unlink(missing_ok=True)


@contextmanager
def exclusive(folder: str | Path) -> Iterator[None]:
    """Keeps other processes from writing a folder within the block.

    The folder is created if it is missing, and removed again if it stays empty. The folder itself is locked, without a lock
    file. Of processes that train together (RANK) the first holds the lock.

    Raises:
        RunError: another process writes the folder, or it cannot be created.
    """
    folder = Path(folder)
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            busy = f"another process is writing {folder}; wait until it is done, or choose another folder"
            stack.enter_context(hold_lock(folder, busy, RunError))
        except OSError as error:
            raise RunError(f"Cannot write {folder}: {error.strerror}. Choose another folder.") from error
        try:
            yield
        finally:
            with suppress(OSError):  # not empty
                for path in created:
                    path.rmdir()


def writes_folder(folder_of: Callable[..., str | Path]) -> Callable[[Callable], Callable]:
    """Decorates a function that writes a folder: it runs within `exclusive`.

    Args:
        folder_of: takes the function's arguments and returns the folder.
    """

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            with exclusive(folder_of(*args, **kwargs)):
                return function(*args, **kwargs)

        return wrapper

    return decorate
