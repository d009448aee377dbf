"""AsyncVecDB: a database whose verbs are coroutines."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from vecdb.aio.calls import Calls
from vecdb.aio.database_verbs import AsyncDatabaseVerbs
from vecdb.aio.handles import Reading
from vecdb.aio.opening import Opening
from vecdb.database import VecDB
from vecdb.engine.optimize.optimizer import deadline_of
from vecdb.errors import VecdbError

_P = ParamSpec("_P")
_R = TypeVar("_R")


class AsyncVecDB(AsyncDatabaseVerbs):
    """``VecDB`` for programs with an event loop: its verbs are coroutines, and raise the same.

    The arguments are those of ``VecDB``. It is opened, in a thread, when it is entered by ``async
    with``, or awaited: ``db = await AsyncVecDB(path)``, and ``await db.close()`` in the end.

    Short reads run in the event loop, all else in threads of its own. Writes that are called
    meanwhile share group commits; a write that returned is as durable as one of ``VecDB``. Of a
    caller that is cancelled, a write is done wholly or not at all, and an upload ends between two
    batches. May be used from several event loops, in several threads.
    """

    @classmethod
    def of(cls, database: VecDB, close: Callable[[], None] | None = None) -> AsyncVecDB:
        """Coroutines over a database that is open already. To close either is to close both;
        unless ``close`` is given, which is called, in a thread, in the place of the database's."""
        self = cls.__new__(cls)
        Opening.__init__(self, lambda: database)
        self._opened = concurrent.futures.Future()
        self._opened.set_result(Calls(database, close))
        return self

    def __repr__(self) -> str:
        opened = self._opened
        if opened is None or not opened.done() or opened.exception() is not None:
            return "<AsyncVecDB: not open>"
        return f"<Async{repr(self.database)[1:]}"

    @property
    def path(self) -> Path:
        """The directory."""
        return self.database.path

    @property
    def read_only(self) -> bool:
        """Whether it was opened to be read only."""
        return self.database.read_only

    @property
    def damaged(self) -> dict[str, VecdbError]:
        """Collections that could not be opened, and why; see ``VecDB.damaged``."""
        return self.database.damaged

    def check_usable(self) -> None:
        """Raise ForkError in a forked child, ClosedError before it is open and after ``close``."""
        self._calls.require_open()

    async def wait_for_optimizer(
        self, collection_name: str | None = None, timeout: float | None = None
    ) -> bool:
        """Wait for one collection, or all; see ``Collection.wait_for_optimizer``.

        A caller that is cancelled leaves nothing behind that waits.
        """
        self.check_usable()
        deadline = deadline_of(timeout)
        names = [each.name for each in self.database.get_collections().collections]
        names = [name for name in names if name not in self.damaged]
        for name in names if collection_name is None else [collection_name]:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not await self.collection(name).wait_for_optimizer(left):
                return False
        return True

    async def run(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call a function that uses ``database``, in a thread, and return what it returns.

        One that has the name of a verb of ``VecDB`` and its parameters, all given by name, is taken
        for that verb: if that would be short, it is called in the event loop.
        """
        calls = self._calls
        name, given = getattr(function, "__name__", ""), kwargs.get("collection_name")
        if not args and isinstance(given, str):
            try:
                collection = Reading.of(self.database.collection(given))
            except VecdbError:  # the function may think otherwise
                return await calls.call(function, *args, **kwargs)
            arguments = {key: kwargs[key] for key in kwargs if key != "collection_name"}
            return await calls.by_rule(collection, name, arguments, partial(function, **kwargs))
        return await calls.call(function, *args, **kwargs)
