"""Shared by the tests of the app: settings, the API's parameters, and raw HTTP requests that no client would send."""

import contextlib
import http.client
import json
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

SETTINGS = {"expression": "happy", "intensity": 0.8, "second": "", "part": 0.5, "style": 0, "fidelity": "detail", "face": 0,
            "scope": "one", "others": {}, "units": {}}  # fmt: skip
PARAMETERS = {
    "/read": ["photo"],
    "/edit": ["photo", *SETTINGS],
    "/number_faces": ["photo", "face"],
    "/animate": ["photo", *[*SETTINGS][:-1], "kind", "file_format", "seconds", "units"],
    "/all_expressions": ["photo", "face"],
    "/download_edit": ["photo", *SETTINGS],
    "/transfer": ["photo", "source", "intensity", "face", "source_face", "relative"],
    "/download_transfer": ["photo", "source", "intensity", "face", "source_face", "relative"],
    "/generate": ["seed", "count", "expression", "intensity"],
    "/download_people": ["seed", "count", "expression", "intensity"],
    "/download_sheet": ["photo", "face"],
    "/download_look": ["expression", "intensity", "second", "part", "style", "units"],
    "/film": ["clip", "photo", "action", "expression", "intensity", "keyframes"],
}
"""The public API: names stay, new parameters are added at the end."""


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), np.int16)


def two_people(data_dir: Path, folder: Path) -> Path:
    """A photo of two people side by side, the larger on the left."""
    photo = Image.new("RGB", (1500, 900), "grey")
    photo.paste(Image.open(data_dir / "portrait.jpg"), (0, 0))
    photo.paste(Image.open(data_dir / "portrait2.jpg").resize((600, 600)), (900, 0))
    photo.save(folder / "two.png")
    return folder / "two.png"


def ask(url, path, method="GET", body=None, timeout_s=20, **headers):
    """Status, headers and body of a path sent exactly as it is spelled; the body as far as it arrives in time."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout_s)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response, data, deadline = connection.getresponse(), b"", time.monotonic() + timeout_s
        with contextlib.suppress(http.client.IncompleteRead, TimeoutError):
            while (part := response.read1()) and time.monotonic() < deadline:
                data += part
        return response.status, response.headers, data
    finally:
        connection.close()


def post(url, path, content, **headers):
    return ask(url, path, "POST", json.dumps(content).encode(), **{"Content-Type": "application/json"} | headers)


def upload(url, data, name="me.jpg", content_type="image/jpeg"):
    boundary = uuid.uuid4().hex
    disposition = f'Content-Disposition: form-data; name="files"; filename="{name}"'
    body = f"--{boundary}\r\n{disposition}\r\nContent-Type: {content_type}\r\n\r\n".encode()
    body += data + f"\r\n--{boundary}--\r\n".encode()
    return ask(url, "/gradio_api/upload", "POST", body, **{"Content-Type": f"multipart/form-data; boundary={boundary}"})


def call(url, action, *data, timeout_s=20, **headers):
    """The last event of an API call (complete or error), and the whole answer as text."""
    status, _, body = post(url, f"/gradio_api/call/{action}", {"data": data}, **headers)
    assert status == 200, body
    event_id = json.loads(body)["event_id"]
    answer = ask(url, f"/gradio_api/call/{action}/{event_id}", timeout_s=timeout_s, **headers)[2].decode()
    return answer.partition("\n")[0].removeprefix("event: "), answer


def a_file(path):
    return {"path": path, "meta": {"_type": "gradio.FileData"}}
