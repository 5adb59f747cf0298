"""ONNX: the files compute what the networks compute, for any input, and run without torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from exprgan import ExpressionEditor, ExprGAN, ExprGANConfig
from exprgan.cli import main
from exprgan.errors import ExprGANError
from exprgan.models.onnx_export import NAMES, OPSET, PlainDecoder, PlainEncoder, export_onnx
from exprgan.photo.image_io import is_marked

ROOT = Path(__file__).parent.parent
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def model():
    return ExprGAN.from_pretrained(ROOT / "weights")


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    pytest.importorskip("onnxscript")
    return export_onnx(model, tmp_path_factory.mktemp("exported") / "onnx")


def run(file, **inputs):
    session = pytest.importorskip("onnxruntime").InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0]


@pytest.mark.parametrize("count", [1, 2, 5])  # it was traced with 2
def test_onnxruntime_computes_what_the_networks_compute(model, files, count):
    torch.manual_seed(count)
    x = torch.rand(count, 3, 128, 128) * 2 - 1
    with torch.inference_mode():
        z = model.G_enc(x)
        assert np.abs(run(files["encoder"], x=x) - z.numpy()).max() <= TOLERANCE
        for c in (torch.rand(count, 30) * 2 - 1, model.F_ctrl.code("surprise", 0.7).expand(count, -1)):
            x_hat = run(files["decoder"], z=z, c=c)
            assert x_hat.shape == (count, 3, 128, 128)
            assert np.abs(x_hat - model.G_dec(z, c).numpy()).max() <= TOLERANCE


@pytest.mark.parametrize("size", [16, 32, 64, 256])
def test_the_plain_form_is_exact_for_every_size(size):
    torch.manual_seed(size)
    config = ExprGANConfig(image_size=size, expressions=("bored", "proud"), code_dim_each=3, z_dim=7, encoder_width=4,
                           decoder_width=128, discriminator_width=4, face_width=2, pooled_codes=size == 32)  # fmt: skip
    model = ExprGAN(config).eval()
    x, c = torch.rand(3, 3, size, size) * 2 - 1, torch.rand(3, 6) * 2 - 1
    with torch.inference_mode():
        z = model.G_enc(x)
        assert torch.allclose(PlainEncoder(model.G_enc)(x), z, atol=1e-5)
        assert torch.allclose(PlainDecoder(model.G_dec)(z, c), model.G_dec(z, c), atol=1e-5)


def test_the_files_declare_their_shapes_and_hold_standard_operators(files):
    onnx = pytest.importorskip("onnx")
    for name, inputs, output in (
        ("encoder", {"x": ("N", 3, 128, 128)}, ("z", ("N", 50))),
        ("decoder", {"z": ("N", 50), "c": ("N", 30)}, ("x_hat", ("N", 3, 128, 128))),
    ):
        loaded = onnx.load(files[name])
        onnx.checker.check_model(loaded, full_check=True)

        def shape(value):
            return tuple(side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim)

        assert {value.name: shape(value) for value in loaded.graph.input} == inputs
        assert [(value.name, shape(value)) for value in loaded.graph.output] == [output]
        assert [(opset.domain, opset.version) for opset in loaded.opset_import] == [("", OPSET)]
        assert len(loaded.graph.node) < 80 and not loaded.functions
        for trace in (b"site-packages", b".py", str(ROOT).encode()):  # of this machine
            assert trace not in files[name].read_bytes()


def test_the_example_runs_without_torch_and_makes_the_same_picture(model, files, faces_dir, tmp_path):
    pytest.importorskip("onnxruntime")
    face, edited = next(faces_dir.glob("test/*/*.*")), tmp_path / "happy.jpg"
    code = ("import runpy, sys; sys.modules['torch'] = sys.modules['exprgan'] = None; "
            "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')")  # fmt: skip
    arguments = [ROOT / "examples" / "onnx_edit.py", files["encoder"].parent, face, "happy", "0.8", edited]
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    editor = ExpressionEditor(model)
    expected = editor.edit(editor.read_crop(face), "happy", 0.8).crop
    assert np.abs(np.asarray(Image.open(edited), int) - np.asarray(expected, int)).mean() < 2.5  # a JPEG's loss
    assert is_marked(edited)


def test_the_examples_codes_are_those_of_the_library(model, files):
    pytest.importorskip("onnxruntime")
    import runpy

    code = runpy.run_path(str(ROOT / "examples" / "onnx_edit.py"))["code"]
    config = json.loads(files["config"].read_text())
    for expression in (*config["expressions"], "neutral"):
        for intensity in (0, 0.33, 1):
            expected = model.F_ctrl.code(expression, intensity).numpy()
            assert np.abs(code(config, expression, intensity)[0] - expected).max() < 1e-6


def test_the_command_writes_the_files_and_replaces_old_ones(tiny_model, tmp_path, capsys):
    pytest.importorskip("onnxscript")
    tiny_model.save_pretrained(tmp_path / "model")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "encoder.onnx").write_bytes(b"old")
    assert main(["export", str(tmp_path / "out"), "--model", str(tmp_path / "model")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(NAMES.values())
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in NAMES.values()]
    assert run(tmp_path / "out" / "encoder.onnx", x=torch.zeros(1, 3, 32, 32)).shape == (1, 8)


def test_without_the_extra_the_error_names_what_to_install(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("exprgan.models.onnx_export.find_spec", lambda name: None)
    with pytest.raises(ExprGANError, match=r'needs onnx and onnxscript.*pip install "exprgan\[onnx\]"'):
        export_onnx(tiny_model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_created_is_named(tiny_model, tmp_path):
    pytest.importorskip("onnxscript")
    (tmp_path / "file").touch()
    with pytest.raises(ExprGANError, match="cannot be written"):
        export_onnx(tiny_model, tmp_path / "file" / "out")
