"""Many visitors at once: starts app.py and lets 32 of them edit photos for a minute, each a photo of their own.

    python benchmarks/load_app.py [--visitors 32] [--seconds 60] [--pause 0]

Every photo has a frame in its visitor's colour, so that a picture which reaches the wrong one is found out. It tells how
soon the first page was there, what was answered and how fast, how many were told to wait, and what memory the app took.
"""

import argparse
import colorsys
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[1]
FACES = sorted((ROOT / "examples").glob("*.jpg"))
EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise")
FRAME_PX = 60
PATIENCE_S = 120
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pause", type=float, default=0, help="seconds that a visitor looks at a result")
    args = parser.parse_args()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = App(port)
    try:
        print(f"first page after {app.wait_until_open():.1f} s, {app.memory_mb():.0f} MB resident")
        visitors = [
            Visitor(i, args.visitors, f"http://127.0.0.1:{port}/gradio_api", args.pause) for i in range(args.visitors)
        ]
        end = time.monotonic() + args.seconds
        threads = [threading.Thread(target=visitor.stay, args=(end,)) for visitor in visitors]
        memory = []
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            memory.append((time.monotonic() - end + args.seconds, app.memory_mb()))
            time.sleep(1)
        return report(visitors, memory, args.seconds)
    finally:
        app.stop()


class App:
    """app.py in a process of its own, as a Space runs it."""

    def __init__(self, port: int):
        self.address, self.started = f"http://127.0.0.1:{port}/", time.monotonic()
        settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
        command = [sys.executable, str(ROOT / "app.py")]
        self.process = subprocess.Popen(command, env=os.environ | settings, cwd=ROOT, stdout=subprocess.DEVNULL)

    def wait_until_open(self) -> float:
        """Seconds from the start to the whole first page."""
        while time.monotonic() - self.started < PATIENCE_S and self.process.poll() is None:
            try:
                DIRECT.open(self.address).read()
                return time.monotonic() - self.started
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the app did not open")

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Visitor:
    """Uploads a photo once, as a browser does, and edits it again and again."""

    def __init__(self, number: int, of: int, api: str, pause: float):
        self.api, self.pause, self.session = api, pause, uuid.uuid4().hex
        self.colour = tuple(round(v * 255) for v in colorsys.hsv_to_rgb(number / of, 1.0, 0.55 + 0.4 * (number % 2)))
        photo = ImageOps.expand(Image.open(FACES[number % len(FACES)]).resize((600, 600)), FRAME_PX, self.colour)
        data = io.BytesIO()
        photo.save(data, "PNG")
        self.photo, self.number = data.getvalue(), number
        self.waits: list[float] = []
        self.told_to_wait = 0
        self.faults: list[str] = []

    def stay(self, end: float) -> None:
        try:
            photo = self.upload()
            for turn in range(10**6):
                if time.monotonic() >= end:
                    return
                expression = EXPRESSIONS[(self.number + turn) % len(EXPRESSIONS)]
                self.edit(photo, expression, 0.1 + 0.9 * (turn % 7) / 6)
                time.sleep(self.pause)
        except Exception as error:
            self.faults.append(f"{type(error).__name__}: {error}")

    def upload(self) -> str:
        edge = uuid.uuid4().hex
        head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="me.png"\r\n\r\n'.encode()
        body = head + self.photo + f"\r\n--{edge}--\r\n".encode()
        return json.loads(self.ask("upload", body, f"multipart/form-data; boundary={edge}"))[0]

    def edit(self, photo: str, expression: str, intensity: float) -> None:
        data = [{"path": photo, "meta": {"_type": "gradio.FileData"}}, expression, intensity, "", 0.5, 0, "detail", 0]
        body = json.dumps({"data": data, "session_hash": self.session}).encode()
        began = time.monotonic()
        try:
            event = json.loads(self.ask("call/edit", body, "application/json"))["event_id"]
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            self.told_to_wait += 1
            time.sleep(1)
            return
        answer = self.ask(f"call/edit/{event}").decode()
        self.waits.append(time.monotonic() - began)
        if "event: complete" not in answer:
            self.faults.append(f"answered {answer[:200]!r}")
            return
        pair, *_ = json.loads(answer.split("event: complete\ndata: ")[1].splitlines()[0])
        for name, picture in zip(("before", "after"), pair, strict=True):
            seen = np.asarray(Image.open(io.BytesIO(DIRECT.open(picture["url"], timeout=PATIENCE_S).read())).convert("RGB"))
            frame = np.concatenate([seen[5:45].reshape(-1, 3), seen[-45:-5].reshape(-1, 3)]).mean(axis=0)
            if np.abs(frame - self.colour).max() > 4:
                self.faults.append(f"another's picture {name}: {frame.round()} instead of {self.colour}")

    def ask(self, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        call = urllib.request.Request(f"{self.api}/{path}", body, {"Content-Type": kind} if kind else {})
        with DIRECT.open(call, timeout=PATIENCE_S) as answer:
            return answer.read()


def report(visitors: list[Visitor], memory: list[tuple[float, float]], seconds: float) -> int:
    waits = sorted(wait for visitor in visitors for wait in visitor.waits)
    faults = [f"visitor {visitor.number}: {fault}" for visitor in visitors for fault in visitor.faults]
    edits = [len(visitor.waits) for visitor in visitors]
    if waits:
        half, late = statistics.median(waits), waits[int(0.95 * len(waits))]
        print(f"{len(waits)} edits, {len(waits) / seconds:.1f} a second, {min(edits)} to {max(edits)} for each visitor")
        print(f"half answered within {half:.2f} s, 95 % within {late:.2f} s, the longest {waits[-1]:.2f} s")
    print(f"{sum(visitor.told_to_wait for visitor in visitors)} times told to wait, {len(faults)} faults")
    for fault in faults[:10]:
        print(fault)
    marks = [memory[round(i * (len(memory) - 1) / 6)] for i in range(7)]
    print("memory: " + ", ".join(f"{mb:.0f} MB at {at:.0f} s" for at, mb in marks))
    return 1 if faults or not waits else 0


if __name__ == "__main__":
    sys.exit(main())
