"""`detail`: trains T on pairs, all else of the model fixed. Pairs -> augment -> T -> loss; read top to bottom."""

import copy
import dataclasses
import json
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from exprgan.editing.results import MIN_CERTAINTY
from exprgan.models.exprgan import CONFIG_NAME, WEIGHTS_NAME, ExprGAN
from exprgan.models.mouth_network import upsample_fields
from exprgan.models.warp_network import FIELD_SCALE, WIDE_CROP_SCALE, MAX_GAIN, WarpPrediction, WarpNetwork
from exprgan.models.warping import backward_warp
from exprgan.photo.alignment import EYES

from ..core.allocator import keep_freed_memory
from ..core.checkpoints import Checkpoints
from ..core.config_flags import option, check_finite
from ..core.files import RunError, copy_together, write_json, writes_folder
from ..core.precision import supported_precision, try_kernels
from ..data.transforms import light
from .pair_dataset import Pairs, draw_pairs, load_people
from .pair_transforms import GLASSES, affine, frames, glasses, held
from .style_codes import code_of
from .warp_losses import Seen, total

DARK = 0.04
"""Added to brightness in [0, 1] before its logarithm: what is nearly black says little of the light."""
PLAIN, FARTHEST = 0.4, 1.6
"""For a mouth that learns alone, the share of batches edited as T says, and the most that the others are emphasised by."""
WARM_UP = 200
"""Steps over which the learning rate rises; at most a tenth of all."""


@dataclass(frozen=True)
class WarpTrainConfig:
    """Training of T. AdamW with a short warm-up and cosine decay."""

    out: str = option("runs/detail", "run folder; a run found there goes on where it stopped")
    steps: int = option(4500, "batches to train on")
    minutes: float = option(0.0, "run this long instead of by steps; 0: by steps")
    batch_size: int = option(8, "pairs a batch")
    lr: float = option(1.2e-3, "AdamW's highest learning rate")
    width: float = option(1.0, "width of T")
    again: bool = option(False, "go on from the T that the weights hold, with their width")
    part: Literal["all", "mouth"] = option("all", "what learns: all of T, or the mouth, with flow and light as they are")
    ema: float = option(0.998, "decay of the running average of T's weights, which is what gets written")
    mixed_precision: Literal["no", "bf16", "fp16"] = option("bf16", "type of the networks' arithmetic")
    save_minutes: float = option(4.0, "minutes between checkpoints")
    seed: int = option(0, "seed of everything random")
    cpu: bool = option(False, "use the CPU even where there is a GPU")

    def __post_init__(self):
        check_finite(self, minutes=0)
        for name in ("steps", "batch_size", "lr", "width", "save_minutes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")
        if not 0 <= self.ema <= 1:
            raise ValueError(f"ema must lie in 0..1, not {self.ema!r}")


