"""Files whose checksums are right and whose content is not: data files, segments, logs, catalogs.

What opens a collection takes them for what they are, or raises CorruptionError with the file's name
(FormatVersionError for a later format); no other error, and memory in proportion to the file.
"""

from __future__ import annotations

import logging
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import lmdb
import numpy as np
import pytest
from garbage import EXTREMES, MUTATIONS, attempt, damaged, garbled, report, runs
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from vecdb import VecDB, ids, models
from vecdb.engine import operations
from vecdb.engine.open import places, recovery
from vecdb.engine.repair import salvage
from vecdb.engine.write.effects import apply, rewrite
from vecdb.errors import (
    CorruptionError,
    FormatVersionError,
    InvalidInputError,
    NotFoundError,
)
from vecdb.payload import encoding
from vecdb.storage import catalog, format, layout, replay
from vecdb.storage.arrays import Expected, PlacedArray
from vecdb.storage.catalog import DATA, Snapshot
from vecdb.storage.format import DamageError, DataHeader, Kind, WalHeader, checksum
from vecdb.storage.payload_edits import EditsFile, PayloadEdits
from vecdb.storage.placements import Placements, VectorPlacements
from vecdb.storage.replay import Replay
from vecdb.storage.segment import FileSegment
from vecdb.storage.segment_row import FileRow, SegmentRow
from vecdb.vectors.block import VectorBlock

UUID = bytes(range(16))
SALT = 0x1234567890ABCDEF
OPERATION_ERRORS = (DamageError, CorruptionError, InvalidInputError)
FILE_ERRORS = (CorruptionError, FormatVersionError)
ROWS = 40


@pytest.fixture(scope="module", autouse=True)
def _report() -> Iterator[None]:
    logging.getLogger("vecdb").setLevel(logging.ERROR)  # warns of every damaged derived file
    yield
    logging.getLogger("vecdb").setLevel(logging.NOTSET)
    report()


@dataclass(frozen=True)
class Base:
    """A collection with a quantized segment, some dead rows, some edited payloads, and operations
    in its log."""

    path: Path
    uuid: bytes
    snapshot: Snapshot
    rows: dict[bytes, bytes]  # of its catalog

    @property
    def row(self) -> SegmentRow:
        """Its segment."""
        return self.snapshot.segments[0]

    @property
    def segment(self) -> Path:
        """The directory of it."""
        return self.path / layout.SEGMENTS / layout.segment_dir(self.row.id)


DIMS = {"s": 80, "b": 70, "p": 60, "plain": 3}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    path = tmp_path_factory.mktemp("base")
    rng = np.random.default_rng(5)
    quantized = {
        "s": {"scalar": {"type": "int8"}},
        "b": {"binary": {}},
        "p": {"product": {"compression": "x8"}},
        "plain": None,
    }
    with VecDB(path / "db", sync="never") as db:
        db.create_collection(
            "c",
            {
                name: {"size": dim, "distance": "Euclid", "quantization_config": quantized[name]}
                for name, dim in DIMS.items()
            },
            optimizers_config={"indexing_threshold": 1},
        )
        points = [
            {
                "id": number if number % 3 else f"00000000-0000-0000-0000-{number:012}",
                "payload": {"n": number, "tags": ["a", "b"]},
                "vector": {
                    name: rng.standard_normal(dim).tolist()
                    for name, dim in DIMS.items()
                    if name != "plain" or number % 4
                },
            }
            for number in range(ROWS)
        ]
        collection = db.collection("c")
        collection.upsert(points)
        db.flush("c")
        db.wait_for_optimizer("c")
        collection.delete([1, 2])
        collection.set_payload({"x": 1}, points=list(range(4, 14, 3)))
        db.flush("c")
        collection.upsert(points[:3])
        collection.set_payload({"x": {"y": 1}}, points=[4, 5])
        shutil.copytree(path / "db" / "collections" / "c", path / "copy")
    found = path / "copy"
    snapshot, _ = catalog.read_unlocked(found / layout.CATALOG)
    with (
        lmdb.open(str(found / layout.CATALOG), lock=False, readonly=True) as env,
        env.begin() as transaction,
    ):
        rows = {key: format.unpack_row(key, row) for key, row in transaction.cursor()}
    made = Base(found, bytes.fromhex(places.read_format(found)["uuid"]), snapshot, rows)
    assert made.row.rows == ROWS
    assert made.row.vectors["p"].codec == {"kind": "product", "compression": 8, "layout": 2}
    assert snapshot.alive
    assert made.row.edits
    return made


