"""The trainer: who moves, that it learns, that it goes on where it stopped, and that its weights can be published."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from exprgan import ExprGAN
from train.__main__ import main
from train.config import STAGES, TrainConfig
from train.facenet import load_face
from train.loop import PLAYERS, Trainer, fit
from train.losses import total, weights_of
from train.run import RunError


@pytest.fixture(autouse=True)
def fresh_process():
    """accelerate keeps its settings for a process's life; every test here is a process of its own."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def face(tmp_path_factory):
    """A face network of three steps."""
    out, data = tmp_path_factory.mktemp("face"), Path(__file__).parent / "data" / "faces"
    settings = ["--steps", "3", "--width", "2", "--image-size", "32", "--batch-size", "8", "--cpu"]
    assert main(["facenet", str(data), "--out", str(out), *settings]) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    return out


@pytest.fixture
def config(face, tmp_path):
    return TrainConfig(
        out=str(tmp_path / "run"), face=str(face), steps="2,2,2", batch_size=4, width=0.0625, image_size=32, z_dim=8,
        identity_size=32, mixed_precision="no", cpu=True, log_steps=1, sample_steps=100,
    )  # fmt: skip


@pytest.fixture
def trainer(faces_dir, config):
    trainer = Trainer(str(faces_dir), config)
    trainer._start_stage()
    return trainer


def state_of(run):
    return torch.load(run / "state.pt", weights_only=True)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.mark.parametrize("player", PLAYERS)
def test_every_parameter_gets_a_gradient_from_its_player_and_from_no_other(trainer, player):
    model = trainer.model
    for name, owned in PLAYERS.items():
        for part in owned:
            getattr(model, part).requires_grad_(name == player)
    p = trainer._pass("refine")
    loss, _ = total(player, weights_of("refine"), p if player == "G" else p.detached())
    loss.backward()
    for name, parameter in model.named_parameters():
        owner = next((who for who, owned in PLAYERS.items() if name.split(".")[0] in owned), None)
        if owner == player:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None, name


@pytest.mark.parametrize("stage", STAGES)
def test_a_step_moves_just_the_players_of_its_stage(trainer, stage):
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train_step(stage, weights_of(stage))
    moved = {name.split(".")[0] for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])}
    assert (
        moved
        == {
            "controller": {"G_dec", "D_img"},
            "reconstruct": {"G_enc", "G_dec", "D_img"},
            "refine": {"G_enc", "G_dec", "D_img", "D_z"},
        }[stage]
    )


@pytest.mark.parametrize("stage", ["controller", "reconstruct", "refine"])
def test_a_few_steps_on_one_batch_lower_what_the_stage_is_about(trainer, stage):
    term = {"controller": "code", "reconstruct": "pixel", "refine": "pixel"}[stage]
    weights = weights_of(stage)
    trainer._set_lr(2e-3)
    values = [trainer.train_step(stage, weights)[term].item() for _ in range(25)]  # the step number stays: one batch
    assert min(values[-5:]) < 0.8 * values[0]


class Killed(Exception):
    """Stands for kill -9: nothing of the run is told."""


def test_four_steps_equal_two_then_resume_then_two_bit_for_bit(faces_dir, config, tmp_path, monkeypatch):
    whole = fit(str(faces_dir), dataclasses.replace(config, out=str(tmp_path / "whole"), steps="4,4,4"))
    part = dataclasses.replace(config, out=str(tmp_path / "part"), steps="4,4,4", save_minutes=1e-9)  # every step
    step = Trainer.train_step
    for _ in STAGES:  # killed once in every stage, in the third step since the start
        calls = []

        def dying(self, *args, calls=calls):
            calls.append(args)
            if len(calls) == 3 + self.stage:
                raise Killed
            return step(self, *args)

        monkeypatch.setattr(Trainer, "train_step", dying)
        with pytest.raises(Killed):
            fit(str(faces_dir), part)
    monkeypatch.setattr(Trainer, "train_step", step)
    fit(str(faces_dir), part)
    one, other = state_of(whole), state_of(tmp_path / "part")
    assert one["history"] == other["history"] == {"controller": 4, "reconstruct": 4, "refine": 4}
    assert_same(one["model"], other["model"])
    assert_same(one["ema"], other["ema"])


def test_a_run_of_other_networks_is_not_taken_up(faces_dir, config):
    fit(str(faces_dir), dataclasses.replace(config, steps="1,1,1", stages="controller"))
    with pytest.raises(RunError, match="a run of other networks"):
        Trainer(str(faces_dir), dataclasses.replace(config, z_dim=9))


