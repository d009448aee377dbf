"""The Python examples of the Quantization page of Qdrant's documentation.

They run with two lines changed: the import, and the constructor. (The page's queries have four
numbers and its collections 768 or 1536; here the queries have the collection's size.)
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import models as qdrant_models

import vecdb
from vecdb import VecDB

NAME = "{collection_name}"  # as on the page, braces and all
DIM = 768
ROWS = 4000  # 12000 KB


@pytest.fixture(params=["vecdb", "qdrant_client"])
def models(request: pytest.FixtureRequest) -> Any:
    """The page's ``models``: ours, and the ones of the package it was written for."""
    if request.param == "vecdb":
        return vecdb.models
    return qdrant_models


@pytest.fixture
def client(tmp_path: Path) -> Iterator[VecDB]:
    with VecDB(tmp_path / "page.db", sync="never") as database:
        yield database


@pytest.fixture(scope="module")
def vectors() -> np.ndarray[Any, Any]:
    return np.random.default_rng(11).standard_normal((ROWS, DIM)).astype(np.float32)


def fill(client: VecDB, models: Any, vectors: Any, dim: int = DIM) -> None:
    client.upsert(
        collection_name=NAME,
        points=[
            models.PointStruct(id=n, vector=vectors[n, :dim].tolist(), payload={"city": "Berlin"})
            for n in range(20)
        ],
    )
    client.upload_collection(NAME, vectors[20:, :dim], ids=range(20, ROWS))
    client.flush()
    assert client.wait_for_optimizer(NAME, timeout=120)


def scalar_quantization(client: VecDB, models: Any) -> None:
    client.create_collection(
        collection_name="{collection_name}",
        vectors_config=models.VectorParams(size=768, distance=models.Distance.COSINE),
        quantization_config=models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(
                type=models.ScalarType.INT8,
                quantile=0.99,
                always_ram=True,
            ),
        ),
    )


def binary_quantization(client: VecDB, models: Any) -> None:
    client.create_collection(
        collection_name="{collection_name}",
        vectors_config=models.VectorParams(size=1536, distance=models.Distance.COSINE),
        quantization_config=models.BinaryQuantization(
            binary=models.BinaryQuantizationConfig(
                always_ram=True,
            ),
        ),
    )


def product_quantization(client: VecDB, models: Any) -> None:
    client.create_collection(
        collection_name="{collection_name}",
        vectors_config=models.VectorParams(size=768, distance=models.Distance.COSINE),
        quantization_config=models.ProductQuantization(
            product=models.ProductQuantizationConfig(
                compression=models.CompressionRatio.X16,
                always_ram=True,
            ),
        ),
    )


def original_on_disk_quantized_in_ram(client: VecDB, models: Any) -> None:
    client.create_collection(
        collection_name="{collection_name}",
        vectors_config=models.VectorParams(size=768, distance=models.Distance.COSINE),
        optimizers_config=models.OptimizersConfigDiff(memmap_threshold=20000),
        quantization_config=models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(
                type=models.ScalarType.INT8,
                always_ram=True,
            ),
        ),
    )


def all_on_disk(client: VecDB, models: Any) -> None:
    client.create_collection(
        collection_name="{collection_name}",
        vectors_config=models.VectorParams(size=768, distance=models.Distance.COSINE),
        optimizers_config=models.OptimizersConfigDiff(memmap_threshold=20000),
        quantization_config=models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(
                type=models.ScalarType.INT8,
                always_ram=False,
            ),
        ),
    )


def tune_accuracy_recall(client: VecDB, models: Any) -> None:
    client.create_collection(
        collection_name="{collection_name}",
        vectors_config=models.VectorParams(size=768, distance=models.Distance.COSINE),
        quantization_config=models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(
                type=models.ScalarType.INT8,
                quantile=0.99,
                always_ram=True,
            ),
        ),
    )


