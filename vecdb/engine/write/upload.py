"""Uploads: any shape of many points, cut into batches, with a progress bar if wanted."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from vecdb.errors import InvalidInputError


def size_of_batches(value: Any) -> int:
    """Check ``batch_size``: at least one; None is as if not given. Raises InvalidInputError."""
    if value is None:
        return 1000
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InvalidInputError(f"batch_size: expected an integer >= 1, got {value!r:.60}")
    return min(int(value), sys.maxsize)


def iterator(values: Any, what: str) -> Iterator[Any]:
    """Iterate over a list, an array or an iterable. Raises InvalidInputError."""
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__iter__"):
        raise InvalidInputError(f"{what}: expected a list or an iterable, got {shown(values)}")
    if isinstance(values, np.ndarray) and values.ndim == 0:
        raise InvalidInputError(f"{what}: expected a list or an iterable, got a scalar")
    return iter(values)


def shown(value: Any) -> str:
    """A value in an error message."""
    return f"{type(value).__name__} {value!r:.60}"


def batches(points: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of at most ``size`` points."""
    stream = iterator(points, "points")
    while batch := list(islice(stream, size)):
        yield batch


def take(column: Iterator[Any], count: int, done: int, what: str) -> list[Any]:
    """The next ``count`` of a column, one for each of as many vectors. Raises InvalidInputError."""
    values = list(islice(column, count))
    if len(values) < count:
        raise InvalidInputError(
            f"{what}: expected one for each of vectors, but they ended after {done + len(values)}; "
            f"the first {done} points are written"
        )
    return values


def require_used(column: Any, done: int, what: str) -> None:
    """Raise InvalidInputError if a column of a known length had more than there were vectors."""
    if hasattr(column, "__len__") and len(column) > done:
        raise InvalidInputError(
            f"{what}: expected {done}, one for each of vectors, got {len(column)}; "
            f"the first {done} points are written"
        )


def random_ids() -> Iterator[str]:
    """New ids without end."""
    while True:
        yield str(uuid.uuid4())


def equal_lengths(vectors: Any, payload: Any, ids: Any) -> int | None:
    """How many rows, as far as that can be told before anything is written."""
    if isinstance(vectors, Mapping):
        columns = {f"vectors[{name!r}]": rows for name, rows in vectors.items()}
        if not columns:
            raise InvalidInputError(
                "vectors: expected at least one array, got an empty dict; for points without "
                "vectors give one {} a point"
            )
        for what, rows in columns.items():
            if not hasattr(rows, "__len__"):
                raise InvalidInputError(f"{what}: expected an array, got {shown(rows)}")
    else:
        columns = {"vectors": vectors}
    first = next(iter(columns))
    columns |= {k: v for k, v in (("ids", ids), ("payload", payload)) if v is not None}
    total = None
    for what, column in columns.items():
        iterator(column, what)
        if not hasattr(column, "__len__"):
            continue
        if what == first:
            total = len(column)
        elif total is not None and len(column) != total:
            raise InvalidInputError(
                f"{what}: expected {total}, one for each of {first}, got {len(column)}"
            )
    return total


def vector_batches(vectors: Any, size: int) -> Iterator[tuple[Any, int]]:
    """Batches of vectors with their count, at most ``size`` rows each."""
    if isinstance(vectors, Mapping):
        count = len(next(iter(vectors.values())))
        for start in range(0, count, size):
            by_name = {name: rows[start : start + size] for name, rows in vectors.items()}
            yield by_name, min(size, count - start)
    elif isinstance(vectors, np.ndarray):
        for start in range(0, len(vectors), size):
            rows = vectors[start : start + size]
            yield rows, len(rows)
    else:
        for batch in batches(vectors, size):
            yield _by_name(batch), len(batch)


def _by_name(rows: list[Any]) -> Any:
    """Columns, if the rows are dicts of vectors by name."""
    if not all(isinstance(row, Mapping) for row in rows):
        return rows
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


class ProgressBar:
    """A progress bar on standard error, or nothing."""

    def __init__(self, shown: bool, total: int | None) -> None:
        self._bar: Any = None
        if shown:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=" points", unit_scale=True)

    def __enter__(self) -> Callable[[int], Any]:
        return self._bar.update if self._bar is not None else lambda count: None

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
