"""Two faces mixed into a third: its shape and its skin lie between theirs; hair, neck and backdrop are the first one's."""

import cv2
import numpy as np
from scipy.spatial import Delaunay

from .face_model.canonical_frame import similarity
from .face_model.webmorph_template import BROW_UPPER, POINTS
from .pixel_fields import blur, pixels, polygon, warp

FEATURES = (*range(109), *range(158, 183))
"""Eyes, brows, nose, mouth, cheeks and chin: by them the second face is laid over the first."""
HAIRLINE = tuple(range(134, 145))
EDGE = (*HAIRLINE, *range(109, 115), *range(125, 134))
"""Around the face: hairline, temples, ears and jaw."""
FACE = tuple(sorted({*FEATURES, *EDGE}))
AROUND = tuple(sorted({*range(POINTS)} - {*FACE}))
"""Hair, ears and neck. They give way to a face that grows, the less the farther they are."""

GRID_PX = 3  # displacements are computed at every third pixel; they are smooth
SMOOTH = 2.0  # grid steps: takes the creases off the triangles' edges
REACH = 0.16  # of the face's width: how far around the face hair and neck follow it
INSET = 0.93  # the second one's skin ends inside the face's edge,
FADE = 0.056  # and fades over this share of the face's width
HAIR = (14.0, 30.0)  # skin and hair over the forehead differ by more than this of 255 in lightness; skins by less
CONTRAST = (0.8, 1.25)  # bounds for bringing the second one's contrast to the first one's


def mix(
    first: np.ndarray, first_points: np.ndarray, second: np.ndarray, second_points: np.ndarray, shape: float, skin: float
) -> tuple[np.ndarray, np.ndarray]:
    """A third person's photo in the frame of the first one's, and its template.

    Args:
        first: (H, W, 3) uint8, RGB.
        first_points: (189, 2), px.
        second: (h, w, 3) uint8, RGB.
        second_points: (189, 2), px of the second photo.
        shape: 0 (the first one's) to 1 (the second one's).
        skin: 0 to 1, likewise.

    Returns:
        (H, W, 3) uint8 and (189, 2) float64.
    """
    size = first.shape[:2]
    onto = similarity(second_points[list(FEATURES)], first_points[list(FEATURES)])
    laid = cv2.warpAffine(second, onto, size[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    laid_points = second_points @ onto[:, :2].T + onto[:, 2]
    points = between(first_points, laid_points, shape)
    face = list(FACE)
    first = _pull(first, points, first_points)
    second = _pull(laid, points[face], laid_points[face])
    mask = _mask(points, size)
    second = _in_tone(second, first, mask > 0.9)
    share = skin * (mask * _bare(first, second, points))[..., None]
    return np.clip(np.rint(first * (1 - share) + second * share), 0, 255).astype(np.uint8), points


def between(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """The points of a face between two that lie over each other: (189, 2), (189, 2) -> (189, 2)."""
    face, around = list(FACE), list(AROUND)
    points = first.copy()
    moved = share * (second[face] - first[face])
    points[face] += moved
    reach = REACH * np.ptp(first[face, 0])
    distances = np.linalg.norm(first[around][:, None] - first[face][None], axis=2)
    near = np.exp(-((distances - distances.min(1, keepdims=True)) ** 2) / (2 * (0.3 * reach) ** 2))
    follow = near @ moved / near.sum(1, keepdims=True)
    points[around] += follow * np.exp(-(distances.min(1, keepdims=True) ** 2) / (2 * reach**2))
    return points


def _pull(image: np.ndarray, points: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """The image in which what lies at `sources` comes to `points`; its frame stays."""
    height, width = image.shape[:2]
    frame = np.array([(x, y) for x in (-50, width / 2, width + 50) for y in (-50, height / 2, height + 50)])
    frame = np.delete(frame, 4, axis=0)  # the middle
    here, there = np.vstack([points, frame]), np.vstack([sources, frame])
    grid = blur(_between_triangles(here / GRID_PX, there - here, (height // GRID_PX + 2, width // GRID_PX + 2)), SMOOTH)
    to_grid = pixels((height, width)) / GRID_PX
    moved = cv2.remap(grid, to_grid[..., 0], to_grid[..., 1], cv2.INTER_LINEAR)
    return warp(image, pixels((height, width)) + moved)


def _between_triangles(points: np.ndarray, values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values of points, (N, 2), interpolated linearly over the triangles between them: (H, W, 2) float32."""
    triangles = Delaunay(points).simplices
    corners = np.concatenate([points[triangles], np.ones((len(triangles), 3, 1))], axis=2)
    whole = np.abs(np.linalg.det(corners)) > 1e-4  # points in a line have none
    triangles, corners = triangles[whole], corners[whole]
    slopes = np.linalg.solve(corners, values[triangles])  # (T, 3, 2): by x, by y, constant
    which = np.zeros(size, np.int32)
    for number, triangle in enumerate(points[triangles]):
        cv2.fillConvexPoly(which, np.rint(triangle * 16).astype(np.int32), number, shift=4)
    at = np.concatenate([pixels(size), np.ones((*size, 1), np.float32)], axis=2)
    return np.einsum("hwi,hwij->hwj", at, slopes[which]).astype(np.float32)


def _mask(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Where the second one's skin shows: (H, W) float32 in 0..1."""
    centre, edge = points[list(FEATURES)].mean(0), points[list(EDGE)]
    outline = cv2.convexHull((centre + (edge - centre) * INSET).astype(np.float32))[:, 0]
    return blur(polygon(outline, size), FADE * np.ptp(points[list(FEATURES), 0]))


def _bare(first: np.ndarray, second: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where the foreheads look alike: hair that falls over one of them would be a shadow on the other. (H, W) in 0..1."""
    width, brows = np.ptp(points[list(FEATURES), 0]) / 4, points[[*BROW_UPPER["R"], *BROW_UPPER["L"]], 1].min() / 4
    small = (cv2.resize(each, None, fx=1 / 4, fy=1 / 4, interpolation=cv2.INTER_AREA) for each in (first, second))
    one, other = (cv2.cvtColor(each, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32) for each in small)
    apart = np.abs(blur(one, 0.015 * width) - blur(other, 0.015 * width))
    above = np.clip((brows - np.arange(len(one), dtype=np.float32)) / (0.06 * width), 0, 1)[:, None]
    hair = np.clip((apart - HAIR[0]) / (HAIR[1] - HAIR[0]), 0, 1) * above
    side = 2 * round(0.04 * width) + 1
    hair = blur(cv2.dilate(hair, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))), 0.03 * width)
    return 1 - cv2.resize(hair, first.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _in_tone(image: np.ndarray, model: np.ndarray, where: np.ndarray) -> np.ndarray:
    """An image with the mean and, within bounds, the spread that the model has in L*a*b*: (H, W, 3) uint8."""
    ours, theirs = (cv2.cvtColor(each, cv2.COLOR_RGB2LAB).astype(np.float32) for each in (image, model))
    mine, wanted = ours[where], theirs[where]
    gain = np.clip(wanted.std(0) / np.maximum(mine.std(0), 1e-3), *CONTRAST)
    toned = np.clip((ours - mine.mean(0)) * gain + wanted.mean(0), 0, 255)
    return cv2.cvtColor(toned.astype(np.uint8), cv2.COLOR_LAB2RGB)
