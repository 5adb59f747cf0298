"""The app, asked for what it must not give: others' pictures, the server's files, addresses of its network."""

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

from exprgan.ui import middleware

ROOT = Path(__file__).parent.parent
SECRET = b"this is the server's own"


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    """A file of the server's, beside the visitors' folder."""
    path = tmp_path_factory.mktemp("server") / "secret.png"
    path.write_bytes(SECRET)
    return path


# Files.


def spellings(path, folder):
    """A path of the server's, in all spellings."""
    up = os.path.relpath(path, folder)
    for one in (path, f"/{path}", f"//{path}", f"{folder}/{up}", f"{folder}/./x/../{up}", up, f"{path}\0.jpg", f"{path}/",
                f"file://{path}", f"file:{path}", path.replace("/", "\\"), path.upper(), f"{path}?x", f"{path};.jpg",
                f"./{up}", f"....//{up}", f"~/../..{path}", os.path.relpath(path)):  # fmt: skip
        yield quote(one, safe="/:.~")
        yield quote(one, safe="")
        yield "".join(f"%{byte:02x}" for byte in one.encode())
        yield quote(quote(one, safe=""))
        yield quote(one, safe="/:").replace("..", "%2e%2e").replace("/", "%2f")
        yield quote(one, safe="/:").replace("..", "%c0%ae%c0%ae")


FORBIDDEN = ("/etc/passwd", "/proc/self/environ", *(str(ROOT / one) for one in (
    "app.py", "exprgan/ui/middleware.py", "weights/model.safetensors", "weights/config.json", "pyproject.toml", ".git", ".gitignore",
    "tests/data/portrait.jpg", "examples/../app.py")))  # fmt: skip


def test_no_spelling_of_a_path_gets_a_file_of_the_servers(app_url, secret):
    folder, met = os.environ["GRADIO_TEMP_DIR"], 0
    for path in (*FORBIDDEN, str(secret), str(Path(folder).parent)):
        for spelled in spellings(path, folder):
            status, _, body = ask(app_url, f"/gradio_api/{'file/' if met % 4 == 0 else 'file='}{spelled}")
            assert status in (400, 403, 404, 405, 422), (status, spelled)
            assert SECRET not in body and b"root:" not in body and b"import gradio" not in body and len(body) < 3000
            met += 1
    assert met > 1000
    print(f"{met} spellings")


@pytest.mark.parametrize("route", ["static", "assets", "svelte", "gradio_api/custom_component/x/client/component",
                                   "gradio_api/proxy=", "file=", "file", "pwa_icon"])  # fmt: skip
def test_no_other_route_gets_one(app_url, secret, route):
    for path in ("/etc/passwd", str(secret), str(ROOT / "app.py")):
        for up in ("", "../" * 12, "..%2f" * 12, "%2e%2e/" * 12, "%2e%2e%2f" * 12, "..\\" * 12):
            status, headers, body = ask(app_url, f"/{route}/{up}{path.lstrip('/') if up else path}")
            page = headers["Content-Type"].startswith("text/html")  # which takes any address for itself
            assert status in (400, 403, 404, 405) or page, (status, route, up, path)
            assert SECRET not in body and b"root:x" not in body and b'"""The app: edits' not in body


def test_a_link_out_of_the_folder_is_not_followed_where_a_visitor_could_lay_one(app_url, secret):
    """Nobody can: an upload is a file. Names that would be links or paths become names."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    for name in ("../../out.jpg", "/etc/cron.d/x.jpg", "..\\..\\out.jpg", "a/../../b.jpg", "x\0.jpg", ".htaccess", ".."):
        status, _, body = upload(app_url, b"data", name)
        if status == 200:
            for path in map(Path, json.loads(body)):
                assert path.parent.parent == folder and path.is_file() and not path.is_symlink(), (name, path)
        else:
            assert status in (400, 500), (name, status)
    assert not {"out.jpg", "b.jpg"} & {path.name for path in (folder.parent).iterdir()}


@pytest.mark.parametrize("wrong", ["a/b", "../../../../x", "/x", "happy/../../x", "happy\0", "x" * 300, "CON", "happy "])
def test_no_setting_writes_outside_the_folder(app_url, photo, wrong):
    """An expression stands in the name of what is made."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    before = {path for path in folder.parent.rglob("*") if path.is_file()}
    for action, *data in (("download_people", 1, 1, wrong, 1), ("animate", a_file(photo), wrong, 1, "", 0.5, 0, "model", 0,
                          "one", {}, "sweep", "gif", 0.5)):  # fmt: skip
        event, told = call(app_url, action, *data)
        assert event == "error" and "Sorry" not in told and "Traceback" not in told, told
    assert {path for path in folder.parent.rglob("*") if path.is_file()} == before


