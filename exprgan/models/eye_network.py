"""The third part of T (`warp_network`): lids, and eyeballs, which stay where they are while the lids move over them.

A smooth flow that moves the lids drags iris and lashes along. So the eyeball is a layer of its own: where the target shows
it, it is the photo's own pixel at the same place if the photo shows it there, and otherwise iris, copied from its sides, or
white (`iris`). Beside it lies the warped skin. A photo of an open eye hides the skin of the upper lid, so where a lid
closes, this layer also shows skin, copied from below the eye in the colour of the lid. Lids are thin, so a network of their
own corrects T's flow there. Then the eye network sees both eyes in the photo and in the warped photo, in which the lids are
at their final position. Both look at a window at each eye, the one on the picture's right mirrored.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backward_warp import FIELD_SCALE, backward_warp, upsample_fields
from .blocks import GROUPS, ResidualBlock, UNet, round_to_groups
from .iris import find_irises, iris_coordinates, iris_opacity, iris_sources, lid_source
from .unit_condition import condition_dim, swap_sides

EYES_TOP, EYES_LEFT, EYES_HEIGHT, EYES_WIDTH = 3 / 16, 1 / 4, 1 / 4, 1 / 2
"""The part of the wide crop that holds both eyes, in its sides: a square window for each eye, side by side."""
EYE_CHANNELS = (16, 32, 48)  # channels of the three scales, from `image_size` px down; multiplied by `width`
FLOW_GAIN = 16.0  # factor on the input flow, which is small beside colours
EYE_FIELDS = 13
"""Opacity, shown, lid, shade, tint (3); alike everywhere the colour of white (3); and `iris.iris_coordinates` (3)."""
HEAD_START = {"opacity": -4.0, "shown": 2.0, "lid": -2.0, "shade": -3.0}
"""The outputs of the eye network's head, with their biases at the start: nothing is drawn, and what the photo shows is its
own. Beside them is a tint, at half the resolution."""
OPACITY_FADE = 0.02
"""Sides of the wide crop over which the opacity fades to 0 at the border of each window. No lid of the training set comes
that near to it."""
LID_FADE, MAX_LID_FLOW = 0.04, 0.06
"""The width of the fade of the lids' correction at the border of each window, and its largest value, in sides of the wide
crop."""
MAX_SHADE = 0.75  # largest part of the light of an eyeball that a lid takes; the renderer's is as large
MAX_TINT, MAX_TINT_CORRECTION = 1.0, 0.35
"""The largest |log factor| on red, green and blue of the skin below the eye that gives it the colour of the lid, and the
largest correction that the network makes to it."""
FILL_LEVELS, FILL_WEIGHT = 4, 0.01
"""Halvings of a window by which the colour of the lid is continued, and the weight of each level against the finer one."""


class EyeUNet(UNet):
    """A U-Net over a window at each eye, conditioned as `WarpNetwork` is; `width` is a factor on EYE_CHANNELS.

    Args:
        inputs, outputs: channels at `image_size` px.
        code_dim: K * d.
        width: factor on the channels.
        num_units: action units in the condition; those of the mirrored eye have their sides exchanged.
    """

    def __init__(self, inputs: int, outputs: int, code_dim: int, width: float, num_units: int):
        super().__init__()
        self.num_units = num_units
        dim = condition_dim(code_dim, num_units)
        fine, middle, coarse = (round_to_groups(c * width) for c in EYE_CHANNELS)
        scales = (fine, middle), (middle, coarse)
        self.stem = nn.Conv2d(inputs, fine, 3, padding=1)
        self.down_blocks = nn.ModuleList(ResidualBlock(c, dim) for c in (fine, middle, coarse))
        self.downsamplers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in scales)
        self.upsamplers = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in scales)
        self.up_blocks = nn.ModuleList((ResidualBlock(fine, dim), ResidualBlock(middle, dim)))
        self.norm = nn.GroupNorm(GROUPS, fine)
        self.head = nn.Conv2d(fine, outputs, 3, padding=1)

    def predict(self, pictures: Tensor, flow: Tensor, condition: Tensor) -> Tensor:
        """The outputs for the eyes on the picture's left and, mirrored, those on its right: (2 B, outputs, S / 4, S / 4).

        pictures: (B, C, R / 4, R / 2), the eyes; flow: (B, 2, S, S); condition: (B, N), `WarpNetwork.condition`.
        """
        flow_left, flow_right = _split(at_eyes(flow) * FLOW_GAIN)
        windows = F.pixel_unshuffle(torch.cat(_split(pictures)), FIELD_SCALE)
        inputs = torch.cat((windows, torch.cat((flow_left, _mirror_x(flow_right)))), dim=1)
        both = torch.cat((condition, swap_sides(condition, self.num_units)))
        return self.expand(self.contract(inputs, both), both)


class LidNetwork(EyeUNet):
    """Corrects the flow of the lids, which is finer than what T's flow is trained on."""

    def __init__(self, code_dim: int, width: float, num_units: int):
        super().__init__(3 * FIELD_SCALE**2 + 2, 2, code_dim, width, num_units)
        for parameter in self.head.parameters():  # at the start nothing is corrected
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, flow: Tensor, condition: Tensor) -> Tensor:
        """Predicts what is added to the flow, (B, 2, S, S).

        x: (B, 3, R, R) in [-1, 1], the photo; flow, condition: as in `predict`.
        """
        added = torch.tanh(self.predict(at_eyes(x), flow, condition) / 4) * MAX_LID_FLOW
        left, right = (added * _fade(added.shape[-1], LID_FADE, added.device)).unflatten(0, (2, -1))
        return place_at_eyes(torch.cat((left, _mirror_x(right.flip(3))), dim=3))


