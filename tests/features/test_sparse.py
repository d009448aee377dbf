"""Sparse vectors, as Qdrant's local mode has them: every kind of query, IDF, hybrid searches.

Ours is asked through ``VecDB``, opened again, and through Qdrant's client; of points with equal
scores any may come first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import qdrant_client
from qdrant_client import models as theirs

import vecdb.qdrant
from tests.cases import first_few
from vecdb import VecDB, models
from vecdb.errors import InvalidInputError, NotFoundError

KINDS = ["nearest", "average_vector", "best_score", "sum_scores", "discover", "context"]
POINTS, DIM, WORDS = 240, 5, 60
CASES = 10
DELETED = {4, 17, 111, 200}
LIVE = [number for number in range(POINTS) if number not in DELETED]
FILTERS: list[dict[str, Any]] = [
    {"must": [{"key": "n", "range": {"gte": 100}}]},
    {"must_not": [{"key": "tag", "match": {"value": "x"}}]},
    {"must": [{"has_id": list(range(1, 60, 2))}]},
    {"must": [{"has_vector": "idf"}, {"key": "n", "range": {"lt": 150}}]},
    {"must": [{"key": "n", "range": {"lt": 4}}]},
]
NAMES = ("idf", "plain")


def sparse(rng: Random, most: int = 12) -> theirs.SparseVector:
    """A vector with rare and common indices, among them the largest, in any order."""
    count = rng.randint(0, most) if rng.random() < 0.2 else rng.randint(3, most)
    found = {min(int(rng.expovariate(4 / WORDS)), WORDS) for _ in range(count)}
    indices = [4_294_967_295 - n if n % 7 == 0 else n for n in found]
    rng.shuffle(indices)
    return theirs.SparseVector(indices=indices, values=[rng.uniform(-0.4, 2.0) for _ in indices])


def point(number: int) -> theirs.PointStruct:
    """Every ninth has not the one sparse vector, every fifth not the other."""
    rng = Random(number)
    vector: dict[str, Any] = {"dense": [rng.gauss(0, 1) for _ in range(DIM)]}
    if number % 9:
        vector["idf"] = sparse(rng)
    if number % 5:
        vector["plain"] = sparse(rng)
    payload = {"n": number, "tag": "xyz"[number % 3], "group": number % 13}
    return theirs.PointStruct(id=number, vector=vector, payload=payload)


def fill(db: Any) -> None:
    """Points in files and in memory, some of which were written again, changed and deleted."""
    db.create_collection(
        "c",
        vectors_config={
            "dense": theirs.VectorParams(size=DIM, distance=theirs.Distance.COSINE),
        },
        sparse_vectors_config={
            "idf": theirs.SparseVectorParams(modifier=theirs.Modifier.IDF),
            "plain": theirs.SparseVectorParams(index=theirs.SparseIndexParams(on_disk=True)),
        },
    )
    rng = Random(5)
    for first in range(0, POINTS, 60):
        db.upsert("c", [point(n) for n in range(first, first + 60)])
        if first == 60:
            db.upsert("c", [point(n) for n in range(40, 70, 3)])
            again = [
                theirs.PointVectors(id=n, vector={"idf": sparse(rng)}) for n in (1, 30, 70, 9, 18)
            ]
            db.update_vectors("c", again)
            db.delete_vectors("c", ["idf"], [2, 9, 71])
        if isinstance(db, VecDB) and first < 120:
            db.flush("c")
    db.delete("c", sorted(DELETED))


class Both:
    """Ours and local mode with the same points."""

    def __init__(self, path: Path) -> None:
        with VecDB(path) as ours:
            fill(ours)
        self.ours = VecDB(path)  # opened again: its rows in memory come from the log
        self.client: Any = vecdb.qdrant.QdrantClient(":memory:")
        self.local = qdrant_client.QdrantClient(":memory:")
        fill(self.client)
        fill(self.local)

    def close(self) -> None:
        self.ours.close()
        self.client.close()
        self.local.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    made = Both(tmp_path_factory.mktemp("sparse") / "db")
    yield made
    made.close()


def with_vector(both: Both, using: str) -> list[int]:
    found, _ = both.local.scroll(
        "c", theirs.Filter(must=[theirs.HasVectorCondition(has_vector=using)]), limit=POINTS
    )
    return [int(each.id) for each in found]


def drawn(rng: Random, kind: str, using: str, ids: list[int]) -> Any:
    """A random query of a kind, in the form that all take."""

    def example() -> Any:
        return rng.choice(ids) if rng.random() < 0.4 else sparse(rng)

    def some(least: int, most: int) -> list[Any]:
        return [example() for _ in range(rng.randint(least, most))]

    def pair() -> theirs.ContextPair:
        return theirs.ContextPair(positive=example(), negative=example())

    if kind == "nearest":
        return example()
    if kind == "discover":
        context = [pair() for _ in range(rng.randrange(1, 5))]
        return theirs.DiscoverQuery(
            discover=theirs.DiscoverInput(target=example(), context=context)
        )
    if kind == "context":
        return theirs.ContextQuery(context=[pair() for _ in range(rng.randrange(1, 5))])
    positive = some(1 if kind == "average_vector" else 0, 4)
    negative = some(0 if positive else 1, 4)
    return theirs.RecommendQuery(
        recommend=theirs.RecommendInput(
            positive=positive or None,
            negative=negative or None,
            strategy=theirs.RecommendStrategy(kind),
        )
    )


def require_same(found: list[Any], every: list[Any], start: int = 0) -> None:
    """A page has the scores of the oracle's, and each point on it the score it has there."""
    scores = {each.id: each.score for each in every}
    wanted = sorted(scores.values(), reverse=True)[start : start + len(found)]
    assert [each.score for each in found] == pytest.approx(wanted, rel=1e-4, abs=2e-5)
    assert len({each.id for each in found}) == len(found)
    for each in found:
        assert each.score == pytest.approx(scores[each.id], rel=1e-4, abs=2e-5)


