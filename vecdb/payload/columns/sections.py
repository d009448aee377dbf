"""Sections: which rows have which codes. The codes of a column's values of one type.

A code stands where it takes the fewest bytes:

* ``dense``: a code for each row, that of its first value, 0 where it has none. A test is a pass
  over narrow numbers.
* *common* codes, of which many rows are left: a bit for each row.
* *entries*, for what is left: rows, sorted by code and then by row. A test takes a slice of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vecdb.payload.columns import scanning
from vecdb.payload.columns.body import Array, Reader, Writer, narrowest
from vecdb.payload.columns.keys import Interval
from vecdb.payload.columns.three_valued import Bits
from vecdb.storage.format import DamageError, bits_at, pack_bits, unpack_bits

Offsets = npt.NDArray[np.int64]


class Section:
    """Codes of ``rows`` rows. A row has a code once, however often it has the value."""

    def __init__(
        self,
        rows: int,
        dense: Array | None,
        common: Array,
        bits: Bits,
        codes: Array,
        starts: Array | None,
        entries: Array,
    ) -> None:
        self.rows = rows
        self._dense = dense
        self._common, self._bits = common, bits  # uint8 (codes, ceil(rows / 8))
        # Of each entry its code. With ``starts``: of each run of entries, which begin there.
        self._codes, self._starts = codes, starts
        self._entries = entries  # rows

    @classmethod
    def of(cls, rows: int, owners: Offsets, codes: npt.NDArray[np.uint64], most: int) -> Section:
        """Of values in the order of their rows: whose they are, and their codes, up to ``most``."""
        dtype, row_type = narrowest(most), narrowest(max(rows - 1, 0))
        first = np.ones(len(owners), dtype=np.bool_)
        first[1:] = owners[1:] != owners[:-1]
        dense = np.zeros(rows, dtype=dtype)
        dense[owners[first]] = codes[first]
        # A value that a row has twice is no further one; the one in ``dense`` is not, either.
        more = ~first & (codes != dense[owners])
        narrow = codes.astype(dtype)
        sparse = _Sparse.of(rows, owners, narrow)
        beside = _Sparse.of(rows, owners[more], narrow[more])
        if sparse.size(dtype, row_type) <= beside.size(dtype, row_type) + dense.nbytes:
            return cls(rows, None, *sparse.arrays(dtype, row_type))
        return cls(rows, dense, *beside.arrays(dtype, row_type))

    # -- which rows ----------------------------------------------------------------------------

    def mask(self, wanted: Sequence[Interval]) -> Bits:
        """Bits of the rows that have a code in any of some intervals, none beyond the last row.
        Raises DamageError."""
        bits = np.zeros(-(-self.rows // 8), dtype=np.uint8)
        if self._dense is not None:
            scanning.within(self._dense, wanted, bits)
        if not len(self._common) and not len(self._entries):
            return bits
        wanted = [interval for interval in wanted if interval[0] <= interval[1]]
        for interval in wanted:
            for common in self._bits[slice(*_run(self._common, interval))]:
                bits |= common
        slices = [self._slice(interval) for interval in wanted]
        chosen = [each for each in slices if len(each)]
        if chosen:
            flags = np.zeros(self.rows, dtype=np.bool_)
            for each in chosen:
                self._check(each)
                flags[each] = True
            bits |= pack_bits(flags)
        return bits

    def _slice(self, interval: Interval) -> Array:
        """The rows of the entries of an interval of codes."""
        begin, end = _run(self._codes, interval)
        if self._starts is not None:
            begin, end = int(self._starts[begin]), int(self._starts[end])
        return self._entries[begin:end]

    def _check(self, rows: Array) -> None:
        if len(rows) and int(rows.max()) >= self.rows:
            raise DamageError(f"a column has a row beyond its {self.rows} rows")

    # -- values --------------------------------------------------------------------------------

    def counts(self, mask: Bits | None, most: int) -> npt.NDArray[np.int64]:
        """How many of the rows of a mask have code 1, 2, … ``most``. Raises DamageError."""
        counts = np.zeros(most + 1, dtype=np.int64)
        if self._dense is not None:
            scanning.count(self._dense, mask, counts)
        for code, bits in zip(self._common.tolist(), self._bits, strict=True):
            if not 1 <= code <= most:
                raise DamageError(f"a column has a code beyond {most}")
            counts[code] += np.bitwise_count(bits if mask is None else bits & mask).sum()
        if len(self._entries):
            rows, codes = self._all_entries()
            if mask is not None:
                codes = codes[bits_at(mask, rows)]
            scanning.count(codes, None, counts)
        return counts[1:]

    def _all_entries(self) -> tuple[Array, Array]:
        """Rows and codes of the entries. Raises DamageError."""
        self._check(self._entries)
        codes = self._codes
        if self._starts is not None:
            starts = self._starts.astype(np.int64)
            lengths = starts[1:] - starts[:-1]
            if len(lengths) and (lengths.min() < 0 or lengths.sum() != len(self._entries)):
                raise DamageError("a column has runs that are not as long as its entries")
            codes = np.repeat(codes, lengths)
        return self._entries, codes

    def pairs(self, mask: Bits | None) -> Iterator[tuple[Offsets, Array]]:
        """Rows of a mask and their codes, in pieces. Raises DamageError."""
        if self._dense is not None:
            some = self._dense != 0
            if mask is not None:  # before rows are numbers: their bits one by one take ten times
                some &= unpack_bits(mask, self.rows)
            rows = np.flatnonzero(some)
            yield rows, self._dense[rows]
        for code, bits in zip(self._common, self._bits, strict=True):
            rows = np.flatnonzero(unpack_bits(bits if mask is None else bits & mask, self.rows))
            yield rows, np.full(len(rows), code)
        if len(self._entries):
            entries, codes = self._all_entries()
            if mask is not None:
                chosen = bits_at(mask, entries)
                entries, codes = entries[chosen], codes[chosen]
            yield entries.astype(np.int64), codes

    # -- bytes ---------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Of the arrays."""
        arrays = (
            self._dense, self._common, self._bits, self._codes, self._starts, self._entries
        )  # fmt: skip
        return sum(array.nbytes for array in arrays if array is not None)

    def pack(self, writer: Writer) -> list[Any]:
        """The facts that ``read`` reads."""
        return [
            None if self._dense is None else writer.put(self._dense),
            writer.put(self._common),
            writer.put(self._bits),
            writer.put(self._codes),
            None if self._starts is None else writer.put(self._starts),
            writer.put(self._entries),
        ]

    @classmethod
    def read(cls, facts: Any, reader: Reader, rows: int) -> Section:
        """Raises DamageError."""
        if type(facts) is not list or len(facts) != 6:
            raise DamageError(f"no section is {facts!r:.60}")
        dense, common, bits, codes, starts, entries = facts
        of_common, of_entries = reader.array(common), reader.array(entries)
        size = -(-rows // 8)
        of_codes = reader.array(codes, len(of_entries) if starts is None else None)
        return cls(
            rows,
            None if dense is None else reader.array(dense, rows),
            of_common,
            reader.array(bits, len(of_common) * size, width=1).reshape(-1, size),
            of_codes,
            None if starts is None else reader.array(starts, len(of_codes) + 1),
            of_entries,
        )

    def verify(self, most: int) -> None:
        """Raises DamageError for a code beyond ``most``, a row beyond the last, and entries that
        are not sorted."""
        if self._dense is not None and int(self._dense.max(initial=0)) > most:
            raise DamageError(f"a column has a code beyond {most}")
        rows, codes = self._all_entries()
        common = np.append(self._common, np.uint64(most) + np.uint64(1))
        if not ((common[1:] > common[:-1]).all() and common[0] >= 1):
            raise DamageError("a column has bits of a code that none of its values has")
        order = (codes[1:] > codes[:-1]) | ((codes[1:] == codes[:-1]) & (rows[1:] > rows[:-1]))
        inside = (codes >= 1) & (codes <= most)
        if not (order.all() and inside.all()):
            raise DamageError("a column has entries that are not sorted")


class _Sparse(NamedTuple):
    """Codes and the rows that have them, without those of ``dense``."""

    rows: int
    codes: Array  # of each entry, sorted
    owners: Offsets
    runs: Offsets  # where those of a code begin
    lengths: Offsets

    @classmethod
    def of(cls, rows: int, owners: Offsets, codes: Array) -> _Sparse:
        order = np.argsort(codes, kind="stable")  # the owners are sorted
        owners, codes = owners[order], codes[order]
        new = np.ones(len(codes), dtype=np.bool_)
        new[1:] = (codes[1:] != codes[:-1]) | (owners[1:] != owners[:-1])
        owners, codes = owners[new], codes[new]
        runs = np.flatnonzero(np.diff(codes, prepend=codes.dtype.type(0)))
        return cls(rows, codes, owners, runs, np.diff(runs, append=len(codes)))

    def _are_common(self, row_type: np.dtype[Any]) -> npt.NDArray[np.bool_]:
        """Whether the rows of a code are shorter as bits."""
        return self.lengths * row_type.itemsize > -(-self.rows // 8)

    def size(self, dtype: np.dtype[Any], row_type: np.dtype[Any]) -> int:
        """The bytes of ``arrays``, nearly."""
        common = self._are_common(row_type)
        entries, runs = int(self.lengths[~common].sum()), int((~common).sum())
        each = dtype.itemsize
        of_codes = min(runs * (each + 4) + 4, entries * each)
        bits = int(common.sum()) * (each + -(-self.rows // 8))
        return bits + of_codes + entries * row_type.itemsize

    def arrays(
        self, dtype: np.dtype[Any], row_type: np.dtype[Any]
    ) -> tuple[Array, Bits, Array, Array | None, Array]:
        """What a section keeps."""
        common = self._are_common(row_type)
        bits = np.zeros((int(common.sum()), -(-self.rows // 8)), dtype=np.uint8)
        for at, run in enumerate(np.flatnonzero(common).tolist()):
            flags = np.zeros(self.rows, dtype=np.bool_)
            flags[self.owners[self.runs[run] : self.runs[run] + self.lengths[run]]] = True
            bits[at] = pack_bits(flags)
        kept = np.repeat(~common, self.lengths)
        codes, lengths = self.codes[kept], self.lengths[~common]
        starts = None
        if len(lengths) * (dtype.itemsize + 4) + 4 < len(codes) * dtype.itemsize:
            starts = np.append(0, np.cumsum(lengths)).astype(narrowest(len(codes)))
            codes = self.codes[self.runs[~common]]
        return (
            self.codes[self.runs[common]],
            bits,
            codes,
            starts,
            self.owners[kept].astype(row_type),
        )


def _run(codes: Array, interval: Interval) -> tuple[int, int]:
    """Where the codes of an interval stand among sorted ones."""
    last = np.iinfo(codes.dtype).max
    if interval[0] > last:
        return len(codes), len(codes)
    begin = np.searchsorted(codes, codes.dtype.type(interval[0]), side="left")
    end = np.searchsorted(codes, codes.dtype.type(min(interval[1], last)), side="right")
    return int(begin), int(end)
