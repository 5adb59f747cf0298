"""What `publish` replaces and keeps, which weights commands leave alone, and what a card says of its origin."""

import dataclasses
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from exprgan import ExprGAN
from exprgan.expressions import EXPRESSIONS
from exprgan.models.hub_source import BUNDLED_WEIGHTS
from exprgan.models.model_card import write_card
from exprgan.models.records import read_training
from train.__main__ import main
from train.core.checkpoints import Checkpoints
from train.core.published_parts import replace_parts
from train.core.train_errors import DataError
from train.data.metadata import read_metadata, write_metadata
from train.gan.fine_tuning import check_before_fine_tuning
from train.gan.train_config import RECIPES, TrainConfig
from train.warp.warp_trainer import WarpTrainConfig, write_into


@pytest.fixture(autouse=True)
def fresh_process():
    """accelerate keeps its settings as long as the process lives; every test starts without any."""
    AcceleratorState._reset_state(reset_partial_state=True)


def save_run(folder, model, **more):
    state = {"model_config": dataclasses.asdict(model.config), "history": {"refine": 3}, "ema": {},
             "settings": {"refine": {"batch_size": 4}}, "model": model.state_dict()}  # fmt: skip
    Checkpoints(folder).save(1, "end", 0, state | more)
    return folder


@pytest.fixture
def run(tiny_model, tmp_path):
    return save_run(tmp_path / "run", tiny_model)


@pytest.fixture
def later_run(tiny_model, tmp_path):
    """A run that has other weights."""
    with torch.no_grad():
        tiny_model.G_enc.fc.bias += 1
    return save_run(tmp_path / "later", tiny_model)


def publish(run, weights, *flags):
    return main(["publish", str(run), "--out", str(weights), *flags])


def add_warp_network(weights):
    """What `detail` and `calibrate` do after `publish`."""
    model = ExprGAN(dataclasses.replace(ExprGAN.from_pretrained(weights).config, warp_width=0.25))
    write_into(weights, model.T, WarpTrainConfig(width=0.25, steps=7))
    model = ExprGAN.from_pretrained(weights)
    model.warp_emphasis.per_expression.fill_(1.3)
    model.save_pretrained(weights)


def test_publishing_the_same_run_again_keeps_what_was_added(run, tmp_path):
    weights = tmp_path / "weights"
    assert publish(run, weights) == 0
    add_warp_network(weights)
    before = ExprGAN.from_pretrained(weights).state_dict()
    assert publish(run, weights) == 0
    after = ExprGAN.from_pretrained(weights, check=True).state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((weights / "training.json").read_text())["detail"]["steps"] == 7
    assert "`detail` mode" in (weights / "README.md").read_text()


def test_publishing_the_same_run_again_keeps_layers_that_calibrate_changed_and_all_records(run, tmp_path):
    weights = tmp_path / "weights"
    assert publish(run, weights) == 0
    state = {key: tensor + 1 for key, tensor in ExprGAN.from_pretrained(weights).state_dict().items()
             if key.startswith(("G_dec.fc.", "classifier.expression."))}  # fmt: skip
    assert len(state) == 4
    for name in ("decoder", "reading", "wrinkles"):
        layer = {"decoder": "G_dec", "reading": "classifier"}.get(name, "none")
        part = {key: tensor for key, tensor in state.items() if key.startswith(layer)}
        replace_parts(weights, {}, (), part, name, {"seed": 3})
    assert publish(run, weights) == 0
    after = ExprGAN.from_pretrained(weights, check=True).state_dict()
    assert all(torch.allclose(after[key], tensor, atol=1e-2) for key, tensor in state.items())
    training = json.loads((weights / "training.json").read_text())
    assert all(training[name] == {"seed": 3} for name in ("decoder", "reading", "wrinkles"))
    assert publish(run, weights, "--replace") == 0  # nothing is replaced: they are the same networks
    assert json.loads((weights / "training.json").read_text()) == training


