"""Mappings of files without a descriptor; private memory that is given back.

A process may have a thousand descriptors, and a database thousands of files. A mapping keeps its
file, removed or not, without one; only Python's ``mmap`` holds a copy of it as long as it lives.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int),
    ctypes.c_long,
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_FAILED = ctypes.c_void_p(-1).value


class Mapping:
    """Maps the first ``size`` bytes of a file for reading, as long as this lives or an array that
    was made of it. Reading beyond the end of a file that was shortened kills the process."""

    def __init__(self, fd: int, size: int) -> None:
        """``size`` must be above zero. Raises OSError."""
        self._address = None  # for __del__, if the call fails
        address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        if address == _FAILED:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self._address = address
        self.size = size

    def __del__(self, munmap: Any = _libc.munmap) -> None:
        if self._address is not None:
            munmap(self._address, self.size)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        data = (self._address, True)  # True: read-only
        return {"version": 3, "shape": (self.size,), "typestr": "|u1", "data": data}

    def array(self) -> npt.NDArray[np.uint8]:
        """Its bytes, read-only."""
        return np.asarray(self)

    def ask_for(self, start: int, end: int) -> None:
        """Let the kernel read some of the bytes before they are used. ``start`` must be at the
        beginning of a page."""
        if hasattr(mmap, "MADV_WILLNEED") and self._address is not None:
            _libc.madvise(self._address + start, min(end, self.size) - start, mmap.MADV_WILLNEED)


def private_memory(size: int, *, huge: bool) -> mmap.mmap:
    """Fresh memory that goes back to the system when its last array is gone. Pages that are not
    written to take none. ``huge``: all will be filled, so pages may be large."""
    # Private, or the pages would be shared memory and count as such.
    memory = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    return memory


def give_back_freed_memory() -> None:
    """Give back to the system what the C library keeps of freed memory: a program may never need so
    much again."""
    if hasattr(_libc, "malloc_trim"):  # glibc has it
        _libc.malloc_trim(0)
