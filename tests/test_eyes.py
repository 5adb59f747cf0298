"""Eyes as a layer: the eye network, what it is trained on, and how eyeballs get into a photo."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image
from test_iris import eye
from test_warp_training import SIDE, config, fields, folder, seeded, train, weights  # noqa: F401, fixtures

from exprgan import ExpressionEditor, ExprGAN
from exprgan.editing.color_curve import ColorCurve
from exprgan.editing.eye_overlay import EyeOverlay
from exprgan.editing.warp_field import WarpField, apply_warp
from exprgan.models.backward_warp import warp_and_relight
from exprgan.models.eye_network import (
    EYE_FIELDS,
    at_eyes,
    composite_eyes,
    place_at_eyes,
)
from exprgan.models.iris import IRIS_RADIUS, PUPIL, UNDER_LID, UNDER_LID_SCALE, iris_coordinates
from exprgan.models.unit_condition import swap_sides
from exprgan.models.warp_network import WIDE_CROP_SCALE, WarpNetwork, WarpPrediction
from exprgan.photo.alignment import EYES, crop_from_photo, invert
from train.core.train_errors import DataError
from train.warp.eyeball_fields import continue_flow, hold_eyeballs, keep_band, restore_band
from train.warp.flow_composition import compose_flow, invert_flow
from train.warp.pair_dataset import draw_pairs, load_people
from train.warp.unit_inputs import load_widened
from train.warp.warp_batch import LASH_PX, WarpBatch
from train.warp.warp_losses import WARP_LOSSES, total_warp_loss
from train.warp.warp_trainer import WarpTrainer, augment_pairs

UNITS = (5, 43)
R = 64  # side of the wide crop in most tests; the eyes are 16 x 32 px of it
PUPILS = [[((at - 0.5) / WIDE_CROP_SCALE + 0.5) * R for at in eye] for eye in EYES]


def apertures(side, height, shift=0.0):
    """The opacity of eyeballs between lids `height` apart, in sides: (side, side) float32."""
    y, x = np.mgrid[:side, :side] / side + 0.5 / side
    inside = [np.hypot((x - px / R) / 0.05, (y - py / R - shift) / (height / 2)) < 1 for px, py in PUPILS]
    return np.maximum(*inside).astype(np.float32)


def eyes_of(side):
    """Closed eyes with irises at their usual place, for a wide crop of `side` px."""
    windows = iris_coordinates(torch.tensor([[*PUPIL, IRIS_RADIUS]] * 2), side // 4)
    mirrored = windows[1:].flip(3) * torch.tensor([-1.0, 1, 1])[:, None, None]
    irises = torch.cat((windows[:1], mirrored), dim=3)
    return torch.cat((torch.zeros(1, EYE_FIELDS - 3, side // 4, side // 2), irises), dim=1)


def test_both_eyes_lie_in_the_middle_of_their_windows():
    field = torch.zeros(1, 1, R, R)
    for x, y in PUPILS:
        field[0, 0, int(y), int(x)] = 1
    part = at_eyes(field)
    assert part.shape == (1, 1, R // 4, R // 2)
    assert [abs(column - 7.5) <= 1 for column in part.amax(2)[0, 0].nonzero().flatten() % 16] == [True, True]
    assert abs(int(part.amax(3)[0, 0].nonzero()[0]) - 7.5) <= 1
    assert torch.equal(place_at_eyes(part), field)


def test_pixels_are_warped_at_the_eyes_as_in_the_whole_crop():
    x, flow, gain = (torch.rand(2, n, R, R, generator=seeded(n)) - 0.5 for n in (3, 2, 3))
    flow = torch.nn.functional.avg_pool2d(flow, 9, 1, 4)
    assert torch.equal(warp_and_relight(x, flow, gain, at_eyes), at_eyes(warp_and_relight(x, flow, gain)))


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = WarpNetwork(32, 30, 0.25, UNITS, has_eyes=True)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "film" in name or "head" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return network


@torch.no_grad()
def test_a_mirrored_face_gets_mirrored_eyes(network):
    x, c, now, target = (
        torch.rand(1, *shape, generator=seeded(i)) for i, shape in enumerate(((3, R, R), (30,), (2, 2), (2, 2)))
    )
    flow, gain = torch.rand(1, 2, R, R, generator=seeded(9)) * 0.02, torch.zeros(1, 3, R, R)
    condition = network.condition(c, now, target)
    prediction = WarpPrediction.identity(32)._replace(flow=flow, gain=gain)
    eyes = network.add_eyes(x, prediction, condition).eyes
    mirrored = prediction._replace(flow=(flow * torch.tensor([-1.0, 1.0])[:, None, None]).flip(3))
    other = network.add_eyes(x.flip(3), mirrored, swap_sides(condition, 2)).eyes
    signs = torch.tensor([*[1.0] * 10, -1, 1, 1])[:, None, None]  # to the left of an iris becomes to its right
    torch.testing.assert_close(other.flip(3) * signs, eyes, atol=1e-3, rtol=0)
    shares = eyes[:, [0, 1, 2, 3, 7, 8, 9]]
    assert eyes.shape == (1, EYE_FIELDS, 16, 32) and shares.min() >= 0 and shares.max() <= 1
    changed = network.add_eyes(x, prediction, network.condition(c, now, target + 1)).eyes
    assert (changed - eyes).abs().max() > 1e-3


@torch.no_grad()
def test_eyes_in_which_no_iris_is_seen_stay_closed(network):
    opened, shut = eye(*PUPIL, IRIS_RADIUS), torch.full((1, 3, 64, 64), 0.4)
    x = place_at_eyes(torch.cat((opened, shut), dim=3))
    none = torch.zeros(1, 2, 128, 128)
    eyes = network.eyes(at_eyes(x), at_eyes(x), none, network.condition(torch.rand(1, 30)), torch.full((1, 3), 0.9))
    left, right = eyes[:, 0].chunk(2, dim=2)
    assert left.max() > 0.05 and not right.any()


@torch.no_grad()
def test_lids_are_corrected_at_the_eyes_alone_and_alike_on_both_sides(network):
    x, flow = torch.rand(2, 3, R, R, generator=seeded()), torch.rand(2, 2, 32, 32, generator=seeded(1)) * 0.02
    condition = network.condition(*(torch.rand(2, *n, generator=seeded(2)) for n in ((30,), (2, 2), (2, 2))))
    mirror = torch.tensor([-1.0, 1.0])[:, None, None]
    lids = network.eyes.lids(x, flow, condition)
    mirrored = network.eyes.lids(x.flip(3), (flow * mirror).flip(3), swap_sides(condition, 2))
    torch.testing.assert_close((mirrored * mirror).flip(3), lids, atol=1e-6, rtol=0)
    assert lids.shape == flow.shape and at_eyes(lids).abs().max() > 1e-3
    assert torch.equal(place_at_eyes(at_eyes(lids)), lids) and at_eyes(lids)[..., 0, :].abs().max() < 0.02
    whole, eyes = network.predict_flow(x, None, condition, 1.5).flow, network.eyes
    network.eyes = None
    skin = network.predict_flow(x, None, condition, 1.5).flow
    torch.testing.assert_close(whole, skin + eyes.lids(x, skin, condition))  # the correction itself is not emphasised


def test_eyes_that_are_new_leave_a_t_as_it_was_and_are_closed(network):
    before = WarpNetwork(32, 30, 0.25)
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    after = WarpNetwork(32, 30, 0.25, UNITS, has_eyes=True)
    load_widened(after, before.state_dict())
    x, c = torch.rand(2, 3, R, R) * 2 - 1, torch.rand(2, 30)
    old, new = before(x, None, c), after(x, None, after.condition(c, torch.rand(2, 2, 2)))
    for a, b in zip(old[:6], new[:6], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    assert not old.has_eyes and new.has_eyes and new.eyes[:, 0].max() < 0.1
    assert (new.apply(x) - old.apply(x)).abs().max() < 0.12


def test_an_edit_keeps_the_photos_own_eyeball_and_draws_what_it_does_not_show():
    x = torch.rand(1, 3, R, R, generator=seeded()) * 2 - 1
    at_eyes(x)[..., 16:] = torch.linspace(-1, 1, 16)[:, None]  # the other eye is alike in all columns
    to_right = torch.tensor([1 / R, 0.0]).view(1, 2, 1, 1).expand(1, 2, R, R)
    eyes = eyes_of(R)
    eyes[:, 0, 4:12] = 1  # open
    eyes[:, 1, :, :16] = 1  # the left one is shown
    eyes[:, 2, :, 24:] = 1  # half of the other one is a lid
    eyes[:, 4:7] = math.log(0.5)  # which is darker than the skin below the eye
    eyes[:, 7:10] = 0.9
    eyes[:, 3, 4:6] = 0.5  # shaded by the upper lid
    prediction = WarpPrediction.identity(32)._replace(flow=to_right, eyes=eyes)
    edited = prediction.apply(x)
    beside, own, part = edited - prediction._replace(eyes=torch.empty(0)).apply(x), at_eyes(x), at_eyes(edited)
    assert not at_eyes(beside)[..., :4, :].any() and (beside != 0).sum() == (at_eyes(beside) != 0).sum()
    torch.testing.assert_close(part[..., 6:12, :16], own[..., 6:12, :16])
    torch.testing.assert_close(part[..., 6:12, 17:19], torch.full((1, 3, 6, 2), 0.8))  # beside the iris
    rows = torch.arange(6, 12) + 0.5  # of 16; x is linear in them
    below = rows + (1 + UNDER_LID_SCALE) * ((PUPIL[1] + UNDER_LID * IRIS_RADIUS) * 16 - rows) - 0.5
    lid = torch.lerp(torch.tensor(-1.0), torch.tensor(1.0), (below / 15).clamp(max=1))
    torch.testing.assert_close((part[0, 0, 6:12, 27] + 1) / 2, (lid + 1) / 4)
    torch.testing.assert_close((part[..., 4:6, :16] + 1) / 2, (own[..., 4:6, :16] + 1) / 4)
    skin = at_eyes(warp_and_relight(x, to_right, x * 0))
    torch.testing.assert_close(composite_eyes(skin, own, eyes), part)


# Training.


def test_flow_of_the_skin_goes_on_over_the_eyeballs():
    side = 152
    half = apertures(side, 0.05)
    flow = np.zeros((side, side, 2), np.float32)
    flow[..., 1] = 0.03 * (1 - half)  # all skin moves, the eyeballs stay
    continued, covered = continue_flow(flow, half)
    assert np.allclose(continued[..., 1], 0.03, atol=1e-3) and not continued[..., 0].any()
    assert covered[half > 0].all() and covered.mean() < 0.03
    back, hidden = invert_flow(continued, covered)
    there = torch.from_numpy(back)[None], torch.from_numpy(hidden)[None]
    round_trip, _ = compose_flow(*there, torch.from_numpy(continued)[None])
    inner = (0, slice(30, 75), slice(30, -30))
    assert round_trip[inner].abs().max() < 0.004
    band = torch.from_numpy(keep_band(half))[None]
    assert torch.equal(restore_band(band)[0], torch.from_numpy(half))


def test_eyeballs_stay_where_glasses_hold_the_lids_back():
    before, after = (torch.from_numpy(apertures(R, height))[None, None] for height in (0.04, 0.12))
    source, flow = torch.rand(1, 3, R, R, generator=seeded()), torch.full((1, 2, R, R), 0.01)
    hold = torch.zeros(1, 1, R, R)
    hold[..., : R // 2] = 1
    warped, eyeballs = hold_eyeballs(source, source * 0, torch.cat((before, after), dim=1), flow * 0, hold)
    torch.testing.assert_close(warped, source * before, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        eyeballs, torch.cat((before, torch.where(hold > 0, before, after)), dim=1), atol=1e-4, rtol=0
    )


@pytest.fixture
def eye_folder(folder):  # noqa: F811
    """The pairs of `folder` with eyes that are open in the neutral pictures and nearly closed in the other ones."""
    for file in folder.glob("*/*.npz"):
        with np.load(file) as before:
            opened, closed = ((apertures(SIDE, height) * 255).astype(np.uint8) for height in (0.08, 0.03))
            np.savez(file, **before, eyeballs=closed, neutral_eyeballs=opened)
    return folder


def test_pairs_carry_the_eyeballs_of_source_and_target_through_the_augmentation(eye_folder, monkeypatch):
    monkeypatch.setattr("train.warp.pair_dataset.UNCHANGED_SHARE", 0)
    people = load_people(eye_folder, "train", ("happy",), eyes=True)
    pairs = draw_pairs(people, 24, seeded())
    opened, closed = ((apertures(SIDE, height)).sum() for height in (0.08, 0.03))
    area = pairs.eyeballs.sum((2, 3))
    for row, label in zip(area.tolist(), pairs.labels, strict=True):
        assert row[1] == pytest.approx(opened if label.expression == "neutral" else closed)
        assert row[0] == pytest.approx(opened) or row[0] == pytest.approx(closed)
    *_, eyeballs, _ = augment_pairs(pairs, R, seeded())
    assert eyeballs.shape == (24, 2, R, R)
    inside = at_eyes(eyeballs).sum((2, 3)) / eyeballs.sum((2, 3)).clamp(min=1)
    assert inside.min() > 0.9  # turned and moved, they stay in their windows
    moving = draw_pairs(people, 24, seeded(), eyes_alone=True).eyeballs.sum((2, 3))
    changed, usual = ((rows[:, 0] != rows[:, 1]).float().mean() for rows in (moving, area))
    assert changed > max(usual, 0.7)
    monkeypatch.setattr("train.warp.pair_dataset.CLOSING_SHARE", 1)
    closing = draw_pairs(people, 24, seeded(), eyes_alone=True).eyeballs.sum((2, 3))
    assert closing[:, 1].tolist() == pytest.approx([closed] * 24)
    without = draw_pairs(load_people(eye_folder, "train", ("happy",)), 2, seeded())
    assert without.eyeballs.shape == (2, 0, SIDE, SIDE)


def test_pairs_without_eyeballs_are_to_be_rendered_again(folder):  # noqa: F811
    with pytest.raises(DataError, match=r"render it again with --no-jitter --flow\n  - A: it has no eyeballs"):
        load_people(folder, "train", ("happy",), eyes=True)


def batch_of(x, target, before, after, eyes, flow=None, true=None):
    """A batch of one pair with eyeballs; flow is by T and, in `true`, by the renderer."""
    zeros, small = torch.zeros(1, 3, R, R), torch.zeros(1, 3, R // 2, R // 2)
    flow = zeros[:, :2] if flow is None else flow
    true = small[:, :2] if true is None else true
    prediction = WarpPrediction(flow, zeros, zeros[:, :1], small, small, small[:, :1].expand(-1, 4, -1, -1), eyes)
    eyeballs = torch.cat((before, after), dim=1)
    return WarpBatch(
        x, target, true, true, zeros[:, :1], small, prediction.uv, small[:, :2], eyeballs, torch.ones(1), prediction, target
    )


@pytest.mark.parametrize("closes", [False, True])
def test_the_true_eyes_have_the_smallest_losses(closes):
    """Lids that open, over an eyeball that is white, or close altogether."""
    before, after = (torch.from_numpy(apertures(R, height))[None, None] for height in (0.04 if closes else 0.06, 0.14))
    after = after * (not closes)
    skin, white = (torch.full((1, 3, R, R), level) for level in (-0.5, 0.4))
    x, target = (torch.lerp(skin, white, part) for part in (before, after))
    lashes = torch.nn.functional.max_pool2d(torch.nn.functional.pad(before, (0, 0, 0, LASH_PX)), (LASH_PX + 1, 1), stride=1)
    rim = torch.nn.functional.max_pool2d(before, 3, stride=1, padding=1)
    opacity = torch.maximum(lashes, rim) if closes else after
    true = eyes_of(R)
    true[:, :1], true[:, 1:2] = at_eyes(opacity), at_eyes(torch.minimum(before, after))
    true[:, 2], true[:, 7:10] = float(closes), 0.7
    true[:, 10] += 9  # no iris is near
    none, unmoved, other = true.clone(), true.clone(), true.clone()
    none[:, 0] = 0
    unmoved[:, :1] = unmoved[:, 1:2] = at_eyes(before)
    other[:, 2] = 1 - float(closes)  # a lid instead of the eyeball
    losses = {}
    for name, eyes in (("true", true), ("none", none), ("unmoved", unmoved), ("other", other)):
        batch = batch_of(x, target, before, after, eyes)
        losses[name] = {name: loss.function(batch).item() for name, loss in WARP_LOSSES.items() if loss.part == "eyes"}
    worse = {"none": ("eye_mask", "eye_pixel", "eye_edges"), "other": ("eye_color", "lid_share"),
             "unmoved": ("eye_pixel", "eye_shown" if closes else "eye_mask")}  # fmt: skip
    for other, names in worse.items():
        for loss in names:
            assert losses["true"][loss] < 0.2 * losses[other][loss] + 1e-3 < losses[other][loss], (other, loss)


def test_eyes_are_compared_where_t_moved_the_lids():
    before, after = (torch.from_numpy(apertures(R, 0.1, shift))[None, None] for shift in (0.0, -0.03))
    flow = torch.zeros(1, 2, R, R)
    true = torch.nn.functional.avg_pool2d(flow + torch.tensor([0.0, 0.03]).view(1, 2, 1, 1), 2)
    x, target = before.expand(-1, 3, -1, -1), after.expand(-1, 3, -1, -1)
    batch = batch_of(x, target, before, after, torch.zeros(1, EYE_FIELDS, 16, 32), flow, true)
    rows = torch.arange(16.0)[:, None]
    places = [(rows * part[0, 0]).sum() / part.sum() for part in (at_eyes(before), at_eyes(after), batch.eyes.opacity)]
    assert places[1] - places[0] == pytest.approx(-0.03 * R, abs=0.3) and places[2] - places[0] == pytest.approx(0, abs=0.5)


def test_lids_that_lag_behind_the_brow_are_penalised_more_than_an_even_error():
    rows = torch.arange(R // 2.0)[:, None].expand(1, 1, -1, R // 2)
    true = torch.cat((rows * 0, rows * 0 + 0.02), dim=1)
    closed = torch.zeros(1, 1, R, R)
    x, eyes = torch.zeros(1, 3, R, R), torch.zeros(1, EYE_FIELDS, 16, 32)
    losses = {}
    for name, part in (("even", 0.5 + 0 * rows), ("fan", ((rows - 8) / 4).clamp(0, 1)), ("none", 1 + 0 * rows)):
        flow = torch.nn.functional.interpolate(true * part, scale_factor=2, mode="nearest")
        batch = batch_of(x, x, closed, closed, eyes, flow, true)
        losses[name] = [WARP_LOSSES[loss][0](batch).item() for loss in ("lid_flow", "lid_stretch")]
    assert losses["none"] == [0, 0] and losses["even"][1] < 1e-6 < losses["fan"][1]
    assert losses["even"][0] == pytest.approx(0.01 * R / 2 / 2, rel=0.01)  # in px of R / 2, of one component of two


def test_a_run_trains_eyes_and_eyes_alone(eye_folder, weights, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("exprgan.models.iris.VISIBLE", (-9, -8))  # these pictures show no irises
    trainer = WarpTrainer(str(eye_folder), str(weights), config(tmp_path, steps=20, eyes=True, lr=3e-3))
    first = WARP_LOSSES["eye_mask"][0](trainer.draw_batch(0)).item()
    batch = trainer.draw_batch(0)
    of_eyes = {name for name, loss in WARP_LOSSES.items() if loss.part == "eyes"}
    assert total_warp_loss(batch)[1].keys() >= of_eyes
    assert batch.visible[batch.eyeballs[:, 1:, ::2, ::2] > 0.99].max() == 0
    trainer.fit()
    written = ExprGAN.from_pretrained(weights)
    assert written.config.warp_eyes and WARP_LOSSES["eye_mask"][0](trainer.draw_batch(0)).item() < 0.9 * first
    settings = config(tmp_path, out=str(tmp_path / "alone"), again=True, part="eyes", steps=2)
    alone = WarpTrainer(str(eye_folder), str(weights), settings)
    before = {name: value.clone() for name, value in alone.T.state_dict().items()}
    alone.fit()
    changed = {name.split(".")[0] for name, value in alone.T.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"eyes"} and alone.config.eyes
    skin = WarpTrainer(str(eye_folder), str(weights), config(tmp_path, out=str(tmp_path / "s"), again=True, part="skin"))
    before = {name: value.clone() for name, value in skin.T.state_dict().items()}
    train(skin, 2)
    changed = {name.split(".")[0] for name, value in skin.T.state_dict().items() if not torch.equal(value, before[name])}
    assert changed >= {"stem", "head", "down_blocks"} and not changed & {"mouth", "eyes"}
    batch = skin.draw_batch(0)
    assert not batch.prediction.mask.any() and not batch.prediction.has_eyes
    assert set(total_warp_loss(batch, "skin")[1]) == {name for name, loss in WARP_LOSSES.items() if loss.part == "skin"}
    inside = (batch.mask > 0.999).expand_as(batch.target)
    assert inside.any()  # no mouth is compared
    torch.testing.assert_close(batch.edited[inside], batch.target[inside], atol=4e-3, rtol=0)
    batch = alone.draw_batch(0)
    assert total_warp_loss(batch, "eyes")[1].keys() == of_eyes and not batch.prediction.mask.any()
    with pytest.raises(ValueError, match="part eyes needs a T with an eye network; add --eyes"):
        WarpTrainer(str(eye_folder), str(weights), config(tmp_path, out=str(tmp_path / "x"), part="eyes"))


# In a photo.

SIZE = 128  # R = 256


def eye_field(shown, flow=0.0, lid=0.0):
    """A field whose eyes are open in a box of both windows, over lids that are moved by `flow` of its sides.

    What is not shown is white or, by `lid`, twice as bright as what lies below the eye.
    """
    side = 2 * SIZE
    eyes = eyes_of(side)
    for start in (0, 64):
        eyes[:, 0, 20:44, start + 16 : start + 48] = 1
    eyes[:, 1], eyes[:, 2], eyes[:, 4:7] = shown, lid, math.log(2)
    eyes[:, 7:10] = torch.tensor([0.9, 0.8, 0.7])[:, None, None]
    prediction = WarpPrediction.identity(SIZE)._replace(eyes=eyes)
    prediction.flow[:, 1, side // 8 : side // 2, side // 4 : 3 * side // 4] = flow
    return WarpField.from_prediction(prediction)


@pytest.fixture
def photo():
    noise = np.random.default_rng(0).integers(60, 200, (60, 60, 3), np.uint8)
    photo = Image.fromarray(noise).resize((900, 900), Image.Resampling.BICUBIC)
    photo.paste((102, 64, 26), (250, 280, 650, 330))
    photo.paste((51, 120, 100), (250, 330, 650, 420))
    return photo


MATRIX = invert(crop_from_photo([(350, 300), (550, 310)], SIZE))


def pixels(picture):
    return np.asarray(picture, int)


def test_eyeballs_that_the_photo_shows_stay_to_the_bit_while_lids_move(photo):
    edited = apply_warp(photo, eye_field(shown=1.0, flow=0.02), MATRIX, SIZE)
    for x, y in ((350, 300), (550, 310)):
        eye, above = (slice(y - 6, y + 6), slice(x - 10, x + 10)), (slice(y - 60, y - 45), slice(x - 10, x + 10))
        assert np.array_equal(pixels(edited)[eye], pixels(photo)[eye])
        assert np.abs(pixels(edited) - pixels(photo))[above].mean() > 3


def test_what_the_photo_does_not_show_is_drawn_only_where_something_changes(photo):
    still = apply_warp(photo, eye_field(shown=0.0), MATRIX, SIZE)
    assert still.tobytes() == photo.tobytes()
    edited = pixels(apply_warp(photo, eye_field(shown=0.0, flow=0.02), MATRIX, SIZE))
    assert np.abs(edited[297:303, 347:353] - (102, 64, 26)).max() <= 1  # iris, of its sides
    assert np.abs(edited[296:304, 322:326] - (230, 204, 178)).max() <= 1 and not (edited - pixels(photo))[:, :100].any()
    closed = pixels(apply_warp(photo, eye_field(shown=0.0, flow=0.02, lid=1.0), MATRIX, SIZE))
    assert np.abs(closed[296:304, 322:353] - (102, 240, 200)).max() <= 1


def test_eyes_of_a_grey_photo_are_exactly_grey(photo):
    grey = photo.convert("L").convert("RGB")
    curve = ColorCurve.from_crop(grey.crop((300, 250, 600, 550)).resize((SIZE, SIZE)))
    for lid in (0.0, 1.0):
        field = eye_field(shown=0.0, flow=0.02, lid=lid)
        field.eyes.tint[..., 0] += 0.3
        edited = pixels(apply_warp(grey, field, MATRIX, SIZE, curve))
        assert (edited == edited[..., :1]).all() and np.abs(edited - pixels(grey)).max() > 20


def test_lids_of_a_t_with_eyes_open_as_far_as_it_says():
    flow = eye_field(shown=1.0, flow=0.02).flow
    x, y = (round(part * 4) for part in PUPILS[0])
    assert flow[y - 8, x, 1] == pytest.approx(0.02, abs=1e-4) == flow[y + 8, x, 1]


def test_an_edit_of_every_intensity_has_eyes_that_suit_its_flow(tiny_config, portrait, face):
    torch.manual_seed(0)
    editor = ExpressionEditor(ExprGAN(dataclasses.replace(tiny_config, warp_width=0.25, warp_eyes=True)))
    torch.nn.init.normal_(editor.model.T.head.weight, std=0.5)
    subject = editor.read(portrait, face)
    for intensity in (0.2, 0.7):
        result = editor.edit(subject, "happy", intensity)
        prediction = result.prediction
        assert prediction.has_eyes and result.image.size == portrait.size
        code = result.code if intensity > 0.4 else editor.model.F_ctrl.code("happy", 0.4)
        again = editor.model.T.add_eyes(subject.wide_crop[None], prediction, code[None]).eyes.detach()
        torch.testing.assert_close(prediction.eyes, again, atol=2e-3, rtol=0)
    assert not editor.edit(subject, "happy", 0.0).prediction.has_eyes
    assert EyeOverlay.from_prediction(prediction.eyes, np.ones((64, 64), np.float32)).iris.shape == (3, 32, 32)
