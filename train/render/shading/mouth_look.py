"""Variation of the mouth interior between people (teeth) and pictures (tongue, light), and how it is sampled."""

from dataclasses import dataclass
from random import Random

TEETH_KINDS = {"plain": 0.7, "braces": 0.1, "crooked": 0.06, "gap": 0.05, "bite": 0.04, "worn": 0.03, "missing": 0.02}
"""Kinds of teeth and their shares. All vary slightly in size, form and colour; the others have what their name says."""

TONGUE_POSES = {"rest": 0.62, "raised": 0.28, "forward": 0.1}
"""Poses of a sampled tongue and their shares: behind the lower teeth, its back raised, its tip on the lower teeth."""

DARK_SHARE, PIGMENTED_GUMS_SHARE, CERAMIC_SHARE, UNDERBITE_SHARE = 0.08, 0.12, 0.25, 0.4
"""Shares of pictures whose teeth are hardly lit, of people with brown gums, of braces that are ceramic, and of underbites
among bites other than normal."""


@dataclass(frozen=True)
class TeethLook:
    """A person's teeth. The defaults are those of `exprgan.models.teeth_texture`; factors are relative to them."""

    seed: int = 0  # of the differences between teeth, and of the colour of braces' elastics
    width: float = 1.0  # factor on the width of each tooth
    height: float = 1.0  # factor on the height of each crown, from the edge to the gums
    roundness: float = 1.0  # factor on the recess of the corners
    irregularity: float = 0.0  # 0..1, how much heights, positions, angles and tones of teeth differ
    gap_cm: float = 0.0  # between the two upper front teeth
    wear: float = 0.0  # 0..1, straight, shortened and uneven edges
    missing: int = 0  # upper tooth n from the midline is missing, 1..5; to the right of the image, or -n to the left
    upper_drop_cm: float = 0.0  # of the upper row; a low row shows its gums in a smile
    lower_rise_cm: float = 0.0  # of the lower row; deep bite > 0, open bite < 0
    lower_advance_cm: float = 0.0  # of the lower row; from 0.2 on it is in front of the upper one, an underbite
    yellowness: float = 0.0  # -1 is bluish white, 1 yellow
    brightness: float = 1.0  # 0..1, relative to the brightest that the light of the photo allows
    translucency: float = 1.0  # factor on the darkening of the edges
    stain: float = 0.0  # 0..1, brown at the gums and between teeth
    gum_pigment: float = 0.0  # 0..1, from pink to brown
    braces: str = "none"  # "none", "metal" or "ceramic", on both rows

    @classmethod
    def sample(cls, generator: Random) -> "TeethLook":
        """Samples the teeth of one person, by the shares of `TEETH_KINDS`."""
        kind = _choose(TEETH_KINDS, generator)
        values: dict[str, float] = {
            "width": _vary(1.0, 0.06, generator),
            "height": _vary(1.0, 0.14, generator),
            "roundness": _vary(1.1, 0.6, generator),
            "irregularity": generator.uniform(0.1, 0.4),
            "upper_drop_cm": _vary(0.06, 0.16, generator),
            "lower_rise_cm": _vary(0.0, 0.08, generator),
            "yellowness": _vary(0.2, 0.5, generator),
            "brightness": _vary(0.95, 0.06, generator),
            "translucency": generator.uniform(0.3, 1.8),
            "stain": generator.uniform(0, 0.25),
            "gum_pigment": generator.uniform(0.3, 1) if generator.random() < PIGMENTED_GUMS_SHARE else 0.0,
        }
        seed, ceramic, underbite = int(generator.random() * 1e6), generator.random(), generator.random()
        extent, side = generator.random(), 1 if generator.random() < 0.5 else -1
        braces, missing = "none", 0
        match kind:
            case "braces":
                braces = "ceramic" if ceramic < CERAMIC_SHARE else "metal"
                values["irregularity"] *= 2
            case "crooked":
                values["irregularity"] = 0.6 + 0.4 * extent
            case "gap":
                values["gap_cm"] = 0.06 + 0.16 * extent
            case "bite" if underbite < UNDERBITE_SHARE:
                values |= {"lower_advance_cm": 0.3 + 0.3 * extent, "lower_rise_cm": 0.05 + 0.15 * extent}
            case "bite":
                values["lower_rise_cm"] = side * (0.15 + 0.15 * extent)
            case "worn":
                values |= {"wear": 0.5 + 0.5 * extent, "stain": 0.4 + 0.6 * extent, "yellowness": 0.5 + 0.5 * extent}
            case "missing":
                missing = side * (1 + int(5 * extent))
                values["stain"] = 0.2 + 0.5 * extent
        return cls(seed, missing=missing, braces=braces, **{name: round(value, 3) for name, value in values.items()})


@dataclass(frozen=True)
class TongueLook:
    """The tongue of one picture."""

    pose: str = "rest"  # one of `TONGUE_POSES`
    lift_cm: float = 0.0  # of the whole tongue
    side_cm: float = 0.0  # of the tip, to the right of the image
    width: float = 1.0  # factor
    redness: float = 0.0  # -1 is pale, 1 deep red
    coating: float = 0.2  # 0..1, whitish towards the root
    groove: float = 0.5  # 0..1, depth of the groove along the middle
    moisture: float = 0.5  # 0..1, strength of the highlights

    def __post_init__(self):
        if self.pose not in TONGUE_POSES:
            raise ValueError(f"there is no pose {self.pose!r} of the tongue; choose one of {', '.join(TONGUE_POSES)}")

    @classmethod
    def sample(cls, generator: Random) -> "TongueLook":
        """Samples the tongue of one picture, by the shares of `TONGUE_POSES`."""
        pose = _choose(TONGUE_POSES, generator)
        values = {
            "lift_cm": _vary(0.0, 0.25, generator),
            "side_cm": _vary(0.0, 0.35, generator),
            "width": _vary(1.0, 0.12, generator),
            "redness": _vary(0.0, 0.8, generator),
            "coating": generator.uniform(0, 0.7),
            "groove": generator.uniform(0.1, 1),
            "moisture": generator.uniform(0.1, 1),
        }
        return cls(pose, **{name: round(value, 3) for name, value in values.items()})


@dataclass(frozen=True)
class MouthLook:
    """What an open mouth shows. `dataclasses.asdict` gives numbers and names only."""

    teeth: TeethLook = TeethLook()
    tongue: TongueLook | None = None  # None is the flat tongue of the mesh
    light: float = 1.0  # 0..1, factor on the light inside the mouth

    @classmethod
    def sample(cls, generator: Random, teeth: TeethLook | None = None) -> "MouthLook":
        """Samples the mouth of one picture; `teeth` are the person's, or sampled too."""
        teeth = teeth or TeethLook.sample(generator)
        tongue = TongueLook.sample(generator)
        light = generator.uniform(0.12, 0.4) if generator.random() < DARK_SHARE else generator.uniform(0.88, 1)
        return cls(teeth, tongue, round(light, 3))


def _choose(shares: dict[str, float], generator: Random) -> str:
    """Chooses a name by its share."""
    point = generator.random() * sum(shares.values())
    for name, share in shares.items():
        point -= share
        if point < 0:
            return name
    return name


def _vary(mean: float, spread: float, generator: Random) -> float:
    """Samples a triangular distribution over mean -+ spread."""
    return mean + spread * (generator.random() + generator.random() - 1)
