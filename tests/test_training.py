"""The trainer: which parameters move, that losses fall, that runs resume exactly, and that weights can be published."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from exprgan import ExpressionEditor, ExprGAN
from exprgan.photo.image_io import LUMA
from train.__main__ import main
from train.core.checkpoints import Checkpoints
from train.core.train_errors import DataError, RunError
from train.core.training_loop import set_learning_rate
from train.data.metadata import read_metadata, write_metadata
from train.gan.gan_losses import LOSSES, PLAYERS, is_active, stage_weights, total_loss
from train.gan.gan_trainer import Trainer, fit
from train.gan.train_config import RECIPES, STAGES, TrainConfig
from train.perceptual.face_trainer import load_face_network


@pytest.fixture(autouse=True)
def fresh_process():
    """accelerate keeps its settings as long as the process lives; every test starts without any."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def face(tmp_path_factory):
    """A face network trained for three steps."""
    out, data = tmp_path_factory.mktemp("face"), Path(__file__).parent / "data" / "faces"
    settings = ["--steps", "3", "--width", "2", "--image-size", "32", "--batch-size", "8", "--cpu"]
    assert main(["facenet", str(data), "--out", str(out), *settings]) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    return out


@pytest.fixture
def config(face, tmp_path):
    return TrainConfig(
        out=str(tmp_path / "run"), face=str(face), check_face=False, steps="2,2,2", batch_size=4, width=0.0625,
        image_size=32, z_dim=8, identity_size=32, mixed_precision="no", cpu=True, log_steps=1, sample_steps=100,
    )  # fmt: skip


@pytest.fixture
def trainer(faces_dir, config):
    trainer = Trainer(str(faces_dir), config)
    trainer._start_stage()
    return trainer


def latest_state(run):
    return Checkpoints(run).latest()


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.mark.slow
def test_compiled_networks_train_as_others_do(faces_dir, config):
    steps = {}
    for compiled in (False, True):
        AcceleratorState._reset_state(reset_partial_state=True)
        settings = dataclasses.replace(config, compile=compiled, out=f"{config.out}-{compiled}")
        state = latest_state(fit(str(faces_dir), settings))
        steps[compiled] = state["ema"] | {"before": torch.zeros(())}
    for name, value in steps[False].items():
        torch.testing.assert_close(steps[True][name], value, atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize("player", PLAYERS)
def test_every_parameter_gets_a_gradient_from_its_player_and_from_no_other(trainer, player):
    model = trainer.model
    for name, owned in PLAYERS.items():
        for part in owned:
            getattr(model, part).requires_grad_(name == player)
    batch = trainer._draw_batch("refine")
    loss, _ = total_loss(player, stage_weights("refine"), batch if player == "G" else batch.detached())
    loss.backward()
    for name, parameter in model.named_parameters():
        owner = next((other for other, owned in PLAYERS.items() if name.split(".")[0] in owned), None)
        if owner == player:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None, name


@pytest.mark.parametrize("stage", STAGES)
def test_a_step_moves_only_the_players_of_its_stage(trainer, stage):
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train_step(stage, stage_weights(stage))
    moved = {name.split(".")[0] for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])}
    expected = {
        "controller": {"G_dec", "D_img"},
        "reconstruct": {"G_enc", "G_dec", "D_img"},
        "refine": {"G_enc", "G_dec", "D_img", "D_z"},
    }
    assert moved == expected[stage]


@pytest.mark.parametrize("stage", ["controller", "reconstruct", "refine"])
def test_a_few_steps_on_one_batch_lower_the_main_loss_of_the_stage(trainer, stage):
    main_loss = {"controller": "code", "reconstruct": "pixel", "refine": "pixel"}[stage]
    weights = stage_weights(stage)
    for optimizer in trainer.optimizers.values():
        set_learning_rate(optimizer, 2e-3)
    values = [trainer.train_step(stage, weights)[main_loss].item() for _ in range(25)]  # the same step: the same batch
    assert min(values[-5:]) < 0.8 * values[0]


class Killed(Exception):
    """Simulates kill -9, which the run cannot handle."""


def test_four_steps_equal_two_then_resume_then_two_bit_for_bit(faces_dir, config, tmp_path, monkeypatch):
    whole = fit(str(faces_dir), dataclasses.replace(config, out=str(tmp_path / "whole"), steps="4,4,4"))
    part = dataclasses.replace(config, out=str(tmp_path / "part"), steps="4,4,4", save_minutes=1e-9)  # every step
    step = Trainer.train_step
    for _ in STAGES:  # killed once in every stage, in the third step since the start
        calls = []

        def dying(self, *args, calls=calls, **kwargs):
            calls.append(args)
            if len(calls) == 3 + self.stage:
                raise Killed
            return step(self, *args, **kwargs)

        monkeypatch.setattr(Trainer, "train_step", dying)
        with pytest.raises(Killed):
            fit(str(faces_dir), part)
    monkeypatch.setattr(Trainer, "train_step", step)
    fit(str(faces_dir), part)
    one, other = latest_state(whole), latest_state(tmp_path / "part")
    assert one["history"] == other["history"] == {"controller": 4, "reconstruct": 4, "refine": 4}
    assert_equal(one["model"], other["model"])
    assert_equal(one["ema"], other["ema"])


