"""Which vertex of the mesh belongs to which point of the template."""

from dataclasses import dataclass

import numpy as np

from . import webmorph_template as points
from .mesh import Mesh
from .rasterizer import normals
from .webmorph_template import along, fractions_of

LINES = {
    "upper_lid_R": points.UPPER_LID["R"],
    "lower_lid_R": points.LOWER_LID["R"],
    "upper_lid_L": points.UPPER_LID["L"],
    "lower_lid_L": points.LOWER_LID["L"],
    "upper_lip_outer": points.UPPER_LIP_OUTER,
    "lower_lip_outer": points.LOWER_LIP_OUTER,
    "upper_lip_inner": points.UPPER_LIP_INNER,
    "lower_lip_inner": points.LOWER_LIP_INNER,
}
"""The template's line for each of the mesh's paths; vertices are matched by their share of the line's length."""

BROWS = {"R": (17, 18, 19, 20, 21), "L": (22, 23, 24, 25, 26)}
BROW_MIX = 0.6  # the mesh's brow runs between the template's upper and lower edge, nearer to the upper
NOSE_RIDGE = (27, 28, 29, 30)
BELOW = np.array([0.0, 3.0])  # the mesh's nose ends 3 px below the template's nostril points
NOSTRIL_MIX = 0.6

CONTOUR_SAMPLES = np.linspace(0.06, 0.94, 17)
CONTOUR_NORMALS = (-0.05, 0.30)  # z of the normal where the face turns away from the viewer
CONTOUR_REACH_PX = 45.0
WEIGHTS = {"line": 0.6, "brow": 0.8, "nose": 1.0, "contour": 0.5}


@dataclass(frozen=True, eq=False)
class Pairs:
    """Vertices and where they should be seen.

    Attributes:
        vertices: (N,) int64.
        targets: (N, 2) float64, patch px.
        weights: (N,) float64, how much each counts.
    """

    vertices: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    def __add__(self, other: "Pairs") -> "Pairs":
        return Pairs(
            np.r_[self.vertices, other.vertices],
            np.vstack([self.targets, other.targets]),
            np.r_[self.weights, other.weights],
        )


def feature_pairs(mesh: Mesh, template: np.ndarray) -> Pairs:
    """Lids, lips, brows and nose: pairs that hold whatever the camera. `template` is (189, 2), patch px."""
    pairs: dict[int, tuple[np.ndarray, float]] = {}  # a corner belongs to two lines: the first says where it is
    for name, line in LINES.items():
        path = mesh.paths[name]
        for vertex, target in zip(path, along(template[list(line)], fractions_of(mesh.neutral[path])), strict=True):
            pairs.setdefault(int(vertex), (target, WEIGHTS["line"]))
    for side, chain in BROWS.items():
        vertices = mesh.landmarks[list(chain)]
        where = fractions_of(mesh.neutral[vertices])
        upper, lower = (along(template[list(line[side])], where) for line in (points.BROW_UPPER, points.BROW_LOWER))
        for vertex, target in zip(vertices, BROW_MIX * upper + (1 - BROW_MIX) * lower, strict=True):
            pairs[int(vertex)] = target, WEIGHTS["brow"]
    ridge = template[list(points.NOSE_RIDGES)].mean(axis=0)
    nose = dict(zip(mesh.landmarks[list(NOSE_RIDGE)], along(ridge, np.linspace(0, 1, 4)), strict=True))
    nose[mesh.landmarks[33]] = template[points.NOSE_BASE] + BELOW
    for side, landmark, wing in (("R", 31, mesh.wings[0]), ("L", 35, mesh.wings[1])):
        outer, inner = template[list(points.NOSTRILS[side])]
        nose[mesh.landmarks[landmark]] = NOSTRIL_MIX * outer + (1 - NOSTRIL_MIX) * inner + BELOW
        nose[wing] = template[points.NOSE_WINGS[side]]
    pairs |= {int(vertex): (target, WEIGHTS["nose"]) for vertex, target in nose.items()}
    targets, weights = zip(*pairs.values(), strict=True)
    return Pairs(np.array(list(pairs)), np.array(targets), np.array(weights))


def contour_pairs(
    mesh: Mesh, vertices: np.ndarray, rotation: np.ndarray, projected: np.ndarray, template: np.ndarray
) -> Pairs:
    """The jaw's outline: to each of its points the nearest vertex at which the face turns away from the viewer.

    Args:
        vertices: (V, 3), the person's neutral face.
        rotation: (3, 3), the camera's.
        projected: (V, 2), where they are seen, patch px.
        template: (189, 2), patch px.
    """
    size = mesh.face_size
    facing = normals(vertices[: mesh.regions["head"].stop] @ rotation.T, mesh.skull)[:size, 2]
    x, y, z = vertices[:size].T
    low, high = CONTOUR_NORMALS
    sides = (y < 1.0) & (z > -1) & ((np.abs(x) > 3) | (y < -6))  # below the eyes; neither nostrils nor lips
    candidates = np.flatnonzero((facing > low) & (facing < high) & sides)
    if not len(candidates):
        return Pairs(np.zeros(0, int), np.zeros((0, 2)), np.zeros(0))
    targets = along(template[list(points.JAW)], CONTOUR_SAMPLES)
    distance = np.linalg.norm(projected[candidates][None] - targets[:, None], axis=2)
    near = distance.min(axis=1) < CONTOUR_REACH_PX
    nearest = candidates[distance.argmin(axis=1)][near]
    return Pairs(nearest, targets[near], np.full(len(nearest), WEIGHTS["contour"]))
