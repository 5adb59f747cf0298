"""The pieces the app's tabs are laid out of, how they look, and the links that restore their settings."""

import functools
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder

from exprgan import ExpressionEditor
from exprgan.ui.handlers import AT_ONCE, with_error_handling, word

PLACEHOLDER = "Drop a photo here\nor click to choose one"
NOT_UPLOADED = "This photo is not one that was uploaded here. Please add it again."
COPY, COPIED = "Copy a link to these settings", "Copied: the link has the settings, not the photo"

WORK = {"concurrency_id": "work", "concurrency_limit": AT_ONCE, "trigger_mode": "always_last"}
"""Of an event that computes: all of them wait in one queue. The last of many moves of a slider counts."""
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
"""Of an event that only the page needs."""

THEME = gr.themes.Default(
    primary_hue="teal", neutral_hue="stone", radius_size="lg", font=["system-ui", "sans-serif"], font_mono=["monospace"]
).set(
    color_accent="*primary_600",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    slider_color="*primary_600",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_hover_dark="*primary_800",
    button_primary_text_color="white",
    checkbox_label_background_fill_selected="*primary_700",
    checkbox_label_background_fill_selected_dark="*primary_700",
    checkbox_label_text_color_selected="white",
)
"""Quiet colours, with enough contrast to read; fonts of the visitor's own system, so that nothing is fetched."""

ON_PAGE = """() => {
  const name = (one, words) => words && one.getAttribute('aria-label') !== words && one.setAttribute('aria-label', words);
  const mark = () => {
    document.querySelectorAll('.block.status:not([aria-live])').forEach(line => line.setAttribute('aria-live', 'polite'));
    document.querySelectorAll('#people button').forEach((one, i) => name(one, `Virtual person ${i + 1}`));
    document.querySelectorAll('.player progress').forEach(one => name(one, 'Where the film is'));
    const words = one => one.textContent.replace(/\\s+/g, ' ').trim();
    document.querySelectorAll('button[aria-dropeffect]').forEach(one => name(one, words(one)));
    document.querySelectorAll('.empty[aria-label]').forEach(one => one.removeAttribute('aria-label'));
    document.querySelectorAll('.thumbnail-item').forEach(one => name(one, one.querySelector('.caption-label')?.innerText));
  };
  new MutationObserver(mark).observe(document.body, {childList: true, subtree: true});
  mark();
}"""
"""A screen reader says a new status, what a picture to choose shows, and what stands on the place for a photo; of an empty
place it says nothing. (A tab is on the page only once it was opened.)"""

COPY_LINK = """(...values) => {
  const url = new URL(window.location.href.split(/[?#]/)[0]);
  url.searchParams.set('tab', %s);
  %s.forEach((name, i) => url.searchParams.set(name, values[i]));
  window.history.replaceState(null, '', url);
  navigator.clipboard?.writeText(String(url)).catch(() => {});
  return %s;
}"""
"""The link also stands in the address bar, where a browser does not let a page write to the clipboard."""
LATER = "() => new Promise(done => setTimeout(() => done(%s), 2500))"


def photo_input(label: str) -> tuple[gr.Image, gr.State]:
    """Where a photo is put, and the path of the last one: an Image put in another's place tells of its change twice."""
    photo = gr.Image(type="filepath", sources=["upload", "clipboard", "webcam"], placeholder=PLACEHOLDER,
                     label=label, alt_text=label, buttons=[], elem_classes="photo")  # fmt: skip
    # The file as it came: `load_photo` knows what is safe to decode, and what to say if it is not. (This would be lost
    # if an event updated the component's properties, as those of gr.Examples do.)
    photo.preprocess = uploaded
    arrived = gr.State()
    photo.change(lambda path: path, photo, arrived, concurrency_limit=1, **QUIET)  # the 2nd sees what the 1st set
    return photo, arrived


def uploaded(payload: ImageData | None) -> str | None:
    """The path of a photo that came from a visitor. gradio sees to that only of a payload with `meta`."""
    if payload is None or payload.path is None:
        return None
    if not Path(payload.path).resolve().is_relative_to(Path(get_upload_folder()).resolve()):
        raise gr.Error(NOT_UPLOADED, print_exception=False)
    return payload.path


def result_view(pair: tuple[str, str] | None, status: str) -> tuple[gr.ImageSlider, gr.Markdown]:
    """Before and after, of one height whether or not there is a result, and the line that tells what it shows."""
    result = gr.ImageSlider(pair, label="Before and after", format="png", buttons=["fullscreen"], interactive=False,
                            max_height=560, elem_classes="result")  # fmt: skip
    return result, gr.Markdown(status, label="Status", elem_classes="status")


def intensity_slider() -> gr.Slider:
    return gr.Slider(0, 1, 1, step=0.05, label="Intensity", buttons=[])


def choices_of(expressions: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(word(name).capitalize(), name) for name in expressions]


