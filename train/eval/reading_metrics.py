"""How well the model reads photos: accuracy, calibration and neutral faces; also turned, relit, grey and smiling ones."""

from pathlib import Path

import torch
from torch import Tensor

from exprgan.models.networks import FaceNetwork
from exprgan.photo.image_io import LUMA, from_bytes

from ..data import FaceFolder
from ..data.metadata import read_metadata
from .edit_metrics import Numbers, pearson
from .real_pairs import SMILE_STYLE

NUM_BINS = 10
"""Equal bins of certainty over which the calibration error is averaged."""
WEAK_INTENSITY = 0.4
"""Expressions below it may be read as neutral without a mistake: `accuracy` leaves them out."""


def measure_reading(classifier: FaceNetwork, data: str, fold: int | None, image_size: int,
                    expressions: tuple[str, ...]) -> Numbers:  # fmt: skip
    """Reads all pictures of the held-out people, those of other head poses and lights included.

    Returns:
        For each group with pictures, as `real.NUMBER, GROUP` (no group: all pictures): `accuracy` over the K + 1 classes,
        without expressions weaker than `WEAK_INTENSITY`; `calibration error`, the expected one (ECE): the mean distance of
        certainty and accuracy over bins of certainty, of all; `neutral`: the share of neutral pictures read as neutral.
        Groups: turned, relit, grey (a grey copy of each picture), real smiles. For a model that reads action units,
        `units r`: the correlation of all weights read and shown, both sides; and `unit error`, the mean absolute one.
    """
    faces = FaceFolder.load(data, "test", image_size, expressions, fold, varied=True)
    rows = {row["file_name"]: row for row in read_metadata(Path(data))}
    rows_read = [rows[name] for name in faces.file_names]
    turned, relit = (
        torch.tensor([bool((row.get(column) or "").strip()) for row in rows_read]) for column in ("yaw", "light")
    )
    smiles = torch.tensor([style == SMILE_STYLE for style in faces.style])
    counts = ~((faces.intensity < WEAK_INTENSITY) & (faces.expression < len(expressions)))
    certainty = read_logits(classifier, faces.images).softmax(1)
    numbers = _numbers(certainty, faces.expression, counts, "") | _unit_numbers(classifier, faces)
    for name, group in (("turned", turned), ("relit", relit), ("real smiles", smiles)):
        if group.any():
            numbers |= _numbers(certainty[group], faces.expression[group], counts[group], f", {name}")
    grey = read_logits(classifier, grey_copies(faces.images)).softmax(1)
    return numbers | _numbers(grey, faces.expression, counts, ", grey")


@torch.inference_mode()
def _unit_numbers(classifier: FaceNetwork, faces: FaceFolder) -> Numbers:
    known = faces.units.isfinite().flatten(1).all(1)
    if classifier.units is None or not known.any():
        return {}
    weights = next(classifier.parameters())
    batches = faces.images[known].split(64)
    units = torch.cat([classifier(from_bytes(x).to(weights)).units.float().cpu() for x in batches])
    shown = faces.units[known]
    r = pearson(units.flatten().numpy(), shown.flatten().numpy())
    return {"real.units r": r, "real.unit error": (units - shown).abs().mean().item()}


@torch.no_grad()
def read_logits(classifier: FaceNetwork, images: Tensor) -> Tensor:
    """The logits of the K + 1 classes, neutral last: (N, 3, S, S) uint8 -> (N, K + 1)."""
    weights = next(classifier.parameters())
    return torch.cat([classifier(from_bytes(x).to(weights)).expression.float().cpu() for x in images.split(64)])


def grey_copies(images: Tensor) -> Tensor:
    """Pictures (N, 3, S, S) uint8 without their colours."""
    grey = (images.float() * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True).round().byte()
    return grey.expand(-1, 3, -1, -1)


def _numbers(certainty: Tensor, expression: Tensor, counts: Tensor, group: str) -> Numbers:
    highest, label = certainty.max(1)
    hits, is_neutral = (label == expression).float(), expression == certainty.shape[1] - 1
    numbers = {f"real.accuracy{group}": hits[counts].mean().item()} if counts.any() else {}
    numbers[f"real.calibration error{group}"] = calibration_error(highest, hits)
    if is_neutral.any():
        numbers[f"real.neutral{group}"] = hits[is_neutral].mean().item()
    return numbers


def calibration_error(certainty: Tensor, hits: Tensor) -> float:
    """ECE (Guo et al., On Calibration of Modern Neural Networks, 2017): certainties (N,) in 0..1 and hits (N,), 0 or 1."""
    bins = (certainty * NUM_BINS).long().clamp(max=NUM_BINS - 1)
    gaps = torch.zeros(NUM_BINS).index_add(0, bins, certainty - hits)
    return gaps.abs().sum().item() / len(certainty)
