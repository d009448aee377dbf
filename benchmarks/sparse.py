"""Sparse vectors beside Qdrant Edge: texts of made-up words, weighted by BM25, and short queries.

    python -m benchmarks.sparse FOLDER                 a million texts; Edge if it is installed
    python -m benchmarks.sparse FOLDER --rows 100000

The folder keeps the texts and both databases: a second run measures only. Queries go to both in
turns, on one thread; both are exact, and their scores are compared.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.turns import in_turns, percentiles
from vecdb import VecDB, models

Words = npt.NDArray[np.uint32]
Query = tuple[Words, npt.NDArray[np.float32]]

_VOCABULARY, _LENGTH, _SEED = 300_000, 78, 1
_BATCH = 2000
_LIMIT = 10
_SETS = {"3 to 5 words": (3, 5), "3 to 10 words": (3, 10), "20 to 30 words": (20, 30)}


class Texts:
    """Texts of words as frequent as Zipf says, with the weights that BM25 gives them."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._rng = np.random.default_rng(_SEED)
        shares = 1 / (np.arange(1, _VOCABULARY + 1) + 2.7)
        self._shares = shares / shares.sum()
        drawn = self._rng.integers(0, 2**32, 2 * _VOCABULARY, dtype=np.uint32)
        self._names = self._rng.permutation(np.unique(drawn))[:_VOCABULARY]

    def batches(self) -> Iterator[list[Query]]:
        """All texts, some at a time."""
        usual = self._rng.lognormal(np.log(_LENGTH), 0.5, 10_000).mean()
        cumulative = np.cumsum(self._shares)
        for start in range(0, self.rows, _BATCH):
            count = min(_BATCH, self.rows - start)
            lengths = self._rng.lognormal(np.log(_LENGTH), 0.5, count).astype(int).clip(5, 800)
            words = np.searchsorted(cumulative, self._rng.random(lengths.sum()))
            words = self._names[words.clip(0, _VOCABULARY - 1)]
            batch = []
            for text, length in zip(np.split(words, np.cumsum(lengths)[:-1]), lengths, strict=True):
                indices, times = np.unique(text, return_counts=True)
                norm = 1.2 * (0.25 + 0.75 * length / usual)
                batch.append((indices, (times * 2.2 / (times + norm)).astype(np.float32)))
            yield batch

    def queries(self, least: int, most: int, count: int) -> list[Query]:
        """Queries of so many words; frequent ones are asked for a little less often than used."""
        rng = np.random.default_rng(least)
        shares = self._shares**0.9
        cumulative = np.cumsum(shares / shares.sum())
        found = []
        for _ in range(count):
            words = np.searchsorted(cumulative, rng.random(rng.integers(least, most + 1)))
            indices = np.unique(self._names[words.clip(0, _VOCABULARY - 1)])
            found.append((indices, np.ones(len(indices), dtype=np.float32)))
        return found


Answer = list[tuple[Any, float]]
Search = Callable[[Query], Answer]


def vecdb_search(folder: Path, texts: Texts) -> tuple[Search, dict[str, Any]]:
    """Fill a database, if it is not there, and the search of it."""
    is_new = not folder.exists()
    db = VecDB(folder, sync="never")
    started = time.perf_counter()
    if is_new:
        db.create_collection(
            "c",
            {},
            sparse_vectors_config={"text": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        )
        for number, batch in enumerate(texts.batches()):
            vectors = [models.SparseVector(indices=i, values=v) for i, v in batch]
            ids = range(number * _BATCH, number * _BATCH + len(batch))
            db.upsert("c", models.Batch(ids=list(ids), vectors={"text": vectors}))
    db.wait_for_optimizer("c")
    report = db.memory_report("c")["parts"]
    info = {
        "seconds": round(time.perf_counter() - started, 1),
        "segments": db.get_collection("c").segments_count,
        "index_bytes": report["indexes"]["file"],
        "originals_bytes": report["originals"]["file"],
    }

    def search(query: Query) -> Answer:
        sparse = models.SparseVector(indices=query[0], values=query[1])
        found = db.query_points("c", sparse, using="text", limit=_LIMIT, with_payload=False)
        return [(point.id, point.score) for point in found.points]

    return search, info


def edge_search(folder: Path, texts: Texts) -> tuple[Search, dict[str, Any]]:
    """The same of Qdrant Edge."""
    import qdrant_edge as edge

    started = time.perf_counter()
    if folder.exists():
        shard = edge.EdgeShard.load(str(folder))
    else:
        folder.mkdir()
        params = edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)
        optimizers = edge.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=100)
        config = edge.EdgeConfig(
            sparse_vectors={"text": params}, optimizers=optimizers, wal_enabled=False
        )
        shard = edge.EdgeShard.create(str(folder), config)
        for number, batch in enumerate(texts.batches()):
            points = [
                edge.Point(
                    number * _BATCH + row, {"text": edge.SparseVector(i.tolist(), v.tolist())}, {}
                )
                for row, (i, v) in enumerate(batch)
            ]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and "inverted" in f.name)
    info = {"seconds": round(time.perf_counter() - started, 1), "index_bytes": size}

    def search(query: Query) -> Answer:
        nearest = edge.Query.Nearest(
            edge.SparseVector(query[0].tolist(), query[1].tolist()), using="text"
        )
        request = edge.QueryRequest(
            limit=_LIMIT, query=nearest, with_payload=False, with_vector=False
        )
        return [(point.id, point.score) for point in shard.query(request)]

    return search, info


def measure(searches: dict[str, Search], queries: list[Query]) -> dict[str, Any]:
    """Milliseconds of each; and how many answers have other scores than the first's."""
    found = in_turns(searches, queries)
    scores = {
        name: [[score for _, score in answer] for answer in answers]
        for name, (_, answers) in found.items()
    }
    first = next(iter(scores.values()))
    return {
        name: {
            **percentiles(seconds, 1e-3),
            "other_scores": sum(
                not np.allclose(one, other, rtol=1e-3)
                for one, other in zip(scores[name], first, strict=True)
            ),
        }
        for name, (seconds, _) in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--without-edge", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    searches, report = {}, {}
    kinds = {"vecdb": vecdb_search, "qdrant-edge": edge_search}
    for name, make in kinds.items():
        if name == "vecdb" or not arguments.without_edge:
            path = arguments.folder / f"{name}-{arguments.rows}"
            searches[name], report[name] = make(path, Texts(arguments.rows))
    print(json.dumps(report))
    for name, (least, most) in _SETS.items():
        queries = Texts(arguments.rows).queries(least, most, arguments.queries)
        print(name, json.dumps(measure(searches, queries)))


if __name__ == "__main__":
    main()
