"""The editor: photo in, edited photo out."""

import copy
import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from exprgan import EXPRESSIONS, ExpressionEditor, ExprGAN, Face, NoFaceError
from exprgan.editing.dials import check_dials
from exprgan.models.hub_source import BUNDLED_WEIGHTS
from exprgan.models.warp_network import DEFAULT_EMPHASIS, WarpEmphasis
from exprgan.photo.ai_metadata import EditedImage, GeneratedImage
from exprgan.photo.alignment import EYES, crop_face, invert
from exprgan.photo.blending import face_mask
from exprgan.photo.image_io import is_marked, to_tensor


@pytest.fixture
def subject(tiny_editor, portrait, face):
    return tiny_editor.read(portrait, face)


def pixels(image):
    return np.asarray(image, np.int16)


def test_a_face_is_found_aligned_and_encoded(tiny_editor, portrait):
    subject = tiny_editor.read(portrait)
    assert subject.photo.size == portrait.size and subject.crop.size == (32, 32) and subject.z.shape == (8,)
    left, right = np.array(subject.face.landmarks)[:2]
    back = (
        subject.photo_from_crop @ [*(32 * np.array(EYES[0])), 1],
        subject.photo_from_crop @ [*(32 * np.array(EYES[1])), 1],
    )
    np.testing.assert_allclose(back, (left, right), atol=1e-6)
    torch.testing.assert_close(subject.z, tiny_editor.model.G_enc(to_tensor(subject.crop)[None])[0])
    assert tiny_editor.read(subject) is subject
    assert sum(subject.reading.certainties.values()) == pytest.approx(1)


def test_an_edit_decodes_the_code_of_the_expression(tiny_editor, subject):
    result = tiny_editor.edit(subject, "surprise", 0.4)
    assert torch.equal(result.code, tiny_editor.model.F_ctrl.code("surprise", 0.4))
    expected = tiny_editor.model.G_dec(subject.z[None], result.code[None])[0]
    np.testing.assert_allclose(to_tensor(result.crop), expected.detach(), atol=1 / 127)


@pytest.mark.parametrize("fidelity", ["detail", "model"])
def test_an_edit_changes_the_face_and_no_pixel_outside_the_mask(tiny_editor, subject, fidelity):
    result = tiny_editor.edit(subject, "happy", fidelity=fidelity)
    assert result.image.size == subject.photo.size
    changed = (pixels(result.image) != pixels(subject.photo)).any(axis=2)
    mask = Image.fromarray(face_mask(32)).resize((516, 516), Image.Resampling.BICUBIC)  # as large as the crop in the photo
    rows, columns = np.nonzero(changed)
    assert changed.mean() > 0.01
    corners = subject.photo_from_crop @ np.array([[0, 32, 0, 32], [0, 0, 32, 32], [1, 1, 1, 1]])
    assert corners[0].min() <= columns.min() and columns.max() <= corners[0].max()
    assert corners[1].min() <= rows.min() and rows.max() <= corners[1].max()
    assert changed.sum() <= (np.asarray(mask) > -0.02).sum()


@pytest.mark.parametrize("certain", [True, False])
def test_the_expression_of_the_photo_leaves_the_photo_unchanged(t_editor, portrait, face, certain):
    t_editor.model.classifier.expression.bias[3] = 100.0 if certain else 0.0
    subject = t_editor.read(portrait, face)
    assert (subject.reading.expression == "happy" and subject.reading.certainties["happy"] > 0.9) or not certain
    code = subject.reading.code if certain else t_editor.model.F_ctrl.neutral()
    result = t_editor.decode(subject, code)
    torch.testing.assert_close(result.x_hat, subject.reconstruction)
    assert np.array_equal(pixels(result.image), pixels(subject.photo))


def test_the_preview_is_small_and_like_the_photo(tiny_editor, portrait, face):
    wide = portrait.resize((2700, 2700))
    big = Face(tuple(3 * v for v in face.box), tuple((3 * x, 3 * y) for x, y in face.landmarks), 1.0)
    result = tiny_editor.edit(tiny_editor.read(wide, big), "happy")
    assert result.preview.size == (1024, 1024) and result.image.size == (2700, 2700)
    shrunk = result.image.resize((1024, 1024), Image.Resampling.LANCZOS)
    assert np.abs(pixels(shrunk) - pixels(result.preview)).mean() < 1.0


