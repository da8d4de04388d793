"""Process settings for training on a CPU: threads, denormal numbers, memory reuse."""

import contextlib
import ctypes
import functools
import sys
from collections.abc import Iterator

import torch

# malloc.h: options of mallopt. The threshold is the largest that glibc accepts.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST_THRESHOLD = 32 * 2**20


@contextlib.contextmanager
def tiny_as_zero() -> Iterator[None]:
    """Flush denormal numbers to zero inside the block.

    Diverging runs have denormal probabilities, which would make their products four times slower.
    """
    already = sys.float_info.min / 2 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)


def settle(threads: int | None) -> None:
    """Prepare this process for training.

    The allocator keeps the memory that a step frees. Otherwise the system would clear every page again: a fifth of
    the time at hidden size 512.
    """
    if threads:
        torch.set_num_threads(threads)
    _keep_memory()


@functools.cache
def _keep_memory() -> None:
    with contextlib.suppress(OSError, AttributeError):  # the C library is not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 2 * _LARGEST_THRESHOLD)
