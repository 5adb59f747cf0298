"""Saving and loading a model, and the errors of files that do not fit."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from exprgan import EXPRESSIONS, ExprGAN, ExprGANConfig, WeightsError


@pytest.fixture
def folder(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_a_saved_model_is_loaded_completely(tiny_model, folder):
    model = ExprGAN.from_pretrained(folder)
    assert model.config == tiny_model.config and not model.training
    for key, tensor in tiny_model.state_dict().items():
        assert model.state_dict()[key].dtype == tensor.dtype
        torch.testing.assert_close(model.state_dict()[key], tensor, rtol=1e-3, atol=1e-4)  # fp16 on disk


def test_a_second_save_changes_no_byte(folder, tmp_path):
    ExprGAN.from_pretrained(folder).save_pretrained(tmp_path / "again")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_weights_are_fp16_on_disk_and_of_the_requested_type_in_memory(folder):
    floats = {name: t.dtype for name, t in load_file(folder / "model.safetensors").items() if t.is_floating_point()}
    calibrated = {name for name, dtype in floats.items() if dtype == torch.float64}
    assert calibrated == {"F_ctrl.path", "latent_prior.mean", "latent_prior.cholesky", "warp_emphasis.per_expression"}
    assert set(floats.values()) == {torch.float16, torch.float64}
    model = ExprGAN.from_pretrained(folder, dtype=torch.bfloat16)
    assert model.G_enc.fc.weight.dtype == torch.bfloat16 and model.F_ctrl.path.dtype == torch.float64


def test_all_networks_are_in_one_file(folder):
    parts = {key.split(".")[0] for key in load_file(folder / "model.safetensors")}
    networks, calibrated = {"G_enc", "G_dec", "D_img", "D_z", "classifier"}, {"F_ctrl", "latent_prior", "warp_emphasis"}
    assert parts == networks | calibrated
    assert any(key.startswith("D_img.Q.") for key in load_file(folder / "model.safetensors"))


def test_the_config_survives_json_with_other_labels_and_a_calibrated_path(tmp_path):
    config = ExprGANConfig(
        image_size=16, z_dim=3, expressions=("bored", "proud"), code_dim_each=2, encoder_width=2, decoder_width=16,
        discriminator_width=2, face_width=2, intensity_knots=3,
    )  # fmt: skip
    model = ExprGAN(config)
    model.F_ctrl.path[1] = torch.tensor([[-1.0, -1.0], [0.0, -0.1234], [0.25, 1.0]], dtype=torch.float64)
    model.save_pretrained(tmp_path)
    model = ExprGAN.from_pretrained(tmp_path)
    assert model.config == config
    assert model.F_ctrl.code("proud").tolist() == [-1.0, -1.0, 0.25, 1.0]
    assert model.F_ctrl.code("proud", 0.5).tolist() == pytest.approx([-1.0, -1.0, 0.0, -0.1234])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 1, "intensity_path": []}, "format 1 was written by an earlier version .* download the model again"),
        ({"format": 3}, "format 3 is not the format 2"),
        ({"image_size": 100}, "image_size must be 16, 32, 64, 128 or 256, not 100"),
        ({"z_dim": "50"}, "z_dim must be a whole number"),
        ({"image_size": 128.0}, "image_size must be"),
        ({"expressions": ["happy", "happy"]}, "different, non-empty names"),
        ({"expressions": "happy"}, "must be a list of names, not 'happy'"),
        ({"expressions": 6}, "cannot be used"),
        ({"expressions": ["happy", "neutral"]}, "lower-case words other than 'neutral', not 'neutral'"),
        ({"expressions": ["happy", "Sad"]}, "lower-case words other than 'neutral', not 'Sad'"),
        ({"expressions": ["happy", "../sad"]}, "not '../sad'"),
        ({"intensity_knots": 1}, "intensity_knots must be a whole number from 2 to 8192, not 1"),
        ({"warp_width": "1"}, "warp_width must be a number from 0 to 64, not '1'"),
        ({"grey_codes": 1}, "grey_codes must be true or false, not 1"),
        ({"action_units": [4, "12"]}, "action_units must be among 1, 2, 4, .*, not '12'"),
        ({"action_units": [4, 4]}, "action_units must be different"),
        ({"action_units": 3}, "action_units must be among .*, not 3"),
        ({"warp_decoded": "no"}, "warp_decoded must be true or false, not 'no'"),
        ({"depth": 3}, "'depth' is unknown to this version"),
    ],
)
def test_an_invalid_config_is_refused(folder, values, message):
    change_config(folder, **values)
    with pytest.raises(WeightsError, match=message):
        ExprGAN.from_pretrained(folder)


def test_a_config_without_a_format_is_another_models(folder):
    (folder / "config.json").write_text('{"hidden_size": 3}')
    with pytest.raises(WeightsError, match="no format number"):
        ExprGAN.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("G_enc.fc.bias"), r"lacks G_enc\.fc\.bias"),
        (lambda t: t.update(extra=torch.zeros(1)), "holds extra, which this model does not have"),
        (lambda t: t.update({"G_enc.fc.bias": torch.zeros(3)}), r"G_enc\.fc\.bias .* is \(3,\) instead of \(8,\)"),
        (lambda t: t["G_enc.fc.bias"].fill_(float("nan")), r"G_enc\.fc\.bias .* NaN"),
    ],
    ids=["missing", "extra", "shape", "nan"],
)
def test_weights_that_do_not_fit_are_refused(folder, change, message):
    change_weights(folder, change)
    with pytest.raises(WeightsError, match=message):
        ExprGAN.from_pretrained(folder)


def test_truncated_weights_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"damaged .* download it again"):
        ExprGAN.from_pretrained(folder)


def test_a_pickle_is_never_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="never pickles"):
        ExprGAN.from_pretrained(folder)


def test_an_empty_folder_and_an_unknown_repository_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        ExprGAN.from_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="not in the local cache, and the Hub cannot be reached"):
        ExprGAN.from_pretrained("org/exprgan", cache_dir=tmp_path)
    with pytest.raises(WeightsError, match="neither a folder here nor a model on the Hub"):
        ExprGAN.from_pretrained("no/such/folder")


def test_a_model_with_nan_is_not_saved(tiny_model, tmp_path):
    tiny_model.G_enc.fc.bias.data[0] = float("nan")
    with pytest.raises(WeightsError, match="nothing was written"):
        tiny_model.save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_the_defaults_are_the_papers():
    assert dataclasses.asdict(ExprGANConfig()) == {
        "format": 2, "image_size": 128, "expressions": EXPRESSIONS, "code_dim_each": 5, "z_dim": 50,
        "encoder_width": 64, "decoder_width": 1024, "discriminator_width": 16, "face_width": 16, "face_size": 64,
        "action_units": (), "intensity_knots": 2, "grey_codes": False, "pooled_codes": False,
        "warp_width": 0.0, "warp_decoded": True, "warp_units": (), "warp_eyes": False, "warp_wrinkles": False,
    }  # fmt: skip
