"""Figures of an outside judge, each with its number of pictures and a 95 % confidence interval.

People are the unit of independence: pictures of one person are not. Intervals are those of a bootstrap that draws people;
where all pictures of a share agree, which a bootstrap cannot judge, Wilson's (1927) with the number of people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.spatial import procrustes
from torch import Tensor

from exprgan.expressions import NEUTRAL

from .edit_set import EditKind, EditSet
from .outside_judge import JudgeReading, OutsideJudge
from .real_pairs import score_pairs

NEUTRAL_OF_EXPRESSIVE = "neutral of expressive"
"""Full expressions made neutral, beside "neutral", inputs made neutral."""
KINDS: tuple[EditKind, ...] = ("detail", "model")
MARGIN = 0.125
"""Room that is added on every side of a crop, in sides of the crop, by repeating its edge: to four eye distances."""
MIN_SIDE = 256
"""Least side in px of the pictures that a judge is shown."""
BATCH_SIZE = 256
"""Pictures that a judge is shown at a time, at most."""
RESAMPLES = 2000
"""Of the bootstrap, with seed 0."""
Z = 1.96
"""Normal quantile of a 95 % interval."""

Figure = dict[str, Any]
"""value, interval (low and high), n (pictures) and people."""


@dataclass(frozen=True)
class _Shown:
    """A picture that the judge was shown, and its answers."""

    part: str
    """The expression that was asked for, "neutral" or "neutral of expressive"."""
    person: int
    photo: int
    """Index of the input that was edited; of the person's first input for the set's own pictures."""
    label: str | None
    blendshapes: dict[str, float] | None
    embedding: np.ndarray | None

    @property
    def is_as_wanted(self) -> bool:
        return self.label == (NEUTRAL if self.part == NEUTRAL_OF_EXPRESSIVE else self.part)


def measure_outside(edit_set: EditSet, judge: OutsideJudge) -> dict[str, Any]:
    """Measures edits at full intensity, and the set's own pictures, by an outside judge.

    Returns:
        name, judge (where it comes from); not_read: kind -> numbers of pictures shown, and of those in which the judge
        found no face; metrics: metric -> "kind" or "kind.part" -> figure; and blendshapes: kind -> part -> name -> mean
        weight, if the judge gives them. The kinds are `detail`, `model` and `real`. Metrics:

        read_as_wanted: share whose most probable class is the wanted one, of edits to each expression, of all of these (the
            mean of the expressions), of inputs made `neutral` and of full expressions made neutral. A picture without a
            face counts as misread. `real`: the set's full expressions, and its neutral inputs.
        identity_distance: mean distance of the embeddings of edit and photo; `real`: of a full expression and the person's
            first input; `other people`: of the first inputs of two people. Only of a judge with embeddings.
        real_pairs: scores by points, see `real_pairs.score_pairs`. Only of a judge with points, and with real pairs.

    Raises:
        JudgeError: the judge fails, or its results cannot be used.
    """
    photos = read_pictures(judge, edit_set.inputs.images)
    shown = {kind: _show_edits(edit_set, judge, kind) for kind in KINDS} | {"real": _show_real(edit_set, judge, photos)}
    metrics = {
        "read_as_wanted": _shares(shown, edit_set.expressions),
        "identity_distance": _distances(edit_set, judge, shown, photos),
        "real_pairs": _pairs_by_points(edit_set, judge),
    }
    results = {
        "name": judge.name,
        "judge": judge.spec,
        "not_read": {kind: {"pictures": len(rows), "without a face": sum(row.label is None for row in rows)}
                     for kind, rows in shown.items()},
        "metrics": {name: kept for name, figures in metrics.items()
                    if (kept := {part: numbers for part, numbers in figures.items() if numbers})},
    }  # fmt: skip
    weights = {kind: means for kind, rows in shown.items() if (means := _mean_blendshapes(rows))}
    return results | ({"blendshapes": weights} if weights else {})


def read_pictures(judge: OutsideJudge, images: Tensor) -> JudgeReading:
    """Shows crops (N, 3, S, S) uint8 to a judge, as `judge_picture` draws them, BATCH_SIZE at a time."""
    parts = [judge([judge_picture(image) for image in batch]) for batch in images.split(BATCH_SIZE)]
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return JudgeReading(*(None if column[0] is None else list(chain.from_iterable(column)) for column in columns))


def judge_picture(image: Tensor) -> Image.Image:
    """Draws a crop (3, S, S) uint8 as an outside judge is shown it: with MARGIN about it, at least MIN_SIDE px."""
    margin = round(MARGIN * image.shape[-1])
    padded = np.pad(image.permute(1, 2, 0).numpy(), ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    side = max(MIN_SIDE, len(padded))
    return Image.fromarray(padded).resize((side, side), Image.Resampling.LANCZOS)


def figure(values: Sequence[float], people: Sequence[int], groups: Sequence[str] = (), *, is_share: bool = False) -> Figure:
    """A mean with its 95 % interval.

    Args:
        values: of every picture; NaN is left out.
        people: the person of each.
        groups: a group of each; the mean is then that of the groups' means.
        is_share: the values are 0 or 1.

    Returns:
        value, interval, n and people, rounded to four places; empty if no value is finite. The interval of one person's
        values is None, unless they are a share.
    """
    kept = np.isfinite(np.asarray(values, dtype=np.float64))
    x = np.asarray(values, dtype=np.float64)[kept]
    if not len(x):
        return {}
    names, person = np.unique(np.asarray(people)[kept], return_inverse=True)
    group = np.unique(np.asarray(groups)[kept], return_inverse=True)[1] if len(groups) else np.zeros(len(x), int)
    count, total = np.zeros((2, len(names), group.max() + 1))
    np.add.at(count, (person, group), 1)
    np.add.at(total, (person, group), x)
    value = float((total.sum(0) / count.sum(0)).mean())
    bounds: Sequence[float] = ()
    if is_share and (value in (0, 1) or len(names) == 1):
        bounds = _wilson(value, len(names))
    elif len(names) > 1:
        draws = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
        with np.errstate(invalid="ignore"):  # a group of which nobody was drawn
            means = np.nanmean((draws @ total) / (draws @ count), axis=1)
        bounds = np.quantile(means, [0.025, 0.975]).tolist()
    interval = [round(bound, 4) for bound in bounds] or None
    return {"value": round(value, 4), "interval": interval, "n": len(x), "people": len(names)}


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share of n."""
    centre, spread = share + Z**2 / (2 * n), Z * (share * (1 - share) / n + Z**2 / (4 * n**2)) ** 0.5
    return max(0.0, (centre - spread) / (1 + Z**2 / n)), min(1.0, (centre + spread) / (1 + Z**2 / n))


