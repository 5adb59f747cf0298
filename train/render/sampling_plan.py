"""Plans which pictures are made of a person.

All randomness of the pictures comes from here, with a generator for each purpose: any picture can be made again by itself,
independently of who else is in the set.
"""

from dataclasses import dataclass, field, replace
from random import Random

from exprgan.expressions import EXPRESSIONS, NEUTRAL

from .face_model.action_units import UnitWeights
from .face_model.emfacs import sample_intensities, sample_noise, sample_styles, sample_units
from .face_model.unit_combinations import sample_combination
from .photo_manifest import Person
from .render_config import RenderConfig
from .scene import Scene
from .shading.gaze import Gaze
from .shading.mouth_look import MouthLook, TeethLook
from .training_crop import Jitter

NO_CLASS = ""  # the expression of a random combination of action units
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
        scene: head pose, gaze and light, which photos do not have.
        mouth: teeth and tongue of a rendered picture.
    """

    expression: str
    style: str
    kind: str
    intensity: float = 0.0
    units: UnitWeights = field(default_factory=dict)
    progress: float = 0.0
    jitter: Jitter | None = None
    from_smile: bool = False
    scene: Scene = field(default=Scene())
    mouth: MouthLook = field(default=MouthLook())


def plan_neutral_photo(person: Person, config: RenderConfig) -> list[Picture]:
    """Plans the pictures that need a person's neutral photo only."""
    virtual = bool(person.parents)
    pictures = [Picture(NEUTRAL, "virtual" if virtual else "real", "morph" if virtual else "photo")]
    for expression in EXPRESSIONS:
        pictures += _plan_expression(person, config, expression, varied=False)
        pictures += _plan_expression(person, config, expression, varied=True)
    for purpose, number in (("noise", 0 if virtual else config.neutral), ("varied", _number_varied(person, config))):
        for n in range(number):
            generator = _generator(config, person, NEUTRAL, purpose, n)
            units = sample_noise(generator)
            pictures.append(_rendered(person, config, generator, NEUTRAL, "noise", 0.0, units, purpose == "varied"))
    for n in range(config.combinations_virtual if virtual else config.combinations):
        generator = _generator(config, person, "combination", n)
        units = sample_combination(generator)
        pictures.append(_rendered(person, config, generator, NO_CLASS, "combination", 0.0, units, varied=True))
    return pictures


def _plan_expression(person: Person, config: RenderConfig, expression: str, varied: bool) -> list[Picture]:
    """Plans the pictures of one expression, in the photo's pose and light or in varied ones."""
    purpose = ("varied",) if varied else ()
    number = config.number_virtual if person.parents else config.number
    number = _number_varied(person, config) if varied else number
    if not number:
        return []
    generator, pictures = _generator(config, person, expression, *purpose), []
    intensities = sample_intensities(number, generator, config.weakest)
    styles = sample_styles(expression, number, generator)
    for n, (intensity, style) in enumerate(zip(intensities, styles, strict=True)):
        generator = _generator(config, person, expression, *purpose, style, n)
        units = sample_units(expression, style, intensity, generator)
        pictures.append(_rendered(person, config, generator, expression, style, intensity, units, varied))
    return pictures


def _number_varied(person: Person, config: RenderConfig) -> int:
    return config.varied_virtual if person.parents else config.varied


def _rendered(person: Person, config: RenderConfig, generator: Random, expression: str, style: str, intensity: float,
              units: UnitWeights, varied: bool) -> Picture:  # fmt: skip
    jitter = _sample_jitter(config, generator)
    scene = _sample_scene(config, generator) if varied else Scene()
    mouth = _sample_mouth(config, person, generator)
    return Picture(expression, style, "rendered", intensity, units, jitter=jitter, scene=scene, mouth=mouth)


def plan_smile(person: Person, intensity: float, reliable: bool, config: RenderConfig) -> list[Picture]:
    """Plans the pictures made from a smiling photo of known intensity; morphs only if the smile was tracked reliably."""
    peak, pictures, virtual = round(intensity, 4), [], bool(person.parents)
    kind, style = ("morph", "virtual") if virtual else ("photo", "real_smile")
    if peak < MAX_NEUTRAL_SMILE:
        pictures.append(Picture(NEUTRAL, style, kind, from_smile=True))
    elif peak >= MIN_HAPPY_SMILE:
        pictures.append(Picture("happy", style, kind, min(peak, 1.0), from_smile=True))
    if peak >= MIN_MORPHED_SMILE and reliable and not virtual:
        for varied in (False, True):
            pictures += _plan_morphs(person, config, peak, varied)
    return pictures


def _plan_morphs(person: Person, config: RenderConfig, peak: float, varied: bool) -> list[Picture]:
    """Plans morphs up to a smile of intensity `peak`; varied ones keep the photo's gaze."""
    number, weakest = (config.varied, MIN_HAPPY_SMILE) if varied else (config.number, config.weakest)
    if not number:
        return []
    generator, pictures = _generator(config, person, "happy", "morph", *(("varied",) if varied else ())), []
    for intensity in sample_intensities(number, generator, weakest, min(peak, 1.0)):
        jitter = _sample_jitter(config, generator)
        scene = replace(_sample_scene(config, generator), gaze=Gaze()) if varied else Scene()
        pictures.append(Picture("happy", "morph", "morph", intensity, progress=intensity / peak, jitter=jitter,
                                from_smile=True, scene=scene))  # fmt: skip
    return pictures


def _generator(config: RenderConfig, person: Person, *purpose: str | int) -> Random:
    return Random("/".join(map(str, (config.seed, person.subject, *purpose))))


def _sample_jitter(config: RenderConfig, generator: Random) -> Jitter:
    jitter = Jitter.sample(generator)  # in any case, so that later draws do not depend on the setting
    return jitter if config.jitter else Jitter()


def _sample_scene(config: RenderConfig, generator: Random) -> Scene:
    scene = Scene.sample(generator)  # in any case, likewise
    return Scene() if config.flow else scene


def _sample_mouth(config: RenderConfig, person: Person, generator: Random) -> MouthLook:
    """Samples a mouth with the person's own teeth, which are the same in all pictures."""
    mouth = MouthLook.sample(generator, TeethLook.sample(_generator(config, person, "teeth")))  # in any case, likewise
    return mouth if config.mouths else MouthLook()
