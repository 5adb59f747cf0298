"""What `fit` refuses, logs and draws: settings of a finished run, face networks at chance, rates, codes."""

import dataclasses
import shutil
import types

import pytest
import torch
from accelerate.state import AcceleratorState

from exprgan import ExprGAN, ExprGANConfig
from exprgan.models.networks import FaceNetwork
from exprgan.photo.image_io import from_bytes
from train.core.checkpoints import Checkpoints
from train.core.files import write_weights
from train.core.train_errors import RunError
from train.core.training_loop import TrainingLoop
from train.data import FaceFolder
from train.data.metadata import read_metadata, write_metadata
from train.gan.distributed import prepare_losses, synchronise_batch_norm
from train.gan.gan_losses import PLAYERS, is_active, stage_weights
from train.gan.gan_trainer import Trainer, fit
from train.gan.held_out import held_out_metrics
from train.gan.train_config import TrainConfig
from train.perceptual.face_trainer import FACE_NAME


@pytest.fixture(autouse=True)
def fresh_process():
    """accelerate keeps its settings as long as the process lives; every test starts without any."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def config(tmp_path):
    """Of a tiny run with an untrained face network."""
    torch.manual_seed(0)
    network = FaceNetwork(6, 2, 32)
    write_weights(network.state_dict(), tmp_path / "face" / FACE_NAME, {"steps": "0", "size": str(network.size)})
    return TrainConfig(
        out=str(tmp_path / "run"), face=str(tmp_path / "face"), check_face=False, steps="2,2,2", batch_size=4, width=0.0625,
        image_size=32, z_dim=8, identity_size=32, mixed_precision="no", cpu=True, log_steps=1, sample_steps=100,
    )  # fmt: skip


def latest_state(run):
    return Checkpoints(run).latest()


def test_the_logged_rate_and_held_out_numbers_are_those_of_the_run(faces_dir, config, monkeypatch):
    logged = []
    monkeypatch.setattr("train.gan.tracking.RunTracker.log", lambda self, stage, values, step: logged.append(values))
    config = dataclasses.replace(config, stages="controller", steps="5,0,0", lr=1e-3, lr_end=0.5)
    advance = TrainingLoop.advance

    def advance_unagreed(loop):  # as with several processes, between two agreements on the time
        seconds = loop.seconds
        advance(loop)
        loop.seconds = seconds

    monkeypatch.setattr(TrainingLoop, "advance", advance_unagreed)
    run = fit(str(faces_dir), config)
    assert [values["lr"] for values in logged if "lr" in values] == pytest.approx([1e-3, 9e-4, 8e-4, 7e-4, 6e-4])
    assert all(0 < values["pictures_per_second"] < 1e5 for values in logged if "lr" in values)
    state, model = latest_state(run), ExprGAN(ExprGANConfig(**latest_state(run)["model_config"]))
    model.load_state_dict(state["model"] | state["ema"])
    faces = FaceFolder.load(faces_dir, "test", 32)
    assert logged[-1] == pytest.approx(held_out_metrics(model.eval(), faces), abs=1e-4)
    x, y = from_bytes(faces.images), faces.one_hot(torch.arange(len(faces)))
    with torch.inference_mode():
        error = (model.G_dec(model.G_enc(x), model.Q(x, y)) - x).abs().mean().item()
    assert logged[-1]["held_out/pixel"] == pytest.approx(error, abs=1e-4)
    for condition, c in (("none", torch.zeros(len(y), y.shape[1] * 5)), ("label", (2 * y - 1).repeat_interleave(5, 1))):
        with torch.inference_mode():
            error = (model.G_dec(model.G_enc(x), c) - x).abs().mean().item()
        assert held_out_metrics(model, faces, condition)["held_out/pixel"] == pytest.approx(error, abs=1e-4)


def test_the_learning_rate_rises_decays_and_follows_the_batch():
    config = TrainConfig(lr=1e-3, lr_end=0.5, warm_up=4, lr_batch=48)
    rates = [config.learning_rate(step / 10, step, pictures=192) for step in (0, 3, 9)]
    assert rates == pytest.approx([0.25 * 2e-3, 2e-3 * 0.85, 2e-3 * 0.55])
    assert TrainConfig(lr=1e-3).learning_rate(0.5, 0, pictures=192) == 1e-3
    with pytest.raises(ValueError, match="warm_up must be at least 0, not -1"):
        TrainConfig(warm_up=-1)


def test_batch_norm_over_all_processes_needs_gpus_and_keeps_the_weights():
    model = ExprGAN(ExprGANConfig(image_size=16, z_dim=3, encoder_width=2, decoder_width=16, discriminator_width=2))
    with pytest.raises(RunError, match="--sync-batch-norm needs GPUs"):
        synchronise_batch_norm(model, torch.device("cpu"), processes=2)
    before = model.state_dict()
    synchronise_batch_norm(model, torch.device("cpu"), processes=1)
    assert sum(isinstance(module, torch.nn.SyncBatchNorm) for module in model.modules()) == 5 + 7 + 3
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(value, after[name]) for name, value in before.items())


def test_parameters_without_a_gradient_in_a_stage_are_kept_from_several_processes(faces_dir, config, monkeypatch):
    trainer = Trainer(str(faces_dir), config)
    before = [buffer.clone() for buffer in trainer.model.buffers()]
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 2)
    monkeypatch.setattr("accelerate.Accelerator.prepare_model", lambda self, loss: [
        name.removeprefix("networks.") for name, p in loss.named_parameters() if not p.requires_grad])  # fmt: skip
    for stage, idle in (("controller", "G_enc."), ("reconstruct", "D_img.head."), ("refine", "nothing")):
        weights = stage_weights(stage)
        left_out = prepare_losses(trainer.accelerator, trainer.model, weights, trainer._draw_batch(stage))
        names = [name for names in left_out.values() for name in names]
        assert bool(names) == (stage != "refine") and all(name.startswith(idle) for name in names)
        assert list(left_out) == [player for player in PLAYERS if is_active(player, weights)]
    assert all(torch.equal(buffer, old) for buffer, old in zip(trainer.model.buffers(), before, strict=True))


def test_processes_agree_on_the_time_every_two_seconds_after_the_same_steps(monkeypatch):
    class Process:
        num_processes, device, is_main_process = 2, torch.device("cpu"), False

        def reduce(self, seconds, how):
            agreements.append(loop.step)
            return seconds + 0.5  # the other process is a second ahead

    agreements, clock = [], iter(range(10**6))
    ticks = types.SimpleNamespace(monotonic=lambda: next(clock) * 0.25)
    monkeypatch.setattr("train.core.training_loop.time", ticks)  # of this module alone: other threads read time's own
    with TrainingLoop(Process(), "x", steps=50) as loop:
        while loop.fraction < 1:
            loop.advance()
    assert agreements[0] == 1 and agreements[-1] == 50 and len(agreements) < 15
    assert loop.seconds == pytest.approx(50 * 0.25 + 0.5 * len(agreements))


def test_a_finished_run_asked_for_other_settings_or_data_is_refused(faces_dir, config, tmp_path, capsys):
    config = dataclasses.replace(config, stages="controller", steps="1,0,0")
    run = fit(str(faces_dir), config)
    before = (run / "config.json").read_bytes(), sorted(path.name for path in Checkpoints(run).paths())
    assert fit(str(faces_dir), dataclasses.replace(config, keep=3, log_steps=9)) == run  # no effect on the result
    assert "is finished: {'controller': 1}" in capsys.readouterr().out
    with pytest.raises(RunError, match=r"is finished, and other settings .*\(lr 0.001 instead of 0.0002, steps '4,0,0'"):
        fit(str(faces_dir), dataclasses.replace(config, lr=1e-3, steps="4,0,0"))
    assert before == ((run / "config.json").read_bytes(), sorted(path.name for path in Checkpoints(run).paths()))
    other = shutil.copytree(faces_dir, tmp_path / "other")
    write_metadata(other, read_metadata(other)[:-1])
    with pytest.raises(RunError, match=r"is finished, and other settings .*\(metadata\.csv '\w{12}' instead of '\w{12}'\)"):
        fit(str(other), config)
    with pytest.raises(RunError, match="a run whose first stages are controller, not as in --stages refine"):
        fit(str(faces_dir), dataclasses.replace(config, stages="refine,controller"))
    fit(str(other), dataclasses.replace(config, stages="controller,refine", steps="1,0,1"))  # one more stage
    error = capsys.readouterr().err
    assert "continues with other settings: metadata.csv" in error and "stages 'controller,refine' instead of" in error
    assert latest_state(run)["history"] == {"controller": 1, "refine": 1}


def test_a_face_network_at_chance_is_refused(faces_dir, config, monkeypatch):
    config = dataclasses.replace(config, check_face=True)
    with pytest.raises(
        RunError, match=r"recognises 0\.\d\d of the expressions of 14 held-out pictures, where 0\.14 is chance"
    ):
        Trainer(str(faces_dir), config)
    guess = {"expression_accuracy": 5 / 14}  # above 0.14 + 2 * 0.094
    monkeypatch.setattr("train.perceptual.face_trainer.evaluate_face_network", lambda *args: guess)
    Trainer(str(faces_dir), config)
    guess["expression_accuracy"] = 4 / 14
    with pytest.raises(RunError, match=r"0\.29 of the expressions"):
        Trainer(str(faces_dir), config)


@pytest.mark.parametrize("condition", ["code", "style"])
def test_neutral_pictures_have_the_code_of_all_minus_one(faces_dir, config, condition):
    trainer = Trainer(str(faces_dir), dataclasses.replace(config, neutral=True, condition=condition))
    names = ("angry_shout", "neutral_virtual", "happy_")
    indices = torch.tensor([next(i for i, file in enumerate(trainer.faces.file_names) if n in file) for n in names])
    codes = trainer._draw_codes(trainer.faces.one_hot(indices), indices, torch.Generator())
    assert torch.equal(codes[1], torch.full((30,), -1.0)) and (codes[[0, 2]].amax(1) > -1).all()
    assert (trainer.faces.expression == 6).sum() == 4  # a neutral picture of each training person


def test_codes_by_style_stand_for_what_each_picture_shows(faces_dir, config):
    trainer = Trainer(str(faces_dir), dataclasses.replace(config, condition="style", neutral=True))
    faces, generator = trainer.faces, torch.Generator().manual_seed(0)
    batch = trainer._draw_batch("refine")
    assert batch.c.shape == (len(batch.y), 30) and (batch.c[batch.y.sum(1) == 0] == -1).all()
    indices = torch.tensor([faces.file_names.index(name) for name in faces.file_names if "angry_shout" in name])
    for index, c in zip(indices, trainer._draw_codes(faces.one_hot(indices), indices, generator), strict=True):
        intensity = faces.intensity[index].item()
        assert c[:5].argmax() in (3, 4) and (c[5:] == -1).all()  # the shout's elements
        assert c[:5].max() == pytest.approx(2 * min(intensity / (0.7 if c[:5].argmax() == 3 else 1), 1) - 1, abs=1e-5)