def test_a_run_of_other_networks_is_not_resumed(faces_dir, config):
    fit(str(faces_dir), dataclasses.replace(config, steps="1,1,1", stages="controller"))
    with pytest.raises(RunError, match="a run of other networks"):
        Trainer(str(faces_dir), dataclasses.replace(config, z_dim=9))


def test_a_damaged_checkpoint_says_so(faces_dir, config):
    fit(str(faces_dir), dataclasses.replace(config, steps="1,1,1", stages="controller"))
    [path] = Checkpoints(config.out).paths()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunError, match="are damaged; delete the folder to start again"):
        Trainer(str(faces_dir), config)


def test_without_a_face_network_it_says_what_to_do(faces_dir, config):
    with pytest.raises(RunError, match="train facenet"):
        Trainer(str(faces_dir), dataclasses.replace(config, face=""))


def test_a_time_budget_is_split_over_the_stages_and_ends_with_weights(faces_dir, config, capsys):
    fit(str(faces_dir), dataclasses.replace(config, minutes=0.05, shares="0.5,0.25,0.25"))
    history = latest_state(Path(config.out))["history"]
    assert set(history) == set(STAGES) and min(history.values()) >= 1
    assert "controller: " in capsys.readouterr().out


def test_a_stage_without_steps_or_time_is_passed_over(faces_dir, config):
    fit(str(faces_dir), dataclasses.replace(config, steps="0,1,1"))
    assert latest_state(Path(config.out))["history"] == {"reconstruct": 1, "refine": 1}
    timed = dataclasses.replace(config, out=config.out + "-timed", minutes=0.01, shares="0,1,0")
    fit(str(faces_dir), timed)
    assert latest_state(Path(timed.out))["history"].keys() == {"reconstruct"}


