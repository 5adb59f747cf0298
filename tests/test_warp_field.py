"""Warp fields: how an edit warps, relights and completes the pixels of a photo."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from exprgan.editing.mouth_overlay import MouthOverlay
from exprgan.editing.warp_cleaning import LID_OPENING, MAX_BROW_RAISE, MAX_LIP_GAIN
from exprgan.editing.warp_field import WarpField, apply_warp
from exprgan.models.backward_warp import FIELD_SCALE
from exprgan.models.mouth_network import (
    CM_IN_WIDE_CROP,
    MASK_BOTTOM,
    MASK_FADE,
    MASK_HALF_WIDTH_CM,
    MASK_HEIGHT_CM,
    MASK_HEIGHT_FADE_CM,
    TEETH_HEIGHT,
)  # fmt: skip
from exprgan.models.warp_network import (
    FOLD_EMPHASIS,
    FOLD_PX,
    WIDE_CROP_SCALE,
    WarpNetwork,
    WarpPrediction,
    emphasize_folds,
)
from exprgan.photo.alignment import EYES, crop_from_photo, invert, photo_from_enlarged_crop
from exprgan.photo.blending import face_mask

SIZE = 64
MASK = face_mask(SIZE)


def constant_field(flow=(0.0, 0.0), gain=0.0, mouth=None, cover=MASK):
    """The same flow, in px of the field, and gain everywhere, faded by the cover."""
    side = len(cover)
    return WarpField(
        np.tile(np.float32(flow) / side, (side, side, 1)) * cover[..., None],
        np.full((side, side, 3), gain, np.float32) * cover[..., None],
        cover,
        mouth,
    )


def toothless(colour, side=SIZE):
    """A mouth of one colour in the middle of the face."""
    mask, inside = np.zeros((side, side), np.float32), np.full((10, side, side), 9.0, np.float32)  # cm: on no row
    mask[side // 4 : side * 3 // 4, side // 4 : side * 3 // 4] = 1
    inside[:3] = np.array(colour)[:, None, None] / 255
    return MouthOverlay(mask, inside)


@pytest.fixture
def photo():
    noise = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    return Image.fromarray(noise).resize((600, 500), Image.Resampling.BICUBIC)


@pytest.fixture
def photo_from_crop():
    return invert(crop_from_photo([(250, 200), (350, 230)], SIZE))


def difference(a, b):
    return np.abs(np.asarray(a, int) - np.asarray(b, int)).max(axis=2)


def test_no_flow_leaves_every_pixel(photo, photo_from_crop):
    assert apply_warp(photo, constant_field(), photo_from_crop, SIZE).tobytes() == photo.tobytes()


def test_the_photo_is_warped_by_the_flow(photo):
    photo_from_crop = np.array([[4.0, 0.0, 100.0], [0.0, 4.0, 60.0]])  # a crop px is 4 photo px
    field = constant_field(flow=(1.5 / WIDE_CROP_SCALE, -2.0 / WIDE_CROP_SCALE))
    warped = apply_warp(photo, field, photo_from_crop, SIZE)
    y, x = 60 + 4 * 28, 100 + 4 * 32  # where the cover is 1
    source = photo.crop((x + 6 - 16, y - 8 - 16, x + 6 + 16, y - 8 + 16))
    assert difference(warped.crop((x - 16, y - 16, x + 16, y + 16)), source).max() <= 1


def test_the_gain_multiplies_brightness_and_is_clipped():
    photo = Image.new("RGB", (400, 400), (100, 250, 5))
    photo_from_crop = np.array([[4.0, 0.0, 60.0], [0.0, 4.0, 60.0]])
    pasted = apply_warp(photo, constant_field(gain=np.log(1.2)), photo_from_crop, SIZE)
    assert pasted.getpixel((60 + 4 * 32, 60 + 4 * 26)) == (120, 255, 6)


def test_the_mouth_is_painted_with_the_grain_of_the_photo():
    photo_from_crop = np.array([[4.0, 0.0, 60.0], [0.0, 4.0, 60.0]])
    smooth = Image.new("RGB", (400, 400), (100, 100, 100))
    noise = np.random.default_rng(1).normal(100, 6, (400, 400, 1))
    rough = Image.fromarray(np.tile(noise, 3).clip(0, 255).astype(np.uint8))
    middle = (60 + 4 * 28, 60 + 4 * 22, 60 + 4 * 36, 60 + 4 * 30)
    for photo, low, high in ((smooth, 0, 0.1), (rough, 4, 8)):
        pasted = apply_warp(photo, constant_field(mouth=toothless((200, 150, 90))), photo_from_crop, SIZE)
        painted = np.asarray(pasted.crop(middle), np.float32)
        assert low <= painted.std(axis=(0, 1)).mean() <= high
        np.testing.assert_allclose(painted.mean(axis=(0, 1)), (200, 150, 90), atol=1)


def test_a_wide_mouth_is_painted_where_its_mask_is():
    prediction = predict(mask=0.9)
    wide = torch.zeros_like(prediction.mask)
    wide[..., 70:80, 40:100] = 1
    field = WarpField.from_prediction(prediction._replace(mask=wide))
    photo = Image.new("RGB", (512, 512), (200, 150, 130))
    field_in_photo = 512 / WIDE_CROP_SCALE / SIZE
    shift = (512 - SIZE * field_in_photo) / 2
    pasted = apply_warp(photo, field, np.array([[field_in_photo, 0, shift], [0, field_in_photo, shift]]), SIZE)
    changed = np.argwhere(difference(photo, pasted) > 60)
    scale = 512 / (FIELD_SCALE * SIZE)
    np.testing.assert_allclose(changed.min(0), (70 * scale, 40 * scale), atol=3)
    np.testing.assert_allclose(changed.max(0) + 1, (80 * scale, 100 * scale), atol=3)


def test_outside_the_cover_no_pixel_changes(photo, photo_from_crop):
    field = constant_field(flow=(9.0, 9.0), gain=0.3, mouth=toothless((255, 0, 255)))
    pasted = apply_warp(photo, field, photo_from_crop, SIZE)
    matrix = invert(photo_from_enlarged_crop(photo_from_crop, SIZE, WIDE_CROP_SCALE, SIZE))
    over = Image.fromarray(MASK).transform(
        photo.size, Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.BILINEAR
    )
    near = np.asarray(over.resize((60, 50), Image.Resampling.BOX).resize(photo.size, Image.Resampling.BILINEAR)) > 0
    changed = difference(photo, pasted)
    assert not changed[~near].any() and (changed[np.asarray(over) > 0.9] > 0).mean() > 0.9


@pytest.mark.parametrize("middle", [(0, 0), (599, 480), (5000, 5000)])
def test_a_face_at_the_edge_of_the_photo_is_edited_up_to_the_edge(photo, middle):
    x, y = middle
    matrix = invert(crop_from_photo([(x - 40, y - 10), (x + 40, y + 10)], SIZE))
    pasted = apply_warp(photo, constant_field(flow=(3.0, 3.0), gain=0.4, mouth=toothless((40, 10, 10))), matrix, SIZE)
    assert pasted.size == photo.size and (difference(photo, pasted).max() > 20) == (middle != (5000, 5000))


def predict(flow=0.0, gain=0.0, mask=0.0):
    """A prediction of T with constant values in a square in the middle of the face, and 0 elsewhere."""
    side = FIELD_SCALE * SIZE
    area = torch.zeros(1, 1, side, side)
    area[..., side // 2 - 8 : side // 2 + 8, side // 2 - 8 : side // 2 + 8] = 1
    return WarpPrediction(
        flow * area.expand(-1, 2, -1, -1), gain * area.expand(-1, 3, -1, -1), mask * area, *toothless_fields(SIZE)
    )


def toothless_fields(side, background=0.3):
    """The rest of a `WarpPrediction`: no teeth anywhere."""
    return torch.full((1, 3, side, side), background), torch.ones(1, 3, side, side), torch.full((1, 4, side, side), 9.0)


def test_the_cover_is_where_the_prediction_changes_the_photo():
    for prediction in (predict(flow=0.02), predict(gain=0.2), predict(mask=0.9)):
        field = WarpField.from_prediction(prediction)
        assert field.cover[SIZE, SIZE] == 1 and not field.cover[: SIZE // 2].any()
    assert not WarpField.from_prediction(predict(flow=0.0005, gain=0.01, mask=0.25)).cover.any()


def test_opening_lids_and_far_raised_brows_move_less_than_predicted():
    side = FIELD_SCALE * SIZE
    eye_distance = (EYES[1][0] - EYES[0][0]) / WIDE_CROP_SCALE * side
    x, y = ((np.array(EYES[0]) - 0.5) / WIDE_CROP_SCALE + 0.5) * side
    lid, brow, under = (round(y + part * eye_distance) for part in (-0.1, -0.45, 0.1))

    def flow_through_the_eye(amount):
        flow = torch.zeros(1, 2, side, side)
        flow[:, 1] = amount
        prediction = WarpPrediction(flow, flow[:, :1].expand(-1, 3, -1, -1), flow[:, :1] * 0, *toothless_fields(SIZE))
        limited = WarpField.from_prediction(prediction).flow
        assert limited[round(y + 1.2 * eye_distance), round(x), 1] == pytest.approx(amount, abs=1e-3)
        return limited[:, round(x), 1]

    for amount, factors in ((0.01, {lid: LID_OPENING, brow: 1, under: 1}), (-0.03, {lid: 1, brow: 1, under: LID_OPENING})):
        for row, factor in factors.items():
            assert flow_through_the_eye(amount)[row] == pytest.approx(amount * factor, abs=3e-4)
    heights = [flow_through_the_eye(amount)[brow] for amount in (0.02, 0.04, 0.06, 0.12)]
    assert heights[0] > 0.019 and heights == sorted(heights) and 0.036 < heights[2] < heights[3] < MAX_BROW_RAISE


def test_every_change_has_faded_at_the_border_of_the_wide_crop():
    side = FIELD_SCALE * SIZE
    flow = torch.full((1, 2, side, side), 0.05)
    prediction = WarpPrediction(flow, flow[:, :1].expand(-1, 3, -1, -1), flow[:, :1], *toothless_fields(SIZE))
    field = WarpField.from_prediction(prediction)
    assert field.cover[SIZE, SIZE] == 1 and not field.cover[[0, -1]].any() and not field.cover[:, [0, -1]].any()
    assert not field.flow[0].any() and not field.gain[:, -1].any() and field.mouth is None


@pytest.fixture
def network():
    torch.manual_seed(0)
    return WarpNetwork(32, 30, width=0.5)


def test_an_untrained_network_hardly_changes_the_photo(network):
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    decoded = torch.rand(2, 3, 32, 32) * 2 - 1
    prediction = network(x, (decoded, decoded.flip(0)), torch.rand(2, 30))
    flow, gain, mask, background, shading, uv, eyes = prediction
    assert flow.shape == (2, 2, 64, 64) and gain.shape == x.shape and mask.shape == (2, 1, 64, 64)
    assert background.shape == shading.shape == decoded.shape and uv.shape == (2, 4, 32, 32)
    assert mask.max() < 0.05 and flow.abs().max() < 0.01 and not eyes.numel()
    assert (prediction.apply(x) - x).abs().mean() < 0.06


def test_every_input_of_the_network_affects_the_edit(network):
    inputs = [torch.rand(1, 3, 64, 64), torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32), torch.rand(1, 30)]
    for tensor in inputs:
        tensor.requires_grad_(True)
    x, *decoded, c = inputs
    sum(part.square().sum() for part in network(x, decoded, c)).backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in inputs)


def test_the_edit_is_the_warped_and_relit_photo_beneath_the_mouth():
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    zeros, mouth = torch.zeros(1, 3, 8, 8), toothless_fields(4, background=0.65)
    to_right = torch.tensor([1 / 8, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    warped = WarpPrediction(to_right, zeros, zeros[:, :1], *mouth).apply(x)
    torch.testing.assert_close(warped[..., :-1], x[..., 1:], atol=1e-5, rtol=0)  # pixels come from one to the right
    dark = WarpPrediction(zeros[:, :2], zeros - 0.5, zeros[:, :1], *mouth).apply(x)
    torch.testing.assert_close((dark + 1) / 2, (x + 1) / 2 * np.exp(-0.5), atol=1e-5, rtol=0)
    painted = WarpPrediction(zeros[:, :2], zeros, zeros[:, :1] + 1, *mouth).apply(x)
    torch.testing.assert_close(painted, zeros + 0.3)


def test_the_nose_is_not_emphasised_beyond_the_default(network):
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias[:] = torch.tensor([1.0, -1.0, 0.0, 0.0, 0.0])  # everything to one side and down
        inputs = torch.zeros(1, 3, 64, 64), torch.zeros(2, 1, 3, 32, 32), torch.zeros(1, 30)
        plain, default, strong = (
            network(*inputs, emphasis).flow[0] / network(*inputs).flow[0] for emphasis in (1.0, 1.25, 1.5)
        )
    nose, cheek = (slice(None), 30, 32), (slice(None), 30, 6)
    for ratio, area, factor in ((plain, nose, 1), (default, nose, 1.25), (strong, nose, 1.25), (strong, cheek, 1.5)):
        torch.testing.assert_close(ratio[area], torch.full((2,), float(factor)), atol=1e-4, rtol=0)


def test_folds_are_emphasised_in_brightness_alone_and_light_is_not():
    light = torch.linspace(-0.1, 0.1, 64).view(1, 1, 1, 64) + torch.tensor([0.0, 0.02, 0.05])[:, None, None]
    gain = light.repeat(1, 1, 64, 1)
    torch.testing.assert_close(emphasize_folds(gain)[..., 8:-8], gain[..., 8:-8], atol=1e-5, rtol=0)
    folded = gain.clone()
    folded[:, :, 30] -= 0.2
    change = emphasize_folds(folded) - folded
    torch.testing.assert_close(change[:, 0], change[:, 2])
    expected = -0.2 * (FOLD_EMPHASIS - 1) * (1 - 1 / FOLD_PX)
    torch.testing.assert_close(change[..., 30, 8:-8], torch.full((1, 3, 48), expected), atol=1e-5, rtol=0)
    assert change[..., :20, 8:-8].abs().max() < 1e-5


@torch.no_grad()
def test_what_rises_is_emphasised_by_at_most_1(network):
    network.head.weight.zero_()
    network.head.bias[:] = torch.tensor([0.0, 8.0, 0.0, 0.0, 0.0])  # everything comes from far below
    inputs = torch.zeros(2, 3, 64, 64), None, torch.zeros(2, 30)
    trained, weak, strong = (network(*inputs, emphasis) for emphasis in (None, 0.7, 1.5))
    both = network.predict_skin(*inputs, torch.tensor([0.7, 1.5])[:, None, None, None])
    brow, cheek = (0, 1, 12, 20), (0, 1, 50, 6)
    for at, factors in ((brow, (0.7, 1.0)), (cheek, (0.7, 1.5))):
        for prediction, factor in zip((weak, strong), factors, strict=True):
            assert prediction.flow[at] / trained.flow[at] == pytest.approx(factor)
    for index, emphasis in enumerate((0.7, 1.5)):  # one for each picture
        torch.testing.assert_close(both.flow[index], network.predict_skin(*inputs, emphasis).flow[index])


def test_the_mask_is_0_where_no_mouth_can_be(network):
    with torch.no_grad():
        network.mouth.head.bias[: FIELD_SCALE**2] = 8  # a mouth everywhere
    mask = network(torch.zeros(1, 3, 64, 64), None, torch.zeros(1, 30)).mask[0, 0]
    assert (
        mask[36, 32] > 0.99
        and mask[36, 32 + math.ceil(64 * (CM_IN_WIDE_CROP * MASK_HALF_WIDTH_CM + MASK_FADE)) :].max() == 0
    )
    assert mask[math.ceil(64 * (MASK_BOTTOM + MASK_FADE)) :].max() == 0
    assert mask[math.ceil(64 * (TEETH_HEIGHT + CM_IN_WIDE_CROP * (MASK_HEIGHT_CM + MASK_HEIGHT_FADE_CM))) + 1 :].max() == 0


def test_the_number_of_threads_changes_no_pixel():
    noise = np.random.default_rng(2).integers(0, 256, (400, 400, 3), np.uint8)
    photo = Image.fromarray(noise).resize((2000, 2000), Image.Resampling.BICUBIC)
    matrix = np.array([[24.0, 3.0, 150.0], [-3.0, 24.0, 300.0]])
    field, results, before = constant_field(flow=(0.7, -1.3), gain=0.1), [], torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(apply_warp(photo, field, matrix, SIZE).tobytes())
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1] == results[2] != photo.tobytes()


def test_lips_outside_the_mouth_mask_are_hardly_brightened():
    prediction = predict()
    mask = torch.zeros_like(prediction.mask)
    mask[..., 84:92, 50:78] = 1
    brighter = prediction._replace(mask=mask, gain=torch.full_like(prediction.gain, 0.4))
    darker = brighter._replace(gain=-brighter.gain)
    for point, expected in {(88, 64): 0.4, (42, 64): 0.4, (78, 64): MAX_LIP_GAIN, (88, 40): MAX_LIP_GAIN}.items():
        np.testing.assert_allclose(WarpField.from_prediction(brighter).gain[point], expected, atol=1e-4)
        np.testing.assert_allclose(WarpField.from_prediction(darker).gain[point], -0.4, atol=1e-4)
