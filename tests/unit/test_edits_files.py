"""``storage/payload_edits.py``: entries and files against a list of dicts, one a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vecdb.errors import CorruptionError
from vecdb.storage.format import MAX_PAYLOAD, DamageError
from vecdb.storage.payload_edits import EditsFile, EditsTable, PayloadEdits, write_edits
from vecdb.storage.segment_row import SegmentRow

UUID = bytes(range(16))
ROWS = 50
SEGMENT = SegmentRow(7, ROWS, {}, {})
EVERYTHING = np.arange(ROWS, dtype=np.int64)


def base_payloads(rows: npt.NDArray[np.int64]) -> list[Any]:
    return [b"base %d" % row for row in rows.tolist()]


def base_seqs(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    return rows.astype(np.uint64)


def contents(edits: PayloadEdits, seen: int) -> dict[int, tuple[bytes, int]]:
    """What is read of all rows, in any order of them."""
    rows = np.random.default_rng(seen).permutation(EVERYTHING)
    payloads = [bytes(payload) for payload in edits.payloads(rows, seen, base_payloads)]
    for row, payload in zip(rows.tolist(), payloads, strict=True):
        alone = edits.payload(row, seen, lambda row: base_payloads(np.array([row]))[0])
        assert bytes(alone) == payload
    size = edits.payload_size(rows, seen, lambda some: sum(map(len, base_payloads(some))))
    assert size == sum(map(len, payloads))
    seqs = edits.seqs(rows, seen, base_seqs).tolist()
    return dict(zip(rows.tolist(), zip(payloads, seqs, strict=True), strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_every_moment_is_read_as_it_was(tmp_path: Path, seed: int) -> None:
    """Entries are added, and now and then go to a file with some of the files before it."""
    rng = np.random.default_rng(seed)
    edits, seq = PayloadEdits(), 100
    now = {row: (b"base %d" % row, row) for row in range(ROWS)}
    moments: list[tuple[PayloadEdits, int, Any]] = []
    for _ in range(30):
        seq += 1
        rows = rng.permutation(ROWS)[: rng.integers(1, 9)].tolist()
        payloads = [rng.bytes(int(rng.integers(1, 40))) for _ in rows]
        edits.append([seq] * len(rows), rows, payloads)
        now |= {row: (payload, seq) for row, payload in zip(rows, payloads, strict=True)}
        moments.append((edits, edits.count, dict(now)))
        if rng.random() < 0.3:
            kept = int(rng.integers(0, len(edits.files) + 1))
            changed = edits.rows(edits.count, edits.files[kept:])
            columns = (
                edits.seqs(changed, edits.count, base_seqs),
                edits.payloads(changed, edits.count, base_payloads),
            )
            new = write_edits(tmp_path, UUID, SEGMENT, seq, changed, *columns)
            edits = PayloadEdits([*edits.files[:kept], new])
            moments.append((edits, 0, dict(now)))
    for view, seen, expected in moments:
        assert contents(view, seen) == expected
        edited = {row for row, (payload, _) in expected.items() if payload[:5] != b"base "}
        assert set(view.rows(seen, view.files).tolist()) == edited
        bits = np.unpackbits(view.bits(seen, ROWS), bitorder="little")[:ROWS]
        assert set(np.flatnonzero(bits).tolist()) == edited


def test_entries_go_to_the_rows_that_theirs_are_now() -> None:
    old, new = PayloadEdits(), PayloadEdits()
    old.append([1, 1, 1], [0, 1, 2], [b"a", b"b", b"c"])
    old.append([2, 2], [1, 2], [b"d", b"e"])
    old.append([3], [2], [b"f"])
    new.take_over(old, 3, np.array([5, 9, -1]))
    assert contents(new, new.count)[9] == (b"d", 2)
    assert new.rows(new.count, ()).tolist() == [9]
    new.take_over(old, 4)
    assert contents(new, new.count)[2] == (b"f", 3)
    assert contents(new, 2)[2] == (b"e", 2)


def head(rows: list[int], seqs: list[int], starts: list[int]) -> npt.NDArray[np.uint8]:
    values = np.array([len(rows), *rows, *seqs, *starts], dtype=np.uint64)
    return values.view(np.uint8)


@pytest.mark.parametrize(
    ("rows", "seqs", "starts", "size"),
    [
        ([], [], [0], 0),
        ([3, 3], [1, 1], [0, 1, 2], 2),
        ([3, 2], [1, 1], [0, 1, 2], 2),
        ([3, ROWS], [1, 1], [0, 1, 2], 2),
        ([0, 2**63 - 1, 2**63, 2**63 + 2**62, 2**64 - 1, 5], [1] * 6, list(range(7)), 6),
        ([3, 4], [1, 10], [0, 1, 2], 2),
        ([3, 4], [1, 2**64 - 1], [0, 1, 2], 2),
        ([3, 4], [1, 1], [1, 1, 2], 2),
        ([3, 4], [1, 1], [0, 3, 2], 2),
        ([3, 4], [1, 1], [0, 1, 2], 3),
        ([3, 4], [1, 1], [0, 2**63, 2], 2),
        ([3], [1], [0, MAX_PAYLOAD + 1], MAX_PAYLOAD + 1),
    ],
)
def test_a_head_that_cannot_be_is_refused(
    rows: list[int], seqs: list[int], starts: list[int], size: int
) -> None:
    data = head(rows, seqs, starts)
    with pytest.raises(DamageError):
        EditsTable.unpack(data, len(data) + size, ROWS, 9)


@pytest.mark.parametrize("count", [0, 3, 2**32, 2**61, 2**64 - 1])
def test_a_number_of_rows_that_cannot_be_is_refused(tmp_path: Path, count: int) -> None:
    one = np.array([5], dtype=np.int64)
    rows = one, one.astype(np.uint64), [b"\x80"]
    with pytest.MonkeyPatch.context() as patch:
        concatenate = np.concatenate

        def other(parts: Any, *more: Any) -> Any:
            found = concatenate(parts, *more)
            if len(parts) == 4:
                found = found.astype(np.uint64)
                found[0] = count
            return found

        patch.setattr(np, "concatenate", other)
        with pytest.raises(CorruptionError, match=r"payload-edits\.0{19}5"):
            write_edits(tmp_path, UUID, SEGMENT, 5, *rows)
    assert not list(tmp_path.iterdir())
    file = write_edits(tmp_path, UUID, SEGMENT, 5, *rows)
    again = EditsFile(tmp_path, UUID, SEGMENT.with_edits({file.name: file.row}), file.name)
    assert again.payloads(again.find(one)) == [b"\x80"]
    assert again.find(np.array([4, 6])).tolist() == [-1, -1]
