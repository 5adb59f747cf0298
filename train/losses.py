"""Eq. 5-10 as a table: a loss term is one decorated function with a weight for each stage.

`total` adds up one player's terms; a term of weight 0 is not computed, nor is anything that only it would need.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import STAGES

Player = Literal["G", "D_img", "D_z"]
"""Who minimises a term: G is G_enc and G_dec, D_img owns Q."""


@dataclass(frozen=True)
class Nets:
    """The networks as they are called in training, wrapped for devices and processes."""

    G_enc: nn.Module
    G_dec: nn.Module
    D_img: nn.Module
    D_z: nn.Module
    phi: Callable[[Tensor], list[Tensor]]
    """phi_l of eq. 7: pictures -> maps of the frozen face network."""


class Pass:
    """What the networks make of one batch. Everything is computed at first use.

    Args:
        nets: the networks.
        x: (B, 3, H, W) in [-1, 1].
        y: (B, K) one-hot.
        c: (B, K * d), drawn by F_ctrl for y.
        z_prior: (B, z_dim), drawn from P_z.
        encodes: False in the controller stage, where noise takes g(x)'s place.
    """

    def __init__(self, nets: Nets, x: Tensor, y: Tensor, c: Tensor, z_prior: Tensor, *, encodes: bool = True):
        self.nets, self.x, self.y, self.c, self.z_prior, self.encodes = nets, x, y, c, z_prior, encodes

    def detached(self) -> "Pass":
        """The same batch for the discriminators' turn: x_hat and z stand fixed, what reads them is computed anew."""
        other = Pass(self.nets, self.x, self.y, self.c, self.z_prior, encodes=self.encodes)
        other.z, other.x_hat = self.z.detach(), self.x_hat.detach()
        return other

    @cached_property
    def z(self) -> Tensor:
        return self.nets.G_enc(self.x) if self.encodes else self.z_prior

    @cached_property
    def x_hat(self) -> Tensor:
        return self.nets.G_dec(self.z, self.c)

    @cached_property
    def _fake(self) -> tuple[Tensor, Tensor]:
        return self.nets.D_img(self.x_hat, self.y)

    @property
    def fake_logits(self) -> Tensor:
        return self._fake[0]

    @property
    def c_hat(self) -> Tensor:
        return self._fake[1]

    @cached_property
    def real_logits(self) -> Tensor:
        return self.nets.D_img(self.x, self.y)[0]

    @cached_property
    def z_logits(self) -> Tensor:
        return self.nets.D_z(self.z)

    @cached_property
    def prior_logits(self) -> Tensor:
        return self.nets.D_z(self.z_prior)


@dataclass(frozen=True)
class Term:
    """One row of the table."""

    function: Callable[[Pass], Tensor]
    player: Player
    weight: dict[str, float]


TERMS: dict[str, Term] = {}


def term(player: Player, weight: tuple[float, float, float]) -> Callable:
    """Files a loss under its function's name, with its weight in the three stages."""

    def file(function: Callable[[Pass], Tensor]) -> Callable[[Pass], Tensor]:
        TERMS[function.__name__] = Term(function, player, dict(zip(STAGES, weight, strict=True)))
        return function

    return file


def weights_of(stage: str, overrides: Mapping[str, float] | None = None) -> dict[str, float]:
    """Every term's weight in a stage; overrides replace those that are not 0 in it.

    Raises:
        ValueError: an override names no term.
    """
    overrides = overrides or {}
    if unknown := sorted(overrides.keys() - TERMS.keys()):
        raise ValueError(f"no loss term is called {unknown[0]!r}; there are {', '.join(TERMS)}")
    table = {name: row.weight[stage] for name, row in TERMS.items()}
    return {name: overrides.get(name, weight) if weight else 0.0 for name, weight in table.items()}


def total(player: Player, weights: Mapping[str, float], p: Pass) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Sum of weight x term over one player's terms, and the unweighted terms by name for the log. None: nothing to do."""
    active = {name: row for name, row in TERMS.items() if row.player == player and weights[name]}
    if not active:
        return None, {}
    parts = {name: row.function(p) for name, row in active.items()}
    loss = sum(weights[name] * part for name, part in parts.items())
    return loss, {name: part.detach() for name, part in parts.items()}


@term("G", weight=(0, 1, 1))
def pixel(p: Pass) -> Tensor:
    """Pixel loss, eq. 6: mean |x_hat - x|."""
    return F.l1_loss(p.x_hat, p.x)


@term("G", weight=(0, 1, 1))
def identity(p: Pass) -> Tensor:
    """Identity loss, eq. 7: sum over l of the mean |phi_l(x_hat) - phi_l(x)|, beta_l = 1. lambda_1 = 1."""
    with torch.no_grad():
        wanted = p.nets.phi(p.x)
    return torch.stack([F.l1_loss(a, b) for a, b in zip(p.nets.phi(p.x_hat), wanted, strict=True)]).sum()


@term("G", weight=(1, 0.1, 1))
def code(p: Pass) -> Tensor:
    """L_Q, eq. 5, fixed variance: squared error of c_hat, mean over d and the batch, summed over the K branches.

    lambda_2 = 1. The weight of the reconstruct stage is "decreased" in the paper, without a number.
    """
    return _squared_error(p.c_hat, p.c, p.y.shape[1])


@term("G", weight=(1, 0, 0.01))
def adversarial_img(p: Pass) -> Tensor:
    """G against D_img, eq. 9, non-saturating: x_hat should be taken for real. lambda_3 = 0.01."""
    return _bce(p.fake_logits, 1.0)


@term("G", weight=(0, 0, 0.01))
def adversarial_z(p: Pass) -> Tensor:
    """G_enc against D_z, eq. 8, non-saturating: g(x) should be taken for a draw from P_z. lambda_4 = 0.01."""
    return _bce(p.z_logits, 1.0)


@term("G", weight=(0, 0, 0.001))
def total_variation(p: Pass) -> Tensor:
    """L_tv: squared differences of neighbours, summed over each picture, / side, mean over the batch. lambda_5 = 0.001."""
    rows, columns = p.x_hat.diff(dim=2).square(), p.x_hat.diff(dim=3).square()
    return (rows.sum() + columns.sum()) / (p.x_hat.shape[-1] * len(p.x_hat))


@term("D_img", weight=(1, 0, 1))
def discriminate_img(p: Pass) -> Tensor:
    """D_img, eq. 9: real pictures 1, decoded ones 0."""
    return _bce(p.real_logits, 1.0) + _bce(p.fake_logits, 0.0)


@term("D_img", weight=(1, 0.1, 1))
def read_code(p: Pass) -> Tensor:
    """Q learns to read c from decoded pictures, eq. 5; D_img's optimiser owns Q."""
    return _squared_error(p.c_hat, p.c, p.y.shape[1])


@term("D_z", weight=(0, 0, 1))
def discriminate_z(p: Pass) -> Tensor:
    """D_z, eq. 8: draws from P_z 1, g(x) 0."""
    return _bce(p.prior_logits, 1.0) + _bce(p.z_logits, 0.0)


def _bce(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def _squared_error(c_hat: Tensor, c: Tensor, num_expressions: int) -> Tensor:
    return F.mse_loss(c_hat, c) * num_expressions  # the mean over K * d, times K, is the sum over K of means over d
