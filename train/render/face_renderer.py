"""Renders one person's photo with any action units at work, by the mesh fitted to it."""

from dataclasses import dataclass

import numpy as np

from .depth_map import DepthMap
from .face_model.action_units import Anatomy, UnitWeights, compute_displacement, limit_lid_raiser
from .face_model.canonical_frame import PATCH_SHAPE, Patch
from .face_model.mesh import LANDMARK_CHAINS, Mesh
from .face_model.mesh_fitting import fit_mesh
from .face_model.rasterizer import Raster, compute_normals, rasterise
from .face_model.webmorph_template import BROW_LOWER_EDGE, NOSE_TIP, PUPILS, UPPER_LID_MIDDLES
from .pixel_fields import blur, pixel_grid, polygon_mask, sample, warp
from .shading import relighting
from .shading.background_warp import BackgroundWarp
from .shading.eye_layer import OPENING_RANGE, EyeLayer, measure_mesh_opening
from .shading.gaze import Gaze
from .shading.lid_motion import LidEdges, LidLayer
from .shading.lip_texture import compute_lip_sources, measure_lip_motion
from .shading.mouth_interior import MouthInterior, estimate_exposure, find_mouth_opening, paint_mouth_interior
from .shading.mouth_look import MouthLook
from .shading.wrinkle_maps import Wrinkles, to_map_px

BROW_GAP_PX = 26.0  # of a typical face, from the upper lid to the brow's lower edge
BROW_GAP_RANGE = (0.5, 1.1)
LID_RAISER, EYE_CLOSURE = 5, 43
LOWER_LID_DROP_PX = 2.5  # with the upper lid raised; the mesh lifts it
TYPICAL_MOUTH = MouthLook()
FORWARD = Gaze()  # as in the photo
CORNER_RISE_RANGE = (0.0, 0.08)  # corners that hang at rest do not reduce the pull: they are part of the person's looks


