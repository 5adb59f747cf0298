"""What lies beside published weights: training.json, how they were trained, and results.json, what was measured of them."""

import json
from pathlib import Path
from typing import Any

from .hub_source import BUNDLED_WEIGHTS, HUB_MODEL, HubSource

TRAINING_NAME, RESULTS_NAME = "training.json", "results.json"
INHERITED = "inherited"
"""A key of training.json: parts of fine-tuned weights, "T" and "F_ctrl.path", that were made for the earlier decoder."""


def read_record(source: HubSource, name: str) -> dict[str, Any]:
    """Reads one of the two files; an empty dict if there is none.

    Raises:
        WeightsError: the Hub cannot be reached, or the content is no JSON object.
    """
    path = source.optional_file(name)
    if path is None:
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise source.error_class(f"{name} of {source.name} is damaged ({error}); download it again") from error
    if not isinstance(record, dict):
        raise source.error_class(f"{name} of {source.name} holds no JSON object; take another one")
    return record


def read_training(weights: str | HubSource) -> dict[str, Any]:
    """Reads training.json of published weights, with their name on the Hub, where it is known, as `model`.

    Args:
        weights: a folder, or org/name or org/name@revision on the Hub.

    Returns:
        Its content; only `model`, or nothing, if the weights have no record.

    Raises:
        WeightsError: as in `read_record`.
    """
    source = weights if isinstance(weights, HubSource) else HubSource(weights)
    training = read_record(source, TRAINING_NAME)
    if not source.is_folder:
        training["model"] = source.name
    elif Path(source.name).resolve() == BUNDLED_WEIGHTS.resolve():
        training["model"] = HUB_MODEL
    return training
