"""Renders one person's photo with any action units at work, by the mesh fitted to it."""

from dataclasses import dataclass

import numpy as np

from .face_model.action_units import Anatomy, UnitWeights, compute_displacement
from .face_model.canonical_frame import PATCH_SHAPE, Patch
from .face_model.mesh import Mesh
from .face_model.mesh_fitting import fit_mesh
from .face_model.rasterizer import Raster, compute_normals, rasterise
from .face_model.webmorph_template import BROW_LOWER_EDGE, NOSE_TIP, PUPILS, UPPER_LID_MIDDLES
from .pixel_fields import blur, pixel_grid, polygon_mask, sample, warp
from .shading import relighting
from .shading.background_warp import BackgroundWarp
from .shading.eye_layer import OPENING_RANGE, EyeLayer, measure_mesh_opening
from .shading.lip_texture import compute_lip_sources, measure_lip_motion
from .shading.mouth_interior import MouthInterior, estimate_exposure, find_mouth_opening, paint_mouth_interior
from .shading.wrinkles import Wrinkles, to_map_px

BROW_GAP_PX = 26.0  # of a typical face, from the upper lid to the brow's lower edge
BROW_GAP_RANGE = (0.5, 1.1)
CORNER_RISE_RANGE = (0.0, 0.08)  # corners that hang at rest do not reduce the pull: they are part of the person's looks


@dataclass(frozen=True, eq=False)
class RenderedFace:
    """A patch with an expression. All px are of the patch.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        flow: (H, W, 2) float32, (x, y) in px: a pixel's source in the neutral patch, relative to the pixel.
        inpaint_mask: (H, W) float32 in 0..1: the share of a pixel that no flow explains (mouth interior, completed eyes).
        pupils: (2, 2) float64, the subject's right one first. They never move.
        landmarks: (68, 2) float64, Multi-PIE's.
        inside: what was painted into the mouth, and the uv coordinates of its pixels on the rows of teeth.
    """

    image: np.ndarray
    flow: np.ndarray
    inpaint_mask: np.ndarray
    pupils: np.ndarray
    landmarks: np.ndarray
    inside: MouthInterior


