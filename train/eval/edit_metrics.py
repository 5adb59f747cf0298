"""Metrics of edits. A metric is one decorated function of an `EditSet`; it returns plain numbers.

The numbers are named `kind` or `kind.part`; the kinds are `decoder`, `model` and `detail` (see `edit_set.EDIT_KINDS`) and
`real`, the set's own pictures. The people are held out: no network was trained on them. docs/evaluation.md explains every
number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from .edit_set import EDIT_KINDS, EVALUATED_INTENSITIES, EditKind, EditSet
from .evaluators import Evaluator, Prediction
from .image_metrics import frechet_distance, kernel_distance, l1, ssim

Numbers = dict[str, float]

CONFUSED_PAIRS = (("fear", "surprise"), ("surprise", "fear"), ("angry", "disgust"), ("disgust", "angry"))
"""Expressions that people confuse, too: the requested and the predicted one."""

FACE_PARTS = {
    "brows": (0.18, 0.82, 0.12, 0.24),
    "eyes": (0.18, 0.82, 0.24, 0.35),
    "nose": (0.36, 0.64, 0.35, 0.53),
    "mouth": (0.28, 0.72, 0.53, 0.76),
}
"""Boxes of the parts of a face in every aligned crop: left, right, top, bottom, as shares of its side."""
SKIN_BOX = (0.22, 0.78, 0.38, 0.5)
"""The box whose mean color is taken for the skin's: cheeks and nose."""


@dataclass(frozen=True)
class Metric:
    """A metric's function, and whether its second argument is an evaluator."""

    measure: Callable[..., Numbers]
    needs_evaluator: bool


METRICS: dict[str, Metric] = {}


def register_metric(*, needs_evaluator: bool) -> Callable:
    """Registers a metric under its function's name: of an EditSet and, if `needs_evaluator`, of each Evaluator."""

    def register(function: Callable[..., Numbers]) -> Callable[..., Numbers]:
        METRICS[function.__name__] = Metric(function, needs_evaluator)
        return function

    return register


@register_metric(needs_evaluator=True)
def expression_accuracy(edit_set: EditSet, evaluator: Evaluator) -> Numbers:
    """Share of edits at full intensity predicted as the target expression, of K + 1; `real`: the set's full expressions."""
    numbers = {kind: _share(edit_set.predict_edits(evaluator, kind).label == edit_set.target) for kind in EDIT_KINDS}
    real = edit_set.predict_full_expressions(evaluator).label == edit_set.full_expressions.expression
    return numbers | {"real": _share(real)}


@register_metric(needs_evaluator=True)
def confusion(edit_set: EditSet, evaluator: Evaluator) -> Numbers:
    """Share of an expression's edits predicted as another, for pairs that are easily confused, and as neutral."""
    labels = {kind: (edit_set.predict_edits(evaluator, kind).label, edit_set.target) for kind in EDIT_KINDS}
    labels["real"] = edit_set.predict_full_expressions(evaluator).label, edit_set.full_expressions.expression
    names, numbers = edit_set.expressions, {}
    for requested, other in CONFUSED_PAIRS:
        if requested in names and other in names:
            for kind, (label, target) in labels.items():
                share = _share(label[target == names.index(requested)] == names.index(other))
                numbers[f"{kind}.{requested} as {other}"] = share
    return numbers | {f"{kind}.any as neutral": _share(label == len(names)) for kind, (label, _) in labels.items()}


@register_metric(needs_evaluator=True)
def identity_cosine(edit_set: EditSet, evaluator: Evaluator) -> Numbers:
    """Mean cosine of an edit with its photo; `real`: of two real pictures of one person, and of two people."""
    inputs, real = edit_set.inputs, edit_set.full_expressions
    numbers = {kind: _cosine_with_input(edit_set, evaluator, kind, 1.0) for kind in EDIT_KINDS}
    cosine = edit_set.predict_inputs(evaluator).embedding @ edit_set.predict_full_expressions(evaluator).embedding.T
    same_person = inputs.subject[:, None] == real.subject[None]
    same_picture = torch.tensor([[a == b for b in real.file_names] for a in inputs.file_names])
    numbers["real"] = cosine[same_person & ~same_picture].mean().item()
    return numbers | {"real.other people": cosine[~same_person].mean().item()}


@register_metric(needs_evaluator=True)
def identity_by_intensity(edit_set: EditSet, evaluator: Evaluator) -> Numbers:
    """Mean cosine of an edit with its photo at every intensity: how much identity an expression costs."""
    return {f"{kind}.at {level:g}": _cosine_with_input(edit_set, evaluator, kind, level)
            for kind in EDIT_KINDS for level in EVALUATED_INTENSITIES}  # fmt: skip


