"""What static/ draws: the viewer of a result, rows of tiles to choose from, and dials."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

STATIC = Path(__file__).parent / "static"
VIEWER_HTML = (STATIC / "viewer.html").read_text(encoding="utf-8")
ONE_ROW = 7
"""Tiles that a phone shows side by side with their labels; more of them take two rows there."""


def file_data(path: str | None) -> dict[str, Any] | None:
    """A file as gradio sends it, which gets an address on the way."""
    return None if path is None else FileData(path=path, orig_name=Path(path).name).model_dump()


def _scripted(value: dict | None, kind: str, html: str, **options: Any) -> gr.HTML:
    """HTML that does not change, drawn by `exprgan.KIND` of static/ whenever the value, an object, does.

    No subclass, as gradio writes a stub beside the file of each.
    """
    script = f"(window.exprganQueue ??= []).push(['{kind}', element, props, watch]); window.exprgan?.start()"
    return gr.HTML(value, html_template=html, js_on_load=script, apply_default_css=False, **options)


def viewer(value: dict | None, tab: str) -> gr.HTML:
    """Shows a `stage`: the photo before and after, with zoom, a comparison, faces to choose, full screen."""
    return _scripted(value, "viewer", VIEWER_HTML.replace("TAB", tab), label="Result", elem_classes="result")


def live_view() -> gr.HTML:
    """Shows the visitor's camera with the edit: {"picture": a data: URL, "note": a sentence}."""
    html = ('<div class="live"><img alt="You, with the other expression" hidden><p class="live-note" role="status"></p>'
            '<button type="button">Start the camera</button><p class="live-speed"></p></div>')  # fmt: skip
    return _scripted(None, "live", html, label="Camera", elem_classes="live-block")


def tile_row(value: dict | None, label: str, action: str, elem_classes: str, heading: str = "") -> gr.HTML:
    """Shows `tiles`: pictures with labels, one of which is chosen; a choice calls the function `action` of static/."""
    title = f'<p class="heading">{heading}</p>' if heading else ""
    many = " data-many" * (value is not None and len(value["tiles"]) > ONE_ROW)
    html = f'{title}<div class="tiles" role="group" aria-label="{label}" data-action="{action}"{many}></div>'
    return _scripted(value, "tiles", html, label=label, elem_classes=["tiled", elem_classes])


def dial_rows(value: dict) -> gr.HTML:
    """Shows the sliders of the dials, and the looks to choose from, see `dial_panel.dial_value`."""
    return _scripted(value, "dials", '<div class="dials"></div>', label="Fine tuning", elem_classes="dials-block")


def tiles(entries: Iterable[tuple[Any, str, str]], chosen: Any = None) -> dict[str, Any]:
    """The value of a `tile_row`: of each its value, its label and the path of its picture."""
    return {"chosen": chosen, "tiles": [{"value": value, "label": label, "picture": file_data(path)}
                                        for value, label, path in entries]}  # fmt: skip


def stage(pair: tuple[str, str], *, name: str, title: str, boxes: Sequence[Sequence[float]] = (), face: int = 0,
          settings: dict[str, Any] | None = None, chips: Iterable[tuple[str, str]] = (),
          photo: str | None = None) -> dict[str, Any]:  # fmt: skip
    """The value of a `viewer`.

    Args:
        pair: the paths of the photo before and after.
        name: the name under which the picture is shared, without suffix.
        title: what the result shows, in words.
        boxes: of each face, in widths and heights of the photo.
        face: the index of the chosen one.
        settings: those of the result, by the names of the page's controls.
        chips: (setting, words) of what is set beside expression and intensity.
        photo: the path of the photo; None for the example.
    """
    before, after = pair
    return {
        "before": file_data(before), "after": file_data(after), "name": name, "title": title, "boxes": boxes,
        "face": face + 1, "settings": settings, "chips": chips, "photo": file_data(photo), "unchanged": before == after,
    }  # fmt: skip
