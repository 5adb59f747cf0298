"""A request that is not served: its status, a sentence for the visitor, and when to try again."""

import json
import math

from starlette.formparsers import MultiPartException
from starlette.responses import Response

UPLOAD_ROUTE = "/gradio_api/upload"


class Refused(MultiPartException):
    """Ends a request with a status and a sentence.

    It is an error of form parsing, so that gradio's parser deletes the files of an upload that it has begun.

    Args:
        status: HTTP status, 4xx or 5xx.
        message: what is wrong, and what to do.
        retry_s: after how many seconds the same request may succeed; None if it never will.
    """

    def __init__(self, status: int, message: str, retry_s: float | None = None):
        self.status, self.retry_s = status, None if retry_s is None else max(1, math.ceil(retry_s))
        super().__init__(message if self.retry_s is None else f"{message} Please try again in {in_words(self.retry_s)}.")

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After, if the request may succeed later."""
        return {} if self.retry_s is None else {"Retry-After": str(self.retry_s)}

    def response(self, path: str) -> Response:
        """The answer: text after an upload, which gradio's page shows as it is, and JSON with `detail` otherwise."""
        if path.rstrip("/").endswith(UPLOAD_ROUTE):
            return Response(self.message, self.status, self.headers, "text/plain")
        return Response(json.dumps({"detail": self.message}), self.status, self.headers, "application/json")


def in_words(seconds: int) -> str:
    """A time to wait: "20 seconds", "5 minutes"."""
    count, unit = (seconds, "second") if seconds < 120 else (math.ceil(seconds / 60), "minute")
    return f"{count} {unit}{'s' if count > 1 else ''}"
