"""Archives that are damaged, cut, or made to do harm: refused, naming the file, and nothing of them
is left. A checksum does not help against the last kind, so here they are right.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import numpy as np
import pytest

from proofs.model.oracle import SCALE
from vecdb import VecDB, ids, models
from vecdb.engine.archive import restore
from vecdb.engine.archive.manifest import MAX_MANIFEST, Manifest, Member, members
from vecdb.engine.archive.unpack import Archive
from vecdb.engine.operations import Delete, Upsert, encode
from vecdb.errors import CorruptionError, FormatVersionError
from vecdb.storage import layout
from vecdb.storage.builder import DataWriter
from vecdb.storage.format import (
    FOOTER_SIZE,
    HEADER_SIZE,
    DataHeader,
    WalHeader,
    checksum,
    pack_blocks,
    pack_frame,
    pack_row,
    pack_value,
)
from vecdb.storage.format_line import pack_format_line
from vecdb.storage.tar import TarWriter, member_header
from vecdb.vectors.block import VectorBlock

DIM = 8


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archives")


@pytest.fixture(scope="module")
def good(place: Path) -> Path:
    """An archive of a collection: a segment with codes and dead rows and absent vectors, and a
    log."""
    with VecDB(place / "db") as db:
        db.create_collection(
            "c",
            {"a": {"size": DIM, "distance": "Dot"}, "b": {"size": 4, "distance": "Euclid"}},
            quantization_config={"scalar": {"type": "int8"}},
            optimizers_config={"max_optimization_threads": 0, "indexing_threshold": 1,
                               "vacuum_min_vector_number": 10**6},
        )  # fmt: skip
        rng = np.random.default_rng(1)

        def point(number: int) -> dict[str, Any]:
            vector = {"a": rng.standard_normal(DIM).tolist()}
            if number % 3:
                vector["b"] = rng.standard_normal(4).tolist()
            return {"id": number, "vector": vector, "payload": {"n": number}}

        db.upsert("c", [point(number) for number in range(60)])
        db.flush()
        db.wait_for_optimizer()
        db.delete("c", [1, 2])
        db.flush()
        db.upsert("c", [point(number) for number in range(55, 63)])
        found = db.create_snapshot("c")
        [path] = db.path.glob(f"snapshots/c/{found.name}")
        shutil.copy(path, place / "good")
    return place / "good"


@pytest.fixture
def target(place: Path) -> Iterator[Path]:
    """Where collections may be unpacked."""
    path = place / "target"
    path.mkdir()
    yield path
    shutil.rmtree(path)


def refused(archive: Path, target: Path, *, error: type[Exception] = CorruptionError) -> str:
    """Why; and nothing is there that was not before."""
    with pytest.raises(error) as raised:
        restore.unpack_collection(archive, target, "c")
    assert str(archive) in str(raised.value)
    if isinstance(raised.value, CorruptionError):
        assert raised.value.path == str(archive)
    assert list(target.iterdir()) == []
    beside = {path.name for path in archive.parent.iterdir()}
    assert beside == {"db", "good", "target", archive.name}
    return str(raised.value).replace(str(archive), "")


# -- taking one apart and putting it together --------------------------------------------------


@dataclass
class Parts:
    """What an archive consists of, to be changed."""

    line: bytes
    manifest: dict[str, Any]
    content: dict[str, bytes] = field(default_factory=dict)

    @property
    def segment(self) -> dict[str, Any]:
        [segment] = self.manifest["segments"]
        return segment  # type: ignore[no-any-return]

    def data(self, file: str) -> tuple[DataHeader, np.ndarray[Any, Any]]:
        """A data file as an array."""
        packed = self.content[self.name(file)]
        header = DataHeader.unpack(packed)
        array = np.frombuffer(packed, header.dtype, header.rows * header.columns, HEADER_SIZE)
        return header, array.reshape(header.rows, header.columns).copy()

    def name(self, file: str) -> str:
        return f"segments/{layout.segment_dir(self.segment['id'])}/{file}"

    def put(self, file: str, array: Any, **changes: Any) -> None:
        """Another content of a data file, with all its checksums, there and in the manifest."""
        header, _ = self.data(file)
        array = np.ascontiguousarray(array)
        fields = {
            "kind": header.kind,
            "dtype": array.dtype,
            "rows": array.shape[0],
            "columns": array.shape[1],
            "uuid": header.uuid,
            "segment_id": header.segment_id,
        }
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "file"
            writer = DataWriter(path, DataHeader(**{**fields, **changes}))
            writer.append(array)
            row = writer.finish()
            self.content[self.name(file)] = path.read_bytes()
        self.segment["files"][file] = [row.length, row.checksum]

    def put_log(self, operations: list[list[Any]], **changes: Any) -> None:
        """Another log."""
        manifest = self.manifest
        uuid = bytes.fromhex(changes.get("uuid", manifest["uuid"]))
        first = changes.get("first_seq", manifest["applied_seq"] + 1)
        data = WalHeader(uuid, 7, first).pack()
        for seq, operation in enumerate(operations, first):
            data += b"".join(map(bytes, pack_frame(7, seq, [operation], True)))
        self.put_wal(data)
        manifest["last_seq"] = changes.get("last_seq", first - 1 + len(operations))

    def put_wal(self, data: bytes) -> None:
        self.content["wal"] = data
        self.manifest["wal"] = [len(data), checksum(data)]

    def put_mask(self, data: bytes, live: int) -> None:
        directory = layout.segment_dir(self.segment["id"])
        self.content[f"alive/{directory}"] = data
        self.manifest["masks"] = {directory: checksum(data)}
        self.manifest["live"] = [live]

    def write(self, path: Path, value: bytes | None = None) -> Path:
        """An archive of it; ``value`` in place of the manifest's msgpack."""
        path.unlink(missing_ok=True)
        tar = TarWriter(path)
        try:
            packed = pack_row(b"manifest", value or msgpack.packb(self.manifest))
            for name, data in {
                "FORMAT": self.line,
                "1/manifest": packed,
                **{f"1/{name}": data for name, data in self.content.items()},
            }.items():
                tar.begin(name, len(data))
                tar.append([data])
            tar.finish()
        finally:
            tar.close()
        return path


