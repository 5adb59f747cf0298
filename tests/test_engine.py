"""The trainer as processes: several that train together, and one that is killed at any moment."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from train.core.checkpoints import Checkpoints

ROOT = Path(__file__).parent.parent
SMALL = (
    "--batch-size 4 --width 0.0625 --image-size 32 --z-dim 8 --identity-size 32 --mixed-precision no --cpu "
    "--log-steps 2 --sample-steps 100 --no-check-face"
)


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    """A face network trained for one step."""
    out = tmp_path_factory.mktemp("face")
    run("facenet", out, "--steps 1 --width 2 --image-size 32 --batch-size 8 --cpu")
    return out


def command(verb, out, flags, processes=1):
    """The command line of a verb on a number of processes."""
    launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}"] if processes > 1 else []
    data = ROOT / "tests" / "data" / "faces"
    return [sys.executable, *launcher, "-m", "train", verb, str(data), "--out", str(out), *flags.split()]


def start(*args, **kwargs):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(command(*args, **kwargs), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip


def run(*args, **kwargs):
    process = start(*args, **kwargs)
    _, errors = process.communicate()
    assert process.returncode == 0, errors[-2000:]


def newest_step(run):
    """Steps of the newest checkpoint, over all stages of 8 steps each."""
    names = [path.name.split("-") for path in Checkpoints(run).paths()]
    return max((8 * int(stage) + int(step) for stage, _, step, _ in names), default=0)


def assert_equal(one, other, tolerance=0.0):
    a, b = Checkpoints(one).latest(), Checkpoints(other).latest()
    assert a["history"] == b["history"]
    for part in ("model", "ema"):
        for key, tensor in a[part].items():
            if tensor.is_floating_point():
                torch.testing.assert_close(tensor, b[part][key], rtol=0, atol=tolerance, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.slow
def test_two_processes_do_what_one_does_with_two_half_batches(face, tmp_path):
    """Batch norm sees half a batch at a time in both."""
    steps = f"--face {face} --steps 2,2,3 {SMALL}"
    run("fit", tmp_path / "one", f"{steps} --accumulate 2")
    run("fit", tmp_path / "two", steps, processes=2)
    assert_equal(tmp_path / "one", tmp_path / "two", tolerance=1e-5)
    assert Checkpoints(tmp_path / "two").latest()["statistics"].shape[0] == 2
    sheets = sorted(path.name for path in (tmp_path / "two" / "samples").iterdir())
    assert sheets == ["controller-000002.png", "reconstruct-000002.png", "refine-000003.png"]  # one process writes
    assert len(list((tmp_path / "two").glob("tensorboard/**/events*"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 20])
def test_a_run_killed_at_any_moment_ends_in_the_same_weights(kills, face, tmp_path):
    steps = f"--face {face} --steps 8,8,8 {SMALL} --save-minutes 0.000001"  # a checkpoint every step
    run("fit", tmp_path / "whole", steps)

    generator, killed, finished, part = random.Random(0), 0, 0, tmp_path / "part"
    while killed < kills:
        process = start("fit", part, steps)
        last_step = newest_step(part) + generator.randint(0, 5)  # 0: killed while starting
        while process.poll() is None and newest_step(part) < last_step:
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.3))  # anywhere in a step
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            killed += 1
        else:
            assert process.returncode == 0, process.communicate()[1][-2000:]
            finished += 1  # before it was killed: the next kills are of a new run
            assert_equal(tmp_path / "whole", part.rename(tmp_path / f"done-{finished}"))
    run("fit", tmp_path / "part", steps)
    assert_equal(tmp_path / "whole", tmp_path / "part")
    assert not list((tmp_path / "part" / "checkpoints").glob(".*"))
