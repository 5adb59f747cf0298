"""F_ctrl (paper, eq. 3): from an expression and its strength to the code c = [c_1, ..., c_K], d numbers each in [-1, 1].

A class that is present has positive numbers in its c_i, an absent one negative numbers; neutral is the code of all -1.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..expressions import EXPRESSIONS, NEUTRAL, canonical
from .blocks import CalibratedModule


def check_intensity(value: float, name: str = "intensity") -> float:
    """`value` as a float; ValueError if it is no number in [0, 1]."""
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

    Example:
        >>> Controller().code("happy", 0.5)[15:20]
        tensor([0., 0., 0., 0., 0.])
    """

    path: Tensor

    def __init__(self, expressions: tuple[str, ...] = EXPRESSIONS, numbers_each: int = 5, knots: int = 2):
        super().__init__()
        self.expressions, self.numbers_each = expressions, numbers_each
        self.code_dim = len(expressions) * numbers_each
        self.register_buffer("path", torch.zeros(len(expressions), knots, numbers_each, dtype=torch.float64))
        self.reset()

    def reset(self) -> None:
        """Forgets the calibration, as after further training of G_dec: the path is a straight line."""
        line = np.linspace(-1, 1, self.path.shape[1])  # torch's is slow on the device "meta"
        self.path.copy_(torch.from_numpy(line)[:, None])

    def random(self, y: Tensor, generator: torch.Generator | None = None, intensity: Tensor | None = None) -> Tensor:
        """Draws codes by eq. 3: c_i = |z_y| * (2 y_i - 1) with one z_y ~ U(-1, 1)^d for all classes.

        Args:
            y: (B, K) one-hot; a row of zeros is a neutral face. The codes, (B, K * d), are on its device.
            generator: on the CPU.
            intensity: (B,) in [0, 1], on the CPU: known intensities of the pictures. |z_y| is rescaled, about 0 or about 1,
                to this mean, and a neutral face gets the code of all -1. NaN or None: |z_y| as the paper draws it.
        """
        magnitude = (torch.rand(len(y), 1, self.numbers_each, generator=generator) * 2 - 1).abs()
        if intensity is not None:
            mean, drawn = intensity[:, None, None], magnitude.mean(dim=-1, keepdim=True)
            scaled = torch.where(mean < drawn, magnitude * mean / drawn, 1 - (1 - magnitude) * (1 - mean) / (1 - drawn))
            magnitude = torch.where(mean.isnan(), magnitude, scaled)
            magnitude = torch.where(y.cpu().any(1)[:, None, None], magnitude, 1.0)
        return (magnitude.to(y.device) * (2 * y[:, :, None] - 1)).flatten(1)

    def code(self, expression: str, intensity: float = 1.0, *, style: int | None = None) -> Tensor:
        """The code (K * d,) of an expression at an intensity in [0, 1]; arguments as in `mix`."""
        return self.mix({expression: intensity}, style=style)

    def mix(self, intensities: Mapping[str, float], *, style: int | None = None) -> Tensor:
        """The code of one or several expressions: each c_i grows with its intensity, everything else is -1.

        Args:
            intensities: 0 (neutral) to 1 (full strength) by class, alias of a class, or "neutral".
            style: move element 0..d-1 of c_i alone instead of all of them (paper, Fig. 3).

        Returns:
            (K * d,) in [-1, 1].

        Raises:
            ValueError: an unknown expression, an intensity outside [0, 1], or no such style.
        """
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
                c[i, int(style)] = 2 * intensity - 1  # 1.0 is in the range, too
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
