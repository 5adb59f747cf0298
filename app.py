"""The app: edits the expression of a face in a photo, in a browser. `make app` and a Space run this file.

A tab is one function under `@tab`, laid out of app_pieces.py. What it offers to do are the functions of app_actions.py.
"""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from app_actions import (
    ALL,
    ALL_FACES,
    EACH_FACE,
    EXAMPLES,
    LAST_SEED,
    MOST_PEOPLE,
    NOT_EDITED,
    ONE_FACE,
    START_TRANSFER,
    all_expressions,
    bound,
    chosen_face,
    download_edit,
    download_people,
    download_transfer,
    edit,
    first_look,
    first_of,
    forget,
    generate,
    number_faces,
    read,
    transfer,
)
from app_animation import animation_panel
from app_guard import Guard, fetch_nothing, visitors_folder
from app_pieces import (
    ON_PAGE,
    QUIET,
    THEME,
    WORK,
    Link,
    choices_of,
    download_button,
    endpoint,
    intensity_slider,
    link_button,
    photo_input,
    result_view,
    wire_links,
)
from exprgan import ExpressionEditor, ExprGAN, ExprGANError
from exprgan.faces import get_ready

HERE = Path(__file__).parent
BUNDLED = HERE / "weights"
MODEL = os.environ.get("EXPRGAN_MODEL") or str(BUNDLED)
"""A folder with weights, or org/name or org/name@revision on the Hub."""
HOUR_S = 3600
SERVED_S = 10
"""After so long the first page was served, and what finds faces in the first photo is loaded."""
SWEEP_S = 300
"""How often files are deleted. They are old enough so much before the hour is over that none outlives it."""
LONGEST_QUEUE = 60
"""Who comes when so many wait is told to come again: on two cores the last of them waits about half a minute."""

TITLE = "# ExprGAN\nChange the expression of a face in a photo, as little or as much as you like."
PRIVACY = "Nothing is kept: photos and results are deleted within an hour, and there is no history and no tracking."

LAUNCH = {
    "theme": THEME,
    "css_paths": HERE / "app.css",
    "js": ON_PAGE,
    "footer_links": ["api", "settings"],
    "allowed_paths": [str(HERE / "examples")],
    "max_file_size": "40mb",
    "state_session_capacity": 64,
    "run_history": False,
    "ssr_mode": False,
    "share": False,
    "enable_monitoring": False,
}
"""How it is served, here and on a Space: without a history, and without calling home."""

LOG = logging.getLogger("exprgan.app")
TABS: dict[str, Callable[[ExpressionEditor], Link | None]] = {}


def tab(title: str) -> Callable:
    """Files a function that lays out a tab; the bar shows them in the order of this file.

    What it returns, if anything, are the settings that a link to the tab carries.
    """

    def file(lay_out: Callable[[ExpressionEditor], Link | None]) -> Callable:
        TABS[title] = lay_out
        return lay_out

    return file


def build_app(editor: ExpressionEditor, note: str = "") -> gr.Blocks:
    """All tabs, wired to one editor.

    Args:
        editor: shared by all visitors; it holds weights only.
        note: what visitors should know of its model.
    """
    with gr.Blocks(title="ExprGAN", analytics_enabled=False, delete_cache=(SWEEP_S, HOUR_S - 2 * SWEEP_S)) as app:
        gr.Markdown(f"{TITLE}\n\n{PRIVACY}", elem_id="title")
        gr.Markdown(note, visible=bool(note), elem_id="note")
        with gr.Tabs() as tabs:
            links = {}
            for title, lay_out in TABS.items():
                with gr.Tab(title, id=title):
                    links[title] = lay_out(editor)
        wire_links(app, tabs, {title: link for title, link in links.items() if link})
    return app.queue(max_size=LONGEST_QUEUE, api_open=False)


def serve(app: gr.Blocks, **more) -> str:
    """Launches what `build_app` made, behind its guard; takes what gradio's `launch` takes, and gives the address."""
    fetch_nothing()
    return app.launch(**LAUNCH | more, app_kwargs={"middleware": [Middleware(Guard, *app.delete_cache)]})[1]


def load_editor(model: str) -> tuple[ExpressionEditor, str]:
    """The editor, and what visitors should know of its model: where the Hub's cannot be had, the bundled one stands in.

    Raises:
        WeightsError: there is no model, or not that in the folder that was named.
    """
    try:
        return ExpressionEditor(ExprGAN.from_pretrained(model)), ""
    except ExprGANError as error:
        if Path(model).is_dir() or not BUNDLED.is_dir():
            raise
        LOG.warning("%s; serving the bundled weights", error)
        note = f"The model {model} cannot be had at the moment. This page uses the one that came with the app instead."
        return ExpressionEditor(ExprGAN.from_pretrained(BUNDLED)), note


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    try:
        editor, note = load_editor(MODEL)
    except ExprGANError as error:
        raise SystemExit(f"The app needs a model: {error}") from None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # as who stops a container sends it: the folder goes then too
    later = threading.Timer(SERVED_S, get_ready)
    later.daemon = True
    later.start()
    with visitors_folder():
        serve(build_app(editor, note))


