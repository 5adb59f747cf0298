"""A folder of photos: every file told of, none overwritten, and no stop that costs more than the photo it came in."""

import csv
import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exprgan import ExpressionEditor
from exprgan.batch.folder import edit_folder, find_photos, fingerprint, result_names
from exprgan.batch.manifest import BatchManifest, BatchRecord
from exprgan.cli import main
from exprgan.errors import BadImageError, ExprGANError
from exprgan.photo.image_io import is_marked, load_photo

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def face() -> Image.Image:
    return Image.open(Path(__file__).parent / "data" / "portrait.jpg").convert("RGB").resize((200, 200))


@pytest.fixture
def photos(face, tmp_path) -> Path:
    """Seven that can be edited and four that cannot, among what is no photo."""
    folder = tmp_path / "photos"
    (folder / "trip" / "day 1").mkdir(parents=True)
    (folder / "empty").mkdir()
    for name in (
        "a.jpg",
        "b.PNG",
        "c.webp",
        "trip/a.jpg",
        "trip/ä \n=b.jpeg",
        "trip/day 1/scan.tif",
        "trip/day 1/scan.bmp",
    ):
        face.save(folder / name)
    Image.effect_noise((120, 90), 60).convert("RGB").save(folder / "nobody.png")
    (folder / "cut.jpg").write_bytes((folder / "a.jpg").read_bytes()[:900])
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    face.save(folder / "camera.dng", "TIFF")  # PIL would read it
    for name in ("notes.txt", "._a.jpg", ".hidden.png", "video.mp4"):
        (folder / name).write_bytes(b"no photo")
    return folder


KEPT = ("a.jpg", "b.PNG", "c.webp", "trip/a.jpg", "trip/ä \n=b.jpeg")
EDITED = dict(zip(KEPT, KEPT, strict=True)) | {
    "trip/day 1/scan.bmp": "trip/day 1/scan.png",
    "trip/day 1/scan.tif": "trip/day 1/scan.tif.png",
}
OTHERS = {"nobody.png": "no face", "cut.jpg": "unreadable", "phone.heic": "unreadable", "camera.dng": "unreadable"}


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "edits.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*") if p.is_file()}


def test_every_photo_is_edited_or_told_of(tiny_model, photos, tmp_path, face):
    before, out, told = state(photos), tmp_path / "out", []
    report = edit_folder(tiny_model, photos, out, "happy", 0.8, workers=1, progress=lambda *now: told.append(now[:2]))

    assert state(photos) == before
    assert {row["file"]: row["status"] for row in rows(out)} == dict.fromkeys(EDITED, "edited") | OTHERS
    assert report.counts == {"edited": 7, "no face": 1, "unreadable": 3} and report.new == 11
    assert report.table == out / "edits.csv" and told == [(i, 11) for i in range(12)]
    files = [row["file"] for row in rows(out)]
    assert files == [one.file for one in report.outcomes] == sorted(files, key=lambda file: file.split("/"))
    for row in rows(out):
        assert (row["expression"], row["intensity"]) == ("happy", "0.8") and float(row["seconds"]) < 60
        assert int(row["bytes"]) == (photos / row["file"]).stat().st_size
        if row["status"] == "edited":
            assert row["result"] == EDITED[row["file"]] and row["faces"] == "1" and row["message"] == ""
            assert is_marked(out / row["result"]) and Image.open(out / row["result"]).size == face.size
        else:
            assert row["result"] == "" and row["faces"] == "0" and row["message"].endswith(".")
    written = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert written == {*EDITED.values(), "edits.csv", "edits.json", ".edits.lock"}
    wanted = ExpressionEditor(tiny_model).edit(photos / "b.PNG", "happy", 0.8).image
    assert np.array_equal(load_photo(out / "b.PNG"), wanted)


def test_the_same_again_does_nothing_and_a_mended_photo_is_tried_again(tiny_model, photos, tmp_path, face):
    out = tmp_path / "out"
    edit_folder(tiny_model, photos, out, "happy", workers=1)
    first, table = state(out), (out / "edits.csv").read_bytes()
    again = edit_folder(tiny_model, photos, out, "Happiness", 1, workers=1)  # another word for the same
    assert again.new == 0 and again.counts["edited"] == 7 and (out / "edits.csv").read_bytes() == table
    unchanged = {path for path, was in state(out).items() if first[path] == was}
    assert {Path(path).name for path in first.keys() - unchanged} <= {"edits.csv", ".edits.lock"}

    face.save(photos / "cut.jpg")
    (out / "a.jpg").unlink()
    face.save(photos / "trip" / "day 1" / "scan.png")  # whose name another photo's result has
    third = edit_folder(tiny_model, photos, out, "happy", workers=1)
    assert third.new == 3 and third.counts["edited"] == 9
    results = {row["file"]: row["result"] for row in rows(out) if row["result"]}
    assert results == EDITED | {"cut.jpg": "cut.jpg", "trip/day 1/scan.png": "trip/day 1/scan.png.png"}
    assert all((out / result).exists() for result in results.values())


