"""Building blocks of the models: FiLM-conditioned residual blocks, the U-Net, and modules of calibrated constants."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 8  # of every GroupNorm layer


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a skip connection; a code, if any, scales and shifts the maps between them (FiLM)."""

    def __init__(self, channels: int, code_dim: int = 0):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(code_dim, 2 * channels) if code_dim else None
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            if self.film is not None:
                self.film.weight.mul_(0.2)
                self.film.bias.zero_()
            self.conv2.bias.zero_()  # type: ignore[union-attr]

    def forward(self, h: Tensor, c: Tensor | None = None) -> Tensor:
        """h: (B, C, H, W), c: (B, K * d) -> (B, C, H, W)."""
        hidden = self.conv1(leaky_relu_(self.norm(h)))
        if self.film is not None:
            scale, shift = self.film(c)[:, :, None, None].chunk(2, dim=1)
            hidden = hidden * (1 + scale) + shift
        return h + self.conv2(leaky_relu_(hidden))


class UNet(nn.Module):
    """The two passes of a U-Net of residual blocks. Subclasses create its layers, scales from fine to coarse."""

    stem: nn.Module
    downsamplers: nn.ModuleList
    down_blocks: nn.ModuleList
    upsamplers: nn.ModuleList
    up_blocks: nn.ModuleList
    norm: nn.Module
    head: nn.Module

    def contract(self, x: Tensor, c: Tensor | None = None) -> list[Tensor]:
        """The maps of all scales, fine to coarse, in the type of the weights."""
        dtype = next(self.parameters()).dtype
        x, c = x.to(dtype), None if c is None else c.to(dtype)
        maps = [self.down_blocks[0](self.stem(x), c)]
        for downsample, block in zip(self.downsamplers, list(self.down_blocks)[1:], strict=True):
            maps.append(block(downsample(maps[-1]), c))
        return maps

    def expand(self, maps: list[Tensor], c: Tensor | None = None) -> Tensor:
        """The head's output for the maps of all scales, float32: bf16 is too coarse for positions."""
        h, c = maps[-1], None if c is None else c.to(maps[-1].dtype)
        for i in reversed(range(len(self.upsamplers))):
            h = F.interpolate(self.upsamplers[i](h), scale_factor=2, mode="bilinear", align_corners=False) + maps[i]
            h = self.up_blocks[i](h, c)
        return self.head(leaky_relu_(self.norm(h))).float()


class CalibratedModule(nn.Module):
    """Base of modules whose buffers are measured after training and used on the CPU, where codes are made.

    The buffers stay float64 on the CPU: `to`, `half`, `cuda` and the like leave them unchanged.
    """

    def _apply(self, fn, recurse=True):
        return self


def leaky_relu_(h: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.1, in place."""
    return F.leaky_relu(h, 0.1, inplace=True)


def round_to_groups(channels: float) -> int:
    """The multiple of GROUPS nearest to a number of channels, at least GROUPS."""
    return GROUPS * max(1, round(channels / GROUPS))
