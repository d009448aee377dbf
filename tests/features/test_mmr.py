"""Maximal marginal relevance: as Qdrant's local mode, and of whatever a search found."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import qdrant_client
from qdrant_client import models as theirs

from proofs.model.oracle import Oracle
from tests.cases import first_few
from vecdb import AsyncVecDB, VecDB, models

Array = np.ndarray[Any, Any]
DISTANCES = ["Cosine", "Dot", "Euclid", "Manhattan"]
POINTS = 240
ALIKE = 200
"""A point of a higher number has the vector of one of the first: of the two, either may come."""
ROWS = np.random.default_rng(5).standard_normal((ALIKE, 6)).astype(np.float32)
LIKE_NO_OTHER = range(POINTS - ALIKE, ALIKE)
"""Where the nearest is the query itself, all others are equally good for a diversity of 0.5."""
DELETED = {3, 17, 211}
EXACT = models.SearchParams(exact=True)


def point(number: int) -> dict[str, Any]:
    """Every ninth has not the vector that is searched; every third not the other one."""
    vector = {}
    if number % 9:
        vector["a"] = ROWS[number % ALIKE].tolist()
    if number % 3 or not vector:
        vector["b"] = [1.0, float(number)]
    return {"id": number, "vector": vector, "payload": {"n": number, "tag": "xyz"[number % 3]}}


def fill(db: Any, distance: str) -> None:
    vectors = {"a": {"size": 6, "distance": distance}, "b": {"size": 2, "distance": "Dot"}}
    db.create_collection("c", vectors_config=vectors)
    for first in range(0, POINTS, 60):
        db.upsert("c", [point(number) for number in range(first, first + 60)])
        if isinstance(db, VecDB) and first < 120:
            db.flush("c")
    db.delete("c", sorted(DELETED))


@pytest.fixture(scope="module", params=DISTANCES)
def both(
    request: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[VecDB, qdrant_client.QdrantClient]]:
    """Ours has file segments and rows in memory."""
    ours = VecDB(tmp_path_factory.mktemp("mmr") / "db")
    fill(ours, request.param)
    client = qdrant_client.QdrantClient(":memory:")
    params = theirs.VectorParams(size=6, distance=theirs.Distance(request.param))
    other = theirs.VectorParams(size=2, distance=theirs.Distance.DOT)
    client.create_collection("c", vectors_config={"a": params, "b": other})
    points = [theirs.PointStruct(**point(n)) for n in range(POINTS) if n not in DELETED]
    client.upsert("c", points)
    yield ours, client
    ours.close()
    client.close()


def drawn(rng: Random) -> dict[str, Any]:
    """A random query with MMR, in the form that both take."""
    query: Any = np.random.default_rng(rng.randrange(10**6)).standard_normal(6).tolist()
    if rng.random() < 0.3:
        query = rng.choice([n for n in LIKE_NO_OTHER if n % 9])
    asked: dict[str, Any] = {
        "query": {
            "nearest": query,
            "mmr": {
                "diversity": rng.choice((None, 0.0, 0.1, 0.5, 0.9, 1.0)),
                "candidates_limit": rng.choice((None, 1, 20, 60, 10_000)),
            },
        },
        "using": "a",
        "limit": rng.choice((1, 2, 5, 10, 300)),
        "offset": rng.choice((None, None, 0, 1, 4, 30)),
    }
    if rng.random() < 0.5:
        asked["query_filter"] = rng.choice(
            (
                {"must": [{"key": "tag", "match": {"value": "y"}}]},
                {"must_not": [{"key": "n", "range": {"gte": 40}}]},
                {"must": [{"has_vector": "b"}]},
                {"must": [{"key": "tag", "match": {"value": "nothing"}}]},
            )
        )
    if rng.random() < 0.3:
        asked["score_threshold"] = rng.uniform(0.1, 6)
    return asked


def as_theirs(asked: dict[str, Any]) -> dict[str, Any]:
    given = asked | {"query": theirs.NearestQuery.model_validate(asked["query"])}
    if "query_filter" in asked:
        given["query_filter"] = theirs.Filter.model_validate(asked["query_filter"])
    return given


@pytest.mark.parametrize("seed", first_few(30, range(150)))
def test_as_in_local_mode(both: tuple[VecDB, qdrant_client.QdrantClient], seed: int) -> None:
    ours, client = both
    asked = drawn(Random(seed))
    expected = client.query_points("c", **as_theirs(asked)).points
    found = ours.query_points("c", **asked).points
    assert [p.id % ALIKE for p in found] == [p.id % ALIKE for p in expected]
    assert [p.score for p in found] == pytest.approx([p.score for p in expected], abs=1e-4)
    assert len({p.id for p in found}) == len(found)
    assert all(p.payload["n"] == p.id for p in found)


def test_qdrants_own_objects_and_ours_are_the_same_query(
    both: tuple[VecDB, qdrant_client.QdrantClient],
) -> None:
    ours, _ = both
    asked = {"nearest": ROWS[5].tolist(), "mmr": {"diversity": 0.7, "candidates_limit": 50}}
    mmr = models.Mmr(diversity=0.7, candidates_limit=50)
    answers = [
        ours.query_points("c", query, "a", limit=7)
        for query in (
            asked,
            theirs.NearestQuery.model_validate(asked),
            models.NearestQuery(nearest=ROWS[5], mmr=mmr),
        )
    ]
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0].points) == 7


def test_a_batch_answers_as_single_queries_do(
    both: tuple[VecDB, qdrant_client.QdrantClient],
) -> None:
    ours, _ = both
    rng = Random(8)
    asked = [drawn(rng) for _ in range(40)]
    plain = {"query": ROWS[1].tolist(), "using": "a", "limit": 4, "offset": 2}
    # The same but for the query, with and without a choice: searched together.
    alike = [plain | {"query": {"nearest": ROWS[i], "mmr": {}}} for i in (2, 5)]
    alike += [plain, plain | {"query": {"nearest": ROWS[7], "mmr": {"diversity": 1}}}, {"limit": 3}]
    requests = [
        {"filter" if name == "query_filter" else name: value for name, value in one.items()}
        for one in [*asked, *alike]
    ]
    alone = [ours.query_points("c", **one, with_payload=False) for one in [*asked, *alike]]
    assert ours.query_batch_points("c", requests) == alone
    assert any(response.points for response in alone)


def test_asynchronously(tmp_path: Path) -> None:
    query = models.NearestQuery(nearest=ROWS[5], mmr=models.Mmr(candidates_limit=80))
    with VecDB(tmp_path / "db") as db:
        fill(db, "Cosine")
        expected = db.query_points("c", query, "a")

    async def main() -> None:
        async with AsyncVecDB(tmp_path / "db") as db:
            assert await db.query_points("c", query, "a") == expected
            request = models.QueryRequest(query=query, using="a", with_payload=True)
            assert await db.query_batch_points("c", [request]) == [expected]

    asyncio.run(main())


def test_no_diversity_is_the_order_of_a_search(
    both: tuple[VecDB, qdrant_client.QdrantClient],
) -> None:
    ours, _ = both
    query = {"nearest": ROWS[5], "mmr": {"diversity": 0, "candidates_limit": 100}}
    found = ours.query_points("c", query, "a", limit=20).points
    plain = ours.query_points("c", ROWS[5], "a", limit=20).points
    assert [p.score for p in found] == [p.score for p in plain]


def test_vectors_and_payloads_are_those_that_are_wanted(
    both: tuple[VecDB, qdrant_client.QdrantClient],
) -> None:
    ours, _ = both
    query = {"nearest": ROWS[5], "mmr": {}}
    found = ours.query_points("c", query, "a", with_vectors=["b"], with_payload=["tag"]).points
    assert len(found) == 10
    for hit in found:
        assert hit.payload == {"tag": "xyz"[hit.id % 3]}
        assert hit.vector == ({"b": [1.0, float(hit.id)]} if hit.id % 3 else {})


# -- of what an index and codes find ---------------------------------------------------------------

CLUSTERED = np.random.default_rng(2).standard_normal((40, 32))[
    np.random.default_rng(3).integers(0, 40, 3000)
] + 0.6 * np.random.default_rng(4).standard_normal((3000, 32))
QUANTIZATIONS: dict[str, Any] = {
    "none": None,
    "scalar": {"scalar": {"type": "int8"}},
    "binary": {"binary": {}},
}
PARAMS: dict[str, Any] = {
    "as it is": None,
    "by codes alone": {"quantization": {"rescore": False}, "hnsw_ef": 40},
    "exact": EXACT,
}


def reference(oracle: Oracle, query: Array, candidates: list[int], diversity: float) -> list[int]:
    """The candidates in the order in which they are chosen."""
    rows = np.array([oracle.points[i].vectors[""] for i in candidates])
    relevance = oracle.similarities("", rows, oracle.stored("", query))
    chosen = [int(np.argmax(relevance))]
    while len(chosen) < len(candidates):
        likeness = np.max([oracle.similarities("", rows, rows[c]) for c in chosen], axis=0)
        worth = (1 - diversity) * relevance - diversity * likeness
        worth[chosen] = -np.inf
        chosen.append(int(np.argmax(worth)))
    return [candidates[position] for position in chosen]


@pytest.mark.parametrize("distance", ["Cosine", "Euclid", "Manhattan"])
@pytest.mark.parametrize("quantization", QUANTIZATIONS.values(), ids=QUANTIZATIONS.keys())
def test_candidates_are_what_the_search_finds(
    tmp_path: Path, distance: str, quantization: Any
) -> None:
    """Relevance and likeness are exact, and scores those of the search, also by codes alone."""
    oracle = Oracle({"": (32, distance)})
    oracle.upsert((i, None, {"": row}) for i, row in enumerate(CLUSTERED))
    with VecDB(tmp_path / "db") as db:
        db.create_collection(
            "c",
            {"size": 32, "distance": distance},
            quantization_config=quantization,
            optimizers_config={"indexing_threshold": 100},
        )
        db.upsert("c", models.Batch(ids=range(3000), vectors=CLUSTERED))
        db.flush("c")
        assert db.wait_for_optimizer("c")
        assert db.get_collection("c").segments[0].vectors[""].index is not None
        for params in PARAMS.values():
            for query in CLUSTERED[:5] + 0.1:
                plain = db.query_points("c", query, search_params=params, limit=40).points
                for diversity in (0.2, 0.8):
                    mmr = {"diversity": diversity, "candidates_limit": 40}
                    asked = {"nearest": query, "mmr": mmr}
                    found = db.query_points(
                        "c", asked, search_params=params, limit=10, offset=2
                    ).points
                    order = reference(oracle, query, [p.id for p in plain], diversity)
                    assert [p.id for p in found] == order[2:12]
                    scores = {p.id: p.score for p in plain}
                    assert [p.score for p in found] == [scores[p.id] for p in found]
        filter = {"must": [{"has_id": list(range(0, 3000, 7))}]}
        mmr = {"diversity": 0.6, "candidates_limit": 30}
        hits = db.query_points("c", {"nearest": CLUSTERED[1], "mmr": mmr}, None, filter, EXACT)
        problem = oracle.mmr_difference(hits.points, "", CLUSTERED[1], 10, filter, 0.6, 30)
        assert problem is None


def test_the_comparison_with_the_model_finds_a_wrong_choice(tmp_path: Path) -> None:
    """The points in the order of a search are not those that MMR chooses."""
    oracle = Oracle({"": (32, "Cosine")})
    oracle.upsert((i, None, {"": row}) for i, row in enumerate(CLUSTERED[:500]))
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 32, "distance": "Cosine"})
        db.upsert("c", models.Batch(ids=range(500), vectors=CLUSTERED[:500]))
        plain = db.query_points("c", CLUSTERED[1], limit=10).points
        mmr = {"diversity": 0.5, "candidates_limit": 100}
        found = db.query_points("c", {"nearest": CLUSTERED[1], "mmr": mmr}).points
    given = ("", CLUSTERED[1], 10, None)
    assert oracle.mmr_difference(found, *given, 0.5, 100) is None
    assert oracle.mmr_difference(plain, *given, 0.0, 100) is None
    assert "no choice" in str(oracle.mmr_difference(plain, *given, 0.5, 100))
    assert "9 of 10" in str(oracle.mmr_difference(found[:9], *given, 0.5, 100))


# -- what is said, and what is done ----------------------------------------------------------------


def test_explain_tells_how_many_candidates_of_each_segment_were_chosen(
    both: tuple[VecDB, qdrant_client.QdrantClient],
) -> None:
    ours, _ = both
    query = {"nearest": ROWS[5], "mmr": {"diversity": 0.3, "candidates_limit": 50}}
    response = ours.query_points("c", query, "a", limit=8, explain=True)
    assert response.explanation is not None
    assert len(response.explanation) == 3
    stages = [segment.stages[-1] for segment in response.explanation]
    assert {stage.by for stage in stages} == {"mmr"}
    assert sum(stage.rows for stage in stages) == 50
    assert sum(stage.kept for stage in stages) == 8
    assert stages[0].reason == "of 50 candidates, with a diversity of 0.3"
    assert [segment.stages[-2].by for segment in response.explanation] == ["originals"] * 3
    few = query | {"mmr": {"candidates_limit": 1}}
    explained = ours.query_points("c", few, "a", explain=True).explanation
    assert explained is not None
    assert [s.by for segment in explained for s in segment.stages].count("mmr") == 1


@pytest.mark.parametrize("diversity", [0, 0.5, 1])
def test_distances_that_overflow_leave_a_choice(tmp_path: Path, diversity: float) -> None:
    """The square of a distance of such vectors is infinite, and infinity times 0 no number."""
    far = np.float32(1.7e19)
    rows = np.array([[far, 0], [-far, 0], [0, far], [far, 0]], dtype=np.float32)
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 2, "distance": "Euclid"})
        db.upsert("c", models.Batch(ids=range(4), vectors=rows))
        query = {"nearest": [far, 1.0], "mmr": {"diversity": diversity}}
        found = [p.id for p in db.query_points("c", query).points]
    assert found[0] == 0
    assert sorted(found) == [0, 1, 2, 3]


def test_an_empty_collection_and_one_point(tmp_path: Path) -> None:
    query = {"nearest": [1.0, 0.0], "mmr": {"diversity": 1}}
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        assert db.query_points("c", query, explain=True).points == []
        db.upsert("c", [{"id": 1, "vector": [2.0, 1.0]}])
        assert [(p.id, p.score) for p in db.query_points("c", query).points] == [(1, 2.0)]
        assert db.query_points("c", query | {"nearest": 1}).points == []
        assert db.query_points("c", query, offset=1).points == []


def test_a_few_thousand_points_do_not_load_numba() -> None:
    program = """
import sys
import numpy as np
from vecdb import VecDB
rows = np.random.default_rng(0).standard_normal((3000, 64))
with VecDB(":memory:") as db:
    db.create_collection("c", {"size": 64, "distance": "Euclid"})
    db.upsert("c", {"ids": range(3000), "vectors": rows})
    query = {"nearest": rows[0], "mmr": {"candidates_limit": 3000}}
    assert len(db.query_points("c", query, limit=50).points) == 50
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
