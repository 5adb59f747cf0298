"""Fits the mesh to a template: a camera, the person's shape, and what is then still missing in the picture's plane.

A vertex X is seen at p = s R X + t (scaled orthography: a portrait's depth is small against its distance), where X is
the mean face plus identity modes. Alternately the camera is solved with the shape fixed (linear least squares, then
the nearest rotation) and the shape with the camera fixed (ridge regression: B'WB + r I). What remains, about 2 % of
the eye distance, is a smooth shift of the picture: r(X), a biharmonic spline (Carr et al. 2001) through the residuals.
The same shift is added in every expression, so the neutral face lies exactly on the photo.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from .mesh import Mesh
from .mesh_landmarks import Pairs, contour_pairs, feature_pairs

ROUNDS = 12
CONTOUR_FROM = 2  # the jaw's vertices are sought once the camera is about right
RIDGE_PX2 = 40.0  # a mode one standard deviation off costs as much as 40 px^2 of misfit
MOST_TURNED = (0.15, 0.2, 0.1)  # rad; the points lie nearly in a plane and would fix a turn badly: portraits are frontal
SPLINE_NUGGET = 0.02  # smooths by a fraction of a px
SPLINE_DEPTH = 0.4  # depth counts less in a distance: what overlaps in the picture shifts alike
ANCHORS = np.array([(x, y, z) for x in (-14, 0, 14) for y in (-16, 16) for z in (-3, 3)], np.float64)  # no shift there
DOWN = np.array([1.0, -1.0])  # the mesh's y points up, the picture's down


@dataclass(frozen=True, eq=False)
class Fit:
    """Where a mesh is seen in a patch.

    Attributes:
        identity: (M,) float64, weights of the identity modes.
        rotation: (3, 3) float64.
        scale: px per unit of the mesh.
        shift: (2,) float64, px, y up.
        correction: (V, 2) float64, px, y down; the smooth shift of each vertex.
        misfit_px: root mean square distance of the points before the correction.
    """

    identity: np.ndarray
    rotation: np.ndarray
    scale: float
    shift: np.ndarray
    correction: np.ndarray
    misfit_px: float

    def project(self, vertices: np.ndarray) -> np.ndarray:
        """(V, 3) in mesh units -> (V, 3): x and y in patch px (y down), z in px towards the viewer."""
        seen = (self.scale * vertices @ self.rotation[:2].T + self.shift) * DOWN + self.correction
        return np.concatenate([seen, self.scale * vertices @ self.rotation[2:].T], axis=1)

    def project_near(self, points: np.ndarray, near: np.ndarray) -> np.ndarray:
        """The same of (N, 3) points that are no vertices: shifted as the mean of (N, K) vertices near each is."""
        seen = (self.scale * points @ self.rotation[:2].T + self.shift) * DOWN + self.correction[near].mean(1)
        return np.concatenate([seen, self.scale * points @ self.rotation[2:].T], axis=1)


def fit(mesh: Mesh, template: np.ndarray) -> Fit:
    """Fits the mesh to (189, 2) points in patch px."""
    features = feature_pairs(mesh, template)
    pairs, identity, vertices = features, np.zeros(len(mesh.identity)), mesh.neutral
    for step in range(ROUNDS):
        rotation, scale, shift = _camera(vertices, pairs)
        identity = _shape(mesh, pairs, rotation, scale, shift)
        vertices = mesh.of(identity)
        seen = (scale * vertices @ rotation[:2].T + shift) * DOWN
        misfit = float(np.sqrt(((seen[pairs.vertices] - pairs.targets) ** 2).sum(1).mean()))
        if step >= CONTOUR_FROM:
            pairs = features + contour_pairs(mesh, vertices, rotation, seen, template)
    correction = _spline(vertices, pairs, pairs.targets - seen[pairs.vertices])
    return Fit(identity, rotation, scale, shift, correction, misfit)


def _camera(vertices: np.ndarray, pairs: Pairs) -> tuple[np.ndarray, float, np.ndarray]:
    """Rotation (3, 3), scale and shift (2,) by which vertices are seen nearest to their targets."""
    weights = pairs.weights[:, None]
    here, there = vertices[pairs.vertices], pairs.targets * DOWN
    centre, centre_there = ((values * weights).sum(0) / weights.sum() for values in (here, there))
    x, y = here - centre, there - centre_there
    affine = np.linalg.solve((x * weights).T @ x + 1e-6 * np.eye(3), (x * weights).T @ y).T
    rows = affine / np.linalg.norm(affine, axis=1, keepdims=True)
    u, _, v = np.linalg.svd(np.vstack([rows, np.cross(*rows)]))
    nearest = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
    vector = Rotation.from_matrix(nearest).as_rotvec()
    rotation = Rotation.from_rotvec(np.clip(vector, -np.array(MOST_TURNED), MOST_TURNED)).as_matrix()
    turned = x @ rotation[:2].T
    scale = float((weights * turned * y).sum() / (weights * turned * turned).sum())
    return rotation, scale, centre_there - scale * rotation[:2] @ centre


def _shape(mesh: Mesh, pairs: Pairs, rotation: np.ndarray, scale: float, shift: np.ndarray) -> np.ndarray:
    """Identity weights (M,) by ridge regression, the camera given."""
    modes = len(mesh.identity)
    seen = np.einsum("ij,knj->nik", scale * rotation[:2], mesh.identity[:, pairs.vertices]).reshape(-1, modes)
    mean = scale * mesh.neutral[pairs.vertices] @ rotation[:2].T + shift
    residual, weights = (pairs.targets * DOWN - mean).reshape(-1), np.repeat(pairs.weights, 2)[:, None]
    return np.linalg.solve((seen * weights).T @ seen + RIDGE_PX2 * np.eye(modes), (seen * weights).T @ residual)


def _spline(vertices: np.ndarray, pairs: Pairs, residuals: np.ndarray) -> np.ndarray:
    """(V, 2): the smooth field that has the residuals at the pairs' vertices and nothing at the anchors.

    The kernel is -|r|, biharmonic in space; a constant is added to it, whose coefficients then sum to zero.
    """
    flat = np.array([1, 1, SPLINE_DEPTH])
    known, first = np.unique(pairs.vertices, return_index=True)
    centres = np.vstack([vertices[known], ANCHORS]) * flat
    values = np.vstack([residuals[first], np.zeros((len(ANCHORS) + 1, 2))])
    n = len(centres)
    system = np.zeros((n + 1, n + 1))
    system[:n, :n] = SPLINE_NUGGET * np.eye(n) - cdist(centres, centres)
    system[:n, n] = system[n, :n] = 1
    solved = np.linalg.solve(system, values)
    return -cdist(vertices * flat, centres) @ solved[:n] + solved[n]
