"""Model folders from strangers: invalid files are refused quickly with one sentence, and nothing in them is run."""

import io
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from exprgan import ExprGAN, ExprGANConfig, WeightsError
from exprgan.cli import main
from exprgan.models.exprgan import read_weights

ROOT = Path(__file__).parent.parent
CONFIG, WEIGHTS = "config.json", "model.safetensors"
BIAS = "G_enc.fc.bias"
MAX_CPU_S = 5


class MaliciousPickle:
    """Unpickling it creates a file, whose name is in the environment."""

    def __reduce__(self):
        return os.system, ('touch "$CANARY"',)


@pytest.fixture(scope="module")
def valid_folder(tiny_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("valid")
    torch.manual_seed(0)
    ExprGAN(tiny_config).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(valid_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", str(tmp_path / "executed"))
    yield shutil.copytree(valid_folder, tmp_path / "model")
    assert not (tmp_path / "executed").exists()


def refusal(folder) -> str:
    """The error message with which a folder is refused; checks that it is one short line, in time."""
    start = time.process_time()
    with pytest.raises(WeightsError) as error:
        ExprGAN.from_pretrained(folder)
    assert time.process_time() - start < MAX_CPU_S
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    return str(error.value)


def zip_bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(MaliciousPickle()))
        archive.writestr("../../../evil", bytes(50_000_000))
    return file.getvalue()


def safetensors_bytes(header, body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header and any declared length of it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
FILES = {
    "a pickle": pickle.dumps(MaliciousPickle()),
    "an old pickle": pickle.dumps(MaliciousPickle(), protocol=0),
    "a zip bomb of torch.save's form": zip_bomb(),
    "a header longer than the file": safetensors_bytes({}, length=90_000_000),
    "a header of 2^63 bytes": safetensors_bytes({}, length=2**63),
    "a header of 2^64 - 1 bytes": safetensors_bytes({}, length=2**64 - 1),
    "brackets without end": safetensors_bytes(b"[" * 500_000),
    "objects without end": safetensors_bytes(b'{"a":' * 200_000),
    "tensors that overlap": safetensors_bytes({"a": ONE, "b": ONE}, bytes(4)),
    "tensors beyond the file": safetensors_bytes({"a": ONE | {"data_offsets": [0, 2**50]}}, bytes(4)),
    "a shape of 2^64 numbers": safetensors_bytes({"a": ONE | {"shape": [2**62, 4]}}, bytes(4)),
    "a shape of 5,000 dimensions": safetensors_bytes({BIAS: ONE | {"shape": [1] * 5000}}, bytes(4)),
    "nothing times very much": safetensors_bytes({BIAS: ONE | {"shape": [0, 2**62], "data_offsets": [0, 0]}}),
    "a negative shape": safetensors_bytes({"a": ONE | {"shape": [-1]}}, bytes(4)),
    "a type that there is not": safetensors_bytes({"a": ONE | {"dtype": "OBJECT"}}, bytes(4)),
    "../ names": safetensors_bytes({"../../etc/passwd": ONE}, bytes(4)),
    "a name of 5 MB": safetensors_bytes({"k" * 5_000_000: ONE}, bytes(4)),
    "300,000 names": safetensors_bytes(
        {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(300_000)}
    ),
    "metadata that is no text": safetensors_bytes({"__metadata__": {"a": [1]}, "a": ONE}, bytes(4)),
    "a page of HTML": b"<!DOCTYPE html><title>404</title>" * 20,
    "zeros": bytes(10_000),
}


@pytest.mark.parametrize("name", FILES)
def test_an_invalid_weights_file_is_refused(folder, name):
    (folder / WEIGHTS).write_bytes(FILES[name])
    message = refusal(folder)
    assert "damaged" in message or "does not have" in message or "instead of" in message


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "model.pkl"])
def test_other_files_of_the_folder_are_not_read(folder, name):
    (folder / name).write_bytes(pickle.dumps(MaliciousPickle()))
    (folder / "modeling_exprgan.py").write_text("import os; os.system('touch \"$CANARY\"')")
    assert ExprGAN.from_pretrained(folder)
    (folder / WEIGHTS).unlink()
    assert "never pickles" in refusal(folder)


