"""Bodies of requests: read with limits of bytes, time and depth, before gradio parses them."""

import asyncio
import itertools
import re
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from .refusals import Refused

TOO_LARGE = "This request is too large: more than {size}. A photo may have 40 MB."
TOO_DEEP = "The JSON of this request is nested more than {depth} levels deep. No setting of this app needs that."
TOO_MANY_VALUES = "The JSON of this request has more than {count} values. No setting of this app needs that."
TOO_SLOW = "The rest of this request did not arrive in time. Please try again, with a better connection or a smaller photo."

STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
"""Strings of JSON, the last one perhaps without an end."""
MARKS = b"[]{},"
NOT_MARKS = bytes(set(range(256)) - set(MARKS))
STEPS = dict(zip(MARKS, (1, -1, 1, -1, 0), strict=True))


def json_size(data: bytes) -> tuple[int, int]:
    """Depth and number of values of text that may be JSON, without parsing it; linear in its length.

    Returns:
        The most levels of lists and objects within each other; at least the number of values, at most twice as many.
    """
    marks = STRINGS.sub(b"", data).translate(None, NOT_MARKS)
    depth = max(itertools.accumulate(map(STEPS.__getitem__, marks), initial=0))
    return depth, 1 + marks.count(b",") + marks.count(b"[") + marks.count(b"{")


def check_json(data: bytes, max_depth: int, max_values: int) -> None:
    """Raises Refused, 400, if text that may be JSON is nested too deeply or has too many values."""
    depth, count = json_size(data)
    if depth > max_depth:
        raise Refused(400, TOO_DEEP.format(depth=max_depth))
    if count > max_values:
        raise Refused(400, TOO_MANY_VALUES.format(count=max_values))


def declared_length(scope: Scope) -> int | None:
    """Content-Length, or None without one."""
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isdecimal() else None


class LimitedBody:
    """An ASGI `receive` that ends a body with `Refused` when it has too many bytes or comes too slowly.

    Args:
        receive: the `receive` of the server.
        max_bytes: of the whole body, whatever Content-Length says.
        idle_s, total_s: the longest wait for its next part, and for all of it.
        count: called with the number of bytes of each part; may raise `Refused` as well.
    """

    def __init__(self, receive: Receive, max_bytes: int, idle_s: float, total_s: float,
                 count: Callable[[int], None] = lambda _: None):  # fmt: skip
        self._receive, self._max_bytes, self._idle_s, self._count = receive, max_bytes, idle_s, count
        self._bytes, self._end, self._complete = 0, time.monotonic() + total_s, False
        self.refused: Refused | None = None

    async def __call__(self) -> Message:
        """The next message; after the whole body, those of the server."""
        if self._complete:
            return await self._receive()
        try:
            return await self._next()
        except Refused as error:
            self.refused = error
            raise

    async def _next(self) -> Message:
        try:
            left = max(0, min(self._idle_s, self._end - time.monotonic()))
            message = await asyncio.wait_for(self._receive(), left)
        except asyncio.TimeoutError:
            raise Refused(408, TOO_SLOW) from None
        if message["type"] != "http.request":  # the client has left
            self._complete = True
            raise Refused(408, TOO_SLOW)
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._max_bytes:
            raise Refused(413, TOO_LARGE.format(size=in_bytes(self._max_bytes)))
        self._count(len(message.get("body", b"")))
        self._complete = not message.get("more_body", False)
        return message

    async def read(self) -> bytes:
        """The whole body."""
        parts = []
        while not self._complete:
            parts.append((await self())["body"])
        return b"".join(parts)

    def replay(self, body: bytes) -> Receive:
        """A `receive` that gives a body that was read, and then the messages of the server."""
        first = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            return first.pop() if first else await self._receive()

        return receive


async def discard_body(receive: Receive, max_bytes: int, max_s: float) -> None:
    """Reads on for a while after a refusal, as many clients read the answer only when they have sent everything."""
    end, left = time.monotonic() + max_s, max_bytes
    while left > 0 and (wait := end - time.monotonic()) > 0:
        try:
            message = await asyncio.wait_for(receive(), wait)
        except asyncio.TimeoutError:
            return
        left -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return


def in_bytes(count: int) -> str:
    """A size to read: "256 kB", "43 MB"."""
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
