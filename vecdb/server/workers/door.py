"""Door: where callers come in, whose connections are handed to the workers.

A connection goes to the worker that has the fewest of this door. One that is too busy to read what
it was given before gets no more; while all are, callers wait in the system's queue. So nobody is
turned away by workers that stand still for a while.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping

from vecdb.server.workers.channel import Channel

_log = logging.getLogger("vecdb.server")

_AT_ONCE = 64
"""Connections that are accepted in one turn."""
_PAUSE = 0.1
"""Seconds without accepting, when that fails."""


class Door:
    """One port. ``letter``: by which a channel brings its connections. ``ready``: the channels of
    the workers that can take them, by number. ``ended``: how many of a worker's have ended."""

    def __init__(
        self,
        listener: socket.socket,
        letter: bytes,
        ready: Callable[[], Mapping[int, Channel]],
        ended: Callable[[int], int],
    ) -> None:
        self._listener = listener
        self._letter = letter
        self._ready = ready
        self._ended = ended
        self._given: dict[int, int] = {}
        """Connections that each worker got, as many as have ended in the end."""
        self._accepts = False
        self._is_closed = False

    def begins(self, worker: int) -> None:
        """A process begins to be a worker, and has none yet."""
        self._given[worker] = self._ended(worker)

    def open(self) -> None:
        """Accept connections, if it does not."""
        if not self._accepts and not self._is_closed:
            self._accepts = True
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def shut(self) -> None:
        """Accept none until it is opened again."""
        if self._accepts:
            self._accepts = False
            asyncio.get_running_loop().remove_reader(self._listener)

    def close(self) -> None:
        """For good. Who waits is refused."""
        self.shut()
        self._is_closed = True
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._by_load():  # it is opened again when one has read what it was given
                self.shut()
                return
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # too many open files
                _log.error("a connection cannot be accepted: %s", error)
                self.shut()
                asyncio.get_running_loop().call_later(_PAUSE, self.open)
                return
            with connection:
                self._give(connection)

    def _by_load(self) -> list[tuple[int, Channel]]:
        """The workers that have room, beginning with the one that has the fewest connections."""
        found = [each for each in self._ready().items() if not each[1].is_full]
        return sorted(found, key=lambda each: self._given[each[0]] - self._ended(each[0]))

    def _give(self, connection: socket.socket) -> None:
        for number, channel in self._by_load():
            if channel.tell(self._letter, connection):
                self._given[number] += 1
                return