@pytest.mark.parametrize(
    "dtype",
    [torch.complex64, torch.int64, torch.int8, torch.bool, torch.uint16, torch.float8_e8m0fnu],
    ids=lambda dtype: str(dtype).removeprefix("torch."),
)
def test_numbers_of_another_type_are_refused(folder, dtype):
    tensors = load((folder / WEIGHTS).read_bytes())
    wrong = torch.ones(tensors[BIAS].shape).to(dtype) if dtype != torch.float8_e8m0fnu else torch.full(
        tensors[BIAS].shape, 255, dtype=torch.uint8).view(dtype)  # fmt: skip
    try:
        (folder / WEIGHTS).write_bytes(save(tensors | {BIAS: wrong}))
    except KeyError:
        pytest.skip("this safetensors knows no such type")
    assert f"{BIAS} in {folder} holds" in refusal(folder)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bfloat16, torch.float64])
def test_any_floating_type_of_finite_numbers_is_accepted(folder, dtype):
    tensors = load((folder / WEIGHTS).read_bytes())
    (folder / WEIGHTS).write_bytes(save(tensors | {BIAS: torch.full(tensors[BIAS].shape, 0.5, dtype=dtype)}))
    assert ExprGAN.from_pretrained(folder).G_enc.fc.bias.tolist() == [0.5] * len(tensors[BIAS])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_numbers_that_are_not_finite_are_refused(folder, value):
    """1e300 is finite on disk, and infinite in memory."""
    tensors = load((folder / WEIGHTS).read_bytes())
    (folder / WEIGHTS).write_bytes(save(tensors | {BIAS: torch.full(tensors[BIAS].shape, value, dtype=torch.float64)}))
    assert "NaN or infinity" in refusal(folder)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_link_out_of_the_folder_is_refused(folder, valid_folder, name):
    (folder / name).unlink()
    (folder / name).symlink_to(valid_folder / name)
    assert f"{name} in {folder} is a link to a file elsewhere" in refusal(folder)
    (folder / name).unlink()
    (folder / name).symlink_to(os.path.relpath(valid_folder / name, folder))  # ../
    assert "link to a file elsewhere" in refusal(folder)


def test_links_within_the_folder_and_of_the_hubs_cache_are_followed(valid_folder, tmp_path):
    shutil.copytree(valid_folder, tmp_path / "linked")
    (tmp_path / "linked" / WEIGHTS).rename(tmp_path / "linked" / "weights-1")
    (tmp_path / "linked" / WEIGHTS).symlink_to("weights-1")
    snapshot, blobs = tmp_path / "models--org--exprgan" / "snapshots" / "abc", tmp_path / "models--org--exprgan" / "blobs"
    snapshot.mkdir(parents=True)
    shutil.copytree(valid_folder, blobs)
    for name in (CONFIG, WEIGHTS):
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    (tmp_path / "link").symlink_to(snapshot)
    for folder in (tmp_path / "linked", snapshot, tmp_path / "link"):
        assert ExprGAN.from_pretrained(folder)


def test_devices_pipes_and_folders_are_not_read(folder):
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)  # would block for ever
    assert f"has no {WEIGHTS}" in refusal(folder)
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()
    assert f"has no {WEIGHTS}" in refusal(folder)
    (folder / CONFIG).unlink()
    (folder / CONFIG).symlink_to("/dev/zero")
    assert f"has no {CONFIG}" in refusal(folder)


ELSEWHERE = ("org/exprgan@../../x", "../../none", "org/../exprgan", "a/b/c", "file:///etc", "org/ex\nprgan", "\0")


@pytest.mark.parametrize("name", ELSEWHERE)
def test_names_that_lead_elsewhere_are_refused(name, tmp_path):
    with pytest.raises(WeightsError):
        ExprGAN.from_pretrained(name, cache_dir=tmp_path)


