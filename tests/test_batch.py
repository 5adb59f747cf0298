"""Edits of a folder: a record of every photo, no file overwritten, and no stop that loses more than the photo in work."""

import csv
import dataclasses
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exprgan import ExpressionEditor
from exprgan.batch.folder import edit_folder, find_photos, hash_model, name_results
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
    """Seven photos that can be edited and four that cannot, among files that are no photos."""
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


SAME_NAMES = ("a.jpg", "b.PNG", "c.webp", "trip/a.jpg", "trip/ä \n=b.jpeg")
EDITED = dict(zip(SAME_NAMES, SAME_NAMES, strict=True)) | {
    "trip/day 1/scan.bmp": "trip/day 1/scan.png",
    "trip/day 1/scan.tif": "trip/day 1/scan.tif.png",
}
NOT_EDITED = {"nobody.png": "no face", "cut.jpg": "unreadable", "phone.heic": "unreadable", "camera.dng": "unreadable"}


def read_table(out: Path) -> list[dict[str, str]]:
    with open(out / "edits.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*") if p.is_file()}


def test_every_photo_is_edited_or_has_a_record_that_says_why_not(tiny_model, photos, tmp_path, face):
    before, out, progress = read_state(photos), tmp_path / "out", []
    report = edit_folder(tiny_model, photos, out, "happy", 0.8, workers=1, progress=lambda *args: progress.append(args[:2]))

    assert read_state(photos) == before
    assert {row["file"]: row["status"] for row in read_table(out)} == dict.fromkeys(EDITED, "edited") | NOT_EDITED
    assert report.counts == {"edited": 7, "no face": 1, "unreadable": 3} and report.new == 11
    assert report.table == out / "edits.csv" and progress == [(i, 11) for i in range(12)]
    files = [row["file"] for row in read_table(out)]
    assert files == [record.file for record in report.outcomes] == sorted(files, key=lambda file: file.split("/"))
    for row in read_table(out):
        assert (row["expression"], row["intensity"]) == ("happy", "0.8") and float(row["seconds"]) < 60
        assert int(row["bytes"]) == (photos / row["file"]).stat().st_size
        if row["status"] == "edited":
            assert row["result"] == EDITED[row["file"]] and row["faces"] == "1" and row["message"] == ""
            assert is_marked(out / row["result"]) and Image.open(out / row["result"]).size == face.size
        else:
            assert row["result"] == "" and row["faces"] == "0" and row["message"].endswith(".")
    written = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert written == {*EDITED.values(), "edits.csv", "edits.json", ".edits.lock"}
    expected = ExpressionEditor(tiny_model).edit(photos / "b.PNG", "happy", 0.8).image
    assert np.array_equal(load_photo(out / "b.PNG"), expected)


def test_a_second_run_does_nothing_and_a_repaired_photo_is_tried_again(tiny_model, photos, tmp_path, face):
    out = tmp_path / "out"
    edit_folder(tiny_model, photos, out, "happy", workers=1)
    first, table = read_state(out), (out / "edits.csv").read_bytes()
    again = edit_folder(tiny_model, photos, out, "Happiness", 1, workers=1)  # another name of the same expression
    assert again.new == 0 and again.counts["edited"] == 7 and (out / "edits.csv").read_bytes() == table
    unchanged = {path for path, was in read_state(out).items() if first[path] == was}
    assert {Path(path).name for path in first.keys() - unchanged} <= {"edits.csv", ".edits.lock"}

    face.save(photos / "cut.jpg")
    (out / "a.jpg").unlink()
    face.save(photos / "trip" / "day 1" / "scan.png")  # the name of another photo's result
    third = edit_folder(tiny_model, photos, out, "happy", workers=1)
    assert third.new == 3 and third.counts["edited"] == 9
    results = {row["file"]: row["result"] for row in read_table(out) if row["result"]}
    assert results == EDITED | {"cut.jpg": "cut.jpg", "trip/day 1/scan.png": "trip/day 1/scan.png.png"}
    assert all((out / result).exists() for result in results.values())


