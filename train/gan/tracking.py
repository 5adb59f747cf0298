"""Watching a run: a progress line with the time left, loss terms, gradient norms and sample sheets in the trackers."""

import dataclasses
import hashlib
import importlib.util
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from PIL import Image
from tqdm import tqdm

from ..core.files import RunError
from ..data.contact_sheets import save_sheet
from .train_config import TrainConfig

TRACKERS = ("tensorboard", "wandb")


def tracker_names(config: TrainConfig) -> list[str]:
    """The trackers that a configuration asks for.

    Raises:
        RunError: one is unknown, or not installed.
    """
    names = [name.strip() for name in config.trackers.split(",") if name.strip()]
    for name in names:
        if name not in TRACKERS:
            raise RunError(f"trackers has {name!r}; choose from {', '.join(TRACKERS)}")
        if not importlib.util.find_spec(name):
            raise RunError(f"trackers has {name!r}, which is not installed: pip install {name}, or choose --trackers")
    return names


class RunTracker:
    """What a run tells while it goes on; the main process alone speaks.

    Args:
        accelerator: whose trackers are used.
        config: of the run.
        step: steps that the run has done before, over all stages; what trackers hold beyond is from before a kill.
    """

    def __init__(self, accelerator: Accelerator, config: TrainConfig, step: int):
        self.accelerator, self.out = accelerator, Path(config.out)
        told = dataclasses.asdict(config)
        run_id = hashlib.sha256(str(self.out.resolve()).encode()).hexdigest()[:12]
        accelerator.init_trackers("exprgan", init_kwargs={
            "tensorboard": {"purge_step": step},
            "wandb": {"config": told, "dir": config.out, "name": self.out.name, "id": run_id, "resume": "allow"},
        })  # fmt: skip
        self.bar = tqdm(disable=True)

    def stage(self, name: str, done: int, steps: int | None) -> None:
        """A new stage begins or goes on at step `done` of `steps` (None: by time)."""
        self.bar.close()
        self.bar = tqdm(desc=name, initial=done, total=steps, disable=not self.accelerator.is_main_process, mininterval=1)

    def step(self) -> None:
        """One step is done."""
        self.bar.update()

    def log(self, stage: str, values: dict[str, float], step: int, left: float | None) -> None:
        """Values by name into the progress line and the trackers.

        Args:
            stage: name of the stage.
            values: losses, unweighted, and gradient norms.
            step: over all stages.
            left: seconds left of the stage, where it goes by time.
        """
        self.accelerator.log({f"{stage}/{name}": value for name, value in values.items()}, step=step)
        shown = {name: f"{value:.3f}" for name, value in list(values.items())[:4] if "/" not in name}
        time_left = {} if left is None else {"left": tqdm.format_interval(left)}
        self.bar.set_postfix(shown | time_left, refresh=False)

    def sheet(self, stage: str, sheet: Image.Image, done: int, step: int) -> None:
        """A sheet of faces into RUN/samples and the trackers."""
        save_sheet(sheet, self.out / "samples" / f"{stage}-{done:06d}.png")
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.log_images({f"{stage}/faces": np.asarray(sheet)[None]}, step=step, dataformats="NHWC")
            else:
                tracker.log_images({f"{stage}/faces": [sheet]}, step=step)

    def close(self) -> None:
        """Ends the line and the trackers."""
        self.bar.close()
        self.accelerator.end_training()
