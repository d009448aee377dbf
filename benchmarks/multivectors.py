"""Multivectors beside Qdrant Edge: passages of made-up tokens, as late interaction has them.

    python -m benchmarks.multivectors FOLDER                20000 passages; Edge if it is installed
    python -m benchmarks.multivectors FOLDER --rows 2000
    python -m benchmarks.multivectors FOLDER --plain        without HNSW, which takes Edge hours

A passage is of one of some topics, and has some 60 tokens of 128 numbers: each is a word, moved by
the topic and by the passage, under Cosine. A query has 32 tokens: some words of a passage, moved a
little, and others made of these, as ColBERT's masks are. The folder keeps both databases: a second
run measures only. Queries go to both in turns, on one thread; recall is that of the ten best of an
exact search. The last line is of reranking 100 points, which a search by a dense vector found.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.turns import in_turns, percentiles
from vecdb import VecDB, models

Floats = npt.NDArray[np.float32]

DIM = 128
_WORDS, _MEANINGS, _TOPICS, _LENGTH, _TOKENS, _SEED = 20_000, 3000, 200, 60, 32, 1
_BATCH = 250
_LIMIT, _PREFETCHED = 10, 100


class Passages:
    """Passages by seed: any of them can be made by itself."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        rng = np.random.default_rng(_SEED)
        # Words of a like meaning are near one another, as models put them.
        meanings = _unit(rng.standard_normal((_MEANINGS, DIM)))
        own = _unit(rng.standard_normal((_WORDS, DIM)))
        self._words = _unit(meanings[rng.integers(_MEANINGS, size=_WORDS)] + 0.5 * own)
        self._topics = _unit(rng.standard_normal((_TOPICS, DIM)))
        shares = 1 / (np.arange(1, _WORDS + 1) + 2.7)
        self._cumulative = np.cumsum(shares / shares.sum())

    def _of(self, number: int) -> tuple[npt.NDArray[np.int64], Floats]:
        """The words of a passage, and what moves them."""
        rng = np.random.default_rng([_SEED, number])
        topic = int(rng.integers(_TOPICS))
        length = int(np.clip(rng.normal(_LENGTH, 15), 8, 180))
        drawn = np.searchsorted(self._cumulative, rng.random(length)).clip(0, _WORDS - 1)
        # Half of the words are those of the topic.
        own = (drawn * 31 + topic * 97) % (_WORDS // 8) + topic * 7
        words = np.where(rng.random(length) < 0.5, own % _WORDS, drawn)
        return words, 0.4 * self._topics[topic] + 0.3 * _unit(rng.standard_normal(DIM))

    def tokens(self, number: int) -> Floats:
        """Those of a passage, ``float32 (n, 128)``."""
        words, moved = self._of(number)
        rng = np.random.default_rng([_SEED, number, 1])
        noise = 0.3 * _unit(rng.standard_normal((len(words), DIM)))
        return _unit(self._words[words] + moved + noise)

    def queries(self, count: int) -> list[Floats]:
        """Queries, ``float32 (32, 128)`` each."""
        rng = np.random.default_rng(_SEED + 1)
        found = []
        for _ in range(count):
            words, moved = self._of(int(rng.integers(self.rows)))
            asked = rng.choice(words, min(12, len(words)), replace=False)
            some = (
                self._words[asked]
                + 0.7 * moved
                + 0.4 * _unit(rng.standard_normal((len(asked), DIM)))
            )
            masks = some[rng.integers(0, len(some), _TOKENS - len(some))]
            masks = masks + 0.4 * _unit(rng.standard_normal((len(masks), DIM)))
            found.append(_unit(np.concatenate([some, masks])))
        return found

    def batches(self) -> Iterator[tuple[range, list[Floats]]]:
        """All passages, some at a time."""
        for start in range(0, self.rows, _BATCH):
            numbers = range(start, min(start + _BATCH, self.rows))
            yield numbers, [self.tokens(number) for number in numbers]


def _unit(vectors: npt.NDArray[Any]) -> Floats:
    scaled: Floats = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return scaled


def middle(tokens: Floats) -> Floats:
    """What stands for a multivector in a search by dense vectors."""
    return _unit(tokens.mean(axis=0))


Search = Callable[[Floats], list[Any]]
"""The ids that a query finds."""
Contender = tuple[dict[str, Search], dict[str, Any]]
"""Ways to search, by name, and what is known of the database."""


def vecdb_contender(folder: Path, passages: Passages) -> Contender:
    """Fill a database, if it is not there."""
    is_new = not folder.exists()
    db = VecDB(folder, sync="never")
    started = time.perf_counter()
    if is_new:
        many = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        cosine = models.Distance.COSINE
        db.create_collection(
            "c",
            {
                "tokens": models.VectorParams(size=DIM, distance=cosine, multivector_config=many),
                "middle": models.VectorParams(size=DIM, distance=cosine),
            },
        )
        for numbers, batch in passages.batches():
            vectors = {"tokens": batch, "middle": [middle(tokens) for tokens in batch]}
            db.upsert("c", models.Batch(ids=list(numbers), vectors=vectors))
    db.flush("c")
    db.wait_for_optimizer("c")
    report = db.memory_report("c")["parts"]
    info = {
        "seconds": round(time.perf_counter() - started, 1),
        "segments": db.get_collection("c").segments_count,
        "index_bytes": report["indexes"]["file"] + report["sketches"]["file"],
        "originals_bytes": report["originals"]["file"],
    }

    def ids(query: Floats, **given: Any) -> list[Any]:
        found = db.query_points(
            "c", query, using="tokens", limit=_LIMIT, with_payload=False, **given
        )
        return [point.id for point in found.points]

    def rerank(query: Floats) -> list[Any]:
        first = models.Prefetch(query=middle(query), using="middle", limit=_PREFETCHED)
        return ids(query, prefetch=first)

    recalls = {f"recall {r}": models.SearchParams(recall=r) for r in (0.9, 0.97, 0.99)}
    ways: dict[str, Search] = {
        name: lambda query, params=params: ids(query, search_params=params)  # type: ignore[misc]
        for name, params in recalls.items()
    }
    exact = models.SearchParams(exact=True)
    return {
        "exact": lambda query: ids(query, search_params=exact),
        "default": ids,
        **ways,
        "rerank": rerank,
    }, info


def edge_contender(folder: Path, passages: Passages, *, plain: bool) -> Contender:
    """The same of Qdrant Edge, with HNSW over multivectors, or ``plain``: all are compared."""
    import qdrant_edge as edge

    started = time.perf_counter()
    if folder.exists():
        shard = edge.EdgeShard.load(str(folder))
    else:
        folder.mkdir()
        many = edge.MultiVectorConfig(comparator=edge.MultiVectorComparator.MaxSim)
        cosine = edge.Distance.Cosine
        config = edge.EdgeConfig(
            vectors={
                "tokens": edge.EdgeVectorParams(size=DIM, distance=cosine, multivector_config=many),
                "middle": edge.EdgeVectorParams(size=DIM, distance=cosine),
            },
            optimizers=edge.EdgeOptimizersConfig(
                default_segment_number=1, indexing_threshold=0 if plain else 100
            ),
            wal_enabled=False,
        )
        shard = edge.EdgeShard.create(str(folder), config)
        for numbers, batch in passages.batches():
            points = [
                edge.Point(
                    number, {"tokens": tokens.tolist(), "middle": middle(tokens).tolist()}, {}
                )
                for number, tokens in zip(numbers, batch, strict=True)
            ]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
    info = {"seconds": round(time.perf_counter() - started, 1)}

    def ids(query: Floats, params: Any = None, prefetch: Any = None) -> list[Any]:
        request = edge.QueryRequest(
            limit=_LIMIT,
            query=edge.Query.Nearest(query.tolist(), using="tokens"),
            params=params,
            prefetches=prefetch or [],
            with_payload=False,
            with_vector=False,
        )
        return [point.id for point in shard.query(request)]

    def rerank(query: Floats) -> list[Any]:
        nearest = edge.Query.Nearest(middle(query).tolist(), using="middle")
        return ids(query, prefetch=[edge.Prefetch(query=nearest, limit=_PREFETCHED)])

    ways: dict[str, Search] = {
        f"ef {ef}": lambda query, ef=ef: ids(query, edge.SearchParams(hnsw_ef=ef))  # type: ignore[misc]
        for ef in (16, 32, 64, 128, 256)
    }
    exact = edge.SearchParams(exact=True)
    if plain:
        ways = {}
    return {"exact": lambda query: ids(query, exact), **ways, "rerank": rerank}, info


def measure(ways: dict[str, Search], queries: list[Floats], truth: str) -> None:
    """Print milliseconds and recall of each way; ``truth`` is the exact one."""
    found = in_turns(ways, queries)
    wanted = [set(ids) for ids in found[truth][1]]
    for name, (seconds, answers) in found.items():
        hits = sum(len(w.intersection(ids)) for w, ids in zip(wanted, answers, strict=True))
        recall = round(hits / (_LIMIT * len(queries)), 4)
        print(name, json.dumps({**percentiles(seconds, 1e-3), "recall": recall}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--without-edge", action="store_true")
    parser.add_argument("--plain", action="store_true", help="Edge without HNSW")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    passages = Passages(arguments.rows)
    ways: dict[str, Search] = {}
    edge = partial(edge_contender, plain=arguments.plain)
    makes: dict[str, Callable[[Path, Passages], Contender]] = {"vecdb": vecdb_contender}
    if not arguments.without_edge:
        makes["qdrant-edge-plain" if arguments.plain else "qdrant-edge"] = edge
    for name, make in makes.items():
        found, info = make(arguments.folder / f"{name}-{arguments.rows}", passages)
        print(name, json.dumps(info), flush=True)
        ways |= {f"{name} {way}": search for way, search in found.items()}
    measure(ways, passages.queries(arguments.queries), "vecdb exact")


if __name__ == "__main__":
    main()