@pytest.fixture
def parts(good: Path) -> Parts:
    with tarfile.open(good) as tar:
        content = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    line, manifest = content.pop("FORMAT"), msgpack.unpackb(content.pop("1/manifest")[8:])
    return Parts(line, manifest, {name.removeprefix("1/"): data for name, data in content.items()})


@pytest.fixture
def bad(place: Path) -> Iterator[Path]:
    """Where an archive may be written that is no good."""
    path = place / "bad"
    yield path
    path.unlink(missing_ok=True)


def test_putting_it_together_again_gives_a_good_one(
    parts: Parts, good: Path, bad: Path, target: Path
) -> None:
    """Otherwise every test here would pass, whatever is refused."""
    parts.write(bad)
    assert bad.read_bytes() == good.read_bytes()
    for file in parts.segment["files"]:
        parts.put(file, parts.data(file)[1])
    assert parts.write(bad).read_bytes() == good.read_bytes()
    parts.put_log([encode(Delete([3])), encode(Delete([4]))])
    unpacked = restore.unpack_collection(parts.write(bad), target, "c")
    assert unpacked.points == 60 - 2 - 2


# -- damage ------------------------------------------------------------------------------------


def test_cut_at_every_length(good: Path, bad: Path, target: Path) -> None:
    data = good.read_bytes()
    for length in range(0, len(data), 1 if SCALE > 1 else 7):
        bad.write_bytes(data[:length])
        assert "SHA" not in refused(bad, target), length
    for more in (b"\0", b"\0" * 1024, b"x" * 512, data):
        bad.write_bytes(data + more)
        refused(bad, target)


