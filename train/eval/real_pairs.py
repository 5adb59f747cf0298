"""A metric with a real answer: edits of a person's neutral photo and real smile towards each other."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.distance import euclidean
from torch import Tensor

from exprgan.expressions import NEUTRAL

from ..data import FaceFolder
from ..data.metadata import read_metadata
from .edit_metrics import Numbers, register_metric
from .edit_set import EDIT_KINDS, EditKind, EditSet
from .evaluators import Evaluator

NEUTRAL_STYLE, SMILE_STYLE = "real", "real_smile"
"""Values of metadata.csv's column `style` for a real neutral photo, and for the same person's real smile."""


def find_real_pairs(root: str | Path, faces: FaceFolder) -> list[tuple[int, int]]:
    """Finds people with a neutral photo and a smile: indices into `faces` of both, one pair a person.

    Smiles that are labelled neutral, as they are too faint, are left out. Without a column `style` there are no pairs.
    """
    styles = {row["file_name"]: row.get("style", "") for row in read_metadata(Path(root))}
    if not {"happy", "sad"} <= set(faces.expressions):
        return []
    labels = (*faces.expressions, NEUTRAL)
    of_kind: dict[tuple[str, str], dict[int, int]] = {}
    for index, (name, person) in enumerate(zip(faces.file_names, faces.subject.tolist(), strict=True)):
        of_kind.setdefault((labels[faces.expression[index]], styles.get(name, "")), {}).setdefault(person, index)
    neutral, smiles = of_kind.get((NEUTRAL, NEUTRAL_STYLE), {}), of_kind.get(("happy", SMILE_STYLE), {})
    return [(neutral[person], smiles[person]) for person in sorted(neutral.keys() & smiles.keys())]


@register_metric(needs_evaluator=True)
def real_pairs(edit_set: EditSet, evaluator: Evaluator) -> Numbers:
    """Share of the way from a photo to the same person's other photo that its edit covers, mean over people.

    `smile to neutral`: a real smile made neutral, towards the neutral photo; `neutral to smile`: the neutral photo made
    happy at the smile's own intensity, towards the smile. Distances are Euclidean, of the strengths of all expressions.
    `overdone` (of kind `detail`) is an edit that goes too far, `copy` the unchanged photo. Empty without real pairs.
    """
    scores = score_pairs(edit_set, lambda images: list(evaluator(images).strength.numpy()), euclidean)
    return {name: float(np.mean(values)) for name, values in scores.items()}


def score_pairs(edit_set: EditSet, read: Callable[[Tensor], Sequence[np.ndarray | None]],
                distance: Callable[[np.ndarray, np.ndarray], float],
                kinds: Sequence[EditKind] = EDIT_KINDS) -> dict[str, np.ndarray]:  # fmt: skip
    """Scores of every pair, 1 - d(edit, other photo) / d(photo, other photo), by "kind.direction": (pairs,).

    1 is the other photo itself; 0 is as far from it as the unchanged photo, and a negative score is farther.

    Args:
        read: images (N, 3, S, S) uint8 -> what is compared, N times; None where there is no face.
        distance: d.

    Returns:
        The kinds are `kinds`, "overdone" and "copy". NaN where something is None. Empty without real pairs.
    """
    if not edit_set.real_pairs:
        return {}
    neutral, smiles = (edit_set.faces.images[list(indices)] for indices in zip(*edit_set.real_pairs, strict=True))
    scores: dict[str, np.ndarray] = {}
    for direction, source, goal in (("smile to neutral", smiles, neutral), ("neutral to smile", neutral, smiles)):
        images = {"goal": goal, "copy": source, "overdone": edit_set.pair_edits[direction, "overdone"]["detail"]}
        images |= {kind: edit_set.pair_edits[direction, "edit"][kind] for kind in kinds}
        answers, count = read(torch.cat(list(images.values()))), len(goal)
        found = {name: answers[i * count : (i + 1) * count] for i, name in enumerate(images)}
        away = {name: np.array([np.nan if a is None or b is None else distance(a, b)
                                for a, b in zip(row, found["goal"], strict=True)])
                for name, row in found.items()}  # fmt: skip
        with np.errstate(divide="ignore", invalid="ignore"):  # two photos that are alike give no score
            scores |= {f"{name}.{direction}": 1 - away[name] / away["copy"] for name in (*kinds, "overdone", "copy")}
    return scores
