"""Bytes <-> values, without any I/O: headers, frames, rows, payloads.

All integers are little-endian. The one checksum is XXH3-64. ``docs/file-format.md`` is the
normative description; a test holds its tables against the constants here. Never renumber.

Data file (every file of a segment)::

    offset  size
    0       8     magic  89 'VECDB' 0D 0A   (a text-mode copy breaks it visibly)
    8       2     format version
    10      1     kind (Kind)
    11      1     dtype (DTYPES)
    12      4     columns
    16      8     rows
    24      16    collection uuid
    40      8     segment id
    48      8     reserved, zero
    56      8     checksum of the 56 bytes before
    64      …     data: rows x columns, row-major, zero-padded to 8
    …       8·b   checksum of each 64 KiB block of the padded data
    …       8     b, the number of blocks
    …       8     checksum of header, block checksums and b
    …       8     end magic 'VECDBEND'

WAL file::

    0       8     magic  89 'VECWL' 0D 0A
    8       2     format version
    10      6     reserved, zero
    16      16    collection uuid
    32      8     salt (random; seeds every frame checksum of this file)
    40      8     seq of the first operation
    48      8     transaction of the catalog when the file was begun; 0: not known
    56      8     checksum of the 56 bytes before
    64      …     frames, each starting at a multiple of 8

    frame   4     magic  'VFRM'
            4     flags  (1: the sync of the frame before had returned)
            8     checksum, seeded with the salt, of everything after this field
            8     seq of the first operation
            8     length of the body
            4     number of operations
            4     reserved, zero
            …     body: for each operation its length (8), its bytes, zero-padded to 8

Catalog row: checksum (8) of key + value, then the value (msgpack, or raw bits).

Checksums show accidents, not intent: a restored archive may be consistent nonsense. Whatever the
bytes, reading them gives a value or DamageError (FormatVersionError for a later version) and takes
memory in proportion to their number: no length is believed that was not compared with it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from types import NoneType
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import xxhash
from msgspec import Struct

from vecdb.errors import FormatVersionError, InvalidInputError
from vecdb.storage.kinds import DTYPES as DTYPES
from vecdb.storage.kinds import Kind as Kind

VERSION = 1

HEADER_SIZE = 64
BLOCK_SIZE = 1 << 16  # one lazily verified unit: 5 µs to hash, 0.01 % of the file in checksums
FOOTER_SIZE = 24
FRAME_HEADER_SIZE = 40
MAX_FRAME = 1 << 28  # a longer length field is damage, not a request for memory
MAX_OPERATIONS = 1 << 16  # operations of a frame; empty ones cost a reader some hundred bytes each
MAX_ARRAYS = 1 << 16  # arrays of an operation: two for each vector name, and three
MAX_VALUE = 1 << 22  # bytes of msgpack that is not a payload; decoding can grow it as much
MAX_PAYLOAD = 1 << 20  # bytes of one encoded payload; decoding can grow it some seventyfold
MAX_DEPTH = 32  # nesting of a payload
MAX_FORMAT_LINE = 4096

DATA_MAGIC = b"\x89VECDB\r\n"
END_MAGIC = b"VECDBEND"
WAL_MAGIC = b"\x89VECWL\r\n"
FRAME_MAGIC = b"VFRM"
PREVIOUS_SYNCED = 1

_LEAVES = frozenset({str, int, float, bool, NoneType})

_HEADER = struct.Struct("<8sHBBIQ16sQQQ")
_WAL_HEADER = struct.Struct("<8sH6x16sQQQQ")
_FRAME = struct.Struct("<4sIQQQI4x")
_U64 = struct.Struct("<Q")


_DTYPE_CODES = {dtype: code for code, dtype in DTYPES.items()}


class DamageError(Exception):
    """These bytes are not what they should be. Callers that know the file raise CorruptionError."""


def checksum(*pieces: Any, seed: int = 0) -> int:
    """XXH3-64 over the pieces one after another."""
    if len(pieces) == 1:
        return int(xxhash.xxh3_64_intdigest(pieces[0], seed=seed))
    state = xxhash.xxh3_64(seed=seed)
    for piece in pieces:
        state.update(piece)
    return int(state.intdigest())


def padding(length: int) -> int:
    """How many zero bytes bring ``length`` to a multiple of 8."""
    return -length % 8


# -- data files --------------------------------------------------------------------------------


class DataHeader(Struct, frozen=True):
    """The header of a data file: what it holds and whose it is."""

    kind: Kind
    dtype: np.dtype[Any]
    rows: int
    columns: int
    uuid: bytes
    segment_id: int

    @property
    def data_size(self) -> int:
        """Bytes of data, without padding."""
        return self.rows * self.columns * self.dtype.itemsize

    @property
    def blocks(self) -> int:
        """How many 64 KiB blocks the padded data has."""
        return -(-(self.data_size + padding(self.data_size)) // BLOCK_SIZE)

    @property
    def file_size(self) -> int:
        """Bytes of the whole file."""
        size = self.data_size
        return HEADER_SIZE + size + padding(size) + 8 * self.blocks + FOOTER_SIZE

    def pack(self) -> bytes:
        """The 64 bytes."""
        body = _HEADER.pack(
            DATA_MAGIC,
            VERSION,
            self.kind,
            _DTYPE_CODES[self.dtype],
            self.columns,
            self.rows,
            self.uuid,
            self.segment_id,
            0,
            0,
        )[:-8]
        return body + _U64.pack(checksum(body))

    @classmethod
    def unpack(cls, data: bytes) -> DataHeader:
        """Raises DamageError; FormatVersionError for a newer version."""
        if len(data) < HEADER_SIZE:
            raise DamageError(f"{len(data)} bytes, too short for a header")
        magic, version, kind, dtype, columns, rows, uuid, segment_id, _, check = _HEADER.unpack(
            data[:HEADER_SIZE]
        )
        if magic != DATA_MAGIC:
            raise DamageError("not a vecdb data file (wrong magic)")
        if check != checksum(data[: HEADER_SIZE - 8]):
            raise DamageError("header checksum does not match")
        require_version(version)
        if dtype not in DTYPES or kind not in Kind._value2member_map_:
            raise DamageError(f"unknown kind {kind} or dtype {dtype}")
        if columns == 0:
            raise DamageError("has no columns")
        return cls(Kind(kind), DTYPES[dtype], rows, columns, uuid, segment_id)


def pack_footer(header: bytes, table: bytes) -> bytes:
    """The last 24 bytes of a data file."""
    count = _U64.pack(len(table) // 8)
    return count + _U64.pack(checksum(header, table, count)) + END_MAGIC


def unpack_footer(header: bytes, tail: bytes) -> tuple[npt.NDArray[np.uint64], int]:
    """Block checksums and the file's checksum from table + footer. Raises DamageError."""
    table, footer = tail[:-FOOTER_SIZE], tail[-FOOTER_SIZE:]
    if footer[16:] != END_MAGIC:
        raise DamageError("end of file is missing (wrong end magic)")
    check = _U64.unpack(footer[8:16])[0]
    if check != checksum(header, table, footer[:8]) or len(table) != 8 * _U64.unpack(footer[:8])[0]:
        raise DamageError("footer checksum does not match")
    return np.frombuffer(table, dtype="<u8"), int(check)


