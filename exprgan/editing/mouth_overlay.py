"""The open mouth that T drew, painted as finely as the photo shows it: a sharp border, and teeth with gaps."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ..models.mouth_network import CM_IN_WIDE_CROP, upsample_fields
from ..models.teeth_texture import composite_teeth
from ..models.warp_network import WarpPrediction
from ..photo.alignment import blend_planes, planes_in_photo, scale_of, smooth_step

UNSURE, SURE = 0.3, 0.7
"""A mask below the one draws nothing, above the other all: half of a drawn tooth over half of a lip looks like neither. In
a photo n times as fine as the mask they are nearer to one another, by the root of n, so that lips end as sharply there."""
FINEST = 16
"""Beyond so many px of the photo for one of the mask, lips end no sharper."""
NEAR = 3
"""Px of the mask: what is no farther from something drawn has a say in where it ends."""


@dataclass(frozen=True)
class MouthOverlay:
    """What is drawn, over T's frame; S px a side.

    Attributes:
        mask: (S, S) in [0, 1]; 0 wherever it is too low to matter.
        inside: (10, S, S): behind, light and places, as `teeth.composite_teeth` takes them.
    """

    mask: np.ndarray
    inside: np.ndarray

    @classmethod
    def of(cls, detail: WarpPrediction) -> "MouthOverlay":
        """Of one face, whose mask reaches UNSURE somewhere."""
        calm = F.avg_pool2d(detail.mask[:1], 3, stride=1, padding=1, count_include_pad=False)  # else its px show as steps
        near = F.max_pool2d(calm, (2 * NEAR + 1, 1), stride=1, padding=(NEAR, 0))
        matters = F.max_pool2d(near, (1, 2 * NEAR + 1), stride=1, padding=(0, NEAR)) > UNSURE
        inside = upsample_fields(torch.cat((detail.behind, detail.light, detail.places), dim=1)[:1])
        return cls((calm * matters)[0, 0].numpy(), inside[0].numpy())

    def lay_over(self, photo: Image.Image, photo_from_frame: np.ndarray, grain: float) -> None:
        """Paints it into a photo, which is changed.

        Args:
            photo: RGB.
            photo_from_frame: (2, 3), from px of the mask.
            grain: standard deviation of the noise that it gets, in levels of 255.
        """
        scale = scale_of(photo_from_frame)
        half = (SURE - UNSURE) / 2 / min(FINEST, max(1, scale)) ** 0.5
        low = (SURE + UNSURE) / 2 - half
        for band, inside, mask in planes_in_photo(self.inside, photo_from_frame, self.mask, photo.size):
            behind, light, places = torch.from_numpy(np.stack(inside))[None].split((3, 3, 4), dim=1)
            colour = (
                composite_teeth(behind, light, places, per_cm=len(self.mask) * CM_IN_WIDE_CROP * scale)[0].numpy() * 255
            )
            shown = smooth_step((mask - low) / (2 * half))
            blend_planes(photo, band, colour, shown, grain)
