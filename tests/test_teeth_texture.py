"""The texture of teeth: drawn once, mapped into a mouth by uv coordinates at the resolution of the photo."""

import numpy as np
import pytest
import torch
from PIL import Image

from exprgan.editing.mouth_overlay import MouthOverlay
from exprgan.models.backward_warp import FIELD_SCALE
from exprgan.models.mouth_network import CM_IN_WIDE_CROP, SCLERA_BRIGHTNESS, align_teeth, average_uv, match_sclera
from exprgan.models.teeth_texture import HALF_ROW_CM, ROW_BOTTOM_CM, ROW_TOP_CM, UPPER, composite_teeth, tooth_rows
from exprgan.models.warp_network import WHITE_FACTOR, WIDE_CROP_SCALE, WarpPrediction, eye_white, sclera_color
from exprgan.photo.alignment import EYES
from exprgan.photo.image_io import LUMA

DARK, LIT = 0.1, 0.9


def front_view(per_cm=40, gap=0.5):
    """Both rows from the front with a gap in cm between their edges: background, shading and uv, (1, C, H, W)."""
    x = (torch.arange(round(6 * per_cm)) + 0.5) / per_cm - 3
    y = ((torch.arange(round(3 * per_cm)) + 0.5) / per_cm - 1.5)[:, None]
    planes = [torch.broadcast_to(plane, (len(y), len(x))) for plane in (x, -y, x, y - gap)]
    flat = torch.ones(1, 3, len(y), len(x))
    return flat * DARK, flat * LIT, torch.stack(planes)[None]


@pytest.mark.parametrize("level", range(6))
def test_both_rows_are_symmetric_at_every_mip_level(level):
    texture = tooth_rows(level)
    assert texture.shape == (2, 4, 288 >> level, 768 >> level) and texture.min() >= 0 and texture.max() <= 1
    torch.testing.assert_close(texture, texture.flip(3), atol=1e-5, rtol=0)
    assert (texture[:, :3] <= texture[:, 3:] + 1e-6).all()  # premultiplied
    assert texture[:, 3, -1].min() == 0 or texture[:, 3, -1, 8 >> level : -(8 >> level) or None].mean() > 0.8  # gums


def test_teeth_are_brighter_than_gaps_and_gums_and_the_background_shows_between_the_rows():
    per_cm = 40
    image = composite_teeth(*front_view(per_cm), per_cm)[0].mean(0)
    tooth, gap = UPPER[0], UPPER[0].far
    at = lambda x, up: image[round((1.5 - up) * per_cm), round((3 + x) * per_cm)]  # noqa: E731
    assert at(tooth.far / 2, 0.5) > 0.75 * LIT and at(gap, 0.5) < 0.85 * at(tooth.far / 2, 0.5)
    assert at(0.4, -0.25) == pytest.approx(DARK)  # between the rows
    assert at(0.4, 1.4) < 0.75 * at(0.4, 0.5)  # gums


def test_the_upper_row_occludes_the_lower_one_and_beyond_both_only_the_background_shows():
    background, shading, uv = front_view(gap=-0.4)
    upper_only = uv.clone()
    upper_only[:, 2:] = 9.0
    middle = (..., slice(62, 70), slice(110, 130))  # 0.05 to 0.25 cm below the upper edge: the lower row's
    both, upper = composite_teeth(background, shading, uv), composite_teeth(background, shading, upper_only)
    assert (both[middle] - background[middle]).min() > 0.2
    torch.testing.assert_close(both[..., 30:48, 100:140], upper[..., 30:48, 100:140])
    torch.testing.assert_close(composite_teeth(background, shading, uv * 0 + 9), background)
    assert HALF_ROW_CM > 2 and ROW_TOP_CM < 0 < ROW_BOTTOM_CM


