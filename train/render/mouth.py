"""What an open mouth shows, which the photo does not: teeth, gums and tongue of the mesh, shaded."""

import cv2
import numpy as np

from .fields import blur, polygon, window_around
from .fit import Fit
from .mesh import Mesh
from .raster import normals, rasterise

COLOURS = {"mouth": (100, 44, 52), "gums": (196, 116, 122), "teeth": (248, 240, 227)}
BEHIND = (26.0, 12.0, 14.0)
LIGHT = np.array([0, 0.35, 0.94])
AMBIENT, DIFFUSE = 0.55, 0.55
FADE, FADE_FROM = 0.20, 0.9  # per mesh unit, from so far behind the upper lip
UPPER_LIP_PX, BORDER_PX, CORNERS = 7.0, 4.0, 0.45  # how far lips shade what is behind them
OPEN_SHADE = 0.6
TINT = 0.15
LUMA = np.array([0.299, 0.587, 0.114])
TYPICAL_SKIN = np.array([200.0, 155.0, 135.0])  # of the photo in whose light the colours above look right
WELL_LIT, DARKEST = 130.0, 0.3  # level of the whites; teeth in a dark face would glow
SMOOTHING_PX = (2.4, 1.0)  # across and down: hides the gaps between the mesh's teeth
SMALLEST_HOLE = 12  # px
OPENED = 60.0  # px by which the hole has to grow to be painted in full: a gap in the neutral photo shows what it shows


def opening(mesh: Mesh, seen: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Pixels between the lips that no skin covers, (H, W) float32, 0 or 1."""
    lips = np.r_[mesh.paths["upper_lip_outer"], mesh.paths["lower_lip_outer"][::-1]]
    hole = ~covered & (blur(polygon(seen[lips, :2], covered.shape), 1) > 0.3)
    return cv2.morphologyEx(hole.astype(np.float32), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))


def exposure_of(whites: np.ndarray) -> float:
    """How well a face is lit, `DARKEST`..1, by the whites of its eyes, (2, 3) in 0..255."""
    return float(np.clip((whites @ LUMA).max() / WELL_LIT, DARKEST, 1))


def fill(
    image: np.ndarray,
    invented: np.ndarray,
    hole: np.ndarray,
    at_rest: float,
    mesh: Mesh,
    fit: Fit,
    vertices: np.ndarray,
    skin: np.ndarray,
    exposure: float,
) -> None:
    """Paints the inside of the mouth into an image, in place.

    Args:
        image: (H, W, 3) float32, RGB.
        invented: (H, W) float32, set to what was painted.
        hole: from `opening`.
        at_rest: how many pixels the hole has in the neutral face.
        vertices: (V, 3), the face with its expression.
        skin: (3,), the skin's median colour: dim light makes teeth dim too.
        exposure: from `exposure_of`: skin alone does not tell dark skin from a dark photo.
    """
    opened = min(1.0, (float(hole.sum()) - at_rest) / OPENED)
    if hole.sum() <= SMALLEST_HOLE or opened <= 0:
        return
    window = window_around(hole > 0, 10)
    hole = np.ascontiguousarray(hole[window])
    seen = fit.project(vertices)
    lip = seen[mesh.landmarks[62], 2]
    seen[:, :2] -= window[1].start, window[0].start
    colours = np.zeros((len(vertices), 3))
    for region, colour in COLOURS.items():
        colours[mesh.regions[region]] = colour
    raster = rasterise(seen, mesh.oral, hole.shape)
    values = raster.interpolate(np.hstack([colours, normals(vertices @ fit.rotation.T, mesh.oral)]))
    behind = np.clip(lip - raster.depth, 0, 400) / fit.scale
    shade = AMBIENT + DIFFUSE * np.clip(values[..., 3:] @ LIGHT, 0, 1)
    shade = shade * np.exp(-FADE * np.clip(behind - FADE_FROM, 0, None))
    colour = np.where(raster.covered[..., None], values[..., :3] * shade[..., None], np.array(BEHIND))
    colour = colour * (skin / (skin @ LUMA)) ** TINT
    brightness = exposure * (0.4 + 0.6 * np.clip(skin / TYPICAL_SKIN, 0.55, 1.1).mean())
    painted = (colour * (_occlusion(hole) * brightness)[..., None]).astype(np.float32)
    painted = cv2.GaussianBlur(painted, (0, 0), sigmaX=SMOOTHING_PX[0], sigmaY=SMOOTHING_PX[1])
    alpha = np.clip(blur(cv2.dilate(hole, np.ones((3, 3), np.uint8)), 1.2), 0, 1) * opened
    image[window] += (painted - image[window]) * alpha[..., None]
    invented[window] = np.maximum(invented[window], alpha)


def _occlusion(hole: np.ndarray) -> np.ndarray:
    """How much light gets past the lips: least below the upper lip and in the corners."""
    rows, columns = np.nonzero(hole)
    top = np.full(hole.shape[1], np.inf)
    np.minimum.at(top, columns, rows)
    below = np.clip(np.arange(hole.shape[0])[:, None] - top[None], 0, None)
    inside = cv2.distanceTransform((hole > 0).astype(np.uint8), cv2.DIST_L2, 5)
    shade = 1.0
    for distance, reach in ((below, UPPER_LIP_PX), (inside, BORDER_PX)):
        shade = shade * (OPEN_SHADE + (1 - OPEN_SHADE) * (1 - np.exp(-distance / reach)))
    half = max(np.ptp(columns), 4) / 2
    sideways = np.clip(np.abs(np.arange(hole.shape[1]) - columns.min() - half) / half, 0, 1)
    return shade * (1 - CORNERS * sideways**3)
