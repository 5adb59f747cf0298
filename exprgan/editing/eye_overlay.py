"""The eyeballs, predicted by models/eye_network, in full resolution: they stay, while the lids are warped over them."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..models.eye_network import EYES_HEIGHT, EYES_LEFT, EYES_TOP, EYES_WIDTH
from ..models.iris import iris_opacity, iris_sources, lid_source
from ..photo.alignment import compose, scale_of, translation
from ..photo.blending import blend_planes, mask_bounds, planes_in_photo
from .color_curve import ColorCurve
from .mouth_overlay import opacity_at, sharpen_edge, smooth_mask
from .photo_sampling import sample_photo

MIN_SHADE = 0.04
"""A lid that takes less of an eyeball's light than this leaves its pixels as they are."""


@dataclass(frozen=True)
class EyeOverlay:
    """The eyeballs in a square of W px a side that holds both eyes, at the resolution of the wide crop.

    Attributes:
        opacity: (W, W) in [0, 1].
        kept, eyeball, lid: (W, W) in [0, 1], the factors on the photo's own pixels, on iris and white, and on the skin of a
            closing lid.
        tint: (W, W, 3), the log of that skin's colour in that below the eye.
        iris: (3, W, W), the position from the middle of the iris in its radii, u and v, and its radius in px.
        color: that of white, red, green and blue in [0, 255].
        origin: x and y of the square's corner in px of the wide crop.
    """

    opacity: np.ndarray
    kept: np.ndarray
    eyeball: np.ndarray
    lid: np.ndarray
    tint: np.ndarray
    iris: np.ndarray
    color: tuple[float, ...]
    origin: tuple[int, int]

    @classmethod
    def from_prediction(cls, eyes: Tensor, cover: np.ndarray) -> "EyeOverlay":
        """The overlay of one face.

        Args:
            eyes: (1, 13, R / 4, R / 2), `WarpPrediction.eyes`.
            cover: (R, R) in [0, 1]; where it is 0 nothing is drawn, nor shaded.
        """
        side = len(cover)
        top, left, height, width = (round(part * side) for part in (EYES_TOP, EYES_LEFT, EYES_HEIGHT, EYES_WIDTH))
        changed, fields = cover[top : top + height, left : left + width], eyes[0].numpy()
        (shown, lid, shade), tint, color, (u, v, radius) = fields[1:4], fields[4:7], fields[7:10, 0, 0], fields[10:]
        drawn, lid = (1 - sharpen_edge(shown, 1)) * changed, sharpen_edge(lid, 1)
        light = 1 - (shade - MIN_SHADE).clip(0) * changed
        opacity = smooth_mask(eyes[:1, :1])[0, 0].numpy()
        factors = (1 - drawn) * light, drawn * (1 - lid) * light, drawn * lid * light
        planes = np.stack((opacity, *factors, *tint, u, v, radius * height))
        planes = np.pad(planes, ((0, 0), (0, width - height), (0, 0)), "edge")
        planes[0, height:] = 0
        levels = tuple(float(level) * 255 for level in color)
        opacity, kept, eyeball, skin, *tints = planes[:7]
        return cls(opacity, kept, eyeball, skin, np.dstack(tints), planes[7:], levels, (left, top))

    def paint(self, result: Image.Image, photo: Image.Image, photo_from_field: np.ndarray,
              curve: ColorCurve | None = None) -> None:  # fmt: skip
        """Paints the eyeballs over the warped skin, in place.

        Args:
            result: the warped photo, RGB.
            photo: the photo itself, whose pixels are kept where it shows the eyeballs.
            photo_from_field: (2, 3), from px of the wide crop to px of the photo.
            curve: that of a photo without colours of its own, on which white lies as well, and which has one tint for all
                channels.
        """
        scale, matrix = scale_of(photo_from_field), compose(photo_from_field, translation(*self.origin))
        bounds = mask_bounds(self.opacity, matrix, photo.size)
        if bounds is None:
            return
        farthest = self.iris[2] * np.maximum(2, np.abs(lid_source(self.iris[1])))
        reach = int(np.ceil(farthest.max(where=self.opacity > 0, initial=0) * scale)) + 3  # and bicubic sampling's
        (left, top, right, bottom), (width, height) = bounds, photo.size
        part = max(0, left - reach), max(0, top - reach), min(width, right + reach), min(height, bottom + reach)
        pixels = torch.from_numpy(np.asarray(photo.crop(part), np.float32)).permute(2, 0, 1)[None]
        color = np.array(self.color, np.float32)[:, None, None]
        color = np.stack(curve.recolor([*color])) if curve else color
        tint = np.exp(curve.one_gain(self.tint) if curve else self.tint)
        planes = self.kept, self.eyeball, *np.moveaxis(tint * self.lid[..., None], 2, 0), *self.iris
        for box, (kept, eyeball, red, green, blue, u, v, radius), mask in planes_in_photo(
            planes, matrix, self.opacity, photo.size, smooth=True
        ):

            def copy(across: np.ndarray | float, down: np.ndarray, radius=radius, box=box) -> np.ndarray:
                x, y = ((a * across + b * down) * radius for a, b in matrix[:, :2])
                return sample_photo(pixels, part[:2], box, x, y)

            drawn = np.moveaxis(np.asarray(photo.crop(box), np.float32), 2, 0) * kept
            if eyeball.any():
                across_left, across_right, down, weight = (t.numpy() for t in iris_sources(*map(torch.from_numpy, (u, v))))
                iris = copy(across_left, down) * (1 - weight) + copy(across_right, down) * weight
                opacity = iris_opacity(torch.from_numpy(u), torch.from_numpy(v)).numpy()
                drawn += (iris * opacity + color * (1 - opacity)) * eyeball
            if red.any():
                drawn += copy(0.0, lid_source(v)) * np.stack((red, green, blue))
            blend_planes(result, box, drawn, opacity_at(mask, scale), grain=0.0)
