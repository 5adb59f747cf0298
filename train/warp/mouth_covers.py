"""Trains `exprgan/editing/mouth_visibility.py`: faces of a training folder, with covers drawn over most of them.

Covers are unions of boxes with rounded corners, in random places, colours and textures: masks and scarves (large boxes),
fingers (long ones side by side), microphones (a ball on a stick), tape, cups. Where one hides most of the lips the
label is "covered", where it hides none of them, as on the chin or the nose, "visible"; what lies between is left out.

    python -m train.warp.mouth_covers DATA exprgan/editing/mouth_visibility.safetensors
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import trange

from exprgan.editing.mouth_visibility import INPUT_PX, MouthVisibility

from ..core.files import write_weights
from ..data.face_folder import FaceFolder

LIPS, LIPS_HALF = (0.5, 0.62), (0.12, 0.045)  # centre and half axes of the lips in sides of the crop, an ellipse
COVERED, VISIBLE = 0.5, 0.15  # shares of it: from the first on they count as covered, up to the second as visible
BOXES = 5  # of one cover
STEPS, BATCH = 1500, 32
PLATES = (
    ((0.08, 0.40), (0.06, 0.30), (-0.30, 0.00)),  # anything
    ((0.10, 0.28), (0.05, 0.13), (-0.13, -0.03)),  # tape
    ((0.09, 0.26), (0.30, 0.45), (-0.13, -0.02)),  # cups
    ((0.26, 0.45), (0.20, 0.32), (-0.25, -0.08)),  # masks
    ((0.50, 0.80), (0.40, 0.50), (-0.20, -0.03)),  # scarves
)
"""Ranges of half the width, half the height, and the top edge below the centre of the lips, in sides of the crop."""


def train_visibility(
    faces: Tensor, steps: int = STEPS, batch: int = BATCH, lr: float = 2e-3, seed: int = 0
) -> MouthVisibility:
    """Trains the network on aligned crops (N, 3, S, S) uint8 with visible mouths; deterministic on a CPU."""
    faces = torch.cat([F.avg_pool2d(part.float() / 255, part.shape[-1] // INPUT_PX) for part in faces.split(256)])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = MouthVisibility().train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
        for _ in trange(steps, desc="mouth_covers"):
            crops, labels, weights = draw_batch(faces[torch.randint(len(faces), (batch,))])
            loss = F.binary_cross_entropy_with_logits(network(crops), labels, weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def draw_batch(faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draws covers over most of some faces and varies all: (B, 3, INPUT_PX, INPUT_PX) in [0, 1] -> the same.

    Also returned: labels (B,), 1 where the mouth is covered, and weights (B,), 0 where it is neither covered nor visible.
    The random state is torch's.
    """
    x = draw_lipstick_and_beards(faces)
    distance = cover_distance(len(x))
    present = torch.rand(len(x)) < 0.85
    distance = torch.where(present[:, None, None], distance, torch.ones(()))
    share = _share_of_lips(distance)
    x = paint_covers(x, distance)
    labels = (share >= COVERED).float()
    weights = ((share >= COVERED) | (share <= VISIBLE)).float()
    return vary_photos(x), labels, weights


def cover_distance(count: int) -> Tensor:
    """Signed distances, negative inside, from random covers, in sides of the crop: (count, INPUT_PX, INPUT_PX)."""
    kind = torch.randint(6, (count, 1)) % 5  # fingers, twice as often as a ball on a stick, or from 2 on a plate
    center = torch.stack((_uniform(count, 1, low=0.42, high=0.58), _uniform(count, 1, low=0.57, high=0.68)), -1)
    elsewhere = (torch.rand(count, 1) < 0.25)[..., None]
    center = torch.where(elsewhere, _uniform(count, 1, 2, low=0.1, high=0.95), center)
    k = torch.arange(BOXES).expand(count, BOXES)
    angle = torch.where(torch.rand(count, 1) < 0.3, _uniform(count, 1, low=-1.6, high=1.6), torch.randn(count, 1) * 0.25)
    # Fingers: up to five long boxes side by side, of different lengths.
    width, number = _uniform(count, 1, low=0.07, high=0.14), torch.randint(2, BOXES + 1, (count, 1))
    across = (k - (number - 1) / 2) * width * _uniform(count, 1, low=0.9, high=1.1)
    length = _uniform(count, BOXES, low=-0.04, high=0.04) + _uniform(count, 1, low=0.12, high=0.4)
    fingers = across, length - 0.15, width / 2, length, width / 2
    # A ball on a stick.
    radius = _uniform(count, 1, low=0.07, high=0.2)
    is_stick = k == 1
    stick = torch.where(is_stick, 0.5, 0.0), torch.where(is_stick, radius / 4, radius), torch.where(is_stick, 0.5, radius)
    ball = across * 0, stick[0], stick[1], stick[2], torch.where(is_stick, 0.0, radius)
    # A plate.
    low, high = torch.tensor(PLATES)[torch.randint(len(PLATES), (count, 1))].unbind(-1)
    plate_width, plate_height, top = (low + (high - low) * torch.rand(count, 1, 3)).unbind(-1)
    corner = torch.minimum(plate_width, plate_height) * _uniform(count, 1, low=-0.5, high=0.9).clamp(min=0)
    plate = across * 0, top + plate_height, plate_width, plate_height, corner
    shapes = [torch.where(kind == 0, a, torch.where(kind == 1, b, c))[..., None, None]
              for a, b, c in zip(fingers, ball, plate, strict=True)]  # fmt: skip
    right, down, half_width, half_height, corner = shapes
    used = torch.where(kind == 0, k < number, torch.where(kind == 1, k < 2, k < 1))[..., None, None]
    angle = torch.where(kind >= 2, angle * 0.4, angle)[..., None, None]
    x, y = _grid()
    x, y = x - center[..., 0, None, None], y - center[..., 1, None, None]
    x, y = x * angle.cos() + y * angle.sin() - right, y * angle.cos() - x * angle.sin() - down
    beyond_x, beyond_y = x.abs() - half_width + corner, y.abs() - half_height + corner
    outside = torch.hypot(beyond_x.clamp(min=0), beyond_y.clamp(min=0))
    distance = outside + torch.maximum(beyond_x, beyond_y).clamp(max=0) - corner
    return torch.where(used, distance, torch.ones(())).amin(1)


