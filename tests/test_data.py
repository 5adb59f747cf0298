"""The data format, its batches and its augmentation."""

import csv
import shutil

import pytest
import torch

from train.data import FaceFolder, augment
from train.data.folder import DataError, batch_at


@pytest.fixture
def copy(faces_dir, tmp_path):
    return shutil.copytree(faces_dir, tmp_path / "faces")


def rewrite(folder, change):
    """Applies `change` to every row of metadata.csv; None drops a column."""
    path = folder / "metadata.csv"
    rows = [change(row) for row in csv.DictReader(path.open(newline=""))]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_a_split_is_read_as_its_rows_say(faces_dir):
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
        (lambda row: {k: v for k, v in row.items() if k != "subject"}, "lacks the column 'subject'"),
        (lambda row: row | {"expression": "bored"}, "unknown expression 'bored'"),
        (lambda row: row | {"split": "dev"}, "no rows with split 'train'"),
        (lambda row: row | {"file_name": "gone.jpg"}, r"gone\.jpg cannot be read as a picture"),
    ],
    ids=["column", "label", "split", "file"],
)
def test_what_is_wrong_with_a_folder_is_said(copy, change, message):
    rewrite(copy, change)
    with pytest.raises(DataError, match=message):
        FaceFolder.load(copy, "train")


def test_a_folder_without_metadata_says_what_it_needs(tmp_path):
    with pytest.raises(DataError, match=r"metadata\.csv does not exist; the folder needs one"):
        FaceFolder.load(tmp_path, "train")


def test_every_pass_holds_every_picture_once_in_another_order():
    first, second = ([batch_at(20, 5, step + start, seed=1) for step in range(4)] for start in (0, 4))
    assert sorted(torch.cat(first).tolist()) == sorted(torch.cat(second).tolist()) == list(range(20))
    assert torch.cat(first).tolist() != torch.cat(second).tolist()


def test_processes_share_a_pass_without_overlap():
    drawn = torch.cat([batch_at(24, 4, step, rank=rank, world=2) for step in range(3) for rank in range(2)])
    assert sorted(drawn.tolist()) == list(range(24))


def test_fewer_pictures_than_a_batch_are_repeated():
    assert batch_at(3, 8, 0).shape == (8,)


def test_augmentation_without_strength_only_flips():
    x = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)
    made = augment(x, torch.Generator().manual_seed(0))
    plain = x.float() / 127.5 - 1
    flipped = torch.tensor([torch.equal(a, b.flip(2)) for a, b in zip(made, plain, strict=True)])
    same = torch.tensor([torch.equal(a, b) for a, b in zip(made, plain, strict=True)])
    assert (flipped | same).all() and 16 < flipped.sum() < 48


def test_augmentation_changes_light_and_frame_within_the_range_and_repeatably():
    x = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    one, two = (augment(x, torch.Generator().manual_seed(5), colour=1.0, shift=1.0) for _ in range(2))
    assert torch.equal(one, two) and one.abs().max() <= 1
    assert (one - augment(x, torch.Generator().manual_seed(5))).abs().mean() > 0.02
