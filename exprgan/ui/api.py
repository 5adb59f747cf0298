"""The public API: every handler with typed and described parameters, also as tools of MCP and as a text, /agents.md."""

import inspect
import json
import re
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.components.api_component import Api
from gradio.data_classes import ImageData
from gradio.route_utils import get_root_url
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from ..editing.animation import ANIMATION_KINDS
from ..editing.results import FIDELITIES
from ..editor import ExpressionEditor
from . import film_panel, handlers
from .animation_panel import MAX_SIDE_PX, animate
from .components import uploaded_path
from .endpoints import add_endpoint
from .handlers import DEFAULTS, default_expression
from .looks import download_look
from .sheet import download_sheet
from .workers import TIMEOUT_S

AGENTS_PATH = "/agents.md"
FILES = ("photo", "source", "clip")
"""Parameters that are pictures or films; all of them may be left out, and an example is used."""

INTRODUCTION = """# ExprGAN

Changes the expression of faces in photos. {count} functions; faces are counted from 1, from left to right, and 0 is the
largest. Every parameter may be left out; without a photo or a film an example is used, so that each call below runs as it
stands. A call takes at most {seconds} seconds, a film {film_seconds}. Errors are one sentence: what is wrong, and what to
do.

Photos are sent as files: `handle_file("me.jpg")` in Python; over HTTP, `POST {url}gradio_api/upload` with the form field
`files` answers with a list of a path, which is passed as `{{"path": PATH, "meta": {{"_type": "gradio.FileData"}}}}`. Other
addresses are not fetched. Results are addresses on this server; they are deleted within an hour.

Over HTTP a function is called in two requests: `POST {url}gradio_api/call/v2/NAME` with a JSON object of parameters answers
with an `event_id`; `GET {url}gradio_api/call/NAME/EVENT_ID` then sends `event: complete` and the list of results, or
`event: error` and a sentence.

```sh
photo=$(curl -sF files=@me.jpg {url}gradio_api/upload | tr -d '[]"')
ask='{{"photo": {{"path": "'$photo'", "meta": {{"_type": "gradio.FileData"}}}}, "intensity": 0.8}}'
event=$(curl -s {url}gradio_api/call/v2/edit -H 'Content-Type: application/json' -d "$ask" | cut -d'"' -f4)
curl -sN {url}gradio_api/call/edit/$event
```
"""


def add_api(editor: ExpressionEditor) -> None:
    """Adds all functions of the API to the page that is being built."""
    add, animation = _Adder(editor), {"concurrency_id": "animation", "concurrency_limit": 1}
    add(handlers.read, gr.JSON)
    add(handlers.edit, gr.ImageSlider, gr.Textbox)
    add(handlers.number_faces, gr.Image)
    add(animate, gr.File, **animation)
    add(handlers.all_expressions, gr.Gallery)
    add(handlers.download_edit, gr.File)
    add(handlers.transfer, gr.ImageSlider, gr.Textbox)
    add(handlers.download_transfer, gr.File)
    add(handlers.generate, gr.Gallery)
    add(handlers.download_people, gr.File)
    add(download_sheet, gr.File)
    add(download_look, gr.File)
    add(film_panel.film, gr.File, gr.Textbox, timeout_s=film_panel.TIMEOUT_S, **film_panel.QUEUE)


