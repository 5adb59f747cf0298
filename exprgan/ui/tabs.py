"""The tabs of the page, in the order of the bar. A tab is one function under `@tab`; a new one is added here alone.

A function lays its tab out with `components` and `stage`, and connects events to the functions of `views` and `handlers`.
"""

import json
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from ..editor import ExpressionEditor
from ..models.hub_source import BUNDLED_WEIGHTS
from . import film_panel, handlers, live_panel, views
from .animation_panel import animation_panel
from .components import (
    PRIVACY,
    Link,
    download_button,
    example_people,
    expression_choices,
    film_input,
    intensity_slider,
    photo_input,
    status_line,
)
from .dial_panel import fine_tuning_panel
from .endpoints import INTERNAL, page_event
from .handlers import ALL_FACES, EACH_FACE, EXAMPLES, EXPRESSIVE, MAX_PEOPLE, ONE_FACE, default_expression
from .photo_session import MAX_AGE_S
from .sheet import download_sheet
from .stage import live_view, tile_row, tiles, viewer
from .words import AS_IT_IS, METHODS, style_choices, style_label

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
    """One photo: the result, the expressions to choose from, what else can be set, and a film."""
    default = default_expression(editor.expressions)
    example = handlers.DEFAULTS | {"expression": default}
    value, reading, _ = views.show_edit(editor, None, **example, face=0, scope=ONE_FACE, others={}, session=None)
    strip_value, _ = views.show_expressions(editor, None, 0, None)
    session, face = gr.State(time_to_live=MAX_AGE_S), gr.Number(0, precision=0, visible=False, label="Face")
    choices = [*expression_choices(editor.expressions), *[(AS_IT_IS, "")] * bool(editor.dials)]
    expression = gr.Radio(choices, value=default, label="Expression", visible=False)
    others, units = (gr.JSON({}, visible=False, label=label) for label in ("Others", "Units"))
    with gr.Row(elem_classes="bench"):
        with gr.Column(elem_classes="outcome"):
            result = viewer(value, "Edit")
            with gr.Column(elem_classes="choice"):
                strip = tile_row(strip_value | {"chosen": default}, "Expression", "chooseExpression", "strip")
                intensity = intensity_slider()
                status = status_line(reading)
        with gr.Column(elem_classes="side"):
            with gr.Column(elem_classes="photos"):
                photo, path = photo_input("Your photo")
                gr.Markdown(PRIVACY, elem_classes="privacy")
                example_people(photo, EXAMPLES, "Or try one of these virtual people", "people")
                faces = tile_row(tiles([]), "Which face", "chooseFace", "faces", "Which face")
                scopes = [("Only this one", ONE_FACE), ("Each separately", EACH_FACE), ("All the same", ALL_FACES)]
                scope = gr.Radio(scopes, value=ONE_FACE, label="Faces that change", visible=False, elem_classes="three")
            buttons = gr.Column(elem_classes="buttons")  # filled when all controls are there
            gr.HTML('<div class="visit" hidden></div>', elem_classes="visit-block", apply_default_css=False)
            with gr.Accordion("More: mix, mouth, method", open=False, elem_classes="more"):
                second = gr.Radio([("Nothing", ""), *expression_choices(editor.expressions[:-1])], value="",
                                  label="Mix with")  # fmt: skip
                part = gr.Slider(0, 1, 0.5, step=0.05, label="How much of the second", buttons=[])
                num_styles = editor.model.config.code_dim_each
                style = gr.Radio(style_choices(num_styles), value=0, label=style_label(num_styles))
                fidelity = gr.Radio([(text, name) for name, text in METHODS.items()], value="detail", label="Method",
                                    elem_classes="one")  # fmt: skip
            settings = {"expression": expression, "intensity": intensity, "second": second, "part": part, "style": style,
                        "fidelity": fidelity}  # fmt: skip
            controls = [*settings.values(), face, scope, others, units]
            inputs = [photo, *controls, session]
            edit_event = page_event(views.show_edit, editor, inputs, [result, status, session])
            edit_event |= {"show_progress": "minimal", "show_progress_on": status}
            if editor.dials:
                opened = fine_tuning_panel(editor, [*[*settings.values()][:-1], units])
            with gr.Column(elem_classes="film"):
                film_removed = animation_panel(editor, inputs[:-1], session)
            with buttons:
                download_button("Save in full size", handlers.download_edit, editor, inputs, "primary")
                gr.HTML('<button type="button" class="share" hidden>Share</button>', elem_classes="share-block",
                        apply_default_css=False)  # fmt: skip
                reuse = gr.Button("Go on from this result")
                download_button("All in one picture", download_sheet, editor, [photo, face, session])
                link = Link(settings | {"units": units}, edit_event | INTERNAL)
    change, choose, reopen, forget = (
        gr.Button(visible="hidden", elem_id=f"edit-{name}") for name in ("change", "choose", "reopen", "forget")
    )

    strip_event = page_event(views.show_expressions, editor, [photo, face, session], [strip, session]) | INTERNAL
    read_outputs = [status, face, faces, scope, session]
    gr.on([control.input for control in (*settings.values(), scope)], **edit_event)
    changed, chosen = (button.click(None, controls, controls, js="(...values) => exprgan.changed(values)",
                                    api_visibility="private") for button in (change, choose))  # fmt: skip
    edited = changed.success(**edit_event | INTERNAL)
    edited.failure(None, None, units, js="() => exprgan.editFailed()", api_visibility="private")
    if editor.dials:
        opened.success(**edit_event | INTERNAL)
    reopen.click(None, None, photo, js="() => exprgan.reopened()", api_visibility="private")
    forget.click(None, [result, strip], [photo, result, strip, faces], js="(...values) => exprgan.forgotten(values)",
                 api_visibility="private")  # fmt: skip
    reuse.click(**page_event(handlers.download_edit, editor, inputs, [photo]), show_progress_on=reuse)
    was_read = path.change(**page_event(views.read_photo, editor, [photo], read_outputs), show_progress_on=status)
    was_read.success(**film_removed)
    reset = was_read.success(
        None, controls, controls, js="(...values) => exprgan.photoRead(values)", api_visibility="private"
    )
    for face_chosen in (chosen, reset):
        edited = face_chosen.success(**edit_event | INTERNAL)
        edited.success(**strip_event)
        edited.failure(**strip_event)  # gradio's `then` is not called after a failure
    failed = (None, tiles([]), handlers.NOT_EDITED, 0, tiles([]), gr.update(visible=False), None)
    was_read.failure(lambda: failed, None, [result, strip, *read_outputs], **INTERNAL)
    was_read.failure(None, None, None, js="() => exprgan.photoFailed()", api_visibility="private")
    return link


