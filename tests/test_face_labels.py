"""What the face network learns from: faint expressions count partly as neutral, and neutral pictures are frequent."""

import pytest
import torch

from train.data import FaceFolder
from train.perceptual.face_trainer import NEUTRAL_SHARE, PLAIN_INTENSITY, indices_with_neutral, soft_labels


def test_a_faint_expression_is_partly_neutral():
    expression, intensity = torch.tensor([3, 3, 3, 6]), torch.tensor([PLAIN_INTENSITY / 4, 0.9, float("nan"), 0.0])
    labels = soft_labels(expression, intensity, 7)
    assert labels[0, 3].item() == pytest.approx(0.25) and labels[0, 6].item() == pytest.approx(0.75)
    assert torch.equal(labels[1:].argmax(1), torch.tensor([3, 3, 6])) and torch.equal(labels[1:].amax(1), torch.ones(3))
    torch.testing.assert_close(labels.sum(1), torch.ones(4))


def test_neutral_pictures_are_drawn_more_often(faces_dir):
    faces = FaceFolder.load(faces_dir, "train", 32)
    indices = indices_with_neutral(faces)
    assert set(indices.tolist()) == set(range(len(faces)))
    assert NEUTRAL_SHARE <= (faces.expression[indices] == 6).float().mean() < NEUTRAL_SHARE + 0.1
    neutral = faces.expression == 6
    assert len(indices_with_neutral(faces.select(~neutral))) == int((~neutral).sum())
    assert len(indices_with_neutral(faces.select(neutral))) == int(neutral.sum())
