"""Writes animations: MP4 with the ffmpeg of imageio-ffmpeg, GIF and WebP with PIL. All are marked as edited by AI.

Frames are taken one at a time, so that memory does not grow with their number. Pixels that do not change between two
frames do not change in the file either, except for MP4's compression loss.
"""

import os
import struct
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import GifImagePlugin, Image, ImageChops

from ..atomic_write import atomic_write
from ..errors import ExprGANError
from .ai_metadata import DIGITAL_SOURCE, SOFTWARE, marker_options, xmp_packet

FrameProgress = Callable[[int, int], object]
"""Called with the number of frames written and the number of all frames."""

CRF, WEBP_QUALITY = 18, 88
"""Quality of MP4 (x264's constant rate factor, at which no difference to the frames is visible) and of WebP."""
XMP_BOX_UUID = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes
"""Identifies the box of an MP4 that holds XMP (XMP specification, part 3)."""
NUM_PALETTE_FRAMES = 8
"""Frames from which a GIF's palette is computed."""
DITHER = 10
"""Amplitude in levels of 255 of a GIF's dither, whose pattern is the same in all frames."""
TRANSPARENT = 255
"""Index in a GIF's palette of a pixel that keeps the colour of the frame before."""


def check_suffix(path: Path) -> str:
    """Returns the suffix in small letters; raises ValueError if it is none of `WRITERS`."""
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        raise ValueError(f"cannot write {path.name!r}: choose a name that ends in {', '.join(WRITERS)}")
    return suffix


def write_mp4(frames: Sequence[Image.Image], path: Path, fps: float, progress: FrameProgress | None = None) -> None:
    """Writes H.264 (yuv420p, BT.709), which all players support; its index precedes the data, for streaming.

    Args:
        frames: RGB, all of one size; the last column or row is repeated where the width or height is odd.
        fps: frames per second.

    Raises:
        ExprGANError: imageio-ffmpeg is missing, or the file cannot be written.
    """
    program, (width, height) = _find_ffmpeg(), frames[0].size
    padding = (0, height % 2), (0, width % 2), (0, 0)
    size = f"{width + width % 2}x{height + height % 2}"
    with atomic_write(path) as part, tempfile.TemporaryFile() as log:
        # fmt: off
        command = [
            program, "-hide_banner", "-loglevel", "error", "-nostdin", "-y",
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-framerate", f"{fps}", "-i", "pipe:0",
            "-vf", "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv420p,"
            "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv",
            "-c:v", "libx264", "-preset", "veryfast", "-crf", f"{CRF}", "-threads", f"{min(4, os.cpu_count() or 1)}",
            "-movflags", "+faststart", "-metadata", f"comment={SOFTWARE}", "-metadata", f"description={DIGITAL_SOURCE}",
            "-metadata", f"encoding_tool={SOFTWARE}", "-f", "mp4", str(part),
        ]
        # fmt: on
        try:
            ffmpeg = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
        except OSError as error:
            raise _ffmpeg_error(program, f"cannot be run: {error.strerror or error}") from error
        assert ffmpeg.stdin is not None
        try:
            with suppress(BrokenPipeError):  # ffmpeg ended early; its log says why
                for frame in _report_progress(frames, progress):
                    ffmpeg.stdin.write(np.pad(np.asarray(frame), padding, mode="edge").tobytes())
        except BaseException:
            ffmpeg.kill()
            raise
        finally:
            ffmpeg.communicate()  # closes its input and waits
        log.seek(0)
        reasons = log.read().decode("utf-8", "replace").strip().splitlines()
        if ffmpeg.returncode != 0 and reasons:
            raise ExprGANError(f"Cannot write {path}: ffmpeg says {reasons[-1]!r}. Choose another folder, a smaller size, "
                               "or a name that ends in .gif or .webp.")  # fmt: skip
        if ffmpeg.returncode != 0 or part.stat().st_size == 0:  # killed, or not ffmpeg
            raise _ffmpeg_error(program, f"ended with status {ffmpeg.returncode} and wrote nothing")
        append_marker(part)


def append_marker(path: Path) -> None:
    """Appends to an MP4 the box that says, in XMP, that it is edited by AI."""
    packet = XMP_BOX_UUID + xmp_packet().encode()
    with open(path, "ab") as file:
        file.write(struct.pack(">I4s", 8 + len(packet), b"uuid") + packet)


def write_gif(frames: Sequence[Image.Image], path: Path, fps: float, progress: FrameProgress | None = None) -> None:
    """Writes a GIF with one palette and one dither pattern for all frames, so that unchanged pixels do not flicker.

    Of each frame only the box that changed is written. Loops forever. Arguments and errors as in `write_mp4`; `fps` is at
    most 50, and durations are rounded to 1/100 s so that their sum is kept.
    """
    palette_image, (width, height) = _compute_palette(frames), frames[0].size
    palette = palette_image.getpalette() or []
    dither = _dither_pattern(width, height)
    shown = np.full((height, width), TRANSPARENT, np.uint8)  # palette indices
    previous: Image.Image | None = None
    with atomic_write(path) as part, open(part, "wb") as file:
        file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0))
        file.write(bytes(palette[:765]).ljust(768, b"\0"))
        file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
        comment = marker_options("GIF")["comment"]
        file.write(b"!\xfe" + bytes([len(comment)]) + comment + b"\0")
        trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"  # ends XMP for readers that take it for a GIF's sub-blocks
        file.write(b"!\xff\x0bXMP DataXMP" + xmp_packet().encode() + trailer)
        for frame, duration in zip(_report_progress(frames, progress), _durations(len(frames), fps, 10), strict=True):
            box = ImageChops.difference(frame, previous).getbbox() if previous else (0, 0, width, height)
            left, top, right, bottom = box = box or (0, 0, 1, 1)
            levels = np.asarray(frame.crop(box), np.int16) + dither[top:bottom, left:right, None]
            dithered = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
            indices = np.array(dithered.quantize(palette=palette_image, dither=Image.Dither.NONE))
            before = shown[top:bottom, left:right]
            changed = Image.fromarray(np.where(indices == before, TRANSPARENT, indices))
            before[:] = indices
            changed.putpalette(palette)
            file.writelines(GifImagePlugin.getdata(changed, (left, top), duration=duration, disposal=1,
                                                   transparency=TRANSPARENT))  # fmt: skip
            previous = frame
        file.write(b";")


