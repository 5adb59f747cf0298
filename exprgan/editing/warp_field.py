"""How an edit changes a photo: pixels moved, lit, and where no pixel will do, invented. Found small, done at full size.

Flow and light are smooth, so both are enlarged to the photo's resolution without loss; sharpness is the photo's own. What
turns one face into another comes from T (detail.py) or, where a model has none, from the decoder's two pictures (flow.py).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..models.warp_network import WIDE_CROP_SCALE, MAX_GAIN, WarpPrediction
from ..models.warping import dense_flow, backward_warp
from ..photo.alignment import (
    EYES,
    Box,
    photo_from_wide_crop,
    face_mask,
    match_color,
    planes_in_photo,
    mask_bounds,
    smooth_step,
)
from ..photo.film_grain import estimate_grain
from ..photo.image_io import LUMA
from .mouth_overlay import SURE, UNSURE, MouthOverlay

EMPHASIS = 1.4
"""How much farther the photo moves than the decoder's two pictures differ, without T. Theirs is the difference of two
averages, and looks faint on a sharp photo."""
STILL, MOVING = 0.0012, 0.005
"""Sides of the frame (0.15 and 0.6 px of 128): a shorter flow is taken for noise, and a longer one is kept whole."""
OPENED = 0.5
"""An editor opens eyes by this part of what T says. A lid slides over an eye that stays where it is; a flow, which is
smooth, pulls lashes and iris along, and the farther the plainer."""
BESIDE, ABOVE = (0.25, 0.45), (0.18, 0.42)
"""So far from a pupil, in eye distances, in full, and from there on not at all."""
BROWS, HIGHEST = (0.05, 0.11), 0.04
"""Sides of the frame: so far above the eyes brows begin, and all is brow; and they come near so high, never over it,
however far T raises them. Between a lid that stays and a brow that rises by more, the skin tears into streaks."""
LIT, LOWER = 0.12, (0.5, 0.55)
"""How much brighter, as a change of log brightness, the lower face gets at most where nothing is drawn: in 20 photos only
rims of lips got more, since T lights teeth and is not sure where they end; from where to where on the frame that begins."""
TOGETHER = 8
"""So many bands are cut out of the photo at once and shared out to threads, however many there are: where a cut begins
decides how places are rounded, so that another number of threads would change a pixel here and there."""
EDGE = 0.06
"""Sides of the frame over which every change fades out at its edge."""


@dataclass(frozen=True)
class WarpField:
    """What turns a photo of a face into the edited one, over a frame about the crop's centre."""

    frame: float
    """The frame's side in sides of the crop."""
    flow: np.ndarray
    """(S, S, 2), x first, in sides of the frame: where each point's pixels come from, relative to it."""
    gain: np.ndarray
    """(S, S, 3): change of the logarithm of the moved pixels' brightness."""
    cover: np.ndarray
    """(S, S) in [0, 1]: where it is 0 the photo keeps its very pixels; the others have faded to nothing there."""
    mouth: MouthOverlay | None = None
    """What no pixel of the photo can show."""

    @classmethod
    def of(cls, detail: WarpPrediction) -> "WarpField":
        """What T said of one face, without the noise where nothing happens."""
        flow, gain, mask = (part[0].permute(1, 2, 0).numpy() for part in detail[:3])
        flow = _calm_eyes(flow)
        drawn = smooth_step((mask[..., 0] - UNSURE) / (SURE - UNSURE))
        gain = np.minimum(gain, _brightest(drawn)[..., None])
        length, light = np.hypot(flow[..., 0], flow[..., 1]), np.maximum.reduce([*np.moveaxis(np.abs(gain), 2, 0)])
        cover = smooth_step((length - STILL) / (MOVING - STILL))
        cover = np.maximum(cover, smooth_step((light - 0.02) / 0.05))
        cover = _spread(np.maximum(cover, drawn)) * _inside(len(flow))
        mouth = MouthOverlay.of(detail) if drawn.any() else None
        return cls(WIDE_CROP_SCALE, flow * cover[..., None], gain * cover[..., None], cover, mouth)


