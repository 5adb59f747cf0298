"""Action units as inputs of T beside the code c: those that the photo shows, and those that the edit is to show.

T's condition is c, then for both the weights of all units on the subject's right and left side and a flag, 1 where they are
given. Where they are not, weights and flag are 0. Weights are those of `facs.ACTION_UNITS`, 0 to about 2.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def condition_dim(code_dim: int, num_units: int) -> int:
    """Length of the condition of a T that takes `num_units` action units: `code_dim` if it takes none."""
    return code_dim + 2 * (2 * num_units + 1) if num_units else code_dim


def join_condition(c: Tensor, num_units: int, now: Tensor | None = None, target: Tensor | None = None) -> Tensor:
    """The condition: c (B, K * d), and the units of the photo and of the target, (B, U, 2) each.

    Rows of units with NaN count as not given, and so does None. A T that takes no units, U = 0, has c as its condition.
    """
    if not num_units:
        return c
    parts = [c]
    for units in (now, target):
        weights = c.new_full((c.shape[0], 2 * num_units), torch.nan) if units is None else units.to(c).flatten(1)
        given = weights.isfinite().all(1, keepdim=True)
        parts += [torch.where(given, weights, 0), given.to(c)]
    return torch.cat(parts, dim=1)


def split_condition(condition: Tensor, num_units: int) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse of `join_condition`, of a T that takes units: c, and both units (B, U, 2), 0 where they are not given."""
    c, now, target = condition.split((condition.shape[1] - 4 * num_units - 2, *[2 * num_units + 1] * 2), dim=1)
    return c, now[:, :-1].unflatten(1, (num_units, 2)), target[:, :-1].unflatten(1, (num_units, 2))


def swap_sides(condition: Tensor, num_units: int) -> Tensor:
    """The condition (B, N) of the mirrored face: right and left are exchanged."""
    if not num_units:
        return condition
    c, now, target = condition.split((condition.shape[1] - 4 * num_units - 2, *[2 * num_units + 1] * 2), dim=1)
    swapped = [
        torch.cat((part[:, :-1].unflatten(1, (-1, 2)).flip(2).flatten(1), part[:, -1:]), 1) for part in (now, target)
    ]
    return torch.cat((c, *swapped), dim=1)


def units_as_tensor(weights: Mapping[int, Sequence[float]], units: Sequence[int], *, default: float) -> Tensor:
    """Weights by unit, on the subject's right and left, as (U, 2) in the order of `units`; `default` for missing ones."""
    return torch.tensor([[float(w) for w in weights.get(unit, (default, default))] for unit in units]).view(-1, 2)
