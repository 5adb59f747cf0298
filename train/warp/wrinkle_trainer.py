"""`wrinkles`: trains where on a face T's wrinkles lie, and writes that network and the wrinkles into published weights.

For every pixel of a picture the renderer knows the place on the mesh's mean face. `WrinkleNetwork.locate` learns it, of
faces with any expression, turned, relit and half covered. The wrinkles themselves are those of
`render.shading.wrinkle_maps`.
"""

import copy
import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from exprgan.models.backward_warp import FIELD_SCALE
from exprgan.models.exprgan import ExprGAN
from exprgan.models.wrinkle_network import PX_PER_UNIT, WrinkleNetwork
from exprgan.wrinkles import WRINKLES

from ..core.allocator import keep_freed_memory
from ..core.config_flags import check_finite, option
from ..core.files import writes_folder
from ..core.precision import enable_fast_kernels, supported_precision
from ..core.published_parts import replace_parts
from ..core.saved_training import SavedTraining
from ..core.train_errors import DataError
from ..core.training_loop import cosine_decay, set_learning_rate, update_ema
from ..data.metadata import is_varied, metadata_digest, raise_problems, read_metadata
from ..data.picture_checks import open_picture
from ..data.transforms import augment_lighting
from .pair_transforms import random_affine
from .turned_pairs import TurnedView, random_turns, sample
from .warp_trainer import MAX_GRADIENT, MIN_RATE, WARM_UP_STEPS

SHOWN_WEIGHT = 0.5
"""Weight of the cross entropy of whether a pixel shows the face beside the error of its place in mesh units."""
COVER_SHARE, COVER_SIDES = 0.4, (0.1, 0.5)
"""Share of pictures with a rectangle of one colour over them, and its sides in those of the picture: hands, hats, hair."""


