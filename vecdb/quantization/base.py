"""What every quantizer has in common: the interface, and the checks at its edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "METRICS",
    "NO_TABLES",
    "Bytes",
    "Cancelled",
    "Floats",
    "Ints",
    "Metric",
    "PreparedQuery",
    "Quantizer",
    "State",
    "as_codes",
    "as_query",
    "as_vectors",
    "check_dim",
    "check_metric",
    "distances",
    "poll",
    "state_array",
    "state_number",
    "state_rows",
]

MAX_DIM: Final = 65536
NO_TABLES: Final = np.empty((1, 0), np.uint8)
"""Stands for the tables of codes that have none, in `PreparedQuery.arguments`."""

Metric: TypeAlias = Literal["dot", "euclid", "manhattan"]
METRICS: Final[tuple[Metric, ...]] = ("dot", "euclid", "manhattan")

Floats: TypeAlias = npt.NDArray[np.float32]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Ints: TypeAlias = npt.NDArray[np.int64]
State: TypeAlias = Mapping[str, npt.NDArray[Any]]
Cancelled: TypeAlias = Callable[[], bool]


class PreparedQuery(Protocol):
    """One query, worked out for codes of one quantizer; use it on any number of blocks."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What `kernels.codes.score_codes` takes from ``tables`` to ``step``."""
        ...

    def scan(
        self,
        codes: Bytes,
        count: int,
        mask: Bytes,
        base: int,
        scores: Floats,
        rows: Ints,
        filled: int,
    ) -> int:
        """Offer the allowed ones of ``count`` rows to a running top-k.

        ``codes: uint8`` have the quantizer's ``codes_shape(count)``. Row ``i`` is offered as
        ``base + i``; ``mask`` is a bitmap of the rows that may be returned (length 0: all).
        ``scores: float32[k]``, ``rows: int64[k]`` and ``filled`` are the top-k of
        `vecdb.kernels.topk`; returns the new ``filled``.
        """
        ...

    def score_rows(self, codes: Bytes, row_numbers: Ints) -> Floats:
        """The scores, ``float32[m]``, of the rows ``row_numbers: int64[m]`` of ``codes``. Rows in
        ascending order are scored faster."""
        ...

    def score_all(self, codes: Bytes, count: int) -> Floats:
        """The scores, ``float32[count]``, of all rows of ``codes``."""
        ...


