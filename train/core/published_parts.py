"""Replaces parts of a model in published weights, and records how they were made."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from exprgan.models.config import CONFIG_NAME
from exprgan.models.exprgan import WEIGHTS_NAME, ExprGAN
from exprgan.models.records import TRAINING_NAME
from exprgan.models.self_test import REFERENCE_NAME

from .files import copy_together, read_json, write_json
from .training_record import forget_inherited


def replace_parts(folder: Path, settings: dict[str, Any], replaced: tuple[str, ...], state: dict[str, Tensor], name: str,
                  record: dict[str, Any]) -> None:  # fmt: skip
    """Replaces parts of the model in published weights: model.safetensors, config.json, training.json; the rest stays.

    Args:
        folder: of the weights.
        settings: fields of config.json that change.
        replaced: beginnings of the names of tensors that are not kept.
        state: the new tensors; what is replaced and not in it has its values at the start.
        name: of the training in training.json.
        record: its settings.
    """
    published = ExprGAN.from_pretrained(folder)
    model = ExprGAN(dataclasses.replace(published.config, **settings))
    kept = {key: value for key, value in published.state_dict().items() if not key.startswith(replaced)}
    model.load_state_dict(model.state_dict() | kept | state)
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        stale = (REFERENCE_NAME,)  # no longer valid; the next `publish` writes it anew
        copy_together(Path(temporary), folder, (CONFIG_NAME, WEIGHTS_NAME), stale)
    forget_inherited(folder)  # the new parts were made for the present decoder and F_ctrl
    training = read_json(folder / TRAINING_NAME)
    record = {key: value for key, value in record.items() if key not in ("out", "cpu")}
    if record.get("again") and name in training:
        record["before"] = training[name]
    write_json(folder / TRAINING_NAME, training | {name: record})
