"""The eyes: layers under the lids, so that irises stay round. The iris and its reflexes lie over a still white.

Where a lid opens beyond the aperture of the photo, or the iris moves aside, a layer is inpainted: the white by diffusion of
its visible part, the iris as a disc of the median colours of its visible rings. Where nothing moved, the photo stays.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from ..face_model.canonical_frame import EYE_DISTANCE_PX, Patch
from ..face_model.mesh import Mesh
from ..face_model.webmorph_template import FEATURE_LINES, IRIS, PUPILS, sample_line
from ..pixel_fields import Window, blur, extrapolate, polygon_mask, sample, warp
from .gaze import Gaze
from .lid_motion import LidEdges

MARGIN_PX = (25, 90, 45)  # around the lids: at both sides, above and below; lids and their skin move no farther
LASHES_PX, LID_PX = 4, 2  # eroded from the aperture, at the top and elsewhere
RADIUS_RANGE_PX = (0.05 * EYE_DISTANCE_PX, 0.11 * EYE_DISTANCE_PX)
TYPICAL_RADIUS_PX, MIN_RADIUS_PX = 16.0, 13.0
LIMBUS_DARKENING, LIMBUS_PX = 0.35, 2.0  # the dark rim of the iris
IRIS_EDGE = (1.02, 1.14)  # in radii, where the moving iris fades into the white
PUPIL = 0.45  # of the radius: within it a reflex can cover most of a ring, so the darker pixels count
IRIS_SEAM_PX = 4.0  # over which the visible iris passes into the completed one
DEFAULT_WHITE = (195.0, 190.0, 190.0)  # where none is visible
WHITE_PERCENTILE = 50  # of brightness; the white is trusted above it, below are shadows and vessels
WHITE_SIGMA_PX = 9.0
SHADED = 0.85  # of the white's brightness; darker pixels are in the shadow of a lid, which moves with it
REFLEX_CONTRAST, REFLEX_FOLLOWS = 45.0, 0.5  # in 0..255 above the iris; a reflex moves half as far as the iris
SHADOW_PX, SHADOW_SIGMA_PX = 8, 4.0  # of the upper lid and the roots of its lashes: how far down, how smooth along the lid
SHADOW_RANGE = (0.25, 1.0)
FULL_SHADOW_PX = 20.0  # height of the aperture; towards the corners the shadow is thinner
FULL_MOTION_PX = 2.5  # where a lid moved by less, part of the photo stays
OPENING_RANGE = (0.45, 1.15)


@dataclass(frozen=True, eq=False)
class EyeLayer:
    """One eye of a photo, without lids. Arrays (h, w) and (h, w, 3) are of the window, colours in 0..255.

    Attributes:
        side: "R" or "L", the subject's.
        centre: (2,) of the iris, patch px.
        radius: of the iris, px.
        opening: height by width of the aperture.
        window: the part of the patch that contains the eye.
        photo, known: the window of the photo, and in 0..1 where it shows the eye.
        sclera: the white, without the iris.
        iris: without its reflexes; valid on the disc.
        reflex: light that is added to it.
        shadow: (SHADOW_PX + 1, w), the part of light that is left by the px below the upper lid.
        white: (3,), the mean colour of the visible white.
    """

    side: str
    centre: np.ndarray
    radius: float
    opening: float
    window: Window
    photo: np.ndarray
    known: np.ndarray
    sclera: np.ndarray
    iris: np.ndarray
    reflex: np.ndarray
    shadow: np.ndarray
    white: np.ndarray

    @classmethod
    def from_patch(cls, patch: Patch, side: str) -> "EyeLayer":
        """Locates iris and aperture by the template and inpaints what the lids hide."""
        lines = (patch.points[FEATURE_LINES[f"{lid}_lid_{side}"]] for lid in ("upper", "lower"))
        upper, lower = (sample_line(line, np.linspace(0, 1, 30)) for line in lines)
        centre, radius = _fit_circle(patch.points[IRIS[side]])
        centre = (centre + patch.points[PUPILS["RL".index(side)]]) / 2
        lids = np.vstack([upper, lower[::-1]])
        aside, above, below = MARGIN_PX
        (left, top), (right, bottom) = lids.min(axis=0).astype(int), lids.max(axis=0).astype(int)
        window = slice(max(top - above, 0), bottom + below), slice(max(left - aside, 0), right + aside)
        photo = patch.image[window]
        origin = np.array([window[1].start, window[0].start])
        opened = polygon_mask(lids, photo.shape[:2], origin) > 0.5
        aperture = cv2.erode(opened.astype(np.uint8), np.ones((2 * LID_PX + 1, 3), np.uint8), anchor=(1, LASHES_PX))
        visible = cv2.erode(aperture, np.ones((3, 3), np.uint8)) > 0
        sclera, white = _inpaint_sclera(photo, visible, centre - origin, radius)
        shaded = photo.mean(axis=2) < SHADED * sclera.mean(axis=2)
        lit = visible & ~(shaded & (_distance_to(centre - origin, photo.shape) > radius * IRIS_EDGE[1]))
        known = np.clip(blur(lit.astype(np.float32), 2.0) * 2 - 1, 0, 1)
        iris, reflex = _inpaint_iris(photo, visible, known, centre - origin, radius)
        opening = (lower[15, 1] - upper[15, 1]) / np.linalg.norm(upper[-1] - upper[0])
        eye = cls(side, centre, radius, float(opening), window, photo, known, sclera, iris, reflex,
                  np.ones((SHADOW_PX + 1, photo.shape[1]), np.float32), white)  # fmt: skip
        eye.shadow[:] = _measure_shadow(photo / np.maximum(eye._look(Gaze())[0], 1), opened)
        return eye

    def paint(self, image: np.ndarray, flow: np.ndarray, inpaint_mask: np.ndarray, edges: LidEdges, rest: LidEdges,
              gaze: Gaze) -> None:  # fmt: skip
        """Composites the eye between its lids, in place.

        Args:
            image: (H, W, 3), the warped face; `flow` (H, W, 2) and `inpaint_mask` (H, W) are updated with it.
            edges: of the lids.
            rest: of the lids of the photo.
            gaze: relative to the photo.
        """
        y = np.arange(self.window[0].start, self.window[0].stop)[:, None]
        alpha = self.measure_opacity(edges)
        raised, lowered = np.abs(edges.upper - rest.upper), np.abs(edges.lower - rest.lower)
        down = np.clip((y - rest.upper) / np.maximum(rest.lower - rest.upper, 1), 0, 1)  # from the upper to the lower lid
        motion = np.clip(raised / FULL_MOTION_PX, 0, 1) * (1 - down) + np.clip(lowered / FULL_MOTION_PX, 0, 1) * down
        motion = blur(np.clip(2 * motion, 0, 1).astype(np.float32), 2)
        eye, source, known, turned = self._look(gaze)
        weight = alpha * np.maximum(motion, turned)
        depth = np.stack(np.broadcast_arrays(np.arange(alpha.shape[1]), np.clip(y - edges.upper, 0, SHADOW_PX)), axis=2)
        eye = eye * sample(self.shadow, depth)[..., None]
        image[self.window] += (eye - image[self.window]) * weight[..., None]
        flow[self.window] += (source - flow[self.window]) * weight[..., None]
        inpaint_mask[self.window] = np.maximum(inpaint_mask[self.window], weight * (1 - known))

    def measure_opacity(self, edges: LidEdges) -> np.ndarray:
        """Measures what the lids leave open of the eyeball: (h, w) float32 in 0..1."""
        y = np.arange(self.window[0].start, self.window[0].stop)[:, None]
        alpha = np.clip(y - edges.upper + 0.5, 0, 1) * np.clip(edges.lower - y + 0.5, 0, 1)
        alpha = blur((alpha * np.clip(edges.lower - edges.upper, 0, 1)).astype(np.float32), 0.8)
        return alpha * (edges.lower - edges.upper > 0.05)  # a closed eye has no slit

    def _look(self, gaze: Gaze) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Composes the eye with some gaze.

        Returns:
            image (h, w, 3); flow (h, w, 2); known (h, w) in 0..1, where the flow explains the image; turned (h, w) in
            0..1, where the gaze changes it.
        """
        origin = np.array([self.window[1].start, self.window[0].start])
        y, x = np.mgrid[: self.known.shape[0], : self.known.shape[1]]
        pixels = np.stack([x, y], axis=2).astype(np.float32)
        rest = pixels - (self.centre - origin)
        offset = rest - gaze.shift_px
        direction = gaze.direction
        if sine := float(np.hypot(*direction)):  # seen from the side, the disc is narrower along the direction
            axis = direction / sine
            offset = offset + (offset @ axis)[..., None] * axis * (1 / np.sqrt(1 - sine**2) - 1)
        low, high = np.array(IRIS_EDGE) * self.radius
        disc = np.clip((high - np.hypot(*np.moveaxis(offset, 2, 0))) / (high - low), 0, 1).astype(np.float32)
        positions = offset + (self.centre - origin)
        iris, known_iris = warp(self.iris, positions), sample(self.known, positions)
        reflex = warp(self.reflex, pixels - REFLEX_FOLLOWS * np.float32(gaze.shift_px))
        image = np.clip(self.sclera + (iris - self.sclera) * disc[..., None] + reflex, 0, 255)
        if not sine:
            image += (self.photo - image) * self.known[..., None]
            return image, np.zeros_like(pixels), self.known, np.zeros_like(disc)
        still = self.known * (np.linalg.norm(rest, axis=2) > high)
        known = still + (known_iris - still) * disc
        known = known * (1 - np.clip(np.abs(reflex - warp(self.reflex, positions)).mean(axis=2) / REFLEX_CONTRAST, 0, 1))
        near = np.minimum(np.linalg.norm(rest, axis=2), np.linalg.norm(offset, axis=2))
        turned = np.clip((high + 4 - near) / 3, 0, 1).astype(np.float32)
        return image, (positions - pixels) * (disc > 0.5)[..., None], known, turned