class Quantizer(Protocol):
    """Turns vectors into short codes, and scores codes against a query."""

    kind: ClassVar[str]
    strays: Ints
    """The numbers of strays, rising: their codes tell far less than those of other rows, and
    estimates tell nothing about them."""

    @property
    def metric(self) -> Metric: ...

    @property
    def dim(self) -> int: ...

    def codes_shape(self, rows: int) -> tuple[int, int]:
        """The shape of the codes of ``rows`` rows: rows, or blocks of 32, and the bytes of each.

        Codes of pieces of rows, each a multiple of 32 but the last, make up those of all.
        """
        ...

    @staticmethod
    def sample_size(dim: int) -> int:
        """How many rows ``fit`` wants to see; fewer will do, one is the least."""
        ...

    def encode(self, vectors: Floats) -> Bytes:
        """The codes of ``vectors: float32[n, dim]``, uint8 of ``codes_shape(n)``; n may be 0."""
        ...

    def errors(self, vectors: Floats) -> Floats:
        """How far codes are from ``vectors: float32[n, dim]``, up to a factor: ``float32[n]``."""
        ...

    def cut_off(self, query: Floats, near: Floats) -> float:
        """By how much codes underrate a row that is just like ``query: float32[dim]``, because they
        end where few rows go; 0 where they do not. ``near: float32[m, dim]``: rows near the query;
        under Dot, where queries are as long as they like, such a row is as long as these."""
        ...

    def prepare(self, query: Floats) -> PreparedQuery:
        """Work out what scoring ``query: float32[dim]`` needs."""
        ...

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What `from_state` needs besides kind, metric and dim: plain numeric arrays."""
        ...


def check_metric(metric: str) -> Metric:
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; known are {list(METRICS)}")
    return metric


def check_dim(dim: int) -> int:
    if not 1 <= dim <= MAX_DIM:  # before anything of that size is made
        raise ValueError(f"vectors must have 1 to {MAX_DIM} dimensions, not {dim}")
    return int(dim)


def as_vectors(vectors: Floats, dim: int | None = None, *, least: int = 0) -> Floats:
    """``vectors`` as contiguous float32[n, dim], without a copy if they are."""
    array = np.ascontiguousarray(vectors, dtype=np.float32)
    if array.ndim != 2 or (dim is not None and array.shape[1] != dim) or array.shape[1] < 1:
        wanted = "n x d" if dim is None else f"n x {dim}"
        raise ValueError(f"expected {wanted} vectors, got an array of shape {array.shape}")
    if array.shape[0] < least:
        raise ValueError("a quantizer cannot be fitted to no vectors at all")
    return array


def as_query(query: Floats, dim: int) -> Floats:
    array = np.ascontiguousarray(query, dtype=np.float32)
    if array.shape != (dim,):
        raise ValueError(f"expected a query of {dim} dimensions, got shape {array.shape}")
    return array


def as_codes(codes: Bytes, shape: tuple[int, int]) -> Bytes:
    """Refuse what kernels would read out of bounds or numba refuse with a wall of text."""
    if codes.shape != shape or codes.dtype != np.uint8:
        raise ValueError(
            f"expected codes uint8 of shape {shape}, got {codes.dtype} of shape {codes.shape}"
        )
    if not codes.flags.c_contiguous:
        raise ValueError("codes must be C-contiguous")
    return codes


def state_array(state: State, key: str, shape: tuple[int, ...]) -> Floats:
    """A copy of a float32 array of the state, checked: files may hold anything."""
    array = state.get(key)
    if array is None or array.dtype != np.float32 or array.shape != shape:
        found = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
        raise ValueError(f"quantizer state {key!r}: expected float32 of shape {shape}, got {found}")
    if not np.isfinite(array).all():
        raise ValueError(f"quantizer state {key!r} holds numbers that are not finite")
    return np.array(array, order="C", copy=True)


def state_number(state: State, key: str, least: float, most: float) -> float:
    """A number of the state, kept as float64[1], within bounds."""
    array = state.get(key)
    if array is None or array.dtype != np.float64 or array.shape != (1,):
        found = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
        raise ValueError(f"quantizer state {key!r}: expected float64 of shape (1,), got {found}")
    if not least <= array[0] <= most:  # nor is NaN
        raise ValueError(f"quantizer state {key!r}: {array[0]} is not from {least} to {most}")
    return float(array[0])


def state_rows(state: State, key: str) -> Ints:
    """Row numbers of the state, rising, kept as float64; none if there is no such array."""
    array = state.get(key)
    if array is None:
        return np.empty(0, np.int64)
    if array.dtype != np.float64 or array.ndim != 1:
        found = f"{array.dtype} of shape {array.shape}"
        raise ValueError(f"quantizer state {key!r}: expected float64 of one dimension, got {found}")
    if not ((array >= 0) & (array < 2.0**53) & (np.floor(array) == array)).all():
        raise ValueError(f"quantizer state {key!r} holds what is no row number")
    rows = array.astype(np.int64)
    if (np.diff(rows) <= 0).any():
        raise ValueError(f"quantizer state {key!r}: rows must rise")
    return rows


def distances(vectors: Floats, center: Floats) -> Floats:
    """Euclidean distances from ``center: float32[d]`` of ``vectors: float32[n, d]``."""
    with np.errstate(over="ignore"):  # infinity is far enough
        away = vectors - center
        found: Floats = np.sqrt(np.einsum("ij,ij->i", away, away))
    return found


def poll(cancelled: Cancelled | None) -> None:
    """Raise InterruptedError if the caller wants to stop."""
    if cancelled is not None and cancelled():
        raise InterruptedError("fitting a quantizer was cancelled")
