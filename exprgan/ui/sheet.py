"""A sheet: one picture of a face with all expressions, labelled."""

from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..editor import ExpressionEditor
from ..photo.ai_metadata import mark_edited
from ..photo.colour_profile import in_srgb
from .handlers import EXAMPLES
from .photo_session import PhotoSession, face_square, save_result
from .words import short_name, title

TILE_PX, LABEL_PX, COLUMNS = 360, 40, 4


def download_sheet(editor: ExpressionEditor, photo: str | None, face: int, session: PhotoSession | None) -> str:
    """Shows a face as it is and with all expressions at full strength, in one picture with labels.

    Args:
        photo: a JPEG, PNG or WebP file; without one, an example.
        face: which face, counted from 1, from left to right; 0 is the largest.

    Returns:
        The picture, JPEG, 1,440 px wide.
    """
    session = PhotoSession.resume(editor, photo or EXAMPLES[0], session)
    index = session.index(face)
    subject, square = session.subject(editor, index), face_square(session.boxes[index], session.preview.size)
    neutral_first = editor.expressions[-1:] + editor.expressions[:-1]
    tiles = [("Photo", session.preview)]
    tiles += [(title(name), editor.edit(subject, name).preview) for name in neutral_first]
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE_PX, rows * (TILE_PX + LABEL_PX)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(22)
    for i, (label, picture) in enumerate(tiles):
        x, y = i % COLUMNS * TILE_PX, i // COLUMNS * (TILE_PX + LABEL_PX)
        sheet.paste(ImageOps.fit(in_srgb(picture.crop(square)), (TILE_PX, TILE_PX), Image.Resampling.LANCZOS), (x, y))
        pen.text((x + TILE_PX / 2, y + TILE_PX + LABEL_PX / 2), label, fill="#1c1917", font=font, anchor="mm")
    return save_result(mark_edited(sheet), ".jpg", f"{short_name(session.path)}-all-expressions")
