"""Locks that keep two processes from writing the same files. The system frees a lock when its holder ends, or is killed."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ExprGANError


@contextmanager
def hold_lock(path: Path, busy: str, error: type[ExprGANError] = ExprGANError) -> Iterator[None]:
    """Holds the lock of a file or folder within the block.

    A file is created if it is missing, stays afterwards, and contains the holder's process id within the block. A folder
    must exist and is not changed. Nothing is locked on a file system without locks, nor for a folder on Windows.

    Raises:
        ExprGANError: or `error`: another process holds the lock; the message is `busy`, with its id in place of "{pid}".
        OSError: the file or folder cannot be opened, or the file not written.
    """
    is_folder = path.is_dir()
    if is_folder and sys.platform == "win32":
        yield
        return
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not try_lock(descriptor):
            pid = "" if is_folder else os.read(descriptor, 32).decode().strip()
            raise error(busy.replace("{pid}", pid or "?"))
        if is_folder:
            yield
            return
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def try_lock(descriptor: int, unsupported: bool = True) -> bool:
    """Takes the lock of an open file or folder without waiting; closing the descriptor frees it.

    Returns:
        Whether the lock was free; `unsupported` on a file system without locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # beyond the content, as others cannot read what is locked
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return unsupported
    return True
