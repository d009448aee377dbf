"""Batches by the index: what a query finds does not depend on what else is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB, models
from vecdb.engine.read import merge

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
