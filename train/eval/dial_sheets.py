"""`dials`: pictures of held-out people with each dial at several values, and what is read in them."""

import re
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from exprgan.csv_cells import format_row
from exprgan.editing.dials import dials_of, split_side
from exprgan.editing.target import NO_UNITS
from exprgan.editor import ExpressionEditor
from exprgan.facs import SIDES
from exprgan.models.exprgan import ExprGAN

from ..core.files import write_text, writes_folder
from ..data import FaceFolder
from ..data.contact_sheets import contact_sheet, pick_neutral_subjects, save_sheet

VALUES = (-1.0, -0.5, 0.5, 1.0)
TABLE_NAME = "dials.csv"
COLUMNS = (
    "file_name",
    "subject",
    "dial",
    "value",
    "unit",
    *(f"{when}_{side}" for when in ("photo", "edit") for side in SIDES),
)


@writes_folder(lambda weights, data, out, *_, **__: out)
def draw_dials(weights: str, data: str, out: str, people: int = 6, fold: int | None = None) -> Path:
    """Writes a picture of each person with each dial, both sides and the left one alone, at each of VALUES.

    They are OUT/NAME/VALUE/PERSON.png, the photos OUT/photo/PERSON.png; OUT/NAME.png is a sheet of the dial. OUT/dials.csv
    has the weight of the unit that the dial moves in that direction, on both sides of the person, as the model's own face
    network reads it in photo and edit.

    Args:
        weights: a folder that `publish` wrote, whose T takes action units.
        data: a folder with metadata.csv.
        people: number of held-out people, of whom a neutral picture is edited.
        fold: as in `evaluate`.

    Returns:
        The path of the table.

    Raises:
        ValueError: the model takes no action units, or `people` is below 1.
    """
    editor = ExpressionEditor(ExprGAN.from_pretrained(weights))
    config = editor.model.config
    if not editor.dials:
        raise ValueError(NO_UNITS)
    if people < 1:
        raise ValueError(f"people must be at least 1, not {people!r}")
    faces = FaceFolder.load(data, "test", config.image_size, config.expressions, fold)
    names_of_people = (re.sub(r"[^\w-]", "_", name) for name in faces.subjects)  # a name must not lead out of the folder
    subjects = dict(zip(names_of_people, pick_neutral_subjects(editor, faces, people), strict=False))
    folder, rows = Path(out), [COLUMNS]

    def save(picture: Image.Image, *place: str) -> str:
        save_sheet(picture, folder.joinpath(*place))
        return "/".join(place)

    for person, subject in subjects.items():
        save(editor.edit(subject, units={}).face, "photo", f"{person}.png")
    dials = dials_of(config.warp_units, config.warp_eyes)
    names = [name for dial in dials for name in ([dial, f"{dial}_left"] if dials[dial].sided else [dial])]
    for name in tqdm(names, desc="dials"):
        dial, pictures = dials[split_side(name)[0]], []
        for person, subject in subjects.items():
            edits = [editor.edit(subject, units={name: value}).face for value in VALUES]
            middle = len(VALUES) // 2
            pictures.append([*edits[:middle], subject.crop, *edits[middle:]])
            for value, edit in zip(VALUES, edits, strict=True):
                unit = dial.opposite if value < 0 and dial.opposite else dial.unit
                before, after = subject.reading.units, editor.read_expression(edit).units
                readings = (read.get(unit, ("", "")) for read in (before, after))
                place = save(edit, name, f"{value:+g}", f"{person}.png")
                rows.append((place, person, name, value, unit, *(weight for pair in readings for weight in pair)))
        columns = [*(f"{value:+g}" for value in VALUES[:middle]), "photo", *(f"{value:+g}" for value in VALUES[middle:])]
        save(contact_sheet(pictures, row_names=list(subjects), column_names=columns, title=name), f"{name}.png")
    write_text(folder / TABLE_NAME, "".join(map(format_row, rows)))
    return folder / TABLE_NAME
