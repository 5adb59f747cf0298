"""Files that are written whole or not at all: whatever stops the program, what stood there before still stands."""

import contextlib
import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from exprgan.errors import ExprGANError

try:
    import fcntl
except ImportError:  # Windows, where nothing keeps two processes apart
    fcntl = None


class RunError(ExprGANError):
    """The run folder cannot be read or written."""


def atomic_write(path: Path, write: Callable[[Path], Any], name: Callable[[Path], Path] | None = None) -> Path:
    """Calls `write` with a temporary name beside `path`, then renames the result: `path` is never half a file.

    Args:
        path: where it should end.
        write: writes the file it is given.
        name: makes the final path from what was written, where `path` alone does not say it.

    Returns:
        The final path.

    Raises:
        RunError: the disk is full or the folder cannot be written; what stood at `path` still stands.
    """
    with _beside(path) as temporary:
        write(temporary)
        _to_disk(temporary)
        final = name(temporary) if name else path
        os.replace(temporary, final)
    return final


def copy_together(source: Path, folder: Path, names: Sequence[str], stale: Sequence[str] = ()) -> None:
    """Copies files that belong together: all are written before the first is renamed, so that a stop mixes no two makes.

    Args:
        source: where they are.
        folder: where they go.
        names: of the files.
        stale: names of what in `folder` tells of those that are replaced; it is deleted with them.

    Raises:
        RunError: the disk is full or the folder cannot be written; what stood there still stands.
    """
    with contextlib.ExitStack() as stack:
        copies = {name: stack.enter_context(_beside(folder / name)) for name in names}
        for name, temporary in copies.items():
            shutil.copyfile(source / name, temporary)
            _to_disk(temporary)
        for name in stale:
            (folder / name).unlink(missing_ok=True)
        for name, temporary in copies.items():
            os.replace(temporary, folder / name)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary name, gone in the end; what goes wrong with it is a RunError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
    except (OSError, RuntimeError, SafetensorError) as error:  # torch.save reports a full disk as RuntimeError
        free = f", {shutil.disk_usage(path.parent).free / 2**20:.0f} MiB free there" if path.parent.is_dir() else ""
        raise RunError(f"{path} could not be written ({error}{free}); free some space or choose another --out") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())


@contextlib.contextmanager
def exclusive(folder: str | Path) -> Iterator[None]:
    """Keeps every other process from writing a folder meanwhile; free again when this one ends, however it does.

    The folder is made if it is missing, and goes again if nothing came into it. Of processes that train together the first
    holds it. It is the folder itself that is locked: no file is left, and no clock is asked.

    Raises:
        RunError: another process is at it, or it cannot be made.
    """
    folder = Path(folder)
    if fcntl is None or os.environ.get("RANK", "0") != "0":
        yield
        return
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise RunError(f"{folder} could not be written ({error.strerror}); choose another --out") from error
    try:
        with contextlib.suppress(OSError):  # a disk that knows no locks
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                told = f"another process is writing {folder}; wait until it is done, or choose another folder"
                raise RunError(told) from error
        yield
    finally:
        os.close(place)
        with contextlib.suppress(OSError):  # not empty
            for empty in made:
                empty.rmdir()


def writes_folder(folder: Callable[..., str | Path]) -> Callable[[Callable], Callable]:
    """Of a function that writes a folder: it is `exclusive` there. `folder` takes what the function takes and says which."""

    def file(function: Callable) -> Callable:
        @functools.wraps(function)
        def writing(*args, **kwargs):
            with exclusive(folder(*args, **kwargs)):
                return function(*args, **kwargs)

        return writing

    return file


def write_weights(state: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """A state dict as safetensors."""
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    atomic_write(path, lambda temporary: save_file(tensors, temporary, metadata={"format": "pt", **metadata}))


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8."""
    atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, values: dict[str, Any]) -> None:
    """A dict as readable JSON."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def git_commit() -> str:
    """The code's commit, or "unknown" outside a checkout."""
    try:
        asked = ["git", "rev-parse", "--short", "HEAD"]
        return subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