@tab("Transfer")
def transfer_tab(editor: ExpressionEditor) -> Link:
    """Two photos: the face to edit, and the face whose expression it gets."""
    sessions = gr.State(time_to_live=MAX_AGE_S)
    face, source_face = (gr.Number(0, precision=0, visible=False, label=label) for label in ("Face", "Other face"))
    with gr.Row(elem_classes="bench"):
        with gr.Column(elem_classes="outcome"):
            result = viewer(None, "Transfer")
            with gr.Column(elem_classes="choice"):
                intensity = intensity_slider()
                status = status_line(handlers.ADD_BOTH_PHOTOS)
        with gr.Column(elem_classes="side"):
            with gr.Column(elem_classes="photos"):
                photo, path = photo_input("Your photo")
                example_people(photo, EXAMPLES, "Or one of these virtual people", "transfer-people")
                faces = tile_row(tiles([]), "Which face to change", "chooseTransferFace", "faces", "Which face to change")
            with gr.Column(elem_classes="photos"):
                source, source_path = photo_input("Whose expression to take")
                example_people(source, EXPRESSIVE, "Or one of these", "transfer-sources")
                source_faces = tile_row(tiles([]), "Whose expression", "chooseSourceFace", "faces", "Whose expression")
            relative = gr.Checkbox(False, label="Add it to what my face shows", visible=bool(editor.dials))
            inputs = [photo, source, intensity, face, source_face, relative, sessions]
            with gr.Column(elem_classes="buttons"):
                download_button("Save in full size", views.save_transfer, editor, inputs, "primary")
                link = Link({"intensity": intensity})
    change = gr.Button(visible="hidden", elem_id="transfer-change")

    event = page_event(views.show_transfer, editor, inputs, [result, status, faces, source_faces, sessions])
    numbers, js = [face, source_face], "(...values) => exprgan.transferChanged(values)"
    chosen = change.click(None, numbers, numbers, js=js, api_visibility="private")
    chosen.success(**event | INTERNAL)
    for changed, number in ((path.change, face), (source_path.change, source_face)):
        cleared = changed(lambda: 0, None, number, **INTERNAL)
        was_read = cleared.success(**event, show_progress_on=status)
        was_read.failure(lambda: (None, handlers.NOT_EDITED, tiles([]), tiles([])), None,
                         [result, status, faces, source_faces], **INTERNAL)  # fmt: skip
    gr.on([intensity.input, relative.input], **event | INTERNAL)
    return link