@dataclass(frozen=True)
class WrinkleTrainConfig:
    """Training of the places of wrinkles by AdamW with a short warm-up and cosine decay."""

    out: str = option("runs/wrinkles", "run folder; an existing run is resumed")
    steps: int = option(3000, "batches to train on")
    minutes: float = option(0.0, "run this long instead of by steps; 0: by steps")
    batch_size: int = option(16, "pictures a batch")
    lr: float = option(2e-3, "AdamW's highest learning rate")
    again: bool = option(False, "start from the wrinkles in the weights")
    ema: float = option(0.995, "decay of the running average of the weights, which is what gets written")
    mixed_precision: Literal["no", "bf16", "fp16"] = option("bf16", "type of the network's arithmetic")
    save_minutes: float = option(4.0, "minutes between checkpoints")
    seed: int = option(0, "seed of everything random")
    cpu: bool = option(False, "use the CPU even where there is a GPU")

    def __post_init__(self):
        check_finite(self, minutes=0, steps=0 if self.minutes else 1, batch_size=1, ema=0)
        for name in ("lr", "save_minutes"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")
        if self.ema > 1:
            raise ValueError(f"ema must lie in 0..1, not {self.ema!r}")


@dataclass(frozen=True)
class PlacedPictures:
    """N pictures with the places of their pixels on the mean face.

    Attributes:
        images: (N, 3, S, S) uint8.
        canonical: (N, 3, S // 4, S // 4) float16, see `render.training_crop.write_fields`.
        depth: (N, 2, S // 2, S // 2) float16, of the picture and of the person's neutral one, in sides.
    """

    images: Tensor
    canonical: Tensor
    depth: Tensor

    @classmethod
    def load(cls, root: str | Path, split: str) -> "PlacedPictures":
        """Loads all rendered pictures of a split that were not turned or relit, and the neutral ones.

        Raises:
            DataError: the folder is not of this kind; the message says what is wrong.
        """
        root = Path(root)
        rows = [row for row in read_metadata(root) if row["split"] == split and not is_varied(row)]
        names = [row["file_name"] for row in rows if (root / f"{row['file_name']}.npz").is_file()]
        if not names:
            raise DataError(f"{root} has no rendered pictures in split {split!r}; render it with --no-jitter --flow")
        problems, loaded = [], []
        with ThreadPoolExecutor() as pool:
            for name, future in [(name, pool.submit(_load_picture, root / name)) for name in names]:
                try:
                    loaded.append(future.result())
                except (OSError, ValueError, KeyError, DataError) as error:
                    problems.append(f"{name}: {error}")
        raise_problems(root, problems, "render it again with --no-jitter --flow")
        return cls(*(torch.from_numpy(np.stack(column)) for column in zip(*loaded, strict=True)))

    def to(self, device: torch.device) -> "PlacedPictures":
        """The same on another device."""
        return PlacedPictures(self.images.to(device), self.canonical.to(device), self.depth.to(device))

    def draw(self, count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws augmented pictures, (count, 3, size, size) in [-1, 1], and their places as `canonical` has them."""
        rows = torch.randint(len(self.images), (count,), generator=generator).to(self.images.device)
        affine = random_affine(count, generator).to(rows.device)
        depth = self.depth[rows].float()
        view = TurnedView(random_turns(count, generator).to(rows.device), depth[:, [0, 0, 1]], affine)
        pictures = sample(self.images[rows].float() / 255, view.sources(0, size))
        places = sample(self.canonical[rows].float(), view.sources(0, size // FIELD_SCALE**2))
        places[:, 0] *= affine[:, 0, 0].sign()[:, None, None]
        pictures = augment_lighting(pictures[:, None], generator)[:, 0]
        return draw_covers(pictures, generator) * 2 - 1, places


def draw_covers(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draws a rectangle of a random colour over COVER_SHARE of the pictures: (B, 3, S, S) in [0, 1]."""
    count, side = len(x), x.shape[-1]
    chance, width, height, left, top, *color = torch.rand(8, count, 1, 1, 1, generator=generator).to(x.device)
    low, high = COVER_SIDES
    width, height = (low + (high - low) * part for part in (width, height))
    position = (torch.arange(side, device=x.device) + 0.5) / side
    across, down = position - left * (1 - width), position[:, None] - top * (1 - height)
    covered = (chance < COVER_SHARE) & (across > 0) & (across < width) & (down > 0) & (down < height)
    return torch.where(covered, torch.cat(color, dim=1), x)


def place_losses(found: Tensor, places: Tensor) -> dict[str, Tensor]:
    """The mean distance in mesh units of the places that `WrinkleNetwork.locate` found where the face is seen, and
    SHOWN_WEIGHT times the cross entropy of whether it is."""
    share = places[:, 2:]
    seen = (share > 0.9).float()
    distance = (found[:, :2] - places[:, :2] / share.clamp(min=0.5)).square().sum(1, keepdim=True).add(1e-6).sqrt()
    shown = F.binary_cross_entropy_with_logits(found[:, 2:], share.clamp(0, 1))
    return {"place": (distance * seen).sum() / seen.sum().clamp(min=1), "shown": SHOWN_WEIGHT * shown}


class _Places(nn.Module):
    """`WrinkleNetwork.locate` as a module's `forward`, which is what processes share gradients through."""

    def __init__(self, network: WrinkleNetwork):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.locate(x)


@writes_folder(lambda pairs, weights, config: config.out)
def train_wrinkles(pairs: str, weights: str, config: WrinkleTrainConfig) -> Path:
    """Trains on a folder of pairs and writes the network into the published weights; a run in `config.out` is continued.

    Raises:
        ValueError: the weights have no T that takes action units, or no wrinkles to start from.
        DataError: the pairs cannot be used.
    """
    precision = supported_precision(config.mixed_precision, config.cpu)
    accelerator = Accelerator(cpu=config.cpu, mixed_precision=precision)
    keep_freed_memory() if accelerator.device.type == "cpu" else enable_fast_kernels()
    torch.manual_seed(config.seed)
    model = ExprGAN.from_pretrained(weights)
    if model.T is None or not model.T.units:
        raise ValueError(f"the weights in {weights} hold no T that takes action units; train one: detail --units")
    if config.again and model.T.wrinkles is None:
        raise ValueError(f"the weights in {weights} hold no wrinkles to start from; leave out --again")
    network = model.T.wrinkles if config.again else WrinkleNetwork(model.T.units)
    assert network is not None
    network.maps.copy_(draw_maps())
    places = _Places(network).to(accelerator.device).requires_grad_(True)
    average = copy.deepcopy(places).requires_grad_(False)
    optimizer = torch.optim.AdamW(places.parameters(), lr=config.lr, betas=(0.9, 0.99), weight_decay=1e-4)
    training = SavedTraining(accelerator, "wrinkles", config, places, optimizer, ema=average,
                             data=metadata_digest(pairs))  # fmt: skip
    pictures, size = PlacedPictures.load(pairs, "train").to(accelerator.device), FIELD_SCALE * model.config.image_size
    with training.loop as loop:
        while loop.fraction < 1:
            warm_up = WARM_UP_STEPS if config.minutes else min(WARM_UP_STEPS, config.steps / 10 + 1)
            decay = MIN_RATE + (1 - MIN_RATE) * cosine_decay(min(loop.fraction, 1.0))
            set_learning_rate(optimizer, config.lr * decay * min(1.0, (loop.step + 1) / warm_up))
            x, wanted = pictures.draw(config.batch_size, size, training.generator())
            with accelerator.autocast():
                found = training.model(x)
            losses = place_losses(found.float(), wanted)
            step = loop.step
            training.advance(torch.stack([*losses.values()]).sum(), losses, max_norm=MAX_GRADIENT)
            update_ema(average, training.unwrapped(), config.ema, step)
            training.save_if_due()
    training.save()
    if accelerator.is_main_process:
        state = {f"T.wrinkles.{name}": value.cpu() for name, value in average.network.state_dict().items()}
        record = dataclasses.asdict(dataclasses.replace(config, steps=training.loop.step))
        replace_parts(Path(weights), {"warp_wrinkles": True}, ("T.wrinkles.",), state, "wrinkles", record)
    return Path(weights)


def draw_maps() -> Tensor:
    """The wrinkles of the renderer, without variation between people, as `WrinkleNetwork.maps` has them."""
    import cv2  # of the extra `render`

    from ..render.shading.wrinkle_maps import PX_PER_UNIT as RENDERED_PX
    from ..render.shading.wrinkle_maps import Wrinkles

    drawn, divisor = Wrinkles().maps, RENDERED_PX / PX_PER_UNIT
    maps = [drawn[name] for name in WRINKLES]
    sizes = [(round(each.shape[1] / divisor), round(each.shape[0] / divisor)) for each in maps]
    resized = [cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each, size in zip(maps, sizes, strict=True)]
    return torch.from_numpy(np.stack(resized))


def _load_picture(path: Path) -> Sequence[np.ndarray]:
    image = np.asarray(open_picture(path)).transpose(2, 0, 1)
    with np.load(f"{path}.npz") as fields:
        if "canonical" not in fields:
            raise DataError("it has no places on the mean face, which wrinkles need; it was rendered by an earlier version")
        depth = np.stack([fields["depth"], fields["neutral_depth"]]) / np.float16(image.shape[-1])
        return image, fields["canonical"].transpose(2, 0, 1), depth
