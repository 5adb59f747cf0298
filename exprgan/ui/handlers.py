"""What the app's tabs do. Photos come as paths, and results go as paths of files that gradio deletes.

An action takes the editor and what the visitor set; its docstring is what the API says of it. `with_error_handling` gives an action its
editor and a limit of time, and turns whatever goes wrong in it into a sentence.
"""

import contextvars
import csv
import functools
import inspect
import io
import logging
import random
import re
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as OutOfTime  # of Python 3.10; later the built-in one
from pathlib import Path

import gradio as gr

from exprgan import NEUTRAL, EditResult, ExpressionEditor, ExprGANError, GroupResult, Reading, Subject
from exprgan.photo.image_io import SUFFIXES
from exprgan.ui.photo_session import EXAMPLE_FOLDER, PREVIEW_SUFFIX, PhotoSession, save_result, new_path

EXAMPLES = sorted(map(str, EXAMPLE_FOLDER.glob("*.jpg")))
WORDS = {"disgust": "disgusted", "fear": "afraid", "surprise": "surprised"}
"""How an expression is called in a sentence, where its name is no adjective."""
ALL = "all"
"""In place of an expression: all of them, in a row."""
MOST_PEOPLE = 12
LAST_SEED = 2**32 - 1
AT_ONCE = 2
"""Actions worked on side by side; the others wait in the queue."""
ONE_FACE, EACH_FACE, ALL_FACES = "one", "each", "all"
"""Which faces are edited: the chosen one, it and those that got an expression before, or all of them alike."""
LIMIT_S = 30
"""The longest an action may take: ten times what the largest photo needs on two cores."""

START = "Add a photo with a face, or choose one of the people below."
START_TRANSFER = "Add both photos to begin."
EXAMPLE = "This is an example; add your own photo."
NOT_EDITED = "Nothing was edited. Choose a photo with a face seen from the front."
TOO_LONG = f"This took longer than {LIMIT_S} seconds and was given up. Please try again, or try a smaller photo."
APOLOGY = "Sorry, something went wrong here, not with you. Please try again, or try another photo."

DEFAULTS = {"expression": "", "intensity": 1.0, "second": "", "part": 0.5, "style": 0, "fidelity": "detail"}
"""What can be set of a face, in the order of the page's controls."""

LOG = logging.getLogger("exprgan.ui")
WORKERS = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="action")


def with_error_handling(action: Callable, editor: ExpressionEditor) -> Callable:
    """The action with its editor. What goes wrong reaches the visitor as a sentence; tracebacks are for the log."""
    with_editor = functools.partial(action, editor)

    def safe(*settings):
        running = WORKERS.submit(contextvars.copy_context().run, with_editor, *settings)  # gradio's progress looks there
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
    safe.__wrapped__, safe.__doc__, safe.__name__ = with_editor, in_full(inspect.getdoc(action) or ""), action.__name__
    return safe


def in_full(doc: str) -> str:
    """What the API says of an action that takes what another takes: with what is said there of each."""
    taken = re.search(r"takes what `(\w+)` takes", doc)
    if not taken:
        return doc
    other = inspect.getdoc(globals()[taken[1]])
    arguments = other[other.index("Args:") : other.index("\n\nReturns:")]
    if "Args:" in doc:
        return doc.replace("Args:", arguments)
    return doc.replace("\n\nReturns:", f"\n\n{arguments}\n\nReturns:")


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
    sitting = PhotoSession(editor, photo)
    return sentence(sitting.subject(editor).reading), sitting.portraits, 0, sitting


def edit(editor: ExpressionEditor, photo: str | None, expression: str, intensity: float, second: str, part: float,
         style: int, fidelity: str, face: int, scope: str, others: dict, sitting: PhotoSession | None,
         progress=gr.Progress()) -> tuple:  # noqa: B008, so gradio knows it  # fmt: skip
    """Gives a face another expression, or several faces.

    Args:
        photo: a JPEG, PNG or WebP file; without one, an example.
        expression: what the face is to show.
        intensity: from 0, neutral, to 1, full strength.
        second: an expression to mix in, or nothing.
        part: the second one's part of the mix, 0 to 1.
        style: one of the ways to show an expression, counted from 1; 0 is all of them together.
        fidelity: "detail" moves the photo's own pixels, "tuned" fits the model to the face first, which takes some
            seconds the first time, "model" pastes the model's drawing.
        face: which face, counted from 0, largest first.
        scope: "one" edits that face alone; "all", all faces alike; "each", that face and those in others.
        others: what other faces show, by their number from 0: {"1": {"expression": "sad", "intensity": 0.6}}.

    Returns:
        The photo before and after, at most 1,024 px; a sentence on what the face now shows.
    """
    sitting, face = PhotoSession.of(editor, photo or EXAMPLES[0], sitting), int(face or 0)
    wishes = requests_by_face(sitting, (expression, intensity, second, part, style, fidelity), face, scope, others)
    result = edited(editor, subjects_of(sitting, editor, wishes, progress), wishes)
    status = sentence(editor.read_expression(result.edits[face].face), f"{named(sitting, face)} now")
    pair = sitting.before(), save_result(result.preview, PREVIEW_SUFFIX)
    return pair, status if photo else f"{status} {EXAMPLE}", sitting


