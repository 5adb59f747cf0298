"""What T minimises: one row a term.

L_warp, L_light, L_new and L_teeth compare with the renderer, the others with the target picture.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.models.mouth_network import CM_IN_WIDE_CROP, upsample_fields, lower_face
from exprgan.models.teeth_texture import composite_teeth
from exprgan.models.warp_network import FIELD_SCALE, WarpPrediction
from exprgan.models.warping import backward_warp

NEAR, WIDE, FAINT = 7, 25, 0.02
"""Over so many cells T's error of the flow about a mouth is averaged; over many more, that count little, where all about is
new."""


@dataclass(frozen=True)
class Seen:
    """One batch after augmentation, with what T makes of it.

    Attributes:
        x: (B, 3, S, S) in [-1, 1], the source.
        target: likewise.
        flow: (B, 2, S / FINE, S / FINE), sides of the frame.
        invented: (B, 1, S, S) in [0, 1].
        gain: (B, 3, S / FINE, S / FINE), how the light changes, as in `WarpPrediction`.
        places, known: (B, 4, S / FINE, S / FINE) in cm and (B, 2, ...), 0 or 1: the target's teeth.
        made: what T says.
        edited: the source as T edits it; what it draws learns from the terms of the mouth alone.
    """

    x: Tensor
    target: Tensor
    flow: Tensor
    invented: Tensor
    gain: Tensor
    places: Tensor
    known: Tensor
    made: WarpPrediction
    edited: Tensor

    @cached_property
    def kept(self) -> Tensor:
        """(B, 1, S / FINE, S / FINE) in [0, 1]: what is not new."""
        return 1 - F.avg_pool2d(self.invented, FIELD_SCALE)

    @cached_property
    def mouth(self) -> "MouthSeen":
        """The lower face, as it is to be drawn and as T draws it.

        T sees where it moved the lips, and it moves them a little otherwise than the renderer. What is to be drawn between
        them is therefore looked up in the target where the target's lips are: compared in place, a mouth would be the mean
        of all those it might be, round at its corners and soft at its border.
        """
        said = lower_face(F.avg_pool2d(self.made.flow.detach(), FIELD_SCALE))
        true = lower_face(torch.cat((self.flow, self.kept), dim=1))
        shift = torch.zeros_like(said)
        for _ in range(2):  # T's pixel at p is the target's at q, where p + flow(p) = q + true(q)
            flow, kept = backward_warp(true, shift).split((2, 1), dim=1)
            off = torch.cat(((said - flow) * kept, kept), dim=1)
            near, wide = (_around(off, reach) for reach in (NEAR, WIDE))
            total_off, weight = (near + FAINT * wide).split((2, 1), dim=1)
            shift = total_off / (weight + 1e-4) * 2  # the window is half the frame
        fine = upsample_fields(shift)
        target, invented = (backward_warp(lower_face(part), fine) for part in (self.target, self.invented))
        known = (backward_warp(lower_face(self.known), shift) > 0.99).float()
        places = backward_warp(lower_face(self.places), shift)
        behind, light, found = (lower_face(part) for part in (self.made.behind, self.made.light, self.made.places))
        each = known.repeat_interleave(2, dim=1)
        laid = torch.where(each > 0, places, found.detach())  # gaps cannot say how dark a mouth is unless they meet
        drawn = (
            composite_teeth(
                upsample_fields(behind),
                upsample_fields(light),
                upsample_fields(laid),
                per_cm=self.x.shape[-1] * CM_IN_WIDE_CROP,
            )
            * 2
            - 1
        )
        return MouthSeen(target, invented, places, each, drawn, lower_face(self.made.mask), found)


@dataclass(frozen=True)
class MouthSeen:
    """The lower face; M = S / 2.

    Attributes:
        target: (B, 3, M, M) in [-1, 1].
        invented: (B, 1, M, M) in [0, 1].
        places, known: (B, 4, M / FINE, M / FINE) in cm, and 0 or 1.
        drawn: (B, 3, M, M) in [-1, 1], with the teeth where the target's are.
        mask: (B, 1, M, M) in [0, 1], as T says.
        said: (B, 4, M / FINE, M / FINE) in cm, likewise.
    """

    target: Tensor
    invented: Tensor
    places: Tensor
    known: Tensor
    drawn: Tensor
    mask: Tensor
    said: Tensor


def _around(x: Tensor, reach: int) -> Tensor:
    """Means over squares of `reach` cells, twice."""
    for _ in range(2):
        x = F.avg_pool2d(x, (reach, 1), stride=1, padding=(reach // 2, 0))
        x = F.avg_pool2d(x, (1, reach), stride=1, padding=(0, reach // 2))
    return x


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
    return off.mean() + lower_face(off).mean()


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


@term(1.0)
def new(seen: Seen) -> Tensor:
    """L_new: the mask against the renderer's, over the lower face: cross entropy, and Dice (Milletari et al. 2016), without
    which so small a thing as a mouth is not found for hundreds of steps."""
    mask, wanted = seen.mouth.mask, seen.mouth.invented
    both, each = (mask * wanted).sum((1, 2, 3)), (mask + wanted).sum((1, 2, 3))
    dice = 1 - (2 * both + 10) / (each + 10)
    return F.binary_cross_entropy(mask.clamp(1e-4, 1 - 1e-4), wanted) + dice.mean()


@term(0.3)
def colour(seen: Seen) -> Tensor:
    """Mean |colour - target| over what is new, whether or not the mask shows it yet. A mouth is small."""
    new = seen.mouth.invented
    return ((seen.mouth.drawn - seen.mouth.target).abs() * new).sum() / (3 * new.sum() + 1)


@term(0.3)
def colour_edges(seen: Seen) -> Tensor:
    """Mean difference of the slopes of both, likewise: teeth are edges."""
    new, off = seen.mouth.invented, seen.mouth.drawn - seen.mouth.target
    return sum((off.diff(dim=d).abs() * new.narrow(d, 1, new.shape[d] - 1)).sum() for d in (2, 3)) / (3 * new.sum() + 1)


@term(1.0)
def teeth(seen: Seen) -> Tensor:
    """L_teeth: mean |places - the renderer's| in cm, where a row is known, behind the lips too."""
    mouth = seen.mouth
    return ((mouth.said - mouth.places).abs() * mouth.known).sum() / (mouth.known.sum() + 1)


@term(0.1)
def calm(seen: Seen) -> Tensor:
    """Mean slope of what is behind the teeth and of their light: what no pixel shows follows its surroundings."""
    parts = [lower_face(part) for part in (seen.made.behind, seen.made.light)]
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
    flow = F.avg_pool2d(seen.made.flow, FIELD_SCALE)
    return (flow - seen.flow) * flow.shape[-1] * seen.kept


def _light_off(seen: Seen) -> Tensor:
    return F.avg_pool2d(seen.made.gain, FIELD_SCALE) - seen.gain
