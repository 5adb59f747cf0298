"""Limits of the app's server, lowered: bodies, uploads, clients, slow connections, the queue and the disk."""

import contextlib
import http.client
import json
import os
import re
import socket
import threading
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from app_calls import ask

from exprgan import ExpressionEditor, ExprGAN
from exprgan.ui import page
from exprgan.ui.server import calls, guard, visitor_files
from exprgan.ui.server.call_queue import NO_ANSWER
from exprgan.ui.server.guard import CLOSE_STREAM
from exprgan.ui.server.limits import Limits
from exprgan.ui.server.path_alias import ALIAS
from exprgan.ui.server.refusals import Refused
from exprgan.ui.server.request_bodies import TOO_DEEP, TOO_MANY_VALUES, TOO_SLOW, json_size

LOW = Limits(body_bytes=20_000, json_values=1000, upload_bytes=300_000, upload_files=3, idle_s=1, body_s=3, upload_s=3,
             stalled_s=1,
             requests_per_minute=150, uploads_per_hour=6, upload_bytes_per_hour=700_000, open_requests=12, waiting_calls=3,
             sessions=2, queue=10, free_bytes=0, unclaimed_s=2)  # fmt: skip
PHOTO = (Path(__file__).parent / "data" / "portrait.jpg").read_bytes()
JSON = {"Content-Type": "application/json"}


class Served:
    """An app with the limits above behind one proxy, as which the tests name a client; its work can be held up."""

    def __init__(self, config, folder):
        self.editor, self.work, self.generated = ExpressionEditor(ExprGAN(config)), threading.Event(), []
        self.work.set()
        generate = self.editor.generate_rows

        def held(count, *args, **settings):
            self.generated.append(settings.get("seed"))
            self.work.wait(20)
            return generate(count, *args, **settings)

        self.editor.generate_rows = held
        self.folder, self.app = folder, page.build_app(self.editor)
        self.url = page.serve(self.app, LOW, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)

    def ask(self, path, client, method="GET", body=None, **headers):
        return ask(self.url, path, method, body, **{"X-Forwarded-For": client} | headers)

    def post(self, path, client, content):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.ask(path, client, "POST", body, **JSON)

    def generate(self, client, seed, session=None):
        """Joins the queue; status, headers and the answer's JSON."""
        content = {"data": [seed, 1, "happy", 1], "session_hash": session or uuid.uuid4().hex}
        status, headers, body = self.post("/gradio_api/call/generate", client, content)
        return status, headers, json.loads(body)

    def upload(self, client, *files, field=b""):
        body = b"".join(b'--x\r\nContent-Disposition: form-data; name="files"; filename="%d.jpg"\r\n\r\n%s\r\n' % part
                        for part in enumerate(files))  # fmt: skip
        if field:
            body += b'--x\r\nContent-Disposition: form-data; name="note"\r\n\r\n' + field + b"\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        return self.ask("/gradio_api/upload", client, "POST", body + b"--x--\r\n", **kind)

    def connect(self, receive_bytes=None):
        connection = socket.socket()
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(15)
        connection.connect((urlsplit(self.url).hostname, urlsplit(self.url).port))
        return connection


@pytest.fixture(scope="module")
def served(tiny_config, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("visitors")
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        patch.setenv("EXPRGAN_TRUSTED_PROXIES", "1")
        served = Served(tiny_config, folder)
        yield served
        served.work.set()
        served.app.close()


@pytest.fixture
def client(served):
    """The address of a client that no other test uses."""
    number = next(NUMBERS)
    yield f"203.0.113.{number}"
    served.work.set()
    deadline = time.monotonic() + 10
    while served.app._queue.event_ids_to_events and time.monotonic() < deadline:
        time.sleep(0.05)


NUMBERS = iter(range(1, 250))


# Bodies.


@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data"]
)
def test_a_large_body_is_refused_at_once_with_a_sentence(served, client, kind):
    for path in ("call/generate", "queue/join", "cancel", "reset", "nothing"):
        status, _, body = served.ask(f"/gradio_api/{path}", client, "POST", bytes(20_001), **{"Content-Type": kind})
        assert status == 413 and "too large: more than 20 kB" in json.loads(body)["detail"], path


