"""A photo whose face shows, over time, the expressions of the person in a film."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from PIL import Image

from ..editing.dials import limit_weights
from ..editing.multi_face import FacePatch, composite, edit_patches
from ..editing.results import EditResult, Subject
from ..editing.target import Aim, read_units
from ..editing.warp_cache import UnitChange, predict_warp
from ..expressions import NEUTRAL
from ..models.unit_condition import units_as_tensor
from ..photo.alignment import crop_face, crop_from_photo
from .clip_reader import ClipReader, Frame
from .edit_painter import part_of
from .face_tracker import FaceTracker, Track
from .frame_editor import SUPERSAMPLING, ExpressionReader, FrameEditor
from .reading_smoother import ReadingSmoother

CALM_S, LOOK_S = 5.0, 0.2
"""The calm frame is sought in this first part of the film, at this interval, in s."""
MAX_SIDE = 1280
"""Longest side of the film of a photo in px, unless another is asked for."""


class DrivePainter:
    """Gives a photo the expression of each frame.

    If T takes action units, those of the photo change by what those of the frame differ from a calm frame's. Otherwise the
    code that the frame shows is transferred. While the face is not seen, the photo keeps the last expression.

    Args:
        subject: the face in the photo.
        strength: factor on the code's distance from neutral, or on the units' difference, 0..1.
        calm: the units of the calm frame, as in `Reading`.
        face: the person in the film, as in `FaceTracker`.
    """

    def __init__(
        self,
        editor: ExpressionReader,
        subject: Subject,
        strength: float,
        calm: Mapping[int, Sequence[float]],
        face: int | None = None,
    ):
        self._editor, self._strength, self._calm = editor, strength, calm
        self._frames = FrameEditor(editor)
        self._tracker = FaceTracker(self._frames.encode, face)
        self._readings = ReadingSmoother(editor.model.F_ctrl.code_dim)
        self._photo, self._patch = subject.photo, FacePatch.cut_out(subject)

    def paint(self, frame: Frame) -> tuple[Image.Image, bool]:
        """The photo with the frame's expression, and whether the face was found in the frame."""
        track, _ = self._tracker.update(frame.image, frame.time)
        is_seen = track is not None and not track.is_held
        if track is not None and is_seen:
            self._readings.update(self._editor.read_expression(_crop(self._editor, frame, track)), frame.time)
        if self._readings.is_empty:
            return self._photo, False
        return composite(self._photo, edit_patches([self._patch.box], [self._edit(self._aim())])), is_seen

    def _aim(self) -> Aim:
        """The expression of the frame: a change in the photo's units, or a code."""
        model, reading = self._editor.model, self._patch.subject.reading
        if not model.config.warp_units:
            return Aim((self._readings.shown_code + 1) * self._strength - 1, None)
        seen, calm = (units_as_tensor(units, model.config.warp_units, default=0.0)
                      for units in (self._readings.units, self._calm))  # fmt: skip
        own = read_units(model, reading)
        target = limit_weights(own + self._strength * (seen - calm), model.config.warp_units, own)
        return Aim(reading.source_code, UnitChange(target, own, on_photo=True))

    def _edit(self, aim: Aim) -> EditResult:
        subject, model = self._patch.subject, self._editor.model
        decode = partial(self._frames.decode, subject.latent)
        if model.T is None:
            return EditResult(subject, aim.code, "model", partial(decode, aim.code))
        warp = predict_warp(model, subject, aim.code, decode, aim.units)
        return EditResult(subject, aim.code, "detail", partial(decode, aim.code), warp)

    def state(self) -> dict[str, np.ndarray]:
        """All that the next `paint` depends on, as arrays by name."""
        parts = {"tracker": self._tracker.state(), "readings": self._readings.state()}
        return {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continues from a `state`."""
        self._tracker.restore(part_of(state, "tracker"))
        self._readings.restore(part_of(state, "readings"))


def calm_units(editor: ExpressionReader, clip: ClipReader, face: int | None) -> dict[int, tuple[float, float]]:
    """The action units of the first frame that reads as neutral, or else of the first in which the face is found.

    It is sought in the first CALM_S of the clip; empty if the face is not found there.
    """
    tracker = FaceTracker(FrameEditor(editor).encode, face)
    units: dict[int, tuple[float, float]] = {}
    for frame in clip.frames(step=LOOK_S):
        if frame.time > CALM_S:
            break
        track, _ = tracker.update(frame.image, frame.time)
        if track is None or track.is_held:
            continue
        reading = editor.read_expression(_crop(editor, frame, track))
        units = units or reading.units
        if reading.expression == NEUTRAL and reading.is_sure:
            return reading.units
    return units


def _crop(editor: ExpressionReader, frame: Frame, track: Track) -> Image.Image:
    size = editor.model.config.image_size
    return crop_face(frame.image, crop_from_photo(track.landmarks, size), size, SUPERSAMPLING)
