"""How an edit moves, lights and completes the photo's own pixels."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from exprgan.editing.mouth_overlay import MouthOverlay
from exprgan.editing.warp_field import HIGHEST, LIT, OPENED, WarpField, motion_between, apply_warp
from exprgan.models.mouth_network import CM_IN_WIDE_CROP, DEEPEST, FADE, SHALLOW, TALLEST, USUAL, WIDEST
from exprgan.models.warp_network import FIELD_SCALE, WIDE_CROP_SCALE, WarpPrediction, WarpNetwork
from exprgan.models.warping import dense_flow, backward_warp
from exprgan.photo.alignment import EYES, crop_from_photo, face_mask, invert

SIZE = 64
MASK = face_mask(SIZE)


def blobs(dx=0.0, dy=0.0):
    """Soft spots of three colours, moved by (dx, dy) px: (3, SIZE, SIZE) in [-1, 1]."""
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    spots = [(20, 24, 0), (44, 24, 1), (32, 44, 2), (24, 50, 0), (42, 38, 1)]
    picture = torch.zeros(3, SIZE, SIZE)
    for x, y, channel in spots:
        picture[channel] += torch.exp(-((columns - x - dx) ** 2 + (rows - y - dy) ** 2) / 50)
    return picture.clamp(max=1) * 1.6 - 0.8


def still(flow=(0.0, 0.0), gain=0.0, mouth=None, cover=MASK, frame=1.0):
    """The same everywhere, faded by the cover; flow in px of the frame's grid."""
    side = len(cover)
    return WarpField(
        frame,
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


@pytest.mark.parametrize("move", [(3.0, 0.0), (-2.0, 2.5), (0.0, 4.0)])
def test_flow_says_where_the_pixels_came_from(move):
    flow = dense_flow(blobs(), blobs(*move))
    middle = flow[:, 20:48, 20:48].flatten(1)
    np.testing.assert_allclose(middle.mean(1), (-move[0], -move[1]), atol=0.8)


def test_looking_up_along_the_flow_gives_the_other_picture():
    own, edited = blobs(), blobs(-2.0, 3.0)
    moved = backward_warp(own[None], dense_flow(own, edited)[None] / SIZE)[0]
    assert (moved - edited).abs().mean() < 0.35 * (own - edited).abs().mean()


def test_two_equal_pictures_do_not_move():
    motion = motion_between(blobs(), blobs())
    assert np.abs(motion.flow).max() < 1e-5 and np.abs(motion.gain).max() < 1e-4 and motion.mouth is None


def test_what_no_movement_explains_becomes_light():
    own, edited = blobs(), blobs()
    edited[:, 28:36, 28:36] = 1.0  # teeth
    gain = motion_between(own, edited).gain
    assert gain[30:34, 30:34].mean() > 0.2 and np.abs(gain[:8]).mean() < 0.05


def test_no_motion_leaves_every_pixel(photo, photo_from_crop):
    assert apply_warp(photo, still(), photo_from_crop, SIZE).tobytes() == photo.tobytes()


@pytest.mark.parametrize("frame", [1.0, WIDE_CROP_SCALE])
def test_the_photo_is_moved_by_as_much_as_the_frame_says(photo, frame):
    photo_from_crop = np.array([[4.0, 0.0, 100.0], [0.0, 4.0, 60.0]])  # a crop px is 4 photo px
    moved = apply_warp(photo, still(flow=(1.5 / frame, -2.0 / frame), frame=frame), photo_from_crop, SIZE)
    y, x = 60 + 4 * 28, 100 + 4 * 32  # where the cover is 1
    taken = photo.crop((x + 6 - 16, y - 8 - 16, x + 6 + 16, y - 8 + 16))
    assert difference(moved.crop((x - 16, y - 16, x + 16, y + 16)), taken).max() <= 1


def test_light_multiplies_and_is_clipped():
    photo = Image.new("RGB", (400, 400), (100, 250, 5))
    photo_from_crop = np.array([[4.0, 0.0, 60.0], [0.0, 4.0, 60.0]])
    pasted = apply_warp(photo, still(gain=np.log(1.2)), photo_from_crop, SIZE)
    assert pasted.getpixel((60 + 4 * 32, 60 + 4 * 26)) == (120, 255, 6)


def test_what_is_invented_covers_the_photo_with_the_photos_own_grain():
    photo_from_crop = np.array([[4.0, 0.0, 60.0], [0.0, 4.0, 60.0]])
    smooth = Image.new("RGB", (400, 400), (100, 100, 100))
    noise = np.random.default_rng(1).normal(100, 6, (400, 400, 1))
    rough = Image.fromarray(np.tile(noise, 3).clip(0, 255).astype(np.uint8))
    middle = (60 + 4 * 28, 60 + 4 * 22, 60 + 4 * 36, 60 + 4 * 30)
    for photo, low, high in ((smooth, 0, 0.1), (rough, 4, 8)):
        pasted = apply_warp(photo, still(mouth=toothless((200, 150, 90))), photo_from_crop, SIZE)
        seen = np.asarray(pasted.crop(middle), np.float32)
        assert low <= seen.std(axis=(0, 1)).mean() <= high
        np.testing.assert_allclose(seen.mean(axis=(0, 1)), (200, 150, 90), atol=1)


def test_a_wide_mouth_is_laid_where_it_was_drawn():
    detail = said(mask=0.9)
    wide = torch.zeros_like(detail.mask)
    wide[..., 70:80, 40:100] = 1
    motion = WarpField.of(detail._replace(mask=wide))
    photo = Image.new("RGB", (512, 512), (200, 150, 130))
    frame_in_photo = 512 / WIDE_CROP_SCALE / SIZE
    shift = (512 - SIZE * frame_in_photo) / 2
    pasted = apply_warp(photo, motion, np.array([[frame_in_photo, 0, shift], [0, frame_in_photo, shift]]), SIZE)
    changed = np.argwhere(difference(photo, pasted) > 60)
    scale = 512 / (FIELD_SCALE * SIZE)
    np.testing.assert_allclose(changed.min(0), (70 * scale, 40 * scale), atol=3)
    np.testing.assert_allclose(changed.max(0) + 1, (80 * scale, 100 * scale), atol=3)


def test_outside_the_cover_no_pixel_changes(photo, photo_from_crop):
    motion = still(flow=(9.0, 9.0), gain=0.3, mouth=toothless((255, 0, 255)))
    pasted = apply_warp(photo, motion, photo_from_crop, SIZE)
    crop_from_photo_px = invert(photo_from_crop)
    over = Image.fromarray(MASK).transform(
        photo.size, Image.Transform.AFFINE, tuple(crop_from_photo_px.ravel()), Image.Resampling.BILINEAR
    )
    near = np.asarray(over.resize((60, 50), Image.Resampling.BOX).resize(photo.size, Image.Resampling.BILINEAR)) > 0
    changed = difference(photo, pasted)
    assert not changed[~near].any() and (changed[np.asarray(over) > 0.9] > 0).mean() > 0.9


@pytest.mark.parametrize("middle", [(0, 0), (599, 480), (5000, 5000)])
def test_a_face_at_the_edge_of_the_photo_is_moved_as_far_as_it_goes(photo, middle):
    x, y = middle
    matrix = invert(crop_from_photo([(x - 40, y - 10), (x + 40, y + 10)], SIZE))
    pasted = apply_warp(photo, still(flow=(3.0, 3.0), gain=0.4, mouth=toothless((40, 10, 10))), matrix, SIZE)
    assert pasted.size == photo.size and (difference(photo, pasted).max() > 20) == (middle != (5000, 5000))


def said(flow=0.0, gain=0.0, mask=0.0):
    side = FIELD_SCALE * SIZE
    area = torch.zeros(1, 1, side, side)
    area[..., side // 2 - 8 : side // 2 + 8, side // 2 - 8 : side // 2 + 8] = 1
    return WarpPrediction(flow * area.expand(-1, 2, -1, -1), gain * area.expand(-1, 3, -1, -1), mask * area, *inside(SIZE))


def inside(side, behind=0.3):
    """The rest of a `WarpPrediction`: no teeth anywhere."""
    return torch.full((1, 3, side, side), behind), torch.ones(1, 3, side, side), torch.full((1, 4, side, side), 9.0)


def test_what_t_says_covers_where_something_happens_and_nothing_else():
    for detail in (said(flow=0.02), said(gain=0.2), said(mask=0.9)):
        motion = WarpField.of(detail)
        assert motion.cover[SIZE, SIZE] == 1 and not motion.cover[: SIZE // 2].any()
    assert not WarpField.of(said(flow=0.0005, gain=0.01, mask=0.25)).cover.any()


def test_eyes_open_less_than_t_says_and_only_brows_that_it_raises_far_rise_less():
    side = FIELD_SCALE * SIZE
    apart, (x, y) = (
        (EYES[1][0] - EYES[0][0]) / WIDE_CROP_SCALE * side,
        ((np.array(EYES[0]) - 0.5) / WIDE_CROP_SCALE + 0.5) * side,
    )
    lid, brow, under = (round(y + part * apart) for part in (-0.1, -0.45, 0.1))

    def calmed(amount):
        flow = torch.zeros(1, 2, side, side)
        flow[:, 1] = amount
        moved = WarpField.of(WarpPrediction(flow, flow[:, :1].expand(-1, 3, -1, -1), flow[:, :1] * 0, *inside(SIZE))).flow
        assert moved[round(y + 1.2 * apart), round(x), 1] == pytest.approx(amount, abs=1e-3)
        return moved[:, round(x), 1]

    for amount, shares in ((0.01, {lid: OPENED, brow: 1, under: 1}), (-0.03, {lid: 1, brow: 1, under: OPENED})):
        for row, share in shares.items():
            assert calmed(amount)[row] == pytest.approx(amount * share, abs=3e-4)
    heights = [calmed(amount)[brow] for amount in (0.02, 0.04, 0.06, 0.12)]
    assert heights[0] > 0.019 and heights == sorted(heights) and 0.036 < heights[2] < heights[3] < HIGHEST


def test_at_the_edge_of_the_frame_everything_has_faded():
    side = FIELD_SCALE * SIZE
    flow = torch.full((1, 2, side, side), 0.05)
    motion = WarpField.of(WarpPrediction(flow, flow[:, :1].expand(-1, 3, -1, -1), flow[:, :1], *inside(SIZE)))
    assert motion.cover[SIZE, SIZE] == 1 and not motion.cover[[0, -1]].any() and not motion.cover[:, [0, -1]].any()
    assert not motion.flow[0].any() and not motion.gain[:, -1].any() and motion.mouth is None


@pytest.fixture
def network():
    torch.manual_seed(0)
    return WarpNetwork(32, 30, width=0.5)


def test_an_untrained_t_leaves_the_photo_nearly_alone(network):
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    decoded = torch.rand(2, 3, 32, 32) * 2 - 1
    made = network(x, decoded, decoded.flip(0), torch.rand(2, 30))
    assert made.flow.shape == (2, 2, 64, 64) and made.gain.shape == x.shape
    assert made.behind.shape == made.light.shape == decoded.shape and made.places.shape == (2, 4, 32, 32)
    assert made.mask.shape == (2, 1, 64, 64) and made.mask.max() < 0.05 and made.flow.abs().max() < 0.01
    assert (made.apply(x) - x).abs().mean() < 0.06


def test_every_input_of_t_reaches_the_edit(network):
    inputs = [torch.rand(1, 3, 64, 64), torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32), torch.rand(1, 30)]
    for one in inputs:
        one.requires_grad_(True)
    sum(part.square().sum() for part in network(*inputs)).backward()
    assert all(one.grad.abs().sum() > 0 for one in inputs)


def test_the_edit_is_the_moved_and_lit_photo_beneath_what_is_invented():
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    nothing, mouth = torch.zeros(1, 3, 8, 8), inside(4, behind=0.65)
    to_right = torch.tensor([1 / 8, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    moved = WarpPrediction(to_right, nothing, nothing[:, :1], *mouth).apply(x)
    torch.testing.assert_close(moved[..., :-1], x[..., 1:], atol=1e-5, rtol=0)  # pixels come from one to the right
    dark = WarpPrediction(nothing[:, :2], nothing - 0.5, nothing[:, :1], *mouth).apply(x)
    torch.testing.assert_close((dark + 1) / 2, (x + 1) / 2 * np.exp(-0.5), atol=1e-5, rtol=0)
    new = WarpPrediction(nothing[:, :2], nothing, nothing[:, :1] + 1, *mouth).apply(x)
    torch.testing.assert_close(new, nothing + 0.3)


def test_beyond_the_usual_emphasis_the_nose_stays(network):
    with torch.no_grad():
        network.move.weight.zero_()
        network.move.bias[:] = torch.tensor([1.0, -1.0, 0.0, 0.0, 0.0])  # everything to one side and down
        inputs = torch.zeros(1, 3, 64, 64), *torch.zeros(2, 1, 3, 32, 32), torch.zeros(1, 30)
        told, usual, far = (network(*inputs, emphasis).flow[0] / network(*inputs).flow[0] for emphasis in (1.0, 1.25, 1.5))
    nose, cheek = (slice(None), 30, 32), (slice(None), 30, 6)
    for seen, there, factor in ((told, nose, 1), (usual, nose, 1.25), (far, nose, 1.25), (far, cheek, 1.5)):
        torch.testing.assert_close(seen[there], torch.full((2,), float(factor)), atol=1e-4, rtol=0)


def test_below_the_lowest_jaw_no_mouth_is_drawn(network):
    with torch.no_grad():
        network.mouth.head.bias[: FIELD_SCALE**2] = 8  # a mouth wherever it looks
    mask = network(torch.zeros(1, 3, 64, 64), *torch.zeros(2, 1, 3, 32, 32), torch.zeros(1, 30)).mask[0, 0]
    assert mask[36, 32] > 0.99 and mask[36, 32 + math.ceil(64 * (CM_IN_WIDE_CROP * WIDEST + FADE)) :].max() == 0
    assert mask[math.ceil(64 * (DEEPEST + FADE)) :].max() == 0
    assert mask[math.ceil(64 * (USUAL + CM_IN_WIDE_CROP * (TALLEST + SHALLOW))) + 1 :].max() == 0


def test_the_number_of_threads_changes_no_pixel():
    noise = np.random.default_rng(2).integers(0, 256, (400, 400, 3), np.uint8)
    photo = Image.fromarray(noise).resize((2000, 2000), Image.Resampling.BICUBIC)
    matrix = np.array([[24.0, 3.0, 150.0], [-3.0, 24.0, 300.0]])
    motion, made, before = still(flow=(0.7, -1.3), gain=0.1), [], torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            made.append(apply_warp(photo, motion, matrix, SIZE).tobytes())
    finally:
        torch.set_num_threads(before)
    assert made[0] == made[1] == made[2] != photo.tobytes()


def test_no_lip_glows_beside_teeth_but_drawn_ones_and_brows_may_be_lit():
    detail = said()
    drawn = torch.zeros_like(detail.mask)
    drawn[..., 84:92, 50:78] = 1
    lit = detail._replace(mask=drawn, gain=torch.full_like(detail.gain, 0.4))
    for place, wanted in {(88, 64): 0.4, (42, 64): 0.4, (78, 64): LIT, (88, 40): LIT}.items():
        np.testing.assert_allclose(WarpField.of(lit).gain[place], wanted, atol=1e-4)
        np.testing.assert_allclose(WarpField.of(lit._replace(gain=-lit.gain)).gain[place], -0.4, atol=1e-4)
