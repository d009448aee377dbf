"""Every quantizer scores on the scale of the metric, survives storage, and finds neighbours."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path

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
from vecdb.quantization.blocks import scan_together
from vecdb.vectors.strays import strays_among

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


def search(prepared, codes, k, count, mask=NO_MASK):
    scores, rows = topk_new(k)
    filled = prepared.scan(codes, count, mask, 0, scores, rows, 0)
    topk_sort(scores, rows, filled)
    return rows[:filled], scores[:filled]


def recall(quantizer, vectors, queries, k=10):
    """The share of the true best k that are among the k found."""
    codes = quantizer.encode(vectors)
    hits = 0
    for query in queries:
        true = np.argsort(-REFERENCE[quantizer.metric](vectors, query))[:k]
        hits += np.isin(search(quantizer.prepare(query), codes, k, len(vectors))[0], true).sum()
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
        assert again.codes_shape(70) == quantizer.codes_shape(70)
        codes = quantizer.encode(vectors)
        np.testing.assert_array_equal(again.encode(vectors), codes)
        np.testing.assert_array_equal(
            again.prepare(vectors[3]).score_all(codes, 700),
            quantizer.prepare(vectors[3]).score_all(codes, 700),
        )

    def test_scan_finds_the_best_of_score_all(self, kind, metric):
        vectors = clustered()
        quantizer = fitted(kind, metric, vectors)
        codes = quantizer.encode(vectors)
        codes.setflags(write=False)
        prepared = quantizer.prepare(vectors[5])
        every = prepared.score_all(codes, 700)
        rows, scores = search(prepared, codes, 30, 700)
        np.testing.assert_array_equal(rows, np.lexsort((np.arange(700), -every))[:30])
        np.testing.assert_array_equal(scores, every[rows])
        np.testing.assert_array_equal(prepared.score_rows(codes, rows), scores)
        assert prepared.score_rows(codes, rows[:0]).shape == (0,)

    def test_scan_over_blocks_with_a_mask_equals_one_scan(self, kind, metric):
        vectors = clustered()
        quantizer = fitted(kind, metric, vectors)
        codes = quantizer.encode(vectors)
        prepared = quantizer.prepare(vectors[5])
        allowed = np.random.default_rng(1).random(700) < 0.3
        expected = search(prepared, codes, 20, 700, np.packbits(allowed, bitorder="little"))
        assert allowed[expected[0]].all()
        scores, rows = topk_new(20)
        filled = 0
        for start in (512, 0, 256, 384, 128):
            end = 700 if start == 512 else start + 128
            mask = np.packbits(allowed[start:end], bitorder="little")
            piece = quantizer.encode(vectors[start:end])
            filled = prepared.scan(piece, end - start, mask, start, scores, rows, filled)
        topk_sort(scores, rows, filled)
        np.testing.assert_array_equal(rows[:filled], expected[0])
        np.testing.assert_array_equal(scores[:filled], expected[1])

    def test_codes_of_pieces_make_up_those_of_all(self, kind, metric):
        vectors = clustered()
        quantizer = fitted(kind, metric, vectors)
        cuts = [0, 32, 96, 96, 640, 700]
        pieces = [quantizer.encode(vectors[a:b]) for a, b in pairwise(cuts)]
        codes = quantizer.encode(vectors)
        assert codes.shape == quantizer.codes_shape(700)
        np.testing.assert_array_equal(np.concatenate(pieces), codes)

    def test_fitting_twice_gives_the_same(self, kind, metric):
        states = [fitted(kind, metric, clustered()).state() for _ in range(2)]
        for key in states[0]:
            np.testing.assert_array_equal(states[0][key], states[1][key])

    def test_no_rows_are_no_codes(self, kind, metric):
        quantizer = fitted(kind, metric, clustered())
        codes = quantizer.encode(np.empty((0, 26), np.float32))
        assert codes.shape == (0, quantizer.codes_shape(1)[1])
        assert search(quantizer.prepare(clustered()[0]), codes, 3, 0)[0].size == 0

    @pytest.mark.parametrize("dim", [1, 7, 64, 65, 130])
    def test_one_row_is_sample_enough(self, kind, metric, dim):
        row = np.linspace(-1, 2, dim, dtype=np.float32)[None, :]
        quantizer = fitted(kind, metric, row)
        codes = quantizer.encode(row)
        assert codes.shape == quantizer.codes_shape(1)
        assert codes.dtype == np.uint8
        rows, scores = search(quantizer.prepare(row[0]), codes, 5, 1)
        assert rows.tolist() == [0]
        np.testing.assert_allclose(scores, REFERENCE[metric](row, row[0]), rtol=1e-4, atol=1e-4)

    def test_data_without_variety(self, kind, metric):
        for value in (0.0, 1.5, -2.0):
            vectors = np.full((300, 10), value, np.float32)
            quantizer = fitted(kind, metric, vectors)
            scores = quantizer.prepare(vectors[0]).score_all(quantizer.encode(vectors), 300)
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
            prepared.score_all(codes[:, 1:], 700)
        with pytest.raises(ValueError, match="shape"):
            prepared.score_rows(codes[:, 1:], np.arange(3))
        with pytest.raises(ValueError, match="shape"):
            prepared.score_all(codes, 1400)
        with pytest.raises(ValueError, match="contiguous"):
            prepared.score_all(np.repeat(codes, 2, axis=0)[::2], 700)
        with pytest.raises(ValueError, match="too short"):
            search(prepared, codes, 3, 700, np.ones(5, np.uint8))
        with pytest.raises(ValueError, match="no vectors"):
            fitted(kind, metric, vectors[:0])
        with pytest.raises(ValueError, match="metric"):
            fitted(kind, "cosine", vectors)
        with pytest.raises(InterruptedError):
            fitted(kind, metric, vectors, cancelled=lambda: True)

    def test_damaged_state_is_refused(self, kind, metric):
        state = fitted(kind, metric, clustered()).state()
        for key, array in state.items():
            if array.size == 0:
                continue  # no rotation
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
def test_a_score_is_the_metric_of_the_query_and_the_decoded_row(metric):
    vectors, queries = clustered(), clustered(5, seed=3)
    quantizer = ScalarQuantizer.fit(vectors, metric)
    codes = quantizer.encode(vectors)
    decoded = quantizer.decode(codes).astype(float)
    for query in queries:
        scores = quantizer.prepare(query).score_all(codes, 700)
        expected = REFERENCE[metric](decoded, query.astype(float))
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("compression", [8, 16, 64])
def test_so_it_is_of_product_codes_but_for_the_bytes_of_the_tables(compression, metric):
    vectors, queries = clustered(), clustered(5, seed=3)
    quantizer = ProductQuantizer.fit(vectors, metric, compression=compression)
    codes = quantizer.encode(vectors)
    decoded = quantizer.decode(codes, 700).astype(float)
    for query in queries:
        prepared = quantizer.prepare(query)
        error = prepared.score_all(codes, 700) - REFERENCE[metric](decoded, query.astype(float))
        # Half a step in each sub-quantizer at the very most.
        assert np.abs(error).max() <= 0.51 * prepared.numbers[0] * quantizer.chunks + 1e-3


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["binary", "product"])
def test_queries_together_find_what_each_finds_alone(kind, metric):
    vectors = clustered()
    quantizer = fitted(kind, metric, vectors)
    codes = quantizer.encode(vectors)
    queries = [quantizer.prepare(query) for query in clustered(6, seed=3)]
    scores, rows = np.empty((6, 9), np.float32), np.empty((6, 9), np.int64)
    filled = np.zeros(6, np.int64)
    allowed = np.random.default_rng(1).random(700) < 0.5
    mask = np.packbits(allowed, bitorder="little")
    scan_together(queries, codes, 700, mask, 1000, scores, rows, filled)
    for i, query in enumerate(queries):
        expected = search(query, codes, 9, 700, mask)
        topk_sort(scores[i], rows[i], filled[i])
        np.testing.assert_array_equal(rows[i], 1000 + expected[0])
        np.testing.assert_array_equal(scores[i], expected[1])


@pytest.mark.parametrize("metric", METRICS)
def test_what_nobody_has_written_is_not_looked_at(metric, monkeypatch):
    """A NaN that the memory held before would be a warning, which is an error here."""
    vectors = clustered(5)
    quantizer = BinaryQuantizer.fit(vectors, metric)
    codes, query = quantizer.encode(vectors), quantizer.prepare(vectors[0])
    plain = np.empty_like

    def poisoned(array):
        out = plain(array)
        if out.dtype == np.float32:
            out.view(np.uint32)[...] = 0x7FA00001
        return out

    scores, rows = topk_new(20)
    monkeypatch.setattr(np, "empty_like", poisoned)
    assert query.scan(codes, 5, NO_MASK, 0, scores, rows, 0) == 5
    assert sorted(rows[:5]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e-2, 1e3, 1e15])
@pytest.mark.parametrize("shift", [0.0, 0.5, 20.0])
@pytest.mark.parametrize("kind", [*KINDS, "binary 1.5", "binary 2", "binary 4"])
def test_an_inner_product_knows_no_length_of_its_query(kind, shift, scale):
    kind, *bits = kind.split()
    vectors = clustered() + np.float32(shift)
    quantizer = fitted(kind, "dot", vectors, **({"bits": float(bits[0])} if bits else {}))
    codes = quantizer.encode(vectors)
    for query in [*clustered(4, seed=3) + np.float32(shift), *clustered(4, seed=4)]:
        _, scores = search(quantizer.prepare(query), codes, 700, 700)
        scaled, others = search(quantizer.prepare(query * np.float32(scale)), codes, 700, 700)
        # A byte of a table may be rounded the other way.
        tolerance = 2e-3 * np.abs(scores).max()
        np.testing.assert_allclose(others / scale, scores, atol=tolerance)
        every = quantizer.prepare(query).score_all(codes, 700)
        np.testing.assert_allclose(every[scaled], scores, atol=tolerance)


def test_queries_on_any_side_of_the_mean_are_estimated_alike():
    """The error is in proportion to the query, not to how far the mean is from the origin."""
    vectors = clustered(dim=128)
    for shift in (0.0, 1.0, 30.0):
        moved = vectors + np.float32(shift)
        quantizer = BinaryQuantizer.fit(moved, "dot")
        codes = quantizer.encode(moved)
        for query in clustered(6, dim=128, seed=5):
            for asked in (query, -query, query / 100, query + np.float32(shift)):
                error = quantizer.prepare(asked).score_all(codes, 700) - moved @ asked
                size = np.linalg.norm(asked - asked.mean()) * np.median(
                    np.linalg.norm(vectors, axis=1)
                )
                assert error.std() < 3.0 * size / np.sqrt(128) + 2e-4 * np.abs(moved @ asked).max()


# --- strays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_rows_far_from_the_rest_are_strays(kind):
    vectors = clustered()
    quantizer = fitted(kind, "dot", vectors)
    vectors[[7, 300]] *= 1000
    strays = strays_among(quantizer.errors(vectors), np.arange(700))
    np.testing.assert_array_equal(strays, [7, 300])
    assert not len(strays_among(quantizer.errors(clustered()), np.arange(700)))
    lacking = np.delete(np.arange(700), 7)
    np.testing.assert_array_equal(strays_among(quantizer.errors(vectors), lacking), [300])
    quantizer.strays = strays
    again = from_state(kind, "dot", 26, quantizer.state())
    np.testing.assert_array_equal(again.strays, strays)


def test_bounds_wide_enough_for_far_rows_make_them_no_usual_ones():
    vectors = clustered()
    vectors[[7, 300]] *= 1000
    quantizer = ScalarQuantizer.fit(vectors[:200], "euclid")
    quantizer.widen(vectors)
    strays = strays_among(quantizer.errors(vectors), np.arange(700))
    np.testing.assert_array_equal(strays, [7, 300])
    alike = ScalarQuantizer.fit(np.ones((30, 4)), "euclid")
    assert not len(strays_among(alike.errors(np.ones((30, 4))), np.arange(30)))


def test_of_many_strays_only_the_worst_are():
    errors = np.ones(6400, np.float32)
    errors[:1000] = np.arange(1000, 2000)
    strays = strays_among(errors, np.arange(6400))
    np.testing.assert_array_equal(strays, np.arange(900, 1000))
    assert not len(strays_among(errors[:0], np.arange(0)))


def test_older_states_have_no_strays_and_wrong_ones_are_refused():
    state = fitted("scalar", "dot", clustered()).state()
    del state["strays"]
    assert not len(from_state("scalar", "dot", 26, state).strays)
    for wrong in ([-1.0], [1.5], [3.0, 2.0], [2.0, 2.0], [np.nan], [np.inf], [1e300]):
        with pytest.raises(ValueError, match="strays"):
            from_state("scalar", "dot", 26, {**state, "strays": np.array(wrong)})
    with pytest.raises(ValueError, match="strays"):
        from_state("scalar", "dot", 26, {**state, "strays": np.zeros((2, 2))})


# --- real data ------------------------------------------------------------------------------------

EXAMPLE = Path(__file__).parents[2] / "examples" / "data" / "debian-packages"


@pytest.mark.skipif(not (EXAMPLE / "vectors.npy").exists(), reason="example data not there")
@pytest.mark.parametrize(
    ("kind", "options", "alone", "of_twice"),
    [
        ("binary", {"bits": 1.0}, 0.91, 0.99),
        ("binary", {"bits": 1.5}, 0.92, 0.99),
        ("binary", {"bits": 2.0}, 0.96, 0.995),
        ("binary", {"bits": 4.0}, 0.98, 0.999),
        ("product", {"compression": 8}, 0.98, 0.999),
        ("product", {"compression": 16}, 0.95, 0.999),
        ("product", {"compression": 32}, 0.91, 0.99),
        ("product", {"compression": 64}, 0.83, 0.96),
        ("scalar", {}, 0.995, 0.999),
    ],
)
def test_true_neighbours_of_text_embeddings_are_among_the_first(kind, options, alone, of_twice):
    """Their signs alone find 0.85 and 0.965 of them."""
    vectors = np.load(EXAMPLE / "vectors.npy").astype(np.float32)
    queries = np.load(EXAMPLE / "queries.npy").astype(np.float32)
    quantizer = QUANTIZERS[kind].fit(vectors, "dot", **options)
    codes = quantizer.encode(vectors)
    found = np.zeros(2)
    for query in queries:
        true = np.argsort(-(vectors @ query))[:10]
        rows, _ = search(quantizer.prepare(query), codes, 20, len(vectors))
        found += [np.isin(rows[:n], true).sum() for n in (10, 20)]
    found /= 10 * len(queries)
    assert (found >= [alone, of_twice]).all(), found


# --- scalar ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_scalar_finds_neighbours_and_the_row_itself(metric):
    vectors, queries = clustered(), clustered(20, seed=3)
    quantizer = ScalarQuantizer.fit(vectors, metric)
    assert recall(quantizer, vectors, queries) > 0.95
    codes = quantizer.encode(vectors)
    if metric != "dot":
        for row in range(0, 700, 50):
            every = quantizer.prepare(vectors[row]).score_all(codes, 700)
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


@pytest.mark.parametrize("metric", METRICS)
def test_what_clipping_takes_from_a_row_like_the_query_is_known(metric):
    rows = clustered()
    quantizer = ScalarQuantizer.fit(rows, metric, quantile=0.6)
    for row in rows[:20]:
        codes = quantizer.encode(row[None])
        [estimate] = quantizer.prepare(row).score_all(codes, 1)
        [true] = REFERENCE[metric](row[None], row)
        cut_off = quantizer.cut_off(row, row[None])
        assert cut_off == pytest.approx(float(true - estimate), abs=0.05 * (1 + abs(cut_off)))
        assert cut_off > 0.1 * abs(true)
        # Queries are as long as they like under Dot; rows are not.
        if metric == "dot":
            assert quantizer.cut_off(3 * row, row[None]) == pytest.approx(3 * cut_off, rel=1e-4)
    assert quantizer.cut_off(rows[0], rows[:0]) == 0.0
    assert ScalarQuantizer.fit(rows, metric).cut_off(rows[0] * 9, rows[:5]) == 0.0


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
        scores = quantizer.prepare(vectors[2]).score_all(quantizer.encode(vectors), 3)
        assert scores[2] == (25.0 if metric == "dot" else scores.max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_vectors(kind):
    rng = np.random.default_rng(0)
    vectors = rng.uniform(0.5, 1.0, (8, 65536)).astype(np.float32)  # sums that grow
    vectors[:, ::2] *= -1
    options = {"compression": 64} if kind == "product" else {}
    quantizer = fitted(kind, "dot", vectors, **options)
    codes = quantizer.encode(vectors)
    scores = quantizer.prepare(vectors[0]).score_all(codes, 8)
    expected = vectors.astype(float) @ vectors[0].astype(float)
    np.testing.assert_allclose(scores, expected, rtol=1e-4 if kind == "scalar" else 0.02)


# --- binary ---------------------------------------------------------------------------------------

BITS = (1.0, 1.5, 2.0, 4.0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("values", [(-1.0, 1.0), (0.0, 1.0), (-0.0625, 0.0625)])
@pytest.mark.parametrize("dim", [1, 8, 63, 64, 65, 200, 4096])
def test_rows_of_two_values_rank_by_how_many_differ(metric, values, dim):
    rng = np.random.default_rng(dim)
    vectors = rng.choice(np.float32(values), (100, dim))
    vectors[0], vectors[1] = values
    differ = (vectors != vectors[2]).sum(axis=1)
    exact = REFERENCE[metric](vectors.astype(float), vectors[2].astype(float))
    for bits in BITS:
        quantizer = BinaryQuantizer.fit(vectors, metric, bits=bits)
        scores = quantizer.prepare(vectors[2]).score_all(quantizer.encode(vectors), 100)
        np.testing.assert_allclose(scores, exact, rtol=1e-4, atol=1e-4 * np.abs(exact).max())
        if metric != "dot" or values[0] < 0:  # under dot, zeros of the row do not count
            order = np.lexsort((np.arange(100), -scores))
            np.testing.assert_array_equal(order, np.lexsort((np.arange(100), differ)))
            assert np.unique(scores).size == np.unique(differ).size


def test_two_values_that_were_normalised_are_still_two():
    rng = np.random.default_rng(3)
    vectors = rng.choice(np.float32([-1, 1]), (300, 384))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
    assert BinaryQuantizer.fit(vectors, "dot").half > 0
    assert BinaryQuantizer.fit(clustered(), "dot").half == 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shift", [0.0, 20.0])
def test_binary_scores_are_on_the_scale_of_the_metric(metric, shift):
    """Also of data far from the origin, where signs say nothing."""
    rng = np.random.default_rng(0)
    vectors = 3 * rng.standard_normal((400, 256), dtype=np.float32) + np.float32(shift)
    query = (vectors[0] + vectors[1]) / 2
    true = REFERENCE[metric](vectors, query)
    errors = []
    for bits in BITS:
        quantizer = BinaryQuantizer.fit(vectors, metric, bits=bits)
        estimated = quantizer.prepare(query).score_all(quantizer.encode(vectors), 400)
        assert set(np.argsort(-estimated)[:2]) == {0, 1} or (metric == "dot" and shift)
        errors.append(np.abs(estimated - true).mean() / true.std())
        assert abs((estimated - true).mean()) < 0.5 * true.std()
    if metric != "manhattan":
        assert errors[0] < 0.9
        assert errors[0] > errors[1] > errors[2] > errors[3]
        assert errors[3] < 0.15


@pytest.mark.parametrize("metric", ["dot", "euclid"])
def test_more_bits_find_more(metric):
    vectors, queries = clustered(3000, 64), clustered(3020, 64)[3000:]
    found = [recall(BinaryQuantizer.fit(vectors, metric, bits=b), vectors, queries) for b in BITS]
    assert found[0] > 0.3
    assert found[0] < found[1] < found[2] < found[3]
    assert found[3] > 0.75


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
def test_binary_codes_of_tiny_and_huge_values(metric, scale):
    vectors = clustered(100, 33) * np.float32(scale)
    quantizer = BinaryQuantizer.fit(vectors, metric)
    scores = quantizer.prepare(vectors[0]).score_all(quantizer.encode(vectors), 100)
    if 1e-20 < scale < 1e20:  # else even squares of the values leave float32
        assert np.isfinite(scores).all()
        scores = scores.astype(float)
        expected = REFERENCE[metric](vectors.astype(float), vectors[0].astype(float))
        assert np.corrcoef(scores / scale, expected / scale)[0, 1] > 0.7
    rows, _ = search(quantizer.prepare(vectors[0]), quantizer.encode(vectors), 100, 100)
    assert sorted(rows) == list(range(100))


@pytest.mark.parametrize("bits", BITS)
def test_the_shape_of_binary_codes(bits):
    for dim in (1, 3, 26, 384):
        quantizer = BinaryQuantizer.fit(clustered(40, dim), "dot", bits=bits)
        coded = -(-3 * dim // 2) if bits == 1.5 else dim
        subs = -(-coded * int(bits) // 4)
        assert quantizer.codes_shape(40) == (2, 64 * -(-subs // 4) + 256)
        assert quantizer.encode(clustered(40, dim)).shape == quantizer.codes_shape(40)
    # Of many dimensions, 32 times less than float32, and 8 bytes a row.
    assert BinaryQuantizer.fit(clustered(40, 384), "dot").codes_shape(32)[1] == 32 * (384 // 8 + 8)


def test_binary_refuses_other_bits():
    with pytest.raises(ValueError, match="bits"):
        BinaryQuantizer.fit(clustered(), "dot", bits=3.0)
    state = BinaryQuantizer.fit(clustered(), "dot").state()
    with pytest.raises(ValueError, match="bits"):
        from_state("binary", "dot", 26, {**state, "bits": np.array([3.0])})
    with pytest.raises(ValueError, match="center"):
        from_state("binary", "dot", 26, {**state, "half": np.array([1.0])})
    largest = np.full(26, np.finfo(np.float32).max)
    state = {**state, "center": largest, "half": np.array([3e38])}
    assert from_state("binary", "dot", 26, state).half == 3e38


# --- product --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compression", "dim"), list(product([8, 16, 32, 64], [1, 2, 7, 26, 130, 1025]))
)
def test_product_chunks(compression, dim):
    vectors = clustered(100, dim)
    quantizer = ProductQuantizer.fit(vectors, "dot", compression=compression)
    width = compression // 8
    assert quantizer.chunks == -(-dim // width)
    assert quantizer.codes_shape(100) == (4, 64 * -(-quantizer.chunks // 4))
    assert quantizer.rotation.size == (dim**2 if 1 < width < dim <= 1024 else 0)
    again = from_state("product", "dot", dim, quantizer.state())
    np.testing.assert_array_equal(again.encode(vectors), quantizer.encode(vectors))


def test_a_product_rotation_keeps_distances_and_pays():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((32, 32)))[0]
    spread = 2.0 ** -np.arange(32)  # most of the variance in few directions
    vectors = ((rng.standard_normal((3020, 32)) * spread) @ basis).astype(np.float32)
    vectors, queries = vectors[:3000], vectors[3000:]
    quantizer = ProductQuantizer.fit(vectors, "euclid", compression=64)
    turned = quantizer.rotation.T @ quantizer.rotation
    np.testing.assert_allclose(turned, np.eye(32), atol=1e-5)
    assert ProductQuantizer.fit(vectors, "manhattan", compression=64).rotation.shape == (0, 0)
    plain = ProductQuantizer.fit(vectors, "manhattan", compression=64).state()
    plain = from_state("product", "euclid", 32, plain)
    assert recall(quantizer, vectors, queries) > recall(plain, vectors, queries) + 0.1


def test_product_keeps_less_the_more_it_compresses():
    vectors, queries = clustered(3000), clustered(20, seed=3)
    found = [
        recall(ProductQuantizer.fit(vectors, "euclid", compression=c), vectors, queries)
        for c in (8, 16, 64)
    ]
    assert found[0] > 0.7
    assert found[0] > found[1] > found[2] > 0.1


@pytest.mark.parametrize("metric", METRICS)
def test_product_with_no_more_rows_than_centroids_is_exact(metric):
    vectors = clustered(12)
    quantizer = ProductQuantizer.fit(vectors, metric, compression=32)
    codes = quantizer.encode(vectors)
    np.testing.assert_array_equal(quantizer.decode(codes, 12), vectors)
    if metric != "dot":
        assert quantizer.prepare(vectors[9]).score_all(codes, 12).argmax() == 9


def test_product_refuses_other_compressions():
    with pytest.raises(ValueError, match="compression"):
        ProductQuantizer.fit(clustered(), "dot", compression=12)
    state = ProductQuantizer.fit(clustered(), "dot").state()
    with pytest.raises(ValueError, match="compression"):
        from_state("product", "dot", 26, {**state, "compression": np.array([12.0])})
    with pytest.raises(ValueError, match="rotation"):
        from_state("product", "dot", 26, {**state, "rotation": np.zeros((3, 3), np.float32)})
    state = ProductQuantizer.fit(clustered(20, 1025), "dot").state()
    with pytest.raises(ValueError, match="rotation"):
        from_state("product", "dot", 1025, {**state, "rotation": np.eye(1025, dtype=np.float32)})
