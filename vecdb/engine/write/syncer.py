"""Syncer: the background thread of the sync level ``interval``: written logs become durable."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from vecdb.engine.store import Store
from vecdb.errors import WriteError


class Syncer:
    """Syncs the log of every open collection that has something new, every ``interval`` seconds.

    ``stores`` gives the open collections. Daemon: it must not keep the interpreter from ending.
    """

    def __init__(self, stores: Callable[[], Iterable[Store]], interval: float) -> None:
        self._stores = stores
        self._interval = interval
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._loop, name="vecdb-sync", daemon=True).start()

    def stop(self) -> None:
        """Let the thread end. This does not wait for it: the thread leaves closed collections
        alone."""
        self._stopping.set()

    def _loop(self) -> None:
        while not self._stopping.wait(self._interval):
            self._sync_all()

    def _sync_all(self) -> None:
        """One round. It is a method, so that the sleeping thread's frame keeps no store."""
        for store in self._stores():
            with store.write:
                if store.closed or store.failure is not None or not store.wal.dirty:
                    continue
                try:
                    store.wal.sync()
                except WriteError as error:
                    store.fail(str(error))
