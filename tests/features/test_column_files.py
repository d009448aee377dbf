"""Columns of fields with an index: when their files come, what they are of, and when they go."""

from __future__ import annotations

import errno
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from payload_reads import tested as tested  # a fixture

from vecdb import VecDB, models
from vecdb.engine import columns as engine_columns
from vecdb.engine import columns as of_engine
from vecdb.engine.archive import capture
from vecdb.engine.columns import MANY_ROWS, Demand
from vecdb.engine.optimize import columns as writing
from vecdb.engine.optimize.optimizer import next_step
from vecdb.engine.read import bounds, masks
from vecdb.engine.repair.check import check_database
from vecdb.payload import texts, words
from vecdb.payload.columns import Column, build
from vecdb.payload.columns.collecting import Collector
from vecdb.payload.encoding import encode
from vecdb.storage import lookup
from vecdb.storage.builder import write_column
from vecdb.storage.files import COLUMN
from vecdb.storage.format import DamageError

OpenDB = Callable[..., VecDB]
MANUAL = {"max_optimization_threads": 0, "indexing_threshold": 0, "default_segment_number": 8}
ROWS = 300


def is_(value: Any, key: str = "kind") -> dict[str, Any]:
    return {"must": [{"key": key, "match": {"value": value}}]}


def fill(db: VecDB, rows: int = ROWS, first: int = 0, **settings: Any) -> None:
    """Points of seven kinds in a file segment, which nothing rewrites."""
    if not db.collection_exists("c"):
        db.create_collection(
            "c", {"size": 4, "distance": "Dot"}, optimizers_config={**MANUAL, **settings}
        )
    vectors = np.random.default_rng(1).standard_normal((rows, 4))
    payload = [{"kind": n % 7, "name": f"name {n % 3}"} for n in range(first, first + rows)]
    db.upload_collection("c", vectors, payload, range(first, first + rows))
    db.flush("c")


def files_of(db: VecDB) -> list[list[str]]:
    """The columns in each segment's directory."""
    directories = sorted((Path(db.path) / "collections/c/segments").iterdir())
    return [sorted(p.name for p in d.iterdir() if p.name.startswith("column")) for d in directories]


def test_an_index_gives_every_segment_a_column_and_filters_read_no_payload(
    open_db: OpenDB, tested: list[int]
) -> None:
    db = open_db()
    fill(db)
    fill(db, first=ROWS)
    assert db.count("c", is_(3)).count == 86
    assert len(tested) == 2 * ROWS
    tested.clear()
    db.create_payload_index("c", "kind", "integer")
    assert files_of(db) == [["column.kind"]] * 2
    assert [db.count("c", is_(kind)).count for kind in range(8)] == [86] * 5 + [85] * 2 + [0]
    assert tested == []
    fill(db, first=2 * ROWS)  # a checkpoint writes the column of its segment
    assert files_of(db) == [["column.kind"]] * 3
    assert db.count("c", is_(3)).count == 129
    assert tested == []
    assert db.check().ok


def test_points_in_memory_and_edited_payloads_need_no_test_either(
    open_db: OpenDB, tested: list[int]
) -> None:
    db = open_db()
    fill(db)
    db.create_payload_index("c", "kind", "integer")
    db.upsert("c", [{"id": 1000 + n, "vector": [1] * 4, "payload": {"kind": n}} for n in range(9)])
    db.set_payload("c", {"kind": 8}, list(range(100)))
    assert db.count("c", is_(8)).count == 101
    assert [r.id for r in db.scroll("c", is_(8), limit=2)[0]] == [0, 1]
    db.flush("c")
    db.set_payload("c", {"kind": 9}, list(range(50, 100)))
    assert [db.count("c", is_(kind)).count for kind in (7, 8, 9)] == [1, 51, 50]
    assert tested == []
    # Few edits are tested one by one; what is found of them is remembered.
    db.flush("c")
    db.set_payload("c", {"kind": 10}, [1, 1000])
    assert db.count("c", is_(10)).count == 2
    assert [db.count("c", is_(kind)).count for kind in (8, 9)] == [50, 50]


