"""T, the detail network (ours, not the paper's): how a photo's own pixels turn into the edit that the decoder shows.

The decoder's picture has the expression but not the photo's sharpness. T looks at the photo, at the decoder's two pictures
(the face's own expression, and the wanted one) and at the code, and says for every point of the face where its pixels
come from, how their brightness changes, and what no pixel of the photo can show: teeth, the inside of a mouth, the white
above an iris. All three are smooth or small, so they can be enlarged to the photo's size; sharpness comes from the photo.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..photo.alignment import EYES
from ..photo.image_io import LUMA
from .blocks import ResidualBlock, leaky_relu_, group_multiple
from .mouth_network import CM_IN_WIDE_CROP, FIELD_SCALE, MouthNetwork, upsample_fields
from .teeth_texture import composite_teeth
from .warping import backward_warp

WIDE_CROP_SCALE = 32 / 27
"""Side of T's frame in sides of the crop, about the same centre: a dropped jaw leaves the crop and must not be cut."""
WARP_CHANNELS = (16, 40, 80, 128, 160)
"""Of T's five scales, from `image_size` px down; times `width`."""
MAX_FLOW = 0.25
"""The farthest that T moves a pixel, in sides of the frame."""
EMPHASIS, RAISED, EYES_END = 1.25, 0.02, 0.45
"""How much farther an editor moves and lights than T says, unless calibration found how much an expression needs:
minimising errors makes T cautious. Brows and lids, above EYES_END (sides of the frame from its top), that T raises by
RAISED or more stay as T says: wide eyes would become tall ones. The nose, which lips pull along, goes no farther than
EMPHASIS for any expression."""
NOSE, NOSE_REACH, NOSE_FADE = (0.5, 0.47), (0.1, 0.08), 0.06
"""Its middle, as (x, y), how far it reaches to both sides, and over how much that fades, in sides of the frame."""
WHITES, BRIGHT_PART, CHEEK = (0.28, 0.11), (0.85, 0.97), 0.85
"""Where the whites of the eyes are looked for: so far beside, and above and below, each pupil, among so bright a part; and
how far below it the cheek is; lengths in eye distances."""
MAX_GAIN = 0.7
"""The largest change of log brightness."""


class WarpPrediction(NamedTuple):
    """What T says, over its frame. S = FINE * image_size."""

    flow: Tensor
    """(B, 2, S, S), x first, in sides of the frame: where each point's pixels come from, relative to it."""
    gain: Tensor
    """(B, 3, S, S): change of the logarithm of the moved pixels' brightness in [0, 1]."""
    mask: Tensor
    """(B, 1, S, S) in [0, 1]: how much of a point is invented."""
    behind: Tensor
    """(B, 3, S / FINE, S / FINE) in [0, 1]: what is seen there between and beside the teeth."""
    light: Tensor
    """(B, 3, S / FINE, S / FINE): what a white tooth looks like there."""
    places: Tensor
    """(B, 4, S / FINE, S / FINE), cm: where a point lies on the two rows of teeth; see `teeth.composite_teeth`."""

    @classmethod
    def still(cls, image_size: int) -> "WarpPrediction":
        """What leaves one face as it is: nothing moved, lit or drawn, B = 1."""
        fine, coarse = FIELD_SCALE * image_size, (image_size, image_size)
        nothing = torch.zeros(1, 3, fine, fine)
        inside = (torch.zeros(1, channels, *coarse) for channels in (3, 3, 4))
        return cls(nothing[:, :2], nothing, nothing[:, :1], *inside)

    def apply(self, x: Tensor) -> Tensor:
        """The photo's frame (B, 3, S, S) in [-1, 1] -> the edited one, likewise."""
        return torch.lerp(warp_and_relight(x, self.flow, self.gain), self.drawn(self.places.detach()), self.mask)

    def drawn(self, places: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1]: the inside of a mouth whose teeth are at some places, as large as the mask."""
        inside = (upsample_fields(part) for part in (self.behind, self.light, places))
        return composite_teeth(*inside, per_cm=self.mask.shape[-1] * CM_IN_WIDE_CROP) * 2 - 1

    def towards(self, other: "WarpPrediction", share: float) -> "WarpPrediction":
        """A part of the way to another one, from 0 (this) to 1; what is drawn is the other's."""
        flow, gain, mask = (torch.lerp(a, b, share) for a, b in zip(self[:3], other[:3], strict=True))
        return WarpPrediction(flow, gain, mask, *other[3:])


