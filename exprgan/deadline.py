"""Work that can be stopped: every long loop calls `check`, which raises once a deadline is over or was cancelled.

A deadline is in force for the code called inside `with deadline.running()`, in that thread; outside, `check` does nothing.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import ExprGANError


class StoppedError(ExprGANError):
    """The work was stopped before it was complete: its time is over, or nobody waits for it."""


class Deadline:
    """How long work may run; any thread may end it earlier.

    Args:
        seconds: from the moment at which the deadline is put in force.
        message: what `StoppedError` says once the time is over.
    """

    def __init__(self, seconds: float, message: str):
        self.seconds, self.message = seconds, message
        self._end = math.inf
        self._cancelled = threading.Event()

    @property
    def seconds_left(self) -> float:
        """Negative once the time is over; infinite before the deadline is in force."""
        return self._end - time.monotonic()

    def cancel(self, message: str) -> None:
        """Ends the work at its next check, with a message of its own."""
        self.message = message
        self._cancelled.set()

    def check(self) -> None:
        """Raises StoppedError if the work is to end."""
        if self._cancelled.is_set() or self.seconds_left < 0:
            raise StoppedError(self.message)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Puts the deadline in force, beside those around it."""
        self._end = time.monotonic() + self.seconds
        token = _in_force.set((*_in_force.get(), self))
        try:
            yield
        finally:
            _in_force.reset(token)


_in_force: ContextVar[tuple[Deadline, ...]] = ContextVar("deadlines", default=())


def check() -> None:
    """Raises StoppedError if a deadline in force is over or cancelled; called in every step of a long computation."""
    for deadline in _in_force.get():
        deadline.check()
