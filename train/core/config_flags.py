"""Command-line flags made from the fields of a frozen dataclass: one definition for code, flags, help and config.json."""

import argparse
import dataclasses
import math
import typing
from typing import Any, Literal


def option(default: Any, help: str) -> Any:
    """A field of a configuration, with the sentence that `--help` shows."""
    return dataclasses.field(default=default, metadata={"help": help})


def add_flags(parser: argparse.ArgumentParser, cls: type) -> None:
    """Adds one flag per field: Literal -> choices, bool -> --x / --no-x, help from the field."""
    types = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind, text = types[field.name], field.metadata["help"]
        flag = "--" + field.name.replace("_", "-")
        # SUPPRESS: only what was typed arrives, so that another stage's or file's defaults can stand beneath
        common: dict[str, Any] = {"default": argparse.SUPPRESS, "help": f"{text} (default: {field.default})"}
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        elif typing.get_origin(kind) is Literal:
            parser.add_argument(flag, choices=typing.get_args(kind), **common)
        else:
            parser.add_argument(flag, type=kind, **common)


def typed(args: argparse.Namespace, cls: type) -> dict[str, Any]:
    """The fields of `cls` that were typed on the command line."""
    return {f.name: getattr(args, f.name) for f in dataclasses.fields(cls) if hasattr(args, f.name)}


SEEDS = 2**32
"""Seeds below this one are taken by every generator of chance."""


def check_finite(config: Any, **least: float) -> None:
    """What every configuration checks: that numbers are finite, seeds can be used, and some values are large enough.

    Args:
        config: a dataclass.
        least: by a field's name, the smallest value that works.

    Raises:
        ValueError: a value that cannot work; the message names it.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{field.name} must be a finite number, not {value!r}")
        if field.name == "seed" and not 0 <= value < SEEDS:
            raise ValueError(f"seed must be 0 to {SEEDS - 1}, not {value!r}")
    for name, value in least.items():
        if getattr(config, name) < value:
            raise ValueError(f"{name} must be at least {value}, not {getattr(config, name)!r}")
