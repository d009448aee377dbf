"""How a server that only reads keeps up, and who hears of a collection that cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vecdb import AsyncVecDB, VecDB
from vecdb.engine.open.follower import Follower
from vecdb.errors import RefreshError
from vecdb.server.following import Following
from vecdb.server.lanes import Lanes


class Peers:
    """What other processes have told of changes."""

    def __init__(self) -> None:
        self.collections = self.changes = 0

    def news(self) -> tuple[int, int]:
        return self.collections, self.changes


class Pair:
    """A writer, and one that follows it. ``peers``: None if the writer tells nothing."""

    def __init__(self, writer: VecDB, reader: AsyncVecDB, peers: Peers | None) -> None:
        self.writer, self.reader, self.peers = writer, reader, peers
        self.following = Following(reader, Lanes(reader))
        self.following.peers = peers  # type: ignore[assignment]

    def create(self, name: str) -> None:
        self.writer.create_collection(name, {"size": 2, "distance": "Dot"})
        if self.peers is not None:
            self.peers.collections += 1

    def put(self, name: str) -> None:
        self.writer.upsert(name, [{"id": len(self.writer.collection(name)), "vector": [1, 2]}])
        if self.peers is not None:
            self.peers.changes += 1

    def count(self, name: str) -> int:
        return len(self.reader.database.collection(name))


def with_pair(path: Path, work: Callable[[Pair], Awaitable[None]], tells: bool) -> None:
    async def run() -> None:
        with VecDB(path, sync="never") as writer:
            for name in "ab":
                writer.create_collection(name, {"size": 2, "distance": "Dot"})
            async with AsyncVecDB(path, read_only=True) as reader:
                await asyncio.wait_for(work(Pair(writer, reader, Peers() if tells else None)), 60)

    asyncio.run(run())


@contextmanager
def unreadable(*names: str) -> Iterator[None]:
    """A collection's files are another user's for a while."""
    plain = Follower.refresh

    def refresh(self: Follower) -> bool:
        if self.name in names:
            raise PermissionError(13, f"{self.path}: Permission denied")
        return plain(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Follower, "refresh", refresh)
        yield


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("rounds", [1, 20], ids=["in threads", "in the loop"])
def test_a_collection_that_cannot_be_read_fails_for_those_alone_that_wait_for_it(
    tmp_path: Path, tells: bool, rounds: int
) -> None:
    """Whoever waited for another one in the same refresh got its error."""

    async def work(pair: Pair) -> None:
        follow = pair.following.follow
        for _ in range(rounds):  # quick ones are made in the loop
            pair.put("b")
            await asyncio.sleep(0 if tells else 0.06)
            await follow("b")
            pair.create(f"more{pair.count('b')}")
            await asyncio.sleep(0 if tells else 0.06)
            await follow()
        pair.writer.update_collection_aliases(
            [{"create_alias": {"collection_name": "b", "alias_name": "other"}}]
        )
        for alone in (True, False):
            with unreadable("a"):
                pair.put("a")
                pair.put("b")
                if not alone:
                    pair.create("new")
                    pair.put("new")
                await asyncio.sleep(0 if tells else 0.06)
                waiting: list[Any] = [follow(name) for name in ("a", "b", "a", "other", "b")]
                answers = await asyncio.gather(*waiting, return_exceptions=True)
                denied = [isinstance(each, PermissionError) for each in answers]
                assert denied == [True, False, True, False, False]
                assert answers[1] is answers[3] is answers[4] is None
                assert pair.count("b") == len(pair.writer.collection("b"))
                assert pair.count("other") == pair.count("b")
                if not alone:
                    await follow("new")
                    assert pair.count("new") == 1
                    await follow("none")  # it is known that there is none
                for _ in range(3):
                    with pytest.raises(OSError, match="Permission denied"):
                        await follow("a")
                    await follow("b")
                await asyncio.sleep(0 if tells else 0.06)
                if not tells or not alone:
                    with pytest.raises(RefreshError, match=r"collection 'a': .*Permission denied"):
                        await follow()
            await follow("a")
            assert pair.count("a") == len(pair.writer.collection("a"))
            await follow()

    with_pair(tmp_path / "db", work, tells)


def test_what_is_wrong_with_all_of_it_fails_for_all(tmp_path: Path) -> None:
    async def work(pair: Pair) -> None:
        pair.create("c")
        with pytest.MonkeyPatch.context() as patch:

            def refresh(name: str | None = None) -> bool:
                raise OSError("the disk has gone")

            patch.setattr(pair.reader.database, "refresh", refresh)
            waiting: list[Any] = [pair.following.follow(name) for name in ("a", "b", None)]
            answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(each) for each in answers] == ["the disk has gone"] * 3
        await pair.following.follow("c")
        assert pair.count("c") == 0

    with_pair(tmp_path / "db", work, tells=True)


def test_a_new_collection_that_cannot_be_read_is_not_said_to_be_none(tmp_path: Path) -> None:
    """The first to ask was told its error, and whoever came next that there is no collection."""

    async def work(pair: Pair) -> None:
        pair.create("new")
        plain = Follower.__init__

        def begin(self: Follower, path: Path, *others: Any) -> None:
            if path.name == "new":
                raise PermissionError(13, f"{path}: Permission denied")
            plain(self, path, *others)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Follower, "__init__", begin)
            for _ in range(3):
                with pytest.raises(PermissionError):
                    await pair.following.follow("new")
                await pair.following.follow("a")
        await pair.following.follow("new")
        assert pair.count("new") == 0

    with_pair(tmp_path / "db", work, tells=True)
