"""The networks of ExprGAN (paper, Fig. 1c and "Network Architecture"), by cheaper, mathematically equal operations.

Shapes: B pictures, H = W = `image_size` px, K expressions, d numbers of code per expression.
Parameters are always the paper's own kernels; what speed needs is derived from them in `forward` (see `fast_conv`).
"""

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..photo.image_io import LUMA
from .fast_conv import add_constant_maps, patch_products, upsampled_products, upsampling_kernel

MAX_MATMUL_PX = 16
"""Side in px up to which a matrix product beats a convolution in G_dec, and half of it in G_enc (docs/performance.md)."""
CODE_REPEATS = 8
"""How often c is repeated beside g(x) at G_dec's first layer: floor(50 / 6) in the authors' code, kept for any z_dim."""
UNIT_CELLS = 4
"""Cells a side of the last maps that the face network's head of action units sees."""
UNIT_SHARPNESS = 8.0
"""Of the softplus that keeps weights of action units above 0, without the vanishing gradient of a clamp."""


def pool_elements(c: Tensor, numbers_each: int) -> Tensor:
    """Codes in which any one element of c_i at its maximum moves c_i as far as all of them together, for G_dec.

    With u = (c_i + 1) / 2, the strength s = sum(u^3) / sum(u^2) is a mean of u weighted towards its largest elements, and
    each element gets its share d * u^2 / sum(u^2) of it. Equal elements and neutral stay as they are; one element of 1
    beside d - 1 of -1 becomes 2 * d - 1. A decoder linear in c would show it at 1 / d of the strength of equal elements.

    Args:
        c: (B, K * d) in [-1, 1].
        numbers_each: d.

    Returns:
        (B, K * d) in [-1, 2 * d - 1].
    """
    u = (c.unflatten(1, (-1, numbers_each)) + 1) / 2
    squares = u.square()
    total = squares.sum(-1, keepdim=True) + 1e-6
    strength = (squares * u).sum(-1, keepdim=True) / total
    return (2 * numbers_each * strength * squares / total - 1).flatten(1)


def block_codes(c: Tensor, numbers_each: int, num_blocks: int) -> list[Tensor]:
    """The codes of G_dec's first layer and its blocks, (B, K * d) each: c, or with `numbers_each` > 0 its `pool_elements`.

    All blocks then have the mean of each pooled c_i in place of its elements, which so share their weights: an element that
    few pictures have would else come to tint them (docs/experiments.md).
    """
    if not numbers_each:
        return [c] * (1 + num_blocks)
    c = pool_elements(c, numbers_each)
    elements = c.unflatten(1, (-1, numbers_each))
    shared = elements.mean(-1, keepdim=True).expand_as(elements).flatten(1)
    return [c, *[shared] * num_blocks]


