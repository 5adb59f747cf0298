"""Errors of the training side. Their messages say what is wrong and what to do about it."""

from exprgan.errors import ExprGANError


class RunError(ExprGANError):
    """A run cannot start or go on, or the folder that it writes cannot be read or written."""


class DataError(ExprGANError):
    """Photos or a training folder are not what is needed; the message lists what is wrong."""


class JudgeError(ExprGANError):
    """An outside judge cannot be loaded, or its results cannot be used."""
