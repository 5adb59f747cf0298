"""What an opening mouth shows, which no pixel of the photo does: the last part of T (detail.py).

It looks at the lower face after the photo's pixels were moved. There the lips are where they will be, and between them lies
what was stretched over the opening: so the border of what must be drawn is seen, not guessed. Of the inside it says what is
smooth: the light, the dark behind, and where the two rows of teeth are; teeth.py lays them in, sharp at any size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ResidualBlock, leaky_relu_, group_multiple

LOWER_FACE = (0.40625, 0.25, 0.5)
"""The lower face in sides of T's frame: top, left, side."""
DEEPEST, FADE = 0.82, 0.04
"""Sides of the frame: below it nothing is drawn, after a fade. No mouth of the set reaches below 0.77, dropped jaws
included; the edge of a collar does, and was taken for one."""
WIDEST = 3.4
"""Cm beside the middle of the teeth, likewise: no mouth is wider, but a fold of the neck was taken for one."""
TALLEST, SHALLOW = 1.6, 0.4
"""Cm from a row's edges towards its gums, and over how many more what is drawn fades: of 15 photos no mouth is deeper than
1.5, but a collar was taken for one at 2."""
FIELD_SCALE = 2
"""What T sees, and the border of what is drawn, has this many times `image_size` px."""
MOUTH_CHANNELS = (32, 48, 64)
"""Of its scales, from `image_size` px down; times `width`."""
FLOW_SCALE = 16.0
"""Flow, in sides of the frame, is small beside colours; times this it is of their size."""
CM_IN_WIDE_CROP = 0.0415
"""A centimetre of teeth.py's rows in sides of the frame: 6.3 cm lie between the pupils."""
USUAL = 0.6
"""How far from the frame's top both rows' edges meet in a usual face; from side to side they lie about its middle."""
SEATED, CELLS = 16, 8
"""Where the rows are as a whole is told by so many maps of CELLS x CELLS over the lower face: dense layers alone see lips
too near by, and were off by half a tooth's height."""
TINT, BRIGHT = 0.5, 0.95
"""Teeth are about as white as the whites of the eyes, in every light: power of their tint that teeth have, and how bright a
white tooth is at most beside what is brighter, eyes or cheeks. In 36 photos in good light T's teeth are 0.74 to 1.08 as
bright as the whites of the eyes."""
BRIGHTEST = 1.25
"""What a white tooth looks like at most."""