@tab("Film")
def film_tab(editor: ExpressionEditor) -> Link:
    """A film in which one person gets another expression, or a photo that moves like the person in a film."""
    choices = expression_choices(editor.expressions)
    with gr.Row(elem_classes="bench pair"):
        with gr.Column(elem_classes="outcome"):
            result = gr.Video(label="The film", buttons=[], interactive=False, elem_classes="player")
            status = status_line(film_panel.ADD_FILM)
            file = gr.DownloadButton("Download the film", visible=False)
        with gr.Column(elem_classes="side"):
            clip = film_input(f"Your film, at most {film_panel.MAX_SECONDS} seconds and 40 MB")
            example = gr.Button("Or try an example film")
            actions = [("Change the person in it", film_panel.EDIT_FILM), ("Move a photo like it", film_panel.DRIVE_PHOTO)]
            action = gr.Radio(actions, value=film_panel.EDIT_FILM, label="What happens", elem_classes="one")
            with gr.Column(visible=False, elem_classes="photos") as photo_part:
                photo, _ = photo_input("The photo that moves")
                example_people(photo, EXAMPLES, "Or one of these virtual people", "film-people")
            with gr.Column() as expression_part:
                expression = gr.Radio(choices, value=default_expression(editor.expressions), label="Expression")
                with gr.Accordion("The expression over time", open=False):
                    keyframes = gr.Textbox(label="Seconds and expressions", placeholder="0=neutral 1.5=happy:0.8 3=sad",
                                           info="These take the place of the expression above.")  # fmt: skip
            intensity = intensity_slider()
            with gr.Column(elem_classes="buttons"):
                make = gr.Button("Make the film", variant="primary")
                stop = gr.Button("Stop")
                link = Link({"expression": expression, "intensity": intensity})
            gr.Markdown(PRIVACY, elem_classes="privacy")

    def show_parts(chosen: str) -> tuple:
        return gr.update(visible=chosen == film_panel.DRIVE_PHOTO), gr.update(visible=chosen == film_panel.EDIT_FILM)

    example.click(lambda: film_panel.EXAMPLE_FILM, None, clip, **INTERNAL)
    action.change(show_parts, action, [photo_part, expression_part], queue=False, **INTERNAL)
    inputs = [clip, photo, action, expression, intensity, keyframes]
    event = page_event(film_panel.make_film, editor, inputs, [file, status], film_panel.TIMEOUT_S,
                       **film_panel.QUEUE, trigger_mode="once")  # fmt: skip
    written = make.click(**event, show_progress_on=status)
    written.success(lambda path: (path, gr.update(visible=True)), file, [result, file], **INTERNAL)
    stop.click(lambda: "Stopped.", None, status, cancels=[written], queue=False, **INTERNAL)
    return link


