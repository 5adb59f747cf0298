"""Makes small films: of pictures moved about, with a tone, in the ways in which cameras and editors store them."""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from exprgan.video.clip_reader import ClipReader
from exprgan.video.film_writer import FilmFormat, join_segments, write_segment

TIME_BASE = Fraction(1, 15360)
BACKGROUND = (120, 120, 125)


def write_clip(path: Path, pictures: Iterable[Image.Image], *, steps: Sequence[int] = (600,), sound: str = "aac",
               sound_rate: int = 44100, rotation: int = 0, codec: str = "libx264",
               pix_fmt: str = "yuv420p") -> Path:  # fmt: skip
    """Writes pictures of one size; `steps` are durations of frames in 1/15360 s, repeated: 600 is 25.6 frames a second."""
    with av.open(str(path), "w") as container:
        video, audio, pts = None, None, 0
        for i, picture in enumerate(pictures):
            if video is None:
                video = container.add_stream(codec, rate=25, options={"crf": "10"} if codec == "libx264" else {})
                video.width, video.height, video.pix_fmt = *picture.size, pix_fmt
                video.time_base = video.codec_context.time_base = TIME_BASE
                if rotation:
                    video.set_display_rotation(rotation)
                audio = container.add_stream(sound, rate=sound_rate, layout="mono") if sound else None
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            frame.pts, frame.time_base = pts, TIME_BASE
            container.mux(video.encode(frame))
            pts += steps[i % len(steps)]
        container.mux(video.encode())
        if audio:
            resample = av.AudioResampler(format=audio.format.name, layout="mono", rate=sound_rate)
            for k in range(int(pts * TIME_BASE * sound_rate / 1024)):
                tone = np.sin(np.arange(k * 1024, (k + 1) * 1024) * 0.06).astype(np.float32)[None] * 0.2
                frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = sound_rate, k * 1024
                for resampled in resample.resample(frame):
                    container.mux(audio.encode(resampled))
            container.mux(audio.encode(None))
    return path


def place(photo: Image.Image, size: tuple[int, int], x: float = 0, y: float = 0, degrees: float = 0,
          scale: float = 1) -> Image.Image:  # fmt: skip
    """A photo in a frame of another size, its middle moved by (x, y) from the frame's, turned and scaled."""
    cosine, sine = (f(math.radians(degrees)) / scale for f in (math.cos, math.sin))
    ox, oy = size[0] / 2 + x, size[1] / 2 + y
    matrix = (cosine, sine, photo.width / 2 - cosine * ox - sine * oy, -sine, cosine,
              photo.height / 2 + sine * ox - cosine * oy)  # fmt: skip
    return photo.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=BACKGROUND)


def turning(photo: Image.Image, count: int, size: tuple[int, int] = (160, 160), scale: float = 0.17) -> list[Image.Image]:
    """A head that sways and leans."""
    moves = ((i, math.sin(i / 9), math.sin(i / 7)) for i in range(count))
    return [place(photo, size, 8 * sway, 4 * lean, 6 * lean, scale * (1 + 0.05 * sway)) for _, sway, lean in moves]


def sound_packets(path: Path) -> list[tuple[float, bytes]]:
    """Time in s and content of every packet of sound."""
    with av.open(str(path)) as container:
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in container.demux(audio=0) if packet.size]


def read(path):
    with ClipReader(path) as reader:
        return list(reader.frames())


def pixels(image):
    return np.asarray(image.convert("RGB"), np.int16)


def copy_film(source: Path, out: Path, every: int = 7) -> Path:
    """Writes the frames of a film as segments, unchanged, and joins them."""
    with ClipReader(source) as reader:
        frames, segments = list(reader.frames()), []
        for start in range(0, len(frames), every):
            segments.append(out.with_name(f"{start:04d}.nut"))
            pictures = [(frame.image, frame.pts, frame.duration) for frame in frames[start : start + every]]
            write_segment(segments[-1], pictures, FilmFormat.like(reader))
        join_segments(segments, reader, out)
    return out
