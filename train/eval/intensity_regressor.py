"""How strong an expression looks: a regressor of the set's true intensities, trained on its own pictures only."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from exprgan.models.networks import FaceNetwork
from exprgan.photo.image_io import from_bytes

from ..data import FaceFolder

PENALTIES = np.logspace(0, 5, 11)
"""What ridge regression chooses from, by leaving one picture out."""


@dataclass(frozen=True)
class IntensityRegressor:
    """Ridge regressions from a face network's features to intensity, one for every expression."""

    network: FaceNetwork
    regressions: tuple[Pipeline, ...]

    @classmethod
    def fit(cls, network: FaceNetwork, faces: FaceFolder) -> "IntensityRegressor":
        """Learns from the pictures of each expression and from neutral ones, where the intensity is known.

        Raises:
            ValueError: an expression has no picture of known intensity.
        """
        x, known = features(network, faces.images), ~faces.intensity.isnan()
        calm = faces.expression == len(faces.expressions)
        regressions = []
        for i, name in enumerate(faces.expressions):
            used = ((faces.expression == i) | calm) & known
            if not (used & ~calm).any():
                raise ValueError(f"no picture of {name!r} has a known intensity; calibration needs the column `intensity`")
            regression = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
            regressions.append(regression.fit(x[used], faces.intensity[used].numpy()))
        return cls(network, tuple(regressions))

    def __call__(self, pictures: Tensor, expression: Tensor) -> np.ndarray:
        """Pictures (N, 3, S, S) uint8, and each one's expression (N,), 0..K-1 -> intensity (N,), about 0..1."""
        seen = self.all_of(features(self.network, pictures))
        return seen[np.arange(len(seen)), expression.numpy()]

    def all_of(self, x: np.ndarray) -> np.ndarray:
        """Features (N, F), as `features` makes them -> intensity of every expression, (N, K)."""
        return np.stack([regression.predict(x) for regression in self.regressions], axis=1)


@torch.inference_mode()
def features(network: FaceNetwork, pictures: Tensor) -> np.ndarray:
    """Pictures (N, 3, S, S) uint8 -> averages of the last two maps of the face network, (N, F)."""
    device = next(network.parameters()).device
    parts = []
    for part in pictures.split(64):
        x = from_bytes(part.to(device))
        x = torch.nn.functional.adaptive_avg_pool2d(x, network.size) if x.shape[-1] > network.size else x
        parts.append(torch.cat([m.mean((2, 3)) for m in network.maps(x)[-2:]], dim=1).cpu())
    return torch.cat(parts).numpy()
