"""Reads films: upright RGB frames with their exact times, one at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..deadline import check
from ..errors import BadVideoError, ExprGANError
from ..photo.decode_limits import MIN_SIDE_PX

MAX_FRAME_PIXELS = 36_000_000
"""Larger frames are refused: 8K, 7680 x 4320, has 33 million."""
HD_HEIGHT = 720
"""Frames of at least this height whose matrix of colours is not given have that of BT.709, lower ones that of BT.601."""
BT601, BT709 = 5, 1
UNSPECIFIED, MATRICES = 2, (1, 4, 5, 6, 7, 9)
"""Numbers of ITU-T H.273 that stand for no matrix, and for those that FFmpeg converts; others are taken as not given."""


@dataclass(frozen=True)
class Frame:
    """One picture of a film."""

    image: Image.Image
    """RGB, upright."""
    pts: int
    """Time at which it is shown, in units of `ClipReader.time_base`."""
    duration: int
    """In the same units; 0 if unknown."""
    time: float
    """In seconds since the first frame."""


@dataclass(frozen=True)
class Colors:
    """How RGB becomes the colours of a film, as numbers of ITU-T H.273; 2 stands for unspecified."""

    matrix: int
    primaries: int
    transfer: int
    full_range: bool


class ClipReader:
    """A film that was opened: its facts, and its frames. A context manager.

    A turned or mirrored film is read as players show it. Frames of more than 8 bits a channel are rounded to 8. The colours
    of a film, HDR included, are neither converted nor tone-mapped: `colors` describes them, and a film that is written with
    the same looks alike.

    Args:
        path: a film in any format that the FFmpeg libraries of PyAV read.
        max_side: larger frames are scaled down to this longer side in px, 16 or more.

    Raises:
        BadVideoError: it is missing, no film, empty, without pictures, or its frames are too small or too large.
        ExprGANError: PyAV is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], max_side: int | None = None):
        self.path, self._max_side = Path(path), check_max_side(max_side)
        self._av = import_av()
        if not self.path.is_file():
            raise BadVideoError(f"There is no film {self.path}. Name a file.")
        self._container = self._open()
        try:
            self._stream = self._container.streams.video[0]
            first = next(self._decode(), None)
            if first is None:
                raise BadVideoError(f"{self.path.name} has no picture that can be decoded. Export it anew as an MP4.")
            self._describe(first)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ClipReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def frames(self, after: int | None = None, step: float = 0.0) -> Iterator[Frame]:
        """Yields the frames in the order of their times; with `after`, those later than this pts.

        With `step` those at least so many seconds apart; the others are decoded, but not converted. A part that is damaged
        is left out. Where the file ends too early, the frames end; `warning` says so.
        """
        self._seek(after)
        pts, last = self._first_pts - 1 if after is None else after, float("-inf")
        for frame in self._decode():
            check()
            time = self._pts_of(frame)
            if after is not None and time is not None and time <= after:
                continue
            pts = pts + 1 if time is None or time <= pts else time  # times must increase
            seconds = float((pts - self._first_pts) * self.time_base)
            if seconds - last < step:
                continue
            last = seconds
            yield Frame(self._to_image(frame), pts, frame.duration or 0, seconds)

    @property
    def num_frames(self) -> int:
        """Number of frames as the file declares it, or estimated from its duration; 0 if neither is known."""
        return self._stream.frames or round(self.seconds * self.rate)

    def _open(self) -> Any:
        try:
            container = open_clip(self._av, self.path)
        except (self._av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BadVideoError(
                f"{self.path.name} cannot be read as a film ({reason}). Export it anew as an MP4."
            ) from error
        if not container.streams.video:
            container.close()
            kind = "sound only" if container.streams.audio else "no pictures"
            raise BadVideoError(f"{self.path.name} has {kind}. Choose a film in which a face is seen.")
        return container

    def _describe(self, first: Any) -> None:
        stream = self._stream
        width, height = first.width, first.height
        if min(width, height) < MIN_SIDE_PX:
            raise BadVideoError(
                f"{self.path.name} has {width} x {height} px, and needs at least {MIN_SIDE_PX} on each side."
            )
        if width * height > MAX_FRAME_PIXELS:
            limit = f"at most {MAX_FRAME_PIXELS // 10**6} million pixels are read"
            raise BadVideoError(
                f"{self.path.name} has frames of {width} x {height} px; {limit}. Export it at a smaller size."
            )
        if self._max_side and max(width, height) > self._max_side:
            factor = self._max_side / max(width, height)
            width, height = (max(MIN_SIDE_PX, 2 * round(side * factor / 2)) for side in (width, height))
        self._size = width, height
        self._is_transposed, self._row_step, self._column_step = _read_orientation(first)
        self.size = (height, width) if self._is_transposed else (width, height)
        """Width and height of the upright frames in px."""
        self.time_base: Fraction = stream.time_base or Fraction(1, 90_000)
        """Unit of `Frame.pts` in s."""
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        """Mean number of frames per second; the frames' own times may vary."""
        duration = stream.duration and stream.duration * self.time_base
        self.seconds = float(duration or Fraction(self._container.duration or 0, self._av.time_base))
        """Duration as the file declares it; 0 if it does not."""
        aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
        self.pixel_aspect = 1 / aspect if self._is_transposed else aspect
        """Width of a pixel in its heights."""
        matrix = int(first.colorspace)
        guessed = BT709 if first.height >= HD_HEIGHT else BT601
        full_range = int(first.color_range) == 2 or first.format.name.startswith("yuvj")
        self.colors = Colors(matrix if matrix in MATRICES else guessed, int(first.color_primaries), int(first.color_trc),
                             full_range)  # fmt: skip
        self._first_pts = self._pts_of(first) or 0
        self.warning = ""
        """A sentence on frames that could not be decoded; empty before they were reached, and if there are none."""

    def _decode(self) -> Iterator[Any]:
        """Decodes frames; what is damaged is left out."""
        packets, damaged = self._container.demux(self._stream), False
        while True:
            try:
                packet = next(packets)
                frames = packet.decode()
            except StopIteration:
                return
            except self._av.FFmpegError as error:
                if isinstance(error, self._av.EOFError):
                    return
                if damaged and not isinstance(error, self._av.InvalidDataError):
                    return  # the file itself cannot be read on
                damaged = True
                self.warning = f"A part of {self.path.name} is damaged and was left out."
                continue
            yield from frames

    def _pts_of(self, frame: Any) -> int | None:
        return frame.pts if frame.pts is not None else frame.dts

    def _seek(self, after: int | None) -> None:
        """Goes back to the start, or to a key frame before `after`."""
        self._container.close()
        self._container = self._open()
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        if after is None:
            return
        with suppress(self._av.FFmpegError):
            self._container.seek(after, stream=self._stream, backward=True)
            first = next(self._decode(), None)
            if first is not None and (pts := self._pts_of(first)) is not None and pts <= after:
                self._container.seek(after, stream=self._stream, backward=True)
                return
        self._seek(None)  # the index is wrong: from the start

    def _to_image(self, frame: Any) -> Image.Image:
        reformatter = self._av.video.reformatter
        source_range = reformatter.ColorRange.JPEG if self.colors.full_range else reformatter.ColorRange.MPEG
        rgb = frame.reformat(
            *self._size, format="rgb24", src_colorspace=self.colors.matrix if self.colors.matrix != 6 else BT601,
            interpolation=exact_scaling(reformatter), src_color_range=source_range,
            dst_color_range=reformatter.ColorRange.JPEG,
        )  # fmt: skip
        pixels = rgb.to_ndarray().swapaxes(0, 1) if self._is_transposed else rgb.to_ndarray()
        return Image.fromarray(np.ascontiguousarray(pixels[:: self._row_step, :: self._column_step]))


def _read_orientation(frame: Any) -> tuple[bool, int, int]:
    """How a picture becomes upright: whether rows and columns are exchanged, then the steps through each, 1 or -1."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, 1, 1
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).tolist()  # upright x = a x + c y, y = b x + d y
    is_transposed = abs(c) > abs(a)
    row, column = (b, c) if is_transposed else (d, a)
    return is_transposed, -1 if row < 0 else 1, -1 if column < 0 else 1


def check_max_side(max_side: int | None) -> int | None:
    """The longest side of a film in px, or None; ValueError if it is too small."""
    if max_side is not None and max_side < MIN_SIDE_PX:
        raise ValueError(f"max_side must be at least {MIN_SIDE_PX} px, not {max_side!r}")
    return max_side


def open_clip(av: Any, path: Path) -> Any:
    """Opens a film with PyAV, whatever bytes its metadata hold."""
    major = int(av.__version__.split(".")[0])
    options = {"metadata_errors": "ignore"} if major < 19 else {}  # from 19 on PyAV replaces them itself
    return av.open(str(path), **options)


def import_av() -> Any:
    """Imports PyAV; ExprGANError if it is not installed."""
    try:
        import av
    except ImportError as error:
        raise ExprGANError("Films need PyAV, which is not installed: pip install av") from error
    # Errors are raised, so logs are off. PyAV's log callback takes the GIL: in a thread of a decoder that is being deleted,
    # it would deadlock with the thread that deletes it, which holds the GIL and waits for the decoder's threads.
    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.PANIC)
    return av


def exact_scaling(reformatter: Any) -> Any:
    """The flags with which FFmpeg converts between RGB and a film's colours without bias."""
    flags = reformatter.Interpolation
    return flags.BICUBIC | flags.ACCURATE_RND | flags.FULL_CHR_H_INT | flags.FULL_CHR_H_INP
