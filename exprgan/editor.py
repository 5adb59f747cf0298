"""The editor: photo in, edited photo out. Holds weights only, so its calls are safe side by side.

A photo is read once into a `Subject` (find, align, encode); every edit after that is one pass of G_dec and a paste.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .editing.animation import Animation, Kind, check_kind, frames_in, path_of
from .editing.multi_face import GroupResult, EditRequest, EditRequests, requests_by_face
from .editing.pivotal_tuning import TuningProgress, tune
from .editing.results import FIDELITIES, EditResult, Fidelity, Reading, Subject
from .editing.retrieval import By, Match, check_by, distances, pictures_in, vector
from .editing.warp_cache import predict_warp
from .errors import BadImageError, NoFaceError
from .expressions import NEUTRAL
from .models.controller import check_intensity
from .models.exprgan import ExprGAN
from .models.latent_prior import Prior
from .models.networks import Decoder
from .models.warp_network import FIELD_SCALE, WIDE_CROP_SCALE
from .photo.ai_metadata import mark_generated
from .photo.alignment import crop_face, crop_from_photo, photo_from_wide_crop, invert
from .photo.detection import Face, choose_face, find_faces
from .photo.image_io import mark_edited, load_photo, to_image, to_tensor


class ExpressionEditor:
    """Edits photos with a model. Every method takes a photo (path, bytes, PIL image, array) or a `Subject`.

    Args:
        model: loaded weights; they are only read, and laid out in memory as is quickest.

    Example:
        >>> editor = ExpressionEditor(ExprGAN.from_pretrained("weights"))
        >>> subject = editor.read("me.jpg")
        >>> editor.edit(subject, "happy", intensity=0.8).image.save("me-happy.png")
    """

    def __init__(self, model: ExprGAN):
        self.model = model.eval().requires_grad_(False)
        self.model.G_dec.arrange()
        if self.model.T is not None:
            self.model.T.to(memory_format=torch.channels_last)

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
            face = choose_face(find_faces(photo), face)
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
            fidelity: "detail", "model" or "tuned", see `Fidelity`.

        Raises:
            ValueError: an unknown expression, style or fidelity, or an intensity outside [0, 1].
            BadImageError, NoFaceError: as in `read`.
        """
        code = self._code(expression, intensity, style)
        return self.decode(self.read(photo, face), code, fidelity=fidelity)

    def transfer(self, photo: Any, source: Any, intensity: float = 1.0, *, face: int | Face | None = None,
                 source_face: int | Face | None = None, fidelity: Fidelity = "detail") -> EditResult:  # fmt: skip
        """Gives the face in `photo` the expression of the face in `source`: G_dec(g(x_A), c_B).

        Args:
            photo: whose face is edited.
            source: whose expression is taken; the classifier says y_B, Q reads c_B.
            intensity: 0 (neutral) to 1 (as in the source).
            face, source_face: which face of either photo, as in `read`.
            fidelity: "detail", "model" or "tuned", see `Fidelity`.

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
        if fidelity == "tuned" and subject.decoder is None:
            subject = self.tune(subject)
        decode = partial(self._decode, subject.z, decoder=subject.decoder)
        detail = None
        if fidelity != "model" and self.model.T is not None:
            detail = predict_warp(self.model.T, self.model.config.detail_emphasis, subject, code, decode)
        return EditResult(subject, code, fidelity, partial(decode, code), detail)

    def tune(self, photo: Any, *, face: int | Face | None = None, progress: TuningProgress | None = None) -> Subject:
        """Fits a copy of the decoder to one face, for some seconds; edits of the result with "tuned" use it.

        Args:
            photo: a photo or a `Subject`.
            face: which face of a photo, as in `read`.
            progress: called with the share done, 0..1.

        Raises:
            BadImageError, NoFaceError: as in `read`.
        """
        return tune(self.model, self.read(photo, face), progress)

    def generate(self, count: int, expression: str | Mapping[str, float] = "happy", intensity: float = 1.0, *,
                 style: int | None = None, seed: int | None = None,
                 prior: Prior = "people") -> list[Image.Image]:  # fmt: skip
        """New people, G_dec(z, c) with z drawn at random: `count` pictures of `image_size` px.

        Args:
            count: how many.
            expression, intensity, style: what they show, as in `edit`.
            seed: the same one gives the same people, whatever the expression; None draws a new one each time.
            prior: "people", like those that were trained on, or "uniform", the paper's P_z; see `Prior`.

        Raises:
            ValueError: a count below 1, an unknown prior, or as in `edit`.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count!r}")
        code = self._code(expression, intensity, style)
        chance = torch.Generator()
        chance.seed() if seed is None else chance.manual_seed(seed)
        z = self.model.people.draw(count, chance, prior)
        return [mark_generated(person) for person in self.decode_many(z, code)]

    def read_all(self, photo: Any, faces: Iterable[int] | None = None) -> dict[int, Subject]:
        """Reads several faces of a photo, or all, by their places in `find`'s list: to be edited together, or one by one.

        Args:
            photo: a photo; a `Subject` is taken as face 0, and of what this method returned those asked for are returned.
            faces: which; all unless given.

        Raises:
            BadImageError: the photo cannot be read.
            NoFaceError: no face was found, or not that many.
        """
        if isinstance(photo, Subject):
            photo = {0: photo}
        if isinstance(photo, Mapping):
            for place in set(faces or ()) - photo.keys():
                raise NoFaceError(f"Face {place} was not read, only {', '.join(map(str, photo))}. Choose among these.")
            return {place: photo[place] for place in (photo if faces is None else sorted(set(faces)))}
        photo = load_photo(photo)
        found = find_faces(photo)
        choose_face(found)
        chosen = {
            place: choose_face(found, place) for place in (range(len(found)) if faces is None else sorted(set(faces)))
        }
        return {place: dataclasses.replace(self.read(photo, face), photo=photo) for place, face in chosen.items()}

    def edit_many(self, photo: Any, wishes: EditRequests, intensity: float = 1.0, *, style: int | None = None,
                  fidelity: Fidelity = "detail") -> GroupResult:  # fmt: skip
        """Gives several faces of a photo other expressions, each its own or all the same.

        Args:
            photo: a photo, a `Subject`, or what `read_all` made of one.
            wishes: an expression or a mix for all, or one each by place in `find`'s list: {0: "happy", 2: ("sad", 0.6)}.
                The other faces stay as they are.
            intensity: 0 (neutral) to 1 (full strength), of wishes that say none.
            style, fidelity: as in `edit`.

        Raises:
            ValueError: no wish, or as in `edit`.
            BadImageError, NoFaceError: as in `read_all`.
        """
        looks = requests_by_face(wishes, intensity)
        codes = {place: self._code(look, strength, style) for place, (look, strength) in looks.items()}
        people = self.read_all(photo, None if None in codes else codes)
        return GroupResult({place: self.decode(one, codes[None if None in codes else place], fidelity=fidelity)
                            for place, one in people.items()})  # fmt: skip

    def animate(self, photo: Any, kind: Kind = "sweep", wishes: EditRequests = "happy", intensity: float = 1.0, *,
                start: EditRequest | None = None, style: int | None = None, seconds: float = 2.0, fps: float = 25,
                face: int | Face | Sequence[int] | Literal["all"] | None = None,
                fidelity: Fidelity = "detail") -> Animation:  # fmt: skip
        """An expression that comes and goes: frames at the photo's size, made when asked for, to save as MP4, GIF or WebP.

        Args:
            photo: a photo, a `Subject`, or what `read_all` made of it.
            kind: "sweep", "tour" or "morph", see `Kind`.
            wishes: the look at the top, as in `edit_many`; a tour shows all expressions in turn.
            intensity: the strength at the top, of wishes that say none.
            start: where a morph sets out, ("sad", 0.5) say; from the face as it is in the photo unless given.
            style, fidelity: as in `edit`.
            seconds: how long one rise and fall takes; a tour has one for each expression.
            fps: frames a second, 1 to 50.
            face: which face, as in `read`, or several, or "all"; unless given, those of `wishes`, or the largest.

        Raises:
            ValueError: an unknown kind, seconds or fps out of range, or as in `edit_many`.
            BadImageError, NoFaceError: as in `read_all`.
        """
        check_kind(kind)
        frames, looks = frames_in(seconds, fps), requests_by_face(wishes, intensity)
        code = partial(self._code, style=style)
        for look, strength in looks.values():
            code(look, strength)  # says what is wrong before anything slow
        if fidelity not in FIDELITIES:
            raise ValueError(f"fidelity must be one of {', '.join(FIDELITIES)}, not {fidelity!r}")
        begin = None if start is None else code(*requests_by_face(start, 1.0)[None])
        people = self._people(photo, face if None in looks else list(looks))
        if fidelity == "tuned":
            people = {place: one if one.decoder else self.tune(one) for place, one in people.items()}
        paths = [path_of(kind, frames, code, looks.get(place) or looks[None], self.model.config.expressions,
                         one.reading.own_code if begin is None else begin) for place, one in people.items()]  # fmt: skip
        return Animation([*people.values()], [*zip(*paths, strict=True)], fps, partial(self.decode, fidelity=fidelity))

    def _people(self, photo: Any, face: int | Face | Sequence[int] | str | None) -> dict[int, Subject]:
        """One face or several, by their places; the place of a face that was given as such counts for nothing."""
        if isinstance(photo, (Subject, Mapping)) or isinstance(face, Sequence):
            if isinstance(face, str) and face != "all":
                raise ValueError(f'face must be a number, several of them, or "all", not {face!r}')
            return self.read_all(photo, None if face in (None, "all") else [face] if isinstance(face, int) else face)
        return {face if isinstance(face, int) else 0: self.read(photo, face)}

    def interpolate(self, photo_a: Any, photo_b: Any, steps: int = 8, expression: str | Mapping[str, float] = NEUTRAL,
                    intensity: float = 1.0) -> list[Image.Image]:  # fmt: skip
        """From one person to another on a straight line in z = g(x), which D_z keeps free of holes (paper, eq. 8).

        Args:
            photo_a, photo_b: photos or `Subject`s.
            steps: pictures on the way, both ends among them.
            expression, intensity: what all of them show, as in `edit`.

        Returns:
            `steps` pictures of `image_size` px, the decoder's own; the ends are those of `edit(...).crop`.

        Raises:
            ValueError: fewer than 2 steps, or as in `edit`.
            BadImageError, NoFaceError: as in `read`.
        """
        if steps < 2:
            raise ValueError(f"steps must be at least 2, the two ends, not {steps!r}")
        code = self._code(expression, intensity, None)
        z_a, z_b = (self.read(photo).z.float().cpu() for photo in (photo_a, photo_b))
        return self.decode_many(torch.lerp(z_a, z_b, torch.linspace(0, 1, steps)[:, None]), code)

    def retrieve(self, photo: Any, folder: Any, by: By = "c", count: int = 5) -> list[Match]:
        """The pictures most like a photo, nearest first: with the same expression by c, of the same look by x.

        Args:
            photo: a photo or a `Subject`.
            folder: a folder of pictures, or a list of photos and `Subject`s. What in a folder cannot be read or has no
                face is passed over. Aligned crops go in as a list: `[editor.read_crop(path) for path in paths]`.
            by: "c", the code that Q reads; "y", the classifier's probabilities; "x", the aligned crop's pixels.
            count: how many to return; fewer if there are not that many.

        Raises:
            ValueError: an unknown `by`, or a count below 1.
            BadImageError: the folder is missing or holds nothing that can be used; else as in `read`.
        """
        check_by(by)
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count!r}")
        query = self.read(photo)
        if isinstance(folder, (str, os.PathLike)):
            photos = pictures_in(folder)
            subjects = list(self._readable(photos))
        else:
            photos = list(folder)
            subjects = [(i, self.read(one)) for i, one in enumerate(photos)]
        if not subjects:
            raise BadImageError(f"There is no face to choose from in {folder}. Name a folder or list of photos with faces.")

        apart = distances(vector(query, by)[None], torch.stack([vector(one, by) for _, one in subjects]))[0].tolist()
        paths = [Path(one) if isinstance(one, (str, os.PathLike)) else None for one in photos]
        matches = [Match(i, paths[i], distance) for (i, _), distance in zip(subjects, apart, strict=True)]
        return sorted(matches, key=lambda match: match.distance)[:count]

    def decode_many(self, z: Tensor, code: Tensor) -> list[Image.Image]:
        """G_dec for many: z (N, z_dim), and c (K * d,) for all or (N, K * d) for each -> N pictures of `image_size` px."""
        weights, codes = next(self.model.parameters()), code.expand(len(z), -1)
        with torch.inference_mode():
            parts = [self.model.G_dec(some.to(weights), c.to(weights)).float().cpu()
                     for some, c in zip(z.split(16), codes.split(16), strict=True)]  # fmt: skip
        return [mark_edited(to_image(x_hat)) for x_hat in torch.cat(parts)]

    def _code(self, expression: str | Mapping[str, float], intensity: float, style: int | None) -> Tensor:
        """The code of an expression or a mix at an intensity: (K * d,)."""
        strength = check_intensity(intensity)
        parts = {expression: 1.0} if isinstance(expression, str) else expression
        return self.model.F_ctrl.mix({name: strength * part for name, part in parts.items()}, style=style)

    def _readable(self, paths: Iterable[Path]) -> Iterator[tuple[int, Subject]]:
        """The files in which a face is found, with their places."""
        for i, path in enumerate(paths):
            with suppress(BadImageError, NoFaceError):
                yield i, self.read(path)

    def _encode(self, photo: Image.Image, face: Face | None, crop: Image.Image, photo_from_crop: np.ndarray) -> Subject:
        x = self._to_batch(crop)
        with torch.inference_mode():
            z, reading = self.model.G_enc(x)[0], self._read_expression(x)
        frame = self._frame(photo, photo_from_crop) if self.model.T is not None else None
        return Subject(photo, face, crop, photo_from_crop, z, reading, self._decode(z, reading.own_code), frame)

    def _frame(self, photo: Image.Image, photo_from_crop: np.ndarray) -> Tensor:
        """The photo as T sees it."""
        crop_px = self.model.config.image_size
        frame_px = FIELD_SCALE * crop_px
        matrix = invert(photo_from_wide_crop(photo_from_crop, crop_px, WIDE_CROP_SCALE, frame_px))
        return to_tensor(crop_face(photo, matrix, frame_px))

    def _to_batch(self, crop: Image.Image) -> Tensor:
        """One crop as the networks take it: (1, 3, S, S) in [-1, 1]."""
        weights = next(self.model.parameters())
        return to_tensor(crop)[None].to(weights.device, weights.dtype)

    def _decode(self, z: Tensor, code: Tensor, decoder: Decoder | None = None) -> Tensor:
        """G_dec, or another's, for one: z (z_dim,) and c (K * d,) -> x_hat (3, S, S) float32 on the CPU."""
        with torch.inference_mode():
            return (decoder or self.model.G_dec)(z[None], code.to(z)[None])[0].float().cpu()

    def _read_expression(self, x: Tensor) -> Reading:
        """x: (1, 3, H, W). The classifier gives y; Q gives c, unless the face is neutral (no class of y)."""
        certainty = self.model.classifier(x)[0].softmax(dim=1)[0].float().cpu()
        names, best = self.expressions, int(certainty.argmax())
        code = self.model.F_ctrl.neutral()
        if names[best] != NEUTRAL:
            y = torch.eye(len(self.model.config.expressions), dtype=x.dtype, device=x.device)[best][None]
            code = self.model.Q(x, y)[0].float().cpu()
        return Reading(names[best], dict(zip(names, certainty.tolist(), strict=True)), code)
