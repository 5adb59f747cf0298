"""The processes of a run: those that `accelerate launch` or torchrun started, if they work together."""

import os
from datetime import timedelta

from accelerate import PartialState

from .train_errors import RunError


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
