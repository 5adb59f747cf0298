"""The mouth interior, predicted by models/mouth_network, textured by models/teeth_texture, in full resolution."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..models.backward_warp import upsample_fields
from ..models.mouth_network import CM_IN_WIDE_CROP
from ..models.teeth_texture import composite_teeth
from ..models.warp_network import WIDE_CROP_SCALE, WarpPrediction
from ..photo.alignment import scale_of
from ..photo.blending import Pixels, blend_planes, planes_in_photo, smooth_step
from .color_curve import ColorCurve
from .mouth_visibility import MouthView

MASK_LOW, MASK_HIGH = 0.3, 0.7
"""The opacity rises from 0 to 1 between these values of the mask; a half-transparent tooth over a lip looks like neither.
In a photo n times as fine as the mask the range is narrower by sqrt(n), so that the edge stays sharp."""
MAX_SHARPENING = 16  # largest n for which the range is narrowed
MARGIN_PX = 3  # pixels of the mask within this distance of a value above MASK_LOW are kept, since they shape the edge

MAX_FROM_LIPS = 0.05
"""Largest mean distance, in sides of the crop, of the pixels that open into a mouth from the line between its corners. In
50 edits of people in studio light it was at most 0.031; of second mouths, on chins and face paint, at least 0.055."""
MAX_ON_CHIN = 0.13
"""Largest mean distance of a part of the mask that is a second mouth on the chin. Of such it was at most 0.077; of parts on
the neck, which T draws where a mouth closes, at least 0.18."""


@dataclass(frozen=True)
class MouthOverlay:
    """The mouth interior over the wide crop, R px a side."""

    mask: np.ndarray  # (R, R) in [0, 1]; 0 far from the mouth
    fields: np.ndarray  # (10, R, R): background, shading and uv of `teeth_texture.composite_teeth`

    @classmethod
    def from_prediction(cls, prediction: WarpPrediction) -> "MouthOverlay":
        """The overlay of one face (B = 1)."""
        fields = upsample_fields(torch.cat((prediction.background, prediction.shading, prediction.uv), dim=1)[:1])
        return cls(smooth_mask(prediction.mask[:1])[0, 0].numpy(), fields[0].numpy())

    def paint(self, photo: Image.Image, photo_from_mask: np.ndarray, grain: float, curve: ColorCurve | None = None) -> None:
        """Paints the overlay into an RGB photo, in place, with noise of standard deviation `grain` in levels of 255.

        `photo_from_mask`, (2, 3), maps mask px to photo px; `curve` is that of a photo without colours of its own.
        """
        scale = scale_of(photo_from_mask)
        px_per_cm = len(self.mask) * CM_IN_WIDE_CROP * scale
        for box, fields, mask in planes_in_photo(self.fields, photo_from_mask, self.mask, photo.size):
            background, shading, uv = torch.from_numpy(np.stack(fields))[None].split((3, 3, 4), dim=1)
            rgb = composite_teeth(background, shading, uv, px_per_cm)[0].numpy() * 255
            colors = curve.recolor(rgb) if curve else rgb
            blend_planes(photo, box, colors, opacity_at(mask, scale), grain)


def opacity_at(mask: np.ndarray, scale: float) -> np.ndarray:
    """The opacity of what is drawn, from a mask in [0, 1] that was enlarged by `scale` to a photo; its edge stays sharp."""
    return sharpen_edge(mask, min(MAX_SHARPENING, max(1, scale)))


def sharpen_edge(mask: Pixels, sharpening: float | Tensor) -> Pixels:
    """The opacity of a mask in [0, 1] whose range of half transparent values is narrowed by the root of `sharpening`."""
    half_range = (MASK_HIGH - MASK_LOW) / 2 / sharpening**0.5
    low = (MASK_HIGH + MASK_LOW) / 2 - half_range
    return smooth_step((mask - low) / (2 * half_range))


def smooth_mask(mask: Tensor) -> Tensor:
    """A mask (1, 1, H, W) without the steps of its pixels, and 0 where no value near is above MASK_LOW."""
    used = [mask[0, 0].any(axis).nonzero() for axis in (1, 0)]
    if not len(used[0]):
        return mask
    ends = [(max(0, int(at[0]) - 2), min(n, int(at[-1]) + 3)) for at, n in zip(used, mask.shape[2:], strict=True)]
    (top, bottom), (left, right) = ends  # beyond them it stays 0
    smooth = smooth_whole_mask(mask[..., top:bottom, left:right])
    return F.pad(smooth, (left, mask.shape[3] - right, top, mask.shape[2] - bottom))


def smooth_whole_mask(mask: Tensor) -> Tensor:
    """`smooth_mask` without looking for the part that is not 0 first."""
    smooth = F.avg_pool2d(mask, 3, stride=1, padding=1, count_include_pad=False)
    near = F.max_pool2d(smooth, (2 * MARGIN_PX + 1, 1), stride=1, padding=(MARGIN_PX, 0))
    near = F.max_pool2d(near, (1, 2 * MARGIN_PX + 1), stride=1, padding=(0, MARGIN_PX)) > MASK_LOW
    return smooth * near


def mask_at_lips(mask: Tensor, flow: Tensor, view: MouthView) -> tuple[Tensor, bool]:
    """Removes the parts of a mouth's mask (R, R) that open beside the lips, and says whether one is a mouth on the chin.

    A part is kept if the flow, (2, R, R) in sides of the wide crop, brings its pixels, on average, from near the line
    between the corners of the mouth in the photo. Where these are not known all parts are. Parts that are further away than
    MAX_ON_CHIN lie on the neck, under a mouth that closes; they say nothing about the lips.
    """
    rows, columns = (mask > MASK_LOW).nonzero(as_tuple=True)
    if view.corners is None or not len(rows):
        return mask, False
    points = torch.stack((columns, rows), 1).add(0.5) / len(mask) + flow[:, rows, columns].T
    left, right = ((torch.tensor(view.corners) - 0.5) / WIDE_CROP_SCALE + 0.5).unbind()
    line = right - left
    along = ((points - left) @ line / line.square().sum().clamp(min=1e-6)).clamp(0, 1)
    from_lips = (points - left - along[:, None] * line).norm(dim=1) * WIDE_CROP_SCALE
    if from_lips.max() <= MAX_FROM_LIPS:
        return mask, False
    box = tuple(slice(int(at.min()), int(at.max()) + 1) for at in (rows, columns))
    result, distance, unseen = mask.clone(), torch.zeros_like(mask), (mask[box] > MASK_LOW).float()
    is_on_chin = False
    distance[rows, columns] = from_lips
    while len(rest := unseen.nonzero()):
        part, size = torch.zeros_like(unseen), 0.0
        part[rest[0, 0], rest[0, 1]] = 1
        while size != (size := part.sum().item()):  # grows to all that is connected
            part = F.max_pool2d(part[None], 3, stride=1, padding=1)[0] * unseen
        unseen -= part
        mean = (distance[box] * part).sum().item() / size
        if mean > MAX_FROM_LIPS:
            result[box][part > 0] = 0
            is_on_chin |= mean <= MAX_ON_CHIN
    return result, is_on_chin
