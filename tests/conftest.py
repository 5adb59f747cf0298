"""What every test shares: a quiet, offline process, the sample pictures, and a guard against the network."""

import os

# Before anything is imported: these packages read their environment once.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
THREADS = max(1, min(4, CORES // WORKERS))  # a worker's share of the cores it may use
os.environ["OMP_NUM_THREADS"] = str(THREADS)  # torch
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # HF_HUB_OFFLINE=0 for the `net` tests
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"  # the app under test has no proxy
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


# The sample pictures (tests/data/README.md).


@pytest.fixture
def data_dir() -> Path:
    return DATA


@pytest.fixture
def faces_dir() -> Path:
    """The training set in small: 4 people in train, 2 in test, 7 pictures each."""
    return DATA / "faces"


@pytest.fixture
def portrait() -> Image.Image:
    """One neutral face, 900 x 900."""
    return Image.open(DATA / "portrait.jpg").convert("RGB")


@pytest.fixture
def face():
    """Where the portrait's face is, so that most tests need not look for it."""
    from exprgan import Face

    eyes = ((372.0, 410.0), (532.0, 410.0))
    return Face((300.0, 300.0, 600.0, 700.0), (*eyes, (450.0, 500.0), (390.0, 570.0), (510.0, 570.0)), 1.0)


# Models: tiny ones, with random weights. Imported inside, so that a test of pictures need not load torch.


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


# Data sets.


@pytest.fixture
def drawn(monkeypatch):
    """`prepare` finds a face in every photo, without looking."""
    from labelled import finder

    monkeypatch.setattr("train.data.prepare.find_faces", finder)


# The Hub.


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in that the real client takes for the Hub, with an empty cache, nobody logged in, waits that pass at once."""
    import time

    from hub import StandIn
    from huggingface_hub import constants

    with StandIn() as stand_in:
        stand_in.waits, stand_in.cache = [], tmp_path / "cache"
        monkeypatch.setattr(time, "sleep", stand_in.waits.append)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        template = stand_in.url + "/{repo_id}/resolve/{revision}/{filename}"
        frozen = {
            "ENDPOINT": stand_in.url, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True, "HF_HUB_CACHE": str(stand_in.cache), "HF_TOKEN_PATH": str(tmp_path / "token"),
        }  # fmt: skip
        for name, value in frozen.items():  # read from the environment when the package was imported
            monkeypatch.setattr(constants, name, value)
        yield stand_in


# The app and the browser.


@pytest.fixture(scope="session")
def app_url(tiny_config, tmp_path_factory):
    """The app as it is served, with a tiny model and a folder of its own for the visitors' files."""
    import torch

    os.environ["GRADIO_TEMP_DIR"] = str(tmp_path_factory.mktemp("visitors"))
    from exprgan import ExpressionEditor, ExprGAN
    from exprgan.ui.page import build_app, serve

    torch.manual_seed(0)
    app = build_app(ExpressionEditor(ExprGAN(tiny_config)))
    yield serve(app, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    app.close()


@pytest.fixture(scope="module")
def client(app_url):
    """A program that calls the app."""
    from gradio_client import Client

    return Client(app_url, verbose=False)


@pytest.fixture
def visitors(tmp_path, monkeypatch):
    """Where the app keeps files, for tests that call its functions directly."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def photo(app_url):
    """A visitor's photo on the server."""
    from app_calls import upload

    data = io.BytesIO()
    Image.open(DATA / "portrait.jpg").resize((200, 200)).save(data, "JPEG")
    return json.loads(upload(app_url, data.getvalue())[2])[0]


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium under Playwright, shut off from the network."""
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM} here (apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    flags = ["--no-sandbox", "--disable-dev-shm-usage", offline]
    with playwright.sync_playwright() as driver:
        chrome = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chrome
        chrome.close()


# A disk that can be filled.


@pytest.fixture
def disk(tmp_path):
    """A disk of 64 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


# The guard: a test that connects to anything but this machine fails, even where the code swallows the error.


class Network:
    """Stands before socket.connect."""

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
    """Fails the test if anything connected outwards while it ran. Tests marked `net` may."""
    NETWORK.allowed = request.node.get_closest_marker("net") is not None
    yield NETWORK
    NETWORK.allowed = False
    refused, NETWORK.refused = NETWORK.refused, []
    if refused:
        pytest.fail(f"connected outwards: {', '.join(refused)}")


@pytest.fixture(autouse=True, scope="module")
def new_accelerator():
    """Accelerate keeps one state for a process, and refuses another precision: each file of tests begins anew."""
    import sys

    yield
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)
