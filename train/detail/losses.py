"""What T minimises: one row a term.

L_warp, L_light, L_new and L_teeth compare with the renderer, the others with the target picture.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.detail import FINE, Detail
from exprgan.mouth import window


@dataclass(frozen=True)
class Seen:
    """One batch after augmentation, with what T makes of it.

    Attributes:
        x: (B, 3, S, S) in [-1, 1], the source.
        target: likewise.
        flow: (B, 2, S / FINE, S / FINE), sides of the frame.
        invented: (B, 1, S, S) in [0, 1].
        gain: (B, 3, S / FINE, S / FINE), how the light changes, as in `Detail`.
        places, known: (B, 4, S / FINE, S / FINE) in cm and (B, 2, ...), 0 or 1: the target's teeth.
        made: what T says.
        edited: the source as T edits it.
    """

    x: Tensor
    target: Tensor
    flow: Tensor
    invented: Tensor
    gain: Tensor
    places: Tensor
    known: Tensor
    made: Detail
    edited: Tensor

    @cached_property
    def kept(self) -> Tensor:
        """(B, 1, S / FINE, S / FINE) in [0, 1]: what is not new."""
        return 1 - F.avg_pool2d(self.invented, FINE)

    @cached_property
    def mouth(self) -> Tensor:
        """(B, 3, S / 2, S / 2): the lower face as T draws it, but with the teeth where the target's are: their gaps cannot
        say how dark a mouth is unless they meet."""
        known = self.known.repeat_interleave(2, dim=1)
        return window(self.made.drawn(torch.where(known > 0, self.places, self.made.places.detach())))


TERMS: dict[str, tuple[Callable[[Seen], Tensor], float]] = {}


def term(weight: float) -> Callable:
    """Files a loss under its function's name, with its weight."""

    def file(function: Callable[[Seen], Tensor]) -> Callable[[Seen], Tensor]:
        TERMS[function.__name__] = (function, weight)
        return function

    return file


def total(seen: Seen) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum of weight x term, and the unweighted terms by name."""
    parts = {name: function(seen) for name, (function, _) in TERMS.items()}
    loss = torch.stack([TERMS[name][1] * part for name, part in parts.items()]).sum()
    return loss, {name: part.detach() for name, part in parts.items()}


@term(1.0)
def pixel(seen: Seen) -> Tensor:
    """Mean |edited - target|, five times as heavy over the lower face, where the eye looks for faults of the mouth."""
    off = (seen.edited - seen.target).abs()
    return off.mean() + window(off).mean()


@term(1.0)
def edges(seen: Seen) -> Tensor:
    """Mean difference of the pictures' slopes: what is soft costs even where its colour is right."""
    return sum((seen.edited.diff(dim=d) - seen.target.diff(dim=d)).abs().mean() for d in (2, 3))


@term(0.3)
def warp(seen: Seen) -> Tensor:
    """L_warp: mean |flow - the renderer's| in px of the decoder's pictures, where nothing is new."""
    return _off(seen).abs().mean()


@term(0.1)
def far(seen: Seen) -> Tensor:
    """The mean square of the same: most of a face hardly moves, and the median alone would have a jaw stay as well."""
    return _off(seen).square().mean()


@term(0.3)
def new(seen: Seen) -> Tensor:
    """L_new: the mask against the renderer's, over the lower face: cross entropy, and Dice (Milletari et al. 2016), without
    which so small a thing as a mouth is not found for hundreds of steps."""
    mask, wanted = (window(part) for part in (seen.made.mask, seen.invented))
    both, each = (mask * wanted).sum((1, 2, 3)), (mask + wanted).sum((1, 2, 3))
    dice = 1 - (2 * both + 10) / (each + 10)
    return F.binary_cross_entropy(mask.clamp(1e-4, 1 - 1e-4), wanted) + dice.mean()


@term(0.3)
def colour(seen: Seen) -> Tensor:
    """Mean |colour - target| over what is new, whether or not the mask shows it yet. A mouth is small."""
    new = window(seen.invented)
    return ((seen.mouth - window(seen.target)).abs() * new).sum() / (3 * new.sum() + 1)


@term(0.3)
def colour_edges(seen: Seen) -> Tensor:
    """Mean difference of the slopes of both, likewise: teeth are edges."""
    new, off = window(seen.invented), seen.mouth - window(seen.target)
    return sum((off.diff(dim=d).abs() * new.narrow(d, 1, new.shape[d] - 1)).sum() for d in (2, 3)) / (3 * new.sum() + 1)


@term(1.0)
def teeth(seen: Seen) -> Tensor:
    """L_teeth: mean |places - the renderer's| in cm, where a row is known, behind the lips too."""
    known = seen.known.repeat_interleave(2, dim=1)
    return ((seen.made.places - seen.places).abs() * known).sum() / (known.sum() + 1)


@term(0.1)
def calm(seen: Seen) -> Tensor:
    """Mean slope of what is behind the teeth and of their light: what no pixel shows follows its surroundings."""
    parts = [window(part) for part in (seen.made.behind, seen.made.light)]
    return sum(part.diff(dim=d).abs().mean() for part in parts for d in (2, 3))


@term(80.0)
def folds(seen: Seen) -> Tensor:
    """L_light: mean |gain - what the light does| where nothing is new. A fold changes light by a tenth, on a hundredth of
    the frame: with a weight that does not bring its gradient up to L_warp's, T lights nothing at all."""
    return (_light_off(seen).abs() * seen.kept).mean()


@term(600.0)
def deep(seen: Seen) -> Tensor:
    """The mean square of the same: folds are thin, and the median of what is not quite sure where they run is none."""
    return (_light_off(seen).square() * seen.kept).mean()


@term(0.05)
def smooth_light(seen: Seen) -> Tensor:
    """Mean slope of the gain: light changes over folds, not from pixel to pixel."""
    return sum(seen.made.gain.diff(dim=d).abs().mean() for d in (2, 3))


def _off(seen: Seen) -> Tensor:
    flow = F.avg_pool2d(seen.made.flow, FINE)
    return (flow - seen.flow) * flow.shape[-1] * seen.kept


def _light_off(seen: Seen) -> Tensor:
    return F.avg_pool2d(seen.made.gain, FINE) - seen.gain
