"""How torch works in this program: threads, determinism, and memory that stays."""
from __future__ import annotations

import ctypes

import torch

__all__ = ["set_up"]

# Parameters of glibc's mallopt.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def set_up(threads: int) -> None:
    """Fix the number of threads and use deterministic algorithms; keep freed memory for the next tensor.

    By default glibc gives large tensors back to the system when they are freed, and every new one is cleared page by page
    again: a third of a training's time.
    """
    torch.set_num_threads(threads)
    # What use_deterministic_algorithms(True) does, but for torch's compilers: it imports them, which takes two seconds.
    torch.set_deterministic_debug_mode("error")
    # Nothing here reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)
    except (AttributeError, OSError):                       # another C library
        pass
