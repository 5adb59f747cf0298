"""Training that continues from published weights (`fit --init`): what is known of them, and what its data must have."""

import json
from pathlib import Path
from typing import Any

from exprgan.errors import WeightsError
from exprgan.models.hub_source import BUNDLED_WEIGHTS, HUB_MODEL, HubSource

from ..core.training_record import TRAINING_NAME
from ..data.metadata import print_warnings, raise_problems
from ..data.validation import empty_split_problem, inspect_folder, warn_of_shortages


def read_training(weights: str) -> dict[str, Any]:
    """Reads training.json of published weights, with their name on the Hub, where it is known, as `model`.

    Args:
        weights: a folder, or org/name or org/name@revision on the Hub.

    Returns:
        Its content; only `model`, or nothing, if the weights have no record.

    Raises:
        WeightsError: the Hub cannot be reached.
    """
    source = HubSource(weights)
    try:
        training = json.loads(source.file(TRAINING_NAME, "").read_text(encoding="utf-8"))
    except WeightsError as error:
        if f"has no {TRAINING_NAME}" not in str(error):
            raise
        training = {}
    if not source.is_folder:
        training["model"] = source.name
    elif Path(weights).resolve() == BUNDLED_WEIGHTS.resolve():
        training["model"] = HUB_MODEL
    return training


def check_before_fine_tuning(
    data: str, expressions: tuple[str, ...], fold: int | None = None, *, verbose: bool = True
) -> bool:
    """Checks a folder before training continues from published weights, which few people and classes may do.

    Args:
        data: a folder with metadata.csv.
        expressions: the names of the model's K expressions.
        fold: the fold that is held out, instead of the people of split "test".
        verbose: print what training lacks; False in all processes of a run but one.

    Returns:
        Whether people are held out.

    Raises:
        DataError: the folder is invalid; the message lists the problems.
    """
    errors = inspect_folder(data, expressions, fold, training=False).errors
    no_test = empty_split_problem("test", fold)
    raise_problems(data, [error for error in errors if error != no_test])
    if verbose:
        warn_of_shortages(data, expressions)
        if no_test in errors:
            print_warnings([f"{no_test}; those trained on are shown and measured instead of held-out people"])
    return no_test not in errors
