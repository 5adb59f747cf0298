"""ASGI middleware around a gradio app: every request passes it, and is refused by it, before gradio sees it."""

import asyncio
import contextlib
import functools
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs

import gradio as gr
from gradio.routes import file_upload_statuses
from gradio.utils import get_upload_folder
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .call_queue import CLIENT, CallQueue
from .calls import APOLOGY, check_call, log_error, refusal_of
from .clients import Clients
from .hosts import FOREIGN_HOST, FOREIGN_ORIGIN, HostPolicy
from .limits import Limits
from .memory import trim_memory
from .path_alias import PathAlias
from .refusals import UPLOAD_ROUTE, Refused
from .request_bodies import TOO_LARGE, LimitedBody, check_json, declared_length, discard_body, in_bytes
from .response_headers import API_PREFIX, add_headers, security_headers
from .uploads import CURRENT, Upload
from .visitor_files import MEASURE_S, Disk, delete_old_files, initial_files

UNUSED_ROUTES = ("component_server", "custom_component", "deep_link", "dev/", "login", "logout", "monitoring",
                 "process_recording", "proxy=", "run-history", "runs", "stream/", "token", "vibe-")  # fmt: skip
"""What follows `API_PREFIX` in addresses that no part of the page uses: they store, record, convert or forward."""
NOT_FOUND = "There is nothing here."
STATIC_ROUTES = ("/assets/", "/static/", "/svelte/", "/theme.css", "/favicon.ico")
"""Scripts and styles, of which one page needs some hundred; they do not count as requests."""
SESSION_STREAM, ANSWER_STREAM = f"{API_PREFIX}queue/data", re.compile(rf"{API_PREFIX}call/(?:v2/)?[^/]+/([^/]+)")
CLOSE_STREAM = b'data: {"msg":"close_stream"}\n\n'
"""gradio's message with which a stream of a session's answers ends."""
LINGER_S, STOP_S = 60, 0.5
"""How long such a stream of a page stays open after the last answer, and how soon it notices that the app stops, in s."""
MCP_ROUTE = f"{API_PREFIX}mcp"
"""Where programs send photos within JSON, if MCP is on."""
DISCARDED_BYTES, DISCARDED_S = 100_000_000, 10
"""How much of a refused body is still read, and for how long, in s."""
UPLOAD_ID_S = 30
"""How long gradio keeps the progress of an upload after its end, in s."""