def test_any_flipped_bit(good: Path, bad: Path, target: Path) -> None:
    """All of them are noticed, wherever: in names, sizes and zeros as well."""
    data = bytearray(good.read_bytes())
    rng = np.random.default_rng(2)
    for at in range(0, len(data), 1 if SCALE > 1 else 23):
        bit = 1 << int(rng.integers(8))
        data[at] ^= bit
        bad.write_bytes(data)
        error = FormatVersionError if data[:512] == good.read_bytes()[:512] else CorruptionError
        with pytest.raises((CorruptionError, error)) as raised:
            restore.unpack_collection(bad, target, "c")
        assert str(bad) in str(raised.value), at
        assert list(target.iterdir()) == [], at
        data[at] ^= bit
    bad.write_bytes(data)
    assert restore.unpack_collection(bad, target, "c").points == 61


def test_blocks_exchanged(good: Path, bad: Path, target: Path) -> None:
    data = good.read_bytes()
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    rng = np.random.default_rng(3)
    for _ in range(200 * SCALE):
        a, b = rng.choice(len(blocks), size=2, replace=False)
        if blocks[a] == blocks[b]:
            continue
        mixed = list(blocks)
        mixed[a], mixed[b] = mixed[b], mixed[a]
        bad.write_bytes(b"".join(mixed))
        refused(bad, target)


def test_a_newer_format(parts: Parts, bad: Path, target: Path) -> None:
    parts.line = pack_format_line({"format": 2, "uuid": "0" * 32, "archive": "collection"})
    assert "format version 2" in refused(parts.write(bad), target, error=FormatVersionError)


def test_not_an_archive(good: Path, bad: Path, target: Path, parts: Parts) -> None:
    for data in (b"", b"x", b"x" * 5000, b"\0" * 10240, b"vecdb format=1"):
        bad.write_bytes(data)
        refused(bad, target)
    with tarfile.open(bad, "w") as tar:
        tar.add(good, "FORMAT")
    refused(bad, target)
    parts.line = pack_format_line({"format": 1, "uuid": "0" * 32})  # of a database
    assert "is not an archive" in refused(parts.write(bad), target)


# -- members of another kind -------------------------------------------------------------------


def rewritten(good: Path, bad: Path, change: Callable[[list[Any]], None], **options: Any) -> None:
    """The members of an archive through Python's own tarfile, changed on the way."""
    with tarfile.open(good) as source:
        entries = [(m, source.extractfile(m).read()) for m in source]  # type: ignore[union-attr]
    change(entries)
    with tarfile.open(bad, "w", **options) as tar:
        for info, data in entries:
            info.size = len(data) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(data))


def renamed(number: int, name: str) -> Callable[[list[Any]], None]:
    def change(entries: list[Any]) -> None:
        entries[number][0].name = name

    return change


def retyped(kind: bytes, link: str) -> Callable[[list[Any]], None]:
    def change(entries: list[Any]) -> None:
        entries[-1][0].type, entries[-1][0].linkname = kind, link

    return change


def added(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[list[Any]], None]:
    def change(entries: list[Any]) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        entries.append((info, b"evil" if kind == tarfile.REGTYPE else b""))

    return change


