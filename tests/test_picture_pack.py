"""Packed training folders: pictures and weights are those of unpacked ones; and every way in which a pack is outdated."""

import csv
import dataclasses
import shutil

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from exprgan.models.networks import FaceNetwork
from train.__main__ import main
from train.core.checkpoints import Checkpoints
from train.core.files import write_weights
from train.core.train_errors import DataError
from train.data import FaceFolder, picture_pack
from train.data.picture_pack import MappedPictures, PicturePack, pack_pictures
from train.data.validation import find_problems
from train.gan.gan_trainer import Trainer, fit
from train.gan.train_config import TrainConfig
from train.perceptual.face_trainer import FACE_NAME


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    """Ten pictures of 32 px a file, so that a small folder has several."""
    monkeypatch.setattr(picture_pack, "FILE_BYTES", 10 * 3 * 32 * 32)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def folder(faces_dir, tmp_path):
    return shutil.copytree(faces_dir, tmp_path / "faces")


@pytest.fixture
def packed(folder):
    assert main(["pack", str(folder), "--image-size", "32"]) == 0
    return folder


def names(folder):
    with (folder / "metadata.csv").open(newline="") as file:
        return [row["file_name"] for row in csv.DictReader(file)]


def keep_rows(folder, number):
    lines = (folder / "metadata.csv").read_text().splitlines(keepends=True)
    (folder / "metadata.csv").write_text("".join(lines[: number + 1]))


def remove_pictures(folder):
    for path in [*folder.rglob("*.jpg"), *folder.rglob("*.png")]:
        path.unlink()


def test_mapped_pictures_are_those_of_the_files_in_any_order(folder, capsys):
    plain = FaceFolder.load(folder, "train", 32)
    assert main(["pack", str(folder), "--image-size", "32"]) == 0
    assert "42 pictures of 32 px, 0.0 GB, 42 of them new" in capsys.readouterr().out
    assert len(list((folder / "packed").glob("32-0000?.npy"))) == 5
    mapped = FaceFolder.load(folder, "train", 32, mapped=True)
    assert isinstance(mapped.images, MappedPictures) and mapped.images.shape == plain.images.shape
    order = torch.randperm(28, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mapped.images[order], plain.images[order]) and torch.equal(mapped.images[3], plain.images[3])
    assert torch.equal(torch.cat(list(mapped.images.split(9))), plain.images)
    some, same = mapped.expressive(0.7), plain.expressive(0.7)
    assert isinstance(some.images, MappedPictures) and torch.equal(some.images[:], same.images)
    assert some.file_names == same.file_names
    assert torch.equal(FaceFolder.load(folder, "train", 32).images, plain.images)


def test_a_folder_of_the_pack_alone_is_checked_loaded_and_packed_at_another_size(packed, capsys):
    plain = FaceFolder.load(packed, "test", 16)
    assert main(["pack", str(packed)]) == 0  # at 128 px, the size of the files
    remove_pictures(packed)
    assert not find_problems(packed) and main(["check", str(packed)]) == 0
    assert "sizes: 128 x 128 px: 42" in capsys.readouterr().out
    assert torch.equal(FaceFolder.load(packed, "test", 16).images, plain.images)
    assert main(["pack", str(packed), "--image-size", "16"]) == 0
    assert torch.equal(FaceFolder.load(packed, "test", 16, mapped=True).images[:], plain.images)


def test_only_what_changed_is_packed_again(packed, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in (packed / "packed").iterdir()}
    assert main(["pack", str(packed), "--image-size", "32"]) == 0
    assert "0 of them new" in capsys.readouterr().out
    assert before == {path.name: path.stat().st_mtime_ns for path in (packed / "packed").iterdir()}
    changed = names(packed)[15]  # of the second file
    Image.fromarray(np.arange(128 * 128 * 3, dtype=np.uint8).reshape(128, 128, 3)).save(packed / changed)
    with pytest.raises(DataError, match=f"{changed} was changed after it was packed. Run `python -m train pack"):
        FaceFolder.load(packed, "train", 32)
    assert any("was changed after it was packed" in problem for problem in find_problems(packed))
    assert main(["pack", str(packed), "--image-size", "32"]) == 0
    assert "10 of them new" in capsys.readouterr().out
    kept = {path.name: path.stat().st_mtime_ns for path in (packed / "packed").iterdir()}
    assert len(kept) == len(before) and len(kept.items() & before.items()) == 8 and not find_problems(packed)
    keep_rows(packed, 35)
    assert main(["pack", str(packed), "--image-size", "32"]) == 0
    assert set(PicturePack(packed, 32).pictures) == set(names(packed))  # a picture out of the table is out of the pack