EXAMPLES = {
    "scalar": (scalar_quantization, 768, "scalar quantile=0.99", "pinned", "pinned"),
    "binary": (binary_quantization, 1536, "binary", "pinned", "pinned"),
    "product": (product_quantization, 768, "product compression=16", "pinned", "pinned"),
    "original on disk": (original_on_disk_quantized_in_ram, 768, "scalar", "cold", "pinned"),
    "all on disk": (all_on_disk, 768, "scalar", "cold", "cached"),
    "quantile": (tune_accuracy_recall, 768, "scalar quantile=0.99", "pinned", "pinned"),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_create_collection(client: VecDB, models: Any, vectors: Any, example: str) -> None:
    create, dim, quantization, originals, codes = EXAMPLES[example]
    create(client, models)
    # The page's 20000 KB are 6667 of these vectors; lower thresholds do here.
    thresholds = models.OptimizersConfigDiff(indexing_threshold=1000)
    if originals == "cold":
        thresholds = models.OptimizersConfigDiff(indexing_threshold=1000, memmap_threshold=1000)
    client.update_collection("{collection_name}", optimizers_config=thresholds)
    data = np.tile(vectors[:1000], 2) if dim > DIM else vectors[:1000]
    client.upsert(NAME, models.Batch(ids=list(range(1000)), vectors=data[:, :dim].tolist()))
    client.flush()
    assert client.wait_for_optimizer(NAME, timeout=120)
    (segment,) = client.get_collection(NAME).segments
    part = segment.vectors[""]
    assert (part.quantization, part.placement, part.codes_placement) == (
        quantization,
        originals,
        codes,
    )
    hits = client.search(collection_name=NAME, query_vector=data[3, :dim].tolist(), limit=10)
    assert hits[0].id == 3
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    if dim == 768:
        search_examples(client, models, data[5].tolist())


def search_examples(client: VecDB, models: Any, query: list[float]) -> None:
    exact = client.search(NAME, query, limit=10, search_params=models.SearchParams(exact=True))
    searching_with_quantization = client.search(
        collection_name="{collection_name}",
        query_vector=query,
        search_params=models.SearchParams(
            quantization=models.QuantizationSearchParams(
                ignore=False,
                rescore=True,
                oversampling=2.0,
            )
        ),
        limit=10,
    )
    ignoring = client.search(
        collection_name="{collection_name}",
        query_vector=query,
        search_params=models.SearchParams(
            quantization=models.QuantizationSearchParams(
                ignore=True,
            )
        ),
        limit=10,
    )
    without_rescoring = client.search(
        collection_name="{collection_name}",
        query_vector=query,
        search_params=models.SearchParams(
            quantization=models.QuantizationSearchParams(
                rescore=False,
            )
        ),
        limit=10,
    )
    today = client.query_points(
        collection_name="{collection_name}",
        query=query,
        search_params=models.SearchParams(
            quantization=models.QuantizationSearchParams(
                ignore=False,
                rescore=True,
                oversampling=2.0,
            )
        ),
    )
    assert ignoring == exact
    assert today.points == searching_with_quantization
    assert searching_with_quantization[0].id == exact[0].id
    assert searching_with_quantization[0].score == pytest.approx(exact[0].score, abs=1e-5)
    assert len({hit.id for hit in without_rescoring}) == 10
    assert without_rescoring[0].id == exact[0].id
    assert without_rescoring[0].score == pytest.approx(1, abs=0.15)


JSON_EXAMPLES: dict[str, Any] = {
    "scalar": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}},
    "binary": {"binary": {"always_ram": True}},
    "product": {"product": {"compression": "x16", "always_ram": True}},
}


@pytest.mark.parametrize("kind", JSON_EXAMPLES)
def test_the_pages_json(client: VecDB, vectors: Any, kind: str) -> None:
    client.create_collection(
        NAME,
        vectors_config={"size": 768, "distance": "Cosine"},
        optimizers_config={"memmap_threshold": 20000},
        quantization_config=JSON_EXAMPLES[kind],
    )
    config = client.get_collection(NAME).config
    assert vecdb.models.to_builtins(config.quantization_config) == JSON_EXAMPLES[kind]
    client.update_collection(NAME, optimizers_config={"indexing_threshold": 1000})
    client.upsert(NAME, {"ids": list(range(500)), "vectors": vectors[:500].tolist()})
    client.flush()
    assert client.wait_for_optimizer(NAME, timeout=120)
    assert client.get_collection(NAME).indexed_vectors_count == 500
    body = {"quantization": {"ignore": False, "rescore": True, "oversampling": 2.0}}
    query = vectors[7].tolist()
    hits = client.search(NAME, query, limit=10, search_params=body)
    assert hits[0].id == 7
    batch = client.search_batch(NAME, [{"vector": query, "limit": 10, "params": body}])
    assert [h.id for h in batch[0]] == [h.id for h in hits]


