"""A catalog whose checksums are right and whose content cannot be: refused, and it is said why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from vecdb import VecDB
from vecdb.engine.open import recovery
from vecdb.engine.repair.check import check_database
from vecdb.errors import CorruptionError, InvalidInputError
from vecdb.quantization import QUANTIZERS
from vecdb.storage import format, layout
from vecdb.storage.catalog import Catalog
from vecdb.storage.files import Shape, expected_files, is_outdated
from vecdb.storage.format import DamageError, DataHeader, Kind
from vecdb.storage.segment_row import FileRow, SegmentRow, VectorRow, pack_segment

ROWS = 21  # not a multiple of 8


@dataclass
class Content:
    """All rows of a catalog, to be changed."""

    config: Any
    state: Any
    segments: dict[int, Any]  # number in the key -> row
    alive: dict[int, bytes]

    @property
    def segment(self) -> Any:
        """The row of the only segment."""
        return next(iter(self.segments.values()))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of one collection with one quantized segment, three of whose rows are dead."""
    path = tmp_path_factory.mktemp("made") / "db"
    with VecDB(path, sync="never") as db:
        db.create_collection(
            "c",
            {
                "a": {"size": 64, "distance": "Dot"},
                "b": {"size": 2, "distance": "Dot"},
            },
            quantization_config={"scalar": {"type": "int8"}},
            optimizers_config={"indexing_threshold": 1},
        )
        rng = np.random.default_rng(1)
        vectors = {"a": rng.random((ROWS, 64)), "b": rng.random((ROWS, 2))}
        db.collection("c").upsert({"ids": range(ROWS), "vectors": vectors})
        db.flush("c")
        db.wait_for_optimizer("c")
        db.collection("c").delete([0, 1, 2])
    return path


def rewrite(collection: Path, lie: Callable[[Content], Any]) -> None:
    """Change the catalog's content; every checksum is right afterwards."""
    with (
        lmdb.open(str(collection / layout.CATALOG), map_size=1 << 24) as env,
        env.begin(write=True) as transaction,
    ):
        rows = {key: format.unpack_row(key, row) for key, row in transaction.cursor()}
        content = Content(
            format.unpack_value(rows[b"config"]),
            format.unpack_value(rows[b"state"]),
            {int(k[8:], 16): format.unpack_value(v) for k, v in rows.items() if k[:2] == b"se"},
            {int(k[6:], 16): v for k, v in rows.items() if k[:2] == b"al"},
        )
        lie(content)
        content.state["transaction"] = transaction.id()
        new = {key: value for key, value in rows.items() if b"/" not in key}
        new[b"config"] = format.pack_value(content.config)
        new[b"state"] = format.pack_value(content.state)
        for number, row in content.segments.items():
            new[b"segment/%016x" % number] = format.pack_value(row)
        for number, bits in content.alive.items():
            new[b"alive/%016x" % number] = bits
        for key in rows:
            transaction.delete(key)
        for key, value in new.items():
            transaction.put(key, format.pack_row(key, value))


def all_live(content: Content, rows: int) -> None:
    """So many rows, none of them dead."""
    content.segment["rows"] = rows
    content.alive.clear()
    content.state["segments"][0][1] = rows


def other_rows(content: Content, rows: int) -> None:
    """So many rows, and a mask for them."""
    bits = np.unpackbits(
        np.frombuffer(next(iter(content.alive.values())), np.uint8), bitorder="little"
    )
    bits = np.packbits(np.resize(bits[:ROWS], rows), bitorder="little")
    content.segment["rows"] = rows
    content.alive = dict.fromkeys(content.alive, bits.tobytes())
    content.state["segments"][0][1] = int(np.bitwise_count(bits).sum())


def mask(content: Content, change: Callable[[bytearray], Any]) -> None:
    """The mask, with the count that it has then."""
    [(number, bits)] = content.alive.items()
    changed = bytearray(bits)
    change(changed)
    content.alive[number] = bytes(changed)
    count = np.bitwise_count(np.frombuffer(changed, np.uint8)).sum()
    content.state["segments"][0][1] = int(count)


