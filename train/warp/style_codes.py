"""Which code a picture of known expression, style and strength gets, so that T learns what each number of c looks like."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from exprgan.expressions import NEUTRAL
from exprgan.models.controller import Controller

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
READ, ALL = 0.15, 0.6
"""Of pictures in the usual style, the shares whose code is the one that Q reads, and whose code moves all of c_i. Q hardly
tells styles apart: codes that it reads from the others would mean all of them, and their mean is a blur."""
BETWEEN = 0.4
"""Strength of an element just above a style, as a part of the next one's; it grows from there to the next style's own."""


@dataclass(frozen=True)
class Label:
    """What is known of a rendered picture."""

    expression: str
    style: str
    intensity: float


def code_of(label: Label, F_ctrl: Controller, chance: torch.Generator) -> Tensor | None:
    """c (K * d,) for one picture; None: the one that Q reads from it.

    Args:
        label: what it shows.
        F_ctrl: makes codes; its calibrated path says which code looks how strong.
        chance: chooses among the codes that mean the same.
    """
    draw = torch.rand((), generator=chance).item()
    if label.expression == NEUTRAL:
        return F_ctrl.neutral()
    styles = STYLES.get(label.expression, ())
    usual = label.style == USUAL.get(label.expression, label.style)
    if usual and draw < READ:
        return None
    if label.style not in styles or (usual and draw < READ + ALL):
        return F_ctrl.code(label.expression, label.intensity)
    place, d = styles.index(label.style), F_ctrl.numbers_each
    shown = [(k, strength) for k, (style, strength) in enumerate(meanings(len(styles), d)) if style == place]
    reached = [(k, label.intensity / strength) for k, strength in shown if label.intensity <= strength]
    k, intensity = (reached or shown)[int(torch.randint(len(reached or shown), (), generator=chance))]
    return F_ctrl.code(label.expression, min(intensity, 1.0), style=k)


def meanings(places: int, numbers: int) -> list[tuple[int, float]]:
    """What each element 0..numbers-1 stands for at its fullest, when `places` styles are spread over them.

    Returns:
        For each a style and its strength: an element between two styles is a weaker form of the wider one.
    """
    where = [k * (places - 1) / max(numbers - 1, 1) for k in range(numbers)]
    share = [w - math.floor(w) for w in where]
    return [(math.ceil(w), BETWEEN + (1 - BETWEEN) * s if s else 1.0) for w, s in zip(where, share, strict=True)]