# -- data files ------------------------------------------------------------------------------------


def data_file(rng: Random, header: DataHeader, data: bytes) -> bytes:
    """A data file with checksums that are right, as a rule."""
    padded = data + bytes(-len(data) % 8)
    blocks = [
        padded[at : at + format.BLOCK_SIZE] for at in range(0, len(padded), format.BLOCK_SIZE)
    ]
    table = b"".join(struct.pack("<Q", checksum(block)) for block in blocks)
    if rng.random() < 0.1:
        table = damaged(rng, table, [bytes(16)])
    packed = header.pack()
    return packed + padded + table + format.pack_footer(packed, table)


def other_header(rng: Random, like: DataHeader) -> DataHeader:
    """``like`` with one or two things changed."""
    changes: dict[str, Any] = {}
    for _ in range(rng.randint(1, 2)):
        match rng.randrange(6):
            case 0:
                changes["rows"] = rng.choice([*EXTREMES, like.rows + 1, max(0, like.rows - 1)])
            case 1:
                changes["columns"] = rng.choice(EXTREMES) & 0xFFFFFFFF
            case 2:
                changes["dtype"] = rng.choice(list(format.DTYPES.values()))
            case 3:
                changes["kind"] = rng.choice(list(Kind))
            case 4:  # the same bytes, cut in another way
                changes |= {"rows": like.rows * like.columns, "columns": 1}
            case _:
                size = like.dtype.itemsize
                changes |= {"dtype": np.dtype("<u1"), "columns": like.columns * size}
    return replace(like, **changes)