def put(where: str, value: Any) -> Callable[[Content], None]:
    """Set one value: ``segment.files.ids.0`` and the like."""
    *steps, last = where.split(".")

    def lie(content: Content) -> None:
        target: Any = getattr(content, steps[0])
        for step in steps[1:]:
            target = target[int(step) if isinstance(target, list) else step]
        target[int(last) if isinstance(target, list) else last] = value

    return lie


def renamed(content: Content) -> None:
    """A vector called otherwise, files and all."""
    row = content.segment
    row["vectors"]["x"] = row["vectors"].pop("a")
    row["files"] = {name.replace(".a", ".x"): file for name, file in row["files"].items()}


def moved(content: Content) -> None:
    """The row of another segment under this one's number."""
    content.segment["id"] += 1
    content.state["next_segment_id"] += 1


def to_zero(content: Content) -> None:
    """A segment without a number."""
    content.segments = {0: content.segment | {"id": 0}}
    content.alive = {0: next(iter(content.alive.values()))}
    content.state["segments"][0][0] = 0


LIES: dict[str, tuple[Callable[[Content], Any], str]] = {
    "10^12 rows": (lambda c: all_live(c, 10**12), "1000000000000 rows; the limit is 4294967295"),
    "2^31 rows": (lambda c: all_live(c, 1 << 31), "ids: 264 bytes, expected"),
    "a row more": (lambda c: other_rows(c, ROWS + 1), "ids: 264 bytes, expected 272 or 448"),
    "a row less": (lambda c: other_rows(c, ROWS - 1), "ids: 264 bytes, expected 256 or 416"),
    "no rows": (lambda c: all_live(c, 0), "ids: 264 bytes, expected 88$"),
    "rows below zero": (put("segment.rows", -1), "the number -1 is out of range"),
    "rows a text": (put("segment.rows", "21"), "expected int, got '21'"),
    "rows true": (put("segment.rows", True), "expected int, got True"),
    "a checksum too large": (lambda c: c.segment["files"]["ids"].__setitem__(1, -1), "-1 is out"),
    "three numbers for a file": (lambda c: c.segment["files"]["ids"].append(1), "positional"),
    "a foreign file": (
        lambda c: c.segment["files"].update({"../../FORMAT": [88, 1]}),
        r"'\.\./\.\./FORMAT' is not a file of a segment",
    ),
    "an unknown file": (lambda c: c.segment["files"].update(x=[88, 1]), "'x' is not a file"),
    "codes of no codec": (
        lambda c: c.segment["vectors"]["a"].update(codec=None),
        r"'(codes|quantizer)\.a' is not a file of a segment",
    ),
    "no vectors": (lambda c: c.segment["vectors"].clear(), "is not a file of a segment"),
    "another vector name": (renamed, "has vectors {.*'x': 64.*}, the configuration {.*'a': 64"),
    "a name less": (lambda c: c.segment["vectors"].pop("b"), "'vectors.b' is not a file"),
    "a name more": (
        lambda c: c.segment["vectors"].update(z={"dim": 2, "codec": None}),
        "'z': 2}, the configuration",
    ),
    "a name the configuration lacks": (
        lambda c: c.config["params"]["vectors"].pop("b"),
        "the configuration {'a': 64}",
    ),
    "another dimension": (
        put("segment.vectors.a.dim", 128),
        "'a': 128.*the configuration.*'a': 64",
    ),
    "a configuration of another dimension": (
        put("config.params.vectors.a.size", 65),
        "'a': 64.*the configuration.*'a': 65",
    ),
    "no dimension": (lambda c: c.segment["vectors"]["a"].pop("dim"), "dim"),
    "an unknown codec": (put("segment.vectors.a.codec", {"kind": "x"}), "unknown codec"),
    "a codec that is a text": (put("segment.vectors.a.codec", "scalar"), "expected dict"),
    "codes of another size": (
        put("segment.vectors.a.codec", {"kind": "binary"}),
        r"codes\.a: 1440 bytes, expected 264",
    ),
    "a segment twice": (
        lambda c: c.state["segments"].append(c.state["segments"][0]),
        "listed twice",
    ),
    "another segment's row": (moved, "its row is that of"),
    "a segment that is not there": (lambda c: c.state["segments"].append([9, 1]), "is missing"),
    "segment 0": (to_zero, "segment 0000000000000000: next_segment_id is"),
    "a segment below zero": (lambda c: c.state["segments"].append([-1, 1]), "-1 is out of range"),
    "a mask too short": (lambda c: mask(c, lambda bits: bits.pop()), "2 bytes for 21 rows"),
    "a mask too long": (lambda c: mask(c, lambda bits: bits.append(0)), "4 bytes for 21 rows"),
    "a mask beyond the rows": (
        lambda c: mask(c, lambda bits: bits.__setitem__(2, 0b00111111)),
        "its alive mask goes beyond its last row",
    ),
    "another count": (put("state.segments.0.1", 17), "18 live rows, not 17"),
    "a count below zero": (put("state.segments.0.1", -1), "-1 is out of range"),
    "the next segment's number given": (put("state.next_segment_id", 1), "next_segment_id is 1"),
    "no next segment": (lambda c: c.state.pop("next_segment_id"), "next_segment_id"),
    "a next segment too large": (put("state.next_segment_id", 1 << 63), "is out of range"),
    "applied_seq too large": (put("state.applied_seq", (1 << 64) - 1), "is out of range"),
    "applied_seq below zero": (put("state.applied_seq", -5), "-5 is out of range"),
    "applied_seq a fraction": (put("state.applied_seq", 2.0), "expected int, got 2.0"),
    "segments a number": (put("state.segments", 5), "expected list, got 5"),
    "a configuration that is none": (lambda c: c.config.clear(), "configuration: .*params"),
}
for name in ("ids", "order", "seqs", "payload-offsets", "vectors.b", "codes.a"):
    LIES[f"{name} another length"] = (
        lambda c, name=name: c.segment["files"][name].__setitem__(0, 1 << 40),
        rf"{name}: 1099511627776 bytes, expected",
    )
