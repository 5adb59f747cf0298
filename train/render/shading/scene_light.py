"""Light of everyday scenes on a photo taken in even studio light: from any side in front, hard or soft, of any colour.

The depth of the patch gives normals, and the horizon that each pixel sees in the light's direction, which gives attached
and cast shadows in one (horizon mapping, Max 1988). The photo is multiplied by the ratio of this shading to the studio's.
"""

import colorsys
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np

from exprgan.photo.image_io import LUMA

from ..pixel_fields import blur, extrapolate
from .relighting import AMBIENT, LIGHT_DIRECTION

Colour = tuple[float, float, float]
"""Factors on red, green and blue in linear light, of mean 1 weighted by `LUMA`."""

BLACK_BODY = np.array([
    (100, 0.873, 0.994, 1.430),
    (125, 0.947, 0.992, 1.237),
    (154, 1.042, 0.984, 1.034),
    (200, 1.209, 0.962, 0.762),
    (250, 1.406, 0.927, 0.533),
    (333, 1.755, 0.849, 0.271),
    (400, 2.043, 0.777, 0.138),
])  # fmt: skip
"""Colours by temperature: mired (a million over kelvin), red, green, blue in linear sRGB. From Planck's law and the CIE
1931 observer in the approximation of Wyman et al. (2013)."""

KINDS = {  # kind -> share, and ranges of azimuth (to either side) and elevation in degrees
    "front": (0.2, (0, 35), (-10, 35)),
    "side": (0.4, (40, 75), (-15, 35)),
    "top": (0.25, (0, 50), (30, 48)),
    "low": (0.15, (0, 50), (-55, -20)),
}
STRENGTH_RANGE, AMBIENT_RANGE, SOFTNESS_RANGE_DEG = (0.6, 1.0), (0.12, 0.5), (8.0, 40.0)
EXPOSURE_RANGE, BACKDROP_RANGE = (0.6, 1.15), (0.25, 1.1)
COLOURED_SHARE, WARM_MIRED, USUAL_MIRED = 0.12, (125, 400), (135, 230)

FACE_HEIGHT_PX = (50.0, 150.0)  # above the backdrop, between which a pixel passes into the face
SHAPE_SIGMA_PX = 7.0
HORIZON_STEPS_PX = np.geomspace(3, 280, 36)
SHADOW_SIGMA_PX = 5.0
SHADOW_LIGHT = 0.2  # of the lamp's light, which skin nearby reflects into a shadow
MIN_STUDIO_SHADE = 0.55
RATIO_RANGE = (0.03, 3.5)
MAX_BACKDROP_HEIGHT_PX = 160.0  # beside the head, where depth is gentle
MAX_PLAIN_SPREAD = 12.0  # levels of 255, mean difference within a corner
BACKDROP_CONTRASTS = [(20.0, 60.0), (14.0, 45.0)]  # levels of 255, in two rounds: what differs by less is backdrop


@dataclass(frozen=True)
class Light:
    """A lamp or window and the light around it; the default leaves a picture as it is.

    Attributes:
        azimuth_deg: -90..90, to the right of the image.
        elevation_deg: -90..90, from above.
        strength: 0..1, from the studio's light to this one.
        softness_deg: half of the angle under which the lamp is seen; a flash has 3, a window 30.
        ambient: 0..1, the share of light from all sides.
        exposure: factor on the mean light of the face.
        backdrop: factor on the light of a plain backdrop.
        colour, ambient_colour: of the lamp and of the other light.
    """

    azimuth_deg: float = 0.0
    elevation_deg: float = 0.0
    strength: float = 0.0
    softness_deg: float = 15.0
    ambient: float = 0.3
    exposure: float = 1.0
    backdrop: float = 1.0
    colour: Colour = (1.0, 1.0, 1.0)
    ambient_colour: Colour = (1.0, 1.0, 1.0)

    @classmethod
    def sample(cls, generator: Random) -> "Light":
        """Draws a light: a fifth from the front, the others from a side, the top or below; one in eight is coloured."""
        draw, uniform = generator.random(), generator.uniform
        for share, azimuths, elevations in KINDS.values():  # noqa: B007
            if (draw := draw - share) < 0:
                break
        side = -1 if generator.random() < 0.5 else 1
        azimuth, elevation = side * uniform(*azimuths), uniform(*elevations)
        strength, softness, ambient = uniform(*STRENGTH_RANGE), uniform(*SOFTNESS_RANGE_DEG), uniform(*AMBIENT_RANGE)
        exposure, backdrop = uniform(*EXPOSURE_RANGE), uniform(*BACKDROP_RANGE)
        kind, hue, saturation = generator.random(), generator.random(), uniform(0.4, 0.85)
        warm, usual, around = uniform(*WARM_MIRED), uniform(*USUAL_MIRED), uniform(*USUAL_MIRED)
        colour = black_body_colour(warm if kind < 0.4 else usual)
        if kind > 1 - COLOURED_SHARE:
            colour = _normalise(np.square(colorsys.hsv_to_rgb(hue, saturation, 1.0)))
        return cls(azimuth, elevation, strength, softness, ambient, exposure, backdrop, colour, black_body_colour(around))

    @property
    def direction(self) -> np.ndarray:
        """(3,): a unit vector towards the lamp, x to the right, y down and z towards the viewer."""
        azimuth, elevation = np.radians(self.azimuth_deg), np.radians(self.elevation_deg)
        x, y, z = np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation)
        return np.array([x, y, z], np.float32)


