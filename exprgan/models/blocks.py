"""What T's networks are built of: residual blocks that the code steers."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity; the code scales and shifts the maps between them."""

    def __init__(self, channels: int, code_dim: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.code = nn.Linear(code_dim, 2 * channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.code.weight.mul_(0.2)
            self.code.bias.zero_()
            self.second.bias.zero_()

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """h: (B, C, H, W), c: (B, K * d) -> like h."""
        scale, shift = self.code(c)[:, :, None, None].chunk(2, dim=1)
        return h + self.second(leaky_relu_(self.first(leaky_relu_(self.norm(h))) * (1 + scale) + shift))


def leaky_relu_(h: Tensor) -> Tensor:
    """Leaky ReLU, in place."""
    return F.leaky_relu(h, 0.1, inplace=True)


def group_multiple(channels: float) -> int:
    """The multiple of 8 nearest to a number of channels, at least 8: group norm has eight groups."""
    return 8 * max(1, round(channels / 8))
