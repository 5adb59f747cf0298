"""Files that are written whole or not at all: whatever stops the program, what stood there before still stands."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from exprgan.errors import ExprGANError


class RunError(ExprGANError):
    """The run folder cannot be read or written."""


def write_whole(path: Path, write: Callable[[Path], Any], name: Callable[[Path], Path] | None = None) -> Path:
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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        final = name(temporary) if name else path
        os.replace(temporary, final)
        return final
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        free = f", {shutil.disk_usage(path.parent).free / 2**20:.0f} MiB free there" if path.parent.is_dir() else ""
        raise RunError(f"{path} could not be written ({error}{free}); free some space or choose another --out") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_weights(state: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """A state dict as safetensors."""
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    write_whole(path, lambda temporary: save_file(tensors, temporary, metadata={"format": "pt", **metadata}))


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, values: dict[str, Any]) -> None:
    """A dict as readable JSON."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def commit() -> str:
    """The code's commit, or "unknown" outside a checkout."""
    try:
        asked = ["git", "rev-parse", "--short", "HEAD"]
        return subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
