"""The page's event handlers, which are also the endpoints of its API; their docstrings are its documentation.

A handler takes the editor and the values of controls; photos come, and results go, as paths of files that gradio deletes.
"""

import functools
import inspect
import random
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from ..csv_cells import format_row
from ..editing.dials import check_dials
from ..editing.multi_face import GroupResult
from ..editing.results import Subject
from ..editor import ExpressionEditor
from ..expressions import NEUTRAL
from ..models.controller import check_intensity
from ..photo.image_io import SUFFIXES, encode_image
from .photo_session import EXAMPLE_FOLDER, PhotoSession, new_path, save_result
from .words import DRAWN, UNCHANGED, adjective, describe, face_notes, result_name, short_name, subject_notes, title

EXAMPLES = sorted(map(str, EXAMPLE_FOLDER.glob("*.jpg")))
EXPRESSIVE = sorted(map(str, EXAMPLE_FOLDER.glob("expressive/*.jpg")))
"""Faces that show an expression, to take it from."""
ALL_EXPRESSIONS = "all"
"""In place of an expression: all of them, in a row."""
ONE_FACE, EACH_FACE, ALL_FACES = "one", "each", "all"
"""Scopes of an edit: the chosen face; it and those that got an expression before; or all of them with the same settings."""
POINTS = "left_eye", "right_eye", "nose", "left_mouth_corner", "right_mouth_corner"
"""`Face.landmarks`, by name; left is the photo's."""
MAX_PEOPLE = 12
MAX_SEED = 2**32 - 1

ADD_PHOTO = "Add a photo with a face, or choose one of the people below."
ADD_BOTH_PHOTOS = "Add both photos to begin."
EXAMPLE_SHOWN = "This is an example; add your own photo."
NOT_EDITED = "Nothing was edited. Choose a photo with a face seen from the front."

DEFAULTS: dict[str, Any] = {"expression": "", "intensity": 1.0, "second": "", "part": 0.5, "style": 0,
                            "fidelity": "detail", "units": {}}  # fmt: skip
"""The settings of one face."""


EXPECTED = {str: "a text", int: "a number", float: "a number", dict: "a JSON object"}
"""Type of a default -> what the setting must be."""


def with_args_of(other: Callable, last: str = "") -> Callable:
    """Decorator: replaces "as `other`" under `Args` in a handler's docstring by the `Args` of `other`.

    The text of the parameter `last`, the last one of `other`, takes the place of "LAST".
    """
    arguments = str(inspect.getdoc(other)).partition("Args:\n    ")[2].partition("\n\n")[0]
    before, _, text = arguments.partition(f"\n    {last}: ") if last else (arguments, "", "")

    def replace(handler: Callable) -> Callable:
        doc = str(inspect.getdoc(handler)).replace(f"as `{other.__name__}`", before)
        handler.__doc__ = doc.replace(f"{last}: LAST", f"{last}: {text}") if last else doc
        return handler

    return replace


def read(editor: ExpressionEditor, photo: str | None, session: PhotoSession | None = None) -> tuple[dict, PhotoSession]:
    """Finds the faces in a photo, from left to right, and reads their expressions.

    Args:
        photo: a JPEG, PNG or WebP file; without one, an example.

    Returns:
        width and height of the photo in px, and faces: of each its number (face, from 1), box (x0, y0, x1, y1) and points
            (x, y) in px, left as in the picture, certainty that it is a face (0 to 1), expression, certainties of
            all expressions (calibrated on rendered faces only), and notes, sentences on what may go wrong with it.
    """
    session = PhotoSession(editor, photo or EXAMPLES[0])
    (width, height), faces = session.photo_size, []
    for index, face in enumerate(session.faces):
        subject = session.subject(editor, index)
        reading = subject.reading
        faces.append({
            "face": index + 1, "box": [round(value, 1) for value in face.box],
            "points": {name: [round(x, 1), round(y, 1)] for name, (x, y) in zip(POINTS, face.landmarks, strict=True)},
            "certainty": round(face.score, 4), "expression": reading.expression,
            "certainties": {name: round(value, 4) for name, value in reading.certainties.items()},
            "notes": subject_notes(subject),
        })  # fmt: skip
    return {"width": width, "height": height, "faces": faces}, session


