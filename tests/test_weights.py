"""The bundled weights: what is in the folder is what was measured, and it does what the product promises."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from golden import GOLDEN, golden_picture
from PIL import Image

from exprgan import EXPRESSIONS, ExpressionEditor, ExprGAN

WEIGHTS = Path(__file__).parent.parent / "weights"
RESULTS = json.loads((WEIGHTS / "results.json").read_text())


@pytest.fixture(scope="module")
def editor():
    return ExpressionEditor(ExprGAN.from_pretrained(WEIGHTS))


@pytest.fixture(scope="module")
def neutral():
    """Six virtual people, aligned."""
    return sorted((Path(__file__).parent / "data" / "faces").glob("*/*/neutral*.jpg"))


def test_the_results_are_of_these_weights_and_stand_in_their_card():
    data = (WEIGHTS / "model.safetensors").read_bytes()
    assert len(data) < 95e6 and hashlib.sha256(data).hexdigest() == RESULTS["weights_sha256"]
    card = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    for name, values in RESULTS["metrics"].items():
        for kind, value in values.items():
            assert f" {value:.3f} |" in card, f"{name}.{kind}"


def test_the_decoder_shows_the_expression_it_is_asked_for(editor, neutral):
    made = [(name, editor.edit(editor.read_crop(path), name)) for path in neutral for name in EXPRESSIONS]
    seen = [editor.read_expression(result.crop).expression == name for name, result in made]
    assert len(seen) == 36 and sum(seen) >= 34


def test_a_fixed_face_with_a_fixed_code_is_the_committed_picture(editor):
    """Other weights make another one: `python tests/golden.py` writes it."""
    made, committed = (np.asarray(picture, np.int16) for picture in (golden_picture(editor), Image.open(GOLDEN)))
    assert np.abs(made - committed).max() <= 2


def test_the_edited_photo_shows_it_more_often_than_not(editor, neutral):
    made = [(name, editor.edit(editor.read_crop(path), name)) for path in neutral for name in EXPRESSIONS]
    assert sum(editor.read_expression(result.face).expression == name for name, result in made) >= 30


def test_the_expression_grows_with_intensity(editor, data_dir):
    subject = editor.read(Image.open(data_dir / "portrait2.jpg"))
    for name in EXPRESSIONS:
        none, half, full = (
            editor.read_expression(editor.edit(subject, name, t).crop).certainties[name] for t in (0.0, 0.6, 1.0)
        )
        assert none < full and half <= full + 0.05


@pytest.mark.parametrize("name", ["V0019", "V0034", "V0042", "V0049"])
def test_a_face_that_shows_nothing_keeps_every_pixel_when_nothing_is_asked(editor, name):
    subject = editor.read(
        Image.open(WEIGHTS.parent / "exprgan" / "ui" / "examples" / f"{name}.jpg").convert("RGB").resize((301, 301))
    )
    assert subject.reading.expression == "neutral"
    for edit in (editor.edit(subject, "neutral"), editor.edit(subject, "happy", 0)):
        assert edit.image.tobytes() == subject.photo.tobytes()
    faint = editor.edit(subject, "happy", 0.05).image
    assert np.abs(np.asarray(faint, np.int16) - np.asarray(subject.photo, np.int16)).mean() < 1