for name in ("payload", "quantizer.a", "manifest"):
    LIES[f"{name} too short"] = (
        lambda c, name=name: c.segment["files"][name].__setitem__(0, 87),
        rf"{name}: 87 bytes, too short",
    )
for name in ("ids", "order", "seqs", "payload", "payload-offsets", "vectors.a", "codes.a"):
    LIES[f"no {name}"] = (
        lambda c, name=name: c.segment["files"].pop(name),
        rf"has no file {name}$",
    )


@pytest.mark.parametrize("name", LIES)
def test_a_catalog_that_cannot_be_true_is_refused(name: str, made: Path, tmp_path: Path) -> None:
    lie, message = LIES[name]
    shutil.copytree(made, tmp_path / "db")
    collection = tmp_path / "db" / layout.COLLECTIONS / "c"
    rewrite(collection, lie)
    with pytest.raises(CorruptionError, match=message) as refused:
        recovery.open_store(collection, "never")
    assert refused.value.path == str(collection / layout.CATALOG / "data.mdb")
    report = check_database(tmp_path / "db")
    assert [problem.path for problem in report.problems] == [refused.value.path]
    with VecDB(tmp_path / "db", sync="never") as db, pytest.raises(CorruptionError, match=message):
        db.collection("c")


def test_the_truth_is_not_refused(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "db")
    rewrite(tmp_path / "db" / layout.COLLECTIONS / "c", lambda content: None)
    assert check_database(tmp_path / "db").ok
    with VecDB(tmp_path / "db", sync="never") as db:
        assert db.collection("c").count().count == ROWS - 3


def require_only(shape: Shape, rows: int, width: int) -> None:
    """Codes of so many rows and bytes fit, and nothing else."""
    fits = DataHeader(Kind.CODES, np.dtype("<u1"), rows, width, bytes(16), 1)
    shape.require(fits)
    shape.require_length(fits.file_size)
    for wrong in (
        DataHeader(Kind.CODES, np.dtype("<u1"), rows, width + 1, bytes(16), 1),
        DataHeader(Kind.CODES, np.dtype("<u1"), rows + 1, width, bytes(16), 1),
        DataHeader(Kind.CODES, np.dtype("<u4"), rows, width, bytes(16), 1),
        DataHeader(Kind.IDS, np.dtype("<u1"), rows, width, bytes(16), 1),
    ):
        with pytest.raises(DamageError, match=f"its segment {rows} x"):
            shape.require(wrong)


