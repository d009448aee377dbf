"""Products of matrices by NumPy, which a fork in another thread waits for.

OpenBLAS shares large products out to threads of its own, and ends these before a fork: a product
that another thread is at would wait for them for ever, and with it whoever waits for the optimizer.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

_ALONE = 10_000
"""Products of vectors no longer than this are not shared out."""


_PATIENCE = 10.0
"""Seconds that a call waits for a fork of another thread. That may wait in turn for what the caller
holds, in a hook of the application's: then the call goes on without."""
_LONGEST = 60.0
"""Seconds that a fork waits for a call."""


class _Calls:
    """The calls of OpenBLAS: each thread has a lock that it holds while it is in one, and that
    another thread holds while it forks.

    Locks of C, in a ``with``: Ctrl-C is raised before one is taken or after it is let go.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Also in a forked child: the other threads are not there."""
        self._own = threading.local()
        self._locks: weakref.WeakSet[Any] = weakref.WeakSet()
        self._held: dict[int, list[Any]] = {}  # by a thread that forks, of all others
        self._over = threading.Event()
        self._over.set()

    def mine(self) -> Any:
        """The lock to hold during a call by this thread. Waits while another one forks."""
        forking = self._held and threading.get_ident() not in self._held
        if forking and not self._over.wait(_PATIENCE):
            return threading.Lock()
        lock = getattr(self._own, "lock", None)
        if lock is None:
            lock = self._own.lock = threading.RLock()
            self._locks.add(lock)
        return lock

    def before_fork(self) -> None:
        """Wait for all others, and let none in; but for this thread, which may be in a handler of a
        signal that came just before its call or after it, or have calls in other hooks."""
        me, own = threading.get_ident(), getattr(self._own, "lock", None)
        if me in self._held:  # a fork in a handler while one waits here
            return
        self._over.clear()
        held = self._held[me] = []
        for lock in list(self._locks):
            if lock is not own and lock.acquire(timeout=_LONGEST):
                held.append(lock)

    def after_fork(self) -> None:
        """In the parent: let it go on."""
        for lock in self._held.pop(threading.get_ident(), ()):
            lock.release()
        if not self._held:
            self._over.set()


_calls = _Calls()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_calls.before_fork,
        after_in_parent=_calls.after_fork,
        after_in_child=_calls.begin,
    )


def product(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``left @ right``, of matrices, or of a matrix and a vector."""
    with _calls.mine():
        result: npt.NDArray[Any] = left @ right
    return result


def dot(left: Floats, right: Floats) -> float:
    """The product of two vectors; silent where it overflows."""
    if len(left) <= _ALONE:
        return float(np.vdot(left, right))
    with _calls.mine():
        return float(np.vdot(left, right))


def dots(rows: Floats, vector: Floats) -> npt.NDArray[Any]:
    """The product of each row with a vector: ``(n,)``. By this thread alone: where processors are
    busy, one that shares a small product out waits for the others longer than it takes. Equal
    rows have equal products, to the last bit."""
    if len(vector) > _ALONE:
        return product(rows, vector)
    result: npt.NDArray[Any] = np.vecdot(rows, vector)
    return result


def principal_components(
    rows: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The principal components of ``rows: float64[n, d]``, whose mean is zero: the variances times
    n, rising, and the directions, one a column (``numpy.linalg.eigh``)."""
    with _calls.mine():
        variances, directions = np.linalg.eigh(rows.T @ rows)
    return variances, directions
