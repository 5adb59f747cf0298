"""FACS action units (Ekman, Friesen and Hager 2002) as vertex displacements of the mesh.

Weight 1 is the strongest movement that most faces show. FaceKit's blendshapes are ARKit's. Their factors within a unit were
chosen by eye on portraits, since the two scales have no common definition.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .mesh import Mesh

UnitWeights = Mapping[int, tuple[float, float]]
"""Action unit -> its weights on the subject's right and left side."""


ACTION_UNITS: dict[int, dict[str, float]] = {
    1: {"browInnerUp": 1.35},  # inner brow raiser
    2: {"browOuterUp": 1.2},  # outer brow raiser
    4: {"browDown": 1.4},  # brow lowerer
    5: {"eyeWide": 1.9},  # upper lid raiser
    6: {"cheekSquint": 0.75, "cheekRaiser": 0.9},  # cheek raiser
    7: {"eyeSquint": 1.5},  # lid tightener
    9: {"noseSneer": 0.9},  # nose wrinkler
    10: {"mouthUpperUp": 0.6},  # upper lip raiser
    12: {"mouthSmile": 1.0},  # lip corner puller
    14: {"mouthDimple": 1.0},  # dimpler
    15: {"mouthFrown": 1.2},  # lip corner depressor
    16: {"mouthLowerDown": 0.9},  # lower lip depressor
    17: {"mouthShrugLower": 1.0},  # chin raiser
    18: {"mouthPucker": 1.0},  # lip pucker
    20: {"mouthStretch": 1.0},  # lip stretcher
    22: {"mouthFunnel": 0.8},  # lip funneler
    23: {"mouthRollLower": 0.5, "mouthRollUpper": 0.5},  # lip tightener
    24: {"mouthPress": 1.0},  # lip pressor
    25: {"mouthLowerDown": 0.35, "mouthUpperUp": 0.12},  # lips part
    26: {"jawOpen": 1.0},  # jaw drop
    27: {"jawOpen": 1.4, "mouthStretch": 0.15},  # mouth stretch
    28: {"mouthRollLower": 1.0, "mouthRollUpper": 1.0},  # lip suck
    29: {"jawForward": 1.0},  # jaw thrust
    30: {"jawSideways": 1.0, "mouthSideways": 0.4},  # jaw sideways
    33: {"cheekPuff": 1.0, "mouthPucker": 0.7, "mouthPress": 0.4},  # cheek blow
    34: {"cheekPuff": 1.5, "mouthPress": 0.8, "mouthRollLower": 0.15},  # cheek puff
    35: {"cheekPuff": -0.8, "mouthPucker": 0.9},  # cheek suck
    43: {"eyeBlink": 1.5},  # eye closure
}
"""Action unit -> expression shape of the mesh -> factor; "browDown" stands for the pair browDown_R and browDown_L."""

WIDEST = 1.3  # of unit 5: a lid cannot rise farther

SIDEWAYS = {"jawSideways": ("jawRight", "jawLeft"), "mouthSideways": ("mouthRight", "mouthLeft")}
"""Pairs that move as a whole to the subject's right or left: the difference of a unit's two weights tells how far."""

CORRUGATOR_CENTRE = (1.35, 5.7)  # where the muscle pulls the inner brow: mesh units from the midline and up
CORRUGATOR_RADII = (1.5, 1.15)
CORRUGATOR_PULL = (-0.24, -0.34, 0.10)  # inwards, down, forwards; FaceKit's browDown alone is too weak at 128 px
INNER_BROW_LIFT = (0.3, 0.75, 0.0)  # parts of that pull, reversed, that lift the inner brow in unit 1 without unit 2
MIN_FRONT_Z = 5.0
MOUTH_CORNER_GAIN = 8.0  # a mouth that turns up by 5 % of its width needs 1.4 times the pull to look equally sad


