"""Every quantizer scores on the scale of the metric, survives storage, and finds neighbours."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from vecdb.kernels.topk import topk_new, topk_sort
from vecdb.quantization import (
    METRICS,
    QUANTIZERS,
    BinaryQuantizer,
    ProductQuantizer,
    ScalarQuantizer,
    from_state,
)

KINDS = ("scalar", "binary", "product")
NO_MASK = np.zeros(0, np.uint8)

REFERENCE = {
    "dot": lambda vectors, query: vectors @ query,
    "euclid": lambda vectors, query: -((vectors - query) ** 2).sum(axis=1),
    "manhattan": lambda vectors, query: -np.abs(vectors - query).sum(axis=1),
}


def clustered(n=700, dim=26, seed=0):
    """Normal points around 40 centres, as real embeddings more or less are."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, dim))
    points = centres[rng.integers(0, 40, n)] + 0.5 * rng.standard_normal((n, dim))
    return points.astype(np.float32)


def fitted(kind, metric, sample, **options):
    return QUANTIZERS[kind].fit(sample, metric, **options)


def search(prepared, codes, k, mask=NO_MASK):
    scores, rows = topk_new(k)
    filled = prepared.scan(codes, mask, 0, scores, rows, 0)
    topk_sort(scores, rows, filled)
    return rows[:filled], scores[:filled]


def recall(quantizer, vectors, queries, k=10):
    """The share of the true best k that are among the k found."""
    codes = quantizer.encode(vectors)
    hits = 0
    for query in queries:
        true = np.argsort(-REFERENCE[quantizer.metric](vectors, query))[:k]
        hits += np.isin(search(quantizer.prepare(query), codes, k)[0], true).sum()
    return hits / (k * len(queries))


