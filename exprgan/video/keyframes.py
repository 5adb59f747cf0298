"""An expression over time: one for the whole film, or keyframes between which it changes evenly."""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..editing.multi_face import EditRequest, requests_by_face
from ..editing.results import Reading
from ..editing.target import Aim, Target
from ..models.exprgan import ExprGAN

Keyframes = Sequence[tuple[float, EditRequest]]
"""Times in s since the start of the film, and what the face shows then: [(0, "neutral"), (1.5, ("happy", 0.8))]."""
AimOverTime = Callable[[float, Reading], Aim]
"""From a time in s, and the reading of the face at that time, to what the face is to show."""


def aim_over_time(
    model: ExprGAN, expression: EditRequest | Keyframes | None, intensity: float = 1.0, style: int | None = None,
    units: Mapping[str, float] | None = None,
) -> AimOverTime:  # fmt: skip
    """The function from a time in s, and the reading of the face at that time, to what the face is to show.

    Args:
        expression: one for all times, or keyframes. Between two of them the aim is interpolated; before the first and after
            the last it stays. None: the face stays as it is, apart from `units`.
        intensity: that of requests that give none, 0..1.
        style, units: as in `ExpressionEditor.edit`, at all times.

    Raises:
        ValueError: no keyframe, times that do not increase, or what `Target.of` refuses.
    """
    keyframes = _keyframes(expression)
    times = [float(time) for time, _ in keyframes]
    if not times:
        raise ValueError('give at least one keyframe, such as (0, "happy")')
    for time, following in zip(times, [*times[1:], math.inf], strict=True):
        if not (math.isfinite(time) and 0 <= time < following):
            raise ValueError(f"the times of keyframes must be 0 s or later and increase, not {times}")
    targets = [_target(model, request, intensity, style, units) for _, request in keyframes]

    def at(time: float, reading: Reading) -> Aim:
        i = bisect_right(times, time) - 1
        first = targets[max(i, 0)].aim(model, reading)
        if i < 0 or i == len(times) - 1:
            return first
        return first.lerp(targets[i + 1].aim(model, reading), (time - times[i]) / (times[i + 1] - times[i]))

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


def _keyframes(expression: Any) -> Sequence[tuple[float, EditRequest | None]]:
    """Keyframes as they are; one expression, or none, as that of all times."""
    first = expression[0] if isinstance(expression, tuple) and len(expression) == 2 else expression
    return [(0.0, expression)] if first is None or isinstance(first, (str, Mapping)) else expression


def _target(model: ExprGAN, request: EditRequest | None, intensity: float, style: int | None,
            units: Mapping[str, float] | None) -> Target:  # fmt: skip
    requests = requests_by_face(request, intensity)
    if None not in requests:
        raise ValueError(f"one person is edited in a film; give one expression, not one for each face: {request!r}")
    return Target.of(model, *requests[None], style, units)
