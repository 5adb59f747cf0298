"""The page's event handlers, which are also the endpoints of its API; their docstrings are its documentation.

A handler takes the editor and the values of controls; photos come, and results go, as paths of files that gradio deletes.
"""

import functools
import inspect
import random
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from ..csv_cells import format_row
from ..editing.multi_face import GroupResult
from ..editing.results import EditResult, Reading, Subject
from ..editor import ExpressionEditor
from ..errors import ExprGANError
from ..expressions import NEUTRAL
from ..photo.image_io import SUFFIXES, encode_image
from .photo_session import EXAMPLE_FOLDER, PhotoSession, new_path, save_result

EXAMPLES = sorted(map(str, EXAMPLE_FOLDER.glob("*.jpg")))
ADJECTIVES = {"disgust": "disgusted", "fear": "afraid", "surprise": "surprised"}
"""How an expression is called in a sentence, where its name is no adjective."""
ALL_EXPRESSIONS = "all"
"""In place of an expression: all of them, in a row."""
ONE_FACE, EACH_FACE, ALL_FACES = "one", "each", "all"
"""Scopes of an edit: the chosen face; it and those that got an expression before; or all of them with the same settings."""
MAX_PEOPLE = 12
MAX_SEED = 2**32 - 1

ADD_PHOTO = "Add a photo with a face, or choose one of the people below."
ADD_BOTH_PHOTOS = "Add both photos to begin."
EXAMPLE_SHOWN = "This is an example; add your own photo."
NOT_EDITED = "Nothing was edited. Choose a photo with a face seen from the front."

DEFAULTS: dict[str, Any] = {"expression": "", "intensity": 1.0, "second": "", "part": 0.5, "style": 0,
                            "fidelity": "detail"}  # fmt: skip
"""The settings of one face, in the order of the page's controls."""


def with_args_of(other: Callable) -> Callable:
    """Decorator: replaces "as `other`" under `Args` in a handler's docstring by the `Args` of `other`."""
    arguments = str(inspect.getdoc(other)).partition("Args:\n    ")[2].partition("\n\n")[0]

    def replace(handler: Callable) -> Callable:
        handler.__doc__ = str(inspect.getdoc(handler)).replace(f"as `{other.__name__}`", arguments)
        return handler

    return replace


def read(editor: ExpressionEditor, photo: str | None) -> tuple:
    """Finds the faces in a photo and reads what the largest shows.

    Args:
        photo: a JPEG, PNG or WebP file.

    Returns:
        A sentence on the largest face; a picture of every face, if there are several, largest first; the face chosen, 0.
    """
    if photo is None:
        return ADD_PHOTO, [], 0, None
    session = PhotoSession(editor, photo)
    subject = session.subject(editor)
    return f"{describe(subject.reading)} {subject.warning}".rstrip(), session.thumbnails, 0, session


def edit(editor: ExpressionEditor, photo: str | None, expression: str, intensity: float, second: str, part: float,
         style: int, fidelity: str, face: int, scope: str, others: dict, session: PhotoSession | None,
         progress=gr.Progress()) -> tuple:  # noqa: B008, so gradio knows it  # fmt: skip
    """Gives a face another expression, or several faces.

    Args:
        photo: a JPEG, PNG or WebP file; without one, an example.
        expression: target expression.
        intensity: from 0, neutral, to 1, full strength.
        second: an expression to mix in, or nothing.
        part: weight of the second expression in the mix, 0 to 1.
        style: one of the ways to show an expression, counted from 1; 0 is all of them together.
        fidelity: "detail" moves the photo's own pixels, "tuned" fits the model to the face first, which takes some
            seconds the first time, "model" pastes the model's drawing.
        face: which face, counted from 0, largest first.
        scope: "one" edits that face alone; "all", all faces the same; "each", that face and those in others.
        others: what other faces show, by their number from 0: {"1": {"expression": "sad", "intensity": 0.6}}.

    Returns:
        The photo before and after, at most 1,024 px; a sentence on what the face now shows.
    """
    settings, face = (expression, intensity, second, part, style, fidelity), int(face or 0)
    session, requests, subjects = read_faces(editor, photo, settings, face, scope, others, session, progress)
    result = edit_faces(editor, subjects, requests)
    several = len(session.faces) > 1
    now = describe(editor.read_expression(result.edits[face].face), f"{f'Face {face + 1}' if several else 'The face'} now")
    warnings = [f"Face {index + 1}: {edit.warning}" if several else edit.warning
                for index, edit in result.edits.items() if edit.warning]  # fmt: skip
    status = " ".join([now, *warnings])
    pair = session.save_preview(), save_result(result.preview)
    return pair, status if photo else f"{status} {EXAMPLE_SHOWN}", session


