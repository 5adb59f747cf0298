"""A real smile, followed without a template: from the neutral photo to the smiling one, and every step between.

The smiling photo has no points. Its eyes are found (MTCNN) and laid into the same frame. Of some rendered smiles the
one most like the photo is taken (normalised correlation, nose to chin), and dense optical flow (DIS, Kroeger et al.
2016) leads from it to the photo: so every vertex has a place in both photos. A morph shows the mesh in between, with
both photos as its texture, dissolved.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from exprgan.photo.detection import choose_face, find_faces

from .face_model.action_units import ActionUnits, displacement
from .face_model.canonical_frame import EYE_DISTANCE, EYE_Y, SHAPE, by_pupils, lay, similarity
from .face_model.emfacs import exact
from .face_model.webmorph_template import NOSE_BASE, PUPILS
from .face_renderer import Face, Rendered
from .pixel_fields import blur, extend, filled, pixels, polygon, sample, warp
from .shading.mouth_interior import Inside

MOST_AU12, USUAL_AU12, USUAL_AU25 = 1.3, 1.1, 1.2
CANDIDATES: list[ActionUnits] = [
    {},
    *(
        {12: (pull,) * 2, 6: (pull / 2,) * 2, 25: (lips,) * 2, 26: (jaw,) * 2}
        for pull in (0.35, 0.7, 1.0, MOST_AU12)
        for lips, jaw in ((0, 0), (0.6, 0), (1.2, 0.02), (1.2, 0.15))
    ),
]
FOLDS = 0.5
SHIFT_PX = 12  # of the half-size picture: the head is never held quite alike
GAINS = (0.8, 1.25)
FLOW_SMOOTH_PX, FLOW_RIGIDITY = 3.0, 40.0
LEAST_LIKENESS = 0.70
WEIGHTS = {"AU12": 0.5, "AU25": 0.2, "travel": 0.3}
MOST_TRAVEL = 1.3


@dataclass(frozen=True, eq=False)
class Smile:
    """A smiling photo of a face, followed.

    Attributes:
        face: the same person's neutral face.
        image: (H, W, 3) uint8, the photo as a patch.
        positions: (F, 2) float64, where each vertex is seen in it.
        intensity: how strong the smile is on the scale of the happy recipe, good to about 0.2.
        parted: whether the lips are.
        likeness: correlation of the photo, led back, with the rendered smile; below `LEAST_LIKENESS` it went astray.
    """

    face: Face
    image: np.ndarray
    positions: np.ndarray
    intensity: float
    parted: bool
    likeness: float

    @property
    def followed(self) -> bool:
        """Whether the smile was followed well enough to be morphed."""
        return self.likeness > LEAST_LIKENESS

    @property
    def pupils(self) -> np.ndarray:
        """(2, 2) patch px, in the smiling photo."""
        return np.array([[-0.5, 0], [0.5, 0]]) * EYE_DISTANCE + [SHAPE[1] / 2, EYE_Y]

    @classmethod
    def follow(cls, face: Face, neutral: Image.Image, smiling: Image.Image) -> "Smile":
        """Follows a smile.

        Args:
            face: fitted to the neutral photo.
            neutral, smiling: the photos, RGB, upright, of any size.

        Raises:
            NoFaceError: no face was found in one of them.
        """
        eyes = [np.array(choose_face(find_faces(photo)).landmarks[:2]) for photo in (neutral, smiling)]
        to_photo = cv2.invertAffineTransform(face.patch.matrix)
        pupils = face.patch.points[list(PUPILS)] @ to_photo[:, :2].T + to_photo[:, 2]
        carried = similarity(*eyes)  # where the template's pupils lie beside MTCNN's eyes is the same in both photos
        image = lay(np.asarray(smiling), by_pupils(pupils @ carried[:, :2].T + carried[:, 2]))
        image = image * _gain(face, image)
        photo, box = _grey(image), _lower_face(face)
        likeness = -np.inf
        for units in CANDIDATES:
            tried = face.render(units, FOLDS)
            grey = _grey(tried.image.astype(np.float32))
            if (alike := _best_correlation(grey, photo, box)) > likeness:
                likeness, best, nearest = alike, units, grey
        flow = _flow(nearest, photo)
        seen = face.fit.project(face.vertices + displacement(face.mesh, best, face.anatomy))[: face.mesh.face_size, :2]
        positions = seen + sample(flow, seen[:, None].astype(np.float32))[:, 0]
        led_back = _grey(warp(image, pixels(SHAPE) + flow))
        likeness = float(np.corrcoef(led_back[box].ravel(), nearest[box].ravel())[0, 1])
        intensity = _intensity(face, best, positions)
        plain = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
        return cls(face, plain, positions, intensity, best.get(25, (0, 0))[0] > 0, likeness)

    def render(self, part: float) -> Rendered:
        """The face on its way to the smile: 0 is the neutral photo, 1 the smiling one, its surroundings apart.

        `invented` is where the smiling photo's mouth shows through; `flow` leads to the neutral photo.
        """
        face = self.face
        size = face.mesh.face_size
        seen = face.seen[:size].copy()
        seen[:, :2] += part * (self.positions - seen[:, :2])
        raster = face.raster(seen)
        covered = raster.covered
        values = raster.interpolate(np.hstack([face.source, self.positions]))
        known, solid = covered.astype(np.float32), filled(covered)
        distance = cv2.distanceTransform(1 - solid, cv2.DIST_L2, 5)
        near = np.clip((distance + 2) / 14, 0, 1)[..., None]
        here = pixels(SHAPE)
        flows = []
        for n in (0, 2):
            moved = extend((values[..., n : n + 2] - here) * known[..., None], known)
            flows.append(moved * (1 - near) + blur(moved, 10) * near)
        flows[0] = flows[0] * np.exp(-((distance / 80) ** 2))[..., None]
        old = warp(face.patch.image, here + flows[0])
        new = warp(self.image.astype(np.float32), here + blur(flows[1], 1))

        inside = blur(cv2.erode(solid, np.ones((31, 31), np.uint8)).astype(np.float32), 10)
        share = part * inside
        for side in "RL":  # two irises would show through one another: switched about half way
            upper, lower = face.lids(seen, side)
            eye = blur(polygon(np.vstack([upper, lower[::-1]])[:, :2], SHAPE), 2)
            share = share * (1 - eye) + eye * inside * np.clip((part - 0.5) * 6 + 0.5, 0, 1)
        invented = np.zeros(SHAPE, np.float32)
        if self.parted:  # teeth only from the smiling photo
            hole = (~covered) * polygon(face.lips(seen), SHAPE)
            invented = np.clip(blur(cv2.dilate(hole, np.ones((5, 5), np.uint8)), 1.5) * 1.2, 0, 1) * min(1, part / 0.15)
            share = np.maximum(share, invented)
        picture = np.rint(np.clip(old + (new - old) * share[..., None], 0, 255)).astype(np.uint8)
        return Rendered(picture, flows[0], invented.astype(np.float32), face.pupils, seen[face.mesh.landmarks, :2],
                        Inside.nothing(SHAPE))  # fmt: skip


def _gain(face: Face, image: np.ndarray) -> np.ndarray:
    """(3,): brings the smiling photo's skin, between eyes and nose, to the neutral one's colour."""
    (left, _), (right, _) = face.patch.points[list(PUPILS)].astype(int)
    box = slice(int(EYE_Y + 40), int(face.patch.points[NOSE_BASE, 1])), slice(left, right)
    ours, theirs = (np.median(picture[box].reshape(-1, 3), axis=0) for picture in (face.patch.image, image))
    return np.clip(ours / np.maximum(theirs, 1), *GAINS).astype(np.float32)


def _grey(image: np.ndarray) -> np.ndarray:
    """Half the size, (H/2, W/2) uint8."""
    grey = cv2.cvtColor(image.clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def _lower_face(face: Face) -> tuple[slice, slice]:
    """Nose to chin, in the half-size picture."""
    nose = face.patch.points[NOSE_BASE, 1]
    left, right = face.patch.points[list(PUPILS), 0]
    rows = slice(int(nose / 2 - 25), int(min(SHAPE[0], nose + 190) / 2))
    return rows, slice(int(left / 2 - 30), int(right / 2 + 30))


def _best_correlation(rendered: np.ndarray, photo: np.ndarray, box: tuple[slice, slice]) -> float:
    rows, columns = (slice(max(0, side.start - SHIFT_PX), side.stop + SHIFT_PX) for side in box)
    rendered, photo = (cv2.GaussianBlur(grey, (0, 0), 1.5) for grey in (rendered, photo))
    return float(cv2.matchTemplate(photo[rows, columns], rendered[box], cv2.TM_CCOEFF_NORMED).max())


def _flow(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Optical flow between half-size pictures, in px of the patch: (H, W, 2) float32."""
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    finder.setUseSpatialPropagation(True)
    finder.setVariationalRefinementAlpha(FLOW_RIGIDITY)
    flow = cv2.GaussianBlur(finder.calc(start, end, None), (0, 0), FLOW_SMOOTH_PX) * 2
    return cv2.resize(flow, SHAPE[::-1], interpolation=cv2.INTER_LINEAR)


