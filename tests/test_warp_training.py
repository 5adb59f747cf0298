"""Training of T, the detail network: codes, pairs, augmentation, the run."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from exprgan import ExprGAN
from exprgan.models.backward_warp import FIELD_SCALE, backward_warp
from exprgan.models.mouth_network import lower_face
from exprgan.models.warp_network import WarpPrediction
from train.__main__ import main
from train.core.train_errors import DataError, RunError
from train.data.metadata import read_metadata, write_metadata
from train.data.style_codes import Label
from train.warp.flow_composition import compose_flow, invert_flow
from train.warp.pair_dataset import (
    NEUTRAL_OF_SMILES,
    NEUTRAL_SOURCE_SHARE,
    SMILE_SOURCE_SHARE,
    STRONG_TO_NEUTRAL_SHARE,
    UNCHANGED_SHARE,
    Pairs,
    PersonPictures,
    combination_weights,
    draw_pairs,
    load_people,
)  # fmt: skip
from train.warp.pair_transforms import draw_glasses, hold_at_glasses
from train.warp.warp_batch import WarpBatch
from train.warp.warp_losses import WARP_LOSSES
from train.warp.warp_trainer import EMPHASIS_RANGE, WarpTrainConfig, WarpTrainer, augment_pairs, gain_between

SIDE = 76
MOVE = (0.0, -2.0)  # alike whichever way the picture is flipped


def fields(flow):
    """The renderer's fields of a picture in which everything is visible in the neutral one and no teeth are seen."""
    return {"flow": flow, "invented": np.zeros((SIDE, SIDE), np.uint8), "places": np.zeros((SIDE, SIDE, 4), np.float16),
            "known": np.zeros((SIDE, SIDE, 2), bool), "depth": bump(), "neutral_depth": bump()}  # fmt: skip