class FlowPrediction(NamedTuple):
    """What T says before the mouth is looked at; all of it smooth, so that one edit can go over into another."""

    flow: Tensor
    """(B, 2, S, S), as in `WarpPrediction`, S = image_size; times the emphasis."""
    gain: Tensor
    """(B, 3, S, S), likewise."""
    decoded: Tensor
    """(B, 6, S, S), over the frame: the decoder's picture with the face's own expression, and the wanted one less that."""

    def towards(self, other: "FlowPrediction", share: float) -> "FlowPrediction":
        """A part of the way to another edit of the same face, from 0 (this) to 1."""
        return FlowPrediction(*(torch.lerp(a, b, share) for a, b in zip(self, other, strict=True)))


def emphasis_of(c: Tensor, each: Sequence[float], own: Tensor) -> float:
    """How much farther than T says an editor goes for a code.

    Args:
        c: (K * d,) in [-1, 1].
        each: K, of the expressions (see ExprGANConfig.detail_emphasis); empty: EMPHASIS for all.
        own: (K * d,), the code of what the face shows already.

    Returns:
        The mean of the expressions' own, each weighed by how present it is; EMPHASIS for the neutral code; and 1 from one
        expression to another: `each` was measured on neutral faces, and too long a way back from a smile pulls the nose.
    """
    present = (c.reshape(len(each), -1).amax(1) + 1).tolist() if each else []
    if not sum(present):
        return EMPHASIS
    if own.max() > -1:
        return 1.0
    return sum(p * e for p, e in zip(present, each, strict=True)) / sum(present)


def warp_and_relight(x: Tensor, flow: Tensor, gain: Tensor) -> Tensor:
    """The photo's frame (B, 3, S, S) in [-1, 1] before anything is drawn on it; flow and gain as in `WarpPrediction`."""
    return ((backward_warp(x, flow) + 1) / 2 * gain.exp()).clamp(max=1) * 2 - 1


class WarpNetwork(nn.Module):
    """T: a U-Net with residual blocks says flow and light, steered by the code at every block; then the mouth.

    Args:
        image_size: side of the decoder's pictures in px.
        code_dim: numbers in c, K * d.
        width: 1 for CHANNELS as they stand.
    """

    def __init__(self, image_size: int, code_dim: int, width: float = 1.0):
        super().__init__()
        self.image_size = image_size
        self.inside = round(image_size / WIDE_CROP_SCALE)
        channels = [group_multiple(c * width) for c in WARP_CHANNELS]
        self.entry = nn.Conv2d(3 * FIELD_SCALE**2 + 3 + 3, channels[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(channels))
        self.seen = nn.ModuleList(ResidualBlock(c, code_dim) for c in channels)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(channels))
        self.told = nn.ModuleList(ResidualBlock(c, code_dim) for c in channels[:-1])
        self.norm = nn.GroupNorm(8, channels[0])
        self.move = nn.Conv2d(channels[0], 2 + 3, 3, padding=1)
        self.mouth = MouthNetwork(code_dim, width)
        with torch.no_grad():  # at first nothing moves
            self.move.weight.mul_(0.02)
            self.move.bias.zero_()

    def forward(self, x: Tensor, own: Tensor, x_hat: Tensor, c: Tensor, emphasis: float = 1.0) -> WarpPrediction:
        """What turns the photo into the edit; arguments as in `moves`."""
        return self.completed(x, self.moves(x, own, x_hat, c, emphasis), c)

    def moves(self, x: Tensor, own: Tensor, x_hat: Tensor, c: Tensor, emphasis: float = 1.0) -> FlowPrediction:
        """How the photo's pixels move, and are lit.

        Args:
            x: (B, 3, FINE * S, FINE * S) in [-1, 1], the photo over T's frame.
            own: (B, 3, S, S), the decoder's picture with the face's own expression, over the crop.
            x_hat: (B, 3, S, S), the one with the wanted expression.
            c: (B, K * d), its code.
            emphasis: what small movements and light are multiplied by, before the mouth is drawn; see EMPHASIS.
        """
        decoded = self._over_frame(torch.cat((own, x_hat - own), dim=1))
        h = self.entry(torch.cat((F.pixel_unshuffle(x, FIELD_SCALE), decoded), dim=1))
        h = self.seen[0](h, c)
        skips = [h]
        for down, block in zip(self.down, self.seen[1:], strict=True):
            h = block(down(h), c)
            skips.append(h)
        for i in reversed(range(len(self.up))):
            h = F.interpolate(self.up[i](h), scale_factor=2, mode="bilinear", align_corners=False) + skips[i]
            h = self.told[i](h, c)
        h = leaky_relu_(self.norm(h))
        flow, gain = self.move(h).float().split((2, 3), dim=1)  # places are finer than bf16
        coarse = torch.tanh(flow / 16) * MAX_FLOW  # calm enough to learn
        if emphasis != 1:
            below = torch.linspace(0, 1, self.image_size, device=x.device)[:, None] > EYES_END
            raised = (coarse[:, 1:] / RAISED).clamp(0, 1).masked_fill(below, 0)
            beyond = emphasis - max(0.0, emphasis - EMPHASIS) * _nose(self.image_size, x.device)
            coarse = coarse * (beyond + (1 - beyond) * raised)
        return FlowPrediction(coarse, torch.tanh(gain / 4) * (MAX_GAIN * emphasis), decoded)

    def completed(self, x: Tensor, moves: FlowPrediction, c: Tensor) -> WarpPrediction:
        """With the mouth that opens: x and c as in `moves`."""
        flow, gain = upsample_fields(moves.flow), upsample_fields(moves.gain)
        with torch.no_grad():  # the mouth takes flow and light as they are
            moved = warp_and_relight(x, flow, gain)
        return WarpPrediction(
            flow, gain, *self.mouth(moved.detach(), moves.flow.detach(), moves.decoded, c, sclera_color(x))
        )

    def _over_frame(self, crop: Tensor) -> Tensor:
        """Pictures over the crop -> over the frame, edges repeated."""
        crop = F.interpolate(crop, (self.inside, self.inside), mode="bilinear", align_corners=False, antialias=True)
        before = (self.image_size - self.inside) // 2
        after = self.image_size - self.inside - before
        return F.pad(crop, (before, after, before, after), mode="replicate")