@pytest.mark.parametrize("part", first_few(1, range(4)))
@pytest.mark.parametrize("kind", KINDS)
def test_every_query_as_local_mode(both: Both, kind: str, part: int) -> None:
    rng = Random(f"{kind} {part}")
    for _ in range(CASES):
        using = rng.choice(NAMES)
        asked: dict[str, Any] = {"using": using}
        asked["query"] = drawn(rng, kind, using, with_vector(both, using))
        if rng.random() < 0.6:
            asked["query_filter"] = theirs.Filter.model_validate(rng.choice(FILTERS))
        if using == "idf" and rng.random() < 0.4:
            corpus = theirs.Filter.model_validate(rng.choice(FILTERS))
            scope: Any = theirs.IdfCorpusParams(corpus=corpus)
            if rng.random() < 0.2:
                scope = theirs.IdfScope.GLOBAL
            asked["search_params"] = theirs.SearchParams(idf=scope)
        every = both.local.query_points("c", limit=POINTS, **asked).points
        limit, offset = rng.choice((1, 3, 10, 50, 300)), rng.choice((None, 0, 1, 5, 40))
        threshold = None
        if every and rng.random() < 0.3:
            threshold = rng.choice(every).score - 1e-3
        kept = [each for each in every if threshold is None or each.score > threshold]
        size = max(0, min(limit, len(kept) - (offset or 0)))
        for db in (both.ours, both.client):
            found = db.query_points(
                "c", score_threshold=threshold, limit=limit, offset=offset, **asked
            ).points
            assert len(found) == size
            require_same(found, kept, offset or 0)


@pytest.mark.parametrize("fusion", ["rrf", "dbsf", "weights"])
def test_hybrid_searches_as_local_mode(both: Both, fusion: str) -> None:
    """Scores of one branch differ, so that ranks do not depend on who comes first of equals."""
    rng = Random(fusion)
    query: Any = theirs.RrfQuery(rrf=theirs.Rrf(weights=[3.0, 1.0, 0.5], k=7))
    if fusion != "weights":
        query = theirs.FusionQuery(fusion=theirs.Fusion(fusion))
    for _ in range(CASES):
        dense = [rng.gauss(0, 1) for _ in range(DIM)]
        prefetch = [
            theirs.Prefetch(query=dense, using="dense", limit=20),
            theirs.Prefetch(query=sparse(rng, 20), using="idf", limit=10),
            theirs.Prefetch(
                query=sparse(rng, 20),
                using="plain",
                limit=15,
                filter=theirs.Filter.model_validate(FILTERS[1]),
            ),
        ]
        every = both.local.query_points("c", prefetch=prefetch, query=query, limit=POINTS).points
        for db in (both.ours, both.client):
            found = db.query_points("c", prefetch=prefetch, query=query, limit=9).points
            assert len(found) == 9
            require_same(found, every)


