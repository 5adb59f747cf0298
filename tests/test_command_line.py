"""python -m exprgan: what a user types, and what comes back."""

import numpy as np
import pytest
from PIL import Image

from exprgan.__main__ import main
from exprgan.images import is_marked


@pytest.fixture
def model(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def photo(data_dir, tmp_path):
    return Image.open(data_dir / "portrait.jpg").save(tmp_path / "me.jpg") or tmp_path / "me.jpg"


def test_edit_writes_beside_the_photo_and_marks_it(model, photo, capsys):
    assert main(["edit", str(photo), "happy", "--intensity", "0.7", "--model", model]) == 0
    written = photo.with_name("me-happy.jpg")
    assert capsys.readouterr().out.strip() == str(written) and is_marked(written)
    assert Image.open(written).size == Image.open(photo).size
    assert not is_marked(photo)


def test_transfer_says_what_it_read(model, photo, data_dir, capsys, tmp_path):
    friend = data_dir / "portrait2.jpg"
    assert main(["transfer", str(photo), str(friend), "--model", model, "--out", str(tmp_path / "new.png")]) == 0
    assert "reads as" in capsys.readouterr().out and (tmp_path / "new.png").exists()


def test_generate_makes_the_same_people_for_the_same_seed(model, tmp_path):
    for name in ("a", "b"):
        assert (
            main(["generate", "sad", "--count", "3", "--seed", "5", "--out", str(tmp_path / name), "--model", model]) == 0
        )
    one, two = ([np.asarray(Image.open(p)) for p in sorted((tmp_path / name).iterdir())] for name in ("a", "b"))
    assert len(one) == 3 and all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_info_says_what_a_model_is(model, capsys):
    assert main(["info", "--model", model]) == 0
    out = capsys.readouterr().out
    assert "32 px, 6 expressions x 5 numbers, z 8" in out and "G_dec" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["edit", "gone.jpg", "happy"], "gone.jpg"),
        (["edit", "{photo}", "bored"], "unknown expression 'bored'"),
        (["edit", "{photo}", "happy", "--intensity", "2"], "intensity must lie between"),
        (["edit", "{photo}", "happy", "--face", "3"], "no face 3 in this photo"),
        (["edit", "{photo}", "happy", "--out", "x.tiff"], ".png"),
        (["info", "--model", "nowhere/at/all"], "neither a folder here nor a model on the Hub"),
    ],
)
def test_what_is_wrong_is_one_sentence_on_stderr(model, photo, capsys, arguments, message):
    arguments = [a.format(photo=photo) for a in arguments]
    extra = [] if "--model" in arguments else ["--model", model]
    assert main([*arguments, *extra]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not list(photo.parent.glob("*.tmp*"))
