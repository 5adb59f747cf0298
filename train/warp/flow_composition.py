"""Flow between any two rendered pictures of a person, composed from each picture's flow to the neutral photo.

Flow fields are (..., S, S, 2) in sides of the picture, x component first: a pixel at p comes from p + flow(p). Masks are
(..., S, S) in [0, 1], 1 where no pixel of the other picture corresponds.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SPLAT_SIGMA_PX = 0.7
"""Blur of the splatted pixels, which closes gaps in a stretched face."""
HIDDEN_BELOW, VISIBLE_ABOVE = 0.15, 0.35
"""Splatted weight below which a pixel of the neutral picture is hidden in the rendered one, and above which it is
visible."""
FILL_WEIGHTS = {2.5: 2e-2, 10.0: 1e-3}
"""Blurs (sigma in px) that fill hidden pixels from their surroundings, with weights that are small beside visible ones."""


def invert_flow(flow: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverts the flow of a rendered picture, by splatting its pixels onto the neutral picture.

    Args:
        flow: (S, S, 2) float32, from the rendered to the neutral picture.
        mask: (S, S) in [0, 1], pixels that the neutral picture does not show.

    Returns:
        The flow from the neutral to the rendered picture, (S, S, 2) float32, and a mask (S, S) float32 of the pixels that
        are hidden there.
    """
    import cv2  # of the extra `render`; only `detail` needs it

    side = len(flow)
    y, x = np.mgrid[:side, :side]
    target = np.stack((x, y), axis=2) + flow * side
    corner = np.floor(target).astype(np.int32)
    (left, top), (dx, dy) = np.moveaxis(corner, 2, 0), np.moveaxis(target - corner, 2, 0)
    indices, weights = [], []
    for column, weight_x in ((left, 1 - dx), (left + 1, dx)):
        for row, weight_y in ((top, 1 - dy), (top + 1, dy)):
            inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
            indices.append(np.where(inside, row * side + column, 0).ravel())
            weights.append(((1 - mask) * weight_x * weight_y * inside).ravel())
    index, weight = np.concatenate(indices), np.stack(weights)
    planes = (-flow[..., 0], -flow[..., 1], np.ones_like(mask))
    splats = [np.bincount(index, (weight * plane.ravel()).ravel(), side * side).reshape(side, side) for plane in planes]
    splatted = cv2.GaussianBlur(np.stack(splats, axis=2).astype(np.float32), (0, 0), SPLAT_SIGMA_PX)
    filled = splatted + sum(share * cv2.GaussianBlur(splatted, (0, 0), px) for px, share in FILL_WEIGHTS.items())
    hidden = 1 - np.clip((splatted[..., 2] - HIDDEN_BELOW) / (VISIBLE_ABOVE - HIDDEN_BELOW), 0, 1)
    return filled[..., :2] / np.maximum(filled[..., 2:], 1e-6), hidden.astype(np.float32)


def compose_flow(inverse: Tensor, hidden: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """The flow from one rendered picture, B, by way of the neutral one to another, A.

    Args:
        inverse, hidden: (B, S, S, 2) and (B, S, S), from neutral to A, by `invert_flow`.
        flow: (B, S, S, 2), from B to neutral.

    Returns:
        The flow from B to A, float32, and a mask (B, S, S) of the pixels of B whose neutral pixels are hidden in A.
    """
    side = flow.shape[1]
    centers = (torch.arange(side, dtype=torch.float32, device=flow.device) + 0.5) / side
    grid = torch.stack(torch.meshgrid(centers, centers, indexing="xy"), dim=2) + flow.float()
    fields = torch.cat((inverse.float(), hidden.float()[..., None]), dim=3).permute(0, 3, 1, 2)
    sampled = F.grid_sample(fields, grid * 2 - 1, mode="bilinear", padding_mode="border", align_corners=False)
    onward, lost = sampled.permute(0, 2, 3, 1).split((2, 1), dim=3)
    return flow.float() + onward, lost[..., 0]
