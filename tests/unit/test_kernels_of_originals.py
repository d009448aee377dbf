"""Kernels over originals of every datatype, against one line of numpy."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from vecdb.kernels import certainty, distance, rescoring, topk
from vecdb.kernels.signatures import METRIC_CODES
from vecdb.vectors.datatypes import NUMBERS, for_kernels, wide

DATATYPES = list(NUMBERS)
DIMS = (1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 100, 127, 129, 384, 1031)
ORACLE: dict[str, Any] = {
    "dot": lambda rows, query: rows @ query,
    "euclid": lambda rows, query: -np.square(rows - query).sum(axis=1),
    "manhattan": lambda rows, query: -np.abs(rows - query).sum(axis=1),
    "cosine": lambda rows, query: (
        rows @ query / np.where((rows != 0).any(axis=1), np.linalg.norm(rows, axis=1), 1)
    ),
}


def originals(rng: np.random.Generator, rows: int, dim: int, datatype: str) -> np.ndarray:
    """As they are kept, read-only as in a mapped file; one is zero."""
    if datatype == "uint8":
        made = rng.integers(0, 256, (rows, dim)).astype(np.uint8)
    else:
        made = rng.standard_normal((rows, dim)).astype(NUMBERS[datatype])
    made[rows // 2] = 0
    made.flags.writeable = False
    return made


def expected(metric: str, rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    scores: np.ndarray = ORACLE[metric](rows.astype(np.float64), query.astype(np.float64))
    return scores


def close(metric: str, rows: np.ndarray, query: np.ndarray) -> float:
    """What float32 may be wrong by."""
    size = np.abs(rows.astype(np.float64)).max() + np.abs(query).max()
    return float(2e-7 * rows.shape[1] * size * (size if metric != "manhattan" else 1.0) + 1e-12)


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("metric", METRIC_CODES)
@pytest.mark.parametrize("dim", DIMS)
def test_scores_agree_with_numpy(metric: str, datatype: str, dim: int) -> None:
    rng = np.random.default_rng(dim)
    vectors = originals(rng, 67, dim, datatype)
    query = rng.standard_normal(dim).astype(np.float32) * (100 if datatype == "uint8" else 1)
    rows = rng.integers(0, 67, 45)
    out = np.empty(45, np.float32)
    code, given = METRIC_CODES[metric], for_kernels(vectors)
    distance.score_rows(code, given, query, rows, out)
    np.testing.assert_allclose(
        out, expected(metric, vectors, query)[rows], rtol=2e-6, atol=close(metric, vectors, query)
    )
    # The same row has the same score in a scan, in rescoring and one by one, to the bit.
    every = np.empty(67, np.float32)
    distance.score_rows(code, given, query, np.arange(67), every)
    best = np.lexsort((np.arange(67), -every))[:10]
    scores, found = topk.topk_new(10)
    mask = np.empty(0, np.uint8)
    filled = distance.scan(code, given, query, mask, 0, scores, found, 0)
    topk.topk_sort(scores, found, filled)
    assert (found.tolist(), scores.tolist()) == (best.tolist(), every[best].tolist())
    scores2, found2 = np.empty((1, 10), np.float32), np.empty((1, 10), np.int64)
    sure = np.empty((1, 2), np.float32)
    rescoring.rescore(
        *(code, given, query[None], np.arange(67)[None], np.array([67])),
        *(np.empty((1, 0), np.float32), sure, 10, scores2, found2, sure),
    )
    assert (found2[0].tolist(), scores2[0].tolist()) == (best.tolist(), every[best].tolist())
    scores3, found3 = topk.topk_new(10)
    some = np.empty(67, np.float32)
    filled = certainty.score_candidates(code, given, query, np.arange(67), some, scores3, found3, 0)
    topk.topk_sort(scores3, found3, filled)
    assert (found3.tolist(), some.tolist()) == (best.tolist(), every.tolist())


def halves() -> np.ndarray:
    """Every finite float16."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    return every[np.isfinite(every)]


def test_every_half_is_widened_exactly() -> None:
    every = halves()[:, None]
    out = np.empty(len(every), np.float32)
    one = np.ones(1, np.float32)
    distance.score_rows(METRIC_CODES["dot"], for_kernels(every), one, np.arange(len(every)), out)
    assert np.array_equal(out, wide(every)[:, 0])


_WITHOUT_F16C = """
import numpy as np
from vecdb.kernels.compiling import njit, types
from vecdb.kernels.widening import widened

line = types.Array(types.uint16, 1, "C", readonly=True)

@njit(types.void(line, types.Array(types.float32, 1, "C")))
def widen(given, out):
    for i in range(given.shape[0]):
        out[i] = widened(given[i])

every = np.arange(1 << 16, dtype=np.uint16)
every = every[np.isfinite(every.view(np.float16))]
out = np.empty(len(every), np.float32)
widen(every, out)
assert np.array_equal(out, every.view(np.float16).astype(np.float32))
assert all("cvtph" not in text and "extendhf" not in text for text in widen.inspect_asm().values())
"""


def test_a_processor_that_knows_no_halves_widens_them_exactly() -> None:
    environment = os.environ | {
        "VECDB_KERNELS": "jit",
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
    }
    subprocess.run([sys.executable, "-c", _WITHOUT_F16C], env=environment, check=True, timeout=120)
