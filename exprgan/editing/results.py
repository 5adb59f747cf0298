"""A face that was read, and one edit of it: what the editor hands out. Both are values; nothing that they say changes."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..models.networks import Decoder
from ..models.warp_network import WarpPrediction, FlowPrediction
from ..photo.alignment import face_mask, match_color, paste_back
from ..photo.detection import Face
from ..photo.film_grain import estimate_grain
from ..photo.image_io import mark_edited, to_image
from .warp_field import WarpField, motion_between, apply_warp

Fidelity = Literal["detail", "tuned", "model"]
"""How an edit goes back into the photo. `detail`: the photo's own pixels carry it (see motion.py). `tuned`: the same, after
the decoder was fitted to this face for some seconds (tuning.py). `model`: the decoder's picture pasted, as in the paper."""
FIDELITIES: tuple[Fidelity, ...] = ("detail", "tuned", "model")
PREVIEW_PX = 1024
MIN_CERTAINTY = 0.8
"""A face whose expression is read with less certainty than this is edited as if it were neutral."""


@dataclass(frozen=True)
class Reading:
    """The expression a face shows, as the classifier and Q see it."""

    expression: str
    """One of the K expressions, or "neutral"."""
    certainties: dict[str, float]
    """The classifier's probability of every expression and of neutral; they add up to 1."""
    code: Tensor
    """c, (K * d,): Q's reading given the expression; all -1 for a neutral face."""

    @property
    def own_code(self) -> Tensor:
        """The code from which edits depart: as read if the expression is sure, else neutral."""
        return self.code if self.certainties[self.expression] >= MIN_CERTAINTY else torch.full_like(self.code, -1.0)


@dataclass(frozen=True)
class Subject:
    """A face in a photo, ready to be edited."""

    photo: Image.Image
    """The full photo, RGB, upright."""
    face: Face | None
    """Where it is; None for a crop that came aligned."""
    crop: Image.Image
    """The aligned face, `image_size` px, as G_enc sees it."""
    photo_from_crop: np.ndarray
    """(2, 3): crop px -> photo px."""
    z: Tensor
    """(z_dim,): g(x)."""
    reading: Reading
    own: Tensor
    """(3, S, S) in [-1, 1]: the decoder's picture of the face with the expression it has, from which edits depart."""
    frame: Tensor | None = None
    """(3, 2 S, 2 S) in [-1, 1]: the photo as T sees it, over a frame larger than the crop; None without a T."""
    decoder: Decoder | None = field(default=None, repr=False)
    """A decoder fitted to this face, used instead of the model's; None before `tune`."""

    told: dict[tuple[float, bytes], FlowPrediction] = field(default_factory=dict, repr=False, compare=False)
    """What T said of some edits of this face, by emphasis and code (between.py). All sizes of its photo share it; who
    changes what T sees of the face, its own picture or its decoder, gives it a new one."""

    @cached_property
    def preview(self) -> "Subject":
        """The same subject in a photo of at most 1,024 px, for quick looks."""
        scale = PREVIEW_PX / max(self.photo.size)
        if scale >= 1:
            return self
        size = tuple(max(1, round(side * scale)) for side in self.photo.size)
        small = self.photo.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        factors = np.array([[size[0] / self.photo.width], [size[1] / self.photo.height]])
        return dataclasses.replace(self, photo=small, photo_from_crop=self.photo_from_crop * factors)


@dataclass(frozen=True)
class EditResult:
    """One edit; the pasted photos are made when asked for, and say in their files that AI edited them."""

    subject: Subject
    code: Tensor
    """c, (K * d,), that the face was decoded with."""
    fidelity: Fidelity
    decode: Callable[[], Tensor] = field(repr=False, compare=False)
    """Makes `x_hat`."""
    detail: WarpPrediction | None = None
    """What T says of the edit; None without a T, or where it was not asked."""

    @cached_property
    def x_hat(self) -> Tensor:
        """(3, S, S) in [-1, 1]: the decoder's picture."""
        return self.decode()

    @cached_property
    def crop(self) -> Image.Image:
        """The decoder's picture, `image_size` px."""
        return mark_edited(to_image(self.x_hat))

    @cached_property
    def motion(self) -> WarpField:
        """How the photo's own pixels move, and what is laid over them."""
        if self.detail is not None:
            return WarpField.of(self.detail)
        return motion_between(self.subject.own, self.x_hat)

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
        """The edited face alone, aligned, `image_size` px: what `read_crop` would read from `image`."""
        return self._paste(dataclasses.replace(self.subject, photo=self.subject.crop, photo_from_crop=np.eye(2, 3)))

    def _paste(self, subject: Subject) -> Image.Image:
        size = self.subject.own.shape[-1]
        if self.fidelity != "model":
            return mark_edited(apply_warp(subject.photo, self.motion, subject.photo_from_crop, size))
        mask = face_mask(size)
        patch = match_color(self.crop, subject.crop, mask)
        grain = estimate_grain(subject.photo, subject.photo_from_crop, size)
        return mark_edited(paste_back(subject.photo, patch, subject.photo_from_crop, mask, grain))
