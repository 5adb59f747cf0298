"""Moving pictures to files: MP4 with the ffmpeg of imageio-ffmpeg, GIF and WebP with PIL. All say that AI edited them.

Frames are taken one at a time. What does not change between two of them is the same in the file, but for MP4's loss.
"""

import os
import struct
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
from PIL import GifImagePlugin, Image, ImageChops

from ..atomic_write import atomic_write
from ..errors import ExprGANError
from .ai_metadata import DIGITAL_SOURCE, SOFTWARE, marker_options, xmp_packet

FrameProgress = Callable[[int, int], object]
"""Called with the frames written and all of them."""

CRF = 18
"""x264's constant quality: nobody sees a difference to the frames."""
XMP_IN_MP4 = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes
"""The box of an MP4 that holds XMP (XMP specification, part 3)."""
WEBP_QUALITY = 88
PALETTE_FRAMES = 8
"""Frames of which a GIF's colours are made."""
DITHER = 10
"""Levels by which a GIF's pixels are scattered about their colour, at one place in all frames alike."""


def check_suffix(path: Path) -> str:
    """The suffix in small letters, if such files are written here.

    Raises:
        ValueError: another one.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        raise ValueError(f"cannot write {path.name!r}: choose a name that ends in {', '.join(WRITERS)}")
    return suffix


def write_mp4(frames: Sequence[Image.Image], path: Path, fps: float, progress: FrameProgress | None = None) -> None:
    """H.264, yuv420p, BT.709, for players everywhere; begins to play before it is all there.

    Args:
        frames: RGB, all of one size; odd sides get their last px once more.
        path: ends in .mp4.
        fps: frames a second.
        progress: called after every frame.

    Raises:
        ExprGANError: imageio-ffmpeg is missing, or the file cannot be written.
    """
    program, (width, height) = _ffmpeg(), (side + side % 2 for side in frames[0].size)
    with atomic_write(path) as part, tempfile.TemporaryFile() as said:
        # fmt: off
        command = [
            program, "-hide_banner", "-loglevel", "error", "-nostdin", "-y",
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", f"{fps}", "-i", "pipe:0",
            "-vf", "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv420p,"
            "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv",
            "-c:v", "libx264", "-preset", "veryfast", "-crf", f"{CRF}", "-threads", f"{min(4, os.cpu_count() or 1)}",
            "-movflags", "+faststart", "-metadata", f"comment={SOFTWARE}", "-metadata", f"description={DIGITAL_SOURCE}",
            "-metadata", f"encoding_tool={SOFTWARE}", "-f", "mp4", str(part),
        ]
        # fmt: on
        with _running(command, said) as ffmpeg:
            try:
                for frame in _watched(frames, progress):
                    ffmpeg.stdin.write(_even(frame).tobytes())
                ffmpeg.stdin.close()
            except BrokenPipeError:  # it says why
                pass
            if ffmpeg.wait():
                said.seek(0)
                reason = (said.read().decode("utf-8", "replace").strip().splitlines() or ["it stopped"])[-1]
                raise ExprGANError(f"Cannot write {path}: ffmpeg says {reason!r}. Choose another folder or a smaller size.")
        packet = XMP_IN_MP4 + xmp_packet().encode()
        with open(part, "ab") as file:
            file.write(struct.pack(">I4s", 8 + len(packet), b"uuid") + packet)


def write_gif(frames: Sequence[Image.Image], path: Path, fps: float, progress: FrameProgress | None = None) -> None:
    """One palette for all frames, and dither that stands still: what does not change does not flicker. Loops for ever.

    Args:
        frames: RGB, all of one size.
        path: ends in .gif.
        fps: frames a second, at most 50; rounded to hundredths of a second, the sum kept.
        progress: called after every frame.

    Raises:
        ExprGANError: the file cannot be written.
    """
    palette = _palette(frames)
    transparent, noise = 255, _still_noise(frames[0].size)
    before, boxed, colours = None, (0, 0, *frames[0].size), np.zeros(0)
    with atomic_write(path) as part, open(part, "wb") as file:
        file.write(b"GIF89a" + struct.pack("<HHBBB", *frames[0].size, 0xF7, 0, 0))
        file.write(bytes(palette.getpalette()[:765]).ljust(768, b"\0"))
        file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
        comment = marker_options("GIF")["comment"]
        file.write(b"!\xfe" + bytes([len(comment)]) + comment + b"\0")
        trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"  # leads out of XMP whoever reads it as blocks of a GIF
        file.write(b"!\xff\x0bXMP DataXMP" + xmp_packet().encode() + trailer)
        for frame, duration in zip(_watched(frames, progress), _durations(len(frames), fps, 10), strict=True):
            if before is not None:  # only what changed is written
                boxed = ImageChops.difference(frame, before).getbbox() or (0, 0, 1, 1)
            left, top, right, bottom = boxed
            levels = np.asarray(frame.crop(boxed), np.int16) + noise[top:bottom, left:right, None]
            nearest = Image.fromarray(levels.clip(0, 255).astype(np.uint8)).quantize(palette=palette, dither=0)
            indices = np.array(nearest)
            if before is None:
                colours = indices.copy()
            shown = colours[top:bottom, left:right]
            if before is not None:
                indices = np.where(indices == shown, transparent, indices)
                np.copyto(shown, indices, where=indices != transparent)
            nearest = Image.fromarray(indices)
            nearest.putpalette(palette.getpalette())
            options = {"duration": duration, "disposal": 1, "transparency": transparent}
            file.writelines(GifImagePlugin.getdata(nearest, (left, top), **options))
            before = frame
        file.write(b";")


def write_webp(frames: Sequence[Image.Image], path: Path, fps: float, progress: FrameProgress | None = None) -> None:
    """Animated WebP, with loss; only what changes is written after the first frame. Loops for ever.

    Args:
        frames: RGB, all of one size.
        path: ends in .webp.
        fps: frames a second.
        progress: called after every frame.

    Raises:
        ExprGANError: the file cannot be written.
    """
    options = {"duration": list(_durations(len(frames), fps, 1)), "loop": 0, "quality": WEBP_QUALITY, "method": 3,
               "kmin": 0, "kmax": 0, **marker_options("WEBP")}  # no frame is written whole again  # fmt: skip
    with atomic_write(path) as part, open(part, "wb") as file:
        reel = _Reel(_watched(frames, progress), len(frames), frames[0].size)
        reel.save(file, "WEBP", save_all=True, **options)
        next(reel.coming, None)  # so that the last one is reported


WRITERS: dict[str, tuple[Callable[..., None], int | None]] = {
    ".mp4": (write_mp4, None),
    ".gif": (write_gif, 640),
    ".webp": (write_webp, 1024),
}
"""Suffix -> what writes it, and the longest side in px unless another is asked for."""


class _Reel(Image.Image):
    """A picture of many frames to PIL, which takes them one after the other: a list it would hold whole."""

    def __init__(self, coming: Iterator[Image.Image], count: int, size: tuple[int, int]):
        super().__init__()
        self.coming, self.n_frames, self._at = coming, count, -1
        self._size, self._mode = size, "RGB"

    def seek(self, frame: int) -> None:
        if frame == self._at + 1:
            self.im, self._at = next(self.coming).im, frame

    def tell(self) -> int:
        return max(0, self._at)


def _ffmpeg() -> str:
    """Where the program is.

    Raises:
        ExprGANError: it is not there.
    """
    hint = 'pip install "exprgan[video]" brings it; or choose a name that ends in .gif or .webp'
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return get_ffmpeg_exe()
    except ImportError as error:
        raise ExprGANError(f"MP4 needs imageio-ffmpeg, which is not installed: {hint}.") from error
    except RuntimeError as error:
        raise ExprGANError(f"MP4 needs ffmpeg, and imageio-ffmpeg has none for this machine: {hint}.") from error


@contextmanager
def _running(command: list[str], said: IO[bytes]) -> Iterator[subprocess.Popen]:
    """The program, which does not outlive the block."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        with suppress(OSError):  # what it did not take any more
            process.stdin.close()