@register_metric(needs_evaluator=True)
def intensity_correlation(edit_set: EditSet, evaluator: Evaluator) -> Numbers:
    """Pearson r of the requested intensity and the estimated strength, over all inputs, for every expression.

    `mean` and `spearman` are means over the expressions. `... of a photo` is the repeated-measures correlation (Bakdash and
    Marusich, 2017): every photo's own mean strength is subtracted, as some people's neutral faces look stronger than
    others'. `slider` is the mean r of one photo's edits alone; `monotone` the share of pairs of intensities of one photo
    whose strengths are in order; `reach` the mean strength at intensity 1; `real.mean` the r of estimated and true strength
    of real pictures.
    """
    names, numbers = edit_set.expressions, {}
    rows = torch.arange(len(edit_set.target))
    for kind in EDIT_KINDS:
        predictions = [edit_set.predict_edits(evaluator, kind, level) for level in EVALUATED_INTENSITIES]
        levels = np.stack([prediction.strength[rows, edit_set.target].numpy() for prediction in predictions])
        strength = levels.reshape(len(EVALUATED_INTENSITIES), -1, len(names))  # (intensities, inputs, K)
        requested = np.repeat(np.array(EVALUATED_INTENSITIES), strength.shape[1])
        centred = strength - strength.mean(axis=0)
        columns = strength.reshape(-1, len(names)).T
        r = {name: pearson(requested, column) for name, column in zip(names, columns, strict=True)}
        r["mean"] = float(np.mean(list(r.values())))
        r["spearman"] = float(np.mean([spearmanr(requested, column)[0] for column in columns]))
        r |= {f"{name} of a photo": pearson(requested, centred[:, :, i].ravel()) for i, name in enumerate(names)}
        r["slider"] = float(np.mean([pearson(np.array(EVALUATED_INTENSITIES), edits) for edits in levels.T]))
        r["monotone"] = float(np.mean([levels[j] > levels[i] for i, j in combinations(range(len(levels)), 2)]))
        r["reach"] = float(strength[-1].mean())
        numbers |= {f"{kind}.{name}": value for name, value in r.items()}
    expressive = edit_set.faces.expressive()
    known = expressive.select(~expressive.intensity.isnan())
    if len(known):
        estimated = evaluator(known.images).strength[torch.arange(len(known)), known.expression]
        numbers["real.mean"] = pearson(known.intensity.numpy(), estimated.numpy())
    return numbers


@register_metric(needs_evaluator=True)
def neutral(edit_set: EditSet, evaluator: Evaluator) -> Numbers:
    """Share predicted as neutral, its mean probability, and the mean strength of the strongest class, of `neutral` edits.

    The inputs are edited; `of expressive`: the share of the set's full expressions edited to neutral; `real`: neutral
    photos.
    """
    numbers = {}
    for kind in EDIT_KINDS:
        prediction = edit_set.predict(evaluator, ("neutral", kind), lambda kind=kind: edit_set.neutral_edits(kind))
        numbers |= _neutrality(prediction, kind)
        if len(edit_set.neutralized[kind]):
            prediction = edit_set.predict(evaluator, ("neutralized", kind), lambda kind=kind: edit_set.neutralized[kind])
            numbers[f"{kind}.of expressive"] = _share(prediction.label == len(edit_set.expressions))
    return numbers | (_neutrality(edit_set.predict_inputs(evaluator), "real") if edit_set.has_neutral else {})


@register_metric(needs_evaluator=True)
def styles_shown(edit_set: EditSet, evaluator: Evaluator) -> Numbers:
    """Share of edits in a single style (one of the d numbers at 1, the others at -1) predicted as the target expression."""
    numbers = {}
    for kind in EDIT_KINDS:
        images = edit_set.style_edits(kind)  # (people, K, d, 3, S, S)
        prediction = edit_set.predict(evaluator, ("styles", kind), lambda images=images: images.flatten(0, 2))
        label = prediction.label.reshape(images.shape[:3])
        numbers[kind] = _share(label == torch.arange(images.shape[1])[None, :, None])
    return numbers


@register_metric(needs_evaluator=False)
def style_diversity(edit_set: EditSet) -> Numbers:
    """Mean absolute difference of two styles of one person, in levels of 255, of the whole crop and of each part of the
    face.

    `between people`: of two people in one style. `skin color`: of the mean color of cheeks and nose, and `skin chroma` of
    what is left of it without its mean over the channels: styles should differ in shape, not in tint.
    """
    numbers = {}
    for kind in EDIT_KINDS:
        images = edit_set.style_edits(kind).float()  # (people, K, d, 3, S, S)
        numbers[f"{kind}.all"] = _mean_difference(images.flatten(0, 1))
        numbers |= {f"{kind}.{part}": _mean_difference(_crop_part(images, part).flatten(0, 1)) for part in FACE_PARTS}
        numbers[f"{kind}.between people"] = _mean_difference(images.permute(1, 2, 0, 3, 4, 5).flatten(0, 1))
        color = crop_box(images, SKIN_BOX).mean((-2, -1)).flatten(0, 1)
        numbers[f"{kind}.skin color"] = _mean_difference(color)
        numbers[f"{kind}.skin chroma"] = _mean_difference(color - color.mean(-1, keepdim=True))
    return numbers


