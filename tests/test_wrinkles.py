"""The wrinkles of T: how deep they are, where they lie, that they follow the skin, and the training of their places."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from exprgan import ExpressionEditor, ExprGAN
from exprgan.models.unit_condition import join_condition, split_condition
from exprgan.models.wrinkle_network import WrinkleNetwork, find_skin
from exprgan.wrinkles import HEIGHT, LEFT, TOP, WIDTH, WRINKLES, wrinkle_depths
from train.__main__ import main
from train.data.metadata import write_metadata
from train.warp.wrinkle_trainer import PlacedPictures, draw_covers, draw_maps, place_losses

UNITS, SIDE = (1, 2, 9, 12), 64
R = 2 * SIDE


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = WrinkleNetwork(UNITS)
    network.maps.copy_(draw_maps())
    return network


def units(**weights):
    """(1, U, 2): a weight on both sides, or one for each."""
    rows = [weights.get(f"u{unit}", 0.0) for unit in UNITS]
    return torch.tensor([[row if isinstance(row, tuple) else (row, row) for row in rows]])


def condition(now=None, target=None):
    return join_condition(torch.full((1, 30), -1.0), len(UNITS), now, target)


def skin(side=R):
    return torch.full((1, 3, side, side), 0.2) * torch.tensor([1.5, 0.5, 0.0])[None, :, None, None]


def draw(network, x, flow, condition):
    return network(network.find(x), flow, condition)


def test_depths_are_the_same_for_numbers_and_tensors():
    weights = {1: 0.8, 2: 0.5, 4: 0.7, 6: 0.3, 7: 0.9, 9: 0.2, 10: 1.0, 12: 0.6, 15: 0.1, 17: 0.4, 20: 1.2}
    numbers = wrinkle_depths(weights.__getitem__)
    tensors = wrinkle_depths(lambda unit: torch.tensor(weights[unit], dtype=torch.float64))
    assert len(numbers) == len(WRINKLES) and [tensor.item() for tensor in tensors] == pytest.approx(numbers, abs=1e-12)
    depth = dict(zip(WRINKLES, numbers, strict=True))
    assert depth["forehead"] == pytest.approx(0.26 * 0.5) and depth["mid_forehead"] == pytest.approx(0.26 * 0.3)
    assert depth["nasolabial"] == pytest.approx(0.3 * 0.9) and not any(wrinkle_depths(lambda _: 0.0))


def test_the_condition_comes_apart_as_it_was_joined():
    now, target = torch.rand(2, 3, len(UNITS), 2).unbind()
    c = torch.rand(3, 30)
    assert all(map(torch.equal, split_condition(join_condition(c, len(UNITS), now, target), len(UNITS)), (c, now, target)))
    assert not split_condition(join_condition(c, len(UNITS)), len(UNITS))[2].any()


def test_raised_brows_fold_the_forehead_and_nothing_else(network):
    with torch.no_grad():
        gain = draw(network, skin(), torch.zeros(1, 2, R, R), condition(target=units(u1=1.0, u2=1.0)))
    places = network.locate(skin())[0]
    up = torch.nn.functional.interpolate(places[None, 1:2], (R, R), mode="bilinear")[0, 0]
    assert gain.shape == (1, 3, R, R) and gain[0, 1][(up > 7) & (up < 9.7)].min() < -0.03
    assert gain[0][:, (up < 5)].abs().max() < 1e-6
    assert torch.allclose(gain[0, 0] / 0.8, gain[0, 2] / 1.2, atol=1e-6)


def test_one_side_folds_alone(network):
    absorbed = network.absorption(condition(target=units(u12=(1.0, 0.0))))[0, 0]
    x = (torch.arange(absorbed.shape[1]) + 0.5) * WIDTH / absorbed.shape[1] + LEFT
    assert absorbed.shape[0] * WIDTH == absorbed.shape[1] * HEIGHT and TOP - HEIGHT < 0 < TOP
    assert absorbed[:, x < -1].max() > 0.2 and absorbed[:, x > 1].abs().max() < 1e-6  # the subject's right is on the left


@pytest.mark.parametrize("now, target", [(units(u9=0.8), units(u9=0.8)), (units(u9=1.0), units(u9=0.5)), (None, None)])
def test_what_the_photo_shows_is_not_drawn_again(network, now, target):
    assert not network.absorption(condition(now, target)).any()


def test_wrinkles_move_with_the_skin(network):
    flow = torch.zeros(1, 2, R, R)
    flow[:, 1] = 4 / R  # every pixel comes from 4 px below
    with torch.no_grad():
        still = draw(network, skin(), torch.zeros_like(flow), condition(target=units(u9=1.0)))
        moved = draw(network, skin(), flow, condition(target=units(u9=1.0)))
    assert torch.allclose(moved[..., :-8, :], still[..., 4:-4, :], atol=1e-5) and still.abs().max() > 0.05


def test_hair_and_hats_do_not_fold(network):
    x = skin()
    x[..., : R // 4, : R // 2] = torch.rand(1, 1, R // 4, R // 2) * 1.6 - 1  # hair
    x[..., : R // 4, R // 2 :] = torch.tensor([-0.8, -0.8, 0.6])[None, :, None, None]  # a blue hat
    places = network.locate(x)
    places[:, 2] = 9.0
    found = find_skin(x, places)[0, 0]
    assert found.shape == (R // 4, R // 4) and found[: R // 16 - 2].max() < 0.2 and found[R // 16 + 3 :].min() > 0.95
    assert found.max() <= 1 + 1e-5 and 1.2 < find_skin(x * 0.6 - 0.4, places).max() <= 1.7  # deeper on dark skin
    assert find_skin(x.mean(1, keepdim=True).expand(-1, 3, -1, -1), places).isfinite().all()


def test_an_edit_has_the_wrinkles_of_its_units(tiny_config, portrait, face):
    torch.manual_seed(0)
    config = dataclasses.replace(
        tiny_config, warp_width=0.25, warp_units=(1, 2, 6, 12), warp_wrinkles=True, warp_decoded=False
    )
    editor = ExpressionEditor(ExprGAN(config).eval())
    editor.model.T.wrinkles.maps.copy_(draw_maps())
    subject = editor.read(portrait, face=face)
    wrinkled = editor.edit(subject, units={"brows_inner": 1.0, "brows_outer": 1.0}).prediction
    editor.model.T.wrinkles.maps.zero_()
    plain = editor.edit(subject, units={"brows_inner": 1.0, "brows_outer": 1.0}).prediction
    assert torch.equal(wrinkled.flow, plain.flow)
    assert (wrinkled.gain - plain.gain).min().item() < -0.01
    assert editor.edit(subject, "happy", 0.0).image.tobytes() == portrait.tobytes()


def test_weights_of_half_precision_draw_them(network):
    network = network.half()
    gain = draw(network, skin(), torch.zeros(1, 2, R, R), condition(target=units(u9=1.0)))
    assert gain.dtype == torch.float32 and gain.min() < -0.05


@pytest.fixture
def pairs(tmp_path):
    """Pictures of two people whose places are those of the average face, shifted with the picture."""
    rows, generator = [], np.random.default_rng(0)
    for number, subject in enumerate(("A", "B")):
        for name, expression in (("calm", "neutral"), ("glad", "happy")):
            noise = generator.integers(60, 200, (8, 8, 3), np.uint8)
            path = tmp_path / "pairs" / subject / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path)
            rows.append(
                {"file_name": f"{subject}/{name}.png", "subject": subject, "expression": expression, "split": "train"}
            )
        y, x = np.mgrid[: SIDE // 4, : SIDE // 4] / (SIDE // 4)
        canonical = np.dstack([24.7 * (x - 0.5) + number, 12.4 - 26.3 * y, np.ones_like(x)]).astype(np.float16)
        depth = np.zeros((SIDE // 2, SIDE // 2), np.float16)
        np.savez(path.with_name("glad.png.npz"), canonical=canonical, depth=depth, neutral_depth=depth)
    write_metadata(tmp_path / "pairs", rows)
    return tmp_path / "pairs"


@pytest.fixture
def weights(tiny_config, tmp_path):
    torch.manual_seed(0)
    ExprGAN(dataclasses.replace(tiny_config, warp_width=0.25, warp_units=UNITS)).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


def test_training_finds_places_and_is_written_beside_the_rest(pairs, weights, tmp_path):
    before = ExprGAN.from_pretrained(weights)
    flags = ["--out", str(tmp_path / "run"), "--batch-size", "4", "--lr", "0.004", "--cpu"]
    assert main(["wrinkles", str(pairs), "--weights", str(weights), "--steps", "40", "--ema", "0.9", *flags]) == 0
    after = ExprGAN.from_pretrained(weights)
    assert after.config == dataclasses.replace(before.config, warp_wrinkles=True)
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())
    assert torch.equal(after.T.wrinkles.maps.half(), draw_maps().half())
    assert json.loads((weights / "training.json").read_text())["wrinkles"]["steps"] == 40
    x, places = PlacedPictures.load(pairs, "train").draw(8, SIDE, torch.Generator().manual_seed(5))
    with torch.no_grad():
        start, end = (
            place_losses(network.locate(x), places)["place"] for network in (WrinkleNetwork(UNITS), after.T.wrinkles)
        )
    assert end < 0.8 * start


def test_pictures_and_places_are_augmented_alike(pairs):
    pictures = PlacedPictures.load(pairs, "train")
    assert pictures.images.shape == (2, 3, SIDE, SIDE) and pictures.canonical.shape == (2, 3, SIDE // 4, SIDE // 4)
    x, places = pictures.draw(32, SIDE, torch.Generator().manual_seed(1))
    across = places[:, 0].mean(1)
    assert x.shape == (32, 3, SIDE, SIDE) and (across.diff(dim=1) > 0).float().mean() > 0.9  # mirrored or not
    covered = draw_covers(torch.zeros(200, 3, 16, 16), torch.Generator().manual_seed(0))
    assert 0.3 < (covered.amax((1, 2, 3)) > 0).float().mean() < 0.5


@pytest.mark.parametrize("flags, units, message", [
    ((), (), "hold no T that takes action units; train one: detail --units"),
    (("--again",), UNITS, "hold no wrinkles to start from; leave out --again"),
    (("--ema", "2"), UNITS, "ema must lie in 0..1, not 2.0"),
    (("--lr", "0"), UNITS, "lr must be above 0, not 0.0"),
])  # fmt: skip
def test_training_that_cannot_work_is_refused(pairs, weights, tiny_config, capsys, flags, units, message):
    ExprGAN(dataclasses.replace(tiny_config, warp_width=0.25, warp_units=units)).save_pretrained(weights)
    assert main(["wrinkles", str(pairs), "--weights", str(weights), "--out", f"{pairs}-run", "--cpu", *flags]) == 1
    assert message in capsys.readouterr().err


def test_pairs_without_places_are_named(pairs, weights, capsys):
    file = pairs / "A" / "glad.png.npz"
    fields = dict(np.load(file))
    del fields["canonical"]
    np.savez(file, **fields)
    assert main(["wrinkles", str(pairs), "--weights", str(weights), "--out", f"{pairs}-run", "--cpu"]) == 1
    error = capsys.readouterr().err
    assert "A/glad.png: it has no places on the mean face" in error and "render it again" in error
