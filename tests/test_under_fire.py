"""Full disks, folders that cannot be written, two processes at one folder, clocks that jump, kills: nothing is lost."""

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
from PIL import Image
from trouble import fill, held_by_another, odd, outcome, state_of

from exprgan import ExprGAN, ExprGANError
from exprgan.batch.manifest import BatchManifest, BatchRecord
from exprgan.cli import main as library
from exprgan.photo.ai_metadata import EditedImage, mark_edited
from exprgan.photo.image_io import save_photo
from train.__main__ import main as training
from train.core.checkpoints import Checkpoints
from train.core.files import atomic_write, RunError, exclusive, copy_together
from train.data.metadata import write_metadata

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
FACES, RENDER = DATA / "faces", DATA / "render"
SMALL = "--batch-size 4 --cpu --mixed-precision no"
TINY = f"{SMALL} --width 0.0625 --image-size 32 --z-dim 8 --identity-size 32 --log-steps 1 --sample-steps 1"


# What is written where.


@pytest.fixture(scope="module")
def things(tmp_path_factory, tiny_config):
    """What the verbs need: a published model, a run, a face network, photos, pairs."""
    place = tmp_path_factory.mktemp("things")
    torch.manual_seed(0)
    model = ExprGAN(tiny_config)
    model.save_pretrained(place / "weights")
    state = {"model_config": vars(tiny_config), "history": {"refine": 3}, "model": model.state_dict(), "ema": {},
             "settings": {"refine": {"batch_size": 4}}}  # fmt: skip
    Checkpoints(place / "run").save(1, "end", 0, state)
    assert training(f"facenet {FACES} --out {place}/face --steps 1 --width 2 --image-size 32 {SMALL}".split()) == 0
    (place / "photos").mkdir()
    for name in ("a.jpg", "b.png"):
        Image.open(DATA / "portrait.jpg").resize((200, 200)).save(place / "photos" / name)
    rows = []
    for name, expression, style in (("calm", "neutral", "real"), ("glad", "happy", "teeth")):
        noise = np.random.default_rng(len(name)).integers(0, 256, (76, 76, 3), np.uint8)
        (place / "pairs" / "A").mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(place / "pairs" / "A" / f"{name}.png")
        rows.append({"file_name": f"A/{name}.png", "subject": "A", "expression": expression, "style": style,
                     "kind": "rendered", "intensity": "1", "split": "train"})  # fmt: skip
    still = {"flow": np.zeros((76, 76, 2), np.float16), "invented": np.zeros((76, 76), np.uint8)}
    np.savez(place / "pairs" / "A" / "glad.png.npz", **still)
    write_metadata(place / "pairs", rows)
    return place


LIBRARY = {
    "edit": "edit {things}/photos/a.jpg happy --out {out}/a.jpg --model {things}/weights",
    "edit FOLDER": "edit {things}/photos happy --out {out} --jobs 1 --model {things}/weights",
    "find": "find {things}/photos/a.jpg --out {out}/a.png",
    "animate gif": "animate {things}/photos/a.jpg --seconds 0.2 --fps 10 --out {out}/a.gif --model {things}/weights",
    "animate webp": "animate {things}/photos/a.jpg --seconds 0.2 --fps 10 --out {out}/a.webp --model {things}/weights",
    "animate mp4": "animate {things}/photos/a.jpg --seconds 0.2 --fps 10 --out {out}/a.mp4 --model {things}/weights",
    "transfer": "transfer {things}/photos/a.jpg {things}/photos/b.png --out {out}/a.png --model {things}/weights",
    "generate": "generate happy --count 2 --seed 1 --out {out} --model {things}/weights",
    "export": "export {out} --model {things}/weights",
}
TRAINING = {
    "facenet": f"facenet {FACES} --out {{out}} --steps 1 --width 2 --image-size 32 {SMALL}",
    "judge": f"judge {FACES} --out {{out}} --steps 1 --width 4 --size 16 --image-size 32 {SMALL}",
    "fit": f"fit {FACES} --out {{out}} --face {{things}}/face --steps 1,1,1 {TINY}",
    "publish": "publish {things}/run --out {out}",
    "prepare": "prepare folder {things}/labelled {out} --labels {things}/labelled/labels.csv --test-share 0.5",
    "augment": "augment {things}/weights --out {out} --count 6 --cpu",
    "manifest": "manifest own {things}/photos --out {out}/manifest.csv",
}
INTO_WEIGHTS = {
    "calibrate": f"calibrate {{out}} --data {FACES} --people 1",
    "evaluate": f"evaluate {{out}} --data {FACES}",
    "detail": f"detail {{things}}/pairs --weights {{out}} --out {{out}}/run --steps 1 --width 0.1 {SMALL} --save-minutes 9",
    "publish again": "publish {out}",
}
VERBS = LIBRARY | TRAINING | INTO_WEIGHTS
QUICK = ("edit", "edit FOLDER", "find", "animate gif", "facenet", "publish", "prepare", "augment", "publish again")


