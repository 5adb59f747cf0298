"""Teeth: painted once, laid into a mouth by coordinates, as finely as a photo shows it."""

import numpy as np
import pytest
import torch
from PIL import Image

from exprgan.editing.mouth_overlay import MouthOverlay
from exprgan.models.backward_warp import FIELD_SCALE
from exprgan.models.mouth_network import CM_IN_WIDE_CROP, SCLERA_BRIGHTNESS, align_teeth, average_uv, match_sclera
from exprgan.models.teeth_texture import HALF_ROW_CM, ROW_BOTTOM_CM, ROW_TOP_CM, UPPER, composite_teeth, tooth_rows
from exprgan.models.warp_network import WIDE_CROP_SCALE, WarpPrediction, sclera_color
from exprgan.photo.alignment import EYES
from exprgan.photo.image_io import LUMA

DARK, LIT = 0.1, 0.9


def rows(per_cm=40, apart=0.5):
    """Both rows seen from the front, edge to edge `apart` cm: behind, light and places, (1, C, H, W)."""
    x = (torch.arange(round(6 * per_cm)) + 0.5) / per_cm - 3
    y = ((torch.arange(round(3 * per_cm)) + 0.5) / per_cm - 1.5)[:, None]
    planes = [torch.broadcast_to(plane, (len(y), len(x))) for plane in (x, -y, x, y - apart)]
    flat = torch.ones(1, 3, len(y), len(x))
    return flat * DARK, flat * LIT, torch.stack(planes)[None]


@pytest.mark.parametrize("level", range(6))
def test_both_rows_are_painted_alike_left_and_right_at_every_level(level):
    picture = tooth_rows(level)
    assert picture.shape == (2, 4, 288 >> level, 768 >> level) and picture.min() >= 0 and picture.max() <= 1
    torch.testing.assert_close(picture, picture.flip(3), atol=1e-5, rtol=0)
    assert (picture[:, :3] <= picture[:, 3:] + 1e-6).all()  # albedo times cover
    assert picture[:, 3, -1].min() == 0 or picture[:, 3, -1, 8 >> level : -(8 >> level) or None].mean() > 0.8  # gums


def test_teeth_are_bright_gaps_between_them_are_not_and_the_mouth_behind_is_seen_where_neither_is():
    per_cm = 40
    seen = composite_teeth(*rows(per_cm), per_cm)[0].mean(0)
    tooth, gap = UPPER[0], UPPER[0].far
    at = lambda x, up: seen[round((1.5 - up) * per_cm), round((3 + x) * per_cm)]  # noqa: E731
    assert at(tooth.far / 2, 0.5) > 0.75 * LIT and at(gap, 0.5) < 0.85 * at(tooth.far / 2, 0.5)
    assert at(0.4, -0.25) == pytest.approx(DARK)  # between the rows
    assert at(0.4, 1.4) < 0.75 * at(0.4, 0.5)  # gums


def test_the_upper_row_lies_before_the_lower_one_and_beyond_both_there_is_nothing():
    behind, light, places = rows(apart=-0.4)
    alone = places.clone()
    alone[:, 2:] = 9.0
    middle = (..., slice(62, 70), slice(110, 130))  # 0.05 to 0.25 cm below the upper edge: the lower row's
    both, upper = composite_teeth(behind, light, places), composite_teeth(behind, light, alone)
    assert (both[middle] - behind[middle]).min() > 0.2
    torch.testing.assert_close(both[..., 30:48, 100:140], upper[..., 30:48, 100:140])
    torch.testing.assert_close(composite_teeth(behind, light, places * 0 + 9), behind)
    assert HALF_ROW_CM > 2 and ROW_TOP_CM < 0 < ROW_BOTTOM_CM