def require_version(version: int) -> None:
    """Refuse formats from the future (and 0, which was never written)."""
    if not 1 <= version <= VERSION:
        raise FormatVersionError(
            f"format version {version}; this vecdb reads up to {VERSION}, a newer one is needed"
        )


# -- write-ahead log ---------------------------------------------------------------------------


class WalHeader(Struct, frozen=True):
    """The header of a WAL file."""

    uuid: bytes
    salt: int
    first_seq: int
    transaction: int = 0

    def pack(self) -> bytes:
        """The 64 bytes."""
        fields = (self.uuid, self.salt, self.first_seq, self.transaction)
        body = _WAL_HEADER.pack(WAL_MAGIC, VERSION, *fields, 0)[:-8]
        return body + _U64.pack(checksum(body))

    @classmethod
    def unpack(cls, data: bytes) -> WalHeader:
        """Raises DamageError; FormatVersionError for a newer version."""
        if len(data) < HEADER_SIZE:
            raise DamageError(f"{len(data)} bytes, too short for a header")
        magic, version, *fields, check = _WAL_HEADER.unpack(data[:HEADER_SIZE])
        if magic != WAL_MAGIC:
            raise DamageError("not a vecdb WAL file (wrong magic)")
        if check != checksum(data[: HEADER_SIZE - 8]):
            raise DamageError("header checksum does not match")
        require_version(version)
        return cls(*fields)


