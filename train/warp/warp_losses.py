"""The losses of T: each a function of a `WarpBatch` registered with its weight.

Flow, gain, mask and uv are compared with the renderer's fields, the other terms compare with the target picture.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from exprgan.models.backward_warp import FIELD_SCALE, upsample_fields, warp_and_relight
from exprgan.models.eye_network import at_eyes
from exprgan.models.mouth_network import lower_face

from .warp_batch import WarpBatch

MAX_EMPHASIS_PX = 0.2
"""Where emphasis moves the flow further, in px of the decoder's pictures, the lids are not compared with the target."""
SHOWN_ASIDE = 0.1
"""Weight of what the photo shows of an eyeball where the target hides it."""
Part = Literal["skin", "mouth", "eyes"]
"""What a loss trains: flow and gain, the mouth network, or the eye network."""


class WarpLoss(NamedTuple):
    """A loss of T."""

    function: Callable[[WarpBatch], Tensor]
    weight: float
    part: Part


WARP_LOSSES: dict[str, WarpLoss] = {}
"""Name -> loss."""


def register_warp_loss(weight: float, part: Part = "skin") -> Callable:
    """Registers a loss in WARP_LOSSES under its function's name; only a T with eyes has those of the part "eyes"."""

    def register(function: Callable[[WarpBatch], Tensor]) -> Callable[[WarpBatch], Tensor]:
        WARP_LOSSES[function.__name__] = WarpLoss(function, weight, part)
        return function

    return register


def total_warp_loss(batch: WarpBatch, part: Part | Literal["all"] = "all") -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum, and the unweighted losses by name, of one part of T or of all that it has."""
    losses = {name: loss for name, loss in WARP_LOSSES.items()
              if part in (loss.part, "all") and (batch.has_eyes or loss.part != "eyes")}  # fmt: skip
    values = {name: loss.function(batch) for name, loss in losses.items()}
    total = torch.stack([losses[name].weight * value for name, value in values.items()]).sum()
    return total, {name: value.detach() for name, value in values.items()}


@register_warp_loss(1.0)
def pixel(batch: WarpBatch) -> Tensor:
    """Mean |edited - target|, five times as heavy over the lower face, where faults of the mouth are most visible."""
    error = (batch.edited - batch.target).abs()
    return error.mean() + lower_face(error).mean()


@register_warp_loss(1.0)
def edges(batch: WarpBatch) -> Tensor:
    """Mean difference of the image gradients, which penalises blur even where the colour is right."""
    return sum((batch.edited.diff(dim=d) - batch.target.diff(dim=d)).abs().mean() for d in (2, 3))


@register_warp_loss(0.3)
def warp(batch: WarpBatch) -> Tensor:
    """Mean |flow error| in px of the decoder's pictures, where the source is visible."""
    return batch.flow_error.abs().mean()


@register_warp_loss(0.1)
def warp_squared(batch: WarpBatch) -> Tensor:
    """Mean squared flow error: most of a face hardly moves, and an absolute error alone leaves the jaw in place as well."""
    return batch.flow_error.square().mean()


@register_warp_loss(1.0, "eyes")
def lid_flow(batch: WarpBatch) -> Tensor:
    """Mean |flow error| about the eyeballs, in px of the decoder's pictures."""
    return _mean_at_lids(batch.flow_error.abs(), batch)


@register_warp_loss(0.3, "eyes")
def lid_flow_squared(batch: WarpBatch) -> Tensor:
    """Mean squared flow error likewise: few pairs move the lids far, and an absolute error alone leaves them in place."""
    return _mean_at_lids(batch.flow_error.square(), batch)


@register_warp_loss(3.0, "eyes")
def lid_stretch(batch: WarpBatch) -> Tensor:
    """Mean difference of the flow error from row to row likewise: a lid whose lashes lag behind stretches them to a fan, by
    an error of the flow that is small itself."""
    error = batch.flow_error
    return _mean_at_lids(F.pad(error.diff(dim=2).abs(), (0, 0, 0, 1)), batch)


@register_warp_loss(6.0, "eyes")
def lid_pixel(batch: WarpBatch) -> Tensor:
    """Mean |error| of the warped and relit source, and of its image gradients, on the skin at the eyes: lashes are thinner
    than the pixels of the flow, and most visible where it is wrong."""
    flow, gain = batch.prediction.flow, batch.prediction.gain.detach()
    shift = (batch.emphasized - batch.flow).abs().amax(1, keepdim=True) * batch.flow.shape[-1]
    weight = upsample_fields(batch.lid_weight * at_eyes(shift < MAX_EMPHASIS_PX))  # elsewhere the target lies otherwise
    weight = weight * at_eyes((1 - batch.eyeballs[:, 1:]) * (1 - batch.mask)) / (3 * FIELD_SCALE**2)
    error = (warp_and_relight(batch.x, flow, gain, at_eyes) - at_eyes(batch.target)) * weight
    return error.abs().sum() + sum(error.diff(dim=d).abs().sum() for d in (2, 3))


@register_warp_loss(1.0, "mouth")
def mouth_mask(batch: WarpBatch) -> Tensor:
    """Cross entropy of the mask over the lower face, plus the Dice loss (Milletari et al. 2016), without which an area as
    small as a mouth is not found for hundreds of steps."""
    return _mask_error(batch.mouth.predicted_mask, batch.mouth.mask)


