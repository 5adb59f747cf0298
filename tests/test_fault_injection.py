"""Full disks, folders that cannot be written, two processes in one folder, clocks that jump, kills: nothing is lost."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from fault_injection import fill_disk, find_half_written, locked_by_another_process, read_files, run_line
from PIL import Image

from exprgan import ExprGAN, ExprGANError
from exprgan.atomic_write import atomic_write, delete_partial_files
from exprgan.batch.manifest import BatchManifest, BatchRecord
from exprgan.cli import main as library
from exprgan.photo.ai_metadata import EditedImage, mark_edited
from exprgan.photo.image_io import save_photo
from train.__main__ import main as training
from train.core.checkpoints import Checkpoints
from train.core.files import copy_together, durable_write, exclusive, write_text
from train.core.train_errors import RunError
from train.data.metadata import write_metadata

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
FACES, RENDER = DATA / "faces", DATA / "render"
SMALL = "--batch-size 4 --cpu --mixed-precision no"
TINY = f"{SMALL} --width 0.0625 --image-size 32 --z-dim 8 --identity-size 32 --log-steps 1 --sample-steps 1"


# The command lines and what they need.


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, tiny_config):
    """Inputs of the verbs: a published model, a run, a face network, photos, pairs."""
    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    model = ExprGAN(tiny_config)
    model.save_pretrained(folder / "weights")
    state = {"model_config": vars(tiny_config), "history": {"refine": 3}, "model": model.state_dict(), "ema": {},
             "settings": {"refine": {"batch_size": 4}}}  # fmt: skip
    Checkpoints(folder / "run").save(1, "end", 0, state)
    assert training(f"facenet {FACES} --out {folder}/face --steps 1 --width 2 --image-size 32 {SMALL}".split()) == 0
    (folder / "photos").mkdir()
    for name in ("a.jpg", "b.png"):
        Image.open(DATA / "portrait.jpg").resize((200, 200)).save(folder / "photos" / name)
    rows = []
    for name, expression, style in (("calm", "neutral", "real"), ("glad", "happy", "teeth")):
        noise = np.random.default_rng(len(name)).integers(0, 256, (76, 76, 3), np.uint8)
        (folder / "pairs" / "A").mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(folder / "pairs" / "A" / f"{name}.png")
        rows.append({"file_name": f"A/{name}.png", "subject": "A", "expression": expression, "style": style,
                     "kind": "rendered", "intensity": "1", "split": "train"})  # fmt: skip
    still = {"flow": np.zeros((76, 76, 2), np.float16), "invented": np.zeros((76, 76), np.uint8),
             "places": np.zeros((76, 76, 4), np.float16), "known": np.zeros((76, 76, 2), bool),
             "depth": np.zeros((38, 38), np.float16), "neutral_depth": np.zeros((38, 38), np.float16)}  # fmt: skip
    np.savez(folder / "pairs" / "A" / "glad.png.npz", **still)
    write_metadata(folder / "pairs", rows)
    return folder


LIBRARY = {
    "edit": "edit {inputs}/photos/a.jpg happy --out {out}/a.jpg --model {inputs}/weights",
    "edit FOLDER": "edit {inputs}/photos happy --out {out} --jobs 1 --model {inputs}/weights",
    "find": "find {inputs}/photos/a.jpg --out {out}/a.png",
    "animate gif": "animate {inputs}/photos/a.jpg --seconds 0.2 --fps 10 --out {out}/a.gif --model {inputs}/weights",
    "animate webp": "animate {inputs}/photos/a.jpg --seconds 0.2 --fps 10 --out {out}/a.webp --model {inputs}/weights",
    "animate mp4": "animate {inputs}/photos/a.jpg --seconds 0.2 --fps 10 --out {out}/a.mp4 --model {inputs}/weights",
    "transfer": "transfer {inputs}/photos/a.jpg {inputs}/photos/b.png --out {out}/a.png --model {inputs}/weights",
    "generate": "generate happy --count 2 --seed 1 --out {out} --model {inputs}/weights",
    "export": "export {out} --model {inputs}/weights",
}
TRAINING = {
    "facenet": f"facenet {FACES} --out {{out}} --steps 1 --width 2 --image-size 32 {SMALL}",
    "judge": f"judge {FACES} --out {{out}} --steps 1 --width 4 --size 16 --image-size 32 {SMALL}",
    "fit": f"fit {FACES} --out {{out}} --face {{inputs}}/face --no-check-face --steps 1,1,1 {TINY}",
    "publish": "publish {inputs}/run --out {out}",
    "prepare": "prepare folder {inputs}/labelled {out} --labels {inputs}/labelled/labels.csv --test-share 0.5",
    "augment": "augment {inputs}/weights --out {out} --count 6 --cpu",
    "manifest": "manifest own {inputs}/photos --out {out}/manifest.csv",
}
INTO_WEIGHTS = {
    "calibrate": f"calibrate {{out}} --data {FACES} --people 1",
    "evaluate": f"evaluate {{out}} --data {FACES}",
    "detail": f"detail {{inputs}}/pairs --weights {{out}} --out {{out}}/run --steps 1 --width 0.1 {SMALL} --save-minutes 9",
    "publish again": "publish {out}",
}
VERBS = LIBRARY | TRAINING | INTO_WEIGHTS
QUICK = ("edit", "edit FOLDER", "find", "animate gif", "facenet", "publish", "prepare", "augment", "publish again")


def quick_or_slow(verbs):
    """Returns the verbs as parameters; those that take long, or write as another does, run with `-m slow`."""
    return [verb if verb in QUICK else pytest.param(verb, marks=pytest.mark.slow) for verb in verbs]


@pytest.fixture(autouse=True)
def few_levels(monkeypatch):
    monkeypatch.setattr("train.eval.calibration.PATH_LEVELS", np.linspace(0, 1, 3))


@pytest.fixture(scope="module", autouse=True)
def labelled(inputs):
    """Photos with labels, for `prepare`."""
    shutil.copytree(inputs / "photos", inputs / "labelled")
    (inputs / "labelled" / "labels.csv").write_text("file_name,subject,expression\na.jpg,A,happy\nb.png,B,sad\n")


def run(verb, inputs, out, capsys):
    """Runs a verb; returns its exit status and error lines."""
    return run_line(library if verb in LIBRARY else training, VERBS[verb].format(inputs=inputs, out=out), capsys)


def make_out(verb, inputs, disk):
    """Makes the folder that a verb writes, as it is before the verb runs."""
    out = disk / "out"
    if verb in INTO_WEIGHTS:
        shutil.copytree(inputs / "weights", out)
    else:
        out.mkdir()
    return out


@pytest.mark.parametrize("verb", quick_or_slow(VERBS))
def test_on_a_full_disk_a_verb_fails_with_one_error_and_old_files_remain(verb, inputs, disk, capsys):
    out = make_out(verb, inputs, disk)
    before = read_files(out)
    fill_disk(disk, 0)
    status, errors = run(verb, inputs, out, capsys)
    assert status == 1 and len(errors) == 1, (status, errors)
    assert "o space left" in errors[0] or "could not be written" in errors[0] or "annot" in errors[0], errors
    after = read_files(out)
    assert {name: after.get(name) for name in before} == before
    assert not find_half_written(after), find_half_written(after)
    (disk / "ballast").unlink()
    status, errors = run(verb, inputs, out, capsys)
    assert status == 0 and not errors, errors
    if verb in INTO_WEIGHTS:
        ExprGAN.from_pretrained(out)


@pytest.mark.parametrize(
    ("verb", "leave"),
    [
        ("prepare", 40_000),
        ("augment", 24_000),
        ("edit FOLDER", 40_000),
        pytest.param("fit", 30 << 20, marks=pytest.mark.slow),
    ],
)
def test_a_disk_that_fills_up_is_one_error_and_the_work_resumes_once_there_is_room(verb, leave, inputs, disk, capsys):
    out = make_out(verb, inputs, disk)
    fill_disk(disk, leave)
    status, errors = run(verb, inputs, out, capsys)
    assert status == 1 and len(errors) == 1, (status, errors)
    partial = read_files(out)
    assert partial and not find_half_written(partial), find_half_written(partial)
    (disk / "ballast").unlink()
    assert run(verb, inputs, out, capsys) == (0, [])


@pytest.mark.parametrize("verb", quick_or_slow(VERBS))
def test_a_folder_that_cannot_be_written_is_one_error(verb, inputs, disk, capsys):
    out = make_out(verb, inputs, disk)
    before = read_files(out)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    status, errors = run(verb, inputs, out, capsys)
    assert status == 1 and len(errors) == 1 and "ead-only" in errors[0], (status, errors)
    assert read_files(out) == before


@pytest.mark.parametrize("verb", quick_or_slow([verb for verb in VERBS if verb not in INTO_WEIGHTS]))
def test_a_file_in_place_of_the_folder_is_one_error(verb, inputs, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    status, errors = run(verb, inputs, tmp_path / "out", capsys)
    assert status == 1 and len(errors) == 1, (status, errors)
    assert (tmp_path / "out").read_text() == "mine" and [path.name for path in tmp_path.iterdir()] == ["out"]


# Two processes in one folder.

EXCLUSIVE = ("facenet", "judge", "fit", "publish", "prepare", *INTO_WEIGHTS)


@pytest.mark.parametrize("verb", quick_or_slow(EXCLUSIVE))
def test_a_second_process_fails_with_an_error_and_writes_nothing(verb, inputs, tmp_path, capsys):
    out = make_out(verb, inputs, tmp_path)
    locked = out / "run" if verb == "detail" else out
    locked.mkdir(exist_ok=True)
    before = read_files(out)
    with locked_by_another_process(locked):
        status, errors = run(verb, inputs, out, capsys)
        assert status == 1 and len(errors) == 1 and f"another process is writing {locked}" in errors[0], errors
        assert read_files(out) == before
    with exclusive(locked):  # the holder was killed
        pass


def test_exclusive_removes_the_folders_that_it_created_if_they_stay_empty(tmp_path):
    again = pytest.raises(RunError, match="another process is writing")
    with exclusive(tmp_path / "a" / "b"), again, exclusive(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists()
    with exclusive(tmp_path / "a"):
        (tmp_path / "a" / "file").touch()
    assert (tmp_path / "a" / "file").exists()
    (tmp_path / "empty").mkdir()
    with exclusive(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").exists()


# Clocks.


@pytest.mark.parametrize("years", [-30, 30])
def test_finished_work_is_recognized_whatever_the_clock_says(years, inputs, tmp_path, monkeypatch, capsys):
    """File times in the past and in the future, and another system time."""
    for verb in ("edit FOLDER", "publish", "augment"):
        out = tmp_path / verb.replace(" ", "-")
        out.mkdir()
        assert run(verb, inputs, out, capsys) == (0, [])
        before = read_files(out)
        then = time.time() + years * 365 * 86400
        for path in out.rglob("*"):
            os.utime(path, (then, then))
        monkeypatch.setattr(time, "time", lambda then=then: then - 86400)
        assert run(verb, inputs, out, capsys) == (0, [])
        monkeypatch.undo()
        assert read_files(out) == before, verb


def test_the_newest_checkpoint_is_that_of_most_steps_whatever_the_file_times(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (5, 10):
        checkpoints.save(0, "refine", step, {"step": step})
    old, new = checkpoints.paths()
    os.utime(old, (time.time() + 10**8,) * 2)
    os.utime(new, (0, 0))
    assert checkpoints.latest()["step"] == 10


# Files that belong together.


def test_files_that_belong_together_are_replaced_together_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "new").mkdir()
    (tmp_path / "old").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "new" / name).write_text("new")
        (tmp_path / "old" / name).write_text("old")
    (tmp_path / "old" / "results.json").write_text("of the old")
    before, copy = read_files(tmp_path / "old"), shutil.copyfile

    def full(source, target):
        copy(source, target)
        if source.name == "model.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(RunError, match="No space left"):
        copy_together(tmp_path / "new", tmp_path / "old", ("config.json", "model.safetensors"), ("results.json",))
    assert read_files(tmp_path / "old") == before
    monkeypatch.undo()
    copy_together(tmp_path / "new", tmp_path / "old", ("config.json", "model.safetensors"), ("results.json",))
    assert read_files(tmp_path / "old") == read_files(tmp_path / "new")


def test_a_model_replaces_another_completely_or_not_at_all(tiny_model, tmp_path, monkeypatch):
    tiny_model.save_pretrained(tmp_path)
    before, write = read_files(tmp_path), Path.write_text

    def full(self, *args, **more):
        if self.name.endswith(".part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, *args, **more)

    monkeypatch.setattr(Path, "write_text", full)
    next(tiny_model.parameters()).data += 1
    with pytest.raises(Exception, match=r"Cannot write .*: No space left on device\. Free some space or choose"):
        tiny_model.save_pretrained(tmp_path)
    assert read_files(tmp_path) == before


def test_a_failed_write_leaves_no_partial_file(tmp_path):
    write_text(tmp_path / "file", "old")
    for write in (atomic_write, durable_write):
        with pytest.raises(ZeroDivisionError), write(tmp_path / "file") as part:
            part.write_text("half")
            raise ZeroDivisionError
    assert read_files(tmp_path) == {"file": b"old"}


def test_an_existing_file_is_replaced_only_where_that_is_wanted(tmp_path):
    write_text(tmp_path / "file", "old")
    with pytest.raises(FileExistsError), atomic_write(tmp_path / "file", replace=False) as part:
        part.write_text("new")
    assert read_files(tmp_path) == {"file": b"old"}
    with atomic_write(tmp_path / "file") as part:
        part.write_text("new")
    assert read_files(tmp_path) == {"file": b"new"}


def test_only_partial_files_are_swept(tmp_path):
    (tmp_path / "below").mkdir()
    for name in (f"below/.{'0' * 32}.part", ".mine.part", "file"):
        (tmp_path / name).touch()
    delete_partial_files(tmp_path)
    assert read_files(tmp_path).keys() == {".mine.part", "file"}


@pytest.mark.parametrize("write", [save_photo, EditedImage.save])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_picture_is_never_truncated_wherever_the_disk_ends(name, write, disk, portrait):
    write(photo := mark_edited(portrait.resize((300, 300))), disk / name)
    size = (disk / name).stat().st_size
    for left in range(0, size, 4096):
        (disk / name).unlink(missing_ok=True)
        fill_disk(disk, left)
        with pytest.raises(ExprGANError, match="No space left"):
            write(photo, disk / name)
    assert read_files(disk).keys() == {"ballast"}


def test_a_batch_manifest_on_a_full_disk_fails_and_is_valid_afterwards(disk):
    lines = 0
    with pytest.raises(Exception, match=r"cannot be written: No space left on device\. Make room"), \
            BatchManifest(disk / "out", {"a": 1}) as manifest:  # fmt: skip
        fill_disk(disk, 0)
        while True:
            manifest.add(BatchRecord(f"{lines}.jpg", "edited", f"{lines}.jpg"))
            lines += 1
    (disk / "ballast").unlink()
    assert not find_half_written(read_files(disk / "out"))
    with BatchManifest(disk / "out", {"a": 1}) as manifest:
        assert [*manifest.records] == sorted(f"{n}.jpg" for n in range(lines)) or len(manifest.records) >= lines


# Kills.


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb", ["facenet", "judge", "publish", "prepare", "augment", "export", "animate gif", *INTO_WEIGHTS]
)
def test_a_verb_killed_at_any_moment_leaves_old_files_and_succeeds_the_next_time(verb, inputs, tmp_path, capsys):
    generator, package = random.Random(verb), "exprgan" if verb in LIBRARY else "train"
    duration = None
    for kill in range(4):
        (tmp_path / str(kill)).mkdir()
        out = make_out(verb, inputs, tmp_path / str(kill))
        line = [sys.executable, "-m", package, *VERBS[verb].format(inputs=inputs, out=out).split()]
        start = time.monotonic()
        process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if duration is None:  # how long it takes
            assert process.wait(300) == 0
            duration = time.monotonic() - start
            continue
        time.sleep(duration * generator.uniform(0.6, 1))  # the start is imports
        process.send_signal(signal.SIGKILL)
        process.wait()
        if verb in INTO_WEIGHTS:
            ExprGAN.from_pretrained(out)
            assert json.loads((out / "config.json").read_text())
        status, errors = run(verb, inputs, out, capsys)
        assert status == 0 and not errors, errors
        assert not [name for name in find_half_written(read_files(out)) if not name.endswith(".part")]
