"""`calibrate`: measures on training people how strong edits look, and writes into config.json what makes the slider right.

Without T that is the way of the codes on which strength grows evenly (`intensity_path`). T is trained along that way, so
with a T it stays, and what is sought is how much farther than T says an edit must go to look as strong as the set's own
full expressions (`detail_emphasis`). Beside that it measures where people lie in z, for new ones to be drawn there
(`people_mean`, `people_spread`). Weights stay as they are.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from exprgan.editing.results import Subject
from exprgan.editor import ExpressionEditor
from exprgan.models.controller import Controller
from exprgan.models.exprgan import ExprGAN
from exprgan.models.latent_prior import fit_latent_prior
from exprgan.photo.image_io import from_bytes

from ..core.files import write_json, writes_folder
from ..data import FaceFolder
from ..data.contact_sheets import read_one
from .intensity_regressor import IntensityRegressor

LEVELS = np.linspace(0, 1, 9)
"""Where on the straight way from all -1 to c_i = 1 strength is measured."""
KNOTS = 11
"""Points of the calibrated way, at evenly spaced intensities."""
EMPHASES = (1.0, 1.2, 1.4, 1.6)
"""How much farther than T says an edit is tried to go; beyond the last, noses and brows look pulled."""
CLOSE = 0.02
"""Strength that is not worth going farther for: nobody sees it, but everybody sees a pulled brow."""
EARNED = 0.2
"""Strength that going farther must bring for each 1 of emphasis. A surprise whose jaw drops a third farther than anyone's
brings less, and is not worth its looks."""
PICTURES = 3000
"""How many are looked at, to learn where people lie in z."""
FULL = 0.85
"""Pictures of the set from this intensity on show how strong a full expression looks."""


@writes_folder(lambda weights, *_, **__: weights)
def calibrate(weights: str, data: str, people: int = 24) -> np.ndarray:
    """Calibrates published weights on the people of split `train`, and rewrites WEIGHTS/config.json.

    Args:
        weights: a folder that `publish` wrote.
        data: a folder with metadata.csv, with neutral pictures and known intensities.
        people: how many people are edited, a neutral picture each.

    Returns:
        Mean strengths of what a visitor gets: (K, levels) on the straight way, or (K, emphases) at full intensity.

    Raises:
        ValueError: the folder has no neutral picture, or an expression without known intensities.
    """
    model = ExprGAN.from_pretrained(weights)
    faces = FaceFolder.load(data, "train", model.config.image_size, model.config.expressions)
    judge = IntensityRegressor.fit(model.classifier, faces)
    seen, found = (_path if model.T is None else _emphasis)(model, faces, judge, people)
    mean, spread = fit_latent_prior(_identities(model, faces))
    found |= {"people_mean": mean, "people_spread": spread}
    write_json(Path(weights) / "config.json", dataclasses.asdict(dataclasses.replace(model.config, **found)))
    for name, row in zip(model.config.expressions, seen, strict=True):
        print(f"{name}: strength {' '.join(f'{value:.2f}' for value in row)}")
    return seen


def _identities(model: ExprGAN, faces: FaceFolder) -> torch.Tensor:
    """g(x) of pictures spread over the set: (N, z_dim)."""
    chosen = torch.linspace(0, len(faces) - 1, min(len(faces), PICTURES)).round().long()
    with torch.inference_mode():
        parts = [model.G_enc(from_bytes(faces.images[some])) for some in tqdm(chosen.split(64), desc="people")]
    return torch.cat(parts)


def _path(model: ExprGAN, faces: FaceFolder, judge: IntensityRegressor, people: int) -> tuple[np.ndarray, dict]:
    config = model.config
    model.F_ctrl = Controller(config.expressions, config.code_dim_each)  # the straight way
    editor = ExpressionEditor(model)
    subjects = _neutral(editor, faces, people)
    seen = np.array([
        [_strength(editor, judge, subjects, name, level, "model") for level in LEVELS]
        for name in tqdm(config.expressions, desc="calibrate")
    ])  # fmt: skip
    path = [number for row in seen for t in even_way(row) for number in [2 * t - 1] * config.code_dim_each]
    return seen, {"intensity_path": tuple(round(min(1.0, max(-1.0, float(number))), 4) for number in path)}


def _emphasis(model: ExprGAN, faces: FaceFolder, judge: IntensityRegressor, people: int) -> tuple[np.ndarray, dict]:
    names, config = model.config.expressions, model.config
    editor = ExpressionEditor(model)
    subjects, seen = _neutral(editor, faces, people), []
    for emphasis in tqdm(EMPHASES, desc="calibrate"):
        model.config = dataclasses.replace(config, detail_emphasis=(emphasis,) * len(names))
        seen.append([_strength(editor, judge, subjects, name, 1.0) for name in names])
    model.config, seen = config, np.array(seen).T
    wanted = [_full_strength(faces, judge, i) for i in range(len(names))]
    return seen, {"detail_emphasis": tuple(round(enough(*pair), 2) for pair in zip(seen, wanted, strict=True))}


def _full_strength(faces: FaceFolder, judge: IntensityRegressor, number: int) -> float:
    """How strong the set's own full expressions of one kind look on average."""
    full = faces.select((faces.expression == number) & (faces.intensity >= FULL))
    if not len(full):
        name = faces.expressions[number]
        raise ValueError(f"no picture of {name!r} has an intensity of {FULL} or more, to compare full edits with")
    return float(judge(full.images, full.expression).mean())


