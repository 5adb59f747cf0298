"""Runs every metric and writes results.json: the numbers, what they were measured on, and by which evaluators."""

import hashlib
import math
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from exprgan.editor import ExpressionEditor
from exprgan.models.exprgan import WEIGHTS_NAME, ExprGAN
from exprgan.models.model_card import JUDGE_NAME, write_card
from exprgan.models.records import RESULTS_NAME

from ..core.files import write_json, writes_folder
from ..core.git import git_commit
from ..data import FaceFolder
from ..data.contact_sheets import expression_sheet, intensity_sheet, pick_neutral_subjects, save_sheet
from . import code_metrics  # noqa: F401, registers its metrics
from .edit_metrics import METRICS, Numbers
from .edit_set import MIN_FULL_INTENSITY, EditSet
from .evaluators import Evaluator, OwnEvaluator, ReferenceEvaluator, measure_evaluator
from .intensity_regressor import IntensityRegressor
from .outside_judge import OutsideJudge
from .outside_metrics import measure_outside, read_pictures
from .reading_metrics import measure_reading
from .real_pairs import find_real_pairs
from .reference_network import load_reference_network
from .subgroups import measure_groups, read_groups


@writes_folder(lambda weights, *_, out="", **__: out or weights)
def evaluate(weights: str, data: str, sheets: str = "", fold: int | None = None, judge: str = "",
             outside: Sequence[str] = (), *, out: str = "") -> dict[str, Any]:  # fmt: skip
    """Measures published weights on the held-out people of a folder; writes WEIGHTS/results.json and the card.

    Args:
        weights: a folder that `publish` wrote.
        data: a folder with metadata.csv.
        sheets: folder for four sheets of edits (expressions and intensities, each of kind `decoder` and `detail`); empty:
            none.
        fold: the fold of metadata.csv whose people were held out, instead of those of split `test`.
        judge: the reference network, a file or the folder of a `judge` run; empty: WEIGHTS/judge.safetensors. Without one
            the model's own face network is the only evaluator, and results and card say so.
        outside: outside judges, "module:object" each (`OutsideJudge.load`).
        out: folder for results.json; the folder of the weights then stays as it is.

    Raises:
        JudgeError: an outside judge cannot be loaded, fails, or gives results that cannot be used.
        WeightsError: the weights or the reference network are missing, damaged or do not fit each other.
        DataError: the folder is not what is needed.
    """
    start = time.monotonic()
    editor = ExpressionEditor(ExprGAN.from_pretrained(weights))
    faces = FaceFolder.load(data, "test", editor.model.config.image_size, editor.model.config.expressions, fold)
    outside_judges = [OutsideJudge.load(spec, editor.model.config.expressions) for spec in outside]
    evaluators = _load_evaluators(editor, weights, data, fold, judge)
    edit_set = EditSet(editor, faces, evaluators, find_real_pairs(data, faces))
    for outside_judge in outside_judges:
        read_pictures(outside_judge, edit_set.inputs.images[:2])  # one that cannot be used fails before minutes of edits
    main_evaluator, *others = edit_set.evaluators
    metrics: dict[str, Numbers] = {}
    by_others: dict[str, dict[str, Numbers]] = {evaluator.name: {} for evaluator in others}
    for name, metric in tqdm(METRICS.items(), desc="evaluate"):
        if metric.needs_evaluator:
            metrics[name] = _round(metric.measure(edit_set, main_evaluator))
            for evaluator in others:
                by_others[evaluator.name][name] = _round(metric.measure(edit_set, evaluator))
        else:
            metrics[name] = _round(metric.measure(edit_set))
    config = editor.model.config
    metrics["reading"] = _round(measure_reading(editor.model.classifier, data, fold, config.image_size, config.expressions))
    results = {
        "outside": [measure_outside(edit_set, outside_judge) for outside_judge in tqdm(outside_judges, desc="outside")],
        "judges": [_describe(evaluator, faces) for evaluator in edit_set.evaluators],
        "metrics": metrics,
        "metrics_by_other_judges": by_others,
        "confusion": _confusion_matrix(edit_set),
        "groups": measure_groups(edit_set, main_evaluator, read_groups(data)),
        "n": {
            "people": len(faces.subjects),
            "neutral_photos" if edit_set.has_neutral else "expressive_photos": len(edit_set.inputs),
            "edits": len(edit_set.target),
            "styled_edits": len(edit_set.first_inputs) * editor.model.F_ctrl.code_dim,
            "expressive_made_neutral": len(edit_set.neutralized["detail"]),
            "real_pictures": len(edit_set.full_expressions),
            "real_pairs": len(edit_set.real_pairs),
            "all_pictures": len(faces),
        },
        "seed": 0,
        "device": str(next(editor.model.parameters()).device),
        "seconds": round(time.monotonic() - start),
        "torch": torch.__version__.split("+")[0],
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": git_commit(),
        "weights_sha256": hashlib.sha256((Path(weights) / WEIGHTS_NAME).read_bytes()).hexdigest(),
    }
    write_json(Path(out or weights) / RESULTS_NAME, results)
    if not out:
        write_card(weights)
    if sheets:
        subjects = pick_neutral_subjects(editor, faces, count=6)
        for kind in ("decoder", "detail"):
            save_sheet(expression_sheet(editor, subjects, kind), Path(sheets) / f"expressions-{kind}.jpg")
            save_sheet(intensity_sheet(editor, subjects, kind), Path(sheets) / f"intensities-{kind}.jpg")
    return results


