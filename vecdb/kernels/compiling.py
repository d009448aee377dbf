"""Where kernels come from: the library that was compiled when vecdb was built, or else numba.

Kernels are written for numba in any case. With a library, their bodies stay what they are, Python
functions that nobody calls, and what only a compiler needs is nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from vecdb.kernels import library

__all__ = ["LIBRARY", "cgutils", "intrinsic", "ir", "njit", "types"]


class _Nothing:
    """Stands for types and instructions: whatever is asked of it is nothing, too."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self


LIBRARY: ModuleType | None = library.load()

types: Any
ir: Any
cgutils: Any
intrinsic: Any
njit: Callable[..., Callable[[Any], Callable[..., Any]]]


def _taken(signature: Any, **options: Any) -> Callable[[Any], Callable[..., Any]]:
    """Takes the kernel of a function's name from the library. What is not in it is called by other
    kernels only, never from Python."""

    def taken(function: Any) -> Callable[..., Any]:
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        kernel: Callable[..., Any] = getattr(LIBRARY, name, function)
        return kernel

    return taken


if LIBRARY is not None:
    types = ir = cgutils = intrinsic = _Nothing()
    njit = _taken
else:
    from vecdb.kernels import jit

    types, ir, cgutils = jit.types, jit.ir, jit.cgutils
    intrinsic, njit = jit.intrinsic, jit.njit
