"""F_ctrl (paper, eq. 3): from an expression and its strength to the code c = [c_1, ..., c_K], d numbers each in [-1, 1].

A class that is present has positive numbers in its c_i, an absent one negative numbers; neutral is the code of all -1.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..expressions import EXPRESSIONS, NEUTRAL, canonical
from .blocks import CalibratedModule


def check_intensity(value: float, name: str = "intensity") -> float:
    """`value` as a float in [0, 1].

    Raises:
        ValueError: it is outside, or no number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name} must lie between 0 (neutral) and 1 (full strength), not {value!r}")
    return number


class Controller(CalibratedModule):
    """F_ctrl. It has no trained weights; its buffer `path` (K, P, d) in [-1, 1] is measured by calibration.

    `path[i]` holds c_i at P evenly spaced intensities from 0 to 1. Without calibration P = 2: a straight line from -1 to 1.

    Args:
        expressions: names of the K classes, in the order of c.
        numbers_each: d, the length of each c_i.
        knots: P, at least 2.

    Example:
        >>> Controller().code("happy", 0.5)[15:20]
        tensor([0., 0., 0., 0., 0.])
    """

    path: Tensor

    def __init__(self, expressions: tuple[str, ...] = EXPRESSIONS, numbers_each: int = 5, knots: int = 2):
        super().__init__()
        self.expressions, self.numbers_each = expressions, numbers_each
        line = torch.linspace(-1, 1, knots, dtype=torch.float64)[None, :, None]
        self.register_buffer("path", line.repeat(len(expressions), 1, numbers_each))

    @property
    def code_dim(self) -> int:
        """K * d, the numbers of c."""
        return len(self.expressions) * self.numbers_each

    def random(self, y: Tensor, generator: torch.Generator | None = None, intensity: Tensor | None = None) -> Tensor:
        """Eq. 3: c_i = |z_y| * (2 y_i - 1) with one z_y ~ U(-1, 1)^d for all classes.

        Args:
            y: (B, K) one-hot; a row of zeros is a neutral face.
            generator: random number generator, on the CPU.
            intensity: (B,) in [0, 1], on the CPU: known intensities of the pictures. |z_y| is rescaled to have this mean,
                and a neutral face gets the code of all -1. NaN or None: |z_y| as the paper draws it.

        Returns:
            (B, K * d) in [-1, 1], on y's device.
        """
        magnitude = (torch.rand(len(y), 1, self.numbers_each, generator=generator) * 2 - 1).abs()
        if intensity is not None:
            magnitude = _with_mean(magnitude, intensity[:, None, None])
            magnitude = torch.where(y.cpu().any(1)[:, None, None], magnitude, 1.0)
        return (magnitude.to(y.device) * (2 * y[:, :, None] - 1)).flatten(1)

    def code(self, expression: str, intensity: float = 1.0, *, style: int | None = None) -> Tensor:
        """The editing code: c_i grows with intensity, everything else is -1.

        Args:
            expression: one of the classes, an alias of one, or "neutral".
            intensity: 0 (neutral) to 1 (full strength).
            style: move element 0..d-1 of c_i alone instead of all of them (paper, Fig. 3).

        Returns:
            (K * d,) in [-1, 1].

        Raises:
            ValueError: an unknown expression, an intensity outside [0, 1], or no such style.
        """
        return self.mix({expression: intensity}, style=style)

    def mix(self, intensities: Mapping[str, float], *, style: int | None = None) -> Tensor:
        """The code of several expressions at once, each with its own intensity: (K * d,) in [-1, 1]."""
        if style is not None and style not in range(self.numbers_each):
            raise ValueError(f"style must be one of 0..{self.numbers_each - 1}, not {style!r}")
        c = torch.full((len(self.expressions), self.numbers_each), -1.0)
        for name, intensity in intensities.items():
            name, intensity = canonical(name, self.expressions), check_intensity(intensity)
            if name == NEUTRAL:
                continue
            i = self.expressions.index(name)
            if style is None:
                c[i] = self._along_path(i, intensity)
            else:
                c[i, style] = 2 * intensity - 1
        return c.flatten()

    def neutral(self) -> Tensor:
        """The code of all -1: (K * d,)."""
        return torch.full((self.code_dim,), -1.0)

    def _along_path(self, i: int, intensity: float) -> Tensor:
        """c_i at an intensity, interpolated between the knots of the path: (d,) float32."""
        knots = self.path[i].float()
        position = intensity * (len(knots) - 1)
        before = min(int(position), len(knots) - 2)
        return torch.lerp(knots[before], knots[before + 1], position - before)


def _with_mean(x: Tensor, mean: Tensor) -> Tensor:
    """Rescales x in [0, 1] about 0 or about 1 to a mean over the last dimension; unchanged where `mean` is NaN."""
    current = x.mean(dim=-1, keepdim=True)
    smaller, larger = x * mean / current, 1 - (1 - x) * (1 - mean) / (1 - current)
    return torch.where(mean.isnan(), x, torch.where(mean < current, smaller, larger))
