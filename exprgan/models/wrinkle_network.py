"""The wrinkles of T (not part of the paper): which skin folds where, by action units.

Wrinkles are finer than the gain that T learns: it is certain of a fold, but not of its place. So T finds for every pixel of
the photo its place on a mean face, which is smooth, and wrinkles are lines on a map of that face (`exprgan.wrinkles`).
Their depths follow from the units of the edit; those of the photo are in the photo already.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..wrinkles import (
    ABSORPTION_RANGE,
    CHANNEL_EXPONENTS,
    DARK_SKIN_GAIN,
    HEIGHT,
    LEFT,
    MAX_DARK_SKIN_GAIN,
    TOP,
    TYPICAL_SKIN_LEVEL,
    WIDTH,
    WRINKLES,
    wrinkle_depths,
)
from .backward_warp import FIELD_SCALE, backward_warp
from .blocks import GROUPS, ResidualBlock, UNet
from .unit_condition import split_condition

PX_PER_UNIT = 10
"""Resolution of the map, in mesh units of about 1 cm."""
CHANNELS = (24, 40, 64, 96)
"""Channels of the four scales, from S / 2 px down."""
CENTER, SCALE = (0.497, 0.471), (24.7, -26.3)
"""Of an average face in the wide crop: where (0, 0) of the mean face lies, in sides, and mesh units in a side."""
MAX_SHIFT = 4.0
"""Largest distance in mesh units of a place from that of an average face."""
MIDDLE = 1.0
"""Distance from the middle of the face, in mesh units, over which the depths of one side pass into those of the other."""
SKIN_BOX = (-2.0, 2.0, -0.5, 2.5)
"""Left, right, bottom and top, in mesh units, of nose and cheeks: skin that no hair covers."""
MAX_CHROMA, MAX_LUMA, MAX_TEXTURE = 0.3, 0.9, 0.2
"""Differences of log colour from the mean of that skin, and the deviation of the log of brightness over TEXTURE_PX, in
which pixels are no skin: hair or a hat. Wrinkles fade over half of each."""
TEXTURE_PX = 5


class WrinkleNetwork(UNet):
    """Finds places on the mean face and draws wrinkles there.

    Args:
        units: T's action units, in the order of its condition; wrinkles of others are never drawn.

    Buffer `maps` (W, H, W'): of each of WRINKLES, the part of the light that it absorbs where its depth is 1.
    """

    maps: Tensor

    def __init__(self, units: tuple[int, ...]):
        super().__init__()
        self.units = units
        scales = list(itertools.pairwise(CHANNELS))
        self.stem = nn.Conv2d(3 * FIELD_SCALE**2, CHANNELS[0], 3, padding=1)
        self.downsamplers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in scales)
        self.down_blocks = nn.ModuleList(ResidualBlock(c) for c in CHANNELS)
        self.upsamplers = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in scales)
        self.up_blocks = nn.ModuleList(ResidualBlock(c) for c in CHANNELS[:-1])
        self.norm = nn.GroupNorm(GROUPS, CHANNELS[0])
        self.head = nn.Conv2d(CHANNELS[0], 3, 3, padding=1)
        with torch.no_grad():  # at the start every face is the average one
            self.head.weight.mul_(0.02)
            self.head.bias.zero_()  # type: ignore[union-attr]
        self.register_buffer("maps", torch.zeros(len(WRINKLES), round(HEIGHT * PX_PER_UNIT), round(WIDTH * PX_PER_UNIT)))

    def locate(self, x: Tensor) -> Tensor:
        """Places on the mean face: (B, 3, R, R) in [-1, 1], the photo over the wide crop -> (B, 3, R / 4, R / 4).

        Channels are x and y in mesh units, and the logit of whether the pixel shows the face.
        """
        small = F.pixel_unshuffle(F.avg_pool2d(x, FIELD_SCALE), FIELD_SCALE)
        shift, shown = self.expand(self.contract(small)).split((2, 1), dim=1)
        side = shift.shape[-1]
        position = (torch.arange(side, device=shift.device, dtype=shift.dtype) + 0.5) / side
        across, down = (scale * (position - center) for scale, center in zip(SCALE, CENTER, strict=True))
        average = torch.stack((across.expand(side, side), down[:, None].expand(side, side)))
        return torch.cat((average + torch.tanh(shift / MAX_SHIFT) * MAX_SHIFT, shown), dim=1)

    def find(self, x: Tensor) -> Tensor:
        """What `forward` needs of a photo: (B, 3, R, R) in [-1, 1] -> (B, 3, R / 4, R / 4).

        Channels are x and y on the mean face in mesh units, and the factor on the depth of wrinkles, 0 where none can be.
        """
        places = self.locate(x)
        return torch.cat((places[:, :2], find_skin(x, places)), dim=1)

    def forward(self, places: Tensor, flow: Tensor, condition: Tensor) -> Tensor:
        """The change of log brightness by wrinkles, (B, 3, R, R).

        Args:
            places: (B, 3, R / 4, R / 4), see `find`.
            flow: (B, 2, R, R) in sides, which warps the photo.
            condition: (B, N), `WarpNetwork.condition`. Wrinkles are those of its target units which exceed those that the
                photo shows; without target units there are none.
        """
        fields = F.interpolate(places, flow.shape[-2:], mode="bilinear", align_corners=False)
        across, up, depth = backward_warp(fields, flow).split(1, dim=1)
        grid = torch.stack(((across - LEFT) * (2 / WIDTH) - 1, (TOP - up) * (2 / HEIGHT) - 1), dim=-1)[:, 0]
        absorbed = F.grid_sample(self.absorption(condition), grid, mode="bilinear", align_corners=False) * depth
        exponents = flow.new_tensor(CHANNEL_EXPONENTS, dtype=torch.float32)[:, None, None]
        return (1 - absorbed.clamp(*ABSORPTION_RANGE)).log() * (exponents / 2)  # light is the square of a pixel's value

    def absorption(self, condition: Tensor) -> Tensor:
        """The part of the light that all wrinkles of an edit absorb, on the map: (B, N) -> (B, 1, H, W')."""
        _, now, target = split_condition(condition.float(), len(self.units))
        depths = (self._depths(target) - self._depths(now)).clamp(min=0)
        maps = self.maps.float()
        x = (torch.arange(maps.shape[2], device=maps.device) + 0.5) / PX_PER_UNIT + LEFT
        left = (0.5 + x / (2 * MIDDLE)).clamp(0, 1)  # the subject's
        right, left = (
            torch.einsum("bk,khw->bhw", depths[..., i], maps) * share for i, share in enumerate((1 - left, left))
        )
        return (right + left)[:, None]

    def _depths(self, units: Tensor) -> Tensor:
        """The depths by units (B, U, 2): (B, W, 2)."""
        order, none = {unit: i for i, unit in enumerate(self.units)}, torch.zeros_like(units[:, 0])
        return torch.stack(wrinkle_depths(lambda unit: units[:, order[unit]] if unit in order else none), dim=1)


def find_skin(x: Tensor, places: Tensor) -> Tensor:
    """Finds skin that may fold, by its colour and smoothness, and the factor on the depth of its wrinkles.

    x: (B, 3, R, R) in [-1, 1]; places: as `WrinkleNetwork.locate` gives them. The result, (B, 1, R / 4, R / 4), is 0 beside
    skin, and on it 1 or, on dark skin, up to MAX_DARK_SKIN_GAIN.
    """
    pixels = ((F.avg_pool2d(x.float(), FIELD_SCALE**2) + 1) / 2 + 0.04).log()
    luma, chroma = pixels.mean(1, keepdim=True), pixels - pixels.mean(1, keepdim=True)
    shown, (across, up) = places[:, 2:].sigmoid(), places[:, :2].split(1, dim=1)
    left, right, bottom, top = SKIN_BOX
    weight = shown * ((across > left) & (across < right) & (up > bottom) & (up < top)) + 1e-6

    def mean(field: Tensor) -> Tensor:
        return (field * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True)

    fine = ((F.avg_pool2d(x.float(), FIELD_SCALE) + 1) / 2 + 0.04).mean(1, keepdim=True).log()
    pooled = F.avg_pool2d(
        F.pad(torch.cat((fine, fine.square()), dim=1), [TEXTURE_PX // 2] * 4, mode="replicate"), TEXTURE_PX, 2
    )
    first, second = pooled.split(1, dim=1)
    texture = (second - first.square()).clamp(min=0).sqrt()
    distances = (
        (chroma - mean(chroma)).square().sum(1, keepdim=True).sqrt() / MAX_CHROMA,
        (luma - mean(luma)).abs() / MAX_LUMA,
        texture / MAX_TEXTURE,
    )
    skin = shown * (2 - 2 * torch.cat(distances, dim=1).amax(1, keepdim=True)).clamp(0, 1)
    level = (mean(pixels).exp() - 0.04).mean(1, keepdim=True) * 255
    gain = (1 + DARK_SKIN_GAIN * (1 - level / TYPICAL_SKIN_LEVEL)).clamp(1.0, MAX_DARK_SKIN_GAIN)
    return F.avg_pool2d(F.pad(skin * gain, (1, 1, 1, 1), mode="replicate"), 3, 1)
