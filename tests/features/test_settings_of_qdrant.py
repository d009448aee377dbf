"""Settings and names of Qdrant's that decide nothing here are taken as they come."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from qdrant_client import models as theirs

from vecdb import VecDB, models
from vecdb.errors import InvalidInputError

ROWS = 300


@pytest.fixture
def db() -> Iterator[VecDB]:
    with VecDB(":memory:") as db:
        db.create_collection(
            "c",
            models.VectorParams(size=4, distance=models.Distance.DOT),
            optimizers_config={"max_optimization_threads": 0, "indexing_threshold": 1},
        )
        vectors = np.random.default_rng(1).standard_normal((ROWS, 4)).astype(np.float32)
        db.upsert("c", models.Batch(ids=range(ROWS), vectors=vectors))
        db.wait_for_optimizer("c")
        yield db


def test_tuning_that_has_no_counterpart(db: VecDB) -> None:
    db.update_collection(
        "c",
        optimizers_config=theirs.OptimizersConfigDiff(prevent_unoptimized=True),
        hnsw_config=theirs.HnswConfigDiff(inline_storage=True, memory=theirs.Memory.PINNED),
        collection_params=theirs.CollectionParamsDiff(replication_factor=1),
    )
    config = db.get_collection("c").config
    assert config.optimizer_config.prevent_unoptimized is True
    assert config.optimizer_config.max_optimization_threads == 0
    assert config.hnsw_config.inline_storage is True
    assert config.hnsw_config.memory is models.Memory.PINNED
    theirs.CollectionConfig.model_validate(config, from_attributes=True)


def test_a_warning_of_what_means_nothing_in_qdrant_either(db: VecDB) -> None:
    inline, codes = {"inline_storage": True}, {"scalar": {"type": "int8"}}
    vector = {"size": 4, "distance": "Dot"}
    vectors = {
        "plain": vector,
        "inline": {**vector, "hnsw_config": inline},
        "quantized": {**vector, "hnsw_config": inline, "quantization_config": codes},
    }
    db.create_collection("d", vectors)

    def warnings() -> list[str]:
        return [each.message for each in db.get_collection("d").warnings]

    text = "vector {!r}: hnsw_config.inline_storage means nothing where there is no quantization"
    assert warnings() == [text.format("inline")]
    db.update_collection("d", hnsw_config=inline)
    assert warnings() == [text.format("plain"), text.format("inline")]
    db.update_collection("d", vectors_config={"plain": {"hnsw_config": {"inline_storage": False}}})
    assert warnings() == [text.format("inline")]
    db.update_collection("d", quantization_config=codes)
    assert warnings() == []


def test_automatic_threads_are_the_default(db: VecDB) -> None:
    for auto in ("auto", theirs.MaxOptimizationThreadsSetting.AUTO):
        db.update_collection("c", optimizers_config={"max_optimization_threads": 0})
        assert db.get_collection("c").config.optimizer_config.max_optimization_threads == 0
        db.update_collection("c", optimizers_config={"max_optimization_threads": auto})
        assert db.get_collection("c").config.optimizer_config.max_optimization_threads is None
    new = models.OptimizersConfigDiff(max_optimization_threads="auto")  # type: ignore[arg-type]
    db.create_collection("d", {"size": 4, "distance": "Dot"}, optimizers_config=new)
    with pytest.raises(InvalidInputError, match="max_optimization_threads: expected"):
        db.update_collection("c", optimizers_config={"max_optimization_threads": "many"})


def test_searches_that_name_them_find_the_same(db: VecDB) -> None:
    query = [1.0, 2.0, 3.0, 4.0]
    expected = db.query_points("c", query).points
    assert len(expected) == 10
    acorn = theirs.AcornSearchParams(enable=True, max_selectivity=0.4)
    for params in (
        {"hnsw_ef": 0},
        models.SearchParams(hnsw_ef=0),
        theirs.SearchParams(hnsw_ef=0, acorn=acorn),
    ):
        found = db.query_points("c", query, search_params=params).points
        assert found == expected
    assert db.query_points("c", query, limit=None).points == expected
    assert db.search("c", query, limit=None) == expected
    assert db.scroll("c", limit=None) == db.scroll("c", limit=10)
    assert len(db.query_batch_points("c", [{"query": query, "limit": None}])[0].points) == 10


def test_names_that_programs_import(db: VecDB) -> None:
    assert models.ReadConsistency == int | models.ReadConsistencyType
    assert models.ShardKeySelector == int | str | list[int | str]
    db.upsert(
        "c", [{"id": 1, "vector": [1, 2, 3, 4]}], ordering=models.WriteOrdering.STRONG, timeout=3
    )
    assert db.retrieve("c", [1], consistency=models.ReadConsistencyType.ALL)
    source = models.InitFrom(collection="c")
    with pytest.raises(InvalidInputError, match="init_from"):
        db.create_collection("d", {"size": 4, "distance": "Dot"}, init_from=source)
