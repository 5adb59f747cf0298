"""The action units that each expression shows, so that an edit can change some of them and keep the others."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..expressions import NEUTRAL, canonical
from .blocks import CalibratedModule
from .controller import check_intensity


class UnitTable(CalibratedModule):
    """The mean weights of T's action units in the pictures that T learned from; a model has one if T takes units.

    Buffer `full` (K, d + 1, U): at full intensity, for each expression those that it usually shows, then those of its d
    styles (elements of c_i).
    """

    full: Tensor

    def __init__(self, expressions: tuple[str, ...], numbers_each: int, num_units: int):
        super().__init__()
        self.expressions = expressions
        self.register_buffer("full", torch.zeros(len(expressions), numbers_each + 1, num_units, dtype=torch.float64))

    def mix(self, intensities: Mapping[str, float], *, style: int | None = None) -> Tensor:
        """The units of one or several expressions, in proportion to their intensities; arguments as in `Controller.mix`.

        Returns:
            (U, 2) float32, from 0: the largest weight of any of the expressions, equal on the subject's right and left.

        Raises:
            ValueError: an unknown expression, an intensity outside [0, 1], or no such style.
        """
        if style is not None and style not in range(self.full.shape[1] - 1):
            raise ValueError(f"style must be one of 0..{self.full.shape[1] - 2}, not {style!r}")
        units = self.full.new_zeros(self.full.shape[2])
        for name, intensity in intensities.items():
            name, intensity = canonical(name, self.expressions), check_intensity(intensity)
            if name != NEUTRAL:
                row = self.full[self.expressions.index(name), 0 if style is None else style + 1]
                units = torch.maximum(units, row * intensity)
        return units.float().cpu()[:, None].repeat(1, 2)
