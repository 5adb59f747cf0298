"""Who says what an edit shows: the independent judge, and the model's own face network, under one interface."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.models.networks import FaceNetwork
from exprgan.photo.image_io import from_bytes

from ..data import FaceFolder
from .intensity_regressor import IntensityRegressor
from .reference_network import ReferenceNetwork

PART = 64
"""Pictures judged at once."""


@dataclass(frozen=True)
class Judgement:
    """What a judge says of N pictures."""

    certainty: Tensor
    """(N, K + 1) probabilities, neutral last."""
    embedding: Tensor
    """(N, E) unit vectors: the person."""
    strength: Tensor
    """(N, K): how strong each expression looks, about 0..1."""
    pooled: Tensor
    """(N, F): means of the last map, the features behind FID and KID."""

    @property
    def label(self) -> Tensor:
        """(N,): the likeliest of K + 1."""
        return self.certainty.argmax(1)


class Evaluator:
    """Judges pictures (N, 3, S, S) uint8.

    Attributes:
        name: its key in results.json.
        described: what it is, in a few words.
        seen: whether training of the model used it.
    """

    name: str
    described: str
    seen: bool

    def __init__(self, network: torch.nn.Module):
        self.network = network

    def __call__(self, pictures: Tensor) -> Judgement:
        """What it says of pictures (N, 3, S, S) uint8, on the CPU."""
        parts = [self._judge(maps) for maps in self._maps(pictures)]
        return Judgement(*(torch.cat(column).float().cpu() for column in zip(*parts, strict=True)))

    def distances(self, one: Tensor, other: Tensor) -> np.ndarray:
        """How unlike pictures look, pair by pair: (N,).

        The maps of every stage are made unit vectors over the channels; squared differences are added over the channels,
        averaged over the places and over the stages. 0 is the same picture, 2 would be opposite everywhere.
        """
        found = []
        for a, b in zip(self._maps(one), self._maps(other), strict=True):
            apart = [(F.normalize(u, dim=1) - F.normalize(v, dim=1)).square().sum(1).mean((1, 2))
                     for u, v in zip(a, b, strict=True)]  # fmt: skip
            found.append(torch.stack(apart).mean(0).cpu())
        return torch.cat(found).numpy()

    @torch.inference_mode()
    def _maps(self, pictures: Tensor) -> Iterator[list[Tensor]]:
        """The maps of every stage, of PART pictures at a time."""
        device = next(self.network.parameters()).device
        for part in pictures.split(PART):
            yield self.network.maps(self._fitted(part.to(device)))

    def _fitted(self, pictures: Tensor) -> Tensor:
        raise NotImplementedError

    def _judge(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        raise NotImplementedError


class ReferenceEvaluator(Evaluator):
    """The network that no training saw.

    Args:
        network: as `read_judge` returns it.
        told: what its file says of it.
    """

    name, seen = "independent", False

    def __init__(self, network: ReferenceNetwork, told: dict[str, Any]):
        super().__init__(network.to(memory_format=torch.channels_last))
        self.told = told
        self.described = f"a residual network at {network.size} px, trained on the set's own pictures of training people"

    def _fitted(self, pictures: Tensor) -> Tensor:
        return self.network.fitted(pictures).contiguous(memory_format=torch.channels_last)

    def _judge(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        pooled = maps[-1].mean((2, 3))
        with torch.inference_mode():
            logits, embedding, strength = self.network.heads(pooled)
        certainty = logits.softmax(1)
        return certainty, embedding, strength if self.told.get("strength", True) else certainty[:, :-1], pooled


class OwnEvaluator(Evaluator):
    """The model's own face network: classifier, source of L_id, and what the slider was calibrated with.

    Args:
        network: the model's classifier.
        strength: a regressor of the set's true intensities on its features; without one its certainty stands in.
    """

    name, seen = "own", True

    def __init__(self, network: FaceNetwork, strength: IntensityRegressor | None = None):
        super().__init__(network)
        self.strength = strength
        self.described = f"the model's own face network, plain blocks at {network.size} px, which training used for L_id"

    def _fitted(self, pictures: Tensor) -> Tensor:
        x = from_bytes(pictures)
        return F.adaptive_avg_pool2d(x, self.network.size) if x.shape[-1] > self.network.size else x

    def _judge(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        pooled = maps[-1].mean((2, 3))
        with torch.inference_mode():
            certainty = self.network.expression(pooled).softmax(1)
            embedding = F.normalize(self.network.identity(pooled), dim=1)
        if not self.strength:
            return certainty, embedding, certainty[:, :-1], pooled
        seen = self.strength.all_of(torch.cat([m.mean((2, 3)) for m in maps[-2:]], dim=1).cpu().numpy())
        return certainty, embedding, torch.from_numpy(seen), pooled


def on_real_pictures(judge: Evaluator, people: FaceFolder, strong: float) -> dict[str, float]:
    """How good a judge is: on the set's own pictures of people it was not trained on.

    Args:
        strong: from this intensity on, pictures count as full expressions.

    Returns:
        accuracy of K + 1 classes, of all pictures and of full expressions; r of strength and true intensity; mean cosine
        of two pictures of one person and of two people; and how often the former is the larger (`verification`).
    """
    said = judge(people.images)
    right = (said.label == people.expression).float()
    calm = people.expression == len(people.expressions)
    full = calm | people.intensity.isnan() | (people.intensity >= strong)
    found = {"accuracy": right.mean().item(), "accuracy_of_full": right[full].mean().item()}
    known = ~calm & ~people.intensity.isnan()
    if known.any():
        seen = said.strength[known, people.expression[known]]
        found["intensity_r"] = float(np.corrcoef(seen, people.intensity[known])[0, 1])
    cosine = said.embedding @ said.embedding.T
    same = people.subject[:, None] == people.subject[None]
    apart = people.expression[:, None] != people.expression[None]
    mine, others = cosine[same & apart].sort().values, cosine[~same].sort().values
    found |= {"same_person": mine.mean().item(), "other_people": others.mean().item()}
    return found | {"verification": (torch.searchsorted(others, mine) / max(1, len(others))).mean().item()}
