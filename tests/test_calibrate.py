"""Calibration: strength is read, and the slider becomes linear in it."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from exprgan import ExprGAN
from train.__main__ import main
from train.data import FaceFolder
from train.eval.calibration import EMPHASES, LEVELS, calibrate, enough, even_way
from train.eval.intensity_regressor import IntensityRegressor, features


def test_on_the_even_way_a_bent_curve_becomes_a_straight_one():
    def bend(t):
        return 0.1 + 0.7 * t**3

    way = even_way(bend(LEVELS))
    assert way[0] == 0 and way[-1] == 1 and (np.diff(way) > 0).all()
    seen = np.interp(way, LEVELS, bend(LEVELS))  # what was measured between the levels
    np.testing.assert_allclose(seen, np.linspace(seen[0], seen[-1], len(way)), atol=1e-4)


def test_the_even_way_ends_at_the_strongest_look():
    peak = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.9, 0.8, 0.7])
    assert even_way(peak)[-1] == LEVELS[5]
    assert (np.diff(even_way(np.maximum(peak, 0.3))) > 0).all()  # a flat start does not stop it
    np.testing.assert_array_equal(even_way(-LEVELS), np.linspace(0, 1, 11))  # nothing to go by


def test_an_edit_goes_no_farther_than_it_must():
    assert enough(np.array([0.6, 0.7, 0.8, 0.9]), 0.77) == pytest.approx(1.3, abs=1e-3)
    assert enough(np.array([0.9, 0.95, 0.97, 0.98]), 0.8) == EMPHASES[0]  # strong enough as T says
    assert enough(np.array([0.6, 0.72, 0.65, 0.6]), 0.9) == pytest.approx(EMPHASES[0] + 0.2 * 10 / 12, abs=1e-3)
    assert enough(np.array([0.68, 0.71, 0.73, 0.75]), 0.9) == EMPHASES[0]  # hardly stronger, only farther
    assert enough(np.array([0.6, 0.7, 0.73, 0.85]), 0.9) == pytest.approx(EMPHASES[1] - 0.2 * 2 / 10, abs=1e-3)
    assert enough(np.array([0.3, 0.4, 0.5, 0.62]), 0.9) == pytest.approx(EMPHASES[-1] - 0.2 * 2 / 12, abs=1e-3)


def test_strength_is_learnt_from_the_sets_own_pictures(tiny_model, faces_dir):
    faces = FaceFolder.load(faces_dir, "train", image_size=32)
    network = tiny_model.classifier
    x = features(network, faces.images)
    assert x.shape == (28, sum(block[0].out_channels for block in network.blocks[-2:]))
    judge = IntensityRegressor.fit(network, faces)
    happy = faces.select(faces.expression == 3)
    seen = judge(happy.images, happy.expression)
    assert seen.shape == (4,) and np.isfinite(seen).all()
    other = judge(happy.images, torch.zeros(4, dtype=torch.long))
    assert not np.allclose(seen, other)  # every expression has its own


def test_calibrate_rewrites_the_path_and_nothing_else(tiny_model, faces_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("train.eval.calibration.LEVELS", np.linspace(0, 1, 3))
    tiny_model.save_pretrained(tmp_path)
    before = json.loads((tmp_path / "config.json").read_text())
    weights = (tmp_path / "model.safetensors").read_bytes()
    assert main(["calibrate", str(tmp_path), "--data", str(faces_dir), "--people", "2"]) == 0
    after = json.loads((tmp_path / "config.json").read_text())
    assert len(after["intensity_path"]) == 6 * 11 * 5 and len(after["people_spread"]) == 8 * 9 // 2
    assert after | {"intensity_path": [], "people_mean": [], "people_spread": []} == before
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    controller = ExprGAN.from_pretrained(tmp_path).F_ctrl
    assert (controller.code("happy", 0.0) == -1).all()
    assert "happy: strength" in capsys.readouterr().out

    again = (tmp_path / "config.json").read_bytes()
    assert main(["calibrate", str(tmp_path), "--data", str(faces_dir), "--people", "2"]) == 0
    assert (tmp_path / "config.json").read_bytes() == again  # it measures the straight way, whatever stood there


def test_with_a_t_the_path_stays_and_emphases_are_found(tiny_config, faces_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("train.eval.calibration.EMPHASES", (1.0, 1.5))
    monkeypatch.setattr("train.eval.calibration.FULL", 0.5)
    path = tuple(np.linspace(-1, 1, 3).repeat(5).tolist() * 6)
    ExprGAN(dataclasses.replace(tiny_config, detail_width=0.5, intensity_path=path)).save_pretrained(tmp_path)
    before, weights = (tmp_path / "config.json").read_text(), (tmp_path / "model.safetensors").read_bytes()
    assert main(["calibrate", str(tmp_path), "--data", str(faces_dir), "--people", "2"]) == 0
    after = json.loads((tmp_path / "config.json").read_text())
    assert len(after["detail_emphasis"]) == 6 and all(1 <= each <= 1.5 for each in after["detail_emphasis"])
    assert after | {"detail_emphasis": [], "people_mean": [], "people_spread": []} == json.loads(before)
    assert (tmp_path / "model.safetensors").read_bytes() == weights

    monkeypatch.setattr("train.eval.calibration.FULL", 1.1)
    with pytest.raises(ValueError, match=r"no picture of 'angry' has an intensity of 1\.1 or more"):
        calibrate(str(tmp_path), str(faces_dir), 2)


def test_without_known_intensities_it_says_what_is_missing(tiny_model, faces_dir, tmp_path, capsys):
    tiny_model.save_pretrained(tmp_path / "weights")
    folder = shutil.copytree(faces_dir, tmp_path / "faces")
    table = (folder / "metadata.csv").read_text().replace("intensity", "strength")
    (folder / "metadata.csv").write_text(table)
    assert main(["calibrate", str(tmp_path / "weights"), "--data", str(folder)]) == 1
    assert "calibration needs the column `intensity`" in capsys.readouterr().err


def test_without_neutral_pictures_it_says_so(tiny_model, faces_dir, tmp_path, capsys):
    tiny_model.save_pretrained(tmp_path / "weights")
    folder = shutil.copytree(faces_dir, tmp_path / "faces")
    lines = (folder / "metadata.csv").read_text().splitlines(keepends=True)
    (folder / "metadata.csv").write_text("".join(line for line in lines if ",neutral," not in line))
    assert main(["calibrate", str(tmp_path / "weights"), "--data", str(folder)]) == 1
    assert "this folder has none" in capsys.readouterr().err
