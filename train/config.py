"""What a training run is told: one frozen dataclass, its flags and its checks. Saved as config.json in the run folder."""

from dataclasses import dataclass
from typing import Literal

from .flags import option

STAGES = ("controller", "reconstruct", "refine")
"""The paper's incremental training, in order."""


@dataclass(frozen=True)
class TrainConfig:
    """The defaults are the paper's: Adam 2e-4 (0.5, 0.999), batch 48, about 4,300 + 1,350 + 1,350 steps on 1,296 pictures.

    Raises:
        ValueError: a value that cannot work; the message names it.
    """

    out: str = option("runs/exprgan", "run folder; a run found there goes on where it stopped")
    face: str = option("", "folder of a `facenet` run or of published weights, for L_id (needed unless --init has one)")
    init: str = option("", "published weights to start from: a folder, or org/name on the Hub")
    stages: str = option(",".join(STAGES), "which of the three stages to run, separated by commas")
    steps: str = option("4300,1350,1350", "steps of the controller, reconstruct and refine stage")
    minutes: float = option(0.0, "run this long instead of by steps, split over the stages by --shares; 0: by steps")
    shares: str = option("0.2,0.5,0.3", "how --minutes is split over the three stages")
    batch_size: int = option(48, "pictures a batch, on every process")
    lr: float = option(2e-4, "Adam's learning rate")
    lr_end: float = option(1.0, "share of the learning rate that a stage ends with, reached on a straight line")
    ema: float = option(0.999, "decay of the running average of G_enc's and G_dec's weights, which is what gets published")
    weight: str = option("", "loss weights that differ from the table, as term=value,term=value (see losses.py)")
    width: float = option(1.0, "width of G_enc and G_dec; 0.5 needs a quarter of the arithmetic")
    z_dim: int = option(50, "numbers in z = g(x)")
    image_size: int = option(128, "side of x in px")
    identity_size: int = option(128, "side in px at which L_id compares; half of it needs a quarter of the arithmetic")
    min_intensity: float = option(0.0, "leave out pictures whose known intensity is below this")
    known_intensity: bool = option(False, "move the mean of |z_y| in eq. 3 to the picture's known intensity (not the paper)")
    neutral: bool = option(False, "train on neutral pictures too, with y = 0 and the code of all -1 (not the paper)")
    colour: float = option(0.0, "strength of colour augmentation (the paper: none)")
    shift: float = option(0.0, "strength of shift, scale and turn (the paper: none)")
    mixed_precision: Literal["no", "bf16", "fp16"] = option("bf16", "type of the networks' arithmetic; losses are fp32")
    cpu: bool = option(False, "use the CPU even where there is a GPU")
    seed: int = option(0, "seed of everything random")
    save_minutes: float = option(4.0, "minutes between checkpoints")
    sample_steps: int = option(200, "steps between sample sheets")
    log_steps: int = option(20, "steps between log lines")

    def __post_init__(self):
        if unknown := [name for name in self.stage_names if name not in STAGES]:
            raise ValueError(f"unknown stage {unknown[0]!r}; choose from {', '.join(STAGES)}")
        for name in ("steps", "shares"):
            if len(getattr(self, name).split(",")) != len(STAGES):
                raise ValueError(f"{name} needs three numbers, one a stage, not {getattr(self, name)!r}")
        for name, kind in (("steps", int), ("shares", float)):
            try:
                numbers = [kind(number) for number in getattr(self, name).split(",")]
            except ValueError as error:
                raise ValueError(f"{name} needs numbers, not {getattr(self, name)!r}") from error
            if min(numbers) < 0:
                raise ValueError(f"{name} must not be negative: {getattr(self, name)!r}")
        if self.minutes and not sum(self.stage_seconds(stage) for stage in self.stage_names):
            raise ValueError(f"shares {self.shares!r} leave no time for {self.stages!r}")
        for name in ("batch_size", "lr", "width", "save_minutes", "sample_steps", "log_steps", "identity_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")
        for name in ("ema", "lr_end", "min_intensity"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, not {getattr(self, name)!r}")
        _ = self.weights  # checked early; their names are checked where the terms are
        if self.batch_size < 2:
            raise ValueError("batch_size must be at least 2, for batch norm")

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages to run, in order."""
        return tuple(name.strip() for name in self.stages.split(","))

    def stage_steps(self, stage: str) -> int:
        """Steps of one stage."""
        return int(self.steps.split(",")[STAGES.index(stage)])

    def stage_seconds(self, stage: str) -> float:
        """Seconds of one stage under --minutes, its share among the stages that run; 0: by steps."""
        share = dict(zip(STAGES, (float(s) for s in self.shares.split(",")), strict=True))
        among = sum(share[name] for name in self.stage_names)
        return 60 * self.minutes * share[stage] / among if among else 0.0

    @property
    def weights(self) -> dict[str, float]:
        """--weight as a dict."""
        pairs = [pair.partition("=") for pair in self.weight.split(",") if pair]
        try:
            return {name.strip(): float(value) for name, _, value in pairs}
        except ValueError as error:
            raise ValueError(f"weight needs term=value,term=value, not {self.weight!r}") from error
