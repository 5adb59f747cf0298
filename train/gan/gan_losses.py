"""The losses of eq. 5-10: each is one function, registered with its player and its weight in each stage.

`total_loss` sums one player's losses; a loss of weight 0 is not computed, nor is anything that only it needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exprgan.models.exprgan import ExprGAN

from .train_config import STAGES

NUM_MAPS = 5
"""Number of maps phi_l in eq. 7."""
Player = Literal["G", "D_img", "D_z"]
"""Who minimises a loss."""
PLAYERS: dict[Player, tuple[str, ...]] = {"G": ("G_enc", "G_dec"), "D_img": ("D_img",), "D_z": ("D_z",)}
"""Networks whose parameters each player optimises; Q is a part of D_img."""


class TrainBatch:
    """A batch and the networks' outputs for it, in float32, each computed at first use.

    Args:
        model: holds G_enc, G_dec, D_img and D_z.
        phi: phi_l of eq. 7, images -> maps of the frozen face network.
        x: (B, 3, H, W) in [-1, 1].
        y: (B, K) one-hot.
        c: (B, K * d), drawn by F_ctrl for y.
        z_prior: (B, z_dim), drawn from P_z.
        encode: False in the controller stage, where z_prior takes the place of g(x).
        tone: contrast and brightness of the grey copy that Q reads, (B, 1, 1, 1) each; used if D_img has `grey_codes`.
    """

    def __init__(self, model: ExprGAN, phi: Callable[[Tensor], list[Tensor]], x: Tensor, y: Tensor, c: Tensor,
                 z_prior: Tensor, *, encode: bool = True, tone: tuple[Tensor, Tensor] | None = None):  # fmt: skip
        self.model, self.phi, self.x, self.y, self.c, self.z_prior, self.encode = model, phi, x, y, c, z_prior, encode
        self.tone = tone

    def detached(self) -> "TrainBatch":
        """The same batch for the discriminators: z and x_hat are kept without gradients, all else is computed anew."""
        other = TrainBatch(self.model, self.phi, self.x, self.y, self.c, self.z_prior, encode=self.encode, tone=self.tone)
        other.z, other.x_hat = self.z.detach(), self.x_hat.detach()
        return other

    @cached_property
    def z(self) -> Tensor:
        return self.model.G_enc(self.x).float() if self.encode else self.z_prior

    @cached_property
    def x_hat(self) -> Tensor:
        return self.model.G_dec(self.z, self.c).float()

    @cached_property
    def _fake_trunk(self) -> Tensor:
        return self.model.D_img.trunk(self.x_hat, self.y)

    @cached_property
    def fake_logits(self) -> Tensor:
        return self.model.D_img.logits(self._fake_trunk).float()

    @cached_property
    def c_hat(self) -> Tensor:
        D_img = self.model.D_img
        return (D_img.read_code(self.x_hat, self.y, self.tone) if D_img.grey_codes else D_img.Q(self._fake_trunk)).float()

    @cached_property
    def real_logits(self) -> Tensor:
        return self.model.D_img.logits(self.model.D_img.trunk(self.x, self.y)).float()

    @cached_property
    def z_logits(self) -> Tensor:
        return self.model.D_z(self.z).float()

    @cached_property
    def prior_logits(self) -> Tensor:
        return self.model.D_z(self.z_prior).float()


@dataclass(frozen=True)
class Loss:
    """A registered loss."""

    function: Callable[[TrainBatch], Tensor]
    player: Player
    weights: dict[str, float]
    """Weight by stage."""
    optional: bool = False
    """Whether it counts only where `--weight` names it: it is not in the paper."""


LOSSES: dict[str, Loss] = {}


def register_loss(player: Player, weights: tuple[float, float, float], *, optional: bool = False) -> Callable:
    """Registers a loss under its function's name, with its weight in each of the three stages; see `Loss`."""

    def register(function: Callable[[TrainBatch], Tensor]) -> Callable[[TrainBatch], Tensor]:
        LOSSES[function.__name__] = Loss(function, player, dict(zip(STAGES, weights, strict=True)), optional)
        return function

    return register


def stage_weights(stage: str, overrides: Mapping[str, float] | None = None) -> dict[str, float]:
    """Every loss's weight in a stage. An override replaces a weight unless that is 0 in this stage; optional ones need it.

    Raises:
        ValueError: an override names no loss.
    """
    overrides = overrides or {}
    if unknown := sorted(overrides.keys() - LOSSES.keys()):
        raise ValueError(f"no loss term is called {unknown[0]!r}; there are {', '.join(LOSSES)}")
    weights = {
        name: 0.0 if loss.optional and name not in overrides else loss.weights[stage] for name, loss in LOSSES.items()
    }
    return {name: overrides.get(name, weight) if weight else 0.0 for name, weight in weights.items()}


def is_active(player: Player, weights: Mapping[str, float]) -> bool:
    """Whether any loss of this player has a weight above 0."""
    return any(weights[name] for name, loss in LOSSES.items() if loss.player == player)


