"""The third part of T (`warp_network`): eyeballs, which stay where they are while the lids move over them.

A smooth flow that moves the lids drags iris and lashes along. So the eyeball is a layer of its own: where the target shows
it, it is the photo's own pixel at the same place if the photo shows it there, and otherwise drawn. Beside it lies the
warped skin. The network sees both eyes in the photo and in the warped photo, in which the lids are at their final position,
each in a window of its own, the one on the picture's right mirrored.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backward_warp import FIELD_SCALE
from .blocks import GROUPS, ResidualBlock, UNet, round_to_groups
from .unit_condition import condition_dim, swap_sides

EYES_TOP, EYES_LEFT, EYES_HEIGHT, EYES_WIDTH = 3 / 16, 1 / 4, 1 / 4, 1 / 2
"""The part of the wide crop that holds both eyes, in its sides: a square window for each eye, side by side."""
EYE_CHANNELS = (16, 32, 48)  # channels of the three scales, from `image_size` px down; multiplied by `width`
FLOW_GAIN = 16.0  # factor on the input flow, which is small beside colours
EYE_FIELDS = 6  # opacity, shown, red, green, blue, shade
OPACITY_FADE = 0.02
"""Sides of the wide crop over which the opacity fades to 0 at the border of each window. No lid of the training set comes
that near to it."""
MAX_SHADE = 0.75  # largest part of the light of an eyeball that a lid takes; the renderer's is as large


class EyeNetwork(UNet):
    """A U-Net over a window at each eye, conditioned as `WarpNetwork` is; `width` is a factor on EYE_CHANNELS.

    Args:
        code_dim: K * d.
        width: factor on the channels.
        num_units: action units in the condition; those of the mirrored eye have their sides exchanged.
    """

    def __init__(self, code_dim: int, width: float = 1.0, num_units: int = 0):
        super().__init__()
        self.num_units = num_units
        dim = condition_dim(code_dim, num_units)
        fine, middle, coarse = (round_to_groups(c * width) for c in EYE_CHANNELS)
        scales = (fine, middle), (middle, coarse)
        self.stem = nn.Conv2d(2 * 3 * FIELD_SCALE**2 + 2, fine, 3, padding=1)
        self.down_blocks = nn.ModuleList(ResidualBlock(c, dim) for c in (fine, middle, coarse))
        self.downsamplers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in scales)
        self.upsamplers = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in scales)
        self.up_blocks = nn.ModuleList((ResidualBlock(fine, dim), ResidualBlock(middle, dim)))
        self.norm = nn.GroupNorm(GROUPS, fine)
        self.head = nn.Conv2d(fine, EYE_FIELDS * FIELD_SCALE**2, 3, padding=1)
        with torch.no_grad():  # at the start no eyeball is drawn, and what the photo shows is its own
            self.head.weight.mul_(0.05)
            start = torch.tensor([-4.0, 2.0, 0.0, 0.0, 0.0, -3.0]).repeat_interleave(FIELD_SCALE**2)
            self.head.bias.copy_(start)  # type: ignore[union-attr]

    def forward(self, x: Tensor, warped: Tensor, flow: Tensor, condition: Tensor) -> Tensor:
        """Predicts `WarpPrediction.eyes`, (B, EYE_FIELDS, R / 4, R / 2).

        x: (B, 3, R / 4, R / 2) in [-1, 1], the eyes of the photo (`at_eyes`); warped: likewise, of the warped and relit
        photo; flow: (B, 2, S, S), which warped it; condition: (B, N), `WarpNetwork.condition`.
        """
        flow_left, flow_right = _split(at_eyes(flow) * FLOW_GAIN)
        flow_right = flow_right * flow_right.new_tensor([-1.0, 1.0])[:, None, None]
        pictures = torch.cat(_split(torch.cat((x, warped), dim=1)))
        inputs = torch.cat((F.pixel_unshuffle(pictures, FIELD_SCALE), torch.cat((flow_left, flow_right))), dim=1)
        both = torch.cat((condition, swap_sides(condition, self.num_units)))
        fields = torch.sigmoid(F.pixel_shuffle(self.expand(self.contract(inputs, both), both), FIELD_SCALE))
        limits = fields.new_ones(EYE_FIELDS, *fields.shape[2:])
        limits[0], limits[-1] = _fade(fields.shape[-1], fields.device), MAX_SHADE
        left, right = (fields * limits).unflatten(0, (2, -1))  # `chunk` would fix B in an export
        return torch.cat((left, right.flip(3)), dim=3)


def at_eyes(x: Tensor) -> Tensor:
    """Cuts the eyes out of fields over the wide crop: (B, C, S, S) -> (B, C, S / 4, S / 2)."""
    side = x.shape[-1]
    top, left, height, width = (round(part * side) for part in (EYES_TOP, EYES_LEFT, EYES_HEIGHT, EYES_WIDTH))
    return x[..., top : top + height, left : left + width]


def place_at_eyes(part: Tensor) -> Tensor:
    """The inverse of `at_eyes`, with 0 beside the eyes: (B, C, S / 4, S / 2) -> (B, C, S, S)."""
    side = 4 * part.shape[-2]
    top, left = round(EYES_TOP * side), round(EYES_LEFT * side)
    return F.pad(part, (left, side - left - part.shape[-1], top, side - top - part.shape[-2]))


def composite_eyes(skin: Tensor, x: Tensor, eyes: Tensor) -> Tensor:
    """Lays the eyeballs over the warped skin.

    skin, x: (B, 3, R / 4, R / 2) in [-1, 1], the eyes of the warped photo and of the photo itself; eyes: as
    `EyeNetwork.forward` predicts them. The result is like skin.
    """
    return torch.lerp(skin, shade_eyeballs(x, eyes), eyes[:, :1])


def shade_eyeballs(x: Tensor, eyes: Tensor) -> Tensor:
    """The eyeballs without lids, in their shade: like x; arguments as in `composite_eyes`."""
    _, shown, colors, shade = eyes.split((1, 1, 3, 1), dim=1)
    return torch.lerp(colors, (x + 1) / 2, shown) * (1 - shade) * 2 - 1


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    """The windows of the eye on the picture's left and, mirrored, of the other one."""
    left, right = x.chunk(2, dim=3)
    return left, right.flip(3)


def _fade(side: int, device: torch.device) -> Tensor:
    """1 inside a window, fading to 0 at its border: (side, side)."""
    position = (torch.arange(side, device=device) + 0.5) / side
    ramp = (torch.minimum(position, 1 - position) * (EYES_HEIGHT / OPACITY_FADE)).clamp(max=1)
    return ramp[:, None] * ramp
