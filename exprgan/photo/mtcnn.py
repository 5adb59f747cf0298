"""MTCNN (Zhang et al. 2016): three networks that find faces, from coarse to fine, and the search that joins them.

The weights are facenet-pytorch's. Its code is not imported: it needs torchvision, whose import takes as long as torch's.
The detections are those of its `detect_face`, up to the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ExprGANError

THRESHOLDS, PYRAMID_STEP = (0.6, 0.7, 0.7), 0.709
"""Scores needed to pass the three networks, and the factor between scales of the pyramid: the defaults of MTCNN."""
CELL, STRIDE = 12, 2  # px: what P-Net sees of a picture at a time, and the distance of two of these cells
WINDOW_PX = 24, 48  # sides of the windows that R-Net and O-Net see
BATCH = 512  # windows that R-Net and O-Net see at once
SAME_AT_SCALE, SAME = 0.5, 0.7  # overlap from which two boxes are one face: at one scale of the pyramid, and later

Detections = tuple[np.ndarray, np.ndarray]
"""Boxes (N, 5): x0, y0, x1, y1, score; and landmarks (N, 5, 2). float32, in px of the picture."""
Network = Callable[[Tensor], Sequence[Tensor]]


class MTCNNPart(nn.Module):
    """P-Net, R-Net or O-Net: convolutions with PReLU and max-pooling, then heads; the first one gives the scores.

    Args:
        channels: of the convolutions, from 3 on.
        kernels: their sides.
        pools: the window of the max-pooling of stride 2 behind each of them; 0 for none.
        hidden: width of a linear layer behind the convolutions; 0: the heads are convolutions themselves.
        cells: elements of each map that the linear layer sees.
        heads: outputs of the heads.
    """

    def __init__(self, channels: Sequence[int], kernels: Sequence[int], pools: Sequence[int], hidden: int, cells: int,
                 heads: Sequence[int]):  # fmt: skip
        super().__init__()
        self.pools, self.is_dense = tuple(pools), hidden > 0
        for i, kernel in enumerate(kernels, 1):  # names as in the files
            self.add_module(f"conv{i}", nn.Conv2d(channels[i - 1], channels[i], kernel))
            self.add_module(f"prelu{i}", nn.PReLU(channels[i]))
        last = len(kernels) + 1
        if hidden:
            self.add_module(f"dense{last}", nn.Linear(channels[-1] * cells, hidden))
            self.add_module(f"prelu{last}", nn.PReLU(hidden))
            self.heads = [f"dense{last + 1}_{i}" for i in range(1, len(heads) + 1)]
        else:
            self.heads = [f"conv{last}_{i}" for i in range(1, len(heads) + 1)]
        for name, out in zip(self.heads, heads, strict=True):
            self.add_module(name, nn.Linear(hidden, out) if hidden else nn.Conv2d(channels[-1], out, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: (B, 3, H, W) in [-1, 1] -> scores (B, 2), a face's last, which add up to 1; corrections of the box (B, 4).

        O-Net adds landmarks (B, 10), all x before all y. P-Net has two more dimensions, its cells.
        """
        for i, pool in enumerate(self.pools, 1):
            x = getattr(self, f"prelu{i}")(getattr(self, f"conv{i}")(x))
            if pool:
                x = F.max_pool2d(x, pool, 2, ceil_mode=True)
        if self.is_dense:
            last = len(self.pools) + 1
            x = getattr(self, f"prelu{last}")(getattr(self, f"dense{last}")(x.permute(0, 3, 2, 1).flatten(1)))
        scores, *others = (getattr(self, name)(x) for name in self.heads)
        return scores.softmax(dim=1), *others


def load_networks() -> tuple[MTCNNPart, MTCNNPart, MTCNNPart]:
    """P-Net, R-Net and O-Net with the weights that facenet-pytorch brings (2 MB); nothing is downloaded.

    ExprGANError: facenet-pytorch is not installed.
    """
    package = find_spec("facenet_pytorch")  # does not import it
    if package is None or package.origin is None:
        raise ExprGANError("The face finder's weights are those of facenet-pytorch, not installed here: "
                           "pip install facenet-pytorch.")  # fmt: skip
    with torch.device("meta"):  # without random initial weights, which would change the caller's random state
        networks = (
            MTCNNPart((3, 10, 16, 32), (3, 3, 3), (2, 0, 0), 0, 0, (2, 4)),
            MTCNNPart((3, 28, 48, 64), (3, 3, 2), (3, 3, 0), 128, 9, (2, 4)),
            MTCNNPart((3, 32, 64, 64, 128), (3, 3, 3, 2), (3, 3, 2, 0), 256, 9, (2, 4, 10)),
        )
    for network, name in zip(networks, ("pnet", "rnet", "onet"), strict=True):
        weights = torch.load(Path(package.origin).parent / "data" / f"{name}.pt", weights_only=True)
        network.load_state_dict(weights, assign=True)
        network.eval().requires_grad_(False)
    return networks


