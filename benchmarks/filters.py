"""What filters cost where fields have an index: beside peers, and beside NumPy on the column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from benchmarks import filters_beside
from benchmarks.common import Floats, Run, create, fill, in_one_segment, nanoseconds, spread
from vecdb import VecDB, models
from vecdb.collection import Collection
from vecdb.engine.read import masks

SHARES = (0.001, 0.01, 0.1, 0.5)
VALUES, KINDS = 1000, 100
"""Different keywords of the two fields."""
_REPETITIONS = 200


def measure(run: Run) -> dict[str, Any]:
    """Beside peers first, each in a process of its own; then here, beside NumPy."""
    beside = filters_beside.measure(run)
    created = filters_beside.creation(run)
    return {**beside, "created": created, "numpy": _beside_numpy(run)}


def _beside_numpy(run: Run) -> dict[str, Any]:
    """All rows in one segment with an index of vectors, and three fields: ``rank``, a permutation,
    ``city``, one of a thousand keywords, and ``kind``, one of a hundred. Filters are new each
    time: none is remembered. NumPy has the values as narrow as they go."""
    random = np.random.default_rng(run.seed)
    ranks = random.permutation(run.rows)
    cities, kinds = (random.integers(values, size=run.rows) for values in (VALUES, KINDS))
    fields = {
        "rank": ranks.tolist(),
        "city": [f"city {city}" for city in cities.tolist()],
        "kind": [f"kind {kind}" for kind in kinds.tolist()],
    }
    payloads = [
        dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)
    ]
    with VecDB(run.fresh("filters")) as db:
        collection = create(db, run.dim, run.data.metric)
        fill(collection, run.base, payloads)
        del payloads
        in_one_segment(db)
        _configure(db)
        for field, values in fields.items():
            collection.create_payload_index(
                field, "integer" if isinstance(values[0], int) else "keyword"
            )
        columns = collection.info().columns
        results: dict[str, Any] = {
            "bytes": {
                field: {"column": columns[field].bytes, "raw": raw_bytes(values)}
                for field, values in fields.items()
            },
        }
        narrow = ranks.astype(np.min_scalar_type(run.rows))
        results["shares"] = {
            str(share): _by_share(run, collection, narrow, share, random) for share in SHARES
        }
        results["unfiltered"] = _unfiltered(
            run, collection, max(one["recall"] for one in results["shares"].values())
        )
        results["keyword"] = _keyword(run, collection, kinds.astype(np.uint8), random)
        codes = cities.astype(np.uint16)
        results["facet"] = {
            "facet_us": _spread(run, lambda: collection.facet("city"), 20),
            "numpy_us": _spread(run, lambda: np.bincount(codes), 20),
        }
    return results


def raw_bytes(values: Sequence[Any]) -> int:
    """What a field's values take by themselves: eight bytes a number, or the text in UTF-8."""
    return sum(8 if isinstance(value, int) else len(value.encode()) for value in values)


def _configure(db: VecDB) -> None:
    [name] = (each.name for each in db.get_collections().collections)
    db.update_collection(name, optimizers_config={"indexing_threshold": 1})
    db.wait_for_optimizer(name)


def _keyword(
    run: Run, collection: Collection, codes: Any, random: np.random.Generator
) -> dict[str, Any]:
    """One of the hundred."""
    numbers = cycle(random.permutation(KINDS).tolist())

    def keyword() -> models.Filter:
        match = models.MatchValue(value=f"kind {next(numbers)}")
        return models.Filter(must=[models.FieldCondition(key="kind", match=match)])

    return {
        "mask_us": _mask(run, collection, keyword),
        "numpy_us": _spread(run, lambda: codes == next(numbers)),
        "count_us": _spread(run, lambda: collection.count(keyword())),
        "numpy_count_us": _spread(run, lambda: np.count_nonzero(codes == next(numbers))),
    }


def _unfiltered(run: Run, collection: Collection, least: float) -> list[dict[str, Any]]:
    """Searches without a filter that ask for more and more until they find as much."""
    found: list[dict[str, Any]] = []
    for asked in (None, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999):
        params = None if asked is None else models.SearchParams(recall=asked)
        recall = _recall(run, collection, None, params)
        found.append({"search_us": _search(run, collection, None, params), "recall": recall})
        if recall >= least:
            break
    return found