def motion_between(own: Tensor, edited: Tensor) -> WarpField:
    """How the edited picture comes about from the one with its own expression, where there is no T.

    The decoder's faults stay out of the photo: light is matched first, and of what no movement explains only smooth
    brightness is kept, no tint and no grain. Its caution is made up for by EMPHASIS.

    Args:
        own: (3, S, S) float in [-1, 1], decoded with the face's own expression.
        edited: likewise, with the wanted one.
    """
    before, after = ((x.permute(1, 2, 0).numpy() + 1) * 127.5 for x in (own, edited))
    cover = face_mask(len(before))
    lit = match_color(after, before, cover)
    luma = own.new_tensor(LUMA)[:, None, None]
    with torch.inference_mode():
        edited = torch.from_numpy(lit).permute(2, 0, 1) / 127.5 - 1
        flow = dense_flow(own, edited) / own.shape[-1]
        moved = backward_warp(own[None], flow[None])
        now, wanted = (((x * luma).sum(1, keepdim=True) + 1) / 2 for x in (moved, edited[None]))
        gain = wanted.clamp(min=0.05).log() - now.clamp(min=0.05).log()
        for _ in range(2):
            gain = F.avg_pool2d(gain, 3, stride=1, padding=1, count_include_pad=False)
    scale = EMPHASIS * cover[..., None]
    light = gain[0].expand(3, -1, -1).permute(1, 2, 0).numpy()
    return WarpField(1.0, flow.permute(1, 2, 0).numpy() * scale, light * scale, cover)


def apply_warp(photo: Image.Image, motion: WarpField, photo_from_crop: np.ndarray, size: int) -> Image.Image:
    """Moves and lights the photo's own pixels, and lays what is invented over them, with the photo's own grain.

    Args:
        photo: RGB.
        motion: over the crop's frame.
        photo_from_crop: (2, 3), for a crop of side `size`.
        size: side of that crop in px.

    Returns:
        RGB, the size of `photo`, with its `info`.
    """
    cells = len(motion.cover)
    photo_from_frame = photo_from_wide_crop(photo_from_crop, size, motion.frame, cells)
    (xx, xy), (yx, yy) = photo_from_frame[:, :2].astype(np.float32) * cells
    along, down = np.moveaxis(motion.flow, 2, 0)
    in_photo = xx * along + xy * down, yx * along + yy * down
    planes = *in_photo, *np.exp(np.moveaxis(motion.gain, 2, 0))
    reach = int(np.ceil(np.abs(in_photo).max(initial=0))) + 3  # and what bicubic looks at
    result = photo.copy()
    source = _Source(photo, mask_bounds(motion.cover, photo_from_frame, photo.size), reach)
    bands = planes_in_photo(planes, photo_from_frame, motion.cover, photo.size, smooth=True)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        while several := [*islice(bands, TOGETHER)]:
            source.hold([band for band, *_ in several])
            for (band, *_), pixels in zip(several, pool.map(source.moved_and_lit, several), strict=True):
                result.paste(Image.fromarray(pixels), band)
    if motion.mouth is not None:
        motion.mouth.lay_over(result, photo_from_frame, estimate_grain(photo, photo_from_crop, size))
    return result


