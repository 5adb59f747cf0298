"""The trainer as one would first write it from the paper: the form that speed and results are compared with.

Codes as maps that are concatenated, nearest upsampling then 3x3, plain convolutions, batch norm left as it is in the frozen
face network, torch's default memory format, allocator and Adam, a loop for the running average. Same weights, same batches,
same autocast, and the generated batch is used again for the discriminators.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

import train.gan.gan_trainer
from exprgan.models.networks import ConditionedConv, Decoder, Encoder, ImageDiscriminator
from train.gan.gan_losses import PLAYERS, Loss, Nets, Pass
from train.gan.gan_trainer import Trainer


def direct(layer: ConditionedConv, h: Tensor, condition: Tensor) -> Tensor:
    """A conditioned convolution: constant maps, concatenation, upsampling, convolution."""
    maps = condition.to(h.dtype)[:, :, None, None].expand(-1, -1, *h.shape[-2:])
    h = torch.cat((h, maps), dim=1)
    h = F.interpolate(h, scale_factor=2.0, mode="nearest") if layer.upsample else h
    return F.conv2d(h, layer.weight, stride=layer.stride, padding=layer.weight.shape[-1] // 2)


class DirectEncoder(Encoder):
    """G_enc."""

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = F.relu(block(x))
        return torch.tanh(self.fc(x.flatten(1)))


class DirectDecoder(Decoder):
    """G_dec."""

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        h = F.relu(self.fc(torch.cat((z, c.repeat(1, 8)), dim=1))).unflatten(1, (-1, 4, 4))
        *hidden, last = self.blocks
        for block in hidden:
            h = F.relu(direct(block, h, c))
        return torch.tanh(direct(last, h, c))


class DirectImageDiscriminator(ImageDiscriminator):
    """D_img with Q."""

    def trunk(self, x: Tensor, y: Tensor) -> Tensor:
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = F.leaky_relu(norm(direct(block, x, y)), 0.2)
        h = F.leaky_relu(self.fc_norm(self.fc(torch.cat((x.flatten(1), y), dim=1))), 0.2)
        return torch.cat((h, y), dim=1)


DIRECT = {"G_enc": DirectEncoder, "G_dec": DirectDecoder, "D_img": DirectImageDiscriminator}


class DirectTrainer(Trainer):
    """The trainer on these forms."""

    def __init__(self, data, config):
        train.gan.gan_trainer.keep_memory = lambda: False
        super().__init__(data, config)
        self.model.to(memory_format=torch.contiguous_format)
        self.model = copy.deepcopy(self.model)
        for name, form in DIRECT.items():
            getattr(self.model, name).__class__ = form  # same weights, another forward
        parts = (getattr(self.model, name) for name in ("G_enc", "G_dec", "D_img", "D_z"))
        self.nets = Nets(*parts, phi=self._maps)
        self.losses = {player: self.accelerator.prepare_model(Loss(player, self.nets)) for player in PLAYERS}

    def _maps(self, x: Tensor) -> list[Tensor]:
        seen = [F.adaptive_avg_pool2d(x, size) if x.shape[-1] > size else x for size in self.config.identity_sizes]
        return [part for picture in seen for part in self.model.classifier.maps(picture)]

    def _new_optimizers(self):
        def adam(names):
            parameters = [p for name in names for p in getattr(self.model, name).parameters()]
            return torch.optim.Adam(parameters, lr=self.config.lr, betas=(0.5, 0.999))

        return {player: self.accelerator.prepare_optimizer(adam(names)) for player, names in PLAYERS.items()}

    def _pass(self, stage: str, part: int = 0) -> Pass:
        p = super()._pass(stage, part)
        p.x = p.x.contiguous()
        return p

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name in PLAYERS["G"]:
            pairs = zip(getattr(self.ema, name).parameters(), getattr(self.model, name).parameters(), strict=True)
            for mean, now in pairs:
                mean.lerp_(now, 1 - decay)