def _rows(reading: JudgeReading, parts: Sequence[str], people: Sequence[int], photos: Sequence[int]) -> list[_Shown]:
    nothing = [None] * len(reading.labels)
    answers = reading.labels, reading.blendshapes or nothing, reading.embeddings or nothing
    return [_Shown(*row) for row in zip(parts, people, photos, *answers, strict=True)]


def _show_edits(edit_set: EditSet, judge: OutsideJudge, kind: EditKind) -> list[_Shown]:
    """Inputs with every expression at full intensity and made neutral, and full expressions made neutral."""
    names, inputs, expressive = edit_set.expressions, edit_set.inputs, edit_set.expressive_inputs
    people, photos, k = inputs.subject, torch.arange(len(inputs)), len(names)
    others = expressive.subject.tolist()
    edits = read_pictures(judge, edit_set.expression_edits(kind))
    neutral = read_pictures(judge, edit_set.neutral_edits(kind))
    of_expressive = read_pictures(judge, edit_set.neutralized[kind])
    return [
        *_rows(edits, [*names] * len(inputs), people.repeat_interleave(k).tolist(), photos.repeat_interleave(k).tolist()),
        *_rows(neutral, [NEUTRAL] * len(inputs), people.tolist(), photos.tolist()),
        *_rows(of_expressive, [NEUTRAL_OF_EXPRESSIVE] * len(others), others, _first_inputs_of(edit_set, others)),
    ]


