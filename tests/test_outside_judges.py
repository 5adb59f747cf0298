"""Outside judges: loading, checks of their results, figures with intervals, the card; and the metric of real pairs."""

import csv
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from exprgan import EXPRESSIONS, NEUTRAL, ExpressionEditor, ExprGAN
from exprgan.models.card_tables import render_summary
from exprgan.photo.image_io import from_bytes, to_image
from train.__main__ import main
from train.core.train_errors import JudgeError
from train.data import FaceFolder
from train.eval.edit_set import EditSet
from train.eval.evaluators import OwnEvaluator, Prediction, ReferenceEvaluator
from train.eval.outside_judge import OutsideJudge
from train.eval.outside_metrics import figure, judge_picture, measure_outside
from train.eval.real_pairs import find_real_pairs, real_pairs
from train.eval.reference_network import load_reference_network

ROOT = Path(__file__).parent.parent
FACES = Path(__file__).parent / "data" / "faces"
JUDGE = """
import numpy as np

NAMES = ("Anger", "disgusted", "fearful", "happiness", "sadness", "surprised", "neutral")

class Judge:
    name = "brightness"
    def expressions(self, pictures):
        levels = [int(np.asarray(picture).mean()) % 7 for picture in pictures]
        return [{name: float(i == level) for i, name in enumerate(NAMES)} for level in levels]
    def points(self, pictures):
        return [np.random.default_rng(int(np.asarray(picture).sum())).random((5, 2)) for picture in pictures]
    def blendshapes(self, pictures):
        return [{"jawOpen": np.asarray(picture).mean() / 255} for picture in pictures]
    def embeddings(self, pictures):
        return np.stack([np.asarray(picture).mean((0, 1)) for picture in pictures])
"""


class Plain:
    """A judge that sees happiness everywhere, except in the pictures at `blind`."""

    def __init__(self, blind=(), **columns):
        self.blind = blind
        for name, answers in columns.items():
            setattr(self, name, answers if isinstance(answers, str) else lambda pictures, answers=answers: answers)

    def expressions(self, pictures):
        return [None if i in self.blind else {name: float(name == "happy") for name in (*EXPRESSIONS, NEUTRAL)}
                for i in range(len(pictures))]  # fmt: skip


@pytest.fixture
def pictures():
    return [judge_picture(torch.full((3, 32, 32), level, dtype=torch.uint8)) for level in (10, 200)]


@pytest.fixture
def edit_set(tiny_editor):
    faces = FaceFolder.load(FACES, "test", image_size=32)
    return EditSet(tiny_editor, faces, [OwnEvaluator(tiny_editor.model.classifier)], [(4, 3), (11, 10)])


def probabilities(**changes):
    return [dict.fromkeys((*EXPRESSIONS, NEUTRAL), 0.1) | changes, None]


# Loading.


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("judge", "takes MODULE:OBJECT, such as my_judge:Judge, not 'judge'"),
        (
            "no_such_judge:Judge",
            "'no_such_judge' cannot be imported (ModuleNotFoundError: No module named 'no_such_judge')",
        ),
        ("json:Judge", "'json' has no 'Judge'; name a class or a function in it"),
        ("json:__name__", "json:__name__ is a str; name a class or a function without arguments"),
        ("json:loads", "json:loads() failed (TypeError"),
        ("collections:Counter", "collections:Counter has no method `expressions(pictures)`; add it"),
    ],
)
def test_a_judge_that_cannot_be_loaded_is_reported_in_one_sentence(spec, message):
    with pytest.raises(JudgeError, match=re.escape(message)):
        OutsideJudge.load(spec, EXPRESSIONS)