class FaceRenderer:
    """A photo with the mesh fitted to it.

    Args:
        mesh: the face model.
        patch: the photo with its template.
        wrinkles: the person's wrinkles; None for those of the tables, without variation.
    """

    def __init__(self, mesh: Mesh, patch: Patch, wrinkles: Wrinkles | None = None):
        self.mesh, self.patch, self.wrinkles = mesh, patch, wrinkles or Wrinkles()
        self.fit = fit_mesh(mesh, patch.points)
        self.vertices = mesh.apply_identity(self.fit.identity)
        self.projected = self.fit.project(self.vertices)
        self.eyes = [EyeLayer.from_patch(patch, side) for side in "RL"]
        self.pupils = np.array([eye.centre for eye in self.eyes])  # (2, 2) patch px, the subject's right one first
        self.anatomy = self._measure_anatomy()
        neutral = self.rasterise_skin(self.projected)
        self.source, self._inner_lip = compute_lip_sources(mesh, self.projected, patch.points, neutral)
        self._background = BackgroundWarp(patch.points, neutral.covered)
        covered = self._background.mask_face(neutral.interpolate(self.source), neutral.covered)
        self._neutral_opening_px = float(find_mouth_opening(mesh, self.projected, covered).sum())
        self._normals = self._camera_normals(self.vertices)
        self.skin_colour = self._measure_skin_colour()
        self._wrinkle_gain = relighting.compute_wrinkle_gain(self.skin_colour)
        self._exposure = estimate_exposure(np.array([eye.white for eye in self.eyes]))
        self._pixels = pixel_grid(PATCH_SHAPE)

    def rasterise_skin(self, projected: np.ndarray) -> Raster:
        """Rasterises the skin of (V, 3) projected vertices over the patch."""
        return rasterise(projected[: self.mesh.num_face_vertices], self.mesh.face_triangles, PATCH_SHAPE)

    def select_lids(self, projected: np.ndarray, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Selects the upper and the lower lid of an eye, (N, 3) each, from projected vertices."""
        return tuple(projected[self.mesh.feature_lines[f"{lid}_lid_{side}"]] for lid in ("upper", "lower"))

    def select_lips(self, projected: np.ndarray) -> np.ndarray:
        """Selects the lips' outer border, (N, 2), from projected vertices."""
        lines = self.mesh.feature_lines
        return projected[np.r_[lines["upper_lip_outer"], lines["lower_lip_outer"][::-1]], :2]

    def render(self, units: UnitWeights, wrinkle_depth: float = 1.0) -> RenderedFace:
        """Renders the face with action units at work; without any, the photo as it is.

        Args:
            units: unit -> weight on the subject's right and left.
            wrinkle_depth: factor on the depth of wrinkles.

        Raises:
            ValueError: an action unit is unknown.
        """
        mesh = self.mesh
        vertices = self.vertices + compute_displacement(mesh, units, self.anatomy)
        projected = self.fit.project(vertices)
        raster = self.rasterise_skin(projected)
        size, motion = mesh.num_face_vertices, measure_lip_motion(mesh, self.projected, projected)
        sources = self.projected[:size, :2] * (1 - motion) + self.source * motion
        values = (sources, mesh.neutral[:size, :2], self._normals, self._camera_normals(vertices),
                  self._inner_lip[:, None] * motion)  # fmt: skip
        source, canonical, before, after, inner_lip = np.split(raster.interpolate(np.hstack(values)), (2, 4, 7, 10), axis=2)
        covered = self._background.mask_face(source, raster.covered)
        flow = self._background.extend_flow(source, covered)
        image = warp(self.patch.image, self._pixels + flow)

        lips = polygon_mask(self.select_lips(projected), PATCH_SHAPE)
        ratio = relighting.compute_shading_ratio(before, after, covered, lips)
        wrinkle_map = self.wrinkles.compute_map(units, wrinkle_depth * self._wrinkle_gain)
        ratio = ratio * relighting.compute_wrinkle_ratio(sample(wrinkle_map, to_map_px(canonical)) * covered)
        ratio = ratio * (1 - relighting.INNER_LIP_SHADE * blur((inner_lip[..., 0] * covered).astype(np.float32), 1))
        image = relighting.apply_light_ratio(image, ratio)

        inpaint_mask = np.zeros(PATCH_SHAPE, np.float32)
        depth = np.where(covered, raster.depth, -np.inf)
        for eye in self.eyes:
            lids, neutral_lids = (self.select_lids(points, eye.side) for points in (projected, self.projected))
            eye.paint(image, flow, inpaint_mask, lids, neutral_lids, depth)
        opening = find_mouth_opening(mesh, projected, covered)
        inside = paint_mouth_interior(
            image, opening, self._neutral_opening_px, mesh, self.fit, vertices, self.skin_colour, self._exposure
        )
        picture = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
        inpaint_mask = np.maximum(inpaint_mask, inside.alpha)
        return RenderedFace(picture, flow, inpaint_mask, self.pupils, projected[mesh.landmarks, :2], inside)

    def _camera_normals(self, vertices: np.ndarray) -> np.ndarray:
        """Computes the (F, 3) normals of the skin in the camera's coordinates."""
        return compute_normals(vertices[: self.mesh.num_face_vertices] @ self.fit.rotation.T, self.mesh.face_triangles)

    def _measure_anatomy(self) -> Anatomy:
        openings = [np.clip(eye.opening / measure_mesh_opening(self.mesh, eye.side), *OPENING_RANGE) for eye in self.eyes]
        template = self.patch.points
        gap = template[list(UPPER_LID_MIDDLES), 1].mean() - template[list(BROW_LOWER_EDGE), 1].mean()
        lips = self.projected[self.mesh.landmarks, :2]
        rise = (lips[[62, 66], 1].mean() - lips[[48, 54], 1].mean()) / np.linalg.norm(lips[54] - lips[48])
        gap, rise = np.clip(gap / BROW_GAP_PX, *BROW_GAP_RANGE), np.clip(rise, *CORNER_RISE_RANGE)
        return Anatomy(float(np.mean(openings)), float(gap), float(rise))

    def _measure_skin_colour(self) -> np.ndarray:
        """Computes the median colour beside and above the tip of the nose, (3,) in 0..255."""
        right, left = self.patch.points[list(PUPILS), 0].astype(int)
        y = int(self.patch.points[NOSE_TIP, 1])
        return np.median(self.patch.image[y - 60 : y + 10, right - 10 : left + 10].reshape(-1, 3), axis=0)
