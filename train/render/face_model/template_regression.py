"""A template for a photo that has none: where the 189 points most likely lie, given MTCNN's five.

`prior.npz` holds a linear prediction, in the patch's frame, from the nose and the mouth's corners (the eyes fix the
frame): points = mean + weights . (five points - their mean), by ridge regression over the templates of the two
published photo sets (DeBruine and Jones 2017, CC-BY 4.0); docs/render.md says how it was made and how near it comes.
The mesh, fitted to the points, makes a face of them. Good enough for a frontal photo with the mouth closed; a template
is better.
"""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from exprgan.photo.detection import find_faces

from ...data.metadata import DataError
from .canonical_frame import by_pupils

PRIOR = Path(__file__).with_name("prior.npz")
MOST_OFF = 5.0  # standard deviations that a face may differ from those known; beyond, it is no frontal face
LEAST_EYES_PX = 24.0


def derive_template(photo: Image.Image, name: str = "the photo") -> np.ndarray:
    """The points of the widest face.

    Args:
        photo: RGB, upright.
        name: for messages.

    Returns:
        (189, 2) float64, photo px, pixel centres at whole numbers.

    Raises:
        DataError: no face is found, it is too small, or it is not seen from the front.
    """
    faces = find_faces(photo)
    if not faces:
        raise DataError(f"no face was found in {name}, and it has no template; use a frontal, well lit photo or add a .tem")
    five = np.array(faces[0].landmarks) - 0.5
    if (distance := float(np.linalg.norm(five[1] - five[0]))) < LEAST_EYES_PX:
        raise DataError(
            f"the eyes in {name} are {distance:.0f} px apart; {LEAST_EYES_PX:.0f} are needed. Use a larger photo"
        )
    matrix = by_pupils(five[:2])
    seen = (five[2:] @ matrix[:, :2].T + matrix[:, 2]).ravel()
    prior = _prior()
    off = np.abs(seen - prior["five_mean"]) / prior["five_deviation"]
    if off.max() > MOST_OFF:
        raise DataError(
            f"the face in {name} is not seen from the front, and it has no template; choose another or add a .tem"
        )
    points = (prior["mean"] + (seen - prior["five_mean"]) @ prior["weights"]).reshape(-1, 2)
    linear = np.linalg.inv(matrix[:, :2])
    return (points - matrix[:, 2]) @ linear.T


def learn(five: np.ndarray, points: np.ndarray, ridge: float = 0.1) -> dict[str, np.ndarray]:
    """The prediction.

    Args:
        five: (N, 6), nose and mouth corners in the patch.
        points: (N, 378), templates in the same patch.
        ridge: as a part of the variance of the five points.
    """
    mean, deviation = five.mean(axis=0), five.std(axis=0)
    x, y = (five - mean) / deviation, points - points.mean(axis=0)
    weights = np.linalg.solve(x.T @ x + ridge * len(x) * np.eye(x.shape[1]), x.T @ y) / deviation[:, None]
    return {"five_mean": mean, "five_deviation": deviation, "mean": points.mean(axis=0), "weights": weights}


@cache
def _prior() -> dict[str, np.ndarray]:
    with np.load(PRIOR) as file:
        return {name: file[name].astype(np.float64) for name in file.files}