def test_the_command_reports_a_missing_module_before_it_measures(tiny_model, tmp_path, capsys):
    tiny_model.save_pretrained(tmp_path)
    assert main(["evaluate", str(tmp_path), "--data", str(FACES), "--outside", "no_such_judge:Judge"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: the judge's module 'no_such_judge'") and error.count("\n") == 1
    assert not (tmp_path / "results.json").exists()


def test_an_unknown_distance_is_refused():
    with pytest.raises(JudgeError, match="has the distance 'manhattan'; choose one of euclidean, cosine"):
        OutsideJudge(Plain(distance="manhattan"), "mine:Plain", EXPRESSIONS)


# Results of a judge.


def test_usual_names_of_expressions_are_understood(pictures):
    words = ("Anger", "disgusted", "fearful", "happiness", "Sadness", "surprised", "neutral")
    for word, name in zip(words, (*EXPRESSIONS, NEUTRAL), strict=True):
        answers = [{other: float(other == word) for other in words}] * 2
        judge = OutsideJudge(Plain(expressions=answers), "mine:Plain", EXPRESSIONS)
        assert judge(pictures).labels == [name, name]


def test_columns_that_a_judge_lacks_are_none_and_so_are_pictures_without_a_face(pictures):
    reading = OutsideJudge(Plain(blind=(1,)), "mine:Plain", EXPRESSIONS)(pictures)
    assert reading.labels == ["happy", None]
    assert reading.points is reading.blendshapes is reading.embeddings is None
    columns = {"points": [np.ones((5, 2)), None], "blendshapes": [{"jawOpen": 0.5}, None], "embeddings": [None, [1, 2]]}
    reading = OutsideJudge(Plain(**columns), "mine:Plain", EXPRESSIONS)(pictures)
    assert reading.points[0].shape == (5, 2) and reading.points[1] is None and reading.embeddings[1].tolist() == [1, 2]
    assert reading.blendshapes == columns["blendshapes"]


@pytest.mark.parametrize(
    ("column", "answers", "message"),
    [
        ("expressions", probabilities()[:1], "gave 1 results for 2 pictures; give one for each"),
        (
            "expressions",
            probabilities(contempt=0.5),
            "gave the name 'contempt'; use angry, disgust, fear, happy, sad, surpri",
        ),
        ("expressions", probabilities(happiness=0.5), "gave 'happy' twice, under two names"),
        ("expressions", [{"happy": 1.0}, None], "gave no probability of angry, disgust, fear, sad, surprise, neutral"),
        ("expressions", probabilities(sad=math.nan), "gave nan for 'sad'; give finite numbers"),
        ("expressions", probabilities(sad="much"), "gave 'much' for 'sad'; give finite numbers"),
        ("expressions", [0.5, None], "gave a float for a picture; give a mapping from expression to probability"),
        ("expressions", 7, "failed (TypeError"),
        ("points", [np.ones((5, 3)), None], "gave arrays of shape (5, 3); give (K, 2)"),
        ("points", [np.ones((5, 2)), np.ones((4, 2))], "gave arrays of shape (4, 2) and (5, 2)"),
        ("points", [np.full((5, 2), np.inf), None], "gave NaN or infinity"),
        ("embeddings", [["a"], None], "gave what is no array of numbers"),
        ("embeddings", [np.ones((2, 2)), None], "gave arrays of shape (2, 2); give (E,)"),
        ("blendshapes", [0.5, None], "gave a float for a picture; give a mapping from name to weight"),
        ("blendshapes", [{"jawOpen": math.inf}, None], "gave inf for 'jawOpen'"),
    ],
)
def test_unusable_results_are_reported_in_one_sentence(pictures, column, answers, message):
    judge = OutsideJudge(Plain(**{column: answers}), "mine:Plain", EXPRESSIONS)
    with pytest.raises(JudgeError, match=re.escape(f"`{column}` of the judge mine:Plain {message}")):
        judge(pictures)


def test_a_judge_is_shown_the_crop_with_room_about_it():
    crop = torch.zeros(3, 128, 128, dtype=torch.uint8)
    crop[:, :, 64:] = 200
    picture = np.asarray(judge_picture(crop))
    assert picture.shape == (256, 256, 3)
    assert (picture[:, :100] < 20).all() and (picture[:, 156:] > 180).all()  # the edge is repeated, nothing moves
    assert judge_picture(torch.zeros(3, 512, 512, dtype=torch.uint8)).size == (640, 640)


# Figures.


def test_an_interval_is_that_of_people_not_of_pictures():
    hits = [1.0] * 50 + [0.0] * 50
    of_many = figure(hits, range(100), is_share=True)
    of_two = figure(hits, [0] * 50 + [1] * 50, is_share=True)
    assert of_many["value"] == of_two["value"] == 0.5 and of_many["n"] == of_two["n"] == 100
    assert of_many["people"] == 100 and of_many["interval"] == pytest.approx([0.4, 0.6], abs=0.03)
    assert of_two["people"] == 2 and of_two["interval"] == [0, 1]
    assert figure(hits, range(100), is_share=True) == of_many


def test_where_all_agree_the_interval_is_wilsons():
    assert figure([1] * 60, np.repeat(range(12), 5), is_share=True)["interval"] == pytest.approx([0.7575, 1], abs=1e-3)
    assert figure([0], [0], is_share=True)["interval"] == pytest.approx([0, 0.7935], abs=1e-3)
    assert figure([2.5], [0])["interval"] is None and figure([math.nan], [0]) == {}


def test_the_mean_of_groups_weighs_them_alike():
    numbers = figure([1, 1, 1, 0], [0, 1, 2, 3], ["happy", "happy", "happy", "sad"], is_share=True)
    assert numbers["value"] == 0.5 and numbers["n"] == 4


def test_a_judge_that_sees_happiness_everywhere_is_right_on_happy_edits_alone(edit_set):
    results = measure_outside(edit_set, OutsideJudge(Plain(blind=(0,)), "mine:Plain", EXPRESSIONS))
    shares = results["metrics"]["read_as_wanted"]
    assert results["name"] == "mine:Plain" and results["metrics"].keys() == {"read_as_wanted"}
    for kind in ("detail", "model"):
        assert shares[f"{kind}.happy"]["value"] == 1 and shares[f"{kind}.happy"]["n"] == 2
        assert shares[f"{kind}.mean"]["value"] == pytest.approx(1 / 6, abs=1e-4) and shares[f"{kind}.mean"]["n"] == 12
        assert shares[f"{kind}.neutral"]["value"] == shares[f"{kind}.neutral of expressive"]["value"] == 0
        assert results["not_read"][kind] == {"pictures": 20, "without a face": 3}  # the first of each of three sets
    assert shares["real.mean"]["n"] == 6 and shares["real.neutral"]["n"] == 2


def test_identity_is_measured_by_the_distance_that_the_judge_names(edit_set):
    answers = {"detail": [3.0, 4.0], "photo": [0.0, 4.0]}
    images = edit_set.inputs.images

    class Judge(Plain):
        def embeddings(self, pictures):
            photos = [np.asarray(judge_picture(image)) for image in images]
            return [answers["photo" if any((np.asarray(p) == q).all() for q in photos) else "detail"] for p in pictures]

    euclidean = measure_outside(edit_set, OutsideJudge(Judge(), "mine:Judge", EXPRESSIONS))["metrics"]["identity_distance"]
    judge = OutsideJudge(Judge(distance="cosine"), "mine:Judge", EXPRESSIONS)
    cosine = measure_outside(edit_set, judge)["metrics"]["identity_distance"]
    assert euclidean["model"]["value"] == 3 and euclidean["real.other people"]["value"] == 0
    assert cosine["model"]["value"] == pytest.approx(1 - 4 / 5) and euclidean["real"]["n"] == 6


# results.json and the card.


@pytest.fixture(scope="module")
def weights(tiny_config, tmp_path_factory):
    """A published model, measured by an outside judge in the current folder."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    ExprGAN(tiny_config).save_pretrained(folder)
    (folder / "bright_judge.py").write_text(JUDGE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["evaluate", str(folder), "--data", str(FACES), "--outside", "bright_judge:Judge"]) == 0
    return folder


def test_results_hold_a_judges_name_and_every_number_its_n_and_interval(weights):
    (judge,) = json.loads((weights / "results.json").read_text())["outside"]
    assert judge["name"] == "brightness" and judge["judge"] == "bright_judge:Judge"
    assert judge["metrics"].keys() == {"read_as_wanted", "identity_distance"}  # no real pairs in this set
    for figures in judge["metrics"].values():
        for numbers in figures.values():
            assert numbers["n"] >= numbers["people"] >= 1
            assert numbers["interval"] is None or numbers["interval"][0] <= numbers["value"] <= numbers["interval"][1]
    assert judge["blendshapes"]["detail"]["happy"]["jawOpen"] == pytest.approx(0.5, abs=0.4)


def test_the_first_numbers_of_the_card_are_those_of_outside_judges(weights):
    card = (weights / "README.md").read_text()
    results = json.loads((weights / "results.json").read_text())
    shares = results["outside"][0]["metrics"]["read_as_wanted"]
    _, front, text = card.split("---\n", 2)
    metrics = yaml.safe_load(front)["model-index"][0]["results"][0]["metrics"]
    own = "the model's own face network"
    kinds = [("accuracy", "brightness"), ("identity_distance", "brightness"), ("accuracy", own), ("identity_cosine", own)]
    assert [(metric["type"], metric["args"]["judge"], metric["args"]["mode"]) for metric in metrics] == [
        (*kind, mode) for kind in kinds for mode in ("detail", "model")
    ]
    assert metrics[0]["name"].startswith(
        f"read as wanted by brightness, mode detail, n = {shares['detail.mean']['n']} edits"
    )
    assert metrics[0]["value"] == shares["detail.mean"]["value"]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[0].startswith("| read by | pictures | mean | angry") and rows[2].startswith("| brightness | detail | ")
    low, high = shares["detail.mean"]["interval"]
    assert f"{shares['detail.mean']['value']:.3f} [{low:.3f}, {high:.3f}]" in rows[2]
    assert [row.split(" | ")[1] for row in rows[2:8]] == ["detail", "model", "real"] * 2
    assert rows[5].startswith("| the model's own face network | detail | ")
    assert "### Measured by brightness, an outside judge" in text and "No outside judge" not in text


def test_without_an_outside_judge_the_first_table_says_how_to_run_one(weights):
    results = json.loads((weights / "results.json").read_text()) | {"outside": []}
    summary = render_summary(results)
    assert "No outside judge was run; `python -m train evaluate WEIGHTS --data DIR --outside MODULE:OBJECT`" in summary
    assert "| the model's own face network | detail | " in summary and "brightness" not in summary
    assert render_summary({}) == ""


def test_the_judge_of_the_documentation_runs_as_it_stands(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    (tmp_path / "my_judge.py").write_text(code)
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    monkeypatch.chdir(tmp_path)
    faces = FaceFolder.load(FACES, "train")
    faces = faces.select(faces.intensity.nan_to_num(0.0).gt(0.7) | faces.expression.eq(6))
    judge = OutsideJudge.load("my_judge:Judge", EXPRESSIONS)
    labels = judge([judge_picture(image) for image in faces.images]).labels
    right = [label == (*EXPRESSIONS, NEUTRAL)[i] for label, i in zip(labels, faces.expression.tolist(), strict=True)]
    assert None not in labels and np.mean(right) > 0.6
    assert judge([to_image(from_bytes(torch.zeros(3, 256, 256, dtype=torch.uint8)))]).labels == [None]


# Real pairs.


def test_real_pairs_are_found_by_style_and_expression(tmp_path):
    with (FACES / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        happy, neutral = row["expression"] == "happy", row["expression"] == "neutral"
        row["style"] = "real" if neutral else "real_smile" if happy else row["style"]
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    faces = FaceFolder.load(FACES, "train")
    pairs = find_real_pairs(tmp_path, faces)
    assert len(pairs) == 4
    for neutral, smile in pairs:
        assert faces.expression[neutral] == 6 and faces.expression[smile] == 3
        assert faces.subject[neutral] == faces.subject[smile]
    assert find_real_pairs(FACES, faces) == []
    shutil.copy(FACES / "metadata.csv", tmp_path)
    assert find_real_pairs(tmp_path, faces) == []


class Mean:
    """An evaluator that reads a picture's brightness as the strength of all expressions."""

    def __call__(self, images):
        strength = images.float().mean((1, 2, 3))[:, None].repeat(1, 6)
        return Prediction(strength, strength, strength, strength)


def test_the_other_photo_scores_1_and_a_copy_0(edit_set):
    neutral, smiles = (edit_set.faces.images[list(indices)] for indices in zip(*edit_set.real_pairs, strict=True))
    edit_set.pair_edits = {
        ("smile to neutral", "edit"): {"decoder": smiles, "model": neutral, "detail": neutral},
        ("smile to neutral", "overdone"): {"detail": smiles},
        ("neutral to smile", "edit"): {"decoder": neutral, "model": smiles, "detail": smiles},
        ("neutral to smile", "overdone"): {"detail": neutral},
    }
    numbers = real_pairs(edit_set, Mean())
    for direction in ("smile to neutral", "neutral to smile"):
        assert numbers[f"detail.{direction}"] == numbers[f"model.{direction}"] == 1
        assert numbers[f"copy.{direction}"] == numbers[f"decoder.{direction}"] == numbers[f"overdone.{direction}"] == 0


def test_an_edit_that_goes_past_the_other_photo_scores_less(edit_set):
    neutral = edit_set.faces.images[[4, 11]] // 4
    smiles = neutral + 20
    edit_set.faces.images[[4, 11]], edit_set.faces.images[[3, 10]] = neutral, smiles
    to_smile = {"decoder": neutral + 10, "model": neutral + 15, "detail": neutral + 20}
    edit_set.pair_edits = {
        ("smile to neutral", "edit"): {kind: smiles - 10 for kind in to_smile},
        ("smile to neutral", "overdone"): {"detail": smiles - 35},
        ("neutral to smile", "edit"): to_smile,
        ("neutral to smile", "overdone"): {"detail": neutral + 50},
    }
    numbers = real_pairs(edit_set, Mean())
    to_smile = [numbers[f"{kind}.neutral to smile"] for kind in ("decoder", "model", "detail", "overdone")]
    assert to_smile == pytest.approx([0.5, 0.75, 1, -0.5], abs=1e-4)


def test_there_is_no_number_without_real_pairs(edit_set):
    edit_set.real_pairs = ()
    assert real_pairs(edit_set, edit_set.evaluators[0]) == {}


def test_the_bundled_weights_come_nearer_to_the_other_photo_than_copies():
    editor = ExpressionEditor(ExprGAN.from_pretrained(ROOT / "weights"))
    faces = FaceFolder.load(FACES, "train")
    of_person = {}
    for index, (person, label) in enumerate(zip(faces.subject.tolist(), faces.expression.tolist(), strict=True)):
        of_person.setdefault(person, {})[label] = index
    pairs = [(labels[6], labels[3]) for labels in of_person.values()]
    evaluator = ReferenceEvaluator(*load_reference_network(ROOT / "weights", EXPRESSIONS))
    numbers = real_pairs(EditSet(editor, faces, [evaluator], pairs), evaluator)
    for direction in ("smile to neutral", "neutral to smile"):
        assert numbers[f"detail.{direction}"] > numbers[f"copy.{direction}"] == 0
    # full smiles are as strong as the set's pictures of 0.8 and more, which here is not far from what is wanted
    assert numbers["detail.smile to neutral"] > 0 > numbers["overdone.smile to neutral"]
