"""Meter: how far a build is, and whether it is to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

_TURN = 0.001
"""A build runs at most so many seconds before it lets searches take their turn."""


class Cancelled(Exception):
    """The build was asked to stop; what it wrote is removed."""


class Meter:
    """Tells how far a build is, in rows copied and encoded, and stops it if asked to."""

    def __init__(
        self, total: int, cancelled: Callable[[], bool], progress: Callable[[int, int], None]
    ) -> None:
        self.cancelled = cancelled
        self._total = total
        self._done = 0
        self._progress = progress
        self._yielded = 0.0

    def poll(self) -> None:
        """Let threads that wait for Python go first, now and then. Raises Cancelled if asked to
        stop."""
        if time.perf_counter() - self._yielded > _TURN:
            time.sleep(0)
            self._yielded = time.perf_counter()
        if self.cancelled():
            raise Cancelled

    def advance(self, rows: int) -> None:
        """Report some more rows done."""
        self._done += rows
        self._progress(self._done, self._total)
