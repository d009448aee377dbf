"""Candidates in order by their vectors, and how sure that is, against numpy."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from vecdb.kernels import efforts, priorities, rescoring


def rescore(metric: int, vectors: np.ndarray, queries: np.ndarray, *rest: Any) -> np.ndarray:
    """Without estimates, unless they are the last of the arguments. How sure it is."""
    candidates, counts, scores, rows, *estimates = rest
    estimates = estimates or [np.empty((len(queries), 0), np.float32)]
    bounds = np.tile(np.array([-4.0, 0.5], np.float32), (len(queries), 1))
    sure = np.full((len(queries), 2), np.nan, np.float32)
    rescoring.rescore(
        *(metric, vectors, queries, candidates, counts, *estimates, bounds, scores.shape[1]),
        *(scores, rows, sure),
    )
    return sure


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


def calm_of(exact: np.ndarray, estimates: np.ndarray, k: int) -> float:
    """Minus the logarithm of the share that is missing, summed up row by row as if rows were
    there: below the least estimate as many as the exponential above it says."""
    normal = NormalDist()
    deviation, least = (exact - estimates).std(), estimates.min()
    margin = (np.sort(exact)[-k] - least) / deviation
    rate = math.log(2) * deviation / (np.median(estimates) - least)
    steps = np.arange(0.0005, 12, 0.001)
    density = len(exact) * rate * np.exp(rate * steps)
    missed = sum(d * normal.cdf(-margin - t) * 0.001 for d, t in zip(density, steps, strict=True))
    return -math.log(missed / k)


@pytest.mark.parametrize("metric", [0, 1, 2])
@pytest.mark.parametrize(("rows", "dim", "k"), [(12, 3, 1), (33, 17, 5), (60, 100, 30)])
def test_how_sure_a_search_is(metric: int, rows: int, dim: int, k: int) -> None:
    random = np.random.default_rng(rows)
    vectors = random.standard_normal((90, dim)).astype(np.float32)
    query = random.standard_normal(dim).astype(np.float32)
    candidates = random.choice(90, rows, replace=False)
    exact = scores_of(metric, vectors[candidates], query)
    noise = random.normal(0.1, 0.4, rows) * exact.std()
    estimates = (exact + noise).astype(np.float32)
    as_estimated, last, bound = estimates, np.sort(exact)[-k], -4.0
    if metric == 2:  # of the Euclidean distance, squared
        as_estimated = -np.square(estimates / 3).astype(np.float32)
        last = -np.square(last / (exact.sum() / (estimates.sum() / 3)))
        estimates = estimates * (exact.sum() / estimates.sum())
    scores, found = np.empty((1, k), np.float32), np.empty((1, k), np.int64)
    (got,) = rescore(
        *(metric, vectors, query[None], candidates[None], np.array([rows])),
        *(scores, found, as_estimated[None]),
    )
    want = calm_of(exact, estimates, k), (last - bound) * 0.5
    np.testing.assert_allclose(got, want, rtol=2e-2, atol=1e-2)
    alone = rescoring.sureness(
        *(metric, as_estimated, exact, np.array([bound, 0.5], np.float32), k, np.sort(exact)[-k])
    )
    np.testing.assert_allclose(alone, want, rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize("rows", [1, 9, 40])
def test_how_sure_each_effort_is(rows: int) -> None:
    random = np.random.default_rng(rows)
    exact = random.standard_normal(rows).astype(np.float32)
    estimates = -np.sort(-(exact + random.normal(0, 0.5, rows))).astype(np.float32)
    away = random.uniform(0, 1, rows).astype(np.float32)
    gaps, most = np.array([0.3, 1.0, 0.7, 1.0], np.float32), np.array([50, 12, 7, 30])
    bounds = random.standard_normal((4, 2)).astype(np.float32)
    least, k = np.float32(np.quantile(exact, 0.7)), 5
    found = np.empty((4, 3), np.float32)
    efforts.sureness_of_efforts(0, estimates, exact, away, gaps, most, bounds, k, least, found)
    for gap, count, bound, got in zip(gaps, most, bounds, found, strict=True):
        chosen = np.flatnonzero(away <= gap)[:count]
        want = (np.inf, np.inf)
        if len(chosen) >= k:
            last = np.sort(exact[chosen])[-k]
            want = rescoring.sureness(0, estimates[chosen], exact[chosen], bound, k, last)
        np.testing.assert_array_equal(got[:2], np.array(want, np.float32))
        assert got[2] == np.float32(min(1.0, (exact[chosen] >= least).sum() / k))


@pytest.mark.parametrize("rows", [0, 1, 9, 40])
@pytest.mark.parametrize("most", [0, 3])
def test_places_of_hits_and_candidates_of_efforts(rows: int, most: int) -> None:
    random = np.random.default_rng(rows)
    away = random.uniform(0, 1, rows).astype(np.float32)
    hits = random.random(rows) < 0.5
    steps = np.array([-1.0, 0.3, 0.8, 1.0], np.float32)
    counts = np.zeros((4, max(1, rows)), np.int64)
    for times in (1, 2):
        efforts.count_hits(away, hits, most, steps, counts)
        for step, got in zip(steps, counts, strict=True):
            places = np.flatnonzero(hits[away <= step])[: most or None]
            assert got.nonzero()[0].tolist() == places.tolist()
            assert set(got[places].tolist()) <= {times}
    marked = np.zeros(rows, np.bool_)
    efforts.mark_candidates(away, steps, np.array([4, 2, 5, 1]), marked)
    want = [np.flatnonzero(away <= s)[:n] for s, n in zip(steps, (4, 2, 5, 1), strict=True)]
    assert np.flatnonzero(marked).tolist() == sorted(set(np.concatenate(want).tolist()))


@pytest.mark.parametrize("count", [1, 2, 7, 40, 1001])
@pytest.mark.parametrize("values", [1, 3, 10**6])
def test_the_median_of_numbers_of_which_many_are_equal(count: int, values: int) -> None:
    numbers = np.random.default_rng(count).integers(values, size=count).astype(np.float32)
    want = np.sort(numbers)[(count - 1) // 2]
    assert rescoring._median(numbers.copy()) == want


@pytest.mark.parametrize("partitions", [1, 15, 16, 50])
@pytest.mark.parametrize("queries", [1, 3])
def test_the_gap_beyond_what_was_reached(partitions: int, queries: int) -> None:
    random = np.random.default_rng(partitions)
    gaps = random.uniform(0, 1, (partitions, queries)).astype(np.float32)
    gaps[::7] = np.inf
    for reached in (np.float32(-1), gaps[0, 0], np.float32(0.5), np.float32(2)):
        out = np.empty(queries, np.float32)
        priorities.beyond(gaps, np.full(queries, reached), out)
        want = np.where(gaps > reached, gaps, np.inf).min(axis=0)
        np.testing.assert_array_equal(out, want.astype(np.float32))


def test_one_result_is_judged_by_ten() -> None:
    """The first of ten is far above what was left out, whatever the query."""
    random = np.random.default_rng(2)
    vectors = random.standard_normal((50, 8)).astype(np.float32)
    query, candidates = vectors[:1], np.arange(50)[None]
    exact = scores_of(0, vectors, query[0])
    estimates = (exact + random.normal(0, 1, 50)).astype(np.float32)[None]
    sure = []
    for k in (1, 10):
        scores, found = np.empty((1, k), np.float32), np.empty((1, k), np.int64)
        bounds, this = np.full((1, 2), 1.0, np.float32), np.empty((1, 2), np.float32)
        rescoring.rescore(
            *(0, vectors, query, candidates, np.array([50]), estimates, bounds, 10),
            *(scores, found, this),
        )
        assert found[0].tolist() == np.argsort(-exact)[:k].tolist()
        sure.append(this)
    np.testing.assert_array_equal(*sure)


def test_where_it_cannot_be_told_there_is_no_doubt() -> None:
    random = np.random.default_rng(1)
    vectors = random.standard_normal((30, 8)).astype(np.float32)
    queries = random.standard_normal((3, 8)).astype(np.float32)
    candidates = np.stack([random.permutation(30)[:9] for _ in range(3)])
    estimates = random.standard_normal((3, 9)).astype(np.float32)
    counts = np.array([9, 3, 0])  # the second found fewer than were asked for: all there are
    scores, found = np.empty((3, 4), np.float32), np.empty((3, 4), np.int64)
    sure = rescore(0, vectors, queries, candidates, counts, scores, found, estimates)
    assert np.isfinite(sure).tolist() == [[True] * 2, [False] * 2, [False] * 2]
    assert np.isinf(rescore(0, vectors, queries, candidates, counts, scores, found)).all()
    # Estimates without any error, or that are no numbers; nothing that was not visited.
    exact, none = scores_of(0, vectors, queries[0]), np.array([-np.inf, 1], np.float32)
    for without in (exact, np.nan * exact, exact[:0]):
        alike = exact[: len(without)]
        assert rescoring.sureness(0, without, alike, none, 10, exact[0]) == (np.inf, np.inf)


@pytest.mark.parametrize("count", [7, 10, 41])
def test_what_is_rounded_is_no_deviation(count: int) -> None:
    """Of copies of one row all estimates are wrong by the same; the mean of that was rounded, and
    they were sure by 1e15 of what was left. A heap of them says nothing of what is left out."""
    none = np.array([-np.inf, 1], np.float32)
    scores, estimates = np.full(count, 0.7, np.float32), np.full(count, 0.61, np.float32)
    for metric in (0, 1):
        assert rescoring.sureness(metric, estimates, scores, none, 5, np.float32(0.7))[0] == -100
    assert rescoring.sureness(0, scores, scores, none, 5, np.float32(0.7))[0] == np.inf


def test_giants_among_the_candidates_do_not_make_the_others_doubtful() -> None:
    """Three rows with a component of 10,000, whose estimates were wrong by thousands, set how wrong
    those of all others were taken to be: every search under Dot scanned all originals."""
    random = np.random.default_rng(3)
    scores = np.sort(random.exponential(3.0, 60)).astype(np.float32)[::-1] + np.float32(30.0)
    estimates = (scores + random.normal(0.0, 0.3, 60)).astype(np.float32)
    bound = np.array([-np.inf, 1.0], np.float32)

    def calm(metric: int, giants: int) -> float:
        more = np.concatenate((np.linspace(4000, 9000, giants), scores)).astype(np.float32)
        wrong = np.concatenate((np.linspace(5000, 7000, giants), estimates)).astype(np.float32)
        last = float(np.sort(more)[-10])
        return rescoring.sureness(metric, wrong, more, bound, 10, last)[0]

    plain = calm(0, 0)
    assert plain > 10
    for giants in (1, 3):
        assert calm(0, giants) > plain / 2
        assert calm(1, giants) < 3  # scores of distances are no larger for longer rows
    assert calm(0, 30) < 3  # so many are not special


@pytest.mark.parametrize(("count", "kept"), [(1, 1), (9, 4), (40, 40), (200, 33)])
def test_survivors_are_the_best_by_better_codes(count: int, kept: int) -> None:
    random = np.random.default_rng(6)
    estimates = random.standard_normal(count).astype(np.float32)
    scores = (estimates + 0.1 * random.standard_normal(count)).astype(np.float32)
    scores[: count // 2] = np.round(scores[: count // 2])  # some are equal
    rows = random.permutation(3 * count)[:count]
    bound, sure = np.array([-3.0, 0.5], np.float32), np.zeros(2, np.float32)
    best = np.lexsort((rows, -scores))
    for measured in (0, 1, 10):
        mine, theirs = scores.copy(), rows.copy()
        rescoring.survivors(0, estimates, bound, measured, kept, mine, theirs, sure)
        np.testing.assert_array_equal(theirs[:kept], rows[best[:kept]])
        np.testing.assert_array_equal(mine[:kept], scores[best[:kept]])
        want = (math.inf, math.inf)
        if measured:
            number = min(measured, count)
            last = scores[best[number - 1]]
            want = rescoring.sureness(0, estimates, scores, bound, number, last)
        assert sure.tolist() == pytest.approx(want)
