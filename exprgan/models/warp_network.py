"""T, the warp network (not part of the paper): brings the expression of the decoder's picture to the photo's own pixels.

The decoder's picture has the expression but not the sharpness of the photo. From the photo, two pictures of the decoder
(with the expression of the photo and with the target expression) and the code, T predicts for every point of the face where
its pixels come from (flow), how their brightness changes (gain), and a mask of the inside of the mouth, which no pixel of
the photo can show. All of these are smooth or small, so they can be upsampled to the photo's resolution.

T works on the wide crop, which has the centre of the aligned crop and WIDE_CROP_SCALE times its side.
"""

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..photo.alignment import EYES
from ..photo.image_io import LUMA
from .backward_warp import FIELD_SCALE, upsample_fields, warp_and_relight
from .blocks import GROUPS, CalibratedModule, ResidualBlock, UNet, round_to_groups
from .eye_network import EyeNetwork, at_eyes, composite_eyes, place_at_eyes
from .mouth_network import CM_IN_WIDE_CROP, MouthNetwork, lower_face
from .teeth_texture import composite_teeth
from .unit_condition import condition_dim, join_condition
from .wrinkle_network import WrinkleNetwork

WIDE_CROP_SCALE = 32 / 27  # side of the wide crop in sides of the crop, large enough to hold a dropped jaw
WARP_CHANNELS = (16, 40, 80, 128, 160)  # channels of the five scales, from `image_size` px down; multiplied by `width`
MAX_FLOW, MAX_GAIN = 0.25, 0.7  # largest flow, in sides of the wide crop, and largest change of the logarithm of brightness
DEFAULT_EMPHASIS = 1.25  # factor on flow unless calibrated: a network trained on a pixel loss underestimates it
FOLD_PX, FOLD_EMPHASIS = 15, 2.2
"""Factor on the brightness of folds, that part of the gain which differs from its mean over FOLD_PX: the rms of renderings'
over that of T, which predicts the mean over all places where a fold may lie."""
RAISED, EYES_END = 0.02, 0.45
"""Upward flow of RAISED or more above EYES_END (both in sides of the wide crop, EYES_END from its top) is not emphasised:
wide eyes would become tall ones."""
NOSE, NOSE_REACH, NOSE_FADE = (0.5, 0.47), (0.1, 0.08), 0.06
"""Centre (x, y), half width and half height, and fade of the nose in sides of the wide crop. There the emphasis is at most
DEFAULT_EMPHASIS, since the nose is pulled along by the lips."""
SCLERA_REACH, SCLERA_QUANTILES, CHEEK_BELOW_EYE = (0.28, 0.11), (0.85, 0.97), 0.85
"""Where the sclera is sought: half width and half height of a box about each pupil, the quantiles of brightness taken from
it, and the distance of the cheek below the pupil; lengths in eye distances."""
WHITE_REACH, WHITE_QUANTILES, WHITE_FACTOR = (0.2, 0.07), (0.9, 0.98), 1.15
"""The same for the white of eyes: a smaller box, which holds less skin, quantiles of the blue channel, in which skin is
darkest, and a factor, since a lid's shade only darkens."""

NO_EYES = torch.empty(0)


