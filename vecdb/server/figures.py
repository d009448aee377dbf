"""Figures: what was counted in one process of a server, and in all of them together."""

from __future__ import annotations

from collections.abc import Hashable
from copy import copy
from typing import TypeVar

import msgspec
from msgspec import Struct

from vecdb.server.counters import Durations

_K = TypeVar("_K", bound=Hashable)


class Figures(Struct, kw_only=True):
    """Of one process, or of several."""

    requests: dict[tuple[str, str, int], Durations] = msgspec.field(default_factory=dict)
    """By method, path of the route, and status; as in ``Counters``."""
    by_collection: dict[tuple[str, str, int, str], Durations] = msgspec.field(default_factory=dict)
    refusals: dict[str, int] = msgspec.field(default_factory=dict)
    clients: dict[bytes, int] = msgspec.field(default_factory=dict)
    dropped_fields: dict[str, int] = msgspec.field(default_factory=dict)
    """Unknown ones, by their names."""
    lanes: dict[str, int] = msgspec.field(default_factory=dict)
    """Reads by where they ran."""
    processes: int = 0
    in_flight: int = 0
    waiting: int = 0
    """Reads that have a thread."""
    tasks: int = 0
    """Of event loops."""
    threads: int = 0
    open_files: int = 0
    resident_bytes: int = 0
    virtual_bytes: int = 0
    loop_delay: float = 0.0
    """Seconds; the longest."""

    def add(self, other: Figures) -> None:
        """Count those of other processes, too."""
        _add_durations(self.requests, other.requests)
        _add_durations(self.by_collection, other.by_collection)
        _add_counts(self.refusals, other.refusals)
        _add_counts(self.clients, other.clients)
        _add_counts(self.dropped_fields, other.dropped_fields)
        _add_counts(self.lanes, other.lanes)
        self.processes += other.processes
        self.in_flight += other.in_flight
        self.waiting += other.waiting
        self.tasks += other.tasks
        self.threads += other.threads
        self.open_files += other.open_files
        self.resident_bytes += other.resident_bytes
        self.virtual_bytes += other.virtual_bytes
        self.loop_delay = max(self.loop_delay, other.loop_delay)


def _add_counts(mine: dict[_K, int], others: dict[_K, int]) -> None:
    for key, count in others.items():
        mine[key] = mine.get(key, 0) + count


def _add_durations(mine: dict[_K, Durations], others: dict[_K, Durations]) -> None:
    for key, durations in others.items():
        found = mine.get(key)
        if found is None:
            mine[key] = copy(durations)
            continue
        found.count += durations.count
        found.total += durations.total
        found.least = min(found.least, durations.least)
        found.most = max(found.most, durations.most)
        found.last = max(found.last, durations.last)
