"""gradio's queue with limits: a few calls of each client, in turn, and none whose answer nobody waits for."""

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import gradio as gr
from fastapi import HTTPException

from .clients import BUSY_CLIENT_S, Clients
from .refusals import Refused

CLIENT = "exprgan.client"
"""Key of an ASGI scope: the client, as `HostPolicy.client` names it."""
SWEEP_S = 1
"""Interval at which calls that nobody waits for are looked for, in s."""
QUEUE_FULL = "Queue is full: {count} requests of other visitors are waiting."
QUEUE_FULL_S = 10
"""When to try again where the queue is full, in s."""
TOO_MANY_CALLS = "{count} of your requests are still being worked on."
NO_ANSWER = (
    "There is no answer here: it was fetched already, or nobody waited for it in time. Please send the request again."
)
SENT_ELSEWHERE = "This answer is being sent over another connection."


class CallQueue:
    """Limits gradio's queue of one app, by taking the place of its methods `push` and `get_events`."""

    def __init__(self, app: gr.Blocks, clients: Clients):
        self.app, self.clients, self.limits = app, clients, clients.limits
        self.queue = app._queue
        self.queue.ANALYTICS_MAX_EVENTS = 1  # gradio summarises its record of events after each one
        self._push, self.queue.push, self.queue.get_events = self.queue.push, self.push, self.next_call
        self._streams: Counter[str] = Counter()
        self._last_heard: dict[str, float] = {}
        self._lingering: dict[str, asyncio.Event] = {}

    async def push(self, body: Any, request: Any, username: str | None) -> tuple:
        """As gradio's: adds a call to the queue. Raises HTTPException: 429 or 503, with Retry-After."""
        client = request.scope.get(CLIENT, "")
        try:
            if len(self.calls_of(client)) >= self.limits.waiting_calls:
                raise Refused(429, TOO_MANY_CALLS.format(count=self.limits.waiting_calls), BUSY_CLIENT_S)
            if len(self.queue) >= self.limits.queue:
                raise Refused(503, QUEUE_FULL.format(count=len(self.queue)), QUEUE_FULL_S)
        except Refused as error:
            raise HTTPException(error.status, error.message, error.headers) from None
        result = await self._push(body=body, request=request, username=username)
        if body.session_hash:
            self._last_heard.setdefault(body.session_hash, time.monotonic())
            if lingering := self._lingering.get(body.session_hash):
                lingering.set()
            self.drop_sessions(self.clients.use_session(client, body.session_hash))
        self.sort_fairly()
        return result

    def sort_fairly(self) -> None:
        """Moves the first waiting call of each client before all second ones, and so on."""
        for event_queue in self.queue.event_queue_per_concurrency_id.values():
            earlier: Counter[str] = Counter()
            ranks = {}
            for event in sorted(event_queue.queue, key=lambda event: event.enqueue_time):
                ranks[event] = earlier[client_of(event)], event.enqueue_time
                earlier[client_of(event)] += 1
            event_queue.queue.sort(key=ranks.__getitem__)

    def next_call(self) -> tuple[list[Any], bool, str] | None:
        """As gradio's `get_events`, but leaves out the calls of clients of whom enough run already."""
        for concurrency_id, event_queue in self.queue.event_queue_per_concurrency_id.items():
            if not event_queue.queue or event_queue.current_concurrency >= (event_queue.concurrency_limit or math.inf):
                continue
            waiting = set(event_queue.queue)
            running = Counter(client_of(event) for event in self.queue.event_ids_to_events.values()
                              if event.concurrency_id == concurrency_id and event not in waiting)  # fmt: skip
            for event in event_queue.queue:
                if running[client_of(event)] < self.limits.running_calls:
                    event_queue.queue.remove(event)
                    return [event], False, concurrency_id
        return None

    def calls_of(self, client: str) -> list[Any]:
        """The client's calls that wait or run."""
        return [event for event in self.queue.event_ids_to_events.values() if client_of(event) == client]

    def drop_sessions(self, sessions: list[str]) -> None:
        """Drops what gradio keeps of sessions, unless a call of theirs waits or runs."""
        holder = self.app.state_holder
        for session in sessions:
            if not self.queue.pending_event_ids_session.get(session):
                holder.session_data.pop(session, None)
                holder.time_last_used.pop(session, None)

    def session_of(self, event_id: str) -> str | None:
        """The session in which an event's answer is expected, or None."""
        event = self.queue.event_ids_to_events.get(event_id)
        if event is not None:
            return event.session_hash
        return next((session for session, ids in self.queue.pending_event_ids_session.items() if event_id in ids), None)

    def awaits_answers(self, session: str) -> bool:
        """Whether a session has calls whose answers were not sent."""
        return bool(self.queue.pending_event_ids_session.get(session))

    async def another_call(self, session: str) -> None:
        """Waits until a session has sent another call."""
        event = self._lingering[session] = asyncio.Event()
        try:
            if not self.awaits_answers(session):
                await event.wait()
        finally:
            del self._lingering[session]

    @contextlib.contextmanager
    def listening(self, session: str | None) -> Iterator[None]:
        """Notes within the block that somebody listens for the answers of a session.

        Raises:
            Refused: 404, no answer is expected, now or later; 409, somebody else is listening.
        """
        if session is None or not self.awaits_answers(session):
            raise Refused(404, NO_ANSWER)
        if self._streams[session]:
            raise Refused(409, SENT_ELSEWHERE)
        self._streams[session] += 1
        try:
            yield
        finally:
            del self._streams[session]
            self._last_heard[session] = time.monotonic()

    async def sweep_repeatedly(self) -> None:
        """Drops calls that nobody listens for, every `SWEEP_S`, until it is cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            await self.sweep()

    async def sweep(self) -> None:
        """Drops calls that wait if nobody has been listening for their answers for `unclaimed_s`; they are not computed."""
        pending, now = self.queue.pending_event_ids_session, time.monotonic()
        for event_queue in list(self.queue.event_queue_per_concurrency_id.values()):
            for session in {event.session_hash for event in event_queue.queue}:
                silent_s = now - self._last_heard.setdefault(session, now)
                if not self._streams[session] and silent_s >= self.limits.unclaimed_s:
                    await self.queue.clean_events(session_hash=session)
                    self.queue.pending_messages_per_session.pop(session, None)
        for session in [session for session in self._last_heard if not pending.get(session) and not self._streams[session]]:
            del self._last_heard[session]
        self.clients.forget_sessions(set(self.app.state_holder.session_data))


def client_of(event: Any) -> str:
    """The client that sent a call."""
    return event.request.scope.get(CLIENT, "")
