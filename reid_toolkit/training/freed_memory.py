"""Keeps the memory that a training step on a CPU frees for the next step.

glibc gives a block of over 32 MiB back to the system as soon as it is freed. The next step gets other pages, which the
system first has to find and clear. ``tools/bench_step.py`` measures what this costs.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""mallopt(3): how many free bytes at the top of the heap are kept; how large a block is placed outside the heap, and
how many such blocks there may be."""

OUTSIDE_FROM = 32 * 2**20
"""glibc raises its threshold to this size while a program frees blocks, and keeps twice as much at the top. A call of
mallopt ends that, so both are set to these final values."""


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within this context the process keeps the memory that it frees; at the end it gives all of it back.

    Results do not change. The context does nothing if the C library is not glibc.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        yield
        return
    library.mallopt(M_MMAP_MAX, 0)
    library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(M_MMAP_MAX, 65536)  # glibc's own
        library.mallopt(M_MMAP_THRESHOLD, OUTSIDE_FROM)
        library.mallopt(M_TRIM_THRESHOLD, 2 * OUTSIDE_FROM)
        library.malloc_trim(ctypes.c_size_t(0))