class EyeNetwork(EyeUNet):
    """Predicts the eyeballs. Its part `lids` belongs to the flow, which comes first."""

    def __init__(self, code_dim: int, width: float = 1.0, num_units: int = 0):
        super().__init__(2 * 3 * FIELD_SCALE**2 + 2, len(HEAD_START) * FIELD_SCALE**2 + 3, code_dim, width, num_units)
        self.lids = LidNetwork(code_dim, width, num_units)
        with torch.no_grad():
            self.head.weight.mul_(0.05)  # type: ignore[operator]
            start = torch.tensor([*HEAD_START.values()]).repeat_interleave(FIELD_SCALE**2)
            self.head.bias.copy_(F.pad(start, (0, 3)))  # type: ignore[operator]

    def forward(self, x: Tensor, warped: Tensor, flow: Tensor, condition: Tensor, white: Tensor) -> Tensor:
        """Predicts `WarpPrediction.eyes`, (B, EYE_FIELDS, R / 4, R / 2).

        x: (B, 3, R / 4, R / 2) in [-1, 1], the eyes of the photo (`at_eyes`); warped: likewise, of the warped and relit
        photo; flow: (B, 2, S, S), which warped it; condition: (B, N), `WarpNetwork.condition`; white: (B, 3) in [0, 1], the
        colour of the sclera, `warp_network.eye_white`.
        """
        outputs = self.predict(torch.cat((x, warped), dim=1), flow, condition)
        shares, tint = torch.sigmoid(F.pixel_shuffle(outputs[:, :-3], FIELD_SCALE)), torch.tanh(outputs[:, -3:])
        opacity, shown, lid, shade = shares.split(1, dim=1)
        side = shares.shape[-1]
        windows, skin = (torch.cat(_split(part.detach())) for part in (x, warped))
        circles, visible = find_irises(windows)
        irises = iris_coordinates(circles, side)
        opacity = opacity * _fade(side, OPACITY_FADE, x.device) * visible[:, None, None, None]  # closed eyes stay closed
        tint = upsample_fields(tint * MAX_TINT_CORRECTION) + find_tint(windows, skin, opacity.detach(), irises)
        fields = torch.cat((opacity, shown, lid, shade * MAX_SHADE, tint, irises), dim=1)
        left, right = fields.unflatten(0, (2, -1))  # `chunk` would fix B in an export
        mirrored = fields.new_tensor([*[1.0] * 7, -1.0, 1.0, 1.0])[:, None, None]
        fields, irises = torch.cat((left, right.flip(3) * mirrored), dim=3).split((7, 3), dim=1)
        return torch.cat((fields, white[..., None, None].expand(-1, -1, *fields.shape[2:]), irises), dim=1)


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


