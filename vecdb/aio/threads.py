"""Threads of an open database, and whether any of them is at work.

Two sets, which are started when they are needed: one for calls that end by themselves, one for
those that may last (uploads, snapshots, waiting for the optimizer), so that however many of these
there are, a search or a write finds a thread.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from vecdb.aio.futures import handed_over
from vecdb.errors import ClosedError

_R = TypeVar("_R")

_THREADS = min(32, (os.cpu_count() or 1) + 4)
_LASTING = 32


class Threads:
    """Those of the database at a path. They refer to what they were given until they have ended it,
    and no longer: when none is at work, none keeps a database that its user has let go of."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._short = ThreadPoolExecutor(_THREADS, "vecdb-async")
        self._lasting = ThreadPoolExecutor(_LASTING, "vecdb-async-lasting")
        self._condition = threading.Condition()
        self._at_work: set[_Work] = set()
        self._has_ended = False

    def start(
        self, function: Callable[[], _R], *, lasting: bool = False
    ) -> concurrent.futures.Future[_R]:
        """Call it in a thread. If the future is cancelled before that has begun, it is not called.
        Raises ClosedError after ``end``, RuntimeError if there is no thread to be had."""
        work = _Work(function, self._ended)
        future = work.future
        with self._condition:
            self._at_work.add(work)
        try:
            (self._lasting if lasting else self._short).submit(work)
        except BaseException as error:
            # It may wait there all the same, and a thread that was busy may have begun it.
            if future.cancel():
                self._ended(work)
                if self._has_ended:
                    raise ClosedError(f"database {self._path} is closed") from error
                raise
        return future

    def _ended(self, work: _Work) -> None:
        with self._condition:
            self._at_work.discard(work)
            self._condition.notify_all()

    def join(self, timeout: float | None = None) -> None:
        """Wait until none of them is at work, or for ``timeout`` seconds."""
        with self._condition:
            self._condition.wait_for(lambda: not self._at_work, timeout)

    def end(self) -> None:
        """Take no more calls, and wait for those that were made and for the threads."""
        self._has_ended = True
        self._short.shutdown()
        self._lasting.shutdown()


class _Work:
    """A call on its way through a thread."""

    def __init__(self, function: Callable[[], Any], ended: Callable[[_Work], None]) -> None:
        self._function = function
        self._ended = ended
        self.future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def __call__(self) -> None:
        try:
            self._answer()
        finally:
            self._ended(self)  # which has let go of the function, its result and its error

    def _answer(self) -> None:
        function, future = self._function, self.future
        del self._function, self.future
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = function()
        except BaseException as error:
            del function  # the error has this frame
            future.set_exception(handed_over(error))
            del future
        else:
            future.set_result(result)
