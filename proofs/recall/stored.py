"""Stored: data as a `Place` says, in a collection; which rows of it a search may return."""

from __future__ import annotations

from typing import Any

import numpy as np

from proofs.recall.cells import CODES, Place
from proofs.recall.generators import Data
from proofs.recall.truth import Mask, Rows, Truth
from vecdb.database import VecDB

_COLLECTION = "recall"
_NAME = "asked"
"""Of the vector that is asked for, where there are two."""
_INDEXED = ("index", "mixed", "second", "split")
_INDEX_ROWS = 256
"""Smaller segments are scanned, and need no index."""


class Stored:
    """One collection, made. ``masks``: by the filter of an asking, which rows it may return;
    ``problems``: why the collection is not what was wanted."""

    def __init__(self, db: VecDB, place: Place, data: Data, truth: Truth, seed: int) -> None:
        rows, random = len(data.base), np.random.default_rng([seed, 7])
        tenth = random.integers(10, size=rows)
        along = data.base.astype(np.float64) @ random.normal(size=data.base.shape[1])
        half = along > np.median(along)  # one side of the data, and of the queries
        self.filters = {
            "": None,
            "tenth": {"must": [{"key": "tenth", "match": {"value": 3}}]},
            "side": {"must": [{"key": "half", "match": {"value": True}}]},
        }
        self.filters["visit"] = self.filters["deep"] = self.filters["side"]
        self.using = _NAME if place.way == "second" else None
        self._db, self._place = db, place
        self.collection = self._create(data.base.shape[1])
        payload = [{"tenth": int(t), "half": bool(h)} for t, h in zip(tenth, half, strict=True)]
        there = np.ones(rows, dtype=np.bool_)
        if place.way == "second":
            there &= random.random(rows) < 0.9
        self._fill(data, payload, there)
        if place.way == "mixed":
            dead = _near_some(truth, random, there)
            self.collection.delete(dead.tolist())
            there[dead] = False
        self.masks = {"": there, "tenth": there & (tenth == 3), "side": there & half}
        self.masks["visit"] = self.masks["deep"] = self.masks["side"]
        self.problems = self._problems()

    def close(self) -> None:
        """Drop it."""
        self._db.delete_collection(_COLLECTION)

    def _create(self, dim: int) -> Any:
        place = self._place
        ram = {"ram": None, "mapped": False, "codes in ram": True}[place.storage]
        codes = CODES[place.codes]
        if codes is not None:
            codes = {kind: {**config, "always_ram": ram} for kind, config in codes.items()}
        vectors: dict[str, Any] = {
            "size": dim,
            "distance": place.metric,
            "on_disk": place.storage != "ram",
            "quantization_config": codes,
        }
        if self.using is not None:  # of two, the larger one orders the rows
            vectors = {"first": {"size": dim + 8, "distance": "Dot"}, self.using: vectors}
        if self._db.collection_exists(_COLLECTION):  # the one before could not be made
            self._db.delete_collection(_COLLECTION)
        self._db.create_collection(
            _COLLECTION,
            vectors,
            optimizers_config={
                "indexing_threshold": 1 if place.way in _INDEXED else 0,
                "memmap_threshold": 1,
                "default_segment_number": 3 if place.way == "split" else 1,
                "max_optimization_threads": 0,  # builds are done by who waits for them
            },
        )
        return self._db.collection(_COLLECTION)

    def _fill(self, data: Data, payload: list[Any], there: Mask) -> None:
        """All rows; those that are not ``there`` lack the vector that is asked for."""
        way, numbers = self._place.way, np.arange(len(data.base))
        if self.using is not None:
            dim = data.base.shape[1] + 8
            first = np.random.default_rng(dim).normal(size=(len(there), dim)).astype(np.float32)
            for rows in (numbers[there], numbers[~there]):
                vectors = {"first": first[rows]}
                if there[rows].all():
                    vectors[self.using] = data.base[rows]
                self._upload(vectors, payload, rows)
            self._db.wait_for_optimizer()
            return
        cuts = {"split": [len(numbers) // 3, 2 * len(numbers) // 3], "mixed": [len(numbers) // 4]}
        for part, rows in enumerate(np.split(numbers, cuts.get(way, []))[::-1]):
            self._upload(data.base[rows], payload, rows)
            if way != "memory" and not (way == "mixed" and part > 0):
                self._db.wait_for_optimizer()

    def _upload(self, vectors: Any, payload: list[Any], rows: Rows) -> None:
        some = [payload[row] for row in rows]
        self.collection.upload_collection(vectors, payload=some, ids=rows, batch_size=5000)

    def _problems(self) -> list[str]:
        info = self._db.get_collection(_COLLECTION)
        if info.optimizer_status != "ok":
            return [f"optimizer: {info.optimizer_status}"]
        files = [s for s in info.segments if s.kind == "file"]
        problems = []
        if self._place.way == "split" and len(files) != 3:
            problems.append(f"{len(files)} segments instead of 3")
        if self._place.way in _INDEXED:
            large = [s for s in files if s.points >= _INDEX_ROWS]
            without = [s.id for s in large if any(v.index is None for v in s.vectors.values())]
            problems += [f"segment {each} has no index" for each in without]
        return problems


def _near_some(truth: Truth, random: np.random.Generator, there: Mask) -> Rows:
    """Rows to delete: one of ten anywhere, and what is nearest to every third query."""
    near = truth.nearest(there, min(60, len(truth.queries)), 20)[::3]
    return np.unique(np.append(near, np.flatnonzero(random.random(len(there)) < 0.1)))
