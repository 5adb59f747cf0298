"""Sheets of faces: what training looks like while it runs, and what it came to."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from exprgan.editor import ExpressionEditor, Subject
from exprgan.images import to_image, to_tensor
from exprgan.model import ExprGAN

from .data import FaceFolder
from .run import write_whole


def sheet(rows: list[list[Tensor]]) -> Tensor:
    """Rows of pictures (3, S, S) in [-1, 1] -> one picture (3, rows * S, columns * S)."""
    return torch.cat([torch.cat(row, dim=2) for row in rows], dim=1)


def neutral_of(people: FaceFolder, count: int) -> Tensor:
    """A neutral picture each of the first `count` people (or any picture of them): (count, 3, S, S) in [-1, 1]."""
    neutral = len(people.expressions)
    chosen = []
    for subject in range(min(count, len(people.subjects))):
        theirs = (people.subject == subject).nonzero().squeeze(1)
        calm = [i for i in theirs.tolist() if people.expression[i] == neutral]
        chosen.append((calm or theirs.tolist())[0])
    return people.images[chosen].float() / 127.5 - 1


@torch.inference_mode()
def edits(model: ExprGAN, x: Tensor) -> Tensor:
    """Every person with every expression at full intensity: (N, 3, S, S) -> (N, K, 3, S, S)."""
    codes = torch.stack([model.F_ctrl.code(name) for name in model.config.expressions]).to(x.device)
    z = model.G_enc(x)
    return torch.stack([model.G_dec(one.expand(len(codes), -1), codes) for one in z])


def save_sheet(model: ExprGAN, people: FaceFolder, path: Path, device: torch.device, count: int = 6) -> None:
    """A row a person: the photo, its reconstruction as neutral, then the expressions."""
    x = neutral_of(people, count).to(device)
    with torch.inference_mode():
        calm = model(x, model.F_ctrl.neutral().to(device).expand(len(x), -1))
    rows = [[x[i], calm[i], *made] for i, made in enumerate(edits(model, x))]
    image = to_image(sheet(rows).float().cpu())
    write_whole(path, lambda temporary: image.save(temporary, format="PNG"))


def intensity_sheet(editor: ExpressionEditor, subjects: list[Subject], levels: int = 5) -> Image.Image:
    """A row a person, another expression each: the photo, then rising intensities of the full edit (`detail`)."""
    rows = []
    for i, subject in enumerate(subjects):
        name = editor.model.config.expressions[i % len(editor.model.config.expressions)]
        steps = [editor.edit(subject, name, (k + 1) / levels).image for k in range(levels)]
        rows.append([to_tensor(picture) for picture in (subject.crop, *steps)])
    return to_image(sheet(rows))