MEMBERS: dict[str, Callable[[list[Any]], None]] = {
    "parent": renamed(-1, "../../evil"),
    "inner parent": renamed(-1, "1/segments/../../../evil"),
    "absolute": renamed(-1, "/tmp/vecdb-evil"),
    "other name": renamed(-1, "1/segments/0000000000000001/evil"),
    "long": renamed(-1, "1/" + "x" * 300),
    "unicode": renamed(-1, "1/ü/\u202e"),
    "symlink": retyped(tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": retyped(tarfile.LNKTYPE, "/etc/passwd"),
    "device": retyped(tarfile.CHRTYPE, ""),
    "block device": retyped(tarfile.BLKTYPE, ""),
    "pipe": retyped(tarfile.FIFOTYPE, ""),
    "directory": retyped(tarfile.DIRTYPE, ""),
    "sparse": retyped(tarfile.GNUTYPE_SPARSE, ""),
    "contiguous": retyped(tarfile.CONTTYPE, ""),
    "extra file": added("1/segments/0000000000000001/evil"),
    "extra parent": added("../evil"),
    "extra link": added("1/segments/0000000000000001", tarfile.SYMTYPE, "/tmp"),
    "again": lambda entries: entries.append(entries[-1]),
    "first again": lambda entries: entries.insert(1, entries[0]),
    "other order": lambda entries: entries.reverse(),
    "one less": lambda entries: entries.pop(),
    "no manifest": lambda entries: entries.pop(1),
    "exchanged": lambda entries: entries.insert(3, entries.pop(5)),
    "longer": lambda entries: entries.append((entries.pop()[0], b"x" * 100_000)),
    "empty": lambda entries: entries.append((entries.pop()[0], b"")),
}


@pytest.mark.parametrize("kind", MEMBERS)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_members_that_should_not_be_there(
    form: int, kind: str, good: Path, bad: Path, target: Path
) -> None:
    try:
        rewritten(good, bad, MEMBERS[kind], format=form)
    except ValueError:  # not possible in this form
        assert form == tarfile.USTAR_FORMAT
        return
    refused(bad, target)
    assert not Path("/tmp/vecdb-evil").exists()


def test_headers_that_are_never_looked_at(good: Path, bad: Path, target: Path) -> None:
    """Global and extended headers, and a compressed archive, are no part of it."""
    rewritten(good, bad, lambda entries: None, format=tarfile.PAX_FORMAT,
              pax_headers={"path": "/etc/passwd"})  # fmt: skip
    refused(bad, target)
    with tarfile.open(bad, "w:gz") as tar:
        tar.add(good, "FORMAT")
    refused(bad, target)
    with tarfile.open(good) as tar:
        names = [m.name for m in tar]
    assert not [n for n in names if n.startswith(("/", ".")) or ".." in n]


@pytest.mark.parametrize("size", [-1, 1 << 33, 1 << 62, (1 << 88) - 1])
def test_sizes_that_cannot_be(size: int, good: Path, bad: Path, target: Path) -> None:
    """In the header of each member, with its checksum."""
    data = good.read_bytes()
    with tarfile.open(good) as tar:
        places = [(m.name, m.offset) for m in tar]
    for name, at in places:
        header = member_header(name, 1 << 40 if size < 0 else size)
        bad.write_bytes(data[:at] + header + data[at + len(header) :])
        refused(bad, target)


def test_a_link_in_the_place_of_the_archive(good: Path, bad: Path, target: Path) -> None:
    """Whose path it is, is the caller's business; what is there must be a file."""
    bad.symlink_to(good)
    assert restore.unpack_collection(bad, target, "c").points == 61
    bad.unlink()
    bad.symlink_to("/dev/zero")
    with pytest.raises(CorruptionError, match="is not a file"):
        restore.unpack_collection(bad, target, "c")


# -- manifests that lie ------------------------------------------------------------------------


def of(*path: Any, to: Any) -> Callable[[Parts], None]:
    """Set one value of the manifest."""

    def change(parts: Parts) -> None:
        value: Any = parts.manifest
        for step in path[:-1]:
            value = value[step]
        value[path[-1]] = to

    return change


def file_named(name: str) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        files = parts.segment["files"]
        files[name] = files.pop("seqs")
        data = parts.content.pop(parts.name("seqs"))
        parts.content[parts.name(name.encode("ascii", "replace").decode())] = data

    return change


def twice(parts: Parts) -> None:
    parts.manifest["segments"] *= 2
    parts.manifest["live"] *= 2
    parts.content |= dict(parts.content)


def no_segment_of_the_config(parts: Parts) -> None:
    parts.manifest["config"]["params"]["vectors"] = {"z": {"size": DIM, "distance": "Dot"}}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


LIES: dict[str, Callable[[Parts], None]] = {
    "uuid": of("uuid", to="../../../../etc/passwd/xxxxxxxxxx"),
    "uuid of another": of("uuid", to="0" * 32),
    "uuid and a line": of("uuid", to="0" * 32 + "\n"),
    "uuid a number": of("uuid", to=7),
    "name a number": of("name", to=7),
    "no config": of("config", to={}),
    "config a list": of("config", to=[]),
    "dim 0": of("config", "params", "vectors", "a", "size", to=0),
    "dim huge": of("config", "params", "vectors", "a", "size", to=1 << 40),
    "dim other": of("config", "params", "vectors", "a", "size", to=DIM + 1),
    "distance": of("config", "params", "vectors", "a", "distance", to="Pickle"),
    "other vectors": no_segment_of_the_config,
    "config deep": of("config", "params", to=nested(500)),
    "unknown field": of("evil", to=1),
    "applied negative": of("applied_seq", to=-1),
    "applied huge": of("applied_seq", to=(1 << 64) - 1),
    "applied later": of("applied_seq", to=10**6),
    "applied a float": of("applied_seq", to=1.0),
    "applied true": of("applied_seq", to=True),
    "last earlier": of("last_seq", to=0),
    "last later": of("last_seq", to=10**6),
    "next id used": of("next_segment_id", to=1),
    "next id huge": of("next_segment_id", to=1 << 63),
    "segments a map": of("segments", to={}),
    "segment none": of("segments", 0, to=None),
    "segment twice": twice,
    "live more": of("live", to=[61]),
    "live less": of("live", to=[3]),
    "live negative": of("live", to=[-1]),
    "live missing": of("live", to=[]),
    "masks none": of("masks", to={}),
    "mask of another": of("masks", "0000000000000fff", to=1),
    "mask outside": of("masks", "../../evil", to=1),
    "id 0": of("segments", 0, "id", to=0),
    "id other": of("segments", 0, "id", to=999),
    "id negative": of("segments", 0, "id", to=-5),
    "id a path": of("segments", 0, "id", to="../evil"),
    "rows more": of("segments", 0, "rows", to=64),
    "rows less": of("segments", 0, "rows", to=59),
    "rows 0": of("segments", 0, "rows", to=0),
    "rows huge": of("segments", 0, "rows", to=1 << 62),
    "rows beyond": of("segments", 0, "rows", to=1 << 70 & 0xFFFFFFFFFFFFFFFF),
    "dim of segment": of("segments", 0, "vectors", "a", "dim", to=4),
    "vector more": of("segments", 0, "vectors", "z", to={"dim": 4, "codec": None}),
    "vector path": of("segments", 0, "vectors", "../z", to={"dim": 4, "codec": None}),
    "codec none": of("segments", 0, "vectors", "a", "codec", to=None),
    "codec other": of(
        "segments", 0, "vectors", "a", "codec", to={"kind": "binary", "bits": 1.0, "layout": 2}
    ),
    "codec unknown": of("segments", 0, "vectors", "a", "codec", to={"kind": "pickle"}),
    "codec product": of(
        "segments", 0, "vectors", "a", "codec", to={"kind": "product", "compression": 0}
    ),
    "files none": of("segments", 0, "files", to={}),
    "file longer": of("segments", 0, "files", "ids", 0, to=1 << 50),
    "file shorter": of("segments", 0, "files", "ids", 0, to=0),
    "file negative": of("segments", 0, "files", "ids", 0, to=-1),
    "file checksum": of("segments", 0, "files", "ids", 1, to=5),
    "file row": of("segments", 0, "files", "ids", to=[1, 2, 3]),
    "file parent": file_named("../../../evil"),
    "file absolute": file_named("/tmp/vecdb-evil"),
    "file dots": file_named(".."),
    "file unicode": file_named("ſeqs"),
    "file nul": file_named("seqs\0"),
    "file long": file_named("x" * 100_000),
    "file upper case": file_named("SEQS"),
    "log longer": of("wal", 0, to=1 << 50),
    "log shorter": of("wal", 0, to=10),
    "log checksum": of("wal", 1, to=5),
    "log a map": of("wal", to={}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_manifest_that_lies(lie: str, parts: Parts, bad: Path, target: Path) -> None:
    LIES[lie](parts)
    refused(parts.write(bad), target)
    assert not Path("/tmp/vecdb-evil").exists()


def test_manifests_that_are_none(parts: Parts, bad: Path, target: Path) -> None:
    for value in (b"\xc0", b"\x80", b"\x90", b"\xc1", b"\xa1x", b"", b"\x00" * 100):
        parts.manifest = {} if not value else parts.manifest
        refused(parts.write(bad, value), target)


BOMBS = {
    "arrays": b"\xdd\x00\x0f\x00\x00" + b"\x90" * 0xF0000,
    "maps": b"\xdd\x00\x0f\x00\x00" + b"\x80" * 0xF0000,
    "deep": b"\x91" * 0xF0000 + b"\xc0",
    "long header": b"\xdf\xff\xff\xff\xff",
    "long string": b"\xdb\xff\xff\xff\xff",
    "extension": b"\xc9\x00\x00\x00\x01\x05x",
    "timestamp": b"\xd6\xff\x00\x00\x00\x00",
    "twice": b"\x82\xa4name\xa1x\xa4name\xa1y",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_manifest_that_is_a_bomb(bomb: str, parts: Parts, bad: Path, target: Path) -> None:
    parts.write(bad, BOMBS[bomb])
    tracemalloc.start()
    try:
        refused(bad, target)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * MAX_MANIFEST


def test_a_manifest_beyond_the_limit(parts: Parts, bad: Path, target: Path) -> None:
    parts.write(bad, b"\xdb" + (MAX_MANIFEST + 5).to_bytes(4, "big") + b"x" * (MAX_MANIFEST + 5))
    assert "has no member '1/manifest'" in refused(bad, target)


# -- nonsense with the right checksums ---------------------------------------------------------


def changed(file: str, change: Callable[[Any], Any], **header: Any) -> Callable[[Parts], None]:
    def apply(parts: Parts) -> None:
        _, array = parts.data(file)
        parts.put(file, change(array), **header)

    return apply


def set_at(*place: Any, to: Any) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array[place] = to
        return array

    return change


def log_of(*operations: Any, **changes: Any) -> Callable[[Parts], None]:
    def apply(parts: Parts) -> None:
        parts.put_log([o if isinstance(o, list) else encode(o) for o in operations], **changes)

    return apply


def upsert(keys: list[int], payload: bytes = b"\x80", **vectors: Any) -> Upsert:
    full = {"a": np.zeros((len(keys), DIM), np.float32), "b": np.zeros((len(keys), 4), np.float32)}
    blocks = {name: VectorBlock(values) for name, values in {**full, **vectors}.items()}
    return Upsert(keys, [payload] * len(keys), blocks)


def quantizer_of(metric: str) -> Callable[[Parts], None]:
    """The quantizer of ``a``, for another metric."""

    def apply(parts: Parts) -> None:
        from vecdb.storage.format import unpack_blocks

        _, array = parts.data("quantizer.a")
        meta, blocks = unpack_blocks(memoryview(array.tobytes()))
        packed = b"".join(map(bytes, pack_blocks(meta | {"metric": metric}, blocks)))
        parts.put("quantizer.a", np.frombuffer(packed, np.uint8).reshape(-1, 1))

    return apply


def wrong_uuid(parts: Parts) -> None:
    parts.put("ids", parts.data("ids")[1], uuid=b"\0" * 16)


def all_absent_bits(parts: Parts) -> None:
    bits = parts.data("present.b")[1]
    bits[-1] |= 0xF0  # 60 rows: four bits of the last byte are nobody's
    parts.put("present.b", bits)


NONSENSE: dict[str, Callable[[Parts], None]] = {
    "order beyond": changed("order", set_at(5, 0, to=10**9)),
    "order twice": changed("order", set_at(5, 0, to=6)),
    "order reversed": changed("order", lambda a: a[::-1]),
    "ids twice": changed("ids", set_at(5, 0, to=6)),
    "ids fewer": changed("ids", lambda a: a[:-1]),
    "ids three wide": changed("ids", lambda a: np.repeat(a, 3, axis=1)),
    "ids of no order": changed("ids", lambda a: np.hstack([a[::-1], a])),
    "ids of floats": changed("ids", lambda a: a.astype("<f4")),
    "seqs later": changed("seqs", set_at(5, 0, to=10**9)),
    "seqs fewer": changed("seqs", lambda a: a[:-1]),
    "offsets beyond": changed("payload-offsets", set_at(-1, 0, to=1 << 60)),
    "offsets short": changed("payload-offsets", set_at(-1, 0, to=3)),
    "offsets back": changed("payload-offsets", set_at(5, 0, to=0)),
    "offsets late": changed("payload-offsets", set_at(0, 0, to=4)),
    "offsets fewer": changed("payload-offsets", lambda a: a[:-1]),
    "payload none": changed("payload", lambda a: a * 0 + 0xC1),
    "payload shorter": changed("payload", lambda a: a[:-1]),
    "payload of numbers": changed("payload", lambda a: a * 0 + 5),
    "vectors fewer": changed("vectors.a", lambda a: a[:-1]),
    "vectors narrower": changed("vectors.a", lambda a: a[:, :-1]),
    "vectors as one": changed("vectors.a", lambda a: a.reshape(-1, 1)),
    "vectors nan": changed("vectors.a", set_at(5, 2, to=np.nan)),
    "vectors infinite": changed("vectors.b", set_at(5, 2, to=-np.inf)),
    "vectors of bytes": changed("vectors.a", lambda a: a.view(np.uint8)),
    "present beyond": all_absent_bits,
    "present fewer": changed("present.b", lambda a: a[:-1]),
    "codes fewer": changed("codes.a", lambda a: a[:-1]),
    "codes narrower": changed("codes.a", lambda a: a[:, :-1]),
    "codes none": changed("codes.a", lambda a: a[:0]),
    "quantizer none": changed("quantizer.a", lambda a: a[:0]),
    "quantizer random": changed("quantizer.a", lambda a: a[::-1]),
    "quantizer other metric": quantizer_of("euclid"),
    "quantizer no metric": quantizer_of("pickle"),
    "kind": changed("seqs", lambda a: a, kind=1),
    "segment id": changed("seqs", lambda a: a, segment_id=77),
    "uuid": wrong_uuid,
    "mask beyond": lambda parts: parts.put_mask(b"\xff" * 8, 64),
    "mask beyond, less": lambda parts: parts.put_mask(b"\xff" * 7 + b"\xf0", 60),
    "mask short": lambda parts: parts.put_mask(b"\xff" * 7, 56),
    "mask all": lambda parts: parts.put_mask(b"\0" * 8, 60),
    "log of another": log_of(Delete([3]), uuid="0" * 32),
    "log elsewhere": log_of(Delete([3]), first_seq=10**6),
    "log too short": log_of(Delete([3]), last_seq=99),
    "log key twice": log_of(Delete([3, 3])),
    "log unknown": log_of(pack_blocks({"op": "Pickle", "wide": False}, [ids.to_array([1])])),
    "log empty": log_of([b""]),
    "log random": log_of([bytes(range(200))]),
    "log nan": log_of(upsert([3], a=np.full((1, DIM), np.nan, np.float32))),
    "log narrow": log_of(upsert([3], a=np.zeros((1, DIM - 1), np.float32))),
    "log wider": log_of(upsert([3], z=np.zeros((1, 3), np.float32))),
    "log no payload": log_of(upsert([3], payload=b"\xc1")),
    "log payload a list": log_of(upsert([3], payload=b"\x90")),
    "log deep payload": log_of(upsert([3], payload=b"\x81\xa1x" + b"\x91" * 100 + b"\xc0")),
    "log no header": lambda parts: parts.put_wal(b""),
    "log half a header": lambda parts: parts.put_wal(parts.content["wal"][:60]),
    "log torn": lambda parts: parts.put_wal(parts.content["wal"][:-8]),
    "log and more": lambda parts: parts.put_wal(parts.content["wal"] + b"VFRM" + b"\0" * 60),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_with_the_right_checksums(
    kind: str, parts: Parts, bad: Path, target: Path
) -> None:
    NONSENSE[kind](parts)
    refused(parts.write(bad), target)


def test_a_file_whose_header_lies_of_its_size(parts: Parts, bad: Path, target: Path) -> None:
    """It would be read far beyond its end."""
    name = parts.name("codes.a")
    data = bytearray(parts.content[name])
    header = DataHeader.unpack(bytes(data))
    for rows in (10**9, (1 << 64) - 1):
        data[:HEADER_SIZE] = msgspec.structs.replace(header, rows=rows).pack()
        parts.content[name] = bytes(data)
        refused(parts.write(bad), target)
    assert len(data) > HEADER_SIZE + FOOTER_SIZE


# -- archives of a database --------------------------------------------------------------------


def whole(parts: Parts, path: Path, names: list[str]) -> None:
    line = pack_format_line({"format": 1, "uuid": "0" * 32, "archive": "database"})
    tar = TarWriter(path)
    try:
        tar.begin("FORMAT", len(line))
        tar.append([line])
        for number, name in enumerate(names, 1):
            packed = pack_row(b"manifest", pack_value(parts.manifest | {"name": name}))
            for member, data in {"manifest": packed, **parts.content}.items():
                tar.begin(f"{number}/{member}", len(data))
                tar.append([data])
        tar.finish()
    finally:
        tar.close()


def test_a_database_in_which_a_name_stands_twice(parts: Parts, bad: Path, place: Path) -> None:
    whole(parts, bad, ["c", "d", "c"])
    with pytest.raises(CorruptionError, match="two collections 'c'"):
        restore.restore_database(bad, place / "new")
    assert not (place / "new").exists()
    assert not [path for path in place.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_a_database_with_a_name_that_is_none(
    name: str, parts: Parts, bad: Path, place: Path
) -> None:
    whole(parts, bad, ["c", name])
    with pytest.raises(CorruptionError, match="collection_name"):
        restore.restore_database(bad, place / "new")
    assert not (place / "new").exists()


def test_names_that_look_like_paths_are_names(parts: Parts, bad: Path, place: Path) -> None:
    names = ["../evil", "/etc/passwd", "..", ".", "ü\u202e", "a\0b", ".new-0123456789abcdef", "CON"]
    whole(parts, bad, names)
    found = restore.restore_database(bad, place / "new")
    assert found == dict.fromkeys(names, 61)
    with VecDB(place / "new") as db:
        assert sorted(c.name for c in db.get_collections().collections) == sorted(names)
        assert db.count("../evil").count == 61
    assert len(list((place / "new" / "collections").iterdir())) == len(names)
    shutil.rmtree(place / "new")


def test_one_of_a_database_is_read_to_the_end(parts: Parts, bad: Path, target: Path) -> None:
    """What comes after it is damaged; without a look at it, it would be another archive."""
    whole(parts, bad, ["c", "d"])
    data = bad.read_bytes()
    assert restore.unpack_collection(bad, target, "c").points == 61
    shutil.rmtree(next(target.iterdir()))
    for cut in (len(data) // 2 + 100, len(data) - 600, len(data) - 1):
        bad.write_bytes(data[:cut])
        refused(bad, target)


def test_the_order_of_members_is_as_documented(good: Path) -> None:
    """Masks, the log, then each segment's files by name."""
    with Archive(good) as archive:
        manifest = next(archive.collections())
        found: list[Member] = members(manifest)
    kinds = [member.name.split("/")[0] for member in found]
    assert kinds == sorted(kinds, key=["alive", "wal", "segments"].index)
    files = [member.file for member in found if member.file is not None]
    assert files == sorted(files)
    assert isinstance(manifest, Manifest)


def test_what_is_restored_is_private(good: Path, target: Path) -> None:
    """Whatever the mode of the archive and of its members."""
    old = os.umask(0)
    try:
        path = restore.unpack_collection(good, target, "c").path
    finally:
        os.umask(old)
    for found in [path, *path.rglob("*")]:
        assert found.stat().st_mode & 0o077 == 0, found


def test_an_archive_that_is_good_serves(good: Path, place: Path) -> None:
    """The good one of these tests in a database: the right points, and it goes on."""
    with VecDB(place / "fresh") as db:
        assert db.recover_snapshot("c", good)
        assert db.count("c").count == 61
        hits = db.search("c", ("a", [1.0] * DIM), limit=61)
        assert sorted(hit.id for hit in hits) == [i for i in range(63) if i not in (1, 2)]
        db.upsert("c", [models.PointStruct(id=99, vector={"a": [1.0] * DIM})])
        db.wait_for_optimizer()
        assert db.count("c").count == 62
    shutil.rmtree(place / "fresh")