def _show_real(edit_set: EditSet, judge: OutsideJudge, photos: JudgeReading) -> list[_Shown]:
    """The set's full expressions, and its neutral inputs."""
    faces, names = edit_set.full_expressions, edit_set.expressions
    people = faces.subject.tolist()
    rows = _rows(read_pictures(judge, faces.images), [names[i] for i in faces.expression.tolist()], people,
                 _first_inputs_of(edit_set, people))  # fmt: skip
    if edit_set.has_neutral:
        inputs = edit_set.inputs.subject.tolist()
        rows += _rows(photos, [NEUTRAL] * len(inputs), inputs, list(range(len(inputs))))
    return rows


def _first_inputs_of(edit_set: EditSet, people: Sequence[int]) -> list[int]:
    """The index of each one's first input; -1 for a person without any."""
    owners = edit_set.inputs.subject.tolist()
    return [owners.index(person) if person in owners else -1 for person in people]


def _shares(shown: dict[str, list[_Shown]], expressions: Sequence[str]) -> dict[str, Figure]:
    """Share read as wanted, by "kind.part"."""
    parts = {name: (name,) for name in (*expressions, NEUTRAL, NEUTRAL_OF_EXPRESSIVE)}
    figures = {}
    for kind, rows in shown.items():
        for part, members in ({"mean": tuple(expressions)} | parts).items():
            some = [row for row in rows if row.part in members]
            hits, people, groups = ([getattr(row, name) for row in some] for name in ("is_as_wanted", "person", "part"))
            figures[f"{kind}.{part}"] = figure(hits, people, groups, is_share=True)
    return figures


def _distances(
    edit_set: EditSet, judge: OutsideJudge, shown: dict[str, list[_Shown]], photos: JudgeReading
) -> dict[str, Figure]:
    """Mean distance of embeddings, by kind; empty for a judge without embeddings."""
    if photos.embeddings is None:
        return {}
    source = dict(enumerate(photos.embeddings))

    def distance(a: np.ndarray | None, b: np.ndarray | None) -> float:
        return float("nan") if a is None or b is None else float(judge.distance(a, b))

    figures = {}
    for kind, rows in shown.items():
        some = [row for row in rows if row.part in edit_set.expressions]
        values = [distance(row.embedding, source.get(row.photo)) for row in some]
        figures[kind] = figure(values, [row.person for row in some])
    first = edit_set.first_inputs
    pairs = [(distance(source[i], source[j]), i) for i in first for j in first if i != j]
    return figures | {"real.other people": figure([value for value, _ in pairs], [i for _, i in pairs])}


def _mean_blendshapes(rows: list[_Shown]) -> dict[str, dict[str, float]]:
    """Part -> name -> mean weight."""
    means = {}
    for part in dict.fromkeys(row.part for row in rows):
        weights = [row.blendshapes for row in rows if row.part == part and row.blendshapes]
        names = dict.fromkeys(name for some in weights for name in some)
        means[part] = {name: round(float(np.mean([some[name] for some in weights if name in some])), 4) for name in names}
    return {part: numbers for part, numbers in means.items() if numbers}


def _pairs_by_points(edit_set: EditSet, judge: OutsideJudge) -> dict[str, Figure]:
    """Scores of real pairs by "kind.direction"; empty for a judge without points, and without real pairs.

    Distances are those of Procrustes analysis over all points, which removes position, size and rotation.
    """

    def read(images: Tensor) -> list[np.ndarray | None]:
        return read_pictures(judge, images).points or []

    def distance(points: np.ndarray, goal: np.ndarray) -> float:
        return float(procrustes(goal, points)[2] ** 0.5)

    if not judge.has_points:
        return {}
    people = [edit_set.faces.subject[neutral].item() for neutral, _ in edit_set.real_pairs]
    return {name: figure(scores, people) for name, scores in score_pairs(edit_set, read, distance, KINDS).items()}