def test_a_body_without_a_length_is_counted_as_it_comes(served, client):
    with served.connect() as connection:
        connection.sendall(
            b"POST /gradio_api/call/generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            for _ in range(30):
                connection.sendall(b"3e8\r\n" + bytes(1000) + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_deeply_nested_json_is_refused_before_it_is_parsed(served, client):
    for opened, closed in (("[", "]"), ('{"a":', "}")):
        for depth, refused in ((LOW.json_depth - 2, False), (LOW.json_depth, True), (3000, True)):
            nested = opened * depth + "1" + closed * depth
            status, _, body = served.post("/gradio_api/call/generate", client, f'{{"data": [{nested}]}}'.encode())
            assert (status == 400 and TOO_DEEP[:20] in body.decode()) == refused, (opened, depth)


def test_json_of_many_values_is_refused_before_it_is_parsed(served, client):
    for count, refused in ((LOW.json_values - 6, False), (LOW.json_values, True)):
        content = {"data": [1, 1, "happy", [0] * count]}
        status, _, body = served.post("/gradio_api/call/generate", client, content)
        assert (status == 400 and TOO_MANY_VALUES[:20] in body.decode()) == refused


def test_depth_and_values_of_json():
    assert json_size(b"1") == (0, 1) and json_size(b'{"a": [1, {"b": []}], "c": [[]]}') == (4, 9)
    assert json_size(rb'["[[[", "\"[,[", "\\", ["]]"]]') == (2, 6)
    started = time.process_time()
    assert json_size(b"[" * 256_000)[0] == 256_000 and json_size(b'"\\' * 128_000) == (0, 1)
    assert time.process_time() - started < 1


def test_wrong_calls_are_answered_with_a_sentence_and_no_traceback(served, client, capfd, caplog):
    """And what they say does not reach the log."""
    marker = "visitors-own-words"
    for path, content, expected in (
        (f"call/{marker}", {"data": []}, (404, calls.NO_ACTION)),
        (f"call/v2/{marker}", {}, (404, calls.NO_ACTION)),
        (f"run/{marker}", {"data": []}, (404, calls.NO_ACTION)),
        ("queue/join", {"data": [], "fn_index": 99999, "session_hash": "x"}, (404, calls.NO_ACTION)),
        ("queue/join", {"data": [], "fn_index": marker, "session_hash": "x"}, (404, calls.NO_ACTION)),
        ("queue/join", {"data": [], "fn_index": 1, "session_hash": marker * 20}, (400, calls.NO_SESSION)),
        ("call/generate", {"data": marker}, (400, calls.WRONG_CALL)),
        ("call/generate", [marker], (400, calls.WRONG_CALL)),
        ("call/v2/generate", {marker: 1}, (400, calls.WRONG_CALL)),
        ("call/generate", marker.encode(), (400, calls.NOT_JSON)),
        ("call/generate", b"", (400, calls.NOT_JSON)),
    ):
        status, _, body = served.post(f"/gradio_api/{path}", client, content)
        assert (status, json.loads(body)["detail"]) == expected, path
    for data in ([], [1], [1] * 99):
        status, _, body = served.post("/gradio_api/call/generate", client, {"data": data})
        assert (status, json.loads(body)["detail"]) == (400, calls.WRONG_CALL)
    for data in ([marker, marker, marker, marker], [{"a": marker}, 1, "happy", 1], [1, 1, marker, 1]):
        status, _, body = served.post("/gradio_api/call/generate", client, {"data": data})
        answer = served.ask(f"/gradio_api/call/generate/{json.loads(body)['event_id']}", client)[2].decode()
        assert answer.startswith("event: error") and '"error": "' in answer, data
    output = "".join(capfd.readouterr()) + caplog.text
    assert marker not in output and "Traceback" not in output


# Uploads.


def files_of(served):
    return {path for path in served.folder.rglob("*") if path.is_file()}


def test_uploads_of_too_many_files_fields_or_bytes_leave_nothing(served, client):
    before = files_of(served)
    for status, sentence, files, field in (
        (413, "Only 3 photos", [b"x"] * 4, b""),
        (413, "fields", [b"x"], bytes(1001)),
        (413, "too large: more than 300 kB", [bytes(301_000)], b""),
    ):
        got, headers, body = served.upload(client, *files, field=field)
        assert (got, headers["Content-Type"]) == (status, "text/plain; charset=utf-8") and sentence in body.decode()
    assert files_of(served) == before


def test_a_client_uploads_so_many_files_an_hour_and_others_still_can(served, client):
    for _ in range(LOW.uploads_per_hour // 2):
        assert served.upload(client, b"a", b"b")[0] == 200
    status, headers, body = served.upload(client, b"x")
    assert status == 429 and 3500 < int(headers["Retry-After"]) <= 3600 and "try again in 60 minutes" in body.decode()
    assert served.upload(f"198.51.100.{client[10:]}", b"x")[0] == 200


def test_a_client_uploads_so_many_bytes_an_hour(served, client):
    assert [served.upload(client, bytes(250_000))[0] for _ in range(4)] == [200, 200, 429, 429]
    assert served.upload(client, bytes(150_000))[0] == 200  # what was refused does not count


def test_the_same_photo_has_another_address_each_time(served, client):
    first, second = (json.loads(served.upload(client, PHOTO[:1000])[2])[0] for _ in range(2))
    assert Path(first).parent != Path(second).parent
    for path in (first, second):
        assert served.ask(f"/gradio_api/file={path}", client)[2] == PHOTO[:1000]
        assert (served.folder / Path(path).relative_to(ALIAS)).is_file()


def test_there_is_room_for_so_many_bytes(served, client, monkeypatch):
    guard_disk = visitor_files.Disk(Limits(folder_bytes=1000, free_bytes=0))
    guard_disk.check(1000)
    guard_disk.add(600)
    with pytest.raises(Refused) as error:
        guard_disk.check(500)
    assert (error.value.status, error.value.headers) == (507, {"Retry-After": "300"})
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(served.folder))
    (served.folder / "large").write_bytes(bytes(2000))
    guard_disk.measure()
    assert guard_disk.used >= 2000
    (served.folder / "large").unlink()
    monkeypatch.setattr(visitor_files.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": -1}))
    assert served.upload(client, b"x")[0] == 507 and served.generate(client, 1)[0] == 507


# Slow and forgetful clients.


def test_a_head_or_a_body_that_does_not_arrive_ends(served, client):
    with served.connect() as slow_head, served.connect() as slow_body, served.connect() as trickle:
        slow_head.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        head = f"HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\nContent-Length: 1000\r\n"
        slow_body.sendall(f"POST /gradio_api/call/generate {head}\r\n{{".encode())
        head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="slow.jpg"\r\n\r\n'
        trickle.sendall(f"POST /gradio_api/upload {head}".encode() + part)
        started = time.monotonic()
        assert slow_head.recv(100) == b"" or time.monotonic() - started < 3
        answer = slow_body.recv(1000) + slow_body.recv(1000)
        assert answer.startswith(b"HTTP/1.1 408 ") and TOO_SLOW.encode() in answer
        with contextlib.suppress(OSError):
            for _ in range(20):
                trickle.sendall(b"x")
                time.sleep(0.3)
        assert trickle.recv(100).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - started < 10
    assert not [path for path in served.folder.iterdir() if path.is_file() and path.stat().st_size < 100]


def test_an_answer_that_is_not_taken_ends(served, client):
    (served.folder / "large.png").write_bytes(bytes(30_000_000))
    with served.connect(receive_bytes=4096) as stalled:
        stalled.sendall(f"GET /gradio_api/file={ALIAS}/large.png HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert stalled.recv(12) == b"HTTP/1.1 200"
        time.sleep(2.5)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while part := stalled.recv(1_000_000):
                received += len(part)
        assert received < 29_000_000
    (served.folder / "large.png").unlink()


def test_an_answer_is_given_once_and_to_one_connection(served, client):
    session = uuid.uuid4().hex
    served.work.clear()
    event = served.generate(client, 1, session)[2]["event_id"]
    first = http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=20)
    first.request("GET", f"/gradio_api/call/generate/{event}")
    time.sleep(0.5)
    addresses = (f"/gradio_api/call/generate/{event}", f"/gradio_api/queue/data?session_hash={session}")
    assert [served.ask(address, client)[0] for address in addresses] == [409, 409]
    served.work.set()
    assert b"event: complete" in first.getresponse().read()
    first.close()
    for address in (addresses[0], "/gradio_api/call/generate/x"):
        status, _, body = served.ask(address, client)
        assert (status, json.loads(body)["detail"]) == (404, NO_ANSWER), address
    for address in (addresses[1], "/gradio_api/queue/data?session_hash=x", "/gradio_api/queue/data"):
        assert served.ask(address, client)[::2] == (200, CLOSE_STREAM), address  # an error would show on the page


# The queue.


def wait_until(condition, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_many_calls_of_one_client_leave_room_for_others_and_those_left_are_not_computed(served, client):
    served.work.clear()
    served.generated.clear()
    other = f"198.51.100.{client[10:]}"
    answers = [served.generate(client, seed) for seed in range(8)]
    assert [status for status, _, _ in answers] == [200] * 3 + [429] * 5
    _, headers, body = answers[-1]
    assert headers["Retry-After"] == "5" and "3 of your requests are still" in body["detail"]
    assert served.generate(other, 100)[0] == 200
    wait_until(lambda: len(served.app._queue) == 0)  # nobody listens
    time.sleep(0.2)
    served.work.set()
    wait_until(lambda: not served.app._queue.event_ids_to_events)
    assert sorted(served.generated) == [0, 100]  # those that had begun: one of each client
    status, _, body = served.ask(f"/gradio_api/call/generate/{answers[2][2]['event_id']}", client)
    assert status == 404 and json.loads(body)["detail"] == NO_ANSWER


def test_clients_take_turns(served, client):
    served.work.clear()
    served.generated.clear()
    other, streams = f"198.51.100.{client[10:]}", []
    for visitor, seed in ((client, 0), (client, 1), (client, 2), (other, 3), (other, 4)):
        event = served.generate(visitor, seed)[2]["event_id"]
        streams.append(http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=20))
        streams[-1].request("GET", f"/gradio_api/call/generate/{event}")
    wait_until(lambda: len(served.generated) == 2)
    time.sleep(0.3)
    assert set(served.generated) == {0, 3}  # one of each
    served.work.set()
    assert all(b"event: complete" in stream.getresponse().read() for stream in streams)
    assert served.generated[4] == 2
    for stream in streams:
        stream.close()


def test_a_call_of_a_client_that_listens_stays_and_goes_when_it_leaves(served, client):
    served.work.clear()
    served.generated.clear()
    for seed in (0, 1):
        served.generate(f"192.0.2.{seed}", seed)
    wait_until(lambda: len(served.generated) == 2)
    event = served.generate(client, 2)[2]["event_id"]
    with served.connect() as listener:
        listener.sendall(f"GET /gradio_api/call/generate/{event} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(LOW.unclaimed_s + 1.5)
        assert len(served.app._queue) == 1
    wait_until(lambda: len(served.app._queue) == 0, 3)
    served.work.set()
    wait_until(lambda: not served.app._queue.event_ids_to_events)
    assert sorted(served.generated) == [0, 1]


def test_the_stream_of_a_pages_answers_stays_for_the_call_that_follows_from_one(served, client, monkeypatch):
    monkeypatch.setattr(guard, "LINGER_S", 2)
    session = uuid.uuid4().hex
    first = served.generate(client, 1, session)[2]["event_id"]
    with served.connect() as listener:
        head = (
            f"GET /gradio_api/queue/data?session_hash={session} HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Mode: cors\r\n\r\n"
        )
        listener.sendall(head.encode())
        received = b""

        def read_until(text):
            nonlocal received
            while text not in received:
                part = listener.recv(100_000)
                assert part, received
                received += part

        read_until(b'"process_completed","event_id":"%b"' % first.encode())
        second = served.generate(client, 2, session)[2]["event_id"]
        read_until(b'"process_completed","event_id":"%b"' % second.encode())
        assert b"close_stream" not in received and received.count(b"HTTP/1.1 200") == 1
        read_until(b"close_stream")
        assert b"Transfer-Encoding: chunked" in received or b"transfer-encoding: chunked" in received
        read_until(b"\r\n0\r\n\r\n")


def test_a_clients_new_session_takes_the_place_of_its_own_oldest(served, client):
    other, holder = f"198.51.100.{client[10:]}", served.app.app.state_holder
    sessions = [uuid.uuid4().hex for _ in range(4)]
    for visitor, session in zip((other, client, client, client), sessions, strict=True):
        event = served.generate(visitor, 1, session)[2]["event_id"]
        assert b"complete" in served.ask(f"/gradio_api/call/generate/{event}", visitor)[2]
    assert [session in holder.session_data for session in sessions] == [True, False, True, True]


def test_requests_a_minute_and_at_the_same_time(served, client):
    counts = [served.ask("/gradio_api/queue/status", client)[0] for _ in range(LOW.requests_per_minute + 2)]
    assert counts == [200] * LOW.requests_per_minute + [429] * 2
    _, headers, body = served.ask("/gradio_api/queue/status", client)
    assert 1 <= int(headers["Retry-After"]) <= 60 and "too many requests" in json.loads(body)["detail"]
    assert served.ask("/theme.css", client)[0] == 200
    other, streams = f"198.51.100.{client[10:]}", []
    for number in range(LOW.open_requests + 1):
        streams.append(http.client.HTTPConnection(urlsplit(served.url).netloc, timeout=20))
        streams[-1].request("GET", f"/gradio_api/heartbeat/{number}", headers={"X-Forwarded-For": other})
    assert [stream.getresponse().status for stream in streams] == [200] * LOW.open_requests + [429]
    for stream in streams:
        stream.close()
    wait_until(lambda: served.ask("/gradio_api/queue/status", other)[0] == 200)


# Start.


def test_a_start_does_not_wait_for_the_deletion_of_abandoned_files(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    for name in (f"{visitor_files.FOLDER_PREFIX}killed", f"{visitor_files.DELETED_PREFIX}halfway"):
        (tmp_path / name / "many").mkdir(parents=True)
        (tmp_path / name / "many" / "me.jpg").write_bytes(b"a face")
    (tmp_path / f"{visitor_files.FOLDER_PREFIX}killed" / visitor_files.LOCK_FILE).touch()
    early = tmp_path / f"{visitor_files.FOLDER_PREFIX}early"  # killed before it had a lock
    early.mkdir()
    os.utime(early, (0, 0))
    go_on, rmtree = threading.Event(), visitor_files.shutil.rmtree
    slow = lambda folder, **options: go_on.wait(20) and rmtree(folder, **options)  # noqa: E731
    monkeypatch.setattr(visitor_files.shutil, "rmtree", slow)
    with visitor_files.visitors_folder() as folder:
        assert sorted(re.sub(r"\w+$", "", path.name) for path in tmp_path.iterdir() if path != folder) == (
            ["exprgan-deleted-"] * 3)  # fmt: skip
        go_on.set()
        wait_until(lambda: [*tmp_path.iterdir()] == [folder])
    assert not [*tmp_path.iterdir()]


def test_the_deletion_of_files_takes_empty_folders_along(tmp_path):
    for name in ("a/b", "filled", visitor_files.RESULT_FOLDER):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "filled" / "me.jpg").write_bytes(b"x")
    for folder in (tmp_path / "a" / "b", tmp_path / "a"):
        os.utime(folder, (time.time() - 100,) * 2)
    (tmp_path / "new").mkdir()
    visitor_files.delete_old_files(tmp_path, 3000)
    assert not (tmp_path / "a" / "b").exists() and (tmp_path / "new").exists()
    os.utime(tmp_path / "a", (time.time() - 100,) * 2)
    visitor_files.delete_old_files(tmp_path, 3000)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["filled", "new", visitor_files.RESULT_FOLDER])


@pytest.mark.browser
def test_the_page_shows_why_something_is_refused(served, client, browser):
    for _ in range(LOW.uploads_per_hour // 3):
        served.upload(client, b"a", b"b", b"c")
    address = f"198.51.100.{client[10:]}"
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto(served.url)
    page.get_by_role("tab", name="Edit").wait_for()
    page.locator(".result:visible img").first.wait_for()
    page.set_extra_http_headers({"X-Forwarded-For": client})
    page.locator(".photo:visible input[type=file]").first.set_input_files(Path(__file__).parent / "data" / "portrait.jpg")
    page.get_by_text("Too many photos were uploaded").first.wait_for()
    page.set_extra_http_headers({"X-Forwarded-For": address})
    served.work.clear()
    for seed in range(3):
        assert served.generate(address, seed)[0] == 200
    page.get_by_role("slider", name="Intensity").first.press("Home")
    page.get_by_text("3 of your requests are still being worked on. Please try again in 5 seconds").first.wait_for()
    page.close()
