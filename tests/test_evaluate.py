"""Evaluation: two judges, every metric, groups of people, and the card that shows it all. Tiny networks on tiny faces."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from exprgan import EXPRESSIONS, ExprGAN
from exprgan.models.networks import FaceNetwork
from train.__main__ import main
from train.data import FaceFolder
from train.eval.edit_metrics import METRICS, PARTS, expression_accuracy, style_diversity
from train.eval.edit_set import INTENSITIES, KINDS, EditSet
from train.eval.evaluators import ReferenceEvaluator, OwnEvaluator, on_real_pictures
from train.eval.image_metrics import frechet, kernel_distance, l1, ssim
from train.eval.reference_network import ReferenceNetwork, read_judge, write_judge
from train.eval.reference_training import disturb, shown_labels, strength_error
from train.eval.subgroups import read_groups
from train.publish.card_tables import measured
from train.publish.model_card import write_card

FACES = Path(__file__).parent / "data" / "faces"
SMALL = ["--steps", "3", "--width", "4", "--size", "16", "--image-size", "32", "--batch-size", "4", "--cpu"]


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    assert main(["judge", str(FACES), "--out", str(folder), *SMALL]) == 0
    return folder


@pytest.fixture(scope="module")
def weights(tiny_config, judge_folder, tmp_path_factory):
    """A published model, measured."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    ExprGAN(tiny_config).save_pretrained(folder)
    shutil.copy(judge_folder / "judge.safetensors", folder)
    assert main(["evaluate", str(folder), "--data", str(FACES)]) == 0
    return folder


@pytest.fixture
def results(weights):
    return json.loads((weights / "results.json").read_text())


@pytest.fixture
def exam(tiny_editor):
    torch.manual_seed(0)
    people = FaceFolder.load(FACES, "test", image_size=32)
    judge = ReferenceEvaluator(ReferenceNetwork(6, width=4, size=16).eval(), {})
    return EditSet(tiny_editor, people, [judge, OwnEvaluator(tiny_editor.model.classifier)])


# The judge.


def test_the_judge_is_another_network_and_says_what_it_is(judge_folder):
    network, told = read_judge(judge_folder, EXPRESSIONS)
    assert told["people"] == 4 and told["pictures"] == 28 and told["steps"] == 3 and told["strength"]
    shared = {*network.state_dict()} & {*FaceNetwork(6).state_dict()}
    assert {name.partition(".")[0] for name in shared} == {"expression", "identity"}  # nothing but the names of the heads
    assert (judge_folder / "judge.safetensors").stat().st_size < 100_000
    logits, embedding, strength = network(torch.zeros(2, 3, 16, 16))
    assert logits.shape == (2, 7) and strength.shape == (2, 6)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))


def test_the_full_judge_is_small():
    assert sum(tensor.numel() for tensor in ReferenceNetwork(6).state_dict().values()) * 2 < 3e6  # bytes in fp16


def test_the_same_command_trains_the_same_judge(judge_folder, tmp_path):
    assert main(["judge", str(FACES), "--out", str(tmp_path), *SMALL]) == 0
    one, other = (read_judge(folder, EXPRESSIONS)[0].state_dict() for folder in (judge_folder, tmp_path))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_strength_counts_only_where_it_is_known():
    said = torch.tensor([[0.5, 0.0], [0.0, 0.0], [9.0, 9.0]])
    error = strength_error(said, torch.tensor([0, 2, 1]), torch.tensor([0.5, 0.0, float("nan")]))
    assert error == 0  # right, neutral, unknown
    assert strength_error(said, torch.tensor([1, 2, 1]), torch.tensor([0.5, 0.0, float("nan")])) == pytest.approx(0.25)
    assert strength_error(said, torch.tensor([0, 0, 0]), torch.full((3,), float("nan"))) == 0


def test_a_weak_expression_is_partly_neutral():
    shown = shown_labels(torch.tensor([0, 0, 2, 1]), torch.tensor([0.7, 0.175, 0.0, float("nan")]), 2)
    assert shown.tolist() == [[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1], [0, 1, 0]]


def test_a_judge_goes_on_from_an_earlier_one(judge_folder, tmp_path):
    assert main(["judge", str(FACES), "--out", str(tmp_path), "--init", str(judge_folder), *SMALL]) == 0
    assert read_judge(tmp_path, EXPRESSIONS)[1]["steps"] == 6


