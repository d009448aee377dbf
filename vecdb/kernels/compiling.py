"""``njit``: numba's, for processes that may have no place to keep machine code."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numba

_log = logging.getLogger("vecdb")

unkept: list[str] = []
"""Kernels that were compiled for this process alone: nothing was read from a cache or written."""


def njit(signature: Any, **options: Any) -> Callable[[Any], Callable[..., Any]]:
    """``numba.njit``, which with ``cache=True`` raises what goes wrong with its cache: no directory
    to write to (a read-only container, a user without a home), no space, a file cut short by a
    power loss. The kernel is compiled in memory then; a warning says so, once a process."""

    def compiled(function: Any) -> Callable[..., Any]:
        kernel: Callable[..., Any]
        try:
            kernel = numba.njit(signature, **options)(function)
        except Exception as error:
            # What is wrong with the kernel itself is wrong without a cache, too, and raised here.
            kernel = numba.njit(signature, **{**options, "cache": False})(function)
            if not unkept:
                _log.warning(
                    "compiled search kernels are not kept, each process compiles them anew, in "
                    "about ten seconds; a directory of your own in NUMBA_CACHE_DIR ends that "
                    "(%s: %s)",
                    type(error).__name__,
                    error,
                )
            unkept.append(f"{function.__module__.rpartition('.')[2]}.{function.__name__}")
        return kernel

    return compiled
