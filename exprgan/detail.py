"""T, the detail network (ours, not the paper's): how a photo's own pixels turn into the edit that the decoder shows.

The decoder's picture has the expression but not the photo's sharpness. T looks at the photo, at the decoder's two pictures
(the face's own expression, and the wanted one) and at the code, and says for every point of the face where its pixels
come from, how their brightness changes, and what no pixel of the photo can show: teeth, the inside of a mouth, the white
above an iris. All three are smooth or small, so they can be enlarged to the photo's size; sharpness comes from the photo.
"""

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .flow import look_up

FRAME = 32 / 27
"""Side of T's frame in sides of the crop, about the same centre: a dropped jaw leaves the crop and must not be cut."""
FINE = 2
"""T sees the photo, and invents, at this many times `image_size` px; flow and light are found at `image_size` px."""
CHANNELS = (16, 40, 80, 128, 160)
"""Of T's five scales, from `image_size` px down; times `width`."""
REACH = 0.25
"""The farthest that T moves a pixel, in sides of the frame."""
WEAKEST, CURVE = 0.4, 1.6
"""T was trained on nothing below a quarter of full strength, where (c + 1) / 2 reaches about 0.36. A weaker code is a part
of the way from neutral to the same one at WEAKEST: its share, to the power CURVE, which is how the slider's codes rise."""
MAX_GAIN = 0.7
"""The largest change of log brightness."""


class Detail(NamedTuple):
    """What T says, over its frame. S = FINE * image_size."""

    flow: Tensor
    """(B, 2, S, S), x first, in sides of the frame: where each point's pixels come from, relative to it."""
    gain: Tensor
    """(B, 3, S, S): change of the logarithm of the moved pixels' brightness in [0, 1]."""
    mask: Tensor
    """(B, 1, S, S) in [0, 1]: how much of a point is invented."""
    colour: Tensor
    """(B, 3, S, S) in [-1, 1]: what is invented there."""

    def apply(self, x: Tensor) -> Tensor:
        """The photo's frame (B, 3, S, S) in [-1, 1] -> the edited one, likewise."""
        moved = (look_up(x, self.flow) + 1) / 2
        lit = (moved * self.gain.exp()).clamp(max=1) * 2 - 1
        return torch.lerp(lit, self.colour, self.mask)

    def towards(self, other: "Detail", share: float) -> "Detail":
        """A part of the way to another one, from 0 (this) to 1; what is drawn is the other's."""
        flow, gain, mask = (torch.lerp(a, b, share) for a, b in zip(self[:3], other[:3], strict=True))
        return Detail(flow, gain, mask, other.colour)


class DetailNetwork(nn.Module):
    """T: a U-Net with residual blocks; the code sets scale and shift of every block's maps.

    Args:
        image_size: side of the decoder's pictures in px.
        code_dim: numbers in c, K * d.
        width: 1 for CHANNELS as they stand.
    """

    def __init__(self, image_size: int, code_dim: int, width: float = 1.0):
        super().__init__()
        self.image_size = image_size
        self.inside = round(image_size / FRAME)
        channels = [8 * max(1, round(c * width / 8)) for c in CHANNELS]  # whole groups
        self.entry = nn.Conv2d(3 * FINE**2 + 3 + 3, channels[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(channels))
        self.seen = nn.ModuleList(Block(c, code_dim) for c in channels)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(channels))
        self.told = nn.ModuleList(Block(c, code_dim) for c in channels[:-1])
        self.norm = nn.GroupNorm(8, channels[0])
        self.move = nn.Conv2d(channels[0], 2 + 3, 3, padding=1)
        self.invent = nn.Conv2d(channels[0], (1 + 3) * FINE**2, 3, padding=1)
        for head in (self.move, self.invent):  # at first nothing moves and nothing is invented
            with torch.no_grad():
                head.weight.mul_(0.02)
                head.bias.zero_()
        with torch.no_grad():
            self.invent.bias[: FINE**2] = -4

    def forward(self, x: Tensor, own: Tensor, x_hat: Tensor, c: Tensor) -> Detail:
        """What turns the photo into the edit.

        Args:
            x: (B, 3, FINE * S, FINE * S) in [-1, 1], the photo over T's frame.
            own: (B, 3, S, S), the decoder's picture with the face's own expression, over the crop.
            x_hat: (B, 3, S, S), the one with the wanted expression.
            c: (B, K * d), its code.
        """
        decoded = self._over_frame(torch.cat((own, x_hat - own), dim=1))
        h = self.entry(torch.cat((F.pixel_unshuffle(x, FINE), decoded), dim=1))
        h = self.seen[0](h, c)
        skips = [h]
        for down, block in zip(self.down, self.seen[1:], strict=True):
            h = block(down(h), c)
            skips.append(h)
        for i in reversed(range(len(self.up))):
            h = F.interpolate(self.up[i](h), scale_factor=2, mode="bilinear", align_corners=False) + skips[i]
            h = self.told[i](h, c)
        h = _active(self.norm(h))
        flow, gain = self.move(h).split((2, 3), dim=1)
        mask, colour = self.invent(h).split((FINE**2, 3 * FINE**2), dim=1)
        return Detail(
            _finer(torch.tanh(flow / 16) * REACH), _finer(torch.tanh(gain / 4) * MAX_GAIN),  # calm enough to learn
            torch.sigmoid(F.pixel_shuffle(mask, FINE)), torch.tanh(F.pixel_shuffle(colour, FINE)),
        )  # fmt: skip

    def _over_frame(self, crop: Tensor) -> Tensor:
        """Pictures over the crop -> over the frame, edges repeated."""
        crop = F.interpolate(crop, (self.inside, self.inside), mode="bilinear", align_corners=False, antialias=True)
        before = (self.image_size - self.inside) // 2
        after = self.image_size - self.inside - before
        return F.pad(crop, (before, after, before, after), mode="replicate")


class Block(nn.Module):
    """Two 3x3 convolutions beside an identity; the code scales and shifts the maps between them."""

    def __init__(self, channels: int, code_dim: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.code = nn.Linear(code_dim, 2 * channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.code.weight.mul_(0.2)
            self.code.bias.zero_()
            self.second.bias.zero_()

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """h: (B, C, H, W), c: (B, K * d) -> like h."""
        scale, shift = self.code(c)[:, :, None, None].chunk(2, dim=1)
        return h + self.second(_active(self.first(_active(self.norm(h))) * (1 + scale) + shift))


def _active(h: Tensor) -> Tensor:
    return F.leaky_relu(h, 0.1, inplace=True)


def _finer(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=FINE, mode="bilinear", align_corners=False)
