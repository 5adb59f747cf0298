"""What the app's tabs do. Photos come as paths, and results go as paths of files that gradio deletes.

An action takes the editor and what the visitor set; its docstring is what the API says of it. `bound` gives an action its
editor and a limit of time, and turns whatever goes wrong in it into a sentence.
"""

import csv
import dataclasses
import functools
import io
import logging
import random
import uuid
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as OutOfTime  # of Python 3.10; later the built-in one
from pathlib import Path

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image, ImageOps

from exprgan import NEUTRAL, EditResult, ExpressionEditor, ExprGANError, Reading, Subject
from exprgan.faces import Face, choose
from exprgan.images import SUFFIXES, load_photo, save_photo

EXAMPLES = sorted(map(str, (Path(__file__).parent / "examples").glob("*.jpg")))
WORDS = {"disgust": "disgusted", "fear": "afraid", "surprise": "surprised"}
"""How an expression is called in a sentence, where its name is no adjective."""
PREVIEW_SUFFIX = ".jpg"
"""Of what is shown while the slider moves. PNG takes forty times as long to write and is four times as large."""
ALL = "all"
"""In place of an expression: all of them, in a row."""
MOST_PEOPLE = 12
LAST_SEED = 2**32 - 1
AT_ONCE = 2
"""Actions worked on side by side; the others wait in the queue."""
LIMIT_S = 30
"""The longest an action may take: ten times what the largest photo needs on two cores."""

START = "Add a photo with a face, or choose one of the people below."
START_TRANSFER = "Add both photos to begin."
EXAMPLE = "This is an example; add your own photo."
NOT_EDITED = "Nothing was edited. Choose a photo with a face seen from the front."
EXPIRED = "This photo was deleted, as every photo is within an hour. Please add it again."
TOO_LONG = f"This took longer than {LIMIT_S} seconds and was given up. Please try again, or try a smaller photo."
APOLOGY = "Sorry, something went wrong here, not with you. Please try again, or try another photo."

LOG = logging.getLogger("exprgan.app")
WORKERS = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="action")


def bound(action: Callable, editor: ExpressionEditor) -> Callable:
    """The action with its editor. What goes wrong reaches the visitor as a sentence; tracebacks are for the log."""
    with_editor = functools.partial(action, editor)

    def safe(*settings):
        running = WORKERS.submit(with_editor, *settings)
        try:
            return running.result(LIMIT_S)
        except OutOfTime:
            running.cancel()
            raise gr.Error(TOO_LONG, print_exception=False) from None
        except (ExprGANError, ValueError) as error:
            raise gr.Error(str(error), print_exception=False) from None
        except Exception:
            LOG.exception("an action of the app failed")
            raise gr.Error(APOLOGY, print_exception=False) from None

    # gradio names the API's parameters after these, and the tools of MCP
    safe.__wrapped__, safe.__doc__, safe.__name__ = with_editor, action.__doc__, action.__name__
    return safe


class Sitting:
    """A visitor's photo, read once: searched when it arrives, each face encoded when first edited.

    It keeps a preview, a few MB, and opens the photo again for what needs its full size.
    """

    def __init__(self, editor: ExpressionEditor, path: str):
        self.path = path
        photo = self._photo()
        self.faces = editor.find(photo)
        choose(self.faces)  # says so if there is none
        self.portraits = [portrait(photo, face) for face in self.faces if len(self.faces) > 1]
        self._subjects: dict[int, tuple[Subject, np.ndarray]] = {}
        self._read(editor, photo, 0)
        self._before: str | None = None

    @classmethod
    def of(cls, editor: ExpressionEditor, path: str, last: "Sitting | None") -> "Sitting":
        """The last one, if it was of this photo."""
        return last if last and last.path == path else cls(editor, path)

    def subject(self, editor: ExpressionEditor, face: int = 0) -> Subject:
        """A face in the preview."""
        if face not in self._subjects:
            self._read(editor, self._photo(), face)
        return self._subjects[face][0]

    def full_subject(self, editor: ExpressionEditor, face: int = 0) -> Subject:
        """The same face in the photo as it came."""
        small = self.subject(editor, face)
        return dataclasses.replace(small, photo=self._photo(), photo_from_crop=self._subjects[face][1])

    def before(self) -> str:
        """The photo as it came, to lay beside a preview."""
        if self._before is None or not Path(self._before).exists():
            self._before = new_path(PREVIEW_SUFFIX)
            self._subjects[0][0].photo.save(self._before, quality=95, subsampling=0)  # as save_photo does
        return self._before

    def _photo(self) -> Image.Image:
        if not Path(self.path).exists():
            raise ExprGANError(EXPIRED)
        return load_photo(self.path)

    def _read(self, editor: ExpressionEditor, photo: Image.Image, face: int) -> None:
        subject = editor.read(photo, choose(self.faces, face))
        small = subject.preview
        if self._subjects:  # all faces share one preview
            small = dataclasses.replace(small, photo=self._subjects[0][0].photo)
        self._subjects[face] = small, subject.photo_from_crop


