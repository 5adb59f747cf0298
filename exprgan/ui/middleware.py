"""What stands before gradio: addresses that the app has no use for, headers, and a folder of visitors' files that empties.

gradio deletes the files that it knows of. It does not know of what an upload left that broke off, of a result that nobody
waited for, nor of what an app left that was killed.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from gradio import processing_utils
from gradio.utils import get_upload_folder
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

API = "/gradio_api/"
CLOSED = ("component_server", "custom_component", "deep_link", "dev/", "monitoring", "process_recording", "proxy=",
          "run-history", "stream/", "vibe-")  # fmt: skip
"""What follows `API` in addresses that no part of the page uses: they store, record, convert or pass on."""
NOT_HERE = "There is nothing here."
NO_ADDRESS = "Send the photo itself, not an address: this app fetches nothing from elsewhere."

FOLDER, LOCK = "exprgan-visitors-", ".lock"
CLOCK_S = 60
"""A file may seem to be so much younger than none: clocks are put right by some seconds now and then."""


class Guard:
    """ASGI middleware around an app of gradio; while the app serves, it sweeps its folder of files.

    Args:
        app: what it stands before.
        every_s, oldest_s: how often is swept, and how old a file may get.
    """

    def __init__(self, app: ASGIApp, every_s: float, oldest_s: float):
        self.app, self.every_s, self.oldest_s = app, every_s, oldest_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        elif is_closed(scope["path"]):
            await PlainTextResponse(NOT_HERE, 404)(scope, receive, send)
        else:
            await self.app(scope, receive, lambda message: send(with_headers(message, scope["path"])))

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sweeping() -> None:
            while True:
                await asyncio.sleep(self.every_s)
                await asyncio.to_thread(sweep, Path(get_upload_folder()), self.oldest_s, shown_at_first(scope["app"]))

        task = asyncio.create_task(sweeping())
        try:
            await self.app(scope, receive, send)
        finally:
            task.cancel()


def is_closed(path: str) -> bool:
    """Whether an address, decoded, is one that nobody needs; a file of another machine's among them."""
    asked = path.partition(API)[2] or path.lstrip("/")
    return asked.startswith(CLOSED) or (asked.startswith("file") and "://" in asked)


def with_headers(message: Message, path: str) -> Message:
    """An answer as it leaves: taken for nothing but what it says it is, and visitors' pictures are in no cache."""
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        headers["X-Content-Type-Options"] = "nosniff"
        if path.startswith(API):
            headers["Cache-Control"] = "no-store"
    return message


def fetch_nothing() -> None:
    """Has gradio refuse a file that is an address instead of fetching it, except for MCP, where photos come so."""
    if os.environ.get("GRADIO_MCP_SERVER", "").lower() != "true":
        processing_utils.async_ssrf_protected_download = _refuse


async def _refuse(url: str, cache_dir: str) -> str:
    raise gr.Error(NO_ADDRESS, print_exception=False)


# Visitors' files.


@contextmanager
def visitors_folder() -> Iterator[Path]:
    """A folder for this process's visitors, which nobody else can read; it goes with the process.

    What a process left that was killed goes as well.
    """
    parent = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{FOLDER}*"):
        if _is_abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=parent))
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        with _locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = before


def shown_at_first(app: gr.routes.App) -> set[str]:
    """The files of the page as it opens, which stay as long as the app."""
    return {path for block in app.get_blocks().blocks.values() for path in getattr(block, "keep_in_cache", ())}


def sweep(folder: Path, oldest_s: float, keep: Collection[str] = ()) -> None:
    """Deletes what has been in a folder for too long, whatever put it there; and what is of the future, by its clock."""
    now = time.time()

    def old(path: str) -> bool:
        return not -CLOCK_S <= now - os.lstat(path).st_ctime <= oldest_s

    for place, folders, names in os.walk(folder, topdown=False):
        for name in names + [name for name in folders if os.path.islink(os.path.join(place, name))]:
            path = os.path.join(place, name)
            with contextlib.suppress(OSError):  # another was quicker
                if path not in keep and name != LOCK and old(path):
                    os.unlink(path)
        with contextlib.suppress(OSError):  # not empty
            if place != str(folder) and old(place):
                os.rmdir(place)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Shows others that a folder is in use, until this process ends, however it does."""
    with open(folder / LOCK, "w") as file:
        with contextlib.suppress(ImportError, OSError):  # Windows, or a disk that knows no locks
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _is_abandoned(folder: Path) -> bool:
    """Whether the process whose folder it was is gone."""
    try:
        import fcntl

        with open(folder / LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except (ImportError, OSError):
        return False
