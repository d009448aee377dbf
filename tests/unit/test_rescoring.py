"""Candidates in order by their vectors, and how sure that is, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vecdb.kernels import rescoring


def rescore(metric: int, vectors: np.ndarray, queries: np.ndarray, *rest: Any) -> np.ndarray:
    """Without estimates, unless they are the last of the arguments. The margins."""
    candidates, counts, scores, rows, *estimates = rest
    estimates = estimates or [np.empty((len(queries), 0), np.float32)]
    margins = np.full(len(queries), np.nan, np.float32)
    rescoring.rescore(
        *(metric, vectors, queries, candidates, counts, *estimates),
        *(scores, rows, margins),
    )
    return margins


def rescored(
    metric: int, vectors: np.ndarray, query: np.ndarray, candidates: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, int]:
    scores, rows = np.full((1, k), -1, np.float32), np.full((1, k), -1, np.int64)
    counts = np.array([len(candidates)])
    rescore(metric, vectors, query[None], candidates[None], counts, scores, rows)
    return scores[0], rows[0], min(k, len(candidates))


@pytest.mark.parametrize("metric", [0, 1, 2])
@pytest.mark.parametrize(
    ("rows", "dim", "k"), [(1, 1, 1), (5, 17, 3), (40, 384, 10), (40, 384, 60)]
)
def test_rescore(metric: int, rows: int, dim: int, k: int) -> None:
    random = np.random.default_rng(8)
    vectors = random.standard_normal((rows + 9, dim)).astype(np.float32)
    query = random.standard_normal(dim).astype(np.float32)
    candidates = random.choice(rows + 9, rows, replace=False)
    scores, found, count = rescored(metric, vectors, query, candidates, k)
    difference = vectors[candidates] - query
    want = [
        vectors[candidates] @ query,
        -np.square(difference).sum(axis=1),
        -np.abs(difference).sum(axis=1),
    ][metric]
    best = np.lexsort((candidates, -want))[:k]
    assert count == min(k, rows)
    np.testing.assert_allclose(scores[:count], want[best], rtol=1e-4, atol=1e-4)
    assert found[:count].tolist() == candidates[best].tolist()


def test_rescore_of_equal_rows_takes_the_lowest() -> None:
    vectors = np.ones((50, 8), dtype=np.float32)
    _, found, _ = rescored(0, vectors, vectors[0], np.arange(49, -1, -1), 4)
    assert found.tolist() == [0, 1, 2, 3]


def test_rescore_of_nothing() -> None:
    vectors = np.ones((1, 3), np.float32)
    scores, _, count = rescored(0, vectors, vectors[0], np.empty(0, np.int64), 4)
    assert count == 0
    assert (scores == -1).all()


def test_rescore_of_several_queries() -> None:
    """Each has candidates of its own, and its own number of them."""
    random = np.random.default_rng(15)
    vectors = random.standard_normal((60, 20)).astype(np.float32)
    queries = random.standard_normal((3, 20)).astype(np.float32)
    candidates = np.stack([random.permutation(60)[:12] for _ in range(3)])
    counts = np.array([12, 0, 4])
    scores, rows = np.empty((3, 5), np.float32), np.empty((3, 5), np.int64)
    rescore(1, vectors, queries, candidates, counts, scores, rows)
    for q in (0, 2):
        alone = rescored(1, vectors, queries[q], candidates[q, : counts[q]], 5)
        np.testing.assert_array_equal(scores[q, : alone[2]], alone[0][: alone[2]])
        np.testing.assert_array_equal(rows[q, : alone[2]], alone[1][: alone[2]])


def scores_of(metric: int, vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    difference = vectors - query
    if metric == 0:
        return vectors @ query
    return -(np.square(difference) if metric == 1 else np.abs(difference)).sum(axis=1)


@pytest.mark.parametrize("metric", [0, 1])
@pytest.mark.parametrize(("rows", "dim", "k"), [(2, 1, 1), (33, 17, 5), (60, 100, 60)])
def test_margins(metric: int, rows: int, dim: int, k: int) -> None:
    random = np.random.default_rng(rows)
    vectors = random.standard_normal((90, dim)).astype(np.float32)
    query = random.standard_normal(dim).astype(np.float32)
    candidates = random.choice(90, rows, replace=False)
    exact = scores_of(metric, vectors[candidates], query)
    # Of a distance, estimates leave out what all rows have in common.
    common = np.square(query).sum() if metric == 1 else 0
    estimates = (exact + common + random.normal(0.5, 0.3, rows)).astype(np.float32)
    scores, found = np.empty((1, k), np.float32), np.empty((1, k), np.int64)
    (got,) = rescore(
        *(metric, vectors, query[None], candidates[None], np.array([rows])),
        *(scores, found, estimates[None]),
    )
    errors = exact - estimates
    want = (np.sort(exact)[-k] - (estimates.min() - common)) / errors.std()
    assert got == pytest.approx(want, rel=1e-3, abs=1e-3)
    by_itself = rescoring.margin(metric, query, estimates, exact, np.float32(np.sort(exact)[-k]))
    assert by_itself == pytest.approx(want, rel=1e-3, abs=1e-3)


def test_where_nothing_was_left_out_there_is_no_doubt() -> None:
    random = np.random.default_rng(1)
    vectors = random.standard_normal((30, 8)).astype(np.float32)
    queries = random.standard_normal((3, 8)).astype(np.float32)
    candidates = np.stack([random.permutation(30)[:9] for _ in range(3)])
    estimates = random.standard_normal((3, 9)).astype(np.float32)
    counts = np.array([9, 8, 0])  # the second found fewer than were asked for: all there are
    scores, found = np.empty((3, 4), np.float32), np.empty((3, 4), np.int64)
    margins = rescore(0, vectors, queries, candidates, counts, scores, found, estimates)
    assert np.isfinite(margins).tolist() == [True, False, False]
    assert np.isinf(rescore(0, vectors, queries, candidates, counts, scores, found)).all()
    # Estimates without any error, or that are no numbers, or of another distance.
    exact = scores_of(0, vectors, queries[0])
    assert rescoring.margin(0, queries[0], exact, exact, exact[0]) == np.inf
    assert rescoring.margin(0, queries[0], np.nan * exact, exact, exact[0]) == np.inf
    assert rescoring.margin(2, queries[0], exact - 1, exact, exact[0]) == np.inf
    assert rescoring.margin(0, queries[0], exact[:0], exact[:0], exact[0]) == np.inf


@pytest.mark.parametrize("count", [7, 10, 41])
def test_what_is_rounded_is_no_deviation(count: int) -> None:
    """Of copies of one row all estimates are wrong by the same; the mean of that was rounded, and
    the margin was 1e15 of what was left."""
    query = np.ones(3, np.float32)
    scores, estimates = np.full(count, 0.7, np.float32), np.full(count, 0.61, np.float32)
    assert rescoring.margin(0, query, estimates, scores, np.float32(0.7)) == np.inf
    assert rescoring.margin(1, 100 * query, estimates, scores, np.float32(0.7)) == np.inf
