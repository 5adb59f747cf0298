"""Handlers of the page's events: those of `handlers`, with what the page shows around their results."""

from typing import Any

import gradio as gr

from ..editing.results import Fidelity
from ..editor import ExpressionEditor
from ..errors import ExprGANError
from ..expressions import NEUTRAL
from . import handlers
from .handlers import ADD_BOTH_PHOTOS, ADD_PHOTO, EXAMPLE_SHOWN, EXAMPLES
from .photo_session import PhotoSession, save_result
from .stage import stage, tiles
from .words import AS_IT_IS, adjective, chips, describe, result_name, short_name, subject_notes, title


def read_photo(editor: ExpressionEditor, photo: str | None) -> tuple:
    """A sentence on the largest face, its number, the faces to choose from, and the session."""
    if photo is None:
        return ADD_PHOTO, 0, tiles([]), gr.update(visible=False), None
    session = PhotoSession(editor, photo)
    subject, number = session.subject(editor, session.largest), session.largest + 1
    several = len(session.faces) > 1
    status = [describe(subject.reading, f"Face {number}, the largest of {len(session.faces)}," if several else "The face"),
              *subject_notes(subject)]  # fmt: skip
    return " ".join(status), number, face_tiles(session, session.largest), gr.update(visible=several), session


def face_tiles(session: PhotoSession, chosen: int) -> dict[str, Any]:
    """The faces of a photo to choose from; none if there is only one."""
    return tiles(((number, f"Face {number}", save_result(picture)) for number, (picture, _)
                  in enumerate(session.thumbnails, 1)), chosen + 1)  # fmt: skip


def show_edit(editor: ExpressionEditor, photo: str | None, expression: str, intensity: float, second: str, part: float,
              style: int, fidelity: Fidelity, face: int, scope: str, others: dict, units: dict,
              session: PhotoSession | None, progress=gr.Progress()) -> tuple:  # noqa: B008, so gradio knows it  # fmt: skip
    """The edit as the viewer shows it, sentences on it, and the session; arguments as `handlers.edit`."""
    settings = handlers.with_defaults((expression, intensity, second, part, style, fidelity, units))
    session, requests, subjects = handlers.read_faces(
        editor, photo, tuple(settings.values()), face, scope, others, session, progress
    )
    index = session.index(face)
    pair, status = handlers.edit_preview(editor, session, requests, subjects, index)
    several = len(session.faces) > 1
    num_styles = editor.model.config.code_dim_each
    value = stage(
        pair, name=result_name(session.path, settings, len(requests)), title=edit_title(settings), boxes=session.boxes,
        face=index, photo=photo, settings=settings | {"face": index + 1, "scope": scope, "others": others},
        chips=chips(settings, num_styles, scope if several else "one", len(others or {})),
    )  # fmt: skip
    return value, status if photo else f"{status} {EXAMPLE_SHOWN}", session


def edit_title(settings: dict[str, Any]) -> str:
    """What an edit shows: "Happy, 80 %"."""
    adjusted = any(settings["units"].values())
    if settings["intensity"] == 0 or not settings["expression"]:
        return "Your photo, adjusted" if adjusted else "Your photo"
    mixed = settings["second"] and settings["second"] != settings["expression"]
    names = title(settings["expression"]) + (f" and {adjective(settings['second'])}" if mixed else "")
    strength = "" if settings["expression"] == NEUTRAL else f", {settings['intensity']:.0%}"
    return f"{names}{strength}{', adjusted' if adjusted else ''}"


def show_expressions(editor: ExpressionEditor, photo: str | None, face: int, session: PhotoSession | None) -> tuple:
    """The face with every expression, and neutral, at full strength, to choose from; and the session."""
    session = PhotoSession.resume(editor, photo or EXAMPLES[0], session)
    pictures, _ = handlers.all_expressions(editor, photo, face, session)
    neutral = save_result(editor.edit(session.subject(editor, session.index(face)), NEUTRAL).face)
    names = (*editor.model.config.expressions, NEUTRAL)
    paths = [*(path for path, _ in pictures), neutral]
    entries = [(name, title(name), path) for name, path in zip(names, paths, strict=True)]
    if editor.dials:
        face_as_it_is = save_result(editor.edit(session.subject(editor, session.index(face)), units={}).face)
        entries.append(("", AS_IT_IS, face_as_it_is))
    return tiles(entries), session


def save_transfer(editor: ExpressionEditor, photo: str | None, source: str | None, intensity: float, face: int,
                  source_face: int, relative: bool, sessions: tuple[PhotoSession, PhotoSession] | None) -> str:  # fmt: skip
    """The transfer in full size, of the visitor's own photos."""
    if photo is None or source is None:
        raise ExprGANError(ADD_BOTH_PHOTOS)
    return handlers.download_transfer(editor, photo, source, intensity, face, source_face, relative, sessions)


def show_transfer(editor: ExpressionEditor, photo: str | None, source: str | None, intensity: float, face: int,
                  source_face: int, relative: bool, sessions: tuple[PhotoSession, PhotoSession] | None
                  ) -> tuple:  # fmt: skip
    """The transfer as the viewer shows it, sentences, the faces of both photos to choose from, and the sessions."""
    if photo is None or source is None:
        return None, ADD_BOTH_PHOTOS, tiles([]), tiles([]), sessions
    intensity = 1.0 if intensity is None else intensity
    pair, status, sessions = handlers.transfer(editor, photo, source, intensity, face, source_face, relative, sessions)
    indices = [session.index(number) for session, number in zip(sessions, (face, source_face), strict=True)]
    value = stage(pair, name=f"{short_name(photo)}-like-{short_name(source)}", title="With the other expression",
                  boxes=sessions[0].boxes, face=indices[0], photo=photo)  # fmt: skip
    return value, status, *map(face_tiles, sessions, indices), sessions