def first_of(expressions: tuple[str, ...]) -> str:
    """What a tab shows before anything is chosen."""
    return "happy" if "happy" in expressions else expressions[0]


def all_expressions(editor: ExpressionEditor, photo: str | None, face: int, sitting: PhotoSession | None) -> tuple:
    """Shows a face with all expressions at full strength, at a glance.

    Args:
        photo: a JPEG, PNG or WebP file; without one, an example.
        face: which face, counted from 0, largest first.

    Returns:
        A small picture of the face with each expression.
    """
    sitting = PhotoSession.of(editor, photo or EXAMPLES[0], sitting)
    subject = sitting.subject(editor, face or 0)
    names = editor.model.config.expressions
    return [
        (save_result(editor.edit(subject, name).face, PREVIEW_SUFFIX), word(name).capitalize()) for name in names
    ], sitting


def download_edit(editor: ExpressionEditor, photo: str | None, expression: str, intensity: float, second: str,
                  part: float, style: int, fidelity: str, face: int, scope: str, others: dict,
                  sitting: PhotoSession | None, progress=gr.Progress()) -> str:  # noqa: B008  # fmt: skip
    """Gives a face another expression, or several faces; takes what `edit` takes.

    Returns:
        The photo in full size, in the format in which it came.
    """
    photo = photo or EXAMPLES[0]
    sitting = PhotoSession.of(editor, photo, sitting)
    wishes = requests_by_face(
        sitting, (expression, intensity, second, part, style, fidelity), int(face or 0), scope, others
    )
    subjects = sitting.full_subjects(subjects_of(sitting, editor, wishes, progress))
    return as_it_came(edited(editor, subjects, wishes), photo)


def number_faces(editor: ExpressionEditor, photo: str | None, face: int, sitting: PhotoSession | None) -> tuple:
    """Shows where the faces of a photo are, if there are several.

    Args:
        photo: a JPEG, PNG or WebP file.
        face: which one to set off, counted from 0, largest first.

    Returns:
        The photo, at most 1,024 px, with a number at every face, counted from 1; nothing where there is only one.
    """
    if photo is None:
        return None, sitting
    sitting = PhotoSession.of(editor, photo, sitting)
    return sitting.numbered(int(face or 0)), sitting


def requests_by_face(
    sitting: PhotoSession, settings: tuple, face: int, scope: str, others: Mapping | None
) -> dict[int, dict]:
    """What each face is to show, by its number from 0."""
    wish, last = checked(dict(zip(DEFAULTS, settings, strict=True))), len(sitting.faces) - 1
    if scope == ALL_FACES:
        return dict.fromkeys(range(last + 1), wish)
    if scope == ONE_FACE:
        return {face: wish}
    if scope != EACH_FACE:
        raise ValueError(f"scope must be {ONE_FACE}, {EACH_FACE} or {ALL_FACES}, not {scope!r}")
    wishes = {face: wish}
    for place, other in (others or {}).items():
        if (
            not str(place).isdecimal()
            or int(place) > last
            or not isinstance(other, Mapping)
            or other.keys() - DEFAULTS.keys()
        ):
            raise ValueError(
                f'others must be like {{"1": {{"expression": "sad"}}}}, with faces 0 to {last}, not {others!r}'
            )
        wishes.setdefault(int(place), checked(DEFAULTS | other))
    return dict(sorted(wishes.items()))


def checked(wish: dict) -> dict:
    """What a face is to show, if all of it is of the types of `DEFAULTS`: the API's JSON can hold anything."""
    for name, usual in DEFAULTS.items():
        kinds, what = ((str,), "a text") if isinstance(usual, str) else ((int, float), "a number")
        if type(wish[name]) not in kinds:
            raise ValueError(f"{name} must be {what}, not {wish[name]!r}")
    return wish


def subjects_of(sitting: PhotoSession, editor: ExpressionEditor, wishes: Mapping[int, dict],
                progress: gr.Progress) -> dict[int, Subject]:  # fmt: skip
    """The faces that are to be edited, in the preview, with the decoders that they are to be edited with."""

    def tell(share: float) -> None:
        progress(share, desc="Fitting the model to this face")

    return {place: sitting.subject(editor, place, wish["fidelity"] == "tuned", tell) for place, wish in wishes.items()}