def test_one_stage_upon_another_as_local_mode(both: Both) -> None:
    """A sparse search among what a dense one found, and the other way around."""
    rng = Random(8)
    for _ in range(CASES):
        first: dict[str, Any] = {"query": sparse(rng, 20), "using": "idf", "limit": 30}
        second: dict[str, Any] = {"query": [rng.gauss(0, 1) for _ in range(DIM)], "using": "dense"}
        if rng.random() < 0.5:
            first = {**second, "limit": 30}
            second = {"query": sparse(rng, 20), "using": rng.choice(NAMES)}
        prefetch = theirs.Prefetch(**first)
        every = both.local.query_points("c", prefetch=prefetch, limit=POINTS, **second).points
        for db in (both.ours, both.client):
            found = db.query_points("c", prefetch=prefetch, limit=7, **second).points
            assert len(found) == min(7, len(every))
            require_same(found, every)


def test_groups_and_batches_as_local_mode(both: Both) -> None:
    rng = Random(9)
    for _ in range(CASES):
        query, using = sparse(rng, 20), rng.choice(NAMES)
        asked: dict[str, Any] = {"query": query, "using": using}
        grouped = {"group_by": "group", "limit": 5, "group_size": 2}
        wanted = both.local.query_points_groups("c", **grouped, **asked).groups
        request = theirs.QueryRequest(query=query, using=using, limit=6)
        every = both.local.query_points("c", limit=POINTS, **asked).points
        for db in (both.ours, both.client):
            groups = db.query_points_groups("c", **grouped, **asked).groups
            assert [g.id for g in groups] == [g.id for g in wanted]
            for ours, there in zip(groups, wanted, strict=True):
                assert [h.id for h in ours.hits] == [h.id for h in there.hits]
            for response in db.query_batch_points("c", [request, request]):
                require_same(response.points, every)


def test_points_come_back_as_local_mode_has_them(both: Both) -> None:
    for flags in (True, ["idf"], ["plain", "dense"]):
        there, _ = both.local.scroll("c", limit=POINTS, with_vectors=flags)
        for db in (both.ours, both.client):
            ours, _ = db.scroll("c", limit=POINTS, with_vectors=flags)
            assert [p.id for p in ours] == [p.id for p in there]
            for mine, other in zip(ours, there, strict=True):
                assert mine.vector.keys() == other.vector.keys()
                for name in mine.vector.keys() & set(NAMES):
                    mine_, other_ = mine.vector[name], other.vector[name]
                    expected = theirs.SparseVector if db is both.client else models.SparseVector
                    assert type(mine_) is expected
                    order = np.argsort(other_.indices)
                    assert mine_.indices == [other_.indices[i] for i in order]
                    assert mine_.values == pytest.approx([other_.values[i] for i in order])
            retrieved = db.retrieve("c", [7, 8], with_vectors=flags)
            by_id = {p.id: p.vector for p in ours}
            assert {p.id: p.vector for p in retrieved} == {n: by_id[n] for n in (7, 8)}
    for name in NAMES:
        condition = theirs.Filter(must=[theirs.HasVectorCondition(has_vector=name)])
        count = both.local.count("c", condition).count
        assert both.ours.count("c", condition).count == both.client.count("c", condition).count
        assert both.ours.count("c", condition).count == count


def test_feedback_is_its_formula(both: Both) -> None:
    """Local mode has it for dense vectors only."""
    rng = Random(4)
    items = [(sparse(rng, 20), score) for score in (0.9, 0.5, 0.1)]
    target = sparse(rng, 20)
    query = theirs.RelevanceFeedbackQuery(
        relevance_feedback=theirs.RelevanceFeedbackInput(
            target=target,
            feedback=[theirs.FeedbackItem(example=each, score=score) for each, score in items],
            strategy=theirs.NaiveFeedbackStrategy(
                naive=theirs.NaiveFeedbackStrategyParams(a=1.0, b=2.0, c=0.5)
            ),
        )
    )
    found = both.ours.query_points("c", query, using="plain", limit=POINTS, with_vectors=["plain"])

    def score(example: Any, stored: Any) -> float:
        given = dict(zip(example.indices, example.values, strict=True))
        pairs = zip(stored.indices, stored.values, strict=True)
        return sum(given.get(index, 0.0) * value for index, value in pairs)

    assert len(found.points) == len(with_vector(both, "plain"))
    for point in found.points:
        stored = point.vector["plain"]
        of = [score(each, stored) for each, _ in items]
        wanted = score(target, stored)
        for better, worse in ((0, 1), (0, 2), (1, 2)):
            margin = items[better][1] - items[worse][1]
            wanted += margin**2.0 * 0.5 * (of[better] - of[worse])
        assert point.score == pytest.approx(wanted, rel=1e-4, abs=2e-5)