def test_a_damaged_checkpoint_says_so(faces_dir, config):
    fit(str(faces_dir), dataclasses.replace(config, steps="1,1,1", stages="controller"))
    path = Path(config.out) / "state.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunError, match="cannot be read as a training state"):
        Trainer(str(faces_dir), config)


def test_without_a_face_network_it_says_what_to_do(faces_dir, config):
    with pytest.raises(RunError, match="train facenet"):
        Trainer(str(faces_dir), dataclasses.replace(config, face=""))


def test_a_time_budget_is_split_over_the_stages_and_ends_with_weights(faces_dir, config, capsys):
    fit(str(faces_dir), dataclasses.replace(config, minutes=0.05, shares="0.5,0.25,0.25"))
    history = state_of(Path(config.out))["history"]
    assert set(history) == set(STAGES) and min(history.values()) >= 1
    assert "controller: " in capsys.readouterr().out


def test_a_stage_without_steps_or_time_is_passed_over(faces_dir, config):
    fit(str(faces_dir), dataclasses.replace(config, steps="0,1,1"))
    assert state_of(Path(config.out))["history"] == {"reconstruct": 1, "refine": 1}
    timed = dataclasses.replace(config, out=config.out + "-timed", minutes=0.01, shares="0,1,0")
    fit(str(faces_dir), timed)
    assert state_of(Path(timed.out))["history"].keys() == {"reconstruct"}


def test_the_whole_way_from_a_folder_to_published_measured_weights_and_on_from_there(faces_dir, face, tmp_path, capsys):
    run, weights = tmp_path / "run", tmp_path / "weights"
    small = "--width 0.0625 --image-size 32 --identity-size 32 --batch-size 4 --z-dim 8 --cpu --mixed-precision bf16"
    command = ["fit", str(faces_dir), "--out", str(run), "--face", str(face), "--steps", "2,2,2", *small.split()]
    assert main(command) == 0
    assert {path.name for path in (run / "samples").iterdir()} == {f"{stage}-000002.png" for stage in STAGES}
    with Image.open(run / "samples" / "refine-000002.png") as sheet:
        assert sheet.size == (8 * 32, 2 * 32)
    assert list(run.glob("tensorboard/**/events*"))

    assert main(["publish", str(run), "--out", str(weights)]) == 0
    state, model = state_of(run), ExprGAN.from_pretrained(weights)
    for part, source in (("G_enc", "ema"), ("G_dec", "ema"), ("D_img", "model"), ("classifier", "model")):
        for key, tensor in getattr(model, part).state_dict().items():
            torch.testing.assert_close(tensor, state[source][f"{part}.{key}"], rtol=1e-3, atol=1e-4)
    training = json.loads((weights / "training.json").read_text())
    assert training["steps"] == dict.fromkeys(STAGES, 2)
    assert {settings["batch_size"] for settings in training["settings"].values()} == {4}
    assert str(tmp_path) not in (weights / "training.json").read_text()

    assert main(["evaluate", str(weights), "--data", str(faces_dir), "--sheets", str(tmp_path / "sheets")]) == 0
    results = json.loads((weights / "results.json").read_text())
    assert 0 <= results["metrics"]["expression_accuracy"]["decoder"] <= 1
    assert results["metrics"]["identity_cosine"]["detail"] <= 1
    sheets = {f"{what}-{kind}.jpg" for what in ("expressions", "intensities") for kind in ("decoder", "detail")}
    assert {path.name for path in (tmp_path / "sheets").iterdir()} == sheets

    again = ["fit", str(faces_dir), "--out", str(tmp_path / "more"), "--init", str(weights), "--stages", "refine"]
    assert main([*again, "--steps", "0,0,1", "--batch-size", "4", "--identity-size", "32", "--cpu"]) == 0
    assert load_face(weights, 6).blocks[0][0].out_channels == 2


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--stages=polish", "unknown stage 'polish'"),
        ("--steps=1,2", "steps needs three numbers"),
        ("--lr=0", "lr must be above 0"),
        ("--steps=1,2,x", "steps needs numbers, not '1,2,x'"),
        ("--steps=1,2,-3", "steps must not be negative"),
        ("--weight=pixel", "weight needs term=value"),
    ],
)
def test_a_wrong_setting_is_one_sentence(faces_dir, capsys, argument, message):
    assert main(["fit", str(faces_dir), argument]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
