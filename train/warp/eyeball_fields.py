"""The eyeballs of pictures, and the flow of the skin beside them.

The renderer's flow is 0 on an eyeball, which stays, and that of the lids beside it. T predicts a smooth flow, that of the
skin, and eyeballs are a layer over it (`exprgan.models.eye_network`). So flow is continued from the skin over the eyeballs.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.models.backward_warp import backward_warp

from ..core.train_errors import DataError

BAND = (0.1, 0.55)
"""Rows of a picture, in its sides, that are kept of its eyeballs; eyes lie within them."""
FILL_WEIGHTS = {1.5: 1.0, 4.0: 1e-3, 12.0: 1e-5}
"""Blurs (sigma in px of the flow) that continue it from the skin; a wide one counts where a narrow one finds no skin."""


def read_eyeballs(fields: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """Reads `eyeballs` or `neutral_eyeballs`, (S, S) uint8, from a picture's fields.

    Raises:
        DataError: the folder was rendered without them.
    """
    if name not in fields:
        raise DataError("it has no eyeballs, which a T with eyes is trained on; it was rendered by an earlier version")
    return fields[name]


def keep_band(eyeballs: np.ndarray) -> np.ndarray:
    """The rows BAND of (S, S)."""
    first, last = _band(len(eyeballs))
    return eyeballs[first:last]


def restore_band(band: Tensor) -> Tensor:
    """The whole pictures of (B, rows, S): (B, S, S), 0 beside the band."""
    side = band.shape[2]
    first, last = _band(side)
    return F.pad(band, (0, 0, first, side - last))


def continue_flow(flow: np.ndarray, eyeballs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Continues the flow of the skin over the eyeballs.

    Args:
        flow: (S', S', 2) float32.
        eyeballs: (S', S') float32, their opacity in 0..1.

    Returns:
        The flow, and (S', S') float32: 1 on eyeballs and their rims, where flow is not that of skin.
    """
    import cv2  # of the extra `render`; only `detail` needs it

    first, last = _band(len(flow))
    covered = np.zeros_like(eyeballs)
    covered[first:last] = cv2.dilate((eyeballs[first:last] > 0.02).astype(np.float32), np.ones((3, 3), np.uint8))
    if not covered.any():
        return flow, covered
    part, weight = flow[first:last], (1 - covered[first:last])[..., None]
    known = np.concatenate((part * weight, weight), axis=2).astype(np.float32)
    filled = sum(share * cv2.GaussianBlur(known, (0, 0), sigma) for sigma, share in FILL_WEIGHTS.items())
    continued = flow.copy()
    continued[first:last] = part * weight + filled[..., :2] / np.maximum(filled[..., 2:], 1e-9) * (1 - weight)
    return continued, covered


def hold_eyeballs(source: Tensor, warped: Tensor, eyeballs: Tensor, flow: Tensor, hold: Tensor) -> tuple[Tensor, Tensor]:
    """Lays the source's eyeballs, which stay, over a warped source, and moves the target's where its flow is held back.

    Args:
        source, warped: (B, 3, R, R).
        eyeballs: (B, 2, R, R) in [0, 1], the source's and the target's.
        flow: (B, 2, R, R) in sides, which warped the source.
        hold: (B, 1, R, R) in [0, 1], how far the target becomes the warped source.

    Returns:
        The warped source with its eyeballs in place, and the eyeballs.
    """
    before, after = eyeballs.split(1, dim=1)
    held = backward_warp(before, flow)
    return torch.lerp(warped, source, held), torch.cat((before, torch.lerp(after, held, hold)), dim=1)


def _band(side: int) -> tuple[int, int]:
    return round(BAND[0] * side), round(BAND[1] * side)
