"""The picture of a card that shows what published weights do: edits of the example photos that come with the library."""

import json
from pathlib import Path

import exprgan
from exprgan.editor import ExpressionEditor
from exprgan.models.exprgan import ExprGAN
from exprgan.models.model_card import EXAMPLES_FIGURE
from exprgan.photo.detection import Face

from ..data.contact_sheets import expression_sheet, save_sheet

EXAMPLE_FOLDER = Path(exprgan.__file__).parent / "ui" / "examples"
NUM_PEOPLE = 3


def draw_gallery(folder: Path) -> Path:
    """Writes FOLDER/figures/edits-of-example-photos.jpg: a row for each person, the photo, neutral and every expression.

    Args:
        folder: published weights, by which the photos are edited: by T if they have it, otherwise by the decoder.
    """
    editor = ExpressionEditor(ExprGAN.from_pretrained(folder))
    faces = json.loads((EXAMPLE_FOLDER / "faces.json").read_text(encoding="utf-8"))
    subjects = [
        editor.read(EXAMPLE_FOLDER / name, Face(tuple(box), tuple(map(tuple, landmarks)), score))
        for name, (box, landmarks, score) in list(faces.items())[:NUM_PEOPLE]
    ]
    save_sheet(expression_sheet(editor, subjects, "decoder" if editor.model.T is None else "detail"),
               folder / EXAMPLES_FIGURE)  # fmt: skip
    return folder / EXAMPLES_FIGURE
