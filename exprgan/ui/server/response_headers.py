"""Headers of all answers: what a browser may do with them, and which pages may read them."""

from gradio import route_utils, routes
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from .hosts import HostPolicy

API_PREFIX = "/gradio_api/"
HUB = "https://huggingface.co"
NOT_USED = ("accelerometer", "bluetooth", "display-capture", "geolocation", "gyroscope", "magnetometer", "microphone",
            "midi", "payment", "serial", "usb")  # fmt: skip
"""What the page asks no browser for; of devices it uses the camera alone."""


def security_headers(policy: HostPolicy) -> dict[str, str]:
    """Headers of every answer.

    gradio's page has scripts and styles in its text and evaluates others, so `script-src` cannot forbid that; all it loads
    comes from the app itself. On a Space, the bar above the page asks huggingface.co for the Space's name and likes.
    """
    hub = f" {HUB}" if policy.on_space else ""
    csp = {
        "default-src": "'self'",
        "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": f"'self' data: blob:{hub} https://cdn-avatars.huggingface.co" if hub else "'self' data: blob:",
        "media-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": f"'self' data: blob:{hub}",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": f"'self' {HUB} https://*.hf.space" if policy.on_space else "'self'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in csp.items()),
        "Permissions-Policy": ", ".join(["camera=(self)", *(f"{feature}=()" for feature in NOT_USED)]),
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


def add_headers(message: Message, path: str, added: dict[str, str]) -> Message:
    """Adds headers to the start of a response. Answers of the API, and so all pictures of visitors, may not be cached."""
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        for name, value in added.items():
            headers[name] = value
        if path.startswith(API_PREFIX):
            headers["Cache-Control"] = "no-store"
    return message


def use_own_origins(policy: HostPolicy) -> None:
    """Makes gradio allow the app's own origins alone to read its answers, rather than, with credentials, all of them."""

    class OwnOrigins(route_utils.CustomCORSMiddleware):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            origin = Headers(scope=scope).get("origin") if scope["type"] == "http" else None
            if origin is not None and not policy.allows_origin(origin):
                await self.app(scope, receive, send)
            else:
                await super().__call__(scope, receive, send)

        def is_valid_origin(self, request_headers: Headers) -> bool:
            return policy.allows_origin(request_headers["Origin"])

    routes.CustomCORSMiddleware = OwnOrigins