def each(verbs):
    """Verbs to try; those that take long, or write as another does, are for `-m slow`."""
    return [verb if verb in QUICK else pytest.param(verb, marks=pytest.mark.slow) for verb in verbs]


@pytest.fixture(autouse=True)
def few_levels(monkeypatch):
    monkeypatch.setattr("train.eval.calibration.LEVELS", np.linspace(0, 1, 3))


@pytest.fixture(scope="module", autouse=True)
def labelled(things):
    """Photos with labels, for `prepare`."""
    shutil.copytree(things / "photos", things / "labelled")
    (things / "labelled" / "labels.csv").write_text("file_name,subject,expression\na.jpg,A,happy\nb.png,B,sad\n")


def run(verb, things, out, capsys):
    """Status, and what was said."""
    return outcome(library if verb in LIBRARY else training, VERBS[verb].format(things=things, out=out), capsys)


def good(verb, things, disk):
    """The folder that a verb writes, as it stood before."""
    out = disk / "out"
    if verb in INTO_WEIGHTS:
        shutil.copytree(things / "weights", out)
    else:
        out.mkdir()
    return out


@pytest.mark.parametrize("verb", each(VERBS))
def test_on_a_full_disk_a_verb_says_so_and_what_stood_there_stands(verb, things, disk, capsys):
    out = good(verb, things, disk)
    before = state_of(out)
    fill(disk, 0)
    status, said = run(verb, things, out, capsys)
    assert status == 1 and len(said) == 1, (status, said)
    assert "o space left" in said[0] or "could not be written" in said[0] or "annot" in said[0], said
    after = state_of(out)
    assert {name: after.get(name) for name in before} == before
    assert not odd(after), odd(after)
    (disk / "ballast").unlink()
    status, said = run(verb, things, out, capsys)
    assert status == 0 and not said, said
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
def test_a_disk_that_fills_up_on_the_way_is_one_sentence_and_the_work_goes_on_once_there_is_room(
    verb, leave, things, disk, capsys
):
    out = good(verb, things, disk)
    fill(disk, leave)
    status, said = run(verb, things, out, capsys)
    assert status == 1 and len(said) == 1, (status, said)
    begun = state_of(out)
    assert begun and not odd(begun), odd(begun)
    (disk / "ballast").unlink()
    assert run(verb, things, out, capsys) == (0, [])


@pytest.mark.parametrize("verb", each(VERBS))
def test_a_folder_that_cannot_be_written_is_one_sentence(verb, things, disk, capsys):
    out = good(verb, things, disk)
    before = state_of(out)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    status, said = run(verb, things, out, capsys)
    assert status == 1 and len(said) == 1 and "ead-only" in said[0], (status, said)
    assert state_of(out) == before


@pytest.mark.parametrize("verb", each([verb for verb in VERBS if verb not in INTO_WEIGHTS]))
def test_a_file_in_place_of_the_folder_is_one_sentence(verb, things, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    status, said = run(verb, things, tmp_path / "out", capsys)
    assert status == 1 and len(said) == 1, (status, said)
    assert (tmp_path / "out").read_text() == "mine" and [path.name for path in tmp_path.iterdir()] == ["out"]


# Two at one folder.

ALONE = ("facenet", "judge", "fit", "publish", "prepare", *INTO_WEIGHTS)


@pytest.mark.parametrize("verb", each(ALONE))
def test_a_second_process_is_told_of_the_first_and_writes_nothing(verb, things, tmp_path, capsys):
    out = good(verb, things, tmp_path)
    held = out / "run" if verb == "detail" else out
    held.mkdir(exist_ok=True)
    before = state_of(out)
    with held_by_another(held):
        status, said = run(verb, things, out, capsys)
        assert status == 1 and len(said) == 1 and f"another process is writing {held}" in said[0], said
        assert state_of(out) == before
    with exclusive(held):  # whoever held it is gone, however it went
        pass


def test_who_is_alone_in_a_folder_leaves_none_behind(tmp_path):
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
def test_what_counts_as_finished_asks_no_clock(years, things, tmp_path, monkeypatch, capsys):
    """Files of the past and of the future, and a clock that stands elsewhere."""
    for verb in ("edit FOLDER", "publish", "augment"):
        out = tmp_path / verb.replace(" ", "-")
        out.mkdir()
        assert run(verb, things, out, capsys) == (0, [])
        before = state_of(out)
        then = time.time() + years * 365 * 86400
        for path in out.rglob("*"):
            os.utime(path, (then, then))
        monkeypatch.setattr(time, "time", lambda then=then: then - 86400)
        assert run(verb, things, out, capsys) == (0, [])
        monkeypatch.undo()
        assert state_of(out) == before, verb


def test_the_newest_checkpoint_is_that_of_most_steps_whatever_the_clock_said(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (5, 10):
        checkpoints.save(0, "refine", step, {"step": step})
    old, new = checkpoints.paths()
    os.utime(old, (time.time() + 10**8,) * 2)
    os.utime(new, (0, 0))
    assert checkpoints.latest()["step"] == 10


# Files that belong together.


def test_files_that_belong_together_come_together_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "new").mkdir()
    (tmp_path / "old").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "new" / name).write_text("new")
        (tmp_path / "old" / name).write_text("old")
    (tmp_path / "old" / "results.json").write_text("of the old")
    before, copy = state_of(tmp_path / "old"), shutil.copyfile

    def full(source, target):
        copy(source, target)
        if source.name == "model.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(RunError, match="No space left"):
        copy_together(tmp_path / "new", tmp_path / "old", ("config.json", "model.safetensors"), ("results.json",))
    assert state_of(tmp_path / "old") == before
    monkeypatch.undo()
    copy_together(tmp_path / "new", tmp_path / "old", ("config.json", "model.safetensors"), ("results.json",))
    assert state_of(tmp_path / "old") == state_of(tmp_path / "new")


