"""Metrics of the codes: what Q reads back, and whether g(x) and c keep person and expression apart."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from exprgan.photo.image_io import from_bytes

from .edit_metrics import Numbers, register_metric, pearson
from .edit_set import EditSet

FOLDS = 6
"""Parts of the people, or of the expressions, each of which is once kept from a probe."""


@register_metric
@torch.inference_mode()
def code_reading(exam: EditSet) -> Numbers:
    """What Q reads of codes drawn as in training (eq. 3), from the decoder's pictures of every input and expression.

    `elements`: r of the class's d numbers drawn and read; `strength`: r of their means; `signs`: share of all K * d numbers
    read with the right sign; `styles`: share of single styles in which the one number that is high is read as the highest.
    """
    model, k, d = exam.editor.model, len(exam.names), exam.editor.model.F_ctrl.numbers_each
    weights = next(model.parameters())
    z = torch.stack([subject.z for subject in exam.subjects]).to(weights).repeat_interleave(k, dim=0)
    own = torch.arange(k).repeat(len(exam.subjects))
    y = torch.eye(k)[own]

    def read(z: Tensor, y: Tensor, c: Tensor) -> Tensor:
        parts = zip(z.split(32), y.to(weights).split(32), c.to(weights).split(32), strict=True)
        return torch.cat([model.Q(model.G_dec(a, b), label).float().cpu() for a, label, b in parts])

    c = model.F_ctrl.random(y, torch.Generator().manual_seed(0))
    seen = read(z, y, c)
    mine, said = (codes.unflatten(1, (k, d))[torch.arange(len(own)), own].numpy() for codes in (c, seen))
    found = {"elements": pearson(mine.ravel(), said.ravel()), "strength": pearson(mine.mean(1), said.mean(1))}
    found["signs"] = (seen.sign() == c.sign()).float().mean().item()
    single = torch.stack([model.F_ctrl.code(name, style=style) for name in exam.names for style in range(d)])
    first = torch.stack([exam.subjects[i].z for i in exam.one_each]).to(weights)
    labels = torch.eye(k).repeat_interleave(d, dim=0)
    again = read(first.repeat_interleave(k * d, dim=0), labels.repeat(len(first), 1), single.repeat(len(first), 1))
    again = again.unflatten(0, (len(first), k, d)).unflatten(-1, (k, d))
    highest = torch.stack([again[:, i, :, i].argmax(-1) for i in range(k)])
    found["styles"] = (highest == torch.arange(d)).float().mean().item()
    return {f"value.{name}": value for name, value in found.items()} | {"chance.signs": 0.5, "chance.styles": 1 / d}


@register_metric
@torch.inference_mode()
def disentanglement(exam: EditSet) -> Numbers:
    """How well a linear probe reads off the codes of held-out people's real pictures what they should hold, and should not.

    `g(x) to expression`: of K + 1, of people the probe has not seen; chance is best. `g(x) to person` and `c to person`:
    of expressions the probe has not seen; high is best for the first, chance for the second. c is read by Q given the
    expression, of pictures that are not neutral.
    """
    people, model = exam.people, exam.editor.model
    weights = next(model.parameters())
    x = [from_bytes(part).to(weights) for part in people.images.split(32)]
    z = torch.cat([model.G_enc(part).float().cpu() for part in x]).numpy()
    loud = (people.expression < len(exam.names)).numpy()
    y = people.one_hot(torch.arange(len(people))).to(weights)
    c = torch.cat([model.Q(part, label).float().cpu() for part, label in zip(x, y.split(32), strict=True)]).numpy()
    expression, person = people.expression.numpy(), people.subject.numpy()
    probes = {
        "g(x) to expression": (z, expression, person),
        "g(x) to person": (z, person, expression),
        "c to person": (c[loud], person[loud], expression[loud]),
    }
    found = {}
    for name, (codes, wanted, groups) in probes.items():
        if len(set(wanted.tolist())) > 1 and (count := len(set(groups.tolist()))) > 1:
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
            scores = cross_val_score(probe, codes, wanted, groups=groups, cv=GroupKFold(min(FOLDS, count)))
            found[f"value.{name}"] = float(np.mean(scores))
            found[f"chance.{name}"] = float(np.bincount(wanted).max() / len(wanted))
    return found
