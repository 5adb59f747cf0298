"""Trains the local face network on people and expressions: the source of L_id's maps and the expression classifier."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors import safe_open
from torch import Tensor, nn

from exprgan.errors import WeightsError
from exprgan.facs import ACTION_UNITS
from exprgan.models.exprgan import ExprGAN, read_weights
from exprgan.models.networks import FaceNetwork
from exprgan.photo.image_io import from_bytes

from ..core.config_flags import SIX_EXPRESSIONS, check_finite, option, parse_expressions
from ..core.files import write_weights, writes_folder
from ..core.precision import supported_precision
from ..core.processes import call_once
from ..core.saved_training import SavedTraining
from ..core.train_errors import RunError
from ..core.training_loop import cosine_decay, set_learning_rate
from ..data import FaceFolder
from ..data.face_folder import batch_indices
from ..data.metadata import metadata_digest
from ..data.transforms import augment, augment_scene
from ..data.validation import check_before_training
from .people_classes import PeopleClasses, cosines_with

FACE_NAME = "face.safetensors"
NEUTRAL_SHARE = 0.3
"""Least share of neutral pictures in what is drawn; photos of the world are neutral more often than one in seven."""
NEUTRAL_PRIOR = 1 / 3
"""Share of neutral faces among photos to be read, to which the classifier's prior is moved after training."""
PLAIN_INTENSITY = 0.4
"""Known intensity from which a picture counts wholly as its class; weaker ones count partly as neutral."""
UNIT_WEIGHT, UNIT_TOLERANCE = 20.0, 0.2
"""Weight of the loss of action units beside the two heads' cross entropies, and the error from which it grows linearly."""

COSINES = ("cosine_same_person", "cosine_other_person")


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
    save_minutes: float = option(2.0, "minutes between checkpoints, which a run that was killed continues from")
    seed: int = option(0, "seed of everything random")
    cpu: bool = option(False, "use the CPU even where there is a GPU")

    def __post_init__(self):
        check_finite(self, minutes=0, steps=0 if self.minutes else 1, batch_size=2, width=1, image_size=16, size=16)
        for name in ("lr", "save_minutes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")


class FaceHeads(nn.Module):
    """A face network with the head of people that only training needs.

    Args:
        network: the face network.
        people: the training people.
    """

    def __init__(self, network: FaceNetwork, people: PeopleClasses):
        super().__init__()
        self.network = network
        self.people = people.new_head(network.identity)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """x: (B, 3, H, W) in [-1, 1] -> expression logits (B, K + 1), cosines with the people (B, people), None without
        any, and units."""
        logits, embedding, units = self.network(x)
        return logits, cosines_with(self.people, embedding), units