def test_nothing_that_is_there_is_overwritten(tiny_model, photos, tmp_path, face):
    out = tmp_path / "out"
    (out / "trip").mkdir(parents=True)
    (out / "a.jpg").write_bytes(b"mine")
    ExpressionEditor(tiny_model).edit(face, "sad").image.save(out / "trip" / "a.jpg")  # marked, but not by this job
    before = state(out)
    for run in (1, 2):
        report = edit_folder(tiny_model, photos, out, "happy", workers=1)
        status = {one.file: one.status for one in report.outcomes}
        assert report.counts["edited"] == 4 + run
        assert status["a.jpg"] == "in the way" and before.items() <= state(out).items()
        if run == 1:
            assert status["trip/a.jpg"] == "in the way"
            assert "Move it" in next(one.message for one in report.outcomes if one.file == "a.jpg")
            (out / "trip" / "a.jpg").unlink()
            del before[str(out / "trip" / "a.jpg")]


def test_what_a_kill_leaves_behind_is_mended(tiny_model, photos, tmp_path):
    out = tmp_path / "out"
    edit_folder(tiny_model, photos, out, "happy", workers=1)
    lines = (out / "edits.csv").read_text(encoding="utf-8").split("\n")
    whole, half = "\n".join(lines[:4]) + "\n", "trip/ä \n"  # the last line stops in the middle of a file's name
    (out / "edits.csv").write_text(whole + lines[4] + "\n" + '"' + half, encoding="utf-8")
    (out / "c.webp").unlink()
    part = out / "trip" / f".{'0123456789abcdef' * 2}.part"
    part.write_bytes(b"half a picture")
    kept = out / "trip" / ".other.part"
    kept.write_bytes(b"not ours")
    written = (out / "trip" / "a.jpg").stat().st_mtime_ns

    report = edit_folder(tiny_model, photos, out, "happy", workers=1)
    assert report.counts == {"edited": 7, "no face": 1, "unreadable": 3} and len(rows(out)) == 11
    assert (out / "c.webp").exists() and not part.exists() and kept.exists()
    assert (out / "trip" / "a.jpg").stat().st_mtime_ns == written
    assert next(one for one in report.outcomes if one.file == "trip/a.jpg").message == "Written just before a stop."


def test_ctrl_c_loses_nothing(tiny_model, photos, tmp_path):
    def stop(done, total, outcome):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edit_folder(tiny_model, photos, tmp_path / "out", "happy", workers=1, progress=stop)
    assert len(rows(tmp_path / "out")) == 3
    assert edit_folder(tiny_model, photos, tmp_path / "out", "happy", workers=1).new == 8


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"expression": "sad"}, r"begun with expression 'happy', not 'sad'"),
        ({"intensity": 0.5}, r"begun with intensity 1.0, not 0.5"),
        ({"style": 2}, "begun with style None, not 2"),
        ({"faces": "all"}, "begun with faces 'largest', not 'all'"),
        ({"fidelity": "model"}, "begun with fidelity 'detail', not 'model'"),
        ({"expression": {"happy": 0.5, "sad": 0.5}}, "Choose another folder"),
    ],
)
def test_other_settings_need_another_folder(tiny_model, photos, tmp_path, change, complaint):
    for name in EDITED:
        (photos / name).unlink()  # nothing to edit: quicker
    edit_folder(tiny_model, photos, tmp_path / "out", "happy", workers=1)
    with pytest.raises(ExprGANError, match=complaint):
        edit_folder(tiny_model, photos, tmp_path / "out", **({"expression": "happy", "workers": 1} | change))


def test_other_weights_need_another_folder(tiny_model, photos, tmp_path):
    first = fingerprint(tiny_model)
    next(tiny_model.G_dec.parameters()).data[0] += 1e-3
    assert fingerprint(tiny_model) != first
    (tmp_path / "table" / "out").mkdir(parents=True)
    (tmp_path / "table" / "out" / "edits.csv").write_text("file\n")
    with pytest.raises(ExprGANError, match="does not say how its photos were edited"):
        edit_folder(tiny_model, photos, tmp_path / "table" / "out", "happy")


