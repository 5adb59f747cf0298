"""`calibrate`: measures on training people how intense edits look, and writes buffers that make intensity linear.

Buffers of the model are measured; its networks stay unchanged.

- `F_ctrl.path`, without T: the path of codes along which the intensity of the decoder's pictures grows linearly. T is
  trained on codes of that path, so with T it stays.
- `warp_emphasis.per_expression`, with T: the factors on T's flow at which full edits, without wrinkles, look as intense as
  the training set's most intense expressions.
- `latent_prior`: mean and covariance of atanh(g(x)), from which new people are sampled.
"""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from exprgan.editing.results import Fidelity, Subject
from exprgan.editor import ExpressionEditor
from exprgan.models.config import CONFIG_NAME
from exprgan.models.controller import Controller
from exprgan.models.exprgan import WEIGHTS_NAME, ExprGAN
from exprgan.photo.image_io import from_bytes

from ..core.files import copy_together, writes_folder
from ..core.training_record import forget_inherited
from ..data import FaceFolder
from ..data.contact_sheets import read_sample
from .intensity_regressor import IntensityRegressor

PATH_LEVELS = np.linspace(0, 1, 9)
"""Positions on the straight path from all -1 to c_i = 1 at which intensity is measured."""
PATH_KNOTS = 11
"""Points of the calibrated path, at evenly spaced intensities."""
EMPHASES = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6)
"""Factors that are measured; larger ones distort noses and brows."""
TOLERANCE = 0.02
"""Accepted shortfall of intensity: it is invisible, while over-emphasised brows are not."""
MIN_SLOPE = 0.12
"""Least gain of intensity per unit of the factor; below it a larger factor only distorts."""
PRIOR_PICTURES = 3000
"""Pictures that the latent prior is fitted to."""
MIN_TARGET_INTENSITY = 0.8
"""Real pictures of at least this intensity are the target of full edits: stronger ones than the evaluation's
`edit_set.MIN_FULL_INTENSITY` (0.6), which keeps more pictures to compare with."""


@writes_folder(lambda weights, *_, **__: weights)
def calibrate(weights: str, data: str, people: int = 24) -> np.ndarray:
    """Calibrates published weights on the people of split `train`, and rewrites the folder.

    Args:
        weights: a folder that `publish` wrote.
        data: a folder with metadata.csv, with neutral pictures and known intensities.
        people: number of people that are edited, one neutral picture each.

    Returns:
        Mean intensities of edits: (K, levels) on the straight path, or with T (K, factors) at full intensity.

    Raises:
        ValueError: the folder has no neutral picture, or an expression without known intensities; or `people` is not
            above 0.
    """
    model = ExprGAN.from_pretrained(weights)
    faces = FaceFolder.load(data, "train", model.config.image_size, model.config.expressions)
    regressor = IntensityRegressor.fit(model.classifier, faces)
    measured = (_calibrate_path if model.T is None else _calibrate_emphasis)(model, faces, regressor, people)
    model.latent_prior.fit(_encode(model, faces))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        copy_together(Path(folder), Path(weights), (CONFIG_NAME, WEIGHTS_NAME))
    if model.T is None:
        forget_inherited(Path(weights))
    for name, row in zip(model.config.expressions, measured, strict=True):
        print(f"{name}: strength {' '.join(f'{value:.2f}' for value in row)}")
    return measured


def _encode(model: ExprGAN, faces: FaceFolder) -> torch.Tensor:
    """g(x) of pictures spread over the set: (N, z_dim)."""
    rows = torch.linspace(0, len(faces) - 1, min(len(faces), PRIOR_PICTURES)).round().long()
    with torch.inference_mode():
        parts = [model.G_enc(from_bytes(faces.images[some])) for some in tqdm(rows.split(64), desc="people")]
    return torch.cat(parts)


def _calibrate_path(model: ExprGAN, faces: FaceFolder, regressor: IntensityRegressor, people: int) -> np.ndarray:
    """Sets F_ctrl.path; returns intensities on the straight path, (K, levels)."""
    names, d = model.config.expressions, model.config.code_dim_each
    model.F_ctrl = Controller(names, d)
    editor = ExpressionEditor(model)
    subjects = neutral_subjects(editor, faces, people)
    measured = np.array([
        [_mean_intensity(editor, regressor, subjects, name, level, "model") for level in PATH_LEVELS]
        for name in tqdm(names, desc="calibrate")
    ])  # fmt: skip
    model.config = dataclasses.replace(model.config, intensity_knots=PATH_KNOTS)
    model.F_ctrl = Controller(names, d, PATH_KNOTS)
    path = torch.from_numpy(2 * np.array([linear_path(row) for row in measured]) - 1).clamp(-1, 1).round(decimals=4)
    model.F_ctrl.path.copy_(path[:, :, None])
    return measured


