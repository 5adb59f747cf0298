"""The threads in which handlers run: for a limited time, one heavy handler at a time, and only while somebody waits."""

import contextvars
import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any

from gradio.context import LocalContext

from ..deadline import Deadline, StoppedError
from ..errors import ExprGANError

NUM_WORKERS = 2
"""Handlers that run at the same time, besides an animation and a film; further requests wait in the queue."""
TIMEOUT_S = 30
"""The longest a handler may run, from its start: ten times what the largest photo needs on two cores."""
MAX_WAIT_S = 8
"""A request that waited longer in the queue is answered with `BUSY` instead of being computed. In the queues of films and
animations, where each may take long, it may wait as long as it may run."""
MAIN_QUEUE = "work"
"""`concurrency_id` of the queue of all other requests."""
HEAVY_WAIT_S = 3
"""The longest that heavy work waits for other heavy work to end, in which time it occupies a worker."""
UNREAD_S = 10
"""An answer that nobody has begun to wait for, or that nobody waits for any more, is computed no longer than this."""
STOP_S, POLL_S = 1.0, 0.2
"""Time in which work that is stopped ends, and the interval at which a visitor who left is noticed."""

TOO_LONG = (
    "This took longer than {:.0f} seconds and was cancelled. Please try again, or with a smaller photo or a shorter film."
)
ABANDONED = "Nobody waited for this answer, so it was not computed."
BUSY = "Many visitors are here at the moment. Please try again in {} s."
HEAVY_BUSY = "Another visitor's faces are being edited, and that takes a while. Please try again in {} s."

POOL = ThreadPoolExecutor(NUM_WORKERS + 2, thread_name_prefix="handler")
_heavy = threading.Semaphore()
_heavy_until = 0.0
_at_end: contextvars.ContextVar[ExitStack | None] = contextvars.ContextVar("at_end", default=None)
_recent_seconds: defaultdict[str, deque[float]] = defaultdict(lambda: deque([1.0], maxlen=20))
"""By queue: how long the latest handlers ran, in s."""


def run_limited(work: Callable[[], Any], timeout_s: float | None = None) -> Any:
    """Runs work in a thread of the pool, in the context of the caller, and returns its result.

    timeout_s: the longest that it may run, in s; TIMEOUT_S if None.

    Raises:
        ExprGANError: it was not begun in time (`BUSY`), took too long (`TOO_LONG`) or has no one who waits (`ABANDONED`).
        Exception: whatever the work raises.
    """
    timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
    visitor, deadline = _Visitor(), Deadline(timeout_s, TOO_LONG.format(timeout_s))
    if visitor.has_left():
        raise StoppedError(ABANDONED)
    max_wait_s = MAX_WAIT_S if visitor.queue_id == MAIN_QUEUE else timeout_s
    if visitor.waited_s > max_wait_s:
        raise ExprGANError(BUSY.format(visitor.retry_s()))

    def perform() -> Any:
        start = time.monotonic()
        with deadline.running(), ExitStack() as stack:
            _at_end.set(stack)
            result = work()
        _recent_seconds[visitor.queue_id].append(time.monotonic() - start)
        return result

    begun = time.monotonic()
    future = POOL.submit(contextvars.copy_context().run, perform)  # gradio's progress bar finds its event in the context
    while not wait([future], POLL_S).done:
        if visitor.has_left():
            deadline.cancel(ABANDONED)
        elif not future.running() and time.monotonic() - begun > max_wait_s - visitor.waited_s:
            deadline.cancel(BUSY.format(visitor.retry_s()))
        elif deadline.seconds_left > -STOP_S:
            continue
        if not future.cancel():
            wait([future], STOP_S)
        raise StoppedError(deadline.message)
    return future.result()


def claim_heavy_work() -> None:
    """Makes the running handler the only heavy one until it ends, so that another worker stays free for light work.

    Raises:
        ExprGANError: another one is running, and did not end within `HEAVY_WAIT_S`.
    """
    global _heavy_until
    stack = _at_end.get()
    if stack is None:  # not in a worker
        return
    if not _heavy.acquire(timeout=HEAVY_WAIT_S):
        raise ExprGANError(HEAVY_BUSY.format(max(1, math.ceil(_heavy_until - time.monotonic()))))
    stack.callback(_heavy.release)
    _heavy_until = time.monotonic() + TIMEOUT_S


class _Visitor:
    """Whoever waits for the answer of the event in whose context this is made; outside of an event, somebody does."""

    def __init__(self) -> None:
        self._queue = getattr(LocalContext.blocks.get(None), "_queue", None)  # false when it is empty
        self._event = None
        if self._queue is not None:
            self._event = self._queue.event_ids_to_events.get(LocalContext.event_id.get(None))
        self.queue_id = self._event.concurrency_id if self._event else MAIN_QUEUE
        self.waited_s = time.monotonic() - self._event.enqueue_time if self._event else 0.0
        self._unread_since = self._event.enqueue_time if self._event else 0.0
        self._read_before = 1  # the message that this event starts

    def has_left(self) -> bool:
        """Whether the connection was closed, the event was cancelled, or nobody has read messages for `UNREAD_S`."""
        event, queue = self._event, self._queue
        if event is None or queue is None:
            return False
        messages = queue.pending_messages_per_session.get(event.session_hash)
        if not event.alive or messages is None:
            return True
        if event._id not in queue.pending_event_ids_session.get(event.session_hash, ()):
            return True
        if messages.qsize() <= self._read_before:
            self._unread_since = time.monotonic()
        self._read_before = 0
        return time.monotonic() - self._unread_since > UNREAD_S

    def retry_s(self) -> int:
        """When a request made then may expect an answer: in how many seconds those that wait now are answered."""
        queues = {} if self._queue is None else self._queue.event_queue_per_concurrency_id
        own = queues.get(self.queue_id)
        waiting, at_once = (len(own.queue), own.concurrency_limit or 1) if own else (0, NUM_WORKERS)
        recent = _recent_seconds[self.queue_id]
        return max(2, math.ceil((waiting + 1) * sum(recent) / len(recent) / at_once))
