"""The app's server side: what a session keeps, errors and limits, deletion of files, links, and the model it serves."""

import dataclasses
import json
import logging
import re
import shutil
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from app_calls import SETTINGS, two_people
from gradio_client import Client, handle_file
from PIL import Image

from exprgan import ExpressionEditor, ExprGAN, ExprGANError, WeightsError
from exprgan.ui import components, endpoints, handlers, page, tabs
from exprgan.ui.photo_session import PhotoSession
from exprgan.ui.server.limits import Limits

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_photo_is_read_once_however_often_it_is_edited(tiny_editor, data_dir, visitors, monkeypatch):
    photo, session, searched = str(data_dir / "portrait.jpg"), None, []
    find = tiny_editor.find
    monkeypatch.setattr(tiny_editor, "find", lambda photo: searched.append(photo) or find(photo))
    subjects = []
    for intensity in (0.1, 0.5, 0.9):
        *_, session = handlers.edit(tiny_editor, photo, "fear", intensity, "", 0.5, 0, "detail", 0, "one", {}, {}, session)
        subjects.append(session.subject(tiny_editor))
    assert len(searched) == 1 and len(set(map(id, subjects))) == 1


def test_a_session_keeps_a_preview_instead_of_the_photo(tiny_editor, data_dir, visitors):
    Image.open(data_dir / "portrait.jpg").resize((3000, 3000)).save(visitors / "large.jpg")
    session = PhotoSession(tiny_editor, str(visitors / "large.jpg"))
    small, full = session.subject(tiny_editor), session.full_subjects({0: session.subject(tiny_editor)})[0]
    assert small.photo.size == (1024, 1024) and full.photo.size == (3000, 3000)
    corner = full.photo_from_crop @ [0, 0, 1]
    assert np.allclose(small.photo_from_crop @ [0, 0, 1], corner * 1024 / 3000, atol=0.01)
    assert not any(getattr(value, "size", None) == (3000, 3000) for value in vars(session).values())


def test_a_deleted_photo_is_asked_for_again(tiny_editor, data_dir, visitors):
    with pytest.raises(ExprGANError, match="add it again"):
        PhotoSession(tiny_editor, "/nowhere/photo.jpg")
    shutil.copy(data_dir / "portrait.jpg", visitors / "me.jpg")
    session = PhotoSession(tiny_editor, str(visitors / "me.jpg"))
    (visitors / "me.jpg").unlink()
    with pytest.raises(ExprGANError, match="add it again"):
        session.full_subjects({0: session.subject(tiny_editor)})[0]


def test_an_unexpected_error_goes_to_the_log_only(tiny_editor, caplog):
    def broken(editor):
        raise KeyError("secret")

    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error) as error:
        endpoints.with_error_handling(broken, tiny_editor)()
    assert error.value.message == endpoints.APOLOGY and "secret" in caplog.text


def test_a_full_queue_refuses_requests_with_a_message(tiny_editor, data_dir, visitors, monkeypatch):
    small = page.build_app(tiny_editor)
    over, edit = threading.Event(), tiny_editor.edit
    monkeypatch.setattr(tiny_editor, "edit", lambda *args, **settings: over.wait(20) and edit(*args, **settings))
    url = page.serve(
        small,
        Limits(queue=1, running_calls=endpoints.NUM_WORKERS),
        server_name="127.0.0.1",
        prevent_thread_lock=True,
        quiet=True,
    )
    try:
        body = json.dumps({"photo": None, "expression": "sad"}).encode()
        call = urllib.request.Request(f"{url}gradio_api/call/v2/edit", body, {"Content-Type": "application/json"})
        refused = []
        for _ in range(endpoints.NUM_WORKERS + 2):  # two run, one waits
            try:
                urllib.request.urlopen(call).read()
            except urllib.error.HTTPError as error:
                refused.append((error.code, error.headers["Retry-After"], error.read().decode()))
            time.sleep(0.2)
        over.set()
        assert [(status, wait) for status, wait, _ in refused] == [(503, "10")]
        assert "Queue is full" in refused[0][2] and "try again in 10 seconds" in refused[0][2]
    finally:
        over.set()
        small.close()


def test_a_file_larger_than_the_limit_is_refused(app_url):
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + bytes(43_000_000)
    call = urllib.request.Request(f"{app_url}gradio_api/upload", body + b"\r\n--x--\r\n",
                                  {"Content-Type": "multipart/form-data; boundary=x"})  # fmt: skip
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(call)
    assert error.value.code == 413


# Privacy.