class _Source:
    """A photo whose pixels are looked up band by band; cut out for several at once, as what they ask for overlaps.

    Args:
        photo: RGB.
        reached: the box that all bands lie in; None: there are none.
        reach: px beyond a band that may be asked for.
    """

    def __init__(self, photo: Image.Image, reached: Box | None, reach: int):
        self.photo, self.reached, self.reach = photo, reached, reach
        self.box = (0, 0, 0, 0)
        self.pixels = torch.empty(1, 3, 0, 0)

    def hold(self, bands: Sequence[Box]) -> None:
        """Cuts out what bands, from top to bottom, may ask for."""
        (width, height), reach = self.photo.size, self.reach
        rows = max(0, bands[0][1] - reach), min(height, bands[-1][3] + reach)
        self.box = max(0, self.reached[0] - reach), rows[0], min(width, self.reached[2] + reach), rows[1]
        self.pixels = torch.from_numpy(np.asarray(self.photo.crop(self.box)).astype(np.float32)).permute(2, 0, 1)[None]

    def moved_and_lit(self, asked: tuple[Box, Sequence[np.ndarray], np.ndarray]) -> np.ndarray:
        """One band's pixels (h, w, 3): the photo's own where nothing changes.

        Args:
            asked: the band, which is held; x and y in px, and three factors of light; above 0 where something changes.
        """
        band, (x, y, *light), weight = asked
        made, pixels, changed = self._look_up(band, x, y), np.array(self.photo.crop(band)), weight > 0
        for channel in range(3):  # one by one: numpy is slow along an axis of three
            made[channel] *= light[channel]
            np.rint(made[channel], out=made[channel]).clip(0, 255, out=made[channel])
            np.copyto(pixels[..., channel], made[channel], where=changed, casting="unsafe")
        return pixels

    def _look_up(self, band: Box, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Bicubic: every pixel of a band moved by x and y (h, w) px -> (3, h, w) float32."""
        where = np.empty((*x.shape, 2), np.float32)  # -1..1 over what is cut out
        for axis, (move, start, sides) in enumerate(zip((x, y), self.box, self.pixels.shape[:1:-1], strict=False)):
            place = np.arange(move.shape[1 - axis], dtype=np.float32) + (band[axis] - start + 0.5)
            np.multiply(move, 2 / sides, out=where[..., axis])
            where[..., axis] += (place * (2 / sides) - 1)[:, None] if axis else place * (2 / sides) - 1
        there = torch.from_numpy(where)[None]
        return F.grid_sample(self.pixels, there, mode="bicubic", padding_mode="border", align_corners=False)[0].numpy()


def _calm_eyes(flow: np.ndarray) -> np.ndarray:
    """T's flow, but that eyes open less, lids alone, both of them, and not where they close; and brows rise less."""
    place = (np.arange(len(flow), dtype=np.float32) + 0.5) / len(flow) - 0.5
    near = np.zeros(flow.shape[:2], np.float32)
    for eye in EYES:
        across, down = (np.abs(place * WIDE_CROP_SCALE - at + 0.5) / (EYES[1][0] - EYES[0][0]) for at in eye)
        near = np.maximum(near, _within(across, BESIDE) * _within(down, ABOVE)[:, None])
    above = ((EYES[0][1] - 0.5) / WIDE_CROP_SCALE - place)[:, None]
    opens = np.where(above < 0, flow[..., 1] < 0, flow[..., 1] > 0)
    down = flow[..., 1] * (1 - (1 - OPENED) * near * opens)
    raised = down.clip(0)
    lower = raised / (1 + (raised / HIGHEST) ** 3) ** (1 / 3)
    brow = smooth_step((above - BROWS[0]) / (BROWS[1] - BROWS[0]))
    return np.stack([flow[..., 0], down - (raised - lower) * brow], axis=2)


def _brightest(drawn: np.ndarray) -> np.ndarray:
    """How much brighter each point may get, as a change of log brightness: no lip glows beside the teeth that T lights."""
    down = (np.arange(len(drawn), dtype=np.float32) + 0.5)[:, None] / len(drawn)
    free = np.maximum(drawn, smooth_step((LOWER[1] - down) / (LOWER[1] - LOWER[0])))
    return LIT + (MAX_GAIN - LIT) * free


def _within(distance: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """1 up to the first end, 0 from the second on."""
    return smooth_step((ends[1] - distance) / (ends[1] - ends[0]))


def _spread(cover: np.ndarray) -> np.ndarray:
    """A cover without holes and spikes of a few cells: the largest value around, then twice the mean around."""
    near = _around(cover, 4, np.maximum)
    for _ in range(2):
        near = _around(near, 2, np.add) / 25
    return near


def _around(values: np.ndarray, reach: int, combine: np.ufunc) -> np.ndarray:
    """Each cell of (S, S) combined with all those up to `reach` away along the axes."""
    for _ in range(2):
        all_of = values.copy(order="K")
        for step in range(1, reach + 1):
            combine(all_of[step:], values[:-step], out=all_of[step:])
            combine(all_of[:-step], values[step:], out=all_of[:-step])
        values = all_of.T
    return values


def _inside(side: int) -> np.ndarray:
    """1 over the frame, fading to 0 at its edge: (side, side)."""
    place = (np.arange(side, dtype=np.float32) + 0.5) / side
    ramp = smooth_step((np.minimum(place, 1 - place) - 1 / side) / EDGE)
    return ramp[:, None] * ramp
