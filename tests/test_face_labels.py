"""What the face network learns from: faint expressions are partly neutral, neutral pictures frequent, units by side."""

import dataclasses
import math
import shutil

import pytest
import torch
from accelerate.state import AcceleratorState

from exprgan.facs import ACTION_UNITS
from exprgan.models.networks import FaceNetwork
from train.core.train_errors import DataError
from train.data import FaceFolder
from train.data.metadata import read_metadata, write_metadata
from train.eval.reference_network import ReferenceNetwork
from train.eval.reference_training import ReferenceHeads
from train.perceptual.face_trainer import (
    NEUTRAL_PRIOR,
    NEUTRAL_SHARE,
    PLAIN_INTENSITY,
    FaceHeads,
    FaceTrainConfig,
    indices_with_neutral,
    load_face_network,
    mean_cosines,
    prior_shift,
    soft_labels,
    train_face_network,
    unit_loss,
)
from train.perceptual.people_classes import NO_CLASS, PeopleClasses


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


def test_the_logit_of_neutral_is_moved_to_the_prior_of_photos():
    share, logit = 0.3, 0.2
    odds = math.exp(logit + prior_shift(share)) / math.exp(logit)
    assert odds == pytest.approx((NEUTRAL_PRIOR / (1 - NEUTRAL_PRIOR)) / (0.3 / 0.7))
    assert prior_shift(NEUTRAL_PRIOR) == pytest.approx(0) and prior_shift(0) == prior_shift(1) == 0


def with_units(faces_dir, tmp_path):
    """A copy of the set whose happy pictures smile on the right side alone, with one picture of no class."""
    folder = shutil.copytree(faces_dir, tmp_path / "faces")
    rows = read_metadata(folder)
    for row in rows:
        row["action_units"] = '{"12": [0.9, 0.1], "99": [1, 1]}' if row["expression"] == "happy" else ""
        row["expression"] = row["expression"].replace("neutral", "Neutral")  # any word for it will do
    rows.append(
        rows[1] | {"file_name": "train/none.jpg", "expression": "", "action_units": '{"43": [0, 1]}', "split": "train"}
    )
    shutil.copy(folder / rows[1]["file_name"], folder / "train/none.jpg")
    write_metadata(folder, rows)
    return folder


def test_weights_of_action_units_are_read_by_side_and_unknown_ones_are_nan(faces_dir, tmp_path):
    folder, units = with_units(faces_dir, tmp_path), list(ACTION_UNITS)
    faces = FaceFolder.load(folder, "train", 32, unclassed=True)
    happy = faces.units[faces.expression == 3]
    assert (happy[:, units.index(12)] == torch.tensor([0.9, 0.1])).all() and happy.sum() == pytest.approx(len(happy))
    assert (faces.units[faces.expression == 6] == 0).all() and faces.units[faces.expression == 0].isnan().all()
    assert (
        faces.units[faces.expression == -1][0, units.index(43)].tolist() == [0, 1] and (faces.expression == -1).sum() == 1
    )
    assert len(FaceFolder.load(folder, "train", 32)) == len(faces) - 1
    assert soft_labels(torch.tensor([-1]), torch.tensor([0.5]), 7).sum() == 0


def test_the_loss_of_action_units_leaves_out_unknown_weights():
    units, shown = torch.full((3, 2, 2), 0.5, requires_grad=True), torch.full((3, 2, 2), float("nan"))
    assert unit_loss(units, shown) == 0
    shown[0], shown[1, 0] = 0.5, 1.0
    unit_loss(units, shown).backward()
    assert (units.grad[1, 0] < 0).all() and units.grad[1, 1].sum() == 0 and units.grad[[0, 2]].abs().sum() == 0


def test_a_folder_with_malformed_action_units_is_refused(faces_dir, tmp_path):
    folder = with_units(faces_dir, tmp_path)
    write_metadata(folder, [row | {"action_units": row["action_units"] and "[1]"} for row in read_metadata(folder)])
    with pytest.raises(DataError, match=r"the action_units '\[1\]'; they must be like"):
        FaceFolder.load(folder, "train", 32)