def sclera_color(x: Tensor) -> Tensor:
    """The whites of the eyes: what is bright there but for highlights; if cheeks are brighter, eyes are in a shadow.

    Args:
        x: (B, 3, S, S) in [-1, 1], a photo over T's frame.

    Returns:
        (B, 3), positive: the eyes' tint, as bright as the brighter of both.
    """
    x, apart = (x.float() + 1) / 2, (EYES[1][0] - EYES[0][0]) / WIDE_CROP_SCALE
    luma, middles = x.new_tensor(LUMA), [[(at - 0.5) / WIDE_CROP_SCALE + 0.5 for at in eye] for eye in EYES]
    wide, high = (reach * apart for reach in WHITES)
    eyes = torch.cat([_pixels(x, across, down, wide, high) for across, down in middles], dim=2)
    below, reach = CHEEK * apart, CHEEK * apart / 4
    cheeks = torch.cat([_pixels(x, across, down + below, reach, reach) for across, down in middles], dim=2).mean(2)
    ranked = torch.einsum("c,bcn->bn", luma, eyes).argsort(dim=1)
    first, last = (round(share * ranked.shape[1]) for share in BRIGHT_PART)
    white = eyes.gather(2, ranked[:, None, first:last].expand(-1, 3, -1)).mean(2)
    bright = (cheeks @ luma / (white @ luma).clamp(min=1e-3)).clamp(min=1)
    return (white * bright[:, None]).clamp(min=1e-2)


def _pixels(x: Tensor, across: float, down: float, wide: float, high: float) -> Tensor:
    """Those about a place: (B, C, S, S), and its middle and reach to both sides in sides of x -> (B, C, N)."""
    (top, bottom), (left, right) = ([round(x.shape[-1] * (middle + way * reach)) for way in (-1, 1)]
                                    for middle, reach in ((down, high), (across, wide)))  # fmt: skip
    return x[..., top:bottom, left:right].flatten(2)


def _nose(side: int, device: torch.device) -> Tensor:
    """1 over the nose, 0 well off it: (side, side)."""
    place = (torch.arange(side, device=device) + 0.5) / side
    across, down = (((reach + NOSE_FADE - (place - at).abs()) / NOSE_FADE).clamp(0, 1)
                    for at, reach in zip(NOSE, NOSE_REACH, strict=True))  # fmt: skip
    return across * down[:, None]
