"""Trains the local face network on people and expressions: the source of L_id's maps and the expression classifier."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors import safe_open
from torch import nn

from exprgan.errors import WeightsError
from exprgan.models.exprgan import ExprGAN, read_weights
from exprgan.models.networks import FaceNetwork
from exprgan.photo.image_io import from_bytes

from ..core.config_flags import SIX_EXPRESSIONS, check_finite, option, parse_expressions
from ..core.files import write_weights, writes_folder
from ..core.precision import supported_precision
from ..core.training_loop import TrainingLoop, cosine_decay, set_learning_rate
from ..data import FaceFolder
from ..data.face_folder import batch_indices
from ..data.transforms import augment, augment_scene
from ..data.validation import check_before_training

FACE_NAME = "face.safetensors"
COSINE_SCALE = 16.0
"""Factor of the cosines in the identity softmax; 16 separates a few hundred people without label smoothing."""


@dataclass(frozen=True)
class FaceTrainConfig:
    """Training of the face network. AdamW with cosine decay; both heads weigh the same."""

    out: str = option("runs/face", "folder for face.safetensors")
    steps: int = option(3000, "batches to train on")
    minutes: float = option(0.0, "stop after this many minutes instead, with the decay fitted to it; 0: by steps")
    batch_size: int = option(48, "pictures a batch")
    lr: float = option(1e-3, "AdamW's learning rate at the start")
    expressions: str = option(SIX_EXPRESSIONS, "names of the K expressions, separated by commas")
    width: int = option(16, "channels of the first block; every block doubles them")
    image_size: int = option(128, "side in px of the pictures as ExprGAN sees them")
    size: int = option(64, "side in px of the network's input; pictures are averaged down to it")
    init: str = option("", "folder of an earlier `facenet` run to start from")
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
    """Trains on split `train`, evaluates on split `test`, writes OUT/face.safetensors.

    Returns:
        As `evaluate_face_network`.
    """
    accelerator = Accelerator(cpu=config.cpu, mixed_precision=supported_precision(config.mixed_precision, config.cpu))
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    options = (config.image_size, parse_expressions(config.expressions), None if config.fold < 0 else config.fold)
    check_before_training(data, *options[1:], verbose=accelerator.is_main_process)
    train = FaceFolder.load(data, "train", *options, varied=True)
    network = FaceNetwork(len(train.expressions), config.width, config.size)
    if config.init:
        network = load_face_network(config.init, len(train.expressions)).train().requires_grad_(True)
    identity_head = nn.Linear(network.identity.out_features, len(train.subjects), bias=False)
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW([*network.parameters(), *identity_head.parameters()], lr=config.lr, weight_decay=0.01)
    network, identity_head, optimizer = accelerator.prepare(network, identity_head, optimizer)
    with TrainingLoop(accelerator, "facenet", steps=config.steps, minutes=config.minutes) as loop:
        while loop.fraction < 1:
            set_learning_rate(optimizer, config.lr * cosine_decay(loop.fraction))
            indices = batch_indices(len(train), config.batch_size, loop.step, seed=config.seed,
                                    rank=accelerator.process_index, world=accelerator.num_processes)  # fmt: skip
            x = augment(train.images[indices].to(accelerator.device), generator, colour=1.0, shift=1.0)
            x = augment_scene(x, generator)
            logits, embedding = network(x.contiguous(memory_format=torch.channels_last))
            cosines = embedding.float() @ F.normalize(identity_head.weight.float(), dim=1).T
            expression, subject = (label[indices].to(logits.device) for label in (train.expression, train.subject))
            loss = F.cross_entropy(logits, expression) + F.cross_entropy(COSINE_SCALE * cosines, subject)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            loop.advance({"loss": loss})
    network = accelerator.unwrap_model(network, keep_fp32_wrapper=False).eval()
    results = evaluate_face_network(network, FaceFolder.load(data, "test", *options, varied=True))
    if accelerator.is_main_process:
        path = Path(config.out) / FACE_NAME
        write_weights(network.state_dict(), path, {"steps": str(loop.step), "size": str(network.size)})
        print(f"{path}: {loop.step} steps; held-out people: " + ", ".join(f"{k} {v:.3f}" for k, v in results.items()))
    return results


@torch.inference_mode()
def evaluate_face_network(network: FaceNetwork, folder: FaceFolder) -> dict[str, float]:
    """Measures the accuracy over the K + 1 expressions, and mean cosines of embeddings.

    Returns:
        expression_accuracy; cosine_same_person, of two pictures of a person with different expressions;
        cosine_other_person, of pictures of two people.
    """
    device = next(network.parameters()).device
    outputs = [network(from_bytes(x.to(device))) for x in folder.images.split(64)]
    logits, embedding = (torch.cat(parts).cpu() for parts in zip(*outputs, strict=True))
    cosine = embedding @ embedding.T
    same_person = folder.subject[:, None] == folder.subject[None]
    other_expression = folder.expression[:, None] != folder.expression[None]
    return {
        "expression_accuracy": (logits.argmax(1) == folder.expression).float().mean().item(),
        "cosine_same_person": cosine[same_person & other_expression].mean().item(),
        "cosine_other_person": cosine[~same_person].mean().item(),
    }


def load_face_network(path: str | Path, num_expressions: int) -> FaceNetwork:
    """Loads the face network of a `facenet` run's folder, or the classifier of a published model; frozen and in `eval`.

    Raises:
        WeightsError: there is neither, or its number of expressions is another.
    """
    file = Path(path) / FACE_NAME
    if file.is_file():
        weights = read_weights(file)
        with safe_open(file, "pt") as opened:
            size = int((opened.metadata() or {}).get("size", 64))
        network = FaceNetwork(weights["expression.weight"].shape[0] - 1, weights["blocks.0.0.weight"].shape[0], size)
        network.load_state_dict(weights)
    else:
        network = ExprGAN.from_pretrained(path).classifier
    known = network.expression.out_features - 1
    if known != num_expressions:
        raise WeightsError(f"the face network in {path} knows {known} expressions, not {num_expressions}; train another")
    return network.eval().requires_grad_(False)
