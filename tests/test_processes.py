"""Trainings as processes: several that work together or must not be started, and trainings that are stopped."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file

from exprgan import ExprGAN
from train.__main__ import main
from train.core.checkpoints import Checkpoints
from train.core.saved_training import SavedTraining
from train.core.train_errors import RunError
from train.data.metadata import read_metadata, write_metadata
from train.perceptual.face_trainer import FaceTrainConfig, train_face_network

ROOT = Path(__file__).parent.parent
FACES = ROOT / "tests" / "data" / "faces"
SMALL = "--image-size 32 --batch-size 4 --mixed-precision no --cpu"
TRAININGS = {
    "facenet": f"facenet {FACES} --width 2 {SMALL}",
    "judge": f"judge {FACES} --width 4 --size 16 {SMALL}",
}
RESULTS = {"facenet": "face.safetensors", "judge": "judge.safetensors"}
SEVERAL = "import sys; from train.__main__ import main; sys.exit(sum(main(line.split()) for line in sys.argv[1:]))"


@pytest.fixture(autouse=True)
def fresh_process():
    """accelerate keeps its settings as long as the process lives; every test starts without any."""
    AcceleratorState._reset_state(reset_partial_state=True)


def write_pairs(folder):
    """A person whose pictures are noise, with fields of no movement."""
    (folder / "A").mkdir(parents=True)
    rows = []
    for name, expression, style in (("calm", "neutral", "real"), ("glad", "happy", "teeth")):
        noise = np.random.default_rng(len(name)).integers(0, 256, (76, 76, 3), np.uint8)
        Image.fromarray(noise).save(folder / "A" / f"{name}.png")
        rows.append({"file_name": f"A/{name}.png", "subject": "A", "expression": expression, "style": style,
                     "kind": "rendered", "intensity": "1", "split": "train"})  # fmt: skip
    still = {"flow": np.zeros((76, 76, 2), np.float16), "invented": np.zeros((76, 76), np.uint8),
             "places": np.zeros((76, 76, 4), np.float16), "known": np.zeros((76, 76, 2), bool),
             "depth": np.zeros((38, 38), np.float16), "neutral_depth": np.zeros((38, 38), np.float16)}  # fmt: skip
    np.savez(folder / "A" / "glad.png.npz", **still)
    write_metadata(folder, rows)


def test_two_processes_train_one_network_of_every_kind(tiny_config, tmp_path):
    weights = tmp_path / "weights"
    ExprGAN(tiny_config).save_pretrained(weights)
    write_pairs(tmp_path / "pairs")
    lines = [f"{line} --out {tmp_path / name} --steps 3" for name, line in TRAININGS.items()]
    lines.append(f"detail {tmp_path / 'pairs'} --weights {weights} --out {tmp_path / 'detail'} --steps 2 --width 0.1 "
                 "--batch-size 2 --cpu --mixed-precision no")  # fmt: skip
    script = tmp_path / "script.py"
    script.write_text(SEVERAL)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*launcher, script, *lines], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for training, name in RESULTS.items():
        assert [path.name for path in (tmp_path / training).iterdir()] == [name] and done.stdout.count(
            f"{name}: 3 steps"
        ) == 1
        assert all(tensor.isfinite().all() for tensor in load_file(tmp_path / training / name).values())
    T = ExprGAN.from_pretrained(weights).T.state_dict()
    for name, tensor in Checkpoints(tmp_path / "detail").latest()["ema"].items():
        torch.testing.assert_close(T[name], tensor, atol=1e-3, rtol=1e-3)  # fp16
    assert main([*lines[-1].split(), "--lr", "0.5"]) == 1


@pytest.mark.parametrize("training", TRAININGS)
def test_processes_that_would_each_train_a_model_of_their_own_stop(training, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)  # of earlier tests
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    line = TRAININGS[training].removesuffix("--cpu")
    assert main([*line.split(), "--out", str(tmp_path / "out"), "--steps", "1"]) == 1
    assert "2 processes were started, and each would train a model of its own" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_commands_that_do_not_share_work_are_not_started_twice(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["publish", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "2 processes were started, and all would do the same; start `publish` without" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("training", TRAININGS)
def test_a_training_that_was_stopped_ends_in_the_same_network(training, tmp_path, monkeypatch, capsys):
    whole, part = tmp_path / "whole", tmp_path / "part"
    line = f"{TRAININGS[training]} --steps 5 --save-minutes 0.000001"  # a checkpoint every step
    assert main(f"{line} --out {whole}".split()) == 0
    save = SavedTraining.save

    def save_and_stop(self):
        save(self)
        if self.loop.step == 3:
            raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(SavedTraining, "save", save_and_stop)
        main(f"{line} --out {part}".split())
    assert not (part / RESULTS[training]).exists()
    capsys.readouterr()
    assert main(f"{line} --out {part}".split()) == 0
    assert f"{training}: 4 steps; held-out people: expression_accuracy" in (text := "".join(capsys.readouterr()))
    assert f"{training}: 3 steps" not in text  # it did not begin anew
    one, other = (load_file(folder / RESULTS[training]) for folder in (whole, part))
    assert one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert not (part / "checkpoints").exists()


@pytest.mark.parametrize("training", TRAININGS)
def test_no_weights_that_are_not_finite_are_written(training, tmp_path, capsys):
    line = f"{TRAININGS[training]} --out {tmp_path / 'out'} --steps 3 --lr 1e30"
    for save_minutes in ("2", "0.000001"):  # the result alone, and a checkpoint every step
        assert main(f"{line} --save-minutes {save_minutes}".split()) == 1
        error = capsys.readouterr().err
        assert f"a loss or a weight of {training} is not finite after" in error and "a lower --lr" in error
        assert not (tmp_path / "out" / RESULTS[training]).exists()
    for path in Checkpoints(tmp_path / "out").paths():
        assert all(tensor.isfinite().all() for tensor in torch.load(path)["model"].values())


def test_a_checkpoint_does_not_change_the_precision(tmp_path):
    class Network(torch.nn.Linear):
        def forward(self, x):
            types.append(super().forward(x).dtype)
            return super().forward(x)

    types, network = [], Network(2, 2)
    config = FaceTrainConfig(out=str(tmp_path), steps=2, save_minutes=1e-9)
    training = SavedTraining(Accelerator(cpu=True, mixed_precision="bf16"), "small", config, network,
                             torch.optim.SGD(network.parameters(), lr=0.1))  # fmt: skip
    while training.loop.fraction < 1:
        training.advance(training.model(torch.ones(1, 2)).sum())
        assert training.save_if_due()
    assert types == [torch.bfloat16, torch.bfloat16]


def test_a_training_that_ended_is_not_continued_with_other_settings_or_data(tmp_path, monkeypatch):
    config = FaceTrainConfig(out=str(tmp_path / "a"), width=2, image_size=32, batch_size=4, mixed_precision="no", cpu=True,
                             steps=3, save_minutes=1e-9)  # fmt: skip
    monkeypatch.setattr("train.perceptual.face_trainer.write_weights", lambda *args: 1 / 0)  # stopped at the end
    with pytest.raises(ZeroDivisionError):
        train_face_network(str(FACES), config)
    paths = Checkpoints(config.out).paths()
    with pytest.raises(RunError, match=r"is finished, and other settings .* \(lr 0.01 instead of 0.001\)"):
        train_face_network(str(FACES), dataclasses.replace(config, lr=0.01))
    other = shutil.copytree(FACES, tmp_path / "faces")
    write_metadata(other, read_metadata(other)[:-1])
    with pytest.raises(RunError, match=r"is finished, and other settings .*\(metadata\.csv '\w{12}' instead of"):
        train_face_network(str(other), config)
    with pytest.raises(RunError, match="a run of another network or of other people"):
        train_face_network(str(FACES), dataclasses.replace(config, width=3, steps=4))
    assert len(paths) == 2 and Checkpoints(config.out).paths() == paths
