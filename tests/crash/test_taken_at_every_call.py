"""A database's directory is moved or removed at any call of a life, and a stranger's stands there.

The stranger's is as it was, byte by byte, whatever the handle does then. What was acknowledged is
in the directory that was moved. The k of a failure replays it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proofs.model.oracle import SCALE, require_sound
from vecdb import VecDB
from vecdb.errors import PlaceTakenError, VecdbError
from vecdb.storage import fs, place
from vecdb.storage.place import Place

pytestmark = pytest.mark.crash

STRIDE = 1 if SCALE > 1 else 11
"""By default every so many k."""
CALLS = ("open", "mkdir", "replace", "unlink", "rmdir", "stat", "listdir", "fsync", "writev", "dup")
VECTORS: Any = {"size": 2, "distance": "Dot"}


def points(first: int, count: int) -> list[dict[str, Any]]:
    return [{"id": first + n, "vector": [1, n]} for n in range(count)]


def contents(path: Path) -> dict[str, bytes | None]:
    """Every file of a directory, with its content; None: a directory."""
    return {
        str(found.relative_to(path)): found.read_bytes() if found.is_file() else None
        for found in sorted(path.rglob("*"))
    }


@contextmanager
def at_call(number: int, happens: Callable[[], None]) -> Iterator[list[int]]:
    """Something happens just before a call of this process on a file; the list counts them."""
    done, busy = [0], [False]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not busy[0]:
                done[0] += 1
                if done[0] == number:
                    busy[0] = True
                    happens()
                    busy[0] = False
            return real(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counted(getattr(os, name)))
        yield done


def _inode(path: Path, stat: Any = os.stat) -> int:  # the real one, which is not counted
    return int(stat(path).st_ino)


class Story:
    """What a program does with a database, and what it was told that it has."""

    def __init__(self, watched: Path) -> None:
        """``watched``: the directory that something happens to, of the database or of "c"."""
        self._watched = watched
        self._inode = _inode(watched)
        self.acknowledged: set[int] = set()
        self.tried: set[int] = set()
        self.refused = 0
        self.own = True
        """Whether it is the directory that was there at first which was opened."""

    def live(self, path: Path) -> None:
        """All of it, whatever is refused."""
        snapshots = path / "snapshots" / "c"
        with self.told():
            db = VecDB(path)
            whole = self._watched == path
            place = db._database._place if whole else db.collection("c")._store.place
            self.own = place._first[1] == self._inode
            for step in (
                lambda: db.collection_exists("c") or db.create_collection("c", VECTORS),
                lambda: self.upsert(db, 0),
                lambda: db.flush("c"),
                lambda: db.create_snapshot("c"),
                lambda: self.upsert(db, 5),
                lambda: db.update_collection("c", vectors_config={"": {"on_disk": True}}),
                lambda: db.create_collection("d", VECTORS),
                lambda: self.upsert(db, 10),
                lambda: db.recover_snapshot("d", snapshots / db.list_snapshots("c")[0].name),
                lambda: db.delete_collection("d"),
                lambda: db.wait_for_optimizer("c"),
                lambda: db.delete_snapshot("c", db.list_snapshots("c")[0].name),
                lambda: self.upsert(db, 15),
            ):
                with self.told():
                    step()
            db.close()

    @contextmanager
    def told(self) -> Iterator[None]:
        """What is raised says that the place was taken, or comes of a step that was refused so."""
        try:
            yield
        except PlaceTakenError:
            self.refused += 1
        except VecdbError:
            if self.own and not self.refused:
                raise
        except IndexError:  # no snapshots are listed in what is removed this moment
            if _inode(self._watched) == self._inode:
                raise

    def upsert(self, db: VecDB, first: int) -> None:
        ids = set(range(first, first + 5))
        self.tried |= ids
        db.upsert("c", points(first, 5))
        self.acknowledged |= ids


def stranger(path: Path) -> None:
    """A database of the same shape with other points, some of them in the log only."""
    made = path.with_name("made")
    with VecDB(made) as db:
        for name in ("c", "d"):
            db.create_collection(name, VECTORS)
            db.upsert(name, points(1000, 7))
            db.create_snapshot(name)
            db.upsert(name, points(2000, 7))
        shutil.copytree(made, path)
    shutil.rmtree(made)


def exchange(path: Path, other: Path, moved: Path) -> None:
    """It is moved away, and the other one put there."""
    path.rename(moved)
    other.rename(path)


def replace(path: Path, other: Path, moved: Path) -> None:
    """It is removed, and the other one put there."""
    shutil.rmtree(path)
    other.rename(path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("happens", [exchange, replace])
def test_taken_at_every_call(happens: Callable[[Path, Path, Path], None], tmp_path: Path) -> None:
    stranger(tmp_path / "stranger")
    refused, k = 0, 1
    while True:
        work = tmp_path / str(k)
        work.mkdir()
        path, other, moved = work / "db", work / "other", work / "moved"
        shutil.copytree(tmp_path / "stranger", other)
        with VecDB(path) as db:
            db.create_collection("e", VECTORS)
        before, story = contents(other), Story(path)
        with at_call(k, partial(happens, path, other, moved)) as done:
            story.live(path)
        if done[0] < k:
            break
        if story.own:
            refused += story.refused
            where = f"{happens.__name__}, k={k}"
            assert contents(path) == before, where
            if moved.exists():
                require_kept(moved, story, where)
        shutil.rmtree(work)
        k += STRIDE
    assert refused > k / STRIDE, "hardly anything was refused"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_collection_taken_at_every_call(tmp_path: Path) -> None:
    stranger(tmp_path / "stranger")
    refused, k = 0, 1
    while True:
        work = tmp_path / str(k)
        path, other, moved = work / "db", work / "other", work / "moved"
        shutil.copytree(tmp_path / "stranger" / "collections" / "c", other)
        with VecDB(path) as db:
            db.create_collection("c", VECTORS)
        there = path / "collections" / "c"
        before, story = contents(other), Story(there)
        with at_call(k, partial(exchange, there, other, moved)) as done:
            story.live(path)
        if done[0] < k:
            break
        if story.own and moved.exists():
            refused += story.refused
            assert contents(there) == before, f"k={k}"
            shutil.rmtree(there)
            moved.rename(there)
            require_kept(path, story, f"k={k}")
        shutil.rmtree(work)
        k += STRIDE
    assert refused > k / STRIDE, "hardly anything was refused"


def test_a_planted_bug_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "located", lambda path: (os.fspath(path), None))
    monkeypatch.setattr(fs, "located", place.located)
    monkeypatch.setattr(Place, "require", lambda self: None)
    monkeypatch.setattr(Place, "require_for_write", lambda self, **_: None)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever comes of it
        test_taken_at_every_call(exchange, tmp_path)


def require_kept(moved: Path, story: Story, where: str) -> None:
    """All that was acknowledged, and at most what was tried."""
    require_sound(moved)
    with VecDB(moved) as db:
        assert db.damaged == {}, where
        kept = {r.id for r in db.scroll("c", limit=100)[0]} if db.collection_exists("c") else set()
        assert story.acknowledged <= kept <= story.tried, where
    require_sound(moved)