def test_photos_and_results_are_deleted_within_the_hour(tiny_editor, data_dir, visitors):
    from gradio.route_utils import delete_files_created_by_app

    built = page.build_app(tiny_editor)
    frequency, age = built.delete_cache
    assert age + 2 * frequency <= 3600
    url = page.serve(built, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        first = {path for path in visitors.rglob("*") if path.is_file()}
        visitor = Client(url, verbose=False, download_files=str(visitors.parent / "downloads"))
        visitor.predict(handle_file(data_dir / "portrait.jpg"), **SETTINGS, api_name="/edit")
        visitor.predict(handle_file(data_dir / "portrait.jpg"), **SETTINGS, api_name="/download_edit")
        visitor.predict(3, 2, "all", 1, api_name="/download_people")
        for file_format in ("mp4", "gif"):
            visitor.predict(
                handle_file(data_dir / "portrait.jpg"), file_format=file_format, seconds=0.5, api_name="/animate"
            )
        visitor.predict(handle_file(two_people(data_dir, visitors.parent)), 0, api_name="/number_faces")
        files = {path for path in visitors.rglob("*") if path.is_file()} - first
        assert len(files) >= 8
        delete_files_created_by_app(built, age)  # nothing is old enough yet
        assert all(path.exists() for path in files)
        delete_files_created_by_app(built, 0)
        assert {path for path in visitors.rglob("*") if path.is_file()} <= first  # the page's own pictures stay
        shown = [path for block in built.blocks.values() for path in getattr(block, "keep_in_cache", ())]
        assert len(shown) > 12 and all(Path(path).is_file() for path in shown)
    finally:
        built.close()


def test_there_is_no_history_and_no_telemetry(tiny_editor, visitors):
    assert not any(page.LAUNCH_OPTIONS[option] for option in ("run_history", "enable_monitoring", "share"))
    config = page.build_app(tiny_editor).get_config_file()
    assert config["analytics_enabled"] is False
    shown = [component["props"]["value"] for component in config["components"] if component["type"] == "markdown"]
    assert any(components.PRIVACY in text for text in shown) and any("deleted within" in text for text in shown)


@pytest.mark.parametrize(
    ("component", "text", "value"),
    [
        (gr.Slider(0, 1, 1, step=0.05), "0.35", 0.35),
        (gr.Slider(0, 1, 1, step=0.05), "1.01", None),
        (gr.Slider(0, 1, 1, step=0.05), "nan", None),
        (gr.Slider(1, 12, 8, step=1), "3", 3),
        (gr.Number(1, precision=0, minimum=0, maximum=9), "x", None),
        (gr.Radio([("All", 0), ("1", 1)], value=0), "1", 1),
        (gr.Radio([("Happy", "happy")]), "<script>", None),
        (gr.Radio([("Happy", "happy")]), None, None),
    ],
)
def test_an_invalid_setting_in_an_address_is_ignored(component, text, value):
    assert components.parse_setting(component, text) == (gr.skip() if value is None else value)


# The model it serves.


def test_the_bundled_weights_replace_a_model_that_the_hub_cannot_provide(tiny_editor, visitors, monkeypatch):
    monkeypatch.setattr(page, "BUNDLED_WEIGHTS", visitors / "weights")
    tiny_editor.model.save_pretrained(visitors / "weights")
    editor, note = page.load_editor("nobody/nothing@v1")
    assert editor.model.config == tiny_editor.model.config and "nobody/nothing@v1" in note
    shown = [component["props"] for component in page.build_app(editor, note).get_config_file()["components"]]
    assert any(props.get("value") == note and props["visible"] for props in shown)
    assert page.load_editor(str(visitors / "weights"))[1] == ""
    with pytest.raises(WeightsError):  # a named folder is not replaced
        page.load_editor(str(visitors))


def test_a_model_of_other_expressions_gets_an_app_of_its_own(tiny_config, visitors):
    labels = ("calm", "very_wild")
    model = ExprGAN(dataclasses.replace(tiny_config, expressions=labels))
    config = json.dumps(page.build_app(ExpressionEditor(model)).get_config_file(), default=str)
    assert all(label in config for label in labels) and "Disgusted" not in config


def test_the_tabs_are_registered_in_the_order_of_the_bar():
    assert list(tabs.TABS) == ["Edit", "Transfer", "Film", "Live", "Random people", "About"]


def test_the_front_matter_is_what_a_space_needs():
    front = dict(re.findall(r"^(\w+):\s*(.*)$", README.split("---")[1], re.M))
    needed = {"title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "license",
              "short_description", "thumbnail", "models", "preload_from_hub", "suggested_hardware"}  # fmt: skip
    assert needed <= front.keys()
    assert len(front["short_description"]) <= 60
    assert front["app_file"] == "app.py" and front["suggested_hardware"] == "cpu-basic"
    assert (ROOT / re.search(r"/resolve/main/(\S+)", front["thumbnail"])[1]).is_file()


def test_a_face_is_tuned_once_and_only_its_tuned_edits_use_it(tiny_editor, data_dir, visitors, monkeypatch):
    photo, session, tuned = str(data_dir / "portrait.jpg"), None, []
    tune = tiny_editor.tune
    monkeypatch.setattr(tiny_editor, "tune", lambda *args, **more: tuned.append(1) or tune(*args, **more))
    pictures = {}
    for fidelity in ("detail", "tuned", "tuned", "detail"):
        pair, _, session = handlers.edit(tiny_editor, photo, "fear", 1.0, "", 0.5, 0, fidelity, 0, "one", {}, {}, session)
        pictures.setdefault(fidelity, []).append(Image.open(pair[1]).convert("RGB").tobytes())
    assert len(tuned) == 1
    assert pictures["detail"][0] == pictures["detail"][1] != pictures["tuned"][0] == pictures["tuned"][1]
    path = handlers.download_edit(tiny_editor, photo, "fear", 1.0, "", 0.5, 0, "tuned", 0, "one", {}, {}, session)
    assert len(tuned) == 1 and Image.open(path).size == (900, 900)