def test_other_weights_are_replaced_on_request_only_and_their_prose_is_set_aside(run, later_run, tmp_path, capsys):
    weights = tmp_path / "weights"
    assert publish(run, weights) == 0
    add_warp_network(weights)
    (weights / "about.md").write_text("Made of six friends.")
    (weights / "figures").mkdir()
    (weights / "figures" / "one.png").write_bytes(b"")
    files = {path: path.read_bytes() for path in weights.rglob("*") if path.is_file()}
    assert publish(later_run, weights) == 1
    error = capsys.readouterr().err
    assert "with T, about.md; name another --out" in error and f"python -m train publish {weights}" in error
    assert {path: path.read_bytes() for path in weights.rglob("*") if path.is_file()} == files
    assert publish(later_run, weights, "--replace") == 0
    card = (weights / "README.md").read_text()
    assert "six friends" not in card and "one.png" not in card and not (weights / "about.md").exists()
    assert (weights / "about.old.md").read_text() == "Made of six friends."
    assert ExprGAN.from_pretrained(weights).T is None and "detail" not in json.loads(
        (weights / "training.json").read_text()
    )


@pytest.mark.parametrize("command", ["publish", "calibrate", "detail", "evaluate"])
def test_the_weights_that_come_with_the_code_are_not_changed_unasked(command, faces_dir, tmp_path, monkeypatch, capsys):
    """In a copy, in case they would be."""
    weights = tmp_path / "weights"
    weights.mkdir()
    for file in BUNDLED_WEIGHTS.iterdir():
        (weights / file.name).symlink_to(file)
    monkeypatch.setattr("train.__main__.BUNDLED_WEIGHTS", weights)
    more = {
        "publish": [],
        "calibrate": ["--data", faces_dir],
        "detail": ["--weights", weights],
        "evaluate": ["--data", faces_dir],
    }
    first = tmp_path if command == "detail" else weights
    before = sorted((path.name, path.lstat().st_mtime_ns) for path in weights.iterdir())
    assert main(list(map(str, [command, first, *more[command]]))) == 1
    assert f"`{command}` would change {weights}, the weights that come with the code" in capsys.readouterr().err
    assert before == sorted((path.name, path.lstat().st_mtime_ns) for path in weights.iterdir())


def test_results_go_to_another_folder_on_request(run, faces_dir, tmp_path):
    weights = tmp_path / "weights"
    assert publish(run, weights) == 0
    before = {path.name: path.read_bytes() for path in weights.iterdir()}
    assert main(["evaluate", str(weights), "--data", str(faces_dir), "--out", str(tmp_path / "results")]) == 0
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["results.json"]
    assert before == {path.name: path.read_bytes() for path in weights.iterdir()}


def test_no_command_writes_into_the_checkout_by_default():
    defaults = {name: Path(main_defaults(name).out) for name in ("publish", "figures")}
    assert {name: path.parts[0] for name, path in defaults.items()} == {"publish": "runs", "figures": "runs"}


def main_defaults(command):
    from train.__main__ import _parser

    more = {"publish": ["run"], "figures": ["--weights", "w", "--data", "d"]}[command]
    return _parser().parse_args([command, *more])


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_files_have_the_rights_that_the_umask_gives(mask, run, tmp_path):
    before = os.umask(mask)
    try:
        assert publish(run, tmp_path / "weights") == 0
        add_warp_network(tmp_path / "weights")
    finally:
        os.umask(before)
    for path in (tmp_path / "weights").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask, path


# Fine-tuning.


@pytest.fixture
def base(run, faces_dir, tmp_path):
    """Published weights with T and credits."""
    assert publish(run, tmp_path / "base", "--data", str(faces_dir)) == 0
    add_warp_network(tmp_path / "base")
    return tmp_path / "base"


def one_person(faces_dir, folder):
    """One person with two expressions, nobody held out."""
    shutil.copytree(faces_dir, folder)
    rows = [row for row in read_metadata(folder) if row["split"] == "train" and row["expression"] in ("happy", "sad")]
    rows = [row | {"licence": "mine", "credit": "by me"} for row in rows if row["subject"] == rows[0]["subject"]]
    write_metadata(folder, rows)
    return folder


def test_fine_tuning_has_stages_and_a_rate_of_its_own():
    config = TrainConfig.from_recipe(init="weights")
    assert config.stage_names == ("reconstruct", "refine") and config.lr == RECIPES["finetune"]["lr"] < TrainConfig().lr
    assert TrainConfig.from_recipe(init="weights", recipe="paper").stage_names == TrainConfig().stage_names
    assert TrainConfig.from_recipe(init="weights", lr=1e-3).lr == 1e-3


