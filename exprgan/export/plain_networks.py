"""G_enc and G_dec in their plain form: the convolutions as the paper writes them.

It has ten standard operators, 13 and 53 nodes with the bundled weights. The form that is fast in torch (`fast_conv`) would
become 657 nodes, most of them slices and scatters, which few runtimes optimise.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.networks import CODE_REPEATS, ConditionedConv, Decoder, Encoder, block_codes


class PlainEncoder(nn.Module):
    """G_enc as plain convolutions."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.blocks, self.fc = copy.deepcopy(encoder.blocks).float().cpu(), copy.deepcopy(encoder.fc).float().cpu()

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, 3, S, S) in [-1, 1] -> z: (N, z_dim) in [-1, 1]."""
        for block in self.blocks:
            x = F.relu(block(x))
        return torch.tanh(self.fc(x.flatten(1)))


class PlainDecoder(nn.Module):
    """G_dec as plain convolutions."""

    def __init__(self, decoder: Decoder):
        super().__init__()
        self.fc, self.pooled_numbers = copy.deepcopy(decoder.fc).float().cpu(), decoder.pooled_numbers
        self.blocks = nn.ModuleList(PlainConv(block) for block in decoder.blocks)  # type: ignore[arg-type]

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """z: (N, z_dim), c: (N, K * d), both in [-1, 1] -> x_hat: (N, 3, S, S) in [-1, 1]."""
        c, *codes, last_code = block_codes(c, self.pooled_numbers, len(self.blocks))
        h = F.relu(self.fc(torch.cat([z] + [c] * CODE_REPEATS, dim=1))).unflatten(1, (-1, 4, 4))
        *hidden, last = self.blocks
        for block, code in zip(hidden, codes, strict=True):
            h = F.relu(block(h, code))
        return torch.tanh(last(h, last_code))


class PlainConv(nn.Module):
    """A 3x3 `ConditionedConv`: the constant maps are convolved at 3x3 px, and the centre of the result is repeated."""

    def __init__(self, block: ConditionedConv):
        super().__init__()
        kernel, condition_kernel = block.weight.detach().float().cpu().tensor_split([block.in_channels], dim=1)
        self.upsample, self.kernel = block.upsample, nn.Parameter(kernel.contiguous())
        self.condition_kernel = nn.Parameter(condition_kernel.contiguous())

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """h: (N, in_channels, S, S), condition: (N, K * d) -> (N, out_channels, S', S')."""
        if self.upsample:
            h = F.interpolate(h, scale_factor=2.0, mode="nearest")
        constants = F.conv2d(condition[:, :, None, None].expand(-1, -1, 3, 3), self.condition_kernel, padding=1)
        rows = torch.tensor([0, *[1] * (h.shape[-1] - 2), 2])  # first, middle, last
        return F.conv2d(h, self.kernel, padding=1) + constants.index_select(2, rows).index_select(3, rows)
