"""Folders at a URL that fsspec knows: s3://bucket/photos, gs://bucket/photos, hf://datasets/org/name.

Photos are downloaded, and results uploaded, one by one where they are edited, so a cluster needs no folder in common.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ..errors import ExprGANError
from ..folder_paths import stays_inside

UPLOAD_S = 60.0
"""Seconds between two uploads of the table. After a kill, results that it does not list are recognised by their mark."""

Value = TypeVar("Value")


class RemoteError(ExprGANError):
    """A folder at a URL, or a file in it, cannot be reached."""


def is_url(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is named by a URL."""
    return "://" in os.fspath(folder)


class RemoteFolder:
    """A folder at a URL. Files are named by their paths in it, with /.

    Raises:
        RemoteError: nothing reads such a URL, or the package that does is missing; by all methods: it cannot be reached.
    """

    def __init__(self, url: str):
        from fsspec.core import url_to_fs  # which huggingface_hub brings

        self.url = url.rstrip("/")
        if self.url.partition(":")[0] in ("http", "https"):
            raise RemoteError(f"{url} is no folder: a web server does not say which photos it has. Download them first.")
        self._system, self._root = self._try(lambda: url_to_fs(self.url))

    def sizes(self) -> dict[str, int]:
        """The size in bytes of every file in it and its subfolders, empty if there is none."""
        self._system.invalidate_cache()
        entries: dict[str, dict] = self._try(lambda: self._system.find(self._root, detail=True), {})
        names = {path.removeprefix(self._root).lstrip("/"): entry.get("size") for path, entry in entries.items()}
        return {name: int(size or 0) for name, size in names.items() if stays_inside(name)}

    def download(self, file: str, target: Path) -> bool:
        """Downloads a file, in place of `target`; returns False if there is none."""
        target.parent.mkdir(parents=True, exist_ok=True)
        return self._try(lambda: self._system.get_file(self._path(file), str(target)) or True, False)

    def upload(self, source: Path, file: str) -> None:
        """Uploads a file, in place of one that is there."""
        if self.url.startswith("hf://"):
            raise RemoteError(f"{self.url} cannot be written photo by photo, as each would be a commit. Choose a folder "
                               "for the edited photos, and upload that: hf upload-large-folder")  # fmt: skip
        self._try(lambda: self._system.makedirs(self._path(file).rpartition("/")[0], exist_ok=True))
        self._try(lambda: self._system.put_file(str(source), self._path(file)))

    def _path(self, file: str) -> str:
        return f"{self._root.rstrip('/')}/{file}"

    def _try(self, action: Callable[[], Value], missing: Value | None = None) -> Value:
        """The result of an action on the file system; `missing`, unless that is None, where there is no such file."""
        try:
            return action()
        except Exception as error:  # each file system has its own
            if isinstance(error, FileNotFoundError) and missing is not None:
                return missing
            raise RemoteError(f"{self.url} cannot be reached: {type(error).__name__}: {error}") from error


@contextmanager
def local_copy(folder: str, file: str, writes: bool = False) -> Iterator[str]:
    """A local folder with this file of a folder at a URL, if it is there; a folder that is no URL is yielded itself.

    With `writes` a file that was not there is uploaded in the end.
    """
    if not is_url(folder):
        yield folder
        return
    remote = RemoteFolder(folder)
    with tempfile.TemporaryDirectory(prefix="exprgan-") as place:
        local = Path(place, file)
        was_there = remote.download(file, local)
        yield place
        if writes and not was_there and local.exists():
            remote.upload(local, file)


@contextmanager
def local_listing(folder: str, is_photo: Callable[[str], bool]) -> Iterator[Path]:
    """A local folder with the names of a folder's files: photos are empty files in it, all others are downloaded.

    A folder that is no URL is yielded itself.
    """
    if not is_url(folder):
        yield Path(folder)
        return
    remote = RemoteFolder(folder)
    with tempfile.TemporaryDirectory(prefix="exprgan-") as place:
        for name in remote.sizes():
            local = Path(place, name)
            local.parent.mkdir(parents=True, exist_ok=True)
            local.touch() if is_photo(name) else remote.download(name, local)
        yield Path(place)


@contextmanager
def local_tables(folder: str, names: tuple[str, ...]) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A local folder for these files of a folder at a URL, and what uploads them, at most every UPLOAD_S.

    They are downloaded first, and uploaded in the end.
    """
    remote = RemoteFolder(folder)
    with tempfile.TemporaryDirectory(prefix="exprgan-") as place:
        last = float("-inf")

        def upload(force: bool = False) -> None:
            nonlocal last
            if force or time.monotonic() - last > UPLOAD_S:
                last = time.monotonic()
                for local in (path for name in names if (path := Path(place, name)).exists()):
                    remote.upload(local, local.name)

        for name in names:
            remote.download(name, Path(place, name))
        try:
            yield Path(place), upload
        finally:
            upload(force=True)