def measure_mesh_opening(mesh: Mesh, side: str) -> float:
    """Measures height by width of an eye of the mesh."""
    upper, lower = (mesh.neutral[mesh.feature_lines[f"{lid}_lid_{side}"]] for lid in ("upper", "lower"))
    return float((upper[:, 1].max() - lower[:, 1].min()) / abs(upper[0, 0] - upper[-1, 0]))


def _fit_circle(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Fits a circle to points (N, 2) by least squares, |p|^2 = 2 c.p + (r^2 - |c|^2): its centre and a plausible radius."""
    solution = np.linalg.lstsq(np.c_[2 * points, np.ones(len(points))], (points**2).sum(1), rcond=None)[0]
    radius = np.sqrt(max(solution[2] + solution[:2] @ solution[:2], 1))
    plausible = RADIUS_RANGE_PX[0] < radius < RADIUS_RANGE_PX[1]
    return solution[:2], max(radius if plausible else TYPICAL_RADIUS_PX, MIN_RADIUS_PX)


def _distance_to(centre: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return np.hypot(x - np.float32(centre[0]), y - np.float32(centre[1]))


def _inpaint_sclera(
    photo: np.ndarray, visible: np.ndarray, centre: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Completes the white as if there were neither lids nor iris: (h, w, 3), and the mean colour of its visible part."""
    outside = visible & (_distance_to(centre, photo.shape) > radius * IRIS_EDGE[1])
    brightness = photo.mean(axis=2)
    trusted = outside
    if outside.sum() > 20:
        trusted = outside & (brightness > np.percentile(brightness[outside], WHITE_PERCENTILE))
    if trusted.sum() <= 5:
        return np.full_like(photo, DEFAULT_WHITE), np.array(DEFAULT_WHITE)
    mean = photo[trusted].mean(axis=0)
    weight = cv2.erode(cv2.morphologyEx(trusted.astype(np.float32), cv2.MORPH_CLOSE, np.ones((3, 3))), np.ones((2, 2)))
    near = extrapolate(photo, np.minimum(weight, trusted))
    sclera = blur(near, 3.0)
    reach = np.clip(blur(weight, WHITE_SIGMA_PX) * 8, 0, 1)[..., None]
    sclera = mean + (sclera - mean) * reach
    kept = np.clip(blur(weight, 1.5) * 2 - 1, 0, 1)[..., None]
    return (sclera + (photo - sclera) * kept).astype(np.float32), mean


def _inpaint_iris(
    photo: np.ndarray, visible: np.ndarray, known: np.ndarray, centre: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Completes the iris as if there were no lids, and separates the light of its reflexes: (h, w, 3) each."""
    distance = _distance_to(centre, photo.shape)
    on_disc = visible & (distance <= radius)
    ring = np.minimum(distance.astype(int), int(radius) + 1)
    colours = np.full((int(radius) + 2, 3), 20.0, np.float32)
    for n in range(len(colours)):
        pixels = on_disc & (ring == n)
        level = 10 if n < PUPIL * radius else 50
        colours[n] = np.percentile(photo[pixels], level, axis=0) if pixels.sum() > 2 else colours[max(n - 1, 0)]
    rings = cv2.GaussianBlur(colours[:, None], (1, 3), 0.8)[:, 0][ring]
    bright = ((photo - rings).mean(axis=2) > REFLEX_CONTRAST) & on_disc & (distance < radius * 0.9)
    spread = blur(cv2.dilate(bright.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32), 1.0)[..., None]
    spread = spread * (distance < radius)[..., None]
    clean = photo + (rings - photo) * spread
    reflex = np.maximum(photo - clean, 0) * known[..., None]

    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]].astype(np.float32)
    mirrored_at = np.stack([x, 2 * np.float32(centre[1]) - y], axis=2)
    mirrored, seen = sample(clean, mirrored_at), sample(on_disc.astype(np.float32), mirrored_at)[..., None] > 0.99
    inpainted = (rings + np.where(seen, mirrored, rings)) / 2
    inpainted *= 1 - LIMBUS_DARKENING * np.exp(-(((distance - radius) / LIMBUS_PX) ** 2))[..., None]
    soft = np.clip(blur(on_disc.astype(np.float32), IRIS_SEAM_PX) * 2 - 1, 0, 1)  # light falls off towards the lid
    outer = np.clip((distance - radius * 0.8) / (radius * 0.2), 0, 1)
    kept = np.minimum(known, soft + (1 - soft) * outer * np.clip((y - centre[1]) / radius, 0, 1))
    return (inpainted + (clean - inpainted) * kept[..., None]).astype(np.float32), reflex.astype(np.float32)


def _measure_shadow(ratio: np.ndarray, opened: np.ndarray) -> np.ndarray:
    """Measures what lid and lashes leave of the light of the eye below the upper lid's edge, (SHADOW_PX + 1, w).

    Args:
        ratio: (h, w, 3), the photo by the completed eye.
        opened: (h, w) bool, the aperture.
    """
    edge = np.argmax(opened, axis=0)
    rows = np.minimum(edge + np.arange(SHADOW_PX + 1)[:, None], len(opened) - 1)
    columns = np.arange(opened.shape[1])
    left = np.clip(ratio.mean(axis=2), *SHADOW_RANGE)[rows, columns] * opened[rows, columns]
    share = opened[rows, columns].astype(np.float32)
    smooth = [
        cv2.GaussianBlur(field.astype(np.float32), (0, 0), sigmaX=SHADOW_SIGMA_PX, sigmaY=0.6) for field in (left, share)
    ]
    shadow = (smooth[0] + 1e-3) / (smooth[1] + 1e-3)
    fade = np.clip((SHADOW_PX - np.arange(SHADOW_PX + 1)) / (SHADOW_PX / 2), 0, 1)[:, None]
    fade = fade * np.clip(opened.sum(axis=0) / FULL_SHADOW_PX, 0, 1)
    return (1 + (shadow - 1) * fade).astype(np.float32)
