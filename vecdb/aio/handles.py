"""Handles of a collection for coroutines: each does one thing in its own way.

The rest they do as ``Collection``.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from vecdb import models
from vecdb.aio.short import is_short, mark_warm
from vecdb.collection import Collection
from vecdb.engine.view import View
from vecdb.engine.write.ingest import prepare_each
from vecdb.engine.write.writer import Request, submit_each
from vecdb.errors import ClosedError


class Reading(Collection):
    """Knows whether a read is short."""

    @classmethod
    def of(cls, collection: Collection) -> Reading:
        """Another handle of the same collection."""
        return cls(collection._database, collection._store)

    def is_short(self, verb: str, arguments: Mapping[str, Any]) -> bool:
        """Whether a verb with these arguments may run in an event loop."""
        return is_short(self._store.view, verb, arguments)

    def view(self) -> View:
        """The state that a read sees which begins now."""
        return self._store.view

    def mark_warm(self, before: View, arguments: Mapping[str, Any]) -> None:
        """A search with these arguments has begun since that view, and ended in a thread."""
        mark_warm(before, self._store.view, arguments)


class Gathering(Collection):
    """Keeps what its verbs are to write, until ``commit`` writes all of it together."""

    def __init__(self, collection: Collection) -> None:
        super().__init__(collection._database, collection._store)
        self._requests: list[Sequence[Request]] = []
        self._ends: list[Sequence[int]] = []  # of each write, as ``_write_each`` has them

    def __len__(self) -> int:
        """How many writes are kept."""
        return len(self._requests)

    def keep(self, count: int) -> None:
        """Drop all writes but the first ``count``."""
        del self._requests[count:], self._ends[count:]

    def upsert_each(self, points: list[Any]) -> bool:
        """Keep an upsert for each of these points; False: some are not as they should be, and none
        was kept. ``upsert`` says what is wrong."""
        try:
            requests = prepare_each(self._store.schema, points)
        except Exception:
            return False
        for request in requests:
            self._write_each([request], [1])
        return True

    def commit(self) -> list[list[models.UpdateResult] | BaseException]:
        """Write what was kept, in as few group commits as it fits in; for each the results of its
        operations, or what its verb would have raised."""
        self._database.check_usable()
        outcomes = submit_each(self._store, self._requests)
        return [
            outcome if isinstance(outcome, BaseException) else self._results(outcome, ends)
            for outcome, ends in zip(outcomes, self._ends, strict=True)
        ]

    def written(self) -> None:
        """What is to be done after a commit; nobody needs to wait for it."""
        self._written()

    def _write_each(
        self, requests: Sequence[Request], ends: Sequence[int]
    ) -> list[models.UpdateResult]:
        if requests:
            self._requests.append(requests)
            self._ends.append(ends)
        return [models.UpdateResult(0, models.UpdateStatus.ACKNOWLEDGED) for _ in ends]


class Stoppable(Collection):
    """Refuses to write once ``stopped`` is set: an upload ends before its next batch."""

    def __init__(self, collection: Collection, *stopped: threading.Event) -> None:
        super().__init__(collection._database, collection._store)
        self._stopped = stopped

    def _write_each(
        self, requests: Sequence[Request], ends: Sequence[int]
    ) -> list[models.UpdateResult]:
        if any(event.is_set() for event in self._stopped):
            raise ClosedError(f"collection {self.name!r}: the upload was stopped; {_KEPT}")
        return super()._write_each(requests, ends)


_KEPT = "the batches before it are written"