# Others' pictures.


def test_a_visitors_files_are_under_names_that_nobody_guesses(app_url, photo):
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    event, told = call(app_url, "edit", a_file(photo), "happy", 1, "", 0.5, 0, "model", 0, "one", {})
    assert event == "complete"
    given = [one for one in re.findall(r'"path": "([^"]+)"', told) if "examples" not in one]
    assert len(given) == 2
    for path in (photo, *given):
        place = Path(path).relative_to(folder).as_posix()
        assert len(re.findall(r"[0-9a-f]", re.search(r"[0-9a-f]{32,64}", place)[0])) >= 32, place
        assert ask(app_url, f"/gradio_api/file={path}")[0] == 200
    for guess in (folder, folder / "exprgan", Path(photo).parent, f"{folder}/*", f"{folder}/exprgan/*.jpg",
                  f"{Path(given[1]).with_suffix('')}", f"{given[1]}.part", folder / middleware.LOCK):  # fmt: skip
        assert ask(app_url, f"/gradio_api/file={guess}")[0] == 403, guess


def test_another_session_gets_nothing_of_a_visitors(app_url, photo):
    session = uuid.uuid4().hex
    data = {"data": [a_file(photo)], "session_hash": session}
    event = json.loads(post(app_url, "/gradio_api/call/read", data)[2])["event_id"]
    for guess in (uuid.uuid4().hex, "0", "*", event[:-1], session[:-1]):
        status, _, body = ask(app_url, f"/gradio_api/call/read/{guess}")
        assert b"reads as" not in body and b"portrait" not in body, (guess, status)
        told = ask(app_url, f"/gradio_api/queue/data?session_hash={guess}", patience=3)[2]  # it may wait for ever
        assert b"reads as" not in told
    assert b"reads as" in ask(app_url, f"/gradio_api/call/read/{event}")[2]
    assert b"reads as" not in ask(app_url, f"/gradio_api/call/read/{event}")[2]  # told once


UNUSED = ("deep_link?session_hash=x", "process_recording", "component_server", "proxy=http://127.0.0.1", "vibe-edit",
          "vibe-code", "stream/x", "stream/x/y/1/playlist.m3u8", "run-history/connect", "dev/reload",
          "custom_component/x/client/a/y.js", "../monitoring", "../monitoring/summary")  # fmt: skip


def test_what_the_page_has_no_use_for_is_closed(app_url):
    for address in UNUSED:
        path = f"/gradio_api/{address}".replace("/gradio_api/..", "")
        for method, data in (("GET", None), ("POST", b"")):
            status, _, body = ask(app_url, path, method, data)
            assert (status, body.decode()) == (404, middleware.NOT_HERE), path


def test_nobody_passes_by_the_queue(app_url):
    status, _, body = post(app_url, "/gradio_api/run/generate", {"data": [1, 1, "happy", 1]})
    assert status == 404 and b"does not accept direct" in body


# Files of the server's, and addresses, in place of a photo.

REST = SETTINGS | {"kind": "sweep", "file_format": "gif", "seconds": 0.5, "intensity": 1}
ACTIONS = {name[1:]: [REST.get(one) for one in given] for name, given in PARAMETERS.items() if "photo" in given}


def disguises(path):
    """A path as JSON may hold it in a photo's place."""
    yield a_file(path)
    yield {"path": path}
    yield path
    yield a_file(path) | {"url": f"/gradio_api/file={path}", "orig_name": "me.jpg", "is_stream": True}
    yield {"image": a_file(path), "caption": None}
    yield [a_file(path)]
    yield a_file(os.path.join(os.environ["GRADIO_TEMP_DIR"], os.path.relpath(path, os.environ["GRADIO_TEMP_DIR"])))


