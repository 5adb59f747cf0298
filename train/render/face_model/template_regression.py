"""Predicts the 189 template points of a photo without a template from the five landmarks of MTCNN.

`template_regression.npz` holds a linear regression in the canonical frame from nose and mouth corners (the eyes fix the
frame): points = mean + weights . (five points - their mean). It is a ridge regression over the templates of the two
published photo sets (DeBruine and Jones 2017, CC-BY 4.0): for N standardised predictors x (N, 6) and centred points y (N,
378), weights = (x'x + 0.1 N I)^-1 x'y / deviation. docs/render.md gives its accuracy. It is good enough for a frontal photo
with the mouth closed, since the mesh fitted to the points makes them a face; a template is better.
"""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from exprgan.photo.alignment import transform
from exprgan.photo.detection import choose_face, find_faces

from ...core.train_errors import DataError
from .canonical_frame import PUPIL_TARGETS, fit_similarity

REGRESSION_FILE = Path(__file__).with_name("template_regression.npz")
MAX_DEVIATIONS = 5.0  # standard deviations from the mean face; beyond that a face is not frontal
MIN_EYE_DISTANCE_PX = 24.0


def predict_template(photo: Image.Image, name: str = "the photo") -> np.ndarray:
    """Predicts the points of the widest face.

    Args:
        photo: RGB, upright.
        name: for messages.

    Returns:
        (189, 2) float64, photo px, pixel centres at whole numbers.

    Raises:
        DataError: no face is found, it is too small, or it is not frontal.
    """
    faces = find_faces(photo)
    if not faces:
        raise DataError(f"no face was found in {name}, and it has no template; use a frontal, well lit photo or add a .tem")
    landmarks = np.array(choose_face(faces).landmarks) - 0.5
    if (distance := float(np.linalg.norm(landmarks[1] - landmarks[0]))) < MIN_EYE_DISTANCE_PX:
        needed = f"{MIN_EYE_DISTANCE_PX:.0f} are needed"
        raise DataError(f"the eyes in {name} are {distance:.0f} px apart; {needed}. Use a larger photo")
    matrix, regression = fit_similarity(landmarks[:2], PUPIL_TARGETS), _load_regression()
    offset = transform(matrix, landmarks[2:]).ravel() - regression["five_mean"]
    if (np.abs(offset) / regression["five_deviation"]).max() > MAX_DEVIATIONS:
        reason = f"the face in {name} is not seen from the front, and it has no template"
        raise DataError(f"{reason}; choose another or add a .tem")
    points = (regression["mean"] + offset @ regression["weights"]).reshape(-1, 2)
    return (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T


@cache
def _load_regression() -> dict[str, np.ndarray]:
    with np.load(REGRESSION_FILE) as file:
        return {name: file[name].astype(np.float64) for name in file.files}
