"""Files that are written completely or not at all."""

import errno
import os
import re
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import ExprGANError


@contextmanager
def atomic_write(path: Path, *, replace: bool = True, sync: bool = False,
                 error: type[ExprGANError] = ExprGANError) -> Iterator[Path]:  # fmt: skip
    """Yields a temporary name beside `path` to write to, and renames it to `path` when the block succeeds.

    If the block fails, the temporary file is deleted and what `path` held before remains. The folder must exist.

    Args:
        replace: whether a file that has this name already may be replaced.
        sync: flush the content to disk before the file is renamed, so that it survives a power failure.
        error: the class of the error raised if the file cannot be written.

    Raises:
        ExprGANError: or `error`: the file cannot be written.
        FileExistsError: the name is taken, and `replace` is off.
    """
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        part.touch(exist_ok=False)
        yield part
        if sync:
            sync_to_disk(part)
        if replace:
            os.replace(part, path)
        else:
            _link_new(part, path)
    except FileExistsError:
        raise
    except (OSError, ValueError, struct.error) as caught:  # the latter two: larger than the format allows
        reason = getattr(caught, "strerror", None) or caught
        remedy = "Free some space or choose" if getattr(caught, "errno", None) == errno.ENOSPC else "Choose"
        raise error(f"Cannot write {path}: {reason}. {remedy} another folder, name or size.") from caught
    finally:
        with suppress(OSError):  # it is gone after success
            part.unlink()


def sync_to_disk(path: Path) -> None:
    """Flushes a file's content from the system's cache to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def delete_partial_files(folder: Path) -> None:
    """Deletes, in a folder and all below it, the temporary files of processes that were killed while writing."""
    for path in folder.rglob(".*.part"):
        if re.fullmatch(r"\.[0-9a-f]{32}\.part", path.name):
            path.unlink(missing_ok=True)


def _link_new(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # the one system call that both creates a name and fails if it exists
    except OSError:
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        os.replace(part, path)  # on a file system without hard links, such as exFAT
