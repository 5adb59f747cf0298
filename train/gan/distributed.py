"""What several processes need: losses whose gradients they average, and batch norm over the pictures of all."""

import copy
import warnings
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import nn

from exprgan.models.exprgan import ExprGAN

from ..core.train_errors import RunError
from .gan_losses import PLAYERS, Player, PlayerLoss, TrainBatch, is_active, total_loss


def prepare_losses(
    accelerator: Accelerator, model: ExprGAN, weights: Mapping[str, float], batch: TrainBatch
) -> dict[Player, nn.Module]:
    """The losses of the players that have one, as modules whose gradients all processes average.

    DistributedDataParallel waits for the gradient of every parameter that it knows, and would search the graph of each step
    for those that get none, such as G_enc's in the first stage. These are found once, here, and kept from it.

    Args:
        weights: of the stage.
        batch: of the stage; its values do not matter. The running statistics of batch norm are left as they are.
    """
    values = [buffer.clone() for buffer in model.buffers()]
    batch = copy.copy(batch)  # whose outputs are computed here and not kept
    losses: dict[Player, nn.Module] = {}
    for player in (player for player in PLAYERS if is_active(player, weights)):
        loss = PlayerLoss(player, model)
        select_player(model, player)
        if accelerator.num_processes > 1:
            parameters = list(loss.parameters())
            total, _ = total_loss(player, weights, batch)
            gradients = torch.autograd.grad(total, parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.requires_grad_(gradient is not None)
            batch = batch.detached()
        with warnings.catch_warnings():  # torch 2.14 has another name for broadcast_buffers, accelerate 1.15 has not
            warnings.simplefilter("ignore", FutureWarning)
            losses[player] = accelerator.prepare_model(loss)
    for buffer, value in zip(model.buffers(), values, strict=True):
        buffer.copy_(value)
    return losses


def select_player(model: ExprGAN, player: Player) -> None:
    """Lets gradients reach the networks of one player alone."""
    for other, names in PLAYERS.items():
        for name in names:
            getattr(model, name).requires_grad_(other == player)


def synchronise_batch_norm(model: ExprGAN, device: torch.device, processes: int) -> None:
    """Replaces the discriminators' batch norm by one whose mean and variance are those of all processes' pictures.

    Raises:
        RunError: there are several processes and no GPU, where torch has none.
    """
    if processes > 1 and device.type == "cpu":
        raise RunError("--sync-batch-norm needs GPUs: torch has no batch norm over several processes on CPUs; leave it out")
    for name in ("D_img", "D_z"):
        setattr(model, name, nn.SyncBatchNorm.convert_sync_batchnorm(getattr(model, name)))
