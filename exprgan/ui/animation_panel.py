"""What the app's Edit tab does in motion: a short animation of the face that is being edited."""

import time
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from exprgan import Animation, ExpressionEditor, ExprGANError
from exprgan.ui.components import QUIET, endpoint
from exprgan.ui.handlers import (
    EXAMPLES,
    LIMIT_S,
    TOO_LONG,
    with_error_handling,
    expression_mix,
    subjects_of,
    requests_by_face,
)
from exprgan.ui.photo_session import PhotoSession, new_path

SIDES = {"mp4": 720, "gif": 400, "webp": 480}
"""Format -> the longest side in px."""
FASTEST, SLOWEST = 20, 8
"""Frames a second: as many as are made in `BUDGET_S` here and now."""
BUDGET_S = 12
NOTE = "MP4 is the sharpest and the smallest. A GIF or WebP moves where a film does not."
LONGEST_S = 3
"""Of one rise and fall. A tour has one for every expression."""


def animate(editor: ExpressionEditor, photo: str | None, expression: str, intensity: float, second: str, part: float,
            style: int, fidelity: str, face: int, scope: str, others: dict, kind: str, file_format: str, seconds: float,
            sitting: PhotoSession | None, progress=gr.Progress()) -> tuple:  # noqa: B008, so gradio knows it  # fmt: skip
    """Lets an expression come and go in a photo; takes what `edit` takes, and how it is to move.

    Args:
        kind: "sweep" goes from neutral to the expression and back, "morph" from the face as it is in the photo, "tour"
            through all expressions.
        file_format: "mp4", at most 720 px; "gif", at most 400 px; "webp", at most 480 px.
        seconds: how long an expression takes to come and go, 0.5 to 3.

    Returns:
        The animation.
    """
    if file_format not in SIDES:
        raise ValueError(f"file_format must be one of {', '.join(SIDES)}, not {file_format!r}")
    if not 0.5 <= seconds <= LONGEST_S:
        raise ValueError(f"seconds must be 0.5 to {LONGEST_S}, not {seconds!r}")
    until = time.monotonic() + LIMIT_S

    def report(done: int, of: int) -> None:
        if time.monotonic() > until:  # nobody waits for it any more
            raise ExprGANError(TOO_LONG)
        progress((done, of), desc="Making the animation", unit="frames")

    photo = photo or EXAMPLES[0]
    sitting = PhotoSession.of(editor, photo, sitting)
    wishes = requests_by_face(
        sitting, (expression, intensity, second, part, style, fidelity), int(face or 0), scope, others
    )
    people = subjects_of(sitting, editor, wishes, progress)
    looks = {place: (expression_mix(wish), wish["intensity"]) for place, wish in wishes.items()}

    def at(fps: float) -> Animation:
        animation = editor.animate(people, kind, looks, style=style - 1 if style else None, fidelity=fidelity,
                                   seconds=seconds, fps=fps)  # fmt: skip
        return animation.at_most(SIDES[file_format])

    path = new_path(f".{file_format}", f"{Path(photo).stem}-{'tour' if kind == 'tour' else expression}")
    affordable(at).save(path, progress=report)
    return path, sitting


def affordable(at: Callable[[float], Animation]) -> Animation:
    """The animation at as many frames a second as there is time for; half of them are new, the others seen before."""
    smooth = at(FASTEST)
    start = time.monotonic()
    smooth[len(smooth) // 5]
    needed = (time.monotonic() - start) * len(smooth) / 2
    return smooth if needed <= BUDGET_S else at(max(SLOWEST, int(FASTEST * BUDGET_S / needed)))


def shown(path: str) -> tuple:
    """An animation where it can be seen: films in a player, what is a picture to a browser as one."""
    film = path.endswith(".mp4")
    seen = gr.update(value=path if film else None, visible=film), gr.update(value=None if film else path, visible=not film)
    return *seen, gr.update(visible=True)


def animation_panel(editor: ExpressionEditor, settings: list, sitting: gr.State) -> None:
    """What can be set of an animation, the button that makes it, and where it is seen and downloaded.

    Args:
        editor: makes it.
        settings: the photo and what `edit` takes.
        sitting: the visitor's.
    """
    with gr.Accordion("Animate: a short film to keep", open=False):
        kind = gr.Radio([("There and back", "sweep"), ("From your photo", "morph"), ("All, in turn", "tour")],
                        value="sweep", label="Movement", elem_classes="three")  # fmt: skip
        file_format = gr.Radio([("MP4", "mp4"), ("GIF", "gif"), ("WebP", "webp")], value="mp4", label="File",
                               elem_classes="three")  # fmt: skip
        seconds = gr.Slider(0.5, LONGEST_S, 2, step=0.5, label="Seconds an expression takes", buttons=[])
        make = gr.Button("Make the animation")
        note = gr.Markdown(NOTE, elem_classes="note")
        film = gr.Video(label="Animation", visible=False, autoplay=True, loop=True, buttons=[], interactive=False,
                        elem_classes="player")  # fmt: skip
        moving = gr.Image(label="Animation", visible=False, buttons=[], interactive=False, elem_classes="player",
                          alt_text="The animation")  # fmt: skip
        file = gr.DownloadButton("Download the animation", visible=False)
    inputs = [*settings, kind, file_format, seconds, sitting]
    apart = {"concurrency_id": "animation", "concurrency_limit": 1}
    endpoint(animate, editor, inputs, [file, sitting], **apart)
    made = make.click(
        with_error_handling(animate, editor),
        inputs,
        [file, sitting],
        show_progress_on=note,
        api_visibility="private",
        **apart,
    )
    made.success(shown, file, [film, moving, file], **QUIET)
