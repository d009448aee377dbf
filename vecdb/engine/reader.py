"""Reading points for callers: retrieve, scroll, count, search, each on one view."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecdb import ids, models, vectors
from vecdb.engine import masks
from vecdb.engine import search as engine
from vecdb.engine.ingest import vector_schema
from vecdb.engine.rows import gather_vectors, read_payload, read_payloads, vector_names
from vecdb.engine.schema import VectorSchema
from vecdb.engine.view import SegmentView, View
from vecdb.errors import InvalidInputError, NotFoundError
from vecdb.payload.filters import compile_filter, required_ids
from vecdb.payload.projection import project
from vecdb.storage.format import unpack_bits

_NOTHING = models.SearchParams()
_MOST = 1 << 31  # results asked for, those skipped included


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a point to return."""

    payload: Any  # True, False, list of keys, include or exclude
    vectors: list[str]  # names


def wanted(view: View, with_payload: Any, with_vectors: Any) -> Wanted:
    """Both arguments checked. Raises InvalidInputError."""
    if with_payload is not True and with_payload is not False:
        with_payload = models.parse_with_payload(with_payload)
    if with_vectors is False or with_vectors is None:
        return Wanted(with_payload, [])
    names = models.parse_with_vectors(with_vectors)
    if names is True:
        return Wanted(with_payload, list(view.schema))
    return Wanted(with_payload, [vector_schema(view.schema, n).name for n in names or []])


def condition(filter: Any, what: str) -> masks.Condition | None:
    """A filter argument, compiled; None for none. Raises InvalidInputError."""
    if filter is None:
        return None
    parsed = models.coerce(models.Filter, filter, what)
    pinned = required_ids(parsed)
    keys = None if pinned is None else sorted(map(ids.key_of, pinned))
    return masks.Condition(compile_filter(parsed), keys)


def _payload_of(part: SegmentView, row: int, selected: Any) -> dict[str, Any] | None:
    if selected is False:
        return None
    payload = read_payload(part, row)
    return payload if selected is True else project(payload, selected)


def _vectors_of(view: View, part: SegmentView, row: int, names: list[str]) -> Any:
    if not names:
        return None
    one = np.array([row], dtype=np.int64)
    has = vector_names(view, part, row)
    found = {n: part.segment.take(n, one)[0].tolist() for n in names if n in has}
    return found.get("") if "" in view.schema else found


def retrieve(view: View, keys: list[int], want: Wanted) -> list[models.Record]:
    """The points that exist, in the order asked for."""
    where, rows = view.locate(keys)
    records = []
    for key, number, row in zip(keys, where.tolist(), rows.tolist(), strict=True):
        if number < 0:
            continue
        part = view.segments[number]
        records.append(
            models.Record(
                ids.external(key),
                _payload_of(part, row, want.payload),
                _vectors_of(view, part, row, want.vectors),
            )
        )
    return records


def scroll(
    view: View, filter: masks.Condition | None, limit: int, start: int, want: Wanted
) -> tuple[list[models.Record], int | str | None]:
    """``limit`` points in id order from ``start`` (a key), and the id to go on with."""
    records: list[models.Record] = []
    tests: dict[int, Callable[[int], bool]] = {}
    for key, part, row in view.in_order(start):
        if filter is not None:
            test = tests.get(id(part))
            if test is None:
                test = tests[id(part)] = masks.row_test(view, part, filter.predicate)
            if not test(row):
                continue
        if len(records) == limit:
            return records, ids.external(key)
        records.append(
            models.Record(
                ids.external(key),
                _payload_of(part, row, want.payload),
                _vectors_of(view, part, row, want.vectors),
            )
        )
    return records, None


def count(view: View, filter: masks.Condition | None) -> int:
    """How many live points match."""
    if filter is None:
        return view.live
    return sum(
        int(np.bitwise_count(masks.matching(view, part, filter)).sum())
        for part in view.segments
        if part.live
    )


def matching_keys(view: View, filter: masks.Condition) -> list[int]:
    """The keys of the live points that match."""
    keys = []
    for part in view.segments:
        if part.live:
            flags = masks.matching(view, part, filter)
            rows = np.flatnonzero(unpack_bits(flags, part.rows))
            keys += [part.segment.key(row) for row in rows.tolist()]
    return keys


def search(
    view: View,
    query: Any,
    using: str | None,
    filter: Any,
    params: Any,
    limit: Any,
    offset: Any,
    with_payload: Any,
    with_vectors: Any,
    score_threshold: Any,
    explained: list[models.SegmentSearch] | None = None,
) -> list[models.ScoredPoint]:
    """One search from raw arguments. Raises InvalidInputError, NotFoundError."""
    vector, array, excluded = _query(view, query, using)
    params = _params(params)
    limit, offset = _page(limit, offset)
    want = wanted(view, with_payload, with_vectors)
    threshold = _threshold(score_threshold)
    hits = engine.search(
        view,
        vector,
        array,
        limit + offset,
        params,
        condition(filter, "query_filter"),
        excluded,
        explained,
    )
    scores = engine.public_scores(vector.metric, hits.scores)
    start, stop = offset, len(scores)
    if threshold is not None:
        while stop > start and not engine.passes(vector.metric, scores[stop - 1], threshold):
            stop -= 1
    return _scored_points(view, scores, hits, range(start, stop), want)


