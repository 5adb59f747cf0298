"""What an edit of a photo with T needs, as networks that can be exported: reading a face, T, and the paste."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..editing.eye_overlay import MIN_SHADE
from ..editing.mouth_overlay import MAX_SHARPENING, sharpen_edge, smooth_whole_mask
from ..editing.mouth_visibility import INPUT_PX, load_visibility
from ..editing.warp_cleaning import clean_warp
from ..models.backward_warp import upsample_fields
from ..models.eye_network import EYES_HEIGHT, at_eyes, place_at_eyes
from ..models.iris import iris_opacity, iris_sources, lid_source
from ..models.networks import FaceNetwork
from ..models.teeth_texture import composite_teeth, tooth_rows
from ..models.warp_network import NO_EYES, WarpNetwork, WarpPrediction

EYE_PLANES = 12
"""The planes of `PhotoPainter` at the eyes: opacity; the factors on the photo's pixels, on iris and white, and on the skin
of a lid (3); the colour of white (3); and the position from the middle of the iris (2) and its radius."""
TEETH_LEVEL = 2
"""Mip level of the teeth that `PhotoPainter` draws: that of an aligned crop of 800 to 1,700 px in the photo."""


class FaceReader(nn.Module):
    """The expression and the action units of aligned faces, and whether their mouths are covered."""

    def __init__(self, classifier: FaceNetwork):
        super().__init__()
        self.classifier, self.visibility = copy.deepcopy(classifier).float().cpu(), load_visibility()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: (N, 3, S, S) in [-1, 1] -> certainties (N, K + 1), neutral last; units (N, U, 2); covered (N,) in [0, 1]."""
        read, small = self.classifier(x), F.adaptive_avg_pool2d((x + 1) / 2, INPUT_PX)
        return read.expression.softmax(dim=1), read.units, self.visibility(small).sigmoid()


class WarpPredictor(nn.Module):
    """T with all its parts."""

    def __init__(self, network: WarpNetwork):
        super().__init__()
        self.network = copy.deepcopy(network).float().cpu()

    def forward(self, x: Tensor, c: Tensor, emphasis: Tensor, now: Tensor | None = None, target: Tensor | None = None,
                reconstruction: Tensor | None = None, x_hat: Tensor | None = None) -> tuple[Tensor, ...]:  # fmt: skip
        """The parts of `WarpPrediction`; of a T without an eye network without the last one.

        Args:
            x: (N, 3, 2 S, 2 S) in [-1, 1], the photo over the wide crop.
            c: (N, K * d) in [-1, 1].
            emphasis: (N,), see `WarpEmphasis`.
            now, target: of a T that takes action units, those of the photo and of the target, (N, U, 2) each, NaN where
                unknown.
            reconstruction, x_hat: of a T with `warp_decoded`, the decoder's pictures with the expression of the photo and
                with the target, (N, 3, S, S) each.
        """
        decoded = None if reconstruction is None or x_hat is None else (reconstruction, x_hat)
        condition = self.network.condition(c, now, target)
        prediction = self.network.predict_flow(x, decoded, condition, emphasis[:, None, None, None])
        warp = self.network.add_parts(x, self.network.complete(x, prediction, condition), condition)
        return tuple(warp) if warp.has_eyes else tuple(warp[:-1])