def test_a_small_photo_is_its_own_preview(tiny_editor, subject):
    assert subject.preview is subject


def test_a_mix_and_a_style_reach_the_code(tiny_editor, subject):
    controller = tiny_editor.model.F_ctrl
    mixed = tiny_editor.edit(subject, {"happy": 0.6, "surprise": 0.4}, 0.5).code
    assert torch.equal(mixed, controller.mix({"happy": 0.3, "surprise": 0.2}))
    assert torch.equal(tiny_editor.edit(subject, "sad", style=4).code, controller.code("sad", style=4))


def test_transfer_uses_the_code_that_q_predicts_for_the_class_of_the_classifier(tiny_editor, subject):
    reading = subject.reading
    result = tiny_editor.transfer(subject, subject)
    assert torch.equal(result.code, reading.code)
    if reading.expression != "neutral":
        y = torch.eye(6)[[EXPRESSIONS.index(reading.expression)]]
        torch.testing.assert_close(reading.code, tiny_editor.model.Q(to_tensor(subject.crop)[None], y)[0].detach())
    assert torch.equal(tiny_editor.transfer(subject, subject, 0.0).code, tiny_editor.model.F_ctrl.neutral())


def test_a_neutral_face_transfers_the_code_of_all_minus_one(tiny_editor, portrait, face):
    tiny_editor.model.classifier.expression.bias[-1] = 100.0
    subject = tiny_editor.read(portrait, face)
    assert subject.reading.expression == "neutral" and (subject.reading.code == -1).all()


def test_the_same_seed_gives_the_same_people_with_any_expression(tiny_editor):
    one, two = (tiny_editor.generate(20, "happy", seed=7) for _ in range(2))
    assert len(one) == 20 and one[0].size == (32, 32)
    assert all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(pixels(one[0]), pixels(one[1]))
    assert not np.array_equal(pixels(one[0]), pixels(tiny_editor.generate(1, "happy", seed=8)[0]))
    z = torch.rand(1, 8, generator=torch.Generator().manual_seed(7)) * 2 - 1
    sad = tiny_editor.model.G_dec(z, tiny_editor.model.F_ctrl.code("sad")[None])[0]
    np.testing.assert_allclose(to_tensor(tiny_editor.generate(1, "sad", seed=7)[0]), sad.detach(), atol=1 / 127)


def test_new_people_are_acted_by_t_and_are_the_same_with_every_expression(t_editor):
    names, model = ("happy", {"sad": 0.5}, "neutral"), t_editor.model
    rows = t_editor.generate_rows(2, names, seed=7)
    assert [len(row) for row in rows] == [3, 3] and rows[0][0].size == (64, 64)
    for i, name in enumerate(names):
        for row, picture in zip(rows, t_editor.generate(2, name, seed=7), strict=True):
            assert np.array_equal(pixels(row[i]), pixels(picture)) and isinstance(picture, GeneratedImage)
    z = torch.rand(2, 8, generator=torch.Generator().manual_seed(7)) * 2 - 1
    for face, row in zip(t_editor.decode_many(z, model.F_ctrl.neutral()), rows, strict=True):
        person = t_editor.read_crop(face.resize((64, 64), Image.Resampling.LANCZOS))
        assert np.array_equal(pixels(row[0]), pixels(t_editor.edit(person, "happy").image))
    papers = t_editor.generate(2, "happy", seed=7, fidelity="model")
    assert papers[0].size == (32, 32) and not np.array_equal(pixels(papers[0]), pixels(rows[0][0].resize((32, 32))))
    for wrong in ({"count": 0}, {"count": 1.5}, {"count": 1, "seed": "a"}, {"count": 1, "fidelity": "sharp"}):
        with pytest.raises(ValueError, match=f"{[*wrong][-1]} must be"):
            t_editor.generate(**wrong)
    with pytest.raises(ValueError, match=r"expressions must be several, such as \['happy'\]"):
        t_editor.generate_rows(1, "happy")
    for expression in (5, {"happy": "a"}):
        with pytest.raises(ValueError, match="expression must be a name, or numbers by name"):
            t_editor.edit(papers[0], expression)


