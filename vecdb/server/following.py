"""Following: how far a process that only reads has come, and what it takes to be where it must be.

Processes of one server know of each other: a read sees whatever was answered before it began,
whichever process that came to. They have numbers for that, which move before a caller is told.
Another program tells nothing of its changes: what is read of it is at most ``FRESH`` old.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from vecdb import AsyncVecDB, errors
from vecdb.server.lanes import Lanes
from vecdb.server.workers.peers import Peers

FRESH = 0.05
"""Seconds that the state may be old."""
TOLD = 1.0
"""The same, if others tell of changes: what no caller was told of may still change, as the
optimizer does its work."""


class Following:
    """Of one database that is only read."""

    def __init__(self, database: AsyncVecDB, lanes: Lanes) -> None:
        self._database = database
        self._lanes = lanes
        self.peers: Peers | None = None
        self._moving: asyncio.Future[None] | None = None
        self._alone: str | None = None
        """What it moves. None: all of it."""
        self._read = 0.0
        """When all of the database was read."""
        self._seen = (0, 0)
        """The changes that were known then."""
        self._seen_of: dict[str | None, int] = {}
        """The same of collections that moved by themselves since."""
        self._failed: frozenset[str] = frozenset()
        """The collections that could not be read then."""

    async def follow(self, name: str | None = None) -> None:
        """Move all of it, or one collection, to a state that is new enough, as the module says.
        Raises as ``VecDB.refresh``, but for one collection nothing of others."""
        wanted, oldest = self._news(), self._oldest()
        while not self._has(name, wanted, oldest):
            if self._moving is None or self._moving.done():
                # A collection moves by itself if it is known that it is there, and what it is.
                knows = self._knows(wanted, oldest)
                self._alone = name if knows and self._meant(name) is not None else None
                self._moving = self._move(self._alone)
            alone = self._alone
            try:
                await asyncio.shield(self._moving)
            except errors.RefreshError as error:
                if name is None and alone is None:
                    raise
                own = error.failed.get(self._meant(name) or name or "")
                if own is not None:
                    raise errors.copy_of(own) from None
            except Exception:
                if alone is None or alone == name:
                    raise

    def _news(self) -> tuple[int, int]:
        """How many changes there were: of which collections there are, and of collections."""
        return (0, 0) if self.peers is None else self.peers.news()

    def _oldest(self) -> float:
        """When all of it was read, if that is new enough now."""
        return time.monotonic() - (FRESH if self.peers is None else TOLD)

    def _knows(self, wanted: tuple[int, int], oldest: float) -> bool:
        """Whether it is known which collections there are."""
        return self._read >= oldest and self._seen[0] >= wanted[0]

    def _has(self, name: str | None, wanted: tuple[int, int], oldest: float) -> bool:
        if not self._knows(wanted, oldest):
            return False
        if self._failed and (name is None or (self._meant(name) or name) in self._failed):
            return False
        return max(self._seen[1], self._seen_of.get(name, 0)) >= wanted[1]

    def _move(self, alone: str | None) -> asyncio.Future[None]:
        """Begin to read what is new, of all or of one collection, which is done at once if it was
        quick lately."""
        began, news = time.monotonic(), self._news()
        kind = ("", "refresh", alone is None)

        def moved(seconds: float) -> None:
            self._lanes.note(kind, seconds)
            if alone is None:
                is_at_news()
                return
            self._seen_of[alone] = news[1]
            self._failed = self._failed - {self._meant(alone) or alone}

        def is_at_news(but: Iterable[str] = ()) -> None:
            self._seen, self._read, self._failed = news, began, frozenset(but)
            self._seen_of.clear()

        def failed(error: Exception) -> None:
            if alone is None and isinstance(error, errors.RefreshError):
                is_at_news(error.failed)

        async def move() -> None:
            try:
                moved(await self._database.run(self._refresh, alone))
            except Exception as error:
                failed(error)
                raise

        if not self._lanes.is_quick(kind):
            moving = asyncio.ensure_future(move())
            moving.add_done_callback(_look_at)
            return moving
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            moved(self._refresh(alone))
        except Exception as error:
            failed(error)
            done.set_exception(error)
        else:
            done.set_result(None)
        return done

    def _meant(self, name: str | None) -> str | None:
        """The name of the collection that has this name or alias. None: it is not open."""
        try:
            return None if name is None else self._database.database.collection(name).name
        except errors.VecdbError:
            return None

    def _refresh(self, name: str | None) -> float:
        started = time.perf_counter()
        self._database.database.refresh(name)
        return time.perf_counter() - started


def _look_at(moving: asyncio.Future[Any]) -> None:
    """Whoever waited for it may have gone: asyncio would complain of an error."""
    if not moving.cancelled():
        moving.exception()
