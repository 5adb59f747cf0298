"""`calibrate`: makes the slider linear. Measures how strong each code on the way to an expression looks on training people,
and writes the way on which strength grows evenly into config.json (`intensity_path`); weights stay as they are."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from exprgan.controller import Controller
from exprgan.editor import ExpressionEditor
from exprgan.model import ExprGAN
from exprgan.subject import Subject

from .data import FaceFolder
from .eval.strength import StrengthJudge
from .run import write_json, writes
from .samples import read_one

LEVELS = np.linspace(0, 1, 9)
"""Where on the straight way from all -1 to c_i = 1 strength is measured."""
KNOTS = 11
"""Points of the calibrated way, at evenly spaced intensities."""


@writes(lambda weights, *_, **__: weights)
def calibrate(weights: str, data: str, people: int = 24) -> np.ndarray:
    """Calibrates published weights on the people of split `train`, and rewrites WEIGHTS/config.json.

    Args:
        weights: a folder that `publish` wrote.
        data: a folder with metadata.csv, with neutral pictures and known intensities.
        people: how many people are edited, a neutral picture each.

    Returns:
        Strengths on the straight way, (K, levels): means over the people of what a visitor gets.

    Raises:
        ValueError: the folder has no neutral picture, or an expression without known intensities.
    """
    model = ExprGAN.from_pretrained(weights)
    config = model.config
    model.F_ctrl = Controller(config.expressions, config.code_dim_each)  # the straight way
    editor = ExpressionEditor(model)
    faces = FaceFolder.load(data, "train", config.image_size, config.expressions)
    judge = StrengthJudge.fit(model.classifier, faces)
    subjects = _neutral(editor, faces, people)
    seen = np.stack([_strengths(editor, judge, subjects, name) for name in tqdm(config.expressions, desc="calibrate")])
    path = [number for row in seen for t in even_way(row) for number in [2 * t - 1] * config.code_dim_each]
    rounded = tuple(round(min(1.0, max(-1.0, float(number))), 4) for number in path)
    write_json(Path(weights) / "config.json", dataclasses.asdict(dataclasses.replace(config, intensity_path=rounded)))
    for name, row in zip(config.expressions, seen, strict=True):
        print(f"{name}: strength {' '.join(f'{value:.2f}' for value in row)} on the straight way")
    return seen


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


def _strengths(editor: ExpressionEditor, judge: StrengthJudge, subjects: list[Subject], name: str) -> np.ndarray:
    """Mean strength of an expression at every level."""
    number = editor.model.config.expressions.index(name)
    means = []
    for level in LEVELS:
        faces = [np.asarray(editor.edit(subject, name, float(level)).face) for subject in subjects]
        pictures = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2)
        means.append(judge(pictures, torch.full((len(faces),), number)).mean())
    return np.array(means)
