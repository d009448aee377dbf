"""FastScan agrees with a few lines of numpy to the last bit, on every kind of processor.

The tests below run in this process, with the best look-ups this processor has; the last ones run
them once more in processes that compile for lesser processors, down to one without byte shuffle.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
from block_layout import packed

from vecdb.kernels import fastscan, shortlist, shuffle, topk
from vecdb.kernels.blocks import TOGETHER

SIZES = (0, 1, 31, 32, 33, 1000)
WIDTHS = (1, 3, 4, 5, 96, 97)
NO_MASK = np.zeros(0, np.uint8)
f32 = np.float32


def frozen(array):
    array = np.ascontiguousarray(array)
    array.setflags(write=False)
    return array


def bitmap(allowed):
    return frozen(np.packbits(allowed, bitorder="little"))


class Rows:
    """Random codes and columns, as blocks and as the plain arrays the oracle reads."""

    def __init__(self, rng, n, m, columns=0):
        self.n, self.m = n, m
        self.codes = frozen(rng.integers(0, 16, (n, m)).astype(np.uint8))
        # Few different numbers: ties are everywhere.
        self.columns = frozen(rng.integers(-3, 9, (n, columns)).astype(f32) / f32(7))
        self.blocks = frozen(packed(self.codes, self.columns))
        assert self.blocks.shape == fastscan.block_shape(n, m, columns)

    def sums(self, tables):
        return tables[np.arange(self.m), self.codes].sum(axis=1, dtype=np.int64)

    def scores(self, tables, step, offset, bias):
        scores = self.sums(tables).astype(f32) * step + offset
        if self.columns.shape[1] > 0:
            scores = scores * self.columns[:, 0]
        if self.columns.shape[1] > 1:
            scores = scores + self.columns[:, 1]
        return scores + bias


class Queries:
    """Random tables, padded as kernels want them in ``bytes``."""

    def __init__(self, rng, q, m, highest=255):
        padded = np.zeros((q, -(-m // 4) * 4, 16), np.uint8)
        padded[:, :m] = rng.integers(0, highest + 1, (q, m, 16))
        self.tables = padded[:, :m]
        self.bytes = frozen(padded.reshape(q, -1))
        self.steps = frozen(rng.random(q, dtype=f32) + f32(0.1))
        self.offsets = frozen(rng.random(q, dtype=f32) * f32(-9))


def best(scores, row_numbers, k):
    """The oracle: rows and scores of the best k, ties to the lower row."""
    order = np.lexsort((row_numbers, -scores))[:k]
    return row_numbers[order], scores[order]


class TopK:
    """The running top-k of some queries."""

    def __init__(self, q, k):
        self.scores = np.empty((q, k), f32)
        self.rows = np.empty((q, k), np.int64)
        self.filled = np.zeros(q, np.int64)

    def sorted(self, query):
        filled = self.filled[query]
        topk.topk_sort(self.scores[query], self.rows[query], filled)
        return self.rows[query, :filled], self.scores[query, :filled]


def scan(rows, queries, top, ranges, biases=None, mask=NO_MASK, base=0, which=None):
    """Scan ``ranges`` for the queries ``which`` (default: all), ``biases[range, query]``."""
    ranges = np.asarray(ranges, np.int64).reshape(-1, 2)
    which = np.arange(len(queries.bytes)) if which is None else np.asarray(which)
    if biases is None:
        biases = np.zeros((len(ranges), len(queries.bytes)), f32)
    fastscan.check_shapes(rows.blocks, queries.bytes, ranges, mask)
    fastscan.scan(
        rows.blocks,
        queries.bytes,
        queries.steps,
        queries.offsets,
        frozen(ranges),
        frozen(np.arange(len(ranges) + 1) * len(which)),
        frozen(np.tile(which, len(ranges))),
        frozen(biases[:, which].reshape(-1)),
        mask,
        base,
        top.scores,
        top.rows,
        top.filled,
    )


def assert_found(top, query, expected):
    row_numbers, scores = top.sorted(query)
    np.testing.assert_array_equal(row_numbers, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


# --- layout ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", WIDTHS)
@pytest.mark.parametrize("n", SIZES)
def test_codes_are_where_the_layout_says(n, m):
    rows = Rows(np.random.default_rng(n), n, m, columns=2)
    quads = -(-m // 4)
    assert rows.blocks.shape == (-(-n // 32), 64 * quads + 256)
    for row in range(n):
        block = rows.blocks[row // 32]
        half = block[: 64 * quads].reshape(4 * quads, 16)[:, row % 16]
        half = half >> 4 if row % 32 >= 16 else half & 15
        np.testing.assert_array_equal(half, [*rows.codes[row], *[0] * (4 * quads - m)])
        columns = block[64 * quads :].view(f32).reshape(2, 32)[:, row % 32]
        np.testing.assert_array_equal(columns, rows.columns[row])
    back = np.empty_like(rows.codes)
    fastscan.unpack(rows.blocks, back)
    np.testing.assert_array_equal(back, rows.codes)


# --- sums and scores ------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [*WIDTHS, 2, 255, 256, 257, 258, 1024, 2048])
def test_sums_are_exact(m):
    """Up to 8192 dimensions at four a look-up: eight times what sums of 16 bits can hold."""
    rng = np.random.default_rng(m)
    for n in SIZES:
        rows = Rows(rng, n, m)
        for queries in (Queries(rng, 1, m), Queries(rng, 1, m, highest=0)):
            out = np.full(n, -1, np.int32)
            fastscan.sum_all(rows.blocks, queries.bytes, out)
            np.testing.assert_array_equal(out, rows.sums(queries.tables[0]))


@pytest.mark.parametrize("m", [1, 256, 257, 258, 260, 512, 516, 1024, 2048])
def test_the_largest_sums_do_not_overflow(m):
    rows = Rows(np.random.default_rng(m), 40, m)
    tables = np.zeros((1, -(-m // 4) * 4, 16), np.uint8)
    tables[:, :m] = 255
    out = np.empty(40, np.int32)
    fastscan.sum_all(rows.blocks, tables.reshape(1, -1), out)
    assert (out == 255 * m).all()


@pytest.mark.parametrize("columns", [0, 1, 2])
@pytest.mark.parametrize("m", [1, 5, 96, 257])
def test_scores_agree_with_numpy_to_the_bit(m, columns):
    rng = np.random.default_rng(m)
    step, offset, bias = f32(0.37), f32(-11.3), f32(2.2)
    for n in SIZES:
        rows, queries = Rows(rng, n, m, columns), Queries(rng, 1, m)
        expected = rows.scores(queries.tables[0], step, offset, bias)
        out = np.empty(n, f32)
        fastscan.score_all(rows.blocks, queries.bytes, step, offset, bias, out)
        np.testing.assert_array_equal(out, expected)
        row_numbers = frozen(rng.permutation(n))
        fastscan.score_rows(rows.blocks, queries.bytes, step, offset, bias, row_numbers, out)
        np.testing.assert_array_equal(out, expected[row_numbers])


def test_blocks_may_start_anywhere_and_lie_in_a_mapped_file(tmp_path):
    rng = np.random.default_rng(0)
    rows, queries = Rows(rng, 100, 7, columns=1), Queries(rng, 1, 7)
    path = tmp_path / "blocks"
    path.write_bytes(b"odd" + rows.blocks.tobytes())
    mapped = np.memmap(path, np.uint8, "r", offset=3, shape=rows.blocks.shape)
    top = TopK(1, 100)
    rows.blocks = mapped
    scan(rows, queries, top, [(0, 100)])
    scores = rows.scores(queries.tables[0], queries.steps[0], queries.offsets[0], f32(0))
    assert_found(top, 0, best(scores, np.arange(100), 100))


# --- scans ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [0, 1, 2])
@pytest.mark.parametrize("m", WIDTHS)
def test_scan_finds_what_a_sort_finds(m, columns):
    """Under masks (none, half, few, nobody), for any k, with ties, alone and four together."""
    rng = np.random.default_rng(m)
    for n in SIZES:
        rows, queries = Rows(rng, n, m, columns), Queries(rng, 5, m, highest=3)
        scores = [
            rows.scores(queries.tables[q], queries.steps[q], queries.offsets[q], f32(0))
            for q in range(5)
        ]
        for share in (None, 0.5, 0.02, 0.0):
            allowed = rng.random(n) < (2 if share is None else share)
            mask = NO_MASK if share is None else bitmap(allowed)
            for k in (1, 5, 400):
                top = TopK(5, k)
                scan(rows, queries, top, [(0, n)], mask=mask, base=1000)
                for q in range(5):
                    expected = best(scores[q][allowed], np.flatnonzero(allowed) + 1000, k)
                    assert_found(top, q, expected)


@pytest.mark.parametrize("together", [1, 2, 3, 4, 5, 8, 9])
def test_any_number_of_queries_may_share_a_scan(together):
    rng = np.random.default_rng(together)
    rows, queries = Rows(rng, 700, 24, columns=1), Queries(rng, 9, 24)
    which = rng.permutation(9)[:together]
    top = TopK(9, 30)
    scan(rows, queries, top, [(0, 700)], which=which)
    for q in range(9):
        scores = rows.scores(queries.tables[q], queries.steps[q], queries.offsets[q], f32(0))
        expected = best(scores, np.arange(700), 30 if q in which else 0)
        assert_found(top, q, expected)


def test_ranges_start_and_end_anywhere_and_have_their_biases():
    rng = np.random.default_rng(1)
    rows, queries = Rows(rng, 1000, 12, columns=2), Queries(rng, 6, 12)
    ranges = [(0, 1), (5, 5), (31, 33), (40, 63), (64, 96), (100, 700), (704, 705), (990, 1000)]
    biases = rng.integers(-9, 9, (len(ranges), 6)).astype(f32)
    allowed = rng.random(1000) < 0.6
    for mask in (NO_MASK, bitmap(allowed)):
        top = TopK(6, 50)
        scan(rows, queries, top, ranges, biases, mask=mask)
        for q in range(6):
            row_numbers = np.concatenate([np.arange(*part) for part in ranges])
            bias = np.repeat(biases[:, q], [end - first for first, end in ranges])
            scores = rows.scores(queries.tables[q], queries.steps[q], queries.offsets[q], f32(0))
            scores = scores[row_numbers] + bias  # the bias is added last, and 0 changes nothing
            keep = allowed[row_numbers] if mask.size else slice(None)
            assert_found(top, q, best(scores[keep], row_numbers[keep], 50))


def test_scans_one_after_another_equal_one_scan():
    """In any order of the parts, with ties between them, and rows the top-k has already."""
    rng = np.random.default_rng(2)
    rows, queries = Rows(rng, 2000, 8), Queries(rng, 1, 8, highest=2)
    scores = rows.scores(queries.tables[0], queries.steps[0], queries.offsets[0], f32(0))
    for k in (1, 10, 150):
        top = TopK(1, k)
        parts = [(start, min(start + 77, 2000)) for start in range(0, 2000, 77)]
        for i in rng.permutation(len(parts)):
            scan(rows, queries, top, [parts[i]])
        assert_found(top, 0, best(scores, np.arange(2000), k))


def test_the_top_k_goes_on_as_a_heap():
    """What a scan leaves can take single rows, as other kernels offer them."""
    rng = np.random.default_rng(3)
    rows, queries = Rows(rng, 300, 8), Queries(rng, 1, 8)
    scores = rows.scores(queries.tables[0], queries.steps[0], queries.offsets[0], f32(0))
    for k in range(40):
        top = TopK(1, k)
        scan(rows, queries, top, [(0, 300)])
        for row, score in ((500, scores.max() + 1), (501, scores.min() - 1), (502, scores[7])):
            top.filled[0] = topk.topk_push(
                top.scores[0], top.rows[0], top.filled[0], f32(score), row
            )
        everything = np.append(scores, [scores.max() + 1, scores.min() - 1, scores[7]]).astype(f32)
        expected = best(everything, np.append(np.arange(300), [500, 501, 502]), k)
        assert_found(top, 0, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38, -1e38, 0.0])
def test_columns_that_overflowed_upset_nothing(value):
    rng = np.random.default_rng(4)
    rows, queries = Rows(rng, 500, 4, columns=2), Queries(rng, 1, 4)
    columns = rows.columns.copy()
    columns[rng.permutation(500)[:200], rng.integers(0, 2, 200)] = value
    rows.columns, rows.blocks = columns, packed(rows.codes, columns)
    with np.errstate(all="ignore"):
        scores = rows.scores(queries.tables[0], queries.steps[0], queries.offsets[0], f32(0))
    scores[np.isnan(scores)] = -np.inf  # as in `topk`
    for k in (1, 20, 450):
        top = TopK(1, k)
        scan(rows, queries, top, [(0, 500)])
        assert_found(top, 0, best(scores, np.arange(500), k))


def test_equal_scores_by_the_thousand():
    codes = np.zeros((5000, 4), np.uint8)
    rng = np.random.default_rng(5)
    rows, queries = Rows(rng, 1, 4), Queries(rng, 1, 4)
    rows.blocks = packed(codes, np.empty((5000, 0), f32))
    top = TopK(1, 60)
    scan(rows, queries, top, [(3000, 5000), (0, 3000)])
    assert top.sorted(0)[0].tolist() == list(range(60))


def test_mask_bits_beyond_the_last_row_mean_nothing():
    rng = np.random.default_rng(6)
    rows, queries = Rows(rng, 9, 4), Queries(rng, 1, 4)
    top = TopK(1, 40)
    scan(rows, queries, top, [(0, 9)], mask=np.array([255, 255], np.uint8))
    assert sorted(top.sorted(0)[0]) == list(range(9))


def test_shapes_that_do_not_fit_are_refused():
    rng = np.random.default_rng(7)
    rows, queries = Rows(rng, 40, 5, columns=1), Queries(rng, 2, 5)
    everything = np.array([[0, 40]])
    fastscan.check_shapes(rows.blocks, queries.bytes, everything, NO_MASK)
    for blocks, tables, ranges, mask in (
        (rows.blocks, queries.bytes[:, :64], everything, NO_MASK),
        (rows.blocks, queries.bytes[:, :100], everything, NO_MASK),
        (rows.blocks, queries.bytes[0], everything, NO_MASK),
        (rows.blocks[0], queries.bytes, everything, NO_MASK),
        (rows.blocks, queries.bytes, np.array([[0, 65]]), NO_MASK),
        (rows.blocks, queries.bytes, np.array([[-1, 5]]), NO_MASK),
        (rows.blocks, queries.bytes, np.array([0, 5]), NO_MASK),
        (rows.blocks, queries.bytes, everything, np.zeros(4, np.uint8)),
    ):
        with pytest.raises(ValueError, match=r"expected|fit|beyond|short"):
            fastscan.check_shapes(blocks, tables, ranges, mask)


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 2, 3, 4, 97])
def test_bytes_of_tables_are_the_nearest(m):
    rng = np.random.default_rng(m)
    numbers = frozen(
        rng.standard_normal((m, 16), dtype=f32) * (1 + np.arange(m, dtype=f32)[:, None])
    )
    out = np.full(-(-m // 4) * 64, 9, np.uint8)
    step, offset = fastscan.quantize_tables(numbers, out)
    spread = numbers.max(axis=1) - numbers.min(axis=1)
    assert step == pytest.approx(spread.max() / 252, rel=1e-6)
    assert offset == pytest.approx(numbers.min(axis=1).sum(dtype=float), rel=1e-6)
    assert not out[16 * m :].any()
    back = out[: 16 * m].reshape(m, 16) * float(step) + numbers.min(axis=1)[:, None]
    assert np.abs(back - numbers).max() <= 0.5001 * step


def test_tables_without_differences_and_with_numbers_that_overflowed():
    out = np.empty(64, np.uint8)
    step, offset = fastscan.quantize_tables(np.full((3, 16), 2.5, f32), out)
    assert (step, offset, out.any()) == (0, 7.5, False)
    numbers = np.zeros((2, 16), f32)
    numbers[0, 3], numbers[1, 4] = np.inf, -np.inf
    fastscan.quantize_tables(numbers, out)  # no answer is right: only nothing may break
    fastscan.quantize_tables(np.full((2, 16), np.nan, f32), out)


# --- the list of the best -------------------------------------------------------------------------


def test_thinning_keeps_the_best():
    rng = np.random.default_rng(8)
    for spread in (0.0, 1.0, 5.0, 15.0):
        for k in (1, 2, 10, 100):
            count = 2 * k + 33
            scores = np.exp(spread * rng.standard_normal(count)).astype(f32)
            row_numbers = rng.permutation(count)
            expected = best(scores, row_numbers, k)
            left, threshold = shortlist.thin(scores, row_numbers, count, k)
            assert k <= left <= k + k // 8
            found = best(scores[:left], row_numbers[:left], k)
            np.testing.assert_array_equal(found[0], expected[0])
            assert threshold <= expected[1][-1]
            assert (scores[:left] >= threshold).all()


# --- processors -----------------------------------------------------------------------------------


def test_the_best_way_is_chosen_by_the_features():
    def name(triple, features):
        target = shuffle.target_for(triple, features)
        return target and target.name

    x86 = "x86_64-unknown-linux-gnu"
    everything = ",".join(f"+{need}" for target in shuffle.TARGETS for need in sorted(target.needs))
    assert name(x86, everything) == "vbmi"
    assert name(x86, everything.replace("+avx512vnni", "-avx512vnni")) == "avx512"
    assert name(x86, "+avx2,+ssse3,-avx512bw") == "avx2"
    assert name(x86, "+ssse3,-avx2") == "ssse3"
    assert name(x86, "") is None
    assert name("aarch64-unknown-linux-gnu", "") == "neon"
    assert name("arm64-apple-darwin22.6.0", "+neon") == "neon"
    assert name("riscv64-unknown-linux-gnu", "+v") is None


ARM = """
import re, sys
import llvmlite.binding as llvm
from llvmlite import ir
from vecdb.kernels import shuffle

