"""Multivectors beside Qdrant Edge: passages of made-up tokens, as late interaction has them.

    python -m benchmarks.multivectors FOLDER                 20000 passages; Edge if it is installed
    python -m benchmarks.multivectors FOLDER --graph-rows 0  Edge without HNSW only

All passages are searched by both, by Edge without HNSW: to make that takes it hours. Of
``--graph-rows`` passages it has HNSW; beside each of its efforts stands the fastest way of vecdb
that finds as much. Then the originals of all passages are on disk, with each quantization in turn:
``read`` is how many of them a search reads.

A passage is of one of some topics, and has some 60 tokens of 128 numbers: each is a word, moved by
the topic and by the passage, under Cosine. A query has 32 tokens: some words of a passage, moved a
little, and others made of these, as ColBERT's masks are. The folder keeps the databases: a second
run measures, and quantizes again; with ``taskset -c 1`` on one processor. Queries go to both in
turns; recall is that of the ten best of an exact search; ``rerank`` is of 100 points that a search
by a dense vector found.
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

from vecdb import VecDB, models

Floats = npt.NDArray[np.float32]

DIM = 128
_WORDS, _MEANINGS, _TOPICS, _LENGTH, _TOKENS, _SEED = 20_000, 3000, 200, 60, 32, 1
_BATCH = 250
CODES: dict[str, Any] = {
    "scalar": {"scalar": {"type": "int8"}},
    "binary": {"binary": {}},
    "product": {"product": {"compression": "x16"}},
}
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
Ways = dict[str, Search]
"""Ways to search, by name."""
Asked = tuple[Floats, set[Any]]
"""A query, and the ids that an exact search finds."""
Figures = dict[str, dict[str, float]]
"""Of each way: milliseconds, recall, and originals that are read, if they are known."""


class OfVecdb:
    """A database of vecdb, which is filled if it is not there."""

    def __init__(self, folder: Path, passages: Passages) -> None:
        is_new = not folder.exists()
        self._db = VecDB(folder, sync="never")
        started = time.perf_counter()
        if is_new:
            self._fill(passages)
        self.configure(on_disk=False, codes="Disabled")
        self.seconds = round(time.perf_counter() - started, 1)
        self.explain = False
        """Whether searches say how many originals they have read."""
        self.read = 0

    def _fill(self, passages: Passages) -> None:
        many = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        cosine = models.Distance.COSINE
        self._db.create_collection(
            "c",
            {
                "tokens": models.VectorParams(size=DIM, distance=cosine, multivector_config=many),
                "middle": models.VectorParams(size=DIM, distance=cosine),
            },
        )
        for numbers, batch in passages.batches():
            vectors = {"tokens": batch, "middle": [middle(tokens) for tokens in batch]}
            self._db.upsert("c", models.Batch(ids=list(numbers), vectors=vectors))
        self._db.flush("c")

    def configure(self, *, on_disk: bool, codes: Any) -> dict[str, Any]:
        """Place originals, and quantize them. Returns what is then where."""
        started = time.perf_counter()
        tokens: Any = {"on_disk": on_disk, "quantization_config": codes}
        self._db.update_collection("c", vectors_config={"tokens": tokens})
        self._db.wait_for_optimizer("c")
        parts = self._db.memory_report("c")["vectors"]["tokens"]
        return {
            "seconds": round(time.perf_counter() - started, 1),
            "segments": self._db.get_collection("c").segments_count,
            **{f"{part}_bytes": parts[part]["file"] for part in sorted(parts)},
        }

    def ids(self, query: Floats, **given: Any) -> list[Any]:
        """The ids that a search finds."""
        answer = self._db.query_points(
            "c",
            query,
            using="tokens",
            limit=_LIMIT,
            with_payload=False,
            explain=self.explain,
            **given,
        )
        stages = [stage for segment in answer.explanation or [] for stage in segment.stages]
        self.read = sum(stage.rows for stage in stages if stage.by == "originals")
        return [point.id for point in answer.points]

    def rerank(self, query: Floats) -> list[Any]:
        """Of a search by a dense vector."""
        first = models.Prefetch(query=middle(query), using="middle", limit=_PREFETCHED)
        return self.ids(query, prefetch=first)

    def ways(self) -> Ways:
        """Without codes, where originals are in RAM."""
        return {
            **self._by({"exact": {"exact": True}, "default": {}}),
            **self._by({f"recall {r}": {"recall": r} for r in (0.8, 0.9, 0.97, 0.99)}),
            "rerank": self.rerank,
        }

    def ways_by_codes(self) -> Ways:
        """With them, where originals are on disk."""
        return {
            **self._by({f"recall {r}": {"recall": r} for r in (0.9, 0.97, 0.99)}),
            **self._by({"oversampling 4": {"quantization": {"oversampling": 4.0}}}),
            **self._by({"codes only": {"quantization": {"rescore": False}}}),
        }

    def _by(self, params: dict[str, dict[str, Any]]) -> Ways:
        return {name: partial(self.ids, search_params=each) for name, each in params.items()}


def edge_ways(folder: Path, passages: Passages, *, plain: bool) -> tuple[Ways, dict[str, Any]]:
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

    ways: Ways = {
        f"ef {ef}": partial(ids, params=edge.SearchParams(hnsw_ef=ef))
        for ef in (16, 32, 64, 128, 256)
    }
    exact = edge.SearchParams(exact=True)
    if plain:
        ways = {}
    return {"exact": lambda query: ids(query, exact), **ways, "rerank": rerank}, info


def measure(ways: Ways, asked: list[Asked], of_vecdb: OfVecdb) -> Figures:
    """Print milliseconds and recall of each way, in turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    found = dict.fromkeys(ways, 0)
    read = dict.fromkeys(ways, 0)
    for query, wanted in asked:
        for name, search in ways.items():
            of_vecdb.explain, of_vecdb.read = True, 0
            search(query)
            read[name] += of_vecdb.read
            of_vecdb.explain = False
            started = time.perf_counter()
            answer = search(query)
            times[name].append(1e3 * (time.perf_counter() - started))
            found[name] += len(wanted.intersection(answer))
    figures: Figures = {}
    for name, each in times.items():
        figures[name] = {
            "p50": round(float(np.median(each)), 3),
            "p95": round(float(np.percentile(each, 95)), 3),
            "recall": round(found[name] / (_LIMIT * len(asked)), 4),
            **({"read": round(read[name] / len(asked), 1)} if read[name] else {}),
        }
        print(name, json.dumps(figures[name]), flush=True)
    return figures


