"""`calibrate --decoder`: makes the decoder's full expressions as intense as the set's, in the person's own colours.

A decoder trained on the mean error of pixels shows less of an expression than its training pictures do, and the elements of
c_i come to tint faces, as each occurs in few pictures of a batch. Both are measured on training people and corrected in
G_dec's first layer, whose other inputs, and so neutral faces, stay.
"""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from exprgan.editor import ExpressionEditor
from exprgan.models.controller import Controller
from exprgan.models.exprgan import ExprGAN
from exprgan.models.networks import Decoder

from ..core.files import writes_folder
from ..core.published_parts import replace_parts
from ..data import FaceFolder
from .calibration import full_intensity, neutral_subjects
from .edit_metrics import SKIN_BOX, crop_box
from .intensity_regressor import IntensityRegressor

FACTORS = (1.0, 1.2, 1.4, 1.6, 1.8)
"""Factors on what a code changes that are measured; larger ones draw ghosts of eyes, and cost likeness."""
TINT_BOXES = (SKIN_BOX, (0.3, 0.7, 0.02, 0.12), (0.0, 0.08, 0.05, 0.3), (0.92, 1.0, 0.05, 0.3))
"""Boxes of every aligned crop whose mean colour no element of c changes: cheeks and nose, forehead, and both sides of the
head; left, right, top, bottom, as shares of its side."""
PINV_RTOL = 0.02
"""Combinations of colours that the layer moves by less than this part of what it moves best are left as they are."""


@writes_folder(lambda weights, *_, **__: weights)
def calibrate_decoder(weights: str, data: str, people: int = 24) -> dict[str, float]:
    """Corrects G_dec's first layer in published weights.

    1. What c_i changes is multiplied by the smallest factor at which the expression at full intensity is read as intense as
       the set's most intense pictures by the regressor of intensity, or by the largest of FACTORS.
    2. To what an element at its maximum adds to the layer's output, the smallest change is added that gives TINT_BOXES the
       mean colour that they have in neutral pictures, to first order.

    Args:
        weights: a folder that `publish` wrote.
        data: a folder with metadata.csv, with neutral pictures and known intensities of people of split `train`.
        people: number of people that are decoded.

    Returns:
        The factor of each expression; `tint before` and `tint after` the second step: root mean square, over elements, of
        the mean change of the colour of cheeks and nose, in levels of 255.

    Raises:
        ValueError: the folder has no neutral picture, or an expression without known intensities, or none of 0.8 and more.
    """
    model = ExprGAN.from_pretrained(weights)
    faces = FaceFolder.load(data, "train", model.config.image_size, model.config.expressions)
    regressor, editor, names = IntensityRegressor.fit(model.classifier, faces), ExpressionEditor(model), faces.expressions
    z = torch.stack([subject.z for subject in neutral_subjects(editor, faces, people)]).clone()
    measured = np.array([_full_intensities(editor, regressor, z, factor) for factor in tqdm(FACTORS, desc="decoder")])
    targets = [full_intensity(faces, regressor, i) for i in range(len(names))]
    factors = [round(float(np.interp(target, np.maximum.accumulate(row), FACTORS)), 2)
               for target, row in zip(targets, measured.T, strict=True)]  # fmt: skip
    model.G_dec.emphasize(torch.tensor(factors))
    before, after = remove_tints(model.G_dec, model.F_ctrl, z)
    state = {f"G_dec.fc.{name}": value for name, value in model.G_dec.fc.state_dict().items()}
    numbers = dict(zip(names, factors, strict=True)) | {"tint before": round(before, 2), "tint after": round(after, 2)}
    replace_parts(Path(weights), {}, (), state, "decoder", numbers)
    print(", ".join(f"{name} {value:.2f}" for name, value in numbers.items()))
    return numbers


def _full_intensities(editor: ExpressionEditor, regressor: IntensityRegressor, z: Tensor, factor: float) -> list[float]:
    """The mean intensity of each expression's decoded pictures at full intensity, with all factors alike."""
    model, layer = editor.model, editor.model.G_dec.fc
    model.G_dec.fc = copy.deepcopy(layer)
    model.G_dec.emphasize(torch.full((len(model.config.expressions),), factor))
    intensities = []
    for i, name in enumerate(model.config.expressions):
        pictures = np.stack([np.asarray(picture) for picture in editor.decode_many(z, model.F_ctrl.code(name))])
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        intensities.append(float(regressor(images, torch.full((len(images),), i)).mean()))
    model.G_dec.fc = layer
    return intensities


def remove_tints(G_dec: Decoder, F_ctrl: Controller, z: Tensor) -> tuple[float, float]:
    """Makes single elements of c keep the mean colours of neutral pictures.

    Args:
        G_dec: is changed in its first layer.
        F_ctrl: makes codes.
        z: (N, z_dim), people.

    Returns:
        The tint before and after, as `calibrate_decoder` returns it.
    """
    neutral = _tint_colors(G_dec(z, F_ctrl.neutral().expand(len(z), -1))).detach().mean(0)
    codes = [F_ctrl.code(name, style=k) for name in F_ctrl.expressions for k in range(F_ctrl.numbers_each)]
    shifts, tints = [], []
    for code in tqdm(codes, desc="colors"):
        layer = G_dec.first_layer(z, code.expand(len(z), -1)).detach().requires_grad_(True)
        colors = _tint_colors(G_dec.from_first_layer(layer, code.expand(len(z), -1)))
        slopes = torch.stack([torch.autograd.grad(color, layer, retain_graph=True)[0].sum(0) for color in colors.mean(0)])
        change = neutral - colors.detach().mean(0)
        shifts.append(torch.linalg.pinv(slopes, rtol=PINV_RTOL) @ change)
        tints.append(change[:3])
    G_dec.shift_elements(torch.stack(shifts))
    with torch.no_grad():
        left = [neutral - _tint_colors(G_dec(z, code.expand(len(z), -1))).mean(0) for code in codes]
    return tuple(torch.stack(rows).square().mean().sqrt().item() for rows in (tints, [row[:3] for row in left]))


def _tint_colors(x_hat: Tensor) -> Tensor:
    """(B, 3, S, S) in [-1, 1] -> the mean colours of TINT_BOXES in levels of 255, (B, 3 * boxes)."""
    return torch.cat([crop_box(x_hat, box).mean((-2, -1)) for box in TINT_BOXES], dim=1) * 127.5