def test_the_judges_augmentation_keeps_shape_and_range_and_is_drawn_anew():
    x = (torch.rand(6, 3, 32, 32) * 255).byte()
    one, two = disturb(x, torch.Generator().manual_seed(0)), disturb(x, torch.Generator().manual_seed(1))
    assert one.shape == x.shape and one.min() >= -1 and one.max() <= 1 and not torch.equal(one, two)
    assert torch.equal(one, disturb(x, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda file: file.unlink(), "there is no judge at"),
        (lambda file: file.write_bytes(b"no"), "is damaged"),
        (lambda file: write_judge(ReferenceNetwork(2, 4, 16), file, ["calm", "wild"], {}), "knows calm, wild, not angry"),
        (lambda file: write_judge(ReferenceNetwork(5, 4, 16), file, EXPRESSIONS, {}), "train another"),
    ],
)
def test_a_judge_that_cannot_judge_is_one_sentence(weights, judge_folder, tmp_path, capsys, harm, message):
    file = tmp_path / "judge.safetensors"
    shutil.copy(judge_folder / "judge.safetensors", file)
    harm(file)
    assert main(["evaluate", str(weights), "--data", str(FACES), "--judge", str(file)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


# What is measured.


def test_edits_are_made_once_and_judged_once(exam, monkeypatch):
    made, asked, judge = [], [], exam.judges[0]
    decode = exam.editor.decode
    monkeypatch.setattr(exam.editor, "decode", lambda *given, **more: made.append(1) or decode(*given, **more))
    monkeypatch.setattr(judge, "_maps", lambda pictures, real=judge._maps: asked.append(len(pictures)) or real(pictures))
    first = {name: metric.measure(exam, judge) for name, metric in METRICS.items() if metric.judged}
    levels, k, styles = len(INTENSITIES) - 1, 6, 5
    calmed = 6  # one full expression of each kind and person, as many as the tiny set has
    assert len(made) == 2 * (levels * k + 1) + 2 * k * styles + calmed  # every intensity 0 is the same neutral edit
    before = len(asked)
    assert {name: metric.measure(exam, judge) for name, metric in METRICS.items() if metric.judged} == first
    assert len(asked) - before == 1 + 2 * (len(KINDS) + 1)  # real pictures, and distances, are not kept
    assert len(exam.calmed["detail"]) == calmed


def test_a_perfect_edit_scores_what_real_pictures_score(exam):
    """An editor that returns the set's own pictures: accuracy and identity follow the judge, nothing else."""
    judge, strong = exam.judges[0], exam.strong
    exam.inputs = strong
    exam.edits = lambda kind, intensity=1.0: strong.images.repeat_interleave(6, dim=0)
    said = judge(strong.images).label
    expected = (said.repeat_interleave(6) == torch.arange(6).repeat(len(strong))).float().mean().item()
    assert expression_accuracy(exam, judge)["detail"] == pytest.approx(expected)
    assert METRICS["identity_cosine"].measure(exam, judge)["detail"] == pytest.approx(1)


def test_styles_that_are_all_alike_have_no_diversity(exam):
    flat = torch.zeros(2, 6, 5, 3, 32, 32, dtype=torch.uint8)
    flat[1] = 51
    moved = flat.clone()
    moved[:, :, 0, :, 17:24, 9:23] += 10  # the mouth, in one of five styles
    exam.styles = lambda kind: moved if kind == "detail" else flat
    found = style_diversity(exam)
    assert found["model.all"] == 0 and found["model.between people"] == 51
    assert found["detail.mouth"] == pytest.approx(4) and found["detail.brows"] == found["detail.eyes"] == 0
    assert {name.partition(".")[2] for name in found} == {"all", "between people", *PARTS}


def test_distances_of_pictures():
    x = (torch.rand(2, 3, 32, 32) * 255).byte()
    np.testing.assert_allclose(ssim(x, x), 1)
    np.testing.assert_allclose(l1(x, 255 - x), (2.0 * x - 255).abs().mean((1, 2, 3)) / 255, rtol=1e-5)
    soft = torch.nn.functional.avg_pool2d(x.float(), 3, 1, 1).byte()
    assert (ssim(x, 255 - x) < ssim(x, soft)).all() and (ssim(x, soft) < 1).all()


def test_distances_of_sets_are_those_of_their_gaussians():
    chance = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1500, 4, generator=chance) for _ in range(2))
    assert frechet(a, a) == pytest.approx(0, abs=1e-6) and abs(kernel_distance(a, b)) < 0.02
    moved = b * torch.tensor([1.0, 2.0, 1.0, 1.0]) + torch.tensor([3.0, 0.0, 0.0, 0.0])
    assert frechet(a, moved) == pytest.approx(9 + 1, rel=0.1)  # |means|^2 + (2 - 1)^2
    assert kernel_distance(a, moved) > 1


