"""ONNX: the files compute what the networks compute, for any input, and run without torch."""

import dataclasses
import json
import runpy
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
from exprgan.export import onnx_files
from exprgan.export.onnx_files import NAMES, OPSET, export_onnx, graphs_of
from exprgan.export.photo_graphs import PhotoPainter
from exprgan.export.plain_networks import PlainDecoder, PlainEncoder
from exprgan.models.iris import find_irises
from exprgan.models.warp_network import WIDE_CROP_SCALE, WarpPrediction
from exprgan.models.wrinkle_network import WrinkleNetwork
from exprgan.photo.alignment import invert, photo_from_enlarged_crop
from exprgan.photo.image_io import is_marked

ROOT = Path(__file__).parent.parent
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def model():
    return ExprGAN.from_pretrained(ROOT / "weights")


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """Encoder and decoder; the others take long."""
    pytest.importorskip("onnxscript")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_files, "graphs_of", lambda model: only(graphs_of(model), "encoder", "decoder"))
        return export_onnx(model, tmp_path_factory.mktemp("exported") / "onnx")


@pytest.fixture(scope="module")
def all_files(model, tmp_path_factory):
    pytest.importorskip("onnxscript")
    return export_onnx(model, tmp_path_factory.mktemp("exported") / "all", half=True)


def only(graphs, *names):
    return {name: graphs[name] for name in names}


def run_all(file, **inputs):
    session = pytest.importorskip("onnxruntime").InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})


def run(file, **inputs):
    return run_all(file, **inputs)[0]


def graph(model, name, half=False):
    """One graph of a model as the bytes of its file, and the network."""
    pytest.importorskip("onnxscript")
    found = graphs_of(model)[name]
    return onnx_files._to_bytes(*found, half=half), found[0]


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
    code = runpy.run_path(str(ROOT / "examples" / "onnx_edit.py"))["code"]
    config = json.loads(files["config"].read_text())
    for expression in (*config["expressions"], "neutral"):
        for intensity in (0, 0.33, 1):
            expected = model.F_ctrl.code(expression, intensity).numpy()
            assert np.abs(code(config, expression, intensity)[0] - expected).max() < 1e-6


# What edits a photo.


@pytest.mark.parametrize(("name", "shape"), [("rnet", (24, 24)), ("pnet", (40, 33))])
def test_the_face_finder_takes_pictures_of_any_number_or_size(model, name, shape):
    file, network = graph(model, name)
    for more in (0, 7):
        x = torch.rand(*((1, 3, shape[0] + more, shape[1]) if name == "pnet" else (1 + more, 3, *shape))) * 2 - 1
        for given, expected in zip(run_all(file, x=x), network(x), strict=True):
            assert given.shape == expected.shape and np.abs(given - expected.numpy()).max() <= TOLERANCE


def test_weights_in_fp16_give_the_same_numbers_in_a_smaller_file(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path)
    model = ExprGAN.from_pretrained(tmp_path)
    (file, network), (half, _) = (graph(model, "encoder", half) for half in (False, True))
    assert len(half) < 0.7 * len(file)
    x = torch.rand(3, 3, 32, 32) * 2 - 1
    for a, b, expected in zip(run_all(file, x=x), run_all(half, x=x), [network(x)], strict=True):
        assert np.array_equal(a, b) and np.abs(a - expected.numpy()).max(initial=0) <= TOLERANCE


@pytest.mark.parametrize("has_eyes", [False, True])
def test_the_painter_applies_a_prediction_as_the_editor_does(tiny_config, portrait, face, has_eyes):
    torch.manual_seed(0)
    config = dataclasses.replace(tiny_config, warp_width=0.25, warp_decoded=False, warp_eyes=has_eyes)
    model = ExprGAN(config).eval()
    with torch.no_grad():
        model.T.head.weight.mul_(50)
        model.T.mouth.head.bias[:4] = 4
    editor = ExpressionEditor(model)
    subject = dataclasses.replace(editor.read(portrait, face), mouth=None)
    edit = editor.edit(subject, "happy")
    side = subject.wide_crop.shape[-1]
    field_from_photo = invert(photo_from_enlarged_crop(subject.photo_from_crop, 32, WIDE_CROP_SCALE, side))
    part = torch.from_numpy(np.array(portrait)).permute(2, 0, 1)[None].float()
    parts = edit.prediction if has_eyes else edit.prediction[:-1]
    painted = PhotoPainter()(part, torch.from_numpy(field_from_photo).float(), torch.ones(1), *parts)
    difference = (painted[0].permute(1, 2, 0).numpy() - np.asarray(edit.image, np.float32))[edit_mask(edit)]
    changed = np.asarray(edit.image, np.float32)[edit_mask(edit)] - np.asarray(portrait, np.float32)[edit_mask(edit)]
    assert np.abs(difference).mean() < 0.1 * np.abs(changed).mean()


