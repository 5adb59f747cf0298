"""Films by an editor: one person in a film gets another expression, or a photo those of a person in a film."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any, Protocol

from ..editing.dials import check_dials
from ..editing.multi_face import EditRequest
from ..editing.results import Subject, scale_down
from ..models.controller import check_intensity
from ..photo.colour_profile import in_srgb
from ..photo.detection import Face
from .clip_reader import ClipReader, check_max_side
from .drive_painter import MAX_SIDE, DrivePainter, calm_units
from .edit_painter import EditPainter
from .film import FilmResult, Progress, make_film, model_fingerprint
from .film_writer import FilmFormat
from .frame_editor import ExpressionReader
from .keyframes import Keyframes, aim_over_time


class FaceReader(ExpressionReader, Protocol):
    """What of `ExpressionEditor` films need."""

    def read(self, photo: Any, face: int | Face | None = None) -> Subject:
        """Detects, aligns and encodes one face of a photo."""
        ...


class FilmEditing:
    """The methods of `ExpressionEditor` that make films."""

    def edit_video(self: FaceReader, clip: str | os.PathLike[str], expression: EditRequest | Keyframes | None,
                   out: str | os.PathLike[str], intensity: float = 1.0, *, style: int | None = None,
                   units: Mapping[str, float] | None = None, face: int | None = None, progress: Progress | None = None,
                   **options: Any) -> FilmResult:  # fmt: skip
        """Gives one person another expression throughout a film; writes an MP4 with the clip's times, size and sound.

        The face is followed; frames without it, or in which it is not certain who is seen, stay as they are. A run that was
        stopped is continued by the same call, see `make_film`.

        Args:
            clip: a film in any usual format.
            expression: one for the whole film, or keyframes: [(0, "neutral"), (1.5, ("happy", 0.8)), (3, "sad")]. None: the
                face stays as it is, apart from `units`.
            out: the file to write, .mp4.
            style, units: as in `edit`, throughout the film.
            face: index of the person in the first frame that shows so many; the largest face if None.
            progress: called after every frame with a `FilmProgress`; an exception it raises stops the work.
            options: max_side, the longest side in px, 16 or more (that of the clip); max_seconds, above which a clip is
                refused (no limit); keep_parts, whether an error leaves what is made so far for the next call (True).

        Raises:
            BadVideoError: the clip is missing, damaged or too long.
            NoFaceError: no frame shows the face.
            ValueError: `out` is no .mp4 or is the clip itself, or a value is out of range.
            ExprGANError: PyAV is missing, `out` cannot be written, or another process writes it.
        """
        intensity, face = check_intensity(intensity), _check_face(face)
        style, units = style if style is None else int(style), None if units is None else check_dials(units)
        aim_at = aim_over_time(self.model, expression, intensity, style, units)
        max_side = options.pop("max_side", None)
        settings = {"edit": expression, "intensity": intensity, "style": style, "units": units, "face": face,
                    "max_side": max_side, "model": model_fingerprint(self.model)}  # fmt: skip
        with ClipReader(clip, max_side) as reader:
            painter = EditPainter(self, aim_at, face)
            return make_film(reader, Path(out), painter, FilmFormat.like(reader), settings, progress=progress, **options)

    def drive(self: FaceReader, photo: Any, clip: str | os.PathLike[str], out: str | os.PathLike[str],
              strength: float = 1.0, *, face: int | Face | None = None, clip_face: int | None = None,
              max_side: int | None = None, progress: Progress | None = None, **options: Any) -> FilmResult:  # fmt: skip
        """Gives a photo the expressions of a person in a film; writes an MP4 of the photo with the clip's times and sound.

        Args:
            strength: 0 (the photo as it is) to 1 (expressions as strong as in the film).
            face: in the photo.
            clip_face: index of the person in the first frame that shows so many; the largest face if None.
            max_side: longest side of the film in px; 1280, or the photo's if that is smaller.
            clip, out, progress, options, and errors: as in `edit_video`.
        """
        strength = check_intensity(strength, "strength")
        subject = self.read(photo, face)
        subject = dataclasses.replace(subject, photo=in_srgb(subject.photo))
        side, clip_face = check_max_side(max_side) or MAX_SIDE, _check_face(clip_face)
        subject = scale_down([subject], side)[0] if side < max(subject.photo.size) else subject
        picture = hashlib.sha256(subject.photo.tobytes()).hexdigest()
        settings = {"drive": picture, "box": subject.photo_from_crop.tolist(), "strength": strength, "face": clip_face,
                    "model": model_fingerprint(self.model)}  # fmt: skip
        with ClipReader(clip, MAX_SIDE) as reader:
            painter = DrivePainter(self, subject, strength, calm_units(self, reader, clip_face), clip_face)
            film = FilmFormat.like(reader, subject.photo.size)
            return make_film(reader, Path(out), painter, film, settings, progress=progress, **options)


def _check_face(face: int | None) -> int | None:
    """The index of a person in a film; ValueError if it is none."""
    if face is not None and (not isinstance(face, Integral) or face < 0):
        raise ValueError(f"face must be a whole number from 0, from left to right, not {face!r}")
    return None if face is None else int(face)
