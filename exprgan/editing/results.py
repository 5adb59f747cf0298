"""Values that the editor returns: a face (`Subject`), its expression (`Reading`), and an edit (`EditResult`)."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..deadline import check
from ..models.networks import Decoder
from ..models.warp_network import FlowPrediction, WarpPrediction
from ..photo.ai_metadata import mark_edited
from ..photo.blending import blend_planes, estimate_grain, face_mask, match_color, paste_back, planes_in_photo
from ..photo.detection import Face
from ..photo.image_io import to_image
from ..torch_state import own_torch_state
from .color_curve import ColorCurve
from .latent import Known, Latent
from .mouth_visibility import MouthView
from .value import Value
from .warp_cleaning import upper_face
from .warp_field import WarpField, apply_warp

Fidelity = Literal["detail", "tuned", "model"]
"""How an edit is put back into the photo. `detail`: the photo's own pixels are warped by T (`warp_field`). `tuned`: the
same, after a copy of the decoder was fitted to the face for some seconds (`pivotal_tuning`). `model`: the decoder's picture
is pasted, as in the paper; without a T all three do so."""
FIDELITIES: tuple[Fidelity, ...] = get_args(Fidelity)
PREVIEW_PX = 1024
MOUTH_NOT_EDITED = "The mouth is covered or cannot be made out: only eyes and brows were edited."
SURE = 0.5  # certainty from which a reading is given as one expression
MIN_CERTAINTY = 0.75  # a face whose expression is read with less certainty is edited as if it were neutral


@dataclass(frozen=True, eq=False)
class Reading(Value):
    """The expression of a face, as the classifier and Q read it."""

    expression: str
    """One of the K expressions, or "neutral"."""
    certainties: dict[str, float]
    """The classifier's probability of every expression and of neutral; they add up to 1."""
    code: Tensor
    """c, (K * d,): Q's reading given the expression; all -1 for a neutral face."""
    units: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Weights of FACS action units on the subject's right and left side, from 0, by number (`facs.ACTION_UNITS`);
    empty if the model reads none."""

    @property
    def is_sure(self) -> bool:
        """Whether the likeliest expression has a certainty of at least SURE, so that it is more often right than wrong."""
        return self.certainties[self.expression] >= SURE

    @property
    def source_code(self) -> Tensor:
        """The code from which edits start: `code` if the certainty is at least MIN_CERTAINTY, else neutral."""
        return self.code if self.certainties[self.expression] >= MIN_CERTAINTY else torch.full_like(self.code, -1.0)


@dataclass(frozen=True, eq=False)
class Subject(Value):
    """A face in a photo, ready to be edited. Compared and hashed by content; a pickle has its pictures, z and `decoder`."""

    photo: Image.Image
    """The full photo, RGB, upright."""
    face: Face | None
    """Its position in the photo; None if the crop was given aligned."""
    crop: Image.Image
    """The aligned face, `image_size` px, the input of G_enc."""
    photo_from_crop: np.ndarray = field(repr=False)
    """(2, 3): crop px -> photo px."""
    latent: Latent = field(repr=False)
    """`z`, not computed before it is needed."""
    reading: Reading
    reconstruction: Tensor | None = field(repr=False)
    """(3, S, S) in [-1, 1]: the decoder's picture of the face with `reading.source_code`; None before `tune` if the model's
    T does without it (`warp_decoded`)."""
    wide_crop: Tensor | None = field(default=None, repr=False)
    """(3, 2 S, 2 S) in [-1, 1]: the input of T, see `warp_network`; None without a T."""
    color_curve: ColorCurve | None = field(default=None, repr=False)
    """The colours of a photo that has none of its own, such as a grey one; else None."""
    mouth: MouthView | None = None
    """Where the mouth is, and whether it is covered; None if nobody looked, and the mouth is edited."""
    decoder: Decoder | None = field(default=None, repr=False, compare=False)
    """A decoder fitted to this face, used instead of the model's; None before `tune`, and in a pickled edit."""
    is_tuned: bool = False
    """Whether `reconstruction` is by a fitted decoder; if `decoder` is None, the next edit fits it again."""
    warp_cache: dict[tuple[float, bytes], FlowPrediction] = field(default_factory=dict, repr=False, compare=False)
    """Recent predictions of T, by emphasis and code (`warp_cache.predict_warp`). Copies in other photo sizes share it;
    whoever changes reconstruction or decoder starts a new one."""

    places: list[Tensor] = field(default_factory=list, repr=False, compare=False)
    """What T found of the photo for its wrinkles (`WrinkleNetwork.find`); empty before the first edit that has any."""

    @property
    def z(self) -> Tensor:
        """(z_dim,) float32 on the CPU: g(x), computed on first access. T does without it unless `warp_decoded` is set."""
        return self.latent.z

    @property
    def warning(self) -> str:
        """A sentence on a face that the detector is not certain of, see `Face.is_certain`; else empty."""
        return self.face.warning if self.face else ""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_preview"} | {
            "warp_cache": {},
            "places": [],
        }

    @property
    def preview(self) -> "Subject":
        """The same face in a copy of the photo of at most PREVIEW_PX."""
        return self if max(self.photo.size) <= PREVIEW_PX else self._preview

    @cached_property
    def _preview(self) -> "Subject":
        return scale_down([self], PREVIEW_PX)[0]


