"""Applies T's prediction to a photo at the photo's resolution: warps and relights pixels, paints eyeballs and the mouth.

Flow and gain are smooth, so they are upsampled to the photo without loss; sharpness is the photo's own.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from PIL import Image

from ..deadline import check
from ..models.warp_network import WIDE_CROP_SCALE, WarpPrediction
from ..photo.ai_metadata import mark_edited
from ..photo.alignment import photo_from_enlarged_crop
from ..photo.blending import Box, estimate_grain, mask_bounds, planes_in_photo
from .color_curve import ColorCurve
from .eye_overlay import EyeOverlay
from .mouth_overlay import MASK_LOW, MouthOverlay, mask_at_lips
from .mouth_visibility import MouthView
from .photo_sampling import sample_photo
from .warp_cleaning import clean_warp

BANDS_AT_ONCE = 8
"""Bands that share one cut-out of the photo. It is independent of the number of threads, because the position of a cut-out
decides how sampling positions are rounded."""


@dataclass(frozen=True)
class WarpField:
    """A warp over the wide crop, R px a side."""

    flow: np.ndarray
    """(R, R, 2), x component first, in sides of the wide crop: offset of the point that each pixel comes from."""
    gain: np.ndarray  # (R, R, 3): change of the logarithm of brightness of the warped pixels
    cover: np.ndarray  # (R, R) in [0, 1]: where it is 0 the photo's pixels stay unchanged; flow and gain fade to 0 with it
    mouth: MouthOverlay | None = None
    eyes: EyeOverlay | None = None
    ends_above_mouth: bool = False
    """Whether only eyes and brows are edited, since the mouth is covered, or T would draw one beside the lips."""

    @classmethod
    def from_prediction(cls, prediction: WarpPrediction, view: MouthView | None = None) -> "WarpField":
        """The warp of one face (B = 1), with noise and implausible movement removed; without a view the mouth is drawn."""
        ends_above_mouth = False
        if view is not None:
            at_lips, is_on_chin = mask_at_lips(prediction.mask[0, 0], prediction.flow[0], view)
            ends_above_mouth = view.is_covered or (is_on_chin and not (at_lips > MASK_LOW).any())
            prediction = prediction._replace(mask=at_lips[None, None] * (not ends_above_mouth))
        flow, gain, cover, opacity = clean_warp(prediction, float(not ends_above_mouth))
        mouth = MouthOverlay.from_prediction(prediction) if opacity.any() else None
        field = cls(flow[0].permute(1, 2, 0).numpy(), gain[0].permute(1, 2, 0).numpy(), cover[0, 0].numpy(), mouth)
        eyes = EyeOverlay.from_prediction(prediction.eyes, field.cover) if prediction.has_eyes else None
        return replace(field, eyes=eyes, ends_above_mouth=ends_above_mouth)


def apply_warp(photo: Image.Image, field: WarpField, photo_from_crop: np.ndarray, size: int,
               curve: ColorCurve | None = None) -> Image.Image:  # fmt: skip
    """Warps and relights the face of an RGB photo and paints eyeballs and mouth interior, with the photo's grain.

    `photo_from_crop`, (2, 3), is for a crop of `size` px; `curve` is that of a photo without colours of its own.
    The result has the size of the photo, and is marked as edited by AI.
    """
    side = len(field.cover)
    photo_from_field = photo_from_enlarged_crop(photo_from_crop, size, WIDE_CROP_SCALE, side)
    (xx, xy), (yx, yy) = photo_from_field[:, :2].astype(np.float32) * side
    flow_x, flow_y = np.moveaxis(field.flow, 2, 0)
    flow_px = xx * flow_x + xy * flow_y, yx * flow_x + yy * flow_y
    gain = curve.one_gain(field.gain) if curve else field.gain
    planes = *flow_px, *np.exp(np.moveaxis(gain, 2, 0))
    reach = int(np.ceil(np.abs(flow_px).max(initial=0))) + 3  # and the support of bicubic sampling
    result = mark_edited(photo)
    sampler = _BandSampler(
        photo, mask_bounds(field.cover, photo_from_field, photo.size), reach, curve if curve and curve.has_chroma else None
    )
    bands = planes_in_photo(planes, photo_from_field, field.cover, photo.size, smooth=True)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        while batch := [*islice(bands, BANDS_AT_ONCE)]:
            check()
            sampler.load([box for box, *_ in batch])
            for (box, *_), pixels in zip(batch, pool.map(sampler.warp, batch), strict=True):
                result.paste(Image.fromarray(pixels), box)
    if field.mouth is not None:
        field.mouth.paint(result, photo_from_field, estimate_grain(photo, photo_from_crop, size), curve)
    if field.eyes is not None:
        field.eyes.paint(result, photo, photo_from_field, curve)
    return result


class _BandSampler:
    """Samples a photo band by band, from a cut-out shared by several bands.

    All bands lie in `bounds`; `reach` is the largest distance in px between a pixel and the point it is sampled from.
    """

    def __init__(self, photo: Image.Image, bounds: Box | None, reach: int, curve: ColorCurve | None):
        self.photo, self.bounds, self.reach, self.curve = photo, bounds or (0, 0, 0, 0), reach, curve
        self.box = (0, 0, 0, 0)
        self.pixels, self._floats = torch.empty(1, 3, 0, 0), np.empty(0, np.float32)

    def load(self, boxes: Sequence[Box]) -> None:
        """Cuts out what the bands, ordered from top to bottom, may sample."""
        (width, height), (left, _, right, _), reach = self.photo.size, self.bounds, self.reach
        top, bottom = max(0, boxes[0][1] - reach), min(height, boxes[-1][3] + reach)
        self.box = max(0, left - reach), top, min(width, right + reach), bottom
        pixels = np.asarray(self.photo.crop(self.box))
        if self._floats.size < pixels.size:
            self._floats = np.empty(pixels.size, np.float32)
        floats = self._floats[: pixels.size].reshape(pixels.shape)  # its pages are in use: new ones would be cleared first
        np.copyto(floats, pixels)
        self.pixels = torch.from_numpy(floats).permute(2, 0, 1)[None]

    def warp(self, band: tuple[Box, Sequence[np.ndarray], np.ndarray]) -> np.ndarray:
        """The pixels of one loaded band: (h, w, 3) uint8.

        A band is its box; flow x and y in px and three factors of brightness, (h, w) each; and the cover (h, w).
        """
        box, (x, y, *factors), cover = band
        warped, pixels, changed = (
            sample_photo(self.pixels, self.box[:2], box, x, y),
            np.array(self.photo.crop(box)),
            cover > 0,
        )
        corrections = self.curve.correct_relit(warped, factors) if self.curve else None
        for channel in range(3):  # one by one: numpy is slow along an axis of three
            warped[channel] *= factors[channel]
            if corrections:
                warped[channel] += corrections[channel]
            np.rint(warped[channel], out=warped[channel]).clip(0, 255, out=warped[channel])
            np.copyto(pixels[..., channel], warped[channel], where=changed, casting="unsafe")
        return pixels