@writes_folder(lambda data, config: config.out)
def train_face_network(data: str, config: FaceTrainConfig) -> dict[str, float]:
    """Trains on split `train`, evaluates on split `test`, writes OUT/face.safetensors; a run that was killed is continued.

    Returns:
        As `evaluate_face_network`.
    """
    accelerator = Accelerator(cpu=config.cpu, mixed_precision=supported_precision(config.mixed_precision, config.cpu))
    torch.manual_seed(config.seed)
    options = (config.image_size, parse_expressions(config.expressions), None if config.fold < 0 else config.fold)
    call_once(lambda: check_before_training(data, *options[1:]))
    train, test = (FaceFolder.load(data, split, *options, varied=True, unclassed=True, mapped=True)
                   for split in ("train", "test"))  # fmt: skip
    drawn = indices_with_neutral(train)
    num_units = len(ACTION_UNITS) if train.units.isfinite().any() and (train.units > 0).any() else 0
    network = FaceNetwork(len(train.expressions), config.width, config.size, num_units=num_units)
    if config.init:
        known = load_face_network(config.init, len(train.expressions)).state_dict()
        network.load_state_dict({**network.state_dict(), **known} if num_units else known)
    people = PeopleClasses(train.subject)
    if people.note:
        accelerator.print(people.note)
    heads = FaceHeads(network, people).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=config.lr, weight_decay=0.01)
    training = SavedTraining(accelerator, "facenet", config, heads, optimizer, data=metadata_digest(data))
    with training.loop as loop:
        while loop.fraction < 1:
            set_learning_rate(training.optimizer, config.lr * cosine_decay(loop.fraction))
            indices = batch_indices(len(drawn), config.batch_size, loop.step, seed=config.seed,
                                    rank=accelerator.process_index, world=accelerator.num_processes)  # fmt: skip
            indices, generator = drawn[indices], training.generator()
            flip = torch.rand(len(indices), generator=generator) < 0.5
            x = augment(
                train.images[indices].to(accelerator.device, non_blocking=True), generator, colour=1.0, shift=1.0, flip=flip
            )
            x = augment_scene(x, generator)
            logits, cosines, units = training.model(x.contiguous(memory_format=torch.channels_last))
            expression, intensity = (label[indices].to(logits.device, non_blocking=True)
                                     for label in (train.expression, train.intensity))  # fmt: skip
            shown = torch.where(flip[:, None, None], train.units[indices].flip(2), train.units[indices])
            target = soft_labels(expression, intensity, logits.shape[1])
            loss = F.cross_entropy(logits.float(), target) + people.loss(cosines, indices)
            training.advance(loss + UNIT_WEIGHT * unit_loss(units.float(), shown.to(units.device, non_blocking=True)))
            if training.save_if_due() and accelerator.is_main_process:
                loop.write(f"{loop.step} steps; held-out people: {_sentence(evaluate_face_network(network, test))}")
    training.check_finite()
    with torch.no_grad():
        labelled = train.expression[drawn] >= 0  # the others teach no prior
        drawn_neutral = (train.expression[drawn][labelled] == len(train.expressions)).float().mean().nan_to_num().item()
        network.expression.bias[-1] += prior_shift(drawn_neutral)
    results = evaluate_face_network(network, test)
    if accelerator.is_main_process:
        path = Path(config.out) / FACE_NAME
        write_weights(network.state_dict(), path, {"steps": str(loop.step), "size": str(network.size)})
        print(f"{path}: {loop.step} steps; held-out people: {_sentence(results)}")
        training.finish()
    return results


def soft_labels(expression: Tensor, intensity: Tensor, num_classes: int) -> Tensor:
    """Probabilities to learn, (B, K + 1), 0 for pictures of no class: an expression of intensity t below `PLAIN_INTENSITY`
    is neutral by 1 - t / PLAIN_INTENSITY, since so faint a one differs from a neutral face about as much as neutral faces
    differ.

    Args:
        expression: (B,) class, K for neutral, -1 for none.
        intensity: (B,) 0..1, NaN if unknown.
        num_classes: K + 1.
    """
    share = (intensity / PLAIN_INTENSITY).clamp(max=1).nan_to_num(1.0)[:, None]
    classes = torch.eye(num_classes, device=expression.device)
    return (share * classes[expression] + (1 - share) * classes[-1]) * (expression >= 0)[:, None]


def prior_shift(share: float) -> float:
    """What the logit of neutral lacks where NEUTRAL_PRIOR of all faces are neutral, not `share` of them as in training.

    0 without neutral pictures, or with nothing else. See Saerens et al., Adjusting the Outputs of a Classifier to
    New a Priori Probabilities, 2002.
    """
    if not 0 < share < 1:
        return 0.0
    return math.log(NEUTRAL_PRIOR / (1 - NEUTRAL_PRIOR)) - math.log(share / (1 - share))


def unit_loss(units: Tensor, shown: Tensor) -> Tensor:
    """Mean smooth absolute error of the weights of action units, (B, U, 2) each; those shown are NaN where unknown."""
    known = shown.isfinite()
    if not units.numel():
        return units.sum() * 0
    errors = F.smooth_l1_loss(units, torch.where(known, shown, units.detach()), beta=UNIT_TOLERANCE, reduction="sum")
    return errors / known.sum().clamp(min=1)


def indices_with_neutral(faces: FaceFolder) -> Tensor:
    """Indices of all pictures, the neutral ones as often as makes them `NEUTRAL_SHARE` of all, or more: (N,)."""
    is_neutral = faces.expression == len(faces.expressions)
    neutral, others = is_neutral.nonzero().squeeze(1), (~is_neutral).nonzero().squeeze(1)
    times = math.ceil(NEUTRAL_SHARE / (1 - NEUTRAL_SHARE) * len(others) / max(len(neutral), 1))
    return torch.cat((others, neutral.repeat(max(times, 1))))