def test_older_verbs_and_forms(both: Both) -> None:
    """``search`` is gone from Qdrant's client, and was with ``NamedSparseVector``."""
    rng = Random(3)
    query = sparse(rng, 20)
    plain = models.SparseVector(indices=query.indices, values=query.values)
    wanted = both.ours.query_points("c", query, using="idf", limit=8).points
    named = models.NamedSparseVector(name="idf", vector=plain)
    arrays = models.SparseVector(indices=np.array(query.indices), values=np.array(query.values))
    for given in (
        named,
        models.to_builtins(named),
        ("idf", plain),
        ("idf", arrays),
        ("idf", models.to_builtins(plain)),
    ):
        assert both.ours.search("c", given, limit=8) == wanted
    request = models.SearchRequest(vector=named, limit=8, with_payload=True)
    assert both.ours.search_batch("c", [request]) == [wanted]
    for one in (plain, arrays, {"nearest": plain}, models.NearestQuery(nearest=query)):
        assert both.ours.query_points("c", one, using="idf", limit=8).points == wanted
    found = both.client.recommend("c", positive=[7, query], using="idf", limit=5)
    asked = theirs.RecommendInput(positive=[7, query])
    every = both.local.query_points(
        "c", theirs.RecommendQuery(recommend=asked), using="idf", limit=POINTS
    ).points
    assert len(found) == 5
    require_same(found, every)


def test_a_description_has_them(both: Both) -> None:
    ours = both.client.get_collection("c").config.params.sparse_vectors
    assert ours == both.local.get_collection("c").config.params.sparse_vectors


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ({"idf": {"indices": [1, 2], "values": [1.0]}}, "as many indices as values"),
        ({"idf": {"indices": [1, 1], "values": [1.0, 2.0]}}, "each index once, got 1 twice"),
        ({"idf": {"indices": [-1], "values": [1.0]}}, "indices from 0 to 4294967295, got -1"),
        ({"idf": {"indices": [1], "values": [float("nan")]}}, "finite"),
        ({"idf": [1.0, 2.0]}, "expected a sparse vector with indices and values"),
        ({"dense": {"indices": [1], "values": [1.0]}}, "expected numbers"),
        ({"dense": {"text": "x", "model": "qdrant/bm25"}}, "expected numbers"),
        ({"idf": {"text": "x", "model": "other"}}, "expected the model 'qdrant/bm25'"),
        ({"other": {"indices": [1], "values": [1.0]}}, "unknown vector name 'other'"),
    ],
)
def test_a_wrong_point_is_refused_by_its_id(both: Both, vector: Any, message: str) -> None:
    count = both.ours.count("c").count
    with pytest.raises(InvalidInputError, match=rf"^point 999[:,].*{message}"):
        both.ours.upsert("c", [{"id": 999, "vector": vector}])
    assert both.ours.count("c").count == count


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"query": {"indices": [1], "values": []}, "using": "idf"}, InvalidInputError, "as many"),
        ({"query": {"indices": [1], "values": [1.0]}}, InvalidInputError, "vector name is needed"),
        (
            {"query": {"indices": [1], "values": [1.0]}, "using": "dense"},
            InvalidInputError,
            "query",
        ),
        ({"query": [1.0] * DIM, "using": "idf"}, InvalidInputError, "sparse vector"),
        ({"query": {"text": "x", "model": "m"}, "using": "idf"}, InvalidInputError, "qdrant/bm25"),
        (
            {"query": {"text": "x", "model": "qdrant/bm25"}, "using": "dense"},
            InvalidInputError,
            "q",
        ),
        (
            {
                "query": {"indices": [1], "values": [1.0]},
                "using": "plain",
                "search_params": {"idf": {"corpus": {}}},
            },
            InvalidInputError,
            "search_params.idf: expected a sparse vector with the modifier 'idf'",
        ),
        (
            {"query": [1.0] * DIM, "using": "dense", "search_params": {"idf": {"corpus": {}}}},
            InvalidInputError,
            "search_params.idf: expected",
        ),
        (
            {
                "query": {"indices": [1], "values": [1.0]},
                "using": "idf",
                "search_params": {
                    "idf": {"corpus": {"must": [{"key": "[", "match": {"value": 1}}]}}
                },
            },
            InvalidInputError,
            "idf.corpus",
        ),
        ({"query": 9, "using": "idf"}, NotFoundError, "point 9 has no vector 'idf'"),
    ],
)
def test_a_wrong_query_is_refused(
    both: Both, asked: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        both.ours.query_points("c", **asked)
