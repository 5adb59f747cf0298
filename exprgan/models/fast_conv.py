"""Convolutions by cheaper, mathematically equal operations on the paper's own kernels: fewer products and memory passes.

Four identities; tests/test_fast_conv.py compares each with its plain form:

1. a convolution over constant maps (the condition, repeated over the picture) gives nine numbers a channel, one for the
   inside, each edge and each corner, so it needs no maps at all (`add_constant_maps`);
2. nearest-neighbour x2 followed by a 3x3 convolution is one transposed 4x4 convolution of stride 2 (`upsampling_kernel`);
3. it is also nine 1x1 products on the small picture, spread over the large one (`upsampled_products`), since a product
   over channels commutes with the upsampling. Best where the picture is small and the kernel large;
4. a strided convolution is one product of patches and kernel (`patch_products`); best in the same place.

All work on `channels_last` tensors, whose memory is (B, H, W, C).
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function


def compute_dtype(x: Tensor, weight: Tensor) -> torch.dtype:
    """The type in which a product of x and weight is computed: autocast's where it is on, the weight's otherwise."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def add_constant_maps(out: Tensor, weight: Tensor, values: Tensor) -> Tensor:
    """Adds, in place, the zero-padded convolution of maps that are constant over the picture, and returns `out`.

    out: (B, O, S, S), the convolution of the other maps; weight: (O, N, k, k), the kernel of the N constant maps, k = 3
    with stride 1 or k = 5 with stride 2, padding k // 2; values: (B, N), the values of the maps.
    """
    inside = _taps_inside(weight.shape[-1], out.shape[-1]).to(weight, non_blocking=True)
    with torch.autocast(out.device.type, enabled=False):
        taps = torch.einsum("bn,onkl->bokl", values.to(weight.dtype), weight)
        constants = torch.einsum("bokl,rk,cl->brco", taps, inside, inside)
    return _AddBorderConstants.apply(out, constants.to(out.dtype))


