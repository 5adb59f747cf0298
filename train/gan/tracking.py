"""Logs a run to TensorBoard or Weights & Biases: losses, gradient norms and contact sheets of edits."""

import dataclasses
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from PIL import Image

from ..core.train_errors import RunError
from ..data.contact_sheets import save_sheet
from .train_config import TrainConfig

TRACKERS = ("tensorboard", "wandb")


def tracker_names(config: TrainConfig) -> list[str]:
    """Splits and checks `config.trackers`.

    Raises:
        RunError: a tracker is unknown, or not installed.
    """
    names = [name.strip() for name in config.trackers.split(",") if name.strip()]
    for name in names:
        if name not in TRACKERS:
            raise RunError(f"trackers has {name!r}; choose from {', '.join(TRACKERS)}")
        if not importlib.util.find_spec(name):
            raise RunError(f"trackers has {name!r}, which is not installed: pip install {name}, or choose --trackers")
    return names


class RunTracker:
    """Logs to accelerate's trackers, which act on the main process only.

    Args:
        accelerator: its trackers are started.
        config: of the run.
        step: steps done before, over all stages; what TensorBoard has of later steps, from before a kill, is dropped.
    """

    def __init__(self, accelerator: Accelerator, config: TrainConfig, step: int):
        self.accelerator, self.out = accelerator, Path(config.out)
        run_id = hashlib.sha256(str(self.out.resolve()).encode()).hexdigest()[:12]
        accelerator.init_trackers("exprgan", init_kwargs={
            "tensorboard": {"purge_step": step},
            "wandb": {"config": dataclasses.asdict(config), "dir": config.out, "name": self.out.name, "id": run_id,
                      "resume": "allow"},
        })  # fmt: skip

    def log(self, stage: str, values: dict[str, float], step: int) -> None:
        """Logs values by name; `step` counts over all stages."""
        self.accelerator.log({f"{stage}/{name}": value for name, value in values.items()}, step=step)

    def log_sheet(self, stage: str, sheet: Image.Image, stage_step: int, step: int) -> None:
        """Writes a contact sheet to RUN/samples and logs it; `stage_step` counts in this stage, `step` over all."""
        save_sheet(sheet, self.out / "samples" / f"{stage}-{stage_step:06d}.png")
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.log_images({f"{stage}/faces": np.asarray(sheet)[None]}, step=step, dataformats="NHWC")
            else:
                tracker.log_images({f"{stage}/faces": [sheet]}, step=step)
