"""Short reads: those that an event loop can do itself.

To hand a call to a thread and wait for it takes 50 to 100 microseconds of the loop and of the
thread, as both need the interpreter; a search of a small collection takes less. So a read that is
sure to be short runs in the loop, and all others in threads. It must be *sure*: the loop stands
still meanwhile, so what counts is the worst that the state allows, not the usual.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from msgspec import Struct

from vecdb import models
from vecdb.engine.read.columns import is_ready
from vecdb.engine.read.masks import bounds
from vecdb.engine.read.reader import condition
from vecdb.engine.schema import VectorSchema
from vecdb.engine.view import Segment, SegmentView, View
from vecdb.errors import InvalidInputError
from vecdb.storage import files
from vecdb.storage.memory import MemorySegment
from vecdb.storage.segment import FileSegment

_SCANNED = 1 << 19
"""So many values (2 MiB of vectors: 0.1 ms) may be in rows without an index."""
_AT_WORST = 1 << 22
"""And so many (16 MiB: 2 ms) in all rows: a query unlike them may be compared with each, index or
not."""
_RESULTS = 32
_SEGMENTS = 8
_PAYLOAD_BYTES = 1 << 12
"""Of a point, on average: 32 of them are decoded in about a millisecond."""

_CONDITIONS = 128
"""Values in a filter, with what holds them: to know whether it is remembered, it is compiled."""

_Way = tuple[str, bool]
"""How a segment is searched: by which vector name, and whether all rows are allowed."""
_warm: WeakKeyDictionary[Segment, set[_Way]] = WeakKeyDictionary()
"""How segments were searched in a thread. The first such search loads kernels (with numba, half a
second) and verifies what it reads."""


def is_short(view: View, verb: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a verb of ``Collection`` with these arguments, by name, is sure to be short.

    A search is, of at most 32 results, neither exact nor explained, if the segments were searched
    in this way before, few rows have no index, few rows there are at all, and it is remembered
    which of them match the filter. So is looking up at most 32 ids, and counting all points. Of
    anything else that is not known.
    """
    rule = _RULES.get(verb)
    return rule is not None and rule(view, arguments)


def mark_warm(before: View, after: View, arguments: Mapping[str, Any]) -> None:
    """A search with these arguments, in a thread, saw a view between these two."""
    name = _vector_name(after, arguments)
    if name is not None:
        chosen = _chooses(arguments)
        seen = {segment_view.segment for segment_view in before.segments if segment_view.live}
        for segment_view in after.segments:
            if segment_view.segment in seen:
                way = _way(segment_view, name, chosen)
                _warm.setdefault(segment_view.segment, set()).add(way)


def _chooses(arguments: Mapping[str, Any]) -> bool:
    """Whether a search leaves out rows: by a filter, or the one that is the query."""
    return arguments.get("query_filter") is not None or isinstance(
        arguments.get("query"), (int, str)
    )


def _way(segment_view: SegmentView, name: str, chosen: bool) -> _Way:
    every = segment_view.alive is None and not chosen
    return name, every and segment_view.segment.present(name, segment_view.rows) is None


def _search(view: View, arguments: Mapping[str, Any]) -> bool:
    given = {name: value for name, value in arguments.items() if value is not None}
    name = _vector_name(view, given)
    if name is None or not given.keys() <= _OF_SEARCHES or given.get("explain"):
        return False
    count = _whole(given.get("limit", 10)) + _whole(given.get("offset", 0))
    if count > _RESULTS or given.get("with_vectors", False) is not False:
        return False
    if "search_params" in given and _is_exact(given["search_params"]):
        return False
    if given.get("with_payload", True) is not False and not _payloads_are_small(view):
        return False
    if not _is_little(view, view.schema[name], _chooses(given)):
        return False
    return "query_filter" not in given or _is_remembered(view, given["query_filter"])


def _is_little(view: View, vector: VectorSchema, chosen: bool) -> bool:
    """Whether little is read, at worst, for the nearest points to one query."""
    if vector.is_ragged:  # what its postings take is not known before
        return False
    scanned = total = segments = 0
    for segment_view in view.segments:
        if segment_view.live == 0:
            continue
        segment, values = segment_view.segment, segment_view.rows * vector.dim
        if _way(segment_view, vector.name, chosen) not in _warm.get(segment, ()):
            return False
        vectors = segment.vectors(vector.name)
        if vectors is not None and vectors.waits:  # the last search has waited for the disk
            return False
        segments += 1
        total += values
        scanned += values if segment.index(vector.name) is None else 0
    return total <= _AT_WORST and scanned <= _SCANNED and segments <= _SEGMENTS


