"""Edits the face in the frames of a film, one after the other, so that nothing flickers and nothing jumps.

Of every frame the expression is read and T asked anew; readings, flow, gain and mouth are smoothed over time in the
coordinates of the crop, which the tracker has smoothed. Where the face appears or is lost the edit fades.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..editing.color_curve import ColorCurve
from ..editing.latent import Latent
from ..editing.mouth_visibility import MouthView, is_mouth_covered
from ..editing.results import EditResult, Reading, Subject
from ..editing.target import Aim
from ..editing.warp_cache import predict_warp
from ..models.backward_warp import FIELD_SCALE
from ..models.exprgan import ExprGAN
from ..models.warp_network import WIDE_CROP_SCALE, WarpPrediction
from ..photo.alignment import crop_face, crop_from_photo, invert, photo_from_enlarged_crop, transform
from ..photo.image_io import to_tensor
from ..torch_state import own_torch_state
from .face_tracker import Track
from .one_euro import smoothing
from .reading_smoother import ReadingSmoother

SUPERSAMPLING = 2
"""Of a frame's crop; a photo's, with 4, takes three times as long."""
FADE_S = 0.3
"""How long an edit takes to appear where a face is found, in s."""
FIELD_CUTOFF_HZ, FIELD_BETA = 1.0, 80.0
"""Cutoff in Hz of the low-pass filter on T's predictions, and its increase for each side of the wide crop per second by
which the flow changes (root mean square)."""
COVERED_S, COVERED, VISIBLE = 0.25, 0.6, 0.4
"""Time constant in s of whether the mouth is covered, and the values above which it becomes so, and ceases to be."""


class ExpressionReader(Protocol):
    """What of `ExpressionEditor` edits of frames need."""

    model: ExprGAN

    def read_expression(self, crop: Image.Image) -> Reading:
        """Reads the expression of an aligned crop."""
        ...


class FrameEditor:
    """Edits one face in successive frames."""

    def __init__(self, editor: ExpressionReader):
        self._editor, self._model = editor, editor.model
        self.readings = ReadingSmoother(self._model.F_ctrl.code_dim)
        self.reset()

    def reset(self) -> None:
        """Begins a new shot."""
        self.readings.reset()
        self._prediction: WarpPrediction | None = None
        self._presence, self._covered, self._is_covered, self._time = 1.0, 0.0, False, 0.0
        self._has_curve: bool | None = None

    @own_torch_state()
    def edit(self, frame: Image.Image, track: Track, aim: Callable[[Reading], Aim], time: float) -> Image.Image:
        """The frame with the face edited; pixels that the edit does not cover stay as they are.

        Args:
            frame: RGB.
            track: the face in it.
            aim: what the face is to show, given its reading.
            time: of the frame in s.
        """
        step, is_first = time - self._time, self.readings.is_empty
        self._time = time
        if track.is_held:
            self._presence = max(0.0, self._presence - step / FADE_S)
            if self._presence == 0 or is_first:
                return frame
        elif not is_first:
            self._presence = min(1.0, self._presence + step / FADE_S)
        subject = self._read(frame, track, time, update=not track.is_held, step=step, is_first=is_first)
        code, decode = aim(subject.reading).code, partial(self.decode, subject.latent)
        if self._model.T is None:
            edited = EditResult(subject, code, "model", partial(decode, code)).image
            return edited if self._presence == 1 else Image.blend(frame, edited, self._presence)
        if not track.is_held or self._prediction is None:
            self._prediction = self._smooth(self._predict(subject, aim, decode), step)
        shown = self._prediction
        if self._presence < 1:
            shown = _weaken(shown, self._presence)
        return EditResult(subject, code, "detail", partial(decode, code), shown).image

    def appear(self) -> None:
        """Lets the edit of a face that was found in the middle of a shot appear over FADE_S."""
        self._presence = 0.0

    def encode(self, frame: Image.Image, landmarks: np.ndarray) -> np.ndarray:
        """The code z (z_dim,) of a face, by which people are distinguished."""
        size = self._model.config.image_size
        crop = crop_face(frame, crop_from_photo(landmarks, size), size, SUPERSAMPLING)
        return self._encode(crop).numpy()

    @own_torch_state()
    def _encode(self, crop: Image.Image) -> Tensor:
        weights = next(self._model.parameters())
        return self._model.G_enc(to_tensor(crop)[None].to(weights.device, weights.dtype))[0].float().cpu()

    def _read(self, frame: Image.Image, track: Track, time: float, *, update: bool, step: float, is_first: bool) -> Subject:
        size = self._model.config.image_size
        photo_from_crop = invert(crop_from_photo(track.landmarks, size))
        side, wide_crop = FIELD_SCALE * size, None
        if self._model.T is None:
            crop = crop_face(frame, invert(photo_from_crop), size, SUPERSAMPLING)
        else:
            matrix = photo_from_enlarged_crop(photo_from_crop, size, WIDE_CROP_SCALE, side)
            wide = crop_face(frame, invert(matrix), side, SUPERSAMPLING)
            margin = side * (1 - 1 / WIDE_CROP_SCALE) / 2
            crop = wide.resize((size, size), Image.Resampling.LANCZOS, (margin, margin, side - margin, side - margin))
            wide_crop = to_tensor(wide)
        if update:
            self.readings.update(self._editor.read_expression(crop), time)
            covered = float(is_mouth_covered(crop))
            self._covered += (1.0 if is_first else 1 - math.exp(-step / COVERED_S)) * (covered - self._covered)
            self._is_covered = self._covered > (VISIBLE if self._is_covered else COVERED)
        curve = ColorCurve.from_crop(crop) if self._has_curve is not False else None
        self._has_curve = curve is not None if self._has_curve is None else self._has_curve
        corners = transform(invert(photo_from_crop), track.landmarks[3:5]) / size
        mouth = MouthView(self._is_covered, tuple((float(x), float(y)) for x, y in corners))
        reading = self.readings.as_reading(self.readings.weight >= 0.5)
        latent = Latent(partial(self._encode, crop))
        return Subject(frame, None, crop, photo_from_crop, latent, reading, None, wide_crop, curve, mouth)

    def _predict(self, subject: Subject, aim: Callable[[Reading], Aim], decode: partial) -> WarpPrediction:
        """T's prediction; while the face changes between neutral and expressive, a mean of those of both."""
        parts = []
        for expressive, weight in ((False, 1 - self.readings.weight), (True, self.readings.weight)):
            if weight > 0:
                reading = self.readings.as_reading(expressive)
                reconstruction = decode(reading.source_code) if self._model.config.warp_decoded else None
                start = dataclasses.replace(subject, reading=reading, reconstruction=reconstruction, warp_cache={})
                code, units = aim(reading)
                parts.append(predict_warp(self._model, start, code, decode, units))
        return parts[0] if len(parts) == 1 else parts[0].lerp(parts[1], self.readings.weight)

    def _smooth(self, prediction: WarpPrediction, step: float) -> WarpPrediction:
        before = self._prediction
        if before is None or step <= 0:
            return prediction
        speed = float((prediction.flow - before.flow).square().mean().sqrt()) / step
        weight = smoothing(FIELD_CUTOFF_HZ + FIELD_BETA * speed, step)
        before, prediction = before.with_eyes_of(prediction), prediction.with_eyes_of(before)
        return WarpPrediction(*(torch.lerp(a, b, weight) for a, b in zip(before, prediction, strict=True)))

    @own_torch_state()
    def decode(self, latent: Latent, code: Tensor) -> Tensor:
        """The decoder's picture (3, S, S) in [-1, 1] of a code (K * d,), on the CPU."""
        weights = next(self._model.parameters())
        return self._model.G_dec(latent.z[None].to(weights), code[None].to(weights))[0].float().cpu()

    # What must be kept so that a film can be continued: arrays by name.

    def state(self) -> dict[str, np.ndarray]:
        """All that the next `edit` depends on."""
        has_curve = -1 if self._has_curve is None else int(self._has_curve)
        state = {f"readings.{name}": value for name, value in self.readings.state().items()}
        state["numbers"] = np.array([self._presence, self._covered, self._is_covered, self._time, has_curve], np.float64)
        for i, part in enumerate(self._prediction or ()):
            state[f"prediction.{i}"] = part.numpy()
        return state

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continues from a `state`."""
        self.readings.restore(
            {name.removeprefix("readings."): value for name, value in state.items() if "readings." in name}
        )
        self._presence, self._covered, is_covered, self._time, has_curve = state["numbers"].tolist()
        self._is_covered, self._has_curve = bool(is_covered), None if has_curve < 0 else bool(has_curve)
        parts = [torch.from_numpy(state[f"prediction.{i}"]) for i in range(len(WarpPrediction._fields))
                 if f"prediction.{i}" in state]  # fmt: skip
        self._prediction = WarpPrediction(*parts) if parts else None


def _weaken(prediction: WarpPrediction, weight: float) -> WarpPrediction:
    """The prediction with flow, gain and all that is drawn weakened, from none at 0 to all at 1."""
    eyes = prediction.eyes
    if prediction.has_eyes:
        eyes = torch.cat((eyes[:, :1] * weight, eyes[:, 1:]), dim=1)
    flow, gain, mask = (part * weight for part in prediction[:3])
    return prediction._replace(flow=flow, gain=gain, mask=mask, eyes=eyes)
