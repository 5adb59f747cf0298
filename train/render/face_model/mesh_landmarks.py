"""Correspondences between vertices of the mesh and points of the template."""

from typing import NamedTuple

import numpy as np

from .mesh import Mesh
from .rasterizer import compute_normals
from .webmorph_template import FEATURE_LINES, NOSE_BASE, NOSE_RIDGES, NOSE_WINGS, NOSTRILS, measure_fractions, sample_line

BROWS = {"R": slice(17, 22), "L": slice(22, 27)}  # Multi-PIE landmarks, as are the numbers below
NOSE_RIDGE = slice(27, 31)
UPPER_BROW_SHARE = 0.6  # the mesh's brow runs between the template's upper and lower edge, nearer to the upper
OUTER_NOSTRIL_SHARE = 0.6
NOSE_OFFSET_PX = np.array([0.0, 3.0])  # the mesh's nose ends 3 px below the template's nostril points

CONTOUR_FRACTIONS = np.linspace(0.06, 0.94, 17)
CONTOUR_NORMAL_Z = (-0.05, 0.30)  # z of the normal where the face turns away from the viewer
MAX_CONTOUR_DISTANCE_PX = 45.0
LINE_WEIGHT, BROW_WEIGHT, NOSE_WEIGHT, CONTOUR_WEIGHT = 0.6, 0.8, 1.0, 0.5


class Correspondences(NamedTuple):
    """Vertices and their positions in the patch."""

    vertices: np.ndarray  # (N,) int64
    targets: np.ndarray  # (N, 2) float64, patch px
    weights: np.ndarray  # (N,) float64, in the least squares


def match_features(mesh: Mesh, template: np.ndarray) -> Correspondences:
    """Matches lids, lips, brows and nose, which does not depend on the camera. `template` is (189, 2), patch px."""
    matches: dict[int, tuple[np.ndarray, float]] = {}
    for name, line in mesh.feature_lines.items():  # matched by the fraction of their length
        targets = sample_line(template[FEATURE_LINES[name]], measure_fractions(mesh.neutral[line]))
        for vertex, target in zip(line, targets, strict=True):
            matches.setdefault(int(vertex), (target, LINE_WEIGHT))  # of the two lines at a corner the first counts
    for side, landmarks in BROWS.items():
        brow = mesh.landmarks[landmarks]
        fractions = measure_fractions(mesh.neutral[brow])
        edges = (template[FEATURE_LINES[f"{edge}_brow_{side}"]] for edge in ("upper", "lower"))
        upper, lower = (sample_line(edge, fractions) for edge in edges)
        targets = UPPER_BROW_SHARE * upper + (1 - UPPER_BROW_SHARE) * lower
        matches |= {int(vertex): (target, BROW_WEIGHT) for vertex, target in zip(brow, targets, strict=True)}
    ridge = template[NOSE_RIDGES].mean(axis=0)
    nose = dict(zip(mesh.landmarks[NOSE_RIDGE], sample_line(ridge, np.linspace(0, 1, 4)), strict=True))
    nose[mesh.landmarks[33]] = template[NOSE_BASE] + NOSE_OFFSET_PX
    for side, landmark, wing in zip("RL", (31, 35), mesh.nose_wings, strict=True):
        outer, inner = template[NOSTRILS[side]]
        nostril = OUTER_NOSTRIL_SHARE * outer + (1 - OUTER_NOSTRIL_SHARE) * inner
        nose[mesh.landmarks[landmark]] = nostril + NOSE_OFFSET_PX
        nose[wing] = template[NOSE_WINGS[side]]
    matches |= {int(vertex): (target, NOSE_WEIGHT) for vertex, target in nose.items()}
    targets, weights = zip(*matches.values(), strict=True)
    return Correspondences(np.array(list(matches)), np.array(targets), np.array(weights))


def match_contour(
    mesh: Mesh, vertices: np.ndarray, rotation: np.ndarray, projected: np.ndarray, template: np.ndarray
) -> Correspondences:
    """Matches points of the jaw's outline to the nearest vertices at which the face turns away from the viewer.

    Args:
        vertices: (V, 3), the person's neutral face.
        rotation: (3, 3), the camera's.
        projected: (V, 2), the vertices in patch px.
        template: (189, 2), patch px.
    """
    head = vertices[: mesh.regions["head"].stop] @ rotation.T
    normal_z = compute_normals(head, mesh.select_triangles("face", "head"))[: mesh.num_face_vertices, 2]
    x, y, z = vertices[: mesh.num_face_vertices].T
    low, high = CONTOUR_NORMAL_Z
    jaw = (y < 1.0) & (z > -1) & ((np.abs(x) > 3) | (y < -6))  # below the eyes; neither nostrils nor lips
    candidates = np.flatnonzero((normal_z > low) & (normal_z < high) & jaw)
    if not len(candidates):
        return Correspondences(np.zeros(0, int), np.zeros((0, 2)), np.zeros(0))
    targets = sample_line(template[FEATURE_LINES["jaw"]], CONTOUR_FRACTIONS)
    distances = np.linalg.norm(projected[candidates][None] - targets[:, None], axis=2)
    near = distances.min(axis=1) < MAX_CONTOUR_DISTANCE_PX
    nearest = candidates[distances.argmin(axis=1)][near]
    return Correspondences(nearest, targets[near], np.full(len(nearest), CONTOUR_WEIGHT))
