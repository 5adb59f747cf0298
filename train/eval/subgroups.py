"""The same figures for groups of people, as far as metadata.csv tells them apart."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.metadata import read_metadata
from .edit_set import EditSet
from .evaluators import Evaluator

COLUMNS = ("sex", "ethnicity")
"""Columns of metadata.csv that divide people."""


def read_groups(root: str | Path) -> dict[str, dict[str, str]]:
    """Column -> person -> group; people of whom nothing is known are "unknown", a column nobody filled is left out."""
    rows = read_metadata(Path(root))
    found = {}
    for column in COLUMNS:
        told = {row["subject"]: (row.get(column) or "").strip() or "unknown" for row in rows}
        if set(told.values()) - {"unknown"}:
            found[column] = told
    return found


def by_group(exam: EditSet, judge: Evaluator, groups: dict[str, dict[str, str]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Column -> group -> how many people and edits, and what a judge says of them.

    Returns:
        people, edits, and of what a visitor gets at full intensity expression_accuracy and identity_cosine; real_accuracy:
        how often the judge itself is right on the set's own full expressions of these people.
    """
    k = len(exam.names)
    owner = exam.inputs.subject.repeat_interleave(k)
    edits, strong = exam.of_edits(judge, "detail"), exam.of_strong(judge)
    right = (edits.label == exam.wanted).float()
    cosine = (edits.embedding * exam.of_inputs(judge).embedding.repeat_interleave(k, dim=0)).sum(1)
    sure = (strong.label == exam.strong.expression).float()
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for column, told in groups.items():
        names = [told.get(person, "unknown") for person in exam.people.subjects]
        for group in sorted(set(names)):
            members = torch.tensor([name == group for name in names])
            here = members[owner]
            found.setdefault(column, {})[group] = {
                "people": int(members.sum()),
                "edits": int(here.sum()),
                "expression_accuracy": _mean(right[here]),
                "identity_cosine": _mean(cosine[here]),
                "real_accuracy": _mean(sure[members[exam.strong.subject]]),
            }
    return found


def _mean(values: Tensor) -> float:
    return round(values.mean().item(), 4)
