"""The bundled weights: they are the measured ones, and their edits show the expressions."""

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


def test_the_results_belong_to_these_weights_and_are_in_the_model_card():
    data = (WEIGHTS / "model.safetensors").read_bytes()
    assert len(data) < 95e6 and hashlib.sha256(data).hexdigest() == RESULTS["weights_sha256"]
    card = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    for name, values in RESULTS["metrics"].items():
        for kind, value in values.items():
            assert f" {value:.3f} |" in card, f"{name}.{kind}"


def test_their_reference_outputs_are_reproduced():
    ExprGAN.from_pretrained(WEIGHTS, check=True)


@pytest.mark.slow
def test_the_decoder_shows_the_requested_expression(editor, neutral):
    edits = [(name, editor.edit(editor.read_crop(path), name)) for path in neutral for name in EXPRESSIONS]
    correct = [editor.read_expression(result.crop).expression == name for name, result in edits]
    assert len(correct) == 36 and sum(correct) >= 31  # G_dec was trained on milder expressions than the classifier


def test_a_fixed_face_with_a_fixed_code_is_the_committed_picture(editor):
    """Other weights give another picture: `python tests/golden.py` writes it."""
    decoded, committed = (np.asarray(picture, np.int16) for picture in (golden_picture(editor), Image.open(GOLDEN)))
    assert np.abs(decoded - committed).max() <= 2


def test_most_edited_photos_show_the_requested_expression(editor, neutral):
    edits = [(name, editor.edit(editor.read_crop(path), name)) for path in neutral for name in EXPRESSIONS]
    assert sum(editor.read_expression(result.face).expression == name for name, result in edits) >= 30


def test_the_expression_grows_with_intensity(editor, data_dir):
    subject = editor.read(Image.open(data_dir / "portrait2.jpg"))
    for name in EXPRESSIONS:
        none, half, full = (
            editor.read_expression(editor.edit(subject, name, t).crop).certainties[name] for t in (0.0, 0.6, 1.0)
        )
        assert none < full and half <= full + 0.05


@pytest.mark.parametrize("name", ["V0019", "V0034", "V0042", "V0049"])
def test_a_neutral_edit_of_a_neutral_face_changes_no_pixel(editor, name):
    subject = editor.read(
        Image.open(WEIGHTS.parent / "exprgan" / "ui" / "examples" / f"{name}.jpg").convert("RGB").resize((301, 301))
    )
    assert subject.reading.expression == "neutral"
    for edit in (editor.edit(subject, "neutral"), editor.edit(subject, "happy", 0)):
        assert edit.image.tobytes() == subject.photo.tobytes()
    faint = editor.edit(subject, "happy", 0.05).image
    assert np.abs(np.asarray(faint, np.int16) - np.asarray(subject.photo, np.int16)).mean() < 1
