"""Evaluation: two evaluators, every metric, groups of people, and the model card. Tiny networks on tiny faces."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from exprgan import EXPRESSIONS, ExprGAN
from exprgan.models.card_tables import render_results
from exprgan.models.model_card import write_card
from exprgan.models.networks import FaceNetwork
from train.__main__ import main
from train.data import FaceFolder
from train.eval.edit_metrics import FACE_PARTS, METRICS, expression_accuracy, style_diversity
from train.eval.edit_set import EDIT_KINDS, EVALUATED_INTENSITIES, EditSet
from train.eval.evaluators import OwnEvaluator, ReferenceEvaluator, measure_evaluator
from train.eval.image_metrics import frechet_distance, kernel_distance, l1, ssim
from train.eval.reference_network import ReferenceNetwork, load_reference_network, save_reference_network
from train.eval.reference_training import augment_reference, soft_labels, strength_loss
from train.eval.subgroups import read_groups

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
def edit_set(tiny_editor):
    torch.manual_seed(0)
    faces = FaceFolder.load(FACES, "test", image_size=32)
    evaluator = ReferenceEvaluator(ReferenceNetwork(6, width=4, size=16).eval(), {})
    return EditSet(tiny_editor, faces, [evaluator, OwnEvaluator(tiny_editor.model.classifier)])


# The reference network.


def test_the_reference_network_is_not_the_models_and_its_file_describes_it(judge_folder):
    network, info = load_reference_network(judge_folder, EXPRESSIONS)
    assert info["people"] == 4 and info["pictures"] == 28 and info["steps"] == 3 and info["strength"]
    shared = {*network.state_dict()} & {*FaceNetwork(6).state_dict()}
    assert {name.partition(".")[0] for name in shared} == {"expression", "identity"}  # nothing but the names of the heads
    assert (judge_folder / "judge.safetensors").stat().st_size < 100_000
    logits, embedding, strength = network(torch.zeros(2, 3, 16, 16))
    assert logits.shape == (2, 7) and strength.shape == (2, 6)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))


def test_the_full_reference_network_is_small():
    assert sum(tensor.numel() for tensor in ReferenceNetwork(6).state_dict().values()) * 2 < 3e6  # bytes in fp16


def test_the_same_command_trains_the_same_weights(judge_folder, tmp_path):
    assert main(["judge", str(FACES), "--out", str(tmp_path), *SMALL]) == 0
    first, second = (load_reference_network(path, EXPRESSIONS)[0].state_dict() for path in (judge_folder, tmp_path))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_strength_counts_only_where_it_is_known():
    strength = torch.tensor([[0.5, 0.0], [0.0, 0.0], [9.0, 9.0]])
    intensity = torch.tensor([0.5, 0.0, float("nan")])
    assert strength_loss(strength, torch.tensor([0, 2, 1]), intensity) == 0  # right, neutral, unknown
    assert strength_loss(strength, torch.tensor([1, 2, 1]), intensity) == pytest.approx(0.25)
    assert strength_loss(strength, torch.tensor([0, 0, 0]), torch.full((3,), float("nan"))) == 0


def test_a_weak_expression_is_labelled_as_partly_neutral():
    labels = soft_labels(torch.tensor([0, 0, 2, 1]), torch.tensor([0.7, 0.175, 0.0, float("nan")]), 2)
    assert labels.tolist() == [[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1], [0, 1, 0]]


def test_training_continues_from_an_earlier_run(judge_folder, tmp_path):
    assert main(["judge", str(FACES), "--out", str(tmp_path), "--init", str(judge_folder), *SMALL]) == 0
    assert load_reference_network(tmp_path, EXPRESSIONS)[1]["steps"] == 6


def test_the_augmentation_keeps_shape_and_range_and_depends_on_the_seed():
    x = (torch.rand(6, 3, 32, 32) * 255).byte()
    first, again, other = (augment_reference(x, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == x.shape and first.min() >= -1 and first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "there is no judge at"),
        (lambda path: path.write_bytes(b"no"), "is damaged"),
        (
            lambda path: save_reference_network(ReferenceNetwork(2, 4, 16), path, ["calm", "wild"], {}),
            "knows calm, wild, not angry",
        ),
        (lambda path: save_reference_network(ReferenceNetwork(5, 4, 16), path, EXPRESSIONS, {}), "train another"),
    ],
)
def test_an_unusable_reference_network_is_reported_in_one_sentence(
    weights, judge_folder, tmp_path, capsys, damage, message
):
    path = tmp_path / "judge.safetensors"
    shutil.copy(judge_folder / "judge.safetensors", path)
    damage(path)
    assert main(["evaluate", str(weights), "--data", str(FACES), "--judge", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


# The metrics.


def test_edits_are_made_once_and_predicted_on_once(edit_set, monkeypatch):
    decoded, batches, evaluator = [], [], edit_set.evaluators[0]
    decode, maps = edit_set.editor.decode, evaluator._feature_maps
    monkeypatch.setattr(edit_set.editor, "decode", lambda *args, **kwargs: decoded.append(1) or decode(*args, **kwargs))
    monkeypatch.setattr(evaluator, "_feature_maps", lambda images: batches.append(len(images)) or maps(images))

    def measure():
        return {name: metric.measure(edit_set, evaluator) for name, metric in METRICS.items() if metric.needs_evaluator}

    first = measure()
    levels, k, styles = len(EVALUATED_INTENSITIES) - 1, 6, 5
    neutralized = 6  # one full expression of each kind and person, as many as the tiny set has
    assert len(decoded) == 2 * (levels * k + 1) + 2 * k * styles + neutralized  # every intensity 0 is the same neutral edit
    before = len(batches)
    assert measure() == first
    assert len(batches) - before == 1 + 2 * (len(EDIT_KINDS) + 1)  # real pictures, and distances, are not cached
    assert len(edit_set.neutralized["detail"]) == neutralized


def test_a_perfect_edit_scores_what_real_pictures_score(edit_set):
    """An editor that returns the set's own pictures: accuracy and identity depend on the evaluator alone."""
    evaluator, real = edit_set.evaluators[0], edit_set.full_expressions
    edit_set.inputs = real
    edit_set.expression_edits = lambda kind, intensity=1.0: real.images.repeat_interleave(6, dim=0)
    label = evaluator(real.images).label
    expected = (label.repeat_interleave(6) == torch.arange(6).repeat(len(real))).float().mean().item()
    assert expression_accuracy(edit_set, evaluator)["detail"] == pytest.approx(expected)
    assert METRICS["identity_cosine"].measure(edit_set, evaluator)["detail"] == pytest.approx(1)


