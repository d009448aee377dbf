"""A database and the processes around it: locks, forks, and the ends an interpreter may come to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kill_client import environment

from proofs.model.oracle import require_sound
from vecdb import VecDB, errors

pytestmark = pytest.mark.crash

DIM = 8
BEGIN = """
import atexit, os, signal, sys, threading
import numpy as np
from vecdb import VecDB

def write(db, first, count=10):
    ids = list(range(first, first + count))
    db.upsert("points", {"ids": ids, "vectors": np.full((count, 8), first, dtype=np.float32)})

def begin():
    db = VecDB(sys.argv[1])
    db.create_collection(
        "points",
        {"size": 8, "distance": "Dot"},
        quantization_config={"scalar": {"type": "int8"}},
        optimizers_config={"indexing_threshold": 1, "memmap_threshold": 1},
    )
    write(db, 0)
    return db
"""


def script(code: str, path: Path, **options: Any) -> subprocess.Popen[bytes]:
    """A process that runs ``BEGIN`` and ``code``."""
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", BEGIN + code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
        **options,
    )


def end_of(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Exit code and standard error. A process that hangs is killed, and fails the test."""
    try:
        _, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # faulthandler shows where it hangs
        process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its children hold the pipes, too
        _, err = process.communicate()
        pytest.fail(f"the process does not end:\n{err.decode()}")
    return process.returncode, err.decode()


def ids_at(path: Path) -> list[Any]:
    require_sound(path)
    with VecDB(path) as db:
        records, _ = db.scroll("points", limit=100_000, with_vectors=True)
    for record in records:
        first = record.id // 10 * 10
        assert record.vector == [float(first)] * DIM
    require_sound(path)
    return [record.id for record in records]


# -- the lock --------------------------------------------------------------------------------


