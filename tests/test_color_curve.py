"""Photos without colours of their own: grey, sepia, two inks, light of one colour."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from exprgan import ExpressionEditor, ExprGAN
from exprgan.editing.color_curve import ColorCurve
from exprgan.editing.results import FIDELITIES
from exprgan.photo.image_io import LUMA

INKS = (np.array([25, 30, 70]), np.array([250, 240, 215]))  # of dark and light parts


def in_grey(photo):
    return photo.convert("L").convert("RGB")


def in_two_inks(photo):
    luma = np.asarray(photo.convert("L"), float)[..., None] / 255
    return Image.fromarray(((1 - luma) * INKS[0] + luma * INKS[1]).round().astype(np.uint8))


def in_sepia(photo):
    luma = np.asarray(photo.convert("L"), float)[..., None]
    return Image.fromarray((luma * (1.05, 0.93, 0.75)).clip(0, 255).astype(np.uint8))


def in_light(photo, rgb):
    return Image.fromarray((np.asarray(photo) * np.array(rgb)).astype(np.uint8))


def as_jpeg(photo):
    data = io.BytesIO()
    photo.save(data, "JPEG", quality=75)
    return Image.open(data).convert("RGB")


@pytest.fixture
def crop(portrait):
    """The face of the portrait, 384 px."""
    return portrait.crop((250, 250, 650, 650)).resize((384, 384))


@pytest.fixture(scope="module")
def editor(tiny_config):
    """An editor with a T that moves, relights and paints the lower face in colours."""
    torch.manual_seed(0)
    editor = ExpressionEditor(ExprGAN(dataclasses.replace(tiny_config, warp_width=0.25)))
    torch.nn.init.normal_(editor.model.T.head.weight, std=0.3)
    torch.nn.init.normal_(editor.model.T.mouth.head.weight, std=0.2)
    editor.model.T.mouth.head.bias.data[:4] = 3
    return editor


def test_photos_in_ordinary_light_have_no_curve(crop, faces_dir, data_dir):
    pictures = [*faces_dir.rglob("*.jpg"), *faces_dir.rglob("*.png")]
    assert len(pictures) >= 40
    for photo in (crop, in_light(crop, (0.3, 0.3, 0.3)), *(Image.open(path).convert("RGB") for path in pictures)):
        assert ColorCurve.from_crop(photo) is None


@pytest.mark.parametrize("tone", [in_grey, in_two_inks, in_sepia, lambda photo: in_light(photo, (1, 0.12, 0.1)),
                                  lambda photo: in_light(photo, (0.2, 0.3, 1)),
                                  lambda photo: in_light(photo, (0.1, 1, 0.15))])  # fmt: skip
def test_photos_without_colours_of_their_own_have_one_also_as_jpeg(crop, tone):
    for photo in (tone(crop), as_jpeg(tone(crop))):
        assert ColorCurve.from_crop(photo.reduce(3)).strength > 0.95


def test_drawn_colours_are_moved_onto_the_curve(crop):
    curve = ColorCurve.from_crop(in_two_inks(crop))
    drawn = np.random.default_rng(0).uniform(0, 255, (3, 40, 40))
    recolored = np.stack(curve.recolor(drawn))
    luma = np.tensordot(LUMA, recolored, 1)
    dark, light = (np.dot(LUMA, ink) for ink in INKS)
    expected = INKS[0] + (INKS[1] - INKS[0]) * ((luma - dark) / (light - dark))[..., None]
    assert np.abs(np.moveaxis(recolored, 0, 2) - expected).max() < 2
    assert luma.min() == pytest.approx(curve.limits[0]) and luma.max() == pytest.approx(curve.limits[1])
    inside = (np.tensordot(LUMA, drawn, 1) > curve.limits[0]) & (np.tensordot(LUMA, drawn, 1) < curve.limits[1])
    np.testing.assert_allclose(luma[inside], np.tensordot(LUMA, drawn, 1)[inside], atol=0.01)


def test_relit_pixels_move_along_the_curve(crop):
    toned = np.asarray(in_two_inks(crop), float)
    curve = ColorCurve.from_crop(in_two_inks(crop))
    gain = np.random.default_rng(0).normal(0, 0.1, (4, 4, 3)).astype(np.float32)
    assert np.ptp(curve.one_gain(gain), axis=2).max() < 1e-6
    planes, factors = np.moveaxis(toned, 2, 0), np.full((3, *toned.shape[:2]), 0.8)
    relit = planes * factors + np.stack(curve.correct_relit(planes, factors))
    luma = np.tensordot(LUMA, relit, 1)
    np.testing.assert_allclose(luma, 0.8 * np.tensordot(LUMA, planes, 1), atol=0.01)
    dark, light = (np.dot(LUMA, ink) for ink in INKS)
    on_curve = luma > dark + 5
    expected = INKS[0] + (INKS[1] - INKS[0]) * ((luma - dark) / (light - dark))[..., None]
    assert np.abs(np.moveaxis(relit, 0, 2) - expected)[on_curve].max() < 4


def is_grey(picture):
    pixels = np.asarray(picture)
    return (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()


def test_at_full_strength_no_channel_differs_by_rounding(crop):
    curve, rng = ColorCurve.from_crop(in_grey(crop)), np.random.default_rng(1)
    drawn, grey = rng.uniform(0, 255, (3, 400, 400)).astype(np.float32), rng.uniform(0, 255, (400, 400)).astype(np.float32)
    gain = curve.one_gain(rng.normal(0, 0.1, (400, 400, 3)).astype(np.float32))
    factors = [*np.exp(np.moveaxis(gain, 2, 0))]
    corrections = curve.correct_relit([grey] * 3, factors)
    relit = [grey * factor + correction for factor, correction in zip(factors, corrections, strict=True)]
    for red, green, blue in (curve.recolor(drawn), factors, relit):
        assert np.array_equal(red, green) and np.array_equal(green, blue)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_an_edit_of_a_grey_photo_is_grey_to_the_bit(editor, portrait, face, fidelity, monkeypatch):
    monkeypatch.setattr("exprgan.editing.pivotal_tuning.STEPS", 3)
    subject = editor.read(portrait.convert("L"), face)
    edited = editor.edit(subject, "happy", fidelity=fidelity).image
    colored = np.asarray(editor.edit(dataclasses.replace(subject, color_curve=None), "happy", fidelity=fidelity).image)
    assert is_grey(edited) and (np.asarray(edited) != np.asarray(subject.photo)).mean() > 0.01
    assert np.ptp(colored, axis=2).max() > 5


def test_transfer_and_animation_of_a_grey_photo_are_grey_to_the_bit(editor, portrait, face):
    subject = editor.read(in_grey(portrait), face)
    transferred = editor.transfer(subject, editor.read(portrait, face)).image
    frames = editor.animate(subject, "sweep", "surprise", seconds=0.4, fps=10)
    for picture in (transferred, *frames):
        assert is_grey(picture)
    assert any((np.asarray(frame) != np.asarray(subject.photo)).any() for frame in frames)


@pytest.mark.parametrize("fidelity", ["detail", "model"])
def test_an_edit_of_a_print_in_two_inks_has_no_other_hue(editor, portrait, face, fidelity):
    photo = in_two_inks(portrait)
    edited = np.asarray(editor.edit(photo, "surprise", face=face, fidelity=fidelity).image, float)
    luma = edited @ LUMA
    dark, light = (np.dot(LUMA, ink) for ink in INKS)
    expected = INKS[0] + (INKS[1] - INKS[0]) * ((luma - dark) / (light - dark))[..., None]
    changed = (edited != np.asarray(photo)).any(axis=2) & (luma > dark) & (luma < light)
    assert changed.mean() > 0.01 and np.abs(edited - expected)[changed].max() < 8