def row_of(data: bytes) -> FileRow:
    """What the catalog would say of a file."""
    return FileRow(len(data), int.from_bytes(data[-16:-8], "little") if len(data) >= 24 else 0)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every test has a directory for all of its examples."""
    path = tmp_path_factory.mktemp("scratch")
    for name in ("files", "segment", "log", "collection"):
        (path / name).mkdir()
    return path


@runs(60)
@given(seed=st.integers(0, 2**32), data=st.binary(max_size=400))
def test_data_files(scratch: Path, seed: int, data: bytes) -> None:
    rng, path = Random(seed), scratch / "files" / "one"

    def open_all(file: bytes) -> PlacedArray:
        path.write_bytes(file)
        try:
            for _ in range(2):
                part = PlacedArray(path, expected, placement)
                part.verify_rows(np.arange(len(part.array))[:: max(1, len(part.array) - 1)])
                part.verify_span(0, len(part.array))
            part.verify()
            return part
        finally:
            path.unlink()

    for number in range(MUTATIONS):
        like = DataHeader(rng.choice(list(Kind)), np.dtype("<f4"), rng.randrange(40), 3, UUID, 5)
        header = other_header(rng, like) if number else like
        file = data_file(rng, header, rng.randbytes(min(header.data_size, 70_000)))
        file = data if rng.random() < 0.05 else file
        file = damaged(rng, file, [file]) if rng.random() < 0.3 else file
        row = row_of(file)
        if rng.random() < 0.1:
            row = FileRow(rng.choice([row.length, *EXTREMES]), rng.choice([row.checksum, 0]))
        expected = Expected(UUID, 5, header.kind if rng.random() < 0.9 else Kind.IDS, row)
        placement: Any = rng.choice(["cached", "cold", "pinned"])
        attempt("data file", open_all, file, FILE_ERRORS)


# -- segments --------------------------------------------------------------------------------------


def other_content(rng: Random, array: np.ndarray[Any, Any], data: bytes) -> bytes:
    """Something else of the same length, more or less likely to pass for it."""
    match rng.randrange(6):
        case 0:
            return rng.randbytes(len(data))
        case 1:
            return np.zeros_like(array).tobytes()
        case 2:
            return np.random.default_rng(rng.randrange(99)).permutation(array).tobytes()
        case 3:
            return np.full_like(array, len(array) % 256).tobytes()
        case 4:
            return array[::-1].tobytes()
        case _:
            return damaged(rng, data, [data, b"\xff" * 16]).ljust(len(data), b"\xff")[: len(data)]


def use_segment(path: Path, uuid: bytes, row: SegmentRow, where: Any, _: bytes) -> None:
    """Everything that reads do with a segment."""
    vectors = dict.fromkeys(row.vectors, VectorPlacements(where, where, where))
    segment = FileSegment(path, uuid, row, Placements(vectors, ids=where, payload=where))
    n = segment.rows
    everything = np.arange(n, dtype=np.int64)
    keys = [*ids.from_array(segment.id_array(everything)), 0, 2**70, 2**128 - 1]
    for key in keys:
        assert isinstance(ids.external(key), (int, str))
    assert segment.locate(keys, ids.to_array(keys), n).max(initial=-1) < n
    for start in (0, keys[0]):
        assert all(0 <= offset < n for offset in segment.from_key(start, n))
    assert 0 <= segment.payload_size(everything) <= len(segment.arrays["payload"].array)
    for payload in segment.payloads(everything):
        attempt("payload in a segment", encoding.decode, bytes(payload), (DamageError,))
    segment.seq_array(everything)
    for name in row.edits:
        edits = PayloadEdits([EditsFile(path, uuid, row, name)])
        assert edits.seqs(everything, 0, segment.seq_array).shape == (n,)
        for payload in edits.payloads(everything, 0, segment.payloads):
            attempt("edited payload", encoding.decode, bytes(payload), (DamageError,))
    for name, dim in segment.dims.items():
        assert segment.take(name, everything).shape == (n, dim)
        assert sum(len(block) for _, block in segment.blocks(name, n)) == n
        flags = segment.has(name, everything)
        assert flags is None or flags.shape == (n,)
    for name, quantized in segment.quantized.items():
        query = quantized.quantizer.prepare(np.ones(segment.dims[name], dtype=np.float32))
        codes = quantized.codes.verify().reshape(quantized.quantizer.codes_shape(n))
        assert query.score_all(codes, n).shape == (n,)


@pytest.mark.slow
@runs(60)
@given(seed=st.integers(0, 2**32))
def test_segments(base: Base, scratch: Path, seed: int) -> None:
    rng, directory = Random(seed), scratch / "segment"
    if not any(directory.iterdir()):
        shutil.copytree(base.segment, directory, dirs_exist_ok=True)
    for _ in range(5):
        row = replace(base.row, files=dict(base.row.files))
        where = rng.choice(["cached", "cold", "pinned"])
        changed = rng.sample(sorted(row.files), rng.choice((1, 1, 2)))
        for name in changed:
            whole = (base.segment / name).read_bytes()
            header = DataHeader.unpack(whole)
            data = whole[64 : 64 + header.data_size]
            data = other_content(rng, np.frombuffer(data, header.dtype), data)
            if rng.random() < 0.3:
                header = other_header(rng, header)
                data = data.ljust(min(header.data_size, 9999), b"\x01")[: header.data_size]
            file = data_file(rng, header, data)
            row.files[name] = row_of(file)
            (directory / name).unlink()
            (directory / name).write_bytes(file)
        size = bytes(sum(file.length for file in row.files.values()))
        use = partial(use_segment, directory, base.uuid, row, where)
        attempt("segment", use, size, FILE_ERRORS)
        for name in changed:
            (directory / name).unlink()
            shutil.copy(base.segment / name, directory / name)


# -- logs ------------------------------------------------------------------------------------------


def some_frame(rng: Random, seq: int, count: int) -> bytes:
    """A frame that is whole; its operations need not be."""
    data = [[rng.randbytes(rng.choice((0, 5, 8, 100)))] for _ in range(count)]
    frame = bytearray(b"".join(format.pack_frame(SALT, seq, data, rng.random() < 0.7)))
    if rng.random() < 0.3:  # say something else of itself, and get the checksum right
        at, width = rng.choice([(4, 4), (16, 8), (24, 8), (32, 4), (40, 8)])
        value = rng.choice([*EXTREMES, count + 1]) & ((1 << 8 * width) - 1)
        frame[at : at + width] = value.to_bytes(width, "little")
        body = frame[40 : 40 + int.from_bytes(frame[24:32], "little")]
        frame[8:16] = struct.pack("<Q", checksum(frame[:8], frame[16:40], body, seed=SALT))
    return bytes(frame)


@runs(100)
@given(seed=st.integers(0, 2**32), data=st.binary(max_size=400))
def test_logs(scratch: Path, seed: int, data: bytes) -> None:
    rng, directory = Random(seed), scratch / "log"

    def read(_: bytes) -> None:
        replay = Replay(directory, UUID, after)
        seqs = [seq for seq, _ in replay.operations()]
        assert seqs == list(range(after + 1, after + 1 + len(seqs)))
        assert [seq for seq, _ in replay.operations()] == []

    for _ in range(10):
        seq, size, after = 1, 0, rng.choice((0, 0, 1, 3, 2**62))
        for _ in range(rng.randint(1, 3)):
            first = seq if rng.random() < 0.9 else rng.choice(EXTREMES)
            file = WalHeader(UUID, SALT, first).pack()
            for _ in range(rng.randrange(4)):
                count = rng.randint(1, 3)
                file += some_frame(rng, seq, count)
                seq += count
            file += data if rng.random() < 0.2 else b""
            file = damaged(rng, file, [file, b"VFRM" * 20]) if rng.random() < 0.4 else file
            file = data if rng.random() < 0.05 else file
            (directory / layout.wal_file(first)).write_bytes(file)
            size += len(file)
        attempt("log", read, bytes(size), FILE_ERRORS)
        for path in directory.iterdir():
            path.unlink()


def test_looking_for_frames_after_a_torn_one_takes_no_longer_the_more_there_seem_to_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A payload is anybody's text. Full of what looks like headers of long frames it made an open
    after a crash hash the rest of the file once for each."""
    hashed = 0

    def counted(*parts: Any, seed: int = 0) -> int:
        nonlocal hashed
        hashed += sum(memoryview(part).nbytes for part in parts)
        return checksum(*parts, seed=seed)

    monkeypatch.setattr(format, "checksum", counted)
    monkeypatch.setattr(replay, "_SEARCH_BYTES", 1 << 20)
    size = 1 << 20
    text = bytearray()
    while len(text) < size - 400:
        reach = struct.pack("<Q", size - len(text) - 400)
        text += format.FRAME_MAGIC + b"\1\0\0\0" + b"c" * 8 + b"\2" + bytes(7) + reach + bytes(8)
    torn = b"".join(format.pack_frame(SALT, 1, [[bytes(text), bytes(400)]], True))[:-8]
    (tmp_path / layout.wal_file(1)).write_bytes(WalHeader(UUID, SALT, 1).pack() + torn)
    with pytest.raises(CorruptionError, match="too much like a frame"):
        list(Replay(tmp_path, UUID, 0).operations())
    assert hashed < 100 * size
    hashed = 0
    whole = b"".join(format.pack_frame(SALT, 1, [[b"whole"]], True))
    torn = b"".join(format.pack_frame(SALT, 2, [[bytes(text), bytes(400)]], True))[:-8]
    (tmp_path / layout.wal_file(1)).write_bytes(WalHeader(UUID, SALT, 1).pack() + whole + torn)
    repair = salvage.SalvagedLog(tmp_path, UUID, 0)
    assert [(seq, bytes(data)) for seq, data in repair.operations()] == [(1, b"whole")]
    assert "too much like a write" in repair.gaps[-1].reason
    assert hashed < 100 * size