# The tabs.


@tab("Edit")
def edit_tab(editor: ExpressionEditor) -> Link:
    pair, line, row = first_look(editor)
    sitting, face = gr.State(time_to_live=HOUR_S), gr.Number(0, precision=0, visible=False, label="Face")
    with gr.Row(elem_classes="bench"):
        with gr.Column(elem_classes="photos"):
            photo, arrived = photo_input("Your photo")
            numbered = gr.Image(label="The faces in it", interactive=False, buttons=[], elem_classes="numbered",
                                alt_text="Your photo, with a number at every face")  # fmt: skip
            faces = gr.Gallery(label="Which face?", columns=6, height=110, allow_preview=False, buttons=[],
                               interactive=False, elem_classes="faces")  # fmt: skip
            scope = gr.Radio([("Only this face", ONE_FACE), ("Each its own", EACH_FACE), ("All alike", ALL_FACES)],
                             value=ONE_FACE, label="Which faces change", elem_classes=["scope", "three"])  # fmt: skip
            others = gr.JSON({}, visible=False, label="Others")
            others.api_info = lambda: {"type": "object", "additionalProperties": {"type": "object"}}  # else {}: no schema
            people = gr.Dataset(components=[photo], samples=[[path] for path in EXAMPLES],
                                label="Or one of these virtual people", elem_id="people")  # fmt: skip
        with gr.Column(elem_classes="outcome"):
            result, status = result_view(pair, line)
            strip = gr.Gallery(row, label="All six at a glance: choose one", columns=6, height="auto", allow_preview=False,
                               buttons=[], interactive=False, elem_classes="strip")  # fmt: skip
        with gr.Column(elem_classes="controls"):
            expression = gr.Radio(choices_of(editor.expressions), value=first_of(editor.expressions), label="Expression")
            intensity = intensity_slider()
            with gr.Accordion("More: mix, style, pixels", open=False):
                second = gr.Radio([("Nothing", ""), *choices_of(editor.expressions[:-1])], value="", label="Mix with")
                part = gr.Slider(0, 1, 0.5, step=0.05, label="How much of the second", buttons=[])
                numbers = range(1, editor.model.config.code_dim_each + 1)
                style = gr.Radio([("All", 0), *((str(n), n) for n in numbers)], value=0, label="Style",
                                 info="The ways of showing an expression that the model found by itself.")  # fmt: skip
                fidelity = gr.Radio([("Your photo, moved", "detail"), ("The same, tuned to this face", "tuned"),
                                     ("The model's own drawing", "model")], value="detail", label="Pixels",
                                    info="Moving the photo's own pixels keeps its detail. Tuning takes some seconds.",
                                    elem_classes="two")  # fmt: skip
        shared = {"expression": expression, "intensity": intensity, "second": second, "part": part, "style": style,
                  "fidelity": fidelity}  # fmt: skip
        settings = [photo, *shared.values(), face, scope, others, sitting]
        live = {"fn": bound(edit, editor), "inputs": settings, "outputs": [result, status, sitting],
                "show_progress": "minimal", "show_progress_on": status, **WORK}  # fmt: skip
        with gr.Column(elem_classes="save"):
            download_button("Download in full size", download_edit, editor, settings)
            link = link_button(shared, live | QUIET)
        with gr.Column(elem_classes="film"):
            animation_panel(editor, settings[:-1], sitting)

    def chosen(event: gr.SelectData) -> tuple[str, float, str]:
        return editor.model.config.expressions[event.index], 1.0, ""

    glance = {"fn": bound(all_expressions, editor), "inputs": [photo, face, sitting], "outputs": [strip, sitting], **WORK}
    numbers = {"fn": bound(number_faces, editor), "inputs": [photo, face, sitting], "outputs": [numbered, sitting], **WORK}
    about_photo = [status, faces, face, sitting]
    for action, event in ((edit, live), (all_expressions, glance), (number_faces, numbers)):
        endpoint(action, editor, event["inputs"], event["outputs"])
    endpoint(read, editor, [photo], about_photo)
    gr.on([control.input for control in (*shared.values(), scope)], **live, api_visibility="private")
    people.click(lambda sample: sample[0], people, photo, **QUIET)
    arrival = arrived.change(
        bound(read, editor), photo, about_photo, show_progress_on=result, api_visibility="private", **WORK
    )
    alone = arrival.success(None, None, others, js="() => ({})", api_visibility="private")
    alone.success(**live | QUIET).success(**glance | QUIET)
    arrival.success(**numbers | QUIET)
    arrival.failure(forget, None, [result, strip, numbered, *about_photo], **QUIET)
    of_face = [face, scope, others, sitting, *shared.values()]
    for choice in (faces.select, numbered.select):
        picked = choice(chosen_face, of_face, [face, others, *shared.values()], **QUIET)
        picked.success(**live | QUIET).success(**glance | QUIET)
        picked.success(**numbers | QUIET)
    strip.select(chosen, None, [expression, intensity, second], **QUIET).success(**live | QUIET)
    return link


