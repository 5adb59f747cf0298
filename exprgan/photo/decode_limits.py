"""Limits on the pixels, on the bytes of a pipe, and on the number of segments of a file.

They stop decompression bombs, small files whose header claims a picture that fills the memory, and files of so many
segments that they take hours to decode.
"""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from io import TextIOBase
from typing import IO, Any

from ..errors import BadImageError

MAX_PIXELS = 80_000_000
"""Larger photos are refused before they are decoded. Just below the size at which PIL itself begins to warn."""
MAX_STREAM_BYTES = 8 * MAX_PIXELS
"""More from a pipe or an open file is refused. No photo within `MAX_PIXELS` is larger: 16-bit RGBA, uncompressed."""
MIN_SIDE_PX = 16
MAX_PROFILE_BYTES = 16_000_000
"""A larger colour profile is left out: a JPEG could not hold it."""

MAX_HEADER_READS = 10_000
"""Segments (chunks, blocks) read before the pixels. A camera's file has some dozens."""
BYTES_PER_READ = 200
"""One more segment is allowed for so many bytes of the file once pixels are read. Encoders write 4,000 or more in each."""
MAX_SCANS = 100
"""Scans of a JPEG: each takes 6 bytes and goes over the whole picture. Progressive ones have about ten."""
MAX_STRIPS = 100_000
"""Strips of a TIFF, which may have one for each row of each colour."""

_TOO_MANY = ("The photo is made of far too many small pieces. Open it in a photo program, save it as a new JPEG, and use "
             "that file.")  # fmt: skip
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")


def read_stream(stream: IO[bytes]) -> bytes:
    """Reads a pipe to its end, or an open file from its start, wherever it stands.

    Raises:
        BadImageError: it has more than `MAX_STREAM_BYTES`.
        TypeError: it is open as text.
        ValueError: it is closed.
    """
    if isinstance(stream, TextIOBase):
        raise TypeError("the photo's file is open as text; open it with mode 'rb'")
    if getattr(stream, "closed", False):
        raise ValueError("the photo's file is closed; pass it while it is open, or pass its path")
    with suppress(AttributeError, OSError):  # a pipe has no start to return to
        stream.seek(0)
    content = bytearray()
    while chunk := stream.read(1 << 20):
        if not isinstance(chunk, bytes):
            raise TypeError(f"the photo's file returns {type(chunk).__name__}; open it in binary mode")
        content += chunk
        if len(content) > MAX_STREAM_BYTES:
            raise BadImageError(f"The photo has more than {MAX_STREAM_BYTES // 10**6} MB. Make it smaller and try again.")
    return bytes(content)


class BoundedReader:
    """An open file whose `read` raises BadImageError once it was called too often."""

    def __init__(self, file: IO[bytes]):
        self._file, self._reads_left = file, MAX_HEADER_READS

    def read(self, *size: int) -> bytes:
        """Reads as a file does."""
        self._reads_left -= 1
        if self._reads_left < 0:
            raise BadImageError(_TOO_MANY)
        return self._file.read(*size)

    def allow_pixels(self) -> None:
        """Allows more reads, in proportion to the file's size, once its header was read."""
        position = self._file.tell()
        self._reads_left += self._file.seek(0, 2) // BYTES_PER_READ
        self._file.seek(position)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def check_piece_counts(file: IO[bytes]) -> None:
    """Raises a BadImageError for a JPEG of too many scans or a TIFF of too many strips, before a decoder begins."""
    head = file.read(16)
    if head[:2] == b"\xff\xd8":
        too_many = _count_scans(head + file.read()) > MAX_SCANS
    else:
        too_many = head[:2] in (b"II", b"MM") and _count_strips(file, head) > MAX_STRIPS
    file.seek(0)
    if too_many:
        raise BadImageError(_TOO_MANY)


def _count_scans(data: bytes) -> int:
    """Counts the scans of a JPEG up to its end marker, or until they are too many."""
    position, scans, segments = 2, 0, 0
    while scans <= MAX_SCANS and segments <= MAX_HEADER_READS and (marker := _MARKER.search(data, position)):
        code, position = data[marker.start() + 1], marker.end()
        if code == 0xD9:  # end of image
            break
        scans, segments = scans + (code == 0xDA), segments + 1
        position += max(2, int.from_bytes(data[position : position + 2], "big"))
    return scans


def _count_strips(file: IO[bytes], head: bytes) -> int:
    """Reads from the first directory of a TIFF or BigTIFF how many strips or tiles it has."""
    order, big = "<" if head[:2] == b"II" else ">", 43 in head[2:4]
    count_format, entry_format = (f"{order}Q", f"{order}HHQ8x") if big else (f"{order}H", f"{order}HHI4x")
    entry_size = struct.calcsize(entry_format)
    try:
        (start,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", head, 8 if big else 4)
        file.seek(start)
        (entries,) = struct.unpack(count_format, file.read(struct.calcsize(count_format)))
        table = file.read(min(entries, 0xFFFF) * entry_size)
        complete = table[: len(table) // entry_size * entry_size]
        return max((count for tag, _, count in struct.iter_unpack(entry_format, complete) if tag in (273, 324)), default=0)
    except (struct.error, OSError, ValueError, OverflowError):  # not a TIFF after all, as its decoder will report
        return 0
