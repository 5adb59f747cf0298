"""The processes of a run: those that `accelerate launch` or torchrun started, if they work together."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from exprgan.errors import ExprGANError

from .train_errors import RunError

Result = TypeVar("Result")


def started_processes() -> int:
    """Number of processes that the launcher started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def process_state(cpu: bool, timeout: timedelta | None = None) -> PartialState:
    """accelerate's state of this process.

    Args:
        cpu: use the CPU even where there is a GPU.
        timeout: how long processes wait for each other; None: accelerate's default.

    Raises:
        RunError: several processes were started, and each would work alone, in the same folder.
    """
    state = PartialState(cpu=cpu, **({"timeout": timeout} if timeout else {}))
    if started_processes() > 1 and state.num_processes == 1:
        raise RunError(
            f"{started_processes()} processes were started, and each would train a model of its own in the same folder, "
            "as there is no GPU for them; add --cpu, with which they train together, or start one process"
        )
    return state


def call_once(function: Callable[[], Result]) -> Result:
    """Calls a function on the main process alone, and returns its result, which must be picklable, on all.

    Raises:
        ExprGANError: as the function, on all processes.
    """
    outcome: list[object] = [None, None]
    if PartialState().is_main_process:
        try:
            outcome = [function(), None]
        except ExprGANError as error:
            outcome = [None, error]
    if PartialState().num_processes > 1:
        broadcast_object_list(outcome)
    result, failure = outcome
    if isinstance(failure, ExprGANError):
        raise failure
    return result
