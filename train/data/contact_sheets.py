"""Sheets of faces: what training looks like while it runs, what it came to, and the paper's figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from exprgan.editing.results import EditResult, Subject
from exprgan.editor import ExpressionEditor
from exprgan.expressions import NEUTRAL
from exprgan.photo.image_io import EditedImage, mark_edited, encode_image, from_bytes, to_image

from ..core.files import atomic_write
from . import FaceFolder

EditKind = Literal["decoder", "detail"]
"""What a sheet shows of an edit: the decoder's bare picture, or what a visitor gets."""


def read_one(editor: ExpressionEditor, people: FaceFolder, index: int) -> Subject:
    """One picture of a set, read as the aligned crop that it is."""
    return editor.read_crop(to_image(from_bytes(people.images[index])))


def one_each(editor: ExpressionEditor, people: FaceFolder, count: int) -> list[Subject]:
    """A neutral picture each of the first `count` people, or any picture of those who have none."""
    subjects = []
    for subject in range(min(count, len(people.subjects))):
        theirs = (people.subject == subject).nonzero().squeeze(1).tolist()
        calm = [i for i in theirs if people.expression[i] == len(people.expressions)]
        subjects.append(read_one(editor, people, (calm or theirs)[0]))
    return subjects


def expression_sheet(editor: ExpressionEditor, subjects: list[Subject], kind: EditKind) -> EditedImage:
    """A row a person: the photo, then neutral and every expression at full intensity."""
    names = (NEUTRAL, *editor.model.config.expressions)
    return contact_sheet([[s.crop, *(shown(editor.edit(s, name), kind) for name in names)] for s in subjects])


def intensity_sheet(editor: ExpressionEditor, subjects: list[Subject], kind: EditKind, levels: int = 5) -> EditedImage:
    """A row a person, each with another expression: the photo, then rising intensities."""
    names = editor.model.config.expressions
    rows = [
        [s.crop, *(shown(editor.edit(s, names[i % len(names)], (k + 1) / levels), kind) for k in range(levels))]
        for i, s in enumerate(subjects)
    ]
    return contact_sheet(rows)


def save_sheet(picture: Image.Image, path: Path) -> None:
    """Writes a sheet, or any other picture, as PNG or JPEG, as the name says."""
    image_format = "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG"
    content = encode_image(picture, image_format, quality=92, subsampling=0)
    atomic_write(path, lambda temporary: temporary.write_bytes(content))


def shown(result: EditResult, kind: EditKind) -> Image.Image:
    """An edit as a sheet of this kind shows it."""
    return result.crop if kind == "decoder" else result.face


def contact_sheet(rows: Sequence[Sequence[Image.Image | None]], *, row_names: Sequence[str] = (), column_names: Sequence[str] = (),
          title: str = "", gaps: Sequence[int] = ()) -> EditedImage:  # fmt: skip
    """Rows of pictures of one size, side by side and one below the other, marked as edited.

    Args:
        rows: the pictures; None leaves a place empty.
        row_names: written to the left of each row.
        column_names: written above each column.
        title: a line or more above it all.
        gaps: rows before which some space is left.
    """
    size = next(picture.size for row in rows for picture in row if picture is not None)
    columns = max(len(row) for row in rows)
    font = ImageFont.load_default(max(11, size[0] // 8))
    line = round(font.size * 1.5)

    def width_of(text: str) -> int:
        return round(max(font.getlength(part) for part in text.split("\n")))

    left = max((width_of(name) for name in row_names), default=-line) + line
    headed = line * max((name.count("\n") + 1 for name in column_names), default=0)
    top = headed + (line * (title.count("\n") + 1) + line // 2 if title else 0)
    gap = size[1] // 6
    width = max(left + columns * size[0], width_of(title) + line if title else 0)
    canvas = Image.new("RGB", (width, top + len(rows) * size[1] + len(gaps) * gap), "white")
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.multiline_text((line // 2, line // 3), title, "black", font, spacing=font.size * 0.3)
    for i, name in enumerate(column_names):
        middle = (left + (i + 0.5) * size[0], top - headed / 2)
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
