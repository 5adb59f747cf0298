"""Sheets of faces: what training looks like while it runs, and what it came to."""

from pathlib import Path
from typing import Literal

import torch
from PIL import Image

from exprgan.editor import EditResult, ExpressionEditor, Subject
from exprgan.expressions import NEUTRAL
from exprgan.images import to_image, to_tensor

from .data import FaceFolder
from .run import write_whole

Kind = Literal["decoder", "detail"]
"""What a sheet shows of an edit: the decoder's bare picture, or what a visitor gets."""


def one_each(editor: ExpressionEditor, people: FaceFolder, count: int) -> list[Subject]:
    """A neutral picture each of the first `count` people, or any picture of those who have none."""
    subjects = []
    for subject in range(min(count, len(people.subjects))):
        theirs = (people.subject == subject).nonzero().squeeze(1).tolist()
        calm = [i for i in theirs if people.expression[i] == len(people.expressions)]
        subjects.append(editor.read_crop(to_image(people.images[(calm or theirs)[0]].float() / 127.5 - 1)))
    return subjects


def expression_sheet(editor: ExpressionEditor, subjects: list[Subject], kind: Kind) -> Image.Image:
    """A row a person: the photo, then neutral and every expression at full intensity."""
    names = (NEUTRAL, *editor.model.config.expressions)
    return _sheet([[s.crop, *(_shown(editor.edit(s, name), kind) for name in names)] for s in subjects])


def intensity_sheet(editor: ExpressionEditor, subjects: list[Subject], kind: Kind, levels: int = 5) -> Image.Image:
    """A row a person, each with another expression: the photo, then rising intensities."""
    names = editor.model.config.expressions
    rows = [
        [s.crop, *(_shown(editor.edit(s, names[i % len(names)], (k + 1) / levels), kind) for k in range(levels))]
        for i, s in enumerate(subjects)
    ]
    return _sheet(rows)


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Writes a sheet as PNG or JPEG, as the name says."""
    image_format = "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG"
    write_whole(path, lambda temporary: sheet.save(temporary, format=image_format, quality=92))


def _shown(result: EditResult, kind: Kind) -> Image.Image:
    return result.crop if kind == "decoder" else result.face


def _sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Rows of pictures of one size, side by side and one below the other."""
    return to_image(torch.cat([torch.cat([to_tensor(picture) for picture in row], dim=2) for row in rows], dim=1))