@dataclass(frozen=True, eq=False)
class RenderedFace:
    """A patch with an expression. All px are of the patch.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        flow: (H, W, 2) float32, (x, y) in px: a pixel's source in the neutral patch, relative to the pixel.
        inpaint_mask: (H, W) float32 in 0..1: the share of a pixel that no flow explains (mouth interior, completed eyes).
        pupils: (2, 2) float64, the photo's, the subject's right one first. They fix the crop and do not follow the gaze.
        landmarks: (68, 2) float64, Multi-PIE's.
        inside: what was painted into the mouth, and the uv coordinates of its pixels on the rows of teeth.
        depth: (H, W) float32, px towards the viewer, from the plane of the ears.
        neutral_depth: (H, W) float32 likewise, of the neutral patch.
        eyeballs: (H, W) float32 in 0..1, the opacity of the visible eyeballs, what the lids leave open of them.
        neutral_eyeballs: (H, W) float32 likewise, of the neutral patch.
        canonical: (H, W, 3) float32: where the face's skin is seen, the (x, y) of the same point on the mesh's mean face,
            in mesh units, and 1; elsewhere 0.
        neutral_canonical: (H, W, 3) float32 likewise, of the neutral patch.
    """

    image: np.ndarray
    flow: np.ndarray
    inpaint_mask: np.ndarray
    pupils: np.ndarray
    landmarks: np.ndarray
    inside: MouthInterior
    depth: np.ndarray
    neutral_depth: np.ndarray
    eyeballs: np.ndarray
    neutral_eyeballs: np.ndarray
    canonical: np.ndarray
    neutral_canonical: np.ndarray


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
        self._lids = [LidLayer.from_patch(patch, eye.side, eye.window, self.select_lids(self.projected, eye.side))
                      for eye in self.eyes]  # fmt: skip
        self.anatomy = self._measure_anatomy()
        neutral = self.rasterise_skin(self.projected)
        self.source, self._inner_lip = compute_lip_sources(mesh, self.projected, patch.points, neutral)
        self._background = BackgroundWarp(patch.points, neutral.covered)
        covered = self._background.mask_face(neutral.interpolate(self.source), neutral.covered)
        self._depth_map = DepthMap(patch.points)
        self.depth = self.measure_depth(neutral)  # of the neutral patch
        self.canonical = self.locate(neutral)  # of the neutral patch
        self.eyeballs = self._measure_eyeballs([lid.edges for lid in self._lids])  # of the neutral patch
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

    def render(self, units: UnitWeights, wrinkle_depth: float = 1.0, gaze: Gaze = FORWARD,
               mouth: MouthLook = TYPICAL_MOUTH) -> RenderedFace:  # fmt: skip
        """Renders the face with action units at work; without any, the photo as it is.

        Args:
            units: unit -> weight on the subject's right and left.
            wrinkle_depth: factor on the depth of wrinkles.
            gaze: relative to the photo's.
            mouth: teeth and tongue, which an open mouth shows.

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
        edges = self._move_lids(units, projected, gaze)
        for lid, edge in zip(self._lids, edges, strict=True):
            lid.bend_flow(flow, edge)
        image = warp(self.patch.image, self._pixels + flow)
        for lid, edge in zip(self._lids, edges, strict=True):
            lid.remove_lashes(image, flow, edge)

        lips = polygon_mask(self.select_lips(projected), PATCH_SHAPE)
        ratio = relighting.compute_shading_ratio(before, after, covered, lips)
        wrinkle_map = self.wrinkles.compute_map(units, wrinkle_depth * self._wrinkle_gain)
        ratio = ratio * relighting.compute_wrinkle_ratio(sample(wrinkle_map, to_map_px(canonical)) * covered)
        ratio = ratio * (1 - relighting.INNER_LIP_SHADE * blur((inner_lip[..., 0] * covered).astype(np.float32), 1))
        image = relighting.apply_light_ratio(image, ratio)

        inpaint_mask = np.zeros(PATCH_SHAPE, np.float32)
        for eye, lid, edge in zip(self.eyes, self._lids, edges, strict=True):
            eye.paint(image, flow, inpaint_mask, edge, lid.edges, gaze)
            lid.draw_lashes(image, flow, inpaint_mask, edge)
        opening = find_mouth_opening(mesh, projected, covered)
        inside = paint_mouth_interior(
            image, opening, self._neutral_opening_px, mesh, self.fit, vertices, self.skin_colour, self._exposure, mouth
        )
        picture = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
        inpaint_mask = np.maximum(inpaint_mask, inside.alpha)
        return RenderedFace(picture, flow, inpaint_mask, self.pupils, self._place_landmarks(projected, edges), inside,
                            self._depth_map.extend(raster.depth, covered), self.depth,
                            self._measure_eyeballs(edges), self.eyeballs,
                            _locate(canonical, covered), self.canonical)  # fmt: skip

    def measure_depth(self, raster: Raster) -> np.ndarray:
        """Computes the depth of a whole patch, (H, W) float32 px, from the raster of its skin."""
        covered = self._background.mask_face(raster.interpolate(self.source), raster.covered)
        return self._depth_map.extend(raster.depth, covered)

    def locate(self, raster: Raster) -> np.ndarray:
        """Computes `RenderedFace.canonical` from the raster of a face's skin."""
        covered = self._background.mask_face(raster.interpolate(self.source), raster.covered)
        return _locate(raster.interpolate(self.mesh.neutral[: self.mesh.num_face_vertices, :2]), covered)

    def _measure_eyeballs(self, edges: list[LidEdges]) -> np.ndarray:
        """Measures the opacity of the visible eyeballs, (H, W) float32 in 0..1, by the lids of both sides."""
        opacity = np.zeros(PATCH_SHAPE, np.float32)
        for eye, lid, edge in zip(self.eyes, self._lids, edges, strict=True):
            between_corners = (lid.fraction > 0) & (lid.fraction < 1)
            opacity[eye.window] = np.maximum(opacity[eye.window], eye.measure_opacity(edge) * between_corners)
        return opacity

    def _move_lids(self, units: UnitWeights, projected: np.ndarray, gaze: Gaze) -> list[LidEdges]:
        """Computes where the edges of the lids lie on the subject's right and left side."""
        closures = units.get(EYE_CLOSURE, (0.0, 0.0))
        if any(closures):  # closing starts from where the other units leave the lids
            others = {unit: weights for unit, weights in units.items() if unit != EYE_CLOSURE}
            projected = self.fit.project(self.vertices + compute_displacement(self.mesh, others, self.anatomy))
        follow_upper, follow_lower = gaze.lid_shift_px
        raised = units.get(LID_RAISER, (0.0, 0.0))
        edges = []
        for n, (eye, lid) in enumerate(zip(self.eyes, self._lids, strict=True)):
            neutral, lids = (self.select_lids(points, eye.side) for points in (self.projected, projected))
            drop = LOWER_LID_DROP_PX * limit_lid_raiser(raised[n])
            edges.append(lid.move(neutral, lids, closures[n], (follow_upper, follow_lower + drop)))
        return edges

    def _place_landmarks(self, projected: np.ndarray, edges: list[LidEdges]) -> np.ndarray:
        """Selects the landmarks, (68, 2), from projected vertices; those of the lids lie on their edges."""
        landmarks = projected[self.mesh.landmarks, :2]
        for eye, edge in zip(self.eyes, edges, strict=True):
            columns = np.arange(eye.window[1].start, eye.window[1].stop)
            for lid, line in (("upper", edge.upper), ("lower", edge.lower)):
                middle = list(LANDMARK_CHAINS[f"{lid}_lid_{eye.side}"][1:-1])
                landmarks[middle, 1] = np.interp(landmarks[middle, 0], columns, line)
        return landmarks

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


def _locate(canonical: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Joins the (x, y) of the mean face, (H, W, 2), and the pixels, (H, W) bool, that the mesh covers with the face."""
    return np.dstack([canonical, np.ones(covered.shape)]).astype(np.float32) * covered[..., None]
