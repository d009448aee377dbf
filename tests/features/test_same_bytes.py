"""What is written is the same, byte for byte, as what an earlier version wrote for the same calls.

That old files open is another promise (``test_golden.py``). This one keeps a change of the code
that writes from changing the format unnoticed. Nothing here depends on the processor: no codes and
no index are computed, they are given.
"""

from __future__ import annotations

import json
import os
import uuid
from itertools import count
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from vecdb import VecDB, ids, quantization
from vecdb.engine.archive import capture
from vecdb.engine.open import places
from vecdb.engine.optimize.build import build
from vecdb.index import ClusteredIndex
from vecdb.storage import format, layout, wal
from vecdb.storage.builder import SegmentBuilder
from vecdb.storage.row_block import RowBlock
from vecdb.storage.segment_row import pack_segment
from vecdb.vectors.block import VectorBlock

EXPECTED = Path(__file__).resolve().parent.parent / "golden" / "bytes.json"
DIMS = {"": 7, "other name/é": 5}
UUID = "6f9619ff-8b86-4d01-b42d-00c04fc9{:04x}"
ROWS = 70  # more than two blocks of codes, and no multiple of 8


def block(seed: int, rows: int, dim: int) -> np.ndarray:
    """Values that float32 has exactly."""
    random = np.random.default_rng(seed)
    return (random.integers(-64, 64, (rows, dim)) / 16).astype(np.float32)


def write(path: Path) -> VecDB:
    """Every operation, checkpoints, a merge, an archive, and a log; the database is left open."""
    db = VecDB(path, sync="never")
    db.optimizer.stop()  # it would merge at some moment
    vectors = {
        "a": {"size": DIMS[""], "distance": "Dot"},
        "ü B": {"size": 3, "distance": "Euclid"},
    }
    db.create_collection("Two ü", vectors)
    made = db.collection("Two ü")
    for first in (0, 40):
        points = []
        for n in range(first, first + 40):
            vector = {"a": block(1, 80, DIMS[""])[n], "ü B": block(2, 80, 3)[n]}
            if n % 5 == 0:
                del vector["ü B"]
            point = UUID.format(n) if n % 2 else n
            points.append({"id": point, "vector": vector, "payload": {"n": n, "a": ["ü", None]}})
        made.upsert(points)
        made.delete([first + 2, UUID.format(first + 3)])
        db.flush()
    made.set_payload({"edited": {"x": 0.5}}, [0, 8])
    db.flush()
    made.set_payload({"deep": 1}, [4], key="a.b")
    build(made._store, tuple(made._store.files))
    db.flush()
    db.create_collection("one", {"size": DIMS[""], "distance": "Dot"})
    one = db.collection("one")
    one.upsert({"ids": list(range(ROWS)), "vectors": block(3, ROWS, DIMS[""])})
    one.upsert({"ids": [3, 3, 100], "vectors": [None, [1.0] * 7, None]})
    db.flush()
    one.delete([30])
    db.flush()
    for collection in (made, one):
        collection.overwrite_payload({"only": [True]}, [6])
        collection.delete_payload(["n", "a[0]"], [8, 10])
        collection.clear_payload([12])
        collection.delete([14])
    edits = [(16, {"ü B": [1, 2, 3]}), (20, {"a": [0.5] * 7})]
    made.update_vectors([{"id": n, "vector": vector} for n, vector in edits])
    made.delete_vectors(["ü B"], [18])
    one.upsert([{"id": 2**64 - 1, "vector": [0.25] * 7, "payload": {"last": 1}}])
    db.create_full_snapshot()
    return db