# Edit.


def read(editor: ExpressionEditor, photo: str | None) -> tuple:
    """Finds the faces in a photo and reads what the largest shows.

    Args:
        photo: a JPEG, PNG or WebP file.

    Returns:
        A sentence on the largest face; a picture of every face, if there are several, largest first; the face chosen, 0.
    """
    if photo is None:
        return START, [], 0, None
    sitting = Sitting(editor, photo)
    return sentence(sitting.subject(editor).reading), sitting.portraits, 0, sitting


def edit(editor: ExpressionEditor, photo: str | None, expression: str, intensity: float, second: str, part: float,
         style: int, fidelity: str, face: int, sitting: Sitting | None) -> tuple:  # fmt: skip
    """Gives a face another expression.

    Args:
        photo: a JPEG, PNG or WebP file; without one, an example.
        expression: what the face is to show.
        intensity: from 0, neutral, to 1, full strength.
        second: an expression to mix in, or nothing.
        part: the second one's part of the mix, 0 to 1.
        style: one of the ways to show an expression, counted from 1; 0 is all of them together.
        fidelity: "detail" moves the photo's own pixels, "model" pastes the model's drawing.
        face: which face, counted from 0, largest first.

    Returns:
        The photo before and after, at most 1,024 px; a sentence on what the face now shows.
    """
    sitting = Sitting.of(editor, photo or EXAMPLES[0], sitting)
    result = edited(editor, sitting.subject(editor, face or 0), expression, intensity, second, part, style, fidelity)
    pair, status = views(editor, result, sitting)
    return pair, status if photo else f"{status} {EXAMPLE}", sitting


def first_of(expressions: tuple[str, ...]) -> str:
    """What a tab shows before anything is chosen."""
    return "happy" if "happy" in expressions else expressions[0]


def all_expressions(editor: ExpressionEditor, photo: str | None, face: int, sitting: Sitting | None) -> tuple:
    """Shows a face with all expressions at full strength, at a glance.

    Args:
        photo: a JPEG, PNG or WebP file; without one, an example.
        face: which face, counted from 0, largest first.

    Returns:
        A small picture of the face with each expression.
    """
    sitting = Sitting.of(editor, photo or EXAMPLES[0], sitting)
    subject = sitting.subject(editor, face or 0)
    names = editor.model.config.expressions
    return [(kept(editor.edit(subject, name).face, PREVIEW_SUFFIX), word(name).capitalize()) for name in names], sitting


def download_edit(editor: ExpressionEditor, photo: str | None, expression: str, intensity: float, second: str,
                  part: float, style: int, fidelity: str, face: int, sitting: Sitting | None) -> str:  # fmt: skip
    """Gives a face another expression; takes what `edit` takes.

    Returns:
        The photo in full size, in the format in which it came.
    """
    photo = photo or EXAMPLES[0]
    subject = Sitting.of(editor, photo, sitting).full_subject(editor, face or 0)
    return as_it_came(edited(editor, subject, expression, intensity, second, part, style, fidelity), photo)


def edited(editor: ExpressionEditor, subject: Subject, expression: str, intensity: float, second: str, part: float,
           style: int, fidelity: str) -> EditResult:  # fmt: skip
    """What `edit` and `download_edit` make."""
    mix = {expression: 1 - part, second: part} if second and second != expression else {expression: 1.0}
    return editor.edit(subject, mix, intensity, style=style - 1 if style else None, fidelity=fidelity)


def first_look(editor: ExpressionEditor) -> tuple:
    """What there is to see before there is a photo: an example before and after, what it shows, and all expressions."""
    pair, status, sitting = edit(editor, None, first_of(editor.expressions), 1.0, "", 0.5, 0, "detail", 0, None)
    return pair, status, all_expressions(editor, None, 0, sitting)[0]


def chosen_face(event: gr.SelectData) -> int:
    return event.index


def forget() -> tuple:
    """After a photo that cannot be edited, nothing is left of the one before it."""
    return None, [], NOT_EDITED, [], 0, None


# Transfer.


def transfer(editor: ExpressionEditor, photo: str | None, source: str | None, intensity: float,
             sitting: Sitting | None, source_sitting: Sitting | None) -> tuple:  # fmt: skip
    """Gives the largest face of a photo the expression of another photo's largest face.

    Args:
        photo: whose face is edited: a JPEG, PNG or WebP file.
        source: whose expression is taken.
        intensity: from 0, neutral, to 1, as in the source.

    Returns:
        The photo before and after, at most 1,024 px; a sentence on the expression that was read, and how certainly.
    """
    if photo is None or source is None:
        return None, START_TRANSFER, sitting, source_sitting
    sitting, source_sitting = Sitting.of(editor, photo, sitting), Sitting.of(editor, source, source_sitting)
    taken = source_sitting.subject(editor)
    result = editor.transfer(sitting.subject(editor), taken, intensity)
    pair, status = views(editor, result, sitting)
    return pair, f"{sentence(taken.reading, 'The other face')} {status}", sitting, source_sitting