def test_a_judge_is_measured_on_real_pictures(exam):
    found = on_real_pictures(exam.judges[0], exam.people, strong=0.6)
    assert found.keys() == {"accuracy", "accuracy_of_full", "intensity_r", "same_person", "other_people", "verification"}
    assert 0 <= found["verification"] <= 1 and -1 <= found["same_person"] <= 1


# results.json and the card.


def test_results_say_by_whom_of_whom_and_how_many(results):
    independent, own = results["judges"]
    assert not independent["seen_in_training"] and independent["trained"]["people"] == 4
    assert own["seen_in_training"] and "which training used" in own["network"]
    assert results["metrics"].keys() == {
        "expression_accuracy", "confusion", "identity_cosine", "identity_by_intensity", "intensity_correlation", "neutral",
        "styles_shown", "style_diversity", "reconstruction", "feature_distance", "realism", "new_people", "code_reading",
        "disentanglement",
    }  # fmt: skip
    judged = {name for name, metric in METRICS.items() if metric.judged}
    assert results["metrics_by_other_judges"]["own"].keys() == judged
    assert all(math.isfinite(value) for numbers in results["metrics"].values() for value in numbers.values())
    assert results["n"] == {"people": 2, "neutral_photos": 2, "edits": 12, "styled_edits": 60, "expressive_made_neutral": 6,
                            "real_pictures": 6, "all_pictures": 14}  # fmt: skip
    assert np.array(results["confusion"]["detail"]).sum(1).tolist() == [2] * 6
    assert {"seed", "device", "seconds", "commit", "weights_sha256"} <= results.keys()
    assert results["groups"]["sex"]["female"]["people"] + results["groups"]["sex"]["male"]["people"] == 2


def test_the_card_shows_every_number(weights, results):
    card = (weights / "README.md").read_text()
    for numbers in results["metrics"].values():
        assert all(f"| {value:.3f} |" in card for value in numbers.values())
    assert "### By the model's own face network" in card and "| sex: female | 1 | 6 |" in card
    assert "it flatters" not in card and "was not recorded" in card
    assert "type: expression_accuracy\n      name: expression accuracy, held-out people" in card


def test_without_an_independent_judge_the_card_warns(weights, results, tmp_path):
    shutil.copytree(weights, tmp_path / "alone")
    alone = results | {"judges": results["judges"][1:], "metrics_by_other_judges": {}}
    (tmp_path / "alone" / "results.json").write_text(json.dumps(alone))
    assert "it flatters" in write_card(tmp_path / "alone").read_text()
    assert "evaluate WEIGHTS --data DIR" in measured({})


def test_what_the_training_took_is_told_only_where_it_is_known(weights, tmp_path):
    shutil.copytree(weights, tmp_path / "known")
    cost = [{"what": "three stages", "hours": 3.5, "cores": 2, "hardware": "CPU"},
            {"what": "detail", "hours": 1, "cores": 2, "hardware": "CPU"}]  # fmt: skip
    training = {"steps": {"refine": 1}, "settings": {"refine": {"batch_size": 4}}, "cost": cost}
    (tmp_path / "known" / "training.json").write_text(json.dumps(training))
    card = write_card(tmp_path / "known").read_text()
    assert "three stages 3.5 hours on 2 cores (CPU); detail 1 hours on 2 cores (CPU): 9 core hours in all" in card


def test_groups_are_read_where_the_table_has_them(tmp_path):
    assert read_groups(FACES).keys() == {"sex", "ethnicity"}
    with (FACES / "metadata.csv").open(newline="") as file:
        rows = [{name: row[name] for name in ("file_name", "subject", "expression", "split")} | {"sex": ""}
                for row in csv.DictReader(file)]  # fmt: skip
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert read_groups(tmp_path) == {}