class WarpTrainer:
    """One run. Everything random is drawn from (seed, step), so that a resumed run needs no state of chance."""

    def __init__(self, pairs: str, weights: str, config: WarpTrainConfig):
        self.config, self.weights = config, Path(weights)
        self.accelerator = Accelerator(
            cpu=config.cpu, mixed_precision=supported_precision(config.mixed_precision, config.cpu)
        )
        self.device = self.accelerator.device
        if self.device.type == "cpu":
            keep_freed_memory()
        else:
            try_kernels()
        torch.manual_seed(config.seed)
        self.model = ExprGAN.from_pretrained(weights, device=str(self.device)).requires_grad_(False)
        shape = self.model.config
        self.people = [person.to(self.device) for person in load_people(pairs, "train", shape.expressions)]
        if config.again and self.model.T is None:
            raise ValueError(f"the weights in {weights} hold no T to go on from; leave out --again")
        self.config = config = dataclasses.replace(config, width=shape.detail_width if config.again else config.width)
        T = WarpNetwork(shape.image_size, self.model.F_ctrl.code_dim, config.width)
        if config.again:
            T.load_state_dict(self.model.T.state_dict())
        self.layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        """CUDA's group norm reads and writes the latter alone."""
        T.to(self.device, memory_format=self.layout)
        self.ema = copy.deepcopy(T).requires_grad_(False)
        learning = T.mouth if config.part == "mouth" else T
        T.requires_grad_(False)
        learning.requires_grad_(True)
        optimizer = torch.optim.AdamW(learning.parameters(), lr=config.lr, betas=(0.9, 0.99), weight_decay=1e-4)
        self.T, self.optimizer = self.accelerator.prepare(T, optimizer)
        self.checkpoints, self.step, self.seconds = Checkpoints(config.out), 0, 0.0
        if state := self.checkpoints.latest():
            self._load(state)

    def fit(self) -> Path:
        """Runs what is left, then writes T into the folder of the weights. Returns that folder."""
        config, saved = self.config, time.monotonic()
        total, tick = None if config.minutes else config.steps, saved
        with tqdm(initial=self.step, total=total, desc="detail") as bar:  # closed before an error is said
            while self.done < 1:
                values = self.train_step()
                bar.update()
                if self.step % 20 == 0:
                    shown = {name: f"{value.item():.4f}" for name, value in values.items()}
                    if not all(math.isfinite(value.item()) for value in values.values()):
                        raise RunError(f"a loss is no number at step {self.step}; start again with a lower --lr")
                    bar.set_postfix(shown)
                if time.monotonic() - saved > 60 * config.save_minutes:
                    self._save()
                    saved = time.monotonic()
                self.seconds, tick = self._agreed(self.seconds + time.monotonic() - tick), time.monotonic()
        self._save()
        write_into(self.weights, self.ema, dataclasses.replace(config, steps=self.step))
        return self.weights

    def _agreed(self, seconds: float) -> float:
        """Clocks differ, but all processes have to stop together."""
        if self.accelerator.num_processes == 1:
            return seconds
        return self.accelerator.reduce(torch.tensor(seconds, device=self.device), "mean").item()

    @property
    def done(self) -> float:
        """How much of the run is over, from 0 to 1."""
        return self.seconds / (60 * self.config.minutes) if self.config.minutes else self.step / self.config.steps

    def train_step(self) -> dict[str, Tensor]:
        """One step; returns the unweighted terms by name."""
        config = self.config
        decay = 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * min(self.done, 1.0)))
        warm_up = WARM_UP if config.minutes else min(WARM_UP, config.steps / 10 + 1)
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * decay * min(1.0, (self.step + 1) / warm_up)
        seen = self._seen()
        loss, values = total(seen)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.T.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        with torch.no_grad():
            means, now = (list(network.parameters()) for network in (self.ema, self.accelerator.unwrap_model(self.T)))
            get_ema_multi_avg_fn(min(config.ema, (1 + self.step) / (10 + self.step)))(means, now, None)
        return values

    def _seen(self) -> Seen:
        """This step's batch, as T sees and edits it."""
        chance = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        pairs = draw_pairs(self.people, self.config.batch_size, chance)
        x, target, *fields = augmented(pairs, FIELD_SCALE * self.model.config.image_size, chance)
        with torch.no_grad(), self.accelerator.autocast():
            own, x_hat, c = self._decoded(x, target, pairs, chance)
        with self.accelerator.autocast():
            made = self.T(x.contiguous(memory_format=self.layout), own, x_hat, c, self._emphasis(chance))
        made = WarpPrediction(*(part.float() for part in made))
        shown = made._replace(mask=made.mask.detach(), behind=made.behind.detach(), light=made.light.detach())
        return Seen(x, target, *fields, made, shown.apply(x))

    def _emphasis(self, chance: torch.Generator) -> float:
        """How much farther than T says lips move before the mouth is drawn. Expressions differ in it, and a mouth that
        learns alone sees them all; with flow and light that learn too, it is as T says."""
        if self.config.part == "all" or torch.rand((), generator=chance) < PLAIN:
            return 1.0
        return 1 + torch.rand((), generator=chance).item() * (FARTHEST - 1)

    def _decoded(self, x: Tensor, target: Tensor, pairs: Pairs, chance: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """The decoder's pictures and the code, as an editor would have them: own, x_hat, c."""
        model, names = self.model, self.model.config.expressions
        crops = crop_of(torch.cat((x, target)), model.config.image_size)
        number = torch.tensor([names.index(one.expression) if one.expression in names else -1 for one in pairs.labels])
        y = F.one_hot(number + 1, len(names) + 1)[:, 1:].float().to(self.device, non_blocking=True)
        codes = [code_of(one, model.F_ctrl, chance) for one in pairs.labels]
        unread = torch.tensor([code is not None for code in codes])[:, None].to(self.device, non_blocking=True)
        c = torch.stack([model.F_ctrl.neutral() if code is None else code for code in codes])
        c = torch.where(unread, c.to(self.device, non_blocking=True), model.Q(crops[len(x) :], y).float())
        certainty, best = model.classifier(crops[: len(x)])[0].float().softmax(1).max(1)
        y = F.one_hot(best, len(names) + 1)[:, :-1].float()
        sure = (certainty >= MIN_CERTAINTY) & (best < len(names))
        own = torch.where(sure[:, None], model.Q(crops[: len(x)], y).float(), -1.0)
        z = model.G_enc(crops[: len(x)])
        return model.G_dec(z, own).float(), model.G_dec(z, c).float(), c

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            self.checkpoints.save(0, "detail", self.step, {
                "T": self.accelerator.unwrap_model(self.T).state_dict(), "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": self.seconds,
            })  # fmt: skip

    def _load(self, state: dict) -> None:
        try:
            self.accelerator.unwrap_model(self.T).load_state_dict(state["T"])
        except (RuntimeError, KeyError) as error:
            raise RunError(f"{self.config.out} holds a run of other settings ({error}); choose another --out") from error
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state.get("seconds", 0.0)


@writes_folder(lambda pairs, weights, config: config.out)
def train_warp(pairs: str, weights: str, config: WarpTrainConfig) -> Path:
    """Trains T on a folder of pairs, for and into published weights; a run found in `config.out` goes on."""
    return WarpTrainer(pairs, weights, config).fit()


def augmented(pairs: Pairs, size: int, chance: torch.Generator) -> tuple[Tensor, ...]:
    """Both pictures of every pair, changed alike.

    Returns:
        source and target (B, 3, size, size) in [-1, 1]; flow (B, 2, S, S) in sides of the frame, S = size / FINE;
        invented (B, 1, size, size) in [0, 1]; gain (B, 3, S, S), places (B, 4, S, S) in cm and known (B, 2, S, S), 0 or 1.
    """
    count, device = len(pairs.labels), pairs.source.device
    turns = affine(count, chance)
    matrix = turns.to(device, non_blocking=True)
    pictures = torch.cat((pairs.source, pairs.target)).permute(0, 3, 1, 2).float() / 255
    pictures = torch.stack(frames(pictures, matrix.repeat(2, 1, 1), size).chunk(2), dim=1)
    fields = torch.cat((pairs.flow, pairs.places, pairs.known), dim=3).permute(0, 3, 1, 2)
    flow, places, known = frames(fields, matrix, size // FIELD_SCALE).split((2, 4, 2), dim=1)
    invented = frames(pairs.invented[:, None], matrix, size)
    known = (known > 0.99).float()
    places = places * known.repeat_interleave(2, dim=1)
    places[:, ::2] *= matrix[:, 0, 0].sign()[:, None, None, None]  # a mirrored row runs the other way
    back = torch.linalg.inv(turns[:, :, :2])
    flow = torch.einsum("bij,bjhw->bihw", back.to(device, non_blocking=True), flow)
    pictures = light(pictures, chance)
    chosen = (torch.rand(count, generator=chance) < GLASSES).nonzero().flatten()
    if len(chosen):
        eyes = (torch.tensor(EYES) - 0.5) / WIDE_CROP_SCALE * 2 - turns[chosen, None, :, 2]  # in -1..1 over the frame
        eyes = torch.einsum("bij,bnj->bni", back[chosen], eyes)
        eyes = torch.where((eyes[:, :1, :1] > eyes[:, 1:, :1]), eyes.flip(1), eyes)
        shade, cover = glasses((eyes + 1) / 2 * size, size, chance, device)
        at = chosen.to(device, non_blocking=True)
        before, after = pictures[at].unbind(1)
        after, flow[at] = held(before, after, flow[at], F.avg_pool2d(cover, FIELD_SCALE))
        pictures[at] = torch.lerp(torch.stack((before, after), dim=1), shade[:, None], cover[:, None])
        invented[at] = invented[at] * (1 - cover)
    source, target = (pictures * 2 - 1).unbind(1)
    gain = gain_of(source, target, flow)
    noise = torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=chance)))
    much, some = torch.rand(2, count, 1, 1, 1, generator=chance).to(device, non_blocking=True)
    noisy = torch.randn(source.shape, generator=noise, device=device) * (0.04 * much * (some < 0.4))
    return (source + noisy).clamp(-1, 1), target, flow, invented, gain, places, known