def edit(editor: ExpressionEditor, photo: str | None, expression: str, intensity: float, second: str, part: float,
         style: int, fidelity: str, face: int, scope: str, others: dict, units: dict, session: PhotoSession | None,
         progress=gr.Progress()) -> tuple:  # noqa: B008, so gradio knows it  # fmt: skip
    """Gives a face another expression, or several faces.

    Args:
        photo: a JPEG, PNG or WebP file; without one, an example.
        expression: target expression; empty, if the model takes units: the face stays as it is, apart from units.
        intensity: from 0, the photo as it is, to 1, full strength; without an effect on neutral. It scales units only if
            there is no expression.
        second: an expression to mix in, or nothing.
        part: weight of the second expression in the mix, 0 to 1.
        style: one of the ways to show an expression, counted from 1; 0 is all of them together.
        fidelity: "detail" moves the photo's own pixels, "tuned" fits the model to the face first, which takes some
            seconds the first time, "model" pastes the model's drawing.
        face: which face, counted from 1, from left to right; 0 is the largest.
        scope: "one" edits that face alone; "all", all faces the same; "each", that face and those in others.
        others: what other faces show, by their number from 1: {"2": {"expression": "sad", "intensity": 0.6}}.
        units: parts of the face to move on top, each from -1 to 1: {"smile": 0.4, "lids_left": -1}. Names: lids, squint,
            brows_inner, brows_outer, brows_lower, cheeks, nose, smile, frown, lips_apart, jaw, stretch, pucker, press; all
            but lips_apart, jaw, pucker and press also with _left or _right, the person's own side. Negative values take
            away what is there; lids at -1 are closed.

    Returns:
        The photo before and after, at most 1,024 px; a sentence on what the face now shows.
    """
    settings = expression, intensity, second, part, style, fidelity, units
    session, requests, subjects = read_faces(editor, photo, settings, face, scope, others, session, progress)
    pair, status = edit_preview(editor, session, requests, subjects, session.index(face))
    return pair, status if photo else f"{status} {EXAMPLE_SHOWN}", session


def edit_preview(editor: ExpressionEditor, session: PhotoSession, requests: Mapping[int, dict],
                 subjects: Mapping[int, Subject], face: int) -> tuple[tuple[str, str], str]:  # fmt: skip
    """The paths of the preview before and after (the same one if nothing changed), and sentences on the edit of `face`."""
    result, before = edit_faces(editor, subjects, requests), session.save_preview()
    several = len(session.faces) > 1
    notes = [f"Face {index + 1}: {note}" if several else note
             for index, subject in subjects.items() for note in face_notes(subject.face)]  # fmt: skip
    if result is None or result.preview.tobytes() == session.preview.tobytes():
        return (before, before), " ".join([UNCHANGED, *notes])
    warnings = [f"Face {index + 1}: {edit.warning}" if several else edit.warning
                for index, edit in result.edits.items() if edit.warning]  # fmt: skip
    sentences = []
    if face in result.edits:
        name = f"Face {face + 1} now" if several else "The face now"
        sentences.append(describe(editor.read_expression(result.edits[face].face), name))
    if any(request["fidelity"] == "model" for request in requests.values()):
        sentences.append(DRAWN)
    sentences += warnings + [note for note in notes if not any(note in warning for warning in warnings)]
    return (before, save_result(result.preview)), " ".join(sentences)


@with_args_of(edit)
def download_edit(editor: ExpressionEditor, photo: str | None, expression: str, intensity: float, second: str,
                  part: float, style: int, fidelity: str, face: int, scope: str, others: dict, units: dict,
                  session: PhotoSession | None, progress=gr.Progress()) -> str:  # noqa: B008  # fmt: skip
    """Gives a face another expression, or several faces.

    Args:
        as `edit`

    Returns:
        The photo in full size, in the format in which it came.
    """
    settings = expression, intensity, second, part, style, fidelity, units
    session, requests, subjects = read_faces(editor, photo, settings, face, scope, others, session, progress)
    chosen, full = requests[session.index(face)], session.full_subjects(subjects)
    result, name = edit_faces(editor, full, requests), result_name(session.path, chosen, len(requests))
    return save_in_same_format(next(iter(full.values())).photo if result is None else result.image, session.path, name)


def all_expressions(editor: ExpressionEditor, photo: str | None, face: int, session: PhotoSession | None) -> tuple:
    """Shows a face with all expressions at full strength, at a glance.

    Args:
        photo: a JPEG, PNG or WebP file; without one, an example.
        face: which face, counted from 1, from left to right; 0 is the largest.

    Returns:
        A small picture of the face with each expression.
    """
    session = PhotoSession.resume(editor, photo or EXAMPLES[0], session)
    subject = session.subject(editor, session.index(face))
    return [
        (save_result(editor.edit(subject, name).face), title(name)) for name in editor.model.config.expressions
    ], session


def number_faces(editor: ExpressionEditor, photo: str | None, face: int, session: PhotoSession | None) -> tuple:
    """Shows where the faces of a photo are, if there are several.

    Args:
        photo: a JPEG, PNG or WebP file.
        face: face to highlight, counted from 1, from left to right; 0 is the largest.

    Returns:
        The photo, at most 1,024 px, with a number at every face, counted from 1; nothing where there is only one.
    """
    if photo is None:
        return None, session
    session = PhotoSession.resume(editor, photo, session)
    return session.save_numbered(session.index(face)), session


