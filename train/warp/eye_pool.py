"""Pairs for eyes that are trained alone: the rest of T stays, so what it predicts for a pair can be used several times."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

POOL_BATCHES, POOL_STEPS = 48, 10
"""A batch of new pairs joins the pool every POOL_STEPS steps and stays until POOL_BATCHES newer ones have joined; a
pair is therefore drawn POOL_STEPS times on average."""


class EyePairs(NamedTuple):
    """B pairs, with T's prediction without lids and eyes; shapes as in `WarpBatch` and `FlowPrediction`."""

    x: Tensor
    target: Tensor
    true_flow: Tensor  # `WarpBatch.flow`
    emphasized: Tensor
    mask: Tensor
    eyeballs: Tensor
    steady: Tensor
    flow: Tensor  # by T
    gain: Tensor  # likewise
    condition: Tensor  # (B, N), `WarpNetwork.condition`


class EyePool:
    """The latest pairs. What it holds at a step is a function of that step, so that a resumed run continues exactly.

    Args:
        draw_new: draws the new pairs of a step.
    """

    def __init__(self, draw_new: Callable[[int], EyePairs]):
        self._draw_new = draw_new
        self._batches: dict[int, EyePairs] = {}

    def draw(self, step: int, generator: torch.Generator) -> EyePairs:
        """Draws as many pairs as a batch has, after those that are new by this step have joined."""
        newest = step - step % POOL_STEPS
        wanted = range(max(0, newest - POOL_STEPS * (POOL_BATCHES - 1)), newest + 1, POOL_STEPS)
        self._batches = {
            begun: self._batches[begun] if begun in self._batches else _halve_precision(self._draw_new(begun))
            for begun in wanted
        }
        batches, count = list(self._batches.values()), len(next(iter(self._batches.values())).steady)
        picks = torch.randint(len(batches) * count, (count,), generator=generator).tolist()
        rows = [[part[pick % count] for part in batches[pick // count]] for pick in picks]
        return EyePairs(*(torch.stack(parts).float() for parts in zip(*rows, strict=True)))


def _halve_precision(pairs: EyePairs) -> EyePairs:
    """The pictures, masks and eyeballs in fp16; flows and conditions stay as they are."""
    pictures = {name: getattr(pairs, name).half() for name in ("x", "target", "mask", "eyeballs")}
    return pairs._replace(**pictures)