class WarpPrediction(NamedTuple):
    """T's prediction over the wide crop; S = `image_size`, R = FIELD_SCALE * S."""

    flow: Tensor
    """(B, 2, R, R), x component first, in sides of the wide crop: offset of the point that each pixel comes from."""
    gain: Tensor  # (B, 3, R, R): change of the logarithm of brightness in [0, 1] of the warped pixels
    mask: Tensor  # (B, 1, R, R) in [0, 1]: opacity of the rendered mouth interior
    background: Tensor  # (B, 3, S, S) in [0, 1]: the mouth interior without teeth
    shading: Tensor  # (B, 3, S, S): colour of a white tooth at each point
    uv: Tensor  # (B, 4, S, S) in cm: texture coordinates on the two rows of teeth, see `teeth_texture.composite_teeth`
    eyes: Tensor = NO_EYES
    """(B, 13, R / 4, R / 2), at the eyes (`eye_network.at_eyes`): the opacity of the visible eyeball, or a lid that closes
    over it; how far the photo shows it at the same place; how far the rest is skin of a lid; the part of its light that a
    lid takes; the tint of that skin, the log of its colour in that below the eye, red, green and blue; the colour of
    white, alike everywhere; and the position from the middle of the iris, u and v in its radii, and its radius in the
    window's sides (`iris`). Opacity, shares, shade and colour are in [0, 1]. Empty for a T without an eye network."""

    @classmethod
    def identity(cls, image_size: int) -> "WarpPrediction":
        """The prediction that leaves a photo unchanged, B = 1."""
        large, small = FIELD_SCALE * image_size, image_size
        shapes = (2, large), (3, large), (1, large), (3, small), (3, small), (4, small)
        return cls(*(torch.zeros(1, channels, side, side) for channels, side in shapes))

    def to(self, device: torch.device) -> "WarpPrediction":
        """The same on another device."""
        return WarpPrediction(*(part.to(device) for part in self))

    def apply(self, x: Tensor) -> Tensor:
        """Edits the wide crop: (B, 3, R, R) in [-1, 1] -> (B, 3, R, R) in [-1, 1]."""
        edited = torch.lerp(warp_and_relight(x, self.flow, self.gain), self.render_mouth(self.uv.detach()), self.mask)
        if self.has_eyes:
            skin = at_eyes(edited)
            edited = edited + place_at_eyes(composite_eyes(skin, at_eyes(x), self.eyes) - skin)
        return edited

    @property
    def has_eyes(self) -> bool:
        """Whether eyeballs are a layer of their own."""
        return self.eyes.numel() > 0

    def render_mouth(self, uv: Tensor) -> Tensor:
        """The mouth interior with teeth at the given coordinates: (B, 4, S, S) in cm -> (B, 3, R, R) in [-1, 1]."""
        background, shading, uv = (upsample_fields(part) for part in (self.background, self.shading, uv))
        return composite_teeth(background, shading, uv, self.mask.shape[-1] * CM_IN_WIDE_CROP) * 2 - 1

    def lerp(self, end: "WarpPrediction", weight: float) -> "WarpPrediction":
        """Interpolates flow, gain, mask and eyes from this prediction (weight 0) to `end` (1); takes the rest of `end`."""
        start, end = self.with_eyes_of(end), end.with_eyes_of(self)
        flow, gain, mask, eyes = (torch.lerp(a, b, weight) for a, b in zip((*start[:3], start.eyes), (*end[:3], end.eyes),
                                                                           strict=True))  # fmt: skip
        return end._replace(flow=flow, gain=gain, mask=mask, eyes=eyes)

    def with_eyes_of(self, other: "WarpPrediction") -> "WarpPrediction":
        """This prediction; if it has no eyes and `other` has, with those at an opacity of 0, so that both interpolate."""
        if self.has_eyes or not other.has_eyes:
            return self
        return self._replace(eyes=torch.cat((torch.zeros_like(other.eyes[:, :1]), other.eyes[:, 1:]), dim=1))


class FlowPrediction(NamedTuple):
    """T's prediction before the mouth network: smooth fields that can be interpolated between edits."""

    flow: Tensor  # (B, 2, S, S), as in `WarpPrediction`, after emphasis; S = `image_size`
    gain: Tensor  # (B, 3, S, S), likewise
    decoded: Tensor  # (B, 6, S, S) over the wide crop: the reconstruction, and the difference of x_hat from it

    def lerp(self, end: "FlowPrediction", weight: float) -> "FlowPrediction":
        """Interpolates from this edit (weight 0) to another edit of the same face (1)."""
        return FlowPrediction(*(torch.lerp(a, b, weight) for a, b in zip(self, end, strict=True)))


class WarpEmphasis(CalibratedModule):
    """The factor on T's flow that makes an edit look as intense as the training set's full expressions.

    Buffer `per_expression` (K,): a factor for each expression, measured by calibration on neutral faces.
    """

    per_expression: Tensor

    def __init__(self, num_expressions: int):
        super().__init__()
        self.register_buffer("per_expression", torch.full((num_expressions,), DEFAULT_EMPHASIS, dtype=torch.float64))

    def forward(self, c: Tensor, source_code: Tensor) -> float:
        """The factor for one edit with the code c (K * d,) of a face that shows `source_code`.

        It is the mean of the expressions' factors, weighted by their presence in c; and 1 on the way from an expression to
        another one or to neutral, which would go too far.
        """
        presence = (c.reshape(len(self.per_expression), -1).amax(1) + 1).tolist()
        if not sum(presence) or source_code.max() > -1:
            return 1.0
        return sum(p * e for p, e in zip(presence, self.per_expression.tolist(), strict=True)) / sum(presence)