def test_an_older_view_has_the_payloads_of_its_time(open_db: OpenDB) -> None:
    db = open_db()
    fill(db)
    db.create_payload_index("c", "kind", "integer")
    store = db.collection("c")._store
    view, condition = store.view, masks.compiled(models.coerce(models.Filter, is_(77)))
    assert condition.digest is not None
    for count in (80, 20):  # more than a few, then again
        db.set_payload("c", {"kind": 77}, list(range(count)))
        assert db.count("c", is_(77)).count == 80
        old = [masks.matching(view, part, condition) for part in view.segments]
        assert sum(int(np.bitwise_count(bits).sum()) for bits in old) == 0
    db.set_payload("c", {"kind": 1}, list(range(40)))
    assert db.count("c", is_(77)).count == 40


def test_dropping_an_index_removes_its_files(open_db: OpenDB) -> None:
    db = open_db()
    fill(db)
    for field in ("kind", "name", '"kind"'):
        db.create_payload_index("c", field, "keyword")
    assert files_of(db) == [["column.kind", "column.name"]]
    db.delete_payload_index("c", "kind")  # "kind" in another spelling still has one
    assert files_of(db) == [["column.kind", "column.name"]]
    db.delete_payload_index("c", '"kind"')
    assert files_of(db) == [["column.name"]]
    assert db.count("c", is_(3)).count == 43
    db.close()
    db = open_db()
    assert files_of(db) == [["column.name"]]
    assert list(db.get_collection("c").columns) == ["name"]


def test_without_waiting_the_optimizer_writes_columns(open_db: OpenDB) -> None:
    db = open_db()
    fill(db)
    db.create_payload_index("c", "kind", "integer", wait=False)
    assert files_of(db) == [[]]
    assert db.get_collection("c").optimizer_progress.pending == "columns"
    assert db.count("c", is_(3)).count == 43
    assert db.optimizer.run_once()
    assert files_of(db) == [["column.kind"]]
    assert not db.optimizer.run_once()
    info = db.get_collection("c").columns["kind"]
    assert (info.automatic, info.points) == (False, ROWS)
    assert info.bytes == sum(p.stat().st_size for p in Path(db.path).rglob("column.kind"))