class _Adder:
    """Adds handlers to the API, with parameters that nobody sees on the page."""

    def __init__(self, editor: ExpressionEditor):
        self.editor = editor
        expressions, number = list(editor.expressions), {"type": "number", "minimum": 0, "maximum": 1}
        face, none = ({"type": "integer", "minimum": 0}, 0), [""] if editor.dials else []
        self.schemas: dict[str, tuple[dict[str, Any], Any]] = {
            "expression": ({"type": "string", "enum": [*expressions, *none]}, default_expression(editor.expressions)),
            "intensity": (number, DEFAULTS["intensity"]),
            "second": ({"type": "string", "enum": ["", *expressions[:-1]]}, ""),
            "part": (number, DEFAULTS["part"]),
            "style": ({"type": "integer", "minimum": 0, "maximum": editor.model.config.code_dim_each}, 0),
            "fidelity": ({"type": "string", "enum": list(FIDELITIES)}, DEFAULTS["fidelity"]),
            "face": face, "source_face": face,
            "scope": ({"type": "string", "enum": [handlers.ONE_FACE, handlers.EACH_FACE, handlers.ALL_FACES]}, "one"),
            "others": ({"type": "object", "additionalProperties": {"type": "object"}}, {}),
            "units": ({"type": "object", "additionalProperties": {"type": "number", "minimum": -1, "maximum": 1}}, {}),
            "relative": ({"type": "boolean"}, False),
            "kind": ({"type": "string", "enum": list(ANIMATION_KINDS)}, ANIMATION_KINDS[0]),
            "file_format": ({"type": "string", "enum": list(MAX_SIDE_PX)}, "mp4"),
            "seconds": ({"type": "number", "minimum": 0.5, "maximum": 3}, 2),
            "seed": ({"type": "integer", "minimum": 0, "maximum": handlers.MAX_SEED}, 1),
            "action": ({"type": "string", "enum": [film_panel.EDIT_FILM, film_panel.DRIVE_PHOTO]}, film_panel.EDIT_FILM),
            "keyframes": ({"type": "string"}, ""),
            "count": ({"type": "integer", "minimum": 1, "maximum": handlers.MAX_PEOPLE}, handlers.MAX_PEOPLE),
        }  # fmt: skip

    def __call__(self, handler: Callable, *outputs: type[gr.components.Component], **options: Any) -> None:
        """Adds one; `outputs` are the components that describe its results."""
        texts = argument_texts(handler)
        inputs = [self._parameter(name, text, handler) for name, text in texts.items()]
        add_endpoint(handler, self.editor, inputs, [output(visible=False) for output in outputs], **options)

    def _parameter(self, name: str, text: str, handler: Callable) -> gr.components.Component:
        if name in FILES:  # the empty text is what the page's snippets write as None and null
            schema = dict(gr.Image(type="filepath", render=False).api_info())
            component = Api("", schema, name)
            component.preprocess = sent_path  # type: ignore[method-assign, unused-ignore]
        else:
            schema, default = self.schemas[name]
            if name == "expression" and handler in (handlers.generate, handlers.download_people):
                schema = schema | {"enum": [*self.editor.expressions, handlers.ALL_EXPRESSIONS]}
            component = Api(default, schema, name)
        component.visible = False
        schema = schema | {"description": text, "additional_description": text}
        component.api_info = lambda: schema  # type: ignore[method-assign, unused-ignore]
        return component


def sent_path(payload: Any) -> str | None:
    """The path of a photo that a program sent, or None where it sent none."""
    if not payload:
        return None
    path = payload.get("path") if isinstance(payload, dict) else payload
    if not isinstance(path, str):
        raise ValueError(f"a path is needed, not {payload!r}")  # `check_input` answers with a sentence
    return uploaded_path(ImageData(path=path))


def argument_texts(handler: Callable) -> dict[str, str]:
    """The texts under `Args` in a docstring, each on one line, by parameter."""
    section = re.search(r"^Args:\n((?:    .*\n|\n)+)", inspect.getdoc(handler) or "", re.M)
    parts = re.split(r"^    (\w+): ", section[1], flags=re.M)[1:] if section else []
    return {name: " ".join(text.split()) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def agents_route(app: gr.Blocks) -> Route:
    """The address /agents.md: the API as a text."""

    def answer(request: Request) -> PlainTextResponse:
        url = get_root_url(request, AGENTS_PATH, app.root_path)  # behind a proxy, the proxy's
        return PlainTextResponse(agents_text(app, f"{url}/"), media_type="text/markdown")

    return Route(AGENTS_PATH, answer)


def agents_text(app: gr.Blocks, url: str) -> str:
    """Describes the API: of each function what it does, its parameters, its results and a call."""
    functions = app.get_api_info()["named_endpoints"]
    parts = [INTRODUCTION.format(count=len(functions), seconds=TIMEOUT_S, film_seconds=film_panel.TIMEOUT_S, url=url)]
    parts.append(f"```python\nfrom gradio_client import Client, handle_file\n\nclient = Client({url!r})\n```\n")
    documentation = {fn.api_name: inspect.getdoc(fn.fn) or "" for fn in app.fns.values() if fn.fn}
    for endpoint, function in functions.items():
        defaults = {p["parameter_name"]: None if p["parameter_name"] in FILES else p["parameter_default"]
                    for p in function["parameters"]}  # fmt: skip
        arguments = "".join(f"{parameter}={default!r}, " for parameter, default in defaults.items())
        parts.append(f"## {endpoint}\n\n{function['description']}\n")
        for parameter in function["parameters"]:
            name, text = parameter["parameter_name"], parameter["type"]["additional_description"]
            parts.append(
                f"- `{name}` ({describe_type(parameter['type'])}, by default {json.dumps(defaults[name])}): {text}"
            )
        returned = documentation[endpoint[1:]].partition("Returns:\n")[2]
        parts.append(f"\nReturns: {' '.join(returned.split())}\n")
        parts.append(f'```python\nresult = client.predict({arguments}api_name="{endpoint}")\n```\n')
    return "\n".join(parts)


def describe_type(schema: dict[str, Any]) -> str:
    """A JSON schema in words: number from 0 to 1, or one of "a", "b"."""
    if "enum" in schema:
        return f"one of {', '.join(map(json.dumps, schema['enum']))}"
    if "type" not in schema or "properties" in schema:
        return "file"
    bounds = [f"{word} {schema[key]}" for word, key in (("from", "minimum"), ("to", "maximum")) if key in schema]
    return " ".join([schema["type"], *bounds])
