"""The Dockerfile: what it copies is enough for the app, which runs as it is started there and answers the health check."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
INSTRUCTIONS = [
    tuple(line.split(maxsplit=1))
    for line in re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()
    if line and not line.startswith("#")
]


def arguments(name: str) -> list[str]:
    return [rest for instruction, rest in INSTRUCTIONS if instruction == name]


def copied() -> list[str]:
    """The files and folders that the image gets."""
    return [name for line in arguments("COPY") for name in line.split()[:-1]]


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_the_app_does_not_run_as_root_and_the_image_has_no_more_than_it_needs():
    names = [name for name, _ in INSTRUCTIONS]
    assert arguments("FROM")[0].endswith("-slim") and arguments("USER") == ["exprgan"]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in ("RUN", "COPY"))
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored and sorted(copied()) == sorted(line[1:] for line in ignored if line.startswith("!"))


def test_the_readme_and_the_dockerfile_name_the_same_command():
    command = "docker build -t exprgan . && docker run --rm -p 7860:7860 exprgan"
    for name in ("Dockerfile", "README.md"):
        assert command in (ROOT / name).read_text(encoding="utf-8")
    assert arguments("EXPOSE") == ["7860"] and "GRADIO_SERVER_PORT=7860" in arguments("ENV")[0]


@pytest.mark.slow
def test_its_app_starts_answers_the_health_check_and_stops(tmp_path):
    """Its steps but the installation, in a clean folder: this environment has the packages."""
    image, visitors = tmp_path / "app", tmp_path / "visitors"
    image.mkdir()
    for name in copied():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, image / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    settings = dict(pair.split("=") for line in arguments("ENV") for pair in line.split())
    settings |= {"GRADIO_SERVER_PORT": port, "GRADIO_TEMP_DIR": str(visitors), "HF_HUB_OFFLINE": "1"}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | settings
    start = json.loads(arguments("CMD")[0])
    check = json.loads(arguments("HEALTHCHECK")[0].partition("CMD ")[2].replace("7860", port))
    assert start[0] == check[0] == "python"
    with subprocess.Popen([sys.executable, *start[1:]], cwd=image, env=environment) as process:
        try:
            deadline = time.monotonic() + 600
            while not is_open(int(port)) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(1)
            assert subprocess.run([sys.executable, *check[1:]], env=environment).returncode == 0
            process.send_signal(signal.SIGTERM)  # sent by `docker stop`
            assert process.wait(60) == 0 and not [*visitors.glob("exprgan-*")]
        finally:
            process.kill()