def test_two_at_once_are_told_of_each_other(tiny_model, photos, tmp_path):
    with (
        BatchManifest(tmp_path / "out", {}),
        pytest.raises(ExprGANError, match=f"Process {os.getpid()} is editing photos into"),
    ):
        edit_folder(tiny_model, photos, tmp_path / "out", "happy")
    (tmp_path / "out" / ".edits.lock").write_text("1")  # of one that died: the system let it go
    with BatchManifest(tmp_path / "out", {}) as ledger:
        ledger.add(BatchRecord("a.jpg", "failed", message='"=1+1", he said'))
    assert rows(tmp_path / "out")[0]["message"] == '"=1+1", he said'


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        ({"expression": "bored"}, ValueError, "unknown expression 'bored'"),
        ({"expression": {"happy": 1.5}}, ValueError, "must lie between"),
        ({"intensity": 2}, ValueError, "intensity must lie between"),
        ({"style": 9}, ValueError, "style must be one of"),
        ({"fidelity": "perfect"}, ValueError, "fidelity must be one of .*'perfect'"),
        ({"faces": "none"}, ValueError, "faces must be one of largest, all, not 'none'"),
        ({"workers": 0}, ValueError, "workers must be at least 1, not 0"),
        ({"out": "{photos}"}, ValueError, "holds the photos themselves"),
        ({"out": "{photos}/a.jpg"}, ExprGANError, "cannot be written"),
        ({"folder": "{photos}/gone"}, BadImageError, "There is no folder"),
        ({"folder": "{photos}/empty"}, BadImageError, "There is no photo in"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(tiny_model, photos, tmp_path, change, error, complaint):
    settings = {"folder": photos, "out": tmp_path / "out", "expression": "happy"} | change
    settings = {k: v.format(photos=photos) if isinstance(v, str) else v for k, v in settings.items()}
    with pytest.raises(error, match=complaint):
        edit_folder(tiny_model, **settings)
    assert not (tmp_path / "out").exists()


def test_results_within_the_folder_and_loops_are_not_read(face, tmp_path):
    face.save(tmp_path / "a.jpg")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "linked.jpg").symlink_to("a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "edited").mkdir()
    face.save(tmp_path / "edited" / "a.jpg")
    assert find_photos(tmp_path, tmp_path / "edited") == ["a.jpg", "gone.jpg", "linked.jpg", "self.jpg"]
    assert "edited/a.jpg" in find_photos(tmp_path, tmp_path / "elsewhere")


def test_no_two_results_have_the_same_name():
    files = ["a.bmp", "a.gif", "a.gif.png", "a.png", "b.tif", "c.TIF"]
    names = result_names(files, {"b.tif": "b.png"})
    assert names == {"a.bmp": "a.bmp.png", "a.gif": "a.gif.png.png", "a.gif.png": "a.gif.png", "a.png": "a.png",
                     "b.tif": "b.png", "c.TIF": "c.png"}  # fmt: skip


def test_all_faces_of_a_photo_are_edited(tiny_model, face, tmp_path):
    both = Image.new("RGB", (420, 200), "gray")
    both.paste(face, (0, 0))
    both.paste(face.resize((180, 180)), (230, 10))
    (tmp_path / "photos").mkdir()
    both.save(tmp_path / "photos" / "two.png")
    changed = {}
    for faces in ("largest", "all"):
        report = edit_folder(tiny_model, tmp_path / "photos", tmp_path / faces, "happy", faces=faces, workers=1)
        apart = np.abs(np.asarray(load_photo(tmp_path / faces / "two.png"), int) - np.asarray(both, int)).max(axis=(0, 2))
        changed[faces] = report.outcomes[0].faces, apart[:210].any(), apart[230:].any()
    assert changed == {"largest": (1, True, False), "all": (2, True, True)}


def test_a_bug_in_one_photo_does_not_stop_the_others_and_a_full_disk_does(tiny_model, photos, tmp_path, monkeypatch):
    from exprgan.batch import worker

    def save(image, path, **options):
        if path.name == "b.PNG":
            raise MemoryError
        if path.name == "scan.png":
            raise ExprGANError("Cannot write it: No space left.") from OSError(errno.ENOSPC, "No space left")
        Image.Image.save(image, path)

    monkeypatch.setattr(worker, "save_photo", save)
    with pytest.raises(ExprGANError, match="No space left"):
        edit_folder(tiny_model, photos, tmp_path / "out", "happy", workers=1)
    status = {row["file"]: (row["status"], row["message"]) for row in rows(tmp_path / "out")}
    assert status["b.PNG"] == ("failed", "MemoryError:")
    assert "trip/day 1/scan.bmp" not in status
    monkeypatch.undo()
    assert edit_folder(tiny_model, photos, tmp_path / "out", "happy", workers=1).counts["edited"] == 7


def test_processes_make_the_same_and_one_that_dies_takes_one_photo_with_it(tiny_model, photos, tmp_path, monkeypatch):
    from exprgan.batch.pool import WorkerPool

    crews = []
    monkeypatch.setattr(WorkerPool, "__init__", _noting(WorkerPool.__init__, crews))

    def kill_one(done, total, outcome):
        if done == 1:
            busy = crews[0]._running.values()
            next(member for member in crews[0]._members if member._process and member not in busy)._process.kill()

    edit_folder(tiny_model, photos, tmp_path / "one", "happy", workers=1)
    report = edit_folder(tiny_model, photos, tmp_path / "two", "happy", workers=2, progress=kill_one)
    assert all(member._process.poll() is not None for member in crews[0]._members)
    failed = [one for one in report.outcomes if one.status == "failed"]
    assert len(failed) == 1 and "died (signal 9)" in failed[0].message
    last = edit_folder(tiny_model, photos, tmp_path / "two", "happy", workers=2)
    assert last.new == 1
    for one in last.outcomes:
        if one.result:
            assert (tmp_path / "one" / one.result).read_bytes() == (tmp_path / "two" / one.result).read_bytes()
    rest = {"seconds": 0.0, "message": ""}
    plain = [[dataclasses.replace(one, **rest) for one in edit_folder(tiny_model, photos, tmp_path / out, "happy").outcomes]
             for out in ("one", "two")]  # fmt: skip
    assert plain[0] == plain[1]


def _noting(init, made):
    def noted(self, *arguments):
        made.append(self)
        init(self, *arguments)

    return noted


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGKILL, -9), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_command_that_is_stopped_goes_on_and_leaves_no_process(tiny_model, face, tmp_path, capfd, number, status):
    tiny_model.save_pretrained(tmp_path / "model")
    (tmp_path / "photos").mkdir()
    for i in range(16):
        face.save(tmp_path / "photos" / f"{i:02d}.jpg")
    line = ["edit", str(tmp_path / "photos"), "happy", "--out", str(tmp_path / "out"), "--model", str(tmp_path / "model")]
    running = subprocess.Popen([sys.executable, "-m", "exprgan", *line, "--jobs", "2"], cwd=ROOT)
    deadline = time.monotonic() + 240
    while not (tmp_path / "out" / "edits.csv").exists() or len(rows(tmp_path / "out")) < 3:
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    workers = _children(running.pid)
    running.send_signal(number)
    assert running.wait(240) == status
    while any(map(_lives, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if number == signal.SIGINT:
        assert "stopped; the same line goes on" in capfd.readouterr().err
    assert main([*line, "--jobs", "1"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("16 photos: 16 edited (") and out.strip().endswith(str(tmp_path / "out" / "edits.csv"))
    assert "16/16" in err
    assert not list(tmp_path.rglob("*.part")) and len(list((tmp_path / "out").glob("*.jpg"))) == 16
    assert all(is_marked(path) for path in (tmp_path / "out").glob("*.jpg"))


def _children(pid: int) -> list[int]:
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    if not listing.exists():
        pytest.skip("this system does not tell a process's children")
    return [int(child) for task in listing.parents[1].iterdir() for child in (task / "children").read_text().split()]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_command_fails_only_if_nothing_could_be_edited(tiny_model, photos, tmp_path, capsys):
    tiny_model.save_pretrained(tmp_path / "model")
    model = ["--model", str(tmp_path / "model")]
    for name in [*EDITED][1:]:
        (photos / name).unlink()
    line = ["edit", str(photos), "happy", "--out", str(tmp_path / "out"), "--jobs", "1", *model]
    assert main(line) == 0
    assert capsys.readouterr().out.startswith("5 photos: 1 edited, 1 no face, 3 unreadable (5 in this run")
    (photos / "a.jpg").unlink()
    assert main([*line[:4], str(tmp_path / "other"), *line[5:]]) == 1
    assert "error: 4 photos: 1 no face, 3 unreadable" in capsys.readouterr().err

    for wrong, complaint in (
        (["edit", str(photos), "happy"], "is a folder; name another one for the edited photos with --out"),
        (["edit", str(photos), "happy", "--out", "x", "--face", "1"], "--face of a folder's photos is 0, the"),
        (["edit", str(photos), "0=happy", "1=sad", "--out", "x"], "0=happy 1=sad is for one photo"),
        (["edit", str(photos / "nobody.png"), "happy", "--jobs", "2"], "--jobs is for folders"),
    ):
        assert main([*wrong, *model]) == 1
        assert complaint in capsys.readouterr().err
