"""Plans which pictures are made of a person.

All randomness of the pictures comes from here, with a generator for each purpose: any picture can be made again by itself,
independently of who else is in the set.
"""

from dataclasses import dataclass, field
from random import Random

from exprgan.expressions import EXPRESSIONS, NEUTRAL

from .face_model.action_units import UnitWeights
from .face_model.emfacs import sample_intensities, sample_noise, sample_styles, sample_units
from .photo_manifest import Person
from .render_config import RenderConfig
from .training_crop import Jitter

MAX_NEUTRAL_SMILE = 0.15  # below it, a photo labelled as smiling shows a neutral face
MIN_HAPPY_SMILE = 0.35  # between the two either label would be wrong, so the photo is left out
MIN_MORPHED_SMILE = 0.45  # weaker smiles are not worth morphing


@dataclass(frozen=True)
class Picture:
    """One picture to be made.

    Attributes:
        kind: "photo", "rendered" or "morph".
        units: action units of a rendered picture.
        progress: of a morph, from 0 (neutral) to 1 (the smiling photo).
        jitter: None for a photo.
        from_smile: whether it is made from the smiling photo.
    """

    expression: str
    style: str
    kind: str
    intensity: float = 0.0
    units: UnitWeights = field(default_factory=dict)
    progress: float = 0.0
    jitter: Jitter | None = None
    from_smile: bool = False


def plan_neutral_photo(person: Person, config: RenderConfig) -> list[Picture]:
    """Plans the pictures that need a person's neutral photo only."""
    virtual = bool(person.parents)
    pictures = [Picture(NEUTRAL, "virtual" if virtual else "real", "morph" if virtual else "photo")]
    number = config.number_virtual if virtual else config.number
    for expression in EXPRESSIONS if number else ():
        generator = _generator(config, person, expression)
        intensities = sample_intensities(number, generator, config.weakest)
        styles = sample_styles(expression, number, generator)
        for n, (intensity, style) in enumerate(zip(intensities, styles, strict=True)):
            generator = _generator(config, person, expression, style, n)
            units = sample_units(expression, style, intensity, generator)
            jitter = _sample_jitter(config, generator)
            pictures.append(Picture(expression, style, "rendered", intensity, units, jitter=jitter))
    for n in range(0 if virtual else config.neutral):
        generator = _generator(config, person, NEUTRAL, "noise", n)
        units = sample_noise(generator)
        pictures.append(Picture(NEUTRAL, "noise", "rendered", units=units, jitter=_sample_jitter(config, generator)))
    return pictures


def plan_smile(person: Person, intensity: float, reliable: bool, config: RenderConfig) -> list[Picture]:
    """Plans the pictures made from a smiling photo of known intensity; morphs only if the smile was tracked reliably."""
    peak, pictures, virtual = round(intensity, 4), [], bool(person.parents)
    kind, style = ("morph", "virtual") if virtual else ("photo", "real_smile")
    if peak < MAX_NEUTRAL_SMILE:
        pictures.append(Picture(NEUTRAL, style, kind, from_smile=True))
    elif peak >= MIN_HAPPY_SMILE:
        pictures.append(Picture("happy", style, kind, min(peak, 1.0), from_smile=True))
    if peak >= MIN_MORPHED_SMILE and reliable and config.number and not virtual:
        generator = _generator(config, person, "happy", "morph")
        for intensity in sample_intensities(config.number, generator, config.weakest, min(peak, 1.0)):
            jitter = _sample_jitter(config, generator)
            pictures.append(
                Picture("happy", "morph", "morph", intensity, progress=intensity / peak, jitter=jitter, from_smile=True)
            )
    return pictures


def _generator(config: RenderConfig, person: Person, *purpose: str | int) -> Random:
    return Random("/".join(map(str, (config.seed, person.subject, *purpose))))


def _sample_jitter(config: RenderConfig, generator: Random) -> Jitter:
    jitter = Jitter.sample(generator)  # in any case, so that later draws do not depend on the setting
    return jitter if config.jitter else Jitter()