def test_a_crash_before_the_commit_leaves_files_that_the_next_open_removes(
    open_db: OpenDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = open_db()
    fill(db)
    with monkeypatch.context() as patched:
        patched.setattr(writing, "_add", fail)
        patched.setattr(writing, "_give_up", lambda *_: None)
        db.create_payload_index("c", "kind", "integer")
    assert files_of(db) == [["column.kind"]]
    assert db.get_collection("c").columns["kind"].points == 0
    assert db.check().collections[0].leftovers == 1
    db.close()
    db = open_db()
    assert any("column.kind" in name for name in db.collection("c").recovery.removed)
    assert files_of(db) == [[]]
    db.wait_for_optimizer("c")
    assert files_of(db) == [["column.kind"]]


def fail(*_: Any) -> None:
    raise OSError(28, "no space")


def test_what_cannot_be_written_now_is_written_later(
    open_db: OpenDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = open_db()
    fill(db)
    with monkeypatch.context() as patched:
        patched.setattr(writing, "write_column", fail)
        db.create_payload_index("c", "name", "keyword")
        assert "no space" in str(db.get_collection("c").optimizer_status)
    assert files_of(db) == [[]]
    assert db.count("c", is_("name 1", "name")).count == 100
    db.wait_for_optimizer("c")
    assert files_of(db) == [["column.name"]]


def damage(path: Path, how: str) -> None:
    """Replace a file by a damaged one."""
    data = path.read_bytes()
    path.unlink()  # who has it open, has it whole
    at = {"flip": 100, "footer": len(data) - 10}.get(how, 0)
    if how != "gone":
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        path.write_bytes(data[:-8] if how == "cut" else changed)


@pytest.mark.parametrize("how", ["cut", "flip", "gone"])
def test_a_damaged_column_is_done_without_and_written_anew(open_db: OpenDB, how: str) -> None:
    db = open_db()
    fill(db)
    db.create_payload_index("c", "kind", "integer")
    db.close()
    [path] = Path(db.path).rglob("column.kind")
    whole = path.read_bytes()
    damage(path, how)
    report = check_database(Path(db.path))
    assert [Path(p.path).name for p in report.problems] == ["column.kind"]
    db = open_db()
    assert db.count("c", is_(3)).count == 43
    assert [Path(f.path).name for f in db.get_collection("c").damaged_files] == ["column.kind"]
    segments = [segment.id for segment in db.get_collection("c").segments]
    assert db.wait_for_optimizer("c")
    assert path.read_bytes() == whole
    info = db.get_collection("c")
    assert (info.damaged_files, [s.id for s in info.segments]) == ([], segments)
    assert db.count("c", is_(3)).count == 43


def test_a_column_of_texts_made_with_other_stemmers_is_not_used_and_made_anew(
    open_db: OpenDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens were not those of a query: "running" found nothing, with no end to it."""
    stemmer = {"type": "snowball", "language": "english"}
    schema = {"type": "text", "stemmer": stemmer}
    runs = {"must": [{"key": "text", "match": {"text": "running"}}]}
    with monkeypatch.context() as before:
        before.setattr(of_engine, "_WORDS", 1)
        before.setattr(words, "_stemmer", lambda language: lambda word: word)
        texts._tokenizers.cache_clear()
        db = open_db()
        db.create_collection("c", {"size": 1, "distance": "Dot"}, optimizers_config=MANUAL)
        db.upsert("c", [{"id": 1, "vector": [1.0], "payload": {"text": "one that runs"}}])
        db.create_payload_index("c", "text", schema)
        db.flush()
        assert db.count("c", runs).count == 0
        db.close()
    texts._tokenizers.cache_clear()
    db = open_db()
    assert db.count("c", runs).count == 1
    assert db.wait_for_optimizer("c")
    assert db.count("c", runs).count == 1


def test_check_finds_a_column_that_says_something_else(open_db: OpenDB) -> None:
    db = open_db()
    fill(db)
    db.create_payload_index("c", "kind", "integer")
    store = db.collection("c")._store
    [(number, state)] = store.files.items()
    other = build("kind", [encode({"kind": 1})] * ROWS).pack()
    written = write_column(state.segment.path, store.uuid, number, "kind", other)
    row = state.segment.row
    files = {COLUMN.file("kind"): written}
    writing._commit(store, number, row.without_column("kind"))
    writing._commit(store, number, row.with_columns(row.columns, files))
    [problem] = db.check().problems
    assert Path(problem.path).name == "column.kind"
    db.delete_payload_index("c", "kind")


def test_a_field_that_filters_keep_asking_for_gets_columns_by_itself(
    open_db: OpenDB, tested: list[int]
) -> None:
    db = open_db()
    fill(db, MANY_ROWS)
    for kind in (1, 1, 2, 2):  # the same filter is remembered
        db.count("c", is_(kind))
        db.count("c", {"must": [{"has_id": [5]}, {"key": "name", "match": {"value": "x"}}]})
    assert not db.optimizer.run_once()
    db.count("c", is_(3))
    assert db.optimizer.run_once()
    assert files_of(db) == [["column.kind"]]
    tested.clear()
    assert db.count("c", is_(4)).count == 585
    assert tested == []
    info = db.get_collection("c")
    assert info.payload_schema == {}
    assert info.columns["kind"].automatic
    db.close()
    db = open_db()
    fill(db, first=MANY_ROWS)
    assert files_of(db) == [["column.kind"]] * 2
    # Asked for by name it is the same column; and goes with that index.
    db.create_payload_index("c", "kind", "integer")
    assert not db.get_collection("c").columns["kind"].automatic
    db.delete_payload_index("c", "kind")
    assert files_of(db) == [[], []]
    assert db.get_collection("c").columns == {}


def test_a_field_whose_automatic_index_is_dropped_before_it_has_files_is_asked_for_anew(
    open_db: OpenDB,
) -> None:
    """Reads went on making columns of it in memory, and it got none in files any more."""
    db = open_db()
    fill(db, MANY_ROWS)
    for kind in range(3):
        db.count("c", is_(kind))
    next_step(db.collection("c")._store)
    assert "kind" in db.collection("c")._view().fields
    db.delete_payload_index("c", "kind")
    assert "kind" not in db.collection("c")._view().fields
    assert not db.optimizer.run_once()
    for kind in range(3, 6):
        db.count("c", is_(kind))
    assert db.optimizer.run_once()
    assert files_of(db) == [["column.kind"]]


def test_an_index_is_dropped_while_reads_count_what_they_ask_for() -> None:
    """What reads counted meanwhile stopped the drop with a RuntimeError."""

    class Counts(dict[tuple[int, str], int]):
        """Gets another entry while it is gone through."""

        def items(self) -> Any:
            for item in super().items():
                self[len(self), "other"] = 1
                yield item

    demand = Demand(lambda: None)
    for field in ("kind", "name"):
        demand.note(1, {field}, MANY_ROWS)
    demand._counts = Counts(demand._counts)
    demand.forget("kind")
    assert demand._counts == {(1, "name"): 1}


def test_automatic_indexes_can_be_switched_off(open_db: OpenDB) -> None:
    db = open_db()
    fill(db, MANY_ROWS)
    for _ in range(3):
        assert db.facet("c", "kind").hits[0].count == 586
    db.wait_for_optimizer("c")
    assert files_of(db) == [["column.kind"]]
    assert db.facet("c", "kind").hits[0].count == 586
    db.update_collection("c", optimizers_config={"automatic_indexes": False})
    db.wait_for_optimizer("c")
    assert files_of(db) == [[]]
    for kind in range(5):
        db.count("c", is_(kind))
    assert not db.optimizer.run_once()
    assert db.get_collection("c").columns == {}


def test_searches_are_right_while_columns_come_and_go(open_db: OpenDB) -> None:
    db = open_db()
    fill(db, 2000)
    stop, wrong = threading.Event(), []

    def search() -> None:
        while not stop.is_set():
            found = db.count("c", is_(3)).count
            if found != 286:
                wrong.append(found)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        db.create_payload_index("c", "kind", "integer")
        db.delete_payload_index("c", "kind")
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_readers_of_memory_segments_and_a_writer(open_db: OpenDB) -> None:
    """Columns in memory grow under readers: what a read finds is what its view has."""
    db = open_db()
    db.create_collection("c", {"size": 1, "distance": "Dot"}, optimizers_config=MANUAL)
    db.create_payload_index("c", "n", "integer")
    stop, wrong = threading.Event(), []

    def search() -> None:
        while not stop.is_set():
            before = db.count("c").count
            found = db.count("c", {"must": [{"key": "n", "range": {"gte": 0}}]}).count
            after = db.count("c").count
            if not before <= found <= after:
                wrong.append((before, found, after))

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(0, 3000, 100):
        ids = range(start, start + 100)
        db.upsert("c", [{"id": i, "vector": [1], "payload": {"n": i}} for i in ids])
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_read_that_was_cut_short_leaves_no_column_of_other_rows(
    open_db: OpenDB, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """It left one of fewer rows than it counted: filters found others, and deletions took them."""
    db = open_db()
    db.create_collection("c", {"size": 1, "distance": "Dot"}, optimizers_config=MANUAL)
    db.create_payload_index("c", "late", "bool")

    def put(first: int, end: int) -> None:
        ids = range(first, end)
        db.upsert("c", [{"id": i, "vector": [1], "payload": {"late": i >= 2048}} for i in ids])

    put(0, 1024)
    assert db.count("c", is_(True, "late")).count == 0
    put(1024, 2048)
    real = Collector.column

    def cut_short(self: Collector, begin: int, end: int) -> Column:
        if end - begin > 1024:
            raise error
        return real(self, begin, end)

    with monkeypatch.context() as patched:
        patched.setattr(Collector, "column", cut_short)
        with pytest.raises(error):
            db.count("c", is_(True, "late"))
    assert db.count("c", is_(True, "late")).count == 0
    put(2048, 3000)
    assert db.count("c", is_(True, "late")).count == 952
    assert {(hit.value, hit.count) for hit in db.facet("c", "late").hits} == {
        (False, 2048),
        (True, 952),
    }
    db.delete("c", {"filter": is_(True, "late")})
    assert [point.id for point in db.scroll("c", limit=3000)[0]] == list(range(2048))


def test_a_reader_process_sees_columns_come_and_go(open_db: OpenDB) -> None:
    db = open_db()
    fill(db)
    with VecDB(db.path, read_only=True) as reader:
        for step in range(3):
            assert reader.count("c", is_(3)).count == 43
            if step < 2:
                db.create_payload_index("c", "kind", "integer")
            else:
                db.delete_payload_index("c", "kind")
            reader.refresh()
            points = {f: i.points for f, i in reader.get_collection("c").columns.items()}
            assert points == ({"kind": ROWS} if step < 2 else {})
            assert reader.get_collection("c").damaged_files == []
        assert reader.count("c", is_(3)).count == 43


def test_a_snapshot_has_the_columns(open_db: OpenDB) -> None:
    db = open_db()
    fill(db)
    db.create_payload_index("c", "kind", "integer")
    snapshot = db.create_snapshot("c")
    db.delete_payload_index("c", "kind")
    db.recover_snapshot("c", Path(db.path) / "snapshots/c" / snapshot.name)
    assert files_of(db) == [["column.kind"]]
    assert db.get_collection("c").columns["kind"].points == ROWS
    assert db.count("c", is_(3)).count == 43


@pytest.mark.parametrize("how", ["cut", "flip", "footer", "gone"])
def test_a_snapshot_leaves_a_damaged_column_out(
    open_db: OpenDB, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    db = open_db()
    fill(db)
    fill(db, first=ROWS)
    for field in ("kind", "name"):
        db.create_payload_index("c", field, "keyword")
    before = db.create_snapshot("c")
    path = min(Path(db.path).rglob("column.kind"))
    whole = path.read_bytes()
    damage(path, how)
    snapshot = db.create_snapshot("c")
    assert str(path) in caplog.text
    assert snapshot.size < before.size
    # The collection, which has the whole file open, is as it was.
    assert db.get_collection("c").columns["kind"].points == 2 * ROWS
    db.recover_snapshot("c", snapshot.name)
    assert files_of(db) == [["column.name"], ["column.kind", "column.name"]]
    info = db.get_collection("c")
    assert (info.columns["kind"].points, info.columns["name"].points) == (ROWS, 2 * ROWS)
    assert info.damaged_files == []
    assert db.check().ok
    assert db.count("c", is_(3)).count == 86
    assert db.wait_for_optimizer("c")
    assert min(Path(db.path).rglob("column.kind")).read_bytes() == whole
    assert db.count("c", is_(3)).count == 86


class Unreadable(io.FileIO):
    """A file of which the disk gives nothing."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError(errno.EIO, "injected")


@pytest.mark.parametrize("when", ["opened", "read"])
@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE])
def test_a_snapshot_leaves_out_a_column_that_the_disk_cannot_read(
    open_db: OpenDB, when: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a column made it fail, though nothing is lost with it. What passes is no such thing."""
    db = open_db()
    fill(db)
    fill(db, first=ROWS)
    for field in ("kind", "name"):
        db.create_payload_index("c", field, "keyword")
    bad = min(Path(db.path).rglob("column.kind"))
    real = lookup.open_read

    def open_read(path: Path, **options: Any) -> Any:
        if path == bad and (when == "opened" or code != errno.EIO):
            raise OSError(code, "injected")
        return Unreadable(path) if path == bad else real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(lookup, "open_read", open_read)
        if code != errno.EIO:
            with pytest.raises(OSError, match="injected"):
                db.create_snapshot("c")
            assert db.list_snapshots("c") == []
            return
        snapshot = db.create_snapshot("c")
    db.recover_snapshot("c", snapshot.name)
    assert files_of(db) == [["column.name"], ["column.kind", "column.name"]]
    assert db.count("c", is_(3)).count == 86
    assert db.wait_for_optimizer("c")
    assert files_of(db) == [["column.kind", "column.name"]] * 2
    assert db.count("c", is_(3)).count == 86
    assert db.check().ok


def test_a_snapshot_of_a_segment_that_the_writer_has_just_removed_has_all_columns(
    open_db: OpenDB, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A column that is missing because the writer has moved on is no damage."""
    db = open_db()
    fill(db)
    for field in ("kind", "name"):
        db.create_payload_index("c", field, "keyword")
    read, left = capture.valid_config, [db]

    def move(*arguments: Any) -> Any:
        if left:
            left.pop().delete_payload_index("c", "kind")
        return read(*arguments)

    monkeypatch.setattr(capture, "valid_config", move)
    snapshot = db.create_snapshot("c")
    assert "without this column" not in caplog.text
    db.recover_snapshot("c", snapshot.name)
    assert db.get_collection("c").payload_schema.keys() == {"name"}
    assert files_of(db) == [["column.name"]]


def test_explain_says_of_how_many_points_each_condition_holds(open_db: OpenDB) -> None:
    db = open_db()
    fill(db, 700)
    db.create_payload_index("c", "kind", "integer")
    both = {"must": [{"key": "kind", "range": {"lt": 2}}, {"key": "name", "match": {"any": ["x"]}}]}
    answer = db.query_points("c", [1] * 4, query_filter=both, explain=True)
    assert answer.explanation is not None
    filter, kind, name, *_ = answer.explanation[0].stages
    assert (filter.by, filter.rows, filter.kept) == ("filter", 200, 0)
    assert filter.reason == "payloads read: 14.29% expected, 0.00% found"
    assert (kind.by, kind.rows, kind.kept) == ("condition", 700, 200)
    assert kind.reason == 'must[0] kind range {"lt":2}: 28.57% expected, 28.57% found'
    assert (name.by, name.rows, name.kept) == ("condition", 700, 0)
    assert name.reason == (
        'must[1] name match {"any":["x"]}: 50.00% expected, 0.00% found in 700 payloads'
    )


def test_explain_finds_out_of_each_part_of_a_filter(open_db: OpenDB) -> None:
    """A nested condition was said to hold of no point where columns did not tell of all; what it
    takes payloads for, and what stands inside of it, was left out."""
    db = open_db()
    fill(db, 700)
    db.set_payload("c", {"items": [{"a": 1, "b": 1}, {"a": 2, "b": 2}]}, {"must": [is_(1)]})
    db.create_payload_index("c", "kind", "integer")
    db.create_payload_index("c", "items[].a", "integer")
    db.create_payload_index("c", "items[].b", "integer")
    match = [{"key": key, "match": {"value": value}} for key, value in (("a", 1), ("b", 1))]
    nested = {"nested": {"key": "items", "filter": {"must": match}}}
    either = {"should": [nested, {"key": "kind", "range": {"gte": 5}}], "must_not": is_(6)}
    for _ in range(2):
        answer = db.query_points("c", [1] * 4, query_filter={"must": [either]}, explain=True)
        assert answer.explanation is not None
        filter, inner, *parts = answer.explanation[0].stages
        assert (filter.kept, inner.kept) == (200, 200)
        assert inner.reason.startswith("must[0] filter: ")
        whole = [each for each in parts if each.by == "condition"]
        assert [each.reason.split()[0] for each in whole] == [
            "must[0].must_not",
            "must[0].must_not.must[0]",
            "must[0].should[0]",
            "must[0].should[1]",
        ]
        assert [each.kept for each in whole] == [100, 100, 100, 200]
    assert filter.reason.startswith("remembered: ")


def test_explain_of_many_conditions_looks_at_few_payloads_for_each(
    open_db: OpenDB, tested: list[int]
) -> None:
    db = open_db()
    fill(db, 700)
    many = {"should": [{"key": "kind", "match": {"value": n}} for n in range(1000)]}
    answer = db.query_points("c", [1] * 4, query_filter=many, explain=True)
    assert answer.explanation is not None
    assert sum(stage.by == "condition" for stage in answer.explanation[0].stages) == 1000
    assert len(tested) <= 700 + 1000 * 66


@pytest.mark.parametrize(
    ("query", "stage"),
    [
        (None, ("ids", 100, 3, "in the order of ids")),
        ({"order_by": "kind"}, ("values", 100, 3, "kind: column")),
        ({"order_by": "name"}, ("values", 100, 3, "name: payloads read")),
        ({"sample": "random"}, ("sample", 100, 3, "by chance")),
    ],
)
def test_explain_tells_of_points_without_scores(
    open_db: OpenDB, query: Any, stage: tuple[Any, ...]
) -> None:
    """The explanation was empty."""
    db = open_db()
    fill(db, 700)
    db.create_payload_index("c", "kind", "integer")
    filter = {"must": [is_(1)]}
    answer = db.query_points("c", query, query_filter=filter, limit=3, explain=True)
    assert answer.explanation is not None
    first, *_, last = answer.explanation[0].stages
    assert (first.by, first.kept) == ("filter", 100)
    assert (last.by, last.rows, last.kept, last.reason) == stage


def test_the_number_of_fields_that_get_columns_by_themselves_is_bounded_for_good(
    open_db: OpenDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was counted since the last open: each session added as many."""
    monkeypatch.setattr(engine_columns, "_MOST", 1)
    db = open_db()
    fill(db, MANY_ROWS)
    for field in ("kind", "name"):
        for kind in range(3):
            db.count("c", is_(kind, field))
        while db.optimizer.run_once():
            pass
        assert files_of(db) == [["column.kind"]]
        db.close()
        db = open_db()
    db.delete_payload_index("c", "kind")  # makes room for another
    for kind in range(3, 6):
        db.count("c", is_(kind, "name"))
    assert db.optimizer.run_once()
    assert files_of(db) == [["column.name"]]


def test_two_searches_that_meet_one_damaged_column_both_do_without_it(
    open_db: OpenDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second found no column any more where it looked for the path."""
    db = open_db()
    fill(db)
    db.create_payload_index("c", "kind", "integer")
    take_out = bounds.without_damaged
    times = []

    def damaged(*_: Any) -> Any:
        raise DamageError("flipped")

    def twice(*args: Any) -> None:
        for _ in range(2):
            times.append(args)
            take_out(*args)

    with monkeypatch.context() as patched:
        patched.setattr(Column, "matching", damaged)
        patched.setattr(bounds, "without_damaged", twice)
        assert db.count("c", is_(3)).count == 43
    assert len(times) == 2
    assert [Path(f.path).name for f in db.get_collection("c").damaged_files] == ["column.kind"]


def overwrite(path: Path, texts: bytes) -> None:
    """Damage texts of a column that is open, and of which the checksums were compared before."""
    at = path.read_bytes().index(texts)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * len(texts))


def test_a_facet_of_texts_that_are_damaged_while_they_are_open_is_that_of_the_payloads(
    open_db: OpenDB,
) -> None:
    """It decoded them after it had looked whether the column can be read, and failed each time."""
    db = open_db()
    fill(db)
    db.create_payload_index("c", "name", "keyword")
    whole = db.facet("c", "name")
    [path] = Path(db.path).rglob("column.name")
    overwrite(path, b"name 0name 1")
    assert db.facet("c", "name") == whole
    assert [Path(f.path).name for f in db.get_collection("c").damaged_files] == ["column.name"]
    assert db.facet("c", "name") == whole
    assert db.wait_for_optimizer("c")


@pytest.mark.parametrize("upon", ["all points", "prefetches"])
@pytest.mark.parametrize("harm", [b"commonrare 0", b"common", b"rare 1", b"rare 0rare 1rare 2"])
def test_groups_of_texts_that_are_damaged_while_they_are_open_are_those_of_the_payloads(
    open_db: OpenDB, harm: bytes, upon: str
) -> None:
    """The same rows were searched again and again for groups that are not known yet; later groups
    were left out."""
    db = open_db()
    fill(db, 0)
    names = ["common" if n < 2900 else f"rare {n % 3}" for n in range(3000)]
    rows = [
        {"id": n, "vector": [1 - n] * 4, "payload": {"name": name}} for n, name in enumerate(names)
    ]
    db.upsert("c", rows)
    db.flush("c")
    db.create_payload_index("c", "name", "keyword")

    prefetch = models.Prefetch(query=[1] * 4, limit=10) if upon == "prefetches" else None

    def groups() -> list[Any]:
        found = db.query_points_groups(
            "c", "name", [1] * 4, limit=4, group_size=5, prefetch=prefetch
        )
        return [(group.id, [hit.id for hit in group.hits]) for group in found.groups]

    whole = groups()
    assert sorted(name for name, _ in whole) == ["common", "rare 0", "rare 1", "rare 2"]
    assert all(len(hits) == 5 for _, hits in whole)
    [path] = Path(db.path).rglob("column.name")
    overwrite(path, harm)
    assert groups() == whole
    db.delete_payload_index("c", "name")  # the file is damaged