def test_several_faces_are_found_and_one_is_chosen(tiny_editor, portrait):
    canvas = Image.new("RGB", (1400, 900), "gray")
    canvas.paste(portrait, (0, 0))
    canvas.paste(portrait.resize((500, 500)), (900, 200))
    faces = tiny_editor.find(canvas)
    assert len(faces) == 2 and faces[0].box[2] < 900 < faces[1].box[0]
    assert tiny_editor.read(canvas).face == faces[0]
    second = tiny_editor.edit(canvas, "happy", face=1)
    columns = np.nonzero((pixels(second.image) != pixels(canvas)).any(axis=2))[1]
    assert columns.min() > 900
    with pytest.raises(NoFaceError, match=r"no face number 3 .* only 2"):
        tiny_editor.read(canvas, 2)


def test_a_photo_without_a_face_is_named(tiny_editor):
    with pytest.raises(NoFaceError, match="No face was found in this photo"):
        tiny_editor.edit(Image.new("RGB", (300, 300), "white"), "happy")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"expression": "bored"}, "unknown expression 'bored'"),
        ({"intensity": 1.2}, r"between 0 .* and 1"),
        ({"style": 9}, "style must be one of"),
        ({"fidelity": "best"}, "fidelity must be one of detail, tuned, model, not 'best'"),
        ({"face": 0}, "this is a Subject, one face that was read; leave face out"),
        ({"photo": "portrait", "face": "all"}, "face must be a whole number from 0, from left to right, not 'all'"),
    ],
)
def test_a_wrong_argument_is_named(tiny_editor, subject, portrait, wrong, message):
    arguments = {"photo": subject, "expression": "happy"} | wrong
    arguments["photo"] = portrait if arguments["photo"] == "portrait" else arguments["photo"]
    with pytest.raises(ValueError, match=message):
        tiny_editor.edit(**arguments)


