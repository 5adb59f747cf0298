"""How a handler becomes a function that gradio can call, for the page's events and for the endpoints of the API."""

import functools
import inspect
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from ..editor import ExpressionEditor
from ..errors import ExprGANError
from .input_checks import check_input
from .session_memory import forget_least_used
from .workers import MAIN_QUEUE, NUM_WORKERS, run_limited

APOLOGY = "Sorry, something went wrong here, not with you. Please try again, or try another photo."

COMPUTE = {"concurrency_id": MAIN_QUEUE, "concurrency_limit": NUM_WORKERS, "trigger_mode": "always_last"}
"""Options of an event that computes: all of them share one queue, and of many moves of a slider the last counts."""
INTERNAL = {"show_progress": "hidden", "api_visibility": "private"}
"""Options of an event that is no endpoint of the API and shows no progress."""

LOG = logging.getLogger("exprgan.ui")


def with_error_handling(handler: Callable, editor: ExpressionEditor, timeout_s: float | None = None) -> Callable:
    """Binds a handler to its editor, limits its time, and turns its errors into messages; tracebacks go to the log."""
    bound = functools.partial(handler, editor)

    def run(*settings):
        try:
            return run_limited(functools.partial(bound, *settings), timeout_s)
        except (ExprGANError, ValueError) as error:
            message = without_folder(str(error))
        except Exception:
            LOG.exception("a handler of the app failed")
            message = APOLOGY
        finally:
            forget_least_used()
        raise gr.Error(message, print_exception=False)

    # gradio names the API's parameters, and the tools of MCP, after these
    run.__wrapped__, run.__doc__, run.__name__ = bound, handler.__doc__, handler.__name__  # type: ignore[attr-defined]
    return run


def without_folder(message: str) -> str:
    """A message with the names of visitors' files alone, without the folder on this server in which they are."""
    folder = re.escape(str(Path(get_upload_folder()).resolve()))
    return re.sub(rf"{folder}/(?:[^/\s]+/)*", "", message)


def page_event(handler: Callable, editor: ExpressionEditor, inputs: list, outputs: list, timeout_s: float | None = None,
               **options: Any) -> dict[str, Any]:  # fmt: skip
    """The arguments of the page's own events that call a handler, which may run for `timeout_s`."""
    return {"fn": with_error_handling(handler, editor, timeout_s), "inputs": inputs, "outputs": outputs,
            "api_visibility": "private", **COMPUTE, **options}  # fmt: skip


def add_endpoint(handler: Callable, editor: ExpressionEditor, inputs: list, outputs: list, timeout_s: float | None = None,
                 **options: Any) -> None:  # fmt: skip
    """Adds a handler to the API: an event that nothing on the page triggers, keeps no session, may run `timeout_s`."""
    options = {**COMPUTE, **options}
    for component, name in zip(inputs, list(inspect.signature(stateless(handler)).parameters)[1:], strict=False):
        check_input(component, name)
    call = with_error_handling(stateless(handler), editor, timeout_s)
    gr.on([], call, inputs, outputs, api_name=handler.__name__, **options)


def stateless(handler: Callable) -> Callable:
    """The handler without its parameter `session` or `sessions`, and without the session at the end of a tuple of results.

    Every parameter may be left out. A program's calls are independent. (And a tool of gradio's MCP that returned a session
    would return nothing else.)
    """
    signature = inspect.signature(handler)
    names = list(signature.parameters)
    position = next((i for i, name in enumerate(names) if name in ("session", "sessions")), None)

    @functools.wraps(handler)
    def call(*settings):
        if position is None:
            return handler(*settings)
        result = handler(*settings[:position], None, *settings[position:])
        if not isinstance(result, tuple):
            return result
        return result[0] if len(result) == 2 else result[:-1]

    public = [parameter.replace(default=None if parameter.default is parameter.empty else parameter.default)
              for i, parameter in enumerate(signature.parameters.values()) if i != position]  # fmt: skip
    call.__signature__ = signature.replace(parameters=public)  # type: ignore[attr-defined]
    return call
