"""The face finder: the detections of facenet-pytorch, from its weights, without its code."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from exprgan.errors import ExprGANError
from exprgan.photo import mtcnn
from exprgan.photo.mtcnn import PYRAMID_STEP, THRESHOLDS, _distinct, detect, load_networks

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "exprgan/ui/examples").glob("*.jpg"))


def group(px):
    """Six people in one picture, and their mirror images below."""
    row = np.hstack([np.asarray(Image.open(path).convert("RGB").resize((px, px))) for path in EXAMPLES])
    return np.vstack((row, row[:, ::-1]))


@torch.no_grad()
@pytest.mark.parametrize(("px", "min_face"), [(160, 20), (97, 31.5)])
def test_it_finds_what_facenet_pytorch_finds(px, min_face):
    reference = pytest.importorskip("facenet_pytorch.models.mtcnn")
    networks = reference.PNet(), reference.RNet(), reference.ONet()
    picture = group(px)
    boxes, landmarks = reference.detect_face(
        picture[None], min_face, *networks, THRESHOLDS, PYRAMID_STEP, torch.device("cpu")
    )
    found = detect(picture, min_face, *load_networks())
    assert len(found[0]) >= 10
    assert np.abs(found[0] - boxes[0]).max() < 0.01 and np.abs(found[1] - landmarks[0]).max() < 0.01  # px


@torch.no_grad()
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_picture_without_faces_gives_none(level):
    boxes, landmarks = detect(np.full((60, 90, 3), level, np.uint8), 20, *load_networks())
    assert boxes.shape == (0, 5) and landmarks.shape == (0, 5, 2)


def test_loading_leaves_the_random_state_and_imports_no_torchvision():
    code = ("import sys, torch; from exprgan.photo.mtcnn import load_networks; torch.manual_seed(1); load_networks(); "
            "a = torch.rand(3); torch.manual_seed(1); assert (a == torch.rand(3)).all(); "
            "print([name for name in ('torchvision', 'facenet_pytorch') if name in sys.modules])")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_without_the_weights_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setattr(mtcnn, "find_spec", lambda name: None)
    with pytest.raises(ExprGANError, match="pip install facenet-pytorch"):
        load_networks()


def test_of_boxes_that_overlap_the_best_is_kept():
    boxes = np.array([[0, 0, 10, 10, 0.8], [0, 1, 10, 11, 0.9], [0, 0, 4, 4, 0.7], [5, 5, 5, 5, 0.6]], np.float32)
    assert _distinct(boxes, 0.7).tolist() == [1, 2, 3]
    assert _distinct(boxes, 0.6, of_smaller=True).tolist() == [1]
