"""Kernels compiled by numba, in the process that calls them: where there is no library for it."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from vecdb.kernels.library import STALE, KernelsError, is_stale

__all__ = ["cgutils", "intrinsic", "ir", "njit", "types", "unkept"]


def _load() -> Any:
    """Import numba and compile something, which makes it ready, and hold Ctrl-C back meanwhile.

    Interrupted half-way, numba could not be imported again: after one impatient Ctrl-C, no search
    of the process would work any more. Signals are handled in the main thread only.
    """
    held: list[Any] = []
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main else None
    if callable(handler):
        signal.signal(signal.SIGINT, lambda *arguments: held.append(arguments))
    try:
        import numba

        numba.njit(numba.void(numba.float32[::1]))(lambda line: None)
    except ModuleNotFoundError as error:
        raise KernelsError(_why_numba()) from error
    finally:
        if callable(handler):
            signal.signal(signal.SIGINT, handler)
            for number, frame in held:
                handler(number, frame)
    return numba


def _why_numba() -> str:
    missing = "numba, which would compile kernels now, is not installed"
    if os.environ.get("VECDB_KERNELS") == "jit":
        return f"VECDB_KERNELS is 'jit', but {missing}: pip install numba"
    if is_stale():
        return f"{STALE}; {missing}"
    here = "vecdb has no compiled kernels for this machine and Python"
    return f"{here}, and {missing}: pip install numba"


numba = _load()

from llvmlite import ir  # noqa: E402 - numba is loaded with Ctrl-C held back
from numba.core import cgutils, types  # noqa: E402
from numba.extending import intrinsic  # noqa: E402

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
                    "a minute or two; a directory of your own in NUMBA_CACHE_DIR ends that "
                    "(%s: %s)",
                    type(error).__name__,
                    error,
                )
            unkept.append(f"{function.__module__.rpartition('.')[2]}.{function.__name__}")
        return kernel

    return compiled
