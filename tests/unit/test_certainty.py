"""How many better rows are left out: against rows of which that is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vecdb.kernels import certainty
from vecdb.kernels.certainty import (
    DOUBTFUL,
    HOPELESS,
    SURE,
    rescore_until_sure,
    score_candidates,
)
from vecdb.kernels.signatures import METRIC_CODES
from vecdb.kernels.topk import topk_new, topk_sort

Array = np.ndarray[Any, Any]
ROWS, LIMIT = 20_000, 10


def missed(
    estimates: Array, scores: Array, allowed: int, deeper: int, last: float, known: float
) -> tuple[float, float]:
    """With estimates that are as exact of all rows."""
    ones = np.ones(len(estimates), np.float32)
    found: tuple[float, float] = certainty.missed(
        estimates, ones, np.ones((1, 2), np.float32), scores, allowed, deeper, last, known
    )
    return found


def estimated(error: float, seed: int) -> tuple[Array, Array]:
    """Estimates, best first, and the scores that they are wrong about by so much."""
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal(ROWS)
    estimates = scores + error * rng.standard_normal(ROWS)
    order = np.argsort(-estimates)
    return estimates[order].astype(np.float32), scores[order].astype(np.float32)


@pytest.mark.parametrize("error", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("kept", [40, 160])
def test_as_many_are_expected_as_there_are_and_not_many_more(error: float, kept: int) -> None:
    expected, were = [], []
    for seed in range(40):
        estimates, scores = estimated(error, seed)
        last = np.sort(scores[:kept])[-LIMIT]
        expected.append(missed(estimates[: 4 * kept], scores[:kept], ROWS, ROWS, last, 0.0)[0])
        were.append(int((scores[kept:] > last).sum()))
    assert np.mean(expected) > 0.8 * np.mean(were) - 0.01
    assert np.median(expected) < 20 * np.mean(were) + 0.3


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_rows_whose_estimates_are_far_less_exact_are_reckoned_with(share: float) -> None:
    """A part of the rows is estimated fifty times less exactly than the others, of which nearly all
    candidates are. Taken for as exact, nothing better would be expected among them."""
    expected, were = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scales = np.where(rng.random(ROWS) < share, 1.0, 0.02)
        scores = rng.standard_normal(ROWS)
        estimates = scores + 2.0 * scales * rng.standard_normal(ROWS) - 6.0 * (scales == 1.0)
        order = np.argsort(-estimates)
        estimates, scores, scales = (
            each[order].astype(np.float32) for each in (estimates, scores, scales)
        )
        last = np.sort(scores[:40])[-LIMIT]
        others = np.array([[0.02, 1.0 - share], [1.0, share]], np.float32)
        some, _ = certainty.missed(
            estimates[:160], scales[:160], others, scores[:40], ROWS, ROWS, last, 0.0
        )
        expected.append(some)
        were.append(int((scores[40:] > last).sum()))
    assert np.mean(expected) > 0.8 * np.mean(were) - 0.01, (np.mean(expected), np.mean(were))


def test_estimates_that_tell_nothing_are_seen_to_tell_nothing() -> None:
    _, scores = estimated(0.1, 1)
    flat = np.zeros(ROWS, np.float32)
    np.random.default_rng(2).shuffle(scores)
    last = np.sort(scores[:40])[-LIMIT]
    some, deeper = missed(flat[:160], scores[:40], ROWS, ROWS // 4, last, 0.0)
    assert some > deeper > 100


def test_exact_estimates_miss_nothing() -> None:
    _, scores = estimated(0.0, 1)
    scores = np.sort(scores)[::-1].copy()
    assert missed(scores[:160], scores[:40], ROWS, ROWS, scores[9], 0.0) == (0.0, 0.0)
    tied = np.round(scores)
    assert missed(tied[:8000], tied[:4000], ROWS, ROWS, tied[9], 0.0) == (0.0, 0.0)


def test_equal_scores_tell_nothing_of_others() -> None:
    estimates, scores = estimated(0.1, 1)
    for value in (0.0, 1.0):
        scores[:40] = value
        assert missed(estimates[:160], scores[:40], ROWS, ROWS, value, 0.0) == (np.inf, np.inf)


def test_copies_and_numbers_that_overflowed_tell_nothing() -> None:
    copies = np.ones(160, np.float32)
    assert missed(copies, copies[:40], ROWS, ROWS, 1.0, 0.0) == (np.inf, np.inf)
    for value in (np.nan, np.inf, -np.inf):
        estimates, scores = estimated(0.1, 1)
        scores[3] = value
        assert missed(estimates[:160], scores[:40], ROWS, ROWS, 1.0, 0.0) == (np.inf, np.inf)


@pytest.mark.parametrize(("error", "most"), [(0.1, 0.5), (1.0, 0.0)])
def test_near_copies_tell_no_more_than_one_of_them(error: float, most: float) -> None:
    """Rows come five times, with the same codes and nearly the same score. Taken for independent,
    they make a search sure that misses 1.2, or 125 rows in the mean."""
    missing = []
    for seed in range(60):
        estimates, scores = (np.repeat(each, 5)[:ROWS] for each in estimated(error, seed))
        scores += 1e-4 * np.random.default_rng(seed).standard_normal(ROWS).astype(np.float32)
        last = np.sort(scores[:20])[-LIMIT]
        expected, _ = missed(estimates[:80], scores[:20], ROWS, ROWS, last, 0.0)
        if expected <= 0.02 * LIMIT:
            missing.append(int((scores[20:] > last).sum()))
    assert np.mean(missing or [0.0]) <= most


def test_one_stray_candidate_does_not_make_sure_of_the_others() -> None:
    """Half of the rows have the same codes, and one that looks better is far worse. A line through
    it falls, and says nothing of the rest: it was taken for a sure sign, and nothing was found."""
    random = np.random.default_rng(3)
    estimates = np.full(160, -6.30e7, np.float32)
    estimates[0] = -6.20e7
    scores = (-6.29e7 + 2e4 * random.standard_normal(20)).astype(np.float32)
    scores[0] = -7.5e7
    last = np.sort(scores)[-LIMIT]
    assert missed(estimates, scores, ROWS, ROWS, last, 0.0)[0] > LIMIT


def test_nothing_is_missed_of_what_is_not_left_out() -> None:
    estimates, scores = estimated(0.5, 1)
    assert missed(estimates[:40], scores[:40], 40, 40, float(scores[:40].min()), 0.0)[0] == 0.0


@pytest.mark.parametrize("metric", METRIC_CODES)
@pytest.mark.parametrize("count", [0, 1, 5, 33])
def test_candidates_are_scored_and_the_best_kept(metric: str, count: int) -> None:
    rng = np.random.default_rng(count)
    vectors = rng.standard_normal((50, 7), dtype=np.float32)
    rows = rng.permutation(50)[:count]
    found = np.empty(count, np.float32)
    scores, best = topk_new(4)
    filled = score_candidates(
        METRIC_CODES[metric], vectors, vectors[0], rows, found, scores, best, 0
    )
    away = vectors[rows] - vectors[0]
    expected = {
        "dot": vectors[rows] @ vectors[0],
        "euclid": -(away**2).sum(axis=1),
        "manhattan": -np.abs(away).sum(axis=1),
        "cosine": vectors[rows] @ vectors[0] / np.linalg.norm(vectors[rows], axis=1),
    }[metric]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert filled == min(4, count)
    topk_sort(scores, best, filled)
    np.testing.assert_array_equal(best[:filled], rows[np.lexsort((rows, -found))][:filled])


def surely(
    error: float, may_be_missed: float, next_: int = 16, stop: int = 4000
) -> tuple[int, int, int]:
    """`rescore_until_sure` of rows of one dimension, which is their score."""
    estimates, scores = estimated(error, 3)
    found = np.empty(ROWS, np.float32)
    ones = np.ones(ROWS, np.float32)
    result: tuple[int, int, int] = rescore_until_sure(
        *(METRIC_CODES["dot"], scores[:, None].copy(), ones[:1], estimates, ones),
        *(np.ones((1, 2), np.float32), np.arange(ROWS), 0, next_, stop, ROWS, ROWS // 4),
        *(may_be_missed, 0.0, found, *topk_new(LIMIT), 0),
    )
    assert (found[: result[0]] == scores[: result[0]]).all()
    return result


def test_twice_as_many_until_it_is_sure() -> None:
    kept = [surely(0.2, share)[0] for share in (10.0, 1.0, 0.3, 0.1, 0.01)]
    assert kept == sorted(kept)
    assert kept[0] < kept[-1]
    assert all(each % 16 == 0 for each in kept)
    assert surely(0.2, 0.1)[2] == SURE
    assert surely(0.2, 0.0, stop=100)[::2] == (64, DOUBTFUL)
    assert surely(30.0, 0.1)[2] == HOPELESS
    assert surely(0.2, 0.1, next_=5)[1:] != (5, SURE)


@pytest.mark.parametrize(("count", "columns"), [(1, 35), (5, 40), (700, 97)])
def test_scales_of_rows_at_some_positions(count: int, columns: int) -> None:
    random = np.random.default_rng(3)
    blocks = random.gamma(2.0, 1.0, (23, columns)).astype(np.float32)
    first, positions = columns - 33, random.integers(0, 32 * 23, count)
    scales = np.empty(count, np.float32)
    certainty.scale_rows(blocks, first, positions, 1.7, scales)
    ratio = blocks[positions >> 5, first + (positions & 31)] / np.float32(1.7)
    want = np.maximum(np.maximum(ratio, 2 * ratio - np.float32(1.5)), np.float32(1e-6))
    np.testing.assert_array_equal(scales, want)