def _by_share(
    run: Run, collection: Collection, ranks: Any, share: float, random: np.random.Generator
) -> dict[str, Any]:
    """A range of ranks that holds for a share of the rows. Masks and counts have one bound, as
    NumPy's pass has; searches have two, and somewhere else each time."""
    width = max(1, int(share * run.rows))
    starts = cycle(random.integers(0, run.rows - width + 1, size=997).tolist())
    bounds = cycle((width + random.integers(0, width // 20 + 1, size=997)).tolist())

    def filter() -> models.Filter:
        start = next(starts)
        between = models.Range(gte=start, lt=start + width)
        return models.Filter(must=[models.FieldCondition(key="rank", range=between)])

    def below() -> models.Filter:
        range = models.Range(lt=next(bounds))
        return models.Filter(must=[models.FieldCondition(key="rank", range=range)])

    found: dict[str, Any] = {
        "mask_us": _mask(run, collection, below),
        "numpy_us": _spread(run, lambda: ranks < next(bounds)),
        "count_us": _spread(run, lambda: collection.count(below())),
        "numpy_count_us": _spread(run, lambda: np.count_nonzero(ranks < next(bounds))),
        "search_us": _search(run, collection, filter),
        "exact_us": _search(run, collection, filter, models.SearchParams(exact=True)),
        "recall": _recall(run, collection, filter),
    }
    if width <= 1 << 14:
        # Other rows each time, as in the searches: none is in the caches.
        some = cycle([_passing(ranks, next(starts), width) for _ in range(run.times(100, 5))])
        queries = cycle(run.queries[:1000])
        found["kernel_us"] = _spread(run, lambda: _kernel(run.base, next(some), next(queries)))
    run.say(f"{share:.1%}: {found['search_us']['median']:.0f} µs a search")
    return found


def _passing(ranks: Any, start: int, width: int) -> Any:
    return np.flatnonzero((ranks >= start) & (ranks < start + width))


def _kernel(base: Floats, rows: Any, query: Floats) -> None:
    """The scores of these rows alone, and the best ten."""
    from vecdb.kernels.distance import score_rows_dot

    scores = np.empty(len(rows), dtype=np.float32)
    score_rows_dot(base, query, rows, scores)
    np.argpartition(scores, -min(10, len(rows)))[-10:]


def _mask(run: Run, collection: Collection, filter: Callable[[], models.Filter]) -> dict[str, Any]:
    view = collection._store.view
    [segment_view] = view.segments
    return _spread(run, lambda: masks.matching(view, segment_view, masks.compiled(filter())))


def _search(
    run: Run,
    collection: Collection,
    filter: Callable[[], models.Filter] | None,
    params: models.SearchParams | None = None,
) -> dict[str, Any]:
    queries = cycle(run.queries[:1000])
    return _spread(
        run,
        lambda: collection.search(
            next(queries), filter and filter(), search_params=params, with_payload=False
        ),
    )


def _recall(
    run: Run,
    collection: Collection,
    filter: Callable[[], models.Filter] | None,
    params: models.SearchParams | None = None,
) -> float:
    """The share of the results of exact searches that others find, or others as good."""
    found = total = 0
    for query in run.queries[: run.times(200, 5)]:
        made = filter and filter()
        exact = collection.search(query, made, {"exact": True}, with_payload=False)
        hits = collection.search(query, made, params, with_payload=False)
        sign = -1 if run.data.metric == "l2" else 1  # there, less is nearer
        least = min((sign * hit.score for hit in exact), default=0.0) - 1e-6
        found += sum(sign * hit.score >= least for hit in hits)
        total += len(exact)
    return found / max(1, total)


def _spread(run: Run, call: Callable[[], Any], count: int = _REPETITIONS) -> dict[str, Any]:
    """Microseconds of calls, with the one of a hundred that takes longest."""
    call()
    times = [nanoseconds(call) / 1e3 for _ in range(run.times(count, 3))]
    return {**spread(times), "p99": float(np.percentile(times, 99))}
