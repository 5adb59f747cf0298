"""Load test: starts app.py and lets 32 visitors at once edit photos for a minute, each a different photo.

    python benchmarks/load_app.py [--visitors 32] [--seconds 60] [--pause 0] [--mixed] [--kill 0]

Every photo has a frame in its visitor's colour, so that an image sent to the wrong visitor is noticed; images without a
frame must equal those that the visitor got before. Prints the time to the first page, the number of answers and their
latency, the number of refusals and of requests to wait (429 and 503), the app's memory, and how many files it kept and left
behind.
"""

import argparse
import colorsys
import io
import itertools
import json
import os
import random
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

ROOT = Path(__file__).resolve().parents[1]
FACES = sorted((ROOT / "exprgan/ui/examples").glob("*.jpg"))
EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise")
FRAME_PX = 60
ACTION_WEIGHTS = {"edit": 8, "all_expressions": 2, "read": 2, "download_edit": 2, "transfer": 2, "download_transfer": 1,
                  "generate": 2, "download_people": 1, "animate": 1}  # fmt: skip
"""Relative frequency of the actions with --mixed."""
FRAMELESS = ("all_expressions", "generate")
"""Actions whose images show no frame."""
TIMEOUT_S = 120
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pause", type=float, default=0, help="seconds between a visitor's requests")
    parser.add_argument("--mixed", action="store_true", help="all actions of the app instead of edits alone")
    parser.add_argument("--kill", type=float, default=0, help="share of requests that are cut off before the answer")
    args = parser.parse_args()

    with socket.socket() as free_port:
        free_port.bind(("127.0.0.1", 0))
        port = free_port.getsockname()[1]
    app = App(port)
    try:
        print(f"first page after {app.wait_until_open():.1f} s, {app.memory_mb():.0f} MB resident")
        visitors = [Visitor(i, args, f"http://127.0.0.1:{port}/gradio_api") for i in range(args.visitors)]
        end = time.monotonic() + args.seconds
        threads = [threading.Thread(target=visitor.run, args=(end,)) for visitor in visitors]
        memory, files = [], []
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            memory.append((time.monotonic() - end + args.seconds, app.memory_mb()))
            files.append(len(app.files()))
            time.sleep(1)
        status = report(visitors, memory, args.seconds)
    finally:
        app.stop()
    print(f"files of visitors: {max(files)} at most, {len(app.files())} left when it had stopped")
    shutil.rmtree(app.folder)
    return status


