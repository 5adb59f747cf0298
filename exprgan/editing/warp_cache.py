"""Predicts warps at a few intensities of an expression and interpolates between them, so that a slider step is fast.

Flow and gain change smoothly with the intensity of a code, so T predicts them at CACHED_INTENSITIES only, once for a face;
in between they are interpolated, and neither the decoder nor most of T runs. The mouth network runs for every edit, because
an interpolated mask would be half transparent.
"""

from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..facs import UPPER_FACE
from ..models.backward_warp import FIELD_SCALE, upsample_fields
from ..models.exprgan import ExprGAN
from ..models.unit_condition import units_as_tensor
from ..models.warp_network import DEFAULT_EMPHASIS, Decoded, FlowPrediction, WarpPrediction
from ..torch_state import own_torch_state
from .results import Subject

CACHED_INTENSITIES = (0.4, 0.6, 0.8, 1.0)
"""Intensities of a code, (max(c) + 1) / 2, at which T predicts. Weaker codes than the first, to which T overreacts although
it was trained on such pairs, are interpolated between neutral and the first."""
WEAK_EXPONENT = 1.6  # exponent of that interpolation: how the slider's codes grow with intensity
CACHE_SIZE = 8  # predictions kept for a face, 0.7 MB each at 128 px
NOSE_END, LIPS_START = 0.5, 0.58
"""Heights in sides of the wide crop, where the nose ends and lips start: units of the upper face move nothing below, though
T raises the corners of the mouth with the cheeks, as smiles do."""
DRAWN_MOUTH = 0.25
"""Change in the weight of an action unit of the mouth from which lips move and the mouth interior is drawn; below, both
fade in."""


class UnitChange(NamedTuple):
    """What an edit changes in action units, beside its code. Weights are (U, 2), in the order of T's units."""

    target: Tensor
    """What the edit is to show."""
    start: Tensor | None = None
    """What the code shows or, with `on_photo`, the photo. T predicts the way to both, and the edit gets the difference, so
    that errors in `start` cancel. None: the target alone decides, and the code has no effect."""
    on_photo: bool = False
    """Whether the difference is applied to the photo as it is, instead of to the edit by the code."""

    @property
    def key(self) -> bytes:
        """The same bytes for equal changes."""
        parts = self.target, torch.empty(0) if self.start is None else self.start
        return b"".join(part.numpy().tobytes() for part in parts) + bytes([self.on_photo])

    def lerp(self, end: "UnitChange", weight: float) -> "UnitChange":
        """Interpolates to a change of the same kind, 0: this one, 1: `end`."""
        start = None if self.start is None or end.start is None else torch.lerp(self.start, end.start, weight)
        return UnitChange(torch.lerp(self.target, end.target, weight), start, self.on_photo)


@own_torch_state()
def predict_warp(model: ExprGAN, subject: Subject, code: Tensor, decode: Callable[[Tensor], Tensor],
                 units: UnitChange | None = None) -> WarpPrediction:  # fmt: skip
    """T's prediction for one edit with the code c (K * d,) in [-1, 1]: B = 1, float32 on the CPU.

    A T that takes action units sees those of the subject's reading, and those that the code's expressions usually show.

    Args:
        subject: caches predictions.
        decode: computes the decoder's picture (3, S, S) of a code, which T sees if the model's `warp_decoded` is set, or
            the decoder is fitted to the face.
        units: a change in action units, of a T that takes them. None: the code and its usual units decide.
    """
    warps = _Warps(model, subject, decode)
    if units is None:
        warp, condition = warps.by_code(code)
        return warps.finish(warp, condition, condition)
    return warps.finish(*warps.by_units(code, units))


