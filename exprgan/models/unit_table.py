"""The action units that each expression shows, so that an edit can change some of them and keep the others."""

import torch
from torch import Tensor

from .blocks import CalibratedModule


class UnitTable(CalibratedModule):
    """The mean weights of T's action units in the pictures that T learned from; a model has one if T takes units.

    Buffer `full` (K, d + 1, U): at full intensity, for each expression those that it usually shows, then those of its d
    styles (elements of c_i).
    """

    full: Tensor

    def __init__(self, num_expressions: int, numbers_each: int, num_units: int):
        super().__init__()
        self.register_buffer("full", torch.zeros(num_expressions, numbers_each + 1, num_units, dtype=torch.float64))

    def forward(self, c: Tensor) -> Tensor:
        """The units of a code (K * d,) in [-1, 1], where -1 is absent and equal elements of c_i are the usual way.

        Returns:
            (U, 2) float32, from 0: the largest weight of any of the expressions, equal on the subject's right and left.
        """
        strength = (c.detach().double().cpu().reshape(len(self.full), -1) + 1) / 2
        common = strength.amin(1, keepdim=True)
        parts = torch.cat((common, strength - common), dim=1)  # the usual way, and what single styles exceed it by
        units = (parts[..., None] * self.full.cpu()).sum(1).amax(0).float()
        return units[:, None].repeat(1, 2)
