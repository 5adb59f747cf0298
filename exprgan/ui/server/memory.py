"""The memory of the process: what was freed is given back to the system, which glibc does not do by itself."""

import ctypes
import sys
from typing import Any

MAX_ARENAS = 2
"""Heaps of glibc. It makes eight for each core, and keeps in each what its threads once had at most."""
M_ARENA_MAX = -8


def _glibc() -> Any:
    """The C library, or None where it is not glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None


def limit_arenas() -> None:
    """Limits the number of heaps; to be called before there are threads."""
    if library := _glibc():
        library.mallopt(M_ARENA_MAX, MAX_ARENAS)


def trim_memory() -> None:
    """Gives freed memory back to the system; takes some milliseconds, in which other threads go on."""
    if library := _glibc():
        library.malloc_trim(0)
