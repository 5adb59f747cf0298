"""Training that continues from published weights (`fit --init`): which settings are theirs, and what its data must have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exprgan.models.config import CONFIG_NAME, ExprGANConfig, read_config
from exprgan.models.hub_source import HubSource

from ..core.config_flags import parse_expressions
from ..core.train_errors import RunError
from ..data.metadata import print_warnings, raise_problems, read_metadata
from ..data.validation import empty_split_problem, find_shortages, inspect_folder

FULL_DECODER_WIDTH = 1024
"""`decoder_width` at --width 1."""


def settings_of_model(model: ExprGANConfig) -> dict[str, Any]:
    """The settings of `fit` that are those of the model, by name."""
    return {
        "width": model.decoder_width / FULL_DECODER_WIDTH, "z_dim": model.z_dim, "image_size": model.image_size,
        "expressions": ",".join(model.expressions), "grey_codes": model.grey_codes, "pooled_codes": model.pooled_codes,
    }  # fmt: skip


def check_given_settings(options: Mapping[str, Any]) -> None:
    """Compares settings that were given for `fit` with those of the weights that it is to start from, if any.

    Args:
        options: what was given, by name. Grey and pooled codes may be turned on, but not off.

    Raises:
        RunError: a setting differs from the weights'.
        WeightsError: the weights' config.json cannot be read.
    """
    if not (init := options.get("init")):
        return
    model = settings_of_model(read_config(HubSource(init).file(CONFIG_NAME, "it is no ExprGAN model to start from")))
    given = {name: options[name] for name in model if name in options}
    if "expressions" in given:
        given["expressions"] = ",".join(parse_expressions(given["expressions"]))
    if "width" in given and round(given["width"] * FULL_DECODER_WIDTH) == model["width"] * FULL_DECODER_WIDTH:
        del given["width"]
    for name, value in given.items():
        if value is not True and value != model[name]:
            flag = name.replace("_", "-")
            text = f"--no-{flag}" if value is False else f"--{flag} {value}"
            raise RunError(f"{text} does not fit the weights {init}, which have {flag} {model[name]}; leave it out, or "
                           "train without --init")  # fmt: skip


def check_before_fine_tuning(data: str, expressions: tuple[str, ...], fold: int | None = None) -> bool:
    """Checks a folder before training continues from published weights, which few people and classes may do, and prints
    what it lacks.

    Args:
        data: a folder with metadata.csv.
        expressions: the names of the model's K expressions.
        fold: the fold that is held out, instead of the people of split "test".

    Returns:
        Whether people are held out.

    Raises:
        DataError: the folder is invalid; the message lists the problems.
    """
    findings = inspect_folder(data, expressions, fold, training=False)
    no_test = empty_split_problem("test", fold)
    raise_problems(data, [error for error in findings.errors if error != no_test])
    shortages = find_shortages(read_metadata(Path(data)), expressions, fold)
    print_warnings(shortages.errors + shortages.warnings + findings.warnings, f"`python -m train check {data}` lists all")
    if no_test in findings.errors:
        print_warnings([f"{no_test}; those trained on are shown and measured instead of held-out people"])
    return no_test not in findings.errors