Decoded = tuple[Tensor, Tensor] | None  # reconstruction and x_hat
Emphasis = float | Tensor | None  # see `WarpNetwork.predict_skin`


class WarpNetwork(UNet):
    """T: a U-Net that predicts flow and gain, followed by `MouthNetwork`; `width` is a factor on WARP_CHANNELS.

    Weights may have any floating type; pictures and codes are converted to it, and predictions are float32. A T that takes
    action units (`units`) has their weights at 0 at the start, but for its eyes, so that it begins as a T without them.
    """

    def __init__(
        self, image_size: int, code_dim: int, width: float = 1.0, units: tuple[int, ...] = (), has_eyes: bool = False,
        has_wrinkles: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.image_size, self.units, self.num_codes = image_size, units, code_dim
        code_dim = condition_dim(code_dim, len(units))
        self.crop_px = round(image_size / WIDE_CROP_SCALE)
        channels = [round_to_groups(c * width) for c in WARP_CHANNELS]
        scales = list(itertools.pairwise(channels))
        self.stem = nn.Conv2d(3 * FIELD_SCALE**2 + 3 + 3, channels[0], 3, padding=1)
        self.downsamplers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in scales)
        self.down_blocks = nn.ModuleList(ResidualBlock(c, code_dim) for c in channels)
        self.upsamplers = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in scales)
        self.up_blocks = nn.ModuleList(ResidualBlock(c, code_dim) for c in channels[:-1])
        self.norm = nn.GroupNorm(GROUPS, channels[0])
        self.head = nn.Conv2d(channels[0], 2 + 3, 3, padding=1)
        self.mouth = MouthNetwork(code_dim, width)
        self.eyes = EyeNetwork(self.num_codes, width, len(units)) if has_eyes else None
        self.wrinkles = WrinkleNetwork(units) if has_wrinkles else None
        with torch.no_grad():  # at the start the flow is near 0
            self.head.weight.mul_(0.02)
            self.head.bias.zero_()  # type: ignore[union-attr]
            for name, block in self.named_modules():
                if isinstance(block, ResidualBlock) and block.film is not None and not name.startswith("eyes."):
                    block.film.weight[:, self.num_codes :] = 0

    def condition(self, c: Tensor, now: Tensor | None = None, target: Tensor | None = None) -> Tensor:
        """The condition of a prediction: the code c (B, K * d), joined with action units if T takes them.

        They are those that the photo shows (`now`) and those that the edit is to show (`target`), (B, U, 2) each, None or
        NaN where unknown.
        """
        return join_condition(c, len(self.units), now, target)

    def forward(
        self, x: Tensor, decoded: Decoded, c: Tensor, emphasis: Emphasis = None, skin: FlowPrediction | None = None,
        skin_alone: bool = False,
    ) -> WarpPrediction:  # fmt: skip
        """Predicts the warp from the photo to the edit; arguments as in `predict_flow`.

        With `skin`, the result of `predict_skin`, only lids and eyeballs are predicted, and with `skin_alone` only flow and
        gain: no mouth interior in either case.
        """
        prediction = self.predict_flow(x, decoded, c, emphasis) if skin is None else self.add_lids(x, skin, c)
        if skin is None and not skin_alone:
            return self.add_parts(x, self.complete(x, prediction, c), c)
        fields = {"flow": upsample_fields(prediction.flow), "gain": upsample_fields(prediction.gain)}
        warp = WarpPrediction.identity(self.image_size).to(x.device)._replace(**fields)
        return warp if skin_alone else self.add_eyes(x, warp, c)

    def predict_flow(self, x: Tensor, decoded: Decoded, c: Tensor, emphasis: Emphasis = None) -> FlowPrediction:
        """Predicts flow and gain; arguments as in `predict_skin`."""
        return self.add_lids(x, self.predict_skin(x, decoded, c, emphasis), c)

    def add_lids(self, x: Tensor, skin: FlowPrediction, c: Tensor) -> FlowPrediction:
        """Corrects the flow of the lids, if T has an eye network."""
        return skin if self.eyes is None else skin._replace(flow=skin.flow + self.eyes.lids(x, skin.flow, c))

    def predict_skin(self, x: Tensor, decoded: Decoded, c: Tensor, emphasis: Emphasis = None) -> FlowPrediction:
        """Predicts flow and gain before the lids are corrected.

        Args:
            x: (B, 3, R, R) in [-1, 1], the photo over the wide crop.
            decoded: reconstruction and x_hat, (B, 3, S, S) each: the decoder's pictures over the crop, with the expression
                of the photo and with the target. None: T does without them, as it was trained to do in part.
            c: the target code (B, K * d), with units if T takes them: `condition`.
            emphasis: factor on the flow (see `WarpEmphasis`), or one for each picture, (B, 1, 1, 1); folds are then
                emphasised, too. None: flow and gain as they were trained.
        """
        if decoded is None:
            pictures = x.new_zeros(x.shape[0], 6, self.image_size, self.image_size)
        else:
            reconstruction, x_hat = decoded
            pictures = self._place_in_wide_crop(torch.cat((reconstruction, x_hat - reconstruction), dim=1))
        maps = self.contract(torch.cat((F.pixel_unshuffle(x, FIELD_SCALE), pictures), dim=1), c)
        flow, gain = self.expand(maps, c).split((2, 3), dim=1)
        flow = torch.tanh(flow / 16) * MAX_FLOW
        gain = torch.tanh(gain / 4) * MAX_GAIN
        if emphasis is not None:
            flow, gain = emphasize(flow, emphasis), emphasize_folds(gain)
        return FlowPrediction(flow, gain, pictures)

    def complete(self, x: Tensor, prediction: FlowPrediction, c: Tensor) -> WarpPrediction:
        """Adds the mouth interior to a flow prediction; x and c as in `predict_flow`."""
        flow, gain = upsample_fields(prediction.flow), upsample_fields(prediction.gain)
        with torch.no_grad():  # the mouth network does not train flow and gain
            warped = warp_and_relight(x, flow, gain, lower_face)
        mouth = self.mouth(warped, prediction.flow.detach(), prediction.decoded, c, sclera_color(x))
        return WarpPrediction(flow, gain, *mouth)

    def add_eyes(self, x: Tensor, prediction: WarpPrediction, c: Tensor) -> WarpPrediction:
        """Adds eyes that suit the flow and gain of a prediction, if T has an eye network; x and c as in `predict_flow`."""
        if self.eyes is None:
            return prediction
        flow, gain = prediction.flow.detach(), prediction.gain.detach()  # the eye network does not train flow and gain
        warped, small = warp_and_relight(x, flow, gain, at_eyes), F.avg_pool2d(flow, FIELD_SCALE)
        return prediction._replace(eyes=self.eyes(at_eyes(x), warped, small, c, eye_white(x)))

    def add_wrinkles(self, places: Tensor, prediction: WarpPrediction, c: Tensor) -> WarpPrediction:
        """Adds wrinkles to the gain of a prediction of a T that draws them.

        places: of the photo, `WrinkleNetwork.find`; c as in `predict_flow`.
        """
        assert self.wrinkles is not None
        return prediction._replace(gain=prediction.gain + self.wrinkles(places, prediction.flow.detach(), c))

    def add_parts(self, x: Tensor, prediction: WarpPrediction, c: Tensor) -> WarpPrediction:
        """Adds eyes, then wrinkles, which the eye network does not see, if T has them; x and c as in `predict_flow`."""
        prediction = self.add_eyes(x, prediction, c)
        return prediction if self.wrinkles is None else self.add_wrinkles(self.wrinkles.find(x), prediction, c)

    def _place_in_wide_crop(self, crop: Tensor) -> Tensor:
        """Resamples pictures over the crop to their size in the wide crop, and repeats their edge pixels around them."""
        crop = F.interpolate(crop, (self.crop_px, self.crop_px), mode="bilinear", align_corners=False, antialias=True)
        before = (self.image_size - self.crop_px) // 2
        after = self.image_size - self.crop_px - before
        return F.pad(crop, (before, after, before, after), mode="replicate")