@with_args_of(edit)
def download_edit(editor: ExpressionEditor, photo: str | None, expression: str, intensity: float, second: str,
                  part: float, style: int, fidelity: str, face: int, scope: str, others: dict,
                  session: PhotoSession | None, progress=gr.Progress()) -> str:  # noqa: B008  # fmt: skip
    """Gives a face another expression, or several faces.

    Args:
        as `edit`

    Returns:
        The photo in full size, in the format in which it came.
    """
    settings = expression, intensity, second, part, style, fidelity
    session, requests, subjects = read_faces(editor, photo, settings, face, scope, others, session, progress)
    return save_in_same_format(edit_faces(editor, session.full_subjects(subjects), requests), session.path)


def all_expressions(editor: ExpressionEditor, photo: str | None, face: int, session: PhotoSession | None) -> tuple:
    """Shows a face with all expressions at full strength, at a glance.

    Args:
        photo: a JPEG, PNG or WebP file; without one, an example.
        face: which face, counted from 0, largest first.

    Returns:
        A small picture of the face with each expression.
    """
    session = PhotoSession.resume(editor, photo or EXAMPLES[0], session)
    subject = session.subject(editor, int(face or 0))
    pictures = [(save_result(editor.edit(subject, name).face), adjective(name).capitalize())
                for name in editor.model.config.expressions]  # fmt: skip
    return pictures, session


def number_faces(editor: ExpressionEditor, photo: str | None, face: int, session: PhotoSession | None) -> tuple:
    """Shows where the faces of a photo are, if there are several.

    Args:
        photo: a JPEG, PNG or WebP file.
        face: face to highlight, counted from 0, largest first.

    Returns:
        The photo, at most 1,024 px, with a number at every face, counted from 1; nothing where there is only one.
    """
    if photo is None:
        return None, session
    session = PhotoSession.resume(editor, photo, session)
    return session.save_numbered(int(face or 0)), session


def read_faces(editor: ExpressionEditor, photo: str | None, settings: tuple, face: int, scope: str, others: Mapping | None,
               session: PhotoSession | None, progress: gr.Progress, same_fidelity: bool = False
               ) -> tuple[PhotoSession, dict[int, dict], dict[int, Subject]]:  # fmt: skip
    """The session, and by face to edit its settings and its subject in the preview, tuned if requested.

    `settings` are those of `face`, in the order of `DEFAULTS`; with `same_fidelity` its fidelity is that of all faces.
    """
    session = PhotoSession.resume(editor, photo or EXAMPLES[0], session)
    requests = settings_by_face(len(session.faces), settings, int(face or 0), scope, others)
    report = functools.partial(progress, desc="Fitting the model to this face")
    if same_fidelity:
        requests = {index: {**request, "fidelity": settings[-1]} for index, request in requests.items()}
    tuned = {index: request["fidelity"] == "tuned" for index, request in requests.items()}
    return session, requests, session.subjects(editor, tuned, report)


