"""The headers of the app's answers, and the deletion of visitors' files."""

import http.client
import http.server
import json
import os
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from app_calls import a_file, ask, call, upload

from exprgan.ui import page
from exprgan.ui.photo_session import new_path
from exprgan.ui.server import visitor_files

ROOT = Path(__file__).parent.parent


# Headers.


def test_browsers_neither_guess_content_types_nor_cache_pictures(app_url, photo):
    _, answer = call(app_url, "edit", a_file(photo), "happy", 1, "", 0.5, 0, "model", 0, "one", {}, {})
    result = re.findall(r'"path": "([^"]+)"', answer)[1]
    for path in ("/", "/config", "/gradio_api/info", f"/gradio_api/file={result}", f"/gradio_api/file={photo}", "/nothing"):
        _, headers, _ = ask(app_url, path)
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"], path
        assert (headers.get_all("Cache-Control") == ["no-store"]) == path.startswith("/gradio_api/"), path
        assert "Set-Cookie" not in headers and "Access-Control-Allow-Origin" not in headers
    for byte_range in ("0-9", "9-5", "-5", "999999999-9999999999", "x-y", "0-1,3-4"):
        status, headers, body = ask(app_url, f"/gradio_api/file={result}", Range=f"bytes={byte_range}")
        assert status == 206 or byte_range != "0-9"
        assert headers["Cache-Control"] == "no-store" or body == b"Internal Server Error", byte_range


def test_pages_of_other_sites_cannot_read_from_an_app_on_this_machine(app_url):
    """gradio does this: an app on localhost accepts requests of local pages only."""
    for origin in ("https://elsewhere.example", "null", "http://127.0.0.1.elsewhere.example"):
        _, headers, _ = ask(app_url, "/config", Origin=origin)
        assert "Access-Control-Allow-Origin" not in headers, origin


@pytest.mark.parametrize("name", ["me.html", "me.svg", "me.xml", "me.js", "me.jpg.html", "me"])
def test_an_uploaded_web_page_is_not_displayed(app_url, name):
    path = json.loads(upload(app_url, b"<script>alert(1)</script>", name, "text/html")[2])[0]
    _, headers, _ = ask(app_url, f"/gradio_api/file={path}")
    assert headers["Content-Disposition"].startswith("attachment") and headers["Content-Type"] == "application/octet-stream"


# Visitors' files.


def test_remains_of_uploads_unclaimed_results_and_links_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    kept = Path(new_path(".jpg"))
    kept.write_bytes(b"shown at first")
    for path in (
        Path(new_path(".jpg")),
        Path(new_path(".zip", "people")),
        tmp_path / "tmpabc",
        tmp_path / visitor_files.LOCK_FILE,
    ):
        path.write_bytes(b"x")
    (tmp_path / "link").symlink_to(ROOT / "weights")
    visitor_files.delete_old_files(tmp_path, 3000, {str(kept)})
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 5  # nothing is old enough
    visitor_files.delete_old_files(tmp_path, 0, {str(kept)})
    visitor_files.delete_old_files(tmp_path, 0, {str(kept)})
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([visitor_files.LOCK_FILE, "exprgan", kept.name])
    assert (ROOT / "weights" / "config.json").is_file()


@pytest.mark.parametrize(("jump", "left"), [(0, 1), (30, 1), (4000, 0), (-30, 1), (-4000, 0), (10 * 365 * 86400, 0)])
def test_a_clock_that_jumps_does_not_keep_files_longer(tmp_path, monkeypatch, jump, left):
    (tmp_path / "me.jpg").write_bytes(b"x")
    now = time.time() + jump
    monkeypatch.setattr(visitor_files.time, "time", lambda: now)
    visitor_files.delete_old_files(tmp_path, 3000)
    assert len(list(tmp_path.iterdir())) == left


def test_while_the_app_serves_old_files_are_deleted_and_the_pages_own_kept(tiny_editor, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    built = page.build_app(tiny_editor)
    built.delete_cache = (0.2, 6)  # interval and age in s; the edit below takes less, even on a busy machine
    url = page.serve(built, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        initial = re.findall(rb'/gradio_api/file=([^"]+\.(?:jpg|png))', ask(url, "/config")[2])
        photo = json.loads(upload(url, (ROOT / "tests" / "data" / "portrait.jpg").read_bytes())[2])[0]
        assert call(url, "download_edit", a_file(photo), "happy", 1, "", 0.5, 0, "model", 0, "one", {}, {})[0] == "complete"
        interrupted = http.client.HTTPConnection(urlsplit(url).netloc)
        interrupted.putrequest("POST", "/gradio_api/upload")
        interrupted.putheader("Content-Type", "multipart/form-data; boundary=x")
        interrupted.putheader("Content-Length", "100000")
        interrupted.endheaders(
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + bytes(5000)
        )
        time.sleep(0.3)
        interrupted.close()
        Path(new_path(".jpg")).write_bytes(b"a result that nobody waited for")
        deadline = time.monotonic() + 20
        keep = visitor_files.initial_files(built.app)
        while rest := {str(path) for path in tmp_path.rglob("*") if path.is_file()} - keep:
            assert time.monotonic() < deadline, rest
            time.sleep(0.1)
        assert len(initial) > 6
        for path in initial:
            assert ask(url, f"/gradio_api/file={path.decode()}")[0] == 200
    finally:
        built.close()


def test_the_visitors_folder_is_private_and_deleted_with_its_process_or_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    killed = tmp_path / f"{visitor_files.FOLDER_PREFIX}killed"
    killed.mkdir()
    (killed / visitor_files.LOCK_FILE).touch()
    (killed / "me.jpg").write_bytes(b"a face")
    (tmp_path / "others").mkdir()
    with visitor_files.visitors_folder() as first:
        assert not killed.exists() and first.stat().st_mode & 0o777 == 0o700
        (first / "me.jpg").write_bytes(b"a face")
        assert Path(new_path(".jpg")).is_relative_to(first)
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
        with visitor_files.visitors_folder() as second:
            assert (first / "me.jpg").exists() and second != first
        assert not second.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["others"]
    assert os.environ["GRADIO_TEMP_DIR"] == str(tmp_path)
