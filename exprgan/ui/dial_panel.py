"""The Edit tab's fine tuning: dials that move parts of the face, and looks to choose, save and open."""

from typing import Any

import gradio as gr

from ..editing.dials import dials_of
from ..editing.look import Look
from ..editor import ExpressionEditor
from .components import download_button
from .endpoints import INTERNAL, page_event
from .looks import download_look, settings_of, usable_looks
from .stage import dial_rows
from .words import DIAL_WORDS


def fine_tuning_panel(editor: ExpressionEditor, settings: list[gr.components.Component]) -> gr.events.Dependency:
    """The dials of the model and its looks.

    Args:
        settings: the controls that a look sets, as `download_look` takes them; the last has the units.

    Returns:
        The event of a look that was opened from a file, and has set them.
    """
    with gr.Accordion("Fine tuning", open=False, elem_classes="fine"):
        dial_rows(dial_value(editor))
        with gr.Row(elem_classes="look-buttons"):
            download_button("Save this look", download_look, editor, settings)
            gr.HTML('<label class="open-look">Open a look<input type="file" accept=".json,application/json"></label>',
                    elem_classes="open-look-block", apply_default_css=False)  # fmt: skip
    text, opened = gr.Textbox(visible=False), gr.Button(visible="hidden", elem_id="edit-look")
    event = page_event(open_look, editor, [text], settings, js="() => exprgan.lookText()") | INTERNAL
    return opened.click(**event)


def dial_value(editor: ExpressionEditor) -> dict[str, Any]:
    """The value of `dial_rows`: of each dial its name, label and whether it has sides; and the looks with settings."""
    dials = [{"name": name, "label": DIAL_WORDS[name], "sided": dial.sided}
             for name, dial in dials_of(editor.model.config.warp_units, editor.model.config.warp_eyes).items()]  # fmt: skip
    looks = [(name, Look.load(name)) for name in usable_looks(editor)]
    return {"dials": dials, "looks": [{"label": look.name or name, "settings": settings_of(look, editor)}
                                      for name, look in looks]}  # fmt: skip


def open_look(editor: ExpressionEditor, text: str) -> tuple:
    """The settings of a look in a file's text, in the order of `download_look`'s parameters."""
    try:
        settings = settings_of(Look.from_json(text or ""), editor)
    except ValueError as error:
        raise ValueError(f"This file cannot be used as a look: {str(error).rstrip('.')}.") from None
    return tuple(settings.values())
