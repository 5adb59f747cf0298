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

from .train_config import STAGES

LAYERS = 5
"""Maps that phi of eq. 7 has."""
Player = Literal["G", "D_img", "D_z"]
"""Who minimises a term: G is G_enc and G_dec, D_img owns Q."""


@dataclass(frozen=True)
class Nets:
    """The networks as they are called in training."""

    G_enc: nn.Module
    G_dec: nn.Module
    D_img: nn.Module
    D_z: nn.Module
    phi: Callable[[Tensor], list[Tensor]]
    """phi_l of eq. 7: pictures -> maps of the frozen face network."""


class Pass:
    """What the networks make of one batch, as float32. Everything is computed at first use.

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
        return self.nets.G_enc(self.x).float() if self.encodes else self.z_prior

    @cached_property
    def x_hat(self) -> Tensor:
        return self.nets.G_dec(self.z, self.c).float()

    @cached_property
    def _fake(self) -> tuple[Tensor, Tensor]:
        logits, c_hat = self.nets.D_img(self.x_hat, self.y)
        return logits.float(), c_hat.float()

    @property
    def fake_logits(self) -> Tensor:
        return self._fake[0]

    @property
    def c_hat(self) -> Tensor:
        return self._fake[1]

    @cached_property
    def real_logits(self) -> Tensor:
        return self.nets.D_img(self.x, self.y)[0].float()

    @cached_property
    def z_logits(self) -> Tensor:
        return self.nets.D_z(self.z).float()

    @cached_property
    def prior_logits(self) -> Tensor:
        return self.nets.D_z(self.z_prior).float()


PLAYERS: dict[Player, tuple[str, ...]] = {"G": ("G_enc", "G_dec"), "D_img": ("D_img",), "D_z": ("D_z",)}
"""Which networks each player owns and moves; Q lives in D_img."""


class Loss(nn.Module):
    """A player: its networks as children, its loss as `forward`, so that one call is one pass of whatever wraps it.

    Args:
        player: whose loss.
        nets: all networks; the other players' are used, but belong to them.
    """

    def __init__(self, player: Player, nets: Nets):
        super().__init__()
        self.player = player
        self.owned = nn.ModuleDict({name: getattr(nets, name) for name in PLAYERS[player]})

    def forward(self, p: Pass, weights: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the player's terms on one batch, and the terms by name."""
        return total(self.player, weights, p)


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


def plays(player: Player, weights: Mapping[str, float]) -> bool:
    """Whether a player has anything to minimise under these weights."""
    return any(weights[name] for name, row in TERMS.items() if row.player == player)


def total(player: Player, weights: Mapping[str, float], p: Pass) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 10 and its counterparts: the sum of weight x term over one player's terms, and the unweighted terms by name."""
    parts = {name: row.function(p) for name, row in TERMS.items() if row.player == player and weights[name]}
    loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
    return loss, {name: part.detach() for name, part in parts.items()}


@term("G", weight=(0, 1, 1))
def pixel(p: Pass) -> Tensor:
    """Pixel loss, eq. 6: mean |x_hat - x|."""
    return _mean_distance(p.x_hat, p.x)


@term("G", weight=(0, 1, 1))
def identity(p: Pass) -> Tensor:
    """Identity loss, eq. 7: sum over l of the mean |phi_l(x_hat) - phi_l(x)|, beta_l = 1. lambda_1 = 1.

    Of several sizes at which phi looks (`features.SeveralSizes`), the mean.
    """
    with torch.no_grad():
        wanted = p.nets.phi(p.x)
    distances = [_mean_distance(a, b) for a, b in zip(p.nets.phi(p.x_hat), wanted, strict=True)]
    return torch.stack(distances).sum() * (LAYERS / len(distances))


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


def _mean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean |a - b| over everything. Not `mean`, whose gradient would come in another memory format than the maps have."""
    distance = (a - b).abs()
    distance = distance.float() if distance.dtype == torch.float16 else distance  # a sum of pixels can be too large for it
    return distance.sum((2, 3)).float().sum() / distance.numel()


def _squared_error(c_hat: Tensor, c: Tensor, num_expressions: int) -> Tensor:
    return F.mse_loss(c_hat, c) * num_expressions  # the mean over K * d, times K, is the sum over K of means over d
