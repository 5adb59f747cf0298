"""A batch of T's training, and what its losses compare of it (`warp_losses`)."""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.models.backward_warp import FIELD_SCALE, backward_warp, upsample_fields, warp_and_relight
from exprgan.models.eye_network import at_eyes, composite_eyes, shade_eyeballs
from exprgan.models.mouth_network import CM_IN_WIDE_CROP, lower_face
from exprgan.models.teeth_texture import composite_teeth
from exprgan.models.warp_network import WarpPrediction

NEAR_PX, WIDE_PX, WIDE_WEIGHT = 7, 25, 0.02
"""Windows over which T's error of the flow is averaged about a mouth. The wide one has little weight and so counts only
where no pixel nearby is visible."""
NEAR_LID_PX, MAX_LID_SHIFT = 5, 0.03
"""Likewise about a lid, instead of NEAR_PX: the other lid is near, and moves otherwise. Where T's error is more than
MAX_LID_SHIFT, in sides of the wide crop, its lids are wrong, and eyes are compared with the target that far away only."""
RIM_PX = 2
"""Width of the rim of a visible eyeball, in px of R = 256: there it lies in the shadow of lid and lashes."""
LASH_PX = 3
"""Reach of the upper lashes above an eyeball, in px of R = 256."""
CONTINUED_WEIGHT = 0.5
"""Weight of the error of the flow on eyeballs, where the renderer's is that of the skin beside them."""
LID_PX, BESIDE_LIDS = 4, 0.1
"""Reach of the lids from an eyeball, in px of the decoder's pictures, and the weight of their flow beyond it."""


