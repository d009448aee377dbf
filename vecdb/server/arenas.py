"""Arenas: the parts of memory from which the C library gives to threads, each to its own.

What was freed in an arena stays there for the next who asks it, and an answer may be large. A
server has dozens of threads, and glibc eight arenas for each processor core: each of them comes to
keep as much as the largest answers took that were made in it, so a process goes on growing for
hours. Few arenas grow no larger than each of many, and who needs memory holds Python's lock, or
soon will: there is nobody to share them with.
"""

from __future__ import annotations

import ctypes
import os

FEW = 2
_M_ARENA_MAX = -8
"""Of malloc.h."""


def keep_few_arenas() -> None:
    """Let this process have few of them, unless ``MALLOC_ARENA_MAX`` says how many. It is for its
    beginning: those that there are stay."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and "MALLOC_ARENA_MAX" not in os.environ:  # glibc has it
        libc.mallopt(_M_ARENA_MAX, FEW)
