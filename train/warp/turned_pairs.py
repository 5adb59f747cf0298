"""Turns of the head for pairs: both pictures, and the flow between them, turned alike by the depth of their pixels.

In weak perspective a point q of a picture moves to P(q) = A (q - c) + b z(q) + c, where z is the picture's depth, A and b
are the parts of a rotation that act on (x, y) and on z, and c is the center (docs/render.md). Pictures are cropped by the
turned pupils of the neutral one, as an editor would crop them. Positions and depths are in sides of the wide crop.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.models.warp_network import WIDE_CROP_SCALE
from exprgan.photo.alignment import EYES

TURNED_SHARE = 0.6
"""Share of pairs that are turned."""
MAX_YAW_DEG, MAX_PITCH_DEG = 25.0, 15.0
"""Within them the depth of docs/render.md hides nothing."""
PUPILS = [[(at - 0.5) / WIDE_CROP_SCALE + 0.5 for at in eye] for eye in EYES]
"""Where the pupils lie in a wide crop: x and y in 0..1, the one on the left first."""
NUM_STEPS = 8
"""Steps of Newton's method, with bisection where it leaves its bounds."""
MIN_DERIVATIVE = 0.2


def random_turns(count: int, generator: torch.Generator) -> Tensor:
    """Draws yaw and pitch in radians, 0 for pairs that stay as they are: (count, 2)."""
    chance, yaw, pitch = torch.rand(3, count, generator=generator)
    angles = torch.stack(((yaw * 2 - 1) * math.radians(MAX_YAW_DEG), (pitch * 2 - 1) * math.radians(MAX_PITCH_DEG)), dim=1)
    return angles * (chance < TURNED_SHARE)[:, None]


class TurnedView:
    """The crops of turned pairs, seen through an affine augmentation.

    Args:
        angles: (B, 2), yaw and pitch in radians; 0 and 0 change nothing.
        depth: (B, 3, S, S), towards the viewer: the source's, the target's and the neutral picture's.
        affine: (B, 2, 3), of `F.affine_grid`: from what is augmented to the turned crop, in -1..1.
    """

    def __init__(self, angles: Tensor, depth: Tensor, affine: Tensor):
        self.depth, self.affine, self._sources = depth, affine, dict[tuple[int, int], Tensor]()
        yaw, pitch = angles.unbind(1)
        zero = torch.zeros_like(yaw)
        self.linear = torch.stack((yaw.cos(), zero, yaw.sin() * pitch.sin(), pitch.cos()), dim=1).unflatten(1, (2, 2))
        self.by_depth = torch.stack((yaw.sin(), -pitch.sin() * yaw.cos()), dim=1)
        pupils = torch.tensor(PUPILS, device=depth.device)
        left, right = self._project(pupils.expand(len(depth), 1, 2, 2), 2)[:, 0].unbind(1)
        (x, y), (dx, dy) = pupils[0], pupils[1] - pupils[0]
        # the similarity, as multiplication by a complex number, from the aligned crop to the turned picture
        scale = torch.complex(*(right - left).unbind(1)) / torch.complex(dx, dy)
        shift = torch.complex(*left.unbind(1)) - scale * torch.complex(x, y)
        self._scale, self._shift = scale[:, None, None], shift[:, None, None]

    def sources(self, picture: int, size: int) -> Tensor:
        """Where the pixels of an augmented, turned picture lie in the picture itself: (B, size, size, 2) in 0..1.

        Args:
            picture: index into `depth`.
            size: of the augmented picture in px.
        """
        if (picture, size) not in self._sources:
            self._sources[picture, size] = self._trace(picture, size)
        return self._sources[picture, size]

    def _trace(self, picture: int, size: int) -> Tensor:
        half = self._places(size // 2)
        turned = self._turned(half)
        start = torch.einsum("bij,bhwj->bhwi", torch.linalg.inv(self.linear), turned - 0.5) + 0.5
        step = torch.linalg.solve(self.linear, self.by_depth)[:, None, None]
        t = self._look(self.depth[:, picture], start)
        low = self.depth[:, picture].amin((1, 2))[:, None, None].expand_as(t)
        high = self.depth[:, picture].amax((1, 2))[:, None, None].expand_as(t)
        for _ in range(NUM_STEPS):  # t is the depth of what lies on the line of sight: t = z(start - t step)
            at = start - t[..., None] * step
            excess = self._look(self.depth[:, picture], at) - t
            nudge = self._look(self.depth[:, picture], at - 0.004 * step) - t - excess
            slope = (1 - nudge / 0.004).clamp(min=MIN_DERIVATIVE)
            low, high = torch.where(excess > 0, t, low), torch.where(excess > 0, high, t)
            t = t + excess / slope
            t = torch.where((t >= low) & (t <= high), t, (low + high) / 2)
        moved = (start - t[..., None] * step - half).permute(0, 3, 1, 2)
        moved = F.interpolate(moved, (size, size), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
        return self._places(size) + moved

    def flow(self, flow: Tensor, size: int) -> Tensor:
        """The flow from the augmented target to the augmented source.

        Args:
            flow: (B, 2, S, S), from target to source.
            size: of the augmented pictures in px.

        Returns:
            (B, 2, size, size) in sides.
        """
        at = self.sources(1, size)
        arrives = at + sample(flow, at).permute(0, 2, 3, 1)
        seen = (torch.view_as_complex(self._project(arrives, 0).contiguous()) - self._shift) / self._scale
        moved = torch.view_as_real(seen) - self._places(size)
        return torch.einsum("bij,bhwj->bihw", torch.linalg.inv(self.affine[:, :, :2]), moved)

    def _places(self, size: int) -> Tensor:
        """Places of augmented pixels in the turned crop: (B, size, size, 2) in 0..1."""
        shape = [len(self.affine), 1, size, size]
        return (F.affine_grid(self.affine, shape, align_corners=False) + 1) / 2

    def _turned(self, places: Tensor) -> Tensor:
        """From the turned crop to the turned picture."""
        return torch.view_as_real(torch.view_as_complex(places.contiguous()) * self._scale + self._shift)

    def _project(self, places: Tensor, picture: int) -> Tensor:
        """P: (B, H, W, 2) in 0..1, of a picture -> the same of the turned picture."""
        z = self._look(self.depth[:, picture], places)
        flat = torch.einsum("bij,bhwj->bhwi", self.linear, places - 0.5)
        return flat + z[..., None] * self.by_depth[:, None, None] + 0.5

    @staticmethod
    def _look(field: Tensor, places: Tensor) -> Tensor:
        """(B, S, S) at (B, H, W, 2): (B, H, W)."""
        return sample(field[:, None], places)[:, 0]


def sample(x: Tensor, places: Tensor) -> Tensor:
    """Looks pictures (B, C, H, W) up at places (B, H', W', 2) in 0..1, bilinearly; edges are repeated."""
    return F.grid_sample(x, places * 2 - 1, mode="bilinear", padding_mode="border", align_corners=False)