def write_webp(frames: Sequence[Image.Image], path: Path, fps: float, progress: FrameProgress | None = None) -> None:
    """Writes an animated WebP, lossy; after the first frame only what changes is written. Loops forever.

    Arguments and errors as in `write_mp4`.
    """
    options = {"duration": list(_durations(len(frames), fps, 1)), "loop": 0, "quality": WEBP_QUALITY, "method": 3,
               "kmin": 0, "kmax": 0, **marker_options("WEBP")}  # kmin, kmax: no further key frames  # fmt: skip
    with atomic_write(path) as part, open(part, "wb") as file:
        reported = _report_progress(frames, progress)
        _FrameStream(reported, len(frames)).save(file, "WEBP", save_all=True, **options)
        next(reported, None)  # reports the last frame


WRITERS: dict[str, tuple[Callable[..., None], int | None]] = {
    ".mp4": (write_mp4, None), ".gif": (write_gif, 640), ".webp": (write_webp, 1024),
}  # fmt: skip
"""Suffix -> its writer, and the default of the longest side in px."""


class _FrameStream(Image.Image):
    """A multi-frame image whose frames come from an iterator; PIL's WebP writer would hold `append_images` in memory."""

    def __init__(self, frames: Iterator[Image.Image], count: int):
        super().__init__()
        self._frames, self.n_frames, self._index = frames, count, 0
        self.im = next(frames).im
        self._size, self._mode = self.im.size, "RGB"

    def seek(self, frame: int) -> None:
        if frame == self._index + 1:
            self.im, self._index = next(self._frames).im, frame

    def tell(self) -> int:
        return self._index


def _find_ffmpeg() -> str:
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        problem = "is not installed" if isinstance(error, ImportError) else "has no ffmpeg for this machine"
        raise ExprGANError(f"MP4 needs imageio-ffmpeg, which {problem}: pip install imageio-ffmpeg brings it; "
                           "or choose a name that ends in .gif or .webp.") from error  # fmt: skip


def _ffmpeg_error(program: str, problem: str) -> ExprGANError:
    named = os.environ.get("IMAGEIO_FFMPEG_EXE")
    remedy = "Correct or remove the variable IMAGEIO_FFMPEG_EXE" if named else "Install ffmpeg"
    return ExprGANError(f"MP4 needs ffmpeg, but {program} {problem}. {remedy}, "
                        "or choose a name that ends in .gif or .webp.")  # fmt: skip


def _report_progress(frames: Sequence[Image.Image], progress: FrameProgress | None) -> Iterator[Image.Image]:
    """Yields the frames; each is reported once the next is asked for."""
    for i, frame in enumerate(frames):
        yield frame
        if progress:
            progress(i + 1, len(frames))


def _durations(count: int, fps: float, unit_ms: int) -> Iterator[int]:
    """Yields each frame's duration in ms, in whole units of `unit_ms`, rounded so that their sum is kept."""
    ends = [round(i * 1000 / fps / unit_ms) for i in range(count + 1)]
    return (unit_ms * (end - start) for start, end in pairwise(ends))


def _compute_palette(frames: Sequence[Image.Image]) -> Image.Image:
    """Quantizes the first frame and the changing parts of some others, which thus count for more, to 255 colours."""
    count = min(NUM_PALETTE_FRAMES, len(frames))
    first, *others = [frames[i * len(frames) // count] for i in range(count)]
    boxes = [box for frame in others if (box := ImageChops.difference(first, frame).getbbox())]
    if boxes:
        changing = (*np.min(boxes, axis=0)[:2], *np.max(boxes, axis=0)[2:])
        others = [frame.crop(changing) for frame in others]
    parts = [image.reduce(max(1, round(max(image.size) / 256))) for image in (first, *others)]
    sheet = Image.new("RGB", (sum(part.width for part in parts), max(part.height for part in parts)),
                      first.getpixel((0, 0)))  # fmt: skip
    x = 0
    for part in parts:
        sheet.paste(part, (x, 0))
        x += part.width
    return sheet.quantize(255, method=Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)


def _dither_pattern(width: int, height: int) -> np.ndarray:
    """Computes interleaved gradient noise (Jimenez, 2014), (H, W) int16: evenly spread about 0, `DITHER` levels wide."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    noise = (52.9829189 * ((0.06711056 * x + 0.00583715 * y) % 1)) % 1
    return np.rint((noise - 0.5) * DITHER).astype(np.int16)
