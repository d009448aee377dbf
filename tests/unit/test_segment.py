"""Segments: what a builder wrote is what a reader sees, with either placement, or it is damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecdb import ids
from vecdb.errors import CorruptionError, FormatVersionError
from vecdb.quantization import ScalarQuantizer
from vecdb.storage.builder import SegmentBuilder
from vecdb.storage.memory import MemorySegment, killed
from vecdb.storage.placements import Placements, VectorPlacements
from vecdb.storage.row_block import RowBlock
from vecdb.storage.segment import FileSegment
from vecdb.storage.segment_row import SegmentRow
from vecdb.vectors.block import VectorBlock

UUID = bytes(range(16))
DIMS = {"": 3, "other name/é": 5}
MAPPED = Placements()
COLD = Placements(
    dict.fromkeys(DIMS, VectorPlacements("cold", "cold", "cold")), ids="cold", payload="cold"
)
PINNED = Placements(
    dict.fromkeys(DIMS, VectorPlacements("pinned", "pinned", "pinned")),
    ids="pinned",
    payload="pinned",
)


def contents(rows: int, *, wide: bool = False, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    keys = [int(k) for k in rng.permutation(rows * 3)[:rows]]
    if wide:
        keys = [key + (2**64 + (key << 70) if key % 2 else 0) for key in keys]
    has = {"": np.ones(rows, bool), "other name/é": rng.random(rows) < 0.5}
    vectors = {n: rng.standard_normal((rows, d)).astype(np.float32) for n, d in DIMS.items()}
    for name in DIMS:
        vectors[name][~has[name]] = 0
    return {
        "keys": keys,
        "seqs": rng.integers(0, 99, rows).astype(np.uint64),
        "payloads": [bytes([0x80 + i % 3]) * (i % 5 + 1) for i in range(rows)],
        "vectors": vectors,
        "has": has,
    }


def write(path: Path, data: dict[str, Any], *, codes: bool = False, step: int = 7) -> SegmentRow:
    rows = len(data["keys"])
    builder = SegmentBuilder(
        path,
        UUID,
        5,
        rows,
        DIMS,
        wide_ids=any(key >= 2**64 for key in data["keys"]),
        payload_bytes=sum(map(len, data["payloads"])),
    )
    for start in range(0, rows, step):
        part = slice(start, start + step)
        builder.add(
            RowBlock(
                ids.to_array(data["keys"][part]),
                data["seqs"][part],
                data["payloads"][part],
                {
                    name: VectorBlock(block[part], data["has"][name][part])
                    for name, block in data["vectors"].items()
                },
            )
        )
    builder.finish_rows()
    if codes:
        quantizer = ScalarQuantizer.fit(builder.vectors(""), "dot", quantile=None)
        blocks = iter([quantizer.encode(builder.vectors(""))])
        builder.add_codes("", {"kind": "scalar", "quantile": None}, quantizer, blocks)
    return builder.finish({})


@pytest.mark.parametrize("placements", [MAPPED, COLD, PINNED])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 200])
def test_round_trip(tmp_path: Path, rows: int, wide: bool, placements: Any) -> None:
    data = contents(rows, wide=wide)
    row = write(tmp_path, data)
    segment = FileSegment(tmp_path / f"{5:016x}", UUID, row, placements)
    everything = np.arange(rows, dtype=np.int64)
    assert [segment.key(i) for i in range(rows)] == data["keys"]
    assert ids.from_array(segment.id_array(everything)) == data["keys"]
    assert segment.seq_array(everything).tolist() == data["seqs"].tolist()
    assert [segment.payload(i) for i in range(rows)] == data["payloads"]
    assert segment.payload_size(everything) == sum(map(len, data["payloads"]))
    keys = [*data["keys"], 10**9, 2**90]
    found = segment.locate(keys, ids.to_array(keys), rows)
    assert found.tolist() == [*range(rows), -1, -1]
    assert [segment.key(i) for i in segment.from_key(0, rows)] == sorted(data["keys"])
    for name in DIMS:
        assert (segment.take(name, everything) == data["vectors"][name]).all()
        flags = segment.has(name, everything)
        assert (np.ones(rows, bool) if flags is None else flags).tolist() == data["has"][
            name
        ].tolist()
        for base, block in segment.blocks(name, rows):
            assert base == 0
            assert (block == data["vectors"][name]).all()


def test_moving_parts_rewrites_nothing_and_keeps_what_stays(tmp_path: Path) -> None:
    row = write(tmp_path, contents(100), codes=True)
    mapped = FileSegment(tmp_path / f"{5:016x}", UUID, row, MAPPED)
    before = {p.name: p.stat() for p in mapped.path.iterdir()}
    moved = mapped.moved(Placements({"": VectorPlacements(codes="pinned")}))
    assert moved.quantized[""].codes.placement == "pinned"
    assert moved.originals[""] is mapped.originals[""]
    assert {p.name: p.stat() for p in mapped.path.iterdir()} == before
    assert (moved.quantized[""].codes.verify() == mapped.quantized[""].codes.verify()).all()


def read_all(path: Path, row: SegmentRow, placements: Any) -> None:
    """All of it; damage of a derived file, which a segment lives with, is raised too."""
    segment = FileSegment(path, UUID, row, placements)
    for file, detail in segment.damage.items():
        raise CorruptionError(file, detail)
    for file in segment.arrays.values():
        file.verify()


@pytest.mark.parametrize("placements", [MAPPED, COLD, PINNED])
def test_every_flipped_byte_of_every_file_is_found_and_named(
    tmp_path: Path, placements: Any
) -> None:
    row = write(tmp_path, contents(20), codes=True)
    directory = tmp_path / f"{5:016x}"
    for path in sorted(directory.iterdir()):
        whole = path.read_bytes()
        for at in range(len(whole)):
            damaged = bytearray(whole)
            damaged[at] ^= 0x10
            path.write_bytes(damaged)
            with pytest.raises((CorruptionError, FormatVersionError), match=path.name):
                read_all(directory, row, placements)
        path.write_bytes(whole)
    read_all(directory, row, placements)


def test_every_truncation_and_a_longer_file_are_found(tmp_path: Path) -> None:
    row = write(tmp_path, contents(5))
    directory = tmp_path / f"{5:016x}"
    for path in sorted(directory.iterdir()):
        whole = path.read_bytes()
        for length in [*range(0, len(whole), 7), len(whole) - 1]:
            path.write_bytes(whole[:length])
            with pytest.raises(CorruptionError, match=path.name):
                read_all(directory, row, MAPPED)
        path.write_bytes(whole + b"\0")
        with pytest.raises(CorruptionError, match=path.name):
            read_all(directory, row, MAPPED)
        path.unlink()
        with pytest.raises(CorruptionError, match="missing"):
            read_all(directory, row, MAPPED)
        path.write_bytes(whole)


def test_a_whole_file_of_another_build_is_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    row = write(tmp_path / "a", contents(20, seed=1))
    write(tmp_path / "b", contents(20, seed=2))
    for path in (tmp_path / "a" / f"{5:016x}").iterdir():
        other = tmp_path / "b" / f"{5:016x}" / path.name
        mine, theirs = path.read_bytes(), other.read_bytes()
        if mine == theirs:
            continue
        path.write_bytes(theirs)
        with pytest.raises(CorruptionError, match=path.name):
            read_all(path.parent, row, MAPPED)
        path.write_bytes(mine)


def test_mapped_blocks_are_verified_when_first_used(tmp_path: Path) -> None:
    """Only what is touched is read, and nothing is served unverified."""
    rows = 30_000  # 360 kB of vectors: six blocks
    row = write(tmp_path, contents(rows), step=rows)
    path = tmp_path / f"{5:016x}" / "vectors"
    damaged = bytearray(path.read_bytes())
    damaged[64 + 12 * 29_000] ^= 1
    path.write_bytes(damaged)
    segment = FileSegment(path.parent, UUID, row, MAPPED)
    segment.take("", np.array([0, 10], dtype=np.int64))
    with pytest.raises(CorruptionError, match="block 5"):
        segment.take("", np.array([29_000], dtype=np.int64))
    with pytest.raises(CorruptionError, match="block 5"):
        list(segment.blocks("", rows))
    with pytest.raises(CorruptionError, match="block 5"):
        FileSegment(path.parent, UUID, row, PINNED)


@pytest.mark.parametrize("rows", [[13], [13, 13], [0, 7, 8, 23], [5], []])
def test_killed_rows_are_cleared_in_a_copy(rows: list[int]) -> None:
    alive = np.packbits(np.arange(24) != 5, bitorder="little")
    before = alive.copy()
    copy, died = killed(alive, np.array(rows, np.int64))
    assert (alive == before).all()
    cleared = np.unpackbits(copy, bitorder="little")
    assert np.flatnonzero(cleared == 0).tolist() == sorted({*rows, 5})
    assert died == len({*rows} - {5})


def test_memory_segment_shows_a_reader_only_its_rows() -> None:
    memory = MemorySegment(1, {"": 2})

    def append(seq: int, keys: list[int]) -> None:
        vectors = np.full((len(keys), 2), seq, dtype=np.float32)
        memory.append(seq, keys, [b"p%d" % seq] * len(keys), {"": VectorBlock(vectors)})

    append(1, [10, 11, 12])
    rows, alive, live = memory.rows, memory.alive, memory.live
    append(2, [11, 13])
    memory.kill(np.array([0], dtype=np.int64))
    assert (memory.rows, memory.live) == (5, 3)
    assert alive is None
    assert live == 3
    keys = [10, 11, 12, 13]
    array = ids.to_array(keys)
    assert memory.locate(keys, array, rows).tolist() == [0, 1, 2, -1]
    assert memory.locate(keys, array, memory.rows).tolist() == [0, 3, 2, 4]
    assert [memory.key(i) for i in memory.from_key(11, rows)] == [11, 12]


def test_memory_segment_grows_over_many_chunks() -> None:
    dim = 4096
    memory = MemorySegment(1, {"": dim})
    rng = np.random.default_rng(3)
    blocks = [rng.standard_normal((n, dim)).astype(np.float32) for n in (1, 300, 17, 500)]
    for number, block in enumerate(blocks):
        keys = [1000 * number + i for i in range(len(block))]
        has = np.arange(len(block)) % 3 != 0
        memory.append(number, keys, [b""] * len(block), {"": VectorBlock(block, has)})
    everything = np.concatenate(blocks)
    got = np.concatenate([block for _, block in memory.blocks("", memory.rows)])
    assert (got == everything).all()
    assert (
        memory.take("", np.array([817, 0, 256], dtype=np.int64)) == everything[[817, 0, 256]]
    ).all()
    expected = np.concatenate([np.arange(len(b)) % 3 != 0 for b in blocks])
    has = memory.has("", np.arange(818))
    assert has is not None
    assert (has == expected).all()
