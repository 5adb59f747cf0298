"""Covered mouths: they are seen, and nothing is drawn over what hides them; and no second mouth is drawn."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from exprgan import ExpressionEditor, ExprGAN
from exprgan.batch.worker import BatchSettings, edit_photo
from exprgan.cli import main
from exprgan.editing.mouth_overlay import MASK_LOW, mask_at_lips
from exprgan.editing.mouth_visibility import INPUT_PX, MouthView, is_mouth_covered
from exprgan.editing.results import MOUTH_NOT_EDITED
from exprgan.editing.warp_cleaning import UPPER_FACE
from exprgan.editing.warp_field import WarpField
from exprgan.models.warp_network import WIDE_CROP_SCALE, WarpPrediction
from exprgan.photo.alignment import crop_from_photo, invert, transform
from exprgan.ui import handlers
from train.warp.mouth_covers import LIPS, cover_distance, draw_batch, train_visibility

SIDE = 128  # of the wide crop in the tests of masks
CORNERS = (0.38, LIPS[1]), (0.62, LIPS[1])


@pytest.fixture(scope="module")
def faces():
    from conftest import DATA

    return [Image.open(path).convert("RGB") for path in sorted((DATA / "faces").rglob("*.[jp][pn]g"))]


def cover(face, kind):
    """Draws something before the mouth of an aligned crop."""
    scale, picture = 4, face.resize((4 * face.width, 4 * face.height))
    draw, side = ImageDraw.Draw(picture), scale * face.width
    skin = picture.getpixel((int(0.3 * side), int(0.5 * side)))

    def at(*points):
        return [(x * side, y * side) for x, y in points]

    if kind in ("white mask", "black mask", "green scarf"):
        color = {"white mask": (235, 238, 240), "black mask": (30, 30, 34), "green scarf": (60, 110, 70)}[kind]
        top = 0.46 if kind == "green scarf" else 0.43
        draw.polygon(
            at((0.14, top + 0.03), (0.5, top), (0.86, top + 0.03), (0.8, 0.85), (0.5, 1.0), (0.2, 0.85)), fill=color
        )
        if kind != "green scarf":
            for y in (0.58, 0.68, 0.78):
                draw.line(at((0.18, y), (0.5, y + 0.02), (0.82, y)), fill=tuple(v * 3 // 4 for v in color), width=scale)
    elif kind == "hand":
        for i in range(4):
            left = 0.28 + 0.11 * i
            box = (*at((left, 0.5 + 0.02 * abs(i - 1.5)))[0], *at((left + 0.105, 1.1))[0])
            draw.rounded_rectangle(box, 0.05 * side, fill=skin, outline=tuple(v * 2 // 3 for v in skin), width=scale)
    else:  # a microphone
        draw.line(at((0.5, 0.62), (0.42, 1.1)), fill=(60, 60, 62), width=int(0.07 * side))
        draw.ellipse((*at((0.34, 0.47))[0], *at((0.66, 0.79))[0]), fill=(38, 38, 40))
    return picture.reduce(scale)


def test_no_mouth_in_a_picture_of_the_data_counts_as_covered(faces):
    assert len(faces) >= 40
    for face in faces:
        small = face.reduce(2).resize(face.size, Image.Resampling.BICUBIC)
        for picture in (face, face.convert("L").convert("RGB"), face.transpose(Image.Transpose.FLIP_LEFT_RIGHT), small):
            assert not is_mouth_covered(picture)


@pytest.mark.parametrize(("kind", "share"), [("white mask", 0.95), ("black mask", 0.95), ("green scarf", 0.95),
                                             ("hand", 0.8), ("microphone", 0.95)])  # fmt: skip
def test_a_covered_mouth_is_recognised(faces, kind, share):
    assert np.mean([is_mouth_covered(cover(face, kind)) for face in faces]) >= share


def test_glasses_and_things_on_the_chin_cover_no_mouth(faces):
    for face in faces:
        draw, side = ImageDraw.Draw(face := face.copy()), face.width
        draw.rectangle((0.2 * side, 0.22 * side, 0.8 * side, 0.34 * side), fill=(20, 20, 20))
        draw.ellipse((0.46 * side, 0.8 * side, 0.54 * side, 0.88 * side), fill=(200, 60, 90))
        assert not is_mouth_covered(face)


def mask_with(*boxes):
    """A mask over the wide crop that is 0.9 in boxes of pixels (top, bottom, left, right), and no flow."""
    mask = torch.zeros(SIDE, SIDE)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = 0.9
    return mask, torch.zeros(2, SIDE, SIDE)


def lips_row(y=LIPS[1]):
    return round(((y - 0.5) / WIDE_CROP_SCALE + 0.5) * SIDE)


def test_only_the_part_of_a_mask_at_the_lips_is_kept():
    row, view = lips_row(), MouthView(False, CORNERS)
    lips, chin = (row - 3, row + 4, 48, 80), (row + 8, row + 14, 56, 70)
    mask, flow = mask_with(lips)
    assert mask_at_lips(mask, flow, view) == (mask, False)
    both, flow = mask_with(lips, chin)
    kept, is_on_chin = mask_at_lips(both, flow, view)
    assert torch.equal(kept, mask) and is_on_chin
    for part, on_chin in ((chin, True), ((row + 20, row + 28, 56, 70), False)):  # the other one lies on the neck
        kept, is_on_chin = mask_at_lips(mask_with(part)[0], flow, view)
        assert not kept.any() and is_on_chin == on_chin
    assert mask_at_lips(torch.zeros(SIDE, SIDE), flow, view)[0].sum() == 0
    assert mask_at_lips(both, flow, MouthView(False))[0] is both  # where the lips are is not known


def test_a_mouth_that_opens_downwards_from_the_lips_is_kept():
    row, view = lips_row(), MouthView(False, CORNERS)
    mask, flow = mask_with((row, row + 24, 52, 76))
    assert not (mask_at_lips(mask, flow, view)[0] > MASK_LOW).any()  # as it opens on the chin
    flow[1, row : row + 24] = -torch.arange(24)[:, None] / SIDE  # every row comes from the lips
    assert mask_at_lips(mask, flow, view)[0] is mask


def predict(mask_box=None, flow=0.03):
    """A prediction that moves, brightens and paints the whole face; B = 1."""
    side, small = SIDE, SIDE // 2
    mask = torch.zeros(1, 1, side, side)
    if mask_box:
        mask[0, 0] = mask_with(mask_box)[0]
    fields = torch.full((1, 3, small, small), 0.3), torch.ones(1, 3, small, small), torch.full((1, 4, small, small), 9.0)
    return WarpPrediction(torch.full((1, 2, side, side), flow), torch.full((1, 3, side, side), 0.3), mask, *fields)


def test_below_the_eyes_nothing_changes_where_the_mouth_is_covered():
    row = lips_row()
    prediction = predict((row - 3, row + 4, 48, 80), flow=0.001)
    plain = WarpField.from_prediction(prediction, MouthView(False))
    covered = WarpField.from_prediction(prediction, MouthView(True))
    end, start = (round(part * SIDE) for part in reversed(UPPER_FACE))
    assert plain.mouth is not None and plain.cover[row, 64] == 1 and not plain.ends_above_mouth
    assert covered.mouth is None and covered.ends_above_mouth
    for part in (covered.cover, covered.flow, covered.gain):
        assert not part[end:].any()
    np.testing.assert_array_equal(covered.flow[: start - 1], plain.flow[: start - 1])


def test_a_mouth_beside_the_lips_alone_is_not_drawn_and_the_edit_ends_above_it():
    row = lips_row()
    field = WarpField.from_prediction(predict((row + 8, row + 16, 52, 76), flow=0.0), MouthView(False, CORNERS))
    assert field.ends_above_mouth and field.mouth is None and not field.cover[round(UPPER_FACE[1] * SIDE) :].any()


def test_what_is_drawn_on_the_neck_is_removed_and_the_mouth_moves():
    row = lips_row()
    field = WarpField.from_prediction(predict((row + 20, row + 30, 52, 76), flow=0.0), MouthView(False, CORNERS))
    assert not field.ends_above_mouth and field.mouth is None and field.cover[row, 64] == 1


@pytest.fixture
def editor(tiny_config):
    torch.manual_seed(0)
    editor = ExpressionEditor(ExprGAN(dataclasses.replace(tiny_config, warp_width=0.25)))
    torch.nn.init.normal_(editor.model.T.head.weight, std=0.3)
    return editor


@pytest.mark.parametrize("fidelity", ["detail", "model"])
def test_an_edit_of_a_covered_mouth_keeps_the_pixels_below_the_eyes_and_reports_it(editor, portrait, face, fidelity):
    subject = dataclasses.replace(editor.read(portrait, face), mouth=MouthView(True))
    result = editor.edit(subject, "happy", fidelity=fidelity)
    changed = np.argwhere((np.asarray(result.image) != np.asarray(portrait)).any(axis=2))
    matrix = invert(crop_from_photo(face.landmarks, 1))
    last_row = matrix[1] @ (0.5, (UPPER_FACE[1] - 0.5) * WIDE_CROP_SCALE + 0.5, 1)
    assert len(changed) > 500 and changed[:, 0].max() <= last_row + 8
    assert result.warning == MOUTH_NOT_EDITED
    seen = editor.edit(dataclasses.replace(subject, mouth=MouthView(False)), "happy", fidelity=fidelity)
    assert seen.warning == "" and seen.image.tobytes() != result.image.tobytes()


def test_page_command_line_and_folders_say_that_a_mouth_is_covered(tiny_model, data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "visitors"))
    monkeypatch.setattr("exprgan.editing.mouth_visibility.is_mouth_covered", lambda crop: True)
    tiny_model.save_pretrained(tmp_path / "weights")
    (tmp_path / "photos").mkdir()
    photo, editor = tmp_path / "photos" / "me.jpg", ExpressionEditor(tiny_model)
    Image.open(data_dir / "portrait.jpg").resize((300, 300)).save(photo)
    _, sentence, _ = handlers.edit(editor, str(photo), "happy", 1.0, "", 0.5, 0, "detail", 0, "one", {}, {}, None)
    assert sentence.endswith(MOUTH_NOT_EDITED)
    _, sentence, _ = handlers.transfer(editor, str(photo), str(photo), 1.0, 0, 0, False, None)
    assert sentence.endswith(MOUTH_NOT_EDITED)
    model = ["--model", str(tmp_path / "weights")]
    assert main(["edit", str(photo), "happy", "--out", str(tmp_path / "edit.png"), *model]) == 0
    assert main(["transfer", str(photo), str(photo), "--out", str(tmp_path / "transfer.png"), *model]) == 0
    assert capsys.readouterr().err.count(MOUTH_NOT_EDITED) == 2
    settings = BatchSettings(
        str(tmp_path / "photos"), str(tmp_path / "done"), "happy", 1.0, None, "detail", None, "largest", False
    )
    assert edit_photo(editor, settings, ("me.jpg", "me.jpg")).message == MOUTH_NOT_EDITED


def test_the_corners_of_the_mouth_come_from_the_detector(editor, portrait, face):
    view = editor.read(portrait, face).mouth
    expected = transform(crop_from_photo(face.landmarks, 1), face.landmarks[3:5])
    np.testing.assert_allclose(view.corners, expected, atol=1e-6)
    assert editor.read_crop(portrait.resize((32, 32))).mouth.corners is None


def test_labels_say_whether_the_drawn_covers_hide_the_lips():
    torch.manual_seed(3)
    distance = cover_distance(256)
    at_lips = distance[:, round(LIPS[1] * INPUT_PX), INPUT_PX // 2] < 0
    assert distance.shape == (256, INPUT_PX, INPUT_PX) and 0.3 < at_lips.float().mean() < 0.9
    torch.manual_seed(3)
    crops, labels, weights = draw_batch(torch.rand(256, 3, INPUT_PX, INPUT_PX))
    assert crops.shape == (256, 3, INPUT_PX, INPUT_PX) and crops.min() >= 0 and crops.max() <= 1
    assert 0.15 < labels.mean() < 0.6 and weights[labels == 1].all() and 0.7 < weights.mean() < 1


def test_training_is_repeated_bit_by_bit(faces):
    pictures = torch.from_numpy(np.stack([np.asarray(face) for face in faces[:8]])).permute(0, 3, 1, 2)
    first, second = (train_visibility(pictures, steps=2, batch=8).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
