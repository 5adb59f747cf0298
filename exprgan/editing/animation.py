"""An expression that comes and goes: frames of one photo, made when asked for, and never all of them in memory.

All frames come from faces that were read once, and codes move smoothly, so nothing flickers; what no edit reaches has the
photo's very pixels in every frame. The last frame leads into the first.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageCms
from torch import Tensor

from ..photo.video_writer import WRITERS, FrameProgress, check_suffix
from .multi_face import Box, ExpressionMix, FacePatch, composite, patches
from .results import EditResult, Subject

Kind = Literal["sweep", "tour", "morph"]
"""`sweep`: from neutral to an expression and back; `tour`: that for every expression in turn; `morph`: from one expression,
or the one in the photo, to another and back."""
KINDS: tuple[Kind, ...] = ("sweep", "tour", "morph")
LONGEST_S = 600
FASTEST = 50
"""Frames a second. Browsers show a GIF that claims more at a tenth of its speed."""
HELD = 0.12
"""Part of a rise, and of a fall, for which the face rests at its top."""
KEPT_BYTES = 128 * 2**20
"""Of edited faces that are kept, because a fall shows what the rise showed."""

Decode = Callable[[Subject, Tensor], EditResult]


class Animation(Sequence):
    """The frames of an animation: RGB pictures, each made anew when it is asked for.

    Args:
        subjects: faces of one photo; where two meet, the first lies over the later ones.
        codes: for every frame, c (K * d,) of each of them.
        fps: frames a second.
        decode: makes an edit of a subject and a code.

    Example:
        >>> animation = editor.animate("me.jpg", "tour")
        >>> animation.save("me.mp4")
    """

    def __init__(self, subjects: Sequence[Subject], codes: Sequence[Sequence[Tensor]], fps: float, decode: Decode):
        self.fps, self.photo = fps, in_srgb(subjects[0].photo)
        self._subjects = [dataclasses.replace(one, photo=self.photo) for one in subjects]
        self._parts = [FacePatch.of(one) for one in self._subjects]
        self._codes, self._decode = codes, decode
        self._kept: dict[bytes, list[tuple[Box, Image.Image]]] = {}

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of every frame in px: those of the photo."""
        return self.photo.size

    @property
    def seconds(self) -> float:
        """How long it takes once."""
        return len(self) / self.fps

    @property
    def frames(self) -> Iterator[Image.Image]:
        """All of them, one at a time."""
        return iter(self)

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        return composite(self.photo, self._patches(self._codes[i]))

    def at_most(self, side: int) -> "Animation":
        """The same in a photo of at most `side` px, which is edited, not the frames made smaller: that is quicker."""
        scale = side / max(self.size)
        if scale >= 1:
            return self
        size = tuple(max(1, round(length * scale)) for length in self.size)
        small = self.photo.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        factors = np.divide(size, self.size)[:, None]
        subjects = [dataclasses.replace(one, photo=small, photo_from_crop=one.photo_from_crop * factors)
                    for one in self._subjects]  # fmt: skip
        return Animation(subjects, self._codes, self.fps, self._decode)

    def save(
        self, path: str | os.PathLike[str], *, max_side: int | None = None, progress: FrameProgress | None = None
    ) -> None:
        """Writes it as MP4 (H.264), GIF or animated WebP, which the name's suffix says, marked as edited by AI.

        It is at the photo's resolution; an MP4 of an odd number of px gets its last row or column once more, since the
        format asks for even ones. GIF and WebP grow fast: they are 640 and 1,024 px unless told otherwise. GIF has 256
        colours, the same ones in all frames. The file appears whole or not at all.

        Args:
            path: ends in .mp4, .gif or .webp.
            max_side: the longest side in px, at least 16.
            progress: called with the frames written and all of them; what it raises stops the writing.

        Raises:
            ValueError: another suffix, or a side that is too short.
            ExprGANError: the file cannot be written there; for MP4, imageio-ffmpeg is missing.
        """
        path = Path(path)
        write, usual = WRITERS[check_suffix(path)]
        side = usual if max_side is None else max_side
        if side is not None and side < 16:
            raise ValueError(f"max_side must be at least 16 px, not {max_side!r}")
        write(self if side is None else self.at_most(side), path, self.fps, progress)

    def _patches(self, codes: Sequence[Tensor]) -> list[tuple[Box, Image.Image]]:
        """The edited faces; those of a code seen before are kept, if there is room."""
        key = b"".join(code.numpy().tobytes() for code in codes)
        if key not in self._kept:
            edits = [self._decode(part.subject, code) for part, code in zip(self._parts, codes, strict=True)]
            made = patches([part.box for part in self._parts], edits)
            room = KEPT_BYTES // sum(3 * patch.width * patch.height for _, patch in made)
            while len(self._kept) >= max(1, room):
                del self._kept[next(iter(self._kept))]
            self._kept[key] = made
        return self._kept[key]


def path_of(kind: Kind, frames: int, code: Callable[[ExpressionMix, float], Tensor], wish: tuple[ExpressionMix, float],
            expressions: Sequence[str], start: Tensor) -> list[Tensor]:  # fmt: skip
    """The codes of one face, frame by frame.

    Args:
        kind: see `Kind`.
        frames: of one rise and fall.
        code: what a look at a strength in [0, 1] decodes to.
        wish: the look and strength at the top; of a tour, its strength counts.
        expressions: those of a tour.
        start: c (K * d,), from which a morph sets out.
    """
    look, strength = wish
    if kind == "morph":
        end = code(look, strength)
        return [torch.lerp(start, end, part) for part in rise_and_fall(frames)]
    looks = expressions if kind == "tour" else (look,)
    return [code(one, strength * part) for one in looks for part in rise_and_fall(frames)]


def rise_and_fall(frames: int) -> list[float]:
    """From 0 to 1 and back, level at both ends, at the same numbers on both ways; what follows begins at 0 again."""
    ways = (min(i, frames - i) / (frames / 2) for i in range(frames))
    return [_eased(min(1.0, way / (1 - HELD))) for way in ways]


def frames_in(seconds: float, fps: float) -> int:
    """How many frames one rise and fall has.

    Raises:
        ValueError: either is out of range.
    """
    if not 1 <= float(fps) <= FASTEST:
        raise ValueError(f"fps must be 1 to {FASTEST} frames a second, not {fps!r}")
    if not 0 < float(seconds) <= LONGEST_S:
        raise ValueError(f"seconds must be more than 0 and at most {LONGEST_S}, not {seconds!r}")
    return max(2, round(seconds * fps))


def check_kind(kind: str) -> None:
    """Raises ValueError for a kind that there is not."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")


def in_srgb(photo: Image.Image) -> Image.Image:
    """The photo in the colours that videos have: of one with a colour profile they are converted, as far as it is valid."""
    profile = photo.info.get("icc_profile")
    plain = photo.copy()
    plain.info = {}
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            plain = ImageCms.profileToProfile(plain, source, ImageCms.createProfile("sRGB"))
        except (ImageCms.PyCMSError, OSError):  # a profile that cannot be read says nothing
            return plain
        plain.info = {}
    return plain


def _eased(part: float) -> float:
    return part * part * (3 - 2 * part)