def test_no_existing_file_is_overwritten(tiny_model, photos, tmp_path, face):
    out = tmp_path / "out"
    (out / "trip").mkdir(parents=True)
    (out / "a.jpg").write_bytes(b"mine")
    ExpressionEditor(tiny_model).edit(face, "sad").image.save(out / "trip" / "a.jpg")  # marked, but not by this job
    before = read_state(out)
    for run in (1, 2):
        report = edit_folder(tiny_model, photos, out, "happy", workers=1)
        status = {record.file: record.status for record in report.outcomes}
        assert report.counts["edited"] == 4 + run
        assert status["a.jpg"] == "in the way" and before.items() <= read_state(out).items()
        if run == 1:
            assert status["trip/a.jpg"] == "in the way"
            assert "Move it" in next(record.message for record in report.outcomes if record.file == "a.jpg")
            (out / "trip" / "a.jpg").unlink()
            del before[str(out / "trip" / "a.jpg")]


def test_partial_lines_and_files_of_a_killed_run_are_removed(tiny_model, photos, tmp_path):
    out = tmp_path / "out"
    edit_folder(tiny_model, photos, out, "happy", workers=1)
    lines = (out / "edits.csv").read_text(encoding="utf-8").split("\n")
    complete, partial = "\n".join(lines[:4]) + "\n", "trip/ä \n"  # the last line stops in the middle of a file's name
    (out / "edits.csv").write_text(complete + lines[4] + "\n" + '"' + partial, encoding="utf-8")
    (out / "c.webp").unlink()
    part = out / "trip" / f".{'0123456789abcdef' * 2}.part"
    part.write_bytes(b"half a picture")
    kept = out / "trip" / ".other.part"
    kept.write_bytes(b"not ours")
    written = (out / "trip" / "a.jpg").stat().st_mtime_ns

    report = edit_folder(tiny_model, photos, out, "happy", workers=1)
    assert report.counts == {"edited": 7, "no face": 1, "unreadable": 3} and len(read_table(out)) == 11
    assert (out / "c.webp").exists() and not part.exists() and kept.exists()
    assert (out / "trip" / "a.jpg").stat().st_mtime_ns == written
    (message,) = (record.message for record in report.outcomes if record.file == "trip/a.jpg")
    assert message == "Written just before a stop."


def test_ctrl_c_loses_no_finished_photo(tiny_model, photos, tmp_path):
    def stop(done, total, record):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edit_folder(tiny_model, photos, tmp_path / "out", "happy", workers=1, progress=stop)
    assert len(read_table(tmp_path / "out")) == 3
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
    first = hash_model(tiny_model)
    next(tiny_model.G_dec.parameters()).data[0] += 1e-3
    assert hash_model(tiny_model) != first
    (tmp_path / "table" / "out").mkdir(parents=True)
    (tmp_path / "table" / "out" / "edits.csv").write_text("file\n")
    with pytest.raises(ExprGANError, match="is unreadable, so the settings of this folder are unknown"):
        edit_folder(tiny_model, photos, tmp_path / "table" / "out", "happy")