def test_another_process_is_refused_and_told_who(db_path: Path) -> None:
    holder = script("db = begin(); print('open', flush=True); sys.stdin.read()", db_path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"open\n", end_of(holder)
    with pytest.raises(errors.LockedError, match=rf"\bpid {holder.pid}\b"):
        VecDB(db_path)
    link = db_path.parent / "link"
    link.symlink_to(db_path)
    with pytest.raises(errors.LockedError, match=rf"\bpid {holder.pid}\b"):
        VecDB(link)
    holder.kill()
    end_of(holder)
    assert ids_at(db_path) == list(range(10))


def test_this_process_is_refused_too(open_db: Callable[..., VecDB]) -> None:
    db = open_db()
    db.create_collection("points", {"size": 2, "distance": "Dot"})
    with pytest.raises(errors.LockedError, match=rf"\bpid {os.getpid()}\b"):
        open_db()
    db.upsert("points", [{"id": 1, "vector": [1, 2]}])  # the refusal took nothing from us
    with pytest.raises(errors.LockedError):
        open_db()
    db.close()
    assert open_db().count("points").count == 1


# -- fork ------------------------------------------------------------------------------------

# Every public method, so that a new one is not forgotten.
CALLS: dict[str, Callable[[VecDB], Any]] = {
    "create_collection": lambda db: db.create_collection("x", {"size": 2, "distance": "Dot"}),
    "recreate_collection": lambda db: db.recreate_collection("x", {"size": 2, "distance": "Dot"}),
    "delete_collection": lambda db: db.delete_collection("points"),
    "update_collection": lambda db: db.update_collection("points", {"indexing_threshold": 5}),
    "get_collection": lambda db: db.get_collection("points"),
    "get_collections": lambda db: db.get_collections(),
    "collection_exists": lambda db: db.collection_exists("points"),
    "collection": lambda db: db.collection("points"),
    "upsert": lambda db: db.upsert("points", [{"id": 5, "vector": [1, 2]}]),
    "upload_points": lambda db: db.upload_points("points", [{"id": 5, "vector": [1, 2]}]),
    "upload_collection": lambda db: db.upload_collection("points", np.ones((1, 2))),
    "delete": lambda db: db.delete("points", [1]),
    "set_payload": lambda db: db.set_payload("points", {"a": 1}, [1]),
    "overwrite_payload": lambda db: db.overwrite_payload("points", {"a": 1}, [1]),
    "delete_payload": lambda db: db.delete_payload("points", ["a"], [1]),
    "clear_payload": lambda db: db.clear_payload("points", [1]),
    "update_vectors": lambda db: db.update_vectors("points", [{"id": 1, "vector": [3, 4]}]),
    "delete_vectors": lambda db: db.delete_vectors("points", [""], [1]),
    "retrieve": lambda db: db.retrieve("points", [1]),
    "scroll": lambda db: db.scroll("points"),
    "count": lambda db: db.count("points"),
    "search": lambda db: db.search("points", [1, 2]),
    "search_arrays": lambda db: db.search_arrays("points", [[1, 2]]),
    "search_batch": lambda db: db.search_batch("points", [{"vector": [1, 2], "limit": 1}]),
    "query_points": lambda db: db.query_points("points", [1, 2]),
    "within": lambda db: db.within("points", [1, 2], 0.5),
    "query_points_groups": lambda db: db.query_points_groups("points", "a", [1, 2]),
    "search_groups": lambda db: db.search_groups("points", [1, 2], "a"),
    "recommend": lambda db: db.recommend("points", [[1, 2]]),
    "recommend_batch": lambda db: db.recommend_batch("points", [{"positive": [1], "limit": 1}]),
    "recommend_groups": lambda db: db.recommend_groups("points", "a", [[1, 2]]),
    "discover": lambda db: db.discover("points", [1, 2]),
    "discover_batch": lambda db: db.discover_batch("points", [{"target": 1, "limit": 1}]),
    "search_matrix_pairs": lambda db: db.search_matrix_pairs("points"),
    "search_matrix_offsets": lambda db: db.search_matrix_offsets("points"),
    "facet": lambda db: db.facet("points", "a"),
    "query_batch_points": lambda db: db.query_batch_points("points", [{"query": [1, 2]}]),
    "batch_update_points": lambda db: db.batch_update_points(
        "points", [{"delete": {"points": [7]}}]
    ),
    "create_payload_index": lambda db: db.create_payload_index("points", "a", "integer"),
    "delete_payload_index": lambda db: db.delete_payload_index("points", "a"),
    "create_vector_name": lambda db: db.create_vector_name(
        "points", "b", {"dense": {"size": 2, "distance": "Dot"}}
    ),
    "delete_vector_name": lambda db: db.delete_vector_name("points", "b"),
    "update_collection_aliases": lambda db: db.update_collection_aliases([]),
    "get_aliases": lambda db: db.get_aliases(),
    "get_collection_aliases": lambda db: db.get_collection_aliases("points"),
    "info": lambda db: db.info(),
    "flush": lambda db: db.flush(),
    "check": lambda db: db.check(),
    "damaged": lambda db: db.damaged,
    "refresh": lambda db: db.refresh(),
    "create_snapshot": lambda db: db.create_snapshot("points"),
    "list_snapshots": lambda db: db.list_snapshots("points"),
    "snapshot_path": lambda db: db.snapshot_path("points", "points-1.snapshot"),
    "delete_snapshot": lambda db: db.delete_snapshot("points", "points-1.snapshot"),
    "recover_snapshot": lambda db: db.recover_snapshot("points", "no-such-file"),
    "create_full_snapshot": lambda db: db.create_full_snapshot(),
    "list_full_snapshots": lambda db: db.list_full_snapshots(),
    "delete_full_snapshot": lambda db: db.delete_full_snapshot("full-1.snapshot"),
    "wait_for_optimizer": lambda db: db.wait_for_optimizer(),
    "memory_report": lambda db: db.memory_report("points"),
    "check_usable": lambda db: db.check_usable(),
}
HARMLESS = {"close"}  # does nothing in a child


def in_fork(work: Callable[[], Any]) -> str:
    """What ``work`` returns in a forked child, as text; the child ends without cleaning up."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.setitimer(signal.ITIMER_REAL, 0)  # pytest's own
        signal.signal(signal.SIGALRM, hanging)
        signal.alarm(20)
        try:
            os.write(writer, str(work()).encode())
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    said = b""
    while data := os.read(reader, 65536):
        said += data
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {os.waitstatus_to_exitcode(status)} after {said!r}"
    return said.decode()


def hanging(*args: object) -> None:
    raise TimeoutError


def outcomes(db: VecDB, *, patience: int = 0) -> dict[str, list[str]]:
    """What came of calling the methods -> those of which it came. A method that takes more than
    ``patience`` seconds ends in TimeoutError."""
    found: dict[str, list[str]] = {}
    for name, call in CALLS.items():
        try:
            signal.alarm(patience)
            result = repr(call(db))
        except Exception as error:
            result = type(error).__name__
        found.setdefault(result, []).append(name)
    signal.alarm(0)
    return found


@pytest.fixture
def small_db(open_db: Callable[..., VecDB]) -> VecDB:
    db = open_db()
    db.create_collection("points", {"size": 2, "distance": "Dot"})
    db.upsert("points", [{"id": 1, "vector": [1, 2], "payload": {"a": 1}}])
    return db


def test_every_public_method_is_called_here() -> None:
    public = {name for name in dir(VecDB) if not name.startswith("_")}
    assert public - HARMLESS - set(CALLS) - {"path"} == set()


def test_a_forked_child_is_refused_and_its_parent_unharmed(small_db: VecDB) -> None:
    db = small_db
    collection = db.collection("points")
    assert in_fork(lambda: outcomes(db)) == str({"ForkError": list(CALLS)})
    assert in_fork(lambda: collection.upsert([{"id": 9, "vector": [0, 0]}])).startswith("ForkError")
    assert in_fork(lambda: collection.search([1, 2])).startswith("ForkError")
    assert in_fork(lambda: len(collection)).startswith("ForkError")
    assert in_fork(db.close) == "None"
    with pytest.raises(errors.LockedError):  # no child has given our lock away
        VecDB(db.path)
    db.upsert("points", [{"id": 2, "vector": [3, 4]}])
    db.flush()
    assert db.count("points").count == 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_forked_child_keeps_nothing(open_db: Callable[..., VecDB]) -> None:
    """The space of every file that its parent removed was kept, as long as the child lived, with
    its copy of what the parent had in memory."""
    db = open_db()
    for name in ("flushed", "written", "resting"):
        db.create_collection(name, {"size": 2, "distance": "Dot"})
    view = db.collection("flushed")._view
    for name in ("flushed", "written"):
        db.upsert(name, [{"id": 1, "vector": [1, 2], "payload": {"a": 1}}])
    db.flush("flushed")
    db.upsert("flushed", [{"id": 2, "vector": [1, 2], "payload": {"a": 1}}])

    def kept() -> list[str]:
        held = Path("/proc/self/maps").read_text().splitlines()
        for number in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                held.append(os.readlink(f"/proc/self/fd/{number}"))
        return [what for what in held if str(db.path) in what]

    assert any("payload" in what for what in kept())
    assert any("LOCK" in what for what in kept())
    assert in_fork(kept) == "[]"
    assert view().segments  # the parent has all of it
    db.upsert("written", [{"id": 2, "vector": [3, 4]}])
    assert db.count("flushed").count == db.count("written").count == 2


def test_a_closed_database_refuses_every_method(small_db: VecDB) -> None:
    small_db.close()
    assert outcomes(small_db) == {"ClosedError": list(CALLS)}


def test_fork_while_another_thread_is_at_work(small_db: VecDB) -> None:
    """A lock that another thread holds at the moment of the fork stays locked in the child."""
    db = small_db
    store = db.collection("points")._store
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with db._database._lock, store.maintenance, store.write:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        found = in_fork(lambda: outcomes(db, patience=2))
        assert found == str({"ForkError": list(CALLS)})
    finally:
        release.set()
        thread.join()


def test_a_child_that_lives_on_does_not_keep_the_lock(db_path: Path) -> None:
    code = """
db = begin()
parent = os.getpid()
if os.fork() == 0:
    os.kill(parent, signal.SIGKILL)  # not before the child runs, and has let go of its copy
    print("forked", flush=True)
    sys.stdin.read()  # until the test closes it
    os._exit(0)
signal.pause()
"""
    process = script(code, db_path)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"forked\n"
    assert process.wait(20) == -signal.SIGKILL
    assert ids_at(db_path) == list(range(10))  # while the child is still there
    process.stdin.close()
    process.stdout.read()  # ends when the child does
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()


def test_a_child_may_open_it_when_the_parent_has_closed_it(small_db: VecDB) -> None:
    small_db.close()

    def work() -> int:
        with VecDB(small_db.path) as db:
            db.upsert("points", [{"id": 7, "vector": [1, 1]}])
            return db.count("points").count

    assert in_fork(work) == "2"
    with VecDB(small_db.path) as db:
        assert db.count("points").count == 2


def test_a_product_of_matrices_ends_where_another_thread_forks(db_path: Path) -> None:
    """OpenBLAS ends its threads before a fork: an optimizer that was at a product never came back,
    and whoever waited for it neither. With one processor there are no threads to end."""
    code = """
from vecdb.linear_algebra import principal_components, product

rows = np.random.default_rng(1).standard_normal((200, 150))
over = threading.Event()

def multiply():
    while not over.is_set():
        product(rows, rows.T)
        principal_components(rows)

thread = threading.Thread(target=multiply)
thread.start()
for _ in range(40):
    if (child := os.fork()) == 0:
        product(rows, rows.T)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
over.set()
thread.join()
"""
    assert end_of(script(code, db_path)) == (0, "")


def test_a_thread_may_fork_in_a_handler_beside_its_own_product(db_path: Path) -> None:
    code = """
from vecdb import linear_algebra

def fork(*_):
    if os.fork() == 0:
        os._exit(0)
    os.wait()

signal.signal(signal.SIGUSR1, fork)
with linear_algebra._calls.mine():
    os.kill(os.getpid(), signal.SIGUSR1)
linear_algebra.product(np.ones((3, 3)), np.ones(3))
"""
    assert end_of(script(code, db_path)) == (0, "")


def test_hooks_of_an_application_may_search_and_hold_locks(db_path: Path) -> None:
    """Those that were registered before vecdb's run after it, while nobody else is let in."""
    code = """
from vecdb import linear_algebra

linear_algebra._PATIENCE = 0.05
lock, over, rows = threading.Lock(), threading.Event(), np.ones((50, 50))

def in_hook():
    lock.acquire()
    linear_algebra.product(rows, rows)

def search():
    while not over.is_set():
        with lock:
            linear_algebra.product(rows, rows)

# As if they had been registered first: vecdb's hooks come before them, and after.
calls = linear_algebra._calls
os.register_at_fork(before=in_hook, after_in_parent=lock.release, after_in_child=lock.release)
os.register_at_fork(
    before=calls.before_fork, after_in_parent=calls.after_fork, after_in_child=calls.begin
)
thread = threading.Thread(target=search)
thread.start()
for _ in range(20):
    if os.fork() == 0:
        os._exit(0)
    os.wait()
over.set()
thread.join()
"""
    assert end_of(script(code, db_path)) == (0, "")


def test_ctrl_c_in_a_product_leaves_nothing_behind(db_path: Path) -> None:
    code = """
from vecdb import linear_algebra

rows = np.random.default_rng(1).standard_normal((600, 600))
for _ in range(3):
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        while True:
            linear_algebra.product(rows, rows)
    except KeyboardInterrupt:
        pass
    assert not linear_algebra._calls.mine()._is_owned()
"""
    assert end_of(script(code, db_path)) == (0, "")


# -- the end of the interpreter --------------------------------------------------------------

ENDS = {
    "end of script": ("db = begin()", 0),
    "sys.exit": ("db = begin(); sys.exit(3)", 3),
    "exception": ("db = begin(); 1 / 0", 1),
    "exception in with": ("with begin() as db: 1 / 0", 1),
    "os._exit": ("db = begin(); os._exit(4)", 4),
    "no reference": ("begin()", 0),
    "cycle": ("class A: pass\na = A(); a.db = begin(); a.self = a; del a", 0),
    "sys.exit in a thread": (
        "db = begin()\nt = threading.Thread(target=sys.exit); t.start(); t.join()",
        0,
    ),
    "daemon thread": (
        "db = begin()\nt = threading.Thread(target=threading.Event().wait, daemon=True); t.start()",
        0,
    ),
    "closed in atexit, before": ("db = begin(); atexit.register(db.close)", 0),
    "atexit registered first": (
        # Runs last: vecdb has closed the database by then.
        "atexit.register(lambda: db.close()); db = begin()",
        0,
    ),
    "write in atexit": ("db = begin(); atexit.register(lambda: write(db, 10))", 0),
    "optimizer at work": (
        "db = begin()\nfor n in range(10, 1000, 10): write(db, n)",
        0,
    ),
    "interval sync": (
        "begin().close(); db = VecDB(sys.argv[1], sync='interval', sync_interval=0.01)\n"
        "write(db, 10)",
        0,
    ),
    "two databases": ("db = begin(); other = VecDB(sys.argv[1] + '-2')", 0),
    "SIGTERM": ("db = begin(); os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
}
WRITTEN = {"write in atexit": 20, "optimizer at work": 1000, "interval sync": 20}
SAID = {"exception": "ZeroDivisionError", "exception in with": "ZeroDivisionError"}


@pytest.mark.parametrize("name", ENDS)
def test_end_without_close(name: str, db_path: Path) -> None:
    code, expected = ENDS[name]
    exit_code, err = end_of(script(code, db_path))
    assert exit_code == expected, err
    last = err.strip().splitlines()[-1] if err.strip() else ""
    assert last.startswith(SAID.get(name, "")) if name in SAID else err == "", err
    assert ids_at(db_path) == list(range(WRITTEN.get(name, 10)))


def test_an_ordinary_end_leaves_nothing_to_replay(db_path: Path) -> None:
    assert end_of(script("db = begin()", db_path)) == (0, "")
    with VecDB(db_path) as db:
        assert db.collection("points").recovery.replayed == 0


@pytest.mark.parametrize("writes_before", [5, 23, 60])
def test_ctrl_c_while_writing(writes_before: int, db_path: Path) -> None:
    code = """
db = begin()
n = 0
while True:
    n += 10
    write(db, n)
    os.write(1, b"%d\\n" % n)
"""
    process = script(code, db_path)
    assert process.stdout is not None
    heard = [process.stdout.readline() for _ in range(writes_before)]
    assert all(heard), end_of(process)
    process.send_signal(signal.SIGINT)
    heard += process.stdout.readlines()
    exit_code, err = end_of(process)
    # Python forgets that it was a signal when code is compiled at its exit, as for a dataclass of a
    # module that is imported only then.
    assert exit_code in (-signal.SIGINT, 1), err
    assert err.strip().endswith("KeyboardInterrupt"), err
    acked = int(heard[-1])
    ids = ids_at(db_path)
    assert len(ids) in (acked + 10, acked + 20)  # those from 0 on, and perhaps the one under way
    assert ids == list(range(len(ids)))


def test_ctrl_c_does_not_spoil_the_database(db_path: Path) -> None:
    """KeyboardInterrupt may be caught: the database goes on, with whole batches only."""
    code = """
db = begin()
acked, interrupts = [0], 0
os.write(1, b"ready\\n")
while interrupts < 20:
    try:
        while True:
            first = acked[-1] + 10
            write(db, first)
            acked.append(first)
            if len(acked) % 3 == 0:
                db.flush()
            os.write(1, b".")
    except KeyboardInterrupt:
        interrupts += 1
        os.write(1, b"!")
found = {r.id for r in db.scroll("points", limit=10**6)[0]}
assert found >= {i + k for i in acked for k in range(10)}, sorted(found)
assert len(found) % 10 == 0
db.close()
"""
    process = script(code, db_path)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n", end_of(process)
    sent, arrived = 0, 0
    while sent < 20:  # one at a time, each after some progress
        byte = process.stdout.read(1)
        assert byte, end_of(process)
        if byte == b"!":
            arrived += 1
        elif sent == arrived:
            process.send_signal(signal.SIGINT)
            sent += 1
    exit_code, err = end_of(process)
    assert exit_code == 0, err
    ids = ids_at(db_path)
    assert ids == list(range(len(ids)))