class _Warps:
    """The warps of one face, without eyes and wrinkles, with the condition that these need; None: they are the photo's."""

    def __init__(self, model: ExprGAN, subject: Subject, decode: Callable[[Tensor], Tensor]):
        assert model.T is not None and subject.wide_crop is not None
        self.model, self.network, self.subject, self.decode = model, model.T, subject, decode
        self.device, self.neutral = next(model.T.parameters()).device, model.F_ctrl.neutral()
        self.wide_crop = subject.wide_crop[None].to(self.device)
        self.now = units_as_tensor(subject.reading.units, model.T.units, default=torch.nan)

    def by_code(self, code: Tensor) -> tuple[WarpPrediction, Tensor | None]:
        """The warp to a code."""
        intensity, shows_expression = (code.max().item() + 1) / 2, bool(self.subject.reading.source_code.max() > -1)
        if intensity >= CACHED_INTENSITIES[0]:
            weaker, stronger, weight = surrounding_codes(code)
            flow, own = self.flow_at(stronger), self.condition(code)
            return self.complete(flow if weight == 1 else self.flow_at(weaker).lerp(flow, weight), own), own
        condition = self.condition(self.neutral) if shows_expression else None
        start = self.identity() if condition is None else self.complete(self.flow_at(self.neutral), condition)
        if intensity == 0:
            return start, condition
        weakest = at_intensity(code, CACHED_INTENSITIES[0])
        own, weight = self.condition(weakest), (intensity / CACHED_INTENSITIES[0]) ** WEAK_EXPONENT
        return start.lerp(self.complete(self.flow_at(weakest), own), weight), own

    def by_units(self, code: Tensor, change: UnitChange) -> tuple[WarpPrediction, Tensor | None, Tensor | None]:
        """The warp to a code with a change in action units, and the conditions of its eyes and of its wrinkles."""
        end, condition = self.flow_at(self.neutral, change.target), self.condition(self.neutral, change.target)
        if change.start is None:
            return self.complete(end, condition), condition, condition
        base, base_condition = (self.identity(), None) if change.on_photo else self.by_code(code)
        moved = (change.target - change.start).abs().amax(1)
        is_upper = torch.tensor([unit in UPPER_FACE for unit in self.network.units])
        if not moved.any():
            return base, base_condition, base_condition
        start, mouth = self.flow_at(self.neutral, change.start), min(1.0, (moved * ~is_upper).max().item() / DRAWN_MOUTH)
        rows = torch.linspace(0, 1, self.network.image_size, device=self.device)[:, None]
        share = ((LIPS_START - rows) / (LIPS_START - NOSE_END)).clamp(mouth, 1)
        flow, gain = (fields + upsample_fields((b - a) * share)
                      for fields, a, b in zip(base[:2], start[:2], end[:2], strict=True))  # fmt: skip
        warp = base._replace(flow=flow, gain=gain)
        if mouth:
            small = FlowPrediction(F.avg_pool2d(flow, FIELD_SCALE), F.avg_pool2d(gain, FIELD_SCALE), end.decoded)
            warp = warp.lerp(self.complete(small, condition)._replace(flow=flow, gain=gain), mouth)
        return warp, condition if moved[is_upper].any() else base_condition, condition

    def identity(self) -> WarpPrediction:
        return WarpPrediction.identity(self.network.image_size).to(self.device)

    def condition(self, code: Tensor, target: Tensor | None = None) -> Tensor:
        """T's condition: with the units that the code's expressions usually show, unless others are the target."""
        if target is None and self.model.unit_table is not None:
            target = self.model.unit_table(code)
        target = None if target is None else target[None]
        return self.network.condition(code[None], self.now[None], target).to(self.device)

    def flow_at(self, code: Tensor, target: Tensor | None = None) -> FlowPrediction:
        """T's own prediction, cached: those that were not used for longest are forgotten."""
        own = self.model.warp_emphasis(code, self.subject.reading.source_code)
        emphasis = own if target is None else DEFAULT_EMPHASIS
        key = emphasis, code.numpy().tobytes() + (b"" if target is None else target.numpy().tobytes())
        cache = self.subject.warp_cache
        prediction = cache.pop(key, None)  # other threads may add and remove entries
        if prediction is None:
            condition = self.condition(code, target)
            prediction = self.network.predict_flow(self.wide_crop, self.decoded(code), condition, emphasis)
            for oldest in [*cache][: 1 - CACHE_SIZE]:
                cache.pop(oldest, None)
        cache[key] = prediction
        return prediction

    def decoded(self, code: Tensor) -> Decoded:
        if self.subject.reconstruction is None or not (self.model.config.warp_decoded or self.subject.is_tuned):
            return None
        return self.subject.reconstruction[None].to(self.device), self.decode(code)[None].to(self.device)

    def complete(self, prediction: FlowPrediction, condition: Tensor) -> WarpPrediction:
        return self.network.complete(self.wide_crop, prediction, condition)

    def finish(self, warp: WarpPrediction, eyes: Tensor | None, wrinkles: Tensor | None) -> WarpPrediction:
        """Adds eyes, then wrinkles."""
        if eyes is not None:
            warp = self.network.add_eyes(self.wide_crop, warp, eyes)
        if wrinkles is not None and self.network.wrinkles is not None:
            found = self.subject.places  # of the photo alone, so all its edits share them
            places = found[0] if found else self.network.wrinkles.find(self.wide_crop)
            found[:] = [places]
            warp = self.network.add_wrinkles(places, warp, wrinkles)
        return WarpPrediction(*(part.float().cpu() for part in warp))


def surrounding_codes(code: Tensor) -> tuple[Tensor, Tensor, float]:
    """The weaker and the stronger code at the nearest CACHED_INTENSITIES, and the weight in [0, 1] of the stronger one.

    `code`, (K * d,), has at least the first intensity. Only codes whose elements above -1 are all equal, as those of one
    expression are, are interpolated; for others both codes are the code itself.
    """
    if not _is_uniform(code):
        return code, code, 1.0
    intensity = (code.max().item() + 1) / 2
    i = min(bisect_right(CACHED_INTENSITIES, intensity), len(CACHED_INTENSITIES) - 1)
    below, above = CACHED_INTENSITIES[i - 1], CACHED_INTENSITIES[i]
    return at_intensity(code, below), at_intensity(code, above), (intensity - below) / (above - below)


def at_intensity(code: Tensor, intensity: float) -> Tensor:
    """The code of an intensity on the line from neutral through `code`; the same bits for all uniform codes on it."""
    if _is_uniform(code):
        return torch.where(code > -1, 2 * intensity - 1, -1.0)
    return torch.lerp(torch.full_like(code, -1.0), code, 2 * intensity / (code.max() + 1))


def _is_uniform(code: Tensor) -> bool:
    """Whether all elements above -1 are equal."""
    return bool((code[code > -1] == code.max()).all())
