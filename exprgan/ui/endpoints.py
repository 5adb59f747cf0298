"""How a handler becomes a function that gradio can call, for the page's events and for the endpoints of the API."""

import contextvars
import functools
import inspect
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError  # Python 3.10's is not the built-in one

import gradio as gr

from ..editor import ExpressionEditor
from ..errors import ExprGANError

NUM_WORKERS = 2
"""Handlers that run at the same time; further requests wait in the queue."""
TIMEOUT_S = 30
"""The longest a handler may run: ten times what the largest photo needs on two cores."""
TOO_LONG = f"This took longer than {TIMEOUT_S} seconds and was given up. Please try again, or try a smaller photo."
APOLOGY = "Sorry, something went wrong here, not with you. Please try again, or try another photo."

COMPUTE = {"concurrency_id": "work", "concurrency_limit": NUM_WORKERS, "trigger_mode": "always_last"}
"""Options of an event that computes: all of them share one queue, and of many moves of a slider the last counts."""

LOG = logging.getLogger("exprgan.ui")
WORKERS = ThreadPoolExecutor(NUM_WORKERS, thread_name_prefix="handler")


def with_error_handling(handler: Callable, editor: ExpressionEditor) -> Callable:
    """Binds a handler to its editor, limits its time, and turns its errors into messages; tracebacks go to the log."""
    bound = functools.partial(handler, editor)

    def run(*settings):
        context = contextvars.copy_context()  # gradio's progress bar finds its event in it
        future = WORKERS.submit(context.run, bound, *settings)
        try:
            return future.result(TIMEOUT_S)
        except FutureTimeoutError:
            future.cancel()
            raise gr.Error(TOO_LONG, print_exception=False) from None
        except (ExprGANError, ValueError) as error:
            raise gr.Error(str(error), print_exception=False) from None
        except Exception:
            LOG.exception("a handler of the app failed")
            raise gr.Error(APOLOGY, print_exception=False) from None

    # gradio names the API's parameters, and the tools of MCP, after these
    run.__wrapped__, run.__doc__, run.__name__ = bound, handler.__doc__, handler.__name__  # type: ignore[attr-defined]
    return run


def add_endpoint(handler: Callable, editor: ExpressionEditor, inputs: list, outputs: list, **options) -> None:
    """Adds a handler to the API: an event that nothing on the page triggers, and that keeps no session.

    It must be added before the page's own events of the same handler, as gradio gives an API name to the first that asks.
    """
    inputs, outputs = ([c for c in components if not isinstance(c, gr.State)] for components in (inputs, outputs))
    fn = with_error_handling(stateless(handler, len(outputs)), editor)
    gr.on([], fn, inputs, outputs, api_name=handler.__name__, **COMPUTE | options)


def stateless(handler: Callable, num_outputs: int) -> Callable:
    """The handler without its parameter `session` or `sessions`, and without the session that it returns last.

    A program's calls are independent. (And a tool of gradio's MCP that returned a session would return nothing else.)

    Args:
        handler: takes at most one such parameter.
        num_outputs: the number of results without the session.
    """
    signature = inspect.signature(handler)
    names = list(signature.parameters)
    position = next((i for i, name in enumerate(names) if name in ("session", "sessions")), len(names))

    @functools.wraps(handler)
    def call(*settings):
        session = () if position == len(names) else (None,)
        result = handler(*settings[:position], *session, *settings[position:])
        if not isinstance(result, tuple) or len(result) <= num_outputs:
            return result
        return result[0] if num_outputs == 1 else result[:num_outputs]

    public = [parameter for i, parameter in enumerate(signature.parameters.values()) if i != position]
    call.__signature__ = signature.replace(parameters=public)  # type: ignore[attr-defined]
    return call