class PhotoPainter(nn.Module):
    """Applies a prediction of T to a part of a photo, as `WarpField` does.

    It knows no photos of one colour, adds no grain to what is drawn, and its teeth are of TEETH_LEVEL.
    """

    teeth: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("teeth", tooth_rows(TEETH_LEVEL), persistent=False)

    def forward(self, part: Tensor, field_from_part: Tensor, lower_face: Tensor, flow: Tensor, gain: Tensor, mask: Tensor,
                background: Tensor, shading: Tensor, uv: Tensor, eyes: Tensor = NO_EYES) -> Tensor:  # fmt: skip
        """The edited part, (1, 3, H, W) in 0..255, not rounded.

        Args:
            part: (1, 3, H, W) in 0..255, what of the photo lies around the wide crop.
            field_from_part: (2, 3), from px of the part to px of the wide crop of 2 S px.
            lower_face: (1,), 1, or 0 if only eyes and brows are edited, since the mouth is covered.
            flow, gain, mask, background, shading, uv, eyes: the outputs of `WarpPredictor`, for one face.
        """
        warp = WarpPrediction(flow, gain, mask, background, shading, uv, eyes)
        planes = self._planes(warp, lower_face)
        (height, width), side = part.shape[-2:], planes.shape[-1]
        x, y = (torch.arange(n, dtype=part.dtype) + 0.5 for n in (width, height))
        (a, b, start_x), (c, d, start_y) = (row.unbind() for row in field_from_part.unbind())
        across, down = x.expand(height, width), y[:, None].expand(height, width)
        grid = torch.stack((a * across + b * down + start_x, c * across + d * down + start_y), dim=-1) * (2 / side) - 1
        planes = F.grid_sample(planes, grid[None], mode="bilinear", padding_mode="zeros", align_corners=False)
        flow, gain, cover, mask, background, shading, uv, eyes = planes.split((2, 3, 1, 1, 3, 3, 4, EYE_PLANES), dim=1)
        determinant = a * d - b * c

        def sample(offset: Tensor) -> Tensor:
            """The part at an offset of (1, 2, H, W) sides of the wide crop."""
            offset_x, offset_y = (offset * side).unbind(1)
            moved_x, moved_y = (d * offset_x - b * offset_y) / determinant, (a * offset_y - c * offset_x) / determinant
            points = torch.stack(((across + moved_x) * (2 / width) - 1, (down + moved_y) * (2 / height) - 1), dim=-1)
            return F.grid_sample(part, points, mode="bicubic", padding_mode="border", align_corners=False)

        edited = torch.where(cover > 0, (sample(flow) * gain.exp()).clamp(0, 255), part)
        sharpening = determinant.abs().rsqrt().clamp(1, MAX_SHARPENING)
        mouth = composite_teeth(background, shading, uv, rows=lambda _: self.teeth) * 255
        edited = torch.lerp(edited, mouth, sharpen_edge(mask, sharpening))
        if warp.has_eyes:
            opacity, kept, eyeball, lid, white, u, v, radius = eyes.split((1, 1, 1, 3, 3, 1, 1, 1), dim=1)

            def copy(across: Tensor, down: Tensor) -> Tensor:
                return sample(torch.cat((across, down), dim=1) * radius)

            left, right, lower, weight = iris_sources(u, v)
            iris = torch.lerp(copy(left, lower), copy(right, lower), weight)
            drawn = torch.lerp(white, iris, iris_opacity(u, v)) * eyeball + copy(torch.zeros_like(u), lid_source(v)) * lid
            edited = torch.lerp(edited, part * kept + drawn, sharpen_edge(opacity, sharpening))
        return edited

    def _planes(self, warp: WarpPrediction, lower_face: Tensor) -> Tensor:
        """All that is enlarged to the photo, over the wide crop: (1, 17 + EYE_PLANES, R, R)."""
        flow, gain, cover, _ = clean_warp(warp, lower_face)
        planes = [flow, gain, cover, smooth_whole_mask(warp.mask * lower_face)]
        planes += [upsample_fields(part) for part in (warp.background, warp.shading, warp.uv)]
        if not warp.has_eyes:
            return torch.cat((*planes, torch.zeros_like(cover).expand(-1, EYE_PLANES, -1, -1)), dim=1)
        opacity, shown, lid, shade, tint, white, position, radius = warp.eyes.split((1, 1, 1, 1, 3, 3, 2, 1), dim=1)
        changed, lid = at_eyes(cover), sharpen_edge(lid, 1)
        drawn = (1 - sharpen_edge(shown, 1)) * changed
        light = 1 - (shade - MIN_SHADE).clamp(min=0) * changed
        factors = (1 - drawn) * light, drawn * (1 - lid) * light, drawn * lid * light * tint.exp()
        eyes = smooth_whole_mask(opacity), *factors, white * 255, position, radius * EYES_HEIGHT
        return torch.cat((*planes, place_at_eyes(torch.cat(eyes, dim=1))), dim=1)
