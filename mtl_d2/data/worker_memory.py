"""Memory of a loader's worker: each sample is written where the last one was, and little is searched for garbage."""

from __future__ import annotations

import ctypes
import gc
import sys

# glibc's names, and the largest block that it takes from its heap.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_BLOCK = 32 << 20
KEPT = 256 << 20


def keep_freed_memory() -> None:
    """Has this process keep up to 256 MiB that it has freed, instead of giving it back to the system at once.

    An image's pixels are taken and freed several times a sample, each time some megabytes, of which the system hands
    out every page anew, zeroed: with images of 1280 x 720 that is a fifth of a worker's time. Does nothing where the C
    library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK)
        mallopt(M_TRIM_THRESHOLD, KEPT)


def spare_what_stands() -> None:
    """Has the garbage collector pass over all objects that this process has now, such as those of its imports.

    They live as long as the worker, and to look at them again and again is a twentieth of its time.
    """
    gc.freeze()
