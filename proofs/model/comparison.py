"""Every way of reading a collection, compared with the model of it.

Each function returns what a collection is or answers that it should not; None if all is well.
"""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

from proofs.model.by_examples import asked_by_examples
from proofs.model.by_payload import asked_of_payloads
from proofs.model.by_prefetch import asked_of_prefetched
from proofs.model.by_text import ranked_by_texts
from proofs.model.drawing import field_condition
from proofs.model.oracle import Oracle, PointId
from proofs.model.searches import CODES, EXACT, draw_search
from proofs.model.writes import Pool, random_filter

NO_POINT = 2**40


def difference(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """All points, and every way of reading them."""
    return (
        oracle.difference(collection)
        or retrieved(collection, oracle, [*pool.ids, NO_POINT])
        or paged(collection, oracle, random_filter(rng, oracle, pool), rng.randint(5, 60))
        or _searched(collection, oracle, pool, rng)
        or _diverse(collection, oracle, pool, rng)
        or asked_of_payloads(collection, oracle, pool, rng)
        or asked_by_examples(collection, oracle, pool, rng)
        or asked_of_prefetched(collection, oracle, pool, rng)
        or ranked_by_texts(collection, oracle, pool, rng)
        or indexed(collection, oracle)
        or filtered(collection, oracle, rng)
    )


def retrieved(collection: Any, oracle: Oracle, ids: list[PointId]) -> str | None:
    """``retrieve`` of these ids, and how many points there are."""
    count = collection.count().count
    if count != len(oracle.points):
        return f"count {count}, not {len(oracle.points)}"
    records = collection.retrieve(ids, with_vectors=True)
    found, wanted = [r.id for r in records], [i for i in ids if i in oracle.points]
    if found != wanted:
        return f"retrieve found {found}, not {wanted}"
    return next(filter(None, map(oracle.record_difference, records)), None)


def indexed(collection: Any, oracle: Oracle) -> str | None:
    """What is said of fields of the payload, and how many points have them."""
    info = collection.info()
    schema = info.payload_schema
    columns = {field for field, each in info.columns.items() if not each.automatic}
    if columns != oracle.indexes.keys():
        return f"columns of {columns}, not of {sorted(oracle.indexes)}"
    found = {field: (info.data_type.value, info.points) for field, info in schema.items()}
    wanted = {f: (kind, oracle.points_with(f)) for f, kind in oracle.indexes.items()}
    return None if found == wanted else f"payload schema {found}, not {wanted}"


def filtered(collection: Any, oracle: Oracle, rng: Random) -> str | None:
    """Conditions that columns answer: on fields that have an index."""
    for field in oracle.indexes:
        for _ in range(3):
            filter = {"must": [field_condition(rng, [field])]}
            problem = counted(collection, oracle, filter)
            if problem:
                return f"with an index: {problem}"
    return None


def counted(collection: Any, oracle: Oracle, filter: Any) -> str | None:
    """``count`` with a filter."""
    found, wanted = collection.count(filter).count, len(oracle.matching(filter))
    return None if found == wanted else f"count {found} of filter {filter}, not {wanted}"


def paged(collection: Any, oracle: Oracle, filter: Any, size: int) -> str | None:
    """``scroll`` from page to page; each page but the last is full."""
    wanted = oracle.matching(filter)
    found: list[PointId] = []
    offset = None
    for page in itertools.count():
        records, offset = collection.scroll(filter, size, offset)
        found += [record.id for record in records]
        if offset is None:
            break
        if len(records) != size or page > len(wanted):
            return f"page {page} of scroll with filter {filter} has {len(records)} of {size}"
    if found != wanted:
        return f"scroll with filter {filter}: {found}, not {wanted}"
    return counted(collection, oracle, filter)


def listed(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """``query_points`` without a query: points in the order of their ids."""
    chosen = random_filter(rng, oracle, pool) if rng.random() < 0.5 else None
    limit = rng.choice((1, 10, 10, len(oracle.points) + 1))
    found = collection.query_points(query_filter=chosen, limit=limit, with_vectors=True).points
    if [point.id for point in found] != oracle.matching(chosen)[:limit]:
        return f"query by nothing, filter {chosen}, limit {limit}: {found}"
    return next(filter(None, map(oracle.record_difference, found)), None)


def indexed_segments(db: Any, name: str) -> int:
    """How many segments of a collection have an index."""
    segments = db.get_collection(name).segments
    return sum(any(v.index for v in segment.vectors.values()) for segment in segments)


def searched(
    collection: Any, oracle: Oracle, pool: Pool, rng: Random, params: Any = "any"
) -> str | None:
    """A search; without vectors, points by their ids, and whether it is said that there are
    none."""
    if not oracle.vectors:
        return listed(collection, oracle, pool, rng) or _unsearchable(collection)
    search = draw_search(rng, oracle, pool, params)
    hits = collection.search(search.vector, search.filter, search.params, search.limit)
    return search.difference(oracle, hits)


def _unsearchable(collection: Any) -> str | None:
    try:
        hits = collection.search([1.0])
    except ValueError as error:
        return None if "has no vectors" in str(error) else f"search: {error}"
    return f"search without vectors found {hits}"


def _searched(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    for params in (EXACT, CODES, "any", "any"):
        problem = searched(collection, oracle, pool, rng, params)
        if problem:
            return problem
    return None


def _diverse(collection: Any, oracle: Oracle, pool: Pool, rng: Random) -> str | None:
    """``query_points`` with MMR, of the candidates of an exact search."""
    if not oracle.vectors:
        return None
    s = draw_search(rng, oracle, pool, EXACT)
    diversity, candidates = rng.choice((0.0, 0.3, 0.5, 1.0)), rng.choice((None, 3, 30))
    query = {
        "nearest": s.query,
        "mmr": {"diversity": diversity, "candidates_limit": candidates},
    }
    hits = collection.query_points(query, s.name, s.filter, s.params, s.limit).points
    return oracle.mmr_difference(
        hits, s.name, s.query, s.limit, s.filter, diversity, candidates or s.limit
    )