def bump():
    """The depth of a round head, in px of the crop."""
    y, x = np.mgrid[-1 : 1 : SIDE // 2 * 1j, -1 : 1 : SIDE // 2 * 1j]
    return (0.4 * SIDE * np.exp(-2.5 * (x**2 + y**2))).astype(np.float16)


def soft_noise(seed, side=SIDE):
    noise = np.random.default_rng(seed).integers(0, 256, (side // 6, side // 6, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two people, each with a neutral picture and one that is the same moved by MOVE px."""
    rows = []
    for number, subject in enumerate(("A", "B")):
        calm = soft_noise(number)
        wide = np.pad(calm, ((3, 3), (3, 3), (0, 0)), mode="edge")
        x, y = (3 + int(v) for v in MOVE)
        glad = wide[y : y + SIDE, x : x + SIDE]
        for name, picture, expression in (("calm", calm, "neutral"), ("glad", glad, "happy")):
            path = tmp_path / subject / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(picture).save(path)
            kind, style = ("photo", "real") if expression == "neutral" else ("rendered", "teeth")
            rows.append({"file_name": f"{subject}/{name}.png", "subject": subject, "expression": expression, "kind": kind,
                         "style": style, "intensity": "0" if kind == "photo" else "1", "split": "train"})  # fmt: skip
        flow = np.tile(np.float16(MOVE), (SIDE, SIDE, 1))
        np.savez(tmp_path / subject / "glad.png.npz", **fields(flow))
    write_metadata(tmp_path, rows)
    return tmp_path


@pytest.fixture
def weights(tiny_config, tmp_path_factory) -> Path:
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("weights")
    ExprGAN(tiny_config).save_pretrained(place)
    return place


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def moved_error(pairs, i):
    """How far the source moved by the flow is from the target, and the source itself is; where nothing is new."""
    source, target = ((part[i].permute(2, 0, 1).float() / 255)[None] for part in (pairs.source, pairs.target))
    flow = torch.nn.functional.interpolate(pairs.flow[i].permute(2, 0, 1)[None], (SIDE, SIDE))
    old = 1 - pairs.mask[i]
    inner = (..., slice(6, -6), slice(6, -6))
    moved, still = ((a - target).abs() * (old > 0.9) for a in (backward_warp(source, flow), source))
    return moved[inner].mean(), still[inner].mean()


@pytest.mark.parametrize("ends_in", ["happy", "neutral"])
def test_pairs_hold_where_pixels_came_from(folder, ends_in):
    people = load_people(folder, "train", ("happy",))
    assert len(people) == 2 and people[0].labels == (Label("neutral", "real", 0.0), Label("happy", "teeth", 1.0))
    pairs = draw_pairs(people, 40, seeded())
    same = [torch.equal(pairs.source[i], pairs.target[i]) for i in range(40)]
    assert all(not pairs.flow[i].any() and not pairs.mask[i].any() for i in range(40) if same[i])
    picked = [i for i in range(40) if not same[i] and pairs.labels[i].expression == ends_in]
    assert len(picked) >= 3
    for i in picked:
        moved, still = moved_error(pairs, i)
        assert moved < 0.1 * still and pairs.mask[i].mean() < 0.1


def test_a_step_to_a_real_smile_is_a_source_alone_and_a_photo_without_flow_is_none(folder):
    rows = read_metadata(folder)
    flow = np.zeros((SIDE, SIDE, 2), np.float16)
    for name, kind in (("step", "morph"), ("smile", "photo")):
        Image.fromarray(soft_noise(9)).save(folder / "A" / f"{name}.png")
        style = "morph" if kind == "morph" else "real_smile"
        rows.append(rows[1] | {"file_name": f"A/{name}.png", "subject": "A", "kind": kind, "style": style})
    np.savez(folder / "A" / "step.png.npz", **fields(flow))
    write_metadata(folder, rows)
    people = load_people(folder, "train", ("happy",))[:1]
    assert [label.style for label in people[0].labels] == ["real", "teeth", "morph"]
    pairs, step = draw_pairs(people, 60, seeded()), people[0].images[2]
    starts, ends = (sum(torch.equal(one, step) for one in part) for part in (pairs.source, pairs.target))
    same = sum(torch.equal(a, b) and torch.equal(a, step) for a, b in zip(pairs.source, pairs.target, strict=True))
    assert starts > ends == same


def test_pairs_are_drawn_in_their_shares():
    labels = (Label("neutral", "real", 0.0), *[Label("happy", "teeth", 0.1 + 0.2 * n) for n in range(5)],
              *[Label("happy", "morph", 0.6)] * 2, *[Label("neutral", "combination", 0.0)] * 4)  # fmt: skip
    count, small = len(labels), (2, 2)
    fields = {"flow": 2, "inverse": 2, "uv": 4, "uv_known": 2}
    parts = {name: torch.zeros(count, *small, channels) for name, channels in fields.items()}
    parts |= {"images": torch.arange(count).view(-1, 1, 1, 1).expand(-1, 4, 4, 3), "mask": torch.zeros(count, 4, 4)}
    parts |= {name: torch.zeros(count, *small) for name in ("hidden", "depth")}
    person = PersonPictures(**parts, units=torch.zeros(count, 0, 2), eyeballs=torch.zeros(count, 0, 4), labels=labels)
    assert person.strong == [4, 5] and person.smiles == [6, 7] and person.combinations == [8, 9, 10, 11]
    assert person.targets == [0, 1, 2, 3, 4, 5]
    pairs = draw_pairs(combination_weights([person]), 2000, seeded())
    source, target = (part[:, 0, 0, 0] for part in (pairs.source, pairs.target))
    of_smile, combined, same = (source == 6) | (source == 7), target >= 8, source == target
    other = 1 - SMILE_SOURCE_SHARE - STRONG_TO_NEUTRAL_SHARE
    by_chance = other * (1 - NEUTRAL_SOURCE_SHARE) / count
    assert of_smile.float().mean().item() == pytest.approx(SMILE_SOURCE_SHARE + 2 * by_chance, abs=0.03)
    to_neutral = (target == 0)[of_smile & ~same].float().mean().item()
    assert to_neutral == pytest.approx(NEUTRAL_OF_SMILES, abs=0.12)
    back = ((source == 4) | (source == 5)) & (target == 0)
    assert STRONG_TO_NEUTRAL_SHARE - 0.03 < back.float().mean().item() < STRONG_TO_NEUTRAL_SHARE + 0.04
    assert UNCHANGED_SHARE - 0.03 < same.float().mean().item() < UNCHANGED_SHARE + 0.1
    assert combined.float().mean().item() == pytest.approx(0.2, abs=0.05)
    assert not ((target == 6) | (target == 7))[~same].any() and torch.equal(pairs.steady, 1 - (of_smile & ~same).float())


def test_the_way_back_is_the_way_there_and_what_is_covered_is_hidden():
    side = 48
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    flow = np.stack((0.03 * np.sin(6 * y), 0.04 * np.sin(5 * x)), axis=2).astype(np.float32)
    back, hidden = invert_flow(flow, np.zeros((side, side), np.float32))
    there = torch.from_numpy(back)[None], torch.from_numpy(hidden)[None]
    round_trip, lost = compose_flow(*there, torch.from_numpy(flow)[None])
    inner = slice(6, -6)
    assert round_trip[0, inner, inner].abs().max() < 0.004 and lost[0, inner, inner].max() < 0.01

    gone = np.zeros((side, side, 2), np.float32)
    gone[:, side // 2 :, 0] = 8 / side  # a curtain that moved 8 px to the left over what stood there
    back, hidden = invert_flow(gone, np.zeros((side, side), np.float32))
    assert hidden[:, 26:30].min() > 0.9 and hidden[:, :20].max() < 0.1 and hidden[:, 36:44].max() < 0.1
    assert np.allclose(back[inner, 36:40, 0], -8 / side, atol=0.01) and np.allclose(back[inner, :20], 0, atol=0.01)


def test_a_picture_of_no_class_is_left_out(folder):
    rows = read_metadata(folder)
    write_metadata(folder, [row | {"expression": ""} if row["file_name"] == "A/glad.png" else row for row in rows])
    (person,) = load_people(folder, "train", ("happy",))
    assert [label.expression for label in person.labels] == ["neutral", "happy"]


def test_augmentation_keeps_the_flow_true(folder):
    people = load_people(folder, "train", ("happy",))
    neutral, happy = (torch.stack([person.images[i] for person in people] * 4) for i in (0, 1))
    flow, mask = (torch.stack([getattr(person, kind)[1] for person in people] * 4) for kind in ("flow", "mask"))
    right = torch.linspace(-2, 2, SIDE // 2)[None, None, :, None].expand(8, SIDE // 2, -1, 1)  # cm, along the upper row
    uv, uv_known = torch.cat((right, right + 5, right * 0, right * 0), dim=3), torch.ones(8, SIDE // 2, SIDE // 2, 2)
    uv_known[..., 1] = 0
    depth = torch.stack([person.depth[[0, 1, 0]] for person in people] * 4).float()
    labels, units, eyeballs = (Label("happy", "teeth", 1.0),) * 8, torch.zeros(8, 0, 2), torch.zeros(8, 0, SIDE, SIDE)
    pairs = Pairs(neutral, happy, flow.float(), mask / 255, uv, uv_known, depth, labels, units, eyeballs, torch.ones(8))
    for seed in range(5):
        x, target, flow, mask, gain, uv, uv_known, *_ = augment_pairs(pairs, 64, seeded(seed))
        assert gain.shape == (8, 3, 32, 32) and gain[..., 4:-4, 4:-4].abs().mean() < 0.03  # nothing got lighter or darker
        assert (uv[:, 0].diff(dim=2)[uv_known[:, 0, :, 1:] * uv_known[:, 0, :, :-1] > 0] >= 0).all()  # mirrored or not
        assert uv_known[:, 0].mean() > 0.7 and not uv_known[:, 1].any() and not uv[:, 2:].any()
        assert x.shape == (8, 3, 64, 64) and flow.shape == (8, 2, 32, 32) and mask.shape == (8, 1, 64, 64)
        large = torch.nn.functional.interpolate(flow, scale_factor=FIELD_SCALE, mode="bilinear", align_corners=False)
        inner = (..., slice(12, -12), slice(12, -12))
        left, before = ((a - target)[inner].abs().mean() for a in (backward_warp(x, large), x))
        assert left < 0.4 * before


def test_the_change_of_light_is_found_on_what_moved():
    flow = torch.tensor([4 / 64, 0.0]).view(1, 2, 1, 1).expand(1, 2, 32, 32)
    source = torch.rand(1, 3, 64, 64, generator=seeded()) * 0.5 + 0.3  # in [0, 1]
    shade = torch.ones(64, 64)
    shade[20:40] = 0.7  # a broad fold
    target = backward_warp(source, torch.nn.functional.interpolate(flow, scale_factor=2)) * shade
    gain = gain_between(source * 2 - 1, target * 2 - 1, flow)
    assert gain.shape == (1, 3, 32, 32) and gain[..., 12:18, :].mean() == pytest.approx(np.log(0.7), abs=0.03)
    assert gain[..., :8, :].abs().max() < 1e-3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: (folder / "A" / "glad.png.npz").write_bytes(b"x"), r"A: .*render it again with --no-jitter --flow"),
        (lambda folder: (folder / "A" / "calm.png").write_bytes(b"x"), r"A: .*calm.png.*render it again"),
        (lambda folder: (folder / "metadata.csv").unlink(), r"metadata.csv does not exist"),
    ],
)
def test_a_wrong_folder_is_named(folder, change, sentence):
    change(folder)
    with pytest.raises(DataError, match=sentence):
        load_people(folder, "train", ("happy",))


def test_nobody_to_learn_from_is_said(folder):
    with pytest.raises(DataError, match=r"nobody with a neutral photo and a picture made of it.*in split 'test'"):
        load_people(folder, "test", ("happy",))


def config(tmp_path, **changes):
    record = {
        "steps": 6,
        "batch_size": 4,
        "width": 0.25,
        "mixed_precision": "no",
        "cpu": True,
        "out": str(tmp_path / "run"),
    }
    return WarpTrainConfig(**(record | changes))


@torch.no_grad()
def test_the_mouth_is_compared_where_t_moved_the_lips():
    side, half = 64, 32
    true, error = torch.tensor([0.02, -0.03]), torch.tensor([-0.03, 0.05])
    source = torch.nn.functional.avg_pool2d(torch.rand(1, 3, side + 4, side + 4, generator=seeded()), 5, stride=1) * 4 - 2

    def flow(amount, size):
        return amount.view(1, 2, 1, 1).expand(1, 2, size, size)

    target = backward_warp(source, flow(true, side))
    mask = torch.zeros(1, 1, side, side)
    mask[..., 38:46, 24:40] = 1
    uv = torch.linspace(-1, 1, half).expand(1, 4, half, half)
    flat = torch.zeros(1, 3, half, half)
    prediction = WarpPrediction(flow(true + error, side), source * 0, mask, flat, flat, uv)
    flows = flow(true, half), flow(true, half)
    shared = source, target, *flows, mask, flat, uv, torch.ones(1, 2, half, half), source[:, :0], torch.ones(1)
    mouth = WarpBatch(*shared, prediction, source).mouth
    inner = (..., slice(4, -4), slice(4, -4))
    moved = lower_face(backward_warp(source, prediction.flow))
    old = mouth.mask < 0.01
    assert (moved - mouth.target)[inner].abs().mul(old[inner]).mean() < 0.1 * (moved - lower_face(target))[
        inner
    ].abs().mean()
    rows, columns = (mouth.mask[0, 0].sum(d) for d in (1, 0))
    middle = [((part * torch.arange(half)).sum() / part.sum()).item() + 0.5 for part in (columns, rows)]
    assert middle == pytest.approx([32 - 16 + 0.03 * side, 42 - 26 - 0.05 * side], abs=0.3)  # the window begins at (16, 26)
    assert mouth.uv_known.all() and (mouth.uv - mouth.predicted_uv).mean() == pytest.approx(2 * -0.03, abs=0.02)
    assert torch.equal(mouth.predicted_mask, lower_face(mask)) and mouth.rendered.shape == (1, 3, half, half)


def train(trainer, steps):
    with trainer.loop:
        for _ in range(steps):
            trainer.train_step()


def flow_error(trainer):
    """The loss `warp` on the batch of step 0."""
    return WARP_LOSSES["warp"][0](trainer.draw_batch(0)).item()


def test_a_run_learns_the_movement_and_ends_in_the_weights(folder, weights, tmp_path, monkeypatch):
    for name, value in {
        "UNCHANGED_SHARE": 0,
        "NEUTRAL_TARGET_SHARE": 0,
        "NEUTRAL_SOURCE_SHARE": 1,
        "STRONG_TO_NEUTRAL_SHARE": 0,
    }.items():
        monkeypatch.setattr(f"train.warp.pair_dataset.{name}", value)
    trainer = WarpTrainer(str(folder), str(weights), config(tmp_path, steps=100, lr=6e-3))
    model = trainer.model.state_dict()
    before = flow_error(trainer)
    train(trainer, 100)
    assert flow_error(trainer) < 0.85 * before
    trainer.fit()
    written = ExprGAN.from_pretrained(weights)
    assert written.config.warp_width == 0.25 and written.T is not None
    for name, value in trainer.ema.state_dict().items():
        torch.testing.assert_close(written.T.state_dict()[name], value, atol=1e-3, rtol=1e-3)  # fp16
    assert all(torch.equal(value, written.state_dict()[name]) for name, value in model.items())
    record = json.loads((weights / "training.json").read_text())["detail"]
    assert record["steps"] == 100 and "out" not in record


def test_a_run_that_stopped_ends_as_one_that_did_not(folder, weights, tmp_path):
    straight = WarpTrainer(str(folder), str(weights), config(tmp_path, out=str(tmp_path / "straight")))
    train(straight, 6)
    first = WarpTrainer(str(folder), str(weights), config(tmp_path))
    train(first, 3)
    first.training.save()
    second = WarpTrainer(str(folder), str(weights), config(tmp_path))
    assert second.loop.step == 3
    train(second, 3)
    for name, value in straight.ema.state_dict().items():
        assert torch.equal(value, second.ema.state_dict()[name]), name


def test_a_missing_package_is_one_sentence_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("train.render.requirements.find_spec", lambda module: None)
    assert main(["detail", str(tmp_path), "--weights", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    assert "needs opencv-python-headless; install the extra: pip install -e '.[render]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_starts_from_the_t_in_the_weights(folder, weights, tmp_path):
    WarpTrainer(str(folder), str(weights), config(tmp_path, steps=1)).fit()
    kept = ExprGAN.from_pretrained(weights).T.state_dict()
    settings = config(tmp_path, out=str(tmp_path / "b"), again=True, width=1.0, steps=2)
    again = WarpTrainer(str(folder), str(weights), settings)
    assert again.config.width == 0.25
    assert all(torch.equal(value, kept[name]) for name, value in again.T.state_dict().items())
    again.fit()
    record = json.loads((weights / "training.json").read_text())["detail"]
    assert record["steps"] == 2 and record["before"]["steps"] == 1


def test_a_run_by_the_clock_stops_and_tells_its_steps(folder, weights, tmp_path):
    WarpTrainer(str(folder), str(weights), config(tmp_path, steps=1000, minutes=0.02)).fit()
    record = json.loads((weights / "training.json").read_text())["detail"]
    again = WarpTrainer(str(folder), str(weights), config(tmp_path, minutes=0.02))
    assert 0 < record["steps"] < 1000 and again.loop.step == record["steps"] and again.loop.fraction >= 1


@pytest.mark.slow
def test_a_mouth_that_learns_alone_leaves_flow_and_light_and_sees_every_emphasis(folder, weights, tmp_path):
    WarpTrainer(str(folder), str(weights), config(tmp_path, steps=1)).fit()
    settings = config(tmp_path, out=str(tmp_path / "mouth"), again=True, part="mouth", steps=4)
    trainer = WarpTrainer(str(folder), str(weights), settings)
    before = {name: value.clone() for name, value in trainer.T.state_dict().items()}
    train(trainer, 4)
    changed = {name.split(".")[0] for name, value in trainer.T.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"mouth"}
    drawn = [trainer._draw_emphasis(seeded(i)) for i in range(200)]
    emphases = [emphasis for emphasis in drawn if emphasis is not None]
    assert 90 < len(emphases) < 150 and min(emphases) == pytest.approx(EMPHASIS_RANGE[0], abs=0.05)
    assert max(emphases) == pytest.approx(EMPHASIS_RANGE[1], abs=0.05)
    alone = WarpTrainer(str(folder), str(weights), config(tmp_path, out=str(tmp_path / "all"), again=True))
    assert {alone._draw_emphasis(seeded(i)) for i in range(20)} == {None}


def test_a_run_of_another_width_is_not_gone_on_with(folder, weights, tmp_path):
    WarpTrainer(str(folder), str(weights), config(tmp_path)).training.save()
    with pytest.raises(RunError, match="holds a run of another network"):
        WarpTrainer(str(folder), str(weights), config(tmp_path, width=0.5))


def test_a_run_on_other_weights_is_not_gone_on_with(folder, weights, tmp_path):
    WarpTrainer(str(folder), str(weights), config(tmp_path)).training.save()
    model = ExprGAN.from_pretrained(weights)
    with torch.no_grad():
        model.G_dec.fc.bias += 1
    model.save_pretrained(tmp_path / "other")
    with pytest.raises(RunError, match="holds a run on other weights; choose another --out"):
        WarpTrainer(str(folder), str(tmp_path / "other"), config(tmp_path))


@pytest.mark.parametrize(
    "name", [field.name for field in dataclasses.fields(WarpTrainConfig) if field.name in ("steps", "lr")]
)
def test_settings_that_cannot_work_are_named(name):
    with pytest.raises(ValueError, match=f"{name} must be above 0, not 0"):
        WarpTrainConfig(**{name: 0})


def test_nothing_moves_at_the_rim_of_glasses_and_all_else_moves_as_before():
    source = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 132, 132, generator=seeded()), 5, stride=1)
    flow = torch.tensor([0.0, 0.05]).view(2, 1, 1).expand(2, 64, 64)
    target = backward_warp(source, torch.nn.functional.interpolate(flow[None], scale_factor=2))[0]
    cover = torch.zeros(1, 64, 64)
    cover[:, 20] = 0.7  # a rim from side to side
    still, calm, _ = (part[0] for part in hold_at_glasses(source, target[None], flow[None], cover[None], source[:, :0]))
    assert calm[1, 20, 6:-6].abs().max() < 0.001 and torch.equal(calm[:, 40:], flow[:, 40:])
    assert (still - source[0])[:, 40:42, 12:-12].abs().max() < 0.1 * (target - source[0])[:, 40:42].abs().max()
    assert torch.equal(still[:, 80:], target[:, 80:])
    moved = backward_warp(source, torch.nn.functional.interpolate(calm[None], scale_factor=2, mode="bilinear"))[0]
    assert (moved - still)[:, 4:-4].abs().mean() < 0.02  # the flow still tells where its pixels come from


def test_glasses_are_drawn_about_the_eyes_and_leave_the_pupils_free():
    left, right = torch.tensor([[88.0, 100.0], [168.0, 104.0]])
    shade, cover = draw_glasses(torch.stack((left, right)).repeat(20, 1, 1), 256, seeded())
    assert shade.shape == (20, 3, 1, 1) and cover.shape == (20, 1, 256, 256)
    assert shade.min() >= 0 and shade.max() <= 0.5 and cover.min() == 0 and 0.55 < cover.amax((1, 2, 3)).min() <= 1
    for x, y in ((88, 100), (168, 104)):
        assert not cover[:, :, y, x].any()
        assert (cover[:, 0, y, x - 40 : x].amax(1) > 0.3).all() and (cover[:, 0, y, x : x + 40].amax(1) > 0.3).all()
    assert (cover[:, 0, :, 128].amax(1) > 0.3).all() and not cover[:, :, :60].any() and not cover[:, :, 150:].any()
    assert len({tuple(one.flatten().tolist()) for one in shade}) == 20


@pytest.mark.parametrize("flags", [("--again",), ("--width", "0.25", "--units")])
def test_a_t_that_is_trained_keeps_the_wrinkles_in_the_weights(folder, tiny_config, tmp_path_factory, flags):
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("wrinkled")
    config = dataclasses.replace(tiny_config, warp_width=0.25, action_units=(1, 2), warp_units=(1, 2), warp_wrinkles=True)
    model = ExprGAN(config)
    model.T.wrinkles.maps.uniform_()
    model.save_pretrained(place)
    before = ExprGAN.from_pretrained(place).T.state_dict()
    arguments = ["detail", str(folder), "--weights", str(place), "--out", f"{place}-run", "--steps", "2", "--cpu"]
    arguments += ["--mixed-precision", "no"]  # as the other tests, whatever this CPU has
    assert main([*arguments, "--batch-size", "2", *flags]) == 0
    after = ExprGAN.from_pretrained(place).T.state_dict()
    assert not torch.equal(before["head.weight"], after["head.weight"])
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("wrinkles."))
