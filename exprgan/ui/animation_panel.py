"""The Edit tab's animation: its handler, and its controls."""

import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from ..deadline import check
from ..editing.animation import Animation, Kind
from ..editing.results import Fidelity
from ..editor import ExpressionEditor
from ..errors import ExprGANError
from .endpoints import INTERNAL, page_event
from .handlers import edit, expression_mix, read_faces, with_args_of
from .photo_session import PhotoSession, new_path
from .words import short_name
from .workers import TIMEOUT_S

MAX_SIDE_PX = {"mp4": 720, "gif": 400, "webp": 480}
"""Format -> the longest side."""
MAX_FPS, MIN_FPS = 20, 8
"""Frames per second: as many as can be computed in `RENDER_TIME_S`."""
RENDER_TIME_S = 12
MAX_SECONDS = 3
"""The longest rise and fall of an expression. A tour has one for every expression."""
TOO_MUCH = (
    f"This film would take about {{:.0f}} seconds, and {TIMEOUT_S} are allowed. Choose fewer faces, or one expression."
)
NOTHING_TO_ANIMATE = "There is nothing to animate: choose an expression, or fine-tune the face first."


@with_args_of(edit, last="units")
def animate(editor: ExpressionEditor, photo: str | None, expression: str, intensity: float, second: str, part: float,
            style: int, fidelity: Fidelity, face: int, scope: str, others: dict, kind: Kind, file_format: str,
            seconds: float, units: dict, session: PhotoSession | None, progress=gr.Progress()) -> tuple:  # noqa: B008, so gradio knows it  # fmt: skip
    """Animates an expression in a photo.

    Args:
        as `edit`
        kind: "sweep" goes from neutral to the expression and back, "morph" from the face as it is in the photo, "tour"
            through all expressions.
        file_format: "mp4", at most 720 px; "gif", at most 400 px; "webp", at most 480 px.
        seconds: how long an expression takes to come and go, 0.5 to 3.
        units: LAST

    Returns:
        The animation.
    """
    if file_format not in MAX_SIDE_PX:
        raise ValueError(f"file_format must be one of {', '.join(MAX_SIDE_PX)}, not {file_format!r}")
    seconds = 2 if seconds is None else seconds
    if not 0.5 <= seconds <= MAX_SECONDS:
        raise ValueError(f"seconds must be 0.5 to {MAX_SECONDS}, not {seconds!r}")

    def report(done: int, total: int) -> None:
        check()
        progress((done, total), desc="Making the animation", unit="frames")

    settings = expression, intensity, second, part, style, fidelity, units
    session, requests, subjects = read_faces(editor, photo, settings, face, scope, others, session, progress,
                                             same_fidelity=True)  # fmt: skip
    mixes = {index: (expression_mix(request) or ({} if kind == "tour" else None), request["intensity"])
             for index, request in requests.items()}  # fmt: skip
    if not units and any(mix is None for mix, _ in mixes.values()):
        raise ValueError(NOTHING_TO_ANIMATE)

    def make_animation(fps: float) -> Animation:
        animation = editor.animate(subjects, kind, mixes, style=style - 1 if style else None, units=units or None,
                                   fidelity=fidelity, seconds=seconds, fps=fps)  # fmt: skip
        return animation.at_most(MAX_SIDE_PX[file_format])

    path = new_path(
        f".{file_format}", f"{short_name(session.path)}-{'tour' if kind == 'tour' else expression or 'adjusted'}"
    )
    choose_frame_rate(make_animation).save(path, progress=report)
    return path, session


def choose_frame_rate(make_animation: Callable[[float], Animation]) -> Animation:
    """The animation at the highest frame rate that `RENDER_TIME_S` allows: one frame is timed, and half are distinct.

    Raises:
        ExprGANError: even at MIN_FPS it would take longer than `TIMEOUT_S`.
    """
    smooth = make_animation(MAX_FPS)
    start = time.monotonic()
    smooth[len(smooth) // 5]
    needed = (time.monotonic() - start) * len(smooth) / 2
    if needed * MIN_FPS / MAX_FPS > TIMEOUT_S:
        raise ExprGANError(TOO_MUCH.format(needed * MIN_FPS / MAX_FPS))
    return smooth if needed <= RENDER_TIME_S else make_animation(max(MIN_FPS, int(MAX_FPS * RENDER_TIME_S / needed)))


def show_animation(path: str) -> tuple:
    """Updates of the video, the picture and the download button: MP4 is shown in a player, GIF and WebP as a picture."""
    is_video = path.endswith(".mp4")
    video = gr.update(value=path if is_video else None, visible=is_video)
    return video, gr.update(value=None if is_video else path, visible=not is_video), gr.update(visible=True)


def animation_panel(editor: ExpressionEditor, settings: list, session: gr.State) -> dict[str, Any]:
    """The animation's controls, the button that makes it, and where it is shown; `settings` as `edit` takes them.

    The last of them, the units, is the last that `animate` takes.

    Returns:
        The arguments of an event that removes the film, as when another photo is opened.
    """
    with gr.Accordion("A short film to keep", open=False):
        kind = gr.Radio([("From neutral to the expression and back", "sweep"), ("From your photo and back", "morph"),
                         ("All expressions, one after the other", "tour")], value="sweep", label="What happens",
                        elem_classes="one")  # fmt: skip
        file_format = gr.Radio([("MP4", "mp4"), ("GIF", "gif"), ("WebP", "webp")], value="mp4", label="Format of the file",
                               elem_classes="three")  # fmt: skip
        seconds = gr.Slider(0.5, MAX_SECONDS, 2, step=0.5, label="Seconds an expression takes", buttons=[])
        make = gr.Button("Make the film")
        note = gr.Markdown("MP4 is the sharpest and the smallest. A GIF or WebP moves where a film does not.",
                           elem_classes="note")  # fmt: skip
        video = gr.Video(label="Film", visible=False, autoplay=True, loop=True, buttons=[], interactive=False,
                         elem_classes="player")  # fmt: skip
        picture = gr.Image(label="Film", visible=False, buttons=[], interactive=False, elem_classes="player",
                           alt_text="The film")  # fmt: skip
        file = gr.DownloadButton("Download the film", visible=False)
    inputs, outputs = [*settings[:-1], kind, file_format, seconds, settings[-1], session], [file, session]
    event = page_event(animate, editor, inputs, outputs, concurrency_id="animation", concurrency_limit=1,
                       trigger_mode="once")  # fmt: skip
    written = make.click(**event, show_progress_on=note)
    written.success(show_animation, file, [video, picture, file], **INTERNAL)
    removed = [gr.update(value=None, visible=False)] * 3
    return {"fn": lambda: removed, "inputs": None, "outputs": [video, picture, file], "queue": False, **INTERNAL}
