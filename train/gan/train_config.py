"""Configuration of a `fit` run: a frozen dataclass with flags and checks, saved as config.json in the run folder."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from ..core.config_flags import SIX_EXPRESSIONS, check_finite, option, parse_expressions

STAGES = ("controller", "reconstruct", "refine")
"""The paper's incremental training, in order."""

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {},
    "published": {
        "lr": 1.5e-4, "lr_end": 0.1, "ema": 0.998, "condition": "style", "grey_codes": True, "pooled_codes": True,
        "neutral": True, "min_intensity": 0.15, "colour": 0.4, "shift": 0.3, "identity_size": "64,128", "batch_size": 160,
        "steps": "1500,3050,1660", "weight": "edges=1",
    },
    "caae": {"stages": "refine", "steps": "0,0,7000", "condition": "label", "weight": "identity=0,code=0,read_code=0"},
    "cgan": {"stages": "controller", "steps": "7000,0,0", "condition": "label", "weight": "code=0,read_code=0"},
    "finetune": {
        "stages": "reconstruct,refine", "steps": "0,30,15", "batch_size": 4, "lr": 5e-5, "lr_end": 0.1,
        "identity_size": "64,128", "condition": "style", "neutral": True, "colour": 0.4, "shift": 0.3,
    },
    "aae": {
        "stages": "refine", "steps": "0,0,7000", "condition": "none",
        "weight": "identity=0,code=0,read_code=0,adversarial_img=0,discriminate_img=0",
    },
}  # fmt: skip
"""Settings that differ from the defaults, which are the paper's. `published`: for weights to publish.
G_enc and G_dec of the bundled weights were trained so before there were codes by style: with eq. 3, its mean at the known
intensity, and 740 steps of the controller at 4e-4, a rate that later saturates G_enc's tanh at this width. The others are
the paper's baselines (Fig. 1 and 2): CAAE without codes and L_id, CGAN without G_enc (generates new people only), AAE
without y and D_img (reconstructs only). `finetune`: what --init uses unless another recipe is named; the first stage, which
trains G_dec without G_enc, would undo what the two learned together."""


