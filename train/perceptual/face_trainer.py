"""Trains the local face network: five blocks that know people and expressions (source of L_id, classifier, judge)."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors import safe_open
from torch import Tensor, nn
from tqdm import tqdm

from exprgan.errors import WeightsError
from exprgan.models.exprgan import ExprGAN, read_weights
from exprgan.models.networks import FaceNetwork
from exprgan.photo.image_io import from_bytes

from ..core.config_flags import option, check_finite
from ..core.files import write_weights, writes_folder
from ..core.precision import supported_precision
from ..data import FaceFolder
from ..data.transforms import augment
from ..data.face_folder import batch_at
from ..data.transforms import scene
from ..gan.train_config import SIX, names_of

FACE_NAME = "face.safetensors"

COSINE_SCALE = 16.0
"""Sharpness of the identity softmax over cosines; 16 keeps a few hundred people separable without labels smoothing."""


@dataclass(frozen=True)
class FaceTrainConfig:
    """Training of the face network. AdamW with cosine decay; both heads weigh the same."""

    out: str = option("runs/face", "folder for face.safetensors")
    steps: int = option(3000, "batches to train on")
    minutes: float = option(0.0, "stop after this many minutes instead, with the decay fitted to it; 0: by steps")
    batch_size: int = option(48, "pictures a batch")
    lr: float = option(1e-3, "AdamW's learning rate at the start")
    expressions: str = option(SIX, "names of the K expressions, separated by commas")
    width: int = option(16, "channels of the first block; every block doubles them")
    image_size: int = option(128, "side in px of the pictures as ExprGAN sees them")
    size: int = option(64, "side in px at which the network looks; they are averaged down to it")
    init: str = option("", "folder of an earlier `facenet` run to go on from")
    fold: int = option(-1, "hold out this fold of metadata.csv instead of the people of split `test`")
    mixed_precision: Literal["no", "bf16", "fp16"] = option("bf16", "type of the network's arithmetic")
    seed: int = option(0, "seed of everything random")
    cpu: bool = option(False, "use the CPU even where there is a GPU")

    def __post_init__(self):
        check_finite(self, minutes=0, steps=0 if self.minutes else 1, batch_size=2, width=1, image_size=16, size=16)
        if self.lr <= 0:
            raise ValueError(f"lr must be above 0, not {self.lr!r}")


@writes_folder(lambda data, config: config.out)
def train_face_network(data: str, config: FaceTrainConfig) -> dict[str, float]:
    """Trains on split `train`, measures on split `test`, writes OUT/face.safetensors.

    Returns:
        expression_accuracy (K + 1 classes) and same/other-person cosines on held-out people.
    """
    accelerator = Accelerator(cpu=config.cpu, mixed_precision=supported_precision(config.mixed_precision, config.cpu))
    torch.manual_seed(config.seed)
    chance = torch.Generator().manual_seed(config.seed)
    fold = None if config.fold < 0 else config.fold
    load = (config.image_size, names_of(config.expressions), fold)
    train = FaceFolder.load(data, "train", *load)
    network = FaceNetwork(len(train.expressions), config.width, config.size)
    if config.init:
        network = load_face(config.init, len(train.expressions)).train().requires_grad_(True)
    people = nn.Linear(network.identity.out_features, len(train.subjects), bias=False)
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW([*network.parameters(), *people.parameters()], lr=config.lr, weight_decay=0.01)
    network, people, optimizer = accelerator.prepare(network, people, optimizer)
    start, step = time.monotonic(), 0
    bar = tqdm(total=None if config.minutes else config.steps, desc="facenet", disable=not accelerator.is_main_process)
    while True:
        done = (time.monotonic() - start) / (60 * config.minutes) if config.minutes else step / config.steps
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = config.lr * (0.5 + 0.5 * math.cos(math.pi * done))
        indices = batch_at(
            len(train),
            config.batch_size,
            step,
            seed=config.seed,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
        )
        x = augment(train.images[indices].to(accelerator.device), chance, colour=1.0, shift=1.0)
        x = scene(x, chance)
        logits, embedding = network(x.contiguous(memory_format=torch.channels_last))
        cosines = people_cosines(embedding, people.weight) * COSINE_SCALE
        expression, subject = (label[indices].to(logits.device) for label in (train.expression, train.subject))
        loss = F.cross_entropy(logits, expression) + F.cross_entropy(cosines, subject)
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        step += 1
        bar.update()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", done=f"{done:.0%}")
    bar.close()
    network = accelerator.unwrap_model(network, keep_fp32_wrapper=False).eval()
    results = measure_face(network, FaceFolder.load(data, "test", *load))
    if accelerator.is_main_process:
        path = Path(config.out) / FACE_NAME
        write_weights(network.state_dict(), path, {"steps": str(step), "size": str(network.size)})
        print(f"{path}: {step} steps; held-out people: " + ", ".join(f"{k} {v:.3f}" for k, v in results.items()))
    return results


def people_cosines(embedding: Tensor, people: Tensor) -> Tensor:
    """Cosines of unit embeddings (B, E) with one direction a person (P, E): (B, P)."""
    return embedding.float() @ F.normalize(people.float(), dim=1).T


@torch.inference_mode()
def measure_face(network: FaceNetwork, folder: FaceFolder) -> dict[str, float]:
    """Expression accuracy, and cosine of two pictures of one person (other expression) and of two people."""
    device = next(network.parameters()).device
    outputs = [network(from_bytes(x.to(device))) for x in folder.images.split(64)]
    logits, embedding = (torch.cat(parts).cpu() for parts in zip(*outputs, strict=True))
    cosine = embedding @ embedding.T
    same = folder.subject[:, None] == folder.subject[None]
    other_look = folder.expression[:, None] != folder.expression[None]
    return {
        "expression_accuracy": (logits.argmax(1) == folder.expression).float().mean().item(),
        "cosine_same_person": cosine[same & other_look].mean().item(),
        "cosine_other_person": cosine[~same].mean().item(),
    }


def load_face(path: str | Path, num_expressions: int) -> FaceNetwork:
    """The face network of a `facenet` run (its folder), or the classifier of a published model's folder.

    Raises:
        WeightsError: there is neither, or it knows another number of expressions.
    """
    file = Path(path) / FACE_NAME
    if not file.is_file():
        network = ExprGAN.from_pretrained(path).classifier
    else:
        weights = read_weights(file)
        with safe_open(file, "pt") as opened:
            size = int((opened.metadata() or {}).get("size", 64))
        network = FaceNetwork(weights["expression.weight"].shape[0] - 1, weights["blocks.0.0.weight"].shape[0], size)
        network.load_state_dict(weights)
    if network.expression.out_features != num_expressions + 1:
        known = network.expression.out_features - 1
        raise WeightsError(f"the face network in {path} knows {known} expressions, not {num_expressions}; train another")
    return network.eval().requires_grad_(False)
