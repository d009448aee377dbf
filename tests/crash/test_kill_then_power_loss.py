"""A process is killed at any of its file operations, the next one goes on, and then power is lost.

The first one leaves names that are there and not durable: it was killed between a rename and the
sync of the directory. What the second one acknowledges below such a name would go with it, and so
would what it replaces by such a file.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vecdb import VecDB
from vecdb.cli.snapshot import write_archive
from vecdb.engine.archive import restore
from vecdb.storage import fs, layout

pytestmark = pytest.mark.crash

KINDS = {"make_dir": "make", "sync_dir": "sync", "rename": "move", "remove_file": "remove"}
VECTORS: Any = {"size": 2, "distance": "Dot"}


class Names:
    """Which names a power loss may take away, as POSIX says: until their directory is synced."""

    def __init__(self) -> None:
        self.pending: set[Path] = set()
        self.last: list[Path] = []
        """Logs that were removed when nothing else beside them had a durable name."""

    def take(self, line: str) -> None:
        """One operation: its kind and its paths."""
        kind, *words = line.split("\t")
        first, *rest = map(Path, words)
        if kind == "make":
            self.pending.add(first)
            if first.name == layout.CATALOG:
                self.pending.add(first / "data.mdb")  # made by LMDB
        elif kind == "remove":
            if first.suffix == ".wal" and self.pending.issuperset(rest):
                self.last.append(first)
            self.pending.discard(first)
        elif kind == "sync":
            self.pending = {path for path in self.pending if path.parent != first}
        else:
            moved = {path for path in self.pending if path.is_relative_to(first)}
            below = {rest[0] / path.relative_to(first) for path in moved}
            gone = {path for path in self.pending if path.is_relative_to(rest[0])}
            self.pending = (self.pending - moved - gone) | below | {rest[0]}

    def above(self, path: Path) -> list[Path]:
        """Those on which this path depends."""
        return sorted(self.pending & {path, *path.parents})


@contextmanager
def recorded(log: Path, kill_at: int = 0) -> Iterator[list[int]]:
    """Every change of a name is noted when it is made; before one of them comes the kill. What is
    given back counts them."""
    done = [0]

    def note(kind: str, function: Callable[..., Any], *arguments: Any) -> Any:
        done[0] += 1
        if done[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments)
        with open(log, "a") as file:
            paths = arguments[-2:] if kind == "move" else arguments[-1:]
            if kind == "remove":
                paths += tuple(arguments[0].parent.glob("*.wal"))
            file.write("\t".join([kind, *map(str, paths)]) + "\n")
        return result

    with pytest.MonkeyPatch.context() as patch:
        for name, kind in KINDS.items():
            function = getattr(fs, name)
            patch.setattr(fs, name, lambda *a, f=function, k=kind: note(k, f, *a))
        opened = fs.AppendFile.__init__
        patch.setattr(fs.AppendFile, "__init__", lambda *a: note("make", opened, *a))
        yield done


def use(path: Path) -> None:
    """Make all there is of a database."""
    db = VecDB(path)
    db.create_collection("c", VECTORS)
    db.upsert("c", [{"id": 1, "vector": [1, 2]}])
    db.flush("c")
    db.create_snapshot("c")
    [found] = db.list_snapshots("c")
    db.recover_snapshot("c", found.name)
    db.flush("c")
    db.delete_collection("c")


def make_of_snapshot(path: Path) -> None:
    """A database, and then a collection in it, of the snapshot beside it."""
    archive = path.parent.with_name("archive")
    restore.restore_database(archive, path)
    restore.restore_collection(archive, path, "c", replace=True)


def life(do: Callable[[Path], None], path: Path, log: Path, kill_at: int) -> bool:
    """A process that does this and is killed; whether it came to its end before."""
    child = os.fork()
    if child == 0:
        try:
            with recorded(log, kill_at):
                do(path)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status == 0


@pytest.mark.slow
@pytest.mark.parametrize("do", [use, make_of_snapshot])
def test_what_is_acknowledged_after_a_kill_stands_on_durable_names(
    do: Callable[[Path], None], tmp_path: Path
) -> None:
    """A collection whose maker was killed before the sync of ``collections`` was opened by the
    next process, which wrote to it and never made its name durable. And one that was killed when
    it had begun a log let the next one remove the log before it: power loss could take both."""
    if do is make_of_snapshot:
        with VecDB(tmp_path / "first") as db:
            db.create_collection("c", VECTORS)
            db.upsert("c", [{"id": 1, "vector": [1, 2]}])
        write_archive(tmp_path / "first", None, tmp_path / "archive", lambda done, total: None)
    finished, k = False, 0
    while not finished:
        k += 1
        path, log = tmp_path / f"{k}" / "db", tmp_path / f"{k}.log"
        path.parent.mkdir()
        finished = life(do, path, log, k)
        with recorded(log), VecDB(path) as db:
            if not db.collection_exists("c"):
                db.create_collection("c", VECTORS)
            db.upsert("c", [{"id": 9, "vector": [1, 2]}])
            snapshot = db.path / "snapshots" / "c" / db.create_snapshot("c").name
            names = Names()
            for line in log.read_text().splitlines():
                names.take(line)
            collection = path / "collections" / "c"
            [*_, newest] = sorted((collection / "wal").glob("*.wal"))
            for file in (newest, collection / "catalog" / "data.mdb", path / "FORMAT", snapshot):
                assert file.exists()
                assert names.above(file) == [], f"killed at operation {k}"
            assert names.last == [], f"killed at operation {k}"
    assert k > 20, "nothing was killed"
