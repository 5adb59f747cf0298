"""What is measured. A metric is one decorated function of an `EditSet`; it returns plain numbers.

Numbers are named `kind` or `kind.part`; the kinds are `decoder`, `model` and `detail` (see `exam.KINDS`) and `real`, the
set's own pictures. The people are held out: no network has seen them. docs/evaluation.md tells what each number means.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import get_args

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from exprgan.models.latent_prior import Prior

from .edit_set import INTENSITIES, KINDS, EditSet, EditKind
from .evaluators import Evaluator
from .image_metrics import frechet, kernel_distance, l1, ssim

Numbers = dict[str, float]

CONFUSED = (("fear", "surprise"), ("surprise", "fear"), ("angry", "disgust"), ("disgust", "angry"))
"""Expressions that people, too, take for each other: asked for, and seen instead."""

PARTS = {
    "brows": (0.18, 0.82, 0.12, 0.24),
    "eyes": (0.18, 0.82, 0.24, 0.35),
    "nose": (0.36, 0.64, 0.35, 0.53),
    "mouth": (0.28, 0.72, 0.53, 0.76),
}
"""Where the parts of a face lie in every crop: left, right, top, bottom, in sides of it."""


@dataclass(frozen=True)
class Metric:
    """A function, and whether it asks a judge."""

    measure: Callable[..., Numbers]
    judged: bool


METRICS: dict[str, Metric] = {}


def register_metric(function: Callable[[EditSet], Numbers]) -> Callable[[EditSet], Numbers]:
    """Files a metric that needs no judge under its function's name."""
    METRICS[function.__name__] = Metric(function, judged=False)
    return function


def judged(function: Callable[[EditSet, Evaluator], Numbers]) -> Callable[[EditSet, Evaluator], Numbers]:
    """Files a metric that every judge is asked for."""
    METRICS[function.__name__] = Metric(function, judged=True)
    return function


@judged
def expression_accuracy(exam: EditSet, judge: Evaluator) -> Numbers:
    """Share of edits at full intensity that show the wanted expression, of K + 1; beside it the set's own pictures."""
    found = {kind: _share(exam.of_edits(judge, kind).label == exam.wanted) for kind in KINDS}
    return found | {"real": _share(exam.of_strong(judge).label == exam.strong.expression)}


@judged
def confusion(exam: EditSet, judge: Evaluator) -> Numbers:
    """Share of an expression's edits that is taken for another, in pairs that are easily confused, and for neutral."""
    seen = {kind: (exam.of_edits(judge, kind).label, exam.wanted) for kind in KINDS}
    seen["real"] = exam.of_strong(judge).label, exam.strong.expression
    found = {}
    for wanted, instead in CONFUSED:
        if wanted in exam.names and instead in exam.names:
            a, b = exam.names.index(wanted), exam.names.index(instead)
            for kind, (label, asked) in seen.items():
                found[f"{kind}.{wanted} as {instead}"] = _share(label[asked == a] == b)
    return found | {f"{kind}.any as neutral": _share(label == len(exam.names)) for kind, (label, _) in seen.items()}


@judged
def identity_cosine(exam: EditSet, judge: Evaluator) -> Numbers:
    """Mean cosine of an edit with its photo; beside it two real pictures of one person, and of two people."""
    before = exam.of_inputs(judge).embedding
    found = {kind: _to_photo(exam, judge, kind, 1.0) for kind in KINDS}
    cosine = before @ exam.of_strong(judge).embedding.T
    same = exam.inputs.subject[:, None] == exam.strong.subject[None]
    itself = torch.tensor([[a == b for b in exam.strong.file_names] for a in exam.inputs.file_names])
    return found | {"real": cosine[same & ~itself].mean().item(), "real.other people": cosine[~same].mean().item()}


@judged
def identity_by_intensity(exam: EditSet, judge: Evaluator) -> Numbers:
    """Mean cosine of an edit with its photo, at rising intensities: what an expression costs of the person."""
    return {f"{kind}.at {level:g}": _to_photo(exam, judge, kind, level) for kind in KINDS for level in INTENSITIES}