queries = int(sys.argv[1])
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
byte, number = ir.IntType(8).as_pointer(), ir.IntType(32).as_pointer()
module = ir.Module("look-ups")
kind = ir.FunctionType(ir.VoidType(), [byte, *[byte] * queries, ir.IntType(64), number])
function = ir.Function(module, kind, "look_up")
builder = ir.IRBuilder(function.append_basic_block())
codes, *tables, quads, out = function.args
shuffle.emit_sums(builder, shuffle.NEON, codes, tables, quads, out)
builder.ret_void()
target = llvm.Target.from_triple("aarch64-unknown-linux-gnu")
machine = target.create_target_machine(opt=3)
assembly = machine.emit_assembly(llvm.parse_assembly(str(module)))
print(len(re.findall(r"\\btbl\\b", assembly)))
"""


@pytest.mark.parametrize("queries", range(1, TOGETHER + 1))
def test_look_ups_compile_for_arm(queries):
    """Where there is no such processor to run it: LLVM finds nothing to refuse, and uses TBL."""
    done = subprocess.run(
        [sys.executable, "-c", ARM, str(queries)],
        env=environment(VECDB_KERNELS="jit"),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    # A quad is four look-ups of each half of the bytes.
    assert int(done.stdout) >= 8 * queries


def environment(**more):
    """Of a process that finds this vecdb."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent), **more}