def detect(picture: np.ndarray, min_face: float, pnet: Network, rnet: Network, onet: Network) -> Detections:
    """Finds the faces in a picture, (H, W, 3) uint8, of at least `min_face` px; the picture must be as large as that."""
    sums = _integral(picture)
    boxes = _propose(sums, min_face, pnet)
    boxes = boxes[_distinct(boxes, SAME)]
    sides = boxes[:, 2:4] - boxes[:, :2]
    boxes = _as_squares(np.concatenate((boxes[:, :4] + boxes[:, 5:] * np.tile(sides, 2), boxes[:, 4:5]), axis=1))
    boxes, (scores, corrections) = _look(sums, boxes, WINDOW_PX[0], rnet)
    passed = scores[:, 1] > THRESHOLDS[1]
    boxes, corrections = np.concatenate((boxes[passed, :4], scores[passed, 1:]), axis=1), corrections[passed]
    kept = _distinct(boxes, SAME)
    boxes = _as_squares(_corrected(boxes[kept], corrections[kept]))
    boxes, (scores, corrections, landmarks) = _look(sums, boxes, WINDOW_PX[1], onet, num_outputs=3)
    passed = scores[:, 1] > THRESHOLDS[2]
    boxes, corrections = np.concatenate((boxes[passed, :4], scores[passed, 1:]), axis=1), corrections[passed]
    points = landmarks[passed].reshape(-1, 2, 5).transpose(0, 2, 1)
    points = (boxes[:, None, 2:4] - boxes[:, None, :2] + 1) * points + boxes[:, None, :2] - 1
    boxes = _corrected(boxes, corrections)
    kept = _distinct(boxes, SAME, of_smaller=True)
    return boxes[kept], points[kept]


def _propose(sums: np.ndarray, min_face: float, pnet: Network) -> np.ndarray:
    """P-Net's candidates at all scales of the pyramid: (N, 9), box, score and corrections."""
    height, width = (side - 1 for side in sums.shape[:2])
    scale, shorter, candidates = CELL / min_face, min(height, width) * (CELL / min_face), [np.zeros((0, 9), np.float32)]
    while shorter >= CELL:
        small = _shrink(sums, int(height * scale + 1), int(width * scale + 1))
        scores, corrections = (part[0].numpy() for part in pnet(small))
        rows, columns = np.nonzero(scores[1] >= np.float32(THRESHOLDS[0]))
        cells = np.stack((columns, rows), axis=1).astype(np.float32) * STRIDE + 1
        corners = [np.floor((cells + offset) / np.float32(scale)) for offset in (0, CELL - 1)]
        boxes = np.concatenate((*corners, scores[1, rows, columns][:, None], corrections[:, rows, columns].T), axis=1)
        candidates.append(boxes[_distinct(boxes, SAME_AT_SCALE)])
        scale, shorter = scale * PYRAMID_STEP, shorter * PYRAMID_STEP
    return np.concatenate(candidates)


def _look(
    sums: np.ndarray, boxes: np.ndarray, side: int, network: Network, num_outputs: int = 2
) -> tuple[np.ndarray, list]:
    """Shows a network what is in boxes (N, 5): those that are not empty inside the picture, and its outputs for them."""
    height, width = (length - 1 for length in sums.shape[:2])
    corners = boxes[:, :4].astype(np.int32)  # from 1
    corners[:, :2] = corners[:, :2].clip(min=1) - 1
    corners[:, 2:] = np.minimum(corners[:, 2:], (width, height))
    inside = (corners[:, 2:] > corners[:, :2]).all(1)
    boxes, corners = boxes[inside], corners[inside]
    if not len(boxes):
        return boxes, [np.zeros((0, length), np.float32) for length in (2, 4, 10)[:num_outputs]]
    batches = [network(_windows(sums, some, side, side)) for some in np.split(corners, range(BATCH, len(corners), BATCH))]
    return boxes, [torch.cat(parts).numpy() for parts in zip(*batches, strict=True)]


