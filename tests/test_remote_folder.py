"""Folders of photos at a URL: read and written by fsspec photo by photo, resumed, and never outside of their folder."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from exprgan import ExpressionEditor, edit_folder
from exprgan.batch.remote_folder import RemoteFolder
from exprgan.cli import main
from exprgan.errors import BadImageError, ExprGANError
from exprgan.photo.image_io import is_marked, load_photo

ROOT = Path(__file__).parent.parent
NAMES = ("a.jpg", "trip/b.png", "trip/day 1/ä.webp", "trip/scan.bmp")


@pytest.fixture(scope="session")
def face() -> Image.Image:
    return Image.open(Path(__file__).parent / "data" / "portrait.jpg").convert("RGB").resize((200, 200))


@pytest.fixture
def bucket(face):
    """A folder in the memory of this process, with four photos, one that is none, and other files."""
    memory = fsspec.filesystem("memory")
    for name in NAMES:
        data = io.BytesIO()
        face.save(data, {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".webp": "WEBP"}[Path(name).suffix])
        memory.pipe_file(f"/bucket/photos/{name}", data.getvalue())
    memory.pipe_file("/bucket/photos/cut.jpg", b"no photo")
    memory.pipe_file("/bucket/photos/notes.txt", b"no photo")
    yield memory
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


def written(memory, folder: str) -> dict[str, bytes]:
    return {path.removeprefix(f"{folder}/"): memory.cat_file(path) for path in memory.find(folder)}


def test_a_folder_at_a_url_is_edited_into_one_at_a_url(tiny_model, bucket, tmp_path):
    before = written(bucket, "/bucket/photos")
    report = edit_folder(tiny_model, "memory://bucket/photos", "memory://bucket/out/", "happy", 0.8, workers=1)
    assert report.counts == {"edited": 4, "unreadable": 1} and report.table == "memory://bucket/out/edits.csv"
    assert written(bucket, "/bucket/photos") == before
    results = written(bucket, "/bucket/out")
    assert results.keys() == {*NAMES[:3], "trip/scan.png", "edits.csv", "edits.json"}
    assert results["edits.csv"].decode().count(",edited,") == 4
    local = tmp_path / "b.png"
    local.write_bytes(results["trip/b.png"])
    expected = ExpressionEditor(tiny_model).edit(before["trip/b.png"], "happy", 0.8).image
    assert is_marked(local) and np.array_equal(load_photo(local), expected)

    again = edit_folder(tiny_model, "memory://bucket/photos", "memory://bucket/out", "happy", 0.8, workers=1)
    assert again.new == 0 and written(bucket, "/bucket/out") == results
    bucket.rm_file("/bucket/out/a.jpg")
    assert edit_folder(tiny_model, "memory://bucket/photos", "memory://bucket/out", "happy", 0.8, workers=1).new == 1
    assert "a.jpg" in written(bucket, "/bucket/out")
    with pytest.raises(ExprGANError, match=r"memory://bucket/out was begun with intensity 0\.8, not 0\.5"):
        edit_folder(tiny_model, "memory://bucket/photos", "memory://bucket/out", "happy", 0.5, workers=1)


def test_results_within_the_folder_are_not_read_and_one_folder_can_be_local(tiny_model, bucket, tmp_path, face):
    inner = edit_folder(tiny_model, "memory://bucket/photos", "memory://bucket/photos/edited", "happy", workers=1)
    again = edit_folder(tiny_model, "memory://bucket/photos", "memory://bucket/photos/edited", "happy", workers=1)
    assert len(inner.outcomes) == len(again.outcomes) == 5 and again.new == 0
    local = edit_folder(tiny_model, "memory://bucket/photos/trip", tmp_path / "out", "happy", workers=1)
    assert local.counts == {"edited": 3} and local.table == tmp_path / "out" / "edits.csv"
    face.save(tmp_path / "a.jpg")
    back = edit_folder(tiny_model, tmp_path, "memory://bucket/back", "sad", workers=1)
    assert back.counts["edited"] == 1 and "a.jpg" in written(bucket, "/bucket/back")


def test_no_existing_file_is_overwritten_unless_a_stopped_run_wrote_it(tiny_model, bucket):
    bucket.pipe_file("/bucket/out/a.jpg", b"mine")
    report = edit_folder(tiny_model, "memory://bucket/photos", "memory://bucket/out", "happy", workers=1)
    assert report.counts == {"edited": 3, "in the way": 1, "unreadable": 1}
    assert bucket.cat_file("/bucket/out/a.jpg") == b"mine"
    table, result = (bucket.cat_file(f"/bucket/out/{name}") for name in ("edits.csv", "trip/b.png"))
    lines = [line for line in table.decode().splitlines(keepends=True) if "trip/b.png" not in line]
    bucket.pipe_file("/bucket/out/edits.csv", "".join(lines).encode())  # its record was not uploaded before the kill
    report = edit_folder(tiny_model, "memory://bucket/photos", "memory://bucket/out", "happy", workers=1)
    record = next(record for record in report.outcomes if record.file == "trip/b.png")
    assert record.status == "edited" and "before a stop" in record.message
    assert bucket.cat_file("/bucket/out/trip/b.png") == result


def test_a_photo_that_cannot_be_downloaded_or_uploaded_stops_no_other(tiny_model, bucket, monkeypatch):
    download, upload = type(bucket).get_file, type(bucket).put_file

    def fail(action, name):
        def act(self, source, target, *args, **settings):
            if name in (Path(source).name, Path(target).name):
                raise PermissionError(f"no access to {name}")
            return action(self, source, target, *args, **settings)

        return act

    monkeypatch.setattr(type(bucket), "get_file", fail(download, "a.jpg"))
    monkeypatch.setattr(type(bucket), "put_file", fail(upload, "b.png"))
    report = edit_folder(tiny_model, "memory://bucket/photos", "memory://bucket/out", "happy", workers=1)
    assert report.counts == {"edited": 2, "failed": 2, "unreadable": 1}
    assert {record.file: record.message for record in report.outcomes if record.status == "failed"} == {
        "a.jpg": "memory://bucket/photos cannot be reached: PermissionError: no access to a.jpg",
        "trip/b.png": "memory://bucket/out cannot be reached: PermissionError: no access to b.png",
    }
    monkeypatch.undo()
    again = edit_folder(tiny_model, "memory://bucket/photos", "memory://bucket/out", "happy", workers=1)
    assert again.counts == {"edited": 4, "unreadable": 1}


def test_names_that_lead_out_of_the_folder_are_left_out(tiny_model, bucket, monkeypatch):
    entries = {"/bucket/photos/../../evil.jpg": {"size": 3}, "/bucket/photos/a.jpg": {"size": 9}}
    monkeypatch.setattr(type(bucket), "find", lambda *_, **__: entries)
    assert RemoteFolder("memory://bucket/photos").sizes() == {"a.jpg": 9}


def test_photos_of_a_data_set_on_the_hub_are_read_but_not_written(tiny_model, bucket, hub, tmp_path):
    hub.add("org/faces", {f"photos/{name}": data for name, data in written(bucket, "/bucket/photos").items()}, "dataset")
    url = "hf://datasets/org/faces/photos"
    report = edit_folder(tiny_model, url, tmp_path / "out", "happy", workers=1)
    assert report.counts == {"edited": 4, "unreadable": 1}
    with pytest.raises(ExprGANError, match="each would be a commit"):
        edit_folder(tiny_model, url, "hf://datasets/org/edited", "happy", workers=1)


def test_messages(tiny_model, bucket, tmp_path):
    def edit(folder, out=tmp_path / "out"):
        edit_folder(tiny_model, folder, out, "happy", workers=1)

    with pytest.raises(ExprGANError, match="ftq://photos cannot be reached: ValueError: Protocol not known"):
        edit("ftq://photos")
    with pytest.raises(ExprGANError, match="is no folder: a web server"):
        edit("https://example.org/photos")
    with pytest.raises(BadImageError, match="There is no photo in memory://bucket/empty"):
        edit("memory://bucket/empty")
    with pytest.raises(ValueError, match="holds the photos themselves"):
        edit("memory://bucket/photos/", "memory://bucket/photos")


def test_a_url_is_reached_by_processes_and_a_killed_command_continues(tiny_model, face, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for k in range(12):
        face.rotate(k / 4).save(photos / f"{k}.jpg")
    tiny_model.save_pretrained(tmp_path / "model")
    command = [sys.executable, "-m", "exprgan", "edit", photos.as_uri(), "happy", "--out", out.as_uri(), "--jobs", "2",
               "--model", str(tmp_path / "model")]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len([*out.glob("*.jpg")]) < 3 and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.jpg")}
    assert 3 <= len(before) < 12
    while any(path.stat().st_size == 0 for path in out.glob("*.jpg")):  # workers end when they see that it died
        time.sleep(0.1)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "12 photos: 12 edited" in done.stdout, done.stderr
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.jpg")}.items() >= before.items()
    assert len([*out.glob("*.jpg")]) == 12 and all(is_marked(path) for path in out.glob("*.jpg"))
    assert os.listdir(out) and not [name for name in os.listdir(out) if name.startswith(".")]


def test_a_url_is_for_folders(tmp_path, capsys, face):
    face.save(tmp_path / "a.png")
    assert main(["edit", str(tmp_path / "a.png"), "happy", "--out", "s3://bucket/out"]) != 0
    assert "s3://bucket/out can be the folder of a folder's edited photos" in capsys.readouterr().err
    for url in ("https://example.org/photos", "s3://bucket/a.JPG"):
        assert main(["edit", url, "happy", "--out", str(tmp_path / "out")]) != 0
        assert f"{url} is no folder of photos; for one photo: curl" in capsys.readouterr().err
