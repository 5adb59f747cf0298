"""Sheets of faces: samples during training, edits of the trained model, and the paper's figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from exprgan.editing.results import EditResult, Subject
from exprgan.editor import ExpressionEditor
from exprgan.expressions import NEUTRAL
from exprgan.photo.ai_metadata import EditedImage, mark_edited
from exprgan.photo.image_io import encode_image, from_bytes, to_image

from ..core.files import write_bytes
from .face_folder import FaceFolder

SheetKind = Literal["decoder", "detail"]
"""The picture of an edit that a sheet shows: the decoder's output, or the edited face in the photo."""


def read_sample(editor: ExpressionEditor, faces: FaceFolder, index: int) -> Subject:
    """Reads one picture of a set, which is an aligned crop already."""
    return editor.read_crop(to_image(from_bytes(faces.images[index])))


def pick_neutral_subjects(editor: ExpressionEditor, faces: FaceFolder, count: int) -> list[Subject]:
    """Reads a neutral picture of each of the first `count` people; any picture of those who have none."""
    subjects = []
    for person in range(min(count, len(faces.subjects))):
        indices = (faces.subject == person).nonzero().squeeze(1).tolist()
        neutral = [i for i in indices if faces.expression[i] == len(faces.expressions)]
        subjects.append(read_sample(editor, faces, (neutral or indices)[0]))
    return subjects


def expression_sheet(editor: ExpressionEditor, subjects: list[Subject], kind: SheetKind) -> EditedImage:
    """Draws one row per person: the photo, then neutral and every expression at full intensity."""
    names = (NEUTRAL, *editor.model.config.expressions)
    return contact_sheet([[s.crop, *(_image_of(editor.edit(s, name), kind) for name in names)] for s in subjects])


def intensity_sheet(editor: ExpressionEditor, subjects: list[Subject], kind: SheetKind, levels: int = 5) -> EditedImage:
    """Draws one row per person, each with another expression: the photo, then rising intensities."""
    names = editor.model.config.expressions
    rows = [
        [s.crop, *(_image_of(editor.edit(s, names[i % len(names)], (k + 1) / levels), kind) for k in range(levels))]
        for i, s in enumerate(subjects)
    ]
    return contact_sheet(rows)


def save_sheet(picture: Image.Image, path: Path) -> None:
    """Writes a sheet, or any other picture, as JPEG or PNG, by the suffix of `path`."""
    image_format = "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG"
    write_bytes(path, encode_image(picture, image_format, quality=92, subsampling=0))


def contact_sheet(rows: Sequence[Sequence[Image.Image | None]], *, row_names: Sequence[str] = (),
                  column_names: Sequence[str] = (), title: str = "", gaps: Sequence[int] = ()) -> EditedImage:  # fmt: skip
    """Draws pictures of one size in a grid, marked as edited.

    Args:
        rows: the pictures; None leaves a cell empty.
        row_names: written to the left of each row.
        column_names: written above each column.
        title: a line or more above the grid.
        gaps: indices of rows that have some space above them.
    """
    size = next(picture.size for row in rows for picture in row if picture is not None)
    columns = max(len(row) for row in rows)
    font = ImageFont.load_default(max(11, size[0] // 8))
    line = round(font.size * 1.5)

    def width_of(text: str) -> int:
        return round(max(font.getlength(part) for part in text.split("\n")))

    left = max((width_of(name) for name in row_names), default=-line) + line
    header = line * max((name.count("\n") + 1 for name in column_names), default=0)
    top = header + (line * (title.count("\n") + 1) + line // 2 if title else 0)
    gap = size[1] // 6
    width = max(left + columns * size[0], width_of(title) + line if title else 0)
    canvas = Image.new("RGB", (width, top + len(rows) * size[1] + len(gaps) * gap), "white")
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.multiline_text((line // 2, line // 3), title, "black", font, spacing=font.size * 0.3)
    for i, name in enumerate(column_names):
        middle = (left + (i + 0.5) * size[0], top - header / 2)
        draw.multiline_text(middle, name, "black", font, anchor="mm", align="center", spacing=font.size * 0.3)
    y = top
    for i, row in enumerate(rows):
        y += gap if i in gaps else 0
        for j, picture in enumerate(row):
            if picture is not None:
                canvas.paste(picture, (left + j * size[0], y))
        if row_names:
            middle = (left - line // 2, y + size[1] / 2)
            draw.multiline_text(middle, row_names[i], "black", font, anchor="rm", align="right", spacing=font.size * 0.3)
        y += size[1]
    return mark_edited(canvas)


def _image_of(result: EditResult, kind: SheetKind) -> Image.Image:
    return result.crop if kind == "decoder" else result.face
