"""Calibration: strength is read, and the slider becomes linear in it."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from exprgan import ExprGAN
from exprgan.expressions import EXPRESSIONS
from exprgan.models.config import read_config
from exprgan.models.controller import Controller
from exprgan.models.exprgan import read_weights
from exprgan.models.networks import Decoder
from train.__main__ import main
from train.data import FaceFolder
from train.eval.calibration import EMPHASES, PATH_LEVELS, calibrate, linear_path, smallest_emphasis
from train.eval.decoder_calibration import FACTORS, remove_tints
from train.eval.edit_metrics import SKIN_BOX, crop_box
from train.eval.intensity_regressor import IntensityRegressor, extract_features


def test_along_the_linear_path_a_curved_response_becomes_straight():
    def bend(t):
        return 0.1 + 0.7 * t**3

    path = linear_path(bend(PATH_LEVELS))
    assert path[0] == 0 and path[-1] == 1 and (np.diff(path) > 0).all()
    intensities = np.interp(path, PATH_LEVELS, bend(PATH_LEVELS))
    np.testing.assert_allclose(intensities, np.linspace(intensities[0], intensities[-1], len(path)), atol=1e-4)


def test_the_linear_path_ends_at_the_highest_intensity():
    peak = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.9, 0.8, 0.7])
    assert linear_path(peak)[-1] == PATH_LEVELS[5]
    assert (np.diff(linear_path(np.maximum(peak, 0.3))) > 0).all()  # a flat start does not stop it
    np.testing.assert_array_equal(linear_path(-PATH_LEVELS), np.linspace(0, 1, 11))  # nothing to calibrate


def test_the_emphasis_is_the_smallest_that_suffices():
    def smallest(*intensities: float, target: float = 0.9) -> float:
        return smallest_emphasis(np.array(intensities), target)

    assert smallest(0.4, 0.5, 0.6, 0.7, 0.8, 0.9, target=0.77) == pytest.approx(1.3, abs=1e-3)
    assert smallest(0.9, 0.92, 0.95, 0.97, 0.99, 1.0, target=0.8) == EMPHASES[0]  # intense enough with the smallest
    assert smallest(0.6, 0.72, 0.65, 0.6, 0.6, 0.6) == pytest.approx(EMPHASES[0] + 0.2 * 10 / 12, abs=1e-3)
    assert smallest(0.68, 0.69, 0.7, 0.71, 0.72, 0.73) == EMPHASES[0]  # more movement, hardly more intensity
    assert smallest(0.6, 0.7, 0.71, 0.85, 0.9, 0.95) == pytest.approx(EMPHASES[1] - 0.2 * 2 / 10, abs=1e-3)
    assert smallest(0.3, 0.35, 0.4, 0.5, 0.55, 0.62) == pytest.approx(EMPHASES[-1] - 0.2 * 2 / 7, abs=1e-3)


def test_the_regressor_learns_intensity_from_the_sets_own_pictures(tiny_model, faces_dir):
    faces = FaceFolder.load(faces_dir, "train", image_size=32)
    network = tiny_model.classifier
    x = extract_features(network, faces.images)
    assert x.shape == (28, sum(block[0].out_channels for block in network.blocks[-2:]))
    regressor = IntensityRegressor.fit(network, faces)
    happy = faces.select(faces.expression == 3)
    intensities = regressor(happy.images, happy.expression)
    assert intensities.shape == (4,) and np.isfinite(intensities).all()
    other = regressor(happy.images, torch.zeros(4, dtype=torch.long))
    assert not np.allclose(intensities, other)  # each expression has a regression of its own


def changed(before: dict, folder) -> set[str]:
    """Names of the tensors that differ from those before."""
    after = read_weights(folder / "model.safetensors")
    assert before.keys() == after.keys()
    return {name for name in after if not torch.equal(before[name], after[name])}


def test_calibrate_changes_the_path_and_the_latent_prior_alone(tiny_model, faces_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("train.eval.calibration.PATH_LEVELS", np.linspace(0, 1, 3))
    tiny_model.save_pretrained(tmp_path)
    before, config = read_weights(tmp_path / "model.safetensors"), read_config(tmp_path / "config.json")
    assert main(["calibrate", str(tmp_path), "--data", str(faces_dir), "--people", "2"]) == 0
    assert read_config(tmp_path / "config.json") == dataclasses.replace(config, intensity_knots=11)
    assert changed(before, tmp_path) == {"F_ctrl.path", "latent_prior.mean", "latent_prior.cholesky"}
    model = ExprGAN.from_pretrained(tmp_path)
    assert model.F_ctrl.path.shape == (6, 11, 5) and model.latent_prior.is_fitted
    assert (model.F_ctrl.code("happy", 0.0) == -1).all()
    assert "happy: strength" in capsys.readouterr().out

    once = read_weights(tmp_path / "model.safetensors")
    assert main(["calibrate", str(tmp_path), "--data", str(faces_dir), "--people", "2"]) == 0
    assert not changed(once, tmp_path)  # the straight path is measured, whatever the weights hold


def test_with_a_warp_network_the_path_stays_and_the_emphasis_is_found(tiny_config, faces_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("train.eval.calibration.EMPHASES", (0.7, 1.5))
    monkeypatch.setattr("train.eval.calibration.MIN_TARGET_INTENSITY", 0.5)
    ExprGAN(dataclasses.replace(tiny_config, warp_width=0.5, intensity_knots=3)).save_pretrained(tmp_path)
    before, config = read_weights(tmp_path / "model.safetensors"), (tmp_path / "config.json").read_bytes()
    assert main(["calibrate", str(tmp_path), "--data", str(faces_dir), "--people", "2"]) == 0
    assert (tmp_path / "config.json").read_bytes() == config
    assert changed(before, tmp_path) == {"warp_emphasis.per_expression", "latent_prior.mean", "latent_prior.cholesky"}
    factors = ExprGAN.from_pretrained(tmp_path).warp_emphasis.per_expression
    assert ((factors >= 0.7) & (factors <= 1.5)).all()

    monkeypatch.setattr("train.eval.calibration.MIN_TARGET_INTENSITY", 1.1)
    with pytest.raises(ValueError, match=r"no picture of 'angry' has an intensity of 1\.1 or more"):
        calibrate(str(tmp_path), str(faces_dir), 2)


def test_the_decoder_gets_intense_and_keeps_the_colours_of_neutral_pictures(
    tiny_config, faces_dir, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("train.eval.calibration.MIN_TARGET_INTENSITY", 0.5)
    torch.manual_seed(0)
    ExprGAN(dataclasses.replace(tiny_config, pooled_codes=True)).save_pretrained(tmp_path)
    before = read_weights(tmp_path / "model.safetensors")
    assert main(["calibrate", str(tmp_path), "--data", str(faces_dir), "--decoder", "--people", "2"]) == 0
    assert changed(before, tmp_path) == {"G_dec.fc.weight", "G_dec.fc.bias"}
    record = json.loads((tmp_path / "training.json").read_text())["decoder"]
    assert all(FACTORS[0] <= record[name] <= FACTORS[-1] for name in EXPRESSIONS)
    assert record["tint after"] < record["tint before"]
    assert f"happy {record['happy']:.2f}" in capsys.readouterr().out
    model, z = ExprGAN.from_pretrained(tmp_path), torch.rand(3, 8)
    old = ExprGAN(model.config)
    old.load_state_dict({name: tensor.to(old.state_dict()[name].dtype) for name, tensor in before.items()})
    neutral = model.F_ctrl.neutral().expand(3, -1)
    torch.testing.assert_close(model.G_dec(z, neutral), old.G_dec(z, neutral), atol=0.01, rtol=0)  # of fp16


def test_single_elements_get_the_mean_colours_of_neutral_pictures():
    torch.manual_seed(1)
    decoder, F_ctrl, z = Decoder(32, 8, 30, 32, pooled_numbers=5), Controller(), torch.rand(6, 8)
    with torch.no_grad():
        for weights in (decoder.fc.weight[:, 8:], *(block.weight[:, block.in_channels :] for block in decoder.blocks)):
            weights *= 0.002  # small changes, as those of a face are
        decoder.fc.bias += 3  # on one side of the first ReLU

    def changes(c):
        pictures = decoder(z, c.expand(6, -1)), decoder(z, F_ctrl.neutral().expand(6, -1))
        colors = [crop_box(x_hat, SKIN_BOX).mean((-2, -1)).mean(0) * 127.5 for x_hat in pictures]
        return colors[0] - colors[1]

    codes = [F_ctrl.code(name, style=k) for name in EXPRESSIONS for k in range(5)]
    before = [changes(c) for c in codes]
    tints = remove_tints(decoder, F_ctrl, z)
    after = [changes(c) for c in codes]
    for tint, both in zip(tints, (before, after), strict=True):
        assert tint == pytest.approx(torch.stack(both).square().mean().sqrt().item(), rel=1e-3)
    assert tints[1] < 0.1 * tints[0]


def test_codes_are_drawn_with_absent_classes_as_the_decoder_understands_them(tiny_config):
    y = torch.eye(6)[[2, 4]]
    for pooled in (False, True):
        model = ExprGAN(dataclasses.replace(tiny_config, pooled_codes=pooled))
        c = model.random_code(y, torch.Generator().manual_seed(3)).view(2, 6, 5)
        drawn = model.F_ctrl.random(y, torch.Generator().manual_seed(3)).view(2, 6, 5)
        present = y.bool()
        assert torch.equal(c[present], drawn[present]) and (c[present] > 0).all()
        assert torch.equal(c[~present], drawn[~present] * 0 - 1 if pooled else drawn[~present])


def test_without_known_intensities_it_says_what_is_missing(tiny_model, faces_dir, tmp_path, capsys):
    tiny_model.save_pretrained(tmp_path / "weights")
    folder = shutil.copytree(faces_dir, tmp_path / "faces")
    table = (folder / "metadata.csv").read_text().replace("intensity", "strength")
    (folder / "metadata.csv").write_text(table)
    assert main(["calibrate", str(tmp_path / "weights"), "--data", str(folder)]) == 1
    assert "calibration needs the column `intensity`" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--people", "0"], ["--people", "-1", "--decoder"]])
def test_it_measures_at_least_one_person(more, tiny_model, faces_dir, tmp_path, capsys):
    tiny_model.save_pretrained(tmp_path)
    assert main(["calibrate", str(tmp_path), "--data", str(faces_dir), *more]) == 1
    assert f"people must be above 0, not {more[1]}" in capsys.readouterr().err


def test_without_neutral_pictures_it_says_so(tiny_model, faces_dir, tmp_path, capsys):
    tiny_model.save_pretrained(tmp_path / "weights")
    folder = shutil.copytree(faces_dir, tmp_path / "faces")
    lines = (folder / "metadata.csv").read_text().splitlines(keepends=True)
    (folder / "metadata.csv").write_text("".join(line for line in lines if ",neutral," not in line))
    assert main(["calibrate", str(tmp_path / "weights"), "--data", str(folder)]) == 1
    assert "this folder has none" in capsys.readouterr().err
