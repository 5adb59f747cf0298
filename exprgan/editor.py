"""The editor: photo in, edited photo out. Holds weights only, so its calls are safe side by side.

A photo is read once into a `Subject` (find, align, encode); every edit after that is one pass of G_dec and a paste.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .alignment import crop_face, crop_from_photo, face_mask, invert, match_color, paste_back
from .controller import check_intensity
from .expressions import NEUTRAL
from .faces import Face, choose, find_faces
from .images import edited, load_photo, to_image, to_tensor
from .model import ExprGAN
from .motion import Motion, motion_between, paste_motion

Fidelity = Literal["detail", "model"]
"""How an edit goes back into the photo: `detail` moves the photo's own pixels as the edit moves the face (see motion.py);
`model` pastes the decoder's picture, as the paper does."""
FIDELITIES: tuple[Fidelity, ...] = ("detail", "model")
PREVIEW_PX = 1024
SURE = 0.8
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
    x_hat: Tensor
    """(3, S, S) in [-1, 1]: the decoder's picture."""
    fidelity: Fidelity

    @cached_property
    def crop(self) -> Image.Image:
        """The decoder's picture, `image_size` px."""
        return edited(to_image(self.x_hat))

    @cached_property
    def motion(self) -> Motion:
        """How the photo's own pixels move, and what is added to them."""
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
        mask = face_mask(self.x_hat.shape[-1])
        if self.fidelity == "detail":
            return edited(paste_motion(subject.photo, self.motion, subject.photo_from_crop, mask))
        patch = match_color(self.crop, subject.crop, mask)
        return edited(paste_back(subject.photo, patch, subject.photo_from_crop, mask))


