"""Attacks on the app: requests for other visitors' pictures, for the server's files, and for addresses in its network."""

import http.client
import http.server
import json
import os
import re
import socket
import threading
import uuid
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from app_calls import PARAMETERS, SETTINGS, a_file, ask, call, post, upload

from exprgan.ui.server import calls, guard, visitor_files
from exprgan.ui.server.path_alias import ALIAS

ROOT = Path(__file__).parent.parent
SECRET = b"a file of the server"


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    """A file of the server, outside the visitors' folder."""
    path = tmp_path_factory.mktemp("server") / "secret.png"
    path.write_bytes(SECRET)
    return path


# Files.


def spellings(path, folder):
    """A path of the server in many notations and encodings."""
    up = os.path.relpath(path, folder)
    for text in (path, f"/{path}", f"//{path}", f"{folder}/{up}", f"{folder}/./x/../{up}", up, f"{path}\0.jpg", f"{path}/",
                f"file://{path}", f"file:{path}", path.replace("/", "\\"), path.upper(), f"{path}?x", f"{path};.jpg",
                f"./{up}", f"....//{up}", f"~/../..{path}", os.path.relpath(path)):  # fmt: skip
        yield quote(text, safe="/:.~")
        yield quote(text, safe="")
        yield "".join(f"%{byte:02x}" for byte in text.encode())
        yield quote(quote(text, safe=""))
        yield quote(text, safe="/:").replace("..", "%2e%2e").replace("/", "%2f")
        yield quote(text, safe="/:").replace("..", "%c0%ae%c0%ae")


FORBIDDEN = ("/etc/passwd", "/proc/self/environ", *(str(ROOT / name) for name in (
    "app.py", "exprgan/ui/server/guard.py", "weights/model.safetensors", "weights/config.json", "pyproject.toml", ".git",
    ".gitignore", "tests/data/portrait.jpg", "exprgan/ui/examples/../page.py")))  # fmt: skip


def test_no_spelling_of_a_path_returns_a_file_of_the_server(app_url, secret):
    folder, count = os.environ["GRADIO_TEMP_DIR"], 0
    for path in (*FORBIDDEN, str(secret), str(Path(folder).parent)):
        for spelled in spellings(path, folder):
            status, _, body = ask(app_url, f"/gradio_api/{'file/' if count % 4 == 0 else 'file='}{spelled}")
            assert status in (400, 403, 404, 405, 422), (status, spelled)
            assert SECRET not in body and b"root:" not in body and b"import gradio" not in body and len(body) < 3000
            count += 1
    assert count > 1000
    print(f"{count} spellings")


@pytest.mark.parametrize("route", ["static", "assets", "svelte", "gradio_api/custom_component/x/client/component",
                                   "gradio_api/proxy=", "file=", "file", "pwa_icon"])  # fmt: skip
def test_no_other_route_returns_one(app_url, secret, route):
    for path in ("/etc/passwd", str(secret), str(ROOT / "app.py")):
        for up in ("", "../" * 12, "..%2f" * 12, "%2e%2e/" * 12, "%2e%2e%2f" * 12, "..\\" * 12):
            status, headers, body = ask(app_url, f"/{route}/{up}{path.lstrip('/') if up else path}")
            page = headers["Content-Type"].startswith("text/html")  # the page itself, at any address
            assert status in (400, 403, 404, 405) or page, (status, route, up, path)
            assert SECRET not in body and b"root:x" not in body and b'"""The app: edits' not in body


def test_an_upload_stays_in_the_folder_whatever_its_name(app_url, secret):
    """And it is a regular file: a visitor cannot create links."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    for name in ("../../out.jpg", "/etc/cron.d/x.jpg", "..\\..\\out.jpg", "a/../../b.jpg", "x\0.jpg", ".htaccess", ".."):
        status, _, body = upload(app_url, b"data", name)
        if status == 200:
            for path in (folder / Path(path).relative_to(ALIAS) for path in json.loads(body)):
                assert path.parent.parent == folder and path.is_file() and not path.is_symlink(), (name, path)
        else:
            assert status in (400, 500), (name, status)
    assert not {"out.jpg", "b.jpg"} & {path.name for path in (folder.parent).iterdir()}


@pytest.mark.parametrize("wrong", ["a/b", "../../../../x", "/x", "happy/../../x", "happy\0", "x" * 300, "CON", "happy "])
def test_no_setting_writes_outside_the_folder(app_url, photo, wrong):
    """The name of a result contains the expression."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    before = {path for path in folder.parent.rglob("*") if path.is_file()}
    for action, *data in (("download_people", 1, 1, wrong, 1), ("animate", a_file(photo), wrong, 1, "", 0.5, 0, "model", 0,
                          "one", {}, "sweep", "gif", 0.5, {})):  # fmt: skip
        event, answer = call(app_url, action, *data)
        assert event == "error" and "Sorry" not in answer and "Traceback" not in answer, answer
    assert {path for path in folder.parent.rglob("*") if path.is_file()} == before