def paint_covers(x: Tensor, distance: Tensor) -> Tensor:
    """Paints covers of random colour and texture where the distance (B, H, W) is negative: (B, 3, H, W) in [0, 1]."""
    count = len(x)
    cheeks = torch.cat((x[:, :, 28:36, 16:22], x[:, :, 28:36, 42:48]), 3).mean((2, 3))
    skin = cheeks * _uniform(count, 1, low=0.65, high=1.25) + torch.randn(count, 3) * 0.03
    grey = torch.rand(count, 1).expand(-1, 3) + torch.randn(count, 3) * 0.02
    choice = torch.rand(count, 1)
    color = torch.where(choice < 0.35, skin, torch.where(choice < 0.6, grey, torch.rand(count, 3))).clamp(0.02, 1)
    texture = sum(_noise(count, cells) * (_uniform(count, 1, 1, low=0, high=1) ** 3 * 0.5) for cells in (4, 12, 32))
    rows, columns = _grid()
    direction = _uniform(count, 1, 1, low=-0.5, high=0.5) + (torch.rand(count, 1, 1) < 0.3) * 1.57
    phase = (rows * direction.sin() + columns * direction.cos()) * _uniform(count, 1, 1, low=20, high=120)
    lines = (0.5 + 0.5 * phase.sin()) ** _uniform(count, 1, 1, low=1, high=12)
    texture = texture - lines * _uniform(count, 1, 1, low=-0.1, high=0.4) * (torch.rand(count, 1, 1) < 0.4)
    rim = (1 + distance / _uniform(count, 1, 1, low=0.02, high=0.15)).clamp(0, 1)
    texture = texture - rim**2 * _uniform(count, 1, 1, low=0, high=0.6)
    slope = _uniform(2, count, 1, 1, low=-0.6, high=0.6)
    texture = texture + slope[0] * (columns - 0.5) + slope[1] * (rows - 0.6)
    paint = color[..., None, None] * (1 + texture)[:, None]
    other = x.roll(1, 0).roll(INPUT_PX * 2 // 5, 2)  # another person's upper face, where the mouth would be
    paint = torch.where(torch.rand(count, 1, 1, 1) < 0.12, other, paint).clamp(0, 1)
    shadow = (1 - distance / 0.06).clamp(0, 1) * _uniform(count, 1, 1, low=-0.3, high=0.5).clamp(min=0)
    alpha = (0.5 - distance * INPUT_PX / _uniform(count, 1, 1, low=1, high=2.5)).clamp(0, 1)[:, None]
    return torch.lerp(x * (1 - shadow[:, None]), paint, alpha)


def draw_lipstick_and_beards(x: Tensor) -> Tensor:
    """Colours the lips of some faces (B, 3, H, W) in [0, 1], and covers the skin around them with short hair."""
    count = len(x)
    rows, columns = _grid()
    lips = torch.hypot((columns - LIPS[0]) / LIPS_HALF[0], (rows - LIPS[1]) / LIPS_HALF[1])
    stick = ((1.4 - lips) / 0.4).clamp(0, 1) * _uniform(count, 1, 1, low=0.2, high=0.8) * (torch.rand(count, 1, 1) < 0.15)
    luma = x.mean(1, keepdim=True)
    x = torch.lerp(x, (torch.rand(count, 3, 1, 1) * luma * 2).clamp(0, 1), stick[:, None])
    below_nose, beside = ((rows - 0.52) / 0.05).clamp(0, 1), ((0.36 - (columns - 0.5).abs()) / 0.08).clamp(0, 1)
    area = ((lips - 0.9) / 0.4).clamp(0, 1) * below_nose * beside * (torch.rand(count, 1, 1) < 0.25)
    hair = area * (0.7 + 0.5 * _noise(count, 64)).clamp(0, 1)
    brown = torch.tensor([0.8, 0.68, 0.55])[:, None, None]
    color = torch.rand(count, 1, 1, 1) * brown * (1 + 0.4 * _noise(count, 48)[:, None])
    return torch.lerp(x, color.clamp(0, 1), (hair * _uniform(count, 1, 1, low=0.4, high=1))[:, None])


def vary_photos(x: Tensor) -> Tensor:
    """Varies pose, light, colour and sharpness of pictures (B, 3, H, W) in [0, 1]; an eighth becomes grey."""
    count = len(x)
    angle, zoom = torch.randn(count) * 0.08, (torch.randn(2, count) * 0.07).exp()
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    to_x = torch.stack((mirror * zoom[0] * angle.cos(), -angle.sin(), torch.randn(count) * 0.04), 1)
    to_y = torch.stack((mirror * angle.sin(), zoom[1] * angle.cos(), torch.randn(count) * 0.05), 1)
    matrix = torch.stack((to_x, to_y), 1)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    turn = (torch.randn(count, 1, 1) * 0.25).clamp(-0.5, 0.5)  # a turned head: one half is foreshortened
    grid = torch.stack((grid[..., 0] * (1 + turn * (1.5 * grid[..., 0]).tanh()), grid[..., 1]), -1)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    blurred = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    coarse = F.interpolate(F.avg_pool2d(x, 3, ceil_mode=True), x.shape[-2:], mode="bilinear", align_corners=False)
    blurred = torch.where(torch.rand(count, 1, 1, 1) < 0.3, coarse, blurred)
    x = torch.lerp(x, blurred, (torch.rand(count, 1, 1, 1) * 2 - 1).clamp(0))
    line, column = _grid()
    slope = torch.randn(2, count, 1, 1, 1) * 0.5
    light = (1 + slope[0] * (column - 0.5) + slope[1] * (line - 0.6)).clamp(min=0.15)
    x = (x ** (torch.randn(count, 1, 1, 1) * 0.25).exp()) * light * (torch.randn(count, 1, 1, 1) * 0.35).exp()
    grey = x.mean(1, keepdim=True)
    saturation = torch.where(torch.rand(count, 1, 1, 1) < 0.2, 0.0, 1 + torch.randn(count, 1, 1, 1) * 0.25)
    x = torch.lerp(grey, x, saturation)
    tint = (torch.randn(count, 3, 1, 1) * 0.1).exp()
    x = x * torch.where(torch.rand(count, 1, 1, 1) < 0.25, torch.rand(count, 3, 1, 1), tint)
    noise = torch.randn(x.shape) * (torch.rand(count, 1, 1, 1) ** 3 * 0.08)
    return (x + noise).clamp(0, 1)


def _share_of_lips(distance: Tensor) -> Tensor:
    """The share of the lips' ellipse where the distance (B, H, W) is negative: (B,)."""
    rows, columns = _grid()
    lips = torch.hypot((columns - LIPS[0]) / LIPS_HALF[0], (rows - LIPS[1]) / LIPS_HALF[1]) <= 1
    return (distance[:, lips] < 0).float().mean(1)


def _grid() -> tuple[Tensor, Tensor]:
    """The positions of a crop's pixels in its sides: rows (H, 1) and columns (1, W)."""
    position = (torch.arange(INPUT_PX) + 0.5) / INPUT_PX
    return position[:, None], position[None]


def _noise(count: int, cells: int) -> Tensor:
    """Smooth noise of standard deviation near 1: (count, INPUT_PX, INPUT_PX)."""
    noise = torch.randn(count, 1, cells, cells)
    return F.interpolate(noise, (INPUT_PX, INPUT_PX), mode="bilinear", align_corners=False)[:, 0]


def _uniform(*shape: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(shape)


def main() -> None:
    """Trains on the train split of a folder and writes the weights."""
    parser = argparse.ArgumentParser(description="Trains the network that finds covered mouths.")
    parser.add_argument("data", type=Path, help="a training folder")
    parser.add_argument("out", type=Path, help="the file to write, .safetensors")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimisation steps (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)  # so that the result does not depend on the number of cores
    network = train_visibility(FaceFolder.load(args.data, "train").images, args.steps)
    write_weights({name: value.half() for name, value in network.state_dict().items()}, args.out, {})


if __name__ == "__main__":
    main()