def black_body_colour(mired: float) -> Colour:
    """Returns the colour of a black body of a temperature in mired, 100..400."""
    return _normalise([np.interp(mired, BLACK_BODY[:, 0], BLACK_BODY[:, channel]) for channel in (1, 2, 3)])


def relight(image: np.ndarray, depth: np.ndarray, light: Light) -> np.ndarray:
    """Relights a picture, in nearly linear light (gamma 2); a light of strength 0 returns it as it is.

    Args:
        image: (H, W, 3) uint8, RGB.
        depth: (H, W) float32, px towards the viewer, as of `RenderedFace.depth`.
        light: the new light.

    Returns:
        (H, W, 3) uint8.
    """
    if light.strength == 0:
        return image
    height, width = depth.shape
    half, half_depth = (
        cv2.resize(each, (width // 2, height // 2), interpolation=cv2.INTER_AREA) for each in (image, depth)
    )
    height_map = _measure_height(half_depth)
    ratio = _compute_ratio(half_depth / 2, height_map, light)
    colour = light.ambient * np.float32(light.ambient_colour) + (1 - light.ambient) * np.float32(light.colour)
    ratio += (light.exposure * light.backdrop * colour - ratio) * find_backdrop(half, height_map)[..., None]
    ratio = 1 + light.strength * (cv2.resize(ratio, (width, height), interpolation=cv2.INTER_LINEAR) - 1)
    linear = np.square(image / np.float32(255))
    # what is lit more strongly approaches white but never exceeds it
    linear = linear * ratio / (1 + linear * np.maximum(ratio - 1, 0))
    return np.rint(np.sqrt(linear) * 255).astype(np.uint8)


def compute_visibility(depth: np.ndarray, light: Light) -> np.ndarray:
    """Computes which share of the lamp's light reaches each pixel: (H, W) float32, `SHADOW_LIGHT`..1.

    Args:
        depth: (H, W) float32, in pixels of its own grid, which are 2 px of the patch.
        light: gives direction and softness.
    """
    x, y, z = light.direction.astype(float)
    side = np.hypot(x, y)
    if side < 1e-3:
        return np.ones_like(depth)
    rise = np.full_like(depth, -10.0)
    for distance in HORIZON_STEPS_PX / 2:
        shift = np.array([[1, 0, distance * x / side], [0, 1, distance * y / side]])
        there = cv2.warpAffine(depth, shift, depth.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                               borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
        np.maximum(rise, (there - depth) / np.float32(distance), out=rise)
    above = np.degrees(np.arctan2(z, side) - np.arctan(rise))
    return blur(np.clip(0.5 + above / (2 * light.softness_deg), SHADOW_LIGHT, 1).astype(np.float32), SHADOW_SIGMA_PX / 2)


def _compute_ratio(depth: np.ndarray, height: np.ndarray, light: Light) -> np.ndarray:
    """Computes the ratio of shadings, (H, W, 3) float32, of mean `exposure` over the face; `depth` in px of its grid."""
    depth = blur(depth, SHAPE_SIGMA_PX / 2)
    slopes = [cv2.Sobel(depth, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1))]
    normals = (
        cv2.merge([-slopes[0], -slopes[1], np.ones_like(depth)]) / np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2)[..., None]
    )
    wrap = np.sin(np.radians(light.softness_deg)) / 2  # a wide lamp also reaches what turns away from its middle
    lambert = np.clip((normals @ light.direction + wrap) / (1 + wrap), 0, None) * compute_visibility(depth, light)
    studio = AMBIENT + (1 - AMBIENT) * np.clip(normals @ (LIGHT_DIRECTION * np.float32([1, -1, 1])), 0, None)
    low, high = FACE_HEIGHT_PX
    face = np.clip((height - low) / (high - low), 0, 1) + 1e-3
    lambert /= np.average(lambert, weights=face) + 1e-3
    shade = light.ambient * np.float32(light.ambient_colour) + (1 - light.ambient) * lambert[..., None] * np.float32(
        light.colour
    )
    ratio = shade / np.maximum(studio, MIN_STUDIO_SHADE)[..., None]
    ratio *= light.exposure / np.average(ratio @ np.float32(LUMA), weights=face)
    return np.clip(ratio, *RATIO_RANGE)


def _measure_height(depth: np.ndarray) -> np.ndarray:
    """Measures the height of each pixel above the plane of the backdrop, which turns with the head: (H, W) float32."""
    height, width = depth.shape
    y, x = np.mgrid[: height // 2, : width : width - 1].reshape(2, -1)  # the upper halves of the two side edges
    a, b, c = np.linalg.lstsq(np.stack([x, y, np.ones_like(x)], axis=1), depth[y, x], rcond=None)[0]
    return (depth - (a * np.arange(width) + b * np.arange(height)[:, None] + c)).astype(np.float32)


def find_backdrop(image: np.ndarray, height_map: np.ndarray) -> np.ndarray:
    """Finds a plain backdrop: (H, W) float32 in 0..1, zero where neither of the top corners is plain.

    It has the colours of the top corners, or of what is like them nearby; it reaches the side edges or lies far behind.

    Args:
        image: (H, W, 3) uint8.
        height_map: (H, W) float32, px of the patch above the plane of the backdrop.
    """
    height, width = height_map.shape
    far = 1 - np.clip((height_map - FACE_HEIGHT_PX[0]) / np.ptp(FACE_HEIGHT_PX), 0, 1)
    behind = height_map < MAX_BACKDROP_HEIGHT_PX
    smooth = blur(image.astype(np.float32), 0.8)
    corners = [smooth[: height // 8, side].reshape(-1, 3) for side in (slice(width // 8), slice(-(width // 8), None))]
    medians = [np.median(corner, axis=0) for corner in corners]
    spreads = [np.abs(corner - median).mean() for corner, median in zip(corners, medians, strict=True)]
    colours = [median for median, spread in zip(medians, spreads, strict=True) if spread < MAX_PLAIN_SPREAD]
    if not colours:
        return np.zeros((height, width), np.float32)
    across = np.linspace(0, 1, width)[:, None]
    colour = (colours[0] * (1 - across) + colours[-1] * across).astype(np.float32)
    small = width // 4, height // 4
    for low, high in BACKDROP_CONTRASTS:
        alike = 1 - np.clip((np.abs(smooth - colour).max(axis=2) - low) / (high - low), 0, 1)
        _, labels = cv2.connectedComponents(((alike > 0.5) & behind).astype(np.uint8))
        edge_labels = np.unique(labels[: height * 3 // 4, [*range(width // 16), *range(-(width // 16), 0)]])
        connected = np.isin(labels, edge_labels[edge_labels > 0]).astype(np.float32)
        alike = alike * np.maximum(far, cv2.dilate(connected, np.ones((3, 3), np.uint8)))
        share = cv2.resize(alike, small, interpolation=cv2.INTER_AREA)
        weighted = cv2.resize(smooth * alike[..., None], small, interpolation=cv2.INTER_AREA)
        filled = extrapolate(weighted / np.maximum(share, 1e-3)[..., None], (share > 0.5).astype(np.float32))
        colour = cv2.resize(blur(filled, 4), (width, height), interpolation=cv2.INTER_LINEAR)  # brighter in places
    return blur(cv2.dilate(alike, np.ones((5, 5), np.uint8)), 1)  # the edge of a head mixes with it


def _normalise(colour: np.ndarray | list) -> Colour:
    return tuple(float(channel) for channel in np.array(colour) / (np.array(colour) @ LUMA))
