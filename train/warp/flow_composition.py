"""Flow between any two pictures of a person, from what the renderer says of each: where its pixels were in the neutral one.

Fields are (..., S, S, 2) in sides of the frame, x first: a pixel at p came from p + flow(p). Masks are (..., S, S) in
[0, 1], 1 where no pixel of the other picture will do.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SPREAD_PX = 0.7
"""By how much each pixel is spread when it is carried over, so that a stretched face has no gaps."""
THIN, DENSE = 0.15, 0.35
"""Of the neutral picture's pixels, how much must arrive: below the one nothing is seen of it, above the other it is."""
NEIGHBOURS = {2.5: 2e-2, 10.0: 1e-3}
"""How far (px) what is not seen looks for what its surroundings do, and how little they count where it is seen."""


def inverse(flow: np.ndarray, invented: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From the neutral picture to the one that was rendered from it.

    Every pixel of the rendered picture is carried to where it came from, and says there where it went.

    Args:
        flow: (S, S, 2) float32, of the rendered picture.
        invented: (S, S) in [0, 1], what of it the neutral picture has not.

    Returns:
        flow of the neutral picture's pixels, (S, S, 2) float32: where in the rendered one they are; and (S, S) float32, 1
        where they are hidden there.
    """
    side = len(flow)
    y, x = np.mgrid[:side, :side]
    place = np.stack((x, y), axis=2) + flow * side
    weight = 1 - invented
    corner = np.floor(place).astype(np.int32)
    (left, top), (across, down) = np.moveaxis(corner, 2, 0), np.moveaxis(place - corner, 2, 0)
    indices, shares = [], []
    for x, share_x in ((left, 1 - across), (left + 1, across)):
        for y, share_y in ((top, 1 - down), (top + 1, down)):
            inside = (x >= 0) & (x < side) & (y >= 0) & (y < side)
            indices.append(np.where(inside, y * side + x, 0).ravel())
            shares.append((weight * share_x * share_y * inside).ravel())
    index, share = np.concatenate(indices), np.stack(shares)
    values = (-flow[..., 0], -flow[..., 1], np.ones_like(weight))
    carried = (np.bincount(index, (share * value.ravel()).ravel(), side * side) for value in values)
    total = np.stack([one.reshape(side, side) for one in carried], axis=2).astype(np.float32)
    total = cv2.GaussianBlur(total, (0, 0), SPREAD_PX)
    known = total + sum(share * cv2.GaussianBlur(total, (0, 0), px) for px, share in NEIGHBOURS.items())
    hidden = 1 - np.clip((total[..., 2] - THIN) / (DENSE - THIN), 0, 1)
    return known[..., :2] / np.maximum(known[..., 2:], 1e-6), hidden.astype(np.float32)


def through_neutral(back: Tensor, hidden: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """From one rendered picture A to another, B, by way of the neutral one.

    Args:
        back, hidden: (B, S, S, 2) and (B, S, S), from neutral to A.
        flow: (B, S, S, 2), from B to neutral.

    Returns:
        flow from B to A, float32; and (B, S, S), how much of what B shows of the neutral picture A hides.
    """
    side = flow.shape[1]
    here = (torch.arange(side, dtype=torch.float32, device=flow.device) + 0.5) / side
    grid = torch.stack(torch.meshgrid(here, here, indexing="xy"), dim=2) + flow.float()
    fields = torch.cat((back.float(), hidden.float()[..., None]), dim=3).permute(0, 3, 1, 2)
    found = F.grid_sample(fields, grid * 2 - 1, mode="bilinear", padding_mode="border", align_corners=False)
    onwards, lost = found.permute(0, 2, 3, 1).split((2, 1), dim=3)
    return flow.float() + onwards, lost[..., 0]
