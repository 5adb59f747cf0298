"""The eyeballs, predicted by models/eye_network, in full resolution: they stay, while the lids are warped over them."""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from ..models.eye_network import EYES_HEIGHT, EYES_LEFT, EYES_TOP, EYES_WIDTH
from ..photo.alignment import compose, scale_of, translation
from ..photo.blending import blend_planes, grain_at, planes_in_photo, smooth_step
from .color_curve import ColorCurve
from .mouth_overlay import MASK_HIGH, MASK_LOW, opacity_at, smooth_mask

MIN_SHADE = 0.04
"""A lid that takes less of an eyeball's light than this leaves its pixels as they are."""


@dataclass(frozen=True)
class EyeOverlay:
    """The eyeballs in a square of W px a side that holds both eyes, at the resolution of the wide crop.

    Attributes:
        opacity: (W, W) in [0, 1].
        kept: (W, W) in [0, 1], the factor on the photo's own pixels.
        drawn: (3, W, W), the colours that are drawn, in [0, 1].
        light: (W, W) in [0, 1], the factor on them.
        origin: x and y of the square's corner in px of the wide crop.
    """

    opacity: np.ndarray
    kept: np.ndarray
    drawn: np.ndarray
    light: np.ndarray
    origin: tuple[int, int]

    @classmethod
    def from_prediction(cls, eyes: Tensor, cover: np.ndarray) -> "EyeOverlay":
        """The overlay of one face.

        Args:
            eyes: (1, 6, R / 4, R / 2), `WarpPrediction.eyes`.
            cover: (R, R) in [0, 1]; where it is 0 nothing is drawn, nor shaded.
        """
        side = len(cover)
        top, left, height, width = (round(part * side) for part in (EYES_TOP, EYES_LEFT, EYES_HEIGHT, EYES_WIDTH))
        changed, (_, shown, *colors, shade) = cover[top : top + height, left : left + width], eyes[0].numpy()
        drawn = smooth_step((MASK_HIGH - shown) / (MASK_HIGH - MASK_LOW)) * changed
        light = 1 - (shade - MIN_SHADE).clip(0) * changed
        planes = smooth_mask(eyes[:1, :1])[0, 0].numpy(), (1 - drawn) * light, *colors, drawn * light
        opacity, kept, *colors, light = (np.pad(plane, ((0, width - height), (0, 0)), "edge") for plane in planes)
        opacity[height:] = 0
        return cls(opacity, kept, np.stack(colors), light, (left, top))

    def paint(self, result: Image.Image, photo: Image.Image, photo_from_field: np.ndarray, grain: float,
              curve: ColorCurve | None = None) -> None:  # fmt: skip
        """Paints the eyeballs over the warped skin, in place.

        Args:
            result: the warped photo, RGB.
            photo: the photo itself, whose pixels are kept where it shows the eyeballs.
            photo_from_field: (2, 3), from px of the wide crop to px of the photo.
            grain: standard deviation of the noise of what is drawn, in levels of 255.
            curve: that of a photo without colours of its own.
        """
        scale, matrix = scale_of(photo_from_field), compose(photo_from_field, translation(*self.origin))
        colors = [plane * 255 for plane in self.drawn]
        colors = [plane * self.light for plane in (curve.recolor(colors) if curve else colors)]
        for box, (kept, *planes), mask in planes_in_photo(
            (self.kept, *colors), matrix, self.opacity, photo.size, smooth=True
        ):
            own, noise = np.asarray(photo.crop(box), np.float32), grain_at(box, grain)
            if noise is not None:  # shaded pixels have lost theirs
                noise = noise * (1 - kept)
            eyeball = (own[..., n] * kept + (plane if noise is None else plane + noise) for n, plane in enumerate(planes))
            blend_planes(result, box, eyeball, opacity_at(mask, scale), grain=0.0)
