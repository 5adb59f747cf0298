"""The run folder: config.json, checkpoints written whole or not at all, log lines, samples. Only this module writes it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from exprgan.errors import ExprGANError


class RunError(ExprGANError):
    """The run folder cannot be read or written."""


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Calls `write` with a temporary name beside `path` and renames the result: `path` is never half a file.

    Raises:
        RunError: the disk is full or the folder cannot be written; what stood at `path` still stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise RunError(f"{path} could not be written ({error}); free some space or choose another --out") from error
    finally:
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


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Everything a run needs to go on, as tensors, numbers, strings, lists and dicts alone."""
    write_whole(path, lambda temporary: torch.save(state, temporary))


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote; pickled objects are refused.

    Raises:
        RunError: the file is damaged or not a training state.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises half a dozen kinds for one damaged file
        raise RunError(f"{path} cannot be read as a training state ({error}); delete it to start anew") from error
