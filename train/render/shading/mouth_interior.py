"""What an open mouth shows, which the photo does not: two rows of painted teeth and gums, and the mesh's cavity, shaded."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from exprgan.models.teeth_texture import composite_teeth

from ..face_model.mesh import Mesh
from ..face_model.mesh_fitting import Fit
from ..face_model.rasterizer import Raster, normals, rasterise
from ..pixel_fields import blur, polygon, window_around
from .dental_arch import rows_of

COLOURS = {"mouth": (100, 44, 52), "gums": (196, 116, 122)}  # the tongue is of one piece with the gums
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
SMOOTHING_PX = 2.0
AROUND = 20  # px about the hole in which teeth are looked for: behind the lips too
FAR = 9.0  # cm: a place on no row
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


@dataclass(frozen=True, eq=False)
class Inside:
    """What was painted into a mouth, over the patch.

    Attributes:
        cover: (H, W) float32 in 0..1.
        places: (H, W, 4) float32, on the upper and the lower row of teeth, as `exprgan.models.teeth_texture.composite_teeth` takes them.
        known: (H, W, 2) bool, where each row's are known: on the row, behind the lips too.
    """

    cover: np.ndarray
    places: np.ndarray
    known: np.ndarray

    @classmethod
    def nothing(cls, shape: tuple[int, int]) -> "Inside":
        """Of a closed mouth."""
        return cls(np.zeros(shape, np.float32), np.zeros((*shape, 4), np.float32), np.zeros((*shape, 2), bool))


def fill(
    image: np.ndarray,
    hole: np.ndarray,
    at_rest: float,
    mesh: Mesh,
    fit: Fit,
    vertices: np.ndarray,
    skin: np.ndarray,
    exposure: float,
) -> Inside:
    """Paints the inside of the mouth into an image, in place.

    Args:
        image: (H, W, 3) float32, RGB.
        hole: from `opening`.
        at_rest: how many pixels the hole has in the neutral face.
        vertices: (V, 3), the face with its expression.
        skin: (3,), the skin's median colour: dim light makes teeth dim too.
        exposure: from `exposure_of`: skin alone does not tell dark skin from a dark photo.
    """
    inside = Inside.nothing(hole.shape)
    opened = min(1.0, (float(hole.sum()) - at_rest) / OPENED)
    if hole.sum() <= SMALLEST_HOLE or opened <= 0:
        return inside
    window = window_around(hole > 0, AROUND)
    hole = np.ascontiguousarray(hole[window])
    corner = np.array([window[1].start, window[0].start, 0])
    lip = fit.project(vertices)[mesh.landmarks[62], 2]

    def shaded(points: np.ndarray, triangles: np.ndarray, values: np.ndarray) -> tuple[Raster, np.ndarray, np.ndarray]:
        """What is seen of a surface in the window, its values there, and its light."""
        raster = rasterise(points - corner, triangles, hole.shape)
        turned = raster.interpolate(np.hstack([values, normals(points * [1, -1, 1], triangles)]))
        behind = np.clip(lip - raster.depth, 0, 400) / fit.scale
        light = AMBIENT + DIFFUSE * np.clip(turned[..., -3:] @ LIGHT, 0, 1)
        return raster, turned[..., :-3], light * np.exp(-FADE * np.clip(behind - FADE_FROM, 0, None))

    colours = np.zeros((len(vertices), 3))
    for region, colour in COLOURS.items():
        colours[mesh.regions[region]] = colour
    raster, cavity, light = shaded(fit.project(vertices), mesh.within(*COLOURS), colours)
    behind = np.where(raster.covered[..., None], cavity * light[..., None], np.array(BEHIND))
    rows = [shaded(fit.project_near(row.of(mesh, vertices), row.near), row.triangles, row.places) for row in rows_of(mesh)]
    places = np.concatenate([values for _, values, _ in rows], axis=2)
    known = np.stack([raster.covered for raster, _, _ in rows], axis=2)
    (_, upper, above), (_, _, below) = rows
    white = np.where(known[..., 0] & (upper[..., 1] > 0.1), above, np.where(known[..., 1], below, above))
    tint = (skin / (skin @ LUMA)) ** TINT
    brightness = exposure * (0.4 + 0.6 * np.clip(skin / TYPICAL_SKIN, 0.55, 1.1).mean())
    lit = (_occlusion(hole) * brightness)[..., None] * tint
    behind = cv2.GaussianBlur((behind * lit / 255).astype(np.float32), (0, 0), SMOOTHING_PX)
    lit = cv2.GaussianBlur((white[..., None] * lit).astype(np.float32), (0, 0), SMOOTHING_PX)
    far = np.where(np.repeat(known, 2, axis=2), places, np.float32(FAR))
    tensors = (torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1), np.float32))[None] for x in (behind, lit, far))
    painted = composite_teeth(*tensors, per_cm=fit.scale)[0].permute(1, 2, 0).numpy() * 255
    alpha = np.clip(blur(cv2.dilate(hole, np.ones((3, 3), np.uint8)), 1.2), 0, 1) * opened
    image[window] += (painted - image[window]) * alpha[..., None]
    inside.cover[window], inside.places[window], inside.known[window] = alpha, places, known
    return inside


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