@judged
def intensity_correlation(exam: EditSet, judge: Evaluator) -> Numbers:
    """Pearson r of the intensity asked for and the strength seen, over everyone, for every expression.

    `mean` and `spearman` are means over the expressions. `... of a photo` is the repeated-measures correlation (Bakdash and
    Marusich, 2017), with every photo's own mean strength taken off: some people's calm faces look stronger than others'.
    `slider` is the mean r of one photo's edits alone; `monotone` is the share of pairs of levels of one photo that come in
    order, `reach` the mean strength seen at intensity 1; `real.mean` is the r of strengths seen and true of real pictures.
    """
    found = {}
    for kind in KINDS:
        rows = torch.arange(len(exam.wanted))
        seen = np.stack([exam.of_edits(judge, kind, level).strength[rows, exam.wanted].numpy() for level in INTENSITIES])
        seen = seen.reshape(len(INTENSITIES), -1, len(exam.names))
        asked = np.repeat(np.array(INTENSITIES), seen.shape[1])
        each = [(asked, seen[:, :, i].ravel()) for i in range(len(exam.names))]
        r = {name: pearson(*pair) for name, pair in zip(exam.names, each, strict=True)}
        ordered = [seen[j] > seen[i] for i, j in combinations(range(len(seen)), 2)]
        centred = seen - seen.mean(axis=0)
        own = {f"{name} of a photo": pearson(asked, centred[:, :, i].ravel()) for i, name in enumerate(exam.names)}
        r |= {"mean": float(np.mean(list(r.values()))), "spearman": float(np.mean([spearmanr(*pair)[0] for pair in each]))}
        alone = [pearson(np.array(INTENSITIES), one) for one in seen.reshape(len(seen), -1).T]
        r |= own | {"slider": float(np.mean(alone))}
        r |= {"monotone": float(np.mean(ordered)), "reach": float(seen[-1].mean())}
        found |= {f"{kind}.{name}": value for name, value in r.items()}
    shown = exam.people.expressive()
    known = shown.select(~shown.intensity.isnan())
    if len(known):
        strength = judge(known.images).strength[torch.arange(len(known)), known.expression]
        found["real.mean"] = pearson(known.intensity.numpy(), strength.numpy())
    return found


@judged
def neutral(exam: EditSet, judge: Evaluator) -> Numbers:
    """How neutral `neutral` is: share read as neutral, mean certainty of it, and the mean strength of what shows most.

    Of the inputs made neutral; `of expressive` of the set's own full expressions made neutral; `real`: the neutral photos.
    """
    found = {}
    for kind in KINDS:
        said = exam.judged(judge, ("neutral", kind), lambda kind=kind: exam.neutral(kind))
        found |= _calm(said.certainty, said.strength, kind)
        if len(exam.calmed[kind]):
            said = exam.judged(judge, ("calmed", kind), lambda kind=kind: exam.calmed[kind])
            found[f"{kind}.of expressive"] = _share(said.label == len(exam.names))
    if exam.calm:
        said = exam.of_inputs(judge)
        found |= _calm(said.certainty, said.strength, "real")
    return found


@judged
def styles_shown(exam: EditSet, judge: Evaluator) -> Numbers:
    """Share of the edits in a single style that show the wanted expression: one of its d numbers at 1, all others at -1."""
    found = {}
    for kind in KINDS:
        said = exam.judged(judge, ("styles", kind), lambda kind=kind: exam.styles(kind).flatten(0, 2))
        label = said.label.reshape(len(exam.one_each), len(exam.names), -1)
        found[kind] = _share(label == torch.arange(len(exam.names))[None, :, None])
    return found


@register_metric
def style_diversity(exam: EditSet) -> Numbers:
    """How much the d styles of an expression differ, in levels of 255, and in which part of the face.

    Mean absolute difference of two styles of one person; `between people`: of two people in one style.
    """
    found = {}
    for kind in KINDS:
        pictures = exam.styles(kind).float()  # (people, K, d, 3, S, S)
        found[f"{kind}.all"] = _apart(pictures.flatten(0, 1))
        found |= {f"{kind}.{part}": _apart(_box(pictures, part).flatten(0, 1)) for part in PARTS}
        found[f"{kind}.between people"] = _apart(pictures.permute(1, 2, 0, 3, 4, 5).flatten(0, 1))
    return found


