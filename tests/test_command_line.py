"""The command line of the library: arguments, output files, printed lines, errors."""

import errno
import functools
import importlib
import signal
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exprgan.cli import main
from exprgan.photo.image_io import is_marked


@pytest.fixture
def model(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def photo(data_dir, tmp_path):
    Image.open(data_dir / "portrait.jpg").save(tmp_path / "me.jpg")
    return tmp_path / "me.jpg"


def test_edit_writes_beside_the_photo_and_marks_it(model, photo, capsys):
    assert main(["edit", str(photo), "happy", "--intensity", "0.7", "--model", model]) == 0
    edited = photo.with_name("me-happy.jpg")
    assert capsys.readouterr().out.strip() == str(edited) and is_marked(edited)
    assert Image.open(edited).size == Image.open(photo).size
    assert not is_marked(photo)


@pytest.fixture
def two(data_dir, tmp_path):
    """A photo of two people, the larger on the left."""
    photo = Image.new("RGB", (700, 450), "grey")
    photo.paste(Image.open(data_dir / "portrait.jpg").resize((420, 420)), (0, 0))
    photo.paste(Image.open(data_dir / "portrait2.jpg").resize((280, 280)), (420, 0))
    photo.save(tmp_path / "two.png")
    return tmp_path / "two.png"


def test_find_numbers_the_faces(two, capsys):
    assert main(["find", str(two)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("1: ") and out[1].startswith("2: ") and out[2] == str(two.with_name("two-faces.png"))


def test_find_reports_a_photo_without_a_face(tmp_path, capsys):
    Image.new("RGB", (300, 300), "skyblue").save(tmp_path / "sky.png")
    assert main(["find", str(tmp_path / "sky.png")]) == 1
    assert capsys.readouterr().err.startswith("error: No face was found in this photo.")


@pytest.mark.parametrize(
    ("words", "name", "sides"),
    [
        (["happy"], "two-happy.png", (True, False)),
        (["happy", "--face", "2"], "two-happy.png", (False, True)),
        (["happy", "--face", "all"], "two-happy.png", (True, True)),
        (["happy", "--face", "1,2"], "two-happy.png", (True, True)),
        (["1=happy", "2=sad:0.6"], "two-happy-sad.png", (True, True)),
    ],
)
def test_edit_changes_one_face_several_or_all(model, two, words, name, sides):
    assert main(["edit", str(two), *words, "--model", model]) == 0
    changed = (np.asarray(Image.open(two.with_name(name))) != np.asarray(Image.open(two))).any(axis=(0, 2))
    assert (changed[:410].any(), changed[430:].any()) == sides


def test_animate_writes_a_film_beside_the_photo(model, photo, capsys, tmp_path):
    short = ["--seconds", "0.3", "--fps", "10", "--size", "120", "--model", model]
    assert main(["animate", str(photo), "--kind", "tour", *short]) == 0
    assert capsys.readouterr().out.startswith(f"{photo.with_name('me-tour.mp4')}: 1.8 s, ")
    morph = ["surprise", "--kind", "morph", "--start", "sad:0.5", "--out", str(tmp_path / "x.gif")]
    assert main(["animate", str(photo), *morph, *short]) == 0
    assert Image.open(tmp_path / "x.gif").size == (120, 120) and is_marked(tmp_path / "x.gif")


def test_transfer_prints_the_expression_that_it_read(model, photo, data_dir, capsys, tmp_path):
    friend = data_dir / "portrait2.jpg"
    assert main(["transfer", str(photo), str(friend), "--model", model, "--out", str(tmp_path / "new.png")]) == 0
    assert "reads as" in capsys.readouterr().out and (tmp_path / "new.png").exists()


def test_generate_makes_the_same_people_for_the_same_seed(model, tmp_path):
    for name in ("a", "b"):
        assert (
            main(["generate", "sad", "--count", "3", "--seed", "5", "--out", str(tmp_path / name), "--model", model]) == 0
        )
    first, second = ([np.asarray(Image.open(p)) for p in sorted((tmp_path / name).iterdir())] for name in ("a", "b"))
    assert len(first) == 3 and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_info_describes_a_model(model, capsys):
    assert main(["info", "--model", model]) == 0
    out = capsys.readouterr().out
    assert "32 px, 6 expressions x 5 numbers, z 8" in out and "G_dec" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["edit", "gone.jpg", "happy"], "gone.jpg"),
        (["edit", "gone.jpg", "happy", "--out", "{photo}"], "There is no file gone.jpg"),
        (["edit", "{photo}", "bored"], "unknown expression 'bored'"),
        (["edit", "{photo}", "happy", "--intensity", "2"], "intensity must lie between"),
        (["edit", "{photo}", "happy", "--face", "3"], "no face number 3 from the left in this photo"),
        (["edit", "{photo}", "happy", "--out", "x.tiff"], ".png"),
        (["edit", "{photo}", "happy", "--out", "{photo}"], "is the photo itself; choose another name"),
        (["edit", "{photo}", "happy", "sad"], "assign each expression to a face, for example: 1=happy 2=sad"),
        (["edit", "{photo}", "1=happy", "--face", "all"], "leave --face out"),
        (["edit", "{photo}", "x=happy"], "such as 1=happy"),
        (["edit", "{photo}", "1=happy:much"], "such as sad:0.6"),
        (["animate", "{photo}", "--out", "x.avi"], ".mp4, .gif, .webp"),
        (["animate", "{photo}", "--seconds", "0"], "seconds must be more than 0"),
        (["edit", "{photo.parent}", "happy", "--out", "x", "--jobs", "0"], "--jobs must be at least 1, not 0"),
        (["info", "--model", "nowhere/at/all"], "neither a folder here nor a model on the Hub"),
    ],
)
def test_an_error_is_one_sentence_on_stderr(model, photo, capsys, arguments, message):
    arguments = [a.format(photo=photo) for a in arguments]
    extra = [] if "--model" in arguments else ["--model", model]
    assert main([*arguments, *extra]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not list(photo.parent.glob(".*.part"))


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "; make room, or choose another folder"),
        (errno.EDQUOT, "; make room, or choose another folder"),
        (errno.EROFS, "; choose another folder"),
        (errno.EACCES, "; choose another folder"),
        (errno.EIO, ""),
        (None, ""),
    ],
)
def test_an_error_of_the_system_names_a_remedy_only_where_there_is_one(monkeypatch, capsys, number, remedy):
    error = OSError("it broke") if number is None else OSError(number, "it broke", "out.png")
    monkeypatch.setattr("exprgan.cli.load_photo", lambda path: (_ for _ in ()).throw(error))
    assert main(["find", "me.jpg"]) == 1
    assert capsys.readouterr().err == f"error: it broke{' (out.png)' if number else ''}{remedy}\n"


