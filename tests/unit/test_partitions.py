"""The loops of the clustered index against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from block_layout import packed

from vecdb.kernels import partitions, priorities
from vecdb.kernels.codes import score_codes
from vecdb.kernels.nearest import TOO_MANY_LEFT_OUT, nearest, nearest_by_codes
from vecdb.kernels.rescoring import rescore
from vecdb.kernels.shortlist import allowed_first


def made(seed: int, rows: int, dim: int, count: int, width: int) -> dict[str, np.ndarray]:
    """Some rows in ``count`` partitions, their centroids as bytes, sketches with random codes."""
    random = np.random.default_rng(seed)
    subs = -(-dim // width)
    starts = np.sort(random.integers(0, rows + 1, count - 1)) if count > 1 else []
    codes = random.integers(0, 16, (rows, subs), dtype=np.uint8)
    numbers = random.uniform(0.5, 2.0, (rows, 1)).astype(np.float32)
    codebook = random.standard_normal((subs * width, 16)).astype(np.float32)
    codebook[dim:] = 0
    return {
        "query": random.standard_normal(dim).astype(np.float32),
        "centroids": random.integers(0, 256, (count, dim), dtype=np.uint8),
        "low": random.standard_normal(dim).astype(np.float32),
        "scale": random.uniform(0, 0.01, dim).astype(np.float32),
        "middle": random.standard_normal(dim).astype(np.float32),
        "stretch": random.uniform(0.5, 2.0, count).astype(np.float32),
        "common": np.zeros(dim, np.float32),
        "constants": random.standard_normal(count).astype(np.float32),
        "bonuses": random.uniform(0, 1, count).astype(np.float32),
        "starts": np.array([0, *starts, rows], dtype=np.int64),
        "codes": codes,
        "numbers": numbers,
        "blocks": packed(codes, numbers),
        "codebook": codebook,
    }


def centroids_of(data: dict[str, np.ndarray]) -> np.ndarray:
    """From the middle."""
    centroids = data["low"] + data["scale"] * data["centroids"].astype(np.float32)
    return data["stretch"][:, None] * centroids


def visited(
    data: dict[str, np.ndarray], width: int, candidates: int, gap: float
) -> tuple[np.ndarray, np.ndarray, int, int]:
    scores = np.empty((1, candidates), dtype=np.float32)
    rows = np.empty((1, candidates), dtype=np.int64)
    counts = np.zeros((1, 3), dtype=np.int64)
    visit(data, data["query"][None], width, gap, scores, rows, counts)
    [[count, ranges, seen]] = counts.tolist()
    return scores[0, :count], rows[0, :count], ranges, seen


def visit(data: dict[str, np.ndarray], queries: np.ndarray, width: int, *rest: Any) -> None:
    bounds = np.empty((len(queries), 2), np.float32)
    partitions.visit(queries, *of_index(data, width), *rest, bounds)


def of_index(data: dict[str, np.ndarray], width: int) -> tuple[Any, ...]:
    """What the kernels take of an index, and its sketches."""
    keys = ("centroids", "low", "scale", "middle", "stretch", "constants", "bonuses", "starts")
    typical = data.get("typical", 0.0)
    return (
        *(data[key] for key in (*keys, "codebook")),
        *(width, 1.0, data["common"], typical, 0.0, data["blocks"]),
    )


@pytest.mark.parametrize("asked", [1, 2, 5, 9])
@pytest.mark.parametrize("k", [50, 200])
def test_queries_together_find_what_each_finds_alone(asked: int, k: int) -> None:
    data = made(13, 700, 40, 17, 4)
    queries = np.random.default_rng(14).standard_normal((asked, 40)).astype(np.float32)
    scores, rows = np.empty((asked, k), np.float32), np.empty((asked, k), np.int64)
    counts = np.zeros((asked, 3), np.int64)
    visit(data, queries, 4, 3.0, scores, rows, counts)
    for q in range(asked):
        data["query"] = queries[q]
        found, where, ranges, seen = visited(data, 4, k, 3.0)
        count = len(found)
        assert counts[q].tolist() == [count, ranges, seen]
        assert sorted(zip(scores[q, :count], rows[q, :count], strict=False)) == sorted(
            zip(found, where, strict=False)
        )


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_inverse_spans(factor: float) -> None:
    for asked, count, dim in ((1, 15, 3), (1, 100, 20), (3, 16, 5), (4, 33, 40)):
        random = np.random.default_rng(count)
        queries = random.standard_normal((asked, dim)).astype(np.float32)
        centroids = random.standard_normal((count, dim)).astype(np.float32)
        biases = factor * centroids @ queries.T
        common = random.standard_normal(dim).astype(np.float32)
        common /= np.linalg.norm(common) * (1 if dim > 1 else 2)
        if factor == 2.0:
            biases -= np.square(centroids).sum(axis=1)[:, None]
            apart = np.square(centroids[:, None] - queries).sum(axis=2).min(axis=0)
            away = np.sqrt(apart) / 2.5
            spans = np.maximum(away, np.sqrt((away**2 + 1) / 2))
            want = 1 / np.maximum(spans, np.linalg.norm(queries, axis=1) / (2 * 1.5))
        else:
            want = 2.5 / np.linalg.norm(queries - (queries @ common)[:, None] * common, axis=1)
        out = np.empty(asked, dtype=np.float32)
        biases = np.ascontiguousarray(biases)
        priorities.inverse_spans(queries, biases, common, factor, 2.5, 1.5, out)
        np.testing.assert_allclose(out, want, rtol=1e-4)
        for typical in (0.0, 1e30):  # not known; and one that no number is a part of
            priorities.inverse_spans(0 * queries, biases, common, 1.0, typical, 0.0, out)
            assert out.tolist() == [1.0] * asked


@pytest.mark.parametrize("length", [1e-12, 0.1, 1.0, 7.0, 1e12])
def test_a_longer_query_visits_the_same_partitions(length: float) -> None:
    """Gaps were those of scores, which grow with the query: one of ten times the usual length found
    6 of its 10 neighbours where 95 % had been asked for, a shorter one looked at everything."""
    data = made(5, 900, 24, 30, 4)
    data["constants"] = np.zeros(30, np.float32)
    data["typical"] = np.float32(np.linalg.norm(data["query"]))
    _, rows, ranges, seen = visited(data, 4, 20, 3.0)
    assert 1 < ranges < 30
    data["query"] = data["query"] * np.float32(length)
    _, others, *visits = visited(data, 4, 20, 3.0)
    assert visits == [ranges, seen]
    assert len(set(rows.tolist()) & set(others.tolist())) >= 19  # tables are rounded


def sketch_scores(data: dict[str, np.ndarray], width: int) -> np.ndarray:
    """What the sketches say of all rows, without the rounding of tables to bytes."""
    subs = data["codes"].shape[1]
    entries = data["codebook"].reshape(subs, width, 16)
    padded = np.zeros(subs * width, dtype=np.float32)
    padded[: len(data["query"])] = data["query"]
    tables = np.einsum("pw,pwc->pc", padded.reshape(subs, width), entries)
    sums = tables[np.arange(subs), data["codes"]].sum(axis=1)
    owner = np.repeat(np.arange(len(data["centroids"])), np.diff(data["starts"]))
    nearness = (centroids_of(data) + data["middle"]) @ data["query"] + data["constants"]
    return sums * data["numbers"][:, 0] + nearness[owner]


SHAPES = [
    (1, 1, 1, 1),
    (31, 5, 2, 4),
    (32, 16, 3, 2),
    (33, 17, 4, 3),
    (500, 100, 13, 4),
    (97, 384, 9, 4),
]


@pytest.mark.parametrize(("rows", "dim", "count", "width"), SHAPES)
def test_priorities(rows: int, dim: int, count: int, width: int) -> None:
    data = made(1, rows, dim, count, width)
    for asked in (1, 3, 4, 9):
        queries = np.random.default_rng(asked).standard_normal((asked, dim)).astype(np.float32)
        out = np.empty((count, asked), dtype=np.float32)
        moved = np.empty_like(queries)
        keys = ("centroids", "low", "scale", "middle", "stretch", "constants")
        for factor, apart, where in ((2.0, data["middle"], 0), (1.0, 0, data["middle"])):
            priorities.priorities(queries, *(data[key] for key in keys), factor, moved, out)
            want = factor * ((centroids_of(data) + where) @ (queries - apart).T)
            want += data["constants"][:, None]
            np.testing.assert_allclose(out, want, rtol=1e-3, atol=0.02)
            np.testing.assert_array_equal(moved, queries - apart)


def test_priorities_of_a_query_do_not_depend_on_those_beside_it() -> None:
    """Four queries share each centroid, in another kernel than one alone."""
    for dim in (1, 31, 32, 100, 384):
        data = made(3, 40, dim, 9, 4)
        queries = np.random.default_rng(dim).standard_normal((7, dim)).astype(np.float32)
        keys = ("centroids", "low", "scale", "middle", "stretch", "constants")
        rest = [data[key] for key in keys]
        together = np.empty((9, 7), dtype=np.float32)
        priorities.priorities(queries, *rest, 2.0, np.empty_like(queries), together)
        for number, query in enumerate(queries):
            alone = np.empty((9, 1), dtype=np.float32)
            priorities.priorities(query[None], *rest, 2.0, np.empty_like(query[None]), alone)
            np.testing.assert_array_equal(together[:, number], alone[:, 0])


def test_priorities_of_a_long_query_do_not_overflow() -> None:
    """32-bit sums of 8-bit by 16-bit products: the query's numbers must leave room."""
    dim = 65_536
    out = np.empty((1, 1), dtype=np.float32)
    ones = np.ones(dim, dtype=np.float32)
    nothing = np.zeros(dim, dtype=np.float32)
    priorities.priorities(
        ones[None], np.full((1, dim), 255, np.uint8), nothing, ones, nothing, ones[:1],
        nothing[:1], 1.0, ones[None].copy(), out,
    )  # fmt: skip
    np.testing.assert_allclose(out, 255.0 * dim, rtol=0.2)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5])
