"""Whether the mouth of a face can be seen: a mask, a hand or a microphone before it must not get lips and teeth.

A small network looks at the lower half of the aligned crop. `train/warp/mouth_covers.py` trains it on faces with covers
drawn over them; its weights come with the package, since they belong to no model.
"""

import itertools
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from ..photo.image_io import LUMA
from ..torch_state import own_torch_state

WEIGHTS_FILE = Path(__file__).with_name("mouth_visibility.safetensors")
INPUT_PX = 64  # side of the crop that the network sees a part of
WINDOW = (0.3, 0.1, 0.98, 0.9)  # that part in sides of the crop: top, left, bottom, right
CHANNELS = (12, 24, 32)
MIN_COVERED = 0.5
"""Probability from which a mouth counts as covered. Higher than 0.5, because a mouth left alone by mistake is worse in most
photos than one drawn on a cover in few."""
MIN_CONTRAST = 0.02  # of 1: less than this standard deviation of brightness is not amplified


@dataclass(frozen=True)
class MouthView:
    """What a photo shows of a mouth."""

    is_covered: bool  # whether something hides the lips
    corners: tuple[tuple[float, float], ...] | None = None
    """Those of the mouth, left and right, in sides of the aligned crop; None where the detector did not look for them."""

    @classmethod
    def from_crop(cls, crop: Image.Image, corners: np.ndarray | None) -> "MouthView":
        """The view in an aligned crop; `corners`, (2, 2), are the detector's, in sides of the crop."""
        return cls(is_mouth_covered(crop), None if corners is None else tuple((float(x), float(y)) for x, y in corners))


class MouthVisibility(nn.Module):
    """Three convolutions and a linear layer over the lower half of a face."""

    def __init__(self):
        super().__init__()
        top, left, bottom, right = (round(part * INPUT_PX) for part in WINDOW)
        cells = ((bottom - top) // 8) * ((right - left) // 8)
        channels = (3, *CHANNELS)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(channels))
        self.head = nn.Linear(CHANNELS[-1] * cells, 1)

    def forward(self, crops: Tensor) -> Tensor:
        """The logit of a covered mouth: aligned crops (B, 3, INPUT_PX, INPUT_PX) in [0, 1] -> (B,)."""
        h = normalize_window(crops)
        for conv in self.convs:
            h = F.max_pool2d(F.leaky_relu(conv(h), 0.1), 2)
        return self.head(h.flatten(1))[:, 0]


def normalize_window(crops: Tensor) -> Tensor:
    """Cuts WINDOW out of crops (B, 3, INPUT_PX, INPUT_PX) in [0, 1], without its mean colour, in units of its contrast."""
    top, left, bottom, right = (round(part * INPUT_PX) for part in WINDOW)
    window = crops[..., top:bottom, left:right]
    contrast = torch.einsum("bchw,c->bhw", window, window.new_tensor(LUMA)).std((1, 2)).clamp(min=MIN_CONTRAST)
    return (window - window.mean((2, 3), keepdim=True)) / contrast[:, None, None, None]


def is_mouth_covered(crop: Image.Image) -> bool:
    """Whether something hides the lips in an aligned crop, RGB, of any size."""
    small = crop.resize((INPUT_PX, INPUT_PX), Image.Resampling.BOX, reducing_gap=None)
    x = torch.from_numpy(np.asarray(small, np.float32) / 255).permute(2, 0, 1)[None]
    with own_torch_state():
        return bool(load_visibility()(x).sigmoid() >= MIN_COVERED)


@cache
def load_visibility() -> MouthVisibility:
    """The network with its weights."""
    network = MouthVisibility().eval().requires_grad_(False)
    network.load_state_dict(load_file(WEIGHTS_FILE))  # fp16 to float32
    return network
