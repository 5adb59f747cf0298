"""`detail`: trains T on pairs; the rest of the model stays fixed."""

import copy
import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from exprgan.editing.results import MIN_CERTAINTY
from exprgan.facs import ACTION_UNITS
from exprgan.models.backward_warp import FIELD_SCALE, backward_warp, upsample_fields
from exprgan.models.exprgan import ExprGAN
from exprgan.models.warp_network import (
    MAX_GAIN,
    WIDE_CROP_SCALE,
    Decoded,
    FlowPrediction,
    WarpNetwork,
    WarpPrediction,
    emphasize,
)
from exprgan.photo.alignment import EYES

from ..core.allocator import keep_freed_memory
from ..core.config_flags import check_finite, option
from ..core.files import writes_folder
from ..core.precision import enable_fast_kernels, supported_precision
from ..core.published_parts import replace_parts
from ..core.saved_training import SavedTraining
from ..core.training_loop import cosine_decay, set_learning_rate, update_ema
from ..data.metadata import metadata_digest, print_warnings
from ..data.style_codes import code_for
from ..data.transforms import augment_lighting
from ..data.validation import warn_of_shortages
from .eye_pool import EyePairs, EyePool
from .pair_dataset import Pairs, draw_pairs, load_people
from .pair_transforms import GLASSES_SHARE, draw_glasses, hold_at_glasses, random_affine
from .turned_pairs import TurnedView, random_turns, sample
from .unit_inputs import UnitInputs, load_widened
from .warp_batch import WarpBatch
from .warp_losses import total_warp_loss

MIN_BRIGHTNESS = 0.04
"""Added to brightness in [0, 1] before the logarithm: nearly black pixels say little about light."""
NO_EMPHASIS_SHARE, EMPHASIS_RANGE = 0.4, (0.6, 1.6)
"""When mouth or eyes are trained alone: share of batches without emphasis, and the range of emphases of the others."""
WARM_UP_STEPS = 200
"""Steps over which the learning rate rises; at most a tenth of all."""
MIN_RATE = 0.02
"""Fraction of the learning rate at the end."""
MAX_GRADIENT = 1.0
"""Norm that gradients are clipped to."""


@dataclass(frozen=True)
class WarpTrainConfig:
    """Training of T by AdamW with a short warm-up and cosine decay."""

    out: str = option("runs/detail", "run folder; an existing run is resumed")
    steps: int = option(4500, "batches to train on")
    minutes: float = option(0.0, "run this long instead of by steps; 0: by steps")
    batch_size: int = option(8, "pairs a batch")
    lr: float = option(1.2e-3, "AdamW's highest learning rate")
    width: float = option(1.0, "width of T")
    again: bool = option(False, "start from the T in the weights, at its width and with its inputs")
    units: bool = option(False, "T takes action units beside the code: those that the photo shows, as the weights' face "
                                "network reads them, and those that the edit is to show")  # fmt: skip
    decoded_share: float = option(1.0, "share of batches in which T sees the decoder's pictures; below 1 it learns to do "
                                  "without them, and only tuned edits show them to it")  # fmt: skip
    eyes: bool = option(False, "T has an eye network: eyeballs stay, lids move over them, what they uncover is drawn")
    part: Literal["all", "skin", "mouth", "eyes"] = option("all", "train all of T, or one part: flow and gain of the skin, "
                                                           "the mouth, or eyes and lids")  # fmt: skip
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
        for name in ("ema", "decoded_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, not {getattr(self, name)!r}")


