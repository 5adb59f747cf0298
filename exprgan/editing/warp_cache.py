"""Predicts warps at a few intensities of an expression and interpolates between them, so that a slider step is fast.

Flow and gain change smoothly with the intensity of a code, so T predicts them at CACHED_INTENSITIES only, once for a face;
in between they are interpolated, and neither the decoder nor most of T runs. The mouth network runs for every edit, because
an interpolated mask would be half transparent.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..models.exprgan import ExprGAN
from ..models.unit_condition import units_as_tensor
from ..models.warp_network import Decoded, FlowPrediction, WarpPrediction
from ..torch_state import own_torch_state
from .results import Subject

CACHED_INTENSITIES = (0.4, 0.6, 0.8, 1.0)
"""Intensities of a code, (max(c) + 1) / 2, at which T predicts. Weaker codes than the first, to which T overreacts although
it was trained on such pairs, are interpolated between neutral and the first."""
WEAK_EXPONENT = 1.6  # exponent of that interpolation: how the slider's codes grow with intensity
CACHE_SIZE = 8  # predictions kept for a face, 0.7 MB each at 128 px


@own_torch_state()
def predict_warp(model: ExprGAN, subject: Subject, code: Tensor, decode: Callable[[Tensor], Tensor],
                 units: Mapping[int, Sequence[float]] | None = None) -> WarpPrediction:  # fmt: skip
    """T's prediction for one edit with the code c (K * d,) in [-1, 1]: B = 1, float32 on the CPU.

    A T that takes action units sees those of the subject's reading.

    Args:
        subject: caches predictions.
        decode: computes the decoder's picture (3, S, S) of a code, which T sees if the model's `warp_decoded` is set, or
            the decoder is fitted to the face.
        units: weights on the subject's right and left that the edit is to show, by action unit, 0 for all that are not
            named; such an edit is predicted as it is, without interpolation. With a code of -1 they alone decide. None: the
            code decides.

    Raises:
        ValueError: T takes no action units, or not one of these.
    """
    network, source_code = model.T, subject.reading.source_code
    assert network is not None and subject.wide_crop is not None
    device, neutral = next(network.parameters()).device, torch.full_like(code, -1.0)
    wide_crop = subject.wide_crop[None].to(device)
    now = units_as_tensor(subject.reading.units, network.units, default=torch.nan)
    target = None if units is None else _target_units(units, network.units)

    def condition(c: Tensor) -> Tensor:
        return network.condition(c[None], now[None], None if target is None else target[None]).to(device)

    def flow_at(c: Tensor) -> FlowPrediction:
        emphasis = model.warp_emphasis(c, source_code)
        key = emphasis, c.numpy().tobytes() + (b"" if target is None else target.numpy().tobytes())
        prediction = subject.warp_cache.get(key)  # other threads may add and remove entries
        if prediction is None:
            prediction = network.predict_flow(wide_crop, decoded(c), condition(c), emphasis)
            for oldest in [*subject.warp_cache][: 1 - CACHE_SIZE]:
                subject.warp_cache.pop(oldest, None)
            subject.warp_cache[key] = prediction
        return prediction

    def decoded(c: Tensor) -> Decoded:
        if subject.reconstruction is None or not (model.config.warp_decoded or subject.is_tuned):
            return None
        return subject.reconstruction[None].to(device), decode(c)[None].to(device)

    def complete(prediction: FlowPrediction, c: Tensor) -> WarpPrediction:
        return network.complete(wide_crop, prediction, condition(c))

    def finish(prediction: WarpPrediction, c: Tensor) -> WarpPrediction:
        return WarpPrediction(*(part.float().cpu() for part in network.add_eyes(wide_crop, prediction, condition(c))))

    if target is not None:
        return finish(complete(flow_at(code), code), code)
    intensity = (code.max().item() + 1) / 2
    if intensity >= CACHED_INTENSITIES[0]:
        weaker, stronger, weight = surrounding_codes(code)
        prediction = flow_at(stronger)
        return finish(complete(prediction if weight == 1 else flow_at(weaker).lerp(prediction, weight), code), code)
    shows_expression = bool(source_code.max() > -1)
    if intensity == 0 and not shows_expression:
        return WarpPrediction.identity(network.image_size)
    start = (
        complete(flow_at(neutral), neutral) if shows_expression else WarpPrediction.identity(network.image_size).to(device)
    )
    if intensity == 0:
        return finish(start, neutral)
    weakest = at_intensity(code, CACHED_INTENSITIES[0])
    end, weight = complete(flow_at(weakest), weakest), (intensity / CACHED_INTENSITIES[0]) ** WEAK_EXPONENT
    return finish(start.lerp(end, weight), weakest)


def _target_units(units: Mapping[int, Sequence[float]], known: tuple[int, ...]) -> Tensor:
    """Weights as (U, 2), in the order of T's units."""
    if not known:
        raise ValueError("this model's T takes no action units; edit by an expression")
    if unknown := [unit for unit in units if unit not in known]:
        raise ValueError(f"action units must be among {', '.join(map(str, known))}, not {unknown[0]!r}")
    return units_as_tensor(units, known, default=0.0)


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