@dataclass(frozen=True)
class WarpBatch:
    """One batch after augmentation, with T's prediction; R px a side, S = R / FIELD_SCALE.

    Attributes:
        x: (B, 3, R, R) in [-1, 1], the source.
        target: likewise.
        flow: (B, 2, S, S) in sides, from target to source.
        emphasized: likewise, what T's flow is compared with; flow itself unless T's is emphasised.
        mask: (B, 1, R, R) in [0, 1], pixels of the target that the source does not show.
        gain: (B, 3, S, S), change of log brightness as in `WarpPrediction`.
        uv, uv_known: (B, 4, S, S) in cm and (B, 2, S, S), 0 or 1: the target's teeth.
        eyeballs: (B, 2, R, R) in [0, 1], the visible eyeballs of source and target; (B, 0, R, R) if T has no eyes.
        steady: (B,), 1 where the eyeballs of the source lie where the target's do, else 0; their pixels are not compared
            then.
        prediction: by T.
        edited: the source as T edits it; only the mouth losses train its mouth interior. If T has eyes, it has the
            target's.
    """

    x: Tensor
    target: Tensor
    flow: Tensor
    emphasized: Tensor
    mask: Tensor
    gain: Tensor
    uv: Tensor
    uv_known: Tensor
    eyeballs: Tensor
    steady: Tensor
    prediction: WarpPrediction
    edited: Tensor

    @property
    def has_eyes(self) -> bool:
        """Whether T has eyes."""
        return self.eyeballs.shape[1] > 0

    @cached_property
    def visible(self) -> Tensor:
        """(B, 1, S, S) in [0, 1]: pixels that the source shows, without eyeballs, which have no part in the flow."""
        visible = 1 - F.avg_pool2d(self.mask, FIELD_SCALE)
        if self.has_eyes:
            visible = visible * (1 - F.max_pool2d(F.max_pool2d(self.eyeballs[:, 1:], FIELD_SCALE), 3, stride=1, padding=1))
        return visible

    @cached_property
    def mouth(self) -> "MouthBatch":
        """The lower face, aligned with the lips as T warped them.

        T warps the lips slightly differently from the renderer, and the mouth network sees T's lips. So the target is
        warped to them: compared in place, a mouth would become the mean of all mouths it might be, with blurred edges.
        """
        predicted, true, visible = (lower_face(part) for part in (self._predicted_flow.detach(), self.flow, self.visible))
        shift = _find_shift(predicted, true, visible, NEAR_PX, (2, 2))  # the lower face is half the wide crop
        target, mask = (backward_warp(lower_face(part), upsample_fields(shift)) for part in (self.target, self.mask))
        known = (backward_warp(lower_face(self.uv_known), shift) > 0.99).float().repeat_interleave(2, dim=1)
        uv = backward_warp(lower_face(self.uv), shift)
        background, shading, predicted_uv = (lower_face(part) for part in self.prediction[3:6])
        # the texture is placed at the true coordinates: gaps that do not align would not train the shading
        placed = torch.where(known > 0, uv, predicted_uv.detach())
        fields = (upsample_fields(part) for part in (background, shading, placed))
        rendered = composite_teeth(*fields, px_per_cm=self.x.shape[-1] * CM_IN_WIDE_CROP) * 2 - 1
        return MouthBatch(target, mask, uv, known, rendered, lower_face(self.prediction.mask), predicted_uv)

    @cached_property
    def eyes(self) -> "EyeBatch":
        """The eyes, aligned with the lids as T warped them; the eyeballs themselves stay in place."""
        predicted, true, visible = (at_eyes(part) for part in (self._predicted_flow.detach(), self.flow, self.visible))
        shift = _find_shift(
            predicted, true, visible, NEAR_LID_PX, (2, 4)
        )  # half as wide as the wide crop, a quarter as high
        limit = MAX_LID_SHIFT * shift.new_tensor([2, 4])[:, None, None]
        shift = upsample_fields(shift.clamp(-limit, limit))
        before, after = at_eyes(self.eyeballs).split(1, dim=1)
        x, target, prediction = at_eyes(self.x), at_eyes(self.target), self.prediction
        opacity = backward_warp(after, shift)
        # where the target has a lid: what T's, warped as it is, still shows of the source's eyeballs, and what the source
        # shows of them and of upper lashes, as flow drags these over the lid, whose skin is hidden in the source
        left = _dilate(at_eyes(backward_warp(self.eyeballs[:, :1], prediction.flow.detach())), 1)
        lashes = F.max_pool2d(F.pad(before, (0, 0, 0, LASH_PX)), (LASH_PX + 1, 1), stride=1)  # and the eyeball below
        hidden = lashes * (1 - _dilate(opacity, 2 * LASH_PX))
        lid = torch.maximum(left * (1 - _dilate(opacity, RIM_PX)), hidden)
        lid = (2 * lid - 1).clamp(min=0)  # without the faint rims of an eye that opens
        # where a lid leaves the rim of an eyeball, its shadow must not stay
        shown = before * (1 - (_erode(after) - _erode(before)).clamp(min=0)) * (1 - lid)
        skin = warp_and_relight(self.x, prediction.flow.detach(), prediction.gain.detach(), at_eyes)
        composite = composite_eyes(skin, x, prediction.eyes)
        moved = backward_warp(target, shift)
        wanted = torch.lerp(moved, target, opacity)
        steady = self.steady[:, None, None, None]
        known = steady * (1 - opacity * (1 - after))  # the target does not show an eyeball where only T opens the lids
        drawn = shade_eyeballs(x, prediction.eyes, own=False)
        drawn_there = torch.maximum(steady * after * (1 - shown), lid)
        return EyeBatch(torch.lerp(target, moved, lid), opacity + lid, shown, lid, drawn_there, composite, wanted, known,
                        drawn)  # fmt: skip

    @cached_property
    def flow_error(self) -> Tensor:
        """(B, 2, S, S): the error of T's flow in px of the decoder's pictures, weighted by what the source shows."""
        flow, weight = self._predicted_flow, self.visible
        if self.has_eyes:
            weight = torch.maximum(weight, CONTINUED_WEIGHT * F.avg_pool2d(self.eyeballs[:, 1:], FIELD_SCALE))
        return (flow - self.emphasized) * flow.shape[-1] * weight

    @cached_property
    def lid_weight(self) -> Tensor:
        """(B, 1, S / 4, S / 2) at the eyes: 1 where an eyeball is within LID_PX, else BESIDE_LIDS; its sum is 1."""
        eyeballs = at_eyes(F.avg_pool2d(self.eyeballs.amax(1, keepdim=True), FIELD_SCALE))
        near = F.max_pool2d(eyeballs, 2 * LID_PX + 1, stride=1, padding=LID_PX) > 0.1
        weight = near.float().clamp(min=BESIDE_LIDS)
        return weight / weight.sum()

    @cached_property
    def _predicted_flow(self) -> Tensor:
        return F.avg_pool2d(self.prediction.flow, FIELD_SCALE)


