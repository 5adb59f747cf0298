"""Estimates the intensity of an expression: ridge regressions of the set's true intensities, on its own pictures only."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from exprgan.models.networks import FaceNetwork
from exprgan.photo.image_io import from_bytes

from ..data import FaceFolder

PENALTIES = np.logspace(0, 5, 11)
"""Ridge penalties to choose from by leave-one-out cross-validation."""


@dataclass(frozen=True)
class IntensityRegressor:
    """Ridge regressions from a face network's features to intensity, one for every expression."""

    network: FaceNetwork
    regressions: tuple[Pipeline, ...]

    @classmethod
    def fit(cls, network: FaceNetwork, faces: FaceFolder) -> "IntensityRegressor":
        """Fits on the pictures of each expression and on neutral ones, where the intensity is known.

        Raises:
            ValueError: an expression has no picture of known intensity.
        """
        x, known = extract_features(network, faces.images), ~faces.intensity.isnan()
        neutral = faces.expression == len(faces.expressions)
        regressions = []
        for i, name in enumerate(faces.expressions):
            rows = ((faces.expression == i) | neutral) & known
            if not (rows & ~neutral).any():
                raise ValueError(f"no picture of {name!r} has a known intensity; calibration needs the column `intensity`")
            regression = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
            regressions.append(regression.fit(x[rows], faces.intensity[rows].numpy()))
        return cls(network, tuple(regressions))

    def __call__(self, images: Tensor, expression: Tensor) -> np.ndarray:
        """Images (N, 3, S, S) uint8, and each one's expression (N,), 0..K-1 -> intensity (N,), about 0..1."""
        strength = self.predict(extract_features(self.network, images))
        return strength[np.arange(len(strength)), expression.numpy()]

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Features (N, F) -> intensity of every expression, (N, K)."""
        return np.stack([regression.predict(features) for regression in self.regressions], axis=1)


@torch.inference_mode()
def extract_features(network: FaceNetwork, images: Tensor) -> np.ndarray:
    """Images (N, 3, S, S) uint8 -> features (N, F)."""
    device = next(network.parameters()).device
    batches = images.split(64)
    return np.concatenate([pool_features(network.maps(preprocess(network, batch.to(device)))) for batch in batches])


def preprocess(network: FaceNetwork, images: Tensor) -> Tensor:
    """Images (N, 3, S, S) uint8 -> [-1, 1], averaged down to the network's size."""
    x = from_bytes(images)
    return F.adaptive_avg_pool2d(x, network.size) if x.shape[-1] > network.size else x


def pool_features(maps: list[Tensor]) -> np.ndarray:
    """Feature maps of all stages -> spatial means of the last two, (N, F)."""
    return torch.cat([m.mean((2, 3)) for m in maps[-2:]], dim=1).cpu().numpy()