# -- operations ------------------------------------------------------------------------------------


def some_operation(rng: Random) -> operations.Operation:
    """One that fits the collection."""
    known = [*range(ROWS + 5), *(2**64 + number for number in range(ROWS))]
    keys = rng.sample(known, rng.randint(0, 5))
    n, numbers = len(keys), np.random.default_rng(rng.randrange(99))
    vectors = {
        name: VectorBlock(numbers.standard_normal((n, dim)).astype(np.float32))
        for name, dim in DIMS.items()
    }
    payload = {"n": rng.randrange(9), "tags": ["x", {"y": None}], "x": {"y": {"z": 2}}}
    paths = ["n", "x.y", "tags[1].y", "tags[]", '"a b"', "x.y.z.w", "[", "a..b", ""]
    match rng.randrange(5):
        case 0:
            if rng.random() < 0.5:
                has = numbers.random(n) < 0.5
                vectors["plain"] = VectorBlock(vectors["plain"].values, has)
            stored = b"\x91\x01" if rng.random() < 0.2 else encoding.encode(payload)
            return operations.Upsert(keys, [stored] * n, vectors)
        case 1:
            return operations.Delete(keys)
        case 2:
            mode: Any = rng.choice(["set", "overwrite", "delete", "clear"])
            chosen = rng.choice(paths[:5] if rng.random() < 0.7 else paths)
            return operations.EditPayload(keys, mode, payload, chosen, rng.sample(paths[:6], 2))
        case 3:
            some = {name: vectors[name] for name in rng.sample(list(DIMS), 2)}
            return operations.EditVectors(keys, some)
        case _:
            return operations.DropVectors(keys, rng.sample(list(DIMS), 2))