def _is_remembered(view: View, filter: Any) -> bool:
    """Whether no payload need be read to tell which rows match."""
    if any(segment_view.edited for segment_view in view.segments):
        return False
    if _size(filter, _CONDITIONS) < 0:
        return False
    try:
        matching = condition(filter, "query_filter", view)
    except InvalidInputError:  # as the search will say
        return True
    assert matching is not None
    for segment_view in view.segments:
        if segment_view.live:
            if not is_ready(view, segment_view, matching.fields):
                return False
            surely, possibly = bounds(view, segment_view, matching)
            if (possibly & ~surely).any():
                return False
    return True


def _size(value: Any, left: int) -> int:
    """What is left of a number of values, after those in this one; negative: it has more."""
    if isinstance(value, Struct):
        value = [getattr(value, name) for name in value.__struct_fields__]
    elif isinstance(value, Mapping):
        value = list(value.values())
    elif hasattr(value, "model_dump") and hasattr(value, "__dict__"):  # one of Qdrant's
        value = list(vars(value).values())
    elif not isinstance(value, (list, tuple, str, int, float, bool, type(None))):
        return -1  # an array, or anything: not looked into
    if not isinstance(value, (list, tuple)):
        return left if value is None else left - 1
    left -= 1  # nor may it be deep
    if len(value) > left:
        return -1
    for each in value:
        left = _size(each, left)
        if left < 0:
            break
    return left


def _retrieve(view: View, arguments: Mapping[str, Any]) -> bool:
    given = {name: value for name, value in arguments.items() if value is not None}
    ids = given.get("ids")
    return (
        given.keys() <= {"ids", "with_payload", "with_vectors"}
        and isinstance(ids, (list, tuple, np.ndarray))
        and len(ids) <= _RESULTS
        and given.get("with_vectors", False) is False
        and len(view.segments) <= _SEGMENTS
        and _payloads_are_small(view)
    )


def _count(view: View, arguments: Mapping[str, Any]) -> bool:
    return all(value is None for name, value in arguments.items() if name != "exact")


def _vector_name(view: View, arguments: Mapping[str, Any]) -> str | None:
    """The name of the vectors that a plain query is compared with; None: it is not plain."""
    query, name = arguments.get("query_vector", arguments.get("query")), arguments.get("using")
    if type(query) is tuple and len(query) == 2 and isinstance(query[0], str):
        name, query = query
    if not isinstance(query, (list, tuple, np.ndarray, int, str)):
        return None
    name = "" if name is None else name
    return name if isinstance(name, str) and name in view.schema else None


def _payloads_are_small(view: View) -> bool:
    """Whether a point has few bytes of payload, on average."""
    return all(map(_has_small_payloads, view.segments))


def _has_small_payloads(segment_view: SegmentView) -> bool:
    segment = segment_view.segment
    if segment_view.edits.files or segment_view.edits.size > _PAYLOAD_BYTES:
        return False
    if isinstance(segment, FileSegment):
        size = segment.arrays[files.PAYLOAD.file("")].header.data_size
    else:
        size = segment.payload_bytes if isinstance(segment, MemorySegment) else 0
    return size <= _PAYLOAD_BYTES * segment_view.rows


def _is_exact(params: Any) -> bool:
    try:
        return models.coerce(models.SearchParams, params, "search_params").exact
    except InvalidInputError:  # the search says so, and sooner than a thread
        return False


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else _RESULTS + 1


_OF_SEARCHES = frozenset(
    {
        "explain",
        "limit",
        "offset",
        "query",
        "query_filter",
        "query_vector",
        "score_threshold",
        "search_params",
        "using",
        "with_payload",
        "with_vectors",
    }
)
_RULES: dict[str, Callable[[View, Mapping[str, Any]], bool]] = {
    "count": _count,
    "query_points": _search,
    "retrieve": _retrieve,
    "search": _search,
}
