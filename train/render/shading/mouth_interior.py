"""The inside of an open mouth, which the photo does not show: two rows of teeth, the tongue and a dark cavity."""

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch

from exprgan.models.teeth_texture import composite_teeth
from exprgan.photo.image_io import LUMA

from ..face_model.mesh import Mesh
from ..face_model.mesh_fitting import MeshFit
from ..face_model.rasterizer import Raster, compute_normals, rasterise
from ..pixel_fields import blur, padded_bounds, polygon_mask
from .dental_arch import build_rows, follow_jaw
from .mouth_look import MouthLook, TeethLook
from .teeth_drawing import draw_rows
from .tongue import build_surface, draw_tongue

REGION_RGB = {"mouth": (100, 44, 52), "gums": (196, 116, 122)}  # the tongue is part of the gums
FLOOR_RGB = (150, 82, 88)  # of the gums below a tongue that is drawn
BACKGROUND_RGB = (26.0, 12.0, 14.0)
LIGHT_DIRECTION = np.array([0, 0.35, 0.94])
AMBIENT, DIFFUSE = 0.55, 0.55
TONGUE_FADE = 0.09  # likewise; its slope scatters light deeper into the mouth
FADE, FADE_START = 0.20, 0.9  # per mesh unit, from this depth behind the upper lip
UPPER_LIP_PX, BORDER_PX, CORNER_SHADE = 7.0, 4.0, 0.45  # how far lips shade what is behind them
OPEN_SHADE = 0.6
TINT = 0.15
TYPICAL_SKIN = np.array([200.0, 155.0, 135.0])  # of the photo for whose light the colours above were chosen
WELL_LIT_LEVEL, MIN_EXPOSURE = 130.0, 0.3  # luma of the whites; teeth in a dark face would glow
SMOOTHING_PX = 2.0
UNDERBITE_CM = 0.2  # advance of the lower row from which it is in front of the upper one
BORDER_BLUR_PX, CONTACT_SHADE, CONTACT_PX = 0.9, 0.22, 4.0
MARGIN_PX = 20  # around the opening, within which teeth are located: behind the lips too
OUTSIDE_CM = 9.0  # a uv coordinate on no row
MIN_AREA_PX2 = 12
FULL_AREA_PX2 = 60.0  # growth of the opening at which it is painted in full: a gap in the neutral photo stays as it is


