"""Batches by the index: what a query finds does not depend on what else is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB, models
from vecdb.engine.read import batch, merge
from vecdb.engine.read.segment.scan import search_segment
from vecdb.errors import InvalidInputError

ROWS, DIM = 4000, 16


@pytest.fixture(scope="module")
def vectors() -> Any:
    random = np.random.default_rng(0)
    centres = 3 * random.standard_normal((20, DIM))[random.integers(0, 20, ROWS)]
    return (centres + random.standard_normal((ROWS, DIM))).astype(np.float32)


def indexed(open_db: Callable[..., VecDB], vectors: Any) -> VecDB:
    """All vectors in one segment with an index."""
    db = open_db(":memory:")
    db.create_collection(
        "c",
        {"size": DIM, "distance": "Dot"},
        optimizers_config={"indexing_threshold": 1, "max_optimization_threads": 0},
    )
    db.upsert("c", models.Batch(ids=range(ROWS), vectors=vectors))
    assert db.wait_for_optimizer("c")
    return db


def found(db: VecDB, queries: Any, limit: int, recall: float) -> tuple[list[Any], list[Any]]:
    """Ids and scores, one query after the other and all at once."""
    params = models.SearchParams(recall=recall)
    requests = [models.QueryRequest(query=q, limit=limit, params=params) for q in queries]
    alone = [db.search("c", q, limit=limit, search_params=params) for q in queries]
    together = [response.points for response in db.query_batch_points("c", requests)]
    plain = [[[(hit.id, hit.score) for hit in hits] for hits in each] for each in (alone, together)]
    return plain[0], plain[1]


@pytest.mark.parametrize("deleted", [0, 500])
def test_a_batch_answers_as_single_searches_do_whatever_was_deleted(
    deleted: int, open_db: Callable[..., VecDB], vectors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where rows were deleted, all queries were searched as deep as the one that needed it most."""
    db = indexed(open_db, vectors)
    if deleted:
        db.delete("c", np.random.default_rng(1).choice(ROWS, deleted, replace=False).tolist())
    queries = vectors[:40]
    for recall in (0.5, 0.9, 0.97):
        for limit in (1, 10, 113):
            alone, together = found(db, queries, limit, recall)
            assert alone == together
            assert {len(hits) for hits in alone} == {limit}
            with monkeypatch.context() as patch:  # as if there were too many to be kept at once
                patch.setattr(merge, "MOST_AT_ONCE", 64 * limit * 3)
                assert found(db, queries, limit, recall)[1] == alone


@pytest.mark.parametrize("share_out", [1, 3])
def test_what_is_shared_out_is_equal_to_the_last_bit(
    share_out: int, open_db: Callable[..., VecDB], vectors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of queries unlike the rows, which are searched again and deeper, and of more than go
    through the partitions together."""
    monkeypatch.setattr(batch, "processors", lambda: share_out)
    monkeypatch.setattr(merge, "processors", lambda: share_out)
    db = indexed(open_db, vectors)
    random = np.random.default_rng(2)
    strange = random.standard_normal((70, DIM)).astype(np.float32)
    queries = np.concatenate([vectors[:70], -vectors[:70], strange, vectors[:70] + strange])
    for recall in (0.8, 0.97):
        alone, together = found(db, random.permutation(queries), 10, recall)
        assert alone == together
    requests = [models.QueryRequest(query=q, with_payload=True) for q in queries]
    for query, response in zip(queries, db.query_batch_points("c", requests), strict=True):
        assert response.points == db.search("c", query)


@pytest.mark.parametrize("share_out", [1, 3])
def test_what_is_wrong_in_a_share_has_its_number_in_the_batch(
    share_out: int, open_db: Callable[..., VecDB], vectors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "processors", lambda: share_out)
    db = indexed(open_db, vectors)
    requests = [models.QueryRequest(query=q) for q in vectors[:30]]
    requests[23] = models.QueryRequest(query=vectors[0, :5])
    requests[27] = models.QueryRequest(query=[1.0])
    with pytest.raises(InvalidInputError, match=r"^requests\[23\]\.query vector: expected 16 num"):
        db.query_batch_points("c", requests)


def test_a_vector_behind_one_of_another_name_is_by_its_own(open_db: Callable[..., VecDB]) -> None:
    """What a request shares with the one before it is not read again, but ``("other", vector)``
    says more than the request does."""
    db = open_db(":memory:")
    size = {"size": 2, "distance": "Dot"}
    db.create_collection("c", {"": size, "other": size})
    db.upsert("c", [models.PointStruct(id=1, vector={"": [1, 0], "other": [0, 1]})])
    query = np.array([3, 4], dtype=np.float32)
    asked = [query, ("other", query), query, 1, query, {"nearest": query}, query]
    requests = [models.QueryRequest(query=each) for each in asked]
    scores = [[p.score for p in each.points] for each in db.query_batch_points("c", requests)]
    assert scores == [[3], [4], [3], [], [3], [3], [3]]


def test_a_share_of_a_batch_is_not_shared_out_again(
    open_db: Callable[..., VecDB], vectors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processors have one already; halves of halves share fewer passes over the sketches."""
    monkeypatch.setattr(batch, "processors", lambda: 2)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    db = indexed(open_db, vectors)
    asked: list[int] = []

    def counted(search: Any) -> Any:
        asked.append(len(search.queries))
        return search_segment(search)

    monkeypatch.setattr(merge, "search_segment", counted)
    db.query_batch_points("c", [models.QueryRequest(query=q) for q in vectors[:100]])
    assert sorted(asked) == [50, 50]


def test_a_limit_beyond_all_rows_takes_memory_for_the_rows(
    open_db: Callable[..., VecDB], vectors: Any
) -> None:
    """It was memory for the limit: 24 GiB a query."""
    db = indexed(open_db, vectors)
    requests = [models.QueryRequest(query=q, limit=2**31) for q in vectors[:2]]
    assert [len(found.points) for found in db.query_batch_points("c", requests)] == [ROWS, ROWS]
    found = db.query_points("c", vectors[0], limit=2**31, explain=True)
    assert len(found.points) == ROWS
    assert found.explanation is not None
    assert [stage.kept for stage in found.explanation[0].stages] == [ROWS, ROWS]
