"""Searching for callers: raw arguments in, checked; points out, best first.

Requests that differ in nothing but their vector go through the segments together: they share what
is read (see ``scan.py``), and large ones are spread over the processors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecdb import ids, models, vectors
from vecdb.engine.read import pages
from vecdb.engine.read import search as engine
from vecdb.engine.read.masks import Condition, digest_of
from vecdb.engine.read.reader import Wanted, condition, scroll, wanted
from vecdb.engine.read.rows import gather_vectors, read_payloads, vectors_of
from vecdb.engine.schema import VectorSchema, vector_schema
from vecdb.engine.view import SegmentView, View
from vecdb.errors import InvalidInputError, NotFoundError
from vecdb.models.reading import fields_of

_NOTHING = models.SearchParams()
_PLAIN = frozenset({np.ndarray, list, int, str})  # of queries
_MOST = 1 << 31  # results asked for, those skipped included


@dataclass(slots=True)
class Request:
    """One search, checked. ``excluded`` is the point that is the query."""

    vector: VectorSchema
    query: engine.Floats
    excluded: int | None
    condition: Condition | None
    params: models.SearchParams
    limit: int
    offset: int
    wanted: Wanted
    threshold: float | None


def request(
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
) -> Request:
    """One search from raw arguments. Raises InvalidInputError, NotFoundError."""
    vector, array, excluded = _query(view, query, using)
    params = _params(params)
    limit, offset = page(limit, offset)
    want = wanted(view, with_payload, with_vectors)
    threshold = _threshold(score_threshold)
    matching = condition(filter, "query_filter")
    return Request(vector, array, excluded, matching, params, limit, offset, want, threshold)


def requests(view: View, raw: Sequence[tuple[Any, ...]]) -> list[Request]:
    """Several searches, each the arguments of ``request`` after the view. What is the same as in
    the one before is not checked again."""
    checked: list[Request] = []
    before: list[Any] = []
    for query, *rest in raw:
        if checked and rest == before and _are_one(before[1], rest[1]):
            last = checked[-1]
            vector, array, excluded = _query(view, query, rest[0])
            # Spelled out: dataclasses.replace takes a third of the time of checking all.
            same = (last.condition, last.params, last.limit, last.offset, last.wanted)
            checked.append(Request(vector, array, excluded, *same, last.threshold))
        else:
            checked.append(request(view, query, *rest))
            before = rest
    return checked


def _are_one(filter: models.Filter | None, other: models.Filter | None) -> bool:
    """Whether two filters that ``==`` says are the same are so."""
    if filter is None or other is None:
        return filter is other
    digest = digest_of(filter)
    return digest is not None and digest == digest_of(other)


def search(
    view: View, request: Request, explained: list[models.SegmentSearch] | None = None
) -> list[models.ScoredPoint]:
    """The answer to one request."""
    [hits] = _hits(view, [request], explained)
    return _answer(view, request, hits)


def search_batch(view: View, requests: Sequence[Request]) -> list[list[models.ScoredPoint]]:
    """The answers to several requests, each as if it were the only one."""
    groups: dict[Any, list[int]] = {}
    for number, asked in enumerate(requests):
        key: Any = asked.vector.name, asked.limit, asked.offset, asked.params, id(asked.condition)
        if asked.excluded is not None:
            key = number  # alone: its rows are its own
        groups.setdefault(key, []).append(number)
    answers: list[list[models.ScoredPoint]] = [[] for _ in requests]
    for numbers in groups.values():
        group = [requests[number] for number in numbers]
        for number, hits in zip(numbers, _hits(view, group), strict=True):
            answers[number] = _answer(view, requests[number], hits)
    return answers


def _hits(
    view: View,
    requests: Sequence[Request],
    explained: list[models.SegmentSearch] | None = None,
) -> list[engine.Hits]:
    """The page of each of some requests that differ in their vectors only."""
    first = requests[0]
    queries = first.query[None] if len(requests) == 1 else np.stack([r.query for r in requests])
    return pages.page(
        view,
        first.vector,
        queries,
        first.limit,
        first.offset,
        first.params,
        first.condition,
        first.excluded,
        explained,
    )


def _answer(view: View, asked: Request, hits: engine.Hits) -> list[models.ScoredPoint]:
    metric, threshold = asked.vector.metric, asked.threshold
    scores = engine.public_scores(metric, hits.scores)
    stop = len(scores)
    if threshold is not None:
        while stop and not engine.passes(metric, scores[stop - 1], threshold):
            stop -= 1
    if stop < len(scores):
        hits, scores = hits.between(0, stop), scores[:stop]
    points: list[Any] = [None] * len(scores)
    for part, places, rows in hits.found:  # rows of one segment are read together
        keys = ids.from_array(part.segment.id_array(rows))
        seqs = part.seqs(rows).tolist()
        payloads, vectors = _beside(view, part, rows, asked.wanted)
        columns = zip(places, keys, seqs, payloads, vectors, strict=True)
        for place, key, seq, payload, vector in columns:
            score = scores[place]
            points[place] = models.ScoredPoint(ids.external(key), seq, score, payload, vector)
    return points


def _beside(
    view: View, part: SegmentView, rows: engine.Offsets, want: Wanted
) -> tuple[Iterable[Any], Iterable[Any]]:
    """Payloads and vectors of some rows, as far as they are wanted."""
    payloads: Iterable[Any] = itertools.repeat(None, len(rows))
    vectors: Iterable[Any] = itertools.repeat(None, len(rows))
    if want.payload is not False:
        payloads = read_payloads(part, rows)
        if want.payload is not True:
            payloads = map(want.payload, payloads)
    if want.vectors:
        vectors = [vectors_of(view, part, row, want.vectors) for row in rows.tolist()]
    return payloads, vectors


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
    limit, offset = page(limit, offset)
    want = wanted(view, with_payload, with_vectors)
    records, _ = scroll(view, condition(filter, "query_filter"), limit + offset, 0, want)
    return [models.ScoredPoint(r.id, 0, 0.0, r.payload, r.vector) for r in records[offset:]]


def _params(params: Any) -> models.SearchParams:
    if params is None:
        return _NOTHING
    return models.coerce(models.SearchParams, params, "search_params")


def page(limit: Any, offset: Any) -> tuple[int, int]:
    """How many points, and how many are skipped before them; None is what not to give it means.
    Raises InvalidInputError."""
    limit = 10 if limit is None else _whole(limit, "limit", least=1)
    offset = 0 if offset is None else _whole(offset, "offset", least=0)
    if limit + offset > _MOST:
        what = "limit + offset" if offset else "limit"
        raise InvalidInputError(f"{what}: expected at most {_MOST}, got {limit + offset}")
    return limit, offset


def _threshold(value: Any) -> float | None:
    return None if value is None else _number(value, "score_threshold")


def _query(
    view: View, query: Any, using: str | None
) -> tuple[VectorSchema, engine.Floats, int | None]:
    """The vector to search with, its schema, and the point to leave out (a query by id)."""
    name = using
    if type(query) not in _PLAIN:  # seldom; the questions then take longer than they look
        name, query = _unwrapped(query, using)
    if using is not None and name != using:
        raise InvalidInputError(f"using: expected {name!r}, as the query says, got {using!r:.60}")
    vector = vector_schema(view.schema, "" if name is None else name)
    cosine = vector.distance is models.Distance.COSINE
    if isinstance(query, (int, np.integer, str)) or type(query).__name__ == "UUID":
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


def _unwrapped(query: Any, name: str | None) -> tuple[str | None, Any]:
    """The name and the vector (or id) in a query of any form but the plainest."""
    if type(query) is tuple and len(query) == 2 and isinstance(query[0], str):
        name, query = query
    elif isinstance(query, models.NamedVector) or "vector" in (fields_of(query) or ()):
        named = models.coerce(models.NamedVector, query, "query")
        name, query = named.name, named.vector
    elif hasattr(query, "nearest"):
        if getattr(query, "mmr", None) is not None:
            raise InvalidInputError("query.mmr: Qdrant's, not supported by vecdb")
        query = query.nearest
    elif (fields_of(query) or {}).keys() == {"nearest"}:
        query = query["nearest"]
    fields = fields_of(query)
    if fields is not None:
        raise InvalidInputError(
            f"query: expected a vector, an id, (name, vector), NamedVector or NearestQuery, got "
            f"{type(query).__name__} with {', '.join(map(repr, fields)) or 'nothing'} (Qdrant's "
            f"other queries and sparse vectors are not supported by vecdb)"
        )
    return name, query


def explanation(wanted: Any) -> list[models.SegmentSearch] | None:
    """Where to write what was done, if that is wanted. Raises InvalidInputError."""
    if not isinstance(wanted, bool):
        raise InvalidInputError(f"explain: expected True or False, got {wanted!r:.60}")
    return [] if wanted else None


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
