"""The numbers on reading: calibration error, and groups of pictures that are turned, lit, grey or smile."""

import csv
import json
import shutil

import pytest
import torch

from exprgan import ExprGAN
from exprgan.expressions import EXPRESSIONS
from exprgan.models.networks import FaceReading
from train.__main__ import main
from train.eval.reading_calibration import Scaling
from train.eval.reading_metrics import calibration_error, measure_reading
from train.perceptual.face_trainer import prior_shift


def test_the_calibration_error_is_the_mean_gap_of_certainty_and_accuracy():
    certainty = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    assert calibration_error(certainty, torch.tensor([1.0, 1, 1, 0, 1, 0])) == pytest.approx((4 * 0.2 + 2 * 0.05) / 6)
    assert calibration_error(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0])) == pytest.approx(0)


class Constant(torch.nn.Module):
    """Is 0.9 certain of one class; of a grey picture it is certain that it is neutral."""

    def __init__(self, label):
        super().__init__()
        self.weight, self.label, self.units = torch.nn.Parameter(torch.zeros(1)), label, True

    def forward(self, x):
        logits = torch.full((len(x), 7), 0.1 / 6)
        logits[:, self.label] = 0.9
        is_grey = (x == x[:, :1]).flatten(1).all(1)
        logits[is_grey] = torch.tensor([0.1 / 6] * 6 + [0.9])
        units = torch.arange(50.0).view(1, 25, 2).expand(len(x), -1, -1) / 50
        return FaceReading(logits.log(), torch.zeros(len(x), 1), units)


def test_groups_are_measured_apart(faces_dir, tmp_path):
    folder = shutil.copytree(faces_dir, tmp_path / "faces")
    with (folder / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    test = [row for row in rows if row["split"] == "test"]
    turned = [row for row in test if row["expression"] == "happy"] + [row for row in test if row["expression"] == "neutral"]
    for row in rows:
        row |= {"yaw": "12" if row in turned else "", "light": "{}" if row["expression"] == "happy" else ""}
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    numbers = measure_reading(Constant(EXPRESSIONS.index("happy")), str(folder), None, 32, EXPRESSIONS)
    strong = [row for row in test if row["expression"] == "neutral" or float(row["intensity"]) >= 0.4]
    happy = sum(row["expression"] == "happy" for row in strong)
    assert numbers["real.accuracy"] == pytest.approx(happy / len(strong)) and numbers["real.neutral"] == 0
    assert numbers["real.neutral, grey"] == 1 and numbers["real.neutral, turned"] == 0
    assert numbers["real.accuracy, relit"] == 1 and "real.neutral, relit" not in numbers
    assert numbers["real.calibration error, relit"] == pytest.approx(0.1, abs=1e-4)
    assert not any("smiles" in name for name in numbers)


def test_certainties_become_true_by_a_temperature_and_a_prior():
    generator = torch.Generator().manual_seed(0)
    expression = torch.where(torch.rand(6000, generator=generator) < 0.1, 2, torch.randint(2, (6000,), generator=generator))
    true = 2 * torch.nn.functional.one_hot(expression, 3) + torch.randn(6000, 3, generator=generator)
    odds = torch.tensor([0.45, 0.45, 0.1]).log()  # of normal scores of two classes, by Bayes' rule
    logits = true * 2 + odds
    scaling = Scaling.fit(logits, expression)
    assert scaling.factor == pytest.approx(1, abs=0.06) and scaling.shift == pytest.approx(prior_shift(0.1), abs=0.15)
    assert Scaling.fit(logits * 3, expression).factor == pytest.approx(scaling.factor / 3, rel=0.01)
    certainty = scaling(logits.clone()).softmax(1)[:, 2]
    assert certainty.mean() > logits.softmax(1)[:, 2].mean() + 0.05  # neutral is a third, not a tenth


def test_the_reading_is_calibrated_on_people_left_out_one_by_one(tiny_model, faces_dir, tmp_path, capsys):
    tiny_model.save_pretrained(tmp_path)
    before = ExprGAN.from_pretrained(tmp_path)
    assert main(["calibrate", str(tmp_path), "--data", str(faces_dir), "--reading"]) == 0
    after = ExprGAN.from_pretrained(tmp_path)
    names = {name for name, value in after.state_dict().items() if not torch.equal(value, before.state_dict()[name])}
    assert names == {"classifier.expression.weight", "classifier.expression.bias"}
    record = json.loads((tmp_path / "training.json").read_text())["reading"]
    ratio = (after.classifier.expression.weight / before.classifier.expression.weight).median().item()
    assert record["factor"] == pytest.approx(ratio, abs=1e-4) and 0 <= record["calibration error after"] <= 1
    assert f"factor {record['factor']:.3f}" in capsys.readouterr().out
