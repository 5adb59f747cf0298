"""The components that the tabs are laid out with, the theme, and the links that restore a tab's settings."""

import functools
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
from gradio.data_classes import FileData, ImageData
from gradio.utils import get_upload_folder

from ..editing.look import Look
from ..editor import ExpressionEditor
from ..errors import ExprGANError
from .endpoints import INTERNAL, page_event
from .looks import format_units, parse_units, settings_of
from .words import title as expression_title

PLACEHOLDER = "Drop or paste a photo anywhere,\nor click to choose one"
PRIVACY = (
    "On this server photos and results are deleted within an hour; there is no history and no tracking. Your own browser "
    "keeps the photo for this tab, so that a lost connection loses nothing, until you forget it or open the page anew."
)
NOT_UPLOADED = "This photo is not one that was uploaded here. Please add it again."
COPY, COPIED = "Copy a link", "Copied: settings, no photo"

THEME = gr.themes.Default(
    primary_hue="teal", neutral_hue="stone", radius_size="lg", font=["system-ui", "sans-serif"], font_mono=["monospace"]
).set(
    color_accent="*primary_600", slider_color="*primary_600",
    body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_400",
    button_primary_text_color="white",
    button_primary_background_fill="*primary_700", button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800", button_primary_background_fill_hover_dark="*primary_800",
    checkbox_label_text_color_selected="white",
    checkbox_label_background_fill_selected="*primary_700", checkbox_label_background_fill_selected_dark="*primary_700",
)  # fmt: skip
"""Colours with enough contrast to read (WCAG AA); fonts of the visitor's own system, so that nothing is fetched."""


def photo_input(label: str) -> tuple[gr.Image, gr.State]:
    """Where a photo is added, and the path of the last one: replacing an Image's photo triggers its change event twice."""
    photo = gr.Image(type="filepath", sources=["upload", "clipboard", "webcam"], placeholder=PLACEHOLDER,
                     label=label, alt_text=label, buttons=[], elem_classes="photo")  # fmt: skip
    # The unchanged file: `load_photo` knows what is safe to decode, and what to answer if it is not. (This would be lost
    # if an event updated the component's properties, as those of gr.Examples do.)
    photo.preprocess = uploaded_path
    path = gr.State()
    photo.change(lambda path: path, photo, path, concurrency_limit=1, **INTERNAL)  # so the second sees the first's value
    return photo, path


def film_input(label: str) -> gr.File:
    """Where a film is added; its value is the path of the unchanged file."""
    # Not a Video, which loads a program for trimming from an address that the page's policy of content forbids.
    film = gr.File(file_types=["video"], label=label, elem_classes="clip")
    film.preprocess = uploaded_path
    return film


