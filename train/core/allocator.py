"""The C library's treatment of freed memory."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt, from malloc.h."""


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory instead of returning it to the system after every tensor.

    A training step allocates the same gigabytes again and again, and fresh pages cost as much as the arithmetic.

    Returns:
        Whether the setting exists here; elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:  # not glibc
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