def read_faces(editor: ExpressionEditor, photo: str | None, settings: tuple, face: int, scope: str, others: Mapping | None,
               session: PhotoSession | None, progress: gr.Progress, same_fidelity: bool = False
               ) -> tuple[PhotoSession, dict[int, dict], dict[int, Subject]]:  # fmt: skip
    """The session, and by face to edit its settings and its subject in the preview, tuned if requested.

    `settings` are those of `face`, in the order of `DEFAULTS`; with `same_fidelity` its fidelity is that of all faces.
    """
    session = PhotoSession.resume(editor, photo or EXAMPLES[0], session)
    requests = settings_by_face(len(session.faces), settings, session.index(face), scope, others)
    report = functools.partial(progress, desc="Fitting the model to this face")
    if same_fidelity:
        fidelity = with_defaults(settings)["fidelity"]
        requests = {index: {**request, "fidelity": fidelity} for index, request in requests.items()}
    tuned = {index: request["fidelity"] == "tuned" for index, request in requests.items()}
    return session, requests, session.subjects(editor, tuned, report)


def settings_by_face(num_faces: int, settings: tuple, face: int, scope: str, others: Mapping | None) -> dict[int, dict]:
    """The settings of each face to edit, by its index (`others` count from 1); checked, as JSON can hold anything."""
    if scope not in (ONE_FACE, EACH_FACE, ALL_FACES):
        raise ValueError(f"scope must be {ONE_FACE}, {EACH_FACE} or {ALL_FACES}, not {scope!r}")
    chosen = with_defaults(settings)
    requests = {}
    if not isinstance(others or {}, Mapping):
        raise ValueError(f"others must be a JSON object, not {others!r}")
    for key, other in (others or {}).items() if scope == EACH_FACE else ():
        is_face = str(key).isdecimal() and 1 <= int(key) <= num_faces
        if not is_face or not isinstance(other, Mapping) or other.keys() - DEFAULTS.keys():
            raise ValueError('others must be like {"2": {"expression": "sad"}}, with faces 1 to '
                             f"{num_faces}, not {others!r}")  # fmt: skip
        requests[int(key) - 1] = {**DEFAULTS, **other}
    for request in (chosen, *requests.values()):
        for name, default in DEFAULTS.items():
            if type(request[name]) not in ((int, float) if isinstance(default, (int, float)) else (type(default),)):
                raise ValueError(f"{name} must be {EXPECTED[type(default)]}, not {request[name]!r}")
        check_dials(request["units"])
    if scope == ALL_FACES:
        return dict.fromkeys(range(num_faces), chosen)
    return dict(sorted({**requests, face: chosen}.items()))


def with_defaults(settings: Sequence) -> dict[str, Any]:
    """The settings of one face by name; what is missing, as in an emptied box, is the default."""
    return {name: default if value is None and isinstance(default, (float, dict)) else value
            for (name, default), value in zip(DEFAULTS.items(), settings, strict=True)}  # fmt: skip


def edit_faces(
    editor: ExpressionEditor, subjects: Mapping[int, Subject], requests: Mapping[int, dict]
) -> GroupResult | None:
    """Edits each subject as its request says; if all stay as they are, the result is None.

    At intensity 0 a face stays as it is, apart from the units on top of an expression.
    """
    edits = {}
    for face, request in requests.items():
        mix, intensity, units = expression_mix(request), check_intensity(request["intensity"]), request["units"] or None
        if mix is None and not editor.dials:
            raise ValueError(f"expression must be one of {', '.join(editor.expressions)}, not ''")
        if intensity == 0 and mix:
            mix, intensity = None, 1.0
        if mix is None and (units is None or intensity == 0):
            continue
        style = request["style"] - 1 if request["style"] else None
        edits[face] = editor.edit(subjects[face], mix, intensity, style=style, units=units,
                                  fidelity=request["fidelity"])  # fmt: skip
    return GroupResult(edits) if edits else None


def expression_mix(request: Mapping[str, Any]) -> dict[str, float] | None:
    """Expression -> its part; one or two expressions, and the parts sum to 1. None: no expression."""
    first, second, part = request["expression"], request["second"], request["part"]
    if not first:
        return None
    return {first: 1 - part, second: part} if second and second != first else {first: 1.0}


def default_expression(expressions: tuple[str, ...]) -> str:
    """The expression that a tab shows before one is chosen."""
    return "happy" if "happy" in expressions else expressions[0]