# Other visitors' pictures.


def test_a_visitors_files_have_names_that_cannot_be_guessed(app_url, photo):
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    event, answer = call(app_url, "edit", a_file(photo), "happy", 1, "", 0.5, 0, "model", 0, "one", {}, {})
    assert event == "complete"
    results = [path for path in re.findall(r'"path": "([^"]+)"', answer) if "examples" not in path]
    assert len(results) == 2
    for path in (photo, *results):
        name = Path(path).relative_to(ALIAS).as_posix()
        assert len(re.findall(r"[0-9a-f]", re.search(r"[0-9a-f]{32,64}", name)[0])) >= 32, name
        assert ask(app_url, f"/gradio_api/file={path}")[0] == 200
    for guess in (folder, folder / "exprgan", ALIAS, f"{ALIAS}/", f"{ALIAS}/..", Path(photo).parent, f"{folder}/*",
                  f"{folder}/exprgan/*.jpg", f"{Path(results[1]).with_suffix('')}", f"{results[1]}.part",
                  folder / visitor_files.LOCK_FILE):  # fmt: skip
        assert ask(app_url, f"/gradio_api/file={guess}")[0] == 403, guess


def test_another_session_gets_no_answer_of_a_visitor(app_url, photo):
    session = uuid.uuid4().hex
    data = {"data": [a_file(photo)], "session_hash": session}
    event = json.loads(post(app_url, "/gradio_api/call/read", data)[2])["event_id"]
    for guess in (uuid.uuid4().hex, "0", "*", event[:-1], session[:-1]):
        status, _, body = ask(app_url, f"/gradio_api/call/read/{guess}")
        assert b'"expression"' not in body and b"portrait" not in body, (guess, status)
        answer = ask(app_url, f"/gradio_api/queue/data?session_hash={guess}", timeout_s=3)[2]  # it may never end
        assert b'"expression"' not in answer
    assert b'"expression"' in ask(app_url, f"/gradio_api/call/read/{event}")[2]
    assert b'"expression"' not in ask(app_url, f"/gradio_api/call/read/{event}")[2]  # answered once


UNUSED = ("deep_link?session_hash=x", "process_recording", "component_server", "proxy=http://127.0.0.1", "vibe-edit",
          "vibe-code", "stream/x", "stream/x/y/1/playlist.m3u8", "run-history/connect", "dev/reload",
          "custom_component/x/client/a/y.js", "../monitoring", "../monitoring/summary")  # fmt: skip


def test_addresses_that_the_page_does_not_use_are_blocked(app_url):
    for address in UNUSED:
        path = f"/gradio_api/{address}".replace("/gradio_api/..", "")
        for method, data in (("GET", None), ("POST", b"")):
            status, _, body = ask(app_url, path, method, data)
            assert (status, body.decode()) == (404, guard.NOT_FOUND), path


def test_the_queue_cannot_be_bypassed(app_url):
    status, _, body = post(app_url, "/gradio_api/run/generate", {"data": [1, 1, "happy", 1]})
    assert status == 404 and b"does not accept direct" in body


# Files of the server, and URLs, in place of a photo.

REST = SETTINGS | {"kind": "sweep", "file_format": "gif", "seconds": 0.5, "intensity": 1, "relative": False}
ACTIONS = {name[1:]: [REST.get(key) for key in keys] for name, keys in PARAMETERS.items() if "photo" in keys}


def disguises(path):
    """A path in the JSON forms that could be taken for a photo."""
    yield a_file(path)
    yield {"path": path}
    yield path
    yield a_file(path) | {"url": f"/gradio_api/file={path}", "orig_name": "me.jpg", "is_stream": True}
    yield {"image": a_file(path), "caption": None}
    yield [a_file(path)]
    yield a_file(os.path.join(os.environ["GRADIO_TEMP_DIR"], os.path.relpath(path, os.environ["GRADIO_TEMP_DIR"])))