def find_mouth_opening(mesh: Mesh, projected: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Finds the pixels between the lips that no skin covers: (H, W) float32, 0 or 1."""
    lips = np.r_[mesh.feature_lines["upper_lip_outer"], mesh.feature_lines["lower_lip_outer"][::-1]]
    opening = ~covered & (blur(polygon_mask(projected[lips, :2], covered.shape), 1) > 0.3)
    return cv2.morphologyEx(opening.astype(np.float32), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))


def estimate_exposure(whites: np.ndarray) -> float:
    """Estimates how well a face is lit, `MIN_EXPOSURE`..1, from the whites of its eyes, (2, 3) in 0..255."""
    return float(np.clip((whites @ LUMA).max() / WELL_LIT_LEVEL, MIN_EXPOSURE, 1))


@dataclass(frozen=True, eq=False)
class MouthInterior:
    """What was painted into a mouth, over the patch."""

    alpha: np.ndarray  # (H, W) float32 in 0..1
    uv: np.ndarray  # (H, W, 4) float32, coordinates on the upper and the lower row of teeth, as for `composite_teeth`
    known: np.ndarray  # (H, W, 2) bool, where each row's coordinates are known: on the row, behind the lips too

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> "MouthInterior":
        """Returns the interior of a closed mouth."""
        return cls(np.zeros(shape, np.float32), np.zeros((*shape, 4), np.float32), np.zeros((*shape, 2), bool))


def paint_mouth_interior(image: np.ndarray, opening: np.ndarray, neutral_area: float, mesh: Mesh, fit: MeshFit,
                         vertices: np.ndarray, skin: np.ndarray, exposure: float,
                         look: MouthLook) -> MouthInterior:  # fmt: skip
    """Paints the inside of the mouth into an image, in place.

    Args:
        image: (H, W, 3) float32, RGB.
        opening: from `find_mouth_opening`.
        neutral_area: of the opening in the neutral face, px^2.
        vertices: (V, 3), the face with its expression.
        skin: (3,), the median colour of the skin: dim light makes teeth dim too.
        exposure: from `estimate_exposure`: skin alone does not distinguish dark skin from a dark photo.
        look: the teeth and the tongue.
    """
    interior = MouthInterior.empty(opening.shape)
    opacity = min(1.0, (float(opening.sum()) - neutral_area) / FULL_AREA_PX2)
    if opening.sum() <= MIN_AREA_PX2 or opacity <= 0:
        return interior
    window = padded_bounds(opening > 0, MARGIN_PX)
    opening = np.ascontiguousarray(opening[window])
    origin = np.array([window[1].start, window[0].start, 0])
    projected = fit.project(vertices)
    lip_z = projected[mesh.landmarks[62], 2]

    def fade(depth: np.ndarray, rate: float) -> np.ndarray:
        """Computes the share of the light that reaches a depth in px."""
        behind = np.clip(lip_z - depth, 0, 400) / fit.scale
        return np.exp(-rate * np.clip(behind - FADE_START, 0, None))

    def render(points: np.ndarray, triangles: np.ndarray, values: np.ndarray) -> tuple[Raster, np.ndarray, np.ndarray]:
        """Rasterises a surface in the window: the raster, its interpolated values and its light."""
        raster = rasterise(points - origin, triangles, opening.shape)
        pixels = raster.interpolate(np.hstack([values, compute_normals(points * [1, -1, 1], triangles)]))
        light = AMBIENT + DIFFUSE * np.clip(pixels[..., -3:] @ LIGHT_DIRECTION, 0, 1)
        return raster, pixels[..., :-3], light * fade(raster.depth, FADE)

    colours = np.zeros((len(vertices), 3))
    for region, rgb in REGION_RGB.items():
        colours[mesh.regions[region]] = FLOOR_RGB if look.tongue and region == "gums" else rgb
    raster, cavity, light = render(projected, mesh.select_triangles(*REGION_RGB), colours)
    background = np.where(raster.covered[..., None], cavity * light[..., None], np.array(BACKGROUND_RGB))
    shifts = (0, -look.teeth.upper_drop_cm, 0), (0, look.teeth.lower_rise_cm, look.teeth.lower_advance_cm)
    strips = ((fit.project(row.follow(mesh, vertices) + shift, row.neighbours), row.triangles, row.uv)
              for row, shift in zip(build_rows(mesh), shifts, strict=True))  # fmt: skip
    rows = [render(*strip) for strip in strips]
    known = np.stack([raster.covered for raster, _, _ in rows], axis=2)
    (_, upper_uv, upper_light), (_, lower_uv, lower_light) = rows
    uv = np.concatenate([upper_uv, lower_uv], axis=2)
    on_upper = known[..., 0] & (upper_uv[..., 1] > 0.1)
    light = np.where(on_upper, upper_light, np.where(known[..., 1], lower_light, upper_light))
    tint = (skin / (skin @ LUMA)) ** TINT
    brightness = exposure * look.light * (0.4 + 0.6 * np.clip(skin / TYPICAL_SKIN, 0.55, 1.1).mean())
    ambient = (_compute_occlusion(opening) * brightness)[..., None] * tint
    background = cv2.GaussianBlur((background * ambient / 255).astype(np.float32), (0, 0), SMOOTHING_PX)
    shading = cv2.GaussianBlur((light[..., None] * ambient).astype(np.float32), (0, 0), SMOOTHING_PX)
    texture_uv = np.where(np.repeat(known, 2, axis=2), uv, np.float32(OUTSIDE_CM))
    if look.tongue:
        points, coordinates, triangles = build_surface(look.tongue)
        points = fit.project(*follow_jaw(mesh, vertices, points)) - origin
        tongue = draw_tongue(look.tongue, points, coordinates, triangles, opening.shape)
        lit = (tongue.rgb * fade(tongue.depth, TONGUE_FADE)[..., None] * ambient / 255).astype(np.float32)
        in_front = tongue.covered & (tongue.depth > np.maximum(*(raster.depth for raster, _, _ in rows)))
        background = _lay_over(background, lit, tongue.covered)
        painted = _composite(background, shading, texture_uv, look.teeth, fit.scale)
        shade = 1 - CONTACT_SHADE * blur(in_front.astype(np.float32), CONTACT_PX)
        painted = _lay_over(painted * shade[..., None], lit, in_front)
    else:
        painted = _composite(background, shading, texture_uv, look.teeth, fit.scale)
    painted = painted * 255
    alpha = np.clip(blur(cv2.dilate(opening, np.ones((3, 3), np.uint8)), 1.2), 0, 1) * opacity
    image[window] += (painted - image[window]) * alpha[..., None]
    interior.alpha[window], interior.uv[window], interior.known[window] = alpha, uv, known
    return interior


def _composite(background: np.ndarray, shading: np.ndarray, uv: np.ndarray, teeth: TeethLook,
               px_per_cm: float) -> np.ndarray:  # fmt: skip
    """Draws the rows of teeth over the background: (H, W, 3) float32 in 0..1."""
    rows = partial(draw_rows, teeth)
    if teeth.lower_advance_cm >= UNDERBITE_CM:  # `composite_teeth` draws the first row over the second
        uv, rows = uv[..., [2, 3, 0, 1]], lambda level: draw_rows(teeth, level).flip(0)
    fields = (np.ascontiguousarray(field.transpose(2, 0, 1), np.float32) for field in (background, shading, uv))
    tensors = (torch.from_numpy(field)[None] for field in fields)
    return composite_teeth(*tensors, px_per_cm=px_per_cm, rows=rows)[0].permute(1, 2, 0).numpy()


def _lay_over(picture: np.ndarray, layer: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Lays pixels of a layer over a picture, with soft borders."""
    soft = blur(mask.astype(np.float32), BORDER_BLUR_PX)[..., None]
    return picture + (layer - picture) * soft


def _compute_occlusion(opening: np.ndarray) -> np.ndarray:
    """Computes how much light passes the lips: least below the upper lip and in the corners."""
    rows, columns = np.nonzero(opening)
    top = np.full(opening.shape[1], np.inf)
    np.minimum.at(top, columns, rows)
    below = np.clip(np.arange(opening.shape[0])[:, None] - top[None], 0, None)
    from_border = cv2.distanceTransform((opening > 0).astype(np.uint8), cv2.DIST_L2, 5)
    shade = 1.0
    for distance, reach in ((below, UPPER_LIP_PX), (from_border, BORDER_PX)):
        shade = shade * (OPEN_SHADE + (1 - OPEN_SHADE) * (1 - np.exp(-distance / reach)))
    half = max(np.ptp(columns), 4) / 2
    sideways = np.clip(np.abs(np.arange(opening.shape[1]) - columns.min() - half) / half, 0, 1)
    return shade * (1 - CORNER_SHADE * sideways**3)
