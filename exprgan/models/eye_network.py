"""The third part of T (`warp_network`): lids, and eyeballs, which stay where they are while the lids move over them.

A smooth flow that moves the lids drags iris and lashes along. So the eyeball is a layer of its own: where the target shows
it, it is the photo's own pixel at the same place if the photo shows it there, and otherwise copied from another place in
the photo's eye, or white. Beside it lies the warped skin. A photo of an open eye hides the skin of the upper lid, so where
a lid closes, this layer also shows skin, copied from below the eye. Lids are thin, so a network of their own corrects T's
flow there. Then the eye network sees both eyes in the photo and in the warped photo, in which the lids are at their final
position. Both look at a window at each eye, the one on the picture's right mirrored.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backward_warp import FIELD_SCALE, backward_warp
from .blocks import GROUPS, ResidualBlock, UNet, round_to_groups
from .unit_condition import condition_dim, swap_sides

EYES_TOP, EYES_LEFT, EYES_HEIGHT, EYES_WIDTH = 3 / 16, 1 / 4, 1 / 4, 1 / 2
"""The part of the wide crop that holds both eyes, in its sides: a square window for each eye, side by side."""
EYE_CHANNELS = (16, 32, 48)  # channels of the three scales, from `image_size` px down; multiplied by `width`
FLOW_GAIN = 16.0  # factor on the input flow, which is small beside colours
EYE_FIELDS = 9  # opacity, shown, offset in x and in y, white, shade; red, green and blue of white, alike everywhere
HEAD_START = {"x": 0.0, "y": 0.0, "opacity": -4.0, "shown": 2.0, "white": -2.0, "shade": -3.0}
"""The outputs of the eye network's head, with their biases at the start: no eyeball is drawn, what the photo shows is its
own, and the rest is copied from its mirror image. x and y shift the place to copy from."""
PUPIL_Y = 0.5075
"""Height at which the pupils of an aligned face lie in a window, in its sides. What a lid hides of an iris is, mirrored
there, what the photo shows of it; above the iris lies the skin of the other lid's mirror image, instead of which the
eyeball is white."""
LID_SKIN_Y = 0.645
"""Likewise a height just below the lower lid: mirrored there, a lid that closes is the skin below the eye."""
MAX_OFFSET = 0.08
"""The largest shift of the place from which an eyeball's colours are copied, in sides of the wide crop."""
OPACITY_FADE = 0.02
"""Sides of the wide crop over which the opacity fades to 0 at the border of each window. No lid of the training set comes
that near to it."""
LID_FADE, MAX_LID_FLOW = 0.04, 0.06
"""The width of the fade of the lids' correction at the border of each window, and its largest value, in sides of the wide
crop."""
MAX_SHADE = 0.75  # largest part of the light of an eyeball that a lid takes; the renderer's is as large


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
        super().__init__(2 * 3 * FIELD_SCALE**2 + 2, len(HEAD_START) * FIELD_SCALE**2, code_dim, width, num_units)
        self.lids = LidNetwork(code_dim, width, num_units)
        with torch.no_grad():
            self.head.weight.mul_(0.05)  # type: ignore[operator]
            start = torch.tensor([*HEAD_START.values()]).repeat_interleave(FIELD_SCALE**2)
            self.head.bias.copy_(start)  # type: ignore[operator]

    def forward(self, x: Tensor, warped: Tensor, flow: Tensor, condition: Tensor, white: Tensor) -> Tensor:
        """Predicts `WarpPrediction.eyes`, (B, EYE_FIELDS, R / 4, R / 2).

        x: (B, 3, R / 4, R / 2) in [-1, 1], the eyes of the photo (`at_eyes`); warped: likewise, of the warped and relit
        photo; flow: (B, 2, S, S), which warped it; condition: (B, N), `WarpNetwork.condition`; white: (B, 3) in [0, 1], the
        colour of the sclera, `warp_network.eye_white`.
        """
        outputs = F.pixel_shuffle(self.predict(torch.cat((x, warped), dim=1), flow, condition), FIELD_SCALE)
        offset, rest = outputs[:, :2], torch.sigmoid(outputs[:, 2:])
        opacity, shown, share, shade = rest.chunk(4, dim=1)
        side, device = rest.shape[-1], rest.device
        across, down = (torch.tanh(offset) * MAX_OFFSET).split(1, dim=1)
        down = down + mirror_offset(PUPIL_Y, down)
        opacity = opacity * _fade(side, OPACITY_FADE, device)
        fields = torch.cat((opacity, shown, across, down, share, shade * MAX_SHADE), dim=1)
        left, right = fields.unflatten(0, (2, -1))  # `chunk` would fix B in an export
        mirrored = fields.new_tensor([1.0, 1.0, -1.0, 1.0, 1.0, 1.0])[:, None, None]
        fields = torch.cat((left, right.flip(3) * mirrored), dim=3)
        return torch.cat((fields, white[..., None, None].expand(-1, -1, *fields.shape[2:])), dim=1)


def mirror_offset(height: float, x: Tensor) -> Tensor:
    """The offset in y to the mirror image about a height of the windows, for E rows of x: (E, 1), in wide-crop sides."""
    rows = (torch.arange(x.shape[-2], device=x.device, dtype=x.dtype) + 0.5) / x.shape[-2]
    return (2 * EYES_HEIGHT) * (height - rows)[:, None]


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
    """The eyeballs without lids, in their shade: like x; arguments as in `composite_eyes`.

    Without `own` none is a pixel of the same place.
    """
    _, shown, offset, share, shade, white = eyes.split((1, 1, 2, 1, 1, 3), dim=1)
    copied = backward_warp(x, offset / offset.new_tensor([EYES_WIDTH, EYES_HEIGHT])[:, None, None])
    drawn = torch.lerp(copied, white * 2 - 1, share)
    return ((torch.lerp(drawn, x, shown) if own else drawn) + 1) * (1 - shade) - 1


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