def _integral(picture: np.ndarray) -> np.ndarray:
    """Sums of a picture (H, W, 3) over all rectangles from its top left corner: (H + 1, W + 1, 3) whole numbers."""
    height, width = picture.shape[:2]
    whole = np.int64 if picture.size > 2**24 else np.int32
    sums = np.zeros((3, height + 1, width + 1), whole)  # summed along memory, which is fast
    np.cumsum(np.moveaxis(picture, 2, 0), axis=2, out=sums[:, 1:, 1:])
    for y in range(2, height + 1):
        sums[:, y] += sums[:, y - 1]
    return np.moveaxis(sums, 0, 2)


def _shrink(sums: np.ndarray, height: int, width: int) -> Tensor:
    """Averages the whole picture down, as `_windows` does: (1, 3, height, width) in [-1, 1]."""
    (top, bottom), (left, right) = (_cells(np.array([0]), np.array([side - 1]), length)
                                    for side, length in zip(sums.shape[:2], (height, width), strict=True))  # fmt: skip
    rows = sums[bottom[0]] - sums[top[0]]
    total = rows[:, right[0]] - rows[:, left[0]]
    return _mean_of(total[None], (bottom - top)[:, :, None], (right - left)[:, None])


def _windows(sums: np.ndarray, corners: np.ndarray, height: int, width: int) -> Tensor:
    """Averages windows x0, y0, x1, y1 (N, 4) down, as adaptive pooling does: (N, 3, height, width) in [-1, 1]."""
    (top, bottom), (left, right) = (
        _cells(corners[:, axis], corners[:, axis + 2], length) for axis, length in ((1, height), (0, width))
    )
    upper, lower = top[:, :, None], bottom[:, :, None]
    left, right = left[:, None], right[:, None]
    total = sums[lower, right] - sums[upper, right] - sums[lower, left] + sums[upper, left]
    return _mean_of(total, lower - upper, right - left)


def _cells(start: np.ndarray, end: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Divides ranges of px, (N,) each, into `count` cells, which may overlap: their starts and ends, (N, count) each."""
    cells, side = np.arange(count), (end - start)[:, None]
    return start[:, None] + side * cells // count, start[:, None] + -(-side * (cells + 1) // count)


def _mean_of(total: np.ndarray, height: np.ndarray, width: np.ndarray) -> Tensor:
    """Means in [-1, 1], (N, 3, h, w), of sums (N, h, w, 3) over cells of these sides in px."""
    mean = total.astype(np.float32, order="C") / height[..., None].astype(np.float32)
    mean /= width[..., None].astype(np.float32)
    return torch.from_numpy((mean - np.float32(127.5)) * np.float32(1 / 128)).permute(0, 3, 1, 2)


def _corrected(boxes: np.ndarray, corrections: np.ndarray) -> np.ndarray:
    """Moves the sides of boxes (N, 5) by corrections (N, 4) in sides of the box."""
    sides = boxes[:, 2:4] - boxes[:, :2] + 1
    return np.concatenate((boxes[:, :4] + corrections * np.tile(sides, 2), boxes[:, 4:]), axis=1)


def _as_squares(boxes: np.ndarray) -> np.ndarray:
    """Boxes (N, 5) with the same centre and both sides as long as the longer one."""
    sides = boxes[:, 2:4] - boxes[:, :2]
    longer = sides.max(axis=1, keepdims=True)
    start = boxes[:, :2] + sides * np.float32(0.5) - longer * np.float32(0.5)
    return np.concatenate((start, start + longer, boxes[:, 4:]), axis=1)


def _distinct(boxes: np.ndarray, overlap: float, of_smaller: bool = False) -> np.ndarray:
    """Non-maximum suppression: indices of the boxes (N, 5 or more) without a better one that overlaps them by more.

    The overlap is intersection over union, or of the smaller one; the best ones come first.
    """
    one = np.float32(of_smaller)  # MTCNN counts the last pixel here, and torchvision, which it uses elsewhere, does not
    x0, y0, x1, y1, score = boxes[:, :5].T
    area, kept = (x1 - x0 + one) * (y1 - y0 + one), []
    left = np.argsort(score)[::-1] if of_smaller else np.argsort(-score, kind="stable")
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        width = np.minimum(x1[best], x1[left]) - np.maximum(x0[best], x0[left]) + one
        height = np.minimum(y1[best], y1[left]) - np.maximum(y0[best], y0[left]) + one
        common = width.clip(0) * height.clip(0)
        whole = np.minimum(area[best], area[left]) if of_smaller else area[best] + area[left] - common
        left = left[common / np.maximum(whole, np.float32(1e-9)) <= np.float32(overlap)]
    return np.array(kept, int)
