"""The code of a rendered picture of known expression, style and intensity, from which T learns what each element of c
means."""

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
"""The rendered styles, from the least to the widest open mouth, spread in this order over the d elements of c_i."""
USUAL_STYLE = {
    "angry": "bared",
    "disgust": "raised",
    "fear": "bared",
    "happy": "teeth",
    "sad": "closed",
    "surprise": "open",
}
"""The style that all elements of c_i together stand for: the one that outside networks read best (docs/render.md)."""
READ_SHARE, ALL_SHARE = 0.15, 0.6
"""Of pictures in the usual style, the shares whose code is read by Q, and whose code moves all of c_i. Q hardly
distinguishes styles: codes read from pictures of the other styles would stand for all of them, and their mean is a blur."""
MIN_STRENGTH = 0.4
"""Strength of an element just above a style's, relative to the next style; it grows to 1 at the next style's element."""


@dataclass(frozen=True)
class Label:
    """What a rendered picture shows."""

    expression: str
    style: str
    intensity: float


def code_for(label: Label, F_ctrl: Controller, generator: torch.Generator) -> Tensor | None:
    """The code of one picture: c (K * d,), or None if it is to be read by Q.

    Args:
        label: what the picture shows.
        F_ctrl: makes codes; its calibrated path maps intensity to codes.
        generator: chooses among codes of the same meaning.
    """
    draw = torch.rand((), generator=generator).item()
    if label.expression == NEUTRAL:
        return F_ctrl.neutral()
    styles = STYLES.get(label.expression, ())
    is_usual = label.style == USUAL_STYLE.get(label.expression, label.style)
    if is_usual and draw < READ_SHARE:
        return None
    if label.style not in styles or (is_usual and draw < READ_SHARE + ALL_SHARE):
        return F_ctrl.code(label.expression, label.intensity)
    elements = enumerate(style_of_elements(len(styles), F_ctrl.numbers_each))
    of_style = [(k, strength) for k, (style, strength) in elements if styles[style] == label.style]
    reaching = [(k, label.intensity / strength) for k, strength in of_style if label.intensity <= strength]
    k, intensity = (reaching or of_style)[int(torch.randint(len(reaching or of_style), (), generator=generator))]
    return F_ctrl.code(label.expression, min(intensity, 1.0), style=k)


def style_of_elements(num_styles: int, num_elements: int) -> list[tuple[int, float]]:
    """The meaning of each element at its maximum, when styles are spread evenly over them.

    Returns:
        For each element a style's index and its strength: an element between two styles is a weaker form of the wider one.
    """
    positions = [k * (num_styles - 1) / max(num_elements - 1, 1) for k in range(num_elements)]
    fractions = [position - math.floor(position) for position in positions]
    return [(math.ceil(position), MIN_STRENGTH + (1 - MIN_STRENGTH) * fraction if fraction else 1.0)
            for position, fraction in zip(positions, fractions, strict=True)]  # fmt: skip
