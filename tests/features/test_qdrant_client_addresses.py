"""Clients that are made with an address and share a database: from the first to the last, and what
goes wrong in between."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vecdb
from vecdb import errors
from vecdb.qdrant import (
    AsyncQdrantClient,
    ClientClosed,
    QdrantClient,
    install,
    opening,
    uninstall,
)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """Addresses lead to this directory."""
    install(tmp_path / "served")
    yield tmp_path / "served"
    uninstall()


def made() -> QdrantClient:
    return QdrantClient(url="http://there")


def is_closed(directory: Path) -> bool:
    """Whether nobody has it open."""
    gc.collect()
    try:
        vecdb.VecDB(directory).close()
    except errors.LockedError:
        return False
    return True


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Released once for each client that waits for another thread's opening or closing."""
    waiting = threading.Semaphore(0)
    wait = opening.Opened.wait_until_idle

    def waits(opened: opening.Opened) -> None:
        waiting.release()
        wait(opened)

    monkeypatch.setattr(opening.Opened, "wait_until_idle", waits)
    return waiting


def in_threads(number: int, work: Callable[[], Any]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads


def wait_for(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


# -- one after the other -----------------------------------------------------------------------


def test_one_thread_closes_a_client_and_makes_another(served: Path) -> None:
    """``client = QdrantClient(…)`` over one that was closed was told that this thread is in the
    middle of closing it."""
    client = made()
    for _ in range(3):
        client.close()
        client = made()
        assert client.get_collections().collections == []
    client.close()


def test_a_closed_client_keeps_no_database_open(served: Path) -> None:
    """It referred to the database that another had open, who then was forgotten."""
    first, second = made(), made()
    first.close()
    assert not is_closed(served)
    del second
    assert is_closed(served)
    for refused in (first.get_collections, lambda: first.database):
        with pytest.raises(ClientClosed, match="this client is closed"):
            refused()


def test_a_closed_client_of_asyncio_keeps_no_database_open(served: Path) -> None:
    async def run() -> None:
        first, second = AsyncQdrantClient(url="http://there"), AsyncQdrantClient(url="http://there")
        await second.get_collections()
        await first.close()
        await first.close()
        assert not is_closed(served)
        del second
        assert is_closed(served)
        with pytest.raises(ClientClosed, match="this client is closed"):
            await first.get_collections()
        with pytest.raises(ClientClosed, match="this client is closed"):
            _ = first.database

    asyncio.run(run())


# -- what goes wrong ---------------------------------------------------------------------------


def test_who_waited_for_a_close_that_was_refused_shares_again(
    served: Path, monkeypatch: pytest.MonkeyPatch, waiting: threading.Semaphore
) -> None:
    """ReentrantCallError while another client waited: from then on no client of the address got
    the database, as one of them believed that it had to open it."""
    refusing, go_on = threading.Event(), threading.Event()

    def refused(self: Any) -> None:
        refusing.set()
        assert go_on.wait(60)
        raise errors.ReentrantCallError("in the middle of a call")

    def close() -> None:
        with pytest.raises(errors.ReentrantCallError):
            first.close()
        said.append("refused")

    first, said, later = made(), list[str](), list[QdrantClient]()
    with monkeypatch.context() as patch:
        patch.setattr(vecdb.VecDB, "close", refused)
        closing = in_threads(1, close)
        assert refusing.wait(60)
        others = in_threads(2, lambda: later.append(made()))
        for _ in others:
            assert waiting.acquire(timeout=60)
        go_on.set()
        wait_for(closing + others)
    later.append(made())
    assert said == ["refused"]
    assert [each.database is first.database for each in later] == [True] * 3
    for each in [first, *later]:
        each.get_collections()
        each.close()
    assert is_closed(served)


class Opening:
    """In the place of ``VecDB``: the first one fails, once all other clients wait for it."""

    def __init__(self, failure: BaseException, waiting: threading.Semaphore) -> None:
        self.failure = failure
        self.waiting = waiting
        self.turns = 0
        self.begun = threading.Event()
        self.fail = threading.Event()

    def __call__(self, path: Any) -> vecdb.VecDB:
        self.turns += 1
        if self.turns > 1:
            return vecdb.VecDB(path)
        self.begun.set()
        assert self.fail.wait(60)
        raise self.failure

    def outcomes(self) -> tuple[list[QdrantClient], list[BaseException]]:
        """Of a client that opens, and three that wait for it."""
        clients: list[QdrantClient] = []
        raised: list[BaseException] = []

        def work() -> None:
            try:
                clients.append(made())
            except BaseException as error:
                raised.append(error)

        threads = in_threads(1, work)
        assert self.begun.wait(60)
        threads += in_threads(3, work)
        for _ in range(3):
            assert self.waiting.acquire(timeout=60)
        self.fail.set()
        wait_for(threads)
        return clients, raised


def test_all_who_wait_for_an_opening_get_an_exception_of_their_own(
    served: Path, monkeypatch: pytest.MonkeyPatch, waiting: threading.Semaphore
) -> None:
    failing = Opening(errors.WriteError("no"), waiting)
    monkeypatch.setattr(opening, "VecDB", failing)
    clients, raised = failing.outcomes()
    assert clients == []
    assert [(type(each), str(each)) for each in raised] == [(errors.WriteError, "no")] * 4
    assert len({id(each) for each in raised}) == 4
    made().close()


def test_an_interrupt_of_who_opens_is_not_that_of_those_who_wait(
    served: Path, monkeypatch: pytest.MonkeyPatch, waiting: threading.Semaphore
) -> None:
    """One of them opens it instead."""
    interrupted = Opening(KeyboardInterrupt(), waiting)
    monkeypatch.setattr(opening, "VecDB", interrupted)
    clients, raised = interrupted.outcomes()
    assert [type(each) for each in raised] == [KeyboardInterrupt]
    assert interrupted.turns == 2
    assert len(clients) == 3
    assert len({id(each.database) for each in clients}) == 1
    for each in clients:
        each.close()
    assert is_closed(served)