def _load_evaluators(editor: ExpressionEditor, weights: str, data: str, fold: int | None, judge: str) -> list[Evaluator]:
    """The reference network, if there is one, and the model's own face network."""
    evaluators: list[Evaluator] = []
    if judge or (Path(weights) / JUDGE_NAME).is_file():
        expressions = editor.model.config.expressions
        evaluators.append(ReferenceEvaluator(*load_reference_network(judge or weights, expressions)))
    return [*evaluators, OwnEvaluator(editor.model.classifier, _fit_regressor(editor, data, fold))]


def _fit_regressor(editor: ExpressionEditor, data: str, fold: int | None) -> IntensityRegressor | None:
    """Fits intensity on the training people; None unless it is known for every expression and for neutral."""
    config = editor.model.config
    faces = FaceFolder.load(data, "train", config.image_size, config.expressions, fold)
    known = faces.select(~faces.intensity.isnan())
    if len(known.expression.unique()) <= len(config.expressions):
        return None
    return IntensityRegressor.fit(editor.model.classifier, known)


def _describe(evaluator: Evaluator, faces: FaceFolder) -> dict[str, Any]:
    """What an evaluator is, whether training used it, and how good it is."""
    info = {"name": evaluator.name, "network": evaluator.description, "seen_in_training": evaluator.used_in_training}
    info |= {"trained": evaluator.info} if isinstance(evaluator, ReferenceEvaluator) else {}
    return info | {"on_real_held_out_pictures": _round(measure_evaluator(evaluator, faces, MIN_FULL_INTENSITY))}


def _confusion_matrix(edit_set: EditSet) -> dict[str, Any]:
    """Counts of `detail` edits by target (rows) and the main evaluator's label (columns, neutral last)."""
    label = edit_set.predict_edits(edit_set.evaluators[0], "detail").label
    size = len(edit_set.expressions) + 1
    counts = torch.bincount(edit_set.target * size + label, minlength=(size - 1) * size).reshape(size - 1, size)
    return {"labels": [*edit_set.expressions, "neutral"], "detail": counts.tolist()}


def _round(numbers: Numbers) -> Numbers:
    """Rounds to four places; numbers that cannot be computed, such as those of a single person, are left out."""
    return {name: round(value, 4) for name, value in numbers.items() if math.isfinite(value)}