CHILD = """
import sys
import pytest
from vecdb.kernels import fastscan
assembly = "".join(fastscan.scan.inspect_asm().values())
wanted, refused = sys.argv[1].split(), sys.argv[2].split()
assert all(word in assembly for word in wanted), "not compiled for what was asked"
assert not any(word in assembly for word in refused), "compiled for more than was asked"
# Without the slow ones: this would start itself.
sys.exit(pytest.main([sys.argv[3], "-q", "-p", "no:cacheprovider", "-m", "not slow"]))
"""
PROCESSORS = {
    # name: features for LLVM, words that must and must not be in the assembly
    "avx512": ("skylake-avx512", "+avx512bw,+avx512vl", "vpshufb zmm", "vpermb vpdpbusd"),
    "avx2": ("haswell", "+avx2,+fma", "vpshufb ymm", "vpermb zmm"),
    "ssse3": ("core2", "+ssse3", "pshufb", "vpshufb ymm"),
    "none": ("x86-64", "", "xmm", "pshufb ymm"),
}


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are x86 processors")
@pytest.mark.parametrize("name", PROCESSORS)
def test_lesser_processors_find_the_same(name, tmp_path):
    processor, features, wanted, refused = PROCESSORS[name]
    has = llvm.get_host_cpu_features()
    if not all(has.get(feature[1:], False) for feature in features.split(",") if feature):
        pytest.skip(f"this processor cannot run {features}")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, wanted, refused, __file__],
        env=environment(
            VECDB_KERNELS="jit",
            NUMBA_CPU_NAME=processor,
            NUMBA_CPU_FEATURES=features,
            NUMBA_CACHE_DIR=str(tmp_path),
        ),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