def settings_by_face(num_faces: int, settings: tuple, face: int, scope: str, others: Mapping | None) -> dict[int, dict]:
    """The settings of each face to edit, by its number from 0; they are checked, as the API's JSON can hold anything."""
    if scope not in (ONE_FACE, EACH_FACE, ALL_FACES):
        raise ValueError(f"scope must be {ONE_FACE}, {EACH_FACE} or {ALL_FACES}, not {scope!r}")
    chosen = dict(zip(DEFAULTS, settings, strict=True))
    requests = {}
    if not isinstance(others or {}, Mapping):
        raise ValueError(f"others must be a JSON object, not {others!r}")
    for key, other in (others or {}).items() if scope == EACH_FACE else ():
        is_face = str(key).isdecimal() and int(key) < num_faces
        if not is_face or not isinstance(other, Mapping) or other.keys() - DEFAULTS.keys():
            raise ValueError('others must be like {"1": {"expression": "sad"}}, with faces 0 to '
                             f"{num_faces - 1}, not {others!r}")  # fmt: skip
        requests[int(key)] = {**DEFAULTS, **other}
    for request in (chosen, *requests.values()):
        for name, default in DEFAULTS.items():
            types, expected = ((str,), "a text") if isinstance(default, str) else ((int, float), "a number")
            if type(request[name]) not in types:
                raise ValueError(f"{name} must be {expected}, not {request[name]!r}")
    if scope == ALL_FACES:
        return dict.fromkeys(range(num_faces), chosen)
    return dict(sorted({**requests, face: chosen}.items()))


def edit_faces(editor: ExpressionEditor, subjects: Mapping[int, Subject], requests: Mapping[int, dict]) -> GroupResult:
    """Edits each subject as its request says."""
    edits = {}
    for face, request in requests.items():
        style = request["style"] - 1 if request["style"] else None
        edits[face] = editor.edit(subjects[face], expression_mix(request), request["intensity"], style=style,
                                  fidelity=request["fidelity"])  # fmt: skip
    return GroupResult(edits)


def expression_mix(request: Mapping[str, Any]) -> dict[str, float]:
    """Expression -> its part; one or two expressions, and the parts sum to 1."""
    first, second, part = request["expression"], request["second"], request["part"]
    return {first: 1 - part, second: part} if second and second != first else {first: 1.0}


def default_expression(expressions: tuple[str, ...]) -> str:
    """The expression that a tab shows before one is chosen."""
    return "happy" if "happy" in expressions else expressions[0]


def select_face(event: gr.SelectData, face: int, scope: str, others: dict, session: PhotoSession, *settings) -> tuple:
    """Chooses another face. In scope `EACH_FACE`, the last one's settings move to `others`, and the new one's come back.

    Args:
        event: a click on a thumbnail (its index), or on the numbered photo (x and y in px).
        face, scope, others, session, settings: before the click; `face`, `others` and `settings` after it are returned.
    """
    chosen = event.index if isinstance(event.index, int) else session.face_at(*event.index)
    if scope != EACH_FACE:
        return chosen, {}, *settings
    new_others = {key: request for key, request in others.items() if key != str(chosen)}
    if chosen == face:
        return chosen, new_others, *settings
    new_others[str(face)] = dict(zip(DEFAULTS, settings, strict=True))
    return chosen, new_others, *(others.get(str(chosen)) or new_others[str(face)]).values()


def transfer(editor: ExpressionEditor, photo: str | None, source: str | None, intensity: float,
             sessions: tuple[PhotoSession, PhotoSession] | None) -> tuple:  # fmt: skip
    """Gives the largest face of a photo the expression of another photo's largest face.

    Args:
        photo: whose face is edited: a JPEG, PNG or WebP file.
        source: whose expression is taken.
        intensity: from 0, neutral, to 1, as in the source.

    Returns:
        The photo before and after, at most 1,024 px; a sentence on the expression that was read, and how certainly.
    """
    if photo is None or source is None:
        return None, ADD_BOTH_PHOTOS, sessions
    session, source_session = map(PhotoSession.resume, (editor, editor), (photo, source), sessions or (None, None))
    source_subject = source_session.subject(editor)
    result = editor.transfer(session.subject(editor), source_subject, intensity)
    now = describe(editor.read_expression(result.face), "The face now")
    pair = session.save_preview(), save_result(result.preview)
    status = f"{describe(source_subject.reading, 'The other face')} {now} {result.warning}".rstrip()
    return pair, status, (session, source_session)