def _scored_points(
    view: View, scores: list[float], hits: engine.Hits, places: range, want: Wanted
) -> list[models.ScoredPoint]:
    """What callers see of some hits. Rows of one segment are read together."""
    points: list[Any] = [None] * len(places)
    remaining = list(places)
    while remaining:
        part = hits.parts[remaining[0]]
        mine = [place for place in remaining if hits.parts[place] is part]
        remaining = [place for place in remaining if hits.parts[place] is not part]
        rows = np.array([hits.rows[place] for place in mine], dtype=np.int64)
        keys = ids.from_array(part.segment.id_array(rows))
        seqs = part.segment.seq_array(rows).tolist()
        payloads: list[Any] = [None] * len(mine)
        if want.payload is not False:
            payloads = read_payloads(part, rows)
            if want.payload is not True:
                payloads = [project(payload, want.payload) for payload in payloads]
        for place, key, seq, payload in zip(mine, keys, seqs, payloads, strict=True):
            found = (
                _vectors_of(view, part, hits.rows[place], want.vectors) if want.vectors else None
            )
            points[place - places.start] = models.ScoredPoint(
                ids.external(key), seq, scores[place], payload, found
            )
    return points


def first_points(
    view: View,
    using: Any,
    filter: Any,
    params: Any,
    limit: Any,
    offset: Any,
    with_payload: Any,
    with_vectors: Any,
    score_threshold: Any,
) -> list[models.ScoredPoint]:
    """A search without a query: points in id order, score 0. Raises InvalidInputError."""
    if using is not None:
        vector_schema(view.schema, using)
    _params(params)
    _threshold(score_threshold)
    limit, offset = _page(limit, offset)
    want = wanted(view, with_payload, with_vectors)
    records, _ = scroll(view, condition(filter, "query_filter"), limit + offset, 0, want)
    return [models.ScoredPoint(r.id, 0, 0.0, r.payload, r.vector) for r in records[offset:]]


def _params(params: Any) -> models.SearchParams:
    if params is None:
        return _NOTHING
    return models.coerce(models.SearchParams, params, "search_params")


def _page(limit: Any, offset: Any) -> tuple[int, int]:
    limit = _whole(limit, "limit", least=1)
    offset = 0 if offset is None else _whole(offset, "offset", least=0)
    if limit + offset > _MOST:
        raise InvalidInputError(f"limit + offset: expected at most {_MOST}, got {limit + offset}")
    return limit, offset


def _threshold(value: Any) -> float | None:
    return None if value is None else _number(value, "score_threshold")


def _query(
    view: View, query: Any, using: str | None
) -> tuple[VectorSchema, engine.Floats, int | None]:
    """The vector to search with, its schema, and the point to leave out (a query by id)."""
    name = using
    if type(query) is tuple and len(query) == 2 and isinstance(query[0], str):
        name, query = query
    elif isinstance(query, Mapping) or hasattr(query, "vector"):
        named = models.coerce(models.NamedVector, query, "query_vector")
        name, query = named.name, named.vector
    elif hasattr(query, "nearest"):
        query = query.nearest
    if using is not None and name != using:
        raise InvalidInputError(f"using: expected {name!r}, as the query says, got {using!r:.60}")
    vector = vector_schema(view.schema, "" if name is None else name)
    cosine = vector.distance is models.Distance.COSINE
    if isinstance(query, (int, str)) or type(query).__name__ == "UUID":
        key = ids.key_of(query)
        where, rows = view.locate([key])
        if where[0] < 0:
            raise NotFoundError(f"query: point {query!r} does not exist")
        found, has = gather_vectors(view, where, rows, vector.name)
        if not has[0]:
            raise NotFoundError(f"query: point {query!r} has no vector {vector.name!r}")
        return vector, found[0], key
    what = "query vector" if not vector.name else f"query vector {vector.name!r}"
    return vector, vectors.to_query(query, vector.dim, normalize=cosine, what=what), None


def _whole(value: Any, what: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InvalidInputError(f"{what}: expected an integer >= {least}, got {value!r:.60}")
    return int(value)


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InvalidInputError(f"{what}: expected a number, got {value!r:.60}")
    if value != value:  # NaN: nothing is as good as it
        raise InvalidInputError(f"{what}: expected a number, got {value!r:.60}")
    return float(value)
