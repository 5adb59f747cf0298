"""Files that are small and take hours: of so many tiny pieces that a decoder, looping over them, never ends."""

from __future__ import annotations

import re
import struct
from typing import IO, Any

from ..errors import BadImageError

MOST_READS = 10_000
"""Pieces that are read before the pixels: segments, chunks, blocks. A camera's file has some dozens."""
BYTES_A_READ = 200
"""While pixels are read one more piece is allowed for so many bytes of the file. Encoders make pieces of 4,000 and more."""
MOST_SCANS = 100
"""Of a JPEG: each goes over the whole picture, for 6 bytes. Progressive ones have about ten."""
MOST_STRIPS = 100_000
"""Of a TIFF, which may have one for each row of each colour."""

_TOO_MANY = "The photo is made of far too many small pieces. Open it in a photo program, save it as a new JPEG, use that."
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")


class BoundedReader:
    """An open file that is read in a bounded number of pieces.

    Raises:
        BadImageError: on `read`, once there were too many.
    """

    def __init__(self, file: IO[bytes]):
        self._file, self._left = file, MOST_READS

    def read(self, *size: int) -> bytes:
        """As a file's."""
        self._left -= 1
        if self._left < 0:
            raise BadImageError(_TOO_MANY)
        return self._file.read(*size)

    def allow_pixels(self) -> None:
        """More pieces, by the file's size, once its head was read."""
        here = self._file.tell()
        self._left += self._file.seek(0, 2) // BYTES_A_READ
        self._file.seek(here)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def check_piece_counts(file: IO[bytes]) -> None:
    """Looks for what has to be counted before a decoder begins.

    Raises:
        BadImageError: a JPEG of too many scans, or a TIFF of too many strips.
    """
    head = file.read(16)
    if head[:2] == b"\xff\xd8":
        too_many = _scans(head + file.read()) > MOST_SCANS
    else:
        too_many = head[:2] in (b"II", b"MM") and _strips(file, head) > MOST_STRIPS
    file.seek(0)
    if too_many:
        raise BadImageError(_TOO_MANY)


def _scans(data: bytes) -> int:
    """A JPEG's, as far as they are too many; what follows its end is not looked at."""
    place, scans, segments = 2, 0, 0
    while scans <= MOST_SCANS and segments <= MOST_READS and (marker := _MARKER.search(data, place)):
        code, place = data[marker.start() + 1], marker.end()
        if code == 0xD9:  # the end
            break
        scans, segments = scans + (code == 0xDA), segments + 1
        place += max(2, int.from_bytes(data[place : place + 2], "big"))
    return scans


def _strips(file: IO[bytes], head: bytes) -> int:
    """How many strips or tiles a TIFF, or a BigTIFF, says that it has."""
    order, big = "<" if head[:2] == b"II" else ">", 43 in head[2:4]
    number, entry = ("Q", "HHQ8x") if big else ("H", "HHI4x")
    try:
        (start,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", head, 8 if big else 4)
        file.seek(start)
        (entries,) = struct.unpack(order + number, file.read(struct.calcsize(order + number)))
        table = file.read(min(entries, 0xFFFF) * struct.calcsize(order + entry))
        whole = len(table) // struct.calcsize(order + entry) * struct.calcsize(order + entry)
        counts = [count for tag, _, count in struct.iter_unpack(order + entry, table[:whole]) if tag in (273, 324)]
    except (struct.error, OSError, ValueError, OverflowError):  # no TIFF after all, as its decoder will say
        return 0
    return max(counts, default=0)
