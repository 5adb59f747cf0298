"""What each element of c means: the code of a picture of known expression, style and intensity, for ExprGAN and for T.

In the paper the d numbers of c_i are drawn by eq. 3 and nothing in a picture tells which of them is high, so that they come
to differ by a tint. Here each of them is a style at a strength, and all of them together the usual style.
"""

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
ALL_SHARE, RANDOM_SHARE = 0.4, 0.25
"""Of pictures in the usual style, the shares whose code moves all of c_i alike, and whose c_i is drawn by eq. 3 with its
mean at their intensity. The others, as all pictures in other styles, have one element of c_i at their intensity."""
LIFTED_SHARE, MAX_LIFTED = 0.4, -0.4
"""Share of codes of one element whose other elements of c_i lie in -1..MAX_LIFTED instead of at -1, so that a style is
also learned beside others that are faint."""
MIN_STRENGTH = 0.4
"""Strength of an element just above a style's, relative to the next style; it grows to 1 at the next style's element."""


@dataclass(frozen=True)
class Label:
    """What a picture shows.

    Attributes:
        expression: a class, or "neutral".
        style: one of STYLES; any other value if it is not known which.
        intensity: 0..1, NaN if unknown.
    """

    expression: str
    style: str = ""
    intensity: float = math.nan


def code_for(label: Label, F_ctrl: Controller, generator: torch.Generator) -> Tensor:
    """Draws a code that stands for what a picture shows: c (K * d,).

    A picture of unknown style has all of c_i at its intensity or c_i drawn by eq. 3 with that mean; one of unknown
    intensity has c_i drawn by eq. 3 as it stands. Neutral is the code of all -1.

    Args:
        label: what the picture shows.
        F_ctrl: makes codes; its calibrated path maps intensity to codes.
        generator: on the CPU; chooses among codes of the same meaning.
    """
    draw, name = torch.rand((), generator=generator).item(), label.expression
    if name == NEUTRAL:
        return F_ctrl.neutral()
    styles = STYLES.get(name, ())
    is_known = label.style in styles and not math.isnan(label.intensity)
    is_usual = label.style == USUAL_STYLE.get(name)
    if not is_known or (is_usual and draw < ALL_SHARE + RANDOM_SHARE):
        if math.isnan(label.intensity) or draw < RANDOM_SHARE:
            y = torch.tensor([[float(name == other) for other in F_ctrl.expressions]])
            return F_ctrl.random(y, generator, torch.tensor([label.intensity]))[0]
        return F_ctrl.code(name, label.intensity)
    elements = enumerate(style_of_elements(len(styles), F_ctrl.numbers_each))
    of_style = [(k, strength) for k, (style, strength) in elements if styles[style] == label.style]
    reaching = [(k, label.intensity / strength) for k, strength in of_style if label.intensity <= strength]
    k, intensity = (reaching or of_style)[int(torch.randint(len(reaching or of_style), (), generator=generator))]
    c = F_ctrl.code(name, min(intensity, 1.0), style=k).view(len(F_ctrl.expressions), -1)
    if torch.rand((), generator=generator) < LIFTED_SHARE:
        c_i = c[F_ctrl.expressions.index(name)]
        lifted = -1 + (min(MAX_LIFTED, c_i[k].item()) + 1) * torch.rand(len(c_i), generator=generator)
        c_i.copy_(torch.maximum(c_i, lifted))
    return c.flatten()


def style_of_elements(num_styles: int, num_elements: int) -> list[tuple[int, float]]:
    """The meaning of each element at its maximum, when styles are spread evenly over them.

    Returns:
        For each element a style's index and its strength: an element between two styles is a weaker form of the wider one.
    """
    positions = [k * (num_styles - 1) / max(num_elements - 1, 1) for k in range(num_elements)]
    fractions = [position - math.floor(position) for position in positions]
    return [(math.ceil(position), MIN_STRENGTH + (1 - MIN_STRENGTH) * fraction if fraction else 1.0)
            for position, fraction in zip(positions, fractions, strict=True)]  # fmt: skip
