"""Tracks a real smile without a template: from the neutral photo to the smiling one, and all morphs between them.

The smiling photo has no points. Its eyes are detected (MTCNN) and aligned to the canonical frame. Of several rendered
smiles the most similar one is chosen (normalised correlation, nose to chin), and dense optical flow (DIS, Kroeger et
al. 2016) leads from it to the photo, which gives every vertex a position in both photos. A morph renders the mesh in
between, with both photos as its texture, cross-dissolved.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from PIL import Image

from exprgan.photo.alignment import transform
from exprgan.photo.detection import choose_face, find_faces

from .face_model.action_units import UnitWeights, compute_displacement
from .face_model.canonical_frame import EYE_DISTANCE_PX, EYE_Y_PX, PATCH_SHAPE, PUPIL_TARGETS, fit_similarity, warp_to_patch
from .face_model.emfacs import get_units
from .face_model.webmorph_template import NOSE_BASE, PUPILS
from .face_renderer import FaceRenderer, RenderedFace
from .pixel_fields import Window, blur, extrapolate, fill_holes, pixel_grid, polygon_mask, sample, warp
from .shading.mouth_interior import MouthInterior

MAX_AU12, TYPICAL_AU12, TYPICAL_AU25 = 1.3, 1.1, 1.2
CANDIDATES: list[UnitWeights] = [
    {},
    *(
        {12: (pull,) * 2, 6: (pull / 2,) * 2, 25: (lips,) * 2, 26: (jaw,) * 2}
        for pull in (0.35, 0.7, 1.0, MAX_AU12)
        for lips, jaw in ((0, 0), (0.6, 0), (1.2, 0.02), (1.2, 0.15))
    ),
]
WRINKLE_DEPTH = 0.5  # of the candidates
MAX_HEAD_SHIFT_PX = 12  # in half-size pictures: the head is never held exactly alike
COLOUR_GAIN_RANGE = (0.8, 1.25)
FLOW_SIGMA_PX, FLOW_RIGIDITY = 3.0, 40.0
MIN_CORRELATION = 0.70
INTENSITY_WEIGHTS = {"AU12": 0.5, "AU25": 0.2, "travel": 0.3}
MAX_TRAVEL = 1.3


@dataclass(frozen=True, eq=False)
class TrackedSmile:
    """A smiling photo of a person, tracked from the neutral one.

    Attributes:
        face: the same person's neutral face.
        image: (H, W, 3) uint8, the smiling photo as a patch.
        positions: (F, 2) float64, where each vertex of the skin lies in it.
        intensity: of the smile, on the scale of the EMFACS table's happy face; accurate to about 0.2.
        lips_parted: whether the lips are parted.
        correlation: of the photo, warped back, with the rendered smile; tracking failed below `MIN_CORRELATION`.
    """

    face: FaceRenderer
    image: np.ndarray
    positions: np.ndarray
    intensity: float
    lips_parted: bool
    correlation: float

    @property
    def is_reliable(self) -> bool:
        """Whether the smile was tracked well enough for morphs."""
        return self.correlation > MIN_CORRELATION

    @classmethod
    def track(cls, face: FaceRenderer, neutral: Image.Image, smiling: Image.Image) -> "TrackedSmile":
        """Tracks a smile.

        Args:
            face: fitted to the neutral photo.
            neutral, smiling: the photos, RGB, upright, of any size.

        Raises:
            NoFaceError: no face was found in one of them.
        """
        eyes = [np.array(choose_face(find_faces(photo)).landmarks[:2]) for photo in (neutral, smiling)]
        pupils = transform(cv2.invertAffineTransform(face.patch.matrix), face.patch.points[list(PUPILS)])
        # the template's pupils lie beside MTCNN's eyes in the same way in both photos
        matrix = fit_similarity(transform(fit_similarity(*eyes), pupils), PUPIL_TARGETS)
        image = warp_to_patch(np.asarray(smiling), matrix)
        image = image * _colour_gain(face, image)
        photo, box = _to_half_grey(image), _lower_face(face)
        best_correlation = -np.inf
        for candidate in CANDIDATES:
            rendered = _to_half_grey(face.render(candidate, WRINKLE_DEPTH).image)
            if (correlation := _max_correlation(rendered, photo, box)) > best_correlation:
                best_correlation, units, nearest = correlation, candidate, rendered
        flow = _compute_flow(nearest, photo)
        start = _project(face, units)[: face.mesh.num_face_vertices]
        positions = start + sample(flow, start[:, None].astype(np.float32))[:, 0]
        warped_back = _to_half_grey(warp(image, pixel_grid(PATCH_SHAPE) + flow))
        correlation = float(np.corrcoef(warped_back[box].ravel(), nearest[box].ravel())[0, 1])
        picture = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
        lips_parted = units.get(25, (0, 0))[0] > 0
        return cls(face, picture, positions, _estimate_intensity(face, units, positions), lips_parted, correlation)

    def render(self, progress: float) -> RenderedFace:
        """Renders a morph.

        Args:
            progress: from 0, the neutral photo, to 1, the smiling one except for its surroundings.

        Returns:
            A face whose `flow` leads to the neutral photo; `inpaint_mask` is where the smiling photo's mouth is shown.
        """
        face = self.face
        projected = face.projected[: face.mesh.num_face_vertices].copy()
        projected[:, :2] += progress * (self.positions - projected[:, :2])
        raster = face.rasterise_skin(projected)
        covered, solid = raster.covered, fill_holes(raster.covered)
        known = covered.astype(np.float32)
        distance = cv2.distanceTransform(1 - solid, cv2.DIST_L2, 5)
        outside = np.clip((distance + 2) / 14, 0, 1)[..., None]
        grid = pixel_grid(PATCH_SHAPE)

        def extrapolate_flow(sources: np.ndarray) -> np.ndarray:
            flow = extrapolate((sources - grid) * known[..., None], known)
            return flow * (1 - outside) + blur(flow, 10) * outside

        values = raster.interpolate(np.hstack([face.source, self.positions]))
        to_neutral, to_smile = extrapolate_flow(values[..., :2]), extrapolate_flow(values[..., 2:])
        to_neutral = to_neutral * np.exp(-((distance / 80) ** 2))[..., None]
        neutral = warp(face.patch.image, grid + to_neutral)
        smile = warp(self.image.astype(np.float32), grid + blur(to_smile, 1))

        inside = blur(cv2.erode(solid, np.ones((31, 31), np.uint8)).astype(np.float32), 10)
        weight = progress * inside
        for side in "RL":  # two irises would show through one another: the eyes switch near half of the way
            upper, lower = face.select_lids(projected, side)
            eye = blur(polygon_mask(np.vstack([upper, lower[::-1]])[:, :2], PATCH_SHAPE), 2)
            weight = weight * (1 - eye) + eye * inside * np.clip((progress - 0.5) * 6 + 0.5, 0, 1)
        inpaint_mask = np.zeros(PATCH_SHAPE, np.float32)
        if self.lips_parted:  # teeth come from the smiling photo only
            opening = (~covered) * polygon_mask(face.select_lips(projected), PATCH_SHAPE)
            opening = cv2.dilate(opening, np.ones((5, 5), np.uint8))
            inpaint_mask = np.clip(blur(opening, 1.5) * 1.2, 0, 1) * min(1, progress / 0.15)
            weight = np.maximum(weight, inpaint_mask)
        picture = np.rint(np.clip(neutral + (smile - neutral) * weight[..., None], 0, 255)).astype(np.uint8)
        return RenderedFace(picture, to_neutral, inpaint_mask.astype(np.float32), face.pupils,
                            projected[face.mesh.landmarks, :2], MouthInterior.empty(PATCH_SHAPE),
                            face.measure_depth(raster), face.depth,
                            sample(face.eyeballs, grid + to_neutral), face.eyeballs,
                            face.locate(raster), face.canonical)  # fmt: skip

    @cached_property
    def depth(self) -> np.ndarray:
        """Depth of the smiling photo, (H, W) float32 px: the neutral face's, at the positions of its vertices."""
        face = self.face
        vertices = face.projected[: face.mesh.num_face_vertices]
        return face.measure_depth(face.rasterise_skin(np.hstack([self.positions, vertices[:, 2:]])))


