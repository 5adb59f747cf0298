"""training.json beside published weights: how they were trained, and from which weights."""

from pathlib import Path

from .files import read_json, write_json

TRAINING_NAME = "training.json"
INHERITED = "inherited"
"""Its key for the parts of fine-tuned weights, "T" and "F_ctrl.path", that were made for the earlier decoder."""


def forget_inherited(folder: Path) -> None:
    """Removes INHERITED, when these parts were made for the present decoder."""
    training = read_json(folder / TRAINING_NAME)
    if training.pop(INHERITED, None):
        write_json(folder / TRAINING_NAME, training)
