"""A training in one stage that continues after a kill: its state lies in OUT/checkpoints."""

import dataclasses
import shutil
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from .checkpoints import DATA_SETTING, Checkpoints, check_continuation
from .processes import call_once
from .train_errors import RunError
from .training_loop import LOG_STEPS, TrainingLoop

NO_RESULT = ("out", "cpu", "save_minutes")
"""Settings that the result does not depend on."""


class SavedTraining:
    """Steps, model and optimiser of a training, which a checkpoint in `config.out` continues.

    Args:
        accelerator: of the run.
        name: of the training, in file names and beside the progress bar.
        config: of the training: a dataclass with `out`, `steps`, `minutes`, `save_minutes` and `seed`.
        model: everything that is trained, before `accelerator.prepare`.
        optimizer: of its parameters.
        ema: the running average of the model, saved with it.
        base: names the weights that the training builds on; a run that builds on others is not continued.
        data: digest of the training folder's metadata.csv, which is compared as settings are; of a run without, it is not.

    Raises:
        RunError: the folder holds a run of another network, of other people or other weights, or a finished one of other
            settings or data; or all its checkpoints are damaged.
    """

    def __init__(self, accelerator: Accelerator, name: str, config: Any, model: nn.Module,
                 optimizer: torch.optim.Optimizer, *, ema: nn.Module | None = None, base: str = "",
                 data: str = ""):  # fmt: skip
        self.accelerator, self.name, self.config, self.ema, self.base = accelerator, name, config, ema, base
        self.checkpoints, self.settings = Checkpoints(config.out), dataclasses.asdict(config) | {DATA_SETTING: data}
        state = call_once(self.checkpoints.latest) or {}  # another machine need not see the folder
        self.loop = TrainingLoop(accelerator, name, steps=config.steps, minutes=config.minutes,
                                 step=state.get("step", 0), seconds=state.get("seconds", 0.0))  # fmt: skip
        if state:
            self._load(state, model)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        if state:
            self.optimizer.load_state_dict(state["optimizer"])
        self._nonfinite_losses = torch.zeros((), device=accelerator.device)

    def generator(self, step: int | None = None) -> torch.Generator:
        """Random numbers of a step, by default the present one, on this process: a function of seed, step and process."""
        step = self.loop.step if step is None else step
        number = step * self.accelerator.num_processes + self.accelerator.process_index
        return torch.Generator().manual_seed(self.config.seed * 1_000_003 + number)

    def advance(self, loss: Tensor, values: Mapping[str, Tensor] | None = None, *, max_norm: float = 0.0) -> None:
        """One step of the optimiser.

        Args:
            loss: what is minimised.
            values: losses by name that the progress bar shows; by default the loss.
            max_norm: gradients are clipped to this norm; 0: they are not.

        Raises:
            RunError: as `check_finite`, every LOG_STEPS steps.
        """
        self._nonfinite_losses += ~loss.detach().isfinite()
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        if max_norm:
            self.accelerator.clip_grad_norm_(self.model.parameters(), max_norm)
        self.optimizer.step()
        self.loop.advance(values or {"loss": loss})
        if self.loop.step % LOG_STEPS == 0:
            self.check_finite()

    def check_finite(self) -> None:
        """Checks the losses so far and the weights, on all processes; call it before results are written.

        Raises:
            RunError: one of them, on any process, is not finite.
        """
        networks = filter(None, (self.unwrapped(), self.ema))
        wrong = [~tensor.isfinite().all() for network in networks for tensor in network.state_dict().values()]
        if self.accelerator.reduce(self._nonfinite_losses + torch.stack(wrong).sum(), "sum") > 0:
            last = self.checkpoints.paths()
            more = f"; it goes on from {last[-1]}, or from step 0 if {self.checkpoints.folder} is deleted" if last else ""
            raise RunError(f"a loss or a weight of {self.name} is not finite after {self.loop.step} steps; start the same "
                           f"command again with a lower --lr{more}")  # fmt: skip

    def save_if_due(self) -> bool:
        """Writes a checkpoint every `config.save_minutes`; returns whether it was time to. Raises as `save`."""
        due = self.loop.checkpoint_due(self.config.save_minutes)
        if due:
            self.save()
        return due

    def save(self) -> None:
        """Writes a checkpoint, on the main process. RunError: as `check_finite`; the earlier checkpoints remain."""
        self.check_finite()
        if self.accelerator.is_main_process:
            self.checkpoints.save(0, self.name, self.loop.step, {
                "settings": self.settings, "base": self.base, "step": self.loop.step, "seconds": self.loop.seconds,
                "model": self.unwrapped().state_dict(), "optimizer": self.optimizer.state_dict(),
                "ema": self.ema.state_dict() if self.ema else {},
            })  # fmt: skip

    def unwrapped(self) -> nn.Module:
        """The model as it was given; its precision stays that of the run."""
        return self.accelerator.unwrap_model(self.model)

    def finish(self) -> None:
        """Deletes the checkpoints, when the result is written: the same command then trains anew."""
        if self.accelerator.is_main_process:
            shutil.rmtree(self.checkpoints.folder, ignore_errors=True)

    def _load(self, state: dict[str, Any], model: nn.Module) -> None:
        out, finished = self.config.out, self.loop.fraction >= 1
        if state.get("base", "") != self.base:
            raise RunError(f"{out} holds a run on other weights; choose another --out")
        check_continuation(out, self.settings, state["settings"], NO_RESULT, finished=finished,
                           verbose=self.accelerator.is_main_process)  # fmt: skip
        try:
            model.load_state_dict(state["model"])
            if self.ema:
                self.ema.load_state_dict(state["ema"])
        except (RuntimeError, KeyError) as error:
            raise RunError(
                f"{out} holds a run of another network or of other people; choose another --out, or delete "
                f"{self.checkpoints.folder} to start again"
            ) from error