def test_query_tables(width: int) -> None:
    data = made(2, 3, 18, 1, width)
    subs = -(-18 // width)
    out = np.empty((subs, 16), dtype=np.float32)
    partitions.query_tables(data["query"], data["codebook"], width, out)
    padded = np.zeros(subs * width, dtype=np.float32)
    padded[:18] = data["query"]
    want = np.einsum(
        "pw,pwc->pc", padded.reshape(subs, width), data["codebook"].reshape(subs, width, 16)
    )
    np.testing.assert_allclose(out, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rows", "dim", "count", "width"), SHAPES)
def test_all_partitions_are_all_rows(rows: int, dim: int, count: int, width: int) -> None:
    data = made(3, rows, dim, count, width)
    scores, found, ranges, seen = visited(data, width, rows, 1e30)
    assert sorted(found.tolist()) == list(range(rows))
    assert (ranges, seen) == (count, rows)
    want = sketch_scores(data, width)[found]
    spread = max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(scores, want, atol=0.05 * spread)  # tables have 8 bits


@pytest.mark.parametrize("asked", [1, 3, 5])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize(("rows", "dim", "count", "width"), SHAPES)
def test_every_allowed_row_of_all_partitions(
    rows: int, dim: int, count: int, width: int, share: float, asked: int
) -> None:
    data = made(rows, rows, dim, count, width)
    random = np.random.default_rng(rows)
    allowed = random.random(rows) < share
    queries = random.standard_normal((asked, dim)).astype(np.float32)
    k = min(rows, 7)
    scores, found = np.empty((asked, k), np.float32), np.empty((asked, k), np.int64)
    filled = np.zeros(asked, np.int64)
    mask = np.packbits(allowed, bitorder="little")
    partitions.every(queries, *of_index(data, width), mask, scores, found, filled)
    for number, query in enumerate(queries):
        known = sketch_scores({**data, "query": query}, width)
        best = np.sort(known[allowed])[::-1][:k]
        mine = found[number, : filled[number]]
        assert filled[number] == len(best) == len(set(mine.tolist()))
        assert allowed[mine].all()
        tolerance = 0.02 * np.abs(known).max()
        np.testing.assert_allclose(scores[number, : len(best)], best, atol=tolerance)
        np.testing.assert_allclose(scores[number, : len(best)], known[mine], atol=tolerance)
        assert (np.diff(scores[number, : len(best)]) <= 0).all()


def test_partitions_within_the_gap() -> None:
    data = made(4, 500, 24, 20, 4)
    nearness = (centroids_of(data) + data["middle"]) @ data["query"]
    nearness += data["constants"] + data["bonuses"]
    sizes = np.diff(data["starts"])
    for gap in (0.0, 0.5, 1.0, 2.0, 4.0):
        near = nearness >= nearness.max() - gap
        _, found, ranges, seen = visited(data, 4, 1, gap)
        # An 8-bit by 16-bit product may put a partition on the other side of the line.
        sure = np.abs(nearness - (nearness.max() - gap)) > 0.02
        assert len(found) == 1
        assert (near & sure).sum() <= ranges <= (near | ~sure).sum()
        assert sizes[near & sure].sum() <= seen <= sizes[near | ~sure].sum()


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_what_is_not_visited_has_a_bound(factor: float) -> None:
    data = made(4, 500, 24, 20, 4)
    data["numbers"] = np.ones((500, 2 if factor > 1 else 1), np.float32)
    data["blocks"] = packed(data["codes"], data["numbers"])
    query, middle, typical = data["query"], data["middle"], 3.0
    moved = query - middle if factor > 1 else query
    scores = factor * ((centroids_of(data) + (0 if factor > 1 else middle)) @ moved)
    scores += data["constants"]
    for gap in (0.0, 1.0, 2.0, 1e30):
        bounds, found = np.empty((1, 2), np.float32), np.empty((1, 1), np.float32)
        counts, rows = np.zeros((1, 3), np.int64), np.zeros((1, 1), np.int64)
        arguments = list(of_index(data, 4))
        arguments[10], arguments[12] = factor, typical
        partitions.visit(query[None], *arguments, gap, found, rows, counts, bounds)
        inverse = bounds[0, 1]
        order = np.argsort(-(scores * inverse + data["bonuses"]))
        if counts[0, 1] == 20:
            assert bounds[0, 0] == -np.inf
            continue
        at = order[counts[0, 1]]
        want = scores[at] + data["bonuses"][at] / inverse - (moved @ moved if factor > 1 else 0)
        assert bounds[0, 0] == pytest.approx(want, abs=0.1)


@pytest.mark.parametrize("k", [1, 40, 300, 499, 500])
def test_more_partitions_until_enough_rows(k: int) -> None:
    data = made(5, 500, 24, 20, 4)
    _, found, _, seen = visited(data, 4, k, 0.0)
    assert len(found) == len(set(found.tolist())) == k <= seen


@pytest.mark.parametrize("asked", [1, 3])
@pytest.mark.parametrize("spoiled", [[np.nan], [np.inf], [-np.inf], [np.inf, np.nan, -np.inf]])
def test_partitions_whose_priority_overflows_are_found(asked: int, spoiled: list[float]) -> None:
    """What is infinitely far from infinity is no number, and such partitions were never visited."""
    data = made(15, 700, 40, 17, 4)
    data["constants"][:] = np.resize(np.array(spoiled, np.float32), 17)
    queries = np.random.default_rng(14).standard_normal((asked, 40)).astype(np.float32)
    scores, rows = np.empty((asked, 700), np.float32), np.empty((asked, 700), np.int64)
    counts = np.zeros((asked, 3), np.int64)
    visit(data, queries, 4, 3.0, scores, rows, counts)
    assert counts.tolist() == [[700, 17, 700]] * asked
    assert (np.sort(rows, axis=1) == np.arange(700)).all()


@pytest.mark.parametrize("metric", [0, 1, 2])
@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("share", [1.0, 0.97, 0.6])
@pytest.mark.parametrize(
    ("asked", "candidates", "k", "depth"),
    [(1, 40, 10, 10), (3, 7, 7, 7), (2, 500, 60, 60), (2, 90, 10, 20)],
)
def test_nearest_visits_and_rescores_what_a_mask_allows(
    metric: int, moved: bool, share: float, asked: int, candidates: int, k: int, depth: int
) -> None:
    data = made(16, 500, 40, 17, 4)
    random = np.random.default_rng(17)
    vectors = random.standard_normal((501, 40)).astype(np.float32)
    queries = random.standard_normal((asked, 40)).astype(np.float32)
    order = random.permutation(501)[:500].astype(np.uint32) if moved else np.empty(0, np.uint32)
    allowed = random.random(501) < share
    mask = np.packbits(allowed, bitorder="little") if share < 1.0 else np.empty(0, np.uint8)
    scores, rows = np.empty((asked, k), np.float32), np.empty((asked, k), np.int64)
    counts, sure = np.zeros((asked, 3), np.int64), np.empty((asked, 2), np.float32)
    nearest(
        *(queries, *of_index(data, 4), 1.0, candidates, order, mask, depth),
        *(metric, vectors, k, scores, rows, counts, sure),
    )
    for q in range(asked):
        data["query"] = queries[q]
        estimates, found, ranges, seen = visited(data, 4, candidates, 1.0)
        found = order[found].astype(np.int64) if moved else found
        left = allowed[found]
        worst = np.sort(estimates[left])[-k] if left.sum() >= k else -np.inf
        deep = (estimates >= worst).sum() <= depth + depth // TOO_MANY_LEFT_OUT
        if share < 1.0 and not (left.all() or (left.sum() >= k and deep)):
            assert counts[q].tolist() == [0, ranges, seen]
            assert (sure[q] == -np.inf).all()
            continue
        found = found[left]
        assert counts[q].tolist() == [len(found), ranges, seen]
        want, where = np.empty((1, k), np.float32), np.empty((1, k), np.int64)
        left_out = (found[None], np.array([len(found)]), np.empty((1, 0), np.float32))
        none = np.empty((1, 2), np.float32)
        rescore(metric, vectors, queries[q : q + 1], *left_out, none, k, want, where, none.copy())
        np.testing.assert_array_equal(scores[q], want[0])
        np.testing.assert_array_equal(rows[q], where[0])


@pytest.mark.parametrize("metric", [0, 1, 2])
@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("share", [1.0, 0.97])
@pytest.mark.parametrize(("candidates", "kept", "k"), [(40, 20, 10), (7, 7, 7), (500, 90, 60)])
def test_codes_choose_among_candidates_and_vectors_decide(
    metric: int, moved: bool, share: float, candidates: int, kept: int, k: int
) -> None:
    """Or codes decide, if there are no vectors."""
    data = made(18, 500, 40, 17, 4)
    random = np.random.default_rng(19)
    vectors = random.standard_normal((501, 40)).astype(np.float32)
    codes = random.integers(0, 256, (501, 40), dtype=np.uint8)
    query = random.standard_normal((1, 40)).astype(np.float32)
    prepared = (np.empty((1, 0), np.uint8), np.float32([0.3]), metric)
    prepared = (*prepared, *random.standard_normal((2, 40)).astype(np.float32))
    order = random.permutation(501)[:500].astype(np.uint32) if moved else np.empty(0, np.uint32)
    allowed = random.random(501) < share
    mask = np.packbits(allowed, bitorder="little") if share < 1.0 else np.empty(0, np.uint8)
    data["query"] = query[0]
    estimates, found, ranges, seen = visited(data, 4, candidates, 1.0)
    found = order[found].astype(np.int64) if moved else found
    left = allowed[found] | (share == 1.0)
    worst = np.sort(estimates[left])[-k]
    deep = (estimates >= worst).sum() <= k + k // TOO_MANY_LEFT_OUT
    found = found[left]
    by_codes = np.empty(len(found), np.float32)
    score_codes(codes, *prepared, found, by_codes)
    best = np.lexsort((found, -by_codes))[:kept]
    for originals in (vectors, vectors[:0]):
        scores, rows = np.empty((1, k), np.float32), np.empty((1, k), np.int64)
        counts, sure = np.zeros((1, 3), np.int64), np.empty((1, 2), np.float32)
        nearest_by_codes(
            *(query, *of_index(data, 4), 1.0, candidates, order, mask, k),
            *(codes, *prepared, kept, 1, metric, originals, k, scores, rows, counts, sure),
        )
        if not deep and not left.all():
            assert counts.tolist() == [[0, ranges, seen]]
            assert (sure == -np.inf).all()
            continue
        assert counts.tolist() == [[len(found), ranges, seen]]
        want, where = by_codes[best][None, :k], found[best][None, :k]
        if len(originals):
            want, where = np.empty((1, k), np.float32), np.empty((1, k), np.int64)
            some = (found[best][None], np.array([len(best)]), np.empty((1, 0), np.float32))
            none = np.empty((1, 2), np.float32)
            rescore(metric, vectors, query, *some, none, k, want, where, none.copy())
        np.testing.assert_array_equal(scores, want)
        np.testing.assert_array_equal(rows, where)


@pytest.mark.parametrize("count", [1, 7, 64, 333])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0])
def test_allowed_entries_come_first_and_say_how_deep_they_stand(count: int, share: float) -> None:
    random = np.random.default_rng(5)
    scores = random.integers(0, 50, count).astype(np.float32)  # some are equal
    rows = random.permutation(4 * count)[:count]
    flags = random.random(4 * count) < share
    mask = np.packbits(flags, bitorder="little")
    for wanted in {1, min(3, count), count}:
        mine, theirs = scores.copy(), rows.copy()
        allowed, depth = allowed_first(mask, wanted, mine, theirs, count)
        np.testing.assert_array_equal(theirs[:allowed], rows[flags[rows]])
        np.testing.assert_array_equal(mine[:allowed], scores[flags[rows]])
        assert sorted(zip(theirs, mine, strict=True)) == sorted(zip(rows, scores, strict=True))
        if allowed < wanted:
            assert depth == 0
        elif allowed < count:
            assert depth == (scores >= np.sort(mine[:allowed])[-wanted]).sum()
        else:
            assert depth == wanted
