"""Animations of an expression that comes and goes. Frames are computed on access and never all held in memory.

All faces are read once and codes change smoothly, so nothing flickers; pixels that no edit reaches stay those of the photo.
The last frame leads into the first.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..deadline import check
from ..models.exprgan import ExprGAN
from ..photo.colour_profile import in_srgb
from ..photo.video_writer import WRITERS, FrameProgress, check_suffix
from .multi_face import Box, FacePatch, composite, edit_patches
from .results import EditResult, Reading, Subject, scale_down
from .target import Aim, Target

Kind = Literal["sweep", "tour", "morph"]
"""`sweep`: from neutral to an expression and back; `tour`: that for every expression in turn; `morph`: from one expression,
or the one in the photo, to another and back."""
ANIMATION_KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_SECONDS = 600
MAX_FPS = 50  # browsers show a GIF that declares more at a tenth of its speed
HOLD = 0.12  # fraction of a rise, and of a fall, for which the peak is held
CACHE_BYTES = 128 * 2**20  # memory for edited patches, since a fall shows the same frames as the rise

Decode = Callable[[Subject, Aim], EditResult]


class Animation(Sequence):
    """The frames of an animation: RGB pictures, computed on access.

    Pickling computes the edits of all frames, some MB each, and keeps them in place of the model.

    Args:
        subjects: faces of one photo; where two overlap, the first is on top.
        aims: for each frame, what each face shows.
        fps: frames per second.
        decode: edits a subject.

    Example:
        >>> animation = editor.animate("me.jpg", "tour")
        >>> animation.save("me.mp4")
    """

    def __init__(self, subjects: Sequence[Subject], aims: Sequence[Sequence[Aim]], fps: float, decode: Decode):
        self.fps, self.photo = fps, in_srgb(subjects[0].photo)
        self._subjects = [dataclasses.replace(subject, photo=self.photo) for subject in subjects]
        self._patches = [FacePatch.cut_out(subject) for subject in self._subjects]
        self._aims, self._decode = aims, decode
        self._cache: dict[bytes, list[tuple[Box, Image.Image]]] = {}

    def __reduce__(self):
        subjects = [dataclasses.replace(subject, decoder=None) for subject in self._subjects]
        edits = {_face_and_aim(subject, aim): self._decode(subject, aim)
                 for aims in self._aims for subject, aim in zip(self._subjects, aims, strict=True)}  # fmt: skip
        stored = {key: dataclasses.replace(edit, subject=key[0]) for key, edit in edits.items()}
        return Animation, (subjects, self._aims, self.fps, _StoredEdits(stored))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the photo and of every frame in px."""
        return self.photo.size

    @property
    def seconds(self) -> float:
        """Duration of one loop."""
        return len(self) / self.fps

    @property
    def frames(self) -> Iterator[Image.Image]:
        """Iterates over the frames."""
        return iter(self)

    def __len__(self) -> int:
        return len(self._aims)

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        check()
        return composite(self.photo, self._edit_patches(self._aims[i]))

    def at_most(self, side: int) -> "Animation":
        """The same animation of a photo scaled down to at most `side` px, which is faster than scaling frames."""
        if side >= max(self.size):
            return self
        return Animation(scale_down(self._subjects, side), self._aims, self.fps, self._decode)

    def save(self, path: str | os.PathLike[str], *, max_side: int | None = None,
             progress: FrameProgress | None = None) -> None:  # fmt: skip
        """Writes an .mp4 (H.264), .gif or animated .webp file, marked as edited by AI.

        The resolution is the photo's; an MP4 of odd size repeats its last row or column, since the format needs even sizes.
        GIF and WebP, whose files grow fast, have 640 and 1,024 px by default; GIF has one palette of 256 colours for all
        frames. A file already there is replaced only when the new one is complete.

        Args:
            max_side: longest side in px, at least 16.
            progress: called with the number of frames written and of all frames; an exception it raises stops the writing.

        Raises:
            ValueError: another suffix, or `max_side` below 16.
            ExprGANError: the file cannot be written there; for MP4, imageio-ffmpeg is missing.
        """
        path = Path(path)
        write, usual = WRITERS[check_suffix(path)]
        side = usual if max_side is None else max_side
        if side is not None and side < 16:
            raise ValueError(f"max_side must be at least 16 px, not {max_side!r}")
        write(self if side is None else self.at_most(side), path, self.fps, progress)

    def _edit_patches(self, aims: Sequence[Aim]) -> list[tuple[Box, Image.Image]]:
        """The edited patches of one frame; recent ones are cached."""
        key = b"".join(aim.key for aim in aims)
        if key not in self._cache:
            edits = [self._decode(patch.subject, aim) for patch, aim in zip(self._patches, aims, strict=True)]
            edited = edit_patches([patch.box for patch in self._patches], edits)
            capacity = CACHE_BYTES // sum(3 * picture.width * picture.height for _, picture in edited)
            while len(self._cache) >= max(1, capacity):
                del self._cache[next(iter(self._cache))]
            self._cache[key] = edited
        return self._cache[key]


@dataclass(frozen=True)
class _StoredEdits:
    """`decode` of a pickled animation: its edits, by face and aim."""

    edits: dict[tuple[Subject, bytes], EditResult]

    def __call__(self, subject: Subject, aim: Aim) -> EditResult:
        return dataclasses.replace(self.edits[_face_and_aim(subject, aim)], subject=subject)


def _face_and_aim(subject: Subject, aim: Aim) -> tuple[Subject, bytes]:
    """A key for an edit of a face in any copy or part of its photo."""
    face = dataclasses.replace(subject, photo=subject.crop, photo_from_crop=np.eye(2, 3), decoder=None)
    return face, aim.key


def aims_over_time(model: ExprGAN, reading: Reading, peaks: Sequence[Target], frames: int, start: Tensor,
                   is_morph: bool) -> list[Aim]:  # fmt: skip
    """What one face shows in each frame: a rise and fall, of `frames` frames, for each target in turn.

    A morph, of which `peaks` has one, begins at the code `start`, c (K * d,); all else at neutral or, for targets without
    an expression, at the face as it is.
    """
    aims = [peak.at(weight).aim(model, reading) for peak in peaks for weight in rise_and_fall(frames)]
    if not is_morph:
        return aims
    end = peaks[0].aim(model, reading).code
    return [aim._replace(code=torch.lerp(start, end, weight))
            for aim, weight in zip(aims, rise_and_fall(frames), strict=True)]  # fmt: skip


def rise_and_fall(frames: int) -> list[float]:
    """Weights from 0 to 1 and back, eased at both ends and symmetric in time; the next loop starts at 0 again."""
    ramps = (min(i, frames - i) / (frames / 2) for i in range(frames))
    return [ramp * ramp * (3 - 2 * ramp) for ramp in (min(1.0, ramp / (1 - HOLD)) for ramp in ramps)]


def num_frames(seconds: float, fps: float) -> int:
    """The number of frames of one rise and fall. ValueError: an argument is out of range."""
    if not isinstance(fps, Real) or not isinstance(seconds, Real):
        raise ValueError(f"seconds and fps must be numbers, not {seconds!r} and {fps!r}")
    if not 1 <= float(fps) <= MAX_FPS:
        raise ValueError(f"fps must be 1 to {MAX_FPS} frames a second, not {fps!r}")
    if not 0 < float(seconds) <= MAX_SECONDS:
        raise ValueError(f"seconds must be more than 0 and at most {MAX_SECONDS}, not {seconds!r}")
    return max(2, round(seconds * fps))
