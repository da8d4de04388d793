"""Settings of a process that trains on a CPU: threads, tiny numbers, memory that stays."""

import contextlib
import ctypes
import functools
import sys
from collections.abc import Iterator

import torch

# malloc.h: options of mallopt. The threshold is the largest that glibc takes.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST_THRESHOLD = 32 * 2**20


@contextlib.contextmanager
def tiny_as_zero() -> Iterator[None]:
    """Take numbers too small for a normal float as zero while training, and only then.

    Probabilities of next to nothing, as a diverging run has them, would slow its products fourfold.
    """
    already = sys.float_info.min / 2 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)


def settle(threads: int | None) -> None:
    """Prepare this process for training.

    Memory that a step frees is kept for the next one instead of going back to the system, which would clear every
    page of it again; a fifth of the time at hidden size 512.
    """
    if threads:
        torch.set_num_threads(threads)
    _keep_memory()


@functools.cache
def _keep_memory() -> None:
    with contextlib.suppress(OSError, AttributeError):  # no glibc: its allocator does as it does
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 2 * _LARGEST_THRESHOLD)