def uploaded_path(payload: ImageData | FileData | None) -> str | None:
    """The path of a photo or film that a visitor uploaded. gradio checks only payloads with `meta`."""
    if payload is None or payload.path is None:
        return None
    if not Path(payload.path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise gr.Error(NOT_UPLOADED, print_exception=False)
    return payload.path


def example_people(photo: gr.Image, samples: Sequence[str], label: str, name: str) -> None:
    """Example photos, which a click puts into a photo's place."""
    people = gr.Dataset(components=[photo], samples=[[sample] for sample in samples], label=label, elem_id=name,
                        elem_classes="examples")  # fmt: skip
    people.click(lambda sample: sample[0], people, photo, **INTERNAL)


def status_line(text: str) -> gr.Markdown:
    """Sentences on a result."""
    return gr.Markdown(text, label="Status", elem_classes="status")


def intensity_slider() -> gr.Slider:
    """From the photo as it is to full strength."""
    return gr.Slider(0, 1, 1, step=0.05, label="Intensity", buttons=[], elem_classes="intensity")


def pass_empty_numbers() -> None:
    """Makes gradio's sliders pass an emptied box on as None, for which handlers take the default, instead of failing.

    For the class, as gradio makes a component anew, without what was set on it, when an event updates its properties.
    """

    def preprocess(self: gr.Slider, payload: float | None) -> float | None:
        return None if payload is None else check(self, payload)

    check = gr.Slider.preprocess
    if check.__name__ != preprocess.__name__ or check.__module__ != __name__:
        gr.Slider.preprocess = preprocess


def expression_choices(expressions: tuple[str, ...]) -> list[tuple[str, str]]:
    """(label, value) of a Radio."""
    return [(expression_title(name), name) for name in expressions]


def download_button(
    label: str, handler: Callable, editor: ExpressionEditor, inputs: list, variant: str = "secondary"
) -> None:
    """A button that calls a handler for a file, and then has the browser download it."""
    button, name = gr.Button(label, variant=variant), handler.__name__
    link = gr.DownloadButton(label, visible="hidden", elem_id=name)
    written = button.click(**page_event(handler, editor, inputs, [link]), show_progress_on=button)
    written.success(None, js=f"() => setTimeout(() => document.querySelector('#{name}').click(), 100)")


# Links that restore a tab's settings.


class Link:
    """A button that copies a link to a tab with its settings (name in the address -> component), see `connect_links`.

    `event` are arguments of `gr.on`, of the event that applies the settings when a link has restored them.
    """

    def __init__(self, settings: dict[str, gr.components.Component], event: dict[str, Any] | None = None):
        self.settings, self.event, self.button = settings, event, gr.Button(COPY)


def connect_links(app: gr.Blocks, tabs: gr.Tabs, links: dict[str, Link], editor: ExpressionEditor) -> None:
    """Makes the link buttons copy their links, and the page restore a link's settings; `links` are by their tab's title."""
    address, opened = gr.Textbox(visible=False), gr.State()
    outputs = [tabs, opened]
    for title, link in links.items():
        tab, names = json.dumps(title), json.dumps(list(link.settings))
        js = f"(...values) => {{ copyLink({tab}, {names}, values); return {json.dumps(COPIED)} }}"
        copied = link.button.click(None, [*link.settings.values()], link.button, js=js, api_visibility="private")
        js = f"() => new Promise(done => setTimeout(() => done({json.dumps(COPY)}), 2500))"
        copied.then(None, None, link.button, js=js, api_visibility="private")
        outputs += link.settings.values()
    restore = functools.partial(restore_settings, links, editor)
    loaded = app.load(
        restore, address, outputs, js="() => window.exprgan?.address() ?? window.location.search", queue=False, **INTERNAL
    )
    for title, link in links.items():
        if link.event:
            inputs = [opened, *link.event["inputs"]]
            loaded.success(**link.event | {"fn": only_for_tab(title, link.event["fn"]), "inputs": inputs})


def only_for_tab(title: str, handler: Callable) -> Callable:
    """The handler with a first argument, the tab that a link opened; it is not called, and changes nothing, for another."""
    return lambda opened, *settings: handler(*settings) if opened == title else gr.skip()


def restore_settings(links: dict[str, Link], editor: ExpressionEditor, query: str) -> list:
    """The tab and the values of all its settings for an address's query; what is not valid is left unchanged.

    A look in it, `?look=`, its name or `Look.to_link`, takes the place of the settings that it has.
    """
    values = dict(parse_qsl((query or "").lstrip("?")))
    if "look" in values:
        with suppress(ValueError, ExprGANError):
            look = settings_of(Look.from_link(values["look"]), editor)
            values |= {"tab": "Edit"} | {name: str(value) for name, value in look.items()}
            values["units"] = format_units(look["units"])
    tab = values.get("tab")
    updates = [parse_setting(component, values.get(name)) if title == tab else gr.skip()
               for title, link in links.items() for name, component in link.settings.items()]  # fmt: skip
    return [gr.Tabs(selected=tab) if tab in links else gr.skip(), tab, *updates]


def parse_setting(component: gr.components.Component, text: str | None) -> Any:
    """A component's value from an address, or `gr.skip()` if the component cannot have it."""
    if isinstance(component, gr.JSON):
        try:
            return parse_units(text or "")
        except ValueError:
            return gr.skip()
    if isinstance(component, gr.Radio):
        values: dict[str | None, Any] = {str(value): value for _, value in component.choices}
        return values.get(text, gr.skip())
    try:
        number = float(text or "")
    except ValueError:
        return gr.skip()
    is_integer = component.step == 1 or getattr(component, "precision", None) == 0
    in_range = component.minimum <= number <= component.maximum
    return (int(number) if is_integer else number) if in_range else gr.skip()