# config.json.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"format": 2, "z_dim": 1e999}', "z_dim must be a whole number"),
        ('{"format": 2, "z_dim": true}', "z_dim must be a whole number"),
        ('{"format": 2, "z_dim": ' + "9" * 5000 + "}", "cannot be used"),
        ('{"format": 2, "warp_width": NaN}', "warp_width must be"),
        ('{"format": 2, "warp_width": Infinity}', "warp_width must be"),
        ('{"format": 2, "expressions": [["happy"], ["sad"]]}', "different, non-empty names"),
        ('{"format": 2, "expressions": {"happy": 1}}', "must be a list of names"),
        ('{"format": 1, "intensity_path": "up"}', "format 1 was written by an earlier version"),
        ('{"format": 2, "intensity_knots": -1}', "intensity_knots must be a whole number"),
        ('{"format": 2, "__class__": "os.system"}', "unknown to this version"),
        (json.dumps({"format": 2, "expressions": [f"e{i}" for i in range(20_000)]}), "at most 256, not 20000"),
        (" " * 5_000_000 + "{}", "5 MB large"),
        ("\ufeff{}", "cannot be used"),
    ],
    ids=range(15),
)
def test_an_invalid_config_is_refused(folder, text, message):
    (folder / CONFIG).write_text(text, encoding="utf-8")
    assert message in refusal(folder)


@pytest.mark.parametrize(
    "wide",
    [{"encoder_width": 8192, "decoder_width": 128, "image_size": 256}, {"decoder_width": 8192, "z_dim": 8192},
     {"warp_width": 64.0}, {"expressions": [f"e{i}" for i in range(256)], "code_dim_each": 8192}],
    ids=["encoder", "decoder", "warp", "code"],
)  # fmt: skip
def test_a_config_of_terabytes_uses_no_memory(folder, wide):
    """The networks are built only if the weights, a file of a few kB, fit them."""
    values = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(values | wide))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refusal(folder)
    assert "its config.json belongs to another model" in message or "lacks" in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_checking_the_weights_does_not_import_torchs_compiler():
    """It takes seconds to import, and leaves a folder among the temporary files."""
    code = (  # torch 2.8 imports sympy itself
        "import sys, torch; before = {*sys.modules}; import exprgan; exprgan.ExprGAN.from_pretrained('weights'); "
        "print({'torch._dynamo', 'sympy'} & (sys.modules.keys() - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stdout + done.stderr


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANYTHING = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(max_size=3), PLAIN, max_size=2)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(ExprGANConfig.__dataclass_fields__)), ANYTHING, max_size=3))
def test_any_config_is_accepted_or_refused_with_the_name_of_a_field(values):
    try:
        config = ExprGANConfig(**values)
    except ValueError as error:
        assert any(name in str(error) for name in ExprGANConfig.__dataclass_fields__)
    else:
        assert isinstance(config.expressions, tuple) and config.intensity_knots >= 2


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_change_of_a_weights_file_is_refused_or_loads_numbers(valid_folder, tmp_path_factory, data):
    content = bytearray((valid_folder / WEIGHTS).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, 3000))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    path.write_bytes(content)
    try:
        assert read_weights(path)
    except WeightsError as error:
        assert "download it again" in str(error)


def test_the_command_line_prints_one_line(folder, capsys):
    (folder / WEIGHTS).write_bytes(pickle.dumps(MaliciousPickle()))
    assert main(["info", "--model", str(folder)]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1 and not printed.out


@pytest.mark.slow
def test_the_app_does_not_start_with_such_a_model(folder):
    (folder / WEIGHTS).write_bytes(pickle.dumps(MaliciousPickle()))
    start = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=os.environ | {"EXPRGAN_MODEL": str(folder)},
                           capture_output=True, text=True, timeout=120)  # fmt: skip
    assert start.returncode == 1 and "The app needs a model:" in start.stderr and "Traceback" not in start.stderr