@register_metric
def reconstruction(exam: EditSet) -> Numbers:
    """Inputs decoded with the code they show, against themselves: mean |difference| (0..1), and SSIM."""
    found = {}
    for kind in KINDS:
        pair = exam.recovered(kind), exam.inputs.images
        found |= {f"{kind}.l1": float(l1(*pair).mean()), f"{kind}.ssim": float(ssim(*pair).mean())}
    return found


@judged
def feature_distance(exam: EditSet, judge: Evaluator) -> Numbers:
    """The same in a judge's features (see `Judge.distances`); `real`: another person's neutral photo instead."""
    found = {kind: float(judge.distances(exam.recovered(kind), exam.inputs.images).mean()) for kind in KINDS}
    owner = exam.inputs.subject
    other = torch.tensor([int((owner != person).long().argmax()) for person in owner.tolist()])
    return found | {"real": float(judge.distances(exam.inputs.images[other], exam.inputs.images).mean())}


@judged
def realism(exam: EditSet, judge: Evaluator) -> Numbers:
    """FID and KID (times 1,000) of edits at full intensity against the set's own full expressions, in a judge's features.

    `real`: the unedited inputs instead of the edits. Few pictures make FID larger; compare it within one table alone.
    """
    own = exam.of_strong(judge).pooled
    sets = {kind: exam.of_edits(judge, kind).pooled for kind in KINDS} | {"real": exam.of_inputs(judge).pooled}
    found = {f"{kind}.fid": frechet(pooled, own) for kind, pooled in sets.items()}
    found |= {f"{kind}.kid": 1000 * kernel_distance(pooled, own) for kind, pooled in sets.items()}
    return found


@judged
def new_people(exam: EditSet, judge: Evaluator) -> Numbers:
    """People who do not exist, drawn like those trained on (`people`) and from the paper's P_z (`uniform`).

    `accuracy`: share that shows the wanted expression; `kid` (times 1,000) against the set's own full expressions; and mean
    cosines: of `one person` with two expressions, and of `two people` with one.
    """
    found, k = {}, len(exam.names)
    for prior in get_args(Prior) if exam.editor.model.config.people_mean else ("uniform",):
        said = exam.judged(judge, ("new", prior), lambda prior=prior: exam.new_people(prior))
        by_person = said.embedding.unflatten(0, (-1, k))
        found |= {
            f"{prior}.accuracy": _share(said.label == torch.arange(k).repeat(len(by_person))),
            f"{prior}.kid": 1000 * kernel_distance(said.pooled, exam.of_strong(judge).pooled),
            f"{prior}.one person": _mean_cosine(by_person),
            f"{prior}.two people": _mean_cosine(by_person.transpose(0, 1)),
        }
    return found


def pearson(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's r; NaN, without a warning, where one of them never changes."""
    if not (np.std(one) and np.std(other)):
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def _share(hits: Tensor) -> float:
    return hits.float().mean().item()


def _to_photo(exam: EditSet, judge: Evaluator, kind: EditKind, intensity: float) -> float:
    before = exam.of_inputs(judge).embedding.repeat_interleave(len(exam.names), dim=0)
    return (exam.of_edits(judge, kind, intensity).embedding * before).sum(1).mean().item()


def _mean_cosine(groups: Tensor) -> float:
    """Mean cosine of two different members of a group: unit vectors (groups, members, numbers)."""
    count = groups.shape[1]
    return ((groups @ groups.mT).sum((1, 2)) - count).mean().item() / (count * (count - 1))


def _calm(certainty: Tensor, strength: Tensor, kind: str) -> Numbers:
    return {
        f"{kind}.share": _share(certainty.argmax(1) == certainty.shape[1] - 1),
        f"{kind}.certainty": certainty[:, -1].mean().item(),
        f"{kind}.strength": strength.amax(1).mean().item(),
    }


def _box(pictures: Tensor, part: str) -> Tensor:
    """The part of a face out of pictures (..., S, S)."""
    left, right, top, bottom = (round(at * pictures.shape[-1]) for at in PARTS[part])
    return pictures[..., top:bottom, left:right]


def _apart(groups: Tensor) -> float:
    """Mean absolute difference of two pictures of a group: groups (G, M, ...), over all pairs; NaN of one alone."""
    pairs = [(groups[:, i] - groups[:, j]).abs().mean().item() for i, j in combinations(range(groups.shape[1]), 2)]
    return float(np.mean(pairs)) if pairs else float("nan")