def test_styles_that_are_all_alike_have_no_diversity(edit_set):
    alike = torch.zeros(2, 6, 5, 3, 32, 32, dtype=torch.uint8)
    alike[1] = 51
    different = alike.clone()
    different[:, :, 0, :, 17:24, 9:23] += 10  # the mouth, in one of five styles
    edit_set.style_edits = lambda kind: different if kind == "detail" else alike
    numbers = style_diversity(edit_set)
    assert numbers["model.all"] == 0 and numbers["model.between people"] == 51
    assert numbers["detail.mouth"] == pytest.approx(4) and numbers["detail.brows"] == numbers["detail.eyes"] == 0
    assert numbers["detail.skin color"] == 0  # the mouth is no part of it
    assert {name.partition(".")[2] for name in numbers} == {
        "all", "between people", "skin color", "skin chroma", *FACE_PARTS,
    }  # fmt: skip


def test_a_tint_of_one_style_is_distinguished_from_a_shade(edit_set):
    shaded = torch.full((2, 6, 5, 3, 32, 32), 100, dtype=torch.uint8)
    shaded[:, :, 0] -= 10
    tinted = torch.full((2, 6, 5, 3, 32, 32), 100, dtype=torch.uint8)
    tinted[:, :, 0, 0] += 30  # red
    edit_set.style_edits = lambda kind: shaded if kind == "detail" else tinted
    numbers = style_diversity(edit_set)
    assert numbers["detail.skin color"] == pytest.approx(10 * 0.4)
    assert numbers["detail.skin chroma"] == pytest.approx(0, abs=1e-4)
    assert numbers["model.skin color"] == pytest.approx(10 * 0.4)  # the mean over channels; 4 of 10 pairs differ
    assert numbers["model.skin chroma"] == pytest.approx((20 + 10 + 10) / 3 * 0.4)


def test_distances_of_images():
    x = (torch.rand(2, 3, 32, 32) * 255).byte()
    np.testing.assert_allclose(ssim(x, x), 1)
    np.testing.assert_allclose(l1(x, 255 - x), (2.0 * x - 255).abs().mean((1, 2, 3)) / 255, rtol=1e-5)
    blurred = torch.nn.functional.avg_pool2d(x.float(), 3, 1, 1).byte()
    assert (ssim(x, 255 - x) < ssim(x, blurred)).all() and (ssim(x, blurred) < 1).all()


