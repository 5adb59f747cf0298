"""Markdown with texts from data in it, such as names, labels and credits, which are shown as they are, never as markup."""

import re
from typing import Any

import jinja2
from huggingface_hub.utils import yaml_dump
from markupsafe import Markup

_LINE_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
"""Control characters, also those that change the direction of writing."""
_INLINE = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
"""What begins or ends markup within a line; a _ within a word does not."""
_BLOCK = re.compile(r"^(\s*)(?=(#{1,6}|[-+]|=+|-+)(\s|$))")
"""The start of a heading, a list or a rule."""
_NUMBERED = re.compile(r"^(\s*\d+)(?=[.)](\s|$))")
_HTML = re.compile(r"[<>]|&(?=[a-zA-Z#])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape_markdown(text: str) -> str:
    """Escapes a text for a line, a list item or a table cell of Markdown, also of HTML in it; line breaks become spaces."""
    text = _INLINE.sub(r"\\\g<0>", _LINE_BREAKS.sub(" ", text))
    text = _NUMBERED.sub(r"\1\\", _BLOCK.sub(r"\1\\", text))
    return _HTML.sub(lambda match: _ENTITIES[match[0]], text)


def plain_code(text: str) -> Markup:
    """A text within a block or span of code, in quotes or not: without line breaks, backticks, quotes and backslashes."""
    return Markup(re.sub(r"[`\"\\]", "", _LINE_BREAKS.sub(" ", text)))


def markdown_environment(**options: Any) -> jinja2.Environment:
    """A Jinja environment for Markdown: what a template inserts is escaped by `escape_markdown` unless it is a `Markup`.

    Filters: `safe` for Markdown, `code` for a span of code, `plain_code` in a block of code, `yaml` for front matter.

    Args:
        options: of `jinja2.Environment`.
    """

    def escape(value: Any) -> Any:
        return escape_markdown(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = jinja2.Environment(finalize=escape, undefined=jinja2.StrictUndefined, trim_blocks=True,
                                     keep_trailing_newline=True, **options)  # fmt: skip
    environment.filters |= {
        "code": lambda text: Markup(f"`{plain_code(text)}`"),
        "plain_code": plain_code,
        "yaml": lambda values: Markup(yaml_dump(values).rstrip("\n")),
    }
    return environment
