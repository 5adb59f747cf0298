"""What `check` and every training say about pictures and classes: shape, colour, copies, numbers of people."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from exprgan.folder_paths import find_path_problems
from train.__main__ import main
from train.core.train_errors import DataError
from train.data import FaceFolder
from train.data.fingerprint import fingerprint
from train.data.metadata import print_warnings, read_metadata, write_metadata
from train.data.validation import MIN_CLASS_PEOPLE, find_problems, inspect_folder, warn_of_shortages


@pytest.fixture
def copy(faces_dir, tmp_path):
    return shutil.copytree(faces_dir, tmp_path / "faces")


def read_rows(folder):
    with (folder / "metadata.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def make_folder(folder, labels, people=5):
    """Writes a folder of noise: a picture per label, of `people` people in train and of one in test; returns its rows."""
    rows, noise = [], np.random.default_rng(0)
    for number, label in enumerate(labels):
        split, subject = ("test", "last") if number % (people + 1) == people else ("train", f"P{number % (people + 1)}")
        row = {"file_name": f"{number:03d}.png", "subject": subject, "expression": label, "split": split}
        Image.fromarray(noise.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / row["file_name"])
        rows.append(row)
    write_metadata(folder, rows)
    return rows


@pytest.fixture
def two_classes(tmp_path):
    """30 pictures, half of them happy and half of them sad."""
    make_folder(tmp_path, ["happy", "sad"] * 15, people=4)
    return tmp_path


@pytest.mark.parametrize(
    ("picture", "problem"),
    [
        (Image.linear_gradient("L").resize((128, 100)), "is 128 x 100 px and would be distorted to a square"),
        (Image.new("L", (128, 128)), "is of one colour and shows no face"),
        (Image.new("RGB", (128, 128), "white"), "is of one colour"),
        (Image.effect_noise((128, 128), 1), "is of one colour"),
    ],
    ids=["oblong", "black", "white", "noise in the dark"],
)
def test_a_picture_that_is_not_square_or_of_one_colour_is_refused(copy, picture, problem):
    name = read_rows(copy)[0]["file_name"]
    picture.convert("RGB").save(copy / name, quality=95)
    assert [line for line in find_problems(copy) if problem in line and name in line] == find_problems(copy)
    with pytest.raises(DataError, match=problem):
        FaceFolder.load(copy, "train", image_size=32)


def test_a_dim_photo_is_no_picture_of_one_colour(copy):
    path = copy / read_rows(copy)[0]["file_name"]
    Image.open(path).point(lambda level: level // 8).save(path, quality=95)
    assert not find_problems(copy)


@pytest.mark.parametrize(
    ("changed", "is_error"), [({"expression": "sad"}, False), ({"subject": "P1"}, False),
                              ({"subject": "last", "split": "test"}, True)],
    ids=["label", "subject", "split"],
)  # fmt: skip
def test_the_same_picture_twice_is_found_whatever_its_header(tmp_path, changed, is_error):
    rows = make_folder(tmp_path, ["happy"] * 12)
    header = PngImagePlugin.PngInfo()
    header.add_text("Comment", "saved again")
    Image.open(tmp_path / "000.png").save(tmp_path / "copy.png", pnginfo=header)
    write_metadata(tmp_path, [*rows, rows[0] | {"file_name": "copy.png"}])
    before = inspect_folder(tmp_path, ("happy", "sad"), training=False)
    assert not before.errors and not before.warnings  # a copy that agrees does no harm
    write_metadata(tmp_path, [*rows, rows[0] | {"file_name": "copy.png"} | changed])
    found = inspect_folder(tmp_path, ("happy", "sad"), training=False)
    (line,) = found.errors if is_error else found.warnings
    assert not (found.warnings if is_error else found.errors)
    assert line.startswith("000.png, copy.png are the same picture, but differ in ")
    for column, value in changed.items():
        assert f"{column} ({rows[0][column]!r}, {value!r})" in line
    Image.open(tmp_path / "copy.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "copy.png")
    after = inspect_folder(tmp_path, ("happy", "sad"), training=False)
    assert not after.errors and not after.warnings


def test_of_many_copies_three_are_named(tmp_path):
    rows = make_folder(tmp_path, ["happy"] * 12)
    for row in rows[1:5]:
        shutil.copy(tmp_path / "000.png", tmp_path / row["file_name"])
    write_metadata(tmp_path, rows)
    (line,) = inspect_folder(tmp_path, ("happy",), training=False).warnings
    assert line.startswith(
        "000.png, 001.png, 002.png and 2 more are the same picture, but differ in subject ('P0', 'P1', 'P2')"
    )


SENTENCE = (
    "split 'train' has 24 pictures of 2 of the 6 expressions (happy 12, sad 12) and none of angry, disgust, fear, "
    "surprise; add pictures of each, or train a model of the others alone (--expressions happy,sad)"
)


def test_a_folder_of_two_classes_fails_the_check_unless_they_are_all_that_is_trained(two_classes, capsys):
    assert main(["check", str(two_classes)]) == 1
    output = capsys.readouterr().err
    assert SENTENCE in output
    assert "warning: split 'test' has no pictures of angry, disgust, fear, surprise" in output
    assert "warning: split 'train' has few people for happy (12 pictures of 4 people), sad (12 pictures of 4" in output
    assert main(["check", str(two_classes), "--expressions", "happy,sad"]) == 0
    assert not find_problems(two_classes)  # it may be published all the same


@pytest.mark.parametrize("command", ["facenet", "judge"])
def test_no_training_starts_on_a_folder_of_two_classes(two_classes, tmp_path, command, capsys):
    assert main([command, str(two_classes), "--out", str(tmp_path / "out"), "--steps", "1", "--cpu"]) == 1
    assert SENTENCE in capsys.readouterr().err and not list((tmp_path / "out").glob("*.safetensors"))


def test_pairs_of_two_classes_are_warned_of(two_classes, capsys):
    warn_of_shortages(two_classes, ("happy", "sad", "fear"))
    assert "and none of fear" in capsys.readouterr().err
    warn_of_shortages(two_classes, ("happy", "sad", "fear"), verbose=False)
    assert not capsys.readouterr().err
    write_metadata(two_classes, [row | {"expression": "glum"} for row in read_rows(two_classes)])
    with pytest.raises(DataError, match="unknown expression 'glum'"):
        warn_of_shortages(two_classes, ("happy", "sad"))


def test_one_person_is_not_enough_to_train_on(tmp_path):
    make_folder(tmp_path, ["happy", "happy"], people=1)
    (error,) = inspect_folder(tmp_path, ("happy",)).errors
    assert error.startswith("split 'train' shows one person only, 'P0'")


@pytest.mark.parametrize("people", [MIN_CLASS_PEOPLE - 1, MIN_CLASS_PEOPLE])
def test_an_expression_of_few_people_is_warned_of(tmp_path, people):
    make_folder(tmp_path, ["happy"] * (people + 1), people)
    found = inspect_folder(tmp_path, ("happy",))
    assert not found.errors and len(found.warnings) == (people < MIN_CLASS_PEOPLE)
    assert all(f"happy ({people} pictures of {people} people)" in line for line in found.warnings)


def test_the_check_of_a_fold_counts_what_is_trained_on(copy):
    rows = read_rows(copy)
    people = sorted({row["subject"] for row in rows})
    write_metadata(copy, [row | {"fold": str(people.index(row["subject"]) // 3)} for row in rows])
    assert "all but fold 1 has few people for angry (3 pictures of 3" in inspect_folder(copy, fold=1).warnings[0]
    assert "metadata.csv has no rows of fold 7 and an expression" in inspect_folder(copy, fold=7).errors


def test_training_lists_the_first_twenty_warnings(capsys):
    print_warnings([str(n) for n in range(23)], "`check` lists all")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["warning: 0", "warning: 1"] and lines[20:] == ["warning: 3 more; `check` lists all"]


# Pictures of no class.


def test_random_action_units_have_no_class_and_are_counted_and_left_out(copy, capsys):
    def unlabel(row, number):
        extra = {"yaw": "-12.5", "pitch": "", "light": "side", "gaze": "3 -2", "mouth": '{"gap": 0.1}'}
        return row | extra | ({"expression": "", "action_units": '{"12":[0.4,0.1]}'} if number in (1, 2, 30) else {})

    write_metadata(copy, [unlabel(row, number) for number, row in enumerate(read_rows(copy))])
    assert main(["check", str(copy)]) == 0
    output = capsys.readouterr().out
    assert "train: 28 pictures of 4 people (angry 3" in output and "neutral 4; 2 pictures of no class)" in output
    assert "neutral 2; 1 pictures of no class)" in output
    faces = FaceFolder.load(copy, "train", image_size=32, varied=True)
    names = [row["file_name"] for row in read_rows(copy)]
    assert len(faces) == 26 and not {names[1], names[2]} & set(faces.file_names) and faces.expression.max() == 6


def test_a_picture_without_a_class_and_without_action_units_lacks_a_label(copy):
    rows = read_rows(copy)
    write_metadata(copy, [rows[0] | {"expression": " "}, rows[1] | {"expression": ""}, *rows[2:]])
    assert find_problems(copy) == [f"{rows[0]['file_name']} has no expression, nor action_units instead of one"]


def test_pictures_of_no_class_alone_are_no_split(copy):
    rows = read_rows(copy)
    write_metadata(
        copy, [row if row["split"] == "train" else row | {"expression": "", "action_units": "{}"} for row in rows]
    )
    problem = "metadata.csv has no rows with split 'test' and an expression"
    assert find_problems(copy) == [problem]
    with pytest.raises(DataError, match=problem):
        FaceFolder.load(copy, "test")


@pytest.mark.parametrize(("column", "text"), [("yaw", "91"), ("pitch", "-100"), ("yaw", "left")])
def test_a_pose_that_is_none_is_found(copy, column, text):
    rows = read_rows(copy)
    write_metadata(copy, [row | {column: text if row is rows[0] else ""} for row in rows])
    (problem,) = find_problems(copy)
    assert f"has the {column} {text}" in problem.replace("'", "")


def test_pictures_of_another_pose_gaze_or_light_are_loaded_only_when_asked_for(copy):
    rows = read_rows(copy)
    turned = [row["file_name"] for row in rows if row["split"] == "train"][:3]
    values = dict(zip(turned, ({"yaw": "12.0"}, {"gaze": "[3,1]"}, {"light": "{}"}), strict=True))
    write_metadata(copy, [{"yaw": "", "gaze": "", "light": ""} | row | values.get(row["file_name"], {}) for row in rows])
    usual, every = FaceFolder.load(copy, "train", 16), FaceFolder.load(copy, "train", 16, varied=True)
    assert set(every.file_names) - set(usual.file_names) == set(turned)


def test_pictures_outside_of_the_folder_are_listed_with_their_rows_and_never_read(tmp_path, faces_dir, capsys):
    folder, outside = tmp_path / "data", tmp_path / "outside.jpg"
    shutil.copytree(faces_dir, folder)
    rows = read_metadata(folder)
    shutil.copy(folder / rows[0]["file_name"], outside)
    (folder / "link.jpg").symlink_to(outside)
    (folder / "own.jpg").symlink_to(rows[5]["file_name"])
    (folder / "album").symlink_to(tmp_path)
    names = ("../outside.jpg", str(outside), "link.jpg", "album/outside.jpg", "x/../../outside.jpg")
    wrong = [row | {"file_name": name} for row, name in zip(rows, names, strict=False)]
    write_metadata(folder, [*wrong, *rows[len(wrong) :]])
    assert main(["check", str(folder)]) == 1
    listed = capsys.readouterr().err
    for number, name in enumerate(names, 2):
        assert f"row {number}: {name!r} leads out of {folder}" in listed
    for read in (read_metadata, fingerprint, lambda root: FaceFolder.load(root, "train")):
        with pytest.raises(DataError, match=r"5 problems\n  - row 2: '../outside.jpg' leads out of"):
            read(folder)
    write_metadata(folder, [*rows[:5], rows[5] | {"file_name": "own.jpg"}, *rows[6:]])
    assert read_metadata(folder)[5]["file_name"] == "own.jpg"  # a link within the folder

    given = tmp_path / "given"
    given.symlink_to(folder)
    assert len(read_metadata(given)) == len(rows)


def test_the_hubs_cache_may_link_to_its_blobs_alone(tmp_path):
    snapshot, blobs = tmp_path / "set" / "snapshots" / "abc", tmp_path / "set" / "blobs"
    (snapshot / "images").mkdir(parents=True)
    blobs.mkdir()
    (blobs / "0a").write_bytes(b"")
    (tmp_path / "set" / "secret").write_bytes(b"")
    (snapshot / "images" / "a.jpg").symlink_to("../../../blobs/0a")
    (snapshot / "images" / "b.jpg").symlink_to("../../../secret")
    assert find_path_problems(("images/a.jpg", "images/b.jpg", "", "."), snapshot) == {
        "images/b.jpg": f"leads out of {snapshot} by a link"
    }


def test_names_that_no_file_has_are_refused(tmp_path):
    assert find_path_problems(("a\0b", "a" * 5000, "loop/x"), tmp_path).keys() == {"a\0b"}
    (tmp_path / "loop").symlink_to("loop")
    assert not find_path_problems(("loop", "loop/x"), tmp_path)  # reading it fails, and says why
