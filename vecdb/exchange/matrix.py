"""Files of bare vectors, one row behind the other: ``.npy``, ``.fvecs`` and ``.fbin``.

They hold the vectors of one name. What else points have stands in files beside them (`beside`). A
format is a way to map the rows, and what is written before all rows and before each of them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb.errors import InvalidInputError
from vecdb.exchange import beside
from vecdb.exchange.columns import (
    ROWS,
    Columns,
    Tick,
    Whole,
    dims_of,
    floats,
    must_be_matrix,
    must_be_numbers,
    source_error,
)
from vecdb.exchange.npy_head import npy_head
from vecdb.storage.fs import AppendFile
from vecdb.vectors.block import VectorBlock

Rows = Callable[[int, int], npt.NDArray[Any]]
"""Gives the rows from one number to before another."""

_LITTLE: np.dtype[Any] = np.dtype("<f4")
_ELEMENTS: dict[str, np.dtype[Any]] = {
    ".fvecs": np.dtype("<f4"),
    ".bvecs": np.dtype("u1"),
    ".ivecs": np.dtype("<i4"),
    ".fbin": np.dtype("<f4"),
    ".u8bin": np.dtype("u1"),
    ".i8bin": np.dtype("i1"),
}
"""What a number of a vector is, by how the file's name ends."""


class Matrix:
    """The points of a file of bare vectors, and of what stands beside it."""

    def __init__(self, path: Path, count: int, dim: int, rows: Rows) -> None:
        self._path = path
        self._rows = rows
        self._ids = beside.read_ids(path, count)
        beside.require_payloads(path, count)
        self.count = count
        self.config = beside.read_config(path)
        known = {} if self.config is None else dims_of(self.config)
        self.dims = {next(iter(known), ""): dim}

    def columns(
        self, rows: int, names: Sequence[str] | None = None, with_payload: bool = True
    ) -> Iterator[Columns]:
        """All points; without ids beside them, they have the numbers of their rows."""
        (name,) = self.dims
        payloads = beside.read_payloads(self._path) if with_payload else None
        for start in range(0, self.count, rows):
            stop = min(start + rows, self.count)
            vectors = {}
            if names is None or name in names:
                vectors[name] = VectorBlock(floats(self._rows(start, stop)))
            ids = beside.ids_or_numbers(self._ids, start, stop)
            some = payloads and beside.take_payloads(payloads, stop - start, self._path)
            yield Columns(ids, vectors, some or None)


def _write(whole: Whole, path: Path, tick: Tick, head: bytes, before_each: bytes) -> None:
    """Write the vectors, which every point has, and the files beside them."""
    ((name, dim),) = whole.dims.items()
    file = AppendFile(path)
    try:
        file.append([head])
        for columns in whole.columns(ROWS, with_payload=False):
            values = np.ascontiguousarray(columns.vectors[name].values, dtype=_LITTLE)
            rows = values.view(np.uint8).reshape(-1, 4 * dim)
            if before_each:
                mark = np.frombuffer(before_each, dtype=np.uint8)
                rows = np.hstack([np.broadcast_to(mark, (len(rows), len(mark))), rows])
            file.append([rows])
            tick(len(columns))
        file.sync()
    finally:
        file.close()
    beside.write_ids_and_payloads(whole, path)
    beside.write_config(whole, path)


# -- .npy ----------------------------------------------------------------------------------------


def write_npy(whole: Whole, path: Path, tick: Tick) -> None:
    """Write a ``float32 (n, dim)`` array for ``numpy.load``."""
    (dim,) = whole.dims.values()
    _write(whole, path, tick, npy_head((whole.count, dim), _LITTLE), b"")


def open_npy(path: Path) -> Matrix:
    """A two-dimensional array of any numbers, in C or Fortran order. Raises InvalidInputError."""
    try:
        array = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise source_error(path, error) from None
    if not isinstance(array, np.ndarray):
        raise InvalidInputError(f"{path}: expected one array, got an archive of several")
    count, dim = must_be_matrix(array.shape, str(path))
    must_be_numbers(array.dtype, str(path))
    return Matrix(path, count, dim, lambda start, stop: array[start:stop])


# -- .fvecs: before each vector its length -------------------------------------------------------


def write_fvecs(whole: Whole, path: Path, tick: Tick) -> None:
    """Write ``int32`` length and ``float32`` numbers of each vector."""
    (dim,) = whole.dims.values()
    _write(whole, path, tick, b"", struct.pack("<i", dim))


def open_vecs(path: Path) -> Matrix:
    """A file in which the length stands before each vector. Raises InvalidInputError."""
    element = _element(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(4)
    known = beside.read_config(path)
    if not head and known is not None:  # of no points at all
        head = struct.pack("<i", *dims_of(known).values())
    if len(head) < 4:
        raise InvalidInputError(f"{path}: expected a length and a vector, got {len(head)} bytes")
    (dim,) = struct.unpack("<i", head)
    row = np.dtype([("dim", "<i4"), ("vector", element, (max(dim, 0),))])
    if dim < 1 or size % row.itemsize:
        raise InvalidInputError(
            f"{path}: expected rows of {row.itemsize} bytes, as the first has {dim} numbers, got a "
            f"file of {size} bytes"
        )

    def rows(start: int, stop: int) -> npt.NDArray[Any]:
        some = np.fromfile(path, row, stop - start, offset=start * row.itemsize)
        other = np.flatnonzero(some["dim"] != dim)
        if len(other):
            raise InvalidInputError(
                f"{path}: row {start + other[0]}: expected {dim} numbers, got "
                f"{some['dim'][other[0]]}"
            )
        return some["vector"]

    return Matrix(path, size // row.itemsize, dim, rows)


# -- .fbin: the shape before all -----------------------------------------------------------------


def write_fbin(whole: Whole, path: Path, tick: Tick) -> None:
    """Write ``uint32`` count and dimension, then the ``float32`` numbers."""
    (dim,) = whole.dims.values()
    _write(whole, path, tick, struct.pack("<II", whole.count, dim), b"")


def open_bin(path: Path) -> Matrix:
    """A file with count and dimension in its head. Raises InvalidInputError."""
    element = _element(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
    count, dim = struct.unpack("<II", head) if len(head) == 8 else (0, 0)
    expected = 8 + count * dim * element.itemsize
    if not dim or size != expected:
        raise InvalidInputError(
            f"{path}: expected {expected} bytes for {count} vectors of {dim} numbers, got {size}"
        )

    def rows(start: int, stop: int) -> npt.NDArray[Any]:
        offset = 8 + start * dim * element.itemsize
        return np.fromfile(path, element, (stop - start) * dim, offset=offset).reshape(-1, dim)

    return Matrix(path, count, dim, rows)


def _element(path: Path) -> np.dtype[Any]:
    """The type of a number; of a name that does not say it, ``float32``."""
    return _ELEMENTS.get(path.suffix, _LITTLE)
