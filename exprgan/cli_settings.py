"""The settings of an edit on the command line: photos from pipes, faces, expressions, units and looks."""

import argparse
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard

from .editing.dials import check_dials
from .editing.look import Look, look_label
from .editing.multi_face import EditRequest, EditRequests
from .errors import ExprGANError
from .photo.decode_limits import read_stream


def parse_face(text: str) -> int:
    """Parses one face, counted from 1: its index, counted from 0."""
    if (number := int(text)) < 1:
        raise ValueError
    return number - 1


def parse_faces(text: str) -> list[int] | str:
    """Parses --face, counted from 1: the indices, counted from 0, or "all"."""
    try:
        return "all" if text == "all" else [parse_face(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no face; use a number from 1, several as 1,3, or all") from None


def parse_one_face(text: str) -> int:
    """Parses --face of one face."""
    try:
        return parse_face(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no face; use a number from 1") from None


def parse_settings(args: argparse.Namespace, requests: Any, label: str = "") -> tuple[dict[str, Any], str]:
    """The arguments of an edit, expression, intensity, style and units, with a label for the output's file name.

    requests: expressions, or a film's keyframes; None: there are none.
    """
    units: dict[str, float] = {}
    for text in args.unit:
        name, _, value = text.partition("=")
        try:
            units[name] = float(value)
        except ValueError:
            raise ValueError(f"--unit {text} must be a name and a value from -1 to 1, such as smile=0.4") from None
    given = check_dials(units) or None
    settings = {"expression": requests, "intensity": args.intensity, "style": args.style, "units": given}
    if args.look:
        if requests is not None or args.style is not None:
            raise ValueError(f"the look {args.look} has its expression and style; leave yours out")
        look = Look.load(args.look)
        settings = look.settings | {"intensity": args.intensity * look.intensity, "units": look.units | units or None}
        return settings, look_label(args.look)
    if requests is None and not units:
        raise ValueError("name an expression, such as happy, or --unit smile=0.4, or --look wry")
    return settings, label or "adjusted"


def names_faces(requests: EditRequests | None) -> TypeGuard[dict[int, EditRequest]]:
    """Tests whether requests are one for each of some faces."""
    return isinstance(requests, dict) and all(isinstance(key, int) for key in requests)


def parse_requests(words: list[str], face: list[int] | str | None) -> tuple[EditRequests | None, str]:
    """Parses the expressions, happy or 1=happy 3=sad:0.6, and returns them with a label for the output's file name."""
    if not words:
        return None, ""
    if not any("=" in word for word in words):
        if len(words) > 1:
            example = " ".join(f"{i}={word}" for i, word in enumerate(words, 1))
            raise ValueError(f"assign each expression to a face, for example: {example}")
        return parse_request(words[0]), words[0].partition(":")[0]
    if face is not None:
        raise ValueError(f"{' '.join(words)} names the faces already; leave --face out")
    requests, names = {}, []
    for word in words:
        index, _, expression = word.partition("=")
        if not index.isdecimal() or int(index) < 1 or not expression:
            raise ValueError(f"{word!r} must be a face, from 1, and its expression, such as 1=happy or 3=sad:0.6")
        requests[int(index) - 1] = parse_request(expression)
        names.append(expression.partition(":")[0])
    return requests, "-".join(dict.fromkeys(names))


def parse_request(text: str) -> EditRequest:
    """Parses happy, or sad:0.6."""
    name, colon, intensity = text.partition(":")
    try:
        return (name, float(intensity)) if colon else name
    except ValueError:
        raise ValueError(f"{text!r} must be an expression and its intensity from 0 to 1, such as sad:0.6") from None


def is_pipe(photo: Path | str) -> bool:
    """Tests for what can be read only once and has no name of its own: standard input, pipes, <(...) and devices."""
    if isinstance(photo, str) or photo.parts[:2] == ("/", "dev"):
        return True
    with suppress(OSError, ValueError):  # load_photo will say what is wrong with it
        mode = os.stat(photo).st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return False


def read_pipe(photo: Path | str) -> Path | bytes:
    """Reads a pipe or standard input to its end; returns the path of anything else."""
    if isinstance(photo, str):
        if sys.stdin is None:
            raise ExprGANError("Standard input is closed. Send a photo to it, or name one.")
        return read_stream(sys.stdin.buffer)
    if not is_pipe(photo):
        return photo
    with open(photo, "rb") as file:
        return read_stream(file)
