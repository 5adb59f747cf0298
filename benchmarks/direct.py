"""The training step as one would first write it from the paper: the form that speed and results are compared with.

Codes as maps that are concatenated, nearest upsampling then 3x3, plain convolutions, batch norm left as it is in the frozen
face network, torch's default memory format, allocator and Adam, a loop for the running average. Same weights, batches and
autocast as `Trainer`, and the generated images are used again for the discriminators.
"""

import copy
import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exprgan.export.plain_networks import PlainDecoder, PlainEncoder
from exprgan.models.networks import ConditionedConv, Decoder, Encoder
from train.gan import gan_trainer
from train.gan.gan_losses import PLAYERS, PlayerLoss, TrainBatch
from train.gan.gan_trainer import Trainer
from train.gan.train_config import TrainConfig


def concatenating_conv(layer: ConditionedConv, h: Tensor, condition: Tensor) -> Tensor:
    """A conditioned convolution by constant maps, concatenation, upsampling and convolution."""
    maps = condition.to(h.dtype)[:, :, None, None].expand(-1, -1, *h.shape[-2:])
    h = torch.cat((h, maps), dim=1)
    h = F.interpolate(h, scale_factor=2.0, mode="nearest") if layer.upsample else h
    return F.conv2d(h, layer.weight, stride=layer.stride, padding=layer.weight.shape[-1] // 2)


DIRECT_FORWARDS = {
    ConditionedConv: concatenating_conv, Encoder: PlainEncoder.forward, Decoder: PlainDecoder.forward,
}  # fmt: skip


def direct_copy(network: nn.Module) -> nn.Module:
    """Copies a network with the same parameters, but the direct forms of `forward`."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if type(module) in DIRECT_FORWARDS:
            module.forward = functools.partial(DIRECT_FORWARDS[type(module)], module)
    return network


class DirectTrainer(Trainer):
    """The trainer with the direct forms."""

    def __init__(self, data: str, config: TrainConfig):
        gan_trainer.keep_freed_memory = lambda: False
        gan_trainer.update_ema = update_ema_in_a_loop
        super().__init__(data, config)
        self.model = direct_copy(self.model.to(memory_format=torch.contiguous_format))
        self.phi = self._face_maps
        self.losses = {player: self.accelerator.prepare_model(PlayerLoss(player, self.model)) for player in PLAYERS}

    def _face_maps(self, x: Tensor) -> list[Tensor]:
        images = [F.adaptive_avg_pool2d(x, size) if x.shape[-1] > size else x for size in self.config.identity_sizes]
        return [maps for image in images for maps in self.model.classifier.maps(image)]

    def _new_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        def adam(names: tuple[str, ...]) -> torch.optim.Optimizer:
            parameters = [p for name in names for p in getattr(self.model, name).parameters()]
            return torch.optim.Adam(parameters, lr=self.config.lr, betas=(0.5, 0.999))

        return {player: self.accelerator.prepare_optimizer(adam(names)) for player, names in PLAYERS.items()}

    def _draw_batch(self, stage: str, part: int = 0) -> TrainBatch:
        batch = super()._draw_batch(stage, part)
        batch.x = batch.x.contiguous()
        return batch


@torch.no_grad()
def update_ema_in_a_loop(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """As `train.core.training_loop.update_ema`."""
    decay = min(decay, (1 + step) / (10 + step))
    for mean, now in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(now, 1 - decay)
