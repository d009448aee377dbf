"""Each kernel agrees with one line of numpy, on odd shapes, under masks, and over blocks.

Vectors hold small whole numbers: every sum is then exact in float32, ties are everywhere, and
results can be compared to the bit, row numbers included.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import xxhash

from vecdb.kernels import clustering, codes, distance, fastscan, levels, rotation, topk
from vecdb.kernels.signatures import METRIC_CODES

SIZES = (0, 1, 7, 31, 33, 257)
DIMS = (1, 3, 15, 16, 17, 100, 384, 1027)
METRICS = ("dot", "euclid", "manhattan")
NO_MASK = np.zeros(0, np.uint8)

REFERENCE = {
    "dot": lambda vectors, query: vectors @ query,
    "euclid": lambda vectors, query: -((vectors - query) ** 2).sum(axis=1),
    "manhattan": lambda vectors, query: -np.abs(vectors - query).sum(axis=1),
}
SCAN = {
    "dot": distance.scan_dot,
    "euclid": distance.scan_euclid,
    "manhattan": distance.scan_manhattan,
}
SCORE_ROWS = {
    "dot": distance.score_rows_dot,
    "euclid": distance.score_rows_euclid,
    "manhattan": distance.score_rows_manhattan,
}


def frozen(array):
    array.setflags(write=False)
    return array


def whole_numbers(rng, *shape):
    return frozen(rng.integers(-2, 3, shape).astype(np.float32))


def bitmap(allowed):
    return frozen(np.packbits(allowed, bitorder="little"))


def masks(rng, n):
    """(bitmap, allowed rows): none at all, half, few, nobody."""
    yield NO_MASK, np.ones(n, bool)
    for share in (0.5, 0.02, 0.0):
        allowed = rng.random(n) < share
        yield bitmap(allowed), allowed


def best(scores, allowed, k, base=0):
    """The oracle: rows and scores of the best k, ties to the lower row."""
    order = np.lexsort((np.arange(len(scores)), -np.asarray(scores)))
    order = order[np.asarray(allowed)[order]][:k]
    return order + base, np.asarray(scores)[order]


def run(k, *calls):
    """Give a fresh top-k of k entries to each call in turn; rows and scores, best first."""
    scores, rows = topk.topk_new(k)
    filled = 0
    for call in calls:
        filled = call(scores, rows, filled)
    topk.topk_sort(scores, rows, filled)
    return rows[:filled], scores[:filled]


def assert_same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1].astype(np.float32))


def check_scan(scan, scores, n, rng, ks=(1, 5, 400)):
    """``scan(part, mask, base, *top)`` finds what a sort of ``scores`` finds, for masks and k."""
    for mask, allowed in masks(rng, n):
        for k in ks:
            found = run(k, lambda *top, mask=mask: scan(slice(None), mask, 1000, *top))
            assert_same(found, best(scores, allowed, k, 1000))


def check_blocks(scan, scores, rng, k=10):
    """Blocks in any order, with ties across them, give what one call gives."""
    n = len(scores)
    allowed = rng.random(n) < 0.7
    starts = list(range(0, n, 37))
    rng.shuffle(starts)

    def block(start):
        part = slice(start, start + 37)
        return lambda *top: scan(part, bitmap(allowed[part]), start, *top)

    assert_same(run(k, *map(block, starts)), best(scores, allowed, k))


# --- top-k ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 1, 2, 10, 300])
def test_topk_keeps_the_best_and_breaks_ties_by_the_lower_row(k):
    rng = np.random.default_rng(k)
    scores = rng.integers(0, 20, 200).astype(np.float32)
    pushes = [
        lambda s, r, filled, row=row: topk.topk_push(s, r, filled, scores[row], row)
        for row in rng.permutation(200)
    ]
    assert_same(run(k, *pushes), best(scores, np.ones(200, bool), k))


def test_a_score_that_is_not_a_number_counts_as_the_worst():
    values = np.array([np.nan, 1.0, np.nan, 2.0], np.float32)
    pushes = [
        lambda s, r, filled, row=row: topk.topk_push(s, r, filled, values[row], row)
        for row in range(4)
    ]
    assert run(3, *pushes)[0].tolist() == [3, 1, 0]


def test_overflow_in_a_sum_does_not_upset_the_order():
    inf = np.inf  # what a sum of large numbers becomes
    vectors = np.array([[inf, -inf], [1, 1], [0, 3], [inf, inf], [-inf, inf]], np.float32)
    query = np.ones(2, np.float32)
    found = run(3, lambda *top: distance.scan_dot(vectors, query, NO_MASK, 0, *top))
    assert found[0].tolist() == [3, 2, 1]


def test_rows_are_selected_in_order_and_in_pieces():
    rng = np.random.default_rng(0)
    chosen = np.empty(16, np.int64)
    for n in (0, 1, 8, 9, 64, 100, 1000):
        for mask, allowed in masks(rng, n):
            found, row = [], 0
            while row < n:
                count, row = topk.select_rows(mask, row, n, chosen)
                found.extend(chosen[:count].tolist())
            assert found == np.flatnonzero(allowed).tolist()


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 64, 500, 4099])
def test_the_rows_of_a_mask_are_counted_and_selected(rows):
    for share in (0.0, 0.03, 0.5, 1.0):
        flags = np.random.default_rng(4).random(rows) < share
        mask = np.packbits(flags, bitorder="little")
        assert topk.count_allowed(mask) == flags.sum()
        chosen = np.empty(rows + 64, np.int64)
        if len(mask):
            assert topk.select_rows(mask, 0, rows, chosen) == (flags.sum(), rows)
            np.testing.assert_array_equal(chosen[: flags.sum()], np.flatnonzero(flags))


def test_mask_bits_beyond_the_last_row_mean_nothing():
    mask = np.array([255, 255], np.uint8)
    vectors = np.ones((9, 4), np.float32)
    found = run(20, lambda *top: distance.scan_dot(vectors, vectors[0], mask, 0, *top))
    assert found[0].tolist() == list(range(9))


def test_a_mask_that_is_too_short_is_refused():
    vectors = np.ones((9, 4), np.float32)
    with pytest.raises(ValueError, match="too short"):
        run(3, lambda *top: distance.scan_dot(vectors, vectors[0], np.ones(1, np.uint8), 0, *top))


# --- float32 vectors ------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", DIMS)
def test_scan_agrees_with_numpy(metric, dim):
    rng = np.random.default_rng(dim)
    for n in SIZES:
        vectors, query = whole_numbers(rng, n, dim), whole_numbers(rng, dim)
        scores = REFERENCE[metric](vectors, query)
        check_scan(
            lambda part, mask, base, *top, v=vectors, q=query: SCAN[metric](
                v[part], q, mask, base, *top
            ),
            scores,
            n,
            rng,
        )
        row_numbers = frozen(rng.permutation(n).astype(np.int64))
        out = np.empty(n, np.float32)
        SCORE_ROWS[metric](vectors, query, row_numbers, out)
        np.testing.assert_array_equal(out, scores[row_numbers])


@pytest.mark.parametrize("metric", METRICS)
def test_scan_over_blocks_equals_one_call(metric):
    rng = np.random.default_rng(1)
    vectors, query = whole_numbers(rng, 600, 17), whole_numbers(rng, 17)
    check_blocks(
        lambda part, mask, base, *top: SCAN[metric](vectors[part], query, mask, base, *top),
        REFERENCE[metric](vectors, query),
        rng,
    )


@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows_have_equal_scores_to_the_last_bit(metric):
    rng = np.random.default_rng(2)
    vectors = np.repeat(rng.standard_normal((1, 387), dtype=np.float32), 300, axis=0)
    query = rng.standard_normal(387, dtype=np.float32)
    mask = bitmap(rng.random(300) < 0.5)
    found = [
        run(300, lambda *top, m=m: SCAN[metric](vectors, query, m, 0, *top))[1]
        for m in (NO_MASK, mask)
    ]
    out = np.empty(300, np.float32)
    SCORE_ROWS[metric](vectors, query, np.arange(300), out)
    assert np.unique(np.concatenate([*found, out])).size == 1


@pytest.mark.parametrize("metric", METRICS)
def test_real_numbers_agree_with_float64(metric):
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((50, 1027), dtype=np.float32)
    query = rng.standard_normal(1027, dtype=np.float32)
    out = np.empty(50, np.float32)
    SCORE_ROWS[metric](vectors, query, np.arange(50), out)
    expected = REFERENCE[metric](vectors.astype(float), query.astype(float))
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-3)


def test_memory_mapped_vectors_are_accepted(tmp_path):
    vectors = np.memmap(tmp_path / "v", np.float32, "w+", shape=(20, 8))
    vectors[:] = np.arange(160).reshape(20, 8) % 7
    vectors.flush()
    mapped = np.memmap(tmp_path / "v", np.float32, "r", shape=(20, 8))
    query = np.arange(8, dtype=np.float32)
    found = run(5, lambda *top: distance.scan_dot(mapped, query, NO_MASK, 0, *top))
    assert_same(found, best(np.asarray(mapped) @ query, np.ones(20, bool), 5))


def test_dimensions_that_differ_are_refused():
    vectors = np.ones((2, 4), np.float32)
    with pytest.raises(ValueError, match="dimensions"):
        run(3, lambda *top: distance.scan_dot(vectors, np.ones(5, np.float32), NO_MASK, 0, *top))


# --- scalar codes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", DIMS)
def test_scalar_scan_agrees_with_numpy(metric, dim):
    rng = np.random.default_rng(dim)
    code, constant = METRIC_CODES[metric], np.float32(3)
    for n in SIZES:
        levels = frozen(rng.integers(0, 256, (n, dim)).astype(np.uint8))
        point, step = whole_numbers(rng, dim), frozen(rng.integers(0, 3, dim).astype(np.float32))
        if metric == "dot":
            scores = levels @ step.astype(np.float64) + 3
        else:
            scores = REFERENCE[metric](step.astype(np.float64) * levels, point)
        # Sums of squares beyond 2**24 are rounded, so these are compared by tolerance.
        out = np.empty(n, np.float32)
        codes.score_scalar_rows(code, levels, point, step, constant, np.arange(n), out)
        np.testing.assert_allclose(out, scores, rtol=1e-5)
        check_scan(
            lambda part, mask, base, *top, c=levels, p=point, s=step: codes.scan_scalar(
                code, c[part], p, s, constant, mask, base, *top
            ),
            out,
            n,
            rng,
        )


def test_scalar_scan_over_blocks_equals_one_call():
    rng = np.random.default_rng(4)
    levels = rng.integers(0, 4, (600, 9)).astype(np.uint8)
    step, zero = whole_numbers(rng, 9), np.float32(0)
    check_blocks(
        lambda part, mask, base, *top: codes.scan_scalar(
            METRIC_CODES["dot"], levels[part], step, step, zero, mask, base, *top
        ),
        levels @ step,
        rng,
    )


def test_scalar_encoding_rounds_and_clips():
    vectors = np.array([[-1, 0, 0.4, 0.6, 254.6, 300, 3e38, -3e38]], np.float32).T
    out = np.empty((8, 1), np.uint8)
    codes.encode_scalar(vectors, np.zeros(1, np.float32), np.ones(1, np.float32), out)
    assert out[:, 0].tolist() == [0, 0, 0, 1, 255, 255, 255, 0]


# --- rotation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 7, 31, 64, 100, 384, 1027])
def test_a_rotation_is_one_and_the_same_for_one_vector_and_for_many(dim):
    signs = rotation.make_signs(dim)
    turned = np.eye(dim, dtype=np.float32)
    rotation.rotate_lanes(turned, signs)  # column by column: what becomes of each unit vector
    np.testing.assert_allclose(turned.T @ turned, np.eye(dim), atol=1e-5)
    for axis in {0, dim // 2, dim - 1}:
        vector = np.eye(dim, dtype=np.float32)[axis]
        rotation.rotate(vector, frozen(signs))
        np.testing.assert_array_equal(vector, turned[:, axis])
    if dim >= 31:  # no dimension stays by itself
        assert np.abs(turned).max() < 6 / dim**0.5


def test_the_signs_of_a_rotation_never_change():
    """Codes on disk depend on them."""
    for dim, digest in ((4, "cbaa0f6724ae8b0a"), (384, "980f2e05a494b240")):
        signs = np.packbits(rotation.make_signs(dim) > 0).tobytes()
        assert xxhash.xxh3_64_hexdigest(signs) == digest


# --- levels ---------------------------------------------------------------------------------------


def names_of(blocks, n, subs):
    """The codes in blocks, one a sub-quantizer."""
    names = np.empty((n, subs), np.uint8)
    fastscan.unpack(blocks, names)
    return names


def columns_of(blocks, n, subs):
    """The two numbers beside each row's codes."""
    numbers = blocks[:, 64 * -(-subs // 4) :].copy().view(np.float32).reshape(-1, 2, 32)
    return numbers.transpose(0, 2, 1).reshape(-1, 2)[:n]


@pytest.mark.parametrize(("bits", "width"), [(1, 4), (2, 2), (4, 1)])
@pytest.mark.parametrize("dim", [1, 3, 17, 100])
def test_codes_of_two_values_agree_with_numpy(dim, bits, width):
    rng = np.random.default_rng(dim)
    subs = -(-dim // width)
    for n in SIZES:
        vectors = whole_numbers(rng, n, dim)
        out = np.full(fastscan.block_shape(n, subs, 2), 7, np.uint8)
        levels.encode_two_values(vectors, np.float32(0.5), bits, width, out)
        above = np.zeros((n, subs * width), np.int64)
        above[:, :dim] = np.where(vectors > 0.5, (1 << bits) - 1, 0)
        shifts = bits * np.arange(width)
        expected = (above.reshape(n, subs, width) << shifts).sum(axis=2)
        np.testing.assert_array_equal(names_of(out, n, subs), expected)
        np.testing.assert_array_equal(columns_of(out, n, subs), np.tile([1, 0], (n, 1)))


@pytest.mark.parametrize(("bits", "width"), [(1, 4), (2, 2), (4, 1)])
@pytest.mark.parametrize(("dim", "wide"), [(1, 4), (3, 4), (17, 20), (100, 152)])
@pytest.mark.parametrize("metric", METRICS)
def test_codes_of_levels_and_their_factors_agree_with_numpy(metric, dim, wide, bits, width):
    rng = np.random.default_rng(dim)
    subs = wide // width
    steps = frozen(np.sort(rng.standard_normal((1, 1 << bits), dtype=np.float32)))
    centre = frozen(rng.standard_normal(dim, dtype=np.float32))
    signs = frozen(rotation.make_signs(wide))
    for n in SIZES:
        vectors = rng.standard_normal((n, dim), dtype=np.float32)
        vectors[n // 2 :: 50] = centre  # nothing is left of these
        out = np.full(fastscan.block_shape(n, subs, 2), 7, np.uint8)
        levels.encode_rotated(
            METRIC_CODES[metric], frozen(vectors), centre, signs, steps, bits, width, out
        )
        left = vectors.astype(float) - centre
        squares = (left**2).sum(axis=1)
        turned = np.zeros((wide, n), np.float32)
        turned[:dim] = left.T
        rotation.rotate_lanes(turned, signs)
        scaled = turned.T * np.sqrt(wide / np.maximum(squares, 1e-30))[:, None]
        away = np.abs(scaled[:, :, None] - steps[0])
        nearest = away.argmin(axis=2)
        found = names_of(out, n, subs)
        one_by_one = np.stack([found >> bits * i & (1 << bits) - 1 for i in range(width)], axis=2)
        chosen = one_by_one.reshape(n, wide)
        differ = chosen != nearest
        if differ.any():  # on the border of two
            two = np.sort(away[differ], axis=1)[:, :2]
            np.testing.assert_allclose(two[:, 0], two[:, 1], atol=1e-4)
        inner = (scaled * steps[0][chosen]).sum(axis=1)
        inner[squares < 1e-12] = 1.0
        factor = np.where(squares < 1e-12, 0, np.sqrt(squares * wide) / inner)
        if metric == "dot":
            expected = [factor, left @ centre]
        else:
            expected = [2 * factor, -squares]
        numbers = columns_of(out, n, subs)
        np.testing.assert_allclose(numbers, np.stack(expected, axis=1), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("width", [1, 3, 8])
@pytest.mark.parametrize("shared", [False, True])
def test_tables_agree_with_numpy(metric, width, shared):
    rng = np.random.default_rng(width)
    codebook = whole_numbers(rng, width if shared else 20, 16)
    query = whole_numbers(rng, 20)
    out = np.empty((-(-20 // width), 16), np.float32)
    stride = 0 if shared else width
    levels.tables_of_levels(METRIC_CODES[metric], codebook, query, width, stride, out)
    for chunk in range(out.shape[0]):
        part = query[chunk * width : (chunk + 1) * width]
        start = chunk * stride
        expected = REFERENCE[metric](codebook[start : start + len(part)].T, part)
        np.testing.assert_array_equal(out[chunk], expected)


# --- product codes --------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8])
def test_codes_name_the_nearest_centroid(width):
    rng = np.random.default_rng(width)
    dim = 2 * width + 1  # the last chunk is one dimension wide
    codebook = frozen(rng.standard_normal((dim, 16), dtype=np.float32))
    for n in SIZES:
        vectors = frozen(rng.standard_normal((n, dim), dtype=np.float32))
        out = np.full(fastscan.block_shape(n, 3), 7, np.uint8)
        clustering.encode_product(vectors, codebook, width, out)
        names = names_of(out, n, 3)
        for chunk in range(3):
            part = slice(chunk * width, (chunk + 1) * width)
            squares = (vectors[:, part, None].astype(float) - codebook[None, part]) ** 2
            distances = squares.sum(axis=1)
            chosen = distances[np.arange(n), names[:, chunk]]
            np.testing.assert_allclose(chosen, distances.min(axis=1), rtol=1e-5, atol=1e-12)


def test_among_equal_centroids_the_first_is_named():
    codebook = np.repeat(np.float32([[1, 2]]), 8, axis=1)
    out = np.empty((1, 64), np.uint8)
    clustering.encode_product(np.float32([[0], [3], [1]]), codebook, 1, out)
    assert names_of(out, 3, 1)[:, 0].tolist() == [0, 8, 0]


def fit(points, k=16, iterations=20):
    m, width = points.shape
    centroids = np.ascontiguousarray(np.resize(points[:k].T, (width, k)))
    centroids = np.concatenate([centroids, np.repeat(centroids[:, :1], 16 - k, axis=1)], axis=1)
    padded = np.full((-(-m // 32) * 32, width), 1e6, np.float32)  # what is beyond m must not count
    padded[:m] = points
    lanes = padded.reshape(-1, 32, width).transpose(0, 2, 1)
    lanes = frozen(np.ascontiguousarray(lanes).reshape(-1, 32))
    clustering.fit_chunk(lanes, m, centroids, k, iterations, 1e-3)
    return centroids


def error(points, centroids):
    return ((points[:, :, None] - centroids[None]) ** 2).sum(axis=1).min(axis=1).mean()


@pytest.mark.parametrize("m", [17, 3000, 3001, 3031])
def test_k_means_lowers_the_error_and_repeats_itself(m):
    points = np.random.default_rng(7).standard_normal((m, 4), dtype=np.float32)
    centroids = fit(points)
    assert error(points, centroids) < 0.8 * error(points, points[:16].T) or m < 100
    np.testing.assert_array_equal(centroids, fit(points))
    one = fit(points, k=1)
    np.testing.assert_allclose(one, np.repeat(points.mean(axis=0)[:, None], 16, axis=1), atol=1e-5)


def test_k_means_gives_every_group_a_centroid_though_it_starts_in_one():
    # The first 16 points are all in one place: all centroids but one lose their points at once.
    rng = np.random.default_rng(8)
    points = np.zeros((1000, 2), np.float32)
    points[16:] = 10 * rng.integers(0, 12, (984, 1))
    assert error(points, fit(points)) < 1e-3


def test_ctrl_c_while_numba_is_loaded() -> None:
    """Interrupted half-way, numba could not be imported again: no search worked any more."""
    code = """
import os, signal, sys

class Impatient:
    def find_spec(self, name, path, target=None):
        if name == "numba.core.types":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Impatient())
try:
    import vecdb.kernels.distance
except KeyboardInterrupt:
    print("interrupted")
import vecdb.kernels.distance
print(vecdb.kernels.distance.scan)
"""
    environment = {**os.environ, "VECDB_KERNELS": "jit"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100
    )
    assert ran.stdout.startswith("interrupted\nCPUDispatcher"), ran.stderr