@tab("Live")
def live_tab(editor: ExpressionEditor) -> Link:
    """The visitor's camera, mirrored, with another expression."""
    face, frame = gr.State(time_to_live=MAX_AGE_S), gr.Textbox(visible=False, label="Frame")
    with gr.Row(elem_classes="bench pair"):
        with gr.Column(elem_classes="outcome"):
            view = live_view()
        with gr.Column(elem_classes="side"):
            choices = expression_choices(editor.expressions)
            expression = gr.Radio(choices, value=default_expression(editor.expressions), label="Expression")
            intensity = intensity_slider()
            gr.Markdown("The pictures of your camera are edited on this server one by one, and none is stored. As many "
                        "frames a second are shown as the server gives.", elem_classes="privacy")  # fmt: skip
            with gr.Column(elem_classes="buttons"):
                link = Link({"expression": expression, "intensity": intensity})
    send = gr.Button(visible="hidden", elem_id="live-frame")
    event = page_event(live_panel.edit_live, editor, [frame, expression, intensity, face], [view, face]) | INTERNAL
    js = "(frame, ...settings) => [exprgan.cameraFrame(), ...settings]"
    shown = send.click(**event, js=js)
    shown.success(None, None, None, js="() => exprgan.frameShown()", api_visibility="private")
    shown.failure(None, None, None, js="() => exprgan.liveFailed()", api_visibility="private")
    return link


@tab("Random people")
def people_tab(editor: ExpressionEditor) -> Link:
    """People that the decoder makes up."""
    default = default_expression(editor.expressions)
    with gr.Row(elem_classes="bench pair"):
        with gr.Column(elem_classes="outcome"):
            pictures = handlers.generate(editor, 1, MAX_PEOPLE, default, 1.0)
            people = gr.Gallery(pictures, label="People the model makes up", columns=6, height="auto", object_fit="contain",
                                buttons=["fullscreen"], interactive=False, elem_classes="people")  # fmt: skip
        with gr.Column(elem_classes="side"):
            another = gr.Button("Another set", variant="primary")
            choices = [*expression_choices(editor.expressions), ("All six, in a row each", handlers.ALL_EXPRESSIONS)]
            expression = gr.Radio(choices, value=default, label="Expression")
            intensity = intensity_slider()
            count = gr.Slider(1, MAX_PEOPLE, MAX_PEOPLE, step=1, label="People", buttons=[])
            seed = gr.Number(1, precision=0, minimum=0, maximum=handlers.MAX_SEED, label="Seed",
                             info="The same number makes the same people.")  # fmt: skip
            settings = {"seed": seed, "count": count, "expression": expression, "intensity": intensity}
            event = page_event(handlers.generate, editor, [*settings.values()], [people], show_progress="minimal")
            download_button("Save all, labelled (zip)", handlers.download_people, editor, event["inputs"])
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
    sentences = [
        "The weights that came with this app were evaluated on {n[people]} people who were not in the training data, "
        "in {n[edits]} edits at full strength.".format(**measured)
    ]
    for judge in measured.get("outside", []):
        edits, real = (judge["metrics"]["read_as_wanted"].get(f"{kind}.mean", {}) for kind in ("detail", "real"))
        if edits and real:
            sentences.append(f"{judge['name']}, which others trained on other pictures, reads the intended expression in "
                             f"{edits['value']:.0%} of them (in the set's own pictures: {real['value']:.0%}).")  # fmt: skip
    metrics, own = measured["metrics"], measured["judges"][0]
    independence = "" if own["seen_in_training"] else ", with which the model was never trained"
    accuracy, likeness = metrics["expression_accuracy"], metrics["identity_cosine"]["detail"]
    sentences += [
        f"Our own judge is {own['network']}{independence}: it reads it in {accuracy['detail']:.0%} (in the set's own "
        f"pictures: {accuracy['real']:.0%}).",
        f"How alike it finds an edited face and its photo, from 0 for strangers to 1: {likeness:.2f}.",
    ]
    return " ".join(sentences)