class ConditionedConv(nn.Module):
    """A convolution over a picture's maps and the N constant maps of a condition, concatenated.

    The side of the kernel is odd, the stride 1 or 2; `upsample`: nearest x2 before the convolution (3x3, stride 1 only).
    """

    def __init__(self, in_channels: int, out_channels: int, condition_dim: int, *, kernel: int, stride: int = 1,
                 upsample: bool = False):  # fmt: skip
        super().__init__()
        self.in_channels, self.stride, self.upsample = in_channels, stride, upsample
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels + condition_dim, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """h: (B, in_channels, S, S), condition: (B, N) -> (B, out_channels, S', S')."""
        if self.upsample and h.shape[-1] <= MAX_MATMUL_PX:  # the condition costs next to nothing here
            maps = condition.to(h.dtype)[:, :, None, None].expand(-1, -1, *h.shape[-2:])
            return upsampled_products(torch.cat((h, maps), dim=1), self.weight)
        kernel, condition_kernel = self.weight.split((self.in_channels, self.weight.shape[1] - self.in_channels), dim=1)
        if self.upsample:
            out = F.conv_transpose2d(h, upsampling_kernel(kernel), stride=2, padding=1)
        else:
            out = F.conv2d(h, kernel, stride=self.stride, padding=self.weight.shape[-1] // 2)
        return add_constant_maps(out, condition_kernel, condition)


class Encoder(nn.Module):
    """G_enc: 5x5 convolutions of stride 2 down to 4x4, ReLU, one FC, tanh. The paper: 64, 128, 256, 512, 1024 -> 50.

    `image_size` is a power of two of at least 8; `width`, the channels of the first block, is doubled by every block.
    """

    def __init__(self, image_size: int, z_dim: int, width: int):
        super().__init__()
        channels = [3, *(width * 2**i for i in range(image_size.bit_length() - 3))]
        blocks = [nn.Conv2d(a, b, kernel_size=5, stride=2, padding=2) for a, b in itertools.pairwise(channels)]
        self.blocks = nn.ModuleList(blocks)
        self.fc = nn.Linear(channels[-1] * 4 * 4, z_dim)
        for block in blocks:
            nn.init.kaiming_normal_(block.weight, nonlinearity="relu")
            nn.init.zeros_(block.bias)  # type: ignore[arg-type]
        nn.init.kaiming_normal_(self.fc.weight, nonlinearity="linear")

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, 3, H, W) in [-1, 1] -> z = g(x): (B, z_dim) in [-1, 1], the identity without the expression."""
        for block in self.blocks:
            small = x.shape[-1] <= MAX_MATMUL_PX // 2
            x = patch_products(x, block.weight, block.bias) if small else block(x)  # type: ignore[arg-type]
            x = F.relu(x, inplace=True)
        return torch.tanh(self.fc(x.flatten(1)))


class Decoder(nn.Module):
    """G_dec: FC to 4x4, then x2 and 3x3 up to the picture's size, two plain 3x3, tanh; c is an input of every layer.

    The paper: 512, 256, 128, 64, 32, 16, 3 channels. Only as many blocks upsample as the size needs (4 -> 128: five).
    `image_size` is a power of two of at least 8; `width`, the channels at 4x4, is halved by every block. With
    `pooled_numbers`, d, its layers get `block_codes` of c.
    """

    def __init__(self, image_size: int, z_dim: int, code_dim: int, width: int, pooled_numbers: int = 0):
        super().__init__()
        self.z_dim, self.pooled_numbers = z_dim, pooled_numbers
        doublings = image_size.bit_length() - 3
        channels = [width // 2**i for i in range(doublings + 2)]
        self.fc = nn.Linear(z_dim + CODE_REPEATS * code_dim, width * 4 * 4)
        nn.init.kaiming_normal_(self.fc.weight, nonlinearity="relu")
        with torch.no_grad():  # z and the repeated c have equal weight at the start
            self.fc.weight[:, :z_dim] *= (CODE_REPEATS * code_dim / z_dim) ** 0.5
        self.blocks = nn.ModuleList(
            ConditionedConv(a, b, code_dim, kernel=3, upsample=i < doublings)
            for i, (a, b) in enumerate(zip(channels, [*channels[1:], 3], strict=True))
        )

    @torch.no_grad()
    def average_elements(self, numbers_each: int) -> None:
        """Gives the d elements of each c_i the mean of their weights, so that `pool_elements` can be switched on."""
        weights = [self.fc.weight[:, self.z_dim :], *(block.weight[:, block.in_channels :] for block in self.blocks)]  # type: ignore[index]
        for weight in weights:
            elements = weight.unflatten(1, (-1, numbers_each))
            elements.copy_(elements.mean(2, keepdim=True).expand_as(elements))

    @torch.no_grad()
    def emphasize(self, factors: Tensor) -> None:
        """Multiplies what each c_i changes in the first layer, from neutral, by a factor: (K,)."""
        elements = (self.fc.weight.shape[1] - self.z_dim) // CODE_REPEATS
        of_elements = factors.to(self.fc.weight).repeat_interleave(elements // len(factors)).repeat(CODE_REPEATS)
        codes = self.fc.weight[:, self.z_dim :]
        self.fc.bias.add_(codes @ (of_elements - 1))
        codes *= of_elements

    @torch.no_grad()
    def shift_elements(self, shifts: Tensor) -> None:
        """Changes what each element at 1, beside others of -1, adds to the first layer's output: (K * d, 4 * 4 * `width`).

        Neutral stays as it is.
        """
        steps = shifts.T / (2 * max(self.pooled_numbers, 1) * CODE_REPEATS)
        self.fc.weight[:, self.z_dim :] += steps.repeat(1, CODE_REPEATS)
        self.fc.bias.add_(steps.sum(1) * CODE_REPEATS)

    def optimize_layout(self) -> None:
        """Stores the kernels, unchanged, in the order in which `forward` multiplies them, so that it need not copy them."""
        for block in self.blocks:
            block.weight.data = block.weight.data.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)  # type: ignore

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """z: (B, z_dim), c: (B, K * d), both in [-1, 1] -> x_hat: (B, 3, H, W) in [-1, 1]."""
        return self.from_first_layer(self.first_layer(z, c), c)

    def first_layer(self, z: Tensor, c: Tensor) -> Tensor:
        """The output of the first layer, before ReLU: (B, 4 * 4 * `width`)."""
        c = block_codes(c, self.pooled_numbers, len(self.blocks))[0]
        return self.fc(torch.cat((z, c.repeat(1, CODE_REPEATS)), dim=1))

    def from_first_layer(self, h: Tensor, c: Tensor) -> Tensor:
        """x_hat of what `first_layer` returned."""
        _, *codes, last_code = block_codes(c, self.pooled_numbers, len(self.blocks))
        h = F.relu(h)
        h = h.unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        *hidden, last = self.blocks
        for block, code in zip(hidden, codes, strict=True):
            h = F.relu(block(h, code), inplace=True)
        return torch.tanh(last(h, last_code))


class CodeReader(nn.Module):
    """Q: predicts c from D_img's trunk (eq. 5), as the mean of a Gaussian of fixed variance.

    One shared FC 128, then for each of the K expressions FC 64 and FC d; tanh, since c lies in [-1, 1].
    """

    def __init__(self, in_features: int, num_expressions: int, numbers_each: int):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(in_features, 128), nn.BatchNorm1d(128), nn.LeakyReLU(0.2))
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(128, 64), nn.BatchNorm1d(64), nn.LeakyReLU(0.2), nn.Linear(64, numbers_each))
            for _ in range(num_expressions)
        )

    def forward(self, trunk: Tensor) -> Tensor:
        """trunk: (B, in_features) -> c_hat: (B, K * d) in [-1, 1]."""
        h = self.shared(trunk)
        return torch.tanh(torch.cat([branch(h) for branch in self.branches], dim=1))


class ImageDiscriminator(nn.Module):
    """D_img with Q on its trunk: four 5x5 convolutions of stride 2, one FC, a head; y is an input of every layer.

    Batch norm and LeakyReLU(0.2) throughout, as in the paper. `image_size` is a power of two of at least 16; `width`, the
    channels of the first block (the paper: 16), is doubled by every block; `features` is the width of the FC. With
    `grey_codes` Q gets the trunk's output for a grey copy of x, in which a code cannot be a tint.
    """

    def __init__(self, image_size: int, num_expressions: int, numbers_each: int, width: int, features: int = 1024,
                 grey_codes: bool = False):  # fmt: skip
        super().__init__()
        self.grey_codes = grey_codes
        channels = [3, *(width * 2**i for i in range(4))]
        self.blocks = nn.ModuleList(
            ConditionedConv(a, b, num_expressions, kernel=5, stride=2) for a, b in itertools.pairwise(channels)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in channels[1:])
        self.fc = nn.Linear(channels[-1] * (image_size // 16) ** 2 + num_expressions, features)
        self.fc_norm = nn.BatchNorm1d(features)
        self.head = nn.Linear(features + num_expressions, 1)
        self.Q = CodeReader(features + num_expressions, num_expressions, numbers_each)

    def trunk(self, x: Tensor, y: Tensor) -> Tensor:
        """x: (B, 3, H, W) in [-1, 1], y: (B, K) one-hot -> (B, features + K), the input of both heads."""
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = F.leaky_relu(norm(block(x, y)), 0.2, inplace=True)
        h = F.leaky_relu(self.fc_norm(self.fc(torch.cat((x.flatten(1), y), dim=1))), 0.2)
        return torch.cat((h, y), dim=1)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """x: (B, 3, H, W) in [-1, 1], y: (B, K) one-hot -> logits (B,), real if > 0, and c_hat (B, K * d)."""
        h = self.trunk(x, y)
        return self.logits(h), self.read_code(x, y) if self.grey_codes else self.Q(h)

    def logits(self, trunk: Tensor) -> Tensor:
        """trunk: (B, features + K) -> (B,), real if > 0."""
        return self.head(trunk).squeeze(1)

    def read_code(self, x: Tensor, y: Tensor, tone: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Q: c_hat (B, K * d) of pictures of known expression.

        Args:
            x: (B, 3, H, W) in [-1, 1].
            y: (B, K) one-hot.
            tone: contrast and brightness, (B, 1, 1, 1) each, by which the grey copy is varied in training.
        """
        if self.grey_codes:
            grey = (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
            grey = grey if tone is None else grey * tone[0] + tone[1]
            x = grey.expand_as(x)
        return self.Q(self.trunk(x, y))


class LatentDiscriminator(nn.Module):
    """D_z: distinguishes g(x) from z ~ P_z = U(-1, 1). FC 64, 32, 16, 1 with batch norm and LeakyReLU(0.2)."""

    def __init__(self, z_dim: int):
        super().__init__()
        widths = (z_dim, 64, 32, 16)
        hidden = [(nn.Linear(a, b), nn.BatchNorm1d(b), nn.LeakyReLU(0.2)) for a, b in itertools.pairwise(widths)]
        self.layers = nn.Sequential(*(part for parts in hidden for part in parts), nn.Linear(16, 1))

    def forward(self, z: Tensor) -> Tensor:
        """z: (B, z_dim) in [-1, 1] -> logits (B,), drawn from P_z if > 0."""
        return self.layers(z).squeeze(1)


class FaceReading(NamedTuple):
    """The outputs of `FaceNetwork`."""

    expression: Tensor
    """(B, K + 1) logits, neutral last."""
    identity: Tensor
    """(B, 128) unit embeddings."""
    units: Tensor
    """(B, U, 2): weight of every action unit on the subject's right and left side, 0 or more; U is 0 without that head."""


class FaceNetwork(nn.Module):
    """Five blocks of two 3x3 convolutions, trained on expressions, identities and action units: classifier, evaluator, phi.

    Its head of K + 1 classes, neutral last, is the expression classifier that gives y_B in transfer; its embedding measures
    identity; its maps after the second convolution of each block take the place of VGG-Face in eq. 7; `num_units` > 0 adds
    a head for action units, on cells of the last maps, since sides matter. `width`, the channels of the first block, is
    doubled by every block; larger pictures are averaged down to `size` px for the heads.
    """

    def __init__(self, num_expressions: int, width: int = 16, size: int = 64, embedding_dim: int = 128, num_units: int = 0):
        super().__init__()
        self.size = size
        channels = [3, *(width * 2**i for i in range(5))]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
                nn.Conv2d(b, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
            )
            for a, b in itertools.pairwise(channels)
        )  # fmt: skip
        self.expression = nn.Linear(channels[-1], num_expressions + 1)
        self.identity = nn.Linear(channels[-1], embedding_dim)
        self.units = nn.Linear(channels[-1] * UNIT_CELLS**2, 2 * num_units) if num_units else None

    def maps(self, x: Tensor) -> list[Tensor]:
        """x: (B, 3, H, W) in [-1, 1] -> five maps phi_l(x), each half the side of the one before (eq. 7)."""
        maps: list[Tensor] = []
        for block in self.blocks:
            x = block(F.max_pool2d(x, 2) if maps else x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> FaceReading:
        """x: (B, 3, H, W) in [-1, 1] -> expression, identity and action units."""
        x = F.adaptive_avg_pool2d(x, self.size) if x.shape[-1] > self.size else x
        h = self.maps(x)[-1]
        pooled = h.mean(dim=(2, 3))
        units = h.new_zeros(h.shape[0], 0, 2)  # torch.export would keep a len()
        if self.units is not None:
            units = self.units(F.adaptive_avg_pool2d(h, UNIT_CELLS).flatten(1)).unflatten(1, (-1, 2))
            units = F.softplus(units, beta=UNIT_SHARPNESS)
        return FaceReading(self.expression(pooled), F.normalize(self.identity(pooled), dim=1), units)
