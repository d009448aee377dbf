"""Multivectors: blocks, the door, MaxSim by kernels against numpy, memory, the log."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vecdb.engine.operations import Upsert, decode, encode
from vecdb.engine.read.segment import multi_query, token_codes
from vecdb.engine.read.segment import tokens as searched
from vecdb.engine.read.segment.multi_query import MultiQuery
from vecdb.engine.read.segment.token_codes import scores_by_codes
from vecdb.errors import InvalidInputError
from vecdb.index.centroids import centroids_for, fit_centroids, read_centroids, sample_for
from vecdb.kernels.maxsim import LANES, NARROW, add_best, scan_maxsim, score_maxsim
from vecdb.quantization import QUANTIZERS
from vecdb.storage.derived import QuantizedVectors
from vecdb.storage.format import DamageError
from vecdb.storage.memory_vectors import RaggedVectors
from vecdb.vectors import to_multi
from vecdb.vectors.blocks import concat, filled, none_of, replaced
from vecdb.vectors.datatypes import many_of
from vecdb.vectors.multi import MultiBlock
from vecdb.vectors.ragged import offsets_of

METRICS = ("dot", "euclid", "manhattan")
ALL = np.empty(0, dtype=np.uint8)


def random_block(rng: np.random.Generator, rows: int, dim: int, most: int = 9) -> MultiBlock:
    """Rows of which one in four has none."""
    has = rng.random(rows) < 0.75
    sizes = np.where(has, rng.integers(1, most + 1, rows), 0)
    values = rng.standard_normal((int(sizes.sum()), dim)).astype(np.float32)
    return MultiBlock(offsets_of(sizes), values, has)


def max_sim(metric: str, query: npt.NDArray[Any], row: npt.NDArray[Any]) -> float:
    """In one line, but for the metric."""
    apart = query[:, None].astype(np.float64) - row
    pairs = {
        "dot": query.astype(np.float64) @ row.T,
        "euclid": -np.square(apart).sum(axis=2),
        "manhattan": -np.abs(apart).sum(axis=2),
    }
    return float(pairs[metric].max(axis=1).sum())


# Sizes around the tokens and lanes that go together, and none that is a multiple.
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("dim", "tokens", "most"), [(1, 1, 1), (7, 15, 5), (33, 17, 13), (128, 40, 6)]
)
def test_kernels_score_as_numpy(
    rng: np.random.Generator, metric: str, dim: int, tokens: int, most: int
) -> None:
    block = random_block(rng, 61, dim, most)
    queries = rng.standard_normal((tokens, dim)).astype(np.float32)
    query = MultiQuery(metric, queries)
    rows = np.flatnonzero(block.flags())[::-1].copy()
    wanted = [max_sim(metric, queries, block.row(row)) for row in rows.tolist()]
    out = np.empty(len(rows), dtype=np.float32)
    code = METRICS.index(metric)
    packed = query.packed()
    score_maxsim(code, *block.parts, packed, tokens, query.room(), rows, out)
    assert out == pytest.approx(wanted, rel=1e-5, abs=1e-4)
    mask = np.packbits(rng.random(64) < 0.7, bitorder="little")
    allowed = np.unpackbits(mask, count=61, bitorder="little").astype(np.bool_)
    scores, best = np.empty(9, np.float32), np.empty(9, np.int64)
    for bits, chosen in ((ALL, np.ones(61, np.bool_)), (mask, allowed)):
        filled_to = scan_maxsim(
            *(code, *block.parts, packed, tokens, bits, 0, query.room(), scores, best, 0)
        )
        scored = zip(rows.tolist(), out.tolist(), strict=True)
        ranked = sorted((-score, row) for row, score in scored if chosen[row])[:9]
        got = sorted(zip((-scores[:filled_to]).tolist(), best[:filled_to].tolist(), strict=True))
        assert got == ranked  # to the last bit: a scan and single rows


@pytest.mark.parametrize("most", [1, 7])
def test_the_best_of_a_table_is_added_up_as_numpy_does(rng: np.random.Generator, most: int) -> None:
    block = random_block(rng, 75, 1, most)
    labels = rng.integers(300, size=len(block.values)).astype(np.uint16)
    table = rng.integers(256, size=(300, NARROW)).astype(np.uint8)
    wanted = [
        int(table[labels[a:b]].max(axis=0, initial=0).sum()) for a, b in pairwise(block.offsets)
    ]
    sums = np.full(75, 5, dtype=np.int32)
    add_best(block.offsets, labels, table, ALL, sums)
    assert sums.tolist() == [5 + each for each in wanted]
    mask = np.packbits(rng.random(80) < 0.5, bitorder="little")
    allowed = np.unpackbits(mask, count=75, bitorder="little")
    sums[:] = 0
    add_best(block.offsets, labels, table, mask, sums)
    assert sums.tolist() == (allowed * np.array(wanted)).tolist()


def test_the_engine_has_the_widths_of_the_kernels() -> None:
    assert (multi_query._LANES, searched._NARROW) == (LANES, NARROW)


# -- codes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("scalar", {}),
        ("scalar", {"quantile": 0.9}),
        *[("binary", {"bits": bits}) for bits in (1.0, 1.5, 4.0)],
        *[("product", {"compression": times}) for times in (8, 32)],
    ],
)
def test_max_sims_by_codes_are_those_of_tokens_one_by_one(
    rng: np.random.Generator, metric: str, kind: str, options: dict[str, Any]
) -> None:
    block = random_block(rng, 90, 24)
    quantizer = QUANTIZERS[kind].fit(block.values, metric, **options)
    codes = quantizer.encode(block.values)
    queries = rng.standard_normal((7, 24)).astype(np.float32)
    of_tokens = [quantizer.prepare(q).score_all(codes, len(block.values)) for q in queries]
    rows = np.flatnonzero(block.flags())
    wanted = [
        sum(s[block.offsets[r] : block.offsets[r + 1]].max() for s in of_tokens) for r in rows
    ]
    opened: Any = SimpleNamespace(verify=lambda: codes.reshape(-1))
    quantized = QuantizedVectors(quantizer, opened, {"kind": kind}, None)
    query = MultiQuery(metric, queries)
    for some in (rows, rows[::-3], rows[5:6], rows[:0]):
        found = scores_by_codes(quantized, block.offsets, some, query)
        chosen = np.array(wanted)[np.searchsorted(rows, some)]
        assert found == pytest.approx(chosen, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("kind", ["scalar", "product"])
def test_max_sims_by_codes_are_the_same_in_pieces_and_on_all_processors(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    block = random_block(rng, 200, 12)
    quantizer = QUANTIZERS[kind].fit(block.values, "dot")
    codes = quantizer.encode(block.values)
    opened: Any = SimpleNamespace(verify=lambda: codes.reshape(-1))
    quantized = QuantizedVectors(quantizer, opened, {"kind": kind}, None)
    query = MultiQuery("dot", rng.standard_normal((3, 12)).astype(np.float32))
    rows = np.flatnonzero(block.flags())
    whole = scores_by_codes(quantized, block.offsets, rows, query)
    for name in ("_WIDENED", "_LOOKED_UP"):
        monkeypatch.setattr(token_codes, name, 50)
    monkeypatch.setattr(token_codes, "_SHARED", 1)
    monkeypatch.setattr(token_codes, "processors", lambda: 3)
    assert (scores_by_codes(quantized, block.offsets, rows, query) == whole).all()


# -- centroids -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tokens", "size"), [(1, 3), (40, 1), (3000, 8)])
def test_a_token_has_a_centroid_about_as_near_as_any(
    rng: np.random.Generator, tokens: int, size: int
) -> None:
    values = rng.standard_normal((tokens, size)).astype(np.float32)
    made = fit_centroids(values[: sample_for(tokens)], centroids_for(tokens))
    labels = made.assign(values)
    centroids = read_centroids(made.state(), size)
    assert labels.max() < len(centroids) == made.starts[-1]
    apart = np.square(values[:, None] - centroids).sum(axis=2)
    near = apart[np.arange(tokens), labels].mean()
    assert near <= 1.5 * apart.min(axis=1).mean() + 1e-6
    assert near <= 0.7 * np.square(values - values.mean(axis=0)).sum(axis=1).mean() + 1e-6


def test_centroids_that_nobody_wrote_are_refused() -> None:
    for values in (np.zeros((2, 3), np.float64), np.zeros((2, 4), np.float32)):
        with pytest.raises(ValueError, match="centroids are"):
            read_centroids({"centroids": values}, 3)
    for numbers in (np.full((1, 3), np.nan, np.float32), np.zeros((0, 3), np.float32)):
        with pytest.raises(ValueError, match="cannot be"):
            read_centroids({"centroids": numbers}, 3)


def test_a_row_has_its_score_wherever_it_stands(rng: np.random.Generator) -> None:
    tokens = rng.standard_normal((7, 24)).astype(np.float32)
    queries = rng.standard_normal((5, 24)).astype(np.float32)
    others = [rng.standard_normal((n, 24)).astype(np.float32) for n in (1, 4, 6)]
    block = MultiBlock.concat([MultiBlock.of_one(each) for each in (tokens, *others, tokens)])
    query, out = MultiQuery("dot", queries), np.empty(5, np.float32)
    score_maxsim(0, *block.parts, query.packed(), 5, query.room(), np.arange(5), out)
    assert out[0] == out[4]


def test_scores_that_overflow_are_no_better_than_others() -> None:
    huge = np.full((1, 4), 3e38, dtype=np.float32)
    block = MultiBlock.concat(
        [MultiBlock.of_one(huge), MultiBlock.of_one(np.ones((1, 4), np.float32))]
    )
    query = MultiQuery("dot", np.array([[1, -1, 1, -1]], dtype=np.float32) * np.float32(1e10))
    scores, rows = np.empty(2, np.float32), np.empty(2, np.int64)
    filled_to = scan_maxsim(
        0, *block.parts, query.packed(), 1, ALL, 0, query.room(), scores, rows, 0
    )
    assert filled_to == 2
    assert sorted(rows.tolist()) == [0, 1]
    assert not np.isnan(scores).any()


# -- blocks ----------------------------------------------------------------------------------------


def test_blocks_are_joined_taken_and_replaced(rng: np.random.Generator) -> None:
    one, other = random_block(rng, 20, 3), random_block(rng, 30, 3)
    joined = concat([one, other])
    assert len(joined) == 50
    assert joined.dim == many_of(3)
    for number in range(50):
        part, row = (one, number) if number < 20 else (other, number - 20)
        assert np.array_equal(joined.row(number), part.row(row))
    some = joined.take([49, 0, 7])
    assert np.array_equal(some.row(0), other.row(29))
    which = rng.random(20) < 0.5
    new: Any = replaced(one, which, other.take(range(20)))
    for number in range(20):
        assert np.array_equal(new.row(number), (other if which[number] else one).row(number))
    assert np.array_equal(filled(one), one.flags())
    assert not none_of(4, many_of(3)).flags().any()


def test_memory_keeps_rows_where_they_are(rng: np.random.Generator) -> None:
    """In many chunks, a long one in a chunk of its own."""
    kept = RaggedVectors(MultiBlock.of_none(0, 16))
    parts = []
    for number in range(12):
        block = random_block(rng, 900, 16)
        if number == 5:
            long = MultiBlock.of_one(np.ones((1 << 17, 16), dtype=np.float32))
            block = concat([block, long])
        kept.append(block)
        parts.append(block)
    whole = concat(parts)
    assert kept.rows == len(whole)
    rows = rng.permutation(len(whole))[:500]
    assert np.array_equal(kept.take(rows).values, whole.take(rows).values)
    assert kept.entries(rows) == int(whole.sizes[rows].sum())
    joined = concat([block for _, block in kept.blocks(5000)])
    assert np.array_equal(joined.values, whole.take(range(5000)).values)


def test_the_log_has_them(rng: np.random.Generator) -> None:
    block = random_block(rng, 9, 5)
    operation = Upsert(list(range(9)), [b"\x80"] * 9, {"m": block, "d": none_of(9, 4)})
    data = b"".join(bytes(memoryview(piece).cast("B")) for piece in encode(operation))
    found = decode(memoryview(data))
    assert isinstance(found, Upsert)
    again = found.vectors["m"]
    assert isinstance(again, MultiBlock)
    assert np.array_equal(again.values, block.values)
    assert np.array_equal(again.offsets, block.offsets)
    assert np.array_equal(again.flags(), block.flags())


@pytest.mark.parametrize("how", ["flags", "sizes", "nan"])
def test_what_nobody_wrote_to_the_log_is_refused(rng: np.random.Generator, how: str) -> None:
    values = np.ones((2, 3), dtype=np.float32)
    block = {
        "flags": MultiBlock(np.array([0, 2, 2]), values),  # the second has a vector, and no token
        "sizes": MultiBlock(np.array([0, 1, 3]), values),
        "nan": MultiBlock(np.array([0, 1, 2]), values * np.float32(np.nan)),
    }[how]
    operation = Upsert([0, 1], [b"\x80"] * 2, {"m": block})
    data = b"".join(bytes(memoryview(piece).cast("B")) for piece in encode(operation))
    with pytest.raises(DamageError):
        decode(memoryview(data))


# -- the door --------------------------------------------------------------------------------------


def test_any_form_of_the_same_multivector_comes_in_alike() -> None:
    rows = [[1.0, 2.0], [3.0, 4.0]]
    array = np.array(rows)
    for given in (rows, array, array.astype(np.float32), list(array), tuple(map(tuple, rows))):
        block = to_multi([given], 2, normalize=False, what=["here"])
        assert np.array_equal(block.row(0), np.array(rows, dtype=np.float32))
    for alone in ([1.0, 2.0], np.array([1, 2])):
        assert np.array_equal(to_multi([alone], 2, normalize=False, what=["here"]).row(0), [[1, 2]])
    scaled = to_multi([[[3.0, 4.0], [0.0, 0.0]]], 2, normalize=True, what=["here"])
    assert np.allclose(scaled.values, np.array([[0.6, 0.8], [0, 0]]))


def test_the_callers_array_is_not_kept() -> None:
    array = np.ones((2, 2), dtype=np.float32)
    block = to_multi([array], 2, normalize=False, what=["here"])
    array[:] = 5
    assert (block.values == 1).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one vector of 2 numbers, got none"),
        ([[]], r"rows of 2 numbers, got an array of shape \(1, 0\)"),
        ([[1.0, 2.0, 3.0]], r"rows of 2 numbers, got an array of shape \(1, 3\)"),
        ([[1.0, 2.0], [1.0]], "rows of equal length"),
        ([1.0], r"rows of 2 numbers, got an array of shape \(1, 1\)"),
        ([[[1.0, 2.0]]], r"rows of 2 numbers, got an array of shape \(1, 1, 2\)"),
        ([[1.0, float("nan")]], "finite numbers, got nan"),
        ([[1.0, 1e30]], "longer than 1.8e19"),
        (np.ma.masked_array([[1.0, 2.0]], [[True, False]]), "masked array"),
        ("text", "a list of vectors of 2 numbers, got 'text'"),
        ({1.0, 2.0}, "a list of vectors of 2 numbers"),
        (None, "a list of vectors of 2 numbers, got None"),
    ],
)
def test_what_is_no_multivector_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^here: .*{message}"):
        to_multi([given], 2, normalize=False, what=["here"])
