"""What the server adds to gradio: unused addresses are blocked, headers are set, and visitors' files are deleted.

gradio deletes the files that it knows of. It does not know of the remains of an interrupted upload, of a result that nobody
waited for, nor of the files of an app that was killed.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import gradio as gr
from gradio import processing_utils
from gradio.utils import get_upload_folder
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..file_lock import hold_lock, try_lock

API_PREFIX = "/gradio_api/"
UNUSED_ROUTES = ("component_server", "custom_component", "deep_link", "dev/", "monitoring", "process_recording", "proxy=",
                 "run-history", "stream/", "vibe-")  # fmt: skip
"""What follows `API_PREFIX` in addresses that no part of the page uses: they store, record, convert or forward."""
NOT_FOUND = "There is nothing here."
NO_URLS = "Send the photo itself, not an address: this app fetches nothing from elsewhere."

FOLDER_PREFIX, LOCK_FILE = "exprgan-visitors-", ".lock"
CLOCK_TOLERANCE_S = 60
"""How far in the future a file's time may lie: clocks are corrected by some seconds now and then."""


class Guard:
    """ASGI middleware around a gradio app: blocks addresses, sets headers, and every `interval_s` deletes old files."""

    def __init__(self, app: ASGIApp, interval_s: float, max_age_s: float):
        self.app, self.interval_s, self.max_age_s = app, interval_s, max_age_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI scope."""
        if scope["type"] == "lifespan":
            task = asyncio.create_task(self._delete_repeatedly(scope["app"]))
            try:
                await self.app(scope, receive, send)
            finally:
                task.cancel()
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        elif is_blocked(scope["path"]):
            await PlainTextResponse(NOT_FOUND, 404)(scope, receive, send)
        else:
            await self.app(scope, receive, lambda message: send(add_headers(message, scope["path"])))

    async def _delete_repeatedly(self, app: gr.routes.App) -> None:
        while True:
            await asyncio.sleep(self.interval_s)
            await asyncio.to_thread(delete_old_files, Path(get_upload_folder()), self.max_age_s, initial_files(app))


def is_blocked(path: str) -> bool:
    """Whether a decoded address is one that the page does not use, or a file on another machine."""
    route = path.partition(API_PREFIX)[2] or path.lstrip("/")
    return route.startswith(UNUSED_ROUTES) or (route.startswith("file") and "://" in route)


def add_headers(message: Message, path: str) -> Message:
    """Forbids browsers to guess another content type, and to cache visitors' pictures."""
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        headers["X-Content-Type-Options"] = "nosniff"
        if path.startswith(API_PREFIX):
            headers["Cache-Control"] = "no-store"
    return message


def disable_url_fetching() -> None:
    """Makes gradio refuse a file given by its URL instead of fetching it, except for MCP, where photos are sent so."""

    async def refuse(url: str, cache_dir: str) -> str:
        raise gr.Error(NO_URLS, print_exception=False)

    if os.environ.get("GRADIO_MCP_SERVER", "").lower() != "true":
        processing_utils.async_ssrf_protected_download = refuse


# Visitors' files.


@contextlib.contextmanager
def visitors_folder() -> Iterator[Path]:
    """Makes gradio's folder for this process's visitors, readable by nobody else, and deletes it afterwards.

    The folders of processes that were killed are deleted as well.
    """
    previous = os.environ.get("GRADIO_TEMP_DIR", "")
    parent = Path(previous or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, dir=parent, ignore_cleanup_errors=True) as name:
        os.environ["GRADIO_TEMP_DIR"] = name
        try:
            with hold_lock(Path(name, LOCK_FILE), f"{name} is in use by process {{pid}}."):
                yield Path(name)
        finally:
            os.environ["GRADIO_TEMP_DIR"] = previous  # gradio takes an empty one for none


def _is_abandoned(folder: Path) -> bool:
    """Whether the process that made the folder has ended; False on a file system without locks."""
    try:
        with open(folder / LOCK_FILE) as file:
            return try_lock(file.fileno(), unsupported=False)
    except OSError:
        return False


def initial_files(app: gr.routes.App) -> set[str]:
    """The files of the page as it opens, which are kept as long as the app runs."""
    return {path for block in app.get_blocks().blocks.values() for path in getattr(block, "keep_in_cache", ())}


def delete_old_files(folder: Path, max_age_s: float, keep: Collection[str] = ()) -> None:
    """Deletes all files in a folder, and links and empty subfolders, that are too old or dated in the future."""
    now = time.time()

    def is_old(path: str) -> bool:
        return not -CLOCK_TOLERANCE_S <= now - os.lstat(path).st_ctime <= max_age_s

    for root, folders, names in os.walk(folder, topdown=False):
        for name in (*names, *folders):
            path = os.path.join(root, name)
            with contextlib.suppress(OSError):  # a folder that is not empty, or deleted by gradio meanwhile
                if path not in keep and name != LOCK_FILE and is_old(path):
                    delete = os.rmdir if os.path.isdir(path) and not os.path.islink(path) else os.unlink
                    delete(path)