# The app.


def test_app_without_gradio_is_one_sentence_and_status_1(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("exprgan.ui.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)  # importing it raises ModuleNotFoundError
    assert main(["app"]) == 1
    assert capsys.readouterr().err == "error: The app needs gradio, not installed here: pip install gradio limits.\n"


def test_app_serves_the_same_page_as_app_py(model, monkeypatch, tmp_path):
    from exprgan.ui import page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.syspath_prepend(Path(__file__).parent.parent)
    assert importlib.import_module("app").main is page.main
    served = []
    monkeypatch.setattr(page, "serve", served.append)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert main(["app", "--model", model]) == 0
    (app,) = served
    tabs = [block["props"]["label"] for block in app.get_config_file()["components"] if block["type"] == "tabitem"]
    assert tabs == ["Edit", "Transfer", "Film", "Live", "Random people", "About"]


def test_a_busy_port_of_the_app_is_one_sentence(model, monkeypatch, tmp_path):
    from exprgan.ui import page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(page, "disable_url_fetching", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as busy, pytest.raises(SystemExit) as exit_info:
        port = busy.getsockname()[1]
        monkeypatch.setattr(page, "serve", functools.partial(page.serve, server_port=port))
        main(["app", "--model", model])
    message = f"No port in the range {port}-{port} is free; choose another one, for example: GRADIO_SERVER_PORT=8000"
    assert exit_info.value.code == message
