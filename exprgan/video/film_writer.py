"""Writes films: segments of H.264, one file each, which are joined with the clip's sound to an MP4, not encoded anew."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..atomic_write import atomic_write
from ..photo.ai_metadata import DIGITAL_SOURCE, SOFTWARE
from ..photo.video_writer import CRF, append_marker
from .clip_reader import BT601, UNSPECIFIED, ClipReader, Colors, exact_scaling, import_av, open_clip

COPIED_SOUND = {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}
"""Codecs of sound that an MP4 can hold; other sound is encoded anew as AAC."""
SEGMENT_FORMAT = "nut"
"""A container that keeps any unit of time exactly."""


@dataclass(frozen=True)
class FilmFormat:
    """What all segments of a film have in common."""

    size: tuple[int, int]
    time_base: Fraction
    rate: Fraction
    pixel_aspect: Fraction
    colors: Colors

    @classmethod
    def like(cls, clip: ClipReader, size: tuple[int, int] | None = None) -> FilmFormat:
        """That of a clip, for frames of its size or another; in another, pixels are square and colours those of sRGB."""
        if size is None:
            return cls(clip.size, clip.time_base, clip.rate, clip.pixel_aspect, clip.colors)
        return cls(size, clip.time_base, clip.rate, Fraction(1), Colors(1, 1, 1, False))


def write_segment(path: Path, pictures: Iterable[tuple[Image.Image, int, int]], film: FilmFormat) -> None:
    """Writes pictures as one segment; it is complete or not there.

    Args:
        pictures: RGB pictures of the film's size, with pts and duration in units of its `time_base`. Where width or height
            is odd, the last column or row is repeated.

    Raises:
        ExprGANError: the file cannot be written.
    """
    av = import_av()
    (width, height), colors = film.size, film.colors
    padding = (0, height % 2), (0, width % 2), (0, 0)
    with atomic_write(path, sync=True) as part, _os_errors(av), av.open(str(part), "w", format=SEGMENT_FORMAT) as container:
        stream = container.add_stream("libx264", rate=film.rate, options={"crf": str(CRF), "preset": "veryfast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.time_base = stream.codec_context.time_base = film.time_base
        stream.codec_context.sample_aspect_ratio = film.pixel_aspect
        stream.codec_context.colorspace, stream.codec_context.color_range = colors.matrix, 2 if colors.full_range else 1
        for name, value in (("color_primaries", colors.primaries), ("color_trc", colors.transfer)):
            if value not in (0, UNSPECIFIED):
                setattr(stream.codec_context, name, value)
        reformatter, durations = av.video.reformatter, {}
        out_range = reformatter.ColorRange.JPEG if colors.full_range else reformatter.ColorRange.MPEG
        for picture, pts, duration in pictures:
            pixels = np.ascontiguousarray(np.pad(np.asarray(picture), padding, mode="edge"))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=colors.matrix if colors.matrix != 6 else BT601,
                interpolation=exact_scaling(reformatter), src_color_range=reformatter.ColorRange.JPEG,
                dst_color_range=out_range,
            )  # fmt: skip
            frame.pts, frame.time_base = pts, film.time_base
            durations[pts] = duration
            container.mux(_with_durations(stream.encode(frame), durations))
        container.mux(_with_durations(stream.encode(), durations))


def join_segments(segments: list[Path], clip: ClipReader, path: Path) -> None:
    """Joins segments and the sound of a clip to an MP4, marked as edited by AI; its index precedes the data.

    Nothing is encoded anew but sound that an MP4 cannot hold. Times, of frames and sound, are those of the clip.

    Raises:
        ExprGANError: the file cannot be written.
    """
    av = import_av()
    metadata = {"comment": SOFTWARE, "description": DIGITAL_SOURCE, "encoding_tool": SOFTWARE}
    with atomic_write(path, sync=True) as part:
        with (
            _os_errors(av),
            open_clip(av, clip.path) as source,
            av.open(str(segments[0])) as first,
            av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as target,
        ):
            target.metadata.update(metadata)
            video = target.add_stream_from_template(first.streams.video[0])
            video.time_base = clip.time_base
            sounds = [_Sound(av, stream, target) for stream in source.streams.audio]
            packets = [_video_packets(av, segments, video)]
            if sounds:
                packets.append(_sound_packets(av, source, sounds))
            for packet in heapq.merge(*packets, key=lambda packet: packet.dts * packet.time_base):
                target.mux(packet)
        append_marker(part)


class _Sound:
    """One stream of sound: its packets as they are, or encoded anew."""

    def __init__(self, av: Any, stream: Any, target: Any):
        self.stream, self.is_copied = stream, stream.codec_context.name in COPIED_SOUND
        if self.is_copied:
            self.out = target.add_stream_from_template(stream)
        else:
            layout = "mono" if stream.codec_context.channels == 1 else "stereo"
            rate = min(av.Codec("aac", "w").audio_rates, key=lambda rate: abs(rate - stream.rate))
            self.out = target.add_stream("aac", rate=rate, layout=layout)
            self._resample = av.AudioResampler(format="fltp", layout=layout, rate=rate)

    def packets(self, packet: Any) -> Iterator[Any]:
        """The packets to be written for one that was read; the last one read is empty."""
        if self.is_copied:
            if packet.dts is not None:
                packet.stream = self.out
                yield packet
            return
        for frame in packet.decode():
            for resampled in self._resample.resample(frame):
                yield from self.out.encode(resampled)
        if packet.dts is None:
            yield from self.out.encode(None)


def _sound_packets(av: Any, source: Any, sounds: list[_Sound]) -> Iterator[Any]:
    """Yields the packets of sound in the order of the file; they end where it is damaged."""
    by_index = {sound.stream.index: sound for sound in sounds}
    try:
        for packet in source.demux([sound.stream for sound in sounds]):
            for written in by_index[packet.stream.index].packets(packet):
                if written.dts is not None:
                    yield written
    except av.FFmpegError:
        return


def _video_packets(av: Any, segments: list[Path], video: Any) -> Iterator[Any]:
    for segment in segments:
        with av.open(str(segment)) as container:
            for packet in container.demux(video=0):
                if packet.pts is not None:
                    packet.dts = packet.pts  # there are no B-frames; the demuxer leaves it open
                    packet.stream = video
                    yield packet


def _with_durations(packets: list[Any], durations: dict[int, int]) -> list[Any]:
    for packet in packets:
        packet.duration = durations.pop(packet.pts, 0)
    return packets


@contextmanager
def _os_errors(av: Any) -> Iterator[None]:
    """Turns errors of FFmpeg into those of the system, which `atomic_write` describes."""
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error
