"""What every training loop shares: the number of steps or minutes, the learning rate, the running average of weights, and
the progress bar.

    with TrainingLoop(accelerator, "detail", steps=config.steps, minutes=config.minutes) as loop:
        while loop.fraction < 1:
            set_learning_rate(optimizer, config.lr * cosine_decay(loop.fraction))
            ...  # one step; loop.step counts from 0
            update_ema(average, model, config.ema, loop.step)
            loop.advance({"loss": loss})
            if loop.checkpoint_due(config.save_minutes):
                ...
"""

import math
import time
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

LOG_STEPS = 20
"""Steps between two readings of the losses, each of which waits for the device."""
AGREE_SECONDS, MAX_AGREE_STEPS = 2.0, 100
"""Time between two agreements of several processes on how long they have worked, and the most steps."""


class TrainingLoop:
    """Counts steps and seconds up to a number of steps or minutes. All processes agree on when to save and to stop.

    As a context it shows a progress bar on the main process, and time counts from when the context is entered.

    Args:
        accelerator: of the run.
        name: label of the progress bar.
        steps: number of steps to train for.
        minutes: train for this long instead; 0: by steps.
        step: steps done before, by the run that this one continues.
        seconds: seconds spent in them.
    """

    def __init__(self, accelerator: Accelerator, name: str, *, steps: int, minutes: float = 0.0, step: int = 0,
                 seconds: float = 0.0):  # fmt: skip
        self.accelerator, self.name, self.steps, self.minutes = accelerator, name, steps, minutes
        self.step, self.seconds, self._saved_at = step, seconds, seconds
        self._own_seconds, self._agreed, self._agree_at = seconds, (step, seconds), 0
        self.bar, self._last = tqdm(disable=True), time.monotonic()

    def __enter__(self) -> "TrainingLoop":
        total = None if self.minutes else self.steps
        self.bar = tqdm(desc=self.name, initial=self.step, total=total, disable=not self.accelerator.is_main_process)
        self._last = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    @property
    def fraction(self) -> float:
        """How much of the training is done; from 1 on it is over."""
        spent, limit = (self.seconds, 60 * self.minutes) if self.minutes else (self.step, self.steps)
        return spent / limit if limit else 1.0

    def advance(self, losses: Mapping[str, Tensor] | None = None) -> None:
        """Ends a step: counts it and its time.

        Args:
            losses: scalars by name, shown every LOG_STEPS steps.
        """
        now = time.monotonic()
        self.step, self._own_seconds, self._last = self.step + 1, self._own_seconds + now - self._last, now
        if self.accelerator.num_processes == 1:
            self.seconds = self._own_seconds
        elif self.step >= self._agree_at or self.step == self.steps:
            self._agree()
        self.bar.update()
        if losses and self.step % LOG_STEPS == 0:
            values = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
            self.show(values)

    def _agree(self) -> None:
        """Sets the seconds to the mean of all processes, whose clocks differ.

        Each waits for the others, so this is done about every AGREE_SECONDS; how many steps that is follows from what they
        agreed on, so that all do it after the same step.
        """
        seconds = torch.tensor(self._own_seconds, dtype=torch.float64, device=self.accelerator.device)
        self.seconds = self._own_seconds = self.accelerator.reduce(seconds, "mean").item()
        steps, spent = self.step - self._agreed[0], self.seconds - self._agreed[1]
        self._agreed = self.step, self.seconds
        self._agree_at = self.step + max(1, min(MAX_AGREE_STEPS, int(AGREE_SECONDS * steps / max(spent, 1e-9))))

    def show(self, values: Mapping[str, float]) -> None:
        """Shows values by name in the progress bar, with the time left when training by minutes."""
        texts = {name: f"{value:.4f}" for name, value in values.items()}
        left = {"left": tqdm.format_interval(60 * self.minutes - self.seconds)} if self.minutes else {}
        self.bar.set_postfix(texts | left, refresh=False)

    def write(self, line: str) -> None:
        """Prints a line above the progress bar."""
        self.bar.write(f"{self.name}: {line}")

    def checkpoint_due(self, minutes: float) -> bool:
        """Whether this many minutes have passed since the start, or since this was last true; the same on every process."""
        if self.seconds - self._saved_at <= 60 * minutes:
            return False
        self._saved_at = self.seconds
        return True


def cosine_decay(fraction: float) -> float:
    """Factor of the learning rate: half a cosine from 1 to 0 as `fraction` goes from 0 to 1."""
    return 0.5 + 0.5 * math.cos(math.pi * fraction)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr


@torch.no_grad()
def update_ema(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Moves the running average of a model's parameters towards the model: average <- d average + (1 - d) model.

    d = min(decay, (1 + step) / (10 + step)), so that the first steps do not count for too much.
    """
    rate = min(decay, (1 + step) / (10 + step))
    get_ema_multi_avg_fn(rate)(list(average.parameters()), list(model.parameters()), None)