def scale_down(subjects: Sequence[Subject], side: int) -> list[Subject]:
    """Faces of one photo in a copy of the photo whose longer side has `side` px."""
    small = shrink(subjects[0].photo, side)
    return [in_copy(subject, small) for subject in subjects]


def shrink(photo: Image.Image, side: int) -> Image.Image:
    """A copy of a photo whose longer side has `side` px."""
    scale = side / max(photo.size)
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    return photo.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def in_copy(subject: Subject, copy: Image.Image) -> Subject:
    """A face in a copy of its photo of another size."""
    factors = np.divide(copy.size, subject.photo.size)[:, None]
    return dataclasses.replace(subject, photo=copy, photo_from_crop=subject.photo_from_crop * factors)


@dataclass(frozen=True, eq=False)
class EditResult(Value):
    """One edit. The edited photos are computed on first access, and their files are marked as edited by AI.

    Compared and hashed by content. A pickle holds all that the pictures need, and those computed before, but no network.
    """

    subject: Subject
    code: Tensor
    """c, (K * d,), of the edit."""
    fidelity: Fidelity
    decode: Callable[[], Tensor] = field(repr=False, compare=False)
    """Computes `x_hat`."""
    prediction: WarpPrediction | None = field(default=None, repr=False)
    """T's prediction for the edit; None without a T and for the fidelity "model"."""

    def __getstate__(self) -> dict[str, Any]:
        x_hat = self.x_hat
        pictures = {name: value for name, value in vars(self).items() if isinstance(value, Image.Image)}
        subject = dataclasses.replace(self.subject, decoder=None)
        return vars(dataclasses.replace(self, subject=subject, decode=Known(x_hat))) | pictures

    @cached_property
    def x_hat(self) -> Tensor:
        """(3, S, S) in [-1, 1]: the decoder's picture."""
        return self.decode()

    @cached_property
    @own_torch_state()
    def crop(self) -> Image.Image:
        """The decoder's picture, `image_size` px."""
        return mark_edited(to_image(self.x_hat))

    @cached_property
    def image(self) -> Image.Image:
        """The full photo, at its own resolution, with the edited face in place."""
        return self._paste(self.subject)

    @cached_property
    def preview(self) -> Image.Image:
        """The same on a copy of at most 1,024 px."""
        return self._paste(self.subject.preview)

    @cached_property
    def face(self) -> Image.Image:
        """The edited face alone, aligned, `image_size` px: the crop that would be read from `image`."""
        return self._paste(dataclasses.replace(self.subject, photo=self.subject.crop, photo_from_crop=np.eye(2, 3)))

    @property
    def warning(self) -> str:
        """Sentences on what limits the edit: `Subject.warning`, and a mouth that is not edited; else empty."""
        return f"{self.subject.warning} {MOUTH_NOT_EDITED if self._ends_above_mouth else ''}".strip()

    @property
    def _ends_above_mouth(self) -> bool:
        if self._warp_field is not None:
            return self._warp_field.ends_above_mouth
        return self.subject.mouth is not None and self.subject.mouth.is_covered

    @cached_property
    def _warp_field(self) -> WarpField | None:
        return None if self.prediction is None else WarpField.from_prediction(self.prediction, self.subject.mouth)

    @own_torch_state()
    def _paste(self, subject: Subject) -> Image.Image:
        check()
        size = self.subject.crop.width
        if self._warp_field is not None:
            curve = subject.color_curve
            return apply_warp(subject.photo, self._warp_field, subject.photo_from_crop, size, curve)
        mask = face_mask(size) * upper_face(size, 1.0).numpy() if self._ends_above_mouth else face_mask(size)
        patch = match_color(self.crop, subject.crop, mask)
        grain = estimate_grain(subject.photo, subject.photo_from_crop, size)
        if subject.color_curve is None:
            return mark_edited(paste_back(subject.photo, patch, subject.photo_from_crop, mask, grain))
        result, planes = mark_edited(subject.photo), np.moveaxis(patch, 2, 0)
        for box, colors, weight in planes_in_photo(planes, subject.photo_from_crop, mask, result.size):
            blend_planes(result, box, subject.color_curve.recolor(colors), weight, grain)
        return result