def _watched(frames: Sequence[Image.Image], progress: FrameProgress | None) -> Iterator[Image.Image]:
    """The frames; each is reported once the next is asked for."""
    for i, frame in enumerate(frames):
        yield frame
        if progress:
            progress(i + 1, len(frames))


def _durations(count: int, fps: float, unit_ms: int) -> Iterator[int]:
    """Of each frame in ms, whole units of them, which add up to the right sum."""
    ends = [round(i * 1000 / fps / unit_ms) for i in range(count + 1)]
    return (unit_ms * (end - start) for start, end in pairwise(ends))


def _even(frame: Image.Image) -> Image.Image:
    """With its last column and row once more where they are odd in number."""
    extra = [(0, side % 2) for side in reversed(frame.size)]
    return Image.fromarray(np.pad(frame, (*extra, (0, 0)), mode="edge")) if any(map(any, extra)) else frame


def _palette(frames: Sequence[Image.Image]) -> Image.Image:
    """255 colours that serve all frames: of the first, and of what changes in some others, which counts for more."""
    count = min(PALETTE_FRAMES, len(frames))
    first, *some = [frames[i * len(frames) // count] for i in range(count)]
    boxes = [box for one in some if (box := ImageChops.difference(first, one).getbbox())]
    if boxes:
        changing = *(min(box[i] for box in boxes) for i in (0, 1)), *(max(box[i] for box in boxes) for i in (2, 3))
        some = [one.crop(changing) for one in some]
    pictures = [one.reduce(max(1, round(max(one.size) / 256))) for one in (first, *some)]
    sheet = Image.new(
        "RGB", (sum(one.width for one in pictures), max(one.height for one in pictures)), first.getpixel((0, 0))
    )
    for i, one in enumerate(pictures):
        sheet.paste(one, (sum(before.width for before in pictures[:i]), 0))
    return sheet.quantize(255, method=Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)


def _still_noise(size: tuple[int, int]) -> np.ndarray:
    """Noise (H, W) int16 about 0, `DITHER` levels wide, spread evenly: Jimenez's interleaved gradients (2014)."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    noise = (52.9829189 * ((0.06711056 * x + 0.00583715 * y) % 1)) % 1
    return np.rint((noise - 0.5) * DITHER).astype(np.int16)
