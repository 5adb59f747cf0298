"""The Film tab: its handlers. A person in a film gets another expression, or a photo the expressions of a film."""

import math
import re
from typing import Any

import gradio as gr

from ..editor import ExpressionEditor
from ..errors import ExprGANError
from ..models.controller import check_intensity
from ..video.film import FilmProgress, FilmResult
from ..video.keyframes import parse_keyframe
from .handlers import EXAMPLES, with_args_of
from .photo_session import EXAMPLE_FOLDER, new_path
from .words import short_name

EXAMPLE_FILM = str(EXAMPLE_FOLDER / "film.mp4")

EDIT_FILM, DRIVE_PHOTO = "edit", "drive"
"""What happens: the person in the film changes, or the photo moves like the person in the film."""
MAX_SECONDS, MAX_SIDE_PX = 15, 720
"""The longest film, and its longer side; a larger one is made smaller."""
TIMEOUT_S = 300
"""The longest that a film may take."""
QUEUE = {"concurrency_id": "film", "concurrency_limit": 1}
"""Options of events that make a film: one at a time."""
ADD_FILM = "Add a film in which a face is seen."
ADD_FILM_AND_PHOTO = "Add a film and a photo, each with a face."


def make_film(editor: ExpressionEditor, clip: str | None, photo: str | None, action: str, expression: str,
              intensity: float, keyframes: str, progress=gr.Progress()) -> tuple[str, str]:  # noqa: B008, so gradio knows it  # fmt: skip
    """Makes a film: of the clip with another expression, or of a photo with the clip's expressions.

    Args:
        clip: an MP4, WebM or MOV file of at most 15 seconds.
        photo: for "drive", the photo whose face moves: a JPEG, PNG or WebP file.
        action: "edit" changes the person in the film, "drive" moves the photo.
        expression: target expression, for "edit".
        intensity: 0 to 1: of the expression, or, for "drive", how much of the film's expressions the photo takes on.
        keyframes: in place of the expression, times in seconds and expressions: "0=neutral 1.5=happy:0.8".

    Returns:
        The film, and a sentence on it.
    """
    if clip is None or (action == DRIVE_PHOTO and photo is None):
        raise ExprGANError(ADD_FILM_AND_PHOTO if action == DRIVE_PHOTO else ADD_FILM)
    intensity = check_intensity(1.0 if intensity is None else intensity)

    def report(state: FilmProgress) -> None:
        left = f"{math.ceil(state.seconds_left)} s left" if math.isfinite(state.seconds_left) else "starting"
        progress((state.frames, state.total), desc=f"Making the film, {left}", unit="frames")

    options: dict[str, Any] = {"progress": report, "keep_parts": False, "max_seconds": MAX_SECONDS, "max_side": MAX_SIDE_PX}
    name = short_name(clip)
    if action == DRIVE_PHOTO:
        path = new_path(".mp4", f"{short_name(str(photo))}-like-{name}")
        result = editor.drive(photo, clip, path, intensity, **options)
    else:
        words = [word for word in re.split(r"[\s,;]+", keyframes or "") if word]
        path = new_path(".mp4", f"{name}-{'edited' if words else expression}")
        result = editor.edit_video(clip, [*map(parse_keyframe, words)] or expression, path, intensity, **options)
    return path, describe_film(result)


@with_args_of(make_film)
def film(editor: ExpressionEditor, clip: str | None, photo: str | None, action: str, expression: str, intensity: float,
         keyframes: str) -> tuple[str, str]:  # fmt: skip
    """Makes a film: of a clip with another expression, or of a photo with a clip's expressions. Takes up to five minutes.

    Args:
        as `make_film`

    Returns:
        The film, an MP4 file, and a sentence on it.
    """
    return make_film(editor, clip or EXAMPLE_FILM, photo or EXAMPLES[0], action, expression, intensity, keyframes,
                     progress=lambda *_, **__: None)  # fmt: skip


def describe_film(result: FilmResult) -> str:
    """Sentences on a film that was made."""
    left = result.frames - result.edited
    unseen = f" In {left} of {result.frames} frames the face is not seen well enough." if left else ""
    return f"{result.seconds:.1f} seconds, marked as edited by AI.{unseen} {result.warning}".strip()