def test_a_working_day_with_either_models(client: VecDB, models: Any, vectors: Any) -> None:
    """Named vectors, updates, filters, payload edits: every other object a user would pass."""
    client.create_collection(
        NAME,
        vectors_config={
            "text": models.VectorParams(
                size=8,
                distance=models.Distance.DOT,
                on_disk=True,
                quantization_config=models.BinaryQuantization(
                    binary=models.BinaryQuantizationConfig(always_ram=True)
                ),
            ),
            "image": models.VectorParams(size=4, distance=models.Distance.EUCLID),
        },
        hnsw_config=models.HnswConfigDiff(m=16, ef_construct=100),
        optimizers_config=models.OptimizersConfigDiff(default_segment_number=2),
        wal_config=models.WalConfigDiff(wal_capacity_mb=32),
    )
    client.upsert(
        NAME,
        points=models.Batch(
            ids=[1, 2, 3],
            vectors={"text": vectors[:3, :8].tolist(), "image": vectors[:3, 8:12].tolist()},
            payloads=[{"city": "Berlin", "n": 1}, {"city": "Rome", "n": 2}, {"n": 3}],
        ),
    )
    berlin = models.Filter(
        must=[models.FieldCondition(key="city", match=models.MatchValue(value="Berlin"))]
    )
    many = models.Filter(
        should=[
            models.FieldCondition(key="n", range=models.Range(gte=2)),
            models.HasIdCondition(has_id=[1]),
        ],
        must_not=[
            models.IsEmptyCondition(is_empty=models.PayloadField(key="city")),
            models.FieldCondition(key="city", match=models.MatchAny(any=["Rome", "Oslo"])),
        ],
    )
    assert client.count(NAME, count_filter=berlin).count == 1
    assert [r.id for r in client.scroll(NAME, scroll_filter=many)[0]] == [1]
    found = client.query_points(
        NAME, vectors[0, :8].tolist(), using="text", query_filter=berlin,
        with_payload=models.PayloadSelectorInclude(include=["city"]), with_vectors=["image"],
    ).points  # fmt: skip
    assert [(p.id, p.payload) for p in found] == [(1, {"city": "Berlin"})]
    requests = [
        models.QueryRequest(query=vectors[1, :8].tolist(), using="text", limit=2, filter=many)
    ]
    assert [p.id for p in client.query_batch_points(NAME, requests)[0].points] == [1]
    new = [models.PointVectors(id=3, vector={"image": [0.0, 0.0, 0.0, 0.0]})]
    client.update_vectors(NAME, points=new)
    client.delete_vectors(NAME, vectors=["text"], points=models.PointIdsList(points=[3]))
    client.set_payload(NAME, payload={"seen": True}, points=berlin)
    client.overwrite_payload(NAME, payload={"n": 9}, points=models.FilterSelector(filter=many))
    client.clear_payload(NAME, points_selector=models.PointIdsList(points=[2]))
    client.delete(NAME, points_selector=models.FilterSelector(filter=models.Filter(must=[models.HasIdCondition(has_id=[2])])))  # fmt: skip  # noqa: E501
    assert [(r.id, r.payload) for r in client.scroll(NAME)[0]] == [(1, {"n": 9}), (3, {"n": 3})]
    client.update_collection(
        NAME,
        vectors_config={"text": models.VectorParamsDiff(on_disk=False)},
        quantization_config=models.Disabled.DISABLED,
        hnsw_config=models.HnswConfigDiff(m=8),
    )
    config = client.get_collection(NAME).config
    assert isinstance(config.params.vectors, dict)
    assert config.params.vectors["text"].on_disk is False
    assert config.hnsw_config.m == 8
    assert config.quantization_config is None


def test_the_import_line_is_all_there_is(models: Any) -> None:
    assert isinstance(models, types.ModuleType)
    for name in (
        "VectorParams", "Distance", "OptimizersConfigDiff", "ScalarQuantization",
        "ScalarQuantizationConfig", "ScalarType", "BinaryQuantization", "BinaryQuantizationConfig",
        "ProductQuantization", "ProductQuantizationConfig", "CompressionRatio", "SearchParams",
        "QuantizationSearchParams", "PointStruct", "Batch", "Filter", "FieldCondition",
    ):  # fmt: skip
        assert hasattr(vecdb.models, name)


def test_upload_then_search_at_the_pages_thresholds(client: VecDB, models: Any, vectors: Any) -> None:  # fmt: skip  # noqa: E501
    original_on_disk_quantized_in_ram(client, models)
    fill(client, models, vectors)  # 12000 KB: beyond indexing_threshold, not memmap_threshold
    info = client.get_collection(NAME)
    assert {s.vectors[""].placement for s in info.segments} == {"pinned"}
    assert info.indexed_vectors_count == ROWS
    assert info.status.value == "green"
    hits = client.search(NAME, vectors[17].tolist(), limit=1, with_payload=["city"])
    assert (hits[0].id, hits[0].payload) == (17, {"city": "Berlin"})
