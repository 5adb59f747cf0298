"""Networks that measure what images show, under one interface: the independent reference network, and the model's own."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.models.networks import FaceNetwork

from ..data import FaceFolder
from .intensity_regressor import IntensityRegressor, pool_features, preprocess
from .reference_network import ReferenceNetwork

BATCH_SIZE = 64
Columns = tuple[Tensor, Tensor, Tensor, Tensor]
"""The fields of `Prediction`, of one batch."""


@dataclass(frozen=True)
class Prediction:
    """What an evaluator predicts on N images."""

    probabilities: Tensor
    """(N, K + 1), neutral last."""
    embedding: Tensor
    """(N, E): unit vectors of identity."""
    strength: Tensor
    """(N, K): estimated intensity of every expression, about 0..1."""
    pooled: Tensor
    """(N, F): spatial means of the last feature map, the features of FID and KID."""

    @property
    def label(self) -> Tensor:
        """(N,): the most probable of the K + 1 classes."""
        return self.probabilities.argmax(1)


class Evaluator:
    """Predicts expression, identity and intensity of images (N, 3, S, S) uint8.

    Attributes:
        name: its key in results.json.
        description: what it is, in a few words.
        used_in_training: whether training of the model used it.
    """

    name: str
    description: str
    used_in_training: bool

    def __init__(self, network: torch.nn.Module):
        self.network = network

    def __call__(self, images: Tensor) -> Prediction:
        """Prediction on images (N, 3, S, S) uint8, on the CPU."""
        batches = [self._predict(maps) for maps in self._feature_maps(images)]
        return Prediction(*(torch.cat(column).float().cpu() for column in zip(*batches, strict=True)))

    def distances(self, first: Tensor, second: Tensor) -> np.ndarray:
        """Feature distance of images, pair by pair: (N,), from 0 for equal images to at most 4.

        The feature maps of every stage are normalised to unit vectors over the channels. Squared differences are summed
        over the channels and averaged over the positions and the stages.
        """
        batches = []
        for a, b in zip(self._feature_maps(first), self._feature_maps(second), strict=True):
            stages = [(F.normalize(u, dim=1) - F.normalize(v, dim=1)).square().sum(1).mean((1, 2))
                      for u, v in zip(a, b, strict=True)]  # fmt: skip
            batches.append(torch.stack(stages).mean(0).cpu())
        return torch.cat(batches).numpy()

    @torch.inference_mode()
    def _feature_maps(self, images: Tensor) -> Iterator[list[Tensor]]:
        """The feature maps of every stage, of BATCH_SIZE images at a time."""
        device = next(self.network.parameters()).device
        for batch in images.split(BATCH_SIZE):
            yield self.network.maps(self._preprocess(batch.to(device)))

    def _preprocess(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 -> the network's input."""
        raise NotImplementedError

    def _predict(self, maps: list[Tensor]) -> Columns:
        raise NotImplementedError


class ReferenceEvaluator(Evaluator):
    """The reference network, which no training of the model uses.

    Args:
        network: as `load_reference_network` returns it.
        info: the metadata of its file.
    """

    name, used_in_training = "independent", False

    def __init__(self, network: ReferenceNetwork, info: dict[str, Any]):
        super().__init__(network.to(memory_format=torch.channels_last))
        self.info = info
        self.description = f"a residual network at {network.size} px, trained on the set's own pictures of training people"

    def _preprocess(self, images: Tensor) -> Tensor:
        return self.network.preprocess(images).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def _predict(self, maps: list[Tensor]) -> Columns:
        pooled = maps[-1].mean((2, 3))
        logits, embedding, strength = self.network.heads(pooled)
        probabilities = logits.softmax(1)
        return probabilities, embedding, strength if self.info.get("strength", True) else probabilities[:, :-1], pooled


class OwnEvaluator(Evaluator):
    """The model's own face network: its classifier, the source of L_id, and the basis of the slider's calibration.

    Args:
        network: the model's classifier.
        strength: a regressor of intensity on its features; without one the probabilities stand in for intensity.
    """

    name, used_in_training = "own", True

    def __init__(self, network: FaceNetwork, strength: IntensityRegressor | None = None):
        super().__init__(network)
        self.strength = strength
        self.description = f"the model's own face network, plain blocks at {network.size} px, which training used for L_id"

    def _preprocess(self, images: Tensor) -> Tensor:
        return preprocess(self.network, images)

    @torch.inference_mode()
    def _predict(self, maps: list[Tensor]) -> Columns:
        pooled = maps[-1].mean((2, 3))
        probabilities = self.network.expression(pooled).softmax(1)
        embedding = F.normalize(self.network.identity(pooled), dim=1)
        if not self.strength:
            return probabilities, embedding, probabilities[:, :-1], pooled
        return probabilities, embedding, torch.from_numpy(self.strength.predict(pool_features(maps))), pooled


def measure_evaluator(evaluator: Evaluator, faces: FaceFolder, min_intensity: float) -> dict[str, float]:
    """Measures an evaluator on the set's own pictures of people that it was not trained on.

    Args:
        min_intensity: pictures of at least this intensity count as full expressions.

    Returns:
        accuracy of the K + 1 classes, on all pictures and on full expressions; r of estimated and true intensity; mean
        cosine of two pictures of one person and of two people; and how often the former is larger (`verification`).
    """
    prediction = evaluator(faces.images)
    hits = (prediction.label == faces.expression).float()
    neutral, unknown = faces.expression == len(faces.expressions), faces.intensity.isnan()
    full = neutral | unknown | (faces.intensity >= min_intensity)
    numbers = {"accuracy": hits.mean().item(), "accuracy_of_full": hits[full].mean().item()}
    known = ~neutral & ~unknown
    if known.any():
        strength = prediction.strength[known, faces.expression[known]]
        numbers["intensity_r"] = float(np.corrcoef(strength, faces.intensity[known])[0, 1])
    cosine = prediction.embedding @ prediction.embedding.T
    same_person = faces.subject[:, None] == faces.subject[None]
    other_expression = faces.expression[:, None] != faces.expression[None]
    same, others = cosine[same_person & other_expression].sort().values, cosine[~same_person].sort().values
    numbers |= {"same_person": same.mean().item(), "other_people": others.mean().item()}
    return numbers | {"verification": (torch.searchsorted(others, same) / max(1, len(others))).mean().item()}