def emphasize(flow: Tensor, emphasis: Emphasis) -> Tensor:
    """Multiplies a flow (B, 2, S, S) by an emphasis: by less at the nose, and by at most 1 where brows and lids rise."""
    if emphasis is None:
        return flow
    side = flow.shape[-1]
    below_eyes = torch.linspace(0, 1, side, device=flow.device)[:, None] > EYES_END
    raised = (flow[:, 1:] / RAISED).clamp(0, 1).masked_fill(below_eyes, 0)
    excess = emphasis - DEFAULT_EMPHASIS
    excess = excess.clamp(min=0) if isinstance(excess, Tensor) else max(0.0, excess)
    local = emphasis - excess * _nose_mask(side, flow.device)
    beyond = (local - 1).clamp(min=0)
    return flow * (local - beyond * raised)


def emphasize_folds(gain: Tensor) -> Tensor:
    """Multiplies what is fine in the brightness of a gain (B, 3, S, S) by FOLD_EMPHASIS; hue and saturation stay."""
    brightness = gain.mean(1, keepdim=True)
    coarse = F.avg_pool2d(brightness, FOLD_PX, stride=1, padding=FOLD_PX // 2, count_include_pad=False)
    return gain + (FOLD_EMPHASIS - 1) * (brightness - coarse)


def sclera_color(x: Tensor) -> Tensor:
    """Estimates the colour of the sclera: the mean of the pixels about the pupils that are bright but no highlights.

    x, (B, 3, R, R) in [-1, 1], is a photo over the wide crop. The colour, (B, 3), positive, has the brightness of the
    sclera, or that of the cheeks if these are brighter, which means that the eyes lie in shadow.
    """
    luma = x.new_tensor(LUMA, dtype=torch.float32)
    sclera = _mean_about_pupils(x, SCLERA_REACH, SCLERA_QUANTILES, luma)
    half = CHEEK_BELOW_EYE / 4
    cheeks = _pixels_about_pupils(x, (half, half), CHEEK_BELOW_EYE).mean(2)
    brightening = (cheeks @ luma / (sclera @ luma).clamp(min=1e-3)).clamp(min=1)
    return (sclera * brightening[:, None]).clamp(min=1e-2)


def eye_white(x: Tensor) -> Tensor:
    """Estimates the colour of what lids uncover of the white of the eyes, where no lid shades it.

    x: as for `sclera_color`; the colour is (B, 3) in [0, 1].
    """
    blue = x.new_tensor([0, 0, 1], dtype=torch.float32)
    return (_mean_about_pupils(x, WHITE_REACH, WHITE_QUANTILES, blue) * WHITE_FACTOR).clamp(max=1)


def _mean_about_pupils(x: Tensor, reach: tuple[float, float], quantiles: tuple[float, float], weights: Tensor) -> Tensor:
    """(B, 3) in [0, 1]: the mean of the pixels about the pupils whose weighted channels lie between two quantiles."""
    pixels = _pixels_about_pupils(x, reach)
    order = torch.einsum("c,bcn->bn", weights, pixels).argsort(dim=1)
    first, last = (round(quantile * order.shape[1]) for quantile in quantiles)
    return pixels.gather(2, order[:, None, first:last].expand(-1, 3, -1)).mean(2)


def _pixels_about_pupils(x: Tensor, reach: tuple[float, float], below: float = 0.0) -> Tensor:
    """The pixels of a box about each pupil or, by `below`, below it: (B, 3, R, R) in [-1, 1] -> (B, 3, N) in [0, 1].

    reach: half width and half height; all in eye distances.
    """
    x, eye_distance = (x.float() + 1) / 2, (EYES[1][0] - EYES[0][0]) / WIDE_CROP_SCALE
    pupils = [[(at - 0.5) / WIDE_CROP_SCALE + 0.5 for at in eye] for eye in EYES]
    width, height = (part * eye_distance for part in reach)
    return torch.cat([_pixels_in_box(x, left, top + below * eye_distance, width, height) for left, top in pupils], dim=2)


def _pixels_in_box(x: Tensor, center_x: float, center_y: float, half_width: float, half_height: float) -> Tensor:
    """The pixels of a box given in sides of x: (B, C, S, S) -> (B, C, N)."""
    (top, bottom), (left, right) = ([round(x.shape[-1] * (center + sign * half)) for sign in (-1, 1)]
                                    for center, half in ((center_y, half_height), (center_x, half_width)))  # fmt: skip
    return x[..., top:bottom, left:right].flatten(2)


def _nose_mask(side: int, device: torch.device) -> Tensor:
    """1 over the nose, fading to 0 around it: (side, side)."""
    position = (torch.arange(side, device=device) + 0.5) / side
    across, down = (((reach + NOSE_FADE - (position - center).abs()) / NOSE_FADE).clamp(0, 1)
                    for center, reach in zip(NOSE, NOSE_REACH, strict=True))  # fmt: skip
    return across * down[:, None]
