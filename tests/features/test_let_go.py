"""A database that nobody refers to any more is closed: its lock, threads and files are let go, and
nothing that was acknowledged is lost.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from vecdb import Collection, VecDB, models
from vecdb.engine import process
from vecdb.errors import LockedError

VECTORS = {"size": 2, "distance": "Dot"}
LEVELS = ["always", "interval", "never"]


def point(number: int) -> models.PointStruct:
    return models.PointStruct(id=number, vector=[1.0, float(number)])


def opened(path: Path, **options: Any) -> VecDB:
    """With a collection and a point in its log."""
    database = VecDB(path, **options)
    if not database.collection_exists("c"):
        database.create_collection("c", VECTORS)
    database.upsert("c", [point(1)])
    return database


def own_threads() -> set[str]:
    """Those of databases; the pool of searches is of the process, and stays."""
    names = {each.name for each in threading.enumerate()}
    return {n for n in names if n.startswith("vecdb-") and not n.startswith("vecdb-search")}


def descriptors_in(path: Path) -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    return [each for each in found if each.startswith(str(path))]


def until(done: Any) -> None:
    """Wait for what another thread is about to do."""
    while not done():
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def nothing_left_by_others() -> None:
    gc.collect()
    until(lambda: not own_threads())


@pytest.mark.parametrize("level", LEVELS)
def test_a_deleted_handle_lets_go_at_once(tmp_path: Path, level: Any) -> None:
    gc.disable()  # it takes no search for cycles
    try:
        db = opened(tmp_path / "db", sync=level, sync_interval=0.01)
        assert "vecdb-optimizer" in own_threads()
        del db
        assert "vecdb-optimizer" not in own_threads()
        until(lambda: not own_threads())  # the syncer, which nobody waits for
        assert not descriptors_in(tmp_path)
        again = VecDB(tmp_path / "db")
        assert again.count("c").count == 1
        assert again.collection("c").recovery.replayed == 0, "it was closed with a checkpoint"
        del again
    finally:
        gc.enable()


def test_a_handle_that_goes_out_of_scope(tmp_path: Path) -> None:
    def cell(number: int) -> int:
        db = opened(tmp_path / "db")
        db.upsert("c", [point(number)])
        return db.count("c").count

    assert [cell(n) for n in (2, 3, 4)] == [2, 3, 4]


def test_a_collection_keeps_its_database(tmp_path: Path) -> None:
    collection: Collection | None = opened(tmp_path / "db").collection("c")
    assert collection is not None
    collection.upsert([point(2)])
    with pytest.raises(LockedError):
        VecDB(tmp_path / "db")
    collection = None
    with VecDB(tmp_path / "db") as db:
        assert db.count("c").count == 2


def test_a_handle_in_a_cycle(tmp_path: Path) -> None:
    cycle: dict[str, Any] = {"db": opened(tmp_path / "db")}
    cycle["self"] = cycle
    del cycle
    with VecDB(tmp_path / "db") as db:  # looks for cycles, as this process has it open
        assert db.count("c").count == 1


def test_a_handle_in_a_cycle_that_python_finds(tmp_path: Path) -> None:
    cycle: dict[str, Any] = {"db": opened(tmp_path / "db")}
    cycle["self"] = cycle
    del cycle
    gc.collect()
    assert not own_threads()
    assert not descriptors_in(tmp_path)


def test_a_cycle_found_in_the_middle_of_a_call(tmp_path: Path) -> None:
    """There locks may be held: another thread closes it, and whoever wants the place waits."""
    other = opened(tmp_path / "other")
    cycle: dict[str, Any] = {"db": opened(tmp_path / "db")}
    cycle["self"] = cycle
    del cycle
    store = other.collection("c")._store
    inside = threading.Thread(target=lambda: None)

    def collects() -> None:
        gc.collect()
        nonlocal inside
        (inside,) = [t for t in threading.enumerate() if t.name == "vecdb-end"] or [inside]

    store.changed, before = collects, store.changed
    other.upsert("c", [point(2)])
    store.changed = before
    with VecDB(tmp_path / "db") as db:
        assert db.count("c").count == 1
    inside.join()
    assert not process._ending
    other.close()


def test_a_traceback_that_holds_it(tmp_path: Path) -> None:
    def fails() -> None:
        db = opened(tmp_path / "db")
        raise RuntimeError(db.count("c"))

    kept: BaseException | None = None
    try:
        fails()
    except RuntimeError as error:
        kept = error
    assert kept is not None
    with pytest.raises(LockedError, match=rf"it was opened at {__file__}:\d+$"):
        VecDB(tmp_path / "db")
    kept = None
    with VecDB(tmp_path / "db") as db:
        assert db.count("c").count == 1


def test_the_error_says_where_it_was_opened(tmp_path: Path) -> None:
    db = VecDB(tmp_path / "db"); line = sys._getframe().f_lineno  # noqa: E702 # fmt: skip
    with pytest.raises(LockedError) as raised:
        VecDB(tmp_path / "db")
    assert str(raised.value).endswith(f"it was opened at {__file__}:{line}")
    assert "by another VecDB that was not closed" in str(raised.value)
    (tmp_path / "link").symlink_to(tmp_path / "db")
    with pytest.raises(LockedError, match=f"it was opened at {__file__}:{line}$"):
        VecDB(tmp_path / "link")
    db.close()
    VecDB(tmp_path / "db").close()


def test_a_temporary_one_is_removed() -> None:
    db = VecDB()
    path = db.path
    db.create_collection("c", VECTORS)
    assert path.exists()
    del db
    assert not path.exists()


def test_one_that_only_reads(tmp_path: Path) -> None:
    opened(tmp_path / "db").close()
    reader = VecDB(tmp_path / "db", read_only=True)
    assert reader.count("c").count == 1
    del reader
    assert not descriptors_in(tmp_path)


def test_an_open_that_fails_leaves_nothing(tmp_path: Path) -> None:
    db = opened(tmp_path / "db")
    for _ in range(3):
        with pytest.raises(LockedError):
            VecDB(tmp_path / "db")
    assert db.count("c").count == 1, "and the one that was open goes on"
    assert len([t for t in threading.enumerate() if t.name == "vecdb-optimizer"]) == 1
    db.close()


def test_a_forked_child_lets_go_of_it_too(tmp_path: Path) -> None:
    """The child's copy of a handle is nothing that closes, or locks, what the parent has."""
    db = opened(tmp_path / "db")
    child = os.fork()
    if child == 0:
        try:
            del db
            gc.collect()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    db.upsert("c", [point(2)])
    with pytest.raises(LockedError):
        VecDB(tmp_path / "db")
    ready, go_on = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b".")
        os.read(go_on[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    del db
    with VecDB(tmp_path / "db") as again:  # though the child lives
        assert again.count("c").count == 2
    os.write(go_on[1], b".")
    assert os.waitpid(child, 0)[1] == 0
    for end in (*ready, *go_on):
        os.close(end)


@pytest.mark.parametrize("level", LEVELS)
def test_the_interpreters_end_closes(tmp_path: Path, level: str) -> None:
    """One that is held, one in a cycle, one that went out of scope a moment before."""
    code = f"""
import gc
gc.disable()
from vecdb import VecDB, models
def fill(path):
    db = VecDB(path, sync={level!r})
    db.create_collection("c", {VECTORS!r})
    db.upsert("c", [models.PointStruct(id=1, vector=[1.0, 1.0])])
    return db
held = fill("held")
cycle = [fill("cycle")]
cycle.append(cycle)
del cycle
fill("gone")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("held", "cycle", "gone"):
        with VecDB(tmp_path / name) as db:
            assert db.count("c").count == 1
            assert db.collection("c").recovery.replayed == 0, name


def test_a_build_is_cancelled(tmp_path: Path) -> None:
    """The optimizer's thread works on a store, and keeps no database."""
    db = opened(tmp_path / "db")
    for number in range(2, 5):
        db.upsert("c", [point(number)])
        db.flush("c")
    begun, go_on = threading.Event(), threading.Event()
    run = db.optimizer._run

    def slow(*arguments: Any) -> None:
        begun.set()
        go_on.wait()
        run(*arguments)

    db.optimizer._run = slow  # type: ignore[method-assign]
    db.update_collection("c", optimizers_config={"default_segment_number": 1})
    begun.wait()
    threading.Timer(0.1, go_on.set).start()
    del db
    assert "vecdb-optimizer" not in own_threads()
    with VecDB(tmp_path / "db") as again:
        assert again.count("c").count == 4


def test_databases_are_opened_while_another_asks_who_has_its_path(tmp_path: Path) -> None:
    """As if another thread opened one at every step of the look."""

    class Other:
        path, holding = tmp_path, process.Holding()

        def close(self) -> None: ...

        def leave(self) -> None: ...

    others: list[Other] = []

    def step(frame: Any, event: str, argument: Any) -> Any:
        if event == "line" and len(others) < 1000:
            others.append(Other())
            process.enter(others[-1])
        return step

    kept = opened(tmp_path / "db")
    before = sys.gettrace()
    try:
        sys.settrace(step)
        try:
            found = process.holders(kept.path / "LOCK")
        finally:
            sys.settrace(before)
        assert others
        assert len(found) == 1
    finally:
        for other in others:
            process.leave(other)
        kept.close()


def test_garbage_is_collected_in_the_middle_of_waiting_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collect = gc.collect
    calls: list[int] = []

    def refused_once() -> int:  # as when another thread is about it
        calls.append(len(calls))
        return collect() if len(calls) > 1 else 0

    def step(frame: Any, event: str, argument: Any) -> Any:
        if event == "line" and calls and frame.f_globals.get("__name__") == "threading":
            collect()
        return step

    def work() -> None:
        sys.settrace(step)
        process._collect_garbage()

    monkeypatch.setattr(gc, "collect", refused_once)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20.0)
    assert not thread.is_alive()
    assert len(calls) == 2


def test_it_dies_where_a_lock_of_it_is_held(tmp_path: Path) -> None:
    """As when garbage is collected there: nothing can be closed now, so another thread does."""
    db = opened(tmp_path / "db")
    store = db.collection("c")._store
    with store.write:
        del db
        gc.collect()
    with VecDB(tmp_path / "db") as again:
        assert again.count("c").count == 1


def test_handles_in_cycles_are_found_by_whatever_thread(tmp_path: Path) -> None:
    """One thread's search for garbage finds what another was just about to ask for."""
    wrong: list[BaseException] = []

    def work(path: Path) -> None:
        try:
            for turn in range(10):
                cycle: dict[str, Any] = {"db": VecDB(path)}
                if turn % 3:
                    cycle["self"] = cycle
                del cycle
        except BaseException as error:
            wrong.append(error)

    often = gc.get_threshold()
    gc.set_threshold(50)
    try:
        threads = [threading.Thread(target=work, args=(tmp_path / str(n),)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*often)
    assert not wrong
