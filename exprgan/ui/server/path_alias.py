"""The visitors' folder under another name, as gradio sends the paths of files to the page, and takes them from it."""

import json
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Scope, Send

ALIAS = "/visitors"
"""What clients see in place of the folder."""
FILE_ROUTE = "/gradio_api/file="
REWRITTEN = ("application/json", "text/html", "text/event-stream")
"""Content types of answers with paths in them."""


class PathAlias:
    """Replaces the path of a folder in answers by `ALIAS`, and `ALIAS` in requests by the path.

    A path is checked by gradio as any other, after the replacement.
    """

    def __init__(self, folder: str):
        self.folder = folder.rstrip("/")
        in_json = json.dumps(self.folder)[1:-1]
        self._in_answers = {in_json.encode(), self.folder.encode(), quote(self.folder).encode()}
        self._in_request = f'"{ALIAS}/'.encode(), f'"{in_json}/'.encode()

    def scope(self, scope: Scope) -> Scope:
        """A request whose address, if it asks for a file, has the path."""
        prefix = f"{FILE_ROUTE}{ALIAS}/"
        if not scope["path"].startswith(prefix):
            return scope
        return {**scope, "path": f"{FILE_ROUTE}{self.folder}/{scope['path'].removeprefix(prefix)}"}

    def body(self, body: bytes) -> bytes:
        """A request's JSON with the path in all texts that begin with the alias."""
        return body.replace(*self._in_request)

    def answers(self, send: Send, path: str) -> Send:
        """A `send` that replaces the path in an answer to a request for the address `path`, unless it is a visitor's file.

        gradio sends each event of a stream, and every other answer with paths, in one piece.
        """
        if path.startswith(FILE_ROUTE):
            return send
        held: Message | None = None
        rewritten = False

        async def replace(message: Message) -> None:
            nonlocal held, rewritten
            if message["type"] == "http.response.start":
                content_type = MutableHeaders(scope=message).get("content-type", "")
                rewritten = content_type.startswith(REWRITTEN)
                if rewritten:
                    held = message
                    return
            elif rewritten and message["type"] == "http.response.body":
                body = message.get("body", b"")
                for path in self._in_answers:
                    body = body.replace(path, ALIAS.encode())
                if held is not None:
                    headers = MutableHeaders(scope=held)
                    if body and "content-length" in headers:
                        headers["content-length"] = str(len(body))
                    await send(held)
                    held = None
                message = {**message, "body": body}
            await send(message)

        return replace
