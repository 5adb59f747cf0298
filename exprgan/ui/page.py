"""The page: all tabs on one editor, served behind `server.guard.Guard`. `app.py` and `exprgan app` call `main`."""

import json
import logging
import os
import re
import signal
import sys
import threading
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from ..editor import ExpressionEditor
from ..errors import ExprGANError
from ..models.exprgan import ExprGAN
from ..models.hub_source import BUNDLED_WEIGHTS, default_model
from ..photo.detection import load_detector
from .api import add_api, agents_route
from .components import THEME, connect_links, pass_empty_numbers
from .photo_session import EXAMPLE_FOLDER, MAX_AGE_S
from .server.calls import disable_url_fetching, quiet_errors
from .server.connections import limit_connections
from .server.guard import Guard
from .server.hosts import HostPolicy
from .server.limits import Limits
from .server.memory import limit_arenas
from .server.response_headers import use_own_origins
from .server.uploads import use_upload_parser
from .server.visitor_files import visitors_folder
from .tabs import TABS
from .zero_gpu import register_gpu_function

PRELOAD_AFTER_S = 10
"""The face detector is loaded this long after the start, when the first page has been served."""
CLEANUP_INTERVAL_S = 300
"""Interval at which files are deleted. The age limit is shorter by two intervals, so that no file outlives the hour."""

TITLE = "# ExprGAN\nChange the expression of a face in a photo, as little or as much as you like."
SCRIPTS = "page.js", "keep.js", "visit.js", "tiles.js", "dials.js", "viewer.js", "live.js"

FOLDER = Path(__file__).parent


def page_script() -> str:
    """The files of static/ as one function, which gradio calls when the page has loaded."""
    return "() => {\n" + "\n".join((FOLDER / "static" / name).read_text(encoding="utf-8") for name in SCRIPTS) + "\n}"


LAUNCH_OPTIONS = {
    "theme": THEME, "css_paths": FOLDER / "style.css", "js": page_script(),
    "footer_links": ["api", "settings"], "allowed_paths": [str(EXAMPLE_FOLDER)], "max_file_size": "40mb",
    "state_session_capacity": 64, "run_history": False, "ssr_mode": False, "share": False, "enable_monitoring": False,
}  # fmt: skip
"""Arguments of gradio's `launch`, the same here and on a Space: no history, no telemetry."""

LOG = logging.getLogger("exprgan.ui")


def build_app(editor: ExpressionEditor, note: str = "") -> gr.Blocks:
    """The page with all tabs, on an editor shared by all visitors; `note` is a message about the model, shown above."""
    delete_cache = CLEANUP_INTERVAL_S, MAX_AGE_S - 2 * CLEANUP_INTERVAL_S
    with gr.Blocks(title="ExprGAN", analytics_enabled=False, delete_cache=delete_cache) as app:
        gr.Markdown(TITLE, elem_id="title")
        gr.Markdown(note, visible=bool(note), elem_id="note")
        add_api(editor)  # before the page's own events, as names are given out in order
        with gr.Tabs() as tabs:
            links = {}
            for title, lay_out in TABS.items():
                with gr.Tab(title, id=title) as tab:
                    links[title] = lay_out(editor)
                tab.select(None, js=f"() => exprgan.opened({json.dumps(title)})", api_visibility="private")
        connect_links(app, tabs, {title: link for title, link in links.items() if link}, editor)
    return app.queue(max_size=None, api_open=False)


def serve(app: gr.Blocks, limits: Limits | None = None, **options) -> str:
    """Launches the page, behind a `Guard`, and returns its address, or does so when it is stopped.

    Args:
        app: the page.
        limits: of requests, clients and files.
        options: of gradio's `launch`; they replace those in `LAUNCH_OPTIONS`. With `prevent_thread_lock` this returns
            at once.

    Raises:
        ValueError: EXPRGAN_TRUSTED_PROXIES is no number.
    """
    disable_url_fetching()
    pass_empty_numbers()
    use_upload_parser()
    quiet_errors()
    limits, policy = limits or Limits(), HostPolicy.from_environment()
    use_own_origins(policy)
    options = LAUNCH_OPTIONS | options
    returns = options.pop("prevent_thread_lock", False)
    middleware = [Middleware(Guard, app, limits, policy)]
    more = {"middleware": middleware, "routes": [agents_route(app)]}
    url = app.launch(**options, prevent_thread_lock=True, app_kwargs=more)[1]
    limit_connections(app, limits)
    if not returns:
        app.block_thread()
    return url


def load_editor(model: str) -> tuple[ExpressionEditor, str]:
    """The editor, and a note for visitors. If the Hub cannot provide the model, the bundled weights replace it.

    Args:
        model: a folder, or "org/name" or "org/name@revision" on the Hub.

    Raises:
        WeightsError: the named folder holds no model, or neither the Hub nor the bundled weights can be read.
    """
    try:
        return ExpressionEditor(ExprGAN.from_pretrained(model)), ""
    except ExprGANError as error:
        if Path(model).is_dir() or not BUNDLED_WEIGHTS.is_dir():
            raise
        LOG.warning("%s; serving the bundled weights", error)
        note = f"The model {model} is unavailable at the moment. This page uses the one that came with the app instead."
        return ExpressionEditor(ExprGAN.from_pretrained(BUNDLED_WEIGHTS)), note


def main(model: str = "") -> None:
    """Loads a model and serves the page until the process is stopped; raises SystemExit if that fails.

    `model` is as in `load_editor`; if empty, EXPRGAN_MODEL or, without it, `default_model`.
    """
    logging.basicConfig(level=logging.INFO)
    register_gpu_function()
    limit_arenas()
    try:
        editor, note = load_editor(model or os.environ.get("EXPRGAN_MODEL") or default_model())
    except ExprGANError as error:
        raise SystemExit(f"The app needs a model: {error}") from None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # sent by `docker stop`; the visitors' folder is deleted on exit
    preload = threading.Timer(PRELOAD_AFTER_S, load_detector)
    preload.daemon = True
    preload.start()
    try:
        with visitors_folder():
            serve(build_app(editor, note))
    except ValueError as error:
        raise SystemExit(str(error)) from None
    except OSError as error:
        if not (ports := re.search(r"empty port in range: (\d+-\d+)", str(error))):
            raise
        raise SystemExit(f"No port in the range {ports[1]} is free; choose another one, for example: "
                         "GRADIO_SERVER_PORT=8000") from None  # fmt: skip