def said(side=64, mask=1.0):
    """What T might say: the usual rows under one light, drawn over the lower middle of its frame."""
    cover = torch.zeros(1, 1, side, side)
    cover[..., side // 2 : side * 3 // 4, side // 4 : side * 3 // 4] = mask
    flat = torch.ones(1, 3, side // FIELD_SCALE, side // FIELD_SCALE)
    still = torch.zeros(1, 3, side, side)
    return WarpPrediction(still[:, :2], still, cover, flat * DARK, flat * LIT, average_uv(side // FIELD_SCALE))


def laid(detail, scale, colour=(0, 0, 255)):
    """T's frame in a photo of one colour, `scale` px for one of the mask, with the mouth laid over it."""
    side = detail.mask.shape[-1] * scale
    photo = Image.new("RGB", (side, side), colour)
    MouthOverlay.from_prediction(detail).paint(photo, np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]]), 0.0)
    return np.asarray(photo, np.float32)


def test_a_mouth_is_painted_as_finely_as_the_photo_shows_it_and_in_its_place():
    soft = torch.nn.functional.avg_pool2d(said().mask, 5, stride=1, padding=2)
    detail = said()._replace(mask=soft, shading=torch.zeros(1, 3, 32, 32), background=torch.zeros(1, 3, 32, 32))
    border = []
    for scale in (1, 4, 12, 40):
        blue = laid(detail, scale)[..., 2] / 255
        inside = np.argwhere(blue < 0.5)
        np.testing.assert_allclose(inside.min(0), np.array((32, 16)) * scale, atol=scale)
        np.testing.assert_allclose(inside.max(0) + 1, np.array((48, 48)) * scale, atol=scale)
        assert blue.min() == 0 and blue.max() == 1
        border.append(((blue > 0.02) & (blue < 0.98)).mean())
    assert border[0] > 1.5 * border[1] > 2 * border[2] > 0  # it narrows


@pytest.mark.parametrize("scale", [1, 3])
def test_what_is_painted_finely_is_what_t_drew(scale):
    detail = said()
    drawn = (detail.render_mouth(detail.uv)[0] + 1) * 127.5
    middle = np.s_[36:44, 20:44]
    small = laid(detail, scale).reshape(64, scale, 64, scale, 3).mean((1, 3))[middle]
    assert np.abs(small - drawn.permute(1, 2, 0).numpy()[middle]).mean() < scale**2


def test_beside_the_mouth_no_pixel_is_touched():
    photo = laid(said(), 5, (9, 8, 7))
    touched = np.argwhere((photo != (9, 8, 7)).any(axis=2))
    assert (touched.min(0) >= np.array((31, 15)) * 5).all() and (touched.max(0) < np.array((49, 49)) * 5).all()


def test_rows_are_seated_as_a_whole():
    usual = average_uv(16)
    seat = torch.zeros(2, 2, 2, 3)
    torch.testing.assert_close(align_teeth(usual, seat), usual.expand(2, -1, -1, -1))
    seat[1, 0, 1, 0] = 0.5  # the upper row half a centimetre up
    seat[1, 1, 0, 1] = -0.1  # the lower one wider
    moved = align_teeth(usual, seat)
    torch.testing.assert_close(moved[0], usual[0])
    torch.testing.assert_close(moved[1, :2], usual[0, :2] + torch.tensor([0.0, 0.5])[:, None, None])
    torch.testing.assert_close(moved[1, 2:], usual[0, 2:] * torch.tensor([0.9, 1.0])[:, None, None])


def test_the_pupils_are_as_far_apart_in_cm_as_in_the_frame():
    apart = (EYES[1][0] - EYES[0][0]) / WIDE_CROP_SCALE
    assert apart == pytest.approx(6.3 * CM_IN_WIDE_CROP, rel=0.02)


def test_all_teeth_are_in_one_light_and_no_brighter_than_what_is_white():
    light = torch.rand(2, 3, 8, 8) + 0.1
    drawn = torch.zeros(2, 1, 8, 8)
    drawn[..., 2:6, 2:6] = 1
    white = torch.tensor([[0.9, 0.8, 0.7], [0.09, 0.08, 0.07]])  # a bright room and a dim one
    one = match_sclera(light, drawn, white)
    tint = one / one.mean(1, keepdim=True)
    torch.testing.assert_close(tint, tint[..., :1, :1].expand_as(tint))
    assert (tint[0, 0] > tint[0, 1]).all() and (tint[0, 1] > tint[0, 2]).all()
    torch.testing.assert_close(tint[0], tint[1])
    seen = one[..., 2:6, 2:6].mean((1, 2, 3))
    assert seen[0].item() == pytest.approx(light[0, :, 2:6, 2:6].mean().item(), rel=0.01)
    assert seen[1].item() == pytest.approx(SCLERA_BRIGHTNESS * 0.08, rel=0.01)


def test_white_is_what_eyes_show_beside_iris_lid_and_highlight_or_as_bright_as_a_cheek():
    side = 256
    x = torch.zeros(1, 3, side, side) + torch.tensor([0.3, 0.2, 0.1])[:, None, None]
    for eye in EYES:
        across, down = (round(side * ((at - 0.5) / WIDE_CROP_SCALE + 0.5)) for at in eye)
        x[..., down - 6 : down + 6, across - 16 : across + 16] = torch.tensor([0.6, 0.5, 0.4])[:, None, None]
        x[..., down - 6 : down + 6, across - 6 : across + 6] = 0.05
        x[..., down - 2 : down + 1, across - 2 : across + 1] = 1.0
    torch.testing.assert_close(sclera_color(x * 2 - 1), torch.tensor([[0.6, 0.5, 0.4]]), atol=0.02, rtol=0)
    shaded = torch.where(torch.arange(side)[:, None] < side * 2 // 5, x * 0.1, x * 2)
    white = sclera_color(shaded * 2 - 1)[0]
    assert white @ torch.tensor(LUMA) == pytest.approx(2 * 0.218, rel=0.05) and white[0] / white[1] == pytest.approx(
        1.2, rel=0.05
    )
    assert (sclera_color(torch.full((2, 3, side, side), -1.0)) > 0).all()
