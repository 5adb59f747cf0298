"""Where the irises of an open eye are, and what an iris looks like where a lid hid it.

An iris is found as the circle at whose sides brightness rises most (after Daugman, 1993). Only arcs at its sides and below
are compared, since lids and lashes cover the rest. All positions are in sides of a window, see `eye_network`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..photo.blending import Pixels, smooth_step

IRIS_RADIUS = 0.098
"""The usual radius of an iris, in sides of a window: it varies little beside the distance of the pupils."""
PUPIL = (0.4769, 0.5075)
"""Where the pupil of an aligned face lies in a window, x and y; in both, since one of them is mirrored."""
COARSE, FINE = (0.105, 9, (0.9, 1.0, 1.1)), (0.026, 9, (0.92, 0.96, 1.0, 1.04, 1.08))
"""Two searches: the largest shift in x and y, the number of shifts, and the radii by the one before."""
ANGLES = (-25, -10, 5, 20, 35, 50)  # of the arcs, in degrees below the horizontal, on both sides
DISTANCE_WEIGHT = 0.02  # against a circle that is 0.084 from PUPIL in x or y, or a tenth larger or smaller than usual
BLENDED = 0.01  # circles whose score is less by this have 1 / e of the weight of the best one in the mean
VISIBLE = (0.05, 0.15)
"""Rise of brightness at a circle: up to the first it is no iris, from the second on it is one. Of 399 open eyes of rendered
people the lowest hundredth is at 0.19, of 29 closed ones the middle at -0.02."""
RIM = 0.16  # width of an iris's soft edge, in its radii
INNER = 0.97  # of its distance from the middle is where a hidden point is copied from, so that no white is
UNDER_LID, UNDER_LID_SCALE = 1.41, 0.4
"""Just below the lower lid, in radii below the middle of the iris. The skin of a closing lid is copied from as far below
as its place lies above it, times the scale: from below the eye, and not from the cheek."""


def find_irises(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the iris in windows (N, 3, E, E) in [-1, 1].

    Returns:
        x, y and radius, (N, 3) in sides of the window; where an eye is closed, a place where the iris may be. And how open
        the eye is, (N,): 0 where no iris is seen, 1 where one is.
    """
    brightness = (windows[:, :1] + windows[:, 1:2] + 2) / 4  # red and green, in which skin and white are bright
    usual = windows.new_tensor([*PUPIL, IRIS_RADIUS])
    found = usual.expand(windows.shape[0], 3)  # `len` would fix N in an export
    for reach, count, radii in (COARSE, FINE):
        shifts = torch.linspace(-reach, reach, count, device=windows.device, dtype=windows.dtype)
        x, y, r = torch.meshgrid(shifts, shifts, windows.new_tensor(radii), indexing="ij")
        shift, factor = torch.stack((x, y), dim=3).reshape(-1, 2), r.reshape(-1, 1)
        circles = torch.cat((found[:, None, :2] + shift, found[:, None, 2:] * factor), dim=2)
        score = _rise_at(brightness, circles) - DISTANCE_WEIGHT * ((circles - usual) / usual.new_tensor(
            [0.084, 0.084, IRIS_RADIUS / 10])).square().sum(2)  # fmt: skip
        found = torch.einsum("nk,nkc->nc", (score / BLENDED).softmax(1), circles)
    closed, opened = VISIBLE
    return found, smooth_step((_rise_at(brightness, found[:, None])[:, 0] - closed) / (opened - closed))


def _rise_at(brightness: Tensor, circles: Tensor) -> Tensor:
    """How much brighter it is outside circles (N, K, 3) than inside, of brightness (N, 1, E, E) in [0, 1]: (N, K).

    Both sides count, the weaker one most, and a dark middle counts as well. Limits keep catchlights from deciding. The
    numbers were chosen on drawn eyes of known position (`tests/test_iris.py`) and on photos, by eye.
    """
    angles = brightness.new_tensor(ANGLES) * (math.pi / 180)
    angles = torch.cat((angles, math.pi - angles))
    directions = torch.stack((angles.cos(), angles.sin()), dim=1)

    def ring(radius: float) -> Tensor:
        """Brightness on a circle of so many radii: (N, K, angles)."""
        points = circles[:, :, None, :2] + circles[:, :, None, 2:] * radius * directions
        return F.grid_sample(brightness, points * 2 - 1, padding_mode="border", align_corners=False)[:, 0]

    rise = (ring(1.22) - (ring(0.8) + ring(0.6)) / 2).clamp(max=0.35) + (ring(1.12) - ring(0.88)).clamp(-0.1, 0.5)
    left, right = (side.mean(2) for side in rise.chunk(2, dim=2))
    return 0.6 * torch.minimum(left, right) + 0.4 * (left + right) - 0.5 * ring(0.35).mean(2)


def iris_coordinates(irises: Tensor, side: int) -> Tensor:
    """Each pixel's position from the middle of the iris in radii, u and v, and the radius: (N, 3) -> (N, 3, side, side)."""
    at = (torch.arange(side, device=irises.device, dtype=irises.dtype) + 0.5) / side
    x, y, r = (part[:, None, None] for part in irises.unbind(1))
    u, v = (at - x) / r, (at[:, None] - y) / r
    return torch.stack((u.expand(-1, side, -1), v.expand(-1, -1, side), r.expand(-1, side, side)), dim=1)


def iris_opacity(u: Tensor, v: Tensor) -> Tensor:
    """The opacity of the iris over the white at positions in radii, with a soft rim."""
    return smooth_step((1 - (u.square() + v.square()).sqrt()) / RIM + 0.5)  # ONNX has no hypot


def iris_sources(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where the colours of a hidden point of the iris are copied from: an iris looks alike at the same distance.

    These are its left and its right side, a little below the middle, which lids hardly ever cover.

    Returns:
        The offsets in u to the left and to the right one, that in v to both, in radii, and the weight of the right one.
    """
    far, near = torch.maximum(u.abs(), v.abs()) * INNER, torch.minimum(u.abs(), v.abs()) * INNER
    return -far - u, far - u, near - v, smooth_step(u + 0.5)


def lid_source(v: Pixels) -> Pixels:
    """The offset in v, in radii, of the place that the skin of a closing lid is copied from."""
    return (1 + UNDER_LID_SCALE) * (UNDER_LID - v)
