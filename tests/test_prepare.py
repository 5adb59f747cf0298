"""`prepare`: from a data set's own layout to a training folder, and its errors."""

import json
import os
import shutil
import signal
from collections import Counter
from functools import partial

import fsspec
import numpy as np
import pytest
from fake_oulu import FACES, frame, make_oulu
from labelled import finder, photo, table
from PIL import Image

from exprgan.batch.remote_folder import RemoteError
from exprgan.photo.alignment import EYES, transform
from exprgan.photo.detection import find_faces
from exprgan.photo.image_io import load_photo
from exprgan.process_pool import map_items
from train.__main__ import main
from train.core.train_errors import DataError
from train.data import FaceFolder
from train.data import prepare as prepare_module
from train.data.five_point_alignment import FIVE_POINTS, crop_by_landmarks
from train.data.photo_sources import SOURCES, LabelledPhoto
from train.data.picture_pack import MappedPictures
from train.data.prepare import PrepareConfig, prepare
from train.data.validation import find_problems

SOME = PrepareConfig(allow_incomplete=True)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A tree with all 80 people of Oulu-CASIA."""
    return make_oulu(tmp_path_factory.mktemp("oulu") / "Oulu-CASIA")


@pytest.fixture
def small(tmp_path):
    """A tree with one person of the authors' training set and one of their test set."""
    return make_oulu(tmp_path / "src", people=(8, 73), decoys=("NI/Strong",))


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Oulu-CASIA.


