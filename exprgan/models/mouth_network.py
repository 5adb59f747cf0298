"""The second part of T (`warp_network`): the inside of an opening mouth, which no pixel of the photo can provide.

Its input is the lower face of the warped photo: the lips are at their final position, with stretched skin between them, so
the boundary of the opening is visible. It predicts smooth fields: a mask, background, shading, and uv coordinates on the
two rows of teeth, which `teeth_texture` renders sharply at any resolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backward_warp import FIELD_SCALE, upsample_fields
from .blocks import GROUPS, ResidualBlock, UNet, leaky_relu_, round_to_groups

LOWER_FACE = (0.40625, 0.25, 0.5)  # window of the lower face in sides of the wide crop: top, left, side
MOUTH_CHANNELS = (32, 48, 64)  # channels of the three scales, from `image_size` px down; multiplied by `width`
FLOW_GAIN = 16.0  # factor on the input flow, which is small beside colours
CM_IN_WIDE_CROP = 0.0415  # one centimetre of the teeth in sides of the wide crop: the pupils are 6.3 cm apart
TEETH_HEIGHT = 0.6  # distance of the edges of both rows from the top of the wide crop, in an average face
MASK_BOTTOM, MASK_FADE = 0.82, 0.04
"""The mask is 0 below MASK_BOTTOM, after a fade, in sides of the wide crop. No mouth of the training set reaches below
0.77, dropped jaws included; the edge of a collar does, and was taken for a mouth."""
MASK_HALF_WIDTH_CM = 3.4
"""Likewise, distance from the midline of the teeth: no mouth is wider, but folds of the neck were taken for one."""
MASK_HEIGHT_CM, MASK_HEIGHT_FADE_CM = 1.6, 0.4
"""Likewise, distance from the edges towards the gums: in 15 photos no mouth was deeper than 1.5, a collar was at 2."""
ALIGNMENT_CHANNELS, ALIGNMENT_CELLS = 16, 8
"""Each row of teeth gets one alignment, from this many maps of ALIGNMENT_CELLS x ALIGNMENT_CELLS px over the lower face:
the receptive field of the convolutions alone is too small, and they were off by half the height of a tooth."""
SCLERA_TINT, SCLERA_BRIGHTNESS = 0.5, 0.95
"""Teeth are about as white as the sclera in every light: exponent of its tint that teeth take over, and their largest mean
brightness relative to it. In 36 well lit photos T's teeth are 0.74 to 1.08 times as bright as the sclera."""
MAX_SHADING = 1.25


