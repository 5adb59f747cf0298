"""The prior of z for generating new people.

The uniform prior P_z of the paper covers all of [-1, 1]^z_dim, but g(x) of training people fills only a small part of it,
and elsewhere the decoder shows stains. After training a Gaussian is therefore fitted to atanh(g(x)) of training people
(ex-post density estimation, Ghosh et al. 2020), and new people are sampled from it.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import check_choice
from .blocks import CalibratedModule

Prior = Literal["people", "uniform"]
"""`people`: the Gaussian fitted to training people, or `uniform` if none was; `uniform`: the paper's P_z = U(-1, 1)."""
MAX_ABS_Z = 0.999  # g(x) is clamped to this before atanh, which is unbounded at 1


RANDN_BLOCK = 16
"""torch.randn draws blocks of so many numbers, and the last ones anew if they fill no block."""


class LatentPrior(CalibratedModule):
    """Samples z. Buffers: the mean of atanh(g(x)), (z_dim,), and the lower Cholesky factor of its covariance."""

    mean: Tensor
    cholesky: Tensor

    def __init__(self, z_dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(z_dim, dtype=torch.float64))
        self.register_buffer("cholesky", torch.zeros(z_dim, z_dim, dtype=torch.float64))

    @property
    def is_fitted(self) -> bool:
        """Whether `fit` was called, here or before the weights were published."""
        return bool(self.cholesky.any())

    def fit(self, z: Tensor) -> None:
        """Fits mean and covariance to z = g(x) of training people: (N, z_dim) in [-1, 1]."""
        flat = torch.atanh(z.double().clamp(-MAX_ABS_Z, MAX_ABS_Z))
        covariance = torch.cov(flat.T).reshape(z.shape[1], -1) + 1e-4 * torch.eye(z.shape[1])
        self.mean.copy_(flat.mean(0).round(decimals=4))
        self.cholesky.copy_(torch.linalg.cholesky(covariance).round(decimals=4))

    def reset(self) -> None:
        """Forgets the fit, as after further training of G_enc."""
        self.mean.zero_()
        self.cholesky.zero_()

    def sample(self, count: int, generator: torch.Generator, prior: Prior = "people") -> Tensor:
        """Samples z: (count, z_dim) float32 in [-1, 1], on the CPU; those of a smaller count come first in a larger one.

        ValueError: an unknown prior.
        """
        check_choice("prior", prior, get_args(Prior))
        if prior == "uniform" or not self.is_fitted:
            return torch.rand(count, len(self.mean), generator=generator) * 2 - 1
        mean, cholesky = self.mean.double().cpu(), self.cholesky.double().cpu()
        whole = -(-count // RANDN_BLOCK) * RANDN_BLOCK
        noise = torch.randn(whole, len(mean), generator=generator)[:count].double()
        return torch.tanh(mean + noise @ cholesky.T).float()  # in float64, or the last bit would depend on the count
