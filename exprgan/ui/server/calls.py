"""Calls of the page and the API: wrong ones get a sentence, and no error reaches the log with a visitor's words."""

import json
import logging
import os
import re
import traceback
from typing import Any

import gradio as gr
from gradio import processing_utils, route_utils

from .refusals import Refused

LOG = logging.getLogger("exprgan.ui")

SESSION = re.compile(r"[\w.-]{1,128}", re.ASCII)
NO_ACTION = "There is no such action. The page /?view=api lists them."
WRONG_CALL = "This call does not fit its action. The page /?view=api shows what it takes."
NOT_JSON = "The body of this request is no JSON."
NO_SESSION = "A session is named by up to 128 letters, digits, dots and dashes."
NO_URLS = "Send the photo itself, not an address: this app fetches nothing from elsewhere."
APOLOGY = "Sorry, something went wrong here, not with you. Please try again."

NAMED_CALL = re.compile(r"/gradio_api/(?:call/v2|call|run|api)/([^/]+)/?")
"""A call of an action by its name, which is the group."""
CALL_BY_NUMBER = re.compile(r"/gradio_api/(?:queue/join|run/predict|api/predict)/?")


def check_call(app: gr.Blocks, path: str, body: bytes) -> None:
    """Checks a POST request that calls an action; gradio answers wrong ones with status 500 and a traceback in its log.

    Raises:
        Refused: 404, there is no such action; 400, the body is no JSON, or names what does not exist.
    """
    by_number, named = CALL_BY_NUMBER.fullmatch(path), NAMED_CALL.fullmatch(path)
    if not by_number and not named:
        return
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, NOT_JSON) from None
    if not isinstance(content, dict):
        raise Refused(400, WRONG_CALL)
    session, number = content.get("session_hash"), content.get("fn_index")
    if session is not None and not (isinstance(session, str) and SESSION.fullmatch(session)):
        raise Refused(400, NO_SESSION)
    if by_number:
        action = app.fns.get(number) if isinstance(number, int) else None
    else:
        action = next((fn for fn in app.fns.values() if named and fn.api_name == named[1]), None)
    if action is None:
        raise Refused(404, NO_ACTION)
    if number is not None and number not in app.fns:
        raise Refused(404, NO_ACTION)
    if "/call/v2/" not in path:
        data, public = content.get("data"), [component for component in action.inputs if not component.skip_api]
        if not isinstance(data, list) or len(data) not in (len(action.inputs), len(public)):
            raise Refused(400, WRONG_CALL)


def refusal_of(path: str, error: Exception) -> Refused | None:
    """What to answer where gradio stumbled over a request; None if that is not the request's fault."""
    if NAMED_CALL.fullmatch(path) and isinstance(error, (ValueError, TypeError, KeyError)):
        return Refused(400, WRONG_CALL)
    return None


def quiet_errors() -> None:
    """Makes gradio report every error of a call as `log_error` does, and show the visitor a sentence instead of nothing."""
    process = route_utils.call_process_api
    if hasattr(process, "__wrapped__"):
        return

    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await process(*args, **kwargs)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            log_error("a call", error)
            message = WRONG_CALL if isinstance(error, (ValueError, TypeError, KeyError)) else APOLOGY
            raise gr.Error(message, print_exception=False) from None

    call.__wrapped__ = process  # type: ignore[attr-defined]
    route_utils.call_process_api = call


def log_error(where: str, error: BaseException) -> None:
    """Logs an error by its type and place, without its message, which may have a visitor's words in it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    LOG.error("%s failed: %s%s", where, type(error).__name__, place)


def disable_url_fetching() -> None:
    """Makes gradio refuse a file given by its URL instead of fetching it, except for MCP, where photos are sent so."""

    async def refuse(url: str, cache_dir: str) -> str:
        raise gr.Error(NO_URLS, print_exception=False)

    if os.environ.get("GRADIO_MCP_SERVER", "").lower() != "true":
        processing_utils.async_ssrf_protected_download = refuse
