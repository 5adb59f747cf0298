"""Fits the mesh to a template: a camera, identity weights, and a correction of the residuals in the image plane.

A vertex X is projected to p = s R X + t (scaled orthography: the depth of a face is small against its distance), where X is
the mean face plus identity modes. Two steps alternate: the camera with the shape fixed (linear least squares, then the
nearest rotation), and the shape with the camera fixed (ridge regression: B'WB + r I). The residuals, about 2 % of the eye
distance, are corrected by a smooth shift r(X) in the image, a biharmonic spline (Carr et al. 2001). The same shift is added
in every expression, so the neutral face lies exactly on the photo.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from .mesh import Mesh
from .mesh_landmarks import Correspondences, match_contour, match_features

NUM_ITERATIONS = 12
FIRST_CONTOUR_ITERATION = 2  # the jaw's vertices are matched once the camera is about right
RIDGE_PX2 = 40.0  # a mode one standard deviation off costs as much as 40 px^2 of misfit
MAX_ROTATION_RAD = np.array((0.15, 0.2, 0.1))  # nearly coplanar points determine rotation badly, and portraits are frontal
SPLINE_SMOOTHING = 0.02  # smooths by a fraction of a px
SPLINE_AXES = np.array([1, 1, 0.4])  # depth counts less in a distance: what overlaps in the image shifts alike
# Around the head, where the shift is 0.
SPLINE_ANCHORS = np.array([(x, y, z) for x in (-14, 0, 14) for y in (-16, 16) for z in (-3, 3)], np.float64)
FLIP_Y = np.array([1.0, -1.0])  # y points up in the mesh, down in the image


@dataclass(frozen=True, eq=False)
class MeshFit:
    """The projection of a mesh into a patch."""

    identity: np.ndarray  # (M,) float64, weights of the identity modes
    rotation: np.ndarray  # (3, 3) float64
    scale: float  # px per mesh unit
    shift: np.ndarray  # (2,) float64, px, y up
    correction: np.ndarray  # (V, 2) float64, px, y down; the smooth shift of each vertex
    misfit_px: float  # root mean square distance of the points before the correction

    def project(self, points: np.ndarray, neighbours: np.ndarray | None = None) -> np.ndarray:
        """Projects vertices of the mesh, or other points.

        Args:
            points: (N, 3), mesh units.
            neighbours: (N, K), for points that are not vertices: the vertices whose mean correction each point gets.

        Returns:
            (N, 3): x and y in patch px (y down), z in px towards the viewer.
        """
        correction = self.correction if neighbours is None else self.correction[neighbours].mean(1)
        x_y = (self.scale * points @ self.rotation[:2].T + self.shift) * FLIP_Y + correction
        return np.concatenate([x_y, self.scale * points @ self.rotation[2:].T], axis=1)


def fit_mesh(mesh: Mesh, template: np.ndarray) -> MeshFit:
    """Fits the mesh to a template, (189, 2) in patch px."""
    features = match_features(mesh, template)
    matches, vertices = features, mesh.neutral
    for iteration in range(NUM_ITERATIONS):
        rotation, scale, shift = _fit_camera(vertices, matches)
        identity = _fit_identity(mesh, matches, rotation, scale, shift)
        vertices = mesh.apply_identity(identity)
        projected = (scale * vertices @ rotation[:2].T + shift) * FLIP_Y
        misfit = float(np.sqrt(((projected[matches.vertices] - matches.targets) ** 2).sum(1).mean()))
        if iteration >= FIRST_CONTOUR_ITERATION:
            contour = match_contour(mesh, vertices, rotation, projected, template)
            matches = Correspondences(*map(np.concatenate, zip(features, contour, strict=True)))
    correction = _fit_correction(vertices, matches, matches.targets - projected[matches.vertices])
    return MeshFit(identity, rotation, scale, shift, correction, misfit)


def _fit_camera(vertices: np.ndarray, matches: Correspondences) -> tuple[np.ndarray, float, np.ndarray]:
    """Fits rotation (3, 3), scale and shift (2,) with the shape fixed."""
    weights = matches.weights[:, None]
    source, target = vertices[matches.vertices], matches.targets * FLIP_Y
    source_mean, target_mean = ((points * weights).sum(0) / weights.sum() for points in (source, target))
    x, y = source - source_mean, target - target_mean
    affine = np.linalg.solve((x * weights).T @ x + 1e-6 * np.eye(3), (x * weights).T @ y).T
    rows = affine / np.linalg.norm(affine, axis=1, keepdims=True)
    u, _, v = np.linalg.svd(np.vstack([rows, np.cross(*rows)]))
    vector = Rotation.from_matrix(u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v).as_rotvec()
    rotation = Rotation.from_rotvec(np.clip(vector, -MAX_ROTATION_RAD, MAX_ROTATION_RAD)).as_matrix()
    rotated = x @ rotation[:2].T
    scale = float((weights * rotated * y).sum() / (weights * rotated * rotated).sum())
    return rotation, scale, target_mean - scale * rotation[:2] @ source_mean


def _fit_identity(
    mesh: Mesh, matches: Correspondences, rotation: np.ndarray, scale: float, shift: np.ndarray
) -> np.ndarray:
    """Fits identity weights (M,) by ridge regression with the camera fixed."""
    modes = len(mesh.identity)
    basis = np.einsum("ij,knj->nik", scale * rotation[:2], mesh.identity[:, matches.vertices]).reshape(-1, modes)
    mean = scale * mesh.neutral[matches.vertices] @ rotation[:2].T + shift
    residuals, weights = (matches.targets * FLIP_Y - mean).reshape(-1), np.repeat(matches.weights, 2)[:, None]
    return np.linalg.solve((basis * weights).T @ basis + RIDGE_PX2 * np.eye(modes), (basis * weights).T @ residuals)


def _fit_correction(vertices: np.ndarray, matches: Correspondences, residuals: np.ndarray) -> np.ndarray:
    """Computes a smooth field, (V, 2), that takes the residuals at the matched vertices and is 0 at the anchors.

    The kernel is -|r|, biharmonic in space; a constant is added to it, and the coefficients sum to zero.
    """
    known, first = np.unique(matches.vertices, return_index=True)
    centres = np.vstack([vertices[known], SPLINE_ANCHORS]) * SPLINE_AXES
    values = np.vstack([residuals[first], np.zeros((len(SPLINE_ANCHORS) + 1, 2))])
    n = len(centres)
    system = np.zeros((n + 1, n + 1))
    system[:n, :n] = SPLINE_SMOOTHING * np.eye(n) - cdist(centres, centres)
    system[:n, n] = system[n, :n] = 1
    coefficients = np.linalg.solve(system, values)
    return -cdist(vertices * SPLINE_AXES, centres) @ coefficients[:n] + coefficients[n]