def other_operation(rng: Random) -> bytes:
    """As bytes, and more often than not with something wrong."""
    data = b"".join(bytes(memoryview(b)) for b in operations.encode(some_operation(rng)))
    if rng.random() < 0.2:
        return data
    if rng.random() < 0.3:
        return damaged(rng, data, [data])
    meta, blocks = format.unpack_blocks(memoryview(data))
    meta = garbled(rng, meta)
    if not isinstance(meta, dict):
        meta = {"op": meta}
    return b"".join(bytes(memoryview(b)) for b in format.pack_blocks(meta, blocks))


@runs(60)
@given(seed=st.integers(0, 2**32))
def test_operations_are_applied_or_refused(base: Base, seed: int) -> None:
    """Never in part, and never so that a point is there twice."""
    rng = Random(seed)
    store, _ = recovery.load(base.path, base.snapshot, "never")

    def prepare(data: bytes) -> Any:
        operation = operations.decode(memoryview(data))
        operations.require_fit(operation, store.memory.dims)
        return operation, rewrite(store.make_view(), operation)

    for seq in range(MUTATIONS):
        prepared = attempt("operation in a log", prepare, other_operation(rng), OPERATION_ERRORS)
        if prepared is not None:
            apply(store, store.next_seq + seq, *prepared)
    view = store.make_view()
    found = list(view.in_order(0))
    keys = [key for key, _, _ in found]
    assert keys == sorted(set(keys))
    assert view.live == len(keys)
    for _, part, row in found:
        for name, dim in DIMS.items():
            assert np.isfinite(part.segment.take(name, np.array([row]))).all(), (name, dim)


# -- catalogs --------------------------------------------------------------------------------------


@runs(100)
@given(seed=st.integers(0, 2**32))
def test_catalogs(base: Base, scratch: Path, seed: int) -> None:
    """Consistent nonsense in any row. What is not refused opens, log and all."""
    rng, directory = Random(seed), scratch / "collection"
    if not any(directory.iterdir()):
        shutil.copytree(base.path, directory, dirs_exist_ok=True)

    def read(_: bytes) -> None:
        snapshot = catalog._read_all(env, directory / layout.CATALOG / DATA)
        store, _ = recovery.load(directory, snapshot, "never")
        view = store.make_view()
        assert view.live == len(list(view.in_order(0)))

    with lmdb.open(str(directory / layout.CATALOG), sync=False) as env:
        for _ in range(5):
            key = rng.choice(sorted(base.rows))
            value = base.rows[key]
            if key.startswith((b"alive", b"uuid")) or rng.random() < 0.1:
                value = damaged(rng, value, [value])
            else:
                value = format.pack_value(garbled(rng, format.unpack_value(value)))
            with env.begin(write=True) as transaction:
                new = {**base.rows, key: value}
                try:
                    state = format.unpack_value(new[b"state"])
                    new[b"state"] = format.pack_value(state | {"transaction": transaction.id()})
                except (DamageError, TypeError):
                    pass
                for name, content in new.items():
                    transaction.put(name, format.pack_row(name, content))
            attempt("catalog", read, bytes(2000), FILE_ERRORS, fixed=64 << 20)


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5)
PLAIN = st.recursive(
    SCALARS | st.floats(),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3),
    max_leaves=6,
)


@runs(60)
@given(seed=st.integers(0, 2**32), value=PLAIN)
def test_configurations(base: Base, seed: int, value: Any) -> None:
    rng = Random(seed)
    for config in [value, *(garbled(rng, base.snapshot.config) for _ in range(MUTATIONS))]:
        attempt(
            "configuration",
            lambda config: models.coerce(models.CollectionConfig, config),
            config,
            (InvalidInputError,),
        )


# -- names -----------------------------------------------------------------------------------------

NAMES = st.text() | st.from_regex(r"\A\.?(new-|dropped-)?[0-9a-f٠-٩]{16,20}(\.wal)?\Z")


