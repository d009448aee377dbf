"""The inner loops of `fastscan`: tables looked up by the processor's byte shuffle.

A table of 16 bytes fits a register, and one instruction (x86 ``pshufb``, ARM ``tbl``) looks up 16
to 64 codes in it: F. André, A.-M. Kermarrec, N. Le Scouarnec, "Cache locality is not enough:
high-performance nearest neighbor search with product quantization fast scan", VLDB 2015. No
compiler finds that in a loop, so `emit_sums` writes it in LLVM's language, in the way that suits
the processor (`TARGETS`); for any other there is a plain loop. All make the same sums.

Kernels use the intrinsics at the end of this module. They take whole arrays and are written out at
the place of the call: a function that is called with arrays inside a loop counts references to
them, which costs more than a block of look-ups.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from vecdb.kernels.signatures import bytes_2, i64, out_int32s_1

__all__ = [
    "BLOCK_ROWS",
    "NEON",
    "TARGETS",
    "TOGETHER",
    "Target",
    "count_trailing_zeros",
    "emit_sums",
    "scores_of_block",
    "sums_of_four",
    "sums_of_one",
    "target_for",
]

BLOCK_ROWS: Final = 32

TOGETHER: Final = 4
"""Queries that share one pass over the codes: the sums of more would not fit the registers."""


class Target(NamedTuple):
    """A way to look up ``width`` codes at once."""

    name: str
    width: int
    shuffle: str
    """LLVM's name of the instruction."""
    needs: frozenset[str]
    """The features a processor must have, by LLVM's names."""


NEON: Final = Target("neon", 16, "llvm.aarch64.neon.tbl1.v16i8", frozenset())
VBMI: Final = Target(
    "vbmi",
    64,
    "llvm.x86.avx512.permvar.qi.512",
    frozenset({"avx512bw", "avx512vbmi", "avx512vnni"}),
)
TARGETS: Final = (  # of x86, the best first
    VBMI,
    Target("avx512", 64, "llvm.x86.avx512.pshuf.b.512", frozenset({"avx512bw"})),
    Target("avx2", 32, "llvm.x86.avx2.pshuf.b", frozenset({"avx2"})),
    Target("ssse3", 16, "llvm.x86.ssse3.pshuf.b.128", frozenset({"ssse3"})),
)


def target_for(triple: str, features: str) -> Target | None:
    """The best way on a processor, as LLVM names it (``"+avx2,-sse4a"``); None: the plain loop."""
    architecture = triple.split("-")[0]
    if architecture in ("aarch64", "arm64"):
        return NEON
    if architecture != "x86_64":
        return None
    has = {name[1:] for name in features.split(",") if name.startswith("+")}
    return next((target for target in TARGETS if target.needs <= has), None)


# --- the sums of one block ------------------------------------------------------------------------

_byte, _short, _int, _long = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_float = ir.FloatType()


def emit_sums(
    builder: Any, target: Target, codes: Any, tables: list[Any], quads: Any, out: Any
) -> None:
    """Write code that sums one block under each of the tables, to ``out: int32[q, 32]``.

    ``codes`` and ``tables`` point to bytes, ``out`` to int32; ``quads`` is an int64. The layout is
    that of `fastscan`.
    """
    emit = _emit_by_fours if target is VBMI else _emit_by_pairs
    emit(builder, target, codes, tables, quads, out)


