"""The app, called as a program would call it: through its API, over loopback."""

import logging
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import app
from exprgan import ExprGANError
from exprgan.images import is_marked

SETTINGS = {"expression": "happy", "intensity": 0.8, "style": 0, "fidelity": "detail", "face": 0}


@pytest.fixture(scope="module")
def client(app_url):
    return Client(app_url, verbose=False)


@pytest.fixture
def visitors(tmp_path, monkeypatch):
    """Where the app keeps files, for tests that call its functions directly."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), np.int16)


def two_people(data_dir: Path, folder: Path) -> Path:
    """Side by side, the larger on the left."""
    photo = Image.new("RGB", (1500, 900), "grey")
    photo.paste(Image.open(data_dir / "portrait.jpg"), (0, 0))
    photo.paste(Image.open(data_dir / "portrait2.jpg").resize((600, 600)), (900, 0))
    photo.save(folder / "two.png")
    return folder / "two.png"


def test_an_edit_gives_the_photo_before_and_after(client, data_dir):
    (before, after), status = client.predict(handle_file(data_dir / "portrait.jpg"), **SETTINGS, api_name="/edit")
    assert Image.open(before).size == Image.open(after).size == (900, 900)
    change = np.abs(pixels(before) - pixels(after)).max(axis=2)
    assert change[300:700, 250:650].max() > 20  # the face
    assert change[:60].max() == 0  # the wall above it
    assert is_marked(after)
    assert status.startswith("The face now reads as **") and status.endswith("%.")


def test_another_intensity_gives_another_picture(client, data_dir):
    photo = handle_file(data_dir / "portrait.jpg")
    (_, weak), _ = client.predict(photo, **SETTINGS | {"intensity": 0.2}, api_name="/edit")
    (_, strong), _ = client.predict(photo, **SETTINGS | {"intensity": 1}, api_name="/edit")
    assert np.abs(pixels(weak) - pixels(strong)).max() > 10


def test_of_two_faces_the_chosen_one_is_edited(client, data_dir, tmp_path):
    photo = handle_file(two_people(data_dir, tmp_path))
    status, faces, _ = client.predict(photo, api_name="/read")
    assert len(faces) == 2 and status.startswith("The face reads as")
    (before, after), _ = client.predict(photo, **SETTINGS | {"face": 1}, api_name="/edit")
    change = np.abs(pixels(before) - pixels(after)).max(axis=(0, 2))  # at most 1,024 px wide
    assert change[: 850 * 1024 // 1500].max() == 0 and change[900 * 1024 // 1500 :].max() > 20


def test_a_transfer_tells_what_it_read(client, data_dir):
    photo, source = handle_file(data_dir / "portrait.jpg"), handle_file(data_dir / "portrait2.jpg")
    pair, status = client.predict(photo, source, 1, api_name="/transfer")
    assert [Image.open(path).size for path in pair] == [(900, 900)] * 2
    assert status.startswith("The other face reads as **") and "The face now reads as **" in status


def test_the_same_seed_makes_the_same_people(client):
    def people(seed):
        gallery = client.predict(seed, 3, ["happy", "surprise"], 1, api_name="/generate")
        return [pixels(one["image"]) for one in gallery]

    first, again, others = people(1), people(1), people(2)
    assert len(first) == 3 and first[0].shape == (32, 32, 3)
    assert np.array_equal(first, again) and not np.array_equal(first, others)


def test_a_photo_without_a_face_is_answered_with_a_sentence(client, tmp_path):
    Image.new("RGB", (300, 300), "skyblue").save(tmp_path / "sky.png")
    for api_name, settings in (("/edit", SETTINGS), ("/read", {})):
        with pytest.raises(AppError) as error:
            client.predict(handle_file(tmp_path / "sky.png"), **settings, api_name=api_name)
        assert str(error.value).startswith("No face was found in this photo.")
        assert "Traceback" not in str(error.value)


def test_a_file_that_is_no_photo_is_answered_with_a_sentence(client, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(AppError, match=r"^This is not a photo that can be read\."):
        client.predict(handle_file(tmp_path / "notes.png"), **SETTINGS, api_name="/edit")


def test_the_public_api_is_these_four(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {"/edit", "/read", "/transfer", "/generate"}
    names = [parameter["parameter_name"] for parameter in endpoints["/edit"]["parameters"]]
    assert names == ["photo", *SETTINGS]


def test_a_download_has_the_size_and_the_format_of_the_photo(tiny_editor, data_dir, visitors):
    photo = str(data_dir / "portrait.jpg")
    made = app.download(app.edited, tiny_editor, photo, "sad", 1.0, 2, "model", 0, None)
    assert Path(made).name == "portrait-edited.jpg" and Path(made).is_relative_to(visitors)
    assert Image.open(made).size == (900, 900) and is_marked(made)
    with pytest.raises(ExprGANError, match=r"^Add a photo"):
        app.download(app.edited, tiny_editor, None, "sad", 1.0, 0, "detail", 0, None)


def test_a_photo_is_read_once_however_often_it_is_edited(tiny_editor, data_dir, visitors, monkeypatch):
    photo, sitting, searched = str(data_dir / "portrait.jpg"), None, []
    find = tiny_editor.find
    monkeypatch.setattr(tiny_editor, "find", lambda photo: searched.append(photo) or find(photo))
    subjects = []
    for intensity in (0.1, 0.5, 0.9):
        *_, sitting = app.edit(tiny_editor, photo, "fear", intensity, 0, "detail", 0, sitting)
        subjects.append(sitting.subject(tiny_editor))
    assert len(searched) == 1 and len(set(map(id, subjects))) == 1


def test_a_deleted_photo_is_asked_for_again(tiny_editor):
    with pytest.raises(ExprGANError, match="add it again"):
        app.Sitting(tiny_editor, "/nowhere/photo.jpg")


def test_what_was_not_foreseen_is_for_the_log_alone(tiny_editor, caplog):
    def broken(editor):
        raise KeyError("secret")

    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error) as error:
        app.bound(broken, tiny_editor)()
    assert error.value.message == app.APOLOGY and "secret" in caplog.text


def test_every_tab_is_filed_once():
    assert list(app.TABS) == ["Edit", "Transfer", "New people", "About"]
