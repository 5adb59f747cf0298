"""What the tests of the app share: its settings, its API, and ways to call it that no client would take."""

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
            "scope": "one", "others": {}}  # fmt: skip
PARAMETERS = {
    "/read": ["photo"],
    "/edit": ["photo", *SETTINGS],
    "/number_faces": ["photo", "face"],
    "/animate": ["photo", *SETTINGS, "kind", "file_format", "seconds"],
    "/all_expressions": ["photo", "face"],
    "/download_edit": ["photo", *SETTINGS],
    "/transfer": ["photo", "source", "intensity"],
    "/download_transfer": ["photo", "source", "intensity"],
    "/generate": ["seed", "count", "expression", "intensity"],
    "/download_people": ["seed", "count", "expression", "intensity"],
}
"""The API that is promised: names stay, new parameters come last."""


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), np.int16)


def two_people(data_dir: Path, folder: Path) -> Path:
    """Side by side, the larger on the left."""
    photo = Image.new("RGB", (1500, 900), "grey")
    photo.paste(Image.open(data_dir / "portrait.jpg"), (0, 0))
    photo.paste(Image.open(data_dir / "portrait2.jpg").resize((600, 600)), (900, 0))
    photo.save(folder / "two.png")
    return folder / "two.png"


def ask(url, path, method="GET", body=None, patience=20, **headers):
    """Status, headers and body of an address spelled exactly so; of one that breaks off or falls silent, what came."""
    line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=patience)
    try:
        line.putrequest(method, path)
        for name, value in headers.items():
            line.putheader(name, value)
        if body is not None:
            line.putheader("Content-Length", str(len(body)))
        line.endheaders(body)
        answer, came, end = line.getresponse(), b"", time.monotonic() + patience
        with contextlib.suppress(http.client.IncompleteRead, TimeoutError):
            while (part := answer.read1()) and time.monotonic() < end:
                came += part
        return answer.status, answer.headers, came
    finally:
        line.close()


def post(url, path, content):
    return ask(url, path, "POST", json.dumps(content).encode(), **{"Content-Type": "application/json"})


def upload(url, data, name="me.jpg", kind="image/jpeg"):
    edge = uuid.uuid4().hex
    head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
    body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
    return ask(url, "/gradio_api/upload", "POST", body, **{"Content-Type": f"multipart/form-data; boundary={edge}"})


def call(url, action, *data):
    """What an action answers: the event, and its data as text."""
    status, _, body = post(url, f"/gradio_api/call/{action}", {"data": data})
    assert status == 200, body
    event = json.loads(body)["event_id"]
    _, _, answer = ask(url, f"/gradio_api/call/{action}/{event}")
    return answer.decode().partition("\n")[0].removeprefix("event: "), answer.decode()


def a_file(path):
    return {"path": path, "meta": {"_type": "gradio.FileData"}}