def print_beside(figures: Figures) -> None:
    """Beside each of Edge's ways the fastest of vecdb's that finds as much."""
    for name, its in figures.items():
        if not name.startswith("edge"):
            continue
        better = [
            (mine["p50"], other)
            for other, mine in figures.items()
            if other.startswith("vecdb")
            and mine["recall"] >= its["recall"]
            and other.endswith("rerank") == name.endswith("rerank")
        ]
        if better:
            p50, other = min(better)
            print(f"{name} {its['p50']} ms, {other} {p50} ms: {p50 / its['p50']:.0%}", flush=True)


def _beside_edge(
    folder: Path, passages: Passages, count: int, *, edge: str
) -> tuple[OfVecdb, list[Asked]]:
    """Both in turns, of the same passages. ``edge``: "hnsw", "plain", or "" for none."""
    of_vecdb = OfVecdb(folder / f"vecdb-{passages.rows}", passages)
    print(f"vecdb {passages.rows}", of_vecdb.seconds, "seconds", flush=True)
    mine = of_vecdb.ways()
    ways = {f"vecdb {name}": search for name, search in mine.items()}
    if edge:
        path = folder / f"edge-{edge}-{passages.rows}"
        found, info = edge_ways(path, passages, plain=edge == "plain")
        print(f"edge {edge} {passages.rows}", json.dumps(info), flush=True)
        ways |= {f"edge {edge} {name}": search for name, search in found.items()}
    asked = [(query, set(mine["exact"](query))) for query in passages.queries(count)]
    print_beside(measure(ways, asked, of_vecdb))
    return of_vecdb, asked


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--graph-rows", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--without-edge", action="store_true")
    arguments = parser.parse_args()
    folder, count = arguments.folder, arguments.queries
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.graph_rows and not arguments.without_edge:
        _beside_edge(folder, Passages(arguments.graph_rows), count, edge="hnsw")
    passages = Passages(arguments.rows)
    edge = "" if arguments.without_edge else "plain"
    of_vecdb, asked = _beside_edge(folder, passages, count, edge=edge)
    for name, codes in {"no codes": "Disabled", **CODES}.items():
        print(name, json.dumps(of_vecdb.configure(on_disk=True, codes=codes)), flush=True)
        ways = of_vecdb.ways_by_codes()
        if codes == "Disabled":
            ways = {way: search for way, search in ways.items() if way.startswith("recall")}
        measure({f"{name}, {way}": search for way, search in ways.items()}, asked, of_vecdb)


if __name__ == "__main__":
    main()