@pytest.mark.parametrize("action", ACTIONS)
def test_no_action_reads_a_file_of_the_server(app_url, action):
    """Not even one that is a photo."""
    for photo in disguises(str(ROOT / "tests" / "data" / "portrait.jpg")):
        data = [photo, *ACTIONS[action][1:]]
        if "transfer" in action:
            data[1] = photo
        status, _, body = post(app_url, f"/gradio_api/call/{action}", {"data": data})
        if status == 200:
            answer = ask(app_url, f"/gradio_api/call/{action}/{json.loads(body)['event_id']}")[2].decode()
            assert answer.startswith("event: error") and "Traceback" not in answer, (photo, answer[:300])
        else:
            assert status in (400, 422), (status, body)


def test_the_pages_own_events_read_none_either(app_url, secret):
    """Events without an API name are called by their index; anybody can send any data to them."""
    config = json.loads(ask(app_url, "/config")[2])
    for event in config["dependencies"]:
        for value in (a_file(str(secret)), {"path": str(secret)}):
            body = {"data": [value] * len(event["inputs"]), "fn_index": event["id"], "session_hash": uuid.uuid4().hex,
                    "event_data": {"index": str(secret), "value": a_file(str(secret))}}  # fmt: skip
            path = "/gradio_api/queue/join" if event["queue"] is not False else "/gradio_api/run/predict"
            status, _, answer = post(app_url, path, body)
            if status == 200 and "event_id" in json.loads(answer):
                answer = until_done(app_url, body["session_hash"])
            assert SECRET not in answer and b"Traceback" not in answer
            for returned in re.findall(r'"path": ?"([^"]+)"', answer.decode()):
                assert SECRET not in ask(app_url, f"/gradio_api/file={returned}")[2]


def until_done(url, session):
    """The events of a session until its job is completed."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.request("GET", f"/gradio_api/queue/data?session_hash={session}")
    response, data = connection.getresponse(), b""
    while b"process_completed" not in data and b"close_stream" not in data:
        if not (line := response.readline()):
            break
        data += line
    connection.close()
    return data


REQUESTED: list[str] = []
"""Paths that were requested from `InternalServer`."""


class InternalServer(http.server.BaseHTTPRequestHandler):
    """A server in the app's own network."""

    def do_GET(self):
        REQUESTED.append(self.path)
        self.send_response(302 if "away" in self.path else 200)
        self.send_header("Location", "/internal")
        self.end_headers()
        self.wfile.write(SECRET)

    do_HEAD = do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def internal_port():
    REQUESTED.clear()
    with http.server.ThreadingHTTPServer(("", 0), InternalServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


HOSTS = ("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "0.0.0.0", "0", "localhost", "LOCALHOST",
         "localhost.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[64:ff9b::7f00:1]",
         "user@127.0.0.1", "127.0.0.1%00.example.com", "169.254.169.254", "100.100.100.200", "[fd00:ec2::254]",
         "metadata.google.internal", "127.0.0.1.nip.io", "example.com")  # fmt: skip


@pytest.fixture
def resolved_names(monkeypatch):
    """The host names other than this machine's that the code tried to resolve."""
    names, resolve = [], socket.getaddrinfo

    def record(host, *args, **kwargs):
        if host not in ("127.0.0.1", "localhost", None, b"127.0.0.1", ""):
            names.append(host)
            raise socket.gaierror("not in a test")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", record)
    return names


@pytest.mark.parametrize("host", HOSTS)
def test_a_url_is_never_fetched(app_url, internal_port, resolved_names, host):
    port = f":{internal_port}" if not host.startswith(("169", "100", "[fd00", "metadata", "example")) else ""
    for scheme in ("http", "https", "ftp", "gopher", "HTTP"):
        for path in ("me.jpg", "away.jpg"):
            url = f"{scheme}://{host}{port}/{path}"
            for spelled in (url, quote(url, safe=":/"), quote(url, safe="")):
                assert ask(app_url, f"/gradio_api/file={spelled}")[0] in (400, 403, 404)
                assert ask(app_url, f"/gradio_api/proxy={spelled}")[0] in (400, 404)
        if scheme in ("http", "ftp"):
            for photo in (a_file(url) | {"url": url}, {"path": url, "url": url}):
                _, answer = call(app_url, "read", photo)
                assert answer.startswith("event: error") and SECRET not in answer.encode()
    assert not REQUESTED and not resolved_names


def test_a_url_is_answered_with_a_sentence(app_url):
    event, answer = call(app_url, "read", a_file("https://example.com/me.jpg"))
    assert event == "error" and calls.NO_URLS in answer
