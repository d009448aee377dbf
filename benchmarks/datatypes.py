"""Datatypes of originals: float32, float16 and uint8 of the same vectors, beside Qdrant Edge.

    python -m benchmarks.datatypes FOLDER --data DATA      Edge if it is installed
    python -m benchmarks.datatypes FOLDER --data DATA --metric l2 --without-edge

The folder keeps all databases: a second run measures only. Queries go to all in turns, on one
thread: searches at the recall that vecdb aims for by itself, and exact ones. Edge has the least
``hnsw_ef`` with which its own float32 finds as much as vecdb's. Bytes take only numbers of theirs:
other data has no uint8. Truth is what float32 finds, so that what rounding loses counts, too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import METRICS, Data, Floats, K, base_of
from benchmarks.turns import in_turns, percentiles
from vecdb import VecDB, models

DATATYPES = ("float32", "float16", "uint8")
_DISTANCES = {"cosine": "Cosine", "dot": "Dot", "l2": "Euclid"}
_EFS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_BATCH = 5000
_EXACT = 100
"""So many queries are exact ones."""

Search = Callable[[Floats, bool], list[int]]
"""The ids nearest to a query, exactly or not."""


def vecdb_search(folder: Path, data: Data, datatype: str) -> tuple[Search, dict[str, Any]]:
    """Fill a database, if it is not there, and the search of it."""
    is_new = not folder.exists()
    db = VecDB(folder, sync="never")
    if is_new:
        distance = _DISTANCES[data.metric]
        params = {"size": data.dim, "distance": distance, "datatype": datatype, "on_disk": False}
        db.create_collection("c", params)
        for start in range(0, data.rows, _BATCH):
            rows = data.base[start : start + _BATCH]
            db.upsert("c", models.Batch(ids=np.arange(start, start + len(rows)), vectors=rows))
    db.wait_for_optimizer("c")
    db.flush()
    parts = db.memory_report("c")["parts"]
    info = {
        "segments": db.get_collection("c").segments_count,
        "vectors_on_disk": parts["originals"]["file"],
        "vectors_in_memory": parts["originals"]["anonymous"],
        "files": sum(part["file"] for part in parts.values()),
    }
    ways = {exact: models.SearchParams(exact=exact) for exact in (False, True)}

    def search(query: Floats, exact: bool) -> list[int]:
        found = db.query_points("c", query, search_params=ways[exact], limit=K, with_payload=False)
        return [int(point.id) for point in found.points]

    return search, info


class Edge:
    """The same of Qdrant Edge: HNSW with the originals in RAM, no codes."""

    def __init__(self, folder: Path, data: Data, datatype: str) -> None:
        import qdrant_edge as edge

        self._edge, self.ef = edge, _EFS[0]
        kinds = edge.VectorStorageDatatype
        kind = {"float32": kinds.Float32, "float16": kinds.Float16, "uint8": kinds.Uint8}[datatype]
        distances = {"cosine": edge.Distance.Cosine, "dot": edge.Distance.Dot}
        distance = distances.get(data.metric, edge.Distance.Euclid)
        if folder.exists():
            self.shard = edge.EdgeShard.load(str(folder))
        else:
            folder.mkdir()
            params = edge.EdgeVectorParams(data.dim, distance, on_disk=False, datatype=kind)
            config = edge.EdgeConfig(
                vectors={"": params},
                hnsw_config=edge.HnswIndexConfig(
                    m=16, ef_construct=100, full_scan_threshold=100, max_indexing_threads=1
                ),
                optimizers=edge.EdgeOptimizersConfig(
                    default_segment_number=1, indexing_threshold=100
                ),
                wal_enabled=False,
            )
            self.shard = edge.EdgeShard.create(str(folder), config)
            for start in range(0, data.rows, 1000):
                rows = data.base[start : start + 1000]
                points = [edge.Point(start + n, row, {}) for n, row in enumerate(rows)]
                self.shard.update(edge.UpdateOperation.upsert_points(points))
            self.shard.optimize()
            self.shard.flush()
        files = [file for file in folder.rglob("*") if file.is_file()]
        self.info = {
            "vectors_on_disk": sum(
                f.stat().st_blocks * 512 for f in files if "vector_stor" in str(f)
            ),
            "files": sum(f.stat().st_blocks * 512 for f in files),
        }

    def search(self, query: Floats, exact: bool) -> list[int]:
        edge = self._edge
        request = edge.QueryRequest(
            limit=K,
            query=edge.Query.Nearest(query),
            params=edge.SearchParams(hnsw_ef=self.ef, exact=exact),
            with_payload=False,
            with_vector=False,
        )
        return [point.id for point in self.shard.query(request)]


def first_rows(source: Path, folder: Path, rows: int) -> Path:
    """A folder with the first rows of another one, and its queries."""
    into = folder / f"{source.name}-{rows}"
    into.mkdir(parents=True, exist_ok=True)
    np.save(into / "base.npy", np.load(base_of(source), mmap_mode="r")[:rows])
    np.save(into / "queries.npy", np.load(source / "queries.npy"))
    if (source / "stats.json").exists():
        (into / "stats.json").write_text((source / "stats.json").read_text())
    return into


def measure(searches: dict[str, Search], data: Data, exact: bool) -> dict[str, Any]:
    """Microseconds of each, and their recall."""

    def way(search: Search) -> Callable[[Floats], list[int]]:
        return lambda query: search(query, exact)

    ways = {name: way(search) for name, search in searches.items()}
    found = in_turns(ways, data.queries[: _EXACT if exact else len(data.queries)])
    return {
        name: {**percentiles(seconds, 1e-6), "recall": round(data.recall(answers), 4)}
        for name, (seconds, answers) in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--metric", choices=METRICS)
    parser.add_argument("--rows", type=int, help="only the first ones")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--without-edge", action="store_true")
    arguments = parser.parse_args()
    source = arguments.data
    if arguments.rows is not None:
        source = first_rows(source, arguments.folder, arguments.rows)
    data = Data(source, arguments.metric, arguments.queries)
    whole = bool((data.base[:1000] == np.clip(np.trunc(data.base[:1000]), 0, 255)).all())
    folder = arguments.folder / f"{data.name}-{data.metric}"
    folder.mkdir(parents=True, exist_ok=True)
    searches: dict[str, Search] = {}
    report: dict[str, Any] = {}
    edges: dict[str, Edge] = {}
    for datatype in DATATYPES if whole else DATATYPES[:2]:
        name = f"vecdb {datatype}"
        searches[name], report[name] = vecdb_search(folder / name, data, datatype)
        if not arguments.without_edge:
            name = f"edge {datatype}"
            edges[name] = Edge(folder / name, data, datatype)
            searches[name], report[name] = edges[name].search, edges[name].info
    if edges:
        wanted = data.recall([searches["vecdb float32"](q, False) for q in data.queries])
        first = edges["edge float32"]
        for ef in _EFS:
            first.ef = ef
            if data.recall([first.search(query, False) for query in data.queries]) >= wanted:
                break
        for other in edges.values():
            other.ef = first.ef
        report["hnsw_ef"] = first.ef
    print(json.dumps(report, indent=1))
    for exact in (False, True):
        print(
            "exact" if exact else "searches", json.dumps(measure(searches, data, exact), indent=1)
        )


if __name__ == "__main__":
    main()