def test_the_full_set_has_the_counts_of_the_paper(full, tmp_path, capsys):
    assert main(["prepare", "oulu", str(full), str(tmp_path / "out"), "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "oulu: 1,440 pictures of 1,440 expected" in output
    assert (
        "train: 1,296 pictures of 72 people (angry 216, disgust 216, fear 216, happy 216, sad 216, surprise 216" in output
    )
    assert "test: 144 pictures of 8 people (angry 24" in output
    assert not (tmp_path / "out").exists()


def test_the_rows_are_the_last_three_frames_of_visible_light_under_strong_light(full):
    rows = list(SOURCES["oulu"].read(full, None))
    assert Counter(row.fold for row in rows) == dict.fromkeys(range(10), 144)
    assert {row.subject for row in rows if row.split == "test"} == {f"P{n:03d}" for n in range(73, 81)}
    assert {row.subject for row in rows if row.fold == 9} == {f"P{n:03d}" for n in range(73, 81)}
    assert {row.path.parents[2].relative_to(full).as_posix() for row in rows} == {"OriginalImg/VL/Strong"}
    first = [row.path for row in rows if row.subject == "P001" and row.expression == "Anger"]
    assert first == sorted(first[0].parent.glob("*.jpeg"))[-3:]


@pytest.mark.parametrize("start", ["", "OriginalImg", "OriginalImg/VL", "OriginalImg/VL/Strong"])
def test_any_folder_above_the_people_is_accepted(full, start):
    assert sum(isinstance(row, LabelledPhoto) for row in SOURCES["oulu"].read(full / start, None)) == 1440


def test_what_is_missing_is_listed_and_refused_unless_allowed(small, tmp_path, capsys):
    strong = small / "OriginalImg/VL/Strong"
    shutil.rmtree(strong / "P008/Fear")
    for path in sorted((strong / "P073/Anger").iterdir())[2:]:
        path.unlink()
    assert main(["prepare", "oulu", str(small), str(tmp_path / "out"), "--dry-run"]) == 1
    printed = capsys.readouterr()
    assert "oulu: 32 pictures of 1,440 expected" in printed.out
    for line in (
        "78 of 80 people are missing: P001-P007, P009-P072, P074-P080",
        "sequence P008/Fear is missing",
        "sequence P073/Anger has 2 of at least 3 frames",
        "--allow-incomplete",
    ):
        assert line in printed.err
    assert main(["prepare", "oulu", str(small), str(tmp_path / "out"), "--dry-run", "--allow-incomplete"]) == 0


def test_the_cropped_copy_or_another_camera_is_not_taken(tmp_path):
    photo(tmp_path / "PreProcess_Img/VL_Acropped/Strong/P001/Anger/000.jpeg")
    photo(tmp_path / "OriginalImg/NI/Strong/P001/Anger/000.jpeg")
    with pytest.raises(DataError, match="holds no folder VL/Strong"):
        prepare("oulu", str(tmp_path), str(tmp_path.parent / "out"), SOME)
    for copy in ("one", "two"):
        photo(tmp_path / copy / "VL/Strong/P001/Anger/000.jpeg")
    with pytest.raises(DataError, match="holds 2 folders VL/Strong"):
        prepare("oulu", str(tmp_path), str(tmp_path.parent / "out"), SOME)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A prepared folder of two people, and the names of two bad frames: one shows no face, one is no picture."""
    root = tmp_path_factory.mktemp("prepared")
    src = make_oulu(root / "src", people=(8, 73), decoys=("NI/Strong",))
    blank, broken = (sorted((src / "OriginalImg/VL/Strong/P008" / name).iterdir())[-1] for name in ("Anger", "Fear"))
    for path in (blank, broken):
        path.unlink()  # a hard link: the other frames stay as they are
    photo(blank)
    broken.write_bytes(b"no picture")
    assert main(["prepare", "oulu", str(src), str(root / "out"), "--allow-incomplete"]) == 0
    return root / "out", [path.relative_to(src).as_posix() for path in (blank, broken)]


def test_a_prepared_set_passes_the_check_and_is_loaded(prepared):
    out, _ = prepared
    rows = table(out)
    assert not find_problems(out)
    assert Counter((row["subject"], row["split"], row["fold"]) for row in rows) == {
        ("P008", "train", "0"): 16,
        ("P073", "test", "9"): 18,
    }
    faces = FaceFolder.load(out, "test")
    assert faces.images.shape == (18, 3, 128, 128) and Counter(faces.expression.tolist()) == dict.fromkeys(range(6), 3)
    assert faces.intensity.isnan().all()
    assert FaceFolder.load(out, "test", fold=9).file_names == faces.file_names


def test_the_eyes_of_the_crops_lie_where_alignment_puts_them(prepared):
    out, _ = prepared
    for row in table(out)[::9]:
        found = find_faces(load_photo(out / row["file_name"]))[0]
        assert np.abs(np.divide(found.landmarks[:2], 128) - EYES).max() < 0.02


def test_a_frame_without_a_face_is_left_out_and_named(prepared):
    out, (blank, broken) = prepared
    report = json.loads((out / "report.json").read_text())
    assert report["no_face"] == [blank]
    assert len(report["unreadable"]) == 1 and report["unreadable"][0].startswith(broken)
    assert (report["found"], report["expected"], report["written"]) == (36, 1440, 34)
    assert 44 < report["eye_distance_px"]["median"] < 50
    assert not {f"images/{name}.png" for name in (blank, broken)} & {row["file_name"] for row in table(out)}


def test_a_stopped_run_resumes_and_writes_the_same_folder(tmp_path, drawn, monkeypatch):
    small = make_oulu(tmp_path / "src", people=(8,), decoys=())
    complete, stopped = tmp_path / "complete", tmp_path / "stopped"
    prepare("oulu", str(small), str(complete), SOME)

    seen = []

    def power_cut(photo):
        seen.append(photo)
        if len(seen) == 11:
            (stopped / "images" / f".{'0' * 32}.part").write_bytes(b"half a crop")
            raise KeyboardInterrupt
        return finder(photo)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("train.data.prepare.find_faces", power_cut)
        prepare("oulu", str(small), str(stopped), SOME)
    assert len(list(stopped.rglob("*.png"))) == 10 and not (stopped / "metadata.csv").exists()

    searched = []
    monkeypatch.setattr("train.data.prepare.find_faces", lambda photo: searched.append(photo) or finder(photo))
    prepare("oulu", str(small), str(stopped), SOME)
    assert len(searched) == 8 and files(complete) == files(stopped)


def test_a_large_set_is_packed_before_its_table_is_written(tmp_path, drawn, monkeypatch, capsys):
    for name in ("a", "b", "c"):
        photo(tmp_path / "src/happy" / f"{name}.jpg")
    monkeypatch.setattr("train.data.picture_pack.PACK_FROM", 3)
    prepare("folder", str(tmp_path / "src"), str(tmp_path / "out"), SOME)
    assert "3 pictures packed, 0 of them before" in capsys.readouterr().out
    assert isinstance(FaceFolder.load(tmp_path / "out", "test", mapped=True).images, MappedPictures)
    photo(tmp_path / "src/happy/d.jpg")
    monkeypatch.setattr("train.data.picture_pack.pack_pictures", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare("folder", str(tmp_path / "src"), str(tmp_path / "out"), SOME)
    assert not (tmp_path / "out/metadata.csv").exists()


def kill_at_one(photo):
    """Kills a worker process at the picture of one colour, and finds the same face in the others."""
    if len(set(photo.convert("L").resize((4, 4)).tobytes())) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return finder(photo)


def map_with_faces(function, items, workers, died):
    """`map_items` whose processes find `kill_at_one`'s faces."""
    return map_items(partial(call_with_faces, function), items, workers, died)


def call_with_faces(function, item):
    prepare_module.find_faces = kill_at_one
    return function(item)


@pytest.mark.slow
def test_processes_write_the_same_folder_and_name_the_photo_that_kills_one(tmp_path, drawn, monkeypatch):
    for name in ("a", "b", "c", "d", "e"):
        photo(tmp_path / "src/happy" / f"{name}.jpg")
    here, there = tmp_path / "here", tmp_path / "there"
    prepare("folder", str(tmp_path / "src"), str(here), SOME)
    with monkeypatch.context() as patch:
        patch.setattr("train.data.prepare.map_items", map_with_faces)
        prepare("folder", str(tmp_path / "src"), str(there), PrepareConfig(workers=2))
        assert files(here) == files(there)
        Image.new("RGB", (320, 240)).save(tmp_path / "src/happy/f.jpg")
        prepare("folder", str(tmp_path / "src"), str(there), PrepareConfig(workers=2))
    report = json.loads((there / "report.json").read_text())
    problem = "the process that read it died (SIGKILL(-9)); is it very large, or memory short?"
    assert report["unreadable"] == [f"happy/f.jpg: {problem}"] and report["written"] == 5
    prepare("folder", str(tmp_path / "src"), str(there), SOME)
    assert json.loads((there / "report.json").read_text())["written"] == 6


def test_photos_at_a_url_are_prepared_as_those_of_a_folder(tmp_path, drawn, capsys):
    photos, memory = tmp_path / "photos", fsspec.filesystem("memory")
    for person in ("a", "b", "c", "d"):
        for label in ("happy", "sad"):
            photo(photos / person / label / "x.jpg")
    (photos / "a/happy/notes.txt").write_text("no photo")
    memory.put(f"{photos}/", "/set/photos/", recursive=True)
    config = PrepareConfig(test_share=0.5)
    prepare("folder", str(photos), str(tmp_path / "local"), config)
    try:
        prepare("folder", "memory://set/photos", str(tmp_path / "remote"), config)
        assert "in memory://set/photos" in capsys.readouterr().out
        with pytest.raises(DataError, match="memory://set/photos holds no labelled photos in the form of kdef"):
            prepare("kdef", "memory://set/photos", str(tmp_path / "none"), config)
        with pytest.raises(RemoteError, match="nowhere://photos cannot be reached"):
            prepare("folder", "nowhere://photos", str(tmp_path / "none"), config)
    finally:
        memory.rm("/set", recursive=True)
    assert files(tmp_path / "local") == files(tmp_path / "remote") and len(files(tmp_path / "remote")) == 10


def test_of_several_faces_the_largest_is_taken(tmp_path):
    small_face, large_face = sorted(FACES.glob("train/*/neutral*.jpg"))[:2]
    both = Image.new("RGB", (480, 240), (112, 112, 116))
    both.paste(frame(small_face).resize((160, 120)), (0, 60))
    both.paste(frame(large_face), (160, 0))
    (tmp_path / "src/happy").mkdir(parents=True)
    both.save(tmp_path / "src/happy/two.png")
    prepare("folder", str(tmp_path / "src"), str(tmp_path / "out"), PrepareConfig())
    assert json.loads((tmp_path / "out/report.json").read_text())["several_faces"] == ["happy/two.png"]
    crop = np.asarray(Image.open(tmp_path / "out/images/happy/two.png.png"), dtype=float)
    with Image.open(large_face) as large:
        assert np.abs(crop - np.asarray(large, dtype=float))[30:100, 30:100].mean() < 12


# Alignment and settings.


def test_five_landmarks_in_the_right_shape_are_aligned_exactly():
    turned = np.array([(0.9, -0.3), (0.3, 0.9)])
    landmarks = np.array(FIVE_POINTS) @ turned.T * 40 + (70, 30)
    matrix = crop_by_landmarks(landmarks, 128)
    assert np.allclose(transform(matrix, landmarks), np.array(FIVE_POINTS) * 128)
    with pytest.raises(ValueError, match="fix no crop"):
        crop_by_landmarks([(3, 3)] * 5, 128)


def test_crops_of_other_settings_are_made_anew(tmp_path, drawn, capsys):
    photo(tmp_path / "src/happy/a.jpg")
    photo(tmp_path / "src/sad/b.jpg")
    shapes = []
    for config in (
        PrepareConfig(),
        PrepareConfig(image_size=64),
        PrepareConfig(image_size=64, align="landmarks"),
    ):
        prepare("folder", str(tmp_path / "src"), str(tmp_path / "out"), config)
        with Image.open(tmp_path / "out/images/happy/a.jpg.png") as crop:
            shapes.append((crop.size, json.loads(crop.info["exprgan"])["align"]))
    assert shapes == [((128, 128), "eyes"), ((64, 64), "eyes"), ((64, 64), "landmarks")]
    assert "note:" not in capsys.readouterr().out
    photo(tmp_path / "src/sad/c.jpg")
    (tmp_path / "src/sad/b.jpg").unlink()
    prepare("folder", str(tmp_path / "src"), str(tmp_path / "out"), config)
    assert "2 crops of 64 px, 1 of them from before" in (output := capsys.readouterr().out)
    assert "note: 1 more pictures in" in output


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--test-share", "1"], "test_share must lie in 0..1"),
        (["--image-size", "2"], "image_size must be at least 16"),
        (["--workers", "-1"], "workers must be at least 0"),
    ],
)
def test_settings_that_cannot_work_are_errors(tmp_path, flags, message, capsys):
    assert main(["prepare", "folder", str(tmp_path), str(tmp_path / "out"), *flags]) == 1
    assert message in capsys.readouterr().err


def test_the_crops_may_not_lie_among_the_photos(tmp_path):
    with pytest.raises(DataError, match="lies inside"):
        prepare("folder", str(tmp_path), str(tmp_path / "out"), SOME)
