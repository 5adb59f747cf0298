"""Command-line flags made from the fields of a frozen dataclass: one definition for code, flags, help and config.json."""

import argparse
import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from exprgan.expressions import EXPRESSIONS

Config = TypeVar("Config")

SIX_EXPRESSIONS = ",".join(EXPRESSIONS)
"""The default of `--expressions`."""

MAX_SEED = 2**32 - 1
"""Every random number generator takes seeds from 0 up to this one."""


def option(default: Any, help: str) -> Any:
    """A field of a configuration, with the sentence that `--help` shows."""
    return dataclasses.field(default=default, metadata={"help": help})


def add_flags(parser: argparse.ArgumentParser, cls: type) -> None:
    """Adds one flag per field: Literal -> choices, bool -> --x / --no-x, help from the field."""
    types = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind, text = types[field.name], field.metadata["help"]
        flag = "--" + field.name.replace("_", "-")
        # SUPPRESS: only typed flags arrive, so that the defaults of a stage or a file can take effect below them
        text += "" if field.default == "" else f" (default: {field.default})"
        common: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text}
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        elif typing.get_origin(kind) is Literal:
            parser.add_argument(flag, choices=typing.get_args(kind), **common)
        else:
            parser.add_argument(flag, type=kind, **common)


def typed_options(args: argparse.Namespace, cls: type) -> dict[str, Any]:
    """The fields of `cls` that were typed on the command line."""
    return {f.name: getattr(args, f.name) for f in dataclasses.fields(cls) if hasattr(args, f.name)}


def read_config(args: argparse.Namespace, cls: type[Config]) -> Config:
    """Makes a configuration of the flags that `add_flags` added.

    Raises:
        ValueError: a value that cannot work; the message names it.
    """
    return cls(**typed_options(args, cls))


def parse_expressions(expressions: str) -> tuple[str, ...]:
    """Splits names separated by commas; their order is that of c."""
    return tuple(name.strip() for name in expressions.split(",") if name.strip())


def describe_difference(settings: Mapping[str, Any], previous: Mapping[str, Any]) -> str:
    """Says which values `previous` has instead of those of `settings`: "lr 0.001 instead of 0.002"; empty if all agree."""
    names = sorted(name for name in settings.keys() | previous if settings.get(name) != previous.get(name))
    return ", ".join(f"{name} {previous.get(name)!r} instead of {settings.get(name)!r}" for name in names)


def check_finite(config: Any, **minimum: float) -> None:
    """Checks that a configuration's numbers are finite, its seed is usable, and some values are large enough.

    Args:
        config: a dataclass.
        minimum: field name -> smallest value that works.

    Raises:
        ValueError: a value that cannot work; the message names it.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{field.name} must be a finite number, not {value!r}")
        if field.name == "seed" and not 0 <= value <= MAX_SEED:
            raise ValueError(f"seed must be 0 to {MAX_SEED}, not {value!r}")
    for name, value in minimum.items():
        if getattr(config, name) < value:
            raise ValueError(f"{name} must be at least {value}, not {getattr(config, name)!r}")