class MouthNetwork(UNet):
    """A U-Net over the lower face, conditioned on the code as `WarpNetwork` is; `width` is a factor on MOUTH_CHANNELS."""

    def __init__(self, code_dim: int, width: float = 1.0):
        super().__init__()
        fine, middle, coarse = (round_to_groups(c * width) for c in MOUTH_CHANNELS)
        scales = (fine, middle), (middle, coarse)
        self.stem = nn.Conv2d(3 * FIELD_SCALE**2 + 2 + 6, fine, 3, padding=1)
        self.down_blocks = nn.ModuleList(ResidualBlock(c, code_dim) for c in (fine, middle, coarse))
        self.downsamplers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in scales)
        self.upsamplers = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in scales)
        self.up_blocks = nn.ModuleList((ResidualBlock(fine, code_dim), ResidualBlock(middle, code_dim)))
        self.norm = nn.GroupNorm(GROUPS, fine)
        self.head = nn.Conv2d(fine, FIELD_SCALE**2 + 3 + 3 + 4, 3, padding=1)
        self.alignment_norm, self.alignment_conv = nn.GroupNorm(GROUPS, coarse), nn.Conv2d(coarse, ALIGNMENT_CHANNELS, 1)
        self.alignment = nn.Linear(ALIGNMENT_CHANNELS * ALIGNMENT_CELLS**2, 2 * 2 * 3)
        with torch.no_grad():  # at the start the mask is near 0 and the teeth are at their average position
            self.alignment.weight.zero_()
            self.alignment.bias.zero_()
            self.head.weight.mul_(0.05)
            self.head.bias.copy_(torch.tensor([-4.0] * FIELD_SCALE**2 + [0.0] * 10))  # type: ignore[union-attr]

    def forward(self, warped: Tensor, flow: Tensor, decoded: Tensor, c: Tensor,
                sclera: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """Predicts mask, background, shading and uv of `WarpPrediction`.

        warped: (B, 3, R / 2, R / 2) in [-1, 1], the lower face of the warped and relit photo; flow: (B, 2, S, S), which
        warped it; decoded: (B, 6, S, S), as in `FlowPrediction`; c: (B, K * d); sclera: (B, 3), positive, see
        `sclera_color`.
        """
        side = flow.shape[-1]
        small = torch.cat((flow * FLOW_GAIN, decoded), dim=1)
        maps = self.contract(torch.cat((F.pixel_unshuffle(warped, FIELD_SCALE), lower_face(small)), dim=1), c)
        h = leaky_relu_(self.alignment_conv(self.alignment_norm(maps[-1])))
        pooled = F.adaptive_avg_pool2d(h, ALIGNMENT_CELLS).flatten(1)
        alignment = self.alignment(pooled / pooled.shape[1] ** 0.5).float().unflatten(1, (2, 2, 3))
        mask, background, shading, uv = self.expand(maps, c).split((FIELD_SCALE**2, 3, 3, 4), dim=1)
        uv = uv + align_teeth(lower_face(average_uv(side).to(uv, non_blocking=True)), alignment)
        from_midline, from_edges = upsample_fields(uv[:, :1].abs()), upsample_fields(torch.maximum(uv[:, 1:2], uv[:, 3:]))
        mask = torch.sigmoid(F.pixel_shuffle(mask, FIELD_SCALE))
        mask = mask * (1 - (from_midline - MASK_HALF_WIDTH_CM) * (CM_IN_WIDE_CROP / MASK_FADE)).clamp(0, 1)
        mask = mask * (1 - (from_edges - MASK_HEIGHT_CM) / MASK_HEIGHT_FADE_CM).clamp(0, 1)
        y = torch.linspace(0, 1, FIELD_SCALE * side, device=warped.device)[:, None]
        mask = _pad_window(mask, FIELD_SCALE * side) * ((MASK_BOTTOM + MASK_FADE - y) / MASK_FADE).clamp(0, 1)
        weight = lower_face(F.avg_pool2d(mask, FIELD_SCALE))
        shading = match_sclera(MAX_SHADING * torch.sigmoid(shading + 1), weight, sclera)
        background, shading, uv = (_pad_window(part, side) for part in (torch.sigmoid(background - 1.5), shading, uv))
        return mask, background, shading, uv


def align_teeth(uv: Tensor, alignment: Tensor) -> Tensor:
    """Applies an affine correction to the uv coordinates (1, 4, H, W) of each row, in cm: (B, 4, H, W).

    `alignment`, (B, 2, 2, 3), holds for each row and each of its two coordinates a shift and factors of (u, v), all added.
    """
    rows = uv.unflatten(1, (2, 2))
    gained = torch.einsum("brij,brjhw->brihw", alignment[..., 1:], rows.expand(alignment.shape[0], -1, -1, -1, -1))
    return (rows + gained + alignment[..., :1, None]).flatten(1, 2)


def match_sclera(shading: Tensor, mask: Tensor, sclera: Tensor) -> Tensor:
    """Gives the shading (B, 3, H, W) one tint and limits its mean brightness, both relative to the sclera (B, 3).

    All colours are positive; the mask, (B, 1, H, W) in [0, 1], weights the mean.
    """
    brightness, level = shading.mean(1, keepdim=True), sclera.mean(1)[:, None, None, None]
    weight = mask + 1e-4
    mean = (brightness * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True)
    tint = (sclera[:, :, None, None] / level) ** SCLERA_TINT
    return brightness * tint * (SCLERA_BRIGHTNESS * level / mean).clamp(max=1)


def average_uv(side: int) -> Tensor:
    """The uv coordinates of both rows over the wide crop in an average face: (1, 4, side, side) in cm."""
    x = ((torch.arange(side) + 0.5) / side - 0.5).expand(side, side)
    y = ((torch.arange(side) + 0.5) / side)[:, None].expand(side, side)
    return torch.stack((x, TEETH_HEIGHT - y, x, y - TEETH_HEIGHT))[None] / CM_IN_WIDE_CROP


def lower_face(x: Tensor) -> Tensor:
    """Cuts the window LOWER_FACE out of fields over the wide crop: (B, C, S, S) -> (B, C, S / 2, S / 2)."""
    top, left, side = (round(part * x.shape[-1]) for part in LOWER_FACE)
    return x[..., top : top + side, left : left + side]


def _pad_window(x: Tensor, side: int) -> Tensor:
    """Pads a window LOWER_FACE with zeros to the wide crop: (B, C, S / 2, S / 2) -> (B, C, side, side)."""
    top, left, inner = (round(part * side) for part in LOWER_FACE)
    return F.pad(x, (left, side - left - inner, top, side - top - inner))
