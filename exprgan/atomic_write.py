"""Files that appear whole or not at all."""

import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import ExprGANError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; the file takes its own once all of it is there. What stood there stays till then.

    Raises:
        ExprGANError: it cannot be written there.
    """
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        part.touch(exist_ok=False)
        yield part
        os.replace(part, path)
    except (OSError, ValueError, struct.error) as error:  # the latter two: larger than the format allows
        reason = getattr(error, "strerror", None) or error
        raise ExprGANError(f"Cannot write {path}: {reason}. Choose another folder, name or size.") from error
    finally:
        with suppress(OSError):  # there is none after success
            part.unlink()
