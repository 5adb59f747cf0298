"""Augmentations applied to both pictures of a pair alike, so that the flow between them stays exact."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.models.backward_warp import backward_warp

from .eyeball_fields import hold_eyeballs

GLASSES_SHARE = 0.2
"""Share of pairs with glasses drawn on, which must stay where they are while the brows move."""
HOLD_PX = 7
"""Distance from the rim of glasses over which the flow fades to 0: a smooth flow cannot go round a line."""


def random_affine(count: int, generator: torch.Generator) -> Tensor:
    """Random flips with small rotations, scales, shears and shifts: (count, 2, 3)."""

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle, shear, scale_x, scale_y = uniform(math.radians(6)), uniform(0.06), 1 + uniform(0.08), 1 + uniform(0.06)
    scale_x = torch.where(torch.rand(count, generator=generator) < 0.5, scale_x, -scale_x)
    cos, sin = angle.cos(), angle.sin()
    linear = torch.stack((torch.stack((cos, shear - sin), 1), torch.stack((sin, cos), 1)), 1)
    linear = linear * torch.stack((scale_x, scale_y), 1)[:, None]
    return torch.cat((linear, torch.stack((uniform(0.05), uniform(0.05)), 1)[:, :, None]), dim=2)


def draw_glasses(eyes: Tensor, size: int, generator: torch.Generator,
                 device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:  # fmt: skip
    """Draws spectacles, from the distance of each pixel to their rims, bridge and temples.

    Args:
        eyes: (B, 2, 2), x and y of both pupils in px, the left one first.
        size: side of the pictures in px.
        generator: random number generator, on the CPU.
        device: of the result.

    Returns:
        Colours (B, 3, 1, 1) and opacities (B, 1, size, size), both in [0, 1].
    """
    parameters = torch.cat((eyes.flatten(1), torch.rand(len(eyes), 9, generator=generator)), dim=1)
    x0, y0, x1, y1, *rest = parameters.to(device, non_blocking=True)[:, :, None, None].unbind(1)
    numbers = iter(rest)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * next(numbers)

    eye_distance = torch.hypot(x1 - x0, y1 - y0)
    thickness = (uniform(0.015, 0.07) * eye_distance).clamp(min=1 / 3)
    width, height = uniform(0.34, 0.46) * eye_distance, uniform(0.22, 0.36) * eye_distance
    radius, strength = uniform(0.1, 0.9) * height, uniform(0.6, 1.0)
    color = torch.stack([uniform(0, 0.5) for _ in range(3)], dim=1) * uniform(0.1, 1.0)[:, None]
    x = (torch.arange(size, device=x0.device) + 0.5).expand(size, size)
    y = x.mT
    eyes_xy = ((x0, y0), (x1, y1))
    rims = [_box_distance(x - ex, y - ey - 0.1 * height, width, height, radius) + thickness / 2 for ex, ey in eyes_xy]
    length, drop = 0.35 * eye_distance, 0.03 * eye_distance
    bridge = _line_distance(x, y, x0 + width, y0, x1 - width, y1)
    temple0 = _line_distance(x, y, x0 - width, y0, x0 - width - length, y0 - drop)
    temple1 = _line_distance(x, y, x1 + width, y1, x1 + width + length, y1 - drop)
    distance = torch.stack([part.abs() for part in (*rims, bridge, temple0, temple1)]).amin(0)
    return color, ((thickness / 2 + 0.5 - distance).clamp(0, 1) * strength)[:, None]


def _box_distance(x: Tensor, y: Tensor, half_width: Tensor, half_height: Tensor, radius: Tensor) -> Tensor:
    """Signed distance to a box with rounded corners about the origin."""
    dx, dy = x.abs() - half_width + radius, y.abs() - half_height + radius
    return torch.hypot(dx.clamp(min=0), dy.clamp(min=0)) + torch.maximum(dx, dy).clamp(max=0) - radius


def _line_distance(x: Tensor, y: Tensor, x0: Tensor, y0: Tensor, x1: Tensor, y1: Tensor) -> Tensor:
    """Distance to a line segment."""
    dx, dy = x1 - x0, y1 - y0
    along = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy + 1e-6)).clamp(0, 1)
    return torch.hypot(x - x0 - along * dx, y - y0 - along * dy)


def hold_at_glasses(
    source: Tensor, target: Tensor, flow: Tensor, opacity: Tensor, eyeballs: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Changes pairs such that nothing moves at the rim of the glasses, and little near it.

    Args:
        source, target: (B, 3, n S, n S), without glasses.
        flow: (B, 2, S, S) in sides, from target to source.
        opacity: (B, 1, S, S) in [0, 1], of the glasses.
        eyeballs: (B, 2, n S, n S) in [0, 1], the source's and the target's, or (B, 0, n S, n S).

    Returns:
        The target, the flow and the eyeballs; near the rim the target becomes the source warped by that flow, with its
        eyeballs in place.
    """
    hold = F.max_pool2d((opacity > 0.1).float(), HOLD_PX, stride=1, padding=HOLD_PX // 2)
    for _ in range(2):
        hold = F.avg_pool2d(hold, HOLD_PX, stride=1, padding=HOLD_PX // 2)
    hold = (hold * 1.6).clamp(max=1)  # 1 at the rim itself
    flow = flow * (1 - hold)
    large = F.interpolate(torch.cat((flow, hold), dim=1), target.shape[2:], mode="bilinear", align_corners=False)
    warped = backward_warp(source, large[:, :2])
    if eyeballs.shape[1]:
        warped, eyeballs = hold_eyeballs(source, warped, eyeballs, large[:, :2], large[:, 2:])
    return torch.lerp(target, warped, large[:, 2:]), flow, eyeballs
