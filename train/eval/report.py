"""Runs every metric and writes results.json: values with what they were measured on."""

import hashlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from exprgan.editor import ExpressionEditor
from exprgan.model import WEIGHTS_NAME, ExprGAN

from ..card import write_card
from ..data import FaceFolder
from ..run import commit, write_json
from ..samples import expression_sheet, intensity_sheet, one_each, save_sheet
from .metrics import METRICS, Exam
from .strength import StrengthJudge


def evaluate(weights: str, data: str, sheets: str = "", fold: int | None = None) -> dict[str, Any]:
    """Measures published weights on the held-out people of a folder; writes WEIGHTS/results.json and the card.

    Args:
        weights: a folder that `publish` wrote.
        data: a folder with metadata.csv.
        fold: the fold of metadata.csv whose people were held out, instead of those of split `test`.
        sheets: folder for four sheets of edits: expressions and intensities, of the decoder and in detail; empty: none.
    """
    editor = ExpressionEditor(ExprGAN.from_pretrained(weights))
    people = FaceFolder.load(data, "test", editor.model.config.image_size, editor.model.config.expressions, fold)
    exam = Exam(editor, people, _strength(editor, data, fold))
    metrics = {name: function(exam) for name, function in tqdm(METRICS.items(), desc="evaluate")}
    results = {
        "metrics": {name: {k: round(v, 4) for k, v in values.items()} for name, values in metrics.items()},
        "n": {
            "people": len(people.subjects),
            "neutral_photos" if exam.calm else "expressive_photos": len(exam.inputs),
            "edits": len(exam.inputs) * len(people.expressions),
            "real_pictures": len(exam.strong),
        },
        "judge": "the model's own face network, used in training by L_id",
        "seed": 0,
        "device": str(next(editor.model.parameters()).device),
        "torch": torch.__version__.split("+")[0],
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": commit(),
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


def _strength(editor: ExpressionEditor, data: str, fold: int | None) -> StrengthJudge | None:
    """Learns true intensities from the training people; None where the set does not know them."""
    config = editor.model.config
    faces = FaceFolder.load(data, "train", config.image_size, config.expressions, fold)
    known = faces.select(~faces.intensity.isnan())
    if set(known.expression.tolist()) != set(range(len(config.expressions) + 1)):
        return None
    return StrengthJudge.fit(editor.model.classifier, known)
