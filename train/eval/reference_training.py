"""Trains the independent judge on a set's own pictures of training people; no picture of any model, nobody held out."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from ..core.config_flags import option, check_finite
from ..core.files import git_commit, writes_folder
from ..core.precision import supported_precision
from ..data import FaceFolder
from ..data.face_folder import batch_at
from ..data.fingerprint import fingerprint
from ..gan.train_config import SIX, names_of
from .reference_network import EMBEDDING, JUDGE_NAME, ReferenceNetwork, read_judge, write_judge

SHARPNESS = 16.0
"""Of the softmax over cosines with the training people."""
CALM = 0.05
"""Label smoothing."""
PLAIN = 0.35
"""From this intensity on an expression counts as wholly shown; a weaker one in part as neutral, where it is known."""
STRENGTH = 4.0
"""What the error of strength weighs beside the two cross entropies."""
WARM = 0.05
"""Share of the training over which the learning rate rises."""


@dataclass(frozen=True)
class ReferenceConfig:
    """Training of the judge. AdamW with a warm start and cosine decay."""

    out: str = option("runs/judge", "folder for judge.safetensors")
    steps: int = option(3500, "batches to train on")
    minutes: float = option(0.0, "stop after this many minutes instead, with the decay fitted to it; 0: by steps")
    batch_size: int = option(48, "pictures a batch")
    lr: float = option(2e-3, "AdamW's highest learning rate")
    expressions: str = option(SIX, "names of the K expressions, separated by commas")
    width: int = option(32, "channels of the first stage; each of the other two doubles them")
    size: int = option(80, "side in px at which it looks")
    init: str = option("", "folder of an earlier `judge` run to go on from")
    image_size: int = option(128, "side in px of the pictures as ExprGAN sees them")
    fold: int = option(-1, "hold out this fold of metadata.csv instead of the people of split `test`")
    mixed_precision: Literal["no", "bf16", "fp16"] = option("bf16", "type of the network's arithmetic")
    seed: int = option(1709, "seed of everything random; the model's own face network has another")
    cpu: bool = option(False, "use the CPU even where there is a GPU")

    def __post_init__(self):
        check_finite(self, minutes=0, steps=0 if self.minutes else 1, batch_size=2, width=4, image_size=16, size=16)
        if self.lr <= 0:
            raise ValueError(f"lr must be above 0, not {self.lr!r}")


@writes_folder(lambda data, config: config.out)
def train_reference(data: str, config: ReferenceConfig) -> Path:
    """Trains on split `train`, writes OUT/judge.safetensors. It takes minutes, so a stop means a new start.

    Returns:
        The file.

    Raises:
        DataError: the folder is not what is needed.
    """
    accelerator = Accelerator(cpu=config.cpu, mixed_precision=supported_precision(config.mixed_precision, config.cpu))
    torch.manual_seed(config.seed)
    chance = torch.Generator().manual_seed(config.seed)
    names = names_of(config.expressions)
    train = FaceFolder.load(data, "train", config.image_size, names, None if config.fold < 0 else config.fold)
    network, before = ReferenceNetwork(len(names), config.width, config.size), 0
    if config.init:
        network, told = read_judge(config.init, names)
        network, before = network.train().requires_grad_(True), told["steps"]
    pictures = torch.cat([_bytes(network.fitted(part)) for part in train.images.split(256)])
    people = nn.Linear(EMBEDDING, len(train.subjects), bias=False)
    optimizer = torch.optim.AdamW(
        [*network.parameters(), *people.parameters()], lr=config.lr, betas=(0.9, 0.99), weight_decay=0.05
    )
    network.to(memory_format=torch.channels_last)
    network, people, optimizer = accelerator.prepare(network, people, optimizer)
    start, step = time.monotonic(), 0
    bar = tqdm(total=None if config.minutes else config.steps, desc="judge", disable=not accelerator.is_main_process)
    while (done := (time.monotonic() - start) / (60 * config.minutes) if config.minutes else step / config.steps) < 1:
        for group in optimizer.param_groups:
            group["lr"] = config.lr * min(done / WARM + 0.01, 0.5 + 0.5 * math.cos(math.pi * done))
        chosen = batch_at(len(train), config.batch_size, step, seed=config.seed,
                          rank=accelerator.process_index, world=accelerator.num_processes)  # fmt: skip
        x = disturb(pictures[chosen].to(accelerator.device), chance)
        logits, embedding, strength = network(x.contiguous(memory_format=torch.channels_last))
        expression, subject, known = (part[chosen].to(logits.device)
                                      for part in (train.expression, train.subject, train.intensity))  # fmt: skip
        cosines = embedding @ F.normalize(people.weight.float(), dim=1).T * SHARPNESS
        shown = shown_labels(expression, known, len(names))
        loss = (F.cross_entropy(logits.float(), shown, label_smoothing=CALM) + F.cross_entropy(cosines, subject)
                + STRENGTH * strength_error(strength.float(), expression, known))  # fmt: skip
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_([*network.parameters(), *people.parameters()], 5.0)
        optimizer.step()
        step += 1
        bar.update()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", done=f"{done:.0%}")
    bar.close()
    path = Path(config.out) / JUDGE_NAME
    if accelerator.is_main_process:
        network = accelerator.unwrap_model(network, keep_fp32_wrapper=False).eval()
        told = {"steps": before + step, "batch_size": config.batch_size, "seed": config.seed, "people": len(train.subjects),
                "pictures": len(train), "strength": not bool(train.intensity.isnan().all()),
                "data_sha256": fingerprint(data)["sha256"], "commit": git_commit()}  # fmt: skip
        write_judge(network, path, names, told)
        print(f"{path}: {step} steps on {len(train):,} pictures of {len(train.subjects)} people")
    return path


def shown_labels(expression: Tensor, intensity: Tensor, num_expressions: int) -> Tensor:
    """What pictures show, as probabilities (B, K + 1): a weak expression is partly neutral.

    Args:
        expression: (B,) long, K for neutral.
        intensity: (B,), NaN where unknown: such pictures show their label wholly.
    """
    share = (intensity / PLAIN).clamp(0, 1).nan_to_num(1.0)[:, None]
    labels = F.one_hot(expression, num_expressions + 1).float()
    calm = torch.zeros_like(labels)
    calm[:, -1] = 1
    return labels * share + calm * (1 - share)


def strength_error(said: Tensor, expression: Tensor, intensity: Tensor) -> Tensor:
    """Mean squared error of strengths (B, K): the known intensity for the expression shown, 0 for the others.

    Args:
        expression: (B,) long, K for neutral.
        intensity: (B,), NaN where unknown: such pictures do not count.
    """
    wanted = F.one_hot(expression, said.shape[1] + 1)[:, :-1] * intensity[:, None]
    known = ~intensity.isnan()
    return (said - wanted)[known].square().sum(1).mean() if known.any() else said.sum() * 0


def disturb(x: Tensor, generator: torch.Generator) -> Tensor:
    """The judge's own augmentation: frame, light, colour, blur, noise and a covered spot.

    Args:
        x: (B, 3, S, S) uint8.
        generator: source of chance, on the CPU.

    Returns:
        (B, 3, S, S) float in [-1, 1].
    """

    def draw(*shape: int) -> Tensor:
        return (torch.rand(len(x), *shape, generator=generator) * 2 - 1).to(x.device)

    size = x.shape[-1]
    angle, scale, move = draw() * math.radians(6), 1 + draw() * 0.07, draw(2) * 0.08
    mirror = torch.where(draw() < 0, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = torch.stack((cos * mirror, -sin, move[:, 0]), 1), torch.stack((sin * mirror, cos, move[:, 1]), 1)
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    x = F.grid_sample(x.float() / 255, grid, padding_mode="border", align_corners=False)
    soft = F.interpolate(F.avg_pool2d(x, 2), (size, size), mode="bilinear", align_corners=False)
    x = torch.lerp(x, soft, (draw(1, 1, 1) * 1.4).clamp(0, 1))  # half of them, up to all the way
    x = x.clamp(1e-3, 1) ** (draw(1, 1, 1) * 0.4).exp()
    x = x * (draw(3, 1, 1) * 0.12).exp() * (draw(1, 1, 1) * 0.15).exp() + draw(1, 1, 1) * 0.05
    x = x + torch.randn(x.shape, generator=generator).to(x.device) * 0.03 * draw(1, 1, 1).clamp(0, 1)
    place = torch.linspace(-1, 1, size, device=x.device)
    side, centre = 0.15 + 0.15 * draw(1, 1).abs(), draw(2, 1)
    rows, columns = ((place - centre[:, i : i + 1, 0]).abs() < side[:, 0] for i in range(2))
    covered = (rows[:, None, :, None] & columns[:, None, None]) & (draw(1, 1, 1) < -0.4)
    return torch.where(covered, draw(3, 1, 1) * 0.5 + 0.5, x).clamp(0, 1) * 2 - 1


def _bytes(x: Tensor) -> Tensor:
    return ((x + 1) * 127.5).round().byte()
