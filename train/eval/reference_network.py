"""The reference network: measures edits (`evaluate`) and is used by no training of ExprGAN.

It differs from the model's own face network in all that matters: residual blocks with squeeze-and-excitation instead of
plain blocks, 80 px instead of 64, other augmentation, another seed, and a third head for strength. An edit that misleads
the one, because training optimised for it, need not mislead the other.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from exprgan.errors import WeightsError
from exprgan.models.exprgan import read_weights
from exprgan.models.model_card import JUDGE_NAME
from exprgan.photo.image_io import from_bytes

from ..core.files import write_weights

EMBEDDING_DIM = 64


class ReferenceNetwork(nn.Module):
    """A small residual network with three heads: expression (K + 1), identity (unit vectors) and strength (K).

    Args:
        num_expressions: K.
        width: channels of the first stage; each of the other two doubles them.
        size: side of its input in px.
    """

    def __init__(self, num_expressions: int, width: int = 32, size: int = 80):
        super().__init__()
        self.width, self.size = width, size
        channels = [width, 2 * width, 4 * width]
        self.stem = nn.Sequential(nn.Conv2d(3, width, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.SiLU())
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(b), SEResidualBlock(b), SEResidualBlock(b),
            )
            for a, b in itertools.pairwise([width, *channels])
        )  # fmt: skip
        self.expression = nn.Linear(channels[-1], num_expressions + 1)
        self.identity = nn.Linear(channels[-1], EMBEDDING_DIM)
        self.strength = nn.Linear(channels[-1], num_expressions)

    def maps(self, x: Tensor) -> list[Tensor]:
        """x: (B, 3, size, size) in [-1, 1] -> feature maps of the stem and the three stages; each halves the side."""
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps

    def heads(self, pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Spatial means of the last map (B, 4 * width) -> logits, unit vectors, strength.

        Logits are (B, K + 1), neutral last; unit vectors (B, E); strength (B, K), about 0..1.
        """
        return self.expression(pooled), F.normalize(self.identity(pooled).float(), dim=1), self.strength(pooled)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: (B, 3, size, size) in [-1, 1] -> the output of `heads`."""
        return self.heads(self.maps(x)[-1].mean((2, 3)))

    def preprocess(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) uint8 -> (N, 3, size, size) in [-1, 1]."""
        x = from_bytes(images)
        if x.shape[-1] == self.size:
            return x
        return F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False).clamp(-1, 1)


class SEResidualBlock(nn.Module):
    """Two 3x3 convolutions with squeeze-and-excitation (`look`), and a skip connection."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.end = nn.BatchNorm2d(channels)
        self.look = nn.Sequential(nn.Linear(channels, channels // 4), nn.SiLU(), nn.Linear(channels // 4, channels))
        nn.init.zeros_(self.end.weight)

    def forward(self, h: Tensor) -> Tensor:
        """h: (B, C, H, W) -> the same shape."""
        residual = self.end(self.second(F.silu(self.norm(self.first(h)))))
        return F.silu(h + residual * self.look(residual.mean((2, 3))).sigmoid()[:, :, None, None])


def save_reference_network(network: ReferenceNetwork, path: Path, expressions: Sequence[str], info: dict[str, Any]) -> None:
    """Writes the network in fp16, with its configuration and `info` as JSON in the file's metadata."""
    state = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in network.state_dict().items()}
    info = {"expressions": list(expressions), "width": network.width, "size": network.size} | info
    write_weights(state, path, {"judge": json.dumps(info)})


def load_reference_network(path: str | Path, expressions: Sequence[str]) -> tuple[ReferenceNetwork, dict[str, Any]]:
    """Reads the network, frozen and in evaluation mode, and the info in its file's metadata.

    Args:
        path: judge.safetensors, or its folder.
        expressions: the names of the K expressions that it must know, in this order.

    Raises:
        WeightsError: there is no such file, it is damaged or of another kind, or it knows other expressions.
    """
    file = Path(path) / JUDGE_NAME if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise WeightsError(f"there is no judge at {path}; train one with `python -m train judge DATA --out {path}`")
    weights = read_weights(file)
    with safe_open(file, "pt") as opened:
        info = json.loads((opened.metadata() or {}).get("judge", "{}"))
    if not info:
        raise WeightsError(f"{file} is no judge, which `python -m train judge` writes; name another file")
    if info["expressions"] != list(expressions):
        known, wanted = ", ".join(info["expressions"]), ", ".join(expressions)
        raise WeightsError(f"the judge in {file} knows {known}, not {wanted}; train another")
    network = ReferenceNetwork(len(expressions), info["width"], info["size"])
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise WeightsError(f"{file} does not fit this version's judge; train another") from error
    if not all(torch.isfinite(tensor).all() for tensor in network.state_dict().values()):
        raise WeightsError(f"{file} holds NaN or infinity; train another judge")
    return network.eval().requires_grad_(False), info
