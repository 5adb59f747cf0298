"""The picture of a card that shows what published weights do: edits of the example photos that come with the library."""

import json
from operator import attrgetter
from pathlib import Path

import exprgan
from exprgan.editor import ExpressionEditor
from exprgan.expressions import NEUTRAL
from exprgan.models.exprgan import ExprGAN
from exprgan.models.model_card import EXAMPLES_FIGURE
from exprgan.photo.detection import Face

from ..data.contact_sheets import contact_sheet, save_sheet

EXAMPLE_FOLDER = Path(exprgan.__file__).parent / "ui" / "examples"
NUM_PEOPLE = 3


def draw_gallery(folder: Path) -> Path:
    """Writes FOLDER/figures/edits-of-example-photos.jpg: a row for each person, the photo, neutral and every expression.

    Args:
        folder: published weights, by which the photos are edited: by T if they have it, otherwise by the decoder.
    """
    editor = ExpressionEditor(ExprGAN.from_pretrained(folder))
    faces = json.loads((EXAMPLE_FOLDER / "faces.json").read_text(encoding="utf-8"))
    picture_of = attrgetter("crop" if editor.model.T is None else "face")
    subjects = [
        editor.read(EXAMPLE_FOLDER / name, Face(tuple(box), tuple(map(tuple, landmarks)), score))
        for name, (box, landmarks, score) in list(faces.items())[:NUM_PEOPLE]
    ]
    names = (NEUTRAL, *editor.model.config.expressions)
    rows = [[subject.crop, *(picture_of(editor.edit(subject, name)) for name in names)] for subject in subjects]
    save_sheet(contact_sheet(rows, column_names=("photo", *names)), folder / EXAMPLES_FIGURE)
    return folder / EXAMPLES_FIGURE
