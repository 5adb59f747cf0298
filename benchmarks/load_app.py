"""Many visitors at once: starts app.py and lets 32 of them edit photos for a minute, each a photo of their own.

    python benchmarks/load_app.py [--visitors 32] [--seconds 60] [--pause 0] [--mixed] [--kill 0]

Every photo has a frame in its visitor's colour, so that a picture which reaches the wrong one is found out; what shows no
frame must be what the visitor got before. It tells how soon the first page was there, what was answered and how fast, how
many were told to wait, what memory the app took, and how many files it kept and left.
"""

import argparse
import colorsys
import io
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
FACES = sorted((ROOT / "examples").glob("*.jpg"))
EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise")
FRAME_PX = 60
MIXED = {"edit": 8, "all_expressions": 2, "read": 2, "download_edit": 2, "transfer": 2, "download_transfer": 1,
         "generate": 2, "download_people": 1, "animate": 1}  # fmt: skip
"""How often a visitor does what, with --mixed."""
FRAMELESS = ("all_expressions", "generate")
PATIENCE_S = 120
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pause", type=float, default=0, help="seconds that a visitor looks at a result")
    parser.add_argument("--mixed", action="store_true", help="all that the app can do, not edits alone")
    parser.add_argument("--kill", type=float, default=0, help="share of requests whose visitor is gone before the answer")
    args = parser.parse_args()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = App(port)
    try:
        print(f"first page after {app.wait_until_open():.1f} s, {app.memory_mb():.0f} MB resident")
        visitors = [Visitor(i, args, f"http://127.0.0.1:{port}/gradio_api") for i in range(args.visitors)]
        end = time.monotonic() + args.seconds
        threads = [threading.Thread(target=visitor.stay, args=(end,)) for visitor in visitors]
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
    """app.py in a process of its own, as a Space runs it."""

    def __init__(self, port: int):
        self.address, self.started = f"http://127.0.0.1:{port}/", time.monotonic()
        self.folder = Path(tempfile.mkdtemp(prefix="load-app-"))
        settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1",
                    "GRADIO_TEMP_DIR": str(self.folder)}  # fmt: skip
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

    def files(self) -> list[str]:
        return [name for _, _, names in os.walk(self.folder) for name in names]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Visitor:
    """Uploads a photo once, as a browser does, and does something with it again and again."""

    def __init__(self, number: int, args: argparse.Namespace, api: str):
        self.api, self.args, self.number, self.session = api, args, number, uuid.uuid4().hex
        self.chance = random.Random(number)
        self.colour = tuple(
            round(v * 255) for v in colorsys.hsv_to_rgb(number / args.visitors, 1.0, 0.55 + 0.4 * (number % 2))
        )
        photo = Image.open(FACES[number % len(FACES)]).resize((600, 600))
        photo = ImageEnhance.Brightness(photo).enhance(0.8 + 0.4 * number / args.visitors)  # no two are alike
        data = io.BytesIO()
        ImageOps.expand(photo, FRAME_PX, self.colour).save(data, "PNG")
        self.photo = data.getvalue()
        self.waits: dict[str, list[float]] = defaultdict(list)
        self.before: dict[str, np.ndarray] = {}
        """What was answered first of what shows no frame."""
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    def stay(self, end: float) -> None:
        try:
            photo = {"path": self.upload(), "meta": {"_type": "gradio.FileData"}}
            for turn in range(10**6):
                if time.monotonic() >= end:
                    return
                if self.chance.random() < self.args.kill:
                    self.leave(photo)
                    continue
                action = self.chance.choices(list(MIXED), [*MIXED.values()])[0] if self.args.mixed else "edit"
                expression = EXPRESSIONS[(self.number + turn) % len(EXPRESSIONS)]
                self.ask_for(action, self.told(action, photo, expression, 0.1 + 0.9 * (turn % 7) / 6))
                time.sleep(self.args.pause)
        except Exception as error:
            self.faults.append(f"{type(error).__name__}: {error}")

    def told(self, action: str, photo: dict, expression: str, intensity: float) -> list[Any]:
        """What an action is told, in the order of its parameters."""
        edit = [photo, expression, intensity, "", 0.5, 0, "detail", 0, "one", {}]
        return {"read": [photo], "all_expressions": [photo, 0], "transfer": [photo, photo, intensity],
                "download_transfer": [photo, photo, intensity], "generate": [self.number, 3, "all", 1],
                "download_people": [self.number, 2, expression, 1], "animate": [*edit, "sweep", "gif", 0.5],
                }.get(action, edit)  # fmt: skip

    def upload(self) -> str:
        body, kind = self.form()
        return json.loads(self.ask("upload", body, kind))[0]

    def form(self) -> tuple[bytes, str]:
        edge = uuid.uuid4().hex
        head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="me.png"\r\n\r\n'.encode()
        return head + self.photo + f"\r\n--{edge}--\r\n".encode(), f"multipart/form-data; boundary={edge}"

    def ask_for(self, action: str, data: list[Any]) -> None:
        began = time.monotonic()
        event = self.begin(action, data)
        if not event:
            time.sleep(1)
            return
        answer = self.ask(f"call/{action}/{event}").decode()
        self.waits[action].append(time.monotonic() - began)
        if "given up" in answer:
            self.counts["given up"] += 1
        elif "event: complete" not in answer:
            self.faults.append(f"{action} answered {answer[:200]!r}")
        else:
            self.check(action, json.loads(answer.split("event: complete\ndata: ")[1].splitlines()[0]))

    def begin(self, action: str, data: list[Any]) -> str:
        """Lines up; empty where it was told to come again."""
        body = json.dumps({"data": data, "session_hash": self.session}).encode()
        try:
            return json.loads(self.ask(f"call/{action}", body, "application/json"))["event_id"]
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            self.counts["told to wait"] += 1
            return ""

    def check(self, action: str, answer: list[Any]) -> None:
        """Whether all that was answered is this visitor's."""
        pictures = [DIRECT.open(one["url"], timeout=PATIENCE_S).read() for one in files_in(answer)]
        self.counts["pictures"] += len(pictures)
        if action == "download_people":
            with zipfile.ZipFile(io.BytesIO(pictures[0])) as archive:
                if not all(name.startswith((f"seed{self.number}-", "metadata")) for name in archive.namelist()):
                    self.mixed_up(f"{action}: {archive.namelist()[0]}")
            return
        seen = [np.asarray(Image.open(io.BytesIO(one)).convert("RGB"), np.int16) for one in pictures]
        if action in FRAMELESS:
            now = np.stack(seen)
            if np.abs(self.before.setdefault(action, now) - now).mean() > 2:
                self.mixed_up(action)
            return
        for one in seen:
            rows = slice(one.shape[0] // 100 + 1, one.shape[0] // 17)
            frame = np.concatenate([one[rows].reshape(-1, 3), one[::-1][rows].reshape(-1, 3)]).mean(axis=0)
            if np.abs(frame - self.colour).max() > 8:
                self.mixed_up(f"{action}: {frame.round()} instead of {self.colour}")

    def mixed_up(self, what: str) -> None:
        self.counts["pictures mixed up"] += 1
        self.faults.append(f"another's picture of {what}")

    def leave(self, photo: dict) -> None:
        """Is gone in the middle: of an upload, before the answer, or while it comes."""
        self.counts["killed"] += 1
        self.session = uuid.uuid4().hex  # who leaves and comes back is another to gradio
        how = self.chance.randrange(3)
        if how == 0:
            body, kind = self.form()
            self.cut_off("POST", "upload", body, kind, 0.5)
            return
        action = self.chance.choice(list(MIXED)) if self.args.mixed else "edit"
        event = self.begin(action, self.told(action, photo, "happy", 1.0))
        if event and how == 1:
            self.cut_off("GET", f"call/{action}/{event}", b"", "", 1)
        self.session = uuid.uuid4().hex

    def cut_off(self, method: str, path: str, body: bytes, kind: str, share: float) -> None:
        """A request whose connection is reset before the answer has come, with so much of the body sent."""
        host, port = self.api.removeprefix("http://").partition("/")[0].split(":")
        head = f"{method} /gradio_api/{path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n" if body else "\r\n"
        with socket.create_connection((host, int(port)), PATIENCE_S) as line:
            line.sendall(head.encode() + body[: int(share * len(body))])
            time.sleep(self.chance.uniform(0, 0.5))
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def ask(self, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        call = urllib.request.Request(f"{self.api}/{path}", body, {"Content-Type": kind} if kind else {})
        until, told = time.monotonic() + PATIENCE_S, b""
        with DIRECT.open(call, timeout=PATIENCE_S) as answer:
            while more := answer.readline():  # a stream tells that it lives, for as long as it likes
                told += more
                if time.monotonic() > until:
                    raise TimeoutError(f"{path.partition('/')[0]} said nothing more than {told[:100]!r}")
        return told


def files_in(answer: Any) -> Iterator[dict]:
    """The files of an answer, wherever they stand in it."""
    if isinstance(answer, dict) and answer.get("url"):
        yield answer
    elif isinstance(answer, (list, dict)):
        for part in answer.values() if isinstance(answer, dict) else answer:
            yield from files_in(part)


def report(visitors: list[Visitor], memory: list[tuple[float, float]], seconds: float) -> int:
    faults = [f"visitor {visitor.number}: {fault}" for visitor in visitors for fault in visitor.faults]
    answered = [sum(map(len, visitor.waits.values())) for visitor in visitors]
    for action in MIXED:
        waits = sorted(wait for visitor in visitors for wait in visitor.waits[action])
        if waits:
            half, late = statistics.median(waits), waits[int(0.95 * len(waits))]
            print(f"{action}: {len(waits)}; half answered within {half:.2f} s, 95 % within {late:.2f} s, the longest "
                  f"{waits[-1]:.2f} s")  # fmt: skip
    print(f"{sum(answered)} answered, {sum(answered) / seconds:.1f} a second, {min(answered)} to {max(answered)} for each "
          "visitor")  # fmt: skip
    total = sum((visitor.counts for visitor in visitors), Counter())
    told = ("told to wait", "given up", "killed", "pictures", "pictures mixed up")
    print(", ".join(f"{total[what]} {what}" for what in told) + f", {len(faults)} faults")
    for fault in faults[:10]:
        print(fault)
    marks = [memory[round(i * (len(memory) - 1) / 6)] for i in range(7)]
    print("memory: " + ", ".join(f"{mb:.0f} MB at {at:.0f} s" for at, mb in marks))
    return 1 if faults or not any(answered) else 0


if __name__ == "__main__":
    sys.exit(main())
