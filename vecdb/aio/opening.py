"""Opening: an ``AsyncVecDB`` from its constructor to its end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, TypeVar

from vecdb import qdrant_arguments
from vecdb.aio.calls import Calls
from vecdb.aio.futures import raisable
from vecdb.database import VecDB
from vecdb.engine import process
from vecdb.errors import ClosedError
from vecdb.qdrant_arguments import OfCollections, Unpack

_Self = TypeVar("_Self", bound="Opening")


class Opening:
    """A database that ``make`` opens, in a thread, when it is awaited or entered."""

    _opened: concurrent.futures.Future[Calls] | None = None
    _opening: threading.Thread | None = None

    def __init__(self, make: Callable[[], VecDB]) -> None:
        self._make = make
        self._made_at = process.caller()
        self._lock = threading.Lock()

    def __del__(self) -> None:
        """A thread on its way out of a call may refer to the database for a moment longer."""
        opened = self._opened
        if opened is not None and opened.done() and opened.exception() is None:
            calls = opened.result()
            calls.database._database.holding.left_to += filter(None, (self._opening, calls.threads))

    @property
    def database(self) -> VecDB:
        """The ``VecDB`` underneath. Raises ClosedError before it is open."""
        return self._calls.database

    @property
    def _calls(self) -> Calls:
        opened = self._opened
        if opened is None or not opened.done():
            raise ClosedError(
                f"{type(self).__name__}: not open yet; enter it with 'async with', or await it"
            )
        return opened.result()

    def __await__(self: _Self) -> Generator[Any, None, _Self]:
        return self._open().__await__()

    async def __aenter__(self: _Self) -> _Self:
        return await self._open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _open(self: _Self) -> _Self:
        """Raises as ``VecDB`` does. If the caller is cancelled, it is closed once it is open."""
        # Until then the loop has what it told this task last: perhaps a database that the task has
        # let go of, and that is in the same place.
        await asyncio.sleep(0)
        with self._lock:
            if self._opened is None:
                opened: concurrent.futures.Future[Calls] = concurrent.futures.Future()
                arguments = opened, self._make, self._made_at
                thread = threading.Thread(target=_run, args=arguments, name="vecdb-open")
                thread.start()
                self._opened, self._opening = opened, thread
        opened = self._opened
        try:
            calls = await asyncio.shield(asyncio.wrap_future(opened))
        except asyncio.CancelledError:
            opened.add_done_callback(_abandon)
            raise
        calls.require_open()
        return self

    async def close(self, **qdrant: Unpack[OfCollections]) -> None:
        """Wait for the calls that were made, stop the optimizer, checkpoint every collection,
        release the lock, end the threads.

        From now on calls raise ClosedError; uploads end before their next batch. If the caller is
        cancelled, closing goes on all the same. May be repeated.
        """
        qdrant_arguments.check("AsyncVecDB.close", qdrant, OfCollections)
        opened = self._opened
        if opened is None:
            return
        if not opened.done():
            opened.add_done_callback(_abandon)
            try:
                await asyncio.shield(asyncio.wrap_future(opened))
            except Exception:
                return  # it has not opened
        if opened.exception() is None:
            await opened.result().close()


def _run(opened: concurrent.futures.Future[Calls], make: Callable[[], VecDB], made_at: str) -> None:
    try:
        with process.on_behalf_of(made_at):
            database = make()
        opened.set_result(Calls(database))
    except BaseException as error:
        opened.set_exception(raisable(error))


def _abandon(opened: concurrent.futures.Future[Calls]) -> None:
    if opened.exception() is None:
        opened.result().begin_to_close()