@torch.inference_mode()
def evaluate_face_network(network: FaceNetwork, folder: FaceFolder) -> dict[str, float]:
    """Measures the accuracy over the K + 1 expressions, and mean cosines of embeddings, in evaluation mode.

    Returns:
        expression_accuracy; cosine_same_person, of two pictures of a person with different expressions, if there
        are any; cosine_other_person, of pictures of two people; unit_r, the correlation of the weights of action units
        read and shown, where both exist.
    """
    device, was_training = next(network.parameters()).device, network.training
    network.eval()
    outputs = [network(from_bytes(x.to(device))) for x in folder.images.split(64)]
    network.train(was_training)
    logits, embedding, units = (torch.cat(parts).float().cpu() for parts in zip(*outputs, strict=True))
    cosines = zip(COSINES, mean_cosines(embedding, folder.subject, folder.expression), strict=True)
    has_class, known = folder.expression >= 0, folder.units.isfinite()
    return {
        "expression_accuracy": (logits.argmax(1) == folder.expression)[has_class].float().mean().item(),
        **{name: cosine for name, cosine in cosines if not math.isnan(cosine)},
    } | ({"unit_r": correlation(units[known], folder.units[known])} if units.numel() and known.any() else {})


def mean_cosines(embedding: Tensor, subject: Tensor, expression: Tensor) -> tuple[float, float]:
    """Mean cosines of all pairs of pictures of a person with different expressions, and of two people; NaN without a pair.

    The sum of all products of pairs of a group is the square of its sum, so that memory grows with the pictures only.

    Args:
        embedding: (N, D) unit vectors.
        subject, expression: (N,) long; expression from -1 on.
    """

    def pairs(group: Tensor) -> tuple[Tensor, Tensor]:
        groups, index, counts = group.unique(dim=0, return_inverse=True, return_counts=True)
        sums = torch.zeros(len(groups), embedding.shape[1], dtype=torch.float64).index_add_(0, index, embedding.double())
        return sums.square().sum(), counts.square().sum()

    everything = pairs(torch.zeros_like(subject))
    person, shown = pairs(subject), pairs(torch.stack((subject, expression), 1))
    return tuple(((a[0] - b[0]) / (a[1] - b[1])).item() for a, b in ((person, shown), (everything, person)))


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's r of two (N,) tensors."""
    return torch.corrcoef(torch.stack((a, b)))[0, 1].item()


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
        num_units = weights["units.weight"].shape[0] // 2 if "units.weight" in weights else 0
        network = FaceNetwork(weights["expression.weight"].shape[0] - 1, weights["blocks.0.0.weight"].shape[0], size,
                              num_units=num_units)  # fmt: skip
        network.load_state_dict(weights)
    else:
        network = ExprGAN.from_pretrained(path).classifier
    known = network.expression.out_features - 1
    if known != num_expressions:
        raise WeightsError(f"the face network in {path} knows {known} expressions, not {num_expressions}; train another")
    return network.eval().requires_grad_(False)


def check_face_network(network: FaceNetwork, faces: FaceFolder, name: str) -> None:
    """Refuses a face network whose expressions are guesses, as L_id and the classifier would then mean nothing.

    Args:
        faces: pictures of people it was not trained on.
        name: where it comes from, for the message.

    Raises:
        RunError: its accuracy is at most two standard errors above the share of the most frequent expression.
    """
    chance = faces.expression.bincount().max().item() / len(faces)
    limit = chance + 2 * math.sqrt(chance * (1 - chance) / len(faces))
    accuracy = evaluate_face_network(network, faces)["expression_accuracy"]
    if accuracy <= limit:
        raise RunError(
            f"the face network in {name} recognises {accuracy:.2f} of the expressions of {len(faces):,} held-out pictures, "
            f"where {chance:.2f} is chance and more than {limit:.2f} is needed; train it longer (`python -m train facenet "
            "--steps`), or pass --no-check-face"
        )


def _sentence(results: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in results.items())