class Guard:
    """ASGI middleware around a gradio app: limits, hosts, headers, and every `interval_s` the deletion of old files."""

    def __init__(self, app: ASGIApp, blocks: gr.Blocks, limits: Limits, policy: HostPolicy):
        self.app, self.blocks, self.limits, self.policy = app, blocks, limits, policy
        self.clients, self.disk = Clients(limits), Disk(limits)
        self.headers = security_headers(policy)
        self.calls = CallQueue(blocks, self.clients)
        self.alias = PathAlias(get_upload_folder())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI scope."""
        if scope["type"] == "lifespan":
            work = self._delete_repeatedly(scope["app"]), self._measure_repeatedly(), self.calls.sweep_repeatedly()
            tasks = [asyncio.create_task(task) for task in work]
            try:
                await self.app(scope, receive, send)
            finally:
                for task in tasks:
                    task.cancel()
        elif scope["type"] == "http":
            await self._handle(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request, or answers with what it was refused for."""
        path, request, started = scope["path"], Headers(scope=scope), False
        body: LimitedBody | None = None

        async def answer(message: Message) -> None:
            nonlocal started
            if body is None or body.refused is None:  # then the refusal is the answer
                started = True
                await send(add_headers(message, path, self.headers))

        try:
            async with self._admitted(scope, request) as scope:
                if scope["method"] in ("POST", "PUT", "PATCH", "DELETE"):
                    body = self._limited(scope, receive)
                    await self._serve(scope, body, answer)
                elif scope["method"] == "GET" and path == SESSION_STREAM:
                    await self._serve_session(scope, receive, answer)
                else:
                    await self.app(self.alias.scope(scope), receive, self.alias.answers(answer, path))
            refused = body.refused if body else None
        except Refused as error:
            refused = error
        except Exception as error:
            refused = (body.refused if body else None) or refusal_of(path, error)
            if refused is None:
                log_error(f"{scope['method']} {route_of(path)}", error)
                refused = Refused(500, APOLOGY)
        if refused and not started:
            body = None
            await self._refuse(refused, scope, receive, answer)

    @contextlib.asynccontextmanager
    async def _admitted(self, scope: Scope, request: Headers) -> AsyncIterator[Scope]:
        """Checks what is known before the body; yields the scope for gradio."""
        path = scope["path"]
        if (host := self.policy.foreign_host(request)) is not None:
            raise Refused(400, FOREIGN_HOST.format(host=re.sub(r"[^\w.:\[\]-]", "?", host)[:100]))
        scope = self.policy.without_forged(scope)
        client = self.policy.client(scope)
        scope[CLIENT] = client
        if is_blocked(path):
            raise Refused(404, NOT_FOUND)
        origin = request.get("origin")
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and origin and not self.policy.allows_origin(origin):
            raise Refused(403, FOREIGN_ORIGIN)
        if not path.startswith(STATIC_ROUTES):
            self.clients.count_request(client)
        self.clients.open(client)
        try:
            with self.calls.listening(*session) if (session := self._stream(scope)) else contextlib.nullcontext():
                yield scope
        finally:
            self.clients.close(client)

    def _stream(self, scope: Scope) -> tuple[str | None] | None:
        """The session for whose answers a request asks, in a tuple; None for a request for something else."""
        if scope["method"] != "GET":
            return None
        if scope["path"] == SESSION_STREAM:
            session = session_of(scope)
            return (session,) if self.calls.awaits_answers(session) else None
        if match := ANSWER_STREAM.fullmatch(scope["path"]):
            return (self.calls.session_of(match[1]),)
        return None

    def _limited(self, scope: Scope, receive: Receive) -> LimitedBody:
        """The body of a request; what it declares is checked, and what comes will be."""
        declared = declared_length(scope) or 0
        by_mcp = self.blocks.mcp_server and scope["path"].startswith(MCP_ROUTE)
        is_upload, client = by_mcp or scope["path"].rstrip("/") == UPLOAD_ROUTE, scope[CLIENT]
        max_bytes = self.limits.upload_bytes if is_upload else self.limits.body_bytes
        if declared > max_bytes:
            raise Refused(413, TOO_LARGE.format(size=in_bytes(max_bytes)))
        if not is_upload:
            return LimitedBody(receive, max_bytes, self.limits.idle_s, self.limits.body_s)
        self.disk.check(declared)
        self.clients.check_upload(client, declared)

        def count(size: int) -> None:
            self.clients.count_bytes(client, size)
            self.disk.add(size)

        return LimitedBody(receive, max_bytes, self.limits.idle_s, self.limits.upload_s, count)

    async def _serve(self, scope: Scope, body: LimitedBody, answer: Send) -> None:
        """Passes on a request with a body: an upload as it comes, others when they are complete and checked."""
        path = scope["path"]
        if path.rstrip("/") == UPLOAD_ROUTE:
            await self._serve_upload(scope, body, answer)
            return
        content = await body.read()
        check_json(content, self.limits.json_depth, self.limits.json_values)
        check_call(self.blocks, path, content)
        if path.startswith((f"{API_PREFIX}call/", f"{API_PREFIX}queue/join")):
            self.disk.check()
        await self.app(scope, body.replay(self.alias.body(content)), self.alias.answers(answer, path))

    async def _serve_session(self, scope: Scope, receive: Receive, answer: Send) -> None:
        """Streams the answers to a session's calls, some longer than gradio does.

        gradio ends the stream with the answer after which no call is left. But the page sends further calls just then, as
        one action follows from another, and knows nothing of a call before it was acknowledged. It would take the end of
        the stream for that of the next answers as well, or ask for answers that it has had. Programs, which send no
        Sec-Fetch-Mode, end with the stream, and get no longer one.
        """
        started = ended = gone = False
        is_page = "sec-fetch-mode" in Headers(scope=scope)

        async def listen() -> Message:
            nonlocal gone
            message = await receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        async def forward(message: Message) -> None:
            nonlocal started, ended
            body = message.get("body", b"")
            if message["type"] == "http.response.start" and not started:
                started = True
                await answer(message)
            elif b'"msg":"close_stream"' in body:
                ended = True
            elif body:
                await answer({**message, "more_body": True})

        if not (session := session_of(scope)) or not self.calls.awaits_answers(session):
            headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
            await answer({"type": "http.response.start", "status": 200, "headers": headers})
            ended = True
        else:
            while True:
                ended = False
                await self.app(self.alias.scope(scope), listen, self.alias.answers(forward, scope["path"]))
                if gone or not ended or not is_page or not await self._linger(session, listen):
                    break
        await answer({"type": "http.response.body", "body": CLOSE_STREAM if ended else b""})

    async def _linger(self, session: str, listen: Receive) -> bool:
        """Waits, at most LINGER_S, for another call of a session whose page still listens; whether there is one."""
        work = call, left = [asyncio.ensure_future(part) for part in (self.calls.another_call(session), listen())]
        try:
            for _ in range(round(LINGER_S / STOP_S)):
                await asyncio.wait(work, timeout=STOP_S, return_when=asyncio.FIRST_COMPLETED)
                if call.done() or left.done() or self.calls.queue.stopped:
                    break
            return call.done() and not left.done()
        finally:
            for part in work:
                part.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _serve_upload(self, scope: Scope, body: LimitedBody, answer: Send) -> None:
        token = CURRENT.set(Upload(body, functools.partial(self.clients.count_file, scope[CLIENT])))
        try:
            await self.app(scope, body, self.alias.answers(answer, scope["path"]))
        finally:
            CURRENT.reset(token)
            if upload_id := parse_qs(scope["query_string"].decode("latin-1")).get("upload_id"):
                asyncio.get_running_loop().call_later(UPLOAD_ID_S, file_upload_statuses.stop_tracking, upload_id[0])

    async def _refuse(self, refused: Refused, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends a refusal, and reads on for a while, so that the client reads it rather than an error of its connection."""
        blocked = refused.status == 404 and refused.message == NOT_FOUND
        response = PlainTextResponse(NOT_FOUND, 404) if blocked else refused.response(scope["path"])
        has_body = scope["method"] in ("POST", "PUT", "PATCH")
        if has_body:
            response.headers["Connection"] = "close"
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
        if has_body and refused.status != 408 and (declared_length(scope) or 0) <= DISCARDED_BYTES:
            await discard_body(receive, DISCARDED_BYTES, DISCARDED_S)
        await send({"type": "http.response.body", "body": b""})

    async def _delete_repeatedly(self, app: gr.routes.App) -> None:
        interval_s, max_age_s = self.blocks.delete_cache
        while True:
            await asyncio.sleep(interval_s)
            await asyncio.to_thread(delete_old_files, Path(get_upload_folder()), max_age_s, initial_files(app))

    async def _measure_repeatedly(self) -> None:
        while True:
            await asyncio.to_thread(self.disk.measure)
            await asyncio.to_thread(trim_memory)
            await asyncio.sleep(MEASURE_S)


def session_of(scope: Scope) -> str:
    """The session whose answers a request for `SESSION_STREAM` asks for."""
    return parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]


def is_blocked(path: str) -> bool:
    """Whether a decoded address is one that the page does not use, or a file on another machine."""
    route = path.partition(API_PREFIX)[2] or path.lstrip("/")
    return route.startswith(UNUSED_ROUTES) or (route.startswith("file") and "://" in route)


def route_of(path: str) -> str:
    """The first parts of an address, which say what was asked for but not by whom."""
    return "/".join(path.split("/")[:4]).partition("=")[0][:60]