def predict_mouth(side=64):
    """A prediction of average rows of teeth in even shading, in the lower middle of the wide crop."""
    mask = torch.zeros(1, 1, side, side)
    mask[..., side // 2 : side * 3 // 4, side // 4 : side * 3 // 4] = 1
    flat = torch.ones(1, 3, side // FIELD_SCALE, side // FIELD_SCALE)
    zeros = torch.zeros(1, 3, side, side)
    return WarpPrediction(zeros[:, :2], zeros, mask, flat * DARK, flat * LIT, average_uv(side // FIELD_SCALE))


def paint(prediction, scale, colour=(0, 0, 255)):
    """The mouth painted into a photo of one colour that shows the wide crop, `scale` px for one of the mask."""
    side = prediction.mask.shape[-1] * scale
    photo = Image.new("RGB", (side, side), colour)
    MouthOverlay.from_prediction(prediction).paint(photo, np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]]), 0.0)
    return np.asarray(photo, np.float32)


def test_a_mouth_is_painted_at_its_position_and_at_the_resolution_of_the_photo():
    soft, black = torch.nn.functional.avg_pool2d(predict_mouth().mask, 5, stride=1, padding=2), torch.zeros(1, 3, 32, 32)
    prediction = predict_mouth()._replace(mask=soft, shading=black, background=black)
    border = []
    for scale in (1, 4, 12, 40):
        blue = paint(prediction, scale)[..., 2] / 255
        inside = np.argwhere(blue < 0.5)
        np.testing.assert_allclose(inside.min(0), np.array((32, 16)) * scale, atol=scale)
        np.testing.assert_allclose(inside.max(0) + 1, np.array((48, 48)) * scale, atol=scale)
        assert blue.min() == 0 and blue.max() == 1
        border.append(((blue > 0.02) & (blue < 0.98)).mean())
    assert border[0] > 1.5 * border[1] > 2 * border[2] > 0  # it narrows


@pytest.mark.parametrize("scale", [1, 3])
def test_the_painted_mouth_equals_the_one_that_t_renders(scale):
    prediction = predict_mouth()
    rendered = (prediction.render_mouth(prediction.uv)[0] + 1) * 127.5
    middle = np.s_[36:44, 20:44]
    small = paint(prediction, scale).reshape(64, scale, 64, scale, 3).mean((1, 3))[middle]
    assert np.abs(small - rendered.permute(1, 2, 0).numpy()[middle]).mean() < scale**2


def test_beside_the_mouth_no_pixel_changes():
    photo = paint(predict_mouth(), 5, (9, 8, 7))
    changed = np.argwhere((photo != (9, 8, 7)).any(axis=2))
    assert (changed.min(0) >= np.array((31, 15)) * 5).all() and (changed.max(0) < np.array((49, 49)) * 5).all()


def test_each_row_of_teeth_is_aligned_by_an_affine_map():
    average, alignment = average_uv(16), torch.zeros(2, 2, 2, 3)
    torch.testing.assert_close(align_teeth(average, alignment), average.expand(2, -1, -1, -1))
    alignment[1, 0, 1, 0] = 0.5  # the upper row half a centimetre up
    alignment[1, 1, 0, 1] = -0.1  # the lower one wider
    aligned = align_teeth(average, alignment)
    torch.testing.assert_close(aligned[0], average[0])
    torch.testing.assert_close(aligned[1, :2], average[0, :2] + torch.tensor([0.0, 0.5])[:, None, None])
    torch.testing.assert_close(aligned[1, 2:], average[0, 2:] * torch.tensor([0.9, 1.0])[:, None, None])


def test_the_pupils_are_6_3_cm_apart():
    eye_distance = (EYES[1][0] - EYES[0][0]) / WIDE_CROP_SCALE
    assert eye_distance == pytest.approx(6.3 * CM_IN_WIDE_CROP, rel=0.02)


def test_all_teeth_have_one_tint_and_are_no_brighter_than_the_sclera():
    shading, mask = torch.rand(2, 3, 8, 8) + 0.1, torch.zeros(2, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1
    sclera = torch.tensor([[0.9, 0.8, 0.7], [0.09, 0.08, 0.07]])  # in a bright room and in a dim one
    matched = match_sclera(shading, mask, sclera)
    tint = matched / matched.mean(1, keepdim=True)
    torch.testing.assert_close(tint, tint[..., :1, :1].expand_as(tint))
    assert (tint[0, 0] > tint[0, 1]).all() and (tint[0, 1] > tint[0, 2]).all()
    torch.testing.assert_close(tint[0], tint[1])
    brightness = matched[..., 2:6, 2:6].mean((1, 2, 3))
    assert brightness[0].item() == pytest.approx(shading[0, :, 2:6, 2:6].mean().item(), rel=0.01)
    assert brightness[1].item() == pytest.approx(SCLERA_BRIGHTNESS * 0.08, rel=0.01)


def test_the_sclera_colour_ignores_iris_lids_and_highlights_and_is_at_least_as_bright_as_the_cheeks():
    side = 256
    x = torch.zeros(1, 3, side, side) + torch.tensor([0.3, 0.2, 0.1])[:, None, None]
    for eye in EYES:
        across, down = (round(side * ((at - 0.5) / WIDE_CROP_SCALE + 0.5)) for at in eye)
        x[..., down - 6 : down + 6, across - 16 : across + 16] = torch.tensor([0.6, 0.5, 0.4])[:, None, None]
        x[..., down - 6 : down + 6, across - 6 : across + 6] = 0.05
        x[..., down - 1 : down + 1, across - 1 : across + 1] = 1.0
    white = WHITE_FACTOR * torch.tensor([[0.6, 0.5, 0.4]])
    torch.testing.assert_close(eye_white(x * 2 - 1), white, atol=0.02, rtol=0)
    torch.testing.assert_close(sclera_color(x * 2 - 1), torch.tensor([[0.6, 0.5, 0.4]]), atol=0.02, rtol=0)
    shaded = torch.where(torch.arange(side)[:, None] < side * 2 // 5, x * 0.1, x * 2)
    sclera = sclera_color(shaded * 2 - 1)[0]
    assert sclera @ torch.tensor(LUMA) == pytest.approx(2 * 0.218, rel=0.05)
    assert sclera[0] / sclera[1] == pytest.approx(1.2, rel=0.05)
    assert (sclera_color(torch.full((2, 3, side, side), -1.0)) > 0).all()
