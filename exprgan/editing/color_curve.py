"""The colours of a photo without colours of its own: grey, sepia, two inks, or light of one colour.

There the chroma of every pixel follows from its brightness, on one curve from dark to light, and what an edit draws is put
on that curve. In other photos there is no curve, and nothing is changed.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..photo.blending import face_mask, smooth_step
from ..photo.image_io import LUMA
from .value import Value

Planes = np.ndarray | Sequence[np.ndarray]  # red, green and blue, (h, w) each

FULL_COLORFULNESS, MAX_COLORFULNESS = 0.02, 0.035
"""Colourfulness of a face, see `_colorfulness`: up to the first the curve applies in full, from the second on not at all.
In 7,719 pictures of people in ordinary light it is at least 0.048."""
NO_CHROMA = 1.0  # levels of 255: less chroma is a matter of rounding
MEASURED_PX = 32  # side to which a crop is shrunk, which removes the chroma noise of JPEG
BINS = 32  # of brightness, between the darkest and the brightest part of the crop
BESIDE_FACE = 1e-3  # weight of pixels beside the face: they count where no part of the face is as dark, or as bright


@dataclass(frozen=True, eq=False)
class ColorCurve(Value):
    """Chroma as a function of brightness. All values are in levels of 255."""

    luma: np.ndarray  # (N,) increasing, from 0 to 255
    chroma: np.ndarray  # (N, 2): red - green and blue - green at these brightnesses
    limits: tuple[float, float]  # darkest and brightest luma of the crop
    strength: float  # in (0, 1]: how far drawn colours move onto the curve

    @classmethod
    def from_crop(cls, crop: Image.Image) -> "ColorCurve | None":
        """The curve of an aligned crop, RGB; None if the face has colours of its own."""
        pixels = np.asarray(crop.reduce(max(1, crop.width // MEASURED_PX)), np.float32)
        is_face = (face_mask(len(pixels)) > 0.5).ravel()
        pixels = pixels.reshape(-1, 3)
        luma, chroma = pixels @ np.array(LUMA, np.float32), pixels[:, ::2] - pixels[:, 1:2]
        low, high = float(luma.min()), float(luma.max())
        index = np.minimum((luma - low) * (BINS / max(high - low, 1e-3)), BINS - 1).astype(int)
        weights = np.where(is_face, 1.0, BESIDE_FACE)
        sums = np.stack([np.bincount(index, weights * values, BINS) for values in (np.ones_like(luma), luma, *chroma.T)])
        knots = (sums[1:] / np.maximum(sums[0], 1e-9))[:, sums[0] > 0]
        slopes = [np.polyfit(knots[0], values, 1)[0] if len(values) > 1 else 0.0 for values in knots[1:]]
        for at, end in ((0, 0.0), (-1, 255.0)):  # beyond the crop's range it is a straight line
            beyond = knots[1:, at] + np.multiply(slopes, end - knots[0, at])
            knots = np.insert(knots, 0 if at == 0 else knots.shape[1], [end, *beyond], axis=1)
        curve = cls(knots[0], knots[1:].T, (0.0, 255.0), 1.0)
        luma, chroma = luma[is_face], chroma[is_face]
        colorfulness = _colorfulness(luma, chroma, chroma - np.stack(curve._chroma_at(luma), axis=1))
        strength = float(smooth_step((MAX_COLORFULNESS - colorfulness) / (MAX_COLORFULNESS - FULL_COLORFULNESS)))
        if strength == 0:
            return None
        all_luma = np.asarray(crop, np.float32) @ np.array(LUMA, np.float32)
        limits = float(all_luma.min()), float(all_luma.max())
        return dataclasses.replace(curve, limits=limits, strength=strength)

    @property
    def has_chroma(self) -> bool:
        """Whether it is the curve of a tinted photo, not of a grey one."""
        return bool(self.chroma.any())

    def recolor(self, planes: Planes) -> list[np.ndarray]:
        """Moves drawn colours, red, green and blue (h, w), onto the curve, and their brightness into the crop's range."""
        luma = _luma(planes).clip(*self.limits)
        colors = self._colors_at(luma)
        return [self._mix(plane, color) for plane, color in zip(planes, colors, strict=True)]

    def one_gain(self, gain: np.ndarray) -> np.ndarray:
        """Gives a change of log brightness, (H, W, 3), the same value in all channels."""
        return self._mix(gain, (gain @ np.array(LUMA, gain.dtype))[..., None])

    def correct_relit(self, planes: Planes, factors: Planes) -> list[np.ndarray]:
        """What is to be added to relit pixels, planes * factors, since brighter ones have another place on the curve."""
        before, after = _luma(planes), _luma([plane * factor for plane, factor in zip(planes, factors, strict=True)])
        ratio = after / np.maximum(before, 1e-3)
        return [self.strength * (bright - ratio * dark)
                for bright, dark in zip(self._colors_at(after), self._colors_at(before), strict=True)]  # fmt: skip

    def _mix(self, own: np.ndarray, on_curve: np.ndarray) -> np.ndarray:
        """Both by `strength`; at 1 equal to `on_curve` bit for bit, so that grey stays grey."""
        strength = on_curve.dtype.type(self.strength)
        return (1 - strength) * own + strength * on_curve

    def _colors_at(self, luma: np.ndarray) -> list[np.ndarray]:
        """Red, green and blue of a brightness; all three are equal where the chroma is 0."""
        red, blue = self._chroma_at(luma)
        green = luma - LUMA[0] * red - LUMA[2] * blue
        return [green + red, green, green + blue]

    def _chroma_at(self, luma: np.ndarray) -> list[np.ndarray]:
        return [np.interp(luma, self.luma, values).astype(np.float32) for values in self.chroma.T]


def _colorfulness(luma: np.ndarray, chroma: np.ndarray, beside: np.ndarray) -> np.ndarray:
    """How far the chroma (N, 2) of a face, and its part beside the curve, exceed what one ink or light explains: 0 to 1.

    The product of two ratios: what lies beside the curve to all chroma, small in strong tints; and to the deviation of the
    chroma from its mean, small where the chroma changes along the curve. Divided by 1 + the squared ratio of chroma to
    brightness, which is near 0.3 in ordinary light and from 1 on in light of one colour.
    """
    beside, total, deviation = (np.sqrt(np.square(x).sum(1).mean()) for x in (beside, chroma, chroma - chroma.mean(0)))
    return beside**2 / (total + NO_CHROMA) / (deviation + NO_CHROMA) / (1 + (total / (luma.mean() + 1)) ** 2)


def _luma(planes: Planes) -> np.ndarray:
    red, green, blue = planes
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
