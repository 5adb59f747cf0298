"""New people: where z comes from when there is no photo.

The paper draws z ~ P_z = U(-1, 1), to which D_z brings g(x) near (eq. 8), but not all the way: with some hundred people
most of the cube [-1, 1]^50 is nobody's, and the decoder shows stains there. So, after training, a Gaussian is laid over
the atanh(g(x)) of training people (ex-post density estimation, Ghosh et al., 2020), and new people are drawn from it.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

Prior = Literal["people", "uniform"]
"""`people`: like those that were trained on, if that was measured, else as `uniform`: P_z, the paper's."""
NEARLY_ONE = 0.999
"""atanh of more would be far out."""


class LatentPrior:
    """Draws z of people who do not exist.

    Args:
        z_dim: numbers in z.
        mean: z_dim numbers, the mean of atanh(g(x)); empty: it was not measured.
        spread: a Cholesky factor of its covariance, lower triangle row by row, z_dim (z_dim + 1) / 2 numbers.
    """

    def __init__(self, z_dim: int, mean: tuple[float, ...] = (), spread: tuple[float, ...] = ()):
        self.z_dim, self.mean, self.spread = z_dim, mean, spread

    def draw(self, count: int, chance: torch.Generator, prior: Prior = "people") -> Tensor:
        """So many z: (count, z_dim) in [-1, 1], on the CPU.

        Raises:
            ValueError: an unknown prior.
        """
        if prior not in get_args(Prior):
            raise ValueError(f"prior must be {' or '.join(get_args(Prior))}, not {prior!r}")
        if prior == "uniform" or not self.mean:
            return torch.rand(count, self.z_dim, generator=chance) * 2 - 1
        factor = torch.zeros(self.z_dim, self.z_dim)
        rows, columns = torch.tril_indices(self.z_dim, self.z_dim)
        factor[rows, columns] = torch.tensor(self.spread)
        return torch.tanh(torch.tensor(self.mean) + torch.randn(count, self.z_dim, generator=chance) @ factor.T)


def fit_latent_prior(z: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`mean` and `spread` of `LatentPrior` like those whose g(x) is given: z (N, z_dim) in [-1, 1]."""
    flat = torch.atanh(z.double().clamp(-NEARLY_ONE, NEARLY_ONE))
    covariance = torch.cov(flat.T).reshape(z.shape[1], -1) + 1e-4 * torch.eye(z.shape[1])
    rows, columns = torch.tril_indices(z.shape[1], z.shape[1])
    factor = torch.linalg.cholesky(covariance)[rows, columns]
    return tuple(tuple(round(number, 4) for number in part.tolist()) for part in (flat.mean(0), factor))
