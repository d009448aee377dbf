"""Quantized search: every method, metric and switch, against numpy on the same vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB, models

DISTANCES = ["Cosine", "Dot", "Euclid", "Manhattan"]
KINDS: dict[str, Any] = {
    "scalar": {"scalar": {"type": "int8"}},
    "scalar 0.99": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}},
    "binary": {"binary": {}},
    "binary 1.5": {"binary": {"encoding": "one_and_half_bits", "query_encoding": "scalar8bits"}},
    "binary 2": {"binary": {"encoding": "two_bits", "query_encoding": "binary"}},
    "turbo": {"turbo": {}},
    "turbo 8": {"turbo": {"bits": "bits8", "always_ram": True}},
    **{f"product x{n}": {"product": {"compression": f"x{n}"}} for n in (4, 8, 16, 32, 64)},
}
DESCRIPTIONS = {
    "scalar": "scalar",
    "scalar 0.99": "scalar quantile=0.99",
    "binary": "binary",
    "binary 1.5": "binary bits=1.5",
    "binary 2": "binary bits=2",
    "turbo": "binary bits=4",
    "turbo 8": "scalar",
    "product x4": "scalar",  # a byte a dimension
    **{f"product x{n}": f"product compression={n}" for n in (8, 16, 32, 64)},
}
ROWS, DIM, LIMIT = 1500, 64, 10
# Of the true 10, found with the default oversampling: far below what is usual, far above chance.
RECALL = {"scalar": 0.98, "scalar 0.99": 0.95, "binary": 0.8, "binary 1.5": 0.85, "binary 2": 0.9}
RECALL |= {"turbo": 0.98, "turbo 8": 0.98, "product x4": 0.98, "product x8": 0.95}

Array = np.ndarray[Any, Any]


def clustered(rows: int, dim: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, dim))
    return (centres[rng.integers(0, 20, rows)] + 0.7 * rng.standard_normal((rows, dim))).astype(
        np.float32
    )


VECTORS = clustered(ROWS, DIM, 1)
QUERIES = clustered(ROWS + 8, DIM, 1)[-8:] + np.float32(0.05)


def scores(distance: str, vectors: Array, query: Array) -> Array:
    vectors, query = vectors.astype(np.float64), query.astype(np.float64)
    if distance == "Cosine":
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        return vectors @ query / lengths  # type: ignore[no-any-return]
    if distance == "Dot":
        return vectors @ query  # type: ignore[no-any-return]
    order = 2 if distance == "Euclid" else 1
    return np.linalg.norm(vectors - query, ord=order, axis=1)  # type: ignore[no-any-return]


def best(distance: str, found: Array, limit: int) -> list[int]:
    order = np.argsort(found if distance in ("Euclid", "Manhattan") else -found, kind="stable")
    return order[:limit].tolist()  # type: ignore[no-any-return]


def params(**quantization: Any) -> models.SearchParams:
    return models.SearchParams(quantization=models.QuantizationSearchParams(**quantization))


def optimized(db: VecDB, name: str = "c") -> list[models.SegmentInfo]:
    db.flush(name)
    assert db.wait_for_optimizer(name, timeout=100)
    info = db.get_collection(name)
    assert info.status is models.CollectionStatus.GREEN
    return info.segments


def create(db: VecDB, distance: str, quantization: Any = None, vectors: Any = VECTORS) -> None:
    """A collection that gets codes but no index, so that every search goes by codes alone."""
    db.create_collection(
        "c",
        {"size": vectors.shape[1], "distance": distance},
        quantization_config=quantization,
        optimizers_config={
            "indexing_threshold": 0,
            "memmap_threshold": 100,
            "default_segment_number": 2,
        },
    )
    payloads = [{"third": n % 3} for n in range(len(vectors))]
    db.upsert("c", models.Batch(ids=np.arange(len(vectors)), vectors=vectors, payloads=payloads))


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_method_with_every_metric(db: VecDB, kind: str, distance: str) -> None:
    create(db, distance, KINDS[kind])
    (segment,) = optimized(db)
    assert segment.vectors[""].quantization == DESCRIPTIONS[kind]
    assert db.get_collection("c").indexed_vectors_count == ROWS
    hits_of_true = 0
    third = {"must": [{"key": "third", "match": {"value": 1}}]}
    for query in QUERIES:
        exact = scores(distance, VECTORS, query)
        true = best(distance, exact, LIMIT)
        tolerance = {"rtol": 1e-4, "atol": 1e-4}

        # exact=True and ignore=True bypass the codes
        bypass = db.search("c", query, search_params=models.SearchParams(exact=True))
        assert [hit.id for hit in bypass] == true
        assert db.search("c", query, search_params=params(ignore=True)) == bypass
        with_codes_too = models.SearchParams(
            exact=True, quantization=models.QuantizationSearchParams(rescore=False)
        )
        assert db.search("c", query, search_params=with_codes_too) == bypass

        # rescoring is on unless turned off: scores are the exact ones, in order
        default = db.search("c", query)
        found = [int(hit.id) for hit in default]
        np.testing.assert_allclose([h.score for h in default], exact[found], **tolerance)
        assert [hit.score for hit in default] == sorted(
            (hit.score for hit in default), reverse=distance in ("Cosine", "Dot")
        )
        assert len(set(found)) == LIMIT
        assert db.search("c", query, search_params=params(rescore=True)) == default
        hits_of_true += len(set(found) & set(true))

        # oversampling: at least int(oversampling * limit) candidates are rescored
        for oversampling in (1.0, 1.55, 3.0, 7.3):
            some = db.search("c", query, search_params=params(oversampling=oversampling))
            candidates = db.search(
                "c", query, limit=int(oversampling * LIMIT), search_params=params(rescore=False)
            )
            rows = sorted(int(hit.id) for hit in candidates)
            least = exact[[rows[i] for i in best(distance, exact[rows], LIMIT)]]
            sign = -1 if distance in ("Euclid", "Manhattan") else 1
            ours = exact[[int(hit.id) for hit in some]]
            assert (sign * ours >= sign * least - 1e-4).all()
        everything = params(oversampling=ROWS / LIMIT)
        assert [h.id for h in db.search("c", query, search_params=everything)] == true
        enormous = params(oversampling=1e9)
        assert [h.id for h in db.search("c", query, search_params=enormous)] == true

        # without rescoring scores are approximate, on the metric's own scale
        raw = db.search("c", query, limit=50, search_params=params(rescore=False))
        approximate = np.array([hit.score for hit in raw])
        truth = exact[[int(hit.id) for hit in raw]]
        spread = float(exact.max() - exact.min())
        error = {"scalar": 0.02, "scalar 0.99": 0.1}.get(kind, 0.6) * spread
        assert np.abs(approximate - truth).max() < error
        assert abs(float(np.mean(approximate - truth))) < error / 2

        # filters and thresholds
        filtered = db.search("c", query, query_filter=third, search_params=params(oversampling=100))
        ours = np.flatnonzero(np.arange(ROWS) % 3 == 1)
        wanted = ours[best(distance, exact[ours], LIMIT)]
        # Not by ids: two of them differ by less than float32 can tell.
        np.testing.assert_allclose(exact[[int(h.id) for h in filtered]], exact[wanted], rtol=1e-6)
        threshold = default[4].score
        assert db.search("c", query, score_threshold=threshold) == default[:4]
        assert (
            db.search("c", query, limit=LIMIT - 3, offset=3, search_params=everything)
            == (db.search("c", query, search_params=everything)[3:])
        )
    recall = hits_of_true / (LIMIT * len(QUERIES))
    assert recall >= RECALL.get(kind, 0.2), recall


@pytest.mark.parametrize("kind", ["scalar", "binary", "product x8"])
@pytest.mark.parametrize("distance", DISTANCES)
def test_optimized_small_and_memory_segments_merge(db: VecDB, kind: str, distance: str) -> None:
    create(db, distance, KINDS[kind], VECTORS[:1000])
    assert len(optimized(db)) == 1
    db.upsert("c", models.Batch(ids=np.arange(1000, 1200), vectors=VECTORS[1000:1200]))
    kinds = [(s.kind, s.vectors[""].quantization is not None) for s in optimized(db)]
    assert sorted(kinds) == [("file", False), ("file", True)]
    db.upsert("c", models.Batch(ids=np.arange(1200, 1300), vectors=VECTORS[1200:1300]))
    db.delete("c", [0, 1, 1000, 1200])
    db.upsert("c", models.Batch(ids=[2, 1001], vectors=VECTORS[1400:1402]))  # moved away
    assert db.get_collection("c").segments_count == 3
    vectors = VECTORS[:1300].copy()
    vectors[[2, 1001]] = VECTORS[1400:1402]
    alive = np.setdiff1d(np.arange(1300), [0, 1, 1000, 1200])
    for query in [*QUERIES, VECTORS[0], VECTORS[2], VECTORS[1400], VECTORS[1401]]:
        exact = scores(distance, vectors[alive], query)
        true = [int(alive[i]) for i in best(distance, exact, LIMIT)]
        every = db.search("c", query, search_params=params(oversampling=200))
        assert [hit.id for hit in every] == true
        raw = db.search("c", query, limit=1300, search_params=params(rescore=False))
        assert sorted(int(hit.id) for hit in raw) == alive.tolist()
        ordered = [hit.score for hit in raw]
        assert ordered == sorted(ordered, reverse=distance in ("Cosine", "Dot"))
        # Those in segments without codes have exact scores even so.
        exact_of = dict(zip(alive.tolist(), exact.tolist(), strict=True))
        for hit in raw:
            if hit.id == 2 or int(hit.id) >= 1000:
                assert hit.score == pytest.approx(exact_of[int(hit.id)], rel=1e-4, abs=1e-4)


def test_settings_of_a_vector_override_those_of_the_collection(db: VecDB) -> None:
    plain = {"size": 32, "distance": "Cosine"}
    db.create_collection(
        "c",
        {
            "default": plain,
            "binary": {**plain, "quantization_config": {"binary": {}}},
            "product": {**plain, "quantization_config": KINDS["product x16"]},
        },
        quantization_config={"scalar": {"type": "int8"}},
        optimizers_config={"indexing_threshold": 10},
    )
    names = ("default", "binary", "product")
    columns = {name: clustered(500, 32, seed) for seed, name in enumerate(names)}
    db.upsert("c", models.Batch(ids=np.arange(500), vectors=columns))
    db.upsert("c", [{"id": 500, "vector": {"binary": columns["binary"][0]}}])  # partly there
    db.delete_vectors("c", ["product"], [7])
    (segment,) = optimized(db)
    assert {n: v.quantization for n, v in segment.vectors.items()} == {
        "default": "scalar",
        "binary": "binary",
        "product": "product compression=16",
    }
    for name in names:
        hits = db.query_points("c", columns[name][5], using=name, limit=3).points
        assert hits[0].id == 5
        assert hits[0].score == pytest.approx(1, abs=1e-5)
        everyone = db.query_points(
            "c", columns[name][7], using=name, limit=600, search_params=params(rescore=False)
        ).points
        ids = {hit.id for hit in everyone}
        assert (500 in ids) == (name == "binary")
        assert (7 in ids) == (name != "product")
        assert len(ids) == {"default": 500, "binary": 501, "product": 499}[name]


def test_quantization_comes_changes_and_goes(db: VecDB) -> None:
    create(db, "Euclid")
    (segment,) = optimized(db)
    assert segment.vectors[""].quantization is None
    expected = [db.search("c", q, search_params=models.SearchParams(exact=True)) for q in QUERIES]
    steps: list[tuple[Any, str | None]] = [
        (KINDS["scalar"], "scalar"),
        (KINDS["scalar 0.99"], "scalar quantile=0.99"),
        (models.parse_quantization_config(KINDS["product x32"]), "product compression=32"),
        (KINDS["binary"], "binary"),
        (KINDS["binary 2"], "binary bits=2"),
        (KINDS["turbo"], "binary bits=4"),
        ("Disabled", None),
        (KINDS["scalar"], "scalar"),
        (models.Disabled.DISABLED, None),
    ]
    for config, description in steps:
        assert db.update_collection("c", quantization_config=config)
        (segment,) = optimized(db)
        assert segment.vectors[""].quantization == description
        indexed = db.get_collection("c").indexed_vectors_count
        assert indexed == (0 if description is None else ROWS)
        for query, want in zip(QUERIES, expected, strict=True):
            every = db.search("c", query, search_params=params(oversampling=150))
            assert [hit.id for hit in every] == [hit.id for hit in want]
            assert [h.score for h in every] == pytest.approx([h.score for h in want], rel=1e-5)
    stored = db.get_collection("c").config.quantization_config
    assert stored is None


def test_quantization_of_one_vector_changes_alone(db: VecDB) -> None:
    plain = {"size": 32, "distance": "Dot"}
    db.create_collection(
        "c", {"a": plain, "b": plain}, optimizers_config={"indexing_threshold": 10}
    )
    columns = {name: clustered(400, 32, seed) for seed, name in enumerate("ab")}
    db.upsert("c", models.Batch(ids=np.arange(400), vectors=columns))
    optimized(db)
    for config, wanted in (
        ({"binary": {}}, "binary"),
        (KINDS["product x8"], "product compression=8"),
        ("Disabled", None),
    ):
        db.update_collection("c", vectors_config={"b": {"quantization_config": config}})
        (segment,) = optimized(db)
        assert segment.vectors["a"].quantization is None
        assert segment.vectors["b"].quantization == wanted
    db.update_collection("c", quantization_config={"scalar": {"type": "int8"}})
    (segment,) = optimized(db)
    assert {v.quantization for v in segment.vectors.values()} == {"scalar"}


def test_indexing_threshold_zero_never_quantizes(db: VecDB) -> None:
    db.create_collection(
        "c",
        {"size": DIM, "distance": "Dot"},
        quantization_config=KINDS["scalar"],
        optimizers_config={"indexing_threshold": 0},
    )
    db.upsert("c", models.Batch(ids=np.arange(ROWS), vectors=VECTORS))
    (segment,) = optimized(db)
    assert segment.vectors[""].quantization is None
    db.update_collection("c", optimizers_config={"indexing_threshold": 100})
    (segment,) = optimized(db)
    assert segment.vectors[""].quantization == "scalar"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_degenerate_data(db: VecDB, kind: str, distance: str) -> None:
    """All alike, all zero, one dimension, an odd number of them, huge and tiny values."""
    rng = np.random.default_rng(4)
    data: dict[str, Array] = {
        "alike": np.ones((300, 7)),
        "zero": np.zeros((300, 5)),
        "one": rng.standard_normal((300, 1)),
        "odd": rng.standard_normal((300, 33)),
        "huge": rng.standard_normal((300, 9)) * 1e15,
        "tiny": rng.standard_normal((300, 9)) * 1e-15,
        "outlier": np.r_[rng.standard_normal((299, 8)), np.full((1, 8), 1e6)],
    }
    db.create_collection(
        "c",
        {n: {"size": a.shape[1], "distance": distance} for n, a in data.items()},
        quantization_config=KINDS[kind],
        optimizers_config={"indexing_threshold": 1},
    )
    columns = {n: a.astype(np.float32) for n, a in data.items()}
    db.upsert("c", models.Batch(ids=np.arange(300), vectors=columns))
    (segment,) = optimized(db)
    assert {v.quantization for v in segment.vectors.values()} == {DESCRIPTIONS[kind]}
    for name, array in columns.items():
        for query in (array[0], array[17], np.zeros_like(array[0])):
            exact = models.SearchParams(exact=True)
            want = db.query_points("c", query, using=name, limit=5, search_params=exact).points
            every = db.query_points(
                "c", query, using=name, limit=5, search_params=params(oversampling=60)
            ).points
            np.testing.assert_allclose([h.score for h in every], [h.score for h in want], rtol=1e-4)
            raw = db.query_points(
                "c", query, using=name, limit=300, search_params=params(rescore=False)
            ).points
            assert len({hit.id for hit in raw}) == 300
            assert all(np.isfinite(hit.score) for hit in raw)
            if distance in ("Euclid", "Manhattan"):
                assert all(hit.score >= 0 for hit in raw)


def test_one_row_segments(db: VecDB) -> None:
    for kind, config in KINDS.items():
        db.recreate_collection(
            "c",
            {"size": 256, "distance": "Cosine"},
            quantization_config=config,
            optimizers_config={"indexing_threshold": 1},
        )
        db.upsert("c", [{"id": 1, "vector": np.arange(256)}])
        (segment,) = optimized(db)
        assert segment.vectors[""].quantization == DESCRIPTIONS[kind]
        (hit,) = db.search("c", np.arange(256))
        assert (hit.id, hit.score) == (1, pytest.approx(1))
        (raw,) = db.search("c", np.arange(256), search_params=params(rescore=False))
        assert raw.score == pytest.approx(1, abs=0.3)


EXAMPLE = Path(__file__).parents[2] / "examples" / "data" / "debian-packages"


@pytest.mark.skipif(not (EXAMPLE / "vectors.npy").exists(), reason="example data not there")
@pytest.mark.parametrize(
    ("kind", "least"), [("scalar", 0.99), ("binary", 0.9), ("product x16", 0.8)]
)
def test_real_text_embeddings(db: VecDB, kind: str, least: float) -> None:
    vectors = np.load(EXAMPLE / "vectors.npy").astype(np.float32)
    queries = np.load(EXAMPLE / "queries.npy").astype(np.float32)[:50]
    create(db, "Cosine", KINDS[kind], vectors)
    assert {s.vectors[""].quantization for s in optimized(db)} == {DESCRIPTIONS[kind]}
    found = 0
    for query in queries:
        true = db.search("c", query, search_params=models.SearchParams(exact=True))
        hits = db.search("c", query)
        found += len({h.id for h in hits} & {h.id for h in true})
    assert found / (LIMIT * len(queries)) >= least