def gain_of(source: Tensor, target: Tensor, flow: Tensor) -> Tensor:
    """How the light on the moved pixels changes from one picture to the other.

    Args:
        source, target: (B, 3, FINE * S, FINE * S) in [-1, 1].
        flow: (B, 2, S, S), sides of the frame, from target to source.

    Returns:
        (B, 3, S, S): change of the logarithm of brightness, of means over a few pixels; within MAX_GAIN.
    """
    before, after = (F.avg_pool2d((x + 1) / 2, FIELD_SCALE) for x in (backward_warp(source, upsample_fields(flow)), target))
    before, after = (F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) + DARK for x in (before, after))
    return (after / before).log().clamp(-MAX_GAIN, MAX_GAIN)


def crop_of(frame: Tensor, size: int) -> Tensor:
    """T's frames (B, 3, S, S) -> the crops within them, (B, 3, size, size)."""
    side = round(frame.shape[-1] / WIDE_CROP_SCALE)
    start = (frame.shape[-1] - side) // 2
    inner = frame[..., start : start + side, start : start + side]
    return F.interpolate(inner, (size, size), mode="bilinear", align_corners=False, antialias=True)


def write_into(folder: Path, T: nn.Module, config: WarpTrainConfig) -> None:
    """Puts T into published weights: model.safetensors, config.json and training.json; the rest of the model stays."""
    model = ExprGAN.from_pretrained(folder)
    shape = dataclasses.replace(model.config, detail_width=config.width, detail_emphasis=())  # that was of another T
    whole = ExprGAN(shape)
    own = {f"T.{name}": value.cpu() for name, value in T.state_dict().items()}
    whole.load_state_dict({name: value for name, value in model.state_dict().items() if not name.startswith("T.")} | own)
    with tempfile.TemporaryDirectory() as passing:
        whole.save_pretrained(passing)
        stale = ("reference.safetensors",)  # of the model as it was; `publish` writes it anew
        copy_together(Path(passing), folder, (CONFIG_NAME, WEIGHTS_NAME), stale)
    path = folder / "training.json"
    training = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    told = {name: value for name, value in dataclasses.asdict(config).items() if name not in ("out", "cpu")}
    if config.again and "detail" in training:
        told["before"] = training["detail"]
    write_json(path, training | {"detail": told})