def test_a_model_is_saved_over_another_whole_or_not_at_all(tiny_model, tmp_path, monkeypatch):
    tiny_model.save_pretrained(tmp_path)
    before, write = state_of(tmp_path), Path.write_text

    def full(self, *args, **more):
        if self.name.endswith(".part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, *args, **more)

    monkeypatch.setattr(Path, "write_text", full)
    next(tiny_model.parameters()).data += 1
    with pytest.raises(Exception, match=r"Cannot write .*: No space left on device\. Choose"):
        tiny_model.save_pretrained(tmp_path)
    assert state_of(tmp_path) == before


def test_what_could_not_be_written_is_gone(tmp_path):
    (tmp_path / "kept").write_text("old")
    with pytest.raises(ZeroDivisionError):
        atomic_write(tmp_path / "kept", lambda path: (path.write_text("half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        half(tmp_path)
    assert state_of(tmp_path) == {"kept": b"old"}


def half(folder):
    with atomic_write(folder / "kept") as part:
        part.write_text("half")
        raise ZeroDivisionError


@pytest.mark.parametrize("write", [save_photo, EditedImage.save])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_picture_is_never_cut_short_wherever_the_disk_ends(name, write, disk, portrait):
    write(photo := mark_edited(portrait.resize((300, 300))), disk / name)
    size = (disk / name).stat().st_size
    for left in range(0, size, 4096):
        (disk / name).unlink(missing_ok=True)
        fill(disk, left)
        with pytest.raises(ExprGANError, match="No space left"):
            write(photo, disk / name)
    assert state_of(disk).keys() == {"ballast"}


def test_a_ledger_of_a_full_disk_says_so_and_is_sound_afterwards(disk):
    lines = 0
    with pytest.raises(Exception, match=r"cannot be written: No space left on device\. Make room"), \
            BatchManifest(disk / "out", {"a": 1}) as ledger:  # fmt: skip
        fill(disk, 0)
        while True:
            ledger.add(BatchRecord(f"{lines}.jpg", "edited", f"{lines}.jpg"))
            lines += 1
    (disk / "ballast").unlink()
    assert not odd(state_of(disk / "out"))
    with BatchManifest(disk / "out", {"a": 1}) as ledger:
        assert [*ledger.outcomes] == sorted(f"{n}.jpg" for n in range(lines)) or len(ledger.outcomes) >= lines


# Kills.


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb", ["facenet", "judge", "publish", "prepare", "augment", "export", "animate gif", *INTO_WEIGHTS]
)
def test_a_verb_killed_at_any_moment_leaves_what_stood_there_and_does_it_the_next_time(verb, things, tmp_path, capsys):
    chance, package = random.Random(verb), "exprgan" if verb in LIBRARY else "train"
    took = None
    for kill in range(4):
        (tmp_path / str(kill)).mkdir()
        out = good(verb, things, tmp_path / str(kill))
        line = [sys.executable, "-m", package, *VERBS[verb].format(things=things, out=out).split()]
        start = time.monotonic()
        process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if took is None:  # how long it takes
            assert process.wait(300) == 0
            took = time.monotonic() - start
            continue
        time.sleep(took * chance.uniform(0.6, 1))  # the start is imports
        process.send_signal(signal.SIGKILL)
        process.wait()
        if verb in INTO_WEIGHTS:
            ExprGAN.from_pretrained(out)
            assert json.loads((out / "config.json").read_text())
        status, said = run(verb, things, out, capsys)
        assert status == 0 and not said, said
        assert not [name for name in odd(state_of(out)) if not name.endswith((".tmp", ".part"))]
