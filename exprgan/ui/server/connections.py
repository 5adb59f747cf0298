"""Connections: how long one may be idle or stall, and how many there may be. gradio has no options for these of uvicorn."""

import asyncio

import gradio as gr
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from .limits import Limits


class TimedProtocol(H11Protocol):
    """uvicorn's protocol; a request whose head does not arrive in time, or an answer that is not taken, ends it."""

    limits = Limits()
    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:
        """Starts to wait for the head of the first request."""
        super().connection_made(transport)
        self._set_head_timer()

    def data_received(self, data: bytes) -> None:
        """Handles data; the time for a head ends when it is complete."""
        super().data_received(data)
        self._set_head_timer()

    def on_response_complete(self) -> None:
        """Keeps the connection for another request, whose time starts with its first byte."""
        super().on_response_complete()
        self._set_head_timer()

    def _set_head_timer(self) -> None:
        awaits_head = self.cycle is None or self.cycle.response_complete
        if not awaits_head and self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
        elif awaits_head and not self._head_timer:
            self._head_timer = self.loop.call_later(self.limits.idle_s, self.transport.abort)

    def pause_writing(self) -> None:
        """Called when the client takes nothing more for now."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.limits.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Called when it does again."""
        super().resume_writing()
        if self._write_timer:
            self._write_timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends all waiting."""
        for timer in (self._head_timer, self._write_timer):
            if timer:
                timer.cancel()
        super().connection_lost(exc)


def limit_connections(app: gr.Blocks, limits: Limits) -> None:
    """Applies the limits to all further connections of an app that was launched.

    uvicorn reads its configuration for each connection anew. WebSockets are not served, and what X-Forwarded-For says is
    left to `HostPolicy`.
    """
    config = app.server.config
    config.limit_concurrency = limits.connections
    config.ws_protocol_class = None
    config.http_protocol_class = type("TimedProtocol", (TimedProtocol,), {"limits": limits})
    if isinstance(config.loaded_app, ProxyHeadersMiddleware):
        config.loaded_app = config.loaded_app.app
