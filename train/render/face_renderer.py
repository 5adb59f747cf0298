"""One person's face, fitted to the mesh: give it action units and it gives a picture."""

from dataclasses import dataclass

import numpy as np

from .face_model.action_units import ActionUnits, Anatomy, displacement
from .face_model.canonical_frame import SHAPE, Patch
from .face_model.mesh import Mesh
from .face_model.mesh_fitting import Fit, fit
from .face_model.rasterizer import Raster, normals, rasterise
from .face_model.webmorph_template import BROW_EDGE, LIDS_BEST, NOSE_TIP, PUPILS
from .pixel_fields import pixels, polygon, sample, warp
from .shading import mouth_interior as mouth
from .shading import relighting as shading
from .shading.background_warp import Surround
from .shading.eye_layer import OPENINGS, Eye, mesh_opening
from .shading.lip_texture import lip_sources, lips_moved
from .shading.wrinkles import Creases, on_map

BROW_GAP_PX = 26.0  # of a typical face, from the upper lid to the brow's lower edge
BROW_ROOMS = (0.5, 1.1)
CORNERS_UP = (0.0, 0.08)  # lower corners are no reason to pull less: the person looks so at rest
_SOURCE, _CANONICAL, _BEFORE, _AFTER, _INNER = slice(0, 2), slice(2, 4), slice(4, 7), slice(7, 10), 10


@dataclass(frozen=True, eq=False)
class Rendered:
    """A patch with an expression. All px are of the patch.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        flow: (H, W, 2) float32: where in the neutral patch a pixel came from, relative to it, in px (x, y).
        invented: (H, W) float32 in 0..1: how much of a pixel no movement explains (mouth interior, completed eyes).
        pupils: (2, 2) float64, the subject's right one first. They never move.
        landmarks: (68, 2) float64, Multi-PIE's.
        inside: what was painted into the mouth, and where on the rows of teeth its pixels lie.
    """

    image: np.ndarray
    flow: np.ndarray
    invented: np.ndarray
    pupils: np.ndarray
    landmarks: np.ndarray
    inside: mouth.Inside


class Face:
    """A photo with the mesh fitted to it.

    Args:
        mesh: the face model.
        patch: the photo with its template.
        creases: the person's folds; None takes the tables as they stand.
    """

    def __init__(self, mesh: Mesh, patch: Patch, creases: Creases | None = None):
        self.mesh, self.patch, self.creases = mesh, patch, creases or Creases()
        self.fit: Fit = fit(mesh, patch.points)
        self.vertices = mesh.of(self.fit.identity)
        self.seen = self.fit.project(self.vertices)
        self.eyes = [Eye.of(patch, side) for side in "RL"]
        self.anatomy = self._anatomy()
        neutral = self.raster(self.seen)
        self.source, self._inner = lip_sources(mesh, self.seen, patch.points, neutral)
        self.surround = Surround(patch.points, neutral.covered)
        at_rest = self.surround.inside(neutral.interpolate(self.source), neutral.covered)
        self._gap = float(mouth.opening(mesh, self.seen, at_rest).sum())
        self._normals = self._turned(self.vertices)
        self.skin = self._skin()
        self._fold_gain = shading.fold_gain(self.skin)
        self._exposure = mouth.exposure_of(np.array([eye.white for eye in self.eyes]))
        self._pixels = pixels(SHAPE)

    @property
    def pupils(self) -> np.ndarray:
        """(2, 2) patch px, the subject's right one first."""
        return np.array([eye.centre for eye in self.eyes])

    def raster(self, seen: np.ndarray) -> Raster:
        """The skin, from vertices in the patch."""
        return rasterise(seen[: self.mesh.face_size], self.mesh.skin, SHAPE)

    def lids(self, seen: np.ndarray, side: str) -> tuple[np.ndarray, np.ndarray]:
        """The upper and lower lid of an eye."""
        return tuple(seen[self.mesh.paths[f"{lid}_lid_{side}"]] for lid in ("upper", "lower"))

    def lips(self, seen: np.ndarray) -> np.ndarray:
        """The lips' outer border, (N, 2)."""
        paths = self.mesh.paths
        return seen[np.r_[paths["upper_lip_outer"], paths["lower_lip_outer"][::-1]], :2]

    def render(self, units: ActionUnits, fold_depth: float = 1.0) -> Rendered:
        """The face with action units at work; without any, the photo as it is.

        Args:
            units: unit -> weight on the subject's right and left.
            fold_depth: factor on the depth of folds.

        Raises:
            ValueError: there is no such unit.
        """
        mesh = self.mesh
        vertices = self.vertices + displacement(mesh, units, self.anatomy)
        seen = self.fit.project(vertices)
        raster = self.raster(seen)
        size, moved = mesh.face_size, lips_moved(mesh, self.seen, seen)
        source = self.seen[:size, :2] * (1 - moved) + self.source * moved
        carried = [source, mesh.neutral[:size, :2], self._normals, self._turned(vertices), self._inner[:, None] * moved]
        values = raster.interpolate(np.hstack(carried))
        covered = self.surround.inside(values[..., _SOURCE], raster.covered)
        flow = self.surround.displacement(values[..., _SOURCE], covered)
        image = warp(self.patch.image, self._pixels + flow)

        lips = polygon(self.lips(seen), SHAPE)
        ratio = shading.light(values[..., _BEFORE], values[..., _AFTER], covered, lips)
        taken = sample(self.creases.map(units, fold_depth * self._fold_gain), on_map(values[..., _CANONICAL])) * covered
        inner = (values[..., _INNER] * covered).astype(np.float32)
        ratio = ratio * shading.fold(taken) * (1 - shading.INNER_LIP * shading.blur(inner, 1))
        image = shading.multiply(image, ratio)

        invented = np.zeros(SHAPE, np.float32)
        depth = np.where(covered, raster.depth, -np.inf)
        for eye in self.eyes:
            eye.paint(image, flow, invented, self.lids(seen, eye.side), self.lids(self.seen, eye.side), depth)
        hole = mouth.opening(mesh, seen, covered)
        inside = mouth.fill(image, hole, self._gap, mesh, self.fit, vertices, self.skin, self._exposure)
        picture = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
        return Rendered(picture, flow, np.maximum(invented, inside.cover), self.pupils, seen[mesh.landmarks, :2], inside)

    def _turned(self, vertices: np.ndarray) -> np.ndarray:
        """(F, 3) normals of the skin in the camera's directions."""
        return normals(vertices[: self.mesh.face_size] @ self.fit.rotation.T, self.mesh.skin)

    def _anatomy(self) -> Anatomy:
        opening = np.mean([np.clip(eye.opening / mesh_opening(self.mesh, eye.side), *OPENINGS) for eye in self.eyes])
        template = self.patch.points
        gap = template[list(LIDS_BEST[0]), 1].mean() - template[list(BROW_EDGE), 1].mean()
        lips = self.seen[self.mesh.landmarks, :2]
        rise = (lips[[62, 66], 1].mean() - lips[[48, 54], 1].mean()) / np.linalg.norm(lips[54] - lips[48])
        return Anatomy(float(opening), float(np.clip(gap / BROW_GAP_PX, *BROW_ROOMS)), float(np.clip(rise, *CORNERS_UP)))

    def _skin(self) -> np.ndarray:
        """The median colour beside and above the tip of the nose."""
        right, left = self.patch.points[list(PUPILS), 0].astype(int)
        y = int(self.patch.points[NOSE_TIP, 1])
        return np.median(self.patch.image[y - 60 : y + 10, right - 10 : left + 10].reshape(-1, 3), axis=0)
