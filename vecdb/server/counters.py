"""Counters: how many requests of which kind ended how, and how long they took."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from msgspec import Struct

MOST_COLLECTIONS = 1000
"""Names that are counted apart; a caller may make up any number of them."""
MOST_FIELDS = 1000
"""And so many names of unknown fields."""
MOST_FIELDS_OF_READERS = 500
"""A caller who may only read adds a name while there are fewer: those who may write have the rest
to themselves."""

GRPC = "gRPC"
"""What stands in place of a method of HTTP for a call of gRPC; its status is a code of gRPC."""


_OTHER = "other"

_log = logging.getLogger("vecdb.server")


class Durations(Struct):
    """Of the requests of one route that ended with one status."""

    count: int = 0
    total: float = 0.0
    least: float = float("inf")
    most: float = 0.0
    last: float = 0.0
    """Seconds since the epoch."""

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.count += 1
        self.total += seconds
        if seconds < self.least:
            self.least = seconds
        if seconds > self.most:
            self.most = seconds
        self.last = time.time()


class Counters:
    """Everything that is counted, from the start of the server. ``is_there``: whether there is a
    collection of that name; others are not counted apart."""

    def __init__(self, is_there: Callable[[str], bool] = lambda name: True) -> None:
        self.requests: dict[tuple[str, str, int], Durations] = {}
        """By method, path of the route, and status."""
        self.by_collection: dict[tuple[str, str, int, str], Durations] = {}
        self.refusals: dict[str, int] = {}
        """By the reason for which no operation was begun."""
        self.clients: dict[bytes, int] = {}
        self.dropped_fields: dict[str, int] = {}
        """By their names."""
        self.in_flight = 0
        self.loop_delay = 0.0
        """Seconds that the event loop was late, lately."""
        self._is_there = is_there
        self._collections: set[str] = set()
        self._dropping = threading.Lock()

    def ended(self, method: str, path: str, status: int, collection: str, seconds: float) -> None:
        """A request has ended."""
        durations = self.requests.get((method, path, status))
        if durations is None:
            durations = self.requests[method, path, status] = Durations()
        durations.add(seconds)
        if not collection:
            return
        key = (method, path, status, collection)
        durations = self.by_collection.get(key)
        if durations is None:
            if status >= 400:  # it may name a collection that is not there
                return
            if collection not in self._collections:
                if len(self._collections) >= MOST_COLLECTIONS or not self._is_there(collection):
                    return
                self._collections.add(collection)
            durations = self.by_collection[key] = Durations()
        durations.add(seconds)

    def refused(self, reason: str) -> None:
        """A request did not come as far as its operation."""
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def dropped(self, field: str) -> None:
        """An unknown field was left out of a request of somebody who may write. May be called in
        any thread."""
        self._drop(field, MOST_FIELDS)

    def dropped_of_reader(self, field: str) -> None:
        """The same of somebody who may only read."""
        self._drop(field, MOST_FIELDS_OF_READERS)

    def _drop(self, field: str, most: int) -> None:
        field = field[:60]
        with self._dropping:
            known = field in self.dropped_fields
            if not known and len(self.dropped_fields) - (_OTHER in self.dropped_fields) >= most:
                field = _OTHER
            self.dropped_fields[field] = self.dropped_fields.get(field, 0) + 1
        if not known and field != _OTHER:
            _log.warning("unknown field %r was left out of a request, as of all to come", field)

    def client(self, agent: bytes) -> None:
        """A request of a client; only those of Qdrant are told apart."""
        name = agent.partition(b"/")[0]
        name = name if name in _CLIENTS else b"other"
        self.clients[name] = self.clients.get(name, 0) + 1


_CLIENTS = frozenset({b"python-client", b"qdrant-js", b"rust-client", b"go-client", b"java-client"})