def test_a_folder_is_trained_on_published_evaluated_and_trained_further(faces_dir, face, tmp_path, capsys):
    run, weights = tmp_path / "run", tmp_path / "weights"
    small = "--width 0.0625 --image-size 32 --identity-size 32 --batch-size 4 --z-dim 8 --cpu --mixed-precision bf16"
    command = ["fit", str(faces_dir), "--out", str(run), "--face", str(face), "--steps", "2,2,2", *small.split()]
    command.append("--no-check-face")
    assert main(command) == 0
    assert {path.name for path in (run / "samples").iterdir()} == {f"{stage}-000002.png" for stage in STAGES}
    with Image.open(run / "samples" / "refine-000002.png") as sheet:
        assert sheet.size == (8 * 32, 2 * 32)
    assert list(run.glob("tensorboard/**/events*"))

    assert main(["publish", str(run), "--out", str(weights)]) == 0
    state, model = latest_state(run), ExprGAN.from_pretrained(weights)
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

    further = ["fit", str(faces_dir), "--out", str(tmp_path / "more"), "--init", str(weights), "--stages", "refine"]
    assert main([*further, "--steps", "0,0,1", "--batch-size", "4", "--identity-size", "32", "--cpu"]) == 0
    assert load_face_network(weights, 6).blocks[0][0].out_channels == 2
    assert main(["publish", str(tmp_path / "more"), "--out", str(tmp_path / "later")]) == 0
    later = json.loads((tmp_path / "later" / "training.json").read_text())
    assert later["steps"] == {"refine": 1} and later["before"]["steps"] == training["steps"]
    assert "They went on from weights of 2 steps of controller" in (tmp_path / "later" / "README.md").read_text()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--stages=polish", "unknown stage 'polish'"),
        ("--steps=1,2", "steps needs three numbers"),
        ("--lr=0", "lr must be above 0"),
        ("--steps=1,2,x", "steps needs numbers, not '1,2,x'"),
        ("--steps=1,2,-3", "steps must be finite and not negative"),
        ("--weight=pixel", "weight needs term=value"),
    ],
)
def test_a_wrong_setting_is_one_sentence(faces_dir, capsys, argument, message):
    assert main(["fit", str(faces_dir), argument]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def scalars(run):
    """Steps by tag of all scalars in TensorBoard, and the tags of images."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next(iter((run / "tensorboard").iterdir()))))
    events.Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}, events.Tags()["images"]


def test_every_loss_every_gradient_norm_and_the_sheets_are_in_tensorboard(faces_dir, config):
    run = fit(str(faces_dir), config)
    tags, images = scalars(run)
    for stage in STAGES:
        players = {"G", "D_img", "D_z"} if stage == "refine" else {"G", "D_img"}
        losses = {name for name, weight in stage_weights(stage).items() if weight}
        others = {"lr", "pictures_per_second", "held_out/pixel", "held_out/expression_accuracy"}
        assert {tag for tag in tags if tag.startswith(stage)} == {
            f"{stage}/{name}" for name in losses | {f"gradient/{player}" for player in players} | others
        }
        assert f"{stage}/faces" in images
    assert tags["controller/code"] == [1, 2] and tags["refine/code"] == [5, 6]  # steps of the whole run


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_last_good_checkpoint(faces_dir, config, monkeypatch):
    loss, steps = LOSSES["pixel"], []

    def nan_in_third_step(batch):
        steps.append(1)
        return loss.function(batch) * (float("nan") if len(steps) == 3 else 1)

    monkeypatch.setitem(LOSSES, "pixel", dataclasses.replace(loss, function=nan_in_third_step))
    config = dataclasses.replace(config, steps="0,6,0", stages="reconstruct", save_minutes=1e-9, log_steps=5)
    with pytest.raises(RunError, match=r"not finite in the 5 steps before step 3 of reconstruct.*000002-\w+\.pt"):
        fit(str(faces_dir), config)
    state = latest_state(Path(config.out))
    assert state["step"] == 2 and all(t.isfinite().all() for t in state["model"].values())


def test_a_dry_run_prints_the_resolved_run_and_writes_nothing(faces_dir, face, tmp_path, capsys):
    out = tmp_path / "run"
    small = "--width 0.0625 --image-size 32 --identity-size 32 --batch-size 4 --accumulate 2 --cpu --stages refine"
    assert (
        main(
            ["fit", str(faces_dir), "--out", str(out), "--face", str(face), *small.split(), "--no-check-face", "--dry-run"]
        )
        == 0
    )
    plan = json.loads(capsys.readouterr().out)
    assert plan["config"]["lr"] == 2e-4 and plan["data"]["batch"] == 8 and plan["data"]["held_out_people"] == 2
    [stage] = plan["stages"]
    assert stage["steps"] == 1350 and stage["losses"]["total_variation"] == 0.001 and stage["players"] == list(PLAYERS)
    assert not out.exists()


@pytest.mark.parametrize(("name", "message"), [("wandb", "not installed: pip install wandb"), ("mlflow", "choose from")])
def test_a_tracker_that_is_not_there_says_so(faces_dir, config, name, message, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RunError, match=message):
        Trainer(str(faces_dir), dataclasses.replace(config, trackers=name))


def test_it_runs_without_any_tracker(faces_dir, config):
    run = fit(str(faces_dir), dataclasses.replace(config, trackers="", steps="1,0,0"))
    assert not (run / "tensorboard").exists()


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_trains_and_is_published(recipe, faces_dir, config, tmp_path):
    options = {k: v for k, v in dataclasses.asdict(config).items() if v != getattr(TrainConfig(), k)} | {"steps": "1,1,1"}
    config = TrainConfig.from_recipe(recipe, **options)
    state = latest_state(fit(str(faces_dir), config))
    expected = {"finetune": {"reconstruct", "refine"}, "caae": {"refine"}, "aae": {"refine"}, "cgan": {"controller"}}.get(
        recipe, set(STAGES)
    )
    assert state["history"].keys() == expected
    assert main(["publish", config.out, "--out", str(tmp_path / "weights")]) == 0
    model = ExprGAN.from_pretrained(tmp_path / "weights")
    z, codes = torch.rand(1, model.config.z_dim).expand(2, -1), torch.stack((model.F_ctrl.neutral(), torch.zeros(30)))
    neutral, other = model.G_dec(z, codes)
    assert torch.equal(neutral, other) == (recipe == "aae")  # it was trained with code 0 only, and ignores codes


def test_a_run_without_recorded_settings_keeps_its_code_weights(tiny_config, tmp_path):
    torch.manual_seed(0)
    state = {"model_config": vars(tiny_config), "history": {}, "settings": {}, "model": ExprGAN(tiny_config).state_dict()}
    Checkpoints(tmp_path / "run").save(0, "refine", 1, state | {"ema": {}})
    assert main(["publish", str(tmp_path / "run"), "--out", str(tmp_path / "weights")]) == 0
    model = ExprGAN.from_pretrained(tmp_path / "weights")
    assert model.G_dec.fc.weight[:, model.config.z_dim :].any()


def test_the_baselines_are_the_papers(faces_dir, config):
    baselines = {"caae": ({"pixel", "adversarial_img", "adversarial_z", "total_variation"}, {"D_img", "D_z", "G"}),
                 "aae": ({"pixel", "adversarial_z", "total_variation"}, {"D_z", "G"}),
                 "cgan": ({"adversarial_img"}, {"D_img", "G"})}  # fmt: skip
    for recipe, (losses, players) in baselines.items():
        baseline = TrainConfig.from_recipe(recipe)
        weights = stage_weights(baseline.stage_names[-1], baseline.weights)
        assert {name for name, weight in weights.items() if weight and not name.startswith("discriminate")} == losses
        assert {player for player in PLAYERS if is_active(player, weights)} == players
    y = torch.eye(7)[[0, 6], :6]
    generator, indices = torch.Generator(), torch.arange(2)
    labels = Trainer(str(faces_dir), dataclasses.replace(config, condition="label"))._draw_codes(y, indices, generator)
    assert torch.equal(labels.view(2, 6, 5), (2 * y - 1)[:, :, None].expand(-1, -1, 5))


def test_published_weights_learn_to_read_codes_in_grey(faces_dir, config, tiny_config, tmp_path):
    torch.manual_seed(0)
    ExprGAN(tiny_config).save_pretrained(tmp_path / "weights")
    options = {"init": str(tmp_path / "weights"), "stages": "refine", "steps": "0,0,2", "grey_codes": True,
               "pooled_codes": True}  # fmt: skip
    run = fit(str(faces_dir), dataclasses.replace(config, **options))
    assert main(["publish", str(run), "--out", str(tmp_path / "published")]) == 0
    model = ExprGAN.from_pretrained(tmp_path / "published")
    assert model.config.grey_codes and not tiny_config.grey_codes
    assert model.config.pooled_codes and model.G_dec.pooled_numbers == model.config.code_dim_each
    x, y = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1, torch.eye(6)[:2]
    grey = (x * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True).expand_as(x)
    torch.testing.assert_close(model.Q(x, y), model.Q(grey, y))
    assert (model.D_img(x, y)[0] - model.D_img(grey, y)[0]).abs().min() > 1e-4


def test_a_run_on_one_fold_holds_out_its_people(faces_dir, config, tmp_path):
    folder = shutil.copytree(faces_dir, tmp_path / "faces")
    with (folder / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    people = sorted({row["subject"] for row in rows})
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "fold"])
        writer.writeheader()
        writer.writerows(row | {"fold": people.index(row["subject"]) % 3} for row in rows)
    trainer = Trainer(str(folder), dataclasses.replace(config, fold=1))
    held_out = [person for i, person in enumerate(people) if i % 3 == 1]
    assert list(trainer.held_out.subjects) == held_out and not set(held_out) & set(trainer.faces.subjects)


def test_a_run_does_not_start_on_a_folder_that_lacks_an_expression(faces_dir, config, tmp_path):
    folder = shutil.copytree(faces_dir, tmp_path / "faces")
    rows = read_metadata(folder)
    write_metadata(folder, [row for row in rows if row["expression"] != "fear"])
    with pytest.raises(DataError, match=r"has 24 pictures of 5 of the 6 expressions .* and none of fear"):
        fit(str(folder), config)
    assert not Checkpoints(config.out).paths()


def test_a_set_of_other_expressions_is_trained_published_and_edited_with(faces_dir, tmp_path, capsys):
    folder = shutil.copytree(faces_dir, tmp_path / "faces")
    names = {"angry": "calm", "happy": "very_wild", "neutral": "neutral"}
    with (folder / "metadata.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["expression"] in names]
    for row in rows:
        row["expression"] = names[row["expression"]]
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    labels = ["--expressions", "calm,very_wild"]
    assert main(["check", str(folder), *labels]) == 0 and "very_wild 4" in capsys.readouterr().out
    assert main(["check", str(folder)]) == 1 and "unknown expression 'calm'" in capsys.readouterr().err

    size = "--image-size 32 --batch-size 4 --cpu --mixed-precision no"
    small = "--steps 1,1,1 --width 0.0625 --z-dim 8 --identity-size 32 --no-check-face"
    face, run, weights = (str(tmp_path / name) for name in ("face", "run", "weights"))
    assert main(["facenet", str(folder), "--out", face, "--steps", "1", "--width", "2", *size.split(), *labels]) == 0
    assert main(["fit", str(folder), "--out", run, "--face", face, *size.split(), *small.split(), *labels]) == 0
    assert main(["publish", run, "--out", weights]) == 0
    editor = ExpressionEditor(ExprGAN.from_pretrained(weights))
    assert editor.expressions == ("calm", "very_wild", "neutral")
    crop = Image.open(folder / rows[0]["file_name"])
    assert editor.edit(editor.read_crop(crop.resize((32, 32))), "very_wild", 0.5).face.size == (32, 32)
    assert main(["evaluate", weights, "--data", str(folder)]) == 0
