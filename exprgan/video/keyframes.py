"""An expression over time: one for the whole film, or keyframes between which it changes evenly."""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..editing.multi_face import EditRequest, ExpressionMix, requests_by_face

Keyframes = Sequence[tuple[float, EditRequest]]
"""Times in s since the start of the film, and what the face shows then: [(0, "neutral"), (1.5, ("happy", 0.8))]."""


def code_over_time(
    expression: EditRequest | Keyframes, intensity: float, code: Callable[[ExpressionMix, float], Tensor]
) -> Callable[[float], Tensor]:
    """The function from a time in s to the code c (K * d,) that the face is to show.

    Args:
        expression: one for all times, or keyframes. Between two of them codes are interpolated; before the first and after
            the last they stay.
        intensity: that of requests that give none, 0..1.
        code: maps an expression or mix and an intensity to a code.

    Raises:
        ValueError: no keyframe, times that do not increase, or an unknown expression.
    """
    keyframes = _keyframes(expression)
    times = [float(time) for time, _ in keyframes]
    if not times:
        raise ValueError('give at least one keyframe, such as (0, "happy")')
    for time, following in zip(times, [*times[1:], math.inf], strict=True):
        if not (math.isfinite(time) and 0 <= time < following):
            raise ValueError(f"the times of keyframes must be 0 s or later and increase, not {times}")
    codes = [_code(request, intensity, code) for _, request in keyframes]

    def at(time: float) -> Tensor:
        i = bisect_right(times, time) - 1
        if i < 0 or i == len(times) - 1:
            return codes[max(i, 0)]
        return torch.lerp(codes[i], codes[i + 1], (time - times[i]) / (times[i + 1] - times[i]))

    return at


def parse_keyframe(text: str) -> tuple[float, EditRequest]:
    """Parses a time in s, an expression and, if given, its intensity: 1.5=happy or 1.5=happy:0.8."""
    time, _, request = text.partition("=")
    name, colon, intensity = request.partition(":")
    try:
        if name and math.isfinite(seconds := float(time)) and seconds >= 0:
            return seconds, (name, float(intensity)) if colon else name
    except ValueError:
        pass
    raise ValueError(f"{text!r} must be a time in seconds and an expression, such as 1.5=happy or 1.5=happy:0.8")


def _keyframes(expression: Any) -> Keyframes:
    """Keyframes as they are; one expression as that of all times."""
    first = expression[0] if isinstance(expression, tuple) and len(expression) == 2 else expression
    return [(0.0, expression)] if isinstance(first, (str, Mapping)) else expression


def _code(request: EditRequest, intensity: float, code: Callable[[ExpressionMix, float], Tensor]) -> Tensor:
    requests = requests_by_face(request, intensity)
    if None not in requests:
        raise ValueError(f"one person is edited in a film; give one expression, not one for each face: {request!r}")
    return code(*requests[None])
