"""Compiled inner loops: free functions on contiguous arrays, and nothing of the rest of vecdb.

The package imports numba, which ``import vecdb`` must not. Import a module of it inside the
function that needs it.

Common to every kernel:

* scores are float32 and larger is better: ``dot``, minus squared ``euclid``, minus ``manhattan``;
* a mask is a bitmap, ``uint8[ceil(n / 8)]``, little bit order; length 0 means "all rows";
* input arrays may be read-only (mapped files are), kernels release the GIL and start no threads;
* one row is scored by the same instructions wherever it stands, so equal rows have equal scores
  to the last bit, in a scan and in rescoring.
"""

from __future__ import annotations

import importlib
import signal
import threading
from typing import Any


def _load() -> None:
    """Import numba and a first kernel, which makes it ready, and hold Ctrl-C back meanwhile.

    Interrupted half-way, numba could not be imported again: after one impatient Ctrl-C, no search
    of the process would work any more. Signals are handled in the main thread only.
    """
    held: list[Any] = []
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main else None
    if callable(handler):
        signal.signal(signal.SIGINT, lambda *arguments: held.append(arguments))
    try:
        importlib.import_module("vecdb.kernels.topk")
    finally:
        if callable(handler):
            signal.signal(signal.SIGINT, handler)
            for number, frame in held:
                handler(number, frame)


_load()
