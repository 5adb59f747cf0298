"""FACS action units (Ekman, Friesen and Hager 2002) as movements of the mesh.

A unit's weight 1 is the strongest movement that most faces show. FaceKit's shapes are ARKit's; the factors say how
much of each makes up a unit, and were chosen by eye on portraits, since the two scales have no common definition.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .mesh import Mesh

ActionUnits = Mapping[int, tuple[float, float]]
"""Unit -> weight on the subject's right and left side."""


@dataclass(frozen=True)
class Unit:
    """One action unit.

    Attributes:
        name: FACS's own.
        shapes: the mesh's expression shape -> factor; one for both sides ("browDown" stands for browDown_R and _L).
    """

    name: str
    shapes: Mapping[str, float] = field(default_factory=dict)


UNITS = {
    1: Unit("inner brow raiser", {"browInnerUp": 1.35}),
    2: Unit("outer brow raiser", {"browOuterUp": 1.2}),
    4: Unit("brow lowerer", {"browDown": 1.4}),
    5: Unit("upper lid raiser", {"eyeWide": 1.45}),
    6: Unit("cheek raiser", {"cheekSquint": 0.75, "cheekRaiser": 0.9}),
    7: Unit("lid tightener", {"eyeSquint": 1.0}),
    9: Unit("nose wrinkler", {"noseSneer": 0.9}),
    10: Unit("upper lip raiser", {"mouthUpperUp": 0.6}),
    12: Unit("lip corner puller", {"mouthSmile": 1.0}),
    14: Unit("dimpler", {"mouthDimple": 1.0}),
    15: Unit("lip corner depressor", {"mouthFrown": 1.2}),
    16: Unit("lower lip depressor", {"mouthLowerDown": 0.9}),
    17: Unit("chin raiser", {"mouthShrugLower": 1.0}),
    18: Unit("lip pucker", {"mouthPucker": 1.0}),
    20: Unit("lip stretcher", {"mouthStretch": 1.0}),
    22: Unit("lip funneler", {"mouthFunnel": 0.8}),
    23: Unit("lip tightener", {"mouthRollLower": 0.5, "mouthRollUpper": 0.5}),
    24: Unit("lip pressor", {"mouthPress": 1.0}),
    25: Unit("lips part", {"mouthLowerDown": 0.35, "mouthUpperUp": 0.12}),
    26: Unit("jaw drop", {"jawOpen": 1.0}),
    43: Unit("eye closure", {"eyeBlink": 1.0}),
}

CORRUGATOR_AT = (1.35, 5.7)  # where the muscle pulls the inner brow, mesh units from the middle and up
CORRUGATOR_REACH = (1.5, 1.15)
CORRUGATOR_PULL = (-0.24, -0.34, 0.10)  # to the middle, down, forwards; FaceKit's browDown alone is too weak at 128 px
OBLIQUE = (0.3, 0.75, 0.0)  # how much of it, turned round, lifts the inner brow where unit 1 acts without unit 2
FRONT_Z = 5.0
CORNERS_FACTOR = 8.0  # a mouth that turns up by 5 % of its width needs 1.4 times the pull to look as sad as a straight one


@dataclass(frozen=True)
class Anatomy:
    """How much room a face leaves its muscles, against the mesh's mean face.

    Attributes:
        eye_opening: height by width of the open eye, against the mesh's. Narrow eyes need less lid travel: else they shut.
        brow_room: gap between brow and eye, against a typical one. A low brow would cover the eye.
        corners_up: how far the mouth turns up at rest, in its widths. Corners that are to go down have farther to go.
    """

    eye_opening: float = 1.0
    brow_room: float = 1.0
    corners_up: float = 0.0

    def factor(self, shape: str) -> float:
        """What a shape's weight is multiplied by on this face."""
        match shape:
            case "browDown":
                return self.brow_room
            case "eyeBlink":
                return self.eye_opening
            case "eyeSquint":
                return self.eye_opening * min(1.0, self.eye_opening)
            case "cheekSquint" | "cheekRaiser":
                return 0.3 + 0.7 * self.eye_opening if self.eye_opening < 1 else 1.0
            case "mouthFrown":
                return 1 + CORNERS_FACTOR * self.corners_up
            case "eyeWide":
                return max(1.0, 1.25 - 0.25 * self.eye_opening)
        return 1.0


def both(units: ActionUnits, number: int) -> float:
    """A unit's mean weight over the two sides, 0 where it is absent."""
    right, left = units.get(number, (0.0, 0.0))
    return (right + left) / 2


def displacement(mesh: Mesh, units: ActionUnits, anatomy: Anatomy) -> np.ndarray:
    """How far each vertex moves, (V, 3) float64 in mesh units; linear in the weights, but for the corrugator's share.

    Raises:
        ValueError: a unit is none of `UNITS`, or the mesh has not the shape that it needs.
    """
    moved = np.zeros_like(mesh.neutral)
    for number, (right, left) in units.items():
        if number not in UNITS:
            raise ValueError(f"there is no action unit {number!r} here; choose among {', '.join(map(str, UNITS))}")
        for shape, factor in UNITS[number].shapes.items():
            factor *= anatomy.factor(shape)
            if shape in mesh.expressions:
                moved += mesh.expressions[shape] * (factor * (right + left) / 2)
            else:
                moved += _side(mesh, f"{shape}_R") * (factor * right) + _side(mesh, f"{shape}_L") * (factor * left)
    if 4 in units:  # where unit 1 lifts the inner brow, the corrugator cannot lower it
        moved += _corrugator(mesh, units[4]) * (max(0.0, 1 - both(units, 1)) * anatomy.brow_room)
    if 1 in units:  # the brow slants (sadness, fear) where its outer part stays behind
        slant = max(0.0, 1 - both(units, 2) / max(both(units, 1), 1e-3))
        moved -= _corrugator(mesh, units[1]) * (slant * np.array(OBLIQUE))
    return moved


def _side(mesh: Mesh, shape: str) -> np.ndarray:
    if shape not in mesh.expressions:
        raise ValueError(f"the mesh has no shape {shape!r}; make it anew by `python -m train prepare mesh`")
    return mesh.expressions[shape]


def _corrugator(mesh: Mesh, weights: tuple[float, float]) -> np.ndarray:
    """The extra pull on the inner brows, (V, 3), for weights of the right and left side."""
    pull, face = np.zeros_like(mesh.neutral), mesh.neutral[: mesh.face_size]
    for side, weight in zip((-1, 1), weights, strict=True):  # the subject's right is at -x
        x, y = face[:, 0] - side * CORRUGATOR_AT[0], face[:, 1] - CORRUGATOR_AT[1]
        near = np.exp(-((x / CORRUGATOR_REACH[0]) ** 2) - (y / CORRUGATOR_REACH[1]) ** 2) * (face[:, 2] > FRONT_Z)
        pull[: mesh.face_size] += near[:, None] * np.array(CORRUGATOR_PULL) * [side, 1, 1] * weight
    return pull