def _calibrate_emphasis(model: ExprGAN, faces: FaceFolder, regressor: IntensityRegressor, people: int) -> np.ndarray:
    """Sets warp_emphasis.per_expression; returns intensities of full edits at each of EMPHASES, (K, factors)."""
    names, factors = model.config.expressions, model.warp_emphasis.per_expression
    editor = ExpressionEditor(model)
    subjects, columns = neutral_subjects(editor, faces, people), []
    assert model.T is not None
    wrinkles, model.T.wrinkles = model.T.wrinkles, None  # they add to movement and do not replace it
    for emphasis in tqdm(EMPHASES, desc="calibrate"):
        factors.fill_(emphasis)
        columns.append([_mean_intensity(editor, regressor, subjects, name, 1.0) for name in names])
    model.T.wrinkles = wrinkles
    measured = np.array(columns).T
    for i, row in enumerate(measured):
        factors[i] = round(smallest_emphasis(row, full_intensity(faces, regressor, i)), 2)
    return measured


def full_intensity(faces: FaceFolder, regressor: IntensityRegressor, expression: int) -> float:
    """Mean intensity, as the regressor reads it, of the set's most intense pictures of an expression."""
    full = faces.select((faces.expression == expression) & (faces.intensity >= MIN_TARGET_INTENSITY))
    if not len(full):
        name = faces.expressions[expression]
        raise ValueError(f"no picture of {name!r} has an intensity of {MIN_TARGET_INTENSITY} or more, to aim at")
    return float(regressor(full.images, full.expression).mean())


def smallest_emphasis(intensities: np.ndarray, target: float) -> float:
    """The smallest factor, interpolated between EMPHASES, that brings the target intensity up to TOLERANCE.

    Args:
        intensities: measured at EMPHASES.
        target: replaced by the largest intensity before the slope falls below MIN_SLOPE, if that is smaller.
    """
    rising = np.maximum.accumulate(intensities) + 1e-6 * np.arange(len(intensities))
    flat = np.diff(rising) < MIN_SLOPE * np.diff(EMPHASES)
    last = int(flat.argmax()) if flat.any() else len(rising) - 1
    return float(np.interp(min(target, rising[last]) - TOLERANCE, rising, EMPHASES))


def linear_path(intensities: np.ndarray) -> np.ndarray:
    """Positions on the straight path, (PATH_KNOTS,), at which intensity grows linearly up to its maximum.

    Args:
        intensities: measured at PATH_LEVELS.
    """
    end = int(intensities.argmax())
    if end == 0:  # no edit looks more intense than neutral: nothing to calibrate
        return np.linspace(0, 1, PATH_KNOTS)
    rising = np.maximum.accumulate(intensities[: end + 1]) + 1e-6 * np.arange(end + 1)
    return np.interp(np.linspace(rising[0], rising[-1], PATH_KNOTS), rising, PATH_LEVELS[: end + 1])


def neutral_subjects(editor: ExpressionEditor, faces: FaceFolder, people: int) -> list[Subject]:
    """A neutral picture each of people spread over the set. ValueError: there is none, or `people` is not above 0."""
    if people <= 0:
        raise ValueError(f"people must be above 0, not {people}; name how many people's edits are to be measured")
    neutral = (faces.expression == len(faces.expressions)) & (faces.intensity.nan_to_num(0.0) == 0)
    first = {subject: index for index, subject in reversed(list(enumerate(faces.subject.tolist()))) if neutral[index]}
    if not first:
        raise ValueError("calibration needs neutral pictures of known people, and this folder has none")
    chosen = sorted(first)[:: max(1, len(first) // people)][:people]
    return [read_sample(editor, faces, first[subject]) for subject in chosen]


def _mean_intensity(editor: ExpressionEditor, regressor: IntensityRegressor, subjects: list[Subject], name: str,
                    intensity: float, fidelity: Fidelity = "detail") -> float:  # fmt: skip
    """Mean intensity, as the regressor reads it, of edits of all subjects."""
    edits = [editor.edit(subject, name, float(intensity), fidelity=fidelity) for subject in subjects]
    pictures = torch.from_numpy(np.stack([np.asarray(edit.face) for edit in edits])).permute(0, 3, 1, 2)
    number = editor.model.config.expressions.index(name)
    return float(regressor(pictures, torch.full((len(edits),), number)).mean())