def test_fine_tuning_takes_one_person_and_its_card_names_base_credits_and_parts_of_its_decoder(
    faces_dir, base, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("exprgan.models.records.BUNDLED_WEIGHTS", base)
    data, weights = one_person(faces_dir, tmp_path / "me"), tmp_path / "weights"
    line = f"fit {data} --init {base} --out {tmp_path / 'mine'} --steps 0,1,1 --batch-size 2 --identity-size 32 --cpu"
    assert main([*line.split(), "--mixed-precision", "no"]) == 0
    error = capsys.readouterr().err
    assert "none of angry, disgust, fear, surprise" in error and "shows one person only" in error
    assert "no rows with split 'test'" in error
    assert Checkpoints(tmp_path / "mine").latest()["history"] == {"reconstruct": 1, "refine": 1}
    assert publish(tmp_path / "mine", weights, "--data", str(data)) == 0
    assert "made for their decoder: T; `detail --again` and then `calibrate` fit them" in capsys.readouterr().out
    training = json.loads((weights / "training.json").read_text())
    assert training["inherited"] == ["T"] and training["detail"]["steps"] == 7
    assert training["before"]["model"] == "org/exprgan"
    card = write_card(weights, "ann/me").read_text()
    assert card.startswith("---\nbase_model: org/exprgan\nbase_model_relation: finetune\nlanguage: en\nlicense: other\n")
    assert "They went on from weights of 3 steps of refine (`org/exprgan`)" in card
    assert "- by me" in card and "Face Research Lab London Set" in card
    assert "Made for the decoder of the weights that training started from, not for this one: T." in card
    add_warp_network(weights)  # T for this decoder
    assert main(["publish", str(weights)]) == 0
    assert "inherited" not in json.loads((weights / "training.json").read_text())
    assert "Made for the decoder of the weights" not in (weights / "README.md").read_text()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("--width 0.5", "--width 0.5 does not fit the weights {}, which have width 0.03125; leave it out"),
        ("--width 0.0312 --z-dim 50", "--z-dim 50 does not fit"),
        ("--image-size 128", "which have image-size 32"),
        ("--expressions happy,sad", "--expressions happy,sad does not fit"),
        ("--no-grey-codes", "--no-grey-codes does not fit the weights {}, which have grey-codes True"),
        ("--no-pooled-codes --z-dim 8", "")
    ],
)  # fmt: skip
def test_fine_tuning_refuses_settings_that_are_not_those_of_the_weights(given, sentence, faces_dir, tiny_config, tmp_path,
                                                                        capsys):  # fmt: skip
    weights = tmp_path / "base"
    ExprGAN(dataclasses.replace(tiny_config, grey_codes=True)).save_pretrained(weights)
    line = f"fit {faces_dir} --init {weights} --out {tmp_path / 'mine'} --identity-size 32 --cpu --dry-run {given}"
    assert main(line.split()) == bool(sentence)
    printed = capsys.readouterr()
    if sentence:
        assert printed.err.startswith("error: ") and sentence.format(weights) in printed.err
    else:
        config = json.loads(printed.out)["config"]
        assert config["width"] == 1 / 32 and config["image_size"] == 32 and config["grey_codes"]


def test_a_damaged_folder_is_refused_by_fine_tuning_too(faces_dir, tmp_path):
    data = one_person(faces_dir, tmp_path / "me")
    (data / read_metadata(data)[0]["file_name"]).write_bytes(b"no picture")
    with pytest.raises(DataError):
        check_before_fine_tuning(str(data), EXPRESSIONS)


def test_fine_tuning_warns_of_what_the_fold_lacks_and_of_copies_with_two_labels(faces_dir, tmp_path, capsys):
    folder = shutil.copytree(faces_dir, tmp_path / "faces")
    rows = [row | {"fold": "0" if row["split"] == "train" else "1"} for row in read_metadata(folder)]
    test = [row for row in rows if row["fold"] == "1"]
    write_metadata(folder, [row | {"split": "train"} for row in rows if row["fold"] == "0" or row["expression"] != "fear"])
    a, b = [row["file_name"] for row in test if row["expression"] in ("happy", "sad")][:2]
    shutil.copyfile(folder / a, folder / b)
    assert check_before_fine_tuning(str(folder), EXPRESSIONS, 1)
    error = capsys.readouterr().err
    assert "warning: fold 1 has no pictures of fear" in error and "are the same picture, but differ in expression" in error
    assert "all but fold 1 has few people" in error and "split 'train'" not in error


def test_weights_without_a_record_are_a_base_too(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "base")
    run = save_run(tmp_path / "run", tiny_model, before=read_training(str(tmp_path / "base")))
    assert publish(run, tmp_path / "weights") == 0
    card = (tmp_path / "weights" / "README.md").read_text()
    assert "They went on from weights without a record." in card and "base_model" not in card
