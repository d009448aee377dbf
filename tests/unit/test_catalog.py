"""The catalog: one commit point; every flipped or missing byte that matters is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from vecdb.errors import CorruptionError
from vecdb.storage.catalog import Catalog, Change, read_unlocked, transaction_of
from vecdb.storage.segment_row import FileRow, SegmentRow, VectorRow

CONFIG = {"params": {"vectors": {"size": 4, "distance": "Dot"}}}


def segment(number: int, rows: int = 12) -> SegmentRow:
    vectors = {"": VectorRow(4, {"kind": "binary"}, (1, 192))}
    return SegmentRow(number, rows, vectors, {"ids": FileRow(100, 7), "vectors": FileRow(9, 2**63)})


def make(path: Path) -> Catalog:
    Catalog.create(path, CONFIG, "5" * 32)
    catalog = Catalog(path)
    bits = np.array([0b11111110, 0b00001111], dtype=np.uint8)
    catalog.commit(Change(5, 4, {1: 12, 3: 11}, add=[segment(1), segment(3)], alive={3: bits}))
    return catalog


def test_what_was_committed_is_read_back(tmp_path: Path) -> None:
    make(tmp_path / "c")
    snapshot, transaction = read_unlocked(tmp_path / "c")
    assert transaction == transaction_of(tmp_path / "c") == 2
    assert [p.name for p in (tmp_path / "c").iterdir() if p.name != "lock.mdb"] == ["data.mdb"]
    assert snapshot.config == CONFIG
    assert (snapshot.applied_seq, snapshot.next_segment_id) == (5, 4)
    assert snapshot.segments == [segment(1), segment(3)]
    assert snapshot.live == {1: 12, 3: 11}
    assert {k: v.tolist() for k, v in snapshot.alive.items()} == {3: [0b11111110, 0b00001111]}


def test_drop_and_all_alive_again(tmp_path: Path) -> None:
    catalog = make(tmp_path / "c")
    catalog.commit(Change(6, 5, {3: 12}, drop=[1], alive={3: None}, config={"a": 1}))
    snapshot = catalog.read()
    assert [row.id for row in snapshot.segments] == [3]
    assert snapshot.alive == {}
    assert snapshot.config == {"a": 1}


def test_a_wrong_live_count_is_damage(tmp_path: Path) -> None:
    catalog = make(tmp_path / "c")
    catalog.commit(Change(6, 5, {1: 12, 3: 10}))
    with pytest.raises(CorruptionError, match="11 live rows, not 10"):
        catalog.read()


def test_an_unlocked_read_sees_one_commit_while_others_follow(tmp_path: Path) -> None:
    """The reader copies what the writer goes on changing: each copy is whole, and the newest."""
    catalog = make(tmp_path / "c")
    done, stop = [0], threading.Event()

    def commit() -> None:
        number = 5
        while not stop.is_set():
            number += 1
            bits = np.full(2, 0, dtype=np.uint8)
            bits[0] = 1 << number % 8
            change = Change(number, number, {1: 12, 3: 1}, alive={3: bits})
            catalog.commit(change)
            done[0] = number

    thread = threading.Thread(target=commit)
    thread.start()
    try:
        last = 0
        for _ in range(300):
            before = done[0]
            snapshot, _ = read_unlocked(tmp_path / "c")
            assert snapshot.applied_seq >= max(before, last)
            last = snapshot.applied_seq
            if last > 5:
                assert snapshot.alive[3].tolist() == [1 << last % 8, 0]
    finally:
        stop.set()
        thread.join()
    assert last > 5


@pytest.mark.parametrize("at", [16, 40, 41, 43, 4096 + 16])
def test_an_unlocked_read_of_a_damaged_meta_page_is_refused(tmp_path: Path, at: int) -> None:
    make(tmp_path / "c")
    path = tmp_path / "c" / "data.mdb"
    data = bytearray(path.read_bytes())
    data[at] ^= 0x81
    path.write_bytes(data)
    with pytest.raises(CorruptionError, match=r"data\.mdb"):
        read_unlocked(tmp_path / "c")


def test_every_truncation_is_found_before_it_can_kill(tmp_path: Path) -> None:
    make(tmp_path / "c")
    whole = (tmp_path / "c" / "data.mdb").read_bytes()
    for length in [0, 1, 4096, 8191, *range(8192, len(whole), 1024)]:
        (tmp_path / "c" / "data.mdb").write_bytes(whole[:length])
        with pytest.raises(CorruptionError, match=r"data\.mdb"):
            Catalog(tmp_path / "c").read()
    (tmp_path / "c" / "data.mdb").unlink()
    with pytest.raises(CorruptionError, match="missing"):
        Catalog(tmp_path / "c")


READER = """
import sys
from pathlib import Path
from vecdb.errors import CorruptionError
from vecdb.storage.catalog import Catalog, Change, read_unlocked, transaction_of
from vecdb.storage.segment_row import FileRow, SegmentRow, VectorRow
damaged = Path(sys.argv[1]) / "data.mdb"
whole = damaged.read_bytes()
silent = set()
for at in map(int, sys.argv[2].split(",")):
    copy = bytearray(whole)
    copy[at] ^= 0x04
    damaged.write_bytes(copy)
    try:
        print(at, repr(Catalog(damaged.parent).read()), flush=True)
    except CorruptionError:
        print(at, "found", flush=True)
