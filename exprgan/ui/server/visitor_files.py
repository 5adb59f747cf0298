"""Visitors' files: their folder, its deletion, and how much of the disk they may take.

gradio deletes the files that it knows of. It does not know of the remains of an interrupted upload, of a result that nobody
waited for, nor of the files of an app that was killed.
"""

import contextlib
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from ...file_lock import hold_lock, try_lock
from .limits import Limits
from .refusals import Refused

FOLDER_PREFIX, DELETED_PREFIX, LOCK_FILE = "exprgan-visitors-", "exprgan-deleted-", ".lock"
CLOCK_TOLERANCE_S = 60
"""How far in the future a file's time may lie: clocks are corrected by some seconds now and then."""
EMPTY_FOLDER_S = 60
"""An empty folder is deleted when nothing has been written to it or deleted from it for so long, in s."""
RESULT_FOLDER = "exprgan"
"""Folder of unnamed results (`photo_session.new_path`), which is never deleted, as it may be used at any moment."""
MEASURE_S = 10
"""Interval at which the size of all files is measured, in s."""
DISK_FULL = "There is no room for more photos at the moment. Older ones are deleted all the time."
DISK_FULL_S = 300
"""When to try again if the disk is full, in s."""


class Disk:
    """The room that visitors' files take; measured now and then, and estimated in between from what is uploaded."""

    def __init__(self, limits: Limits):
        self.limits, self.used = limits, 0

    def add(self, size: int) -> None:
        """Adds bytes that are being written until the next measurement."""
        self.used += size

    def measure(self) -> None:
        """Measures the size of all files."""
        self.used = size_of(Path(get_upload_folder()))

    def check(self, size: int = 0) -> None:
        """Raises Refused, 507, if the folder or the disk has no room for so many bytes more."""
        folder = Path(get_upload_folder())
        free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
        if self.used + size > self.limits.folder_bytes or free - size < self.limits.free_bytes:
            raise Refused(507, DISK_FULL, DISK_FULL_S)


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    size = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(root, name)).st_size
    return size


@contextlib.contextmanager
def visitors_folder() -> Iterator[Path]:
    """Makes gradio's folder for this process's visitors, readable by nobody else, and deletes it afterwards.

    The folders of processes that were killed are deleted as well, in the background.
    """
    previous = os.environ.get("GRADIO_TEMP_DIR", "")
    parent = Path(previous or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    delete_in_background([*map(set_aside, filter(is_abandoned, parent.glob(f"{FOLDER_PREFIX}*"))),
                          *parent.glob(f"{DELETED_PREFIX}*")])  # fmt: skip
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, dir=parent, ignore_cleanup_errors=True) as name:
        os.environ["GRADIO_TEMP_DIR"] = name
        try:
            with hold_lock(Path(name, LOCK_FILE), f"{name} is in use by process {{pid}}."):
                yield Path(name)
        finally:
            os.environ["GRADIO_TEMP_DIR"] = previous  # gradio takes an empty one for none


def is_abandoned(folder: Path) -> bool:
    """Whether the process that made the folder has ended; False on a file system without locks."""
    try:
        with open(folder / LOCK_FILE) as file:
            return try_lock(file.fileno(), unsupported=False)
    except FileNotFoundError:  # killed before it made the file, or just about to
        with contextlib.suppress(OSError):
            return time.time() - os.lstat(folder).st_mtime > CLOCK_TOLERANCE_S
        return False
    except OSError:
        return False


def set_aside(folder: Path) -> Path:
    """Renames an abandoned folder, so that it is deleted even by a process that is killed while it does so."""
    new = folder.with_name(f"{DELETED_PREFIX}{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):  # another process was faster
        folder.rename(new)
    return new


def delete_in_background(folders: Iterable[Path]) -> threading.Thread:
    """Deletes folders in a thread, for which nothing waits; another start goes on with what is left."""

    def delete() -> None:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    thread = threading.Thread(target=delete, name="delete abandoned files", daemon=True)
    thread.start()
    return thread


def initial_files(app: gr.routes.App) -> set[str]:
    """The files of the page as it opens, which are kept as long as the app runs."""
    return {path for block in app.get_blocks().blocks.values() for path in getattr(block, "keep_in_cache", ())}


def delete_old_files(folder: Path, max_age_s: float, keep: Collection[str] = ()) -> None:
    """Deletes all files and links in a folder that are too old or dated in the future, and folders that are empty."""
    now = time.time()

    def is_old(changed: float, age_s: float) -> bool:
        return not -CLOCK_TOLERANCE_S <= now - changed <= age_s

    for root, folders, names in os.walk(folder, topdown=False):
        for name in names:
            path = os.path.join(root, name)
            with contextlib.suppress(OSError):  # deleted by gradio meanwhile
                if path not in keep and name != LOCK_FILE and is_old(os.lstat(path).st_ctime, max_age_s):
                    os.unlink(path)
        for name in folders:
            path = os.path.join(root, name)
            with contextlib.suppress(OSError):  # not empty
                status = os.lstat(path)
                if os.path.islink(path):
                    if is_old(status.st_ctime, max_age_s):
                        os.unlink(path)
                elif name != RESULT_FOLDER and is_old(status.st_mtime, min(EMPTY_FOLDER_S, max_age_s)):
                    os.rmdir(path)