def test_a_second_process_is_refused_and_names_the_first(tiny_model, photos, tmp_path):
    with (
        BatchManifest(tmp_path / "out", {}),
        pytest.raises(ExprGANError, match=f"Process {os.getpid()} is editing photos into"),
    ):
        edit_folder(tiny_model, photos, tmp_path / "out", "happy")
    (tmp_path / "out" / ".edits.lock").write_text("1")  # of a process that died: the system freed its lock
    with BatchManifest(tmp_path / "out", {}) as manifest:
        manifest.add(BatchRecord("a.jpg", "failed", message='"=1+1", he said'))
    assert read_table(tmp_path / "out")[0]["message"] == '"=1+1", he said'


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        ({"expression": "bored"}, ValueError, "unknown expression 'bored'"),
        ({"expression": {"happy": 1.5}}, ValueError, "must lie between"),
        ({"intensity": 2}, ValueError, "intensity must lie between"),
        ({"style": 9}, ValueError, "style must be one of"),
        ({"expression": ("happy", 0.8)}, ValueError, "expression must be a name"),
        ({"fidelity": "perfect"}, ValueError, "fidelity must be one of .*'perfect'"),
        ({"faces": "none"}, ValueError, "faces must be one of largest, all, not 'none'"),
        ({"workers": 0}, ValueError, "workers must be at least 1, not 0"),
        ({"out": "{photos}"}, ValueError, "holds the photos themselves"),
        ({"out": "{photos}/a.jpg"}, ExprGANError, "cannot be written"),
        ({"folder": "{photos}/gone"}, BadImageError, "There is no folder"),
        ({"folder": "{photos}/empty"}, BadImageError, "There is no photo in"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_written(tiny_model, photos, tmp_path, change, error, complaint):
    settings = {"folder": photos, "out": tmp_path / "out", "expression": "happy"} | change
    settings = {k: v.format(photos=photos) if isinstance(v, str) else v for k, v in settings.items()}
    with pytest.raises(error, match=complaint):
        edit_folder(tiny_model, **settings)
    assert not (tmp_path / "out").exists()


def test_results_within_the_folder_and_links_to_folders_are_not_read(face, tmp_path):
    face.save(tmp_path / "a.jpg")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "linked.jpg").symlink_to("a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "edited").mkdir()
    face.save(tmp_path / "edited" / "a.jpg")
    assert [*find_photos(tmp_path, tmp_path / "edited")] == ["a.jpg", "gone.jpg", "linked.jpg", "self.jpg"]
    assert "edited/a.jpg" in find_photos(tmp_path, tmp_path / "elsewhere")


def test_all_results_have_different_names():
    files = ["a.bmp", "a.gif", "a.gif.png", "a.png", "b.tif", "c.TIF"]
    names = name_results(files, {"b.tif": "b.png"})
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
        edited = np.asarray(load_photo(tmp_path / faces / "two.png"), int)
        difference = np.abs(edited - np.asarray(both, int)).max(axis=(0, 2))
        changed[faces] = report.outcomes[0].faces, difference[:210].any(), difference[230:].any()
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
    status = {row["file"]: (row["status"], row["message"]) for row in read_table(tmp_path / "out")}
    assert status["b.PNG"] == ("failed", "MemoryError:")
    assert "trip/day 1/scan.bmp" not in status
    monkeypatch.undo()
    assert edit_folder(tiny_model, photos, tmp_path / "out", "happy", workers=1).counts["edited"] == 7


def test_processes_give_the_same_results_and_one_that_dies_costs_one_photo(tiny_model, photos, tmp_path, monkeypatch):
    killed = []

    def kill_a_worker_at_work(done, total, record):
        if done == 2:
            killed.extend(list_workers(os.getpid())[:1])
            os.kill(killed[0], signal.SIGSTOP)  # so that it is at work until it dies
            threading.Timer(1, os.kill, (killed[0], signal.SIGKILL)).start()

    edit_folder(tiny_model, photos, tmp_path / "one", "happy", workers=1)
    report = edit_folder(tiny_model, photos, tmp_path / "two", "happy", workers=2, progress=kill_a_worker_at_work)
    assert killed and not list_workers(os.getpid())
    failed = [record for record in report.outcomes if record.status == "failed"]
    assert len(failed) == 1 and "died (SIGKILL(-9))" in failed[0].message
    last = edit_folder(tiny_model, photos, tmp_path / "two", "happy", workers=2)
    assert last.new == 1
    for record in last.outcomes:
        if record.result:
            assert (tmp_path / "one" / record.result).read_bytes() == (tmp_path / "two" / record.result).read_bytes()
    first, second = (
        [dataclasses.replace(record, seconds=0.0, message="")
         for record in edit_folder(tiny_model, photos, tmp_path / out, "happy").outcomes]
        for out in ("one", "two")
    )  # fmt: skip
    assert first == second


@pytest.mark.parametrize(
    ("signal_number", "status"), [(signal.SIGKILL, -9), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_stopped_command_can_be_continued_and_leaves_no_process(tiny_model, face, tmp_path, capfd, signal_number, status):
    tiny_model.save_pretrained(tmp_path / "model")
    (tmp_path / "photos").mkdir()
    for i in range(16):
        face.save(tmp_path / "photos" / f"{i:02d}.jpg")
    line = ["edit", str(tmp_path / "photos"), "happy", "--out", str(tmp_path / "out"), "--model", str(tmp_path / "model")]
    running = subprocess.Popen([sys.executable, "-m", "exprgan", *line, "--jobs", "2"], cwd=ROOT)
    deadline = time.monotonic() + 240
    while not (tmp_path / "out" / "edits.csv").exists() or len(read_table(tmp_path / "out")) < 3:
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    workers = list_children(running.pid)
    running.send_signal(signal_number)
    assert running.wait(240) == status
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if signal_number == signal.SIGINT:
        assert "stopped; run the same command to continue" in capfd.readouterr().err
    assert main([*line, "--jobs", "1"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("16 photos: 16 edited (") and out.strip().endswith(str(tmp_path / "out" / "edits.csv"))
    assert "16/16" in err
    assert not list(tmp_path.rglob("*.part")) and len(list((tmp_path / "out").glob("*.jpg"))) == 16
    assert all(is_marked(path) for path in (tmp_path / "out").glob("*.jpg"))


def list_children(pid: int) -> list[int]:
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    if not listing.exists():
        pytest.skip("this system does not list a process's children")
    children = []
    for task in listing.parents[1].iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            children += map(int, (task / "children").read_text().split())
    return children


def list_workers(pid: int) -> list[int]:
    """The children of a process that work for its pool; another keeps watch over what they share."""
    children = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in list_children(pid) if is_running(child)}
    return [child for child, command in children.items() if b"popen_loky" in command]


def is_running(pid: int) -> bool:
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
        (["edit", str(photos), "happy", "--out", "x", "--face", "1"], "--face of a folder's photos is all; without it"),
        (["edit", str(photos), "1=happy", "2=sad", "--out", "x"], "1=happy 2=sad is for one photo"),
        (["edit", str(photos / "nobody.png"), "happy", "--jobs", "2"], "--jobs is for folders"),
    ):
        assert main([*wrong, *model]) == 1
        assert complaint in capsys.readouterr().err


@pytest.fixture
def linked(face, tmp_path) -> tuple[Path, Path]:
    """A folder with one photo and links to a photo and a folder outside of it and to its own; and the folder outside."""
    photos, outside = tmp_path / "photos", tmp_path / "outside"
    (photos / "sub").mkdir(parents=True)
    (outside / "more").mkdir(parents=True)
    face.save(photos / "sub" / "a.jpg")
    face.save(outside / "secret.jpg")
    face.save(outside / "more" / "b.jpg")
    (photos / "album").symlink_to(outside / "more")
    (photos / "album 2").symlink_to("../outside/more")
    (photos / "own").symlink_to("sub")
    (photos / "secret.jpg").symlink_to(outside / "secret.jpg")
    (photos / "same.jpg").symlink_to("sub/a.jpg")
    (outside / "more" / "up").symlink_to(tmp_path)
    return photos, outside


def test_links_out_of_the_folder_of_photos_are_followed_only_on_request(tiny_model, linked, tmp_path):
    photos, outside = linked
    (tmp_path / "given").symlink_to(photos)
    out = tmp_path / "out"
    report = edit_folder(tiny_model, tmp_path / "given", out, "happy", workers=1)
    records = {record.file: record for record in report.outcomes}
    expected = {
        "album": "outside",
        "album 2": "outside",
        "secret.jpg": "outside",
        "same.jpg": "edited",
        "sub/a.jpg": "edited",
    }
    assert {file: record.status for file, record in records.items()} == expected
    assert "leads out of" in records["album"].message and "--follow-links" in records["secret.jpg"].message
    assert {(record.bytes, record.result) for record in report.outcomes if record.status == "outside"} == {(0, "")}

    report = edit_folder(tiny_model, photos, out, "happy", workers=1, follow_links=True)  # no record of the links remains
    files = {record.file: record.status for record in report.outcomes}
    album = next(name for name in ("album", "album 2") if f"{name}/b.jpg" in files)  # once, by one of the two links
    up = f"{album}/up/outside/secret.jpg"
    assert files == dict.fromkeys(("same.jpg", "secret.jpg", "sub/a.jpg", f"{album}/b.jpg", up), "edited")
    assert {row["file"] for row in read_table(out)} == files.keys()
    assert sorted(path.name for path in outside.rglob("*.*")) == ["b.jpg", "secret.jpg"]


def test_results_are_not_written_through_links(tiny_model, linked, tmp_path, face):
    photos, outside = linked
    out = tmp_path / "out"
    out.mkdir()
    (out / "sub").symlink_to(outside)
    (out / "same.jpg").symlink_to(tmp_path / "new.jpg")
    for _ in range(2):
        report = edit_folder(tiny_model, photos, tmp_path / "out", "happy", workers=1)
        records = {record.file: record for record in report.outcomes}
        assert records["sub/a.jpg"].status == "outside" and "written outside of" in records["sub/a.jpg"].message
        assert records["same.jpg"].status == "in the way"
        assert not (tmp_path / "new.jpg").exists() and not (outside / "a.jpg").exists()
        ExpressionEditor(tiny_model).edit(face, "sad").image.save(outside / "marked.jpg")
        (out / "same.jpg").unlink()
        (out / "same.jpg").symlink_to(outside / "marked.jpg")  # a picture of the editor, but no result of this folder
    edit_folder(tiny_model, photos, out, "happy", workers=1, follow_links=True)
    assert is_marked(outside / "a.jpg")


@pytest.mark.parametrize("name", ["edits.csv", "edits.json", ".edits.lock"])
def test_the_tables_of_a_batch_are_not_written_through_links(tiny_model, photos, tmp_path, name):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(mine)
    with pytest.raises(ExprGANError, match=f"{name} in .* is a link to a file elsewhere. Delete the link"):
        edit_folder(tiny_model, photos, tmp_path / "out", "happy", workers=1)
    assert mine.read_text() == "mine"


def test_a_table_cannot_name_results_outside_of_the_folder(tmp_path):
    names = ("../away.jpg", str(tmp_path / "away.jpg"), "sub/../../away.jpg", "here.jpg")
    with BatchManifest(tmp_path / "out", {}) as manifest:
        for name in names:
            manifest.add(BatchRecord(name, "edited", name))
    with BatchManifest(tmp_path / "out", {}) as manifest:
        assert manifest.records.keys() == {"here.jpg"}


def test_names_that_look_like_formulas_are_text_in_the_table_and_come_back_identical(tmp_path):
    names = ["=1+1.jpg", "+a.jpg", "-2.jpg", "@a.jpg", "\ta.jpg", "\ra.jpg", "'=a.jpg", "''a.jpg", "'a.jpg", "-0.5", "a=b"]
    with BatchManifest(tmp_path / "out", {}) as manifest:
        for name in names:
            manifest.add(BatchRecord(name, "failed", message=f"{name} is broken", intensity=-0.5))
    rows = read_table(tmp_path / "out")
    assert {row["intensity"] for row in rows} == {"-0.5"}
    assert {row["message"] for row in rows} >= {"'=1+1.jpg is broken", "''=a.jpg is broken", "'a.jpg is broken"}
    assert not [cell for row in rows for cell in row.values() if cell[:1] in tuple("=+@\t\r") or cell.startswith("-2")]
    with BatchManifest(tmp_path / "out", {}) as manifest:
        assert {record.file: record.message for record in manifest.records.values()} == {n: f"{n} is broken" for n in names}