def enough(strengths: np.ndarray, wanted: float) -> float:
    """The least of EMPHASES, or between two of them, that comes CLOSE to a wanted strength or to the strongest there is
    before strength stops being EARNED."""
    rising = np.maximum.accumulate(strengths) + 1e-6 * np.arange(len(strengths))
    idle = np.diff(rising) < EARNED * np.diff(EMPHASES)
    last = int(idle.argmax()) if idle.any() else len(rising) - 1
    return float(np.interp(min(wanted, rising[last]) - CLOSE, rising, EMPHASES))


def even_way(strengths: np.ndarray) -> np.ndarray:
    """Strengths measured at LEVELS -> where on the straight way KNOTS evenly growing ones lie, up to the strongest."""
    end = int(strengths.argmax())
    if end == 0:  # it never looks stronger than neutral: nothing to calibrate
        return np.linspace(0, 1, KNOTS)
    rising = np.maximum.accumulate(strengths[: end + 1]) + 1e-6 * np.arange(end + 1)
    wanted = np.linspace(rising[0], rising[-1], KNOTS)
    return np.interp(wanted, rising, LEVELS[: end + 1])


def _neutral(editor: ExpressionEditor, faces: FaceFolder, people: int) -> list[Subject]:
    """A neutral picture each, of people spread over the set."""
    calm = (faces.expression == len(faces.expressions)) & (faces.intensity.nan_to_num(0.0) == 0)
    first = {subject: index for index, subject in reversed(list(enumerate(faces.subject.tolist()))) if calm[index]}
    if not first:
        raise ValueError("calibration needs neutral pictures of known people, and this folder has none")
    chosen = sorted(first)[:: max(1, len(first) // people)][:people]
    return [read_one(editor, faces, first[subject]) for subject in chosen]


def _strength(
    editor: ExpressionEditor, judge: IntensityRegressor, subjects: list[Subject], name: str, intensity: float,
    fidelity: str = "detail",
) -> float:  # fmt: skip
    """How strong an expression looks on average."""
    number = editor.model.config.expressions.index(name)
    edits = (editor.edit(subject, name, float(intensity), fidelity=fidelity) for subject in subjects)
    made = [np.asarray(edit.face) for edit in edits]
    pictures = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2)
    return float(judge(pictures, torch.full((len(made),), number)).mean())
