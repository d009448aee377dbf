"""MemorySegment: what the WAL holds, as growing arrays, searchable at once.

Thread safety: one writer (the collection's write lock), any number of readers. Rows are only ever
appended; a reader looks at the first ``rows`` of them, a number it took together with ``alive``
when its view was published. What the writer changes in place lies beyond every published row;
``alive`` bits, which do change for published rows, are replaced by a copy and never written to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from vecdb import ids
from vecdb.errors import CorruptionError
from vecdb.storage.arrays import PlacedArray
from vecdb.storage.catalog import Bits
from vecdb.storage.format import bits_at, pack_bits
from vecdb.storage.memory_vectors import RaggedVectors, Vectors, vectors_of
from vecdb.storage.payload_edits import PayloadEdits
from vecdb.vectors.block import VectorBlock
from vecdb.vectors.blocks import Block, Ragged
from vecdb.vectors.datatypes import FLOAT32

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.int64]

_ROW_OVERHEAD = 200  # bytes of Python objects a row costs beside its vectors and payload


class MemorySegment:
    """Rows in arrival order. A row is (id, seq, payload, vectors) and never changes. Payloads that
    it is given later are in ``edits``."""

    kind = "memory"
    columns: Mapping[str, PlacedArray] = {}
    """None: they are made with a file."""

    def __init__(
        self, segment_id: int, dims: dict[str, int], datatypes: Mapping[str, str] | None = None
    ) -> None:
        """``datatypes``: of the vector names whose originals are not float32."""
        self.id = segment_id
        self.dims = dims
        self.rows = 0
        self.live = 0
        self.alive: Bits | None = None
        self.vector_bytes = 0
        self.payload_bytes = 0
        self.edits = PayloadEdits()
        self._vectors = {
            name: vectors_of(dim, (datatypes or {}).get(name, FLOAT32))
            for name, dim in dims.items()
        }
        self._keys: list[int] = []
        self._seqs: list[int] = []
        self._payloads: list[bytes] = []
        self._previous: list[int] = []  # the row this one replaced for the same id, or -1
        self._latest: dict[int, int] = {}
        self._order: tuple[int, npt.NDArray[np.uint32]] = (0, np.empty(0, dtype=np.uint32))

    @property
    def size(self) -> int:
        """About how much memory the rows and their payload edits take."""
        rows = self.vector_bytes + self.payload_bytes + _ROW_OVERHEAD * self.rows
        return rows + self.edits.size

    # -- writing (one writer) --------------------------------------------------------------

    def append(
        self,
        seq: int,
        keys: Sequence[int],
        payloads: Sequence[bytes],
        vectors: Mapping[str, Block],
    ) -> None:
        """Add rows for distinct keys, with a block of ``vectors`` for every name. An earlier row of
        the same id here dies."""
        latest, start, count = self._latest, self.rows, len(keys)
        # Row number by row number, so that a reader following _previous never sees a gap.
        previous = [latest.get(key, -1) for key in keys]
        self._previous.extend(previous)
        self._keys.extend(keys)
        self._seqs.extend([seq] * count)
        self._payloads.extend(payloads)
        for name, kept in self._vectors.items():
            kept.append(vectors[name])  # type: ignore[arg-type]
            self.vector_bytes += kept.bytes_of(vectors[name])  # type: ignore[arg-type]
        self.payload_bytes += sum(map(len, payloads))
        latest.update(zip(keys, range(start, start + count), strict=True))
        self._grow_alive(start + count)
        self.rows = start + count
        self.live += count
        dead = np.array([row for row in previous if row >= 0], dtype=np.int64)
        if len(dead):
            self.kill(dead)

    def _grow_alive(self, rows: int) -> None:
        # Bits beyond ``rows`` are ones already: appended rows need no new copy.
        if self.alive is not None and 8 * len(self.alive) < rows:
            grown = np.full(2 * -(-rows // 8), 0xFF, dtype=np.uint8)
            grown[: len(self.alive)] = self.alive
            self.alive = grown

    def kill(self, offsets: Offsets) -> None:
        """Mark rows dead (those that are already stay so), in a new copy of ``alive``."""
        if self.alive is None:
            self.alive = np.full(max(128, 2 * -(-self.rows // 8)), 0xFF, dtype=np.uint8)
        self.alive, died = killed(self.alive, offsets)
        self.live -= died

    # -- reading ---------------------------------------------------------------------------

    def payload_size(self, rows: Offsets) -> int:
        """Bytes of the encoded payloads of several rows."""
        return sum(len(self._payloads[row]) for row in rows.tolist())

    def locate(self, keys: Sequence[int], array: ids.IdArray, rows: int) -> Offsets:
        """For each key the newest of the first ``rows`` rows that has it, dead or alive, or -1."""
        out = np.empty(len(keys), dtype=np.int64)
        latest, previous = self._latest, self._previous
        for number, key in enumerate(keys):
            row = latest.get(key, -1)
            while row >= rows:  # written after the reader's view was published
                row = previous[row]
            out[number] = row
        return out

    def key(self, offset: int) -> int:
        """The key of one row."""
        return self._keys[offset]

    def id_array(self, offsets: Offsets) -> ids.IdArray:
        """The keys of several rows."""
        return ids.to_array([self._keys[row] for row in offsets.tolist()])

    def seq(self, offset: int) -> int:
        """The operation that wrote the row."""
        return self._seqs[offset]

    def seq_array(self, offsets: Offsets) -> npt.NDArray[np.uint64]:
        """The operations that wrote several rows."""
        return np.array([self._seqs[row] for row in offsets.tolist()], dtype=np.uint64)

    def payload(self, offset: int) -> bytes:
        """The encoded payload of one row."""
        return self._payloads[offset]

    def payloads(self, offsets: Offsets) -> list[bytes]:
        """The encoded payloads of several rows."""
        return [self._payloads[row] for row in offsets.tolist()]

    def take(self, name: str, offsets: Offsets) -> Floats:
        """Copies of several rows' dense vectors: ``float32 (m, dim)``."""
        return self._dense(name).take(offsets)

    def block(self, name: str, offsets: Offsets) -> Block:
        """Copies of several rows' vectors, of any kind."""
        kept, has = self._vectors[name], self.has(name, offsets)
        if isinstance(kept, RaggedVectors):
            return replace(kept.take(offsets), has=has)  # type: ignore[no-any-return]
        return VectorBlock(kept.take(offsets), has)

    def entries(self, name: str, offsets: Offsets) -> int:
        """How many numbers several rows' sparse vectors have, or tokens their multivectors."""
        return self._ragged(name).entries(offsets)

    def has(self, name: str, offsets: Offsets) -> npt.NDArray[np.bool_] | None:
        """Which of the rows have this vector; None: all of them."""
        has = self._vectors[name].has.flags
        return None if has is None else has[offsets]

    def present(self, name: str, rows: int) -> Bits | None:
        """Bits of the rows that have this vector; None: all of them."""
        has = self._vectors[name].has.flags
        return None if has is None else pack_bits(has[:rows])

    def blocks(self, name: str, rows: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """The dense vectors of the first ``rows`` rows as (first row, ``(n, dim)`` in their
        datatype) pieces."""
        return self._dense(name).blocks(rows)

    def ragged_blocks(self, name: str, rows: int) -> Iterator[tuple[int, Ragged]]:
        """The sparse vectors, or multivectors, of the first ``rows`` rows as (first row, block)
        pieces."""
        return self._ragged(name).blocks(rows)

    def _dense(self, name: str) -> Vectors:
        kept = self._vectors[name]
        assert isinstance(kept, Vectors)
        return kept

    def _ragged(self, name: str) -> RaggedVectors[Any]:
        kept = self._vectors[name]
        assert isinstance(kept, RaggedVectors)
        return kept

    def vectors(self, name: str) -> None:
        """No file: see ``blocks``."""

    def index(self, name: str) -> None:
        """None: it is made with a file."""

    def codes(self, name: str) -> None:
        """None: they are made with a file."""

    def postings(self, name: str) -> None:
        """None: they are made with a file."""

    def multivectors(self, name: str) -> None:
        """None: they are no files yet."""

    def token_index(self, name: str) -> None:
        """None: it is made with a file."""

    def quarantine(self, name: str, error: CorruptionError) -> None:
        """Nothing here is derived."""
        raise error

    def from_key(self, key: int, rows: int) -> npt.NDArray[np.uint32]:
        """The first ``rows`` rows in id order, starting at the first id not below ``key``."""
        cached_rows, order = self._order
        if cached_rows != rows:
            order = ids.sort_order(ids.to_array(self._keys[:rows]))
            self._order = (rows, order)
        low, high = 0, rows
        while low < high:
            middle = (low + high) // 2
            if self._keys[order[middle]] < key:
                low = middle + 1
            else:
                high = middle
        return order[low:]


def killed(alive: Bits, offsets: Offsets) -> tuple[Bits, int]:
    """A copy of ``alive`` with these rows' bits cleared, and how many of them were set."""
    copy = alive.copy()
    if len(offsets) == 1:  # one point was replaced: numpy would take ten times as long
        byte, bit = divmod(int(offsets[0]), 8)
        before = int(alive[byte])
        copy[byte] = before & ~(1 << bit)
        return copy, before >> bit & 1
    unique = np.unique(offsets)
    died = int(bits_at(alive, unique).sum())
    np.bitwise_and.at(copy, unique >> 3, ~(np.uint8(1) << (unique & 7).astype(np.uint8)))
    return copy, died


def all_alive(rows: int) -> Bits:
    """Bits for ``rows`` live rows; those beyond stay zero, so that counting bits counts rows."""
    return pack_bits(np.ones(rows, dtype=np.bool_))
