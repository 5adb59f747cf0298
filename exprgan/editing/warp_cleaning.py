"""Removes noise and implausible movement from T's prediction, and finds where it changes the photo."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.warp_network import MAX_GAIN, WIDE_CROP_SCALE, WarpPrediction
from ..photo.alignment import EYES
from ..photo.blending import smooth_step
from .mouth_overlay import MASK_HIGH, MASK_LOW

MIN_FLOW, FULL_FLOW = 0.0012, 0.005
"""In sides of the wide crop, 0.15 and 0.6 px of 128: a shorter flow is noise, from the longer one on it applies in full."""
MIN_GAIN, FULL_GAIN = 0.02, 0.07  # likewise for the change of log brightness
LID_OPENING = 0.5
"""Factor on flow that opens the eyes, for a T without eyes: lids slide over a resting eyeball, but a smooth flow drags
lashes and iris along."""
LID_BESIDE, LID_ABOVE = (0.25, 0.45), (0.18, 0.42)
"""Distances from the pupil, in eye distances, up to which LID_OPENING applies in full, and from which on not at all."""
BROW_ABOVE, MAX_BROW_RAISE = (0.05, 0.11), 0.04
"""Distances above the eyes over which brows begin, and the limit that their upward flow approaches; in sides of the wide
crop, for a T without eyes. Between a resting lid and a brow raised by more, the skin would tear into streaks."""
MAX_LIP_GAIN, LOWER_FACE_TOP = 0.12, (0.5, 0.55)
"""Limit of the gain in the lower face outside the mouth mask, and where on the wide crop that begins. In 20 photos only the
rims of lips exceeded it, since T brightens teeth and is uncertain of their boundary."""
UPPER_FACE = (0.37, 0.43)
"""Rows of the wide crop over which an edit ends if the mouth is covered: from below the lids to where masks begin."""
BORDER_FADE = 0.06  # width, in sides of the wide crop, over which every change fades out at its border


def clean_warp(prediction: WarpPrediction, lower_face: float | Tensor = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """T's flow and gain without noise and implausible movement.

    Args:
        prediction: of B faces.
        lower_face: 1, or 0 if only eyes and brows are edited.

    Returns:
        Flow (B, 2, R, R) and gain (B, 3, R, R), as in `WarpPrediction`; the cover (B, 1, R, R) in [0, 1]: where it is 0 the
        photo's pixels stay unchanged, and flow and gain fade to 0 with it; and the opacity of the mouth (B, 1, R, R).
    """
    flow, gain, mask = prediction[:3]
    if not prediction.has_eyes:
        flow = _limit_lids_and_brows(flow)
    opacity = smooth_step((mask - MASK_LOW) / (MASK_HIGH - MASK_LOW))
    gain = torch.minimum(gain, _gain_limit(opacity))
    length, change = flow.square().sum(1, keepdim=True).sqrt(), gain.abs().amax(1, keepdim=True)
    cover = smooth_step((length - MIN_FLOW) / (FULL_FLOW - MIN_FLOW))
    cover = torch.maximum(cover, smooth_step((change - MIN_GAIN) / (FULL_GAIN - MIN_GAIN)))
    cover = _dilate(torch.maximum(cover, opacity)) * _border_fade(flow)
    cover = cover * upper_face(flow.shape[-1], WIDE_CROP_SCALE).to(flow).clamp(min=lower_face)
    return flow * cover, gain * cover, cover, opacity


def upper_face(side: int, scale: float) -> Tensor:
    """1 above UPPER_FACE, fading to 0 below, over an area of `scale` times the crop's side: (side, 1)."""
    y = ((torch.arange(side) + 0.5) / side - 0.5) * (scale / WIDE_CROP_SCALE) + 0.5
    return _fade(y, UPPER_FACE)[:, None]


def _limit_lids_and_brows(flow: Tensor) -> Tensor:
    """T's flow (B, 2, R, R) with opening lids and rising brows reduced; see LID_OPENING and MAX_BROW_RAISE."""
    position, across, down = _positions(flow) - 0.5, flow[:, :1], flow[:, 1:]
    near_eye = torch.zeros_like(position)
    for eye in EYES:
        dx, dy = ((position * WIDE_CROP_SCALE - at + 0.5).abs() / (EYES[1][0] - EYES[0][0]) for at in eye)
        near_eye = torch.maximum(near_eye, _fade(dx, LID_BESIDE) * _fade(dy, LID_ABOVE)[:, None])
    above_eyes = ((EYES[0][1] - 0.5) / WIDE_CROP_SCALE - position)[:, None]
    opens = down * torch.where(above_eyes < 0, -1.0, 1.0) > 0
    down = down * (1 - (1 - LID_OPENING) * near_eye * opens)
    raised = down.clamp(min=0)
    limited = raised / (1 + (raised / MAX_BROW_RAISE) ** 3) ** (1 / 3)
    brow = smooth_step((above_eyes - BROW_ABOVE[0]) / (BROW_ABOVE[1] - BROW_ABOVE[0]))
    return torch.cat((across, down - (raised - limited) * brow), dim=1)


def _gain_limit(opacity: Tensor) -> Tensor:
    """The largest gain at each point: MAX_LIP_GAIN in the lower face outside the mouth, MAX_GAIN elsewhere."""
    outside = _fade(_positions(opacity)[:, None], LOWER_FACE_TOP)
    return MAX_LIP_GAIN + (MAX_GAIN - MAX_LIP_GAIN) * torch.maximum(opacity, outside)


def _fade(distance: Tensor, ends: tuple[float, float]) -> Tensor:
    """1 up to the first distance, 0 from the second on."""
    return smooth_step((ends[1] - distance) / (ends[1] - ends[0]))


def _dilate(cover: Tensor) -> Tensor:
    """Closes small holes of a cover: a maximum over 9 x 9 px, then twice a mean over 5 x 5."""
    cover = F.max_pool2d(F.max_pool2d(cover, (9, 1), 1, (4, 0)), (1, 9), 1, (0, 4))
    for _ in range(2):
        cover = F.avg_pool2d(cover, 5, 1, 2)
    return cover


def _border_fade(field: Tensor) -> Tensor:
    """1 inside, fading to 0 at the border: (R, R)."""
    position = _positions(field)
    ramp = smooth_step((torch.minimum(position, 1 - position) - 1 / field.shape[-1]) / BORDER_FADE)
    return ramp[:, None] * ramp


def _positions(field: Tensor) -> Tensor:
    """The middles of the rows or columns of a square field, in its sides: (R,)."""
    return (torch.arange(field.shape[-1], device=field.device, dtype=field.dtype) + 0.5) / field.shape[-1]
