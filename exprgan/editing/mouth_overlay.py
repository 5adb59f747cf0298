"""The mouth interior, predicted by models/mouth_network, textured by models/teeth_texture, in full resolution."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ..models.backward_warp import upsample_fields
from ..models.mouth_network import CM_IN_WIDE_CROP
from ..models.teeth_texture import composite_teeth
from ..models.warp_network import WarpPrediction
from ..photo.alignment import scale_of
from ..photo.blending import blend_planes, planes_in_photo, smooth_step

MASK_LOW, MASK_HIGH = 0.3, 0.7
"""The opacity rises from 0 to 1 between these values of the mask; a half-transparent tooth over a lip looks like neither.
In a photo n times as fine as the mask the range is narrower by sqrt(n), so that the edge stays sharp."""
MAX_SHARPENING = 16  # largest n for which the range is narrowed
MARGIN_PX = 3  # pixels of the mask within this distance of a value above MASK_LOW are kept, since they shape the edge


@dataclass(frozen=True)
class MouthOverlay:
    """The mouth interior over the wide crop, R px a side."""

    mask: np.ndarray  # (R, R) in [0, 1]; 0 far from the mouth
    fields: np.ndarray  # (10, R, R): background, shading and uv of `teeth_texture.composite_teeth`

    @classmethod
    def from_prediction(cls, prediction: WarpPrediction) -> "MouthOverlay":
        """The overlay of one face (B = 1)."""
        smooth = F.avg_pool2d(prediction.mask[:1], 3, stride=1, padding=1, count_include_pad=False)  # hides its pixel steps
        near = F.max_pool2d(smooth, (2 * MARGIN_PX + 1, 1), stride=1, padding=(MARGIN_PX, 0))
        near = F.max_pool2d(near, (1, 2 * MARGIN_PX + 1), stride=1, padding=(0, MARGIN_PX)) > MASK_LOW
        fields = upsample_fields(torch.cat((prediction.background, prediction.shading, prediction.uv), dim=1)[:1])
        return cls((smooth * near)[0, 0].numpy(), fields[0].numpy())

    def paint(self, photo: Image.Image, photo_from_mask: np.ndarray, grain: float) -> None:
        """Paints the overlay into an RGB photo, in place, with noise of standard deviation `grain` in levels of 255.

        `photo_from_mask`, (2, 3), maps mask px to photo px.
        """
        scale = scale_of(photo_from_mask)
        half_range = (MASK_HIGH - MASK_LOW) / 2 / min(MAX_SHARPENING, max(1, scale)) ** 0.5
        low = (MASK_HIGH + MASK_LOW) / 2 - half_range
        px_per_cm = len(self.mask) * CM_IN_WIDE_CROP * scale
        for box, fields, mask in planes_in_photo(self.fields, photo_from_mask, self.mask, photo.size):
            background, shading, uv = torch.from_numpy(np.stack(fields))[None].split((3, 3, 4), dim=1)
            rgb = composite_teeth(background, shading, uv, px_per_cm)[0].numpy() * 255
            blend_planes(photo, box, rgb, smooth_step((mask - low) / (2 * half_range)), grain)
