"""Shared by all tests: an offline environment, fixtures, and a check that no test connects to the network."""

import os

# Set before other imports, as these packages read the environment when they are imported.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
THREADS = max(1, min(4, CORES // WORKERS))  # a worker's share of the available cores
os.environ["OMP_NUM_THREADS"] = str(THREADS)  # torch
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # HF_HUB_OFFLINE=0 for the `net` tests
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"  # requests to the app under test use no proxy
os.environ.pop("EXPRGAN_MODEL", None)

import io
import ipaddress
import json
import socket
import subprocess
from pathlib import Path

import pytest
from PIL import Image

DATA = Path(__file__).parent / "data"
CHROMIUM = Path("/usr/bin/chromium")


# Sample pictures (tests/data/README.md).


@pytest.fixture
def data_dir() -> Path:
    return DATA


@pytest.fixture
def faces_dir() -> Path:
    """A small training set: 4 people in train, 2 in test, 7 pictures each."""
    return DATA / "faces"


@pytest.fixture
def portrait() -> Image.Image:
    """One neutral face, 900 x 900."""
    return Image.open(DATA / "portrait.jpg").convert("RGB")


@pytest.fixture
def face():
    """The portrait's face, so that most tests need not run the detector."""
    from exprgan import Face

    eyes = ((372.0, 410.0), (532.0, 410.0))
    return Face((300.0, 300.0, 600.0, 700.0), (*eyes, (450.0, 500.0), (390.0, 570.0), (510.0, 570.0)), 1.0)


# Tiny models with random weights. Imports are inside, so that tests of pictures do not load torch.


@pytest.fixture(scope="session")
def tiny_config():
    from exprgan import ExprGANConfig

    return ExprGANConfig(image_size=32, z_dim=8, encoder_width=4, decoder_width=32, discriminator_width=4, face_width=2)


@pytest.fixture
def tiny_model(tiny_config):
    import torch

    from exprgan import ExprGAN

    torch.manual_seed(0)
    return ExprGAN(tiny_config).eval()


@pytest.fixture
def tiny_editor(tiny_model):
    from exprgan import ExpressionEditor

    return ExpressionEditor(tiny_model)


@pytest.fixture
def warp_model(tiny_config):
    """A tiny model with a T that visibly moves the face and paints a mouth."""
    import dataclasses

    import torch

    from exprgan import ExprGAN

    torch.manual_seed(0)
    model = ExprGAN(dataclasses.replace(tiny_config, decoder_width=64, warp_width=0.25)).eval()
    with torch.no_grad():
        model.T.head.weight.mul_(50)
        model.T.mouth.head.bias[:4] = 4
    return model


# Data sets.


@pytest.fixture
def drawn(monkeypatch):
    """Replaces the detector of `prepare` by one that knows where the drawn faces are."""
    from labelled import finder

    monkeypatch.setattr("train.data.prepare.find_faces", finder)


# The Hub.


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A fake of the Hub for the real client, with an empty cache, nobody logged in, and waits that pass at once."""
    import time

    from fake_hub import FakeHub
    from huggingface_hub import constants

    with FakeHub() as fake:
        fake.waits, fake.cache = [], tmp_path / "cache"
        monkeypatch.setattr(time, "sleep", fake.waits.append)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        template = fake.url + "/{repo_id}/resolve/{revision}/{filename}"
        settings = {
            "ENDPOINT": fake.url, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True, "HF_HUB_CACHE": str(fake.cache), "HF_TOKEN_PATH": str(tmp_path / "token"),
        }  # fmt: skip
        for name, value in settings.items():  # which the package read from the environment when it was imported
            monkeypatch.setattr(constants, name, value)
        yield fake


# The app and the browser.


@pytest.fixture(scope="session")
def app_url(tiny_config, tmp_path_factory):
    """The URL of the app, served with a tiny model, its own folder for visitors' files, and high limits of a client."""
    import torch

    os.environ["GRADIO_TEMP_DIR"] = str(tmp_path_factory.mktemp("visitors"))
    from exprgan import ExpressionEditor, ExprGAN
    from exprgan.ui.page import build_app, serve
    from exprgan.ui.server.limits import Limits

    torch.manual_seed(0)
    app = build_app(ExpressionEditor(ExprGAN(tiny_config)))
    many = Limits(requests_per_minute=10**6, uploads_per_hour=10**5, upload_bytes_per_hour=10**10, free_bytes=0)
    yield serve(app, many, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    app.close()


@pytest.fixture(scope="module")
def client(app_url):
    """An API client of the app."""
    from gradio_client import Client

    return Client(app_url, verbose=False)


@pytest.fixture
def visitors(tmp_path, monkeypatch):
    """The app's folder for files, for tests that call its functions directly."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def photo(app_url):
    """The path of an uploaded photo on the server."""
    from app_calls import upload

    data = io.BytesIO()
    Image.open(DATA / "portrait.jpg").resize((200, 200)).save(data, "JPEG")
    return json.loads(upload(app_url, data.getvalue())[2])[0]


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium under Playwright, without network access."""
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM} here (apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    flags = ["--no-sandbox", "--disable-dev-shm-usage", offline]
    with playwright.sync_playwright() as driver:
        chrome = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chrome
        chrome.close()


# A disk that can be full.


@pytest.fixture
def disk(tmp_path):
    """The mount point of an own disk of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder]
    result = subprocess.run(mount, capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"mounting is not allowed here: {result.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


# Network check: a test that connects to another machine fails, even if the code under test suppresses the error.


class Network:
    """Checks every call of socket.connect."""

    def __init__(self) -> None:
        self.allowed = False
        self.refused: list[str] = []  # since the last test ended

    def check(self, sock: socket.socket, address) -> None:
        if self.allowed or sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        host = str(address[0])
        try:
            local = ipaddress.ip_address(host.partition("%")[0]).is_loopback
        except ValueError:
            local = host == "localhost"
        if not local:
            self.refused.append(str(address))
            raise RuntimeError(f"a test tried to connect to {address}; only loopback is allowed")

    def guard(self, connect):
        def guarded(sock, address):
            self.check(sock, address)
            return connect(sock, address)

        return guarded


NETWORK = Network()
socket.socket.connect = NETWORK.guard(socket.socket.connect)
socket.socket.connect_ex = NETWORK.guard(socket.socket.connect_ex)


@pytest.fixture(autouse=True)
def network(request):
    """Fails the test if it tried to connect to another machine, unless it is marked `net`."""
    NETWORK.allowed = request.node.get_closest_marker("net") is not None
    yield NETWORK
    NETWORK.allowed = False
    refused, NETWORK.refused = NETWORK.refused, []
    if refused:
        pytest.fail(f"tried to connect to: {', '.join(refused)}")


@pytest.fixture(autouse=True, scope="module")
def new_accelerator():
    """Resets Accelerate's state after each test file: there is one per process, and it refuses another precision."""
    import sys

    yield
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)