def edit_mask(edit):
    return (np.asarray(edit.image) != np.asarray(edit.subject.photo)).any(2)


class Irises(torch.nn.Module):
    def forward(self, windows):
        return find_irises(windows)


class Wrinkled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = WrinkleNetwork((6, 12))

    def forward(self, x, flow, condition):
        return self.network(self.network.find(x), flow, condition)


@pytest.mark.parametrize("part, shapes", [
    (Irises, {"windows": (3, 32, 32)}),
    (Wrinkled, {"x": (3, 64, 64), "flow": (2, 64, 64), "condition": (40,)}),
])  # fmt: skip
def test_parts_whose_shapes_are_computed_are_exported_for_any_number_of_faces(part, shapes):
    torch.manual_seed(0)
    module, faces = part().eval(), torch.export.Dim("N")
    inputs = {name: torch.rand(2, *shape) for name, shape in shapes.items()}
    program = torch.export.export(module, (), kwargs=inputs, dynamic_shapes={name: {0: faces} for name in inputs})
    three = {name: torch.rand(3, *shape) for name, shape in shapes.items()}
    for a, b in zip(module(**three), program.module()(**three), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.slow
def test_t_with_all_its_inputs_takes_any_number_of_faces(tiny_config):
    torch.manual_seed(0)
    config = dataclasses.replace(tiny_config, warp_width=0.25, warp_decoded=True, warp_eyes=True, warp_units=(6, 12),
                                 warp_wrinkles=True)  # fmt: skip
    model = ExprGAN(config).eval()
    model.T.wrinkles.maps.uniform_(0, 0.5)
    file, _ = graph(model, "warp")
    for count in (1, 3):
        x, c, units = torch.rand(count, 3, 64, 64) * 2 - 1, torch.rand(count, 30) * 2 - 1, torch.rand(count, 2, 2)
        pictures, nothing = [torch.rand(count, 3, 32, 32) for _ in range(2)], torch.full((count, 2, 2), torch.nan)
        for now, target in ((units, units * 0.5), (nothing, units)):
            expected = model.T(x, tuple(pictures), model.T.condition(c, now, target), 1.4)
            given = run_all(file, x=x, c=c, emphasis=torch.full((count,), 1.4), now=now, target=target,
                            reconstruction=pictures[0], x_hat=pictures[1])  # fmt: skip
            for a, b in zip(given, WarpPrediction(*expected), strict=True):
                assert np.abs(a - b.detach().numpy()).max() <= 1e-3


@pytest.mark.slow
def test_the_photo_example_runs_without_torch_and_edits_as_the_editor_does(model, all_files, data_dir, tmp_path):
    pytest.importorskip("onnxruntime")
    photo, edited = data_dir / "portrait2.jpg", tmp_path / "happy.jpg"
    code = ("import runpy, sys; sys.modules['torch'] = sys.modules['exprgan'] = None; "
            "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')")  # fmt: skip
    arguments = [ROOT / "examples" / "onnx_photo.py", all_files["warp"].parent, photo, "happy", "0.8", edited]
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all_files.keys() == NAMES.keys() and is_marked(edited)
    before = np.asarray(Image.open(photo).convert("RGB"), int)
    expected = np.asarray(ExpressionEditor(model).edit(photo, "happy", 0.8).image, int)
    changed = (expected != before).any(2)
    difference = np.abs(np.asarray(Image.open(edited), int) - expected)[changed].mean()
    assert difference < 0.2 * np.abs(before - expected)[changed].mean()


# The command.


def test_the_command_writes_the_files_and_replaces_old_ones(tiny_model, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxscript")
    names = "encoder", "reader"
    monkeypatch.setattr(onnx_files, "graphs_of", lambda model: only(graphs_of(model), *names))
    tiny_model.save_pretrained(tmp_path / "model")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "encoder.onnx").write_bytes(b"old")
    assert main(["export", str(tmp_path / "out"), "--model", str(tmp_path / "model"), "--fp16"]) == 0
    written = [tmp_path / "out" / NAMES[name] for name in (*names, "config", "mark")]
    assert sorted((tmp_path / "out").iterdir()) == sorted(written)
    sizes = [f"{path}: {path.stat().st_size / 1e6:.2f} MB" for path in written]
    assert capsys.readouterr().out.splitlines() == sizes
    assert run(tmp_path / "out" / "encoder.onnx", x=torch.zeros(1, 3, 32, 32)).shape == (1, 8)


def test_without_the_extra_the_error_names_what_to_install(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "find_spec", lambda name: None)
    with pytest.raises(ExprGANError, match=r"needs onnx and onnxscript.*pip install onnx onnxscript"):
        export_onnx(tiny_model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_created_is_named(tiny_model, tmp_path):
    pytest.importorskip("onnxscript")
    (tmp_path / "file").touch()
    with pytest.raises(ExprGANError, match="cannot be written"):
        export_onnx(tiny_model, tmp_path / "file" / "out")