def download_button(label: str, action: Callable, editor: ExpressionEditor, inputs: list) -> None:
    """A button that has a file made by the action, and then handed to the browser."""
    button, name = gr.Button(label), action.__name__
    link = gr.DownloadButton(label, visible="hidden", elem_id=name)
    endpoint(action, editor, inputs, [link])
    made = button.click(
        with_error_handling(action, editor), inputs, link, show_progress_on=button, api_visibility="private", **WORK
    )
    made.success(None, js=f"() => setTimeout(() => document.querySelector('#{name}').click(), 100)")


def endpoint(action: Callable, editor: ExpressionEditor, inputs: list, outputs: list, **settings) -> None:
    """What a program calls of an action: an event that nothing on the page sets off, and that keeps nothing.

    It comes before the page's own events of that action: gradio gives a name to who asks first.
    """
    told, shown = ([one for one in some if not isinstance(one, gr.State)] for some in (inputs, outputs))
    gr.on(
        [],
        with_error_handling(stateless(action, len(shown)), editor),
        told,
        shown,
        api_name=action.__name__,
        **WORK | settings,
    )


def stateless(action: Callable, count: int) -> Callable:
    """An action as a program calls it, each time anew: without the sittings that the page hands on from one to the next.

    (A tool of gradio's MCP that gave a sitting would give nothing else.)

    Args:
        action: what it gives ends in a sitting, if it gives one.
        count: how many things a program is told.
    """
    signature = inspect.signature(action)
    place = next((i for i, name in enumerate(signature.parameters) if name.startswith("sitting")), None)

    @functools.wraps(action)
    def once(*given):
        result = action(*given) if place is None else action(*given[:place], None, *given[place:])
        if not isinstance(result, tuple) or len(result) <= count:
            return result
        return result[0] if count == 1 else result[:count]

    kept = [one for name, one in signature.parameters.items() if not name.startswith("sitting")]
    once.__signature__ = signature.replace(parameters=kept)
    return once


# Links that restore a tab's settings.


@dataclass(frozen=True)
class Link:
    """What a tab hands out of itself: the settings that a link to it carries, by their names in the address."""

    settings: dict[str, gr.components.Component]
    then: dict[str, Any] | None
    """The event, as of `gr.on`, that shows the restored settings at work."""
    button: gr.Button


def link_button(settings: dict[str, gr.components.Component], then: dict[str, Any] | None = None) -> Link:
    """A button that copies a link to the tab with these settings; `wire_links` makes it work."""
    return Link(settings, then, gr.Button(COPY))


def wire_links(app: gr.Blocks, tabs: gr.Tabs, links: dict[str, Link]) -> None:
    """The buttons that copy a link, and what happens when somebody comes by one."""
    address, opened = gr.Textbox(visible=False), gr.State()
    outputs = [tabs, opened]
    for title, link in links.items():
        js = COPY_LINK % (json.dumps(title), json.dumps(list(link.settings)), json.dumps(COPIED))
        copied = link.button.click(None, [*link.settings.values()], link.button, js=js, api_visibility="private")
        copied.then(None, None, link.button, js=LATER % json.dumps(COPY), api_visibility="private")
        outputs += link.settings.values()
    restore = functools.partial(restored, links)
    loaded = app.load(restore, address, outputs, js="() => window.location.search", queue=False, **QUIET)
    for title, link in links.items():
        if link.then:
            loaded.success(**link.then | {"fn": only_on(title, link.then), "inputs": [opened, *link.then["inputs"]]})


def only_on(title: str, then: dict[str, Any]) -> Callable:
    """The event's function for who came by a link to this tab; for others nothing changes."""

    def show(opened: str | None, *settings):
        if opened == title:
            return then["fn"](*settings)
        return [gr.skip()] * len(then["outputs"]) if len(then["outputs"]) > 1 else gr.skip()

    return show


def restored(links: dict[str, Link], search: str) -> list:
    """What the page is to show for an address: the tab and its settings. What is not understood stays as it is."""
    query = dict(parse_qsl((search or "").lstrip("?")))
    tab, updates = query.get("tab"), []
    for title, link in links.items():
        updates += [understood(one, query.get(name)) if title == tab else gr.skip() for name, one in link.settings.items()]
    return [gr.Tabs(selected=tab) if tab in links else gr.skip(), tab, *updates]


def understood(component: gr.components.Component, text: str | None) -> Any:
    """A setting's value as it stands in an address, if the component can have it."""
    if isinstance(component, gr.Radio):
        return {str(value): value for _, value in component.choices}.get(text, gr.skip())
    try:
        number = float(text)
    except (TypeError, ValueError):
        return gr.skip()
    whole = component.step == 1 or getattr(component, "precision", None) == 0
    inside = component.minimum <= number <= component.maximum
    return (int(number) if whole else number) if inside else gr.skip()