def transfer(editor: ExpressionEditor, photo: str | None, source: str | None, intensity: float, face: int,
             source_face: int, relative: bool, sessions: tuple[PhotoSession, PhotoSession] | None) -> tuple:  # fmt: skip
    """Gives a face of a photo the expression of another photo's face.

    Args:
        photo: whose face is edited: a JPEG, PNG or WebP file; without one, an example.
        source: whose expression is taken; without one, an example.
        intensity: from 0, the photo as it is, to 1, as in the source.
        face: which face of photo, counted from 1, from left to right; 0 is the largest.
        source_face: which face of source, counted likewise.
        relative: whether to add the expression to what the face shows, instead of replacing that.

    Returns:
        The photo before and after, at most 1,024 px; a sentence on the expression that was read.
    """
    sessions = read_both(editor, photo, source, sessions)
    subject, source_subject = (session.subject(editor, session.index(number))
                               for session, number in zip(sessions, (face, source_face), strict=True))  # fmt: skip
    before, notes = sessions[0].save_preview(), face_notes(subject.face)
    status = [describe(source_subject.reading, "The other face")]
    status += [f"The other face: {note}" for note in face_notes(source_subject.face)]
    if check_intensity(intensity) == 0:
        return (before, before), " ".join([*status, UNCHANGED, *notes]), sessions
    result = editor.transfer(subject, source_subject, intensity, relative=bool(relative))
    status += [describe(editor.read_expression(result.face), "The face now"), result.warning]
    status += [note for note in notes if note not in result.warning]
    return (before, save_result(result.preview)), " ".join(filter(None, status)), sessions


@with_args_of(transfer)
def download_transfer(editor: ExpressionEditor, photo: str | None, source: str | None, intensity: float, face: int,
                      source_face: int, relative: bool, sessions: tuple[PhotoSession, PhotoSession] | None
                      ) -> str:  # fmt: skip
    """Gives a face of a photo the expression of another photo's face.

    Args:
        as `transfer`

    Returns:
        The photo in full size, in the format in which it came.
    """
    session, other = read_both(editor, photo, source, sessions)
    index = session.index(face)
    subject = session.full_subjects({index: session.subject(editor, index)})[index]
    source_subject = other.subject(editor, other.index(source_face))
    result = subject.photo
    if check_intensity(intensity):
        result = editor.transfer(subject, source_subject, intensity, relative=bool(relative)).image
    return save_in_same_format(result, session.path, f"{short_name(session.path)}-like-{short_name(other.path)}")


def read_both(editor: ExpressionEditor, photo: str | None, source: str | None,
              sessions: tuple[PhotoSession, PhotoSession] | None) -> tuple[PhotoSession, PhotoSession]:  # fmt: skip
    """The sessions of both photos of a transfer, or of examples."""
    first, second = sessions or (None, None)
    return (PhotoSession.resume(editor, photo or EXAMPLES[0], first),
            PhotoSession.resume(editor, source or EXPRESSIVE[0], second))  # fmt: skip


def generate(editor: ExpressionEditor, seed: int | None, count: int, expression: str, intensity: float) -> list:
    """Makes up people, as pictures of 256 pixels with the bundled weights.

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
            rows.append((file_name, subject, name, 0.0 if name == NEUTRAL else 1.0 if intensity is None else intensity))
            archive.writestr(file_name, encode_image(picture, "PNG"))  # with the marker of AI-generated pictures
        archive.writestr("metadata.csv", "".join(map(format_row, rows)))
    return path


def generate_people(editor: ExpressionEditor, seed: int | None, count: int, expression: str,
                    intensity: float) -> tuple[int, list[tuple[int, str, Image.Image]]]:  # fmt: skip
    """The seed, a random one if None, and person by person: number from 1, expression, picture."""
    seed, count = random.randrange(10**6) if seed is None else seed, MAX_PEOPLE if count is None else count
    intensity = 1.0 if intensity is None else intensity
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be 0 to {MAX_SEED}, not {seed!r}")
    if not 1 <= count <= MAX_PEOPLE:
        raise ValueError(f"count must be 1 to {MAX_PEOPLE}, not {count!r}")
    seed, count = int(seed), int(count)
    names = editor.model.config.expressions if expression == ALL_EXPRESSIONS else (expression,)
    rows = enumerate(editor.generate_rows(count, names, intensity, seed=seed), 1)
    return seed, [(number, name, picture) for number, row in rows for name, picture in zip(names, row, strict=True)]


def save_in_same_format(image: Image.Image, photo: str, name: str) -> str:
    """Writes an edited photo in the format of the original, or as PNG, under a name, and returns its path."""
    suffix = Path(photo).suffix.lower()
    return save_result(image, suffix if suffix in SUFFIXES else ".png", name)