def test_wrong_arguments_of_other_methods_are_named(tiny_editor, subject):
    with pytest.raises(TypeError, match="model must be an ExprGAN, not 'weights'"):
        ExpressionEditor("weights")
    for call, message in (
        (lambda: tiny_editor.interpolate(subject, subject, 2.5), "steps must be a whole number of at least 2"),
        (lambda: tiny_editor.generate(1, "happy", seed=2**64), r"seed must be a whole number from 0 to 2\^64 - 1"),
        (lambda: tiny_editor.edit_many({0: subject}, {0: ("happy", 0.2, 0.3)}), "an expression, or that and its intensity"),
        (lambda: tiny_editor.edit(subject, units={}, style=9), "takes no action units"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_numbers_of_numpy_are_numbers(tiny_editor, subject):
    assert tiny_editor.edit(subject, "happy", np.float32(0.5), style=np.int64(1)).code.max() == pytest.approx(0)
    assert tiny_editor.edit(subject, "happy", style=1.0).code.max() == 1
    assert list(tiny_editor.edit_many({0: subject}, {np.int64(0): "happy"}).edits) == [0]
    assert check_dials({"smile": np.float64(0.5)}) == {"smile": 0.5}


def test_an_aligned_crop_is_read_without_detection(tiny_editor, faces_dir):
    crop = Image.open(next(faces_dir.glob("test/*/neutral*.jpg")))
    subject = tiny_editor.read_crop(crop)
    assert subject.face is None and subject.crop.size == (32, 32)
    assert tiny_editor.edit(subject, "happy").image.size == crop.size


def test_the_edited_face_is_the_crop_of_the_edited_photo_not_the_decoders_picture(tiny_editor, subject):
    result = tiny_editor.edit(subject, "happy")
    assert result.face.size == (32, 32)
    cut_out = crop_face(result.image, invert(subject.photo_from_crop), 32)
    assert np.abs(pixels(cut_out) - pixels(result.face)).mean() < 6
    again = tiny_editor.read_crop(result.face).reading
    assert tiny_editor.read_expression(result.face).certainties == again.certainties


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_all_pictures_of_the_editor_are_marked_also_when_saved_by_pil(tiny_editor, subject, tmp_path, suffix):
    result = tiny_editor.edit(subject, "happy")
    for name in ("image", "preview", "crop", "face"):
        getattr(result, name).save(tmp_path / f"{name}{suffix}")
        assert is_marked(tmp_path / f"{name}{suffix}")
    tiny_editor.generate(1, seed=0)[0].save(tmp_path / f"new{suffix}")
    assert is_marked(tmp_path / f"new{suffix}")
    with (tmp_path / "stream").open("wb") as file:
        result.image.save(file, format={".jpg": "JPEG", ".png": "png", ".webp": "WEBP"}[suffix])
    assert is_marked(tmp_path / "stream")


def test_concurrent_edits_do_not_affect_each_other(tiny_editor, subject):
    names = [EXPRESSIONS[i % 6] for i in range(24)]
    one_by_one = [pixels(tiny_editor.edit(subject, name).preview) for name in names]
    with ThreadPoolExecutor(6) as pool:
        concurrent = list(pool.map(lambda name: pixels(tiny_editor.edit(subject, name).preview), names))
    assert all(np.array_equal(a, b) for a, b in zip(one_by_one, concurrent, strict=True))


@pytest.mark.slow
def test_the_second_edit_of_a_subject_takes_under_a_tenth_of_a_second(portrait):
    editor = ExpressionEditor(ExprGAN.from_pretrained(BUNDLED_WEIGHTS))
    subject = editor.read(portrait.resize((4000, 3000)))
    editor.edit(subject, "happy").preview.load()
    times = []
    for intensity in (0.2, 0.4, 0.6, 0.8, 1.0):
        start = time.perf_counter()
        editor.edit(subject, "happy", intensity).preview.load()
        times.append(time.perf_counter() - start)
    assert sorted(times)[2] < 0.1


@pytest.fixture
def t_editor(tiny_config):
    """An editor whose model has an untrained T."""
    torch.manual_seed(0)
    return ExpressionEditor(ExprGAN(dataclasses.replace(tiny_config, warp_width=0.25)))


def test_with_a_t_the_photo_is_edited_by_its_prediction(t_editor, portrait, face):
    subject = t_editor.read(portrait, face)
    assert subject.wide_crop.shape == (3, 64, 64)
    result = t_editor.edit(subject, "happy")
    x, *decoded, c = (part[None] for part in (subject.wide_crop, subject.reconstruction, result.x_hat, result.code))
    expected = t_editor.model.T(x, decoded, c, DEFAULT_EMPHASIS)
    torch.testing.assert_close(result.prediction.flow, expected.flow.detach())
    assert t_editor.edit(subject, "happy", fidelity="model").prediction is None
    assert result.image.size == portrait.size


def test_the_emphasis_of_an_edit_is_that_of_its_expressions(t_editor, portrait, face, monkeypatch):
    control, emphasis = t_editor.model.F_ctrl, t_editor.model.warp_emphasis
    code, neutral = control.code, control.neutral()
    assert WarpEmphasis(6)(code("happy"), neutral) == DEFAULT_EMPHASIS
    emphasis.per_expression.copy_(torch.tensor([0.9, 1.1, 1.2, 1.3, 1.4, 1.5], dtype=torch.float64))
    assert emphasis(code("happy", 0.3), neutral) == pytest.approx(1.3)
    assert emphasis(code("happy", style=2), neutral) == pytest.approx(1.3)
    assert emphasis(control.mix({"angry": 0.5, "surprise": 1.0}), neutral) == pytest.approx((0.5 * 0.9 + 1.5) / 1.5)
    assert emphasis(code("angry"), code("happy", 0.4)) == 1  # the face shows an expression already
    assert emphasis(neutral, code("happy")) == emphasis(neutral, neutral) == 1

    subject, factors = t_editor.read(portrait, face), []
    assert (subject.reading.source_code == neutral).all()
    predict = t_editor.model.T.predict_flow
    monkeypatch.setattr(t_editor.model.T, "predict_flow", lambda *inputs: factors.append(inputs[-1]) or predict(*inputs))
    t_editor.edit(subject, "sad")
    assert factors == [pytest.approx(1.4)]


def test_the_wide_crop_is_the_photo_around_the_crop(t_editor, portrait, face):
    subject = t_editor.read(portrait, face)
    inner = torch.nn.functional.interpolate(subject.wide_crop[None], (64, 64))[0, :, 5:59, 5:59]
    crop = torch.nn.functional.interpolate(to_tensor(subject.crop)[None], (54, 54), mode="bilinear")[0]
    assert (inner - crop).abs().mean() < 0.05


def test_tuning_fits_a_copy_of_the_decoder_to_one_face(t_editor, portrait, face):
    subject = t_editor.read(portrait, face)
    before, fractions = copy.deepcopy(t_editor.model.state_dict()), []
    tuned = t_editor.tune(subject, progress=fractions.append)
    x = to_tensor(subject.crop)
    assert (tuned.reconstruction - x).abs().mean() < (subject.reconstruction - x).abs().mean()
    assert fractions == sorted(fractions) and fractions[-1] == 1 and len(fractions) > 10
    after = t_editor.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = t_editor.tune(subject)
    assert torch.equal(again.reconstruction, tuned.reconstruction)


def test_a_tuned_edit_uses_the_decoder_of_the_subject(t_editor, portrait, face):
    subject = t_editor.tune(t_editor.read(portrait, face))
    result = t_editor.edit(subject, "sad", fidelity="tuned")
    assert torch.equal(result.x_hat, subject.decoder(subject.z[None], result.code[None])[0])
    untuned_photo = t_editor.edit(portrait, "sad", face=face, fidelity="tuned")
    assert torch.equal(untuned_photo.x_hat, result.x_hat)


def test_generated_and_edited_pictures_are_of_different_classes(tiny_editor, subject):
    (person,) = tiny_editor.generate(1, seed=1)
    assert type(person) is GeneratedImage
    result = tiny_editor.edit(subject, "happy")
    assert all(type(picture) is EditedImage for picture in (result.image, result.preview, result.crop, result.face))


def test_a_weak_edit_is_interpolated_between_neutral_and_a_stronger_one(t_editor, portrait, face):
    subject, F_ctrl = t_editor.read(portrait, face), t_editor.model.F_ctrl
    with torch.no_grad():
        for parameter in t_editor.model.T.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.2)

    def flow(intensity):
        return t_editor.decode(subject, F_ctrl.neutral().lerp(F_ctrl.code("happy"), intensity)).prediction.flow

    neutral, weak, strong = flow(0.0), flow(0.2), flow(0.4)
    assert (strong - neutral).abs().max() > 1e-4
    torch.testing.assert_close(weak, neutral.lerp(strong, 0.5**1.6))
    torch.testing.assert_close(flow(0.399), strong, atol=1e-3, rtol=0.05)  # no jump


@pytest.mark.parametrize("shows_expression", [True, False])
def test_the_neutral_warp_is_predicted_once_and_not_at_all_for_a_neutral_face(
    t_editor, portrait, face, shows_expression, monkeypatch
):
    t_editor.model.classifier.expression.bias[4 if shows_expression else -1] = 100.0
    subject, calls = t_editor.read(portrait, face), []
    predict = t_editor.model.T.predict_flow
    monkeypatch.setattr(t_editor.model.T, "predict_flow", lambda *inputs: calls.append(1) or predict(*inputs))
    for intensity in (0.1, 0.0, 0.2):
        t_editor.edit(subject, "happy", intensity)
    assert len(calls) == shows_expression + 1  # neutral, and one stronger code for both weak ones
    other = dataclasses.replace(subject, reconstruction=-subject.reconstruction, warp_cache={})  # as tuning does
    unchanged = t_editor.edit(other, "happy", 0.0)
    assert len(calls) == 2 * shows_expression + 1
    if not shows_expression:
        assert unchanged.image.tobytes() == subject.photo.tobytes()
