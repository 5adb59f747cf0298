"""Trains the reference network on the set's own pictures of training people, and on no picture that a model made."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from exprgan.models.model_card import JUDGE_NAME

from ..core.config_flags import SIX_EXPRESSIONS, check_finite, option, parse_expressions
from ..core.files import writes_folder
from ..core.git import git_commit
from ..core.precision import supported_precision
from ..core.processes import call_once
from ..core.saved_training import SavedTraining
from ..core.training_loop import cosine_decay, set_learning_rate
from ..data import FaceFolder
from ..data.face_folder import batch_indices
from ..data.fingerprint import fingerprint
from ..data.metadata import metadata_digest
from ..data.validation import check_before_training
from ..perceptual.people_classes import PeopleClasses, cosines_with
from .reference_network import ReferenceNetwork, load_reference_network, save_reference_network

LABEL_SMOOTHING = 0.05
MIN_CLEAR_INTENSITY = 0.35
"""A known intensity below this is labelled as partly neutral."""
STRENGTH_WEIGHT = 4.0
"""Weight of the strength loss beside the two cross entropies."""
MAX_GRADIENT = 5.0
"""Norm that gradients are clipped to."""
WARM_UP = 0.05
"""Share of the training over which the learning rate rises."""


@dataclass(frozen=True)
class ReferenceConfig:
    """Training of the reference network. AdamW with warm-up and cosine decay."""

    out: str = option("runs/judge", "folder for judge.safetensors")
    steps: int = option(3500, "batches to train on")
    minutes: float = option(0.0, "stop after this many minutes instead, with the decay fitted to it; 0: by steps")
    batch_size: int = option(48, "pictures a batch")
    lr: float = option(2e-3, "AdamW's highest learning rate")
    expressions: str = option(SIX_EXPRESSIONS, "names of the K expressions, separated by commas")
    width: int = option(32, "channels of the first stage; each of the other two doubles them")
    size: int = option(80, "side of the network's input in px")
    init: str = option("", "folder of an earlier `judge` run to start from")
    image_size: int = option(128, "side in px of the pictures as ExprGAN sees them")
    fold: int = option(-1, "hold out this fold of metadata.csv instead of the people of split `test`")
    mixed_precision: Literal["no", "bf16", "fp16"] = option("bf16", "type of the network's arithmetic")
    save_minutes: float = option(2.0, "minutes between checkpoints, which a run that was killed continues from")
    seed: int = option(1709, "seed of everything random; the model's own face network has another")
    cpu: bool = option(False, "use the CPU even where there is a GPU")

    def __post_init__(self):
        check_finite(self, minutes=0, steps=0 if self.minutes else 1, batch_size=2, width=4, image_size=16, size=16)
        for name in ("lr", "save_minutes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")


class ReferenceHeads(nn.Module):
    """A reference network with the head of people that only training needs.

    Args:
        network: the reference network.
        people: the training people.
    """

    def __init__(self, network: ReferenceNetwork, people: PeopleClasses):
        super().__init__()
        self.network, self.people = network, people.new_head(network.identity)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """x: (B, 3, size, size) in [-1, 1] -> logits (B, K + 1), cosines with the people (B, people), None without any, and
        strength (B, K)."""
        logits, embedding, strength = self.network(x)
        return logits, cosines_with(self.people, embedding), strength


@writes_folder(lambda data, config: config.out)
def train_reference(data: str, config: ReferenceConfig) -> Path:
    """Trains on split `train`, writes OUT/judge.safetensors and returns its path; a run that was killed is continued.

    Raises:
        DataError: the folder is not what is needed.
    """
    accelerator = Accelerator(cpu=config.cpu, mixed_precision=supported_precision(config.mixed_precision, config.cpu))
    torch.manual_seed(config.seed)
    names = parse_expressions(config.expressions)
    fold = None if config.fold < 0 else config.fold
    call_once(lambda: check_before_training(data, names, fold))
    train, test = (FaceFolder.load(data, split, config.image_size, names, fold, mapped=True)
                   for split in ("train", "test"))  # fmt: skip
    network, steps_before = ReferenceNetwork(len(names), config.width, config.size), 0
    if config.init:
        network, info = load_reference_network(config.init, names)
        network, steps_before = network.train().requires_grad_(True), info["steps"]
    images = torch.cat([_to_uint8(network.preprocess(batch)) for batch in train.images.split(256)])
    people = PeopleClasses(train.subject)
    if people.note:
        accelerator.print(people.note)
    heads = ReferenceHeads(network, people).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=config.lr, betas=(0.9, 0.99), weight_decay=0.05)
    training = SavedTraining(accelerator, "judge", config, heads, optimizer, data=metadata_digest(data))
    with training.loop as loop:
        while loop.fraction < 1:
            rate = min(loop.fraction / WARM_UP + 0.01, cosine_decay(loop.fraction))
            set_learning_rate(training.optimizer, config.lr * rate)
            indices = batch_indices(len(train), config.batch_size, loop.step, seed=config.seed,
                                    rank=accelerator.process_index, world=accelerator.num_processes)  # fmt: skip
            x = augment_reference(images[indices].to(accelerator.device, non_blocking=True), training.generator())
            logits, cosines, strength = training.model(x.contiguous(memory_format=torch.channels_last))
            expression, intensity = (column[indices].to(logits.device, non_blocking=True)
                                     for column in (train.expression, train.intensity))  # fmt: skip
            labels = soft_labels(expression, intensity, len(names))
            loss = (F.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
                    + people.loss(cosines, indices)
                    + STRENGTH_WEIGHT * strength_loss(strength.float(), expression, intensity))  # fmt: skip
            training.advance(loss, max_norm=MAX_GRADIENT)
            if training.save_if_due() and accelerator.is_main_process:
                loop.write(f"{loop.step} steps; held-out people: expression_accuracy {_accuracy(network, test):.3f}")
    training.check_finite()
    path = Path(config.out) / JUDGE_NAME
    if accelerator.is_main_process:
        info = {"steps": steps_before + loop.step, "batch_size": config.batch_size, "seed": config.seed,
                "people": len(train.subjects), "pictures": len(train), "strength": not bool(train.intensity.isnan().all()),
                "data_sha256": fingerprint(data)["sha256"], "commit": git_commit()}  # fmt: skip
        save_reference_network(network.eval(), path, names, info)
        print(f"{path}: {loop.step} steps on {len(train):,} pictures of {len(train.subjects)} people; held-out people: "
              f"expression_accuracy {_accuracy(network, test):.3f}")  # fmt: skip
        training.finish()
    return path


def soft_labels(expression: Tensor, intensity: Tensor, num_expressions: int) -> Tensor:
    """Target probabilities (B, K + 1): a weak expression is partly neutral.

    Args:
        expression: (B,) long, K for neutral.
        intensity: (B,), NaN where unknown: such pictures get a one-hot label.
    """
    share = (intensity / MIN_CLEAR_INTENSITY).clamp(0, 1).nan_to_num(1.0)[:, None]
    labels = F.one_hot(expression, num_expressions + 1).float() * share
    labels[:, -1:] += 1 - share
    return labels


def strength_loss(strength: Tensor, expression: Tensor, intensity: Tensor) -> Tensor:
    """Mean squared error of strength (B, K): the target is the intensity for the labelled expression, 0 for the others.

    Args:
        expression: (B,) long, K for neutral.
        intensity: (B,), NaN where unknown: such pictures are left out.
    """
    known = ~intensity.isnan()
    target = F.one_hot(expression, strength.shape[1] + 1)[:, :-1] * intensity.nan_to_num()[:, None]
    return ((strength - target).square().sum(1) * known).sum() / known.sum().clamp(min=1)


def augment_reference(x: Tensor, generator: torch.Generator) -> Tensor:
    """Augmentation of the reference network alone: affine warp, blur, gamma, colour, noise and a covered rectangle.

    Args:
        x: (B, 3, S, S) uint8.
        generator: on the CPU.

    Returns:
        (B, 3, S, S) float in [-1, 1].
    """

    def uniform(*shape: int) -> Tensor:
        """(B, *shape) in [-1, 1)."""
        return (torch.rand(len(x), *shape, generator=generator) * 2 - 1).to(x.device, non_blocking=True)

    size = x.shape[-1]
    angle, scale, shift = uniform() * math.radians(6), 1 + uniform() * 0.07, uniform(2) * 0.08
    mirror = torch.where(uniform() < 0, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = torch.stack((cos * mirror, -sin, shift[:, 0]), 1), torch.stack((sin * mirror, cos, shift[:, 1]), 1)
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    x = F.grid_sample(x.float() / 255, grid, padding_mode="border", align_corners=False)
    blurred = F.interpolate(F.avg_pool2d(x, 2), (size, size), mode="bilinear", align_corners=False)
    x = torch.lerp(x, blurred, (uniform(1, 1, 1) * 1.4).clamp(0, 1))  # half of the images, some of them completely
    x = x.clamp(1e-3, 1) ** (uniform(1, 1, 1) * 0.4).exp()
    x = x * (uniform(3, 1, 1) * 0.12).exp() * (uniform(1, 1, 1) * 0.15).exp() + uniform(1, 1, 1) * 0.05
    x = x + torch.randn(x.shape, generator=generator).to(x.device, non_blocking=True) * 0.03 * uniform(1, 1, 1).clamp(0, 1)
    positions = torch.linspace(-1, 1, size, device=x.device)
    half_side, centre = 0.15 + 0.15 * uniform(1, 1).abs(), uniform(2, 1)
    in_rows, in_columns = ((positions - centre[:, i : i + 1, 0]).abs() < half_side[:, 0] for i in range(2))
    covered = (in_rows[:, None, :, None] & in_columns[:, None, None]) & (uniform(1, 1, 1) < -0.4)
    return torch.where(covered, uniform(3, 1, 1) * 0.5 + 0.5, x).clamp(0, 1) * 2 - 1


@torch.inference_mode()
def _accuracy(network: ReferenceNetwork, faces: FaceFolder) -> float:
    """Share of pictures whose expression, of K + 1, is recognised in evaluation mode."""
    device, was_training = next(network.parameters()).device, network.training
    network.eval()
    labels = torch.cat([network(network.preprocess(x.to(device)))[0].argmax(1).cpu() for x in faces.images.split(64)])
    network.train(was_training)
    return (labels == faces.expression).float().mean().item()


def _to_uint8(x: Tensor) -> Tensor:
    return ((x + 1) * 127.5).round().byte()
