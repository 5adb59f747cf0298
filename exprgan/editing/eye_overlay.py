"""The eyeballs, predicted by models/eye_network, in full resolution: they stay, while the lids are warped over them."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..models.eye_network import EYES_HEIGHT, EYES_LEFT, EYES_TOP, EYES_WIDTH
from ..photo.alignment import compose, scale_of, translation
from ..photo.blending import blend_planes, mask_bounds, planes_in_photo, smooth_step
from .color_curve import ColorCurve
from .mouth_overlay import MASK_HIGH, MASK_LOW, opacity_at, smooth_mask
from .photo_sampling import sample_photo

MIN_SHADE = 0.04
"""A lid that takes less of an eyeball's light than this leaves its pixels as they are."""


@dataclass(frozen=True)
class EyeOverlay:
    """The eyeballs in a square of W px a side that holds both eyes, at the resolution of the wide crop.

    Attributes:
        opacity: (W, W) in [0, 1].
        kept: (W, W) in [0, 1], the factor on the photo's own pixels.
        copied: (W, W) in [0, 1], the factor on pixels of another place.
        offset: (2, W, W), x and y in px of the wide crop: where these lie.
        white: (W, W) in [0, 1], the factor on the colour of white.
        color: that of white, red, green and blue in [0, 255].
        origin: x and y of the square's corner in px of the wide crop.
    """

    opacity: np.ndarray
    kept: np.ndarray
    copied: np.ndarray
    offset: np.ndarray
    white: np.ndarray
    color: tuple[float, ...]
    origin: tuple[int, int]

    @classmethod
    def from_prediction(cls, eyes: Tensor, cover: np.ndarray) -> "EyeOverlay":
        """The overlay of one face.

        Args:
            eyes: (1, 9, R / 4, R / 2), `WarpPrediction.eyes`.
            cover: (R, R) in [0, 1]; where it is 0 nothing is drawn, nor shaded.
        """
        side = len(cover)
        top, left, height, width = (round(part * side) for part in (EYES_TOP, EYES_LEFT, EYES_HEIGHT, EYES_WIDTH))
        changed, (_, shown, x, y, share, shade, *color) = cover[top : top + height, left : left + width], eyes[0].numpy()
        drawn = smooth_step((MASK_HIGH - shown) / (MASK_HIGH - MASK_LOW)) * changed
        light = 1 - (shade - MIN_SHADE).clip(0) * changed
        factors = (1 - drawn) * light, drawn * (1 - share) * light, drawn * share * light
        planes = smooth_mask(eyes[:1, :1])[0, 0].numpy(), *factors, x * side, y * side
        opacity, kept, copied, white, x, y = (np.pad(plane, ((0, width - height), (0, 0)), "edge") for plane in planes)
        opacity[height:] = 0
        levels = tuple(float(plane[0, 0]) * 255 for plane in color)
        return cls(opacity, kept, copied, np.stack((x, y)), white, levels, (left, top))

    def paint(self, result: Image.Image, photo: Image.Image, photo_from_field: np.ndarray,
              curve: ColorCurve | None = None) -> None:  # fmt: skip
        """Paints the eyeballs over the warped skin, in place.

        Args:
            result: the warped photo, RGB.
            photo: the photo itself, whose pixels are kept where it shows the eyeballs.
            photo_from_field: (2, 3), from px of the wide crop to px of the photo.
            curve: that of a photo without colours of its own, on which white lies as well.
        """
        scale, matrix = scale_of(photo_from_field), compose(photo_from_field, translation(*self.origin))
        bounds = mask_bounds(self.opacity, matrix, photo.size)
        if bounds is None:
            return
        offset = np.einsum("ij,jhw->ihw", matrix[:, :2], self.offset)
        reach = (
            int(np.ceil(np.abs(offset).max(where=self.opacity > 0, initial=0))) + 3
        )  # and the support of bicubic sampling
        (left, top, right, bottom), (width, height) = bounds, photo.size
        part = max(0, left - reach), max(0, top - reach), min(width, right + reach), min(height, bottom + reach)
        pixels = torch.from_numpy(np.asarray(photo.crop(part), np.float32)).permute(2, 0, 1)[None]
        color = np.array(self.color, np.float32)[:, None, None]
        color = np.stack(curve.recolor([*color])) if curve else color
        planes = self.kept, self.copied, self.white, *offset
        for box, (kept, copied, white, x, y), mask in planes_in_photo(
            planes, matrix, self.opacity, photo.size, smooth=True
        ):
            own = np.moveaxis(np.asarray(photo.crop(box), np.float32), 2, 0)
            eyeball = own * kept + sample_photo(pixels, part[:2], box, x, y) * copied + color * white
            blend_planes(result, box, eyeball, opacity_at(mask, scale), grain=0.0)
