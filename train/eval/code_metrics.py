"""Metrics of the codes: what Q reads of them, and whether g(x) and c separate identity from expression."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from exprgan.photo.image_io import from_bytes

from .edit_metrics import Numbers, pearson, register_metric
from .edit_set import EditSet

MAX_FOLDS = 6
"""Number of cross-validation folds, if there are as many people or expressions."""


@register_metric(needs_evaluator=False)
@torch.inference_mode()
def code_reading(edit_set: EditSet) -> Numbers:
    """What Q reads of codes sampled as in training (eq. 3), from the decoder's images of every input and expression.

    `elements`: r of the class's d numbers sampled and read; `strength`: r of their means; `signs`: share of all K * d
    numbers whose sign is read correctly; `styles`: share of single styles whose high number is read as the highest.
    """
    model, k, d = edit_set.editor.model, len(edit_set.expressions), edit_set.editor.model.F_ctrl.numbers_each
    weights = next(model.parameters())
    inputs = torch.stack([subject.z for subject in edit_set.subjects]).to(weights)
    target = torch.arange(k).repeat(len(inputs))

    def read(z: Tensor, y: Tensor, c: Tensor) -> Tensor:
        """Q's reading of G_dec(z, c) given y: (N, K * d)."""
        batches = zip(z.split(32), y.to(weights).split(32), c.to(weights).split(32), strict=True)
        return torch.cat([model.Q(model.G_dec(z, c), y).float().cpu() for z, y, c in batches])

    y = torch.eye(k)[target]
    c = model.F_ctrl.random(y, torch.Generator().manual_seed(0))
    reading = read(inputs.repeat_interleave(k, dim=0), y, c)
    sampled, read_back = (codes.unflatten(1, (k, d))[torch.arange(len(target)), target].numpy() for codes in (c, reading))
    numbers = {"value.elements": pearson(sampled.ravel(), read_back.ravel())}
    numbers["value.strength"] = pearson(sampled.mean(1), read_back.mean(1))
    numbers["value.signs"] = (reading.sign() == c.sign()).float().mean().item()
    styles = torch.stack([model.F_ctrl.code(name, style=style) for name in edit_set.expressions for style in range(d)])
    z = torch.stack([edit_set.subjects[i].z for i in edit_set.first_inputs]).to(weights)
    y = torch.eye(k).repeat_interleave(d, dim=0)
    reading = read(z.repeat_interleave(k * d, dim=0), y.repeat(len(z), 1), styles.repeat(len(z), 1))
    reading = reading.unflatten(0, (len(z), k, d)).unflatten(-1, (k, d))
    highest = torch.stack([reading[:, i, :, i].argmax(-1) for i in range(k)])
    numbers["value.styles"] = (highest == torch.arange(d)).float().mean().item()
    return numbers | {"chance.signs": 0.5, "chance.styles": 1 / d}


@register_metric(needs_evaluator=False)
@torch.inference_mode()
def disentanglement(edit_set: EditSet) -> Numbers:
    """Accuracy of linear probes on the codes of the held-out people's real pictures, by cross-validation.

    `g(x) to expression`: of K + 1, on people that the probe was not trained on; chance level is best. `g(x) to person` and
    `c to person`: on expressions that the probe was not trained on; high is best for the first, chance level for the
    second. c is Q's reading given the expression, of pictures that are not neutral.
    """
    faces, model = edit_set.faces, edit_set.editor.model
    weights = next(model.parameters())
    batches = [from_bytes(images).to(weights) for images in faces.images.split(32)]
    z = torch.cat([model.G_enc(x).float().cpu() for x in batches]).numpy()
    y = faces.one_hot(torch.arange(len(faces))).to(weights)
    c = torch.cat([model.Q(x, y).float().cpu() for x, y in zip(batches, y.split(32), strict=True)]).numpy()
    expression, person = faces.expression.numpy(), faces.subject.numpy()
    expressive = expression < len(edit_set.expressions)
    probes = {
        "g(x) to expression": (z, expression, person),
        "g(x) to person": (z, person, expression),
        "c to person": (c[expressive], person[expressive], expression[expressive]),
    }
    numbers = {}
    for name, (codes, labels, groups) in probes.items():
        num_groups = len(np.unique(groups))
        if len(np.unique(labels)) > 1 and num_groups > 1:
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
            folds = GroupKFold(min(MAX_FOLDS, num_groups))
            numbers[f"value.{name}"] = float(np.mean(cross_val_score(probe, codes, labels, groups=groups, cv=folds)))
            numbers[f"chance.{name}"] = float(np.bincount(labels).max() / len(labels))
    return numbers
