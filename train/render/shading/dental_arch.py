"""The two rows of teeth as smooth strips with uv coordinates for `exprgan.models.teeth_texture`, which T learns to predict.

The teeth of the mesh have facets and dark gaps. A strip runs along the front of a row and moves with the teeth near it: the
upper one with the skull, the lower one with the jaw, both with the person's shape.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.spatial import cKDTree

from exprgan.models.teeth_texture import ROW_BOTTOM_CM, ROW_TOP_CM

from ..face_model.mesh import Mesh

ARCH = np.array([(0, 10.79), (0.4, 10.78), (0.8, 10.66), (1.4, 10.30), (1.8, 9.95), (2.2, 9.35), (2.6, 8.55), (3.0, 7.5)])
"""Distance from the midline and z of the upper row, both in mesh units, which are about centimetres."""
EDGE_Y = (-3.53, -3.41)  # of the upper and lower row in the mean face at rest
RECESS_Z = (0.0, 0.2)  # by which each row is behind `ARCH`
NUM_NEIGHBOURS = 24  # vertices of teeth whose mean displacement a point of a strip follows
MIN_JAW_DISPLACEMENT = 0.2  # when the jaw drops, its teeth move by more than this and those of the skull not at all
GRID_STEP = 0.125


@dataclass(frozen=True, eq=False)
class TeethRow:
    """One row of teeth."""

    vertices: np.ndarray  # (N, 3), in the mean face at rest
    uv: np.ndarray  # (N, 2): distance from the midline, towards +x, and from the edges towards the gums
    triangles: np.ndarray  # (T, 3) int32
    neighbours: np.ndarray  # (N, NUM_NEIGHBOURS), the vertices of the mesh that each vertex follows

    def follow(self, mesh: Mesh, vertices: np.ndarray) -> np.ndarray:
        """Moves the row, (N, 3), with the mesh, whose vertices are now at (V, 3)."""
        return self.vertices + (vertices - mesh.neutral)[self.neighbours].mean(1)


def follow_jaw(mesh: Mesh, vertices: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moves points of the mean face at rest with the jaw, whose motion is fitted to its teeth.

    Args:
        vertices: (V, 3), the face with its expression.
        points: (N, 3).

    Returns:
        (N, 3), the points; (N, NUM_NEIGHBOURS), the nearest vertices of the jaw's teeth.
    """
    jaw = _select_teeth(mesh)[1]
    motion = np.linalg.lstsq(np.c_[mesh.neutral[jaw], np.ones(len(jaw))], vertices[jaw], rcond=None)[0]
    return np.c_[points, np.ones(len(points))] @ motion, jaw[cKDTree(mesh.neutral[jaw]).query(points, NUM_NEIGHBOURS)[1]]


@cache
def build_rows(mesh: Mesh) -> tuple[TeethRow, TeethRow]:
    """Builds the upper and the lower row."""
    upper, lower = _select_teeth(mesh)
    return _build_row(mesh, upper, 0), _build_row(mesh, lower, 1)


def _select_teeth(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Selects the vertices of the skull's teeth and of the jaw's."""
    teeth = np.arange(mesh.regions["teeth"].start, mesh.regions["teeth"].stop)
    in_jaw = np.linalg.norm(mesh.expressions["jawOpen"][teeth], axis=1) > MIN_JAW_DISPLACEMENT
    return teeth[~in_jaw], teeth[in_jaw]


def _build_row(mesh: Mesh, teeth: np.ndarray, row: int) -> TeethRow:
    columns = np.arange(-ARCH[-1, 0], ARCH[-1, 0] + GRID_STEP / 2, GRID_STEP)
    rows = np.arange(ROW_TOP_CM, ROW_BOTTOM_CM + GRID_STEP / 2, GRID_STEP)
    up = 1 if row == 0 else -1
    u, v = (grid.ravel() for grid in np.meshgrid(columns, rows))
    vertices = np.stack([u, EDGE_Y[row] + up * v, np.interp(np.abs(u), *ARCH.T) - RECESS_Z[row]], axis=1)
    index = np.arange(len(u)).reshape(len(rows), len(columns))
    a, b, c, d = (corner.ravel() for corner in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    triangles = np.vstack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])[:, ::up]
    neighbours = teeth[cKDTree(mesh.neutral[teeth]).query(vertices, NUM_NEIGHBOURS)[1]]
    return TeethRow(vertices, np.stack([u, v], axis=1), np.ascontiguousarray(triangles, np.int32), neighbours)