@runs(100)
@given(NAMES)
def test_names_are_ours_or_nobody_s(name: str) -> None:
    first_seq, segment_id = layout.parse_wal_file(name), layout.parse_segment_dir(name)
    assert first_seq is None or layout.wal_file(first_seq) == name
    assert segment_id is None or layout.segment_dir(segment_id) == name
    escaped = layout.escape(name)
    assert len(escaped) <= 180
    assert set(escaped) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-%~")
    if len(escaped) < 150:
        assert layout.unescape(escaped) == name


# -- the worst ----------------------------------------------------------------------------------

WORST = r"""
import resource, struct, sys
import numpy as np
from pathlib import Path
from vecdb.engine import operations
from vecdb.payload import encoding
from vecdb.storage import arrays, format, replay, segment
from vecdb.storage.format import DamageError, DataHeader, Kind
from vecdb.errors import CorruptionError, InvalidInputError

here = Path(sys.argv[1])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (640 << 20),) * 2)
MAX = (1 << 64) - 1

def blocks(head, sizes, rest=b"", count=None):
    count = len(sizes) if count is None else count
    return struct.pack(f"<II{len(sizes)}Q", len(head), count, *sizes) + head + rest

def frame(count, body):
    head = struct.pack("<4sIQQQI4x", b"VFRM", 1, 0, 1, len(body), count)
    check = format.checksum(head[:8], head[16:], body)
    return memoryview(head[:8] + struct.pack("<Q", check) + head[16:] + body)

def placed(rows, columns, kind=Kind.VECTORS, dtype="<f4"):
    head = DataHeader(kind, np.dtype(dtype), rows, columns, bytes(16), 1).pack()
    data = head + format.pack_footer(head, b"")
    path = here / "file"
    path.write_bytes(data)
    row = arrays.FileRow(len(data), int.from_bytes(data[-16:-8], "little"))
    expected = arrays.Expected(bytes(16), 1, kind, row)
    return arrays.PlacedArray(path, expected, "pinned")

def quantizer(kind, dim, arrays):
    meta = {"kind": kind, "metric": "dot", "dim": dim,
            "arrays": [[name, a.dtype.str, list(a.shape)] for name, a in arrays.items()]}
    data = b"".join(bytes(memoryview(b)) for b in format.pack_blocks(meta, list(arrays.values())))
    return segment.read_quantizer(np.frombuffer(data, np.uint8), kind, dim)

claims = (b"\xdd\x00\x0f\x00\x00" * 1000).ljust(1 << 20, b"\x00")
maps = b"\x81\xa1v\xdd" + struct.pack(">I", (1 << 20) - 8) + b"\x80" * ((1 << 20) - 8)
many = b"\x81\xa1v\xdd" + struct.pack(">I", (1 << 22) - 8) + b"\x80" * ((1 << 22) - 8)
one = {key: np.ones(1) for key in ("bits", "half", "l1_ratio")}
one["center"] = np.zeros(65536, np.float32)
cases = {
    "payload of claims": lambda: encoding.decode(claims),
    "payload of maps": lambda: encoding.decode(maps),
    "payload, deep": lambda: encoding.decode(b"\x91" * (1 << 20)),
    "value of claims": lambda: format.unpack_value(claims * 4),
    "value of maps": lambda: format.unpack_value(many),
    "value, long": lambda: format.unpack_value(b"\xc6\x03\xff\xff\xff" + bytes(1 << 26)),
    "meta, long": lambda: operations.decode(memoryview(blocks(b"\xdb" + bytes(1 << 26), []))),
    "blocks, many": lambda: format.unpack_blocks(memoryview(blocks(b"\x80", [0] * (1 << 22)))),
    "blocks, more": lambda: format.unpack_blocks(memoryview(blocks(b"\x80", [], b"", 2**32 - 1))),
    "block, long": lambda: format.unpack_blocks(memoryview(blocks(b"\x80", [MAX, MAX], bytes(8)))),
    "operations, empty": lambda: format.unpack_frame(frame(1 << 22, bytes(1 << 25)), 0, 0),
    "operations, claimed": lambda: format.unpack_frame(frame(2**32 - 1, b""), 0, 0),
    "operation, long": lambda: format.unpack_frame(frame(1, struct.pack("<Q", MAX)), 0, 0),
    "rows": lambda: placed((1 << 62), 1),
    "columns": lambda: placed(1, 2**32 - 1),
    "no columns": lambda: placed(MAX, 0),
    "no rows": lambda: placed(0, 2**32 - 1),
    "binary quantizer": lambda: quantizer("binary", 10**12, one),
    "scalar quantizer": lambda: quantizer("scalar", 10**12, {"lower": np.ones(4, "f4")}),
    "widest quantizer": lambda: quantizer("binary", 65536, one),
}
for name, case in cases.items():
    try:
        result = "read"
        case()
    except (DamageError, CorruptionError) as error:
        result = "refused"
    print(f"{result}: {name}", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
def test_the_worst_inputs_in_little_memory(tmp_path: Path) -> None:
    """Some claim terabytes. In a process that may have 640 MB more."""
    run = subprocess.run(
        [sys.executable, "-c", WORST, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 20
    assert sorted(line for line in lines if not line.startswith("refused")) == [
        "read: no rows",
        "read: payload of maps",
        "read: value of maps",
        "read: widest quantizer",
    ]


# -- and nothing else is refused -------------------------------------------------------------------


def test_what_a_write_accepts_can_be_replayed(tmp_path: Path) -> None:
    """What decoders refuse is refused before it is in the log, or it would keep the collection from
    opening. At the limits, and a little beyond them."""
    with VecDB(tmp_path / "db", sync="never") as db:
        db.create_collection(
            "c",
            {"a": {"size": 3, "distance": "Cosine"}, "b": {"size": 1, "distance": "Dot"}},
        )
        c = db.collection("c")
        deep: Any = 1
        for _ in range(format.MAX_DEPTH - 1):
            deep = {"a": deep}
        long = {"text": "x" * (format.MAX_PAYLOAD - 20)}
        limit = format.MAX_VALUE
        largest = np.finfo(np.float32).max
        writes: list[Any] = [
            lambda: c.upsert(
                [{"id": n, "vector": {"a": [1, 2, 3]}} for n in (1, 1, 2, 3, 2**64 - 1)]
            ),
            lambda: c.upsert([{"id": 4, "payload": deep, "vector": {"b": [1e-45]}}]),
            lambda: c.upsert([{"id": 5, "payload": long, "vector": {"a": [1e18, 1, 1]}}]),
            lambda: c.upsert([{"id": 5, "vector": {"a": [largest, 1, 1]}}]),
            lambda: c.upsert([{"id": 5, "vector": {"b": [1e300]}}]),
            lambda: c.upsert([{"id": 6, "payload": {"nan": float("nan"), "": {}}, "vector": {}}]),
            lambda: c.upsert({"ids": [7, 7], "vectors": {"a": [[0, 0, 0], [1, 0, 0]]}}),
            lambda: c.update_vectors([{"id": 1, "vector": {"b": [2]}}, {"id": 2, "vector": {}}]),
            lambda: c.update_vectors([{"id": 1, "vector": {"b": [2]}}] * 2),
            lambda: c.delete_vectors([1, 1, 2], ["a", "a"]),
            lambda: c.set_payload({"k": deep["a"]}, points=[1, 1]),
            lambda: c.set_payload({"k": {"a": deep}}, points=[1]),
            lambda: c.set_payload({"k": 1}, points=[2], key="x.y[].z"),
            lambda: c.set_payload({"k": 1}, points=[2], key=".".join("p" * 40)),
            lambda: c.set_payload({"k": 1}, points=[2], key="p" * (limit + 1)),
            lambda: c.overwrite_payload(long, points=[3, 3]),
            lambda: c.delete_payload(["text", "text", "a[0]"], points=[3]),
            lambda: c.delete_payload([str(n) * 100_000 for n in range(50)], points=[3]),
            lambda: c.delete_payload(["k" * (limit // 2)], points=[3]),
            lambda: c.clear_payload([3, 3]),
            lambda: c.delete([3, 3, 99]),
        ]
        refused = 0
        for write in writes:
            try:
                write()
            except (InvalidInputError, NotFoundError):
                refused += 1
        assert 0 < refused < len(writes) / 2
        shutil.copytree(tmp_path / "db", tmp_path / "copy")
        wanted = repr(c.scroll(limit=99, with_vectors=True))
    with VecDB(tmp_path / "copy", sync="never") as db:
        assert db.collection("c").recovery.replayed == len(writes) - refused
        assert repr(db.collection("c").scroll(limit=99, with_vectors=True)) == wanted
