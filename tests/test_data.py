"""The data format, its batches and its augmentation."""

import csv
import shutil

import pytest
import torch

from train.__main__ import main
from train.core.train_errors import DataError
from train.data import FaceFolder, transforms
from train.data.face_folder import batch_indices
from train.data.transforms import augment, augment_lighting, augment_scene
from train.data.validation import find_problems


@pytest.fixture
def copy(faces_dir, tmp_path):
    return shutil.copytree(faces_dir, tmp_path / "faces")


def rewrite_table(folder, change):
    """Applies `change` to every row of metadata.csv."""
    path = folder / "metadata.csv"
    rows = [change(row) for row in csv.DictReader(path.open(newline=""))]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_a_split_is_loaded_as_its_rows_state(faces_dir):
    faces = FaceFolder.load(faces_dir, "train")
    assert faces.images.shape == (28, 3, 128, 128) and faces.images.dtype == torch.uint8
    assert len(faces.subjects) == 4 and set(faces.subject.tolist()) == {0, 1, 2, 3}
    assert set(faces.expression.tolist()) == set(range(7))
    assert faces.intensity.min() >= 0 and faces.intensity.max() <= 1


def test_neutral_and_weak_pictures_stay_out_of_the_six_classes(faces_dir):
    faces = FaceFolder.load(faces_dir, "train", image_size=32)
    expressive = faces.expressive()
    assert len(expressive) == (faces.expression < 6).sum()
    strong = faces.expressive(0.7)
    assert 0 < len(strong) < len(expressive) and strong.intensity.min() >= 0.7
    assert torch.equal(expressive.one_hot(torch.arange(len(expressive))).argmax(1), expressive.expression)

    with_neutral = faces.expressive(0.7, neutral=True)
    assert len(with_neutral) == len(strong) + (faces.expression == 6).sum()
    assert not with_neutral.one_hot((with_neutral.expression == 6).nonzero().squeeze(1)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: {k: v for k, v in row.items() if k != "split"}, "lacks the column 'split'"),
        (lambda row: row | {"expression": "bored"}, "unknown expression 'bored'"),
        (lambda row: row | {"split": "dev"}, "no rows with split 'train'"),
        (lambda row: row | {"file_name": "gone.jpg"}, r"gone\.jpg cannot be read as a picture"),
    ],
    ids=["column", "label", "split", "file"],
)
def test_loading_a_wrong_folder_raises_an_error_that_names_the_problem(copy, change, message):
    rewrite_table(copy, change)
    with pytest.raises(DataError, match=message):
        FaceFolder.load(copy, "train")


def test_the_error_of_a_folder_without_metadata_names_the_columns(tmp_path):
    with pytest.raises(DataError, match=r"metadata\.csv does not exist; the folder needs one"):
        FaceFolder.load(tmp_path, "train")


def change_row(folder, number, **cells):
    """Changes cells of one row, counted from 0; new columns stay empty in the other rows."""
    rows = iter(range(10**6))
    rewrite_table(
        folder, lambda row: row | (cells if next(rows) == number else {name: row.get(name, "") for name in cells})
    )


FIRST = "train/V0003/neutral_virtual_000_03660.jpg"


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"expression": "bored"}, f"{FIRST}: unknown expression 'bored'"),
        ({"expression": ""}, f"{FIRST} has no expression"),
        ({"subject": " "}, f"{FIRST} has no subject"),
        ({"file_name": ""}, "row 2 has no file_name"),
        ({"intensity": "1.2"}, f"{FIRST} has the intensity 1.2, which is outside 0..1"),
        ({"intensity": "-0.1"}, f"{FIRST} has the intensity -0.1, which is outside 0..1"),
        ({"intensity": "strong"}, f"{FIRST} has the intensity 'strong', which is no number"),
        ({"split": "test"}, "person 'V0003' is in split 'test' and 'train'"),
        ({"fold": "1"}, "fear_tense_034_03847.jpg has no fold"),
        ({"fold": "-1"}, f"{FIRST} has the fold '-1', which is no whole number from 0"),
        ({"file_name": "train/gone.jpg"}, "train/gone.jpg cannot be read as a picture: there is no such file"),
        ({"file_name": "metadata.csv"}, "metadata.csv cannot be read as a picture"),
        ({"file_name": "train/V0003/angry_shout_099_03662.jpg"}, "angry_shout_099_03662.jpg is listed 2 times"),
    ],
    ids=lambda value: "-".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_each_problem_of_a_folder_is_found_by_the_check_and_by_loading(copy, cells, problem):
    assert not find_problems(copy)
    change_row(copy, 0, **cells)
    assert any(problem in line for line in find_problems(copy))
    with pytest.raises(DataError) as caught:
        FaceFolder.load(copy, "train")
    assert problem in str(caught.value)


def test_a_half_downloaded_picture_is_found(copy):
    path = copy / FIRST
    path.write_bytes(path.read_bytes()[:1500])
    assert len(find_problems(copy)) == 1 and f"{FIRST} cannot be read as a picture" in find_problems(copy)[0]
    with pytest.raises(DataError, match="cannot be read as a picture"):
        FaceFolder.load(copy, "train")
    assert len(FaceFolder.load(copy, "test")) == 14  # whose pictures are whole


def test_a_row_that_is_too_long_and_a_file_that_is_no_csv_are_found(copy):
    path = copy / "metadata.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\n" + ",".join("a" * 40) + "\n", encoding="utf-8")
    assert any("a has more cells than metadata.csv has columns" in line for line in find_problems(copy))
    path.write_bytes(text.replace("London", "L\xf6ndon").encode("latin-1"))
    assert "cannot be read as CSV in UTF-8" in find_problems(copy)[0]


