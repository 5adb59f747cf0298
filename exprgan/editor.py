"""The editor of photos. It holds weights only, so concurrent calls are safe.

A photo is read once into a `Subject` (detect, align, read the expression); each edit of it costs one pass of G_dec or T and
a paste.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .deadline import check
from .editing.animation import ANIMATION_KINDS, Animation, Kind, aims_over_time, num_frames
from .editing.color_curve import ColorCurve
from .editing.dials import dials_of
from .editing.generation import Generation
from .editing.latent import Latent
from .editing.mouth_visibility import MouthView
from .editing.multi_face import EditRequest, EditRequests, ExpressionMix, GroupResult, requests_by_face
from .editing.pivotal_tuning import TuningProgress, tune
from .editing.results import FIDELITIES, EditResult, Fidelity, Reading, Subject
from .editing.retrieval import BY, By, Match, distances, feature_vector, pictures_in
from .editing.target import BY_CODE, NO_UNITS, TRANSFER_BY, Aim, Target, TransferBy, transfer_aim
from .editing.warp_cache import UnitChange, predict_warp
from .errors import BadImageError, NoFaceError, check_choice
from .expressions import NEUTRAL
from .models.backward_warp import FIELD_SCALE
from .models.controller import check_intensity
from .models.exprgan import ExprGAN
from .models.networks import Decoder
from .models.warp_network import WIDE_CROP_SCALE
from .photo.ai_metadata import mark_edited
from .photo.alignment import crop_face, crop_from_photo, invert, photo_from_enlarged_crop, transform
from .photo.detection import Face, choose_face, find_faces
from .photo.image_io import load_photo, to_image, to_tensor
from .torch_state import own_torch_state, replace_inference_tensors
from .video.film_editing import FilmEditing


class ExpressionEditor(Generation, FilmEditing):
    """Edits photos with a model, whose weights are not changed, apart from their layout in memory.

    These arguments mean the same in all methods:
        photo: a path, bytes, a file, a PIL image, an array, or a `Subject`, a face that was read before.
        face: index into `find`'s list, from 0 and from left to right, or one of its faces; the largest if None.
        expression: one of `expressions`, or a mix of several: {"happy": 0.6, "surprise": 0.4}.
        intensity: 0 (neutral) to 1 (full strength); multiplies the numbers of a mix.
        style: one of the d ways to show the expression, 0..d-1; all of them together if None.
        units: action units by plain names, see `edit`.
        fidelity: "detail", "model" or "tuned", see `Fidelity`.

    Raises (from all methods):
        BadImageError: a photo cannot be read.
        NoFaceError: a photo shows no face, or not that many.
        ValueError: another argument is out of range or unknown; the message names it.

    Example:
        >>> editor = ExpressionEditor(ExprGAN.from_pretrained("weights"))
        >>> subject = editor.read("me.jpg")
        >>> editor.edit(subject, "happy", intensity=0.8).image.save("me-happy.png")
    """

    @own_torch_state()
    def __init__(self, model: ExprGAN):
        if not isinstance(model, ExprGAN):
            raise TypeError(f"model must be an ExprGAN, not {model!r}; load one with ExprGAN.from_pretrained")
        replace_inference_tensors(model)
        self.model = model.eval().requires_grad_(False)
        self.model.G_dec.optimize_layout()
        if self.model.T is not None:
            self.model.T.to(memory_format=torch.channels_last)

    @property
    def expressions(self) -> tuple[str, ...]:
        """The expressions that `edit` accepts: the model's, and neutral."""
        return (*self.model.config.expressions, NEUTRAL)

    @property
    def dials(self) -> tuple[str, ...]:
        """The names, without sides, of the action units that `edit` accepts; empty if the model's T takes none."""
        return tuple(dials_of(self.model.config.warp_units, self.model.config.warp_eyes))

    def find(self, photo: Any) -> list[Face]:
        """Finds all faces, from left to right; empty if there is none."""
        return find_faces(load_photo(photo))

    def read(self, photo: Any, face: int | Face | None = None) -> Subject:
        """Detects and aligns one face and reads its expression; a `Subject` is returned unchanged.

        Raises:
            ValueError: a face was asked for, and the photo is a `Subject`, which is one face.
        """
        if isinstance(photo, Subject):
            if face is not None:
                raise ValueError(
                    "face chooses one in a photo, and this is a Subject, one face that was read; leave face out"
                )
            return photo
        photo = load_photo(photo)
        if not isinstance(face, Face):
            face = choose_face(find_faces(photo), face)
        size = self.model.config.image_size
        matrix = crop_from_photo(face.landmarks, size)
        return self._read(photo, face, crop_face(photo, matrix, size), invert(matrix))

    def read_crop(self, crop: Any) -> Subject:
        """Reads a picture that is an aligned crop already, such as one of the training set."""
        crop, size = load_photo(crop), self.model.config.image_size
        photo_from_crop = np.array([[crop.width / size, 0.0, 0.0], [0.0, crop.height / size, 0.0]])
        return self._read(crop, None, crop.resize((size, size), Image.Resampling.LANCZOS), photo_from_crop)

    @own_torch_state()
    def read_expression(self, crop: Any) -> Reading:
        """Reads the expression of an aligned crop, such as `EditResult.face`."""
        size = self.model.config.image_size
        return self._read_expression(self._to_batch(load_photo(crop).resize((size, size), Image.Resampling.LANCZOS)))

    def read_all(self, photo: Any, faces: Iterable[int] | None = None) -> dict[int, Subject]:
        """Reads the faces of a photo with these indices into `find`'s list, or all: subjects by index.

        A `Subject` counts as face 0; from a result of this method the requested faces are returned.
        """
        if isinstance(photo, Subject):
            photo = {0: photo}
        if isinstance(photo, Mapping):
            for index in set(faces or ()) - photo.keys():
                raise NoFaceError(f"Face {index} was not read, only {', '.join(map(str, photo))}. Choose among these.")
            return {index: photo[index] for index in (photo if faces is None else sorted(set(faces)))}
        photo = load_photo(photo)
        found = find_faces(photo)
        choose_face(found)
        indices = range(len(found)) if faces is None else sorted(set(faces))
        chosen = {index: choose_face(found, index) for index in indices}
        return {index: dataclasses.replace(self.read(photo, face), photo=photo) for index, face in chosen.items()}

    def edit(self, photo: Any, expression: ExpressionMix | None = None, intensity: float = 1.0, *,
             style: int | None = None, units: Mapping[str, float] | None = None, face: int | Face | None = None,
             fidelity: Fidelity = "detail") -> EditResult:  # fmt: skip
        """Gives the face another expression, or moves parts of it.

        Args:
            photo: a path, bytes, a file, a PIL image, an array or a `Subject`.
            expression: one of `expressions`, or a mix of several: {"happy": 0.6, "surprise": 0.4}. None: the face stays as
                it is, apart from `units`.
            intensity: 0 (neutral) to 1 (full strength); multiplies the numbers of a mix and, without an expression, those
                of `units`.
            style: one of the d ways to show the expression, 0..d-1; all of them together if None.
            units: what moves on top of the expression, by the names of `dials`: {"smile": 0.4, "lids_left": -1}. 1 is the
                strongest movement that most faces show, a negative value takes that part of what is there away, and "lids"
                at -1 are closed; for "jaw" 1 is half of it. With _left or _right a name moves the person's own side
                alone, except "lips_apart", "jaw", "pucker" and "press". On "neutral" these are all that the face shows. All
                0 change nothing.
            face: index into `find`'s list, or one of its faces; the largest if None.
            fidelity: "detail", "model" or "tuned", see `Fidelity`.

        Raises:
            ValueError: an unknown expression, style, unit or fidelity, a number out of range, neither expression nor units,
                or units for a model without `dials` or the fidelity "model".
            BadImageError, NoFaceError: the photo cannot be read, or shows no such face.
        """
        target = Target.of(self.model, expression, intensity, style, units)
        subject = self.read(photo, face)
        return self._decode_aim(subject, target.aim(self.model, subject.reading), fidelity)

    def edit_many(self, photo: Any, requests: EditRequests | None = None, intensity: float = 1.0, *,
                  style: int | None = None, units: Mapping[str, float] | None = None,
                  fidelity: Fidelity = "detail") -> GroupResult:  # fmt: skip
        """Gives several faces of a photo other expressions, each its own or all the same.

        Args:
            photo: may be a result of `read_all`.
            requests: an expression or a mix for all faces, or one each by index into `find`'s list:
                {0: "happy", 2: ("sad", 0.6)}. The other faces stay as they are. None: all faces stay, apart from `units`.
            intensity: that of requests that give none.
            units: as in `edit`, on each of these faces.
        """
        targets = {index: Target.of(self.model, *request, style, units)
                   for index, request in requests_by_face(requests, intensity).items()}  # fmt: skip
        subjects = self.read_all(photo, None if None in targets else [index for index in targets if index is not None])
        return GroupResult({
            index: self._decode_aim(subject, targets[None if None in targets else index].aim(self.model, subject.reading),
                                    fidelity)
            for index, subject in subjects.items()
        })  # fmt: skip

    def transfer(self, photo: Any, source: Any, intensity: float = 1.0, *, by: TransferBy | None = None,
                 relative: bool = False, face: int | Face | None = None, source_face: int | Face | None = None,
                 fidelity: Fidelity = "detail") -> EditResult:  # fmt: skip
        """Gives the face in `photo` the expression of the face in `source`.

        Args:
            intensity: 0 (neutral or, if `relative`, as it is) to 1 (as in the source).
            by: "units", the action units that the face network reads, each side by itself, so that a wink or a half-smile
                stays one; the tongue is not read. Or "code", as in the paper, G_dec(g(x_A), c_B), where the classifier
                predicts y_B and Q reads c_B. None: by units if the model's T takes them.
            relative: whether the units are added to those of the face instead of replacing them.

        Raises:
            ValueError: the model cannot transfer by units, or `relative` was asked of a transfer by code.
        """
        intensity = check_intensity(intensity)
        by = by or ("units" if self.model.config.warp_units and fidelity != "model" else "code")
        check_choice("by", by, TRANSFER_BY)
        if by == "code" and relative:
            raise ValueError(BY_CODE if self.model.config.warp_units else NO_UNITS)
        source_reading = self.read(source, source_face).reading
        if by == "code":
            code = torch.lerp(self.model.F_ctrl.neutral(), source_reading.code, intensity)
            return self.decode(self.read(photo, face), code, fidelity=fidelity)
        subject = self.read(photo, face)
        aim = transfer_aim(self.model, subject.reading, source_reading, intensity, relative)
        return self._decode_aim(subject, aim, fidelity)

    def decode(self, subject: Subject, code: Tensor, *, units: UnitChange | None = None,
               fidelity: Fidelity = "detail") -> EditResult:  # fmt: skip
        """Edits with any code, c (K * d,) in [-1, 1], and any change in action units.

        Raises:
            ValueError: units with the fidelity "model", or for a model whose T takes none.
        """
        check()
        check_choice("fidelity", fidelity, FIDELITIES)
        if units is not None and (fidelity == "model" or self.model.T is None):
            raise ValueError(
                'the fidelity "model" draws a face by its code alone, without units; choose "detail" or "tuned"'
            )
        if subject.decoder is None and (fidelity == "tuned" or subject.is_tuned):
            subject = self.tune(subject)
        decode = partial(self._decode, subject.latent, decoder=subject.decoder)
        uses_warp = fidelity != "model" and self.model.T is not None
        prediction = predict_warp(self.model, subject, code, decode, units) if uses_warp else None
        return EditResult(subject, code, fidelity, partial(decode, code), prediction)

    def _decode_aim(self, subject: Subject, aim: Aim, fidelity: Fidelity) -> EditResult:
        return self.decode(subject, aim.code, units=aim.units, fidelity=fidelity)

    def tune(self, photo: Any, *, face: int | Face | None = None, progress: TuningProgress | None = None) -> Subject:
        """Fits a copy of the decoder to one face, in some seconds, for "tuned" edits; `progress` gets the fraction done."""
        return tune(self.model, self.read(photo, face), progress)

    def animate(self, photo: Any, kind: Kind = "sweep", requests: EditRequests | None = "happy", intensity: float = 1.0, *,
                start: EditRequest | None = None, style: int | None = None, units: Mapping[str, float] | None = None,
                seconds: float = 2.0, fps: float = 25, face: int | Face | Sequence[int] | Literal["all"] | None = None,
                fidelity: Fidelity = "detail") -> Animation:  # fmt: skip
        """Animates an expression that comes and goes, at the photo's size; `Animation.save` writes MP4, GIF or WebP.

        Args:
            photo: may be a result of `read_all`.
            kind: "sweep", "tour" or "morph", see `Kind`.
            requests, intensity, units: what is shown at the peak, as in `edit_many`; a tour shows all expressions in turn.
            start: where a morph starts, such as ("sad", 0.5); the expression in the photo if None.
            seconds: duration of one rise and fall; a tour has one for each expression.
            fps: frames per second, 1 to 50.
            face: one face, several, or "all"; if None those of `requests`, or the largest.
        """
        check_choice("kind", kind, ANIMATION_KINDS)
        if start is not None and kind != "morph":
            raise ValueError(f"start is where a morph begins, and kind is {kind!r}; leave it out, or choose 'morph'")
        check_choice("fidelity", fidelity, FIDELITIES)
        frames = num_frames(seconds, fps)
        by_face = requests_by_face(requests, intensity)
        targets = {index: Target.of(self.model, *request, style, units) for index, request in by_face.items()}
        start_code = None if start is None else self._code(*requests_by_face(start, 1.0)[None], style)
        subjects = self._read_faces(photo, face if None in by_face else list(by_face))
        if fidelity == "tuned":
            subjects = {index: subject if subject.decoder else self.tune(subject) for index, subject in subjects.items()}
        paths = []
        for index, subject in subjects.items():
            asked, reading = index if index in by_face else None, subject.reading
            peaks = targets[asked].tour(self.model, by_face[asked][1]) if kind == "tour" else [targets[asked]]
            begin = reading.source_code if start_code is None else start_code
            paths.append(aims_over_time(self.model, reading, peaks, frames, begin, kind == "morph"))
        decode = partial(self._decode_aim, fidelity=fidelity)
        return Animation([*subjects.values()], [*zip(*paths, strict=True)], fps, decode)

    @own_torch_state()
    def interpolate(self, photo_a: Any, photo_b: Any, steps: int = 8, expression: ExpressionMix = NEUTRAL,
                    intensity: float = 1.0) -> list[Image.Image]:  # fmt: skip
        """Interpolates linearly in z = g(x) from one person to another; D_z keeps z free of holes (paper, eq. 8).

        Gives `steps` pictures of `image_size` px by the decoder, with one expression; the two ends equal `edit(...).crop`.
        """
        if not isinstance(steps, Integral) or steps < 2:
            raise ValueError(f"steps must be a whole number of at least 2, the two ends, not {steps!r}")
        code = self._code(expression, intensity, None)
        z_a, z_b = (self.read(photo).z for photo in (photo_a, photo_b))
        return self.decode_many(torch.lerp(z_a, z_b, torch.linspace(0, 1, steps)[:, None]), code)

    @own_torch_state()
    def retrieve(self, photo: Any, folder: Any, by: By = "c", count: int = 5) -> list[Match]:
        """Finds the at most `count` pictures nearest to a photo: of the same expression by c, of similar appearance by x.

        Args:
            folder: a folder of JPEG, PNG and WebP pictures, of which those that cannot be read or show no face are
                skipped, or a list of photos and `Subject`s. Aligned crops are passed as a list:
                `[editor.read_crop(path) for path in paths]`.
            by: "c", the code that Q reads; "y", the classifier's probabilities; "x", the pixels of the aligned crop.

        Raises:
            BadImageError: the folder is missing or holds no usable picture.
        """
        if by not in BY:
            raise ValueError(f"by must be one of {', '.join(BY)} (code, label, pixels), not {by!r}")
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count!r}")
        query, subjects = feature_vector(self.read(photo), by)[None], {}
        is_folder = isinstance(folder, (str, os.PathLike))
        photos = pictures_in(folder) if is_folder else list(folder)
        skipped = (BadImageError, NoFaceError) if is_folder else ()
        for i, candidate in enumerate(photos):
            with suppress(*skipped):
                subjects[i] = self.read(candidate)
        if not subjects:
            raise BadImageError(f"There is no face to choose from in {folder}. Name a folder or list of photos with faces.")
        vectors = torch.stack([feature_vector(subject, by) for subject in subjects.values()])
        paths = [Path(candidate) if isinstance(candidate, (str, os.PathLike)) else None for candidate in photos]
        matches = [Match(i, paths[i], distance)
                   for i, distance in zip(subjects, distances(query, vectors)[0].tolist(), strict=True)]  # fmt: skip
        return sorted(matches, key=lambda match: match.distance)[:count]

    @own_torch_state()
    def decode_many(self, z: Tensor, code: Tensor) -> list[Image.Image]:
        """Decodes z (N, z_dim) with c, (K * d,) for all or (N, K * d): N pictures of `image_size` px."""
        weights, codes = next(self.model.parameters()), code.expand(len(z), -1)
        batches = []
        for some, c in zip(z.split(16), codes.split(16), strict=True):
            check()
            batches.append(self.model.G_dec(some.to(weights), c.to(weights)).float().cpu())
        return [mark_edited(to_image(x_hat)) for x_hat in torch.cat(batches)]

    def _code(self, expression: ExpressionMix | None, intensity: float, style: int | None) -> Tensor:
        """The code of an expression or a mix at an intensity: (K * d,)."""
        return self.model.F_ctrl.mix(Target.of(self.model, expression, intensity, style).mix or {}, style=style)

    def _read_faces(self, photo: Any, face: int | Face | Sequence[Any] | None) -> dict[int, Subject]:
        """One face or several, by index; a face given as `Face` gets index 0."""
        if isinstance(photo, (Subject, Mapping)) or isinstance(face, Sequence):
            if isinstance(face, str) and face != "all":
                raise ValueError(f'face must be a number, several of them, or "all", not {face!r}')
            indices = [face] if isinstance(face, int) else face
            return self.read_all(photo, None if face in (None, "all") else indices)  # type: ignore[arg-type]
        return {face if isinstance(face, int) else 0: self.read(photo, face)}

    @own_torch_state()
    def _read(self, photo: Image.Image, face: Face | None, crop: Image.Image, photo_from_crop: np.ndarray) -> Subject:
        check()
        x = self._to_batch(crop)
        latent, reading = Latent(partial(self._encode, crop)), self._read_expression(x)
        wide_crop, size = None, FIELD_SCALE * crop.width
        if self.model.T is not None:
            matrix = photo_from_enlarged_crop(photo_from_crop, crop.width, WIDE_CROP_SCALE, size)
            wide_crop = to_tensor(crop_face(photo, invert(matrix), size))
        reconstruction = self._decode(latent, reading.source_code) if self.model.config.warp_decoded else None
        corners = None if face is None else transform(invert(photo_from_crop), face.landmarks[3:5]) / crop.width
        return Subject(photo, face, crop, photo_from_crop, latent, reading, reconstruction, wide_crop,
                       ColorCurve.from_crop(crop), MouthView.from_crop(crop, corners))  # fmt: skip

    def _to_batch(self, crop: Image.Image) -> Tensor:
        weights = next(self.model.parameters())
        return to_tensor(crop)[None].to(weights.device, weights.dtype)

    @own_torch_state()
    def _encode(self, crop: Image.Image) -> Tensor:
        """g(x) of an aligned crop: (z_dim,) float32 on the CPU."""
        return self.model.G_enc(self._to_batch(crop))[0].float().cpu()

    @own_torch_state()
    def _decode(self, latent: Latent, code: Tensor, decoder: Decoder | None = None) -> Tensor:
        """Decodes one face, with G_dec if no decoder is given: z, (K * d,) -> (3, S, S) float32 on the CPU."""
        weights = next(self.model.parameters())
        return (decoder or self.model.G_dec)(latent.z[None].to(weights), code[None].to(weights))[0].float().cpu()

    def _read_expression(self, x: Tensor) -> Reading:
        """Reads y by the classifier and c by Q, which needs a y that is not neutral; x: (1, 3, H, W)."""
        read = self.model.classifier(x)
        certainty = read.expression.softmax(dim=1)[0].float().cpu()
        weights = [(round(right, 3), round(left, 3)) for right, left in read.units[0].float().tolist()]
        units = dict(zip(self.model.config.action_units, weights, strict=True))
        names, best = self.expressions, int(certainty.argmax())
        code = self.model.F_ctrl.neutral()
        if names[best] != NEUTRAL:
            y = torch.eye(len(self.model.config.expressions), dtype=x.dtype, device=x.device)[best][None]
            code = self.model.Q(x, y)[0].float().cpu()
        return Reading(names[best], dict(zip(names, certainty.tolist(), strict=True)), code, units)
