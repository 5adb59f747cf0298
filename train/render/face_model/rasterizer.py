"""Triangles to pixels: an orthographic z-buffer, and what is interpolated over its triangles. Compiled by numba."""

from dataclasses import dataclass

import numba
import numpy as np

_EMPTY = -1
_FAR = -1e9
_FLAT = 1e-9  # triangles of less area (twice, px^2) are seen from the edge
_RIM = 1e-5  # a pixel on the common edge of two triangles belongs to one of them for certain


@dataclass(frozen=True)
class Raster:
    """Which triangle each pixel shows.

    Attributes:
        triangle: (H, W) int32, row of `triangles`, -1 where there is none.
        weights: (H, W, 2) float32, how much of the triangle's second and third corner; the first has the rest.
        depth: (H, W) float32, larger is nearer; -1e9 where there is nothing.
        triangles: (T, 3) int32.
    """

    triangle: np.ndarray
    weights: np.ndarray
    depth: np.ndarray
    triangles: np.ndarray

    @property
    def covered(self) -> np.ndarray:
        """(H, W) bool."""
        return self.triangle != _EMPTY

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """Values of the vertices, (N, C) -> (H, W, C) float32, zero where there is no triangle."""
        return _interpolate(self.triangle, self.weights, self.triangles, np.ascontiguousarray(values, np.float32))


def rasterise(vertices: np.ndarray, triangles: np.ndarray, shape: tuple[int, int]) -> Raster:
    """What is seen from the front; triangles that turn their back are left out.

    Args:
        vertices: (N, 3): x and y in px (pixel centres at whole numbers, y down), z towards the viewer.
        triangles: (T, 3) int32.
        shape: (H, W).
    """
    return Raster(*_rasterise(np.ascontiguousarray(vertices), triangles, *shape), triangles)


def normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(N, 3) unit normals: the mean of the triangles around a vertex, each by its area."""
    return _normals(np.ascontiguousarray(vertices), triangles)


@numba.njit(cache=True, fastmath=True)
def _rasterise(points, triangles, height, width):
    depth = np.full((height, width), _FAR, np.float32)
    triangle = np.full((height, width), _EMPTY, np.int32)
    weights = np.zeros((height, width, 2), np.float32)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area >= -_FLAT:  # y points down: what faces the viewer turns the other way
            continue
        left, right = max(0, int(np.ceil(min(x0, x1, x2)))), min(width - 1, int(np.floor(max(x0, x1, x2))))
        top, bottom = max(0, int(np.ceil(min(y0, y1, y2)))), min(height - 1, int(np.floor(max(y0, y1, y2))))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                u = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) / area
                v = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / area
                if u >= -_RIM and v >= -_RIM and u + v <= 1 + _RIM:
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
            if t != _EMPTY:
                a, b, c, u, v = triangles[t, 0], triangles[t, 1], triangles[t, 2], weights[y, x, 0], weights[y, x, 1]
                for k in range(values.shape[1]):
                    out[y, x, k] = (1 - u - v) * values[a, k] + u * values[b, k] + v * values[c, k]
    return out


@numba.njit(cache=True)
def _normals(vertices, triangles):
    summed = np.zeros_like(vertices)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        e, f = vertices[b] - vertices[a], vertices[c] - vertices[a]
        x, y, z = e[1] * f[2] - e[2] * f[1], e[2] * f[0] - e[0] * f[2], e[0] * f[1] - e[1] * f[0]
        for k in (a, b, c):
            summed[k, 0] += x
            summed[k, 1] += y
            summed[k, 2] += z
    for i in range(summed.shape[0]):
        summed[i] /= np.sqrt((summed[i] ** 2).sum()) + 1e-12
    return summed
