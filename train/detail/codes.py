"""Which code a picture of known expression, style and strength gets, so that T learns what each number of c looks like."""

from dataclasses import dataclass

import torch
from torch import Tensor

from exprgan.controller import Controller
from exprgan.expressions import NEUTRAL

STYLES = {
    "angry": ("closed", "bared", "shout"),
    "disgust": ("closed", "raised", "open"),
    "fear": ("tense", "bared", "open"),
    "happy": ("closed", "teeth", "laugh"),
    "sad": ("closed", "droop", "cry"),
    "surprise": ("mild", "open", "drop"),
}
"""The rendered styles, from the calmest to the widest mouth: spread in this order over the d elements of c_i."""
USUAL = {"angry": "closed", "disgust": "raised", "fear": "bared", "happy": "teeth", "sad": "closed", "surprise": "open"}
"""The style that all elements of c_i together stand for."""
READ, ALL = 0.2, 0.55
"""Shares of pictures whose code is the one that Q reads, and of those in the usual style whose code moves all of c_i."""


@dataclass(frozen=True)
class Label:
    """What is known of a rendered picture."""

    expression: str
    style: str
    intensity: float


def code_of(label: Label, F_ctrl: Controller, read: Tensor, chance: torch.Generator) -> Tensor:
    """c (K * d,) for one picture.

    Args:
        label: what it shows.
        F_ctrl: makes codes; its calibrated path says which code looks how strong.
        read: c (K * d,) as Q reads it.
        chance: chooses among the codes that mean the same.
    """
    draw = torch.rand((), generator=chance).item()
    if label.expression == NEUTRAL:
        return F_ctrl.neutral()
    if draw < READ:
        return read
    styles = STYLES.get(label.expression, ())
    usual = label.style == USUAL.get(label.expression, label.style)
    if label.style not in styles or (usual and draw < READ + ALL):
        return F_ctrl.code(label.expression, label.intensity)
    element = nearest_elements(styles.index(label.style), len(styles), F_ctrl.numbers_each)
    chosen = element[int(torch.randint(len(element), (), generator=chance))]
    return F_ctrl.code(label.expression, label.intensity, style=chosen)


def nearest_elements(place: int, places: int, numbers: int) -> list[int]:
    """The elements 0..numbers-1 that stand for a style, when `places` styles are spread over them; at least one.

    An element halfway between two styles stands for both, and comes to mean the mean of them.
    """
    where = [k * (places - 1) / max(numbers - 1, 1) for k in range(numbers)]
    near = [k for k, w in enumerate(where) if abs(w - place) <= 0.5 + 1e-9]
    return near or [min(range(numbers), key=lambda k: abs(where[k] - place))]