@register_warp_loss(0.3, "mouth")
def mouth_color(batch: WarpBatch) -> Tensor:
    """Mean |rendered - target| over the mask, whether or not T's mask shows it yet."""
    mask = batch.mouth.mask
    return ((batch.mouth.rendered - batch.mouth.target).abs() * mask).sum() / (3 * mask.sum() + 1)


@register_warp_loss(0.3, "mouth")
def mouth_edges(batch: WarpBatch) -> Tensor:
    """Mean difference of the image gradients over the mask, for the edges of teeth."""
    mask, error = batch.mouth.mask, batch.mouth.rendered - batch.mouth.target
    gradients = sum((error.diff(dim=d).abs() * mask.narrow(d, 1, mask.shape[d] - 1)).sum() for d in (2, 3))
    return gradients / (3 * mask.sum() + 1)


@register_warp_loss(1.0, "mouth")
def mouth_uv(batch: WarpBatch) -> Tensor:
    """Mean |uv error| in cm, where a row of teeth is known, behind the lips too."""
    mouth = batch.mouth
    return ((mouth.predicted_uv - mouth.uv).abs() * mouth.uv_known).sum() / (mouth.uv_known.sum() + 1)


@register_warp_loss(0.1, "mouth")
def mouth_smoothness(batch: WarpBatch) -> Tensor:
    """Mean gradient of background and shading: where no pixel shows them they follow their surroundings."""
    parts = [lower_face(part) for part in (batch.prediction.background, batch.prediction.shading)]
    return sum(part.diff(dim=d).abs().mean() for part in parts for d in (2, 3))


@register_warp_loss(1.0, "eyes")
def eye_mask(batch: WarpBatch) -> Tensor:
    """Cross entropy of the opacity of eyeballs and hidden lids, plus the Dice loss of both together."""
    return _mask_error(batch.prediction.eyes[:, :1], batch.eyes.opacity)


@register_warp_loss(0.3, "eyes")
def eye_shown(batch: WarpBatch) -> Tensor:
    """Cross entropy of what the photo shows of the eyeballs, mainly where the target shows them."""
    predicted = batch.prediction.eyes[:, 1:2].clamp(1e-4, 1 - 1e-4)
    weight = batch.eyes.opacity.clamp(min=SHOWN_ASIDE)
    return (F.binary_cross_entropy(predicted, batch.eyes.shown, reduction="none") * weight).sum() / weight.sum()


@register_warp_loss(0.6, "eyes")
def eye_color(batch: WarpBatch) -> Tensor:
    """Mean |drawn - target| where the target shows an eyeball or lid that the source hides, whatever T's opacity there."""
    weight = batch.eyes.drawn_there
    return ((batch.eyes.drawn - batch.eyes.target).abs() * weight).sum() / (3 * weight.sum() + 1)


@register_warp_loss(0.3, "eyes")
def lid_share(batch: WarpBatch) -> Tensor:
    """Cross entropy of what is skin of a lid among all that is drawn."""
    predicted, weight = batch.prediction.eyes[:, 2:3].clamp(1e-4, 1 - 1e-4), batch.eyes.drawn_there
    return (F.binary_cross_entropy(predicted, batch.eyes.lid, reduction="none") * weight).sum() / (weight.sum() + 1)


@register_warp_loss(2.0, "eyes")
def eye_pixel(batch: WarpBatch) -> Tensor:
    """Mean |composite - target| over the windows at the eyes."""
    return ((batch.eyes.composite - batch.eyes.wanted).abs() * batch.eyes.known).mean()


@register_warp_loss(2.0, "eyes")
def eye_edges(batch: WarpBatch) -> Tensor:
    """Mean difference of the image gradients likewise, for the rim of the iris and the lids."""
    error, known = batch.eyes.composite - batch.eyes.wanted, batch.eyes.known
    return sum((error.diff(dim=d).abs() * known.narrow(d, 1, known.shape[d] - 1)).mean() for d in (2, 3))


@register_warp_loss(80.0)
def gain(batch: WarpBatch) -> Tensor:
    """Mean |gain error| where the source is visible. A fold changes brightness by a tenth on a hundredth of the picture:
    without a weight that brings its gradient up to that of the flow, T learns no gain at all."""
    return (_gain_error(batch).abs() * batch.visible).mean()


@register_warp_loss(600.0)
def gain_squared(batch: WarpBatch) -> Tensor:
    """Mean squared gain error: the absolute error alone is smallest without thin folds whose position is uncertain."""
    return (_gain_error(batch).square() * batch.visible).mean()


@register_warp_loss(0.05)
def gain_smoothness(batch: WarpBatch) -> Tensor:
    """Mean gradient of the gain: brightness changes over folds, not from pixel to pixel."""
    return sum(batch.prediction.gain.diff(dim=d).abs().mean() for d in (2, 3))


def _mask_error(predicted: Tensor, mask: Tensor) -> Tensor:
    overlap, areas = (predicted * mask).sum((1, 2, 3)), (predicted + mask).sum((1, 2, 3))
    dice = 1 - (2 * overlap + 10) / (areas + 10)
    return F.binary_cross_entropy(predicted.clamp(1e-4, 1 - 1e-4), mask) + dice.mean()


def _mean_at_lids(error: Tensor, batch: WarpBatch) -> Tensor:
    """The weighted mean of (B, 2, S, S) at the eyes, `WarpBatch.lid_weight`."""
    return (at_eyes(error) * batch.lid_weight).sum() / 2


def _gain_error(batch: WarpBatch) -> Tensor:
    return F.avg_pool2d(batch.prediction.gain, FIELD_SCALE) - batch.gain
