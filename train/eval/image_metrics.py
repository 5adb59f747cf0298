"""Distances between images and between sets of features, as plain numbers of plain arrays."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.photo.image_io import LUMA

WINDOW_PX, SIGMA_PX = 11, 1.5
"""SSIM's Gaussian window (Wang et al., 2004)."""


def l1(first: Tensor, second: Tensor) -> np.ndarray:
    """Mean absolute difference of images (N, 3, S, S) uint8, pair by pair, as a share of the full range: (N,) in [0, 1]."""
    return (first.float() - second.float()).abs().mean((1, 2, 3)).numpy() / 255


def ssim(first: Tensor, second: Tensor) -> np.ndarray:
    """Structural similarity of the luma of images (N, 3, S, S) uint8, pair by pair: (N,), 1 for equal images.

    Wang et al. (2004), with their constants; S is at least 11 px.
    """
    offsets = torch.arange(WINDOW_PX, dtype=torch.float64) - WINDOW_PX // 2
    line = torch.exp(-offsets.square() / (2 * SIGMA_PX**2))
    window = (line[:, None] * line[None] / line.sum() ** 2)[None, None]
    a, b = ((images.double() * images.new_tensor(LUMA, dtype=torch.float64)[:, None, None]).sum(1, keepdim=True) / 255
            for images in (first, second))  # fmt: skip
    mean_a, mean_b, aa, bb, ab = (F.conv2d(x, window) for x in (a, b, a * a, b * b, a * b))
    var_a, var_b, covariance = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (numerator / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean((1, 2, 3)).numpy()


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Fréchet distance of Gaussians fitted to features (N, F) and (M, F); FID if a network computed the features.

    NaN for fewer than two of either.
    """
    if min(len(first), len(second)) < 2:
        return math.nan
    a, b = first.double().numpy(), second.double().numpy()
    values, vectors = np.linalg.eigh(np.cov(a, rowvar=False))
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    product = root @ np.cov(b, rowvar=False) @ root
    cross = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(0)).sum()
    means = np.square(a.mean(0) - b.mean(0)).sum()
    return float(means + a.var(0, ddof=1).sum() + b.var(0, ddof=1).sum() - 2 * cross)


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """Squared maximum mean discrepancy of features (N, F) and (M, F) under the kernel (a.b / F + 1)^3: KID.

    The estimate is unbiased, so it does not grow when there are few images; it can fall slightly below 0.
    """
    a, b = first.double(), second.double()

    def kernel(u: Tensor, v: Tensor) -> Tensor:
        return (u @ v.T / u.shape[1] + 1) ** 3

    def mean_off_diagonal(u: Tensor) -> Tensor:
        k = kernel(u, u)
        return (k.sum() - k.diagonal().sum()) / (len(u) * (len(u) - 1))

    return float(mean_off_diagonal(a) + mean_off_diagonal(b) - 2 * kernel(a, b).mean())
