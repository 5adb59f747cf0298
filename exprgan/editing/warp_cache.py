"""Edits of one face between few strengths at which T is asked: a slider's step needs neither the decoder nor most of T.

What T says of flow and light changes smoothly along an expression's strength, so it is asked at LEVELS and mixed between
them. Only the mouth is looked at anew each time, because what is half drawn would be half transparent.
"""

from bisect import bisect_right
from collections.abc import Callable

import torch
from torch import Tensor

from ..models.warp_network import WarpPrediction, WarpNetwork, FlowPrediction, emphasis_of
from .results import Subject

LEVELS = (0.4, 0.6, 0.8, 1.0)
"""Strengths of a code, (max(c) + 1) / 2. To weaker codes than the first T answers too strongly, though it saw such pairs:
they are part of the way from neutral to the first, to the power CURVE, which is how the slider's codes rise."""
CURVE = 1.6
KEPT = 8
"""Edits of a face that are remembered to mix others from, 0.7 MB each at 128 px."""


def predict_warp(network: WarpNetwork, each: tuple[float, ...], subject: Subject, code: Tensor,
                   decode: Callable[[Tensor], Tensor]) -> WarpPrediction:  # fmt: skip
    """What T says of one edit.

    Args:
        network: T.
        each: the expressions' own emphases, as in `emphasis_of`.
        subject: remembers what T said of it.
        code: c, (K * d,) in [-1, 1].
        decode: makes the decoder's picture (3, S, S) with a code.

    Returns:
        For B = 1, float32 on the CPU.
    """
    weights, neutral = next(network.parameters()), torch.full_like(code, -1.0)
    shows_nothing = bool(subject.reading.own_code.max() <= -1)

    def asked(wanted: Tensor) -> FlowPrediction:
        emphasis = emphasis_of(wanted, each, subject.reading.own_code)
        key = emphasis, wanted.numpy().tobytes()
        moves = subject.told.get(key)  # other threads may add to it, and take away
        if moves is None:
            seen = (part[None].to(weights) for part in (subject.frame, subject.own, decode(wanted), wanted))
            moves = network.moves(*seen, emphasis)
            for oldest in [*subject.told][: 1 - KEPT]:
                subject.told.pop(oldest, None)
            subject.told[key] = moves
        return moves

    def completed(moves: FlowPrediction, wanted: Tensor) -> WarpPrediction:
        said = network.completed(subject.frame[None].to(weights), moves, wanted[None].to(weights))
        return WarpPrediction(*(part.float().cpu() for part in said))

    strength = (code.max().item() + 1) / 2
    with torch.inference_mode():
        if strength >= LEVELS[0]:
            weaker, stronger, share = ends_of(code)
            moves = asked(stronger)
            return completed(moves if share == 1 else asked(weaker).towards(moves, share), code)
        calm = WarpPrediction.still(network.image_size) if shows_nothing else completed(asked(neutral), neutral)
        if strength == 0:
            return calm
        stronger = at_strength(code, LEVELS[0])
        return calm.towards(completed(asked(stronger), stronger), (strength / LEVELS[0]) ** CURVE)


def ends_of(code: Tensor) -> tuple[Tensor, Tensor, float]:
    """Two codes that T is asked for, a weaker and a stronger one, and how far on the way between them a code lies.

    Only codes whose numbers above -1 are all alike, as those of one expression are, lie between others; any other one is
    its own end.

    Args:
        code: (K * d,), at least as strong as LEVELS[0].
    """
    if not _alike(code):
        return code, code, 1.0
    strength = (code.max().item() + 1) / 2
    i = min(bisect_right(LEVELS, strength), len(LEVELS) - 1)
    below, above = LEVELS[i - 1], LEVELS[i]
    return at_strength(code, below), at_strength(code, above), (strength - below) / (above - below)


def at_strength(code: Tensor, strength: float) -> Tensor:
    """The same look, stronger or weaker: a code on the line through it from neutral, the very same for all on that line."""
    if _alike(code):
        return torch.where(code > -1, 2 * strength - 1, -1.0)
    return torch.lerp(torch.full_like(code, -1.0), code, 2 * strength / (code.max() + 1))


def _alike(code: Tensor) -> bool:
    return bool((code[code > -1] == code.max()).all())