def _emit_by_pairs(
    builder: Any, target: Target, codes: Any, tables: list[Any], quads: Any, out: Any
) -> None:
    """Found bytes are added two by two, as numbers of 16 bits, and the high ones once more alone.

    What the high bytes sum to, taken away from the first sum, leaves the low ones': an instruction
    less than keeping them apart. 16 bits hold 257 bytes of 255; after 256 the sums move to 32 bits.
    """
    pairs = target.width // 2
    fifteen, four = _splat(_byte, target.width, 15), _splat(_byte, target.width, 4)
    zero, eight = _splat(_short, pairs, 0), _splat(_short, pairs, 8)
    whole = ir.VectorType(_int, BLOCK_ROWS)
    most = _long(256 // 4)
    totals = [_variable(builder, ir.Constant(whole, None)) for _ in tables]
    # Of rows 0 .. 15 (low half of a byte of codes): pairs, high bytes; then of rows 16 .. 31.
    sums = [[_variable(builder, zero) for _ in range(4)] for _ in tables]
    rounds = builder.udiv(builder.add(quads, _long(63)), most)
    with cgutils.for_range(builder, rounds) as outer:
        start = builder.mul(outer.index, most)
        left = builder.sub(quads, start)
        count = builder.select(builder.icmp_signed("<", left, most), left, most)
        for places in sums:
            for place in places:
                builder.store(zero, place)
        with cgutils.for_range(builder, count) as inner:
            quad = builder.mul(builder.add(start, inner.index), _long(64))
            for piece in range(0, 64, target.width):
                at = builder.add(quad, _long(piece))
                both = _load(builder, codes, at, _byte, target.width)
                halves = builder.and_(both, fifteen), builder.lshr(both, four)
                for table, places in zip(tables, sums, strict=True):
                    entries = _load(builder, table, at, _byte, target.width)
                    for i, half in enumerate(halves):
                        found = _call(builder, target.shuffle, entries.type, entries, half)
                        found = builder.bitcast(found, zero.type)
                        _add(builder, places[2 * i], found)
                        _add(builder, places[2 * i + 1], builder.lshr(found, eight))
        for places, total in zip(sums, totals, strict=True):
            parts = []
            for i in range(2):
                high = builder.load(places[2 * i + 1])
                low = builder.sub(builder.load(places[2 * i]), builder.shl(high, eight))
                parts.append(_in_order(builder, low, high))
            rows = _shuffle(builder, parts[0], parts[1], list(range(BLOCK_ROWS)))
            _add(builder, total, builder.zext(rows, whole))
    for i, total in enumerate(totals):
        _store(builder, builder.load(total), out, BLOCK_ROWS * i)


def _in_order(builder: Any, even: Any, odd: Any) -> Any:
    """The sums of 16 rows, from those of even and of odd rows, 8 in each 16 bytes."""
    while (count := even.type.count) > 8:
        low, high = list(range(count // 2)), list(range(count // 2, count))
        even, odd = (
            builder.add(_shuffle(builder, x, x, low), _shuffle(builder, x, x, high))
            for x in (even, odd)
        )
    return _shuffle(builder, even, odd, [i // 2 + 8 * (i % 2) for i in range(16)])


def _emit_by_fours(
    builder: Any, target: Target, codes: Any, tables: list[Any], quads: Any, out: Any
) -> None:
    """Four tables in one register, and an instruction that adds four neighbouring bytes to 32 bits.

    Hence no sums of 16 bits; but the four codes of a row have to be made neighbours first.
    """
    kind, words = ir.VectorType(_byte, 64), ir.VectorType(_short, 32)
    neighbours = ir.Constant(kind, [16 * (i % 4) + i // 4 for i in range(64)])
    table_starts = ir.Constant(kind, [16 * (i % 4) for i in range(64)])
    fifteen, four = _splat(_byte, 64, 15), _splat(_short, 32, 4)
    zero, ones = _splat(_int, 16, 0), _splat(_int, 16, 0x01010101)
    # An addition waits four cycles for the one before: a query alone takes turns with two sums.
    turns = 2 if len(tables) == 1 else 1
    sums = [[[_variable(builder, zero) for _ in range(2)] for _ in tables] for _ in range(turns)]

    def add_quad(quad: Any, turn: int) -> None:
        at = builder.mul(quad, _long(64))
        both = _load(builder, codes, at, _byte, 64)
        both = _call(builder, target.shuffle, kind, both, neighbours)
        # There is no shift of bytes, but what words shift in goes with the other half.
        high = builder.bitcast(builder.lshr(builder.bitcast(both, words), four), kind)
        halves = [builder.or_(builder.and_(x, fifteen), table_starts) for x in (both, high)]
        for table, places in zip(tables, sums[turn], strict=True):
            entries = _load(builder, table, at, _byte, 64)
            for half, place in zip(halves, places, strict=True):
                found = _call(builder, target.shuffle, kind, entries, half)
                found = builder.bitcast(found, zero.type)
                add = "llvm.x86.avx512.vpdpbusd.512"
                total = _call(builder, add, zero.type, builder.load(place), found, ones)
                builder.store(total, place)

    with cgutils.for_range(builder, builder.udiv(quads, _long(turns))) as loop:
        for turn in range(turns):
            add_quad(builder.add(builder.mul(loop.index, _long(turns)), _long(turn)), turn)
    if turns == 2:
        with builder.if_then(builder.trunc(quads, ir.IntType(1))):
            add_quad(builder.sub(quads, _long(1)), 0)
    for i in range(len(tables)):
        for half in range(2):
            for turn in range(1, turns):
                _add(builder, sums[0][i][half], builder.load(sums[turn][i][half]))
            _store(builder, builder.load(sums[0][i][half]), out, BLOCK_ROWS * i + 16 * half)


def _variable(builder: Any, value: Any) -> Any:
    """A place for a value, which the compiler turns into a register."""
    return cgutils.alloca_once_value(builder, value)  # type: ignore[no-untyped-call]


def _splat(kind: ir.Type, count: int, value: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(kind, count), [value] * count)


def _load(builder: Any, pointer: Any, offset: Any, kind: ir.Type, count: int) -> Any:
    """``count`` values, ``offset`` elements after ``pointer``, aligned or not."""
    vector = ir.VectorType(kind, count).as_pointer()
    return builder.load(builder.bitcast(builder.gep(pointer, [offset]), vector), align=1)


def _store(builder: Any, value: Any, pointer: Any, offset: int) -> None:
    here = builder.gep(pointer, [_long(offset)])
    builder.store(value, builder.bitcast(here, value.type.as_pointer()), align=4)


def _shuffle(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_int, len(order)), order))


def _call(builder: Any, name: str, result: ir.Type, *arguments: Any) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]
    return builder.call(function, arguments)


def _add(builder: Any, place: Any, value: Any) -> None:
    builder.store(builder.add(builder.load(place), value), place)


@njit(types.void(bytes_2, i64, bytes_2, i64, out_int32s_1, i64), nogil=True, cache=True)
def _plain(blocks, block, tables, query, out, at):  # type: ignore[no-untyped-def]
    for row in range(BLOCK_ROWS):
        out[at + row] = 0
    for place in range(tables.shape[1] >> 4):
        for i in range(16):
            both = np.int64(blocks[block, 16 * place + i])
            out[at + i] += tables[query, 16 * place + (both & 15)]
            out[at + 16 + i] += tables[query, 16 * place + (both >> 4)]


# --- for kernels ----------------------------------------------------------------------------------


def _target(context: Any) -> Target | None:
    """What code is compiled for: not always this processor, see numba's NUMBA_CPU_NAME.

    Numba's cache has the same names in its key, so that each finds the code made for it.
    """
    triple, _, features = context.codegen().magic_tuple()
    return target_for(triple, features)


def _array(context: Any, builder: Any, signature: Any, arguments: Any, i: int) -> Any:
    return context.make_array(signature.args[i])(context, builder, arguments[i])


def _block(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Where block ``arguments[1]`` of ``arguments[0]`` starts."""
    blocks = _array(context, builder, signature, arguments, 0)
    size = builder.extract_value(blocks.shape, 1)
    return builder.gep(blocks.data, [builder.mul(arguments[1], size)])


def _sums_of(count: int) -> Any:
    """An intrinsic: the sums of one block under ``count`` tables.

    ``(blocks, block, tables: uint8[q, 64 * quads], queries: int64[], at, out: int32[32 * count])``
    where the tables are those of ``queries[at : at + count]``.
    """

    def plain(blocks, block, tables, queries, at, out):  # type: ignore[no-untyped-def]
        for i in range(count):
            _plain(blocks, block, tables, queries[at + i], out, BLOCK_ROWS * i)

    @intrinsic
    def sums(
        typing_context: Any, blocks: Any, block: Any, tables: Any, queries: Any, at: Any, out: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            target = _target(context)
            if target is None:
                return context.compile_internal(builder, plain, signature, arguments)
            entries, numbers, found = (
                _array(context, builder, signature, arguments, i) for i in (2, 3, 5)
            )
            size = builder.extract_value(entries.shape, 1)
            pointers = []
            for i in range(count):
                place = builder.add(arguments[4], _long(i))
                query = builder.load(builder.gep(numbers.data, [place]))
                pointers.append(builder.gep(entries.data, [builder.mul(query, size)]))
            codes = _block(context, builder, signature, arguments)
            emit_sums(builder, target, codes, pointers, builder.udiv(size, _long(64)), found.data)
            return context.get_dummy_value()

        return types.void(blocks, i64, tables, queries, i64, out), generate

    return sums


sums_of_one: Final = _sums_of(1)
sums_of_four: Final = _sums_of(TOGETHER)


@intrinsic
def scores_of_block(
    typing_context: Any,
    blocks: Any,
    block: Any,
    columns: Any,
    sums: Any,
    at: Any,
    step: Any,
    offset: Any,
    bias: Any,
    worst: Any,
    out: Any,
) -> Any:
    """Write the scores that ``sums[at : at + 32]`` make to ``out: float32[32]``.

    ``columns`` is the byte of a block where they start. Returns, as 32 bits, which scores are not
    below ``worst``.
    """
    f32 = types.float32
    kind = ir.VectorType(_float, BLOCK_ROWS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        blocks, found, scores = (
            _array(context, builder, signature, arguments, i) for i in (0, 3, 9)
        )
        here = _block(context, builder, signature, arguments)
        here = builder.bitcast(builder.gep(here, [arguments[2]]), _float.as_pointer())
        size = builder.sub(builder.extract_value(blocks.shape, 1), arguments[2])

        def spread(value: Any) -> Any:
            one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, _int(0))
            return _shuffle(builder, one, one, [0] * BLOCK_ROWS)

        step, offset, bias, worst = (spread(arguments[i]) for i in (5, 6, 7, 8))
        whole = _load(builder, found.data, arguments[4], _int, BLOCK_ROWS)
        score = builder.fmul(builder.sitofp(whole, kind), step)
        place = _variable(builder, builder.fadd(score, offset))
        for i, combine in enumerate((builder.fmul, builder.fadd)):
            before = 4 * BLOCK_ROWS * i
            with builder.if_then(builder.icmp_signed(">", size, _long(before))):
                column = _load(builder, here, _long(BLOCK_ROWS * i), _float, BLOCK_ROWS)
                builder.store(combine(builder.load(place), column), place)
        score = builder.fadd(builder.load(place), bias)
        _store(builder, score, scores.data, 0)
        reached = builder.fcmp_unordered(">=", score, worst)
        return builder.zext(builder.bitcast(reached, _int), _long)

    return i64(blocks, i64, i64, sums, i64, f32, f32, f32, f32, out), generate


@intrinsic
def count_trailing_zeros(typing_context: Any, word: Any) -> Any:
    """The place of the lowest bit set in an int64 that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return i64(i64), generate
