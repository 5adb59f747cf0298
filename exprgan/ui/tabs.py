"""The tabs of the page, in the order of the bar. A tab is one function under `@tab`; a new one is added here alone.

A function lays its tab out with `components` and connects events to the functions of `handlers`.
"""

import json
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from ..editor import ExpressionEditor
from ..models.hub_source import BUNDLED_WEIGHTS
from .animation_panel import animation_panel
from .components import (
    QUIET,
    WORK,
    Link,
    choices_of,
    download_button,
    endpoint,
    intensity_slider,
    link_button,
    photo_input,
    result_view,
)
from .handlers import (
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
    with_error_handling,
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
from .photo_session import HOUR_S

TABS: dict[str, Callable[[ExpressionEditor], Link | None]] = {}
"""Title -> the function that lays the tab out."""


def tab(title: str) -> Callable:
    """Registers a function (editor) -> `Link` or None in `TABS`. A returned `Link` holds the settings that a link restores."""

    def register(lay_out: Callable[[ExpressionEditor], Link | None]) -> Callable:
        TABS[title] = lay_out
        return lay_out

    return register


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
        live = {"fn": with_error_handling(edit, editor), "inputs": settings, "outputs": [result, status, sitting],
                "show_progress": "minimal", "show_progress_on": status, **WORK}  # fmt: skip
        with gr.Column(elem_classes="save"):
            download_button("Download in full size", download_edit, editor, settings)
            link = link_button(shared, live | QUIET)
        with gr.Column(elem_classes="film"):
            animation_panel(editor, settings[:-1], sitting)

    def chosen(event: gr.SelectData) -> tuple[str, float, str]:
        return editor.model.config.expressions[event.index], 1.0, ""

    glance = {
        "fn": with_error_handling(all_expressions, editor),
        "inputs": [photo, face, sitting],
        "outputs": [strip, sitting],
        **WORK,
    }
    numbers = {
        "fn": with_error_handling(number_faces, editor),
        "inputs": [photo, face, sitting],
        "outputs": [numbered, sitting],
        **WORK,
    }
    about_photo = [status, faces, face, sitting]
    for action, event in ((edit, live), (all_expressions, glance), (number_faces, numbers)):
        endpoint(action, editor, event["inputs"], event["outputs"])
    endpoint(read, editor, [photo], about_photo)
    gr.on([control.input for control in (*shared.values(), scope)], **live, api_visibility="private")
    people.click(lambda sample: sample[0], people, photo, **QUIET)
    arrival = arrived.change(
        with_error_handling(read, editor), photo, about_photo, show_progress_on=result, api_visibility="private", **WORK
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

    live = {"fn": with_error_handling(transfer, editor), "inputs": settings, "outputs": [result, status, sittings], **WORK}
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
            live = {"fn": with_error_handling(generate, editor), "inputs": [*settings.values()], "outputs": [people],
                    "show_progress": "minimal", **WORK}  # fmt: skip
            download_button("Download all, labelled (zip)", download_people, editor, live["inputs"])
            link = link_button(settings, live | QUIET)

    gr.on([control.input for control in settings.values()], **live, api_name="generate")
    drawn = another.click(None, None, seed, js="() => Math.floor(Math.random() * 1e6)", api_visibility="private")
    drawn.success(**live | {"api_visibility": "private"})
    return link


@tab("About")
def about_tab(editor: ExpressionEditor) -> None:
    text = (Path(__file__).parent / "about.md").read_text(encoding="utf-8")
    gr.Markdown(text.replace("FIGURES", figures(BUNDLED_WEIGHTS / "results.json")), elem_classes="prose-page")


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