class Frame(Struct, frozen=True):
    """One group commit as read back: operations ``first_seq``, ``first_seq + 1``, …"""

    first_seq: int
    operations: list[memoryview]
    previous_synced: bool
    size: int  # bytes in the file, header included


def pack_frame(
    salt: int, first_seq: int, operations: Sequence[Sequence[Any]], previous_synced: bool
) -> list[Any]:
    """The buffers of one frame; an operation is itself a sequence of buffers, not copied here.

    Raises ValueError for more than could be read back: what was acknowledged would be lost."""
    body: list[Any] = []
    length = 0
    for buffers in operations:
        size = sum(memoryview(b).nbytes for b in buffers)
        body.append(_U64.pack(size))
        body.extend(buffers)
        body.append(bytes(padding(size)))
        length += 8 + size + padding(size)
    if length > MAX_FRAME or len(operations) > MAX_OPERATIONS:
        raise ValueError(f"a frame of {len(operations)} operations and {length} bytes")
    flags = PREVIOUS_SYNCED if previous_synced else 0
    head = _FRAME.pack(FRAME_MAGIC, flags, 0, first_seq, length, len(operations))
    check = checksum(head[:8], head[16:], *body, seed=salt)
    return [head[:8] + _U64.pack(check) + head[16:], *body]


def frame_size(data: memoryview, offset: int) -> int | None:
    """How long the frame at ``offset`` says it is, or None if no frame can stand there."""
    if offset + FRAME_HEADER_SIZE > len(data):
        return None
    magic, _, _, _, length, _ = _FRAME.unpack_from(data, offset)
    size: int = FRAME_HEADER_SIZE + length
    if magic != FRAME_MAGIC or length > MAX_FRAME or offset + size > len(data):
        return None
    return size


def unpack_frame(data: memoryview, offset: int, salt: int) -> Frame | None:
    """The frame at ``offset``, or None if no whole, valid frame stands there.

    Raises DamageError if the checksum is right and the operations are not: nobody tore that.
    """
    size = frame_size(data, offset)
    if size is None:
        return None
    head = bytes(data[offset : offset + FRAME_HEADER_SIZE])
    _, flags, check, first_seq, _, count = _FRAME.unpack(head)
    body = data[offset + FRAME_HEADER_SIZE : offset + size]
    if check != checksum(head[:8], head[16:], body, seed=salt):
        return None
    return Frame(first_seq, _split(body, count), bool(flags & PREVIOUS_SYNCED), size)


def _split(body: memoryview, count: int) -> list[memoryview]:
    """The ``count`` operations that a frame's body consists of."""
    if not 0 < count <= MAX_OPERATIONS:
        raise DamageError(f"a frame of {count} operations")
    operations: list[memoryview] = []
    at = 0
    while at + 8 <= len(body) and len(operations) < count:
        size = _U64.unpack_from(body, at)[0]
        operations.append(body[at + 8 : at + 8 + size])
        at += 8 + size + padding(size)
    if at != len(body) or len(operations) != count:
        raise DamageError(f"a frame is not as long as its {count} operations")
    return operations


# -- values ------------------------------------------------------------------------------------


def pack_value(value: Any) -> bytes:
    """msgpack of plain data. Raises InvalidInputError for more than a reader would take."""
    data: bytes = msgpack.packb(value)
    if len(data) > MAX_VALUE:
        raise InvalidInputError(f"{len(data)} bytes of msgpack; the limit is {MAX_VALUE}")
    return data


