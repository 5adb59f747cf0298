"""Morphs two faces into a third one: shape and skin lie between the two, hair, neck and backdrop are those of the first."""

import cv2
import numpy as np
from scipy.spatial import Delaunay

from exprgan.photo.alignment import transform

from .face_model.canonical_frame import fit_similarity
from .face_model.webmorph_template import FEATURE_LINES, NUM_POINTS
from .pixel_fields import blur, pixel_grid, polygon_mask, warp

FEATURE_POINTS = [*range(109), *range(158, 183)]
"""Eyes, brows, nose, mouth, cheeks and chin: the second face is aligned to the first one by them."""
HAIRLINE_POINTS = [*range(134, 145)]
EDGE_POINTS = [*HAIRLINE_POINTS, *range(109, 115), *range(125, 134)]
"""The border of the face: hairline, temples, ears and jaw."""
FACE_POINTS = sorted({*FEATURE_POINTS, *EDGE_POINTS})
SURROUNDING_POINTS = sorted({*range(NUM_POINTS)} - {*FACE_POINTS})
"""Hair, ears and neck. They follow a face that grows, less with distance."""

GRID_PX = 3  # displacements are computed at every third pixel, as they are smooth
SMOOTHING_CELLS = 2.0  # sigma in cells of that grid; removes the kinks at the triangles' edges
REACH = 0.16  # in widths of the face: the distance at which hair and neck still follow it
INSET = 0.93  # the second face's skin ends inside the face's border
FADE = 0.056  # in widths of the face: sigma of its soft edge
HAIR_CONTRAST = (14.0, 30.0)  # levels of 255: two skins differ by less in lightness, skin and hair by more
CONTRAST_GAIN_RANGE = (0.8, 1.25)


