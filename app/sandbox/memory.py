"""Giving memory back after work that needed much of it for a moment."""

import ctypes


def give_back() -> None:
    """Return freed memory to the operating system, where the C library can (glibc; elsewhere it does so itself).

    Measured: importing 785 rules left 110 MB more resident than serving them needs. Collecting cycles first gave
    nothing back, and held up every poll for 50 ms.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