def _taps_inside(kernel: int, side: int) -> Tensor:
    """(3, kernel) of 0 and 1: the taps inside the picture at its first row, in its middle and at its last row.

    A picture of side 2 has no middle: (2, kernel); of side 1 one row that is first and last: (1, kernel).
    """
    middle, first, last = torch.ones(3, kernel)
    first[: kernel // 2] = 0
    last[kernel - 1 :] = 0  # 3x3: the last row's centre is the picture's end; 5x5 with stride 2: one pixel before it
    return torch.stack({1: (first * last,), 2: (first, last)}.get(side, (first, middle, last)))


class _AddBorderConstants(Function):
    """Adds constants, (B, 3, 3, O) for the first, middle and last row and column, to out (B, O, S, S), in place."""

    @staticmethod
    def forward(ctx, out, constants):
        ctx.mark_dirty(out)
        pixels = out.permute(0, 2, 3, 1)
        kinds = constants.shape[1]
        if kinds == 3:  # first, middle and last column -> all columns: (B, 3, side, O)
            first, middle, last = constants.split(1, dim=2)
            constants = torch.cat((first, middle.expand(-1, -1, out.shape[-1] - 2, -1), last), dim=2)
        for kind, part in enumerate(_parts(kinds)):
            pixels[:, part] += constants[:, kind, None]
        return out

    @staticmethod
    def backward(ctx, g):
        pixels = g.permute(0, 2, 3, 1)
        parts = _parts(min(g.shape[-1], 3))
        exact = torch.promote_types(g.dtype, torch.float32)
        rows = torch.stack([pixels[:, part].sum(1, dtype=exact) for part in parts], 1)
        return g, torch.stack([rows[:, :, part].sum(2) for part in parts], 2).to(g.dtype)


def _parts(kinds: int) -> tuple[slice, ...]:
    return {1: (slice(None),), 2: (slice(0, 1), slice(1, 2))}.get(kinds, (slice(0, 1), slice(1, -1), slice(-1, None)))


def upsampling_kernel(weight: Tensor) -> Tensor:
    """The kernel (I, O, 4, 4) of ConvTranspose2d(4, stride=2, padding=1) that equals nearest x2, then (O, I, 3, 3).

    It is the 3x3 kernel flipped and convolved with a 2x2 of ones. 2.25 times fewer multiplications.
    """
    flipped = F.pad(weight.flip(2, 3).transpose(0, 1), (1, 1, 1, 1))
    rows = flipped[:, :, :-1] + flipped[:, :, 1:]
    return rows[:, :, :, :-1] + rows[:, :, :, 1:]


def upsampled_products(h: Tensor, weight: Tensor) -> Tensor:
    """Nearest x2, then a 3x3 convolution, as one matrix product: 4 times fewer multiplications.

    h: (B, I, S, S), weight: (O, I, 3, 3) -> (B, O, 2 S, 2 S), in the type of `compute_dtype`.
    """
    dtype = compute_dtype(h, weight)
    taps = weight.to(dtype).permute(2, 3, 0, 1).reshape(-1, weight.shape[1])
    pixels = h.to(dtype).permute(0, 2, 3, 1).contiguous()
    return _UpsampledProducts.apply(pixels, taps)


class _UpsampledProducts(Function):
    """(B, S, S, I) and (3 * 3 * O, I) -> (B, O, 2 S, 2 S)."""

    @staticmethod
    def forward(ctx, h, taps):
        ctx.save_for_backward(h, taps)
        products = h.flatten(0, 2) @ taps.T
        products = products.view(*h.shape[:3], 3, 3, -1)
        return _spread(_spread(products, 3, 1), 3, 2).permute(0, 3, 1, 2).clone()  # no view: ReLU works in place on it

    @staticmethod
    def backward(ctx, g):
        h, taps = ctx.saved_tensors
        products = _collect(_collect(g.permute(0, 2, 3, 1), 2), 1)  # (B, S, S, 3, 3, O), as in forward
        products = products.flatten(0, 2).flatten(1)
        return (products @ taps).view_as(h), products.T @ h.flatten(0, 2)


def _spread(products: Tensor, tap: int, side: int) -> Tensor:
    """Along one side: the products of rows i with the three taps -> rows 2i and 2i + 1 of the upsampled picture.

    Row 2i is the sum of row i - 1 by tap 0 and row i by taps 1 and 2; row 2i + 1 of i by taps 0 and 1 and i + 1 by tap 2.
    """
    p, size = products.movedim(tap, 0), products.shape[side]
    even, odd = p[1] + p[2], p[0] + p[1]
    even.narrow(side, 1, size - 1).add_(p[0].narrow(side, 0, size - 1))
    odd.narrow(side, 0, size - 1).add_(p[2].narrow(side, 1, size - 1))
    return torch.stack((even, odd), side + 1).flatten(side, side + 1)


def _collect(g: Tensor, side: int) -> Tensor:
    """The transpose of `_spread`: 2 S rows -> S rows, with the three taps on a new dimension after the sides."""
    even, odd = g.unflatten(side, (-1, 2)).unbind(side + 1)
    size = even.shape[side]
    taps = even.new_empty(*even.shape[:3], 3, *even.shape[3:])
    torch.add(even, odd, out=taps.select(3, 1))
    first, last = taps.select(3, 0).copy_(odd), taps.select(3, 2).copy_(even)
    first.narrow(side, 0, size - 1).add_(even.narrow(side, 1, size - 1))
    last.narrow(side, 1, size - 1).add_(odd.narrow(side, 0, size - 1))
    return taps


def patch_products(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 5x5 convolution of stride 2 and padding 2, as one matrix product of patches.

    x: (B, I, S, S), S even; weight: (O, I, 5, 5), bias: (O,) -> (B, O, S / 2, S / 2), in the type of `compute_dtype`.
    """
    dtype = compute_dtype(x, weight)
    kernel = weight.to(dtype).permute(0, 2, 3, 1).flatten(1)
    pixels = x.to(dtype).permute(0, 2, 3, 1)
    return (_PatchProducts.apply(pixels, kernel) + bias.to(dtype)).permute(0, 3, 1, 2)


class _PatchProducts(Function):
    """(B, S, S, I) and (O, 5 * 5 * I) -> (B, S / 2, S / 2, O)."""

    @staticmethod
    def forward(ctx, x, kernel):
        batch, side, _, channels = x.shape
        padded = F.pad(x, (0, 0, 2, 1, 2, 1))
        b, r, c, i = padded.stride()
        half = side // 2
        patches = padded.as_strided((batch, half, half, 5, 5, channels), (b, 2 * r, 2 * c, r, c, i))
        patches = patches.reshape(batch * half * half, -1)
        ctx.save_for_backward(patches, kernel)
        ctx.shape = x.shape
        return (patches @ kernel.T).view(batch, half, half, -1)

    @staticmethod
    def backward(ctx, g):
        patches, kernel = ctx.saved_tensors
        batch, side, _, channels = ctx.shape
        half = side // 2
        g = g.reshape(len(patches), -1)
        spread = (g @ kernel).view(batch, half, half, 5, 5, channels)
        padded = g.new_zeros(batch, side + 4, side + 4, channels)
        for row in range(5):
            for column in range(5):
                padded[:, row : row + side : 2, column : column + side : 2] += spread[:, :, :, row, column]
        return padded[:, 2:-2, 2:-2], g.T @ patches
