"""Regressions: committed results, calls and trainings that repeat exactly, and no warnings from this code."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import GOLDEN_PHOTO, golden_photo
from PIL import Image
from safetensors.torch import load_file

from exprgan import ExpressionEditor, ExprGAN, draw_numbers
from exprgan.batch.folder import edit_folder
from exprgan.export.onnx_files import export_onnx
from exprgan.photo.detection import find_faces
from train.__main__ import main

ROOT = Path(__file__).parent.parent
EXPECTED_FACES = {  # box, then eyes, nose, corners of the mouth, in px of the photo of 900 x 900
    "portrait.jpg": [255, 227, 634, 737, 353, 437, 531, 435, 439, 520, 366, 616, 520, 619],
    "portrait2.jpg": [248, 201, 629, 737, 358, 421, 532, 425, 436, 508, 359, 608, 512, 612],
}


def test_an_edited_photo_equals_the_committed_picture():
    """After a change of weights, detection, alignment or blending, write it again with `python tests/golden.py`."""
    editor = ExpressionEditor(ExprGAN.from_pretrained(ROOT / "weights"))
    edited, committed = (np.asarray(image, np.int16) for image in (golden_photo(editor), Image.open(GOLDEN_PHOTO)))
    difference = np.abs(edited - committed)
    assert difference.max() <= 12 and difference.mean() < 0.1  # other processors' rounding moves the face by 0.01 px


@pytest.mark.parametrize("name", EXPECTED_FACES)
def test_faces_are_found_at_the_expected_positions(name, data_dir):
    (face,) = find_faces(Image.open(data_dir / name).convert("RGB"))
    assert np.abs(np.array([*face.box, *np.ravel(face.landmarks)]) - EXPECTED_FACES[name]).max() < 1


# Every public call twice, with the global random number generators in different states.


def result_bytes(result) -> bytes:
    """The result of a call as bytes."""
    if isinstance(result, list):
        return b"".join(map(result_bytes, result))
    if isinstance(result, Image.Image):
        return result.tobytes()
    if hasattr(result, "image"):
        return result.image.tobytes() + result_bytes(result.preview)
    return repr(result).encode()


def save(animation, path: Path) -> bytes:
    animation.save(path)
    return path.read_bytes()


def edit_in_folder(editor, portrait, folder: Path) -> bytes:
    (folder / "in").mkdir()
    portrait.save(folder / "in" / "a.png")
    edit_folder(editor.model, folder / "in", folder / "out", "sad", 0.7, workers=1)
    return (folder / "out" / "a.png").read_bytes()


def export(editor, folder: Path) -> bytes:
    pytest.importorskip("onnxscript")
    return b"".join(path.read_bytes() for path in export_onnx(editor.model, folder).values())


CALLS = {
    "find": lambda e, a, b, to: e.find(a),
    "edit": lambda e, a, b, to: e.edit(a, {"happy": 0.5, "sad": 0.2}),
    "edit by style": lambda e, a, b, to: e.edit(a, "fear", style=1, fidelity="model"),
    "edit_many": lambda e, a, b, to: e.edit_many(a, "happy"),
    "transfer": lambda e, a, b, to: e.transfer(a, b),
    "tune": lambda e, a, b, to: e.edit(e.tune(a), "happy", fidelity="tuned"),
    "generate": lambda e, a, b, to: e.generate(3, "happy", seed=7),
    "interpolate": lambda e, a, b, to: e.interpolate(a, b, 3),
    "retrieve": lambda e, a, b, to: e.retrieve(a, [b, a], by="x"),
    "read_expression": lambda e, a, b, to: e.read_expression(a),
    "animate": lambda e, a, b, to: save(e.animate(a, "tour", seconds=0.2, fps=10), to / "a.gif"),
    "draw_numbers": lambda e, a, b, to: draw_numbers(a, e.find(a)),
    "decode": lambda e, a, b, to: e.decode(e.read(a), e.model.F_ctrl.code("sad", 0.5)),
    "edit_folder": lambda e, a, b, to: edit_in_folder(e, a, to),
    "export": lambda e, a, b, to: export(e, to),
}
SLOW = {"export"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CALLS])
def test_a_call_repeats_exactly_and_leaves_global_generators_alone(name, tiny_editor, data_dir, tmp_path):
    a, b = (Image.open(data_dir / file).convert("RGB").resize((200, 200)) for file in ("portrait.jpg", "portrait2.jpg"))
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        (to := tmp_path / str(seed)).mkdir()
        results.append(result_bytes(CALLS[name](tiny_editor, a, b, to)))
        after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
    assert results[0] and results[0] == results[1]


# Training by seed. `fit` is tested in test_training.py, `judge` in test_evaluate.py.


def test_the_same_seed_trains_the_same_face_network(faces_dir, tmp_path):
    trained = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        line = f"facenet {faces_dir} --out {tmp_path}/{name} --steps 2 --width 2 --image-size 32 --batch-size 4 --cpu"
        torch.manual_seed(len(trained)), np.random.seed(len(trained)), random.seed(len(trained))
        assert main([*line.split(), "--seed", str(seed), "--mixed-precision", "no"]) == 0
        tensors = load_file(tmp_path / name / "face.safetensors")
        trained.append(b"".join(tensors[key].numpy().tobytes() for key in sorted(tensors)))
    assert trained[0] == trained[1] != trained[2]


# Warnings.

WARNS = """
import warnings
warnings.filterwarnings("error", module=r"(exprgan|app|__main__)")  # of any category, as `python -W error`
import sys
from pathlib import Path
from PIL import Image
import exprgan.__main__, exprgan.export.onnx_files, app
from exprgan import ExpressionEditor, ExprGAN
out = Path(sys.argv[1])
editor = ExpressionEditor(ExprGAN.from_pretrained("weights"))
portrait = Image.open("tests/data/portrait.jpg").resize((200, 200))
portrait.save(out / "me.png")
subject = editor.read(out / "me.png")
for fidelity in ("detail", "model"):
    editor.edit(subject, "happy", fidelity=fidelity).image.save(out / "happy.png")
editor.animate(subject, seconds=0.2, fps=10).save(out / "me.gif")
editor.generate(2, seed=1), editor.interpolate(subject, subject, 2), editor.retrieve(subject, [subject])
for words in (["edit", str(out / "me.png"), "sad"], ["find", str(out / "me.png")], ["info"]):
    assert exprgan.__main__.main(words) == 0
portrait.close()
"""


def test_this_code_causes_no_warning(tmp_path):
    """Of any category, including files that are not closed."""
    run = subprocess.run([sys.executable, "-W", "default::ResourceWarning", "-c", WARNS, str(tmp_path)], cwd=ROOT,
                         capture_output=True, text=True, env=os.environ | {"GRADIO_TEMP_DIR": str(tmp_path)})  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert not [line for line in run.stderr.splitlines() if "ResourceWarning" in line and str(ROOT / ".venv") not in line]


@pytest.mark.parametrize("part", ["exprgan", "train", "tests", "app*.py"])
def test_the_source_compiles_without_a_warning(part):
    files = sorted(ROOT.glob(part if part.endswith(".py") else f"{part}/**/*.py"))
    code = "import sys, pathlib\nfor file in sys.argv[1:]: compile(pathlib.Path(file).read_bytes(), file, 'exec')"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code, *files], capture_output=True, text=True)
    assert files and run.returncode == 0, run.stderr
