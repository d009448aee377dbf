"""What one search call costs beside its kernels."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import (
    CODES_ONLY,
    COLLECTION,
    Floats,
    K,
    Run,
    create,
    fill,
    in_one_segment,
    spread,
)
from vecdb import vectors
from vecdb.collection import Collection
from vecdb.database import VecDB
from vecdb.engine.read.segment.estimates import best_by_codes
from vecdb.storage.segment import FileSegment

_ALL = np.empty(0, dtype=np.uint8)
TINY = 100
MIDDLE = 2000
Kernels = Callable[[Floats], Any]


def measure(run: Run) -> dict[str, Any]:
    """Call and kernels in turn, thousands of times; the difference is the median of pairs.

    The kernels' part is what cannot be left out: the scan and its sort, and with codes also
    working out the query, reading the candidates' originals and scoring them.
    """
    importlib.import_module("vecdb.kernels.distance")  # or numpy scans small collections
    cases = {}
    with VecDB(run.copy("overhead")) as db:
        collection = db.collection(COLLECTION)
        name = f"float32, {run.rows:,} points"
        cases[name] = _pairs(run, collection, _float_kernels(collection), run.times(2000, 20))
        db.update_collection(
            COLLECTION,
            quantization_config={"binary": {}},
            optimizers_config=CODES_ONLY,
        )
        db.wait_for_optimizer()
        name = f"binary, default rescoring, {run.rows:,} points"
        cases[name] = _pairs(run, collection, _binary_kernels(collection), run.times(4000, 20))
    for size in (MIDDLE, TINY):
        base = run.base[:size]
        with VecDB(run.fresh("small")) as db:
            collection = create(db, run.dim)
            fill(collection, base)
            in_one_segment(db)
            name = f"float32, {len(base):,} points"
            cases[name] = _pairs(run, collection, _float_kernels(collection), run.times(5000, 20))
    return {"limit": K, "cases": cases}


def _pairs(run: Run, collection: Collection, kernels: Kernels, count: int) -> dict[str, Any]:
    run.say(f"{count} pairs of call and kernels on {len(collection)} points")
    queries = [
        vectors.to_query(q, run.dim, normalize=True, what="query") for q in run.queries[:1000]
    ]
    kernels(queries[0])
    result: dict[str, Any] = {}
    calls: dict[str, list[float]] = {"payload off": [], "payload on": []}
    alone: list[float] = []
    differences: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(count):
        # Four different queries: a repeated one finds its candidates in the caches.
        first, second, third, fourth = (queries[(4 * number + i) % len(queries)] for i in range(4))
        times = []
        for with_payload, asked, other in ((False, first, second), (True, third, fourth)):
            started = time.perf_counter_ns()
            collection.search(asked, limit=K, with_payload=with_payload)
            middle = time.perf_counter_ns()
            kernels(other)
            ended = time.perf_counter_ns()
            times.append(((middle - started) / 1e3, (ended - middle) / 1e3))
        for name, (call, kernel) in zip(calls, times, strict=True):
            calls[name].append(call)
            alone.append(kernel)
            differences[name].append(call - kernel)
    result["kernels_us"] = spread(alone)
    for name in calls:
        result[name] = {"call_us": spread(calls[name]), "overhead_us": spread(differences[name])}
    return result


def _float_kernels(collection: Collection) -> Kernels:
    from vecdb.kernels.distance import scan
    from vecdb.kernels.topk import topk_sort

    segment_view = collection._store.view.segments[0]
    blocks = list(segment_view.segment.blocks("", segment_view.rows))
    k = min(K, segment_view.rows)

    def kernels(query: Floats) -> None:
        scores, rows = np.empty(k, np.float32), np.empty(k, np.int64)
        filled = 0
        for base, block in blocks:
            filled = scan(0, block, query, _ALL, base, scores, rows, filled)
        topk_sort(scores, rows, filled)

    return kernels


def _binary_kernels(collection: Collection) -> Kernels:
    segment_view = collection._store.view.segments[0]
    assert isinstance(segment_view.segment, FileSegment)
    quantized = segment_view.segment.quantized[""]
    [(_, originals)] = segment_view.segment.blocks("", segment_view.rows)
    wanted = min(segment_view.rows, 8 * K)

    def kernels(query: Floats) -> None:
        prepared = quantized.quantizer.prepare(query)
        _, rows = best_by_codes(quantized, segment_view.rows, prepared, wanted, None)
        originals[rows] @ query

    return kernels