class App:
    """app.py in its own process, as a Space runs it."""

    def __init__(self, port: int):
        self.address, self.started = f"http://127.0.0.1:{port}/", time.monotonic()
        self.folder = Path(tempfile.mkdtemp(prefix="load-app-"))
        settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1",
                    "GRADIO_TEMP_DIR": str(self.folder), "EXPRGAN_TRUSTED_PROXIES": "1"}  # fmt: skip
        command = [sys.executable, str(ROOT / "app.py")]
        self.process = subprocess.Popen(command, env=os.environ | settings, cwd=ROOT, stdout=subprocess.DEVNULL)

    def wait_until_open(self) -> float:
        """Waits for the first page; returns the seconds since the start."""
        while time.monotonic() - self.started < TIMEOUT_S and self.process.poll() is None:
            try:
                OPENER.open(self.address).read()
                return time.monotonic() - self.started
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the app did not open")

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def files(self) -> list[str]:
        return [name for _, _, names in os.walk(self.folder) for name in names]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Visitor:
    """Uploads a photo once, as a browser does, and then repeats actions with it."""

    def __init__(self, number: int, args: argparse.Namespace, api: str):
        self.api, self.args, self.number, self.session = api, args, number, uuid.uuid4().hex
        self.address = f"203.0.113.{number + 1}"
        """Each visitor is a client of its own, as behind a proxy."""
        self.random = random.Random(number)
        hue, value = number / args.visitors, 0.55 + 0.4 * (number % 2)
        self.colour = tuple(round(v * 255) for v in colorsys.hsv_to_rgb(hue, 1.0, value))
        photo = Image.open(FACES[number % len(FACES)]).resize((600, 600))
        photo = ImageEnhance.Brightness(photo).enhance(0.8 + 0.4 * number / args.visitors)  # different for every visitor
        data = io.BytesIO()
        ImageOps.expand(photo, FRAME_PX, self.colour).save(data, "PNG")
        self.photo = data.getvalue()
        self.latencies: dict[str, list[float]] = defaultdict(list)
        self.first_images: dict[str, np.ndarray] = {}
        """First answer of each action in FRAMELESS."""
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    def run(self, end: float) -> None:
        try:
            photo = {"path": self.upload(), "meta": {"_type": "gradio.FileData"}}
            for turn in itertools.count():
                if time.monotonic() >= end:
                    return
                if self.random.random() < self.args.kill:
                    self.abandon(photo)
                    continue
                action = (
                    self.random.choices([*ACTION_WEIGHTS], [*ACTION_WEIGHTS.values()])[0] if self.args.mixed else "edit"
                )
                expression = EXPRESSIONS[(self.number + turn) % len(EXPRESSIONS)]
                self.perform(action, self.arguments(action, photo, expression, 0.1 + 0.9 * (turn % 7) / 6))
                time.sleep(self.args.pause)
        except Exception as error:
            self.faults.append(f"{type(error).__name__}: {error}")

    def arguments(self, action: str, photo: dict, expression: str, intensity: float) -> list[Any]:
        """An action's arguments, in the order of its parameters."""
        edit = [photo, expression, intensity, "", 0.5, 0, "detail", 0, "one", {}]
        return {"read": [photo], "all_expressions": [photo, 0], "transfer": [photo, photo, intensity],
                "download_transfer": [photo, photo, intensity], "generate": [self.number, 3, "all", 1],
                "download_people": [self.number, 2, expression, 1], "animate": [*edit, "sweep", "gif", 0.5],
                }.get(action, edit)  # fmt: skip

    def upload(self) -> str:
        body, content_type = self.form()
        return json.loads(self.request("upload", body, content_type))[0]

    def form(self) -> tuple[bytes, str]:
        """Body and content type of an upload."""
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="me.png"\r\n\r\n'.encode()
        return head + self.photo + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"

    def perform(self, action: str, arguments: list[Any]) -> None:
        """Submits an action, waits for the answer and checks it."""
        start = time.monotonic()
        event = self.submit(action, arguments)
        if not event:
            return
        answer = self.request(f"call/{action}/{event}").decode()
        self.latencies[action].append(time.monotonic() - start)
        if "try again in" in answer:
            self.counts["asked to wait"] += 1
        elif "event: complete" not in answer:
            self.faults.append(f"{action} answered {answer[:200]!r}")
        else:
            self.check(action, json.loads(answer.split("event: complete\ndata: ")[1].splitlines()[0]))

    def submit(self, action: str, arguments: list[Any]) -> str:
        """Enters the queue; returns the event's id, or "", after the time that the app says, if it asks to wait."""
        body = json.dumps({"data": arguments, "session_hash": self.session}).encode()
        try:
            return json.loads(self.request(f"call/{action}", body, "application/json"))["event_id"]
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503):
                raise
            self.counts["asked to wait"] += 1
            time.sleep(int(error.headers["Retry-After"]))
            return ""

    def check(self, action: str, answer: list[Any]) -> None:
        """Checks that all images of an answer are this visitor's."""
        files = [self.request(file["url"].removeprefix(f"{self.api}/")) for file in files_in(answer)]
        self.counts["pictures"] += len(files)
        if action == "download_people":
            with zipfile.ZipFile(io.BytesIO(files[0])) as archive:
                if not all(name.startswith((f"seed{self.number}-", "metadata")) for name in archive.namelist()):
                    self.report_mix_up(f"{action}: {archive.namelist()[0]}")
            return
        images = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), np.int16) for file in files]
        if action in FRAMELESS:
            stack = np.stack(images)
            if np.abs(self.first_images.setdefault(action, stack) - stack).mean() > 2:
                self.report_mix_up(action)
            return
        for image in images:
            rows = slice(image.shape[0] // 100 + 1, image.shape[0] // 17)
            frame = np.concatenate([image[rows].reshape(-1, 3), image[::-1][rows].reshape(-1, 3)]).mean(axis=0)
            if np.abs(frame - self.colour).max() > 8:
                self.report_mix_up(f"{action}: {frame.round()} instead of {self.colour}")

    def report_mix_up(self, description: str) -> None:
        self.counts["pictures mixed up"] += 1
        self.faults.append(f"another's picture of {description}")

    def abandon(self, photo: dict) -> None:
        """Disconnects during an upload, before the answer to an action, or while the answer arrives."""
        self.counts["killed"] += 1
        self.session = uuid.uuid4().hex  # gradio sees a visitor who comes back as a new one
        moment = self.random.randrange(3)
        if moment == 0:
            body, content_type = self.form()
            self.reset_connection("POST", "upload", body, content_type, 0.5)
            return
        action = self.random.choice([*ACTION_WEIGHTS]) if self.args.mixed else "edit"
        event = self.submit(action, self.arguments(action, photo, "happy", 1.0))
        if event and moment == 1:
            self.reset_connection("GET", f"call/{action}/{event}", b"", "", 1)
        self.session = uuid.uuid4().hex

    def reset_connection(self, method: str, path: str, body: bytes, content_type: str, share: float) -> None:
        """Sends a request with a share of its body, and resets the connection before the answer."""
        host, port = self.api.removeprefix("http://").partition("/")[0].split(":")
        head = f"{method} /gradio_api/{path} HTTP/1.1\r\nHost: {host}:{port}\r\nX-Forwarded-For: {self.address}\r\n"
        head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n" if body else "\r\n"
        with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
            connection.sendall(head.encode() + body[: int(share * len(body))])
            time.sleep(self.random.uniform(0, 0.5))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def request(self, path: str, body: bytes | None = None, content_type: str = "") -> bytes:
        headers = {"X-Forwarded-For": self.address} | ({"Content-Type": content_type} if content_type else {})
        deadline, content = time.monotonic() + TIMEOUT_S, b""
        with OPENER.open(urllib.request.Request(f"{self.api}/{path}", body, headers), timeout=TIMEOUT_S) as answer:
            while line := answer.readline():  # a stream sends heartbeats without end
                content += line
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{path.partition('/')[0]} said nothing more than {content[:100]!r}")
        return content


def files_in(answer: Any) -> Iterator[dict]:
    """Yields the files anywhere within an answer."""
    if isinstance(answer, dict) and answer.get("url"):
        yield answer
    elif isinstance(answer, (list, dict)):
        for part in answer.values() if isinstance(answer, dict) else answer:
            yield from files_in(part)


def report(visitors: list[Visitor], memory: list[tuple[float, float]], seconds: float) -> int:
    """Prints latencies, counts, faults and memory; returns the exit status, 1 after a fault or without any answer."""
    faults = [f"visitor {visitor.number}: {fault}" for visitor in visitors for fault in visitor.faults]
    answered = [sum(map(len, visitor.latencies.values())) for visitor in visitors]
    for action in ACTION_WEIGHTS:
        latencies = sorted(latency for visitor in visitors for latency in visitor.latencies[action])
        if latencies:
            median, percentile95 = statistics.median(latencies), latencies[int(0.95 * len(latencies))]
            print(f"{action}: {len(latencies)}; half answered within {median:.2f} s, 95 % within {percentile95:.2f} s, "
                  f"the longest {latencies[-1]:.2f} s")  # fmt: skip
    print(f"{sum(answered)} answered, {sum(answered) / seconds:.1f} a second, {min(answered)} to {max(answered)} for each "
          "visitor")  # fmt: skip
    total = sum((visitor.counts for visitor in visitors), Counter())
    names = ("asked to wait", "killed", "pictures", "pictures mixed up")
    print(", ".join(f"{total[name]} {name}" for name in names) + f", {len(faults)} faults")
    for fault in faults[:10]:
        print(fault)
    samples = [memory[round(i * (len(memory) - 1) / 6)] for i in range(7)]
    print("memory: " + ", ".join(f"{mb:.0f} MB at {second:.0f} s" for second, mb in samples))
    return 1 if faults or not any(answered) else 0


if __name__ == "__main__":
    sys.exit(main())