@tab("Transfer")
def transfer_tab(editor: ExpressionEditor) -> Link:
    sittings = gr.State(time_to_live=HOUR_S)
    with gr.Row(elem_classes="bench"):
        with gr.Column(elem_classes="photos"):
            photo, arrived = photo_input("Your photo")
            source, source_arrived = photo_input("Whose expression to take")
        with gr.Column(elem_classes="outcome"):
            result, status = result_view(None, START_TRANSFER)
        with gr.Column(elem_classes="controls"):
            intensity = intensity_slider()
        settings = [photo, source, intensity, sittings]
        with gr.Column(elem_classes="save"):
            download_button("Download in full size", download_transfer, editor, settings)
            link = link_button({"intensity": intensity})

    live = {"fn": bound(transfer, editor), "inputs": settings, "outputs": [result, status, sittings], **WORK}
    endpoint(transfer, editor, settings, live["outputs"])
    arrival = gr.on([arrived.change, source_arrived.change], **live, show_progress_on=result, api_visibility="private")
    arrival.failure(lambda: (None, NOT_EDITED), None, [result, status], **QUIET)
    intensity.input(**live | QUIET)
    return link


@tab("Random people")
def people_tab(editor: ExpressionEditor) -> Link:
    with gr.Row(elem_classes="bench pair"):
        with gr.Column(elem_classes="outcome"):
            first = generate(editor, 1, MOST_PEOPLE, first_of(editor.expressions), 1.0)
            people = gr.Gallery(first, label="People the model makes up", columns=6, height="auto", object_fit="contain",
                                buttons=["fullscreen"], interactive=False, elem_classes="people")  # fmt: skip
        with gr.Column(elem_classes="controls"):
            another = gr.Button("Another set", variant="primary")
            shown = [*choices_of(editor.expressions), ("All six, in a row each", ALL)]
            expression = gr.Radio(shown, value=first_of(editor.expressions), label="Expression")
            intensity = intensity_slider()
            count = gr.Slider(1, MOST_PEOPLE, MOST_PEOPLE, step=1, label="People", buttons=[])
            seed = gr.Number(1, precision=0, minimum=0, maximum=LAST_SEED, label="Seed",
                             info="The same number makes the same people.")  # fmt: skip
            settings = {"seed": seed, "count": count, "expression": expression, "intensity": intensity}
            live = {"fn": bound(generate, editor), "inputs": [*settings.values()], "outputs": [people],
                    "show_progress": "minimal", **WORK}  # fmt: skip
            download_button("Download all, labelled (zip)", download_people, editor, live["inputs"])
            link = link_button(settings, live | QUIET)

    gr.on([control.input for control in settings.values()], **live, api_name="generate")
    drawn = another.click(None, None, seed, js="() => Math.floor(Math.random() * 1e6)", api_visibility="private")
    drawn.success(**live | {"api_visibility": "private"})
    return link


@tab("About")
def about_tab(editor: ExpressionEditor) -> None:
    text = (HERE / "app_text" / "about.md").read_text(encoding="utf-8")
    gr.Markdown(text.replace("FIGURES", figures(BUNDLED / "results.json")), elem_classes="prose-page")


def figures(results: Path) -> str:
    """What the bundled weights' card measured, in words."""
    if not results.is_file():
        return "The weights that came with this app were not measured."
    measured = json.loads(results.read_text(encoding="utf-8"))
    metrics, n = measured["metrics"], measured["n"]
    accuracy, identity, judge = metrics["expression_accuracy"], metrics["identity_cosine"], measured["judges"][0]
    return (
        f"The weights that came with this app were tried on {n['people']} people whom they had never seen, in {n['edits']} "
        f"edits at full strength. The intended expression was read in {accuracy['detail']:.0%} of them (in real photos: "
        f"{accuracy['real']:.0%}). How alike an edited face is to its photo, from 0 for strangers to 1: "
        f"{identity['detail']:.2f}. The judge was {judge['network']}"
        f"{'' if judge['seen_in_training'] else '; the model was never trained with it'}."
    )


if __name__ == "__main__":
    main()