def shade_eyeballs(x: Tensor, eyes: Tensor, own: bool = True) -> Tensor:
    """The eyeballs, and the lids that close over them, in their shade: like x; arguments as in `composite_eyes`.

    Without `own` none is a pixel of the same place.
    """
    _, shown, lid, shade, tint, white, u, v, radius = eyes.split((1, 1, 1, 1, 3, 3, 1, 1, 1), dim=1)
    sides = radius.new_tensor([0.5, 1.0])[:, None, None] * radius  # of x, in a radius

    def copy(across: Tensor, down: Tensor) -> Tensor:
        return backward_warp(x, torch.cat((across, down), dim=1) * sides)

    left, right, down, weight = iris_sources(u, v)
    iris = torch.lerp(copy(left, down), copy(right, down), weight)
    eyeball = torch.lerp(white * 2 - 1, iris, iris_opacity(u, v))
    skin = (copy(torch.zeros_like(u), lid_source(v)) + 1) * tint.exp() - 1
    drawn = torch.lerp(eyeball, skin, lid)
    return ((torch.lerp(drawn, x, shown) if own else drawn) + 1) * (1 - shade) - 1


def find_tint(windows: Tensor, skin: Tensor, opacity: Tensor, irises: Tensor) -> Tensor:
    """The log of the colour of a closing lid, continued from the skin about it, in that of the place it is copied from.

    windows, skin: (N, 3, E, E) in [-1, 1], the photo and the warped photo; opacity: (N, 1, E, E) in [0, 1], where it shows
    no skin; irises: `iris.iris_coordinates`. The result is like windows.
    """
    u, v, radius = irises.split(1, dim=1)
    below = backward_warp(windows, torch.cat((torch.zeros_like(u), lid_source(v)), dim=1) * radius)
    below, skin = (below + 1) / 2, (skin + 1) / 2
    weight = (1 - opacity).square() * (skin.mean(1, keepdim=True) + 0.02).square()  # lashes count less than skin
    known = torch.cat((skin * weight, weight), dim=1)
    color, total = _continue(known, FILL_LEVELS).split((3, 1), dim=1)
    tint = (color / total.clamp(min=1e-12)).clamp(min=0.02).log() - _blur(_blur(below)).clamp(min=0.02).log()
    return _blur(_blur(tint.clamp(-MAX_TINT, MAX_TINT)))


def _continue(known: Tensor, levels: int) -> Tensor:
    """Adds to weighted colours and their weights, (N, C, E, E), those of coarser levels, for where there are none."""
    if levels == 0:
        return known
    coarse = _continue(F.avg_pool2d(known, 2), levels - 1)
    return known + FILL_WEIGHT * F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)


def _blur(x: Tensor) -> Tensor:
    """The mean over 5 x 5 px; beyond the border the edge pixels are repeated."""
    return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, stride=1)


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    """The windows of the eye on the picture's left and, mirrored, of the other one."""
    left, right = x.chunk(2, dim=3)
    return left, right.flip(3)


def _mirror_x(flow: Tensor) -> Tensor:
    """The flow of a mirrored picture: its x component changes sign."""
    return flow * flow.new_tensor([-1.0, 1.0])[:, None, None]


def _fade(side: int, width: float, device: torch.device) -> Tensor:
    """1 inside a window, fading to 0 over `width`, in sides of the wide crop, at its border: (side, side)."""
    position = (torch.arange(side, device=device) + 0.5) / side
    ramp = (torch.minimum(position, 1 - position) * (EYES_HEIGHT / width)).clamp(max=1)
    return ramp[:, None] * ramp