@with_args_of(transfer)
def download_transfer(editor: ExpressionEditor, photo: str | None, source: str | None, intensity: float,
                      sessions: tuple[PhotoSession, PhotoSession] | None) -> str:  # fmt: skip
    """Gives the largest face of a photo the expression of another photo's largest face.

    Args:
        as `transfer`

    Returns:
        The photo in full size, in the format in which it came.
    """
    if photo is None or source is None:
        raise ExprGANError(ADD_BOTH_PHOTOS)
    session, source_session = map(PhotoSession.resume, (editor, editor), (photo, source), sessions or (None, None))
    subject = session.full_subjects({0: session.subject(editor)})[0]
    result = editor.transfer(subject, source_session.subject(editor), intensity)
    return save_in_same_format(result, photo)


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
    _, people = generate_people(editor, seed, count, expression, intensity)
    return [(save_result(picture, ".png"), f"{number}, {adjective(name)}") for number, name, picture in people]


@with_args_of(generate)
def download_people(editor: ExpressionEditor, seed: int | None, count: int, expression: str, intensity: float) -> str:
    """Makes up people, labelled.

    Args:
        as `generate`

    Returns:
        A zip of the pictures with metadata.csv: file_name, subject, expression, intensity, as the Hub's imagefolder has it.
    """
    seed, people = generate_people(editor, seed, count, expression, intensity)
    rows: list[tuple[object, ...]] = [("file_name", "subject", "expression", "intensity")]
    path = new_path(".zip", f"people-{seed}-{expression}")
    with zipfile.ZipFile(path, "w") as archive:  # PNGs do not get smaller
        for number, name, picture in people:
            subject = f"seed{seed}-{number:02d}"
            file_name = f"{subject}-{name}.png"
            rows.append((file_name, subject, name, 0.0 if name == NEUTRAL else intensity))
            archive.writestr(file_name, encode_image(picture, "PNG"))  # with the marker of AI-generated pictures
        archive.writestr("metadata.csv", "".join(map(format_row, rows)))
    return path


def generate_people(editor: ExpressionEditor, seed: int | None, count: int, expression: str,
                    intensity: float) -> tuple[int, list[tuple[int, str, Image.Image]]]:  # fmt: skip
    """The seed, a random one if None, and person by person: number from 1, expression, picture."""
    seed = random.randrange(10**6) if seed is None else seed
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be 0 to {MAX_SEED}, not {seed!r}")
    if not 1 <= count <= MAX_PEOPLE:
        raise ValueError(f"count must be 1 to {MAX_PEOPLE}, not {count!r}")
    seed, count = int(seed), int(count)
    names = editor.model.config.expressions if expression == ALL_EXPRESSIONS else (expression,)
    pictures = [editor.generate(count, name, intensity, seed=seed) for name in names]
    return seed, [(i + 1, name, pictures[j][i]) for i in range(count) for j, name in enumerate(names)]


def adjective(expression: str) -> str:
    """The expression as a word of a sentence: "afraid" for "fear"."""
    return ADJECTIVES.get(expression, expression)


def describe(reading: Reading, subject: str = "The face") -> str:
    """A sentence on the expression and its certainty."""
    certainty = reading.certainties[reading.expression]
    return f"{subject} reads as **{adjective(reading.expression)}**, {certainty:.0%}."


def save_in_same_format(result: EditResult | GroupResult, photo: str) -> str:
    """Writes the edited photo in the format of the original, or as PNG, and returns its path."""
    suffix = Path(photo).suffix.lower()
    return save_result(result.image, suffix if suffix in SUFFIXES else ".png", f"{Path(photo).stem}-edited")
