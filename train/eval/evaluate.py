"""Runs every metric and writes results.json: values with what they were measured on, and by whom they were judged."""

import hashlib
import math
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from exprgan.editor import ExpressionEditor
from exprgan.models.exprgan import WEIGHTS_NAME, ExprGAN

from ..core.files import git_commit, write_json, writes_folder
from ..data import FaceFolder
from ..data.contact_sheets import expression_sheet, intensity_sheet, one_each, save_sheet
from ..publish.model_card import write_card
from . import code_metrics as codes  # noqa: F401, files its metrics
from .edit_metrics import METRICS, Numbers
from .edit_set import STRONG, EditSet
from .evaluators import ReferenceEvaluator, Evaluator, OwnEvaluator, on_real_pictures
from .intensity_regressor import IntensityRegressor
from .reference_network import JUDGE_NAME, read_judge
from .subgroups import by_group, read_groups


@writes_folder(lambda weights, *_, **__: weights)
def evaluate(weights: str, data: str, sheets: str = "", fold: int | None = None, judge: str = "") -> dict[str, Any]:
    """Measures published weights on the held-out people of a folder; writes WEIGHTS/results.json and the card.

    Args:
        weights: a folder that `publish` wrote.
        data: a folder with metadata.csv.
        fold: the fold of metadata.csv whose people were held out, instead of those of split `test`.
        sheets: folder for four sheets of edits: expressions and intensities, of the decoder and in detail; empty: none.
        judge: the independent judge, a file or the folder of a `judge` run; empty: WEIGHTS/judge.safetensors, and where
            there is none the model's own face network judges alone, which results and card then say.

    Raises:
        WeightsError: the weights or the judge are missing, damaged or do not fit each other.
        DataError: the folder is not what is needed.
    """
    began = time.monotonic()
    editor = ExpressionEditor(ExprGAN.from_pretrained(weights))
    people = FaceFolder.load(data, "test", editor.model.config.image_size, editor.model.config.expressions, fold)
    exam = EditSet(editor, people, _judges(editor, weights, data, fold, judge))
    first, *others = exam.judges
    metrics: dict[str, Numbers] = {}
    again: dict[str, dict[str, Numbers]] = {other.name: {} for other in others}
    for name, metric in tqdm(METRICS.items(), desc="evaluate"):
        metrics[name] = _rounded(metric.measure(exam, first) if metric.judged else metric.measure(exam))
        for other in others if metric.judged else ():
            again[other.name][name] = _rounded(metric.measure(exam, other))
    results = {
        "judges": [_told(one, exam) for one in exam.judges],
        "metrics": metrics,
        "metrics_by_other_judges": again,
        "confusion": _confusion(exam),
        "groups": by_group(exam, first, read_groups(data)),
        "n": {
            "people": len(people.subjects),
            "neutral_photos" if exam.calm else "expressive_photos": len(exam.inputs),
            "edits": len(exam.inputs) * len(people.expressions),
            "styled_edits": len(exam.one_each) * len(people.expressions) * editor.model.F_ctrl.numbers_each,
            "expressive_made_neutral": len(exam.calmed["detail"]),
            "real_pictures": len(exam.strong),
            "all_pictures": len(people),
        },
        "seed": 0,
        "device": str(next(editor.model.parameters()).device),
        "seconds": round(time.monotonic() - began),
        "torch": torch.__version__.split("+")[0],
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": git_commit(),
        "weights_sha256": hashlib.sha256((Path(weights) / WEIGHTS_NAME).read_bytes()).hexdigest(),
    }
    write_json(Path(weights) / "results.json", results)
    write_card(weights)
    if sheets:
        subjects = one_each(editor, people, count=6)
        for kind in ("decoder", "detail"):
            save_sheet(expression_sheet(editor, subjects, kind), Path(sheets) / f"expressions-{kind}.jpg")
            save_sheet(intensity_sheet(editor, subjects, kind), Path(sheets) / f"intensities-{kind}.jpg")
    return results


def _judges(editor: ExpressionEditor, weights: str, data: str, fold: int | None, path: str) -> list[Evaluator]:
    """The independent judge, where there is one, and the model's own face network."""
    found: list[Evaluator] = []
    if path or (Path(weights) / JUDGE_NAME).is_file():
        found.append(ReferenceEvaluator(*read_judge(path or weights, editor.model.config.expressions)))
    return [*found, OwnEvaluator(editor.model.classifier, _strength(editor, data, fold))]


def _strength(editor: ExpressionEditor, data: str, fold: int | None) -> IntensityRegressor | None:
    """Learns true intensities from the training people; None where the set does not know them."""
    config = editor.model.config
    faces = FaceFolder.load(data, "train", config.image_size, config.expressions, fold)
    known = faces.select(~faces.intensity.isnan())
    if set(known.expression.tolist()) != set(range(len(config.expressions) + 1)):
        return None
    return IntensityRegressor.fit(editor.model.classifier, known)


def _told(judge: Evaluator, exam: EditSet) -> dict[str, Any]:
    """What a judge is, whether training saw it, and how good it is."""
    told = {"name": judge.name, "network": judge.described, "seen_in_training": judge.seen}
    told |= {"trained": judge.told} if isinstance(judge, ReferenceEvaluator) else {}
    return told | {"on_real_held_out_pictures": _rounded(on_real_pictures(judge, exam.people, STRONG))}


def _confusion(exam: EditSet) -> dict[str, Any]:
    """Edits by what was asked for (rows) and what the first judge sees (columns, neutral last), as a visitor gets them."""
    seen = exam.of_edits(exam.judges[0], "detail").label
    size = len(exam.names) + 1
    counts = torch.bincount(exam.wanted * size + seen, minlength=(size - 1) * size).reshape(size - 1, size)
    return {"labels": [*exam.names, "neutral"], "detail": counts.tolist()}


def _rounded(numbers: Numbers) -> Numbers:
    """To four places; what cannot be computed, as of a single person, is left out."""
    return {name: round(value, 4) for name, value in numbers.items() if math.isfinite(value)}