def test_importing_does_not_load_numba():
    code = "import sys, vecdb.quantization; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- what all kinds promise -----------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_state_makes_the_same_quantizer(self, kind, metric):
        vectors = clustered()
        quantizer = fitted(kind, metric, vectors)
        state = {}
        for key, array in quantizer.state().items():  # as read from a file: read-only, anywhere
            raw = np.frombuffer(b"x" + array.tobytes(), np.uint8)
            state[key] = raw[1:].view(array.dtype).reshape(array.shape)
            assert array.dtype.kind == "f"
        again = from_state(kind, metric, 26, state)
        assert (again.kind, again.metric, again.dim) == (kind, metric, 26)
        assert again.code_size == quantizer.code_size
        codes = quantizer.encode(vectors)
        np.testing.assert_array_equal(again.encode(vectors), codes)
        np.testing.assert_array_equal(
            again.prepare(vectors[3]).score_all(codes),
            quantizer.prepare(vectors[3]).score_all(codes),
        )

    def test_scan_finds_the_best_of_score_all(self, kind, metric):
        vectors = clustered()
        quantizer = fitted(kind, metric, vectors)
        codes = quantizer.encode(vectors)
        codes.setflags(write=False)
        prepared = quantizer.prepare(vectors[5])
        every = prepared.score_all(codes)
        rows, scores = search(prepared, codes, 30)
        np.testing.assert_array_equal(rows, np.lexsort((np.arange(700), -every))[:30])
        np.testing.assert_array_equal(scores, every[rows])
        np.testing.assert_array_equal(prepared.score_rows(codes, rows), scores)

    def test_scan_over_blocks_with_a_mask_equals_one_scan(self, kind, metric):
        vectors = clustered()
        quantizer = fitted(kind, metric, vectors)
        codes = quantizer.encode(vectors)
        prepared = quantizer.prepare(vectors[5])
        allowed = np.random.default_rng(1).random(700) < 0.3
        expected = search(prepared, codes, 20, np.packbits(allowed, bitorder="little"))
        assert allowed[expected[0]].all()
        scores, rows = topk_new(20)
        filled = 0
        for start in (560, 0, 280, 420, 140):
            part = slice(start, start + 140)
            mask = np.packbits(allowed[part], bitorder="little")
            filled = prepared.scan(codes[part], mask, start, scores, rows, filled)
        topk_sort(scores, rows, filled)
        np.testing.assert_array_equal(rows[:filled], expected[0])
        np.testing.assert_array_equal(scores[:filled], expected[1])

    def test_fitting_twice_gives_the_same(self, kind, metric):
        states = [fitted(kind, metric, clustered()).state() for _ in range(2)]
        for key in states[0]:
            np.testing.assert_array_equal(states[0][key], states[1][key])

    def test_no_rows_are_no_codes(self, kind, metric):
        quantizer = fitted(kind, metric, clustered())
        codes = quantizer.encode(np.empty((0, 26), np.float32))
        assert codes.shape == (0, quantizer.code_size)
        assert search(quantizer.prepare(clustered()[0]), codes, 3)[0].size == 0

    @pytest.mark.parametrize("dim", [1, 7, 64, 65, 130])
    def test_one_row_is_sample_enough(self, kind, metric, dim):
        row = np.linspace(-1, 2, dim, dtype=np.float32)[None, :]
        quantizer = fitted(kind, metric, row)
        codes = quantizer.encode(row)
        assert codes.shape == (1, quantizer.code_size)
        assert codes.dtype == np.uint8
        rows, scores = search(quantizer.prepare(row[0]), codes, 5)
        assert rows.tolist() == [0]
        np.testing.assert_allclose(scores, REFERENCE[metric](row, row[0]), rtol=1e-4, atol=1e-4)

    def test_data_without_variety(self, kind, metric):
        for value in (0.0, 1.5, -2.0):
            vectors = np.full((300, 10), value, np.float32)
            quantizer = fitted(kind, metric, vectors)
            scores = quantizer.prepare(vectors[0]).score_all(quantizer.encode(vectors))
            np.testing.assert_allclose(scores, 10 * value**2 if metric == "dot" else 0, atol=1e-4)

    def test_wrong_shapes_and_cancelling(self, kind, metric):
        vectors = clustered()
        quantizer = fitted(kind, metric, vectors)
        codes = quantizer.encode(vectors)
        prepared = quantizer.prepare(vectors[0])
        with pytest.raises(ValueError, match="shape"):
            quantizer.encode(vectors[:, :5])
        with pytest.raises(ValueError, match="shape"):
            quantizer.prepare(vectors[0, :5])
        with pytest.raises(ValueError, match="shape"):
            prepared.score_all(codes[:, 1:])
        with pytest.raises(ValueError, match="contiguous"):
            prepared.score_all(codes[::2])
        with pytest.raises(ValueError, match="too short"):
            search(prepared, codes, 3, np.ones(5, np.uint8))
        with pytest.raises(ValueError, match="no vectors"):
            fitted(kind, metric, vectors[:0])
        with pytest.raises(ValueError, match="metric"):
            fitted(kind, "cosine", vectors)
        with pytest.raises(InterruptedError):
            fitted(kind, metric, vectors, cancelled=lambda: True)

    def test_damaged_state_is_refused(self, kind, metric):
        state = fitted(kind, metric, clustered()).state()
        for key, array in state.items():
            for bad in (array[:-1], array.astype(np.float16), np.full_like(array, np.nan)):
                with pytest.raises(ValueError, match=key):
                    from_state(kind, metric, 26, {**state, key: bad})
            with pytest.raises(ValueError, match=key):
                from_state(kind, metric, 26, {k: v for k, v in state.items() if k != key})
        with pytest.raises(ValueError, match="kind"):
            from_state("ternary", metric, 26, state)
        with pytest.raises(ValueError, match="metric"):
            from_state(kind, "cosine", 26, state)
        with pytest.raises(ValueError, match="dimension"):
            from_state(kind, metric, 0, state)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["scalar", "product"])
def test_a_score_is_the_metric_of_the_query_and_the_decoded_row(kind, metric):
    vectors, queries = clustered(), clustered(5, seed=3)
    quantizer = fitted(kind, metric, vectors)
    codes = quantizer.encode(vectors)
    decoded = quantizer.decode(codes).astype(float)
    for query in queries:
        np.testing.assert_allclose(
            quantizer.prepare(query).score_all(codes),
            REFERENCE[metric](decoded, query.astype(float)),
            rtol=1e-5,
            atol=1e-4,
        )


# --- scalar ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_scalar_finds_neighbours_and_the_row_itself(metric):
    vectors, queries = clustered(), clustered(20, seed=3)
    quantizer = ScalarQuantizer.fit(vectors, metric)
    assert recall(quantizer, vectors, queries) > 0.95
    codes = quantizer.encode(vectors)
    if metric != "dot":
        for row in range(0, 700, 50):
            every = quantizer.prepare(vectors[row]).score_all(codes)
            assert every.argmax() == row
            assert every[row] > 0.01 * np.median(every)  # both negative: nearer by a factor of 100


