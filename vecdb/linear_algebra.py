"""Products of matrices by NumPy, which a fork in another thread waits for.

OpenBLAS shares large products out to threads of its own, and ends these before a fork: a product
that another thread is at would wait for them for ever, and with it whoever waits for the optimizer.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

_ALONE = 10_000
"""Products of vectors no longer than this are not shared out."""


class _Calls:
    """The calls of OpenBLAS, ``with`` one of which a thread is in it."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Also in a forked child: the other threads are not there, and may have held the lock."""
        self._changed = threading.Condition(threading.RLock())
        self._threads: set[int] = set()
        self._forking = False

    def __enter__(self) -> None:
        """Waits while another thread forks."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forking)
            self._threads.add(threading.get_ident())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._threads.discard(threading.get_ident())
            self._changed.notify_all()

    def before_fork(self) -> None:
        """Wait for all others, and let none in. Not for this thread, which may fork in a handler of
        a signal that came just before its call or after it."""
        mine = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: not self._forking)
            self._forking = True
            self._changed.wait_for(lambda: self._threads <= {mine})

    def after_fork(self) -> None:
        """In the parent: on with it."""
        with self._changed:
            self._forking = False
            self._changed.notify_all()


_calls = _Calls()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_calls.before_fork,
        after_in_parent=_calls.after_fork,
        after_in_child=_calls.begin,
    )


def product(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``left @ right``, of matrices, or of a matrix and a vector."""
    with _calls:
        result: npt.NDArray[Any] = left @ right
    return result


def dot(left: Floats, right: Floats) -> float:
    """The product of two vectors; silent where it overflows."""
    if len(left) <= _ALONE:
        return float(np.vdot(left, right))
    with _calls:
        return float(np.vdot(left, right))


def principal_components(
    rows: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of ``rows: float64[n, d]``, whose mean is zero: the variances times n, rising, and the
    directions, one a column (``numpy.linalg.eigh``)."""
    with _calls:
        variances, directions = np.linalg.eigh(rows.T @ rows)
    return variances, directions