def total_loss(player: Player, weights: Mapping[str, float], batch: TrainBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """Computes the weighted sum of a player's losses: eq. 10, and its counterpart for the discriminators.

    Returns:
        The sum, and the unweighted losses by name.
    """
    losses = {name: loss.function(batch) for name, loss in LOSSES.items() if loss.player == player and weights[name]}
    total = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
    return total, {name: value.detach() for name, value in losses.items()}


class PlayerLoss(nn.Module):
    """A player's total loss as a module with the player's networks as children, as DistributedDataParallel needs it.

    The other players' networks are used as well, but are no children.
    """

    def __init__(self, player: Player, model: ExprGAN):
        super().__init__()
        self.player = player
        self.networks = nn.ModuleDict({name: getattr(model, name) for name in PLAYERS[player]})

    def forward(self, batch: TrainBatch, weights: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
        """As `total_loss`."""
        return total_loss(self.player, weights, batch)


@register_loss("G", weights=(0, 1, 1))
def pixel(batch: TrainBatch) -> Tensor:
    """Pixel loss, eq. 6: mean |x_hat - x|."""
    return _mean_distance(batch.x_hat, batch.x)


@register_loss("G", weights=(0, 1, 1), optional=True)
def edges(batch: TrainBatch) -> Tensor:
    """Mean difference of the image gradients of x_hat and x, against blur and the grid that upsampling leaves."""
    return torch.stack([(batch.x_hat.diff(dim=d) - batch.x.diff(dim=d)).abs().mean() for d in (2, 3)]).sum()


@register_loss("G", weights=(0, 1, 1))
def identity(batch: TrainBatch) -> Tensor:
    """Identity loss, eq. 7: sum over l of the mean |phi_l(x_hat) - phi_l(x)|, beta_l = 1. lambda_1 = 1.

    If phi compares at several image sizes (`feature_maps.MultiScaleMaps`), the mean over the sizes.
    """
    with torch.no_grad():
        target = batch.phi(batch.x)
    distances = [_mean_distance(a, b) for a, b in zip(batch.phi(batch.x_hat), target, strict=True)]
    return torch.stack(distances).sum() * (NUM_MAPS / len(distances))


@register_loss("G", weights=(1, 0.1, 1))
def code(batch: TrainBatch) -> Tensor:
    """L_Q, eq. 5, fixed variance: squared error of c_hat, mean over d and the batch, summed over the K branches.

    lambda_2 = 1. The weight of the reconstruct stage is "decreased" in the paper, without a number.
    """
    return _squared_error(batch.c_hat, batch.c, batch.y.shape[1])


@register_loss("G", weights=(1, 0, 0.01))
def adversarial_img(batch: TrainBatch) -> Tensor:
    """G against D_img, eq. 9, non-saturating: D_img should classify x_hat as real. lambda_3 = 0.01."""
    return _bce(batch.fake_logits, 1.0)


@register_loss("G", weights=(0, 0, 0.01))
def adversarial_z(batch: TrainBatch) -> Tensor:
    """G_enc against D_z, eq. 8, non-saturating: D_z should classify g(x) as drawn from P_z. lambda_4 = 0.01."""
    return _bce(batch.z_logits, 1.0)


@register_loss("G", weights=(0, 0, 0.001))
def total_variation(batch: TrainBatch) -> Tensor:
    """L_tv: squared differences of neighbours, summed over each image, / side, mean over the batch. lambda_5 = 0.001."""
    vertical, horizontal = batch.x_hat.diff(dim=2).square(), batch.x_hat.diff(dim=3).square()
    return (vertical.sum() + horizontal.sum()) / (batch.x_hat.shape[-1] * len(batch.x_hat))


@register_loss("D_img", weights=(1, 0, 1))
def discriminate_img(batch: TrainBatch) -> Tensor:
    """D_img, eq. 9: real images 1, decoded ones 0."""
    return _bce(batch.real_logits, 1.0) + _bce(batch.fake_logits, 0.0)


@register_loss("D_img", weights=(1, 0.1, 1))
def read_code(batch: TrainBatch) -> Tensor:
    """Q learns to read c from decoded images, eq. 5; D_img's optimiser trains Q."""
    return _squared_error(batch.c_hat, batch.c, batch.y.shape[1])


@register_loss("D_z", weights=(0, 0, 1))
def discriminate_z(batch: TrainBatch) -> Tensor:
    """D_z, eq. 8: draws from P_z 1, g(x) 0."""
    return _bce(batch.prior_logits, 1.0) + _bce(batch.z_logits, 0.0)


def _bce(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def _mean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean |a - b| over all elements. The gradient of `mean` would not have the memory format of the maps."""
    distance = (a - b).abs()
    distance = distance.float() if distance.dtype == torch.float16 else distance  # sums over pixels overflow float16
    return distance.sum((2, 3)).float().sum() / distance.numel()


def _squared_error(c_hat: Tensor, c: Tensor, num_expressions: int) -> Tensor:
    return F.mse_loss(c_hat, c) * num_expressions  # the mean over K * d, times K, is the sum over K of means over d
