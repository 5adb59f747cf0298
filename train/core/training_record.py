"""Changes to training.json, the record beside published weights."""

from pathlib import Path

from exprgan.models.records import INHERITED, TRAINING_NAME

from .files import read_json, write_json


def forget_inherited(folder: Path) -> None:
    """Removes INHERITED, when these parts were made for the present decoder."""
    training = read_json(folder / TRAINING_NAME)
    if training.pop(INHERITED, None):
        write_json(folder / TRAINING_NAME, training)
