"""Board: memory that all processes of a server share; each may write its own part of it.

It has no name, so nothing is left of it when the last of them has ended. A number is eight bytes at
a multiple of eight, which a processor writes in one go: a process that is killed leaves the number
that was there or the new one.
"""

from __future__ import annotations

import mmap
import os
import tempfile

from vecdb.server.settings import MOST_WORKERS

_NUMBERS = 1 << 12
"""Bytes for numbers, before the texts."""
_TEXT = 1 << 22
"""Bytes for one text. They are memory only when something was written there."""
_WRITER, _FOLLOWERS, _CHANGES, _COLLECTIONS = 0, 1, 2, 3
_CLOSED = 8
_CLOSED_OF_GRPC = _CLOSED + MOST_WORKERS
_TEXTS = _CLOSED_OF_GRPC + MOST_WORKERS


class Board:
    """The board of one server with so many workers. ``file``: a descriptor of it."""

    def __init__(self, file: int, workers: int) -> None:
        self._memory = mmap.mmap(file, _size(workers))
        self._numbers = memoryview(self._memory)[:_NUMBERS].cast("Q")

    # -- what the parent says --------------------------------------------------------------------

    @property
    def has_writer(self) -> bool:
        """Whether there is a process that writes."""
        return bool(self._numbers[_WRITER])

    @has_writer.setter
    def has_writer(self, there: bool) -> None:
        self._numbers[_WRITER] = there

    @property
    def followers(self) -> int:
        """How many processes there are that follow."""
        return self._numbers[_FOLLOWERS]

    @followers.setter
    def followers(self, count: int) -> None:
        self._numbers[_FOLLOWERS] = count

    # -- what the writer says --------------------------------------------------------------------

    @property
    def changes(self) -> int:
        """How many changes of collections were answered. Whoever has read the database after that
        sees all of them."""
        return self._numbers[_CHANGES]

    @property
    def collections(self) -> int:
        """The same of changes of which collections there are, and of their aliases."""
        return self._numbers[_COLLECTIONS]

    def changed(self, collections: bool) -> None:
        """Something was changed, and is about to be answered."""
        self._numbers[_COLLECTIONS if collections else _CHANGES] += 1

    # -- what each worker says -------------------------------------------------------------------

    def closed(self, worker: int, grpc: bool = False) -> int:
        """How many of the connections that a worker was given have ended, of HTTP or of gRPC."""
        return self._numbers[(_CLOSED_OF_GRPC if grpc else _CLOSED) + worker]

    def count_closed(self, worker: int, grpc: bool = False) -> None:
        """One more has ended."""
        self._numbers[(_CLOSED_OF_GRPC if grpc else _CLOSED) + worker] += 1

    def write(self, worker: int, text: bytes) -> None:
        """Replace the text of a worker. One that is too long is not written."""
        if len(text) > _TEXT - 8:
            return
        # Two places take turns, and the number of texts so far says which one counts. So whoever
        # reads, and whoever is killed here, leaves the last text whole.
        count = self._numbers[_TEXTS + worker] + 1
        start = _start(worker, count)
        self._memory[start : start + 8] = len(text).to_bytes(8, "little")
        self._memory[start + 8 : start + 8 + len(text)] = text
        self._numbers[_TEXTS + worker] = count

    def read(self, worker: int) -> bytes:
        """The text of a worker; empty if it has written none."""
        while True:
            count = self._numbers[_TEXTS + worker]
            if not count:
                return b""
            start = _start(worker, count)
            length = int.from_bytes(self._memory[start : start + 8], "little")
            text = self._memory[start + 8 : start + 8 + min(length, _TEXT)]
            if self._numbers[_TEXTS + worker] == count:
                return text


def new_board(workers: int) -> int:
    """The descriptor of a board on which nothing stands yet."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("vecdb-server")
    else:
        with tempfile.TemporaryFile() as nameless:
            file = os.dup(nameless.fileno())
    os.ftruncate(file, _size(workers))
    return file


def _size(workers: int) -> int:
    return _NUMBERS + workers * 2 * _TEXT


def _start(worker: int, count: int) -> int:
    return _NUMBERS + (2 * worker + count % 2) * _TEXT
