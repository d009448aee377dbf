"""Compiled inner loops: free functions on contiguous arrays, and nothing of the rest of vecdb.

They come compiled (`library`), or numba compiles them (`jit`): half a second of every process,
which ``import vecdb`` must not take. Import a module of kernels inside the function that needs it.

Common to every kernel:

* scores are float32 and larger is better: ``dot``, minus squared ``euclid``, minus ``manhattan``;
* a mask is a bitmap, ``uint8[ceil(n / 8)]``, little bit order; length 0 means "all rows";
* input arrays may be read-only (mapped files are), kernels release the GIL and start no threads;
* one row is scored by the same instructions wherever it stands, so equal rows have equal scores
  to the last bit, in a scan and in rescoring.
"""

from __future__ import annotations

import sys

from vecdb.kernels import library

__all__ = ["at_hand"]


def at_hand() -> bool:
    """Whether a first kernel takes milliseconds: there is a library, or numba is loaded anyway."""
    return "vecdb.kernels.compiling" in sys.modules or library.path() is not None