def download_transfer(editor: ExpressionEditor, photo: str | None, source: str | None, intensity: float,
                      sitting: Sitting | None, source_sitting: Sitting | None) -> str:  # fmt: skip
    """Gives a photo another's expression; takes what `transfer` takes.

    Returns:
        The photo in full size, in the format in which it came.
    """
    if photo is None or source is None:
        raise ExprGANError(START_TRANSFER)
    subject = Sitting.of(editor, photo, sitting).full_subject(editor)
    taken = Sitting.of(editor, source, source_sitting).subject(editor)
    return as_it_came(editor.transfer(subject, taken, intensity), photo)


# Random people.


def generate(editor: ExpressionEditor, seed: int | None, count: int, expression: str, intensity: float) -> list:
    """Makes up people, as pictures of the model's own size.

    Args:
        seed: the same number makes the same people, whatever they show.
        count: how many, up to 12.
        expression: what they show; "all" shows each of them with all six in a row.
        intensity: from 0, neutral, to 1, full strength.

    Returns:
        The pictures, person by person, with what they are to show.
    """
    people = made_up(editor, seed, count, expression, intensity)
    return [(kept(picture, ".png"), f"{number}, {word(name)}") for number, name, picture in people]


def download_people(editor: ExpressionEditor, seed: int | None, count: int, expression: str, intensity: float) -> str:
    """Makes up people, labelled; takes what `generate` takes.

    Returns:
        A zip of the pictures with metadata.csv: file_name, subject, expression, intensity, as the Hub's imagefolder has it.
    """
    seed = a_seed(seed)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("file_name", "subject", "expression", "intensity"))
    path = new_path(".zip", f"people-{seed}-{expression}")
    with zipfile.ZipFile(path, "w") as archive:  # PNGs do not get smaller
        for number, name, picture in made_up(editor, seed, count, expression, intensity):
            subject = f"seed{seed}-{number:02d}"
            file_name = f"{subject}-{name}.png"
            rows.writerow((file_name, subject, name, 0.0 if name == NEUTRAL else intensity))
            data = io.BytesIO()
            picture.save(data, "PNG")  # it marks itself as made by AI
            archive.writestr(file_name, data.getvalue())
        archive.writestr("metadata.csv", table.getvalue())
    return path


def made_up(editor: ExpressionEditor, seed: int | None, count: int, expression: str, intensity: float) -> list[tuple]:
    """(number from 1, expression, picture), person by person."""
    if not 1 <= count <= MOST_PEOPLE:
        raise ValueError(f"count must be 1 to {MOST_PEOPLE}, not {count!r}")
    names, seed = editor.model.config.expressions if expression == ALL else (expression,), a_seed(seed)
    shown = [editor.generate(int(count), name, intensity, seed=seed) for name in names]
    return [(i + 1, name, shown[j][i]) for i in range(int(count)) for j, name in enumerate(names)]


def a_seed(seed: int | None) -> int:
    """The one given, or one drawn."""
    if seed is None:
        return random.randrange(10**6)
    if not 0 <= seed <= LAST_SEED:
        raise ValueError(f"seed must be 0 to {LAST_SEED}, not {seed!r}")
    return int(seed)


# Words, and files.


def word(expression: str) -> str:
    return WORDS.get(expression, expression)


def sentence(reading: Reading, face: str = "The face") -> str:
    certainty = reading.certainties[reading.expression]
    return f"{face} reads as **{word(reading.expression)}**, {certainty:.0%}."


def views(editor: ExpressionEditor, result: EditResult, sitting: Sitting) -> tuple[tuple[str, str], str]:
    """Before and after, and what the face now shows."""
    pair = sitting.before(), kept(result.preview, PREVIEW_SUFFIX)
    return pair, sentence(editor.read_expression(result.face), "The face now")


def portrait(photo: Image.Image, face: Face) -> Image.Image:
    """A face cut out with some air around it, to choose it by."""
    x0, y0, x1, y1 = face.box
    x, y, reach = (x0 + x1) / 2, (y0 + y1) / 2, 0.7 * max(x1 - x0, y1 - y0)
    inside = max(0, x - reach), max(0, y - reach), min(photo.width, x + reach), min(photo.height, y + reach)
    return ImageOps.fit(photo.crop(tuple(map(round, inside))), (160, 160))


def as_it_came(result: EditResult, photo: str) -> str:
    """The edited photo in the format in which it came."""
    came = Path(photo)
    return kept(result.image, came.suffix.lower() if came.suffix.lower() in SUFFIXES else ".png", f"{came.stem}-edited")


def kept(image: Image.Image, suffix: str, name: str = "") -> str:
    """Writes a picture, marked as edited by AI, and tells where."""
    path = new_path(suffix, name)
    save_photo(image, path)
    return path


def new_path(suffix: str, name: str = "") -> str:
    """A file in the folder that gradio empties; in a folder of its own if the visitor is to see its name."""
    folder = Path(get_upload_folder()) / (uuid.uuid4().hex if name else "exprgan")
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / f"{name or uuid.uuid4().hex}{suffix}")
