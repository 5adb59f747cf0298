"""Trains the local face network: five blocks that know people and expressions (source of L_id, classifier, judge)."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from exprgan.model import read_weights
from exprgan.networks import FaceNetwork

from .data import FaceFolder, augment
from .data.folder import batch_at
from .flags import option
from .run import write_weights

COSINE_SCALE = 16.0
"""Sharpness of the identity softmax over cosines; 16 keeps a few hundred people separable without labels smoothing."""


@dataclass(frozen=True)
class FaceConfig:
    """Training of the face network. AdamW with cosine decay; both heads weigh the same."""

    out: str = option("runs/face", "folder for face.safetensors")
    steps: int = option(3000, "batches to train on")
    minutes: float = option(0.0, "stop after this many minutes instead, with the decay fitted to it; 0: by steps")
    batch_size: int = option(48, "pictures a batch")
    lr: float = option(1e-3, "AdamW's learning rate at the start")
    width: int = option(16, "channels of the first block; every block doubles them")
    image_size: int = option(128, "side of the pictures in px; every other batch is halved, so that both sizes work")
    seed: int = option(0, "seed of everything random")
    cpu: bool = option(False, "use the CPU even where there is a GPU")


def fit_face(data: str, config: FaceConfig) -> dict[str, float]:
    """Trains on split `train`, measures on split `test`, writes OUT/face.safetensors.

    Returns:
        expression_accuracy (K + 1 classes) and same/other-person cosines on held-out people.
    """
    accelerator = Accelerator(cpu=config.cpu, mixed_precision="bf16")
    torch.manual_seed(config.seed)
    chance = torch.Generator().manual_seed(config.seed)
    train = FaceFolder.load(data, "train", config.image_size)
    network = FaceNetwork(len(train.expressions), config.width)
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
        indices = batch_at(len(train), config.batch_size, step, seed=config.seed)
        x = augment(train.images[indices].to(accelerator.device), chance, colour=1.0, shift=1.0)
        x = F.avg_pool2d(x, 2) if step % 2 else x
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
    results = measure_face(network, FaceFolder.load(data, "test", config.image_size))
    if accelerator.is_main_process:
        path = Path(config.out) / "face.safetensors"
        write_weights(network.state_dict(), path, {"width": str(config.width), "steps": str(step)})
        print(f"{path}: {step} steps; held-out people: " + ", ".join(f"{k} {v:.3f}" for k, v in results.items()))
    return results


def people_cosines(embedding: Tensor, people: Tensor) -> Tensor:
    """Cosines of unit embeddings (B, E) with one direction a person (P, E): (B, P)."""
    return embedding.float() @ F.normalize(people.float(), dim=1).T


@torch.inference_mode()
def measure_face(network: FaceNetwork, folder: FaceFolder) -> dict[str, float]:
    """Expression accuracy, and cosine of two pictures of one person (other expression) and of two people."""
    device = next(network.parameters()).device
    outputs = [network(x.to(device).float() / 127.5 - 1) for x in folder.images.split(64)]
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
    """The face network of a `facenet` run (its folder or file), or the classifier of a published model's folder.

    Raises:
        WeightsError: there is neither.
    """
    path = Path(path)
    if path.is_dir():
        path = path / ("face.safetensors" if (path / "face.safetensors").is_file() else "model.safetensors")
    prefix = "classifier." if path.name == "model.safetensors" else ""
    weights = {k.removeprefix(prefix): v for k, v in read_weights(path).items() if k.startswith(prefix)}
    network = FaceNetwork(num_expressions, weights["blocks.0.0.weight"].shape[0])
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)
