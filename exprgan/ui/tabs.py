"""The tabs of the page, in the order of the bar. A tab is one function under `@tab`; a new one is added here alone.

A function lays its tab out with `components` and connects events to the functions of `handlers`.
"""

import json
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from ..editor import ExpressionEditor
from ..models.hub_source import BUNDLED_WEIGHTS
from . import handlers
from .animation_panel import animation_panel
from .components import Link, download_button, expression_choices, intensity_slider, photo_input, result_view
from .endpoints import INTERNAL, add_endpoint
from .handlers import ALL_FACES, EACH_FACE, MAX_PEOPLE, ONE_FACE, default_expression
from .photo_session import MAX_AGE_S

TABS: dict[str, Callable[[ExpressionEditor], Link | None]] = {}
"""Title -> the function that lays the tab out."""


def tab(title: str) -> Callable:
    """Registers a function (editor) -> `Link` or None in `TABS`; a `Link` holds the settings that a link restores."""

    def register(lay_out: Callable[[ExpressionEditor], Link | None]) -> Callable:
        TABS[title] = lay_out
        return lay_out

    return register


@tab("Edit")
def edit_tab(editor: ExpressionEditor) -> Link:
    """One photo: its faces, the settings of the chosen one, the edited photo, and an animation."""
    example = handlers.DEFAULTS | {"expression": default_expression(editor.expressions)}
    pair, reading, _ = handlers.edit(editor, None, **example, face=0, scope=ONE_FACE, others={}, session=None)
    pictures, _ = handlers.all_expressions(editor, None, 0, None)
    session, face = gr.State(time_to_live=MAX_AGE_S), gr.Number(0, precision=0, visible=False, label="Face")
    with gr.Row(elem_classes="bench"):
        with gr.Column(elem_classes="photos"):
            photo, path = photo_input("Your photo")
            numbered = gr.Image(label="The faces in it", interactive=False, buttons=[], elem_classes="numbered",
                                alt_text="Your photo, with a number at every face")  # fmt: skip
            faces = gr.Gallery(label="Which face?", columns=6, height=110, allow_preview=False, buttons=[],
                               interactive=False, elem_classes="faces")  # fmt: skip
            scope = gr.Radio([("Only this face", ONE_FACE), ("Each separately", EACH_FACE), ("All the same", ALL_FACES)],
                             value=ONE_FACE, label="Which faces change", elem_classes=["scope", "three"])  # fmt: skip
            others = gr.JSON({}, visible=False, label="Others")
            others.api_info = lambda: {"type": "object", "additionalProperties": {"type": "object"}}  # gradio's has no type
            people = gr.Dataset(components=[photo], samples=[[example] for example in handlers.EXAMPLES],
                                label="Or one of these virtual people", elem_id="people")  # fmt: skip
        with gr.Column(elem_classes="outcome"):
            result, status = result_view(pair, reading)
            strip = gr.Gallery(pictures, label="All six at a glance: choose one", columns=6, height="auto",
                               allow_preview=False, buttons=[], interactive=False, elem_classes="strip")  # fmt: skip
        with gr.Column(elem_classes="controls"):
            choices = expression_choices(editor.expressions)
            expression = gr.Radio(choices, value=default_expression(editor.expressions), label="Expression")
            intensity = intensity_slider()
            with gr.Accordion("More: mix, style, pixels", open=False):
                without_neutral = expression_choices(editor.expressions[:-1])
                second = gr.Radio([("Nothing", ""), *without_neutral], value="", label="Mix with")
                part = gr.Slider(0, 1, 0.5, step=0.05, label="How much of the second", buttons=[])
                styles = [(str(n), n) for n in range(1, editor.model.config.code_dim_each + 1)]
                style = gr.Radio([("All", 0), *styles], value=0, label="Style",
                                 info="The ways of showing an expression that the model found by itself.")  # fmt: skip
                fidelity = gr.Radio([("Your photo, moved", "detail"), ("The same, tuned to this face", "tuned"),
                                     ("The model's own drawing", "model")], value="detail", label="Pixels",
                                    info="Moving the photo's own pixels keeps its detail. Tuning takes some seconds.",
                                    elem_classes="two")  # fmt: skip
        settings = {"expression": expression, "intensity": intensity, "second": second, "part": part, "style": style,
                    "fidelity": fidelity}  # fmt: skip
        inputs = [photo, *settings.values(), face, scope, others, session]
        outputs = [result, status, session]
        edit_event = add_endpoint(handlers.edit, editor, inputs, outputs)
        edit_event |= {"show_progress": "minimal", "show_progress_on": status}
        with gr.Column(elem_classes="save"):
            download_button("Download in full size", handlers.download_edit, editor, inputs)
            link = Link(settings, edit_event | INTERNAL)
        with gr.Column(elem_classes="film"):
            animation_panel(editor, inputs[:-1], session)

    def choose_from_strip(event: gr.SelectData) -> tuple[str, float, str]:
        return editor.model.config.expressions[event.index], 1.0, ""

    of_face, read_outputs = [photo, face, session], [status, faces, face, session]
    strip_event = add_endpoint(handlers.all_expressions, editor, of_face, [strip, session]) | INTERNAL
    number_event = add_endpoint(handlers.number_faces, editor, of_face, [numbered, session]) | INTERNAL
    read_event = add_endpoint(handlers.read, editor, [photo], read_outputs)
    gr.on([control.input for control in (*settings.values(), scope)], **edit_event)
    people.click(lambda sample: sample[0], people, photo, **INTERNAL)
    was_read = path.change(**read_event, show_progress_on=result)
    others_cleared = was_read.success(None, None, others, js="() => ({})", api_visibility="private")
    others_cleared.success(**edit_event | INTERNAL).success(**strip_event)
    was_read.success(**number_event)
    was_read.failure(lambda: (None, [], None, handlers.NOT_EDITED, [], 0, None), None,
                     [result, strip, numbered, *read_outputs], **INTERNAL)  # fmt: skip
    for select in (faces.select, numbered.select):
        selected = select(handlers.select_face, [face, scope, others, session, *settings.values()],
                          [face, others, *settings.values()], **INTERNAL)  # fmt: skip
        selected.success(**edit_event | INTERNAL).success(**strip_event)
        selected.success(**number_event)
    strip.select(choose_from_strip, None, [expression, intensity, second], **INTERNAL).success(**edit_event | INTERNAL)
    return link


