"""Mappings of files without a descriptor; private memory that is given back.

A process may have a thousand descriptors, and a database thousands of files. A mapping keeps its
file, removed or not, without one; only Python's ``mmap`` holds a copy of it as long as it lives.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import threading
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
_libc.syscall.restype = ctypes.c_long
_libc.syscall.argtypes = (
    *(ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t),
    *(ctypes.c_int, ctypes.c_uint),
)
_FAILED = ctypes.c_void_p(-1).value
_PROCESS_MADVISE = 440  # on every kind of processor
_MOST_SPANS = 1024  # of one call, IOV_MAX
_at_once = hasattr(os, "pidfd_open") and hasattr(mmap, "MADV_WILLNEED")
"""Whether process_madvise may be tried: some kernels refuse it to whoever is not root."""
_of_thread = threading.local()

Offsets = npt.NDArray[np.int64]


class Mapping:
    """Maps the first ``size`` bytes of a file for reading, as long as this lives or an array that
    was made of it. Reading beyond the end of a file that was shortened kills the process."""

    def __init__(self, fd: int, size: int, *, read_ahead: bool = True) -> None:
        """``size`` must be above zero. ``read_ahead``: the kernel reads what is around a page that
        is missing, too. Raises OSError."""
        self._address = None  # for __del__, if the call fails
        address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        if address == _FAILED:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self._address = address
        self.size = size
        if not read_ahead and hasattr(mmap, "MADV_RANDOM"):
            _libc.madvise(address, size, mmap.MADV_RANDOM)

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

    def ask_for(self, starts: Offsets, ends: Offsets) -> None:
        """Let the kernel read some spans of the bytes, all at once, before they are used."""
        if not hasattr(mmap, "MADV_WILLNEED") or self._address is None or not len(starts):
            return
        spans = np.empty((len(starts), 2), dtype=np.uint64)  # as struct iovec: where, how many
        starts = starts // mmap.PAGESIZE * mmap.PAGESIZE
        spans[:, 0] = self._address + starts
        spans[:, 1] = np.minimum(ends, self.size) - starts
        for first in range(0, len(spans), _MOST_SPANS):
            _will_need(spans[first : first + _MOST_SPANS])

    def let_go(self, start: int, end: int) -> None:
        """Have the process give up the pages of a span; the page cache may keep them. ``start``
        must be at the beginning of a page."""
        if hasattr(mmap, "MADV_DONTNEED") and self._address is not None:
            _libc.madvise(self._address + start, min(end, self.size) - start, mmap.MADV_DONTNEED)


def _will_need(spans: npt.NDArray[np.uint64]) -> None:
    """Ask for all spans in one call, where the system has it and lets us: sixty take 40 µs then,
    and 120 one by one."""
    global _at_once
    if _at_once:
        try:
            process = os.pidfd_open(os.getpid())
        except OSError:  # too many descriptors
            pass
        else:
            try:
                taken = _libc.syscall(
                    *(_PROCESS_MADVISE, process, spans.ctypes.data, len(spans)),
                    *(mmap.MADV_WILLNEED, 0),
                )
            finally:
                os.close(process)
            if taken >= 0:
                return
            _at_once = False
    for start, size in spans.tolist():
        _libc.madvise(start, size, mmap.MADV_WILLNEED)


def has_read() -> bool:
    """Whether the disk had to read for this thread since it asked last: by a fault, or by
    ``ask_for``. Where the system does not count that, it always had to."""
    if not hasattr(resource, "RUSAGE_THREAD"):
        return True
    before = getattr(_of_thread, "blocks", 0)
    _of_thread.blocks = resource.getrusage(resource.RUSAGE_THREAD).ru_inblock
    return bool(_of_thread.blocks != before)


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
