"""Memory that a process keeps for its next arrays."""

import ctypes
import functools

__all__ = ["keep_freed_memory"]

# of glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_AT_ONCE = 2**26  # bytes that are fetched from the system, at least


@functools.cache
def keep_freed_memory() -> bool:
    """Lets this process keep the memory that it frees, where it is glibc that manages it.

    Otherwise each tensor of more than some MB is fetched from the system when it is made and given back when it is
    freed, page by page, which takes much of the time of a training of large images on a CPU: `experiments.memory_kept`
    measures how much.

    Returns:
        Whether it does.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library, or system
        return False
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1), mallopt(_TOP_PAD, _AT_ONCE)])