def unpack_value(data: Any) -> Any:
    """Plain data from msgpack. Raises DamageError."""
    if len(data) > MAX_VALUE:
        raise DamageError(f"{len(data)} bytes of msgpack; the limit is {MAX_VALUE}")
    try:
        value = msgpack.unpackb(data, max_ext_len=0, max_bin_len=0)
    except ValueError as error:
        raise DamageError(f"not valid msgpack: {error}") from None
    _require_plain([value], MAX_DEPTH + 1)  # an operation holds a payload
    return value


def _require_plain(items: Iterable[Any], levels: int) -> None:
    """Raise DamageError for anything but JSON, and for objects nested deeper than ``levels``."""
    for item in items:
        kind = type(item)
        if kind is dict or kind is list:
            if levels == 0:
                raise DamageError("nested too deeply")
            if item:
                _require_plain(item, levels - 1)
                if kind is dict:
                    _require_plain(item.values(), levels - 1)
        elif kind not in _LEAVES:
            raise DamageError(f"holds {kind.__name__}")


def pack_row(key: bytes, value: bytes) -> bytes:
    """A catalog row: checksum of key + value, then the value."""
    return _U64.pack(checksum(key, value)) + value


def unpack_row(key: bytes, row: bytes) -> bytes:
    """The value of a catalog row. Raises DamageError."""
    if len(row) < 8 or _U64.unpack(row[:8])[0] != checksum(key, row[8:]):
        raise DamageError(f"catalog row {key.decode('ascii', 'replace')}: checksum does not match")
    return row[8:]


def pack_blocks(meta: dict[str, Any], blocks: Sequence[Any]) -> list[Any]:
    """A small msgpack map and large buffers, each 8-aligned: the body of operations.

    ``u32 length of meta | u32 number of blocks | u64 size of each block | meta | blocks``
    """
    if len(blocks) > MAX_ARRAYS:
        raise InvalidInputError(f"{len(blocks)} arrays; the limit is {MAX_ARRAYS}")
    head = pack_value(meta)
    sizes = [memoryview(block).nbytes for block in blocks]
    buffers: list[Any] = [
        struct.pack(f"<II{len(sizes)}Q", len(head), len(sizes), *sizes),
        head,
        bytes(padding(len(head))),
    ]
    for block, size in zip(blocks, sizes, strict=True):
        buffers.append(block)
        if padding(size):
            buffers.append(bytes(padding(size)))
    return buffers


def unpack_blocks(data: memoryview) -> tuple[dict[str, Any], list[memoryview]]:
    """The inverse of ``pack_blocks``; blocks are views. Raises DamageError."""
    head_size, count = struct.unpack_from("<II", data) if len(data) >= 8 else (0, 0)
    at = 8 + 8 * count
    if count > MAX_ARRAYS or at > len(data):
        raise DamageError(f"{count} arrays in {len(data)} bytes")
    meta = unpack_value(data[at : at + head_size])
    if not isinstance(meta, dict):
        raise DamageError("begins with no map")
    at += head_size + padding(head_size)
    blocks = []
    for size in struct.unpack_from(f"<{count}Q", data, 8):
        blocks.append(data[at : at + size])
        at += size + padding(size)
    if at != len(data):
        raise DamageError("is not as long as its arrays")
    return meta, blocks


def pack_bits(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Bools to bits, eight a byte, lowest bit first."""
    return np.packbits(flags, bitorder="little")


def unpack_bits(bits: npt.NDArray[np.uint8], rows: int) -> npt.NDArray[np.bool_]:
    """The first ``rows`` bits as bools."""
    return np.unpackbits(bits, count=rows, bitorder="little").view(np.bool_)


def count_set(bits: npt.NDArray[np.uint8]) -> int:
    """How many bits are set: by words, in an eighth of the time that bytes take."""
    whole = len(bits) & ~7
    count = int(np.bitwise_count(bits[:whole].view(np.uint64)).sum())
    return count + int(np.bitwise_count(bits[whole:]).sum()) if whole < len(bits) else count


def bits_at(bits: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """The bits of some rows as bools."""
    flags: npt.NDArray[np.bool_] = (bits[rows >> 3] >> (rows & 7).astype(np.uint8) & 1).view(
        np.bool_
    )
    return flags