class WarpTrainer:
    """One run. All random numbers derive from (seed, step, process), so that a resumed run needs no generator state."""

    def __init__(self, pairs: str, weights: str, config: WarpTrainConfig):
        self.config, self.weights = config, Path(weights)
        precision = supported_precision(config.mixed_precision, config.cpu)
        self.accelerator = Accelerator(cpu=config.cpu, mixed_precision=precision)
        self.device = self.accelerator.device
        keep_freed_memory() if self.device.type == "cpu" else enable_fast_kernels()
        torch.manual_seed(config.seed)
        self.model = ExprGAN.from_pretrained(weights, device=str(self.device)).requires_grad_(False)
        shape = self.model.config
        if config.again and self.model.T is None:
            raise ValueError(f"the weights in {weights} hold no T to start from; leave out --again")
        if config.again:
            units, eyes = config.units or bool(shape.warp_units), config.eyes or shape.warp_eyes
            self.config = config = dataclasses.replace(config, width=shape.warp_width, units=units, eyes=eyes)
        if config.part == "eyes" and not config.eyes:
            raise ValueError("part eyes needs a T with an eye network; add --eyes")
        units = (config.again and shape.warp_units) or shape.action_units or tuple(ACTION_UNITS)
        units = units if config.units else ()
        wrinkles = self.model.T.wrinkles if self.model.T is not None and units else None
        T = WarpNetwork(
            shape.image_size, self.model.F_ctrl.code_dim, config.width, units, config.eyes, wrinkles is not None
        )
        if config.again:
            load_widened(T, self.model.T.state_dict())
        elif wrinkles is not None:
            T.wrinkles.load_state_dict(wrinkles.state_dict())
        self.unit_inputs = UnitInputs(self.model, T.units)
        warn_of_shortages(pairs, shape.expressions, verbose=self.accelerator.is_main_process)
        if self.accelerator.is_main_process and (warning := self.unit_inputs.warning):
            print_warnings([warning])
        self.people = [
            person.to(self.device) for person in load_people(pairs, "train", shape.expressions, T.units, config.eyes)
        ]
        # CUDA's group norm is fast on contiguous tensors only
        self.layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        T.to(self.device, memory_format=self.layout)
        self.ema = copy.deepcopy(T).requires_grad_(False)
        T.requires_grad_(False)
        trained = {"all": T, "skin": T, "mouth": T.mouth, "eyes": T.eyes}[config.part].requires_grad_(True)
        others = [T.mouth, T.eyes] if config.part == "skin" else []
        for frozen in filter(None, [*others, T.wrinkles]):  # wrinkles have a training of their own, see `wrinkle_trainer`
            frozen.requires_grad_(False)
        optimizer = torch.optim.AdamW(trained.parameters(), lr=config.lr, betas=(0.9, 0.99), weight_decay=1e-4)
        self.training = SavedTraining(self.accelerator, "detail", config, T, optimizer, ema=self.ema,
                                      base=model_digest(self.model), data=metadata_digest(pairs))  # fmt: skip
        self._eye_pool = EyePool(self._draw_eye_pairs)
        self.T, self.optimizer, self.loop = self.training.model, self.training.optimizer, self.training.loop

    def fit(self) -> Path:
        """Trains to the end, writes T into the folder of the weights, and returns that folder."""
        with self.loop as loop:
            while loop.fraction < 1:
                self.train_step()
                self.training.save_if_due()
        self.training.save()
        if self.accelerator.is_main_process:
            config, table = dataclasses.replace(self.config, steps=self.loop.step), self.unit_inputs.table(self.people)
            write_into(self.weights, self.ema, config, table)
        return self.weights

    def train_step(self) -> dict[str, Tensor]:
        """One step; returns the unweighted losses by name."""
        config, loop = self.config, self.loop
        warm_up = WARM_UP_STEPS if config.minutes else min(WARM_UP_STEPS, config.steps / 10 + 1)
        decay = MIN_RATE + (1 - MIN_RATE) * cosine_decay(min(loop.fraction, 1.0))
        set_learning_rate(self.optimizer, config.lr * decay * min(1.0, (loop.step + 1) / warm_up))
        loss, values = total_warp_loss(self.draw_batch(loop.step), config.part)
        self.training.advance(loss, values, max_norm=MAX_GRADIENT)
        update_ema(self.ema, self.training.unwrapped(), config.ema, loop.step)
        return values

    def draw_batch(self, step: int) -> WarpBatch:
        """The batch of a step, other on every process, with T's prediction."""
        if self.config.part == "eyes":
            return self._draw_eyes(step)
        x, target, fields, steady, decoded, condition, emphasis = self._draw_inputs(step)
        true_flow, *others, eyeballs = fields
        with self.accelerator.autocast():
            prediction = self.T(x, decoded, condition, emphasis, skin_alone=self.config.part == "skin")
        prediction = WarpPrediction(*(part.float() for part in prediction))
        flow, gain, *mouth = prediction[:6]
        edited = WarpPrediction(flow, gain, *(part.detach() for part in mouth)).apply(x)
        if self.config.part == "skin":  # which draws no mouth interior
            edited = torch.lerp(edited, target, others[0])
        if eyeballs.shape[1]:  # they have losses of their own
            edited = torch.lerp(edited, target, eyeballs[:, 1:])
        emphasized = emphasize(true_flow, emphasis)
        return WarpBatch(x, target, true_flow, emphasized, *others, eyeballs, steady, prediction, edited)

    def _draw_eyes(self, step: int) -> WarpBatch:
        """The same for eyes alone, whose losses take no gain, teeth or edited picture."""
        pairs = self._eye_pool.draw(step, self.training.generator(step))
        skin = FlowPrediction(pairs.flow, pairs.gain, pairs.gain[:, :0])
        with self.accelerator.autocast():
            prediction = self.T(pairs.x, None, pairs.condition, skin=skin)
        prediction = WarpPrediction(*(part.float() for part in prediction))
        none = pairs.flow[:, :0]
        return WarpBatch(pairs.x, pairs.target, pairs.true_flow, pairs.emphasized, pairs.mask, none, none, none,
                         pairs.eyeballs, pairs.steady, prediction, pairs.target)  # fmt: skip

    @torch.no_grad()
    def _draw_eye_pairs(self, step: int) -> EyePairs:
        """The new pairs of a step for eyes alone."""
        x, target, (true_flow, mask, *_, eyeballs), steady, decoded, condition, emphasis = self._draw_inputs(step)
        with self.accelerator.autocast():
            flow, gain, _ = self.training.unwrapped().predict_skin(x, decoded, condition, emphasis)
        return EyePairs(x, target, true_flow, emphasize(true_flow, emphasis), mask, eyeballs, steady, flow, gain, condition)

    def _draw_inputs(self, step: int) -> tuple[Tensor, Tensor, list[Tensor], Tensor, Decoded, Tensor, float | None]:
        """Source, target, fields as `augment_pairs` returns them, `WarpBatch.steady`, and the further inputs of T."""
        generator = self.training.generator(step)
        pairs = draw_pairs(self.people, self.config.batch_size, generator, eyes_alone=self.config.part == "eyes")
        x, target, *fields, units = augment_pairs(pairs, FIELD_SCALE * self.model.config.image_size, generator)
        c = torch.stack([code_for(label, self.model.F_ctrl, generator) for label in pairs.labels])
        c, emphasis = c.to(self.device, non_blocking=True), self._draw_emphasis(generator)
        is_decoded = torch.rand((), generator=generator) < self.config.decoded_share
        with torch.no_grad(), self.accelerator.autocast():
            crops = aligned_crop(x, self.model.config.image_size)
            condition, c = self.unit_inputs.condition(c, units, pairs.labels, crops, generator)
            decoded = self._decode(crops, c) if is_decoded else None
        return x.contiguous(memory_format=self.layout), target, fields, pairs.steady, decoded, condition, emphasis

    def _draw_emphasis(self, generator: torch.Generator) -> float | None:
        """The emphasis of flow and gain. Mouth or eyes that are trained alone see all emphases that expressions have."""
        if self.config.part in ("all", "skin") or torch.rand((), generator=generator) < NO_EMPHASIS_SHARE:
            return None
        lowest, highest = EMPHASIS_RANGE
        return lowest + torch.rand((), generator=generator).item() * (highest - lowest)

    def _decode(self, crops: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's pictures as the editor computes them: reconstruction and x_hat."""
        model, names = self.model, self.model.config.expressions
        certainty, best = model.classifier(crops).expression.float().softmax(1).max(1)
        y = F.one_hot(best, len(names) + 1)[:, :-1].float()
        is_expressive = (certainty >= MIN_CERTAINTY) & (best < len(names))
        source_code = torch.where(is_expressive[:, None], model.Q(crops, y).float(), -1.0)
        z = model.G_enc(crops)
        return model.G_dec(z, source_code).float(), model.G_dec(z, c).float()


@writes_folder(lambda pairs, weights, config: config.out)
def train_warp(pairs: str, weights: str, config: WarpTrainConfig) -> Path:
    """Trains T on a folder of pairs and writes it into the published weights; a run in `config.out` is continued."""
    return WarpTrainer(pairs, weights, config).fit()


def augment_pairs(pairs: Pairs, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Augments both pictures of every pair alike.

    Returns:
        source and target (B, 3, R, R) in [-1, 1], R = size; flow (B, 2, S, S), mask (B, 1, R, R), gain (B, 3, S, S),
        uv (B, 4, S, S), uv_known (B, 2, S, S) and eyeballs (B, 2 or 0, R, R) as in `WarpBatch`; and the units (B, U, 2) of
        the target.
    """
    count, device = len(pairs.labels), pairs.source.device
    affine = random_affine(count, generator)
    matrix = affine.to(device, non_blocking=True)
    view = TurnedView(random_turns(count, generator).to(device, non_blocking=True), pairs.depth, matrix)
    places = view.sources(1, size)
    both = view.sources(0, size), places
    pictures = zip((pairs.source, pairs.target), both, strict=True)
    pictures = torch.stack([sample(picture.permute(0, 3, 1, 2).float() / 255, at) for picture, at in pictures], dim=1)
    eyeballs = pairs.eyeballs.new_zeros(count, 0, size, size)
    if pairs.eyeballs.shape[1]:
        eyeballs = torch.cat([sample(x, at) for x, at in zip(pairs.eyeballs.split(1, dim=1), both, strict=True)], dim=1)
    mask = sample(pairs.mask[:, None], places)
    fields = torch.cat((pairs.uv, pairs.uv_known), dim=3).permute(0, 3, 1, 2)
    uv, uv_known = sample(fields, view.sources(1, size // FIELD_SCALE)).split((4, 2), dim=1)
    flow = view.flow(pairs.flow.permute(0, 3, 1, 2), size // FIELD_SCALE)
    uv_known = (uv_known > 0.99).float()
    uv = uv * uv_known.repeat_interleave(2, dim=1)
    mirrored = matrix[:, 0, 0].sign()[:, None, None]
    uv[:, ::2] *= mirrored[..., None]  # u changes sign in a mirrored picture
    units = torch.where(mirrored < 0, pairs.units.flip(2), pairs.units)
    pictures = augment_lighting(pictures, generator)
    chosen = (torch.rand(count, generator=generator) < GLASSES_SHARE).nonzero().flatten()
    if len(chosen):
        eyes = (torch.tensor(EYES) - 0.5) / WIDE_CROP_SCALE * 2 - affine[chosen, None, :, 2]  # in -1..1
        eyes = torch.einsum("bij,bnj->bni", torch.linalg.inv(affine[chosen, :, :2]), eyes)
        eyes = torch.where((eyes[:, :1, :1] > eyes[:, 1:, :1]), eyes.flip(1), eyes)
        color, opacity = draw_glasses((eyes + 1) / 2 * size, size, generator, device)
        rows = chosen.to(device, non_blocking=True)
        source, target = pictures[rows].unbind(1)
        coarse = F.avg_pool2d(opacity, FIELD_SCALE)
        target, flow[rows], held = hold_at_glasses(source, target, flow[rows], coarse, eyeballs[rows])
        eyeballs[rows] = held * (1 - opacity)
        pictures[rows] = torch.lerp(torch.stack((source, target), dim=1), color[:, None], opacity[:, None])
        mask[rows] = mask[rows] * (1 - opacity)
    source, target = (pictures * 2 - 1).unbind(1)
    gain = gain_between(source, target, flow)
    noise_generator = torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
    level, chance = torch.rand(2, count, 1, 1, 1, generator=generator).to(device, non_blocking=True)
    noise = torch.randn(source.shape, generator=noise_generator, device=device) * (0.04 * level * (chance < 0.4))
    return (source + noise).clamp(-1, 1), target, flow, mask, gain, uv, uv_known, eyeballs, units


def gain_between(source: Tensor, target: Tensor, flow: Tensor) -> Tensor:
    """The change of brightness from the warped source to the target.

    Args:
        source, target: (B, 3, R, R) in [-1, 1].
        flow: (B, 2, S, S) in sides, from target to source.

    Returns:
        (B, 3, S, S): change of the logarithm of brightness, averaged over a few pixels, within MAX_GAIN.
    """
    warped = backward_warp(source, upsample_fields(flow))
    before, after = (F.avg_pool2d((x + 1) / 2, FIELD_SCALE) for x in (warped, target))
    before, after = (F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) + MIN_BRIGHTNESS for x in (before, after))
    return (after / before).log().clamp(-MAX_GAIN, MAX_GAIN)


def aligned_crop(wide_crop: Tensor, size: int) -> Tensor:
    """Cuts the aligned crops out of wide crops: (B, 3, R, R) -> (B, 3, size, size)."""
    side = round(wide_crop.shape[-1] / WIDE_CROP_SCALE)
    start = (wide_crop.shape[-1] - side) // 2
    inner = wide_crop[..., start : start + side, start : start + side]
    return F.interpolate(inner, (size, size), mode="bilinear", align_corners=False, antialias=True)


def model_digest(model: ExprGAN) -> str:
    """SHA-256, in hexadecimal, of the networks whose outputs T sees: G_enc, G_dec, and a face network that reads units."""
    digest = hashlib.sha256()
    for network in (model.G_enc, model.G_dec, *([model.classifier] if model.config.action_units else [])):
        for tensor in network.state_dict().values():
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_into(folder: Path, T: WarpNetwork, config: WarpTrainConfig,
               unit_table: Tensor | None = None) -> None:  # fmt: skip
    """Replaces T in published weights, but for its wrinkles.

    unit_table: (K, d + 1, U), `UnitTable.full`, for a T that takes units.
    """
    parts = {"warp_width": config.width, "warp_decoded": config.decoded_share == 1, "warp_units": T.units,
             "warp_eyes": T.eyes is not None, "warp_wrinkles": T.wrinkles is not None}  # fmt: skip
    state = {f"T.{name}": value.cpu() for name, value in T.state_dict().items()}
    if T.units and unit_table is not None:
        state["unit_table.full"] = unit_table
    # the emphasis was calibrated for the T that is replaced
    replace_parts(folder, parts, ("T.", "unit_table.", "warp_emphasis."), state, "detail", dataclasses.asdict(config))
