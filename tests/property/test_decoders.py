"""Decoders: whatever the bytes, a value or the error that says so, in memory of their size.

Bytes that are arbitrary, and valid ones that were flipped, cut, spliced or given absurd numbers;
each also with its checksums put right again, because a bug or an archive from somebody else may
well contain consistent nonsense. Set VECDB_TEST_SCALE to try more of them; ``-s`` shows how many.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import pytest
from garbage import MUTATIONS, attempt, damaged, garbled, report, runs
from hypothesis import given
from hypothesis import strategies as st

from vecdb import models
from vecdb.engine import operations
from vecdb.engine.read.groups import group_ids
from vecdb.engine.read.ordered import placing
from vecdb.errors import FormatVersionError
from vecdb.payload import encoding
from vecdb.payload.filters import compile_filter
from vecdb.payload.paths import elements, parse_path, selector
from vecdb.payload.projection import projection
from vecdb.quantization import QUANTIZERS
from vecdb.storage import format
from vecdb.storage.format import DamageError, DataHeader, Kind, WalHeader, checksum
from vecdb.storage.format_line import pack_format_line, unpack_format_line
from vecdb.storage.segment import read_quantizer
from vecdb.vectors.block import VectorBlock

UUID = bytes(range(16))
SALT = 0x1234567890ABCDEF


@pytest.fixture(scope="module", autouse=True)
def _report() -> Iterator[None]:
    yield
    report()


def sealed_after(data: bytes, size: int) -> bytes:
    """With the checksum of the first ``size`` bytes after them."""
    return data[:size] + struct.pack("<Q", checksum(data[:size])) + data[size + 8 :]


# -- everything that reads bytes -------------------------------------------------------------------

JSON = {"city": "Århus", "price": 1.5, "tags": ["a", None, True], "deep": {"n": [1, -2, 2**63]}}
DIMS = {"": 3, "b": 5}


def joined(buffers: Any) -> bytes:
    return b"".join(bytes(memoryview(buffer)) for buffer in buffers)


def some_operations() -> list[operations.Operation]:
    rng = np.random.default_rng(4)
    keys = [7, 2**64 - 1, 2**64 + 5, 2**128 - 1]
    vectors = {name: rng.standard_normal((4, dim)).astype(np.float32) for name, dim in DIMS.items()}
    has = np.array([False, True, False, True])
    blocks = {name: VectorBlock(values) for name, values in vectors.items()}
    some = {**blocks, "b": VectorBlock(vectors["b"], has)}
    payloads = [encoding.encode(JSON), encoding.EMPTY, encoding.encode({"a": [1]}), b"\x80"]
    narrow = {name: block.take(slice(2)) for name, block in blocks.items()}
    return [
        operations.Upsert(keys, payloads, some),
        operations.Upsert([1, 2], payloads[:2], narrow),
        operations.Delete([1, 2, 3]),
        operations.Delete(keys),
        operations.EditPayload([1, 2], "set", JSON, "a.b[0]", []),
        operations.EditPayload([1], "overwrite", JSON),
        operations.EditPayload([1], "delete", paths=["city", "deep.n[]", '"a b".c']),
        operations.EditPayload([1], "clear"),
        operations.EditVectors([2, 1], {"b": some["b"].take(slice(2))}),
        operations.DropVectors([1, 2], ["b"]),
    ]


OPERATIONS = [joined(operations.encode(operation)) for operation in some_operations()]
HEADERS = [
    DataHeader(Kind.IDS, np.dtype("<u8"), 20, 2, UUID, 5).pack(),
    DataHeader(Kind.VECTORS, np.dtype("<f4"), 1000, 768, UUID, 2**63).pack(),
]
FRAMES = [
    joined(format.pack_frame(SALT, 1, [[data] for data in group], bool(number % 2)))
    for number, group in enumerate([OPERATIONS[:1], OPERATIONS[2:5], [b"", b"x" * 9], [b""] * 50])
]


def quantizer_file(kind: str, dim: int, **options: Any) -> tuple[dict[str, Any], list[Any]]:
    sample = np.random.default_rng(2).standard_normal((20, dim)).astype(np.float32)
    fitted = QUANTIZERS[kind].fit(sample, "euclid", **options)
    arrays = fitted.state()
    shapes = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    meta = {"kind": kind, "metric": fitted.metric, "dim": dim, "arrays": shapes}
    return meta, list(arrays.values())


STATES = {
    "scalar": quantizer_file("scalar", 4, quantile=0.9),
    "binary": quantizer_file("binary", 70),
    "product": quantizer_file("product", 3, compression=16),
}


def use_quantizer(kind: str, data: bytes) -> Any:
    dim = STATES[kind][0]["dim"]
    quantizer = read_quantizer(np.frombuffer(data, dtype=np.uint8), kind, dim)
    assert (quantizer.kind, quantizer.dim) == (kind, dim)
    if kind == "scalar":
        quantizer.prepare(np.full(dim, 0.5, dtype=np.float32))
    return quantizer


def use_operation(data: bytes) -> operations.Operation:
    operation = operations.decode(memoryview(data))
    operations.require_fit(operation, DIMS)
    return operation


PREDICATES = [
    compile_filter(models.coerce(models.Filter, {"must": [condition]}))
    for condition in [
        {"key": "tags[]", "match": {"any": ["a", "b"]}},
        {"key": "city", "match": {"except": ["a"]}},
        {"key": "price", "range": {"gte": 1}},
        {"key": "city", "range": {"lt": "2024-01-01T00:00:00Z"}},
        {"key": "tags", "values_count": {"gte": 1}},
        {"is_empty": {"key": "tags"}},
        {"nested": {"key": "deep", "filter": {"must": [{"key": "n", "match": {"value": 1}}]}}},
    ]
]


def use_field(data: bytes) -> list[dict[str, Any]]:
    """Fields one by one, and what is made of their values."""
    fields = [encoding.field_decoder(name)(data) for name in JSON]
    for name, field in zip(JSON, fields, strict=True):
        assert field.keys() <= {name}
        for path in (name, f"{name}.n", f"{name}[]"):
            values = elements(selector(parse_path(path))(field))
            assert all(type(placed) in (int, float) for placed in placing(values))
            assert all(type(each) in (int, str) for each in group_ids(values))
    return fields


def use_payload(data: bytes) -> dict[str, Any]:
    payload = encoding.decode(data)
    assert type(payload) is dict
    for holds in PREDICATES:  # ``decode`` leaves the details to ``verify``: none may do harm
        holds(1, payload, ())
    projection(["city", "tags", "deep.n"])(payload)
    encoding.verify(data)
    assert encoding.decode(encoding.encode(payload)).keys() == payload.keys()
    return payload


def seal_footer(data: bytes) -> bytes:
    if len(data) < 24:
        return data
    check = checksum(HEADERS[0], data[:-24], data[-24:-16])
    return data[:-16] + struct.pack("<Q", check) + data[-8:]


def seal_frame(data: bytes) -> bytes:
    if len(data) < 40:
        return data
    body = data[40 : 40 + int.from_bytes(data[24:32], "little")]
    check = checksum(data[:8], data[16:40], body, seed=SALT)
    return data[:8] + struct.pack("<Q", check) + data[16:]


def seal_line(data: bytes) -> bytes:
    text = data.removeprefix(b"vecdb ").rstrip(b"\n").rsplit(b" check=", 1)[0]
    return b"vecdb %s check=%016x\n" % (text, checksum(text))


@dataclass(frozen=True)
class Target:
    """A decoder, what it should read, and how to put the checksums of damaged bytes right."""

    decode: Callable[[bytes], Any]
    valid: list[bytes]
    seal: Callable[[bytes], bytes] = lambda data: data


TARGETS = {
    "data header": Target(DataHeader.unpack, HEADERS, lambda data: sealed_after(data, 56)),
    "footer": Target(
        lambda data: format.unpack_footer(HEADERS[0], data),
        [table + format.pack_footer(HEADERS[0], table) for table in (b"", b"t" * 8, b"u" * 72)],
        seal_footer,
    ),
    "WAL header": Target(
        WalHeader.unpack,
        [WalHeader(UUID, SALT, n).pack() for n in (1, 2**64 - 1)],
        lambda data: sealed_after(data, 56),
    ),
    "frame": Target(
        lambda data: format.unpack_frame(memoryview(data), 0, SALT), FRAMES, seal_frame
    ),
    "value": Target(format.unpack_value, [format.pack_value(v) for v in (JSON, [], 5, "text")]),
    "catalog row": Target(
        lambda data: format.unpack_row(b"config", data),
        [format.pack_row(b"config", v) for v in (b"", b"value")],
        lambda data: format.pack_row(b"config", data[8:]),
    ),
    "blocks": Target(
        lambda data: format.unpack_blocks(memoryview(data)),
        [joined(format.pack_blocks({"a": n}, [bytes(n)] * n)) for n in (0, 1, 7)],
    ),
    "FORMAT": Target(
        unpack_format_line,
        [
            pack_format_line({"format": 1, "uuid": UUID.hex(), **rest})
            for rest in ({}, {"name": "6162", "x": "="})
        ],
        seal_line,
    ),
    "field": Target(use_field, [encoding.encode(p) for p in (JSON, {}, {"v": [*range(99)]})]),
    "payload": Target(use_payload, [encoding.encode(p) for p in (JSON, {}, {"v": [*range(99)]})]),
    "operation": Target(use_operation, OPERATIONS),
} | {
    f"{kind} quantizer": Target(
        lambda data, kind=kind: use_quantizer(kind, data), [joined(format.pack_blocks(*state))]
    )
    for kind, state in STATES.items()
}


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_written_is_read(name: str) -> None:
    for data in TARGETS[name].valid:
        assert TARGETS[name].seal(data) == data
        assert TARGETS[name].decode(data) is not None


@pytest.mark.parametrize("name", TARGETS)
@runs(60)
@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_arbitrary_and_damaged_bytes(name: str, data: bytes, seed: int) -> None:
    target, rng = TARGETS[name], Random(seed)
    inputs = [data, *(damaged(rng, rng.choice(target.valid), target.valid) for _ in range(20))]
    for each in inputs:
        for one in (each, target.seal(each)):
            attempt(name, target.decode, one, (DamageError, FormatVersionError))


@pytest.mark.parametrize("kind", [*STATES, "operation"])
@runs(100)
@given(st.integers(0, 2**32))
def test_maps_that_say_something_else(kind: str, seed: int) -> None:
    """The same with the small map before the arrays changed, whose types no checksum keeps."""
    rng = Random(seed)
    for _ in range(MUTATIONS):
        if kind == "operation":
            meta, blocks = format.unpack_blocks(memoryview(rng.choice(OPERATIONS)))
            decode: Callable[[bytes], Any] = use_operation
        else:
            meta, blocks = STATES[kind]
            decode = TARGETS[f"{kind} quantizer"].decode
        blocks = list(blocks)
        if rng.random() < 0.3:
            blocks[rng.randrange(len(blocks))] = damaged(rng, bytes(blocks[0]), [b"\xff" * 8])
        head = format.pack_value(garbled(rng, meta))
        data = struct.pack("<II", len(head), len(blocks))
        data += b"".join(struct.pack("<Q", memoryview(b).nbytes) for b in blocks)
        for part in (head, *map(bytes, map(memoryview, blocks))):
            data += part + bytes(-len(part) % 8)
        attempt(f"{kind} map", decode, data, (DamageError,))


# -- valid values come back ------------------------------------------------------------------------

TEXT = st.text(max_size=8)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXT
SCALARS |= st.floats(allow_nan=False)
PLAIN = st.recursive(
    SCALARS, lambda x: st.lists(x, max_size=3) | st.dictionaries(TEXT, x, max_size=3), max_leaves=9
)
PAYLOADS = st.dictionaries(TEXT, PLAIN, max_size=4)
KEYS = st.integers(0, 2**64 - 1) | st.integers(0, 2**128 - 1)


@runs(100)
@given(PAYLOADS)
def test_payloads_and_values_round_trip(payload: dict[str, Any]) -> None:
    data = encoding.encode(payload)
    encoding.verify(data)
    assert repr(encoding.decode(memoryview(data))) == repr(payload)
    for name in [*payload, "no such field"]:
        field = {name: payload[name]} if name in payload else {}
        assert repr(encoding.field_decoder(name)(memoryview(data))) == repr(field)
    assert repr(format.unpack_value(format.pack_value(payload))) == repr(payload)


def test_payloads_at_their_limits_round_trip() -> None:
    deep: Any = {}
    for _ in range(format.MAX_DEPTH - 1):
        deep = {"a": deep}
    long = {"a": "x" * (format.MAX_PAYLOAD - 8)}
    wide = {"a": [0] * (format.MAX_PAYLOAD - 8)}
    for payload in (deep, long, wide):
        encoding.verify(encoding.encode(payload))
        edit = operations.EditPayload([1], "overwrite", payload)
        assert use_operation(joined(operations.encode(edit))) == edit


@runs(60)
@given(st.dictionaries(KEYS, PAYLOADS, max_size=6), st.integers(0, 2**32))
def test_operations_round_trip(points: dict[int, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys, n = list(points), len(points)
    payloads = [encoding.encode(payload) for payload in points.values()]
    vectors = {name: rng.standard_normal((n, dim)).astype(np.float32) for name, dim in DIMS.items()}
    blocks = {name: VectorBlock(values) for name, values in vectors.items()}
    some = {**blocks, "b": VectorBlock(vectors["b"], rng.random(n) < 0.5)}
    for operation in (
        operations.Upsert(keys, payloads, some),
        operations.EditVectors(keys, {"b": blocks["b"]}),
        operations.EditPayload(keys, "set", dict(points.get(keys[0], {}) if keys else {}), "a", []),
        operations.Delete(keys),
        operations.DropVectors(keys, ["", "b"]),
    ):
        again = use_operation(joined(operations.encode(operation)))
        assert repr(again) == repr(operation)
        assert joined(operations.encode(again)) == joined(operations.encode(operation))
