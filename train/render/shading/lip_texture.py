"""Texture of the inner side of the lips, which a closed mouth hides.

A hidden vertex of the lower lip projects onto the upper lip and would carry its texture. Its source is instead mirrored at
the line between the lips onto its own lip, and darkened as it comes out of the mouth.
"""

import numpy as np

from ..face_model.mesh import Mesh
from ..face_model.rasterizer import Raster
from ..face_model.webmorph_template import FEATURE_LINES, sample_line

BAND_PX = 40.0  # distance from the line between the lips
HIDDEN_PX = 2.5  # depth behind the visible surface
END_MARGIN = 0.05  # the ends of the line, as parts of its length, stay as they are: mirroring tears them
MIRRORING, MAX_MIRRORED_PX = 0.7, 9.0
FULL_DEPTH_PX = 14.0
FULL_MOTION_PX = 3.0  # lips that moved by less show their inner side in part only, so that at rest the photo is unchanged


def measure_lip_motion(mesh: Mesh, neutral: np.ndarray, projected: np.ndarray) -> float:
    """Measures how far the lips moved from rest, 0..1, from vertices (V, 3) in the patch."""
    inner = np.r_[mesh.feature_lines["upper_lip_inner"], mesh.feature_lines["lower_lip_inner"]]
    return min(1.0, float(np.linalg.norm((projected - neutral)[inner, :2], axis=1).max()) / FULL_MOTION_PX)


def compute_lip_sources(
    mesh: Mesh, projected: np.ndarray, template: np.ndarray, raster: Raster
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the texture coordinates of the face's vertices for lips in motion.

    Args:
        projected: (V, 3), the neutral face in the patch.
        template: (189, 2), patch px.
        raster: of the neutral face.

    Returns:
        (F, 2) float32, positions in the patch: those of the vertices themselves, except for hidden parts of the lips;
        (F,) float32, 0..1, how far inside the mouth a vertex is.
    """
    size = mesh.num_face_vertices
    x, y, z = projected[:size].T
    inner = template[[FEATURE_LINES["upper_lip_inner"], FEATURE_LINES["lower_lip_inner"]]].mean(axis=0)
    line = sample_line(inner, np.linspace(0, 1, 60))
    left, right = line[0, 0], line[-1, 0]
    line_y, margin = np.interp(x, line[:, 0], line[:, 1]), END_MARGIN * (right - left)
    band = (x > left + margin) & (x < right - margin) & (np.abs(y - line_y) < BAND_PX)

    height, width = raster.depth.shape
    column, row = np.clip(np.rint(x).astype(int), 1, width - 2), np.clip(np.rint(y).astype(int), 1, height - 2)
    nearest = np.max([raster.depth[row + i, column + j] for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)
    hidden = band & (nearest - z > HIDDEN_PX)

    drop = -mesh.expressions["jawOpen"][:size, 1]  # separates the lips: the lower one moves with the jaw
    lower = drop > np.mean([drop[mesh.landmarks[[*lip]]].mean() for lip in ((61, 62, 63), (67, 66, 65))])

    source, depth = np.stack([x, y], axis=1), np.zeros(size, np.float32)
    for lip, side in ((hidden & ~lower & (y > line_y - 0.5), -1), (hidden & lower & (y < line_y + 0.5), 1)):
        distance = np.abs(y[lip] - line_y[lip])
        source[lip, 1] = line_y[lip] + side * (1 + np.minimum(distance * MIRRORING, MAX_MIRRORED_PX))
        depth[lip] = np.clip(distance / FULL_DEPTH_PX, 0, 1)
    return source.astype(np.float32), depth
