"""Rasterisation: an orthographic z-buffer and interpolation over its triangles, compiled by numba."""

from dataclasses import dataclass

import numba
import numpy as np

_NO_TRIANGLE = -1
_NO_DEPTH = -1e9
_MIN_DOUBLE_AREA = 1e-9  # px^2; smaller triangles are seen from the edge
_EDGE_TOLERANCE = 1e-5  # so that a pixel on the common edge of two triangles belongs to one of them for certain


@dataclass(frozen=True)
class Raster:
    """The triangle visible at each pixel."""

    triangle: np.ndarray  # (H, W) int32, row of `triangles`, -1 where there is none
    weights: np.ndarray  # (H, W, 2) float32, barycentric weights of the triangle's second and third corner
    depth: np.ndarray  # (H, W) float32, larger is nearer; -1e9 where there is no triangle
    triangles: np.ndarray  # (T, 3) int32

    @property
    def covered(self) -> np.ndarray:
        """(H, W) bool, where there is a triangle."""
        return self.triangle != _NO_TRIANGLE

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """Interpolates values of the vertices: (N, C) -> (H, W, C) float32, zero where there is no triangle."""
        return _interpolate(self.triangle, self.weights, self.triangles, np.ascontiguousarray(values, np.float32))


def rasterise(vertices: np.ndarray, triangles: np.ndarray, shape: tuple[int, int]) -> Raster:
    """Rasterises the triangles that face the viewer.

    Args:
        vertices: (N, 3): x and y in px (pixel centres at whole numbers, y down), z towards the viewer.
        triangles: (T, 3) int32.
        shape: (H, W).
    """
    return Raster(*_rasterise(np.ascontiguousarray(vertices), triangles, *shape), triangles)


def compute_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Computes unit normals, (N, 3): the mean over the triangles around a vertex, weighted by area."""
    a, b, c = (vertices[corner] for corner in triangles.T)
    corners, crossed = triangles.ravel(), np.repeat(np.cross(b - a, c - a), 3, axis=0)
    summed = np.stack([np.bincount(corners, component, len(vertices)) for component in crossed.T], axis=1)
    return summed / (np.linalg.norm(summed, axis=1, keepdims=True) + 1e-12)


@numba.njit(cache=True, fastmath=True)
def _rasterise(points, triangles, height, width):
    depth = np.full((height, width), _NO_DEPTH, np.float32)
    triangle = np.full((height, width), _NO_TRIANGLE, np.int32)
    weights = np.zeros((height, width, 2), np.float32)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area >= -_MIN_DOUBLE_AREA:  # y points down: triangles that face the viewer have negative area
            continue
        left, right = max(0, int(np.ceil(min(x0, x1, x2)))), min(width - 1, int(np.floor(max(x0, x1, x2))))
        top, bottom = max(0, int(np.ceil(min(y0, y1, y2)))), min(height - 1, int(np.floor(max(y0, y1, y2))))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                u = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) / area
                v = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / area
                if u >= -_EDGE_TOLERANCE and v >= -_EDGE_TOLERANCE and u + v <= 1 + _EDGE_TOLERANCE:
                    z = points[a, 2] * (1 - u - v) + points[b, 2] * u + points[c, 2] * v
                    if z > depth[y, x]:
                        depth[y, x], triangle[y, x], weights[y, x, 0], weights[y, x, 1] = z, t, u, v
    return triangle, weights, depth


@numba.njit(cache=True, fastmath=True)
def _interpolate(triangle, weights, triangles, values):
    height, width = triangle.shape
    out = np.zeros((height, width, values.shape[1]), np.float32)
    for y in range(height):
        for x in range(width):
            t = triangle[y, x]
            if t != _NO_TRIANGLE:
                a, b, c, u, v = triangles[t, 0], triangles[t, 1], triangles[t, 2], weights[y, x, 0], weights[y, x, 1]
                for k in range(values.shape[1]):
                    out[y, x, k] = (1 - u - v) * values[a, k] + u * values[b, k] + v * values[c, k]
    return out