def test_scalar_error_is_at_most_half_a_step():
    vectors = clustered()
    quantizer = ScalarQuantizer.fit(vectors, "dot")
    step = (vectors.max(axis=0) - vectors.min(axis=0)) / 255
    error = np.abs(quantizer.decode(quantizer.encode(vectors)) - vectors)
    assert (error <= 0.501 * step).all()


@pytest.mark.parametrize("metric", METRICS)
def test_an_outlier_dimension_costs_the_others_nothing(metric):
    vectors, queries = clustered(), clustered(20, seed=3)
    vectors[:, 4] += 1000.0
    queries[:, 4] += 1000.0
    assert recall(ScalarQuantizer.fit(vectors, metric), vectors, queries) > 0.9


@pytest.mark.parametrize("metric", METRICS)
def test_a_quantile_keeps_rare_huge_values_from_ruining_a_dimension(metric):
    vectors, queries = clustered(2000), clustered(20, seed=3)
    vectors[::400] *= 1000.0  # 5 rows in 2000, in every dimension
    ordinary = np.delete(vectors, np.s_[::400], axis=0)
    full = recall(ScalarQuantizer.fit(vectors, metric), ordinary, queries)
    cut = recall(ScalarQuantizer.fit(vectors, metric, quantile=0.99), ordinary, queries)
    assert cut > 0.9 > full


def test_a_quantile_is_the_share_of_values_inside_the_bounds():
    vectors = np.random.default_rng(0).standard_normal((10_000, 3), dtype=np.float32)
    vectors *= [1, 10, 100]
    for quantile in (0.5, 0.9, 0.99):
        quantizer = ScalarQuantizer.fit(vectors, "dot", quantile=quantile)
        inside = (vectors >= quantizer.lower) & (vectors <= quantizer.upper)
        np.testing.assert_allclose(inside.mean(axis=0), quantile, atol=2e-4)
        below = (vectors < quantizer.lower).mean(axis=0)
        np.testing.assert_allclose(below, (1 - quantile) / 2, atol=2e-4)
    for quantile in (0.49, 1.01):
        with pytest.raises(ValueError, match="quantile"):
            ScalarQuantizer.fit(vectors, "dot", quantile=quantile)


def test_rows_outside_the_bounds_are_clipped_to_them():
    vectors = clustered()
    quantizer = ScalarQuantizer.fit(vectors, "dot", quantile=0.8)
    decoded = quantizer.decode(quantizer.encode(vectors * 10))
    expected = np.clip(vectors * 10, quantizer.lower, quantizer.upper)
    np.testing.assert_allclose(decoded, expected, atol=0.02)


def test_widening_takes_every_row_into_the_bounds_unless_there_is_a_quantile():
    vectors = clustered()
    quantizer = ScalarQuantizer.fit(vectors[:10], "dot")
    for start in range(0, 700, 100):
        quantizer.widen(vectors[start : start + 100])
    quantizer.widen(vectors[:0])
    np.testing.assert_array_equal(quantizer.lower, vectors.min(axis=0))
    np.testing.assert_array_equal(quantizer.upper, vectors.max(axis=0))
    cut = ScalarQuantizer.fit(vectors[:10], "dot", quantile=0.9)
    before = cut.lower.copy()
    cut.widen(vectors)
    np.testing.assert_array_equal(cut.lower, before)