def _project(face: FaceRenderer, units: UnitWeights) -> np.ndarray:
    """Projects the vertices with action units at work: (V, 2), patch px."""
    return face.fit.project(face.vertices + compute_displacement(face.mesh, units, face.anatomy))[:, :2]


def _colour_gain(face: FaceRenderer, image: np.ndarray) -> np.ndarray:
    """Computes the gain (3,) that gives the smiling photo's skin, between eyes and nose, the neutral one's colour."""
    (left, _), (right, _) = face.patch.points[list(PUPILS)].astype(int)
    box = slice(int(EYE_Y_PX + 40), int(face.patch.points[NOSE_BASE, 1])), slice(left, right)
    neutral, smiling = (np.median(picture[box].reshape(-1, 3), axis=0) for picture in (face.patch.image, image))
    return np.clip(neutral / np.maximum(smiling, 1), *COLOUR_GAIN_RANGE).astype(np.float32)


def _to_half_grey(image: np.ndarray) -> np.ndarray:
    """Converts an image to grey at half its size: (H/2, W/2) uint8."""
    grey = cv2.cvtColor(image.clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def _lower_face(face: FaceRenderer) -> Window:
    """Returns the window from nose to chin in half-size pictures."""
    nose = face.patch.points[NOSE_BASE, 1]
    left, right = face.patch.points[list(PUPILS), 0]
    rows = slice(int(nose / 2 - 25), int(min(PATCH_SHAPE[0], nose + 190) / 2))
    return rows, slice(int(left / 2 - 30), int(right / 2 + 30))


def _max_correlation(rendered: np.ndarray, photo: np.ndarray, box: Window) -> float:
    """Computes the greatest normalised correlation over small shifts of the head."""
    rows, columns = (slice(max(0, side.start - MAX_HEAD_SHIFT_PX), side.stop + MAX_HEAD_SHIFT_PX) for side in box)
    rendered, photo = blur(rendered, 1.5), blur(photo, 1.5)
    return float(cv2.matchTemplate(photo[rows, columns], rendered[box], cv2.TM_CCOEFF_NORMED).max())


def _compute_flow(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Computes the optical flow between half-size pictures: (H, W, 2) float32, patch px."""
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setUseSpatialPropagation(True)
    estimator.setVariationalRefinementAlpha(FLOW_RIGIDITY)
    flow = blur(estimator.calc(start, end, None), FLOW_SIGMA_PX) * 2
    return cv2.resize(flow, PATCH_SHAPE[::-1], interpolation=cv2.INTER_LINEAR)


def _estimate_intensity(face: FaceRenderer, units: UnitWeights, positions: np.ndarray) -> float:
    """Estimates a smile's intensity from the most similar candidate's units and the travel of the mouth's corners."""
    travel = _measure_travel(face, positions) / _measure_travel(face, _project(face, get_units("happy", "teeth")))
    pull, lips = (units.get(unit, (0.0, 0.0))[0] for unit in (12, 25))
    parts = {"AU12": pull / TYPICAL_AU12, "AU25": min(lips / TYPICAL_AU25, 1), "travel": np.clip(travel, 0, MAX_TRAVEL)}
    return float(sum(INTENSITY_WEIGHTS[name] * part for name, part in parts.items()))


def _measure_travel(face: FaceRenderer, positions: np.ndarray) -> float:
    """Measures how much wider the mouth became and how much higher its corners against the nose, in eye distances."""
    right, left, nose = face.mesh.landmarks[[48, 54, 33]]
    before, after = (
        np.linalg.norm(points[left] - points[right]) + (points[nose, 1] - (points[right, 1] + points[left, 1]) / 2)
        for points in (face.projected[:, :2], positions)
    )
    return (after - before) / EYE_DISTANCE_PX
