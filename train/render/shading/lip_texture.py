"""The inner side of the lips, which a closed mouth hides: from where its texture is taken.

A hidden vertex of the lower lip is seen, by projection, on the upper lip, and would carry its texture. Its source is
instead mirrored at the line between the lips onto its own lip, and darkened as it comes out of the mouth.
"""

import numpy as np

from ..face_model import webmorph_template as points
from ..face_model.mesh import Mesh
from ..face_model.rasterizer import Raster
from ..face_model.webmorph_template import along

BAND_PX = 40.0  # from the line between the lips
HIDDEN_PX = 2.5  # behind what is seen there
CORNERS = 0.05  # the ends of the line, as parts of its length, stay as they are: mirroring tears them
MIRRORED, MOST_PX = 0.7, 9.0
DARKEST_PX = 14.0
MOVED_PX = 3.0  # lips that moved less show their inner side in part only: at rest the photo is all there is


def lips_moved(mesh: Mesh, before: np.ndarray, after: np.ndarray) -> float:
    """How far the lips are from rest, 0..1, from vertices in the patch (V, 3) in the neutral face and now."""
    inner = np.r_[mesh.paths["upper_lip_inner"], mesh.paths["lower_lip_inner"]]
    return min(1.0, float(np.linalg.norm((after - before)[inner, :2], axis=1).max()) / MOVED_PX)


def lip_sources(mesh: Mesh, seen: np.ndarray, template: np.ndarray, raster: Raster) -> tuple[np.ndarray, np.ndarray]:
    """Where each vertex of the face takes its texture from, once the lips move.

    Args:
        seen: (V, 3), the neutral face in the patch.
        template: (189, 2), patch px.
        raster: of the neutral face.

    Returns:
        (F, 2) float32, positions in the photo's patch: their own but for hidden parts of the lips;
        (F,) float32, 0..1, how far inside the mouth a vertex is.
    """
    size = mesh.face_size
    x, y, z = seen[:size].T
    inner = template[[list(points.UPPER_LIP_INNER), list(points.LOWER_LIP_INNER)]].mean(axis=0)
    line = along(inner, np.linspace(0, 1, 60))
    left, right = line[0, 0], line[-1, 0]
    line_y, margin = np.interp(x, line[:, 0], line[:, 1]), CORNERS * (right - left)
    band = (x > left + margin) & (x < right - margin) & (np.abs(y - line_y) < BAND_PX)

    height, width = raster.depth.shape
    column, row = np.clip(np.rint(x).astype(int), 1, width - 2), np.clip(np.rint(y).astype(int), 1, height - 2)
    nearest = np.max([raster.depth[row + i, column + j] for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)
    hidden = band & (nearest - z > HIDDEN_PX)

    drop = -mesh.expressions["jawOpen"][:size, 1]  # tells the lips apart: the lower one goes with the jaw
    middles = [drop[mesh.landmarks[list(lip)]].mean() for lip in ((61, 62, 63), (67, 66, 65))]
    lower = drop > np.mean(middles)

    source, depth = np.stack([x, y], axis=1), np.zeros(size, np.float32)
    for lip, side in ((hidden & ~lower & (y > line_y - 0.5), -1), (hidden & lower & (y < line_y + 0.5), 1)):
        beyond = np.abs(y[lip] - line_y[lip])
        source[lip, 1] = line_y[lip] + side * (1 + np.minimum(beyond * MIRRORED, MOST_PX))
        depth[lip] = np.clip(beyond / DARKEST_PX, 0, 1)
    return source.astype(np.float32), depth