class MouthNetwork(nn.Module):
    """A U-Net over `LOWER_FACE`; the code sets scale and shift of every block's maps, as in T.

    Args:
        code_dim: numbers in c, K * d.
        width: 1 for CHANNELS as they stand.
    """

    def __init__(self, code_dim: int, width: float = 1.0):
        super().__init__()
        fine, middle, coarse = (group_multiple(c * width) for c in MOUTH_CHANNELS)
        self.entry = nn.Conv2d(3 * FIELD_SCALE**2 + 2 + 6, fine, 3, padding=1)
        self.seen = nn.ModuleList(
            (ResidualBlock(fine, code_dim), ResidualBlock(middle, code_dim), ResidualBlock(coarse, code_dim))
        )
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in ((fine, middle), (middle, coarse)))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in ((fine, middle), (middle, coarse)))
        self.told = nn.ModuleList((ResidualBlock(fine, code_dim), ResidualBlock(middle, code_dim)))
        self.norm = nn.GroupNorm(8, fine)
        self.head = nn.Conv2d(fine, FIELD_SCALE**2 + 3 + 3 + 4, 3, padding=1)
        self.calm, self.squeeze = nn.GroupNorm(8, coarse), nn.Conv2d(coarse, SEATED, 1)
        self.seat = nn.Linear(SEATED * CELLS**2, 2 * 2 * 3)
        with torch.no_grad():  # at first nothing is drawn, and the teeth are where they usually are
            self.seat.weight.zero_()
            self.seat.bias.zero_()
            self.head.weight.mul_(0.05)
            self.head.bias.zero_()
            self.head.bias[: FIELD_SCALE**2] = -4

    def forward(self, moved: Tensor, flow: Tensor, decoded: Tensor, c: Tensor,
                white: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """What is drawn, over all of T's frame.

        Args:
            moved: (B, 3, FINE * S, FINE * S) in [-1, 1], the photo's pixels, moved and lit.
            flow: (B, 2, S, S), which moved them, in sides of the frame.
            decoded: (B, 6, S, S), the decoder's two pictures, over the frame.
            c: (B, K * d).
            white: (B, 3), positive, what is white in the photo's light, as in `of_one_light`.

        Returns:
            mask (B, 1, FINE * S, FINE * S) in [0, 1], how much of a point is drawn; and behind (B, 3, S, S), light
            (B, 3, S, S) and places (B, 4, S, S), as `teeth.laid_in` takes them.
        """
        side = flow.shape[-1]
        small = torch.cat((flow * FLOW_SCALE, decoded), dim=1)
        h = self.entry(torch.cat((F.pixel_unshuffle(lower_face(moved), FIELD_SCALE), lower_face(small)), dim=1))
        skips = [h := self.seen[0](h, c)]
        for down, block in zip(self.down, self.seen[1:], strict=True):
            skips.append(h := block(down(h), c))
        whole = F.adaptive_avg_pool2d(leaky_relu_(self.squeeze(self.calm(h))), CELLS).flatten(1)
        seat = self.seat(whole / whole.shape[1] ** 0.5)
        for i in (1, 0):
            h = F.interpolate(self.up[i](h), scale_factor=2, mode="bilinear", align_corners=False) + skips[i]
            h = self.told[i](h, c)
        mask, behind, light, places = self.head(leaky_relu_(self.norm(h))).float().split((FIELD_SCALE**2, 3, 3, 4), dim=1)
        places = places + seated(lower_face(usual_places(side).to(places, non_blocking=True)), seat.unflatten(1, (2, 2, 3)))
        beside, beyond = upsample_fields(places[:, :1].abs()), upsample_fields(torch.maximum(places[:, 1:2], places[:, 3:]))
        drawn = torch.sigmoid(F.pixel_shuffle(mask, FIELD_SCALE)) * (
            1 - (beside - WIDEST) * (CM_IN_WIDE_CROP / FADE)
        ).clamp(0, 1)
        drawn = drawn * (1 - (beyond - TALLEST) / SHALLOW).clamp(0, 1)
        height = torch.linspace(0, 1, FIELD_SCALE * side, device=moved.device)[:, None]
        drawn = _in_frame(drawn, FIELD_SCALE * side) * ((DEEPEST + FADE - height) / FADE).clamp(0, 1)
        light = of_one_light(BRIGHTEST * torch.sigmoid(light + 1), lower_face(F.avg_pool2d(drawn, FIELD_SCALE)), white)
        return drawn, *(_in_frame(part, side) for part in (torch.sigmoid(behind - 1.5), light, places))


def seated(usual: Tensor, seat: Tensor) -> Tensor:
    """Both rows of teeth, moved, turned and stretched as a whole.

    Args:
        usual: (1, 4, H, W) in cm.
        seat: (B, 2, 2, 3): a row each, what its two coordinates gain: a shift, and parts of themselves.
    """
    rows = usual.unflatten(1, (2, 2))
    gained = torch.einsum("brij,brjhw->brihw", seat[..., 1:], rows.expand(len(seat), -1, -1, -1, -1))
    return (rows + gained + seat[..., :1, None]).flatten(1, 2)


def of_one_light(light: Tensor, drawn: Tensor, white: Tensor) -> Tensor:
    """The brightness that T says, in the photo's light: of one tint, and no brighter than what is white there.

    Args:
        light: (B, 3, H, W), positive.
        drawn: (B, 1, H, W) in [0, 1], where it counts.
        white: (B, 3), positive: colour of what is white.

    Returns:
        (B, 3, H, W).
    """
    bright, level = light.mean(1, keepdim=True), white.mean(1)[:, None, None, None]
    weight = drawn + 1e-4
    now = (bright * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True)
    tint = (white[:, :, None, None] / level) ** TINT
    return bright * tint * (BRIGHT * level / now).clamp(max=1)


def usual_places(side: int) -> Tensor:
    """Where the points of a frame lie on both rows of a usual face: (1, 4, side, side) in cm."""
    x = ((torch.arange(side) + 0.5) / side - 0.5).expand(side, side)
    y = ((torch.arange(side) + 0.5) / side)[:, None].expand(side, side)
    return torch.stack((x, USUAL - y, x, y - USUAL))[None] / CM_IN_WIDE_CROP


def upsample_fields(x: Tensor) -> Tensor:
    """Smooth fields of `image_size` px as fine as what T sees: (B, C, S, S) -> (B, C, FINE * S, FINE * S)."""
    return F.interpolate(x, scale_factor=FIELD_SCALE, mode="bilinear", align_corners=False)


def lower_face(x: Tensor) -> Tensor:
    """The lower face of pictures over T's frame: (B, C, S, S) -> (B, C, S / 2, S / 2)."""
    top, left, side = (round(part * x.shape[-1]) for part in LOWER_FACE)
    return x[..., top : top + side, left : left + side]


def _in_frame(x: Tensor, side: int) -> Tensor:
    """The window in a frame of zeros."""
    top, left, inside = (round(part * side) for part in LOWER_FACE)
    return F.pad(x, (left, side - left - inside, top, side - top - inside))
