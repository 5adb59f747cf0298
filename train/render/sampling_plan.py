"""Which pictures are made of a person.

Everything random comes from here, one generator for each purpose: any picture can be made again alone, whoever else is in
the set.
"""

from dataclasses import dataclass, field
from random import Random

from exprgan.expressions import EXPRESSIONS, NEUTRAL

from .face_model.action_units import ActionUnits
from .face_model.emfacs import intensities, noise, styles, varied
from .photo_manifest import Person
from .render_config import RenderConfig
from .training_crop import Jitter

FAINTEST_SMILE = 0.15  # below, a photo taken as smiling shows a neutral face
CLEAR_SMILE = 0.35  # between the two either label would be wrong: left out
MORPHED_SMILE = 0.45  # weaker ones are not worth morphing


@dataclass(frozen=True)
class Picture:
    """One picture to be made.

    Attributes:
        kind: "photo", "rendered" or "morph".
        units: of a rendered one.
        part: of a morph, 0 (neutral) to 1 (the smiling photo).
        jitter: None for a photo.
        smiling: made from the smiling photo.
    """

    expression: str
    style: str
    kind: str
    intensity: float = 0.0
    units: ActionUnits = field(default_factory=dict)
    part: float = 0.0
    jitter: Jitter | None = None
    smiling: bool = False


def of_neutral(sitter: Person, config: RenderConfig) -> list[Picture]:
    """What is made from a person's neutral photo alone."""
    virtual = bool(sitter.parents)
    pictures = [Picture(NEUTRAL, "virtual" if virtual else "real", "morph" if virtual else "photo")]
    number = config.number_virtual if virtual else config.number
    for expression in EXPRESSIONS:
        draw = _random(config, sitter, expression)
        drawn = (
            zip(intensities(number, draw, config.weakest), styles(expression, number, draw), strict=True) if number else ()
        )
        for n, (intensity, style) in enumerate(drawn):
            rng = _random(config, sitter, expression, style, n)
            units = varied(expression, style, intensity, rng)
            pictures.append(Picture(expression, style, "rendered", intensity, units, jitter=_jitter(config, rng)))
    for n in range(0 if virtual else config.neutral):
        rng = _random(config, sitter, NEUTRAL, "noise", n)
        pictures.append(Picture(NEUTRAL, "noise", "rendered", units=noise(rng), jitter=_jitter(config, rng)))
    return pictures


def of_smile(sitter: Person, strength: float, followed: bool, config: RenderConfig) -> list[Picture]:
    """What is made from a smiling photo of some strength."""
    strength, pictures, virtual = round(strength, 4), [], bool(sitter.parents)
    kind, style = ("morph", "virtual") if virtual else ("photo", "real_smile")
    if strength < FAINTEST_SMILE:
        pictures.append(Picture(NEUTRAL, style, kind, smiling=True))
    elif strength >= CLEAR_SMILE:
        pictures.append(Picture("happy", style, kind, min(strength, 1.0), smiling=True))
    if strength >= MORPHED_SMILE and followed and config.number and not virtual:
        draw = _random(config, sitter, "happy", "morph")
        reached = min(strength, 1.0)  # by this person's smile
        for intensity in intensities(config.number, draw, config.weakest, reached):
            jitter = _jitter(config, draw)
            part = intensity / strength
            pictures.append(Picture("happy", "morph", "morph", intensity, part=part, jitter=jitter, smiling=True))
    return pictures


def _random(config: RenderConfig, sitter: Person, *purpose: str | int) -> Random:
    return Random("/".join(map(str, (config.seed, sitter.subject, *purpose))))


def _jitter(config: RenderConfig, rng: Random) -> Jitter:
    drawn = Jitter.drawn(rng)  # drawn in any case: what follows stays the same
    return drawn if config.jitter else Jitter()