"""


def test_a_flipped_byte_is_found_or_changes_nothing(tmp_path: Path) -> None:
    """In a process of its own: LMDB may crash on a damaged page, and must not give wrong rows."""
    catalog = make(tmp_path / "c")
    now = repr(catalog.read())
    Catalog.create(tmp_path / "new", CONFIG, "5" * 32)
    fresh = Catalog(tmp_path / "new")
    before = repr(fresh.read())
    size = (tmp_path / "c" / "data.mdb").stat().st_size
    rng = np.random.default_rng(11)
    offsets = sorted({*range(160), *range(4096, 4256), *rng.integers(0, size, 300).tolist()})
    shutil.copytree(tmp_path / "c", tmp_path / "damaged")
    run = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path / "damaged"), ",".join(map(str, offsets))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    outcomes = dict(line.split(" ", 1) for line in run.stdout.splitlines())
    assert len(outcomes) == len(offsets)
    # A damaged newest meta page makes LMDB take the one before: an older state, but a whole one.
    assert set(outcomes.values()) <= {"found", now, before}
    assert "found" in outcomes.values()


def test_free_pages_at_the_end_need_not_be_in_the_file(tmp_path: Path) -> None:
    """LMDB never writes a page that was taken and given back in one transaction. A file that ends
    before such pages was called damaged: when it was opened, and at the next commit."""
    catalog = make(tmp_path / "c")
    rows = 1 << 18  # a mask of eight pages
    big, bits = segment(7, rows), np.full(rows // 8, 0xFF, dtype=np.uint8)
    bits[0] = 0xFE
    live = {1: 12, 3: 11}
    catalog.commit(Change(6, 9, {**live, 7: rows - 1}, add=[big], alive={7: bits}))
    catalog.commit(Change(7, 9, live, drop=[7]))
    for number in range(6):  # what is in use moves to the free pages before it
        catalog.commit(Change(8, 9, live, config={"a": number}))
    path = tmp_path / "c" / "data.mdb"
    whole = path.read_bytes()
    shortest = len(whole)
    for pages in range(1, 8):  # those of the mask are free, and are the last
        path.write_bytes(whole[: len(whole) - 4096 * pages])
        try:
            catalog = Catalog(path.parent)
        except CorruptionError:
            break
        shortest = len(whole) - 4096 * pages
        assert catalog.read().live == live
        catalog.commit(Change(8, 9, live, config={"a": pages}))
        snapshot, _ = read_unlocked(path.parent)
        assert snapshot.config == {"a": pages}
    assert shortest < len(whole)
