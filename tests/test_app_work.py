"""The app's work can be stopped, by its time limit and by a visitor who leaves; what has to wait is answered honestly."""

import json
import re
import socket
import threading
import time
from collections import deque
from types import SimpleNamespace
from urllib.parse import urlsplit

import gradio as gr
import pytest
from app_calls import SETTINGS, call, post
from gradio.context import LocalContext

from exprgan import ExprGANError
from exprgan.deadline import StoppedError, check
from exprgan.ui import endpoints, page, workers
from exprgan.ui.server.limits import Limits


def work_until_stopped(ended: threading.Event):
    try:
        while True:
            check()
            time.sleep(0.01)
    finally:
        ended.set()


def test_a_handler_that_takes_too_long_ends_and_frees_its_thread(tiny_editor, monkeypatch):
    monkeypatch.setattr(workers, "TIMEOUT_S", 0.3)
    for _ in range(4):  # more than there are threads
        ended, start = threading.Event(), time.monotonic()
        with pytest.raises(gr.Error, match="was cancelled"):
            endpoints.with_error_handling(lambda editor, over=ended: work_until_stopped(over), tiny_editor)()
        assert ended.is_set() and time.monotonic() - start < 1.3


def test_a_handler_that_cannot_be_stopped_is_given_up(monkeypatch):
    monkeypatch.setattr(workers, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(workers, "STOP_S", 0.1)
    over = threading.Event()
    with pytest.raises(StoppedError, match="was cancelled"):
        workers.run_limited(lambda: over.wait(10))
    over.set()


def test_the_time_limit_counts_from_the_start_of_the_work(monkeypatch):
    monkeypatch.setattr(workers, "TIMEOUT_S", 0.6)
    with StuckWorkers(0.5):
        assert workers.run_limited(lambda: time.sleep(0.4) or check() or "done") == "done"


class StuckWorkers:
    """Occupies all threads for some seconds."""

    def __init__(self, seconds: float):
        self.over, self.seconds = threading.Event(), seconds

    def __enter__(self):
        self.futures = [workers.POOL.submit(self.over.wait, self.seconds) for _ in range(workers.NUM_WORKERS + 2)]

    def __exit__(self, *_):
        self.over.set()
        for future in self.futures:
            future.result()


def test_work_for_which_no_thread_is_free_is_refused_and_never_started(monkeypatch):
    monkeypatch.setattr(workers, "MAX_WAIT_S", 0.3)
    started, start = [], time.monotonic()
    with StuckWorkers(5):
        with pytest.raises(ExprGANError, match=r"^Many visitors are here at the moment. Please try again in \d+ s\.$"):
            workers.run_limited(lambda: started.append(1))
        assert time.monotonic() - start < 1.5
    workers.run_limited(lambda: None)
    assert not started


def test_only_one_handler_does_heavy_work(monkeypatch):
    monkeypatch.setattr(workers, "HEAVY_WAIT_S", 0.1)
    claimed, over = threading.Event(), threading.Event()

    def heavy():
        workers.claim_heavy_work()
        claimed.set()
        return over.wait(10)

    first = threading.Thread(target=workers.run_limited, args=[heavy])
    first.start()
    assert claimed.wait(5)
    assert workers.run_limited(lambda: "light") == "light"
    with pytest.raises(ExprGANError) as error:
        workers.run_limited(workers.claim_heavy_work)
    assert 1 <= int(re.search(r"try again in (\d+) s", str(error.value))[1]) <= workers.TIMEOUT_S
    over.set()
    first.join()
    workers.run_limited(workers.claim_heavy_work)  # free again, and so it is after an error
    with pytest.raises(ZeroDivisionError):
        workers.run_limited(lambda: workers.claim_heavy_work() or 1 / 0)
    workers.run_limited(workers.claim_heavy_work)


# Visitors who leave.


@pytest.fixture
def event():
    """Puts an event of gradio's queue in the context, whose answer somebody waits for; yields it."""
    event = SimpleNamespace(_id="e", session_hash="s", alive=True, enqueue_time=time.monotonic(), concurrency_id="work")
    event.messages = SimpleNamespace(qsize=lambda: 0)

    class Queue(SimpleNamespace):
        def __len__(self):
            return 0  # none waits, and so it is false

    event.queue = Queue(event_ids_to_events={"e": event}, pending_event_ids_session={"s": {"e"}},
                        pending_messages_per_session={"s": event.messages}, event_queue_per_concurrency_id={})  # fmt: skip
    tokens = LocalContext.blocks.set(SimpleNamespace(_queue=event.queue)), LocalContext.event_id.set("e")
    yield event
    LocalContext.blocks.reset(tokens[0])
    LocalContext.event_id.reset(tokens[1])


def leave_by(way: str, event: SimpleNamespace) -> None:
    if way == "disconnect":
        event.alive = False
    elif way == "close":
        event.queue.pending_messages_per_session.clear()
    elif way == "cancel":
        event.queue.pending_event_ids_session["s"].clear()
    else:
        event.messages.qsize = lambda: 2


@pytest.mark.parametrize("way", ["disconnect", "close", "cancel", "unread"])
def test_work_ends_when_the_visitor_leaves(event, way, monkeypatch):
    monkeypatch.setattr(workers, "UNREAD_S", 0.3)
    ended = threading.Event()
    threading.Timer(0.3, leave_by, [way, event]).start()
    start = time.monotonic()
    with pytest.raises(StoppedError, match="Nobody waited"):
        workers.run_limited(lambda: work_until_stopped(ended))
    assert ended.is_set() and 0.25 < time.monotonic() - start < 1.6


def test_work_ends_when_the_connection_is_closed(tiny_editor, visitors, monkeypatch):
    built = page.build_app(tiny_editor)
    begun, ended = [], threading.Event()
    monkeypatch.setattr(tiny_editor, "edit", lambda *_, **__: begun.append(1) or work_until_stopped(ended))
    limits = Limits(running_calls=workers.NUM_WORKERS)
    url = page.serve(built, limits, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        data = {"data": [None, *SETTINGS.values()]}
        waiting = [json.loads(post(url, "/gradio_api/call/edit", data)[2])["event_id"] for _ in range(3)]
        address = urlsplit(url)
        listeners = [socket.create_connection((address.hostname, address.port)) for _ in waiting]
        for listener, event_id in zip(listeners, waiting, strict=True):
            listener.sendall(f"GET /gradio_api/call/edit/{event_id} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        for _ in range(100):
            time.sleep(0.1)
            if len(begun) == workers.NUM_WORKERS:
                break
        for listener in listeners:
            listener.close()
        closed = time.monotonic()
        assert ended.wait(5) and time.monotonic() - closed < 1.5
        event, _ = call(url, "all_expressions", None, 99)  # answered after the third edit, which is never computed
        assert event == "error" and time.monotonic() - closed < 5 and len(begun) == workers.NUM_WORKERS
    finally:
        built.close()


@pytest.mark.parametrize("way", ["disconnect", "close", "cancel", "unread"])
def test_work_of_a_visitor_who_left_the_queue_is_never_started(event, way):
    event.enqueue_time -= workers.UNREAD_S + 1
    leave_by(way, event)
    with pytest.raises(StoppedError, match="Nobody waited"):
        workers.run_limited(lambda: pytest.fail("started"))


def test_a_request_that_waited_long_is_asked_to_come_back(event):
    event.enqueue_time -= workers.MAX_WAIT_S + 0.1
    with pytest.raises(ExprGANError, match=r"Please try again in \d+ s\."):
        workers.run_limited(lambda: pytest.fail("started"))


def test_a_film_waits_for_the_one_before_as_long_as_it_may_run(event):
    event.concurrency_id = "film"
    event.queue.event_queue_per_concurrency_id["film"] = SimpleNamespace(queue=[], concurrency_limit=1)
    event.enqueue_time -= workers.MAX_WAIT_S + 50
    assert workers.run_limited(lambda: "film", 60) == "film"
    event.enqueue_time -= 60
    with pytest.raises(ExprGANError, match="Please try again in 2 s"):
        workers.run_limited(lambda: pytest.fail("started"), 60)


def test_the_time_to_come_back_is_that_of_the_queue(event, monkeypatch):
    monkeypatch.setattr(workers, "_recent_seconds", {"work": deque([1.0, 3.0]), "film": deque([200.0])})
    for name, limit in (("work", 2), ("film", 1)):
        event.queue.event_queue_per_concurrency_id[name] = SimpleNamespace(queue=[1, 2, 3], concurrency_limit=limit)
    event.enqueue_time -= workers.MAX_WAIT_S + 0.1
    with pytest.raises(ExprGANError, match="Please try again in 4 s"):
        workers.run_limited(lambda: None)
    event.concurrency_id = "film"
    event.enqueue_time -= 300
    with pytest.raises(ExprGANError, match="Please try again in 800 s"):
        workers.run_limited(lambda: None, 300)