@register_metric(needs_evaluator=False)
def reconstruction(edit_set: EditSet) -> Numbers:
    """Inputs decoded with the code of their own expression, against the inputs: mean |difference| (0..1), and SSIM."""
    numbers = {}
    for kind in EDIT_KINDS:
        pair = edit_set.reconstructions(kind), edit_set.inputs.images
        numbers |= {f"{kind}.l1": float(l1(*pair).mean()), f"{kind}.ssim": float(ssim(*pair).mean())}
    return numbers


@register_metric(needs_evaluator=True)
def feature_distance(edit_set: EditSet, evaluator: Evaluator) -> Numbers:
    """Mean feature distance (`Evaluator.distances`) of reconstructions and inputs; `real`: of the photos of two people."""
    images, owner = edit_set.inputs.images, edit_set.inputs.subject
    numbers = {kind: float(evaluator.distances(edit_set.reconstructions(kind), images).mean()) for kind in EDIT_KINDS}
    other = torch.tensor([int((owner != person).long().argmax()) for person in owner.tolist()])
    return numbers | {"real": float(evaluator.distances(images[other], images).mean())}


@register_metric(needs_evaluator=True)
def realism(edit_set: EditSet, evaluator: Evaluator) -> Numbers:
    """FID and KID (times 1,000) of edits at full intensity against the set's full expressions, in an evaluator's features.

    `real`: the unedited inputs instead of the edits. Few pictures make FID larger; compare it only within one table.
    """
    reference = edit_set.predict_full_expressions(evaluator).pooled
    sets = {kind: edit_set.predict_edits(evaluator, kind).pooled for kind in EDIT_KINDS}
    sets |= {"real": edit_set.predict_inputs(evaluator).pooled}
    numbers = {f"{kind}.fid": frechet_distance(pooled, reference) for kind, pooled in sets.items()}
    return numbers | {f"{kind}.kid": 1000 * kernel_distance(pooled, reference) for kind, pooled in sets.items()}


@register_metric(needs_evaluator=True)
def new_people(edit_set: EditSet, evaluator: Evaluator) -> Numbers:
    """Generated people, z sampled from the Gaussian fitted to training people (`people`) and from P_z (`uniform`).

    `accuracy`: share predicted as the target expression; `kid` (times 1,000) against the set's full expressions; and mean
    cosines of `one person` with two expressions, and of `two people` with one expression.
    """
    numbers, k = {}, len(edit_set.expressions)
    reference = edit_set.predict_full_expressions(evaluator).pooled
    for prior, images in edit_set.new_people.items():
        prediction = edit_set.predict(evaluator, ("new people", prior), lambda images=images: images)
        by_person = prediction.embedding.unflatten(0, (-1, k))
        numbers |= {
            f"{prior}.accuracy": _share(prediction.label == torch.arange(k).repeat(len(by_person))),
            f"{prior}.kid": 1000 * kernel_distance(prediction.pooled, reference),
            f"{prior}.one person": _mean_cosine(by_person),
            f"{prior}.two people": _mean_cosine(by_person.transpose(0, 1)),
        }
    return numbers


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r; NaN, without a warning, if one of them is constant."""
    if not (np.std(first) and np.std(second)):
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _share(hits: Tensor) -> float:
    return hits.float().mean().item()


def _cosine_with_input(edit_set: EditSet, evaluator: Evaluator, kind: EditKind, intensity: float) -> float:
    inputs = edit_set.predict_inputs(evaluator).embedding.repeat_interleave(len(edit_set.expressions), dim=0)
    return (edit_set.predict_edits(evaluator, kind, intensity).embedding * inputs).sum(1).mean().item()


def _mean_cosine(groups: Tensor) -> float:
    """Mean cosine of two different members of a group: unit vectors (groups, members, E)."""
    count = groups.shape[1]
    return ((groups @ groups.mT).sum((1, 2)) - count).mean().item() / (count * (count - 1))


def _neutrality(prediction: Prediction, kind: str) -> Numbers:
    probabilities = prediction.probabilities
    return {
        f"{kind}.share": _share(prediction.label == probabilities.shape[1] - 1),
        f"{kind}.certainty": probabilities[:, -1].mean().item(),
        f"{kind}.strength": prediction.strength.amax(1).mean().item(),
    }


def _crop_part(images: Tensor, part: str) -> Tensor:
    """One of FACE_PARTS of images (..., S, S)."""
    return crop_box(images, FACE_PARTS[part])


def crop_box(images: Tensor, box: tuple[float, float, float, float]) -> Tensor:
    """A box of images (..., S, S): left, right, top, bottom, as shares of the side."""
    left, right, top, bottom = (round(share * images.shape[-1]) for share in box)
    return images[..., top:bottom, left:right]


def _mean_difference(groups: Tensor) -> float:
    """Mean absolute difference of two images of a group (G, M, ...), over all pairs; NaN if M is 1."""
    pairs = [(groups[:, i] - groups[:, j]).abs().mean().item() for i, j in combinations(range(groups.shape[1]), 2)]
    return float(np.mean(pairs)) if pairs else float("nan")
