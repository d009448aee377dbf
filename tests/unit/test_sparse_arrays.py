"""Sparse vectors as arrays: blocks, the door, memory, the inverted index, kernels against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from vecdb.engine.operations import EditVectors, Upsert, decode, encode, require_fit
from vecdb.errors import InvalidInputError
from vecdb.index import Inverted, Terms
from vecdb.index.sparse import building
from vecdb.kernels.sparse import scan_sparse, score_sparse, search_postings
from vecdb.kernels.topk import topk_sort
from vecdb.storage.format import DamageError, pack_bits, pack_blocks
from vecdb.storage.memory_vectors import RaggedVectors
from vecdb.storage.states import read_terms
from vecdb.vectors import to_sparse
from vecdb.vectors.blocks import concat, none_of, replaced
from vecdb.vectors.ragged import offsets_of
from vecdb.vectors.sparse import SparseBlock, ascend, weighted_sum

ALL = np.empty(0, dtype=np.uint8)


def random_block(
    rng: np.random.Generator, rows: int, terms: int, most: int, *, least: float = 0.0
) -> SparseBlock:
    """Rows of different lengths, some empty. Low indices are frequent; some values are alike."""
    sizes = np.minimum(rng.integers(0, most + 1, rows), terms)
    shares = 1 / np.arange(1, terms + 1)
    names = np.sort(rng.choice(2**32, terms, replace=False)).astype(np.uint32)
    indices = [
        np.sort(names[rng.choice(terms, size, replace=False, p=shares / shares.sum())])
        for size in sizes
    ]
    joined = np.concatenate([np.empty(0, np.uint32), *indices])
    values = rng.uniform(least, 4, len(joined)).astype(np.float32)
    values[rng.random(len(values)) < 0.2] = 1.0
    return SparseBlock(offsets_of(sizes), joined, values)


def as_dicts(block: Any) -> list[dict[int, float] | None]:
    flags = block.flags()
    return [
        dict(zip(*block.row(row), strict=True)) if flags[row] else None for row in range(len(block))
    ]


# -- blocks ------------------------------------------------------------------------------------


def test_blocks_are_cut_and_joined_like_lists(rng: np.random.Generator) -> None:
    block = random_block(rng, 30, 12, 6)
    rows = as_dicts(block)
    chosen = [3, 3, 29, 0, 7]
    assert as_dicts(block.take(chosen)) == [rows[row] for row in chosen]
    assert as_dicts(concat([block, none_of(2, 0), block.take([])])) == [*rows, None, None]
    which = rng.random(30) < 0.4
    other = random_block(rng, 30, 12, 6)
    mixed = [as_dicts(other)[i] if which[i] else rows[i] for i in range(30)]
    assert as_dicts(replaced(block, which, other)) == mixed
    has = rng.random(30) < 0.5
    given = block.take(np.flatnonzero(has))
    assert as_dicts(SparseBlock.of_some(given, has)) == [
        rows[i] if has[i] else None for i in range(30)
    ]


def test_products_are_those_of_dicts(rng: np.random.Generator) -> None:
    block = random_block(rng, 50, 20, 9, least=-4.0)
    for row in range(10):
        query = block.take([row])
        scores, shared = block.dots(query)
        [wanted] = as_dicts(query)
        assert wanted is not None
        for number, each in enumerate(as_dicts(block)):
            assert each is not None
            common = each.keys() & wanted.keys()
            assert shared[number] == bool(common)
            assert scores[number] == pytest.approx(
                sum(each[i] * wanted[i] for i in common), abs=1e-5
            )


def test_a_weighted_sum_has_every_index(rng: np.random.Generator) -> None:
    block = random_block(rng, 3, 12, 6)
    [found] = as_dicts(weighted_sum(block, [0.5, 0.5, -1.0]))
    wanted: dict[int, float] = {}
    for row, weight in zip(as_dicts(block), [0.5, 0.5, -1.0], strict=True):
        for index, value in (row or {}).items():
            wanted[index] = wanted.get(index, 0.0) + weight * value
    assert found == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("sizes", "indices", "right"),
    [
        ([2, 0, 2], [1, 2, 1, 2], True),
        ([2, 2], [1, 2, 2, 2], False),
        ([0, 0, 3], [3, 4, 3], False),
        ([0], [], True),
        ([1, 0, 1, 0], [9, 3], True),
    ],
)
def test_rows_ascend_each_by_itself(sizes: list[int], indices: list[int], right: bool) -> None:
    assert ascend(offsets_of(np.array(sizes)), np.array(indices, dtype=np.uint32)) == right


# -- the door ----------------------------------------------------------------------------------


def test_a_sparse_vector_comes_in_any_form_and_order() -> None:
    class Plain:
        indices = np.array([7, 3], dtype=np.int64)
        values = (1, 2.5)

    given = [Plain(), {"indices": [2**32 - 1, 0], "values": [1, 2]}, {"indices": [], "values": []}]
    block = to_sparse(given, ["a", "b", "c"])
    assert as_dicts(block) == [{3: 2.5, 7: 1.0}, {0: 2.0, 2**32 - 1: 1.0}, {}]
    assert block.indices.dtype == np.uint32
    assert block.values.dtype == np.float32


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"indices": [1], "values": [1, 2]}, "got 1 indices and 2 values"),
        ({"indices": [1, 1], "values": [1, 2]}, "each index once, got 1 twice"),
        ({"indices": [-1], "values": [1]}, "from 0 to 4294967295, got -1"),
        ({"indices": [2**32], "values": [1]}, "got 4294967296"),
        ({"indices": [1.5], "values": [1]}, "whole numbers as indices"),
        ({"indices": [1], "values": [float("nan")]}, "finite numbers of float32, got nan"),
        ({"indices": [1], "values": [1e300]}, r"got 1e\+300"),
        ({"indices": [1], "values": [3e19]}, "longer than 1.8e19"),
        ({"indices": [1], "values": ["x"]}, "numbers as values"),
        ({"indices": [[1]], "values": [1]}, "a list of indices"),
        ({"values": [1]}, "a sparse vector with indices and values"),
        ([1.0, 2.0], "a sparse vector with indices and values"),
        (None, "a sparse vector with indices and values, got None"),
    ],
)
def test_what_is_no_sparse_vector_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^here: .*{message}"):
        to_sparse([given], ["here"])


# -- memory and the log ------------------------------------------------------------------------


def test_memory_keeps_rows_where_they_are(rng: np.random.Generator) -> None:
    """In many chunks, a long one in a chunk of its own; and what was read before stays."""
    kept, parts = RaggedVectors(SparseBlock.of_none(0)), []
    for number in range(40):
        block = random_block(rng, 997, 400, 90 if number % 3 else 3)
        if number == 20:
            long = SparseBlock(
                np.array([0, 1 << 20]),
                np.arange(1 << 20, dtype=np.uint32),
                np.ones(1 << 20, np.float32),
            )
            block = concat([block, long, none_of(1, 0)])
        before = list(kept.blocks(kept.rows))[-1:]
        copies = [(base, piece.values.copy()) for base, piece in before]
        kept.append(block)
        parts.append(block)
        for (_, piece), (_, values) in zip(before, copies, strict=True):
            assert np.array_equal(piece.values, values)
    whole = concat(parts)
    assert kept.rows == len(whole)
    for rows in (kept.rows, 5000, 1):
        pieces = list(kept.blocks(rows))
        assert [base for base, _ in pieces] == [0, *np.cumsum([len(p) for _, p in pieces])[:-1]]
        joined, wanted = concat([piece for _, piece in pieces]), whole.take(np.arange(rows))
        pairs: Any = zip(joined.parts, wanted.parts, strict=True)
        assert all(np.array_equal(*pair) for pair in pairs)
    chosen = rng.integers(0, kept.rows, 300)
    both: Any = zip(kept.take(chosen).parts, whole.take(chosen).parts, strict=True)
    assert all(np.array_equal(*pair) for pair in both)
    assert kept.entries(chosen) == whole.take(chosen).sizes.sum()
    assert kept.has.flags is not None
    assert np.array_equal(kept.has.flags[: kept.rows], whole.flags())


def test_the_log_has_sparse_vectors_beside_dense_ones(rng: np.random.Generator) -> None:
    block = SparseBlock.of_some(random_block(rng, 3, 20, 8), np.array([True, False, True, True]))
    dense = none_of(4, 3)
    for operation in (
        Upsert([1, 2, 3, 4], [b"\x80"] * 4, {"s": block, "d": dense}),
        EditVectors([1, 2, 3, 4], {"s": block}),
    ):
        data = b"".join(bytes(memoryview(part).cast("B")) for part in encode(operation))
        back = decode(memoryview(data))
        assert isinstance(back, type(operation))
        assert isinstance(back, (Upsert, EditVectors))
        assert as_dicts(back.vectors["s"]) == as_dicts(block)
        require_fit(back, {"s": 0, "d": 3})
        with pytest.raises(DamageError, match=r"vectors of dimensions|expected"):
            require_fit(back, {"s": 3, "d": 3})


def test_a_sparse_vector_of_the_log_is_looked_through() -> None:
    bad = SparseBlock(np.array([0, 2]), np.array([5, 5], np.uint32), np.ones(2, np.float32))
    data = b"".join(bytes(memoryview(p).cast("B")) for p in encode(EditVectors([1], {"s": bad})))
    with pytest.raises(DamageError, match="do not ascend"):
        decode(memoryview(data))


# -- the inverted index ------------------------------------------------------------------------


def inverted(block: SparseBlock) -> tuple[Terms, npt.NDArray[np.uint8]]:
    made = Inverted(block)
    pieces = [np.empty((0, 3), np.uint8), *made.pieces()]
    return made.terms(), np.concatenate(pieces).reshape(-1)


def postings_of(terms: Terms, packed: npt.NDArray[np.uint8], slot: int) -> dict[int, int]:
    """Rows and codes of a term."""
    found: dict[int, int] = {}
    at = 3 * int(terms.firsts[slot])
    for block in range(int(terms.starts[slot]), int(terms.starts[slot + 1])):
        count = int(terms.counts[block])
        rows = packed[at : at + 2 * count].view("<u2").astype(int)
        codes = packed[at + 2 * count : at + 3 * count].astype(int)
        assert terms.maxima[block] == codes.max()
        base = int(terms.windows[block]) * terms.window
        found |= dict(zip((base + rows).tolist(), codes.tolist(), strict=True))
        at += 3 * count
    return found


@pytest.mark.parametrize("at_once", [1, 50, 1 << 22])
@pytest.mark.parametrize("window", [16, 16384])
def test_an_index_has_all_values_and_none_is_above_its_code(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, at_once: int, window: int
) -> None:
    monkeypatch.setattr(building, "_AT_ONCE", at_once)
    monkeypatch.setattr(building, "WINDOW", window)
    block = random_block(rng, 300, 40, 9, least=-3.0)
    terms, packed = inverted(block)
    wanted: dict[int, dict[int, float]] = {}
    for row, each in enumerate(as_dicts(block)):
        for index, value in (each or {}).items():
            wanted.setdefault(index, {})[row] = value
    assert terms.terms.tolist() == sorted(wanted)
    for slot, index in enumerate(terms.terms.tolist()):
        codes, low, step = (
            postings_of(terms, packed, slot),
            float(terms.lows[slot]),
            float(terms.steps[slot]),
        )
        assert codes.keys() == wanted[index].keys()
        for row, code in codes.items():
            value = wanted[index][row]
            assert low + step * max(code - 1, 0) - 1e-9 <= value <= low + step * code + 1e-9
    asked = np.array([0, *terms.terms[:5], 2**32 - 1], dtype=np.uint32)
    assert terms.frequencies(asked).tolist() == [len(wanted.get(i, ())) for i in asked.tolist()]


def test_an_index_of_nothing_has_no_terms() -> None:
    terms, packed = inverted(SparseBlock(np.zeros(5, np.int64), *none_of(0, 0).parts[1:]))  # type: ignore[union-attr]
    assert len(terms.terms) == len(packed) == 0
    assert terms.frequencies(np.array([3], dtype=np.uint32)).tolist() == [0]
    assert Terms.from_state(terms.window, 0, terms.state()).slots(np.array([1], np.uint32)) == [-1]


def test_terms_that_would_lead_astray_are_refused(rng: np.random.Generator) -> None:
    block = random_block(rng, 300, 40, 9)
    terms, _ = inverted(block)
    state = terms.state()
    same = Terms.from_state(terms.window, len(block.indices), state)
    assert all(np.array_equal(same.state()[name], array) for name, array in state.items())
    with pytest.raises(ValueError, match="windows of 7 rows"):
        Terms.from_state(7, len(block.indices), state)
    with pytest.raises(ValueError, match="terms without their blocks"):
        Terms.from_state(terms.window, len(block.indices) + 1, state)
    for name, array in state.items():
        others = {other: kept for other, kept in state.items() if other != name}
        with pytest.raises(KeyError):
            Terms.from_state(terms.window, len(block.indices), others)
        for wrong in (array[:-1], array[:0], array.astype(np.float64)):
            with pytest.raises(ValueError, match=r".+"):
                Terms.from_state(terms.window, len(block.indices), {**state, name: wrong})
    for name in ("terms", "firsts", "starts", "counts"):
        changed = state[name].copy()
        changed[1] = changed[2] + 1  # of terms: so that they fall
        with pytest.raises(ValueError, match=r".+"):
            Terms.from_state(terms.window, len(block.indices), {**state, name: changed})


def searched(
    block: SparseBlock, query: SparseBlock, mask: npt.NDArray[np.uint8], limit: int
) -> list[tuple[int, float]]:
    """The answer of an index."""
    return searched_by(*inverted(block), block, query, mask, limit)


def searched_by(
    terms: Terms,
    packed: npt.NDArray[np.uint8],
    block: SparseBlock,
    query: SparseBlock,
    mask: npt.NDArray[np.uint8],
    limit: int,
) -> list[tuple[int, float]]:
    window = terms.window
    slots = terms.slots(query.indices)
    known = slots >= 0
    slots = slots[known]
    scores, rows = np.empty(limit, np.float32), np.empty(limit, np.int64)
    done = np.zeros(2, np.int64)
    filled = search_postings(
        *(terms.windows, terms.counts, terms.maxima, packed),
        *(terms.starts[slots], terms.starts[slots + 1], terms.firsts[slots]),
        terms.bounds(slots, query.values[known]),
        *(*block.parts, query.indices, query.values, mask),
        *(np.zeros(window, np.float32), np.empty(len(slots), np.float32)),
        *(np.empty(len(slots), np.int64), np.empty(window, np.int64), scores, rows, done),
        np.empty(5, np.int64),
    )
    topk_sort(scores, rows, filled)
    return list(zip(rows[:filled].tolist(), scores[:filled].tolist(), strict=True))


@pytest.mark.parametrize("window", [64, 256, 16384])
@pytest.mark.parametrize("least", [0.0, -4.0])
@pytest.mark.parametrize("rows", [1, 63, 257, 3001])
def test_kernels_find_what_numpy_finds(
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    least: float,
    window: int,
) -> None:
    monkeypatch.setattr(building, "WINDOW", window)
    block = random_block(rng, rows, 30, 12, least=least)
    flags = rng.random(rows) < 0.3
    for number in range(12):
        terms = np.unique(np.append(block.indices, np.uint32(3))).astype(
            np.uint32
        )  # one that no row may have
        chosen = np.sort(rng.choice(terms, min(len(terms), 1 + 2 * number), replace=False))
        weights = rng.uniform(least, 3, len(chosen)).astype(np.float32)
        query = SparseBlock(np.array([0, len(chosen)]), chosen, weights)
        scores, shared = block.dots(query)
        out, common = np.empty(rows, np.float32), np.empty(rows, np.int64)
        score_sparse(*block.parts, query.indices, query.values, np.arange(rows), out, common)
        assert np.array_equal(out, scores)
        assert np.array_equal(common > 0, shared)
        for mask in (ALL, pack_bits(flags)):
            allowed = shared if mask is ALL else shared & flags
            for limit in (1, 10, rows):
                there = np.flatnonzero(allowed)
                best = there[np.lexsort((there, -scores[there]))][:limit]
                wanted = list(zip(best.tolist(), scores[best].tolist(), strict=True))
                found, places = np.empty(limit, np.float32), np.empty(limit, np.int64)
                filled = scan_sparse(
                    *(*block.parts, query.indices, query.values, mask, 0, found, places, 0)
                )
                topk_sort(found, places, filled)
                pairs = zip(places[:filled].tolist(), found[:filled].tolist(), strict=True)
                assert list(pairs) == wanted
                assert searched(block, query, mask, limit) == wanted


def test_no_bytes_lead_a_search_astray(rng: np.random.Generator) -> None:
    """Terms are refused, or a search by them reads what is there and ends."""
    block = random_block(rng, 900, 30, 12, least=-1.0)
    terms, packed = inverted(block)
    arrays = terms.state()
    described = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    parts = pack_blocks({"window": terms.window, "arrays": described}, list(arrays.values()))
    data = np.frombuffer(b"".join(bytes(memoryview(part)) for part in parts), dtype=np.uint8)
    assert read_terms(data, len(block.indices)).terms.tolist() == terms.terms.tolist()
    query = block.take([int(block.sizes.argmax())])
    refused = 0
    for _ in range(600):
        changed = data.copy()
        at = rng.integers(0, len(data), rng.integers(1, 4))
        changed[at] = rng.choice([0, 1, 127, 255, int(rng.integers(256))], len(at))
        try:
            found = read_terms(changed, len(block.indices))
        except DamageError:
            refused += 1
            continue
        found.frequencies(query.indices)
        answer = searched_by(found, packed, block, query, ALL, 10)
        assert all(0 <= row < len(block) for row, _ in answer)
    assert 0 < refused < 600