class ExpressionEditor:
    """Edits photos with a model. Every method takes a photo (path, bytes, PIL image, array) or a `Subject`.

    Args:
        model: loaded weights; they are only read.

    Example:
        >>> editor = ExpressionEditor(ExprGAN.from_pretrained("weights"))
        >>> subject = editor.read("me.jpg")
        >>> editor.edit(subject, "happy", intensity=0.8).image.save("me-happy.png")
    """

    def __init__(self, model: ExprGAN):
        self.model = model.eval().requires_grad_(False)

    @property
    def expressions(self) -> tuple[str, ...]:
        """What `edit` accepts: the model's expressions, and neutral."""
        return (*self.model.config.expressions, NEUTRAL)

    def find(self, photo: Any) -> list[Face]:
        """All faces, largest first; empty if there is none.

        Raises:
            BadImageError: the photo cannot be read.
        """
        return find_faces(load_photo(photo))

    def read(self, photo: Any, face: int | Face | None = None) -> Subject:
        """Finds, aligns and encodes one face.

        Args:
            photo: a path, bytes, a file, a PIL image or an array; a `Subject` is returned as it is.
            face: which face: an index into `find`'s list, or one of its faces; the largest unless given.

        Raises:
            BadImageError: the photo cannot be read.
            NoFaceError: no face was found, or not that many.
        """
        if isinstance(photo, Subject):
            return photo
        photo = load_photo(photo)
        if not isinstance(face, Face):
            face = choose(find_faces(photo), face)
        size = self.model.config.image_size
        matrix = crop_from_photo(face.landmarks, size)
        return self._encode(photo, face, crop_face(photo, matrix, size), invert(matrix))

    def read_crop(self, crop: Any) -> Subject:
        """A picture that is an aligned crop already, such as one of the training set: nothing is sought or moved.

        Raises:
            BadImageError: it cannot be read.
        """
        crop, size = load_photo(crop), self.model.config.image_size
        photo_from_crop = np.array([[crop.width / size, 0.0, 0.0], [0.0, crop.height / size, 0.0]])
        return self._encode(crop, None, crop.resize((size, size), Image.Resampling.LANCZOS), photo_from_crop)

    def read_expression(self, crop: Any) -> Reading:
        """What an aligned crop shows, such as `EditResult.face`, without encoding it.

        Raises:
            BadImageError: it cannot be read.
        """
        size = self.model.config.image_size
        with torch.inference_mode():
            return self._read_expression(self._to_batch(load_photo(crop).resize((size, size), Image.Resampling.LANCZOS)))

    def edit(
        self,
        photo: Any,
        expression: str | Mapping[str, float],
        intensity: float = 1.0,
        *,
        style: int | None = None,
        face: int | Face | None = None,
        fidelity: Fidelity = "detail",
    ) -> EditResult:
        """Gives the face another expression.

        Args:
            photo: a photo or a `Subject`.
            expression: one of `expressions`, or a mix of several: {"happy": 0.6, "surprise": 0.4}.
            intensity: 0 (neutral) to 1 (full strength); multiplies the numbers of a mix.
            style: one of the d ways to show the expression alone, 0..d-1; all of them together unless given.
            face: which face of a photo, as in `read`.
            fidelity: "detail" or "model", see `Fidelity`.

        Raises:
            ValueError: an unknown expression, style or fidelity, or an intensity outside [0, 1].
            BadImageError, NoFaceError: as in `read`.
        """
        strength = check_intensity(intensity)
        parts = {expression: 1.0} if isinstance(expression, str) else expression
        code = self.model.F_ctrl.mix({name: strength * part for name, part in parts.items()}, style=style)
        return self.decode(self.read(photo, face), code, fidelity=fidelity)

    def transfer(self, photo: Any, source: Any, intensity: float = 1.0, *, face: int | Face | None = None,
                 source_face: int | Face | None = None, fidelity: Fidelity = "detail") -> EditResult:  # fmt: skip
        """Gives the face in `photo` the expression of the face in `source`: G_dec(g(x_A), c_B).

        Args:
            photo: whose face is edited.
            source: whose expression is taken; the classifier says y_B, Q reads c_B.
            intensity: 0 (neutral) to 1 (as in the source).
            face, source_face: which face of either photo, as in `read`.
            fidelity: "detail" or "model", see `Fidelity`.

        Raises:
            ValueError, BadImageError, NoFaceError: as in `edit`.
        """
        strength = check_intensity(intensity)
        code = self.read(source, source_face).reading.code
        neutral = self.model.F_ctrl.neutral()
        return self.decode(self.read(photo, face), torch.lerp(neutral, code, strength), fidelity=fidelity)

    def decode(self, subject: Subject, code: Tensor, *, fidelity: Fidelity = "detail") -> EditResult:
        """Any code: c (K * d,) in [-1, 1] -> the subject with it."""
        if fidelity not in FIDELITIES:
            raise ValueError(f"fidelity must be one of {', '.join(FIDELITIES)}, not {fidelity!r}")
        return EditResult(subject, code, self._decode(subject.z, code), fidelity)

    def generate(self, count: int, expression: str | Mapping[str, float] = "happy", intensity: float = 1.0, *,
                 style: int | None = None, seed: int | None = None) -> list[Image.Image]:  # fmt: skip
        """New people, G_dec(z, c) with z ~ P_z = U(-1, 1): `count` pictures of `image_size` px.

        The same seed gives the same people, whatever the expression; None draws a new one each time.

        Raises:
            ValueError: a count below 1, or as in `edit`.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count!r}")
        strength = check_intensity(intensity)
        parts = {expression: 1.0} if isinstance(expression, str) else expression
        code = self.model.F_ctrl.mix({name: strength * part for name, part in parts.items()}, style=style)
        chance = torch.Generator()
        chance.seed() if seed is None else chance.manual_seed(seed)
        z = torch.rand(count, self.model.config.z_dim, generator=chance) * 2 - 1
        with torch.inference_mode():
            parts = [self.model.G_dec(some.to(self._device), code.to(self._device).expand(len(some), -1))
                     for some in z.split(16)]  # fmt: skip
        return [edited(to_image(x_hat.float().cpu())) for x_hat in torch.cat(parts)]

    def _encode(self, photo: Image.Image, face: Face | None, crop: Image.Image, photo_from_crop: np.ndarray) -> Subject:
        x = self._to_batch(crop)
        with torch.inference_mode():
            z, reading = self.model.G_enc(x)[0], self._read_expression(x)
        sure = reading.certainties[reading.expression] >= SURE
        own = self._decode(z, reading.code if sure else self.model.F_ctrl.neutral())
        return Subject(photo, face, crop, photo_from_crop, z, reading, own)

    def _to_batch(self, crop: Image.Image) -> Tensor:
        """One crop as the networks take it: (1, 3, S, S) in [-1, 1]."""
        weights = next(self.model.parameters())
        return to_tensor(crop)[None].to(weights.device, weights.dtype)

    def _decode(self, z: Tensor, code: Tensor) -> Tensor:
        """G_dec for one: z (z_dim,) and c (K * d,) -> x_hat (3, S, S) float32 on the CPU."""
        with torch.inference_mode():
            return self.model.G_dec(z[None], code.to(z)[None])[0].float().cpu()

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _read_expression(self, x: Tensor) -> Reading:
        """x: (1, 3, H, W). The classifier gives y; Q gives c, unless the face is neutral (no class of y)."""
        certainty = self.model.classifier(x)[0].softmax(dim=1)[0].float().cpu()
        names, best = self.expressions, int(certainty.argmax())
        code = self.model.F_ctrl.neutral()
        if names[best] != NEUTRAL:
            y = torch.eye(len(self.model.config.expressions), dtype=x.dtype, device=x.device)[best][None]
            code = self.model.Q(x, y)[0].float().cpu()
        return Reading(names[best], dict(zip(names, certainty.tolist(), strict=True)), code)