def _intensity(face: Face, units: ActionUnits, positions: np.ndarray) -> float:
    """Of a real smile: by the nearest rendered one's units and by how far the mouth's corners went."""
    neutral = face.seen[:, :2]
    peak = face.fit.project(face.vertices + displacement(face.mesh, exact("happy", "teeth"), face.anatomy))[:, :2]
    travel = _travel(face, neutral, positions) / _travel(face, neutral, peak)
    pull, lips = (units.get(unit, (0.0, 0.0))[0] for unit in (12, 25))
    parts = {"AU12": pull / USUAL_AU12, "AU25": min(lips / USUAL_AU25, 1), "travel": np.clip(travel, 0, MOST_TRAVEL)}
    return float(sum(WEIGHTS[name] * part for name, part in parts.items()))


def _travel(face: Face, before: np.ndarray, after: np.ndarray) -> float:
    """How much wider the mouth became, and how much higher its corners are against the nose, in eye distances."""
    (right, left, nose), moved = face.mesh.landmarks[[48, 54, 33]], 0.0
    for points, sign in ((before, -1), (after, 1)):
        rise = points[nose, 1] - (points[right, 1] + points[left, 1]) / 2
        moved += sign * (np.linalg.norm(points[left] - points[right]) + rise)
    return moved / EYE_DISTANCE