def morph_faces(
    first: np.ndarray, first_points: np.ndarray, second: np.ndarray, second_points: np.ndarray, shape: float, skin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Morphs two photos into one of a third person, in the frame of the first photo.

    Args:
        first: (H, W, 3) uint8, RGB.
        first_points: (189, 2), the template in px.
        second: (h, w, 3) uint8, RGB.
        second_points: (189, 2), in px of the second photo.
        shape: from 0 (the first face's) to 1 (the second face's).
        skin: from 0 to 1 likewise.

    Returns:
        The photo, (H, W, 3) uint8, and its template, (189, 2) float64.
    """
    size = first.shape[:2]
    matrix = fit_similarity(second_points[FEATURE_POINTS], first_points[FEATURE_POINTS])
    second = cv2.warpAffine(second, matrix, size[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    second_points = transform(matrix, second_points)
    points = interpolate_points(first_points, second_points, shape)
    first = _warp_to_points(first, points, first_points)
    second = _warp_to_points(second, points[FACE_POINTS], second_points[FACE_POINTS])
    mask = _skin_mask(points, size)
    second = _match_tone(second, first, mask > 0.9)
    weight = skin * (mask * _hairless_mask(first, second, points))[..., None]
    return np.clip(np.rint(first * (1 - weight) + second * weight), 0, 255).astype(np.uint8), points


def interpolate_points(first: np.ndarray, second: np.ndarray, weight: float) -> np.ndarray:
    """Interpolates between the (189, 2) points of two aligned faces; the first one's surroundings follow its face."""
    points = first.copy()
    shift = weight * (second[FACE_POINTS] - first[FACE_POINTS])
    points[FACE_POINTS] += shift
    reach = REACH * np.ptp(first[FACE_POINTS, 0])
    distances = np.linalg.norm(first[SURROUNDING_POINTS][:, None] - first[FACE_POINTS][None], axis=2)
    nearest = distances.min(1, keepdims=True)
    weights = np.exp(-((distances - nearest) ** 2) / (2 * (0.3 * reach) ** 2))
    follow = weights @ shift / weights.sum(1, keepdims=True)
    points[SURROUNDING_POINTS] += follow * np.exp(-(nearest**2) / (2 * reach**2))
    return points


def _warp_to_points(image: np.ndarray, points: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Warps an image so that what lies at `sources` comes to `points`, both (N, 2); its border stays."""
    height, width = image.shape[:2]
    border = np.array([(x, y) for x in (-50, width / 2, width + 50) for y in (-50, height / 2, height + 50)])
    border = np.delete(border, 4, axis=0)  # the centre
    points, sources = np.vstack([points, border]), np.vstack([sources, border])
    cells = height // GRID_PX + 2, width // GRID_PX + 2
    shift = blur(_interpolate_linearly(points / GRID_PX, sources - points, cells), SMOOTHING_CELLS)
    grid = pixel_grid((height, width))
    return warp(image, grid + cv2.remap(shift, *np.moveaxis(grid / GRID_PX, 2, 0), cv2.INTER_LINEAR))


def _interpolate_linearly(points: np.ndarray, values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Interpolates values of (N, 2) points linearly over the triangles between them: (H, W, 2) float32."""
    triangles = Delaunay(points).simplices
    corners = np.concatenate([points[triangles], np.ones((len(triangles), 3, 1))], axis=2)
    proper = np.abs(np.linalg.det(corners)) > 1e-4  # triangles of collinear points have no area
    triangles, corners = triangles[proper], corners[proper]
    coefficients = np.linalg.solve(corners, values[triangles])  # (T, 3, 2): of x, of y, constant
    index = np.zeros(size, np.int32)
    for number, triangle in enumerate(points[triangles]):
        cv2.fillConvexPoly(index, np.rint(triangle * 16).astype(np.int32), number, shift=4)
    x_y_1 = np.concatenate([pixel_grid(size), np.ones((*size, 1), np.float32)], axis=2)
    return np.einsum("hwi,hwij->hwj", x_y_1, coefficients[index]).astype(np.float32)


def _skin_mask(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Computes where the second face's skin is blended in: (H, W) float32 in 0..1."""
    centre, edge = points[FEATURE_POINTS].mean(0), points[EDGE_POINTS]
    outline = cv2.convexHull((centre + (edge - centre) * INSET).astype(np.float32))[:, 0]
    return blur(polygon_mask(outline, size), FADE * np.ptp(points[FEATURE_POINTS, 0]))


def _hairless_mask(first: np.ndarray, second: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Computes where no hair covers one forehead only, which would cast a shadow on the other: (H, W) float32 in 0..1."""
    width = np.ptp(points[FEATURE_POINTS, 0]) / 4
    brows = points[FEATURE_LINES["upper_brow_R"] + FEATURE_LINES["upper_brow_L"], 1].min() / 4
    small = (cv2.resize(image, None, fx=1 / 4, fy=1 / 4, interpolation=cv2.INTER_AREA) for image in (first, second))
    lightness = (cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32) for image in small)
    smooth_first, smooth_second = (blur(values, 0.015 * width) for values in lightness)
    above = np.clip((brows - np.arange(len(smooth_first), dtype=np.float32)) / (0.06 * width), 0, 1)[:, None]
    low, high = HAIR_CONTRAST
    hair = np.clip((np.abs(smooth_first - smooth_second) - low) / (high - low), 0, 1) * above
    side = 2 * round(0.04 * width) + 1
    hair = blur(cv2.dilate(hair, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))), 0.03 * width)
    return 1 - cv2.resize(hair, first.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _match_tone(image: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Gives (H, W, 3) uint8 the mean and, within bounds, the spread in L*a*b* that a reference has within the mask."""
    values, reference_values = (cv2.cvtColor(each, cv2.COLOR_RGB2LAB).astype(np.float32) for each in (image, reference))
    source, target = values[mask], reference_values[mask]
    gain = np.clip(target.std(0) / np.maximum(source.std(0), 1e-3), *CONTRAST_GAIN_RANGE)
    toned = np.clip((values - source.mean(0)) * gain + target.mean(0), 0, 255)
    return cv2.cvtColor(toned.astype(np.uint8), cv2.COLOR_LAB2RGB)
