"""The two rows of teeth as smooth strips, on which `exprgan.models.teeth_texture` is laid: a strip's coordinates are what T learns to say.

The mesh's own teeth have facets and dark gaps. A strip runs along the front of a row and moves as the teeth near it do:
the upper one with the skull, the lower one with the jaw, both with the person's shape.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.spatial import cKDTree

from exprgan.models.teeth_texture import ROW_TOP_CM, ROW_BOTTOM_CM

from ..face_model.mesh import Mesh

ARCH = np.array([(0, 10.79), (0.4, 10.78), (0.8, 10.66), (1.4, 10.30), (1.8, 9.95), (2.2, 9.35), (2.6, 8.55), (3.0, 7.5)])
"""How far in front the upper row is, beside its middle; both in units of the mesh, which are about centimetres."""
EDGES = (-3.53, -3.41)
"""The height of both rows' edges in the mean face at rest."""
RECEDED = (0.0, 0.2)
"""How far the lower row stays behind the upper one."""
NEAR = 24
"""Vertices of teeth whose mean movement a point of a strip follows."""
MOVED = 0.2
"""The jaw's teeth move by more than this when it drops, the skull's by nothing."""
STEP = 0.125


@dataclass(frozen=True, eq=False)
class Row:
    """One row.

    Attributes:
        vertices: (N, 3), of the mean face at rest.
        places: (N, 2): how far from the middle, towards +x, and how far from the edges towards the gums.
        triangles: (T, 3) int32.
        near: (N, NEAR), the vertices of the mesh that each follows.
    """

    vertices: np.ndarray
    places: np.ndarray
    triangles: np.ndarray
    near: np.ndarray

    def of(self, mesh: Mesh, vertices: np.ndarray) -> np.ndarray:
        """Where the row is, (N, 3), when the mesh's vertices are there, (V, 3)."""
        return self.vertices + (vertices - mesh.neutral)[self.near].mean(1)


@cache
def rows_of(mesh: Mesh) -> tuple[Row, Row]:
    """The upper and the lower row."""
    teeth = np.arange(mesh.regions["teeth"].start, mesh.regions["teeth"].stop)
    of_jaw = np.linalg.norm(mesh.expressions["jawOpen"][teeth], axis=1) > MOVED
    return _row(mesh, teeth[~of_jaw], 0), _row(mesh, teeth[of_jaw], 1)


def _row(mesh: Mesh, teeth: np.ndarray, which: int) -> Row:
    along = np.arange(-ARCH[-1, 0], ARCH[-1, 0] + STEP / 2, STEP)
    deep = np.arange(ROW_TOP_CM, ROW_BOTTOM_CM + STEP / 2, STEP)
    up = 1 if which == 0 else -1
    x, v = (grid.ravel() for grid in np.meshgrid(along, deep))
    z = np.interp(np.abs(x), *ARCH.T) - RECEDED[which]
    vertices = np.stack([x, EDGES[which] + up * v, z], axis=1)
    index = np.arange(len(x)).reshape(len(deep), len(along))
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    triangles = np.vstack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])[:, ::up]
    near = teeth[cKDTree(mesh.neutral[teeth]).query(vertices, NEAR)[1]]
    return Row(vertices, np.stack([x, v], axis=1), np.ascontiguousarray(triangles, np.int32), near)