def test_packing_that_was_stopped_goes_on_with_the_next_file(folder, monkeypatch):
    read, seen = picture_pack.open_picture, []

    def stop_at_25(path):
        seen.append(path)
        if len(seen) == 25:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(picture_pack, "map_threads", map)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(picture_pack, "open_picture", stop_at_25)
        pack_pictures(folder, names(folder), 32)
    assert len(list((folder / "packed").iterdir())) == 4  # two files and their tables
    with pytest.raises(DataError, match="is not packed"):
        FaceFolder.load(folder, "test", 32)
    assert pack_pictures(folder, names(folder), 32) == 22
    assert torch.equal(
        FaceFolder.load(folder, "test", 32, mapped=True).images[:], FaceFolder.load(folder, "test", 32).images
    )


def test_pictures_that_cannot_be_trained_on_are_not_packed(folder, capsys):
    (folder / names(folder)[12]).write_bytes(b"no picture")
    (folder / names(folder)[13]).unlink()
    assert main(["pack", str(folder), "--image-size", "32"]) == 1
    error = capsys.readouterr().err
    assert "2 problems" in error and f"{names(folder)[12]} cannot be read as a picture" in error
    assert not [path for path in (folder / "packed").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("size", ["0", "-32"])
def test_a_size_without_pixels_is_refused(size, folder, capsys):
    assert main(["pack", str(folder), "--image-size", size]) == 1
    assert f"image_size must be above 0, not {size}" in capsys.readouterr().err


def test_a_damaged_pack_is_named(packed):
    path = packed / "packed" / "32-00001.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"packed cannot be read .*; delete it and pack the folder again"):
        FaceFolder.load(packed, "train", 32)


def test_a_large_folder_that_is_not_packed_says_what_it_takes(folder, monkeypatch, capsys):
    monkeypatch.setattr("train.data.face_folder.PACK_FROM", 28)
    FaceFolder.load(folder, "train", 128, mapped=True)
    assert "28 pictures take 0.0 GB of memory in every process; `python -m train pack" in capsys.readouterr().err
    FaceFolder.load(folder, "test", 128, mapped=True)
    assert not capsys.readouterr().err


class Killed(Exception):
    """Simulates kill -9, which the run cannot handle."""


def test_a_packed_folder_trains_the_same_weights_also_after_a_kill(folder, tmp_path, monkeypatch):
    network = FaceNetwork(6, 2, 32)
    write_weights(network.state_dict(), tmp_path / "face" / FACE_NAME, {"steps": "0", "size": "32"})
    config = TrainConfig(
        out=str(tmp_path / "plain"), face=str(tmp_path / "face"), check_face=False, stages="refine", steps="0,0,9",
        batch_size=4, width=0.0625, image_size=32, z_dim=8, identity_size="32", mixed_precision="no", cpu=True,
        sample_steps=100, save_minutes=1e-9, colour=0.4, shift=0.3,
    )  # fmt: skip
    plain = fit(str(folder), config)  # 24 expressive pictures: 6 batches an epoch
    assert main(["pack", str(folder), "--image-size", "32"]) == 0
    config, step = dataclasses.replace(config, out=str(tmp_path / "packed")), Trainer.train_step

    def kill_in_the_seventh(self, *args, **kwargs):
        if self.step == 7:
            raise Killed
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "train_step", kill_in_the_seventh)
        fit(str(folder), config)
    remove_pictures(folder)
    trainer = Trainer(str(folder), config)
    assert isinstance(trainer.faces.images, MappedPictures) and trainer.step == 7
    packed = trainer.fit()
    one, other = (Checkpoints(run).latest()["model"] for run in (plain, packed))
    assert one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())