def test_bounds_at_the_ends_of_float32():
    vectors = np.array([[3e38, 1e-44, 5], [-3e38, 0, 5], [0, 0, 5]], np.float32)
    quantizer = ScalarQuantizer.fit(vectors, "dot")
    decoded = quantizer.decode(quantizer.encode(vectors))
    assert np.isfinite(decoded).all()
    np.testing.assert_allclose(decoded, vectors, rtol=1e-2, atol=1.2e36)
    np.testing.assert_array_equal(decoded[:, 2], 5)
    for metric in METRICS:
        quantizer = ScalarQuantizer.fit(vectors, metric)
        scores = quantizer.prepare(vectors[2]).score_all(quantizer.encode(vectors))
        assert scores[2] == (25.0 if metric == "dot" else scores.max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_vectors(kind):
    rng = np.random.default_rng(0)
    vectors = rng.uniform(0.5, 1.0, (8, 65536)).astype(np.float32)  # sums that grow
    vectors[:, ::2] *= -1
    options = {"compression": 64} if kind == "product" else {}
    quantizer = fitted(kind, "dot", vectors, **options)
    codes = quantizer.encode(vectors)
    scores = quantizer.prepare(vectors[0]).score_all(codes)
    # Norm and angle are all that signs know; here they are right to a tenth.
    expected = vectors.astype(float) @ vectors[0].astype(float)
    np.testing.assert_allclose(scores, expected, rtol=0.1 if kind == "binary" else 1e-4)


# --- binary ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [1, 8, 63, 64, 65, 200])
def test_binary_ranks_by_the_signs_that_differ(metric, dim):
    rng = np.random.default_rng(dim)
    vectors = rng.standard_normal((100, dim), dtype=np.float32)
    vectors[0, 0] = 0.0  # not above zero
    quantizer = BinaryQuantizer.fit(vectors, metric)
    assert quantizer.code_size == -(-dim // 64) * 8
    scores = quantizer.prepare(vectors[1]).score_all(quantizer.encode(vectors))
    differ = ((vectors > 0) != (vectors[1] > 0)).sum(axis=1)
    order = np.lexsort((np.arange(100), -scores))
    np.testing.assert_array_equal(order, np.lexsort((np.arange(100), differ)))
    assert np.unique(scores).size == np.unique(differ).size


@pytest.mark.parametrize("metric", METRICS)
def test_binary_scores_are_on_the_scale_of_the_metric(metric):
    vectors = np.random.default_rng(0).standard_normal((400, 256), dtype=np.float32) * 3
    query = (vectors[0] + vectors[1]) / 2
    quantizer = BinaryQuantizer.fit(vectors, metric)
    estimated = quantizer.prepare(query).score_all(quantizer.encode(vectors))
    true = REFERENCE[metric](vectors, query)
    spread = np.abs(true).max()
    assert np.abs(estimated - true).mean() < 0.1 * spread
    assert set(np.argsort(-estimated)[:2]) == {0, 1}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e30])
def test_binary_scores_fall_strictly_with_distance(metric, scale):
    sample = np.full((2, 5000), scale, np.float32)
    quantizer = BinaryQuantizer.fit(sample, metric)
    table = quantizer.prepare(sample[0]).table
    assert table.shape == (5001,)
    assert np.isfinite(table).all()
    assert (np.diff(table.astype(float)) < 0).all()
    if metric != "dot":
        assert table[0] <= 0.0


def test_binary_finds_neighbours_among_candidates():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((2000, 256), dtype=np.float32)
    queries = vectors[:20] + 0.7 * rng.standard_normal((20, 256), dtype=np.float32)
    quantizer = BinaryQuantizer.fit(vectors, "dot")
    codes = quantizer.encode(vectors)
    found = [search(quantizer.prepare(query), codes, 3)[0] for query in queries]
    assert all(row in rows for row, rows in enumerate(found))


# --- product --------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [4, 8, 16, 32, 64])
def test_product_chunks(compression):
    vectors = clustered()
    quantizer = ProductQuantizer.fit(vectors, "dot", compression=compression)
    assert quantizer.code_size == -(-26 // (compression // 4))
    again = from_state("product", "dot", 26, quantizer.state())
    np.testing.assert_array_equal(again.encode(vectors), quantizer.encode(vectors))


def test_product_keeps_less_the_more_it_compresses():
    vectors, queries = clustered(3000), clustered(20, seed=3)
    found = [
        recall(ProductQuantizer.fit(vectors, "euclid", compression=c), vectors, queries)
        for c in (4, 16, 64)
    ]
    assert found[0] > 0.95
    assert found[0] > found[1] > found[2] > 0.1


@pytest.mark.parametrize("metric", METRICS)
def test_product_with_no_more_rows_than_centroids_is_exact(metric):
    vectors = clustered(200)
    quantizer = ProductQuantizer.fit(vectors, metric, compression=32)
    codes = quantizer.encode(vectors)
    np.testing.assert_array_equal(quantizer.decode(codes), vectors)
    assert codes.max() < 200
    if metric != "dot":
        assert quantizer.prepare(vectors[9]).score_all(codes).argmax() == 9


def test_product_refuses_other_compressions():
    with pytest.raises(ValueError, match="compression"):
        ProductQuantizer.fit(clustered(), "dot", compression=12)
    state = ProductQuantizer.fit(clustered(), "dot").state()
    with pytest.raises(ValueError, match="compression"):
        from_state("product", "dot", 26, {**state, "compression": np.array([12.0])})
