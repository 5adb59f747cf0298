"""What the C library does with freed memory."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Names of glibc's settings, from malloc.h."""


def keep_freed_memory() -> bool:
    """Has glibc keep what it was given instead of returning it to the system after every tensor: a training step asks for
    the same gigabytes again and again, and fresh pages cost as much as arithmetic.

    Returns:
        Whether the setting exists here; elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:  # not glibc
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
