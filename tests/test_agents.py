"""/agents.md of a Space, behind the Hub's proxy, followed to the letter, as a program does that knows nothing else."""

import json
import re
import shutil
import subprocess

import pytest
from app_calls import PARAMETERS, ask, post

from exprgan import ExpressionEditor, ExprGAN
from exprgan.ui.page import build_app, serve
from exprgan.ui.server.limits import Limits

HOST = "someone-faces.hf.space"
PROXY = {"Host": HOST, "X-Forwarded-Proto": "https", "X-Forwarded-Host": HOST, "X-Forwarded-For": "8.8.8.8"}
"""What the Hub's proxy adds to a visitor's request."""


@pytest.fixture(scope="module")
def space_url(tiny_config, tmp_path_factory):
    """The address behind the proxy of the app on a Space."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"SPACE_ID": "someone/faces", "SPACE_HOST": HOST, "SYSTEM": "spaces",
                            "GRADIO_TEMP_DIR": str(tmp_path_factory.mktemp("visitors"))}.items():  # fmt: skip
            patch.setenv(name, value)
        app = build_app(ExpressionEditor(ExprGAN(tiny_config)))
        many = Limits(requests_per_minute=10**6, uploads_per_hour=10**5, upload_bytes_per_hour=10**10, free_bytes=0)
        yield serve(app, many, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
        app.close()


@pytest.fixture(scope="module")
def text(space_url):
    status, headers, body = ask(space_url, "/agents.md", **PROXY)
    assert status == 200 and headers["Content-Type"].startswith("text/markdown")
    return body.decode()


def test_its_addresses_are_those_of_the_space(text):
    assert {*re.findall(r"\w+://[^/\s'`]+/", text)} == {f"https://{HOST}/"}
    assert re.findall(r"^## (/\w+)$", text, re.M) == list(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_function_can_be_called_over_http_as_described(space_url, text, name):
    description = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    defaults = {
        key: json.loads(value) for key, value in re.findall(r"^- `(\w+)` \(.*, by default (.*?)\): ", description, re.M)
    }
    assert list(defaults) == PARAMETERS[name]
    status, _, body = post(space_url, f"/gradio_api/call/v2{name}", defaults, **PROXY)
    assert status == 200, body
    _, _, body = ask(space_url, f"/gradio_api/call{name}/{json.loads(body)['event_id']}", timeout_s=120, **PROXY)
    event, data = re.search(r"event: (complete|error)\ndata: (.*)", body.decode()).groups()
    assert event == "complete" and json.loads(data), data


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_its_curl_calls_run_as_they_stand(space_url, text, data_dir, tmp_path):
    shutil.copy(data_dir / "portrait.jpg", tmp_path / "me.jpg")
    (script,) = re.findall(r"```sh\n(.*?)```", text, re.S)
    headers = " ".join(f"-H '{name}: {value}'" for name, value in PROXY.items())
    script = script.replace(f"https://{HOST}/", space_url).replace("curl ", f"curl {headers} ")
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "event: complete" in done.stdout and "reads as" in done.stdout