def edited(editor: ExpressionEditor, subjects: Mapping[int, Subject], wishes: Mapping[int, dict]) -> GroupResult:
    """What `edit` and `download_edit` make."""
    edits = {}
    for place, wish in wishes.items():
        style = wish["style"] - 1 if wish["style"] else None
        edits[place] = editor.edit(
            subjects[place], expression_mix(wish), wish["intensity"], style=style, fidelity=wish["fidelity"]
        )
    return GroupResult(edits)


def expression_mix(wish: Mapping) -> dict[str, float]:
    """The expression, or the mix."""
    first, second, part = wish["expression"], wish["second"], wish["part"]
    return {first: 1 - part, second: part} if second and second != first else {first: 1.0}


def first_look(editor: ExpressionEditor) -> tuple:
    """What there is to see before there is a photo: an example before and after, what it shows, and all expressions."""
    pair, status, sitting = edit(
        editor, None, first_of(editor.expressions), *list(DEFAULTS.values())[1:], 0, ONE_FACE, {}, None
    )
    return pair, status, all_expressions(editor, None, 0, sitting)[0]


def chosen_face(
    event: gr.SelectData, face: int, scope: str, others: dict, sitting: PhotoSession | None, *settings
) -> tuple:
    """Another face: what the last one shows is remembered where each shows its own; the controls show the new one's."""
    chosen = event.index if isinstance(event.index, int) else sitting.face_at(*event.index)
    if scope != EACH_FACE:
        return chosen, {}, *settings
    remembered = {place: wish for place, wish in others.items() if place != str(chosen)}
    if chosen != face:
        remembered[str(face)] = dict(zip(DEFAULTS, settings, strict=True))
    wish = others.get(str(chosen)) if chosen != face else None
    return chosen, remembered, *(wish.values() if wish else settings)


def forget() -> tuple:
    """After a photo that cannot be edited, nothing is left of the one before it."""
    return None, [], None, NOT_EDITED, [], 0, None


# Transfer.


def transfer(editor: ExpressionEditor, photo: str | None, source: str | None, intensity: float,
             sittings: tuple[PhotoSession, PhotoSession] | None) -> tuple:  # fmt: skip
    """Gives the largest face of a photo the expression of another photo's largest face.

    Args:
        photo: whose face is edited: a JPEG, PNG or WebP file.
        source: whose expression is taken.
        intensity: from 0, neutral, to 1, as in the source.

    Returns:
        The photo before and after, at most 1,024 px; a sentence on the expression that was read, and how certainly.
    """
    if photo is None or source is None:
        return None, START_TRANSFER, sittings
    sitting, source_sitting = both_of(editor, photo, source, sittings)
    taken = source_sitting.subject(editor)
    result = editor.transfer(sitting.subject(editor), taken, intensity)
    pair, status = (sitting.before(), save_result(result.preview, PREVIEW_SUFFIX)), editor.read_expression(result.face)
    told = f"{sentence(taken.reading, 'The other face')} {sentence(status, 'The face now')}"
    return pair, told, (sitting, source_sitting)


def download_transfer(editor: ExpressionEditor, photo: str | None, source: str | None, intensity: float,
                      sittings: tuple[PhotoSession, PhotoSession] | None) -> str:  # fmt: skip
    """Gives a photo another's expression; takes what `transfer` takes.

    Returns:
        The photo in full size, in the format in which it came.
    """
    if photo is None or source is None:
        raise ExprGANError(START_TRANSFER)
    sitting, source_sitting = both_of(editor, photo, source, sittings)
    return as_it_came(editor.transfer(sitting.full_subject(editor), source_sitting.subject(editor), intensity), photo)


def both_of(
    editor: ExpressionEditor, photo: str, source: str, last: tuple[PhotoSession, PhotoSession] | None
) -> tuple[PhotoSession, PhotoSession]:
    """The two photos, each read once."""
    one, other = last or (None, None)
    return PhotoSession.of(editor, photo, one), PhotoSession.of(editor, source, other)


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
    return [(save_result(picture, ".png"), f"{number}, {word(name)}") for number, name, picture in people]


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


def named(sitting: PhotoSession, face: int) -> str:
    """How a face is called: by its number, where there are several."""
    return f"Face {face + 1}" if len(sitting.faces) > 1 else "The face"


def as_it_came(result: EditResult | GroupResult, photo: str) -> str:
    """The edited photo in the format in which it came."""
    came = Path(photo)
    return save_result(
        result.image, came.suffix.lower() if came.suffix.lower() in SUFFIXES else ".png", f"{came.stem}-edited"
    )