def test_a_face_network_learns_action_units_where_the_set_has_them(faces_dir, tmp_path):
    folder, out = with_units(faces_dir, tmp_path), str(tmp_path / "face")
    config = FaceTrainConfig(
        out=out, steps=2, batch_size=4, width=2, image_size=32, size=32, mixed_precision="no", cpu=True
    )
    assert "unit_r" in train_face_network(str(folder), config)
    network = load_face_network(out, 6)
    assert network(torch.zeros(1, 3, 32, 32)).units.shape == (1, len(ACTION_UNITS), 2)
    write_metadata(folder, [row | {"action_units": ""} for row in read_metadata(folder) if row["expression"]])
    config = dataclasses.replace(config, out=str(tmp_path / "plain"))
    assert "unit_r" not in train_face_network(str(folder), config)


def without_people(faces_dir, tmp_path):
    """A copy of the set whose table has no column `subject`."""
    folder = shutil.copytree(faces_dir, tmp_path / "faces")
    write_metadata(folder, [{k: v for k, v in row.items() if k != "subject"} for row in read_metadata(folder)])
    return folder


def test_where_people_are_unknown_the_network_learns_expressions_alone(faces_dir, tmp_path, capsys):
    folder = without_people(faces_dir, tmp_path)
    config = FaceTrainConfig(out=str(tmp_path / "out"), steps=2, width=2, image_size=32, batch_size=8, cpu=True,
                             mixed_precision="no")  # fmt: skip
    AcceleratorState._reset_state(reset_partial_state=True)
    results = train_face_network(str(folder), config)
    printed = capsys.readouterr()
    assert "note: nobody has two pictures in split 'train'" in printed.out and "nan" not in printed.out
    assert "has no column 'subject', so people are unknown: no identity is learned" in printed.err
    assert "cosine_same_person" not in results and "cosine_other_person" in results
    assert load_face_network(config.out, 6).expression.out_features == 7


@pytest.mark.parametrize("heads", [FaceHeads, ReferenceHeads])
@pytest.mark.parametrize("known", [True, False])
def test_all_that_is_trained_gets_a_gradient_as_several_processes_need(heads, known):
    network = FaceNetwork(6, 2, 32) if heads is FaceHeads else ReferenceNetwork(6, 4, 16)
    people, indices = PeopleClasses(torch.tensor([0, 0, 1, 1] if known else [0, 1, 2, 3])), torch.arange(4)
    trained = heads(network, people)
    logits, cosines, others = trained(torch.randn(4, 3, network.size, network.size))
    (logits.sum() + people.loss(cosines, indices) + others.sum()).backward()
    idle = {name for name, parameter in trained.named_parameters() if parameter.grad is None}
    assert idle == (set() if known else {"network.identity.weight", "network.identity.bias"})
    assert all(parameter.requires_grad == (name not in idle) for name, parameter in trained.named_parameters())


def test_the_only_picture_of_a_person_is_no_class(faces_dir):
    people = PeopleClasses(torch.tensor([0, 1, 1, 3, 3, 2]))
    assert people.classes.tolist() == [NO_CLASS, 0, 0, 1, 1, NO_CLASS] and people.count == 2
    assert "2 pictures are the only ones of their person and teach no identity; the 2 people of the other 4" in people.note
    cosines = torch.tensor([[0.3, 0.1]] * 3)
    both, known = people.loss(cosines, torch.tensor([0, 1, 3])), people.loss(cosines[:2], torch.tensor([1, 3]))
    assert torch.equal(both, known) and people.loss(cosines[:1], torch.tensor([5])) == 0
    known_set = FaceFolder.load(faces_dir, "train", 16)
    everyone = PeopleClasses(known_set.subject)
    assert torch.equal(everyone.classes, known_set.subject) and not everyone.note


def test_mean_cosines_are_those_of_all_pairs():
    generator = torch.Generator().manual_seed(0)
    embedding = torch.nn.functional.normalize(torch.randn(40, 5, generator=generator), dim=1)
    subject, expression = (torch.randint(4, (40,), generator=generator) for _ in range(2))
    cosine, same = embedding @ embedding.T, subject[:, None] == subject
    pairs = same & (expression[:, None] != expression), ~same
    expected = [cosine[pair].mean().item() for pair in pairs]
    assert mean_cosines(embedding, subject, expression - 1) == pytest.approx(expected, abs=1e-6)
    assert math.isnan(mean_cosines(embedding[:1], subject[:1], expression[:1])[0])
