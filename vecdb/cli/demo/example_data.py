"""The example data that comes with vecdb: descriptions of Debian packages and their embeddings."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.errors import NotFoundError

Floats = npt.NDArray[np.float32]

NAME = "debian-packages"
_TIE = 1e-6  # real data has twins: a hit counts by its score, not by its id


class Data(Struct):
    """The example set."""

    vectors: Floats
    payload: list[dict[str, Any]]
    queries: Floats
    texts: dict[str, tuple[int, str]]
    """Package -> row of ``queries``, its description."""

    def recall(self, answers: Sequence[Sequence[int]], limit: int) -> float:
        """How much of the true ``limit`` nearest rows the answers (rows, one list a query) hold.

        The truth is worked out here by plain numpy, independent of the database. A row counts if
        its true score is not below that of the last of the true nearest.
        """
        hits = 0
        for query, rows in zip(self.queries, answers, strict=True):
            scores = self.vectors @ query
            worst = np.partition(scores, -limit)[-limit] - _TIE
            hits += int((scores[list(rows[:limit])] >= worst).sum())
        return hits / (limit * len(self.queries))


def data_dir() -> Path:
    """The example data: in an installed package beside the code, in a checkout in examples/."""
    here = Path(__file__).resolve().parent
    installed, checkout = here / "data", here.parents[2] / "examples" / "data"
    for parent in (installed, checkout):
        if (parent / NAME / "vectors.npy").is_file():
            return parent / NAME
    raise NotFoundError(
        f"the example data is neither in {installed} nor in {checkout}; install vecdb again"
    )


def load_data() -> Data:
    """The example set, as float32 of unit length (float16 rounds a little off it)."""
    directory = data_dir()
    queries = _json_lines(directory / "queries.jsonl.gz")
    return Data(
        vectors=_unit(np.load(directory / "vectors.npy")),
        payload=_json_lines(directory / "payload.jsonl.gz"),
        queries=_unit(np.load(directory / "queries.npy")),
        texts={row["name"]: (number, row["summary"]) for number, row in enumerate(queries)},
    )


def _json_lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _unit(vectors: npt.NDArray[Any]) -> Floats:
    single: Floats = vectors.astype(np.float32)
    single /= np.linalg.norm(single, axis=1, keepdims=True)
    return single