@tab("Transfer")
def transfer_tab(editor: ExpressionEditor) -> Link:
    """Two photos: the face to edit, and the face whose expression it gets."""
    sessions = gr.State(time_to_live=MAX_AGE_S)
    with gr.Row(elem_classes="bench"):
        with gr.Column(elem_classes="photos"):
            photo, path = photo_input("Your photo")
            source, source_path = photo_input("Whose expression to take")
        with gr.Column(elem_classes="outcome"):
            result, status = result_view(None, handlers.ADD_BOTH_PHOTOS)
        with gr.Column(elem_classes="controls"):
            intensity = intensity_slider()
        inputs, outputs = [photo, source, intensity, sessions], [result, status, sessions]
        with gr.Column(elem_classes="save"):
            download_button("Download in full size", handlers.download_transfer, editor, inputs)
            link = Link({"intensity": intensity})

    event = add_endpoint(handlers.transfer, editor, inputs, outputs)
    was_read = gr.on([path.change, source_path.change], **event, show_progress_on=result)
    was_read.failure(lambda: (None, handlers.NOT_EDITED), None, [result, status], **INTERNAL)
    intensity.input(**event | INTERNAL)
    return link


@tab("Random people")
def people_tab(editor: ExpressionEditor) -> Link:
    """People that the decoder makes up."""
    with gr.Row(elem_classes="bench pair"):
        with gr.Column(elem_classes="outcome"):
            pictures = handlers.generate(editor, 1, MAX_PEOPLE, default_expression(editor.expressions), 1.0)
            people = gr.Gallery(pictures, label="People the model makes up", columns=6, height="auto", object_fit="contain",
                                buttons=["fullscreen"], interactive=False, elem_classes="people")  # fmt: skip
        with gr.Column(elem_classes="controls"):
            another = gr.Button("Another set", variant="primary")
            choices = [*expression_choices(editor.expressions), ("All six, in a row each", handlers.ALL_EXPRESSIONS)]
            expression = gr.Radio(choices, value=default_expression(editor.expressions), label="Expression")
            intensity = intensity_slider()
            count = gr.Slider(1, MAX_PEOPLE, MAX_PEOPLE, step=1, label="People", buttons=[])
            seed = gr.Number(1, precision=0, minimum=0, maximum=handlers.MAX_SEED, label="Seed",
                             info="The same number makes the same people.")  # fmt: skip
            settings = {"seed": seed, "count": count, "expression": expression, "intensity": intensity}
            event = add_endpoint(handlers.generate, editor, [*settings.values()], [people], show_progress="minimal")
            download_button("Download all, labelled (zip)", handlers.download_people, editor, event["inputs"])
            link = Link(settings, event | INTERNAL)

    gr.on([control.input for control in settings.values()], **event)
    drawn = another.click(None, None, seed, js="() => Math.floor(Math.random() * 1e6)", api_visibility="private")
    drawn.success(**event)
    return link


@tab("About")
def about_tab(editor: ExpressionEditor) -> None:
    """The text of about.md."""
    text = (Path(__file__).parent / "about.md").read_text(encoding="utf-8")
    gr.Markdown(text.replace("FIGURES", describe_results(BUNDLED_WEIGHTS / "results.json")), elem_classes="prose-page")


def describe_results(results: Path) -> str:
    """The measurements of the bundled weights (results.json) in words."""
    if not results.is_file():
        return "The weights that came with this app were not measured."
    measured = json.loads(results.read_text(encoding="utf-8"))
    text = (
        "The weights that came with this app were evaluated on {n[people]} people who were not in the training data, "
        "in {n[edits]} edits at full strength. The intended expression was read in "
        "{metrics[expression_accuracy][detail]:.0%} of them (in real photos: {metrics[expression_accuracy][real]:.0%}). "
        "How alike an edited face is to its photo, from 0 for strangers to 1: {metrics[identity_cosine][detail]:.2f}. "
        "The judge was {judges[0][network]}"
    )
    independence = "" if measured["judges"][0]["seen_in_training"] else "; the model was never trained with it"
    return f"{text.format(**measured)}{independence}."
