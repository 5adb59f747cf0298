"""Checkpoints are complete or not there, the last few are kept, and damage is detected."""

import errno
from pathlib import Path

import pytest
import torch

from train.core.checkpoints import Checkpoints
from train.core.train_errors import RunError


def state(step):
    return {"step": step, "weights": torch.full((100,), float(step))}


def save(checkpoints, *steps, stage=0):
    return [checkpoints.save(stage, "refine", step, state(step)) for step in steps]


def test_the_last_few_are_kept_and_every_end_of_a_stage(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    save(checkpoints, 0, 5, 10)
    save(checkpoints, 0, 5, 10, 15, stage=1)
    names = [path.name.rpartition("-")[0] for path in checkpoints.paths()]
    assert names == ["0-refine-000000", "1-refine-000000", "1-refine-000010", "1-refine-000015"]
    assert checkpoints.latest()["step"] == 15


def test_a_damaged_checkpoint_is_skipped_with_a_note(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path)
    first, second = save(checkpoints, 5, 10)
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 1  # one bit
    second.write_bytes(content)
    assert checkpoints.latest()["step"] == 5
    assert f"{second} is damaged" in capsys.readouterr().err
    first.write_bytes(b"")
    with pytest.raises(RunError, match=r"all checkpoints in .* are damaged; delete the folder to start again"):
        checkpoints.latest()


def test_what_is_saved_after_damaged_checkpoints_stays_and_they_go(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    save(checkpoints, 0)
    damaged = save(checkpoints, 50, 60, stage=1)
    for path in damaged:
        path.write_bytes(b"")
    assert checkpoints.latest()["step"] == 0
    first, second = save(checkpoints, 5, 10)
    assert first.exists() and second.exists() and not any(path.exists() for path in damaged)
    assert checkpoints.latest()["step"] == 10


def test_without_a_checkpoint_the_latest_is_none(tmp_path):
    assert Checkpoints(tmp_path / "new").latest() is None


def test_saving_the_same_step_again_replaces_the_first(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(0, "refine", 5, state(1))
    again = checkpoints.save(0, "refine", 5, state(2))
    assert checkpoints.paths() == [again] and checkpoints.latest()["step"] == 2


def test_a_full_disk_is_an_error_and_the_last_checkpoint_remains(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 5)
    write = Path.write_bytes

    def fail(path, content):
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(
        RunError, match=r"Cannot write .*: No space left on device\. Free some space or choose another folder"
    ):
        save(checkpoints, 10)
    assert [path.name[:15] for path in (tmp_path / "checkpoints").iterdir()] == ["0-refine-000005"]
    assert checkpoints.latest()["step"] == 5


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RunError, match="Cannot write"):
        save(Checkpoints(tmp_path / "file"), 5)


def test_partial_files_of_a_killed_process_are_deleted(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    [path] = save(checkpoints, 5)
    partial = path.with_name(f".{'0' * 32}.part")
    partial.write_bytes(b"half a file")
    assert checkpoints.paths() == [path]
    checkpoints.delete_partial_files()
    assert not partial.exists() and path.exists()