@dataclass(frozen=True)
class MouthBatch:
    """The lower face; M = R / 2.

    Attributes:
        target: (B, 3, M, M) in [-1, 1].
        mask: (B, 1, M, M) in [0, 1].
        uv, uv_known: (B, 4, M / FIELD_SCALE, M / FIELD_SCALE) in cm, and 0 or 1.
        rendered: (B, 3, M, M) in [-1, 1], T's mouth interior with the teeth at the target's coordinates.
        predicted_mask, predicted_uv: by T, like mask and uv.
    """

    target: Tensor
    mask: Tensor
    uv: Tensor
    uv_known: Tensor
    rendered: Tensor
    predicted_mask: Tensor
    predicted_uv: Tensor


@dataclass(frozen=True)
class EyeBatch:
    """The eyes, E x 2 E with E = R / 4 (`exprgan.models.eye_network.at_eyes`); one channel where none are named.

    Attributes:
        target: (B, 3, E, 2 E) in [-1, 1], with `lid` where T moved it.
        opacity: in [0, 1], the visible eyeballs between the lids where T moved them, and `lid`.
        shown: in [0, 1], what the source shows of eyeballs without the shadow of a lid that moves away.
        lid: in [0, 1], the target's lid where the source, or the warped source, shows an eyeball.
        drawn_there: in [0, 1], `lid`, and what the target shows of eyeballs and `shown` does not.
        composite: (B, 3, E, 2 E) in [-1, 1], T's eyeballs over the warped source.
        wanted: likewise, the target with its lids where T moved them.
        known: in [0, 1], where that is certain.
        drawn: (B, 3, E, 2 E) in [-1, 1], what T copies from elsewhere in the photo, in its shade.
    """

    target: Tensor
    opacity: Tensor
    shown: Tensor
    lid: Tensor
    drawn_there: Tensor
    composite: Tensor
    wanted: Tensor
    known: Tensor
    drawn: Tensor


def _find_shift(predicted: Tensor, true: Tensor, visible: Tensor, near_px: int, sides: tuple[float, float]) -> Tensor:
    """Where the target has what T shows.

    T's pixel at p is the target's at q = p + shift, where p + predicted(p) = q + true(q).

    Args:
        predicted, true: flow (B, 2, H, W) over a part of the wide crop, in its sides.
        visible: (B, 1, H, W) in [0, 1], where the true flow counts; it is averaged over near_px, and wide ones.
        sides: width and height of the wide crop in those of the part.

    Returns:
        (B, 2, H, W) in sides of the part.
    """
    factors, fields = predicted.new_tensor(sides)[:, None, None], torch.cat((true, visible), dim=1)
    shift = torch.zeros_like(predicted)
    for _ in range(2):
        flow, seen = backward_warp(fields, shift).split((2, 1), dim=1)
        error = torch.cat(((predicted - flow) * seen, seen), dim=1)
        near, wide = (_blur(error, window) for window in (near_px, WIDE_PX))
        total, weight = (near + WIDE_WEIGHT * wide).split((2, 1), dim=1)
        shift = total / (weight + 1e-4) * factors
    return shift


def _dilate(x: Tensor, px: int) -> Tensor:
    """The largest value within so many px."""
    return F.max_pool2d(x, 2 * px + 1, stride=1, padding=px)


def _erode(x: Tensor) -> Tensor:
    """The smallest value within RIM_PX."""
    return -_dilate(-x, RIM_PX)


def _blur(x: Tensor, window: int) -> Tensor:
    """Means over squares of `window` px, twice."""
    for _ in range(2):
        x = F.avg_pool2d(x, (window, 1), stride=1, padding=(window // 2, 0))
        x = F.avg_pool2d(x, (1, window), stride=1, padding=(0, window // 2))
    return x