@pytest.mark.parametrize("action", ACTIONS)
def test_no_action_takes_a_file_of_the_servers_for_a_photo(app_url, action):
    """Not even one that is a photo."""
    taken = str(ROOT / "tests" / "data" / "portrait.jpg")
    for photo in disguises(taken):
        data = [photo, *ACTIONS[action][1:]]
        if "transfer" in action:
            data[1] = photo
        status, _, body = post(app_url, f"/gradio_api/call/{action}", {"data": data})
        if status == 200:
            answer = ask(app_url, f"/gradio_api/call/{action}/{json.loads(body)['event_id']}")[2].decode()
            assert answer.startswith("event: error") and "Traceback" not in answer, (photo, answer[:300])
        else:
            assert status in (400, 422), (status, body)


def test_the_pages_own_events_take_none_either(app_url, secret):
    """Those that are no actions have numbers; a page of anybody's can send any data to them."""
    config = json.loads(ask(app_url, "/config")[2])
    for one in config["dependencies"]:
        for value in (a_file(str(secret)), {"path": str(secret)}):
            body = {"data": [value] * len(one["inputs"]), "fn_index": one["id"], "session_hash": uuid.uuid4().hex,
                    "event_data": {"index": str(secret), "value": a_file(str(secret))}}  # fmt: skip
            path = "/gradio_api/queue/join" if one["queue"] is not False else "/gradio_api/run/predict"
            status, _, answer = post(app_url, path, body)
            if status == 200 and "event_id" in json.loads(answer):
                answer = until_done(app_url, body["session_hash"])
            assert SECRET not in answer and b"Traceback" not in answer
            for given in re.findall(r'"path": ?"([^"]+)"', answer.decode()):
                assert SECRET not in ask(app_url, f"/gradio_api/file={given}")[2]


def until_done(url, session):
    line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    line.request("GET", f"/gradio_api/queue/data?session_hash={session}")
    answer, told = line.getresponse(), b""
    while b"process_completed" not in told and b"close_stream" not in told:
        if not (more := answer.readline()):
            break
        told += more
    line.close()
    return told


ASKED: list[str] = []
"""What the server within was asked for."""


class Inside(http.server.BaseHTTPRequestHandler):
    """A server in the app's own network."""

    def do_GET(self):
        ASKED.append(self.path)
        self.send_response(302 if "away" in self.path else 200)
        self.send_header("Location", "/inside")
        self.end_headers()
        self.wfile.write(SECRET)

    do_HEAD = do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def inside():
    ASKED.clear()
    with http.server.ThreadingHTTPServer(("", 0), Inside) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


HOSTS = ("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "0.0.0.0", "0", "localhost", "LOCALHOST",
         "localhost.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[64:ff9b::7f00:1]",
         "user@127.0.0.1", "127.0.0.1%00.example.com", "169.254.169.254", "100.100.100.200", "[fd00:ec2::254]",
         "metadata.google.internal", "127.0.0.1.nip.io", "example.com")  # fmt: skip


@pytest.fixture
def looked_up(monkeypatch):
    """The names that were looked up outside, or would have been."""
    names, look_up = [], socket.getaddrinfo

    def noted(host, *rest, **more):
        if host not in ("127.0.0.1", "localhost", None, b"127.0.0.1", ""):
            names.append(host)
            raise socket.gaierror("not in a test")
        return look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    return names


@pytest.mark.parametrize("host", HOSTS)
def test_an_address_is_never_fetched(app_url, inside, looked_up, host):
    port = f":{inside}" if not host.startswith(("169", "100", "[fd00", "metadata", "example")) else ""
    for scheme in ("http", "https", "ftp", "gopher", "HTTP"):
        for path in ("me.jpg", "away.jpg"):
            address = f"{scheme}://{host}{port}/{path}"
            for spelled in (address, quote(address, safe=":/"), quote(address, safe="")):
                assert ask(app_url, f"/gradio_api/file={spelled}")[0] in (400, 403, 404)
                assert ask(app_url, f"/gradio_api/proxy={spelled}")[0] in (400, 404)
        if scheme in ("http", "ftp"):
            for photo in (a_file(address) | {"url": address}, {"path": address, "url": address}):
                _, told = call(app_url, "read", photo)
                assert told.startswith("event: error") and SECRET not in told.encode()
    assert not ASKED and not looked_up


def test_an_address_is_answered_with_a_sentence(app_url):
    event, told = call(app_url, "read", a_file("https://example.com/me.jpg"))
    assert event == "error" and middleware.NO_ADDRESS in told
