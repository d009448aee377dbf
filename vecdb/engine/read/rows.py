"""Reading whole rows out of a view: vectors gathered across segments, payloads, names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb import ids, models
from vecdb.engine.view import Offsets, SegmentView, View
from vecdb.errors import CorruptionError
from vecdb.payload import encoding
from vecdb.storage.format import DamageError
from vecdb.vectors.blocks import Block, concat, none_of
from vecdb.vectors.multi import MultiBlock
from vecdb.vectors.sparse import SparseBlock

_AT_ONCE = 1024
"""Rows of which the payloads are in memory together."""


def gather(view: View, where: npt.NDArray[np.int64], rows: Offsets, name: str) -> Block:
    """The vectors of located rows; of one that is nowhere, -1, none."""
    parts, places = [], []
    for number in np.unique(where).tolist():
        mine = np.flatnonzero(where == number)
        places.append(mine)
        if number < 0:
            parts.append(none_of(len(mine), view.schema[name].dim))
        else:
            parts.append(view.segments[number].segment.block(name, rows[mine]))
    if len(parts) == 1:
        return parts[0]
    order = np.empty(len(rows), dtype=np.int64)
    order[np.concatenate(places)] = np.arange(len(rows))
    gathered: Block = concat(parts).take(order)
    return gathered


def read_payload(segment_view: SegmentView, row: int) -> dict[str, Any]:
    """The decoded payload of one row. Raises CorruptionError."""
    return decoded(segment_view, row, segment_view.payload(row))


def in_pieces(rows: Offsets) -> Iterator[Offsets]:
    """The rows, some at a time."""
    return (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))


def decoded(
    segment_view: SegmentView,
    row: int,
    data: Any,
    decode: Callable[[Any], dict[str, Any]] = encoding.decode,
) -> dict[str, Any]:
    """The payload of one row from its stored form, or of it what ``decode`` reads. Raises
    CorruptionError."""
    try:
        return decode(data)
    except DamageError as error:
        point = ids.external(segment_view.segment.key(row))
        raise CorruptionError(f"payload of point {point}", str(error)) from None


def read_payloads(segment_view: SegmentView, offsets: Offsets) -> list[dict[str, Any]]:
    """The decoded payloads of several rows. Raises CorruptionError."""
    try:
        return [encoding.decode(payload) for payload in segment_view.payloads(offsets)]
    except DamageError:
        for row in offsets.tolist():
            read_payload(segment_view, row)  # names the point
        raise


def vector_names(view: View, segment_view: SegmentView, row: int) -> list[str]:
    """The names of the vectors one row has."""
    one = np.array([row], dtype=np.int64)
    names = []
    for name in view.schema:
        flags = segment_view.segment.has(name, one)
        if flags is None or flags[0]:
            names.append(name)
    return names


def _external(block: Block) -> Any:
    """What callers see of the one vector of a block."""
    if isinstance(block, SparseBlock):
        indices, values = block.row(0)
        return models.SparseVector(indices=indices, values=values)
    if isinstance(block, MultiBlock):
        return block.row(0).tolist()
    return block.values[0].tolist()


def vectors_of(view: View, segment_view: SegmentView, row: int, names: list[str] | None) -> Any:
    """What callers see of one row's vectors: the numbers of the unnamed one, if there is no other,
    or a dict by name, which is empty for a row without; None if none is wanted."""
    if names is None:
        return None
    one = np.array([row], dtype=np.int64)
    has = vector_names(view, segment_view, row)
    by_name = {n: _external(segment_view.segment.block(n, one)) for n in names if n in has}
    return by_name[""] if list(by_name) == [""] else by_name