@dataclass(frozen=True)
class TrainConfig:
    """The defaults are the paper's: Adam 2e-4 (0.5, 0.999), batch 48, about 4,300 + 1,350 + 1,350 steps on 1,296 pictures.

    Raises:
        ValueError: a value that cannot work; the message names it.
    """

    recipe: Literal["paper", "published", "finetune", "caae", "cgan", "aae"] = option(
        "paper", "preset of defaults, finetune with --init; other flags take precedence"
    )
    out: str = option("runs/exprgan", "run folder; an existing run is resumed")
    face: str = option("", "folder of a `facenet` run or of published weights, for L_id (needed unless --init has one)")
    check_face: bool = option(True, "refuse a network of --face that recognises expressions no better than chance")
    phi: Literal["local", "vggface", "facenet"] = option("local", "the face network that L_id compares with")
    phi_file: str = option("", "its weights: VGG-Face's as .pth or .safetensors; facenet's, instead of downloading them")
    phi_channels: Literal["", "rgb", "bgr"] = option("", "channel order of VGG-Face's file; empty: inferred from its names")
    init: str = option("", "published weights to start from: a folder, or org/name on the Hub")
    expressions: str = option(SIX_EXPRESSIONS, "names of the K expressions, separated by commas; "
                              "with --init those of its weights")  # fmt: skip
    stages: str = option(",".join(STAGES), "which of the three stages to run, separated by commas")
    steps: str = option("4300,1350,1350", "steps of the controller, reconstruct and refine stage")
    minutes: float = option(0.0, "run this long instead of by steps, split over the stages by --shares; 0: by steps")
    shares: str = option("0.2,0.5,0.3", "how --minutes is split over the three stages")
    batch_size: int = option(48, "pictures a batch, on every process")
    accumulate: int = option(1, "batches whose gradients are averaged for one step")
    lr: float = option(2e-4, "Adam's learning rate")
    lr_end: float = option(1.0, "final learning rate of a stage as a fraction of --lr (linear decay)")
    lr_batch: int = option(0, "pictures a step that --lr is meant for: with others it is multiplied by the square root of "
                              "the ratio; 0: --lr as it is")  # fmt: skip
    warm_up: int = option(0, "steps at the start of each stage in which the learning rate rises from 0")
    sync_batch_norm: bool = option(False, "batch norm over the pictures of all processes; by default over those of each")
    compile: bool = option(False, "compile the networks by torch.compile, which takes minutes at the start of each stage")
    ema: float = option(0.999, "decay of the running average of G_enc's and G_dec's weights, which is what gets published")
    weight: str = option("", "loss weights that replace those registered in gan_losses.py: name=value,name=value")
    width: float = option(1.0, "width of G_enc and G_dec; 0.5 needs a quarter of the arithmetic")
    z_dim: int = option(50, "numbers in z = g(x)")
    image_size: int = option(128, "side of x in px")
    identity_size: str = option("128", "side in px at which L_id compares, or several: 64,128; half costs a quarter")
    min_intensity: float = option(0.0, "leave out pictures whose known intensity is below this")
    fold: int = option(-1, "hold out this fold of metadata.csv instead of the people of split `test`")
    condition: Literal["code", "style", "label", "none"] = option(
        "code", "what c is: eq. 3; the known style and intensity (not the paper); the label 2 y - 1; or 0"
    )
    grey_codes: bool = option(False, "let Q read c from a grey copy, so that it cannot be a tint (not the paper)")
    pooled_codes: bool = option(False, "let one element of c_i move G_dec as far as all of them (not the paper)")
    neutral: bool = option(False, "train on neutral pictures too, with y = 0 and the code of all -1 (not the paper)")
    colour: float = option(0.0, "strength of colour augmentation (the paper: none)")
    shift: float = option(0.0, "strength of random shift, scale and rotation (the paper: none)")
    mixed_precision: Literal["no", "bf16", "fp16"] = option("bf16", "type of the networks' arithmetic; losses are fp32")
    cpu: bool = option(False, "use the CPU even where there is a GPU")
    seed: int = option(0, "seed of everything random")
    save_minutes: float = option(4.0, "minutes between checkpoints")
    keep: int = option(2, "how many of the latest checkpoints to keep, beside those at the end of a stage")
    sample_steps: int = option(200, "steps between sample sheets")
    log_steps: int = option(20, "steps between log lines")
    trackers: str = option("tensorboard", "experiment trackers, separated by commas: tensorboard, wandb; empty: none")

    @classmethod
    def from_recipe(cls, recipe: str = "", **options: Any) -> "TrainConfig":
        """A recipe's settings, where `options` does not replace them.

        Args:
            recipe: a key of RECIPES; empty: `finetune` if `options` has an `init`, or else `paper`.

        Raises:
            ValueError: there is no such recipe, or a value cannot work.
        """
        recipe = recipe or ("finetune" if options.get("init") else "paper")
        if recipe not in RECIPES:
            raise ValueError(f"there is no recipe {recipe!r}; choose from {', '.join(RECIPES)}")
        return cls(recipe=recipe, **(RECIPES[recipe] | options))

    def __post_init__(self):
        check_finite(self, minutes=0, colour=0, shift=0, lr_batch=0, warm_up=0)
        if unknown := [name for name in self.stage_names if name not in STAGES]:
            raise ValueError(f"unknown stage {unknown[0]!r}; choose from {', '.join(STAGES)}")
        for name, value, number_type in (("steps", self.steps, int), ("shares", self.shares, float)):
            try:
                numbers = [number_type(number) for number in value.split(",")]
            except ValueError as error:
                raise ValueError(f"{name} needs numbers, not {value!r}") from error
            if len(numbers) != len(STAGES):
                raise ValueError(f"{name} needs three numbers, one a stage, not {value!r}")
            if not all(0 <= number < math.inf for number in numbers):
                raise ValueError(f"{name} must be finite and not negative: {value!r}")
        if self.minutes and not sum(self.stage_seconds(stage) for stage in self.stage_names):
            raise ValueError(f"shares {self.shares!r} leave no time for {self.stages!r}")
        for name in ("batch_size", "lr", "width", "save_minutes", "sample_steps", "log_steps", "accumulate", "keep"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")
        for name in ("ema", "lr_end", "min_intensity"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, not {getattr(self, name)!r}")
        _ = self.weights, self.identity_sizes  # raise ValueError; names of weights are checked by gan_losses.stage_weights
        if self.batch_size < 2:
            raise ValueError("batch_size must be at least 2, for batch norm")

    @property
    def expression_names(self) -> tuple[str, ...]:
        """--expressions as a tuple."""
        return parse_expressions(self.expressions)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stages to run, in order."""
        return tuple(name.strip() for name in self.stages.split(","))

    def stage_steps(self, stage: str) -> int:
        """Number of steps of a stage."""
        return int(self.steps.split(",")[STAGES.index(stage)])

    def learning_rate(self, fraction: float, step: int, pictures: int) -> float:
        """The learning rate of a step.

        Args:
            fraction: how much of the stage is done, 0..1.
            step: steps done in it.
            pictures: pictures of a step, over all processes.
        """
        lr = self.lr * (1 + (self.lr_end - 1) * fraction)
        if self.lr_batch:
            lr *= math.sqrt(pictures / self.lr_batch)
        return lr * min(1.0, (step + 1) / self.warm_up) if self.warm_up else lr

    def stage_seconds(self, stage: str) -> float:
        """Duration of a stage under --minutes, by its share among the stages that run; 0 without --minutes."""
        shares = dict(zip(STAGES, map(float, self.shares.split(",")), strict=True))
        total = sum(shares[name] for name in self.stage_names)
        return 60 * self.minutes * shares[stage] / total if total else 0.0

    @property
    def identity_sizes(self) -> tuple[int, ...]:
        """--identity-size as numbers."""
        sizes = tuple(int(size) if size.strip().isdecimal() else 0 for size in str(self.identity_size).split(","))
        if not all(sizes):
            raise ValueError(f"identity_size needs numbers above 0, separated by commas, not {self.identity_size!r}")
        return sizes

    @property
    def weights(self) -> dict[str, float]:
        """--weight as a dict."""
        pairs = [pair.partition("=") for pair in self.weight.split(",") if pair]
        try:
            weights = {name.strip(): float(value) for name, _, value in pairs}
        except ValueError as error:
            raise ValueError(f"weight needs term=value,term=value, not {self.weight!r}") from error
        if not all(map(math.isfinite, weights.values())):
            raise ValueError(f"weight needs finite values, not {self.weight!r}")
        return weights
