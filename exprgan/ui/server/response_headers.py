"""Headers of all answers: what a browser may do with them, and which pages may read them."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message

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


def add_headers(message: Message, path: str, added: dict[str, str], request: Headers, policy: HostPolicy) -> Message:
    """Adds headers to the start of a response, and takes from it what would let foreign pages read it.

    gradio allows every origin to read, with credentials, unless the app is opened by a local name. Answers of the API, and
    so all pictures of visitors, are not to be cached.
    """
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        for name, value in added.items():
            headers[name] = value
        if path.startswith(API_PREFIX):
            headers["Cache-Control"] = "no-store"
        origin = request.get("origin")
        if origin is None or not policy.allows_origin(origin):
            for name in [name for name in headers if name.lower().startswith("access-control-")]:
                del headers[name]
    return message