def test_distances_of_sets_are_those_of_their_gaussians():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1500, 4, generator=generator) for _ in range(2))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6) and abs(kernel_distance(a, b)) < 0.02
    moved = b * torch.tensor([1.0, 2.0, 1.0, 1.0]) + torch.tensor([3.0, 0.0, 0.0, 0.0])
    assert frechet_distance(a, moved) == pytest.approx(9 + 1, rel=0.1)  # |means|^2 + (2 - 1)^2
    assert kernel_distance(a, moved) > 1
    assert math.isnan(frechet_distance(a[:1], b)) and math.isnan(kernel_distance(a, b[:1]))


def test_an_evaluator_is_measured_on_real_pictures(edit_set):
    numbers = measure_evaluator(edit_set.evaluators[0], edit_set.faces, min_intensity=0.6)
    assert numbers.keys() == {"accuracy", "accuracy_of_full", "intensity_r", "same_person", "other_people", "verification"}
    assert 0 <= numbers["verification"] <= 1 and -1 <= numbers["same_person"] <= 1


# results.json and the card.


def test_results_name_their_evaluators_and_number_of_samples(results):
    reference, own = results["judges"]
    assert not reference["seen_in_training"] and reference["trained"]["people"] == 4
    assert own["seen_in_training"] and "which training used" in own["network"]
    assert results["metrics"].keys() == {
        "expression_accuracy", "confusion", "identity_cosine", "identity_by_intensity", "intensity_correlation", "neutral",
        "styles_shown", "style_diversity", "reconstruction", "feature_distance", "realism", "new_people", "code_reading",
        "disentanglement", "real_pairs", "reading",
    }  # fmt: skip
    by_evaluators = {name for name, metric in METRICS.items() if metric.needs_evaluator}
    assert results["metrics_by_other_judges"]["own"].keys() == by_evaluators
    assert all(math.isfinite(value) for numbers in results["metrics"].values() for value in numbers.values())
    assert results["n"] == {"people": 2, "neutral_photos": 2, "edits": 12, "styled_edits": 60, "expressive_made_neutral": 6,
                            "real_pictures": 6, "real_pairs": 0, "all_pictures": 14}  # fmt: skip
    assert np.array(results["confusion"]["detail"]).sum(1).tolist() == [2] * 6
    assert {"seed", "device", "seconds", "commit", "weights_sha256"} <= results.keys()
    assert results["groups"]["sex"]["female"]["people"] + results["groups"]["sex"]["male"]["people"] == 2


def test_the_card_shows_every_number(weights, results):
    card = (weights / "README.md").read_text()
    for numbers in results["metrics"].values():
        assert all(f"| {value:.3f} |" in card for value in numbers.values())
    assert "### Measured by the model's own face network" in card and "| sex: female | 1 | 6 |" in card
    assert "it flatters" not in card and "was not recorded" in card
    assert "type: accuracy\n      value: " in card
    assert "name: read as wanted by our reference network, mode detail, n = " in card


def test_the_card_warns_if_only_the_models_own_network_measured(weights, results, tmp_path):
    shutil.copytree(weights, tmp_path / "alone")
    alone = results | {"judges": results["judges"][1:], "metrics_by_other_judges": {}}
    (tmp_path / "alone" / "results.json").write_text(json.dumps(alone))
    assert "it flatters" in write_card(tmp_path / "alone").read_text()
    assert "evaluate WEIGHTS --data DIR" in render_results({})


def test_the_card_shows_the_cost_of_training_only_if_it_is_known(weights, tmp_path):
    shutil.copytree(weights, tmp_path / "known")
    cost = [{"what": "three stages", "hours": 3.5, "cores": 2, "hardware": "CPU"},
            {"what": "detail", "hours": 1, "cores": 2, "hardware": "CPU"}]  # fmt: skip
    training = {"steps": {"refine": 1}, "settings": {"refine": {"batch_size": 4}}, "cost": cost}
    (tmp_path / "known" / "training.json").write_text(json.dumps(training))
    card = write_card(tmp_path / "known").read_text()
    assert "three stages 3.5 hours on 2 cores (CPU); detail 1 hours on 2 cores (CPU): 9 core hours in all" in card


def test_groups_are_read_only_from_columns_with_values(tmp_path):
    assert read_groups(FACES).keys() == {"sex", "ethnicity"}
    with (FACES / "metadata.csv").open(newline="") as file:
        rows = [{name: row[name] for name in ("file_name", "subject", "expression", "split")} | {"sex": ""}
                for row in csv.DictReader(file)]  # fmt: skip
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert read_groups(tmp_path) == {}
