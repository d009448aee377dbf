"""Recall on real embeddings, larger than those that ship: run where a folder of them is found.

``VECDB_DATA`` names it, or it is ``shared/data`` beside the checkout. Each set is a folder with
``base.npy`` and ``queries.npy``, as benchmarks takes it. Truth is worked out here; a hit counts
by its score. Builds are repeatable (fixed seeds), so are these figures.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB, models

DATA = Path(os.environ.get("VECDB_DATA", Path(__file__).parents[3] / "shared" / "data"))
QUERIES = 300


def vectors_of(name: str, cosine: bool) -> tuple[np.ndarray, np.ndarray]:
    folder = DATA / name
    if not (folder / "base.npy").is_file():
        pytest.skip(f"{name}: not here")
    base, queries = (
        np.load(folder / f"{part}.npy").astype(np.float32) for part in ("base", "queries")
    )
    if cosine:
        base /= np.linalg.norm(base, axis=1, keepdims=True)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    return base, queries[:QUERIES]


def filled(path: Path, base: np.ndarray, distance: str, **config: Any) -> VecDB:
    db = VecDB(path, sync="never")
    db.create_collection("c", models.VectorParams(size=base.shape[1], distance=distance), **config)
    for start in range(0, len(base), 5000):
        rows = base[start : start + 5000]
        db.upsert("c", models.Batch(ids=np.arange(start, start + len(rows)), vectors=rows))
    assert db.wait_for_optimizer("c", timeout=120)
    return db


def recall(
    db: VecDB, base: np.ndarray, queries: np.ndarray, params: dict[str, Any], cosine: bool
) -> float:
    requests = [
        models.QueryRequest(query=q, params=models.coerce(models.SearchParams, params))
        for q in queries
    ]
    answers = db.query_batch_points("c", requests)
    hits = 0
    for query, answer in zip(queries, answers, strict=True):
        scores = base @ query if cosine else -np.square(base - query).sum(axis=1)
        worst = np.partition(scores, -10)[-10]
        found = scores[[point.id for point in answer.points]]
        hits += int((found >= worst - 1e-6 * max(1.0, abs(worst))).sum())
    return hits / (10 * len(queries))


@pytest.mark.parametrize(
    ("name", "distance"),
    [
        ("minilm-debian", "Cosine"),
        ("cohere-podcast", "Cosine"),
        ("minilm-layers-debian", "Cosine"),
        ("sift-lund", "Euclid"),
    ],
)
def test_the_recall_asked_for(tmp_path: Path, name: str, distance: str) -> None:
    cosine = distance == "Cosine"
    base, queries = vectors_of(name, cosine)
    with filled(tmp_path / "db", base, distance) as db:
        [segment] = db.get_collection("c").segments
        assert segment.vectors[""].index is not None
        for target in (0.8, 0.9, 0.95, 0.98, 0.99):
            assert recall(db, base, queries, {"recall": target}, cosine) >= target - 0.015
        assert recall(db, base, queries, {}, cosine) >= 0.96
        assert recall(db, base, queries, {"exact": True}, cosine) == 1.0


CODES = [
    ("cohere-podcast", {"binary": {}}, 2.0, 0.99),
    ("minilm-debian", {"product": {"compression": "x16"}}, 4.0, 0.95),
    ("minilm-debian", {"scalar": {"type": "int8"}}, 1.5, 0.99),
]


@pytest.mark.parametrize(("name", "codes", "oversampling", "least"), CODES)
def test_codes_alone(
    tmp_path: Path, name: str, codes: dict[str, Any], oversampling: float, least: float
) -> None:
    """Without the index: what codes find when all of them are scanned, rescored."""
    base, queries = vectors_of(name, True)
    thresholds = {"indexing_threshold": 0, "memmap_threshold": 1}
    config = {"quantization_config": codes, "optimizers_config": thresholds}
    with filled(tmp_path / "db", base, "Cosine", **config) as db:
        params = {"quantization": {"oversampling": oversampling}}
        assert recall(db, base, queries, params, True) >= least
