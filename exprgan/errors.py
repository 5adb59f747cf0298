"""Errors with a cause outside the program; a wrong argument is a ValueError. All messages say what to do."""

from collections.abc import Sequence


class ExprGANError(Exception):
    """Base of the errors whose message may be shown to a visitor as it is: what is wrong, and what to do."""


class BadImageError(ExprGANError):
    """The photo cannot be read: not an image, cut off, or too large."""


class BadVideoError(ExprGANError):
    """The film cannot be read: not a film, without pictures, or too large."""


class NoFaceError(ExprGANError):
    """No face was found in the photo, or not the one asked for."""


class WeightsError(ExprGANError):
    """A model folder or repository is missing, damaged, or of another format."""


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raises ValueError unless the argument `name` has one of the values in `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
