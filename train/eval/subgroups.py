"""Measures groups of people separately, as far as metadata.csv tells them apart."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.metadata import read_metadata
from .edit_set import EditSet
from .evaluators import Evaluator

GROUP_COLUMNS = ("sex", "ethnicity")
"""Columns of metadata.csv that group people."""


def read_groups(root: str | Path) -> dict[str, dict[str, str]]:
    """Column -> person -> group, "unknown" where the cell is empty; columns without any value are left out."""
    rows = read_metadata(Path(root))
    columns = {}
    for column in GROUP_COLUMNS:
        groups = {row["subject"]: (row.get(column) or "").strip() or "unknown" for row in rows}
        if set(groups.values()) - {"unknown"}:
            columns[column] = groups
    return columns


def measure_groups(edit_set: EditSet, evaluator: Evaluator, columns: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Column -> group -> numbers of people and edits, and measurements.

    Returns:
        people, edits; expression_accuracy and identity_cosine of edits of kind `detail` at full intensity; and
        real_accuracy: the evaluator's accuracy on the set's own full expressions of these people.
    """
    k, real = len(edit_set.expressions), edit_set.full_expressions
    edits = edit_set.predict_edits(evaluator, "detail")
    inputs = edit_set.predict_inputs(evaluator).embedding.repeat_interleave(k, dim=0)
    owner = edit_set.inputs.subject.repeat_interleave(k)
    hits = (edits.label == edit_set.target).float()
    cosine = (edits.embedding * inputs).sum(1)
    real_hits = (edit_set.predict_full_expressions(evaluator).label == real.expression).float()
    results: dict[str, Any] = {}
    for column, groups in columns.items():
        group_of = [groups.get(person, "unknown") for person in edit_set.faces.subjects]
        results[column] = {}
        for group in sorted(set(group_of)):
            members = torch.tensor([name == group for name in group_of])
            in_group = members[owner]
            results[column][group] = {
                "people": int(members.sum()),
                "edits": int(in_group.sum()),
                "expression_accuracy": _mean(hits[in_group]),
                "identity_cosine": _mean(cosine[in_group]),
                "real_accuracy": _mean(real_hits[members[real.subject]]),
            }
    return results


def _mean(values: Tensor) -> float:
    return round(values.mean().item(), 4)