def given_segment(path: Path) -> bytes:
    """A segment with codes and an index that were made by hand; its row of the catalog."""
    builder = SegmentBuilder(
        path, bytes(range(16)), 5, ROWS, DIMS, wide_ids=True, payload_bytes=3 * ROWS
    )
    has = np.arange(ROWS) % 3 > 0
    for rows in (slice(0, 33), slice(33, ROWS)):
        keys = [n + (n % 2 << 70) for n in range(ROWS)][rows]
        flags = {"": None, "other name/é": has[rows]}
        builder.add(
            RowBlock(
                ids.to_array(keys),
                np.arange(ROWS, dtype=np.uint64)[rows],
                [b"\x81\xa1a", b"\x80\x80\x80"] * (len(keys) // 2) + [b"abc"] * (len(keys) % 2),
                {n: VectorBlock(block(4, ROWS, d)[rows], flags[n]) for n, d in DIMS.items()},
            )
        )
    builder.finish_rows()
    rng = np.random.default_rng(5)
    for name, dim in DIMS.items():
        bounds = {"lower": np.zeros(dim, "f4"), "upper": np.ones(dim, "f4"), "quantile": [0.5]}
        bounds = {key: np.asarray(value) for key, value in bounds.items()}
        quantizer = quantization.from_state("scalar", "dot", dim, bounds)
        codes = rng.integers(0, 256, (ROWS, dim)).astype(np.uint8)
        codec = {"kind": "scalar", "quantile": 0.5}
        builder.add_codes(name, codec, quantizer, iter([codes[:32], codes[32:]]))
    index = given_index()
    sketch = rng.integers(0, 256, index.sketch_shape).astype(np.uint8)
    builder.add_sketch("", index.sketch_shape, iter([sketch]))
    builder.add_index("", index)
    return format.pack_value(pack_segment(builder.finish({"config": 1})))


def given_index() -> ClusteredIndex:
    """Two partitions, and a table of efforts."""
    dim = DIMS[""]
    state: dict[str, Any] = {
        "centroids": np.arange(2 * dim, dtype=np.uint8).reshape(2, dim),
        "low": np.zeros(dim, "f4"),
        "scale": np.ones(dim, "f4"),
        "middle": np.zeros(dim, "f4"),
        "stretch": np.ones(2, "f4"),
        "common": np.zeros(dim, "f4"),
        "bonuses": np.zeros(2, "f4"),
        "starts": np.array([0, 30, ROWS], "i8"),
        "order": np.empty(0, "u4"),
        "codebook": np.zeros((8, 16), "f4"),
        "width": np.array([2], "i8"),
        "efforts": np.tile(np.array([1.0, 9.0, ROWS, ROWS, 0, 0, 0]), (3, 1, 1)),
        "typical": np.array([1.0]),
    }
    return ClusteredIndex.from_state("dot", dim, ROWS, state)


def found(path: Path) -> dict[str, str]:
    """A checksum of each file, and of each row of a catalog: LMDB's pages are its own affair."""
    sums = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.name == "data.mdb":
            with (
                lmdb.open(str(file), subdir=False, readonly=True, lock=False) as env,
                env.begin() as transaction,
            ):
                for key, value in transaction.cursor():
                    sums[f"{name}: {key.decode()}"] = f"{format.checksum(value):016x}"
        elif file.is_file() and file.name not in ("lock.mdb", "LOCK"):
            if file.suffix in (layout.SNAPSHOT, layout.SHA256):  # the name has the time
                name = f"snapshots/*{file.suffix}"
            data = file.read_bytes()
            if file.suffix == layout.SHA256:
                data = data.split()[0]
            sums[name] = f"{format.checksum(data):016x}"
    return sums


class Counted:
    """Numbers one after another, for those that are random; all else of ``os`` is as it is. For the
    modules of vecdb only: others take some when they are imported."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def urandom(self, size: int) -> bytes:
        return next(self._numbers).to_bytes(size, "big")

    def uuid4(self) -> uuid.UUID:
        return uuid.UUID(int=next(self._numbers))


def test_the_same_calls_write_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted()
    for module in (capture, layout, wal):
        monkeypatch.setattr(module, "os", counted)
    for module in (capture, places):
        monkeypatch.setattr(module, "uuids", counted)
    db = write(tmp_path / "db")
    row = given_segment(tmp_path)
    sums = found(tmp_path) | {"row": f"{format.checksum(row):016x}"}
    db.close()
    assert sums == json.loads(EXPECTED.read_text(encoding="utf-8"))