def test_loading_lists_the_first_twenty_problems_and_the_check_lists_all(copy, capsys):
    rewrite_table(copy, lambda row: row | {"expression": "bored", "intensity": "2"})
    with pytest.raises(DataError) as caught:
        FaceFolder.load(copy, "train")
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("84 problems") and len(lines) == 22 and lines[-1] == "  - and 64 more"
    assert main(["check", str(copy)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 85


def test_the_check_of_a_valid_folder_prints_its_counts(faces_dir, capsys):
    assert main(["check", str(faces_dir)]) == 0
    output = capsys.readouterr().out
    assert "train: 28 pictures of 4 people (angry 4, disgust 4" in output and "neutral 2)" in output
    assert "intensity known for 42 of 42" in output and "sizes: 128 x 128 px: 42" in output


def test_an_empty_split_is_found(copy):
    rewrite_table(copy, lambda row: row | {"split": "train"})
    assert find_problems(copy) == ["metadata.csv has no rows with split 'test' and an expression"]


def test_a_table_from_a_spreadsheet_is_read(copy):
    path = copy / "metadata.csv"
    path.write_text("\ufeff" + path.read_text(encoding="utf-8").replace("\n", "\r\n"), encoding="utf-8", newline="")
    assert len(FaceFolder.load(copy, "train", image_size=32)) == 28


def test_a_fold_is_tested_and_all_others_train(copy):
    with pytest.raises(DataError, match="has no column 'fold'"):
        FaceFolder.load(copy, "train", fold=0)
    people = ("V0003", "V0019", "V0024", "V0036", "V0006", "V0134")
    rewrite_table(copy, lambda row: row | {"fold": str(people.index(row["subject"]) // 2)})
    for fold in range(3):
        train, test = (FaceFolder.load(copy, split, image_size=32, fold=fold) for split in ("train", "test"))
        assert test.subjects == tuple(sorted(people[2 * fold : 2 * fold + 2]))
        assert not set(train.subjects) & set(test.subjects) and len(train) + len(test) == 42
    with pytest.raises(DataError, match="has no rows of fold 3"):
        FaceFolder.load(copy, "test", fold=3)
    with pytest.raises(ValueError, match="not 'dev'"):
        FaceFolder.load(copy, "dev", fold=0)
    change_row(copy, 0, fold="1")
    with pytest.raises(DataError, match="person 'V0003' is in fold '0' and '1'"):
        FaceFolder.load(copy, "train", fold=0)


def test_every_epoch_has_every_picture_once_in_another_order():
    first, second = ([batch_indices(20, 5, step + start, seed=1) for step in range(4)] for start in (0, 4))
    assert sorted(torch.cat(first).tolist()) == sorted(torch.cat(second).tolist()) == list(range(20))
    assert torch.cat(first).tolist() != torch.cat(second).tolist()


def test_processes_share_an_epoch_without_overlap():
    drawn = torch.cat([batch_indices(24, 4, step, rank=rank, world=2) for step in range(3) for rank in range(2)])
    assert sorted(drawn.tolist()) == list(range(24))


def test_fewer_pictures_than_a_batch_are_repeated():
    assert batch_indices(3, 8, 0).shape == (8,)


def test_augmentation_without_strength_only_flips():
    x = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)
    augmented = augment(x, torch.Generator().manual_seed(0))
    plain = x.float() / 127.5 - 1
    flipped = torch.tensor([torch.equal(a, b.flip(2)) for a, b in zip(augmented, plain, strict=True)])
    same = torch.tensor([torch.equal(a, b) for a, b in zip(augmented, plain, strict=True)])
    assert (flipped | same).all() and 16 < flipped.sum() < 48


def test_augmentation_varies_colours_and_frame_within_the_range_and_repeatably():
    x = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    one, two = (augment(x, torch.Generator().manual_seed(5), colour=1.0, shift=1.0) for _ in range(2))
    assert torch.equal(one, two) and one.abs().max() <= 1
    assert (one - augment(x, torch.Generator().manual_seed(5))).abs().mean() > 0.02


def test_augment_scene_changes_the_lighting_or_the_surroundings(monkeypatch):
    pictures = torch.stack([torch.full((3, 64, 64), value) for value in (-0.5, 0.5)] * 16)
    augmented, again = (augment_scene(pictures, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(augmented, again) and augmented.shape == pictures.shape and augmented.abs().max() <= 1
    same = torch.isclose(augmented, pictures, atol=1e-5).flatten(1).all(dim=1)
    assert 6 <= same.sum() <= 20

    monkeypatch.setattr(transforms, "augment_lighting", lambda pictures, generator: pictures)
    augmented = augment_scene(pictures, torch.Generator().manual_seed(0))
    assert torch.allclose(augmented[..., 24:40, 24:40], pictures[..., 24:40, 24:40], atol=1e-5)
    moved = ~torch.isclose(augmented, pictures, atol=1e-5).flatten(1).all(dim=1)
    assert 2 <= moved.sum() <= 12
    assert torch.allclose(augmented[moved][..., :3, :3], -pictures[moved][..., :3, :3], atol=1e-5)


def test_augment_lighting_changes_the_pictures_of_a_row_alike():
    pair = torch.rand(6, 1, 3, 32, 32, generator=torch.Generator().manual_seed(1)).expand(-1, 2, -1, -1, -1)
    augmented = augment_lighting(pair, torch.Generator().manual_seed(2))
    assert torch.equal(augmented[:, 0], augmented[:, 1]) and augmented.min() >= 0 and augmented.max() <= 1
    assert (augmented - pair).abs().mean() > 0.05