@dataclass(frozen=True)
class Anatomy:
    """Proportions of a face that limit how far its muscles can move it."""

    eye_opening: float = 1.0  # height by width of the open eye, relative to the mesh's; narrow eyes would shut too early
    brow_gap: float = 1.0  # from eye to brow, relative to a typical one; a low brow would cover the eye
    mouth_corner_rise: float = 0.0  # at rest, in mouth widths; raised corners have farther to go down

    def weight_gain(self, shape: str) -> float:
        """Returns the factor on the weight of an expression shape."""
        match shape:
            case "browDown":
                return self.brow_gap
            case "eyeBlink" | "eyeSquint":
                return self.eye_opening
            case "cheekSquint" | "cheekRaiser":
                return 0.3 + 0.7 * self.eye_opening if self.eye_opening < 1 else 1.0
            case "mouthFrown":
                return 1 + MOUTH_CORNER_GAIN * self.mouth_corner_rise
        return 1.0


def mean_weight(units: UnitWeights, number: int) -> float:
    """Returns the mean weight of a unit over both sides, 0 if it is absent."""
    right, left = units.get(number, (0.0, 0.0))
    return (right + left) / 2


def limit_lid_raiser(weight: float) -> float:
    """Returns the weight with which unit 5 acts: about the given one if that is small, never above `WIDEST`."""
    return weight / float(np.hypot(1, weight / WIDEST))


def compute_displacement(mesh: Mesh, units: UnitWeights, anatomy: Anatomy) -> np.ndarray:
    """Computes the displacement of each vertex, linear in the weights except for unit 5 and the corrugator's share.

    Returns:
        (V, 3) float64, mesh units.

    Raises:
        ValueError: a unit is not in `ACTION_UNITS`, or the mesh lacks a shape that it needs.
    """
    displacement = np.zeros_like(mesh.neutral)
    for number, (right, left) in units.items():
        if number not in ACTION_UNITS:
            raise ValueError(f"there is no action unit {number!r} here; choose among {', '.join(map(str, ACTION_UNITS))}")
        if number == 5:
            right, left = limit_lid_raiser(right), limit_lid_raiser(left)
        for shape, factor in ACTION_UNITS[number].items():
            factor *= anatomy.weight_gain(shape)
            if shape in mesh.expressions:
                displacement += mesh.expressions[shape] * (factor * (right + left) / 2)
            else:
                pair = SIDEWAYS.get(shape, (f"{shape}_R", f"{shape}_L"))
                on_right, on_left = (_get_shape(mesh, name) for name in pair)
                displacement += on_right * (factor * right) + on_left * (factor * left)
    if 4 in units:  # where unit 1 lifts the inner brow, the corrugator cannot lower it
        displacement += _pull_corrugator(mesh, units[4]) * (max(0.0, 1 - mean_weight(units, 1)) * anatomy.brow_gap)
    if 1 in units:  # without unit 2 the outer brow stays and the brow slants (sadness, fear)
        slant = max(0.0, 1 - mean_weight(units, 2) / max(mean_weight(units, 1), 1e-3))
        displacement -= _pull_corrugator(mesh, units[1]) * (slant * np.array(INNER_BROW_LIFT))
    return displacement


def _get_shape(mesh: Mesh, name: str) -> np.ndarray:
    if name not in mesh.expressions:
        raise ValueError(f"the mesh has no shape {name!r}; create it again with `python -m train prepare mesh`")
    return mesh.expressions[name]


def _pull_corrugator(mesh: Mesh, weights: tuple[float, float]) -> np.ndarray:
    """Displacement of the inner brows, (V, 3), by the corrugator's weights on the right and left side."""
    displacement, face = np.zeros_like(mesh.neutral), mesh.neutral[: mesh.num_face_vertices]
    for side, weight in zip((-1, 1), weights, strict=True):  # the subject's right is at -x
        x, y = face[:, 0] - side * CORRUGATOR_CENTRE[0], face[:, 1] - CORRUGATOR_CENTRE[1]
        falloff = np.exp(-((x / CORRUGATOR_RADII[0]) ** 2) - (y / CORRUGATOR_RADII[1]) ** 2) * (face[:, 2] > MIN_FRONT_Z)
        displacement[: len(face)] += falloff[:, None] * np.array(CORRUGATOR_PULL) * [side, 1, 1] * weight
    return displacement
