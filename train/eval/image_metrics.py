"""Distances between pictures, and between sets of pictures: plain numbers of plain arrays."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.photo.image_io import LUMA

WINDOW, SIGMA = 11, 1.5
"""SSIM's Gaussian window in px (Wang et al., 2004)."""


def l1(one: Tensor, other: Tensor) -> np.ndarray:
    """Mean absolute difference of pictures (N, 3, S, S) uint8, pair by pair, in [0, 1] of the full range: (N,)."""
    return (one.float() - other.float()).abs().mean((1, 2, 3)).numpy() / 255


def ssim(one: Tensor, other: Tensor) -> np.ndarray:
    """Structural similarity of the brightness of pictures (N, 3, S, S) uint8, pair by pair: (N,), 1 for the same.

    Wang et al. (2004), with their constants; S is at least 11 px.
    """
    place = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    line = torch.exp(-place.square() / (2 * SIGMA**2))
    window = (line[:, None] * line[None] / line.sum() ** 2)[None, None]
    a, b = ((picture.double() * picture.new_tensor(LUMA, dtype=torch.float64)[:, None, None]).sum(1, keepdim=True) / 255
            for picture in (one, other))  # fmt: skip
    mean_a, mean_b, aa, bb, ab = (F.conv2d(x, window) for x in (a, b, a * a, b * b, a * b))
    spread_a, spread_b, shared = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * mean_a * mean_b + c1) * (2 * shared + c2)
    return (alike / ((mean_a**2 + mean_b**2 + c1) * (spread_a + spread_b + c2))).mean((1, 2, 3)).numpy()


def frechet(one: Tensor, other: Tensor) -> float:
    """Fréchet distance of two sets of features (N, F) and (M, F), taken for Gaussians: FID, where a network made them."""
    a, b = one.double().numpy(), other.double().numpy()
    root = _root(np.cov(a, rowvar=False))
    between = root @ np.cov(b, rowvar=False) @ root
    cross = np.sqrt(np.linalg.eigvalsh((between + between.T) / 2).clip(0)).sum()
    means = np.square(a.mean(0) - b.mean(0)).sum()
    return float(means + a.var(0, ddof=1).sum() + b.var(0, ddof=1).sum() - 2 * cross)


def kernel_distance(one: Tensor, other: Tensor) -> float:
    """Squared maximum mean discrepancy of features (N, F) and (M, F) under the kernel (a.b / F + 1)^3: KID.

    Unbiased, so that few pictures do not make it larger; it can fall a little below 0.
    """
    a, b = one.double(), other.double()

    def kernel(u: Tensor, v: Tensor) -> Tensor:
        return (u @ v.T / u.shape[1] + 1) ** 3

    def within(u: Tensor) -> Tensor:
        k = kernel(u, u)
        return (k.sum() - k.diagonal().sum()) / (len(u) * (len(u) - 1))

    return float(within(a) + within(b) - 2 * kernel(a, b).mean())


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(values.clip(0)) @ vectors.T