@pytest.mark.parametrize("dim", [1, 2, 3, 63, 64, 65, 128, 769])
@pytest.mark.parametrize("rows", [1, 5, 32, 33])
def test_codes_are_as_wide_as_their_quantizer_says(dim: int, rows: int) -> None:
    options: list[tuple[str, dict[str, Any]]] = [("scalar", {"quantile": 0.9})]
    options += [("binary", {"bits": bits}) for bits in (1, 1.5, 2, 4)]
    options += [("product", {"compression": ratio}) for ratio in (8, 16, 32, 64)]
    for kind, rest in options:
        quantizer = QUANTIZERS[kind].fit(np.zeros((1, dim), np.float32), "dot", **rest)
        codec = {"kind": kind, **rest, **({} if kind == "scalar" else {"layout": 2})}
        row = SegmentRow(1, rows, {"": VectorRow(dim, codec, None)}, {})
        require_only(expected_files(row)["codes"], *quantizer.codes_shape(rows))


def test_outdated_codes_are_known_by_their_size() -> None:
    """Format version 1 before codes were blocks: a word of signs or a byte a chunk, row by row."""
    for codec, width in [
        ({"kind": "binary"}, 16),
        ({"kind": "product", "compression": 4}, 65),
        ({"kind": "product", "compression": 16}, 17),
        ({"kind": "product", "compression": 64}, 5),
    ]:
        assert is_outdated(codec)
        row = SegmentRow(1, 5, {"": VectorRow(65, codec, None)}, {})
        require_only(expected_files(row)["codes"], 5, width)


@pytest.mark.parametrize(
    "codec",
    [
        {"kind": "binary", "layout": 1},
        {"kind": "binary", "layout": 2},
        {"kind": "binary", "layout": 2, "bits": 3.0},
        {"kind": "binary", "layout": 2, "bits": "1"},
        {"kind": "product", "layout": 2, "compression": 4},
        {"kind": "product", "layout": 3, "compression": 16},
        {"kind": "product"},
        {"kind": "scalar"},
        {"layout": 2},
        {},
    ],
)
def test_a_codec_that_is_none_is_damage(codec: dict[str, Any]) -> None:
    row = SegmentRow(1, 5, {"": VectorRow(65, codec, None)}, {})
    with pytest.raises(DamageError, match="unknown codec"):
        expected_files(row)


def test_check_finds_rows_of_operations_that_were_never_applied(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "db")
    rewrite(tmp_path / "db" / layout.COLLECTIONS / "c", put("state.applied_seq", 0))
    problems = [problem.detail for problem in check_database(tmp_path / "db").problems]
    assert "names operations after 0" in problems


@pytest.mark.parametrize(
    "name", ["n{:05d}", "\N{LATIN CAPITAL LETTER E WITH ACUTE}" * 27 + "{:05d}"]
)
def test_so_many_vectors_that_a_segment_could_not_be_described_are_refused(
    name: str, tmp_path: Path
) -> None:
    """When the collection is made, not when its first segment is written."""

    def config(count: int) -> dict[str, Any]:
        vectors = {name.format(n): {"size": 1, "distance": "Dot"} for n in range(count)}
        return {"params": {"vectors": vectors}}

    count = 1
    while len(format.pack_value(config(count))) <= format.MAX_VALUE // 20:
        count += 200
    with pytest.raises(
        InvalidInputError, match="too many vectors or too much metadata: the configuration"
    ):
        Catalog.create(tmp_path / "c", config(count), "0" * 32)
    names = config(count)["params"]["vectors"]
    codec = {"kind": "binary", "bits": 1.5, "layout": 2}
    vectors = {name: VectorRow(65536, codec, (1 << 27, 1 << 20)) for name in names}
    row = SegmentRow(1 << 62, (1 << 32) - 1, vectors, {})
    row.files.update(dict.fromkeys(expected_files(row), FileRow(1 << 62, (1 << 64) - 1)))
    format.pack_value({"config": config(count), "segment": pack_segment(row)})
