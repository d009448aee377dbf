"""Recall, latency, size and build time of each kind of code: the reference's table, measured."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

import vecdb
from benchmarks.common import CODES_ONLY, COLLECTION, Floats, K, Run, nanoseconds, spread
from vecdb import models
from vecdb.collection import Collection
from vecdb.storage.segment import FileSegment

METHODS: dict[str, dict[str, Any]] = {
    "scalar": {"scalar": {"type": "int8"}},
    "scalar, quantile 0.99": {"scalar": {"type": "int8", "quantile": 0.99}},
    "binary": {"binary": {}},
    "binary, 2 bits": {"binary": {"encoding": "two_bits"}},
    "turbo, 4 bits": {"turbo": {"bits": "bits4"}},
    **{f"product {x}": {"product": {"compression": x}} for x in ("x4", "x8", "x16", "x32", "x64")},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "codes only": {"rescore": False},
    "x1": {"rescore": True, "oversampling": 1.0},
    "x2": {"rescore": True, "oversampling": 2.0},
    "x4": {"rescore": True, "oversampling": 4.0},
    "default": {},
}
EXACT = models.SearchParams(exact=True)


def measure(run: Run) -> dict[str, Any]:
    """Each method in turn is configured on one collection, built, and searched."""
    methods: list[dict[str, Any]] = []
    with vecdb.VecDB(run.copy("quantization", run.data.metric)) as db:
        collection = db.collection(COLLECTION)
        exact_ms: list[float] = []
        for name, config in METHODS.items():
            run.say(f"building {name}")
            db.update_collection(
                COLLECTION,
                quantization_config=config,
                optimizers_config=CODES_ONLY,
            )
            started = time.perf_counter()
            db.wait_for_optimizer()
            seconds = time.perf_counter() - started
            run.say(f"searching {name}")
            entry, exact = _search(run, collection)
            exact_ms += exact["milliseconds"]
            if not methods:
                methods.append(
                    {
                        "name": "float32",
                        "compression": 1.0,
                        "build_seconds": None,
                        "bytes_per_vector": 4 * run.dim,
                        "settings": {"exact": {"recall": exact["recall"], "speed": 1.0}},
                    }
                )
            methods.append({"name": name, "build_seconds": seconds, **_sizes(collection), **entry})
        methods[0]["settings"]["exact"]["latency_ms"] = spread(exact_ms)
        segments = len(collection._store.view.segments)
    return {"k": K, "queries": len(run.queries), "segments": segments, "methods": methods}


def _sizes(collection: Collection) -> dict[str, Any]:
    segment_view = collection._store.view.segments[0]
    assert isinstance(segment_view.segment, FileSegment)
    quantized = segment_view.segment.quantized[""]
    originals = segment_view.segment.originals[""].array
    return {
        "bytes_per_vector": quantized.codes.array.nbytes / segment_view.rows,
        "compression": originals.nbytes / quantized.codes.array.nbytes,
        "quantizer_bytes": sum(array.nbytes for array in quantized.quantizer.state().values()),
    }


def _search(run: Run, collection: Collection) -> tuple[dict[str, Any], Any]:
    """Every query with every setting, one setting after another, so that all see the same noise."""
    ways = {"exact": EXACT}
    for name, fields in SETTINGS.items():
        ways[name] = models.SearchParams(quantization=models.QuantizationSearchParams(**fields))
    for params in ways.values():  # kernels and pages
        collection.search(run.queries[0], search_params=params, limit=K, with_payload=False)
    times: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, list[list[int]]] = {name: [] for name in ways}
    for query in run.queries:
        for name, params in ways.items():
            result: list[Any] = []

            def call(query: Floats = query, params: Any = params, out: list[Any] = result) -> None:
                out.extend(
                    collection.search(query, search_params=params, limit=K, with_payload=False)
                )

            times[name].append(nanoseconds(call) / 1e6)
            found[name].append([point.id for point in result])
    scan: npt.NDArray[np.float64] = np.array(times["exact"])
    settings = {
        name: {
            "recall": run.data.recall(found[name]),
            "latency_ms": spread(times[name]),
            "speed": float(np.median(scan) / np.median(times[name])),
        }
        for name in SETTINGS
    }
    exact = {"recall": run.data.recall(found["exact"]), "milliseconds": times["exact"]}
    return {"settings": settings}, exact
