"""Steps of `fastscan` and of the index on 16 or 32 numbers at once, as intrinsics.

An intrinsic is written out where it is called. A function called there with arrays would have
references to them counted, at each call, which costs more than a whole block of look-ups.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from vecdb.kernels.compiling import cgutils, intrinsic, ir, njit, types
from vecdb.kernels.shuffle import (
    BLOCK_ROWS,
    BYTE,
    FLOAT,
    INT,
    LONG,
    SHORT,
    VBMI,
    Target,
    add_to,
    call,
    emit_sums,
    load,
    reorder,
    splat,
    spread,
    store,
    target_for,
    variable,
)
from vecdb.kernels.signatures import bytes_2, i64, out_int32s_1

__all__ = [
    "LANES",
    "TOGETHER",
    "bytes_of_table",
    "count_ones",
    "count_trailing_zeros",
    "nearest_of_block",
    "products_of_four",
    "products_of_one",
    "products_of_sub",
    "range_of_table",
    "scores_of_block",
    "sums_of_four",
    "sums_of_one",
    "sums_of_three",
    "sums_of_two",
    "within",
]

TOGETHER: Final = 4
"""Queries that share one pass over the codes: the sums of more would not fit the registers."""
LANES: Final = 16
"""Numbers of 32 bits that are handled at once."""


@njit(types.void(bytes_2, i64, bytes_2, i64, out_int32s_1, i64), nogil=True, cache=True)
def _plain(blocks, block, tables, query, out, at):  # type: ignore[no-untyped-def]
    for row in range(BLOCK_ROWS):
        out[at + row] = 0
    for sub in range(tables.shape[1] >> 4):
        for i in range(16):
            both = np.int64(blocks[block, 16 * sub + i])
            out[at + i] += tables[query, 16 * sub + (both & 15)]
            out[at + 16 + i] += tables[query, 16 * sub + (both >> 4)]


def _target(context: Any) -> Target | None:
    """The processor that code is compiled for: not always this one, see numba's NUMBA_CPU_NAME.

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
                position = builder.add(arguments[4], LONG(i))
                query = builder.load(builder.gep(numbers.data, [position]))
                pointers.append(builder.gep(entries.data, [builder.mul(query, size)]))
            codes = _block(context, builder, signature, arguments)
            emit_sums(builder, target, codes, pointers, builder.udiv(size, LONG(64)), found.data)
            return context.get_dummy_value()

        return types.void(blocks, i64, tables, queries, i64, out), generate

    return sums


sums_of_one: Final = _sums_of(1)
sums_of_two: Final = _sums_of(2)
sums_of_three: Final = _sums_of(3)
sums_of_four: Final = _sums_of(TOGETHER)


def _products_of(count: int) -> Any:
    """An intrinsic: the inner products of one row of bytes with ``count`` rows of whole numbers.

    ``(matrix: uint8[.., d], row, numbers: int16[.., d], first, out: int32[count])``, of the rows
    ``numbers[first : first + count]``. A row's bytes are widened once for all.
    """

    @intrinsic
    def products(
        typing_context: Any, matrix: Any, row: Any, numbers: Any, first: Any, out: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            target = _target(context)
            bytes_, others, found = (
                _array(context, builder, signature, arguments, i) for i in (0, 2, 4)
            )
            dim = builder.extract_value(bytes_.shape, 1)
            whole = builder.and_(dim, LONG(-2 * LANES))
            row = builder.gep(bytes_.data, [builder.mul(arguments[1], dim)])
            lines = [
                builder.gep(others.data, [builder.mul(builder.add(arguments[3], LONG(i)), dim)])
                for i in range(count)
            ]
            totals = [variable(builder, splat(INT, LANES, 0)) for _ in lines]
            with cgutils.for_range_slice(builder, LONG(0), whole, LONG(2 * LANES)) as (j, _):
                wide = load(builder, row, j, BYTE, 2 * LANES)
                wide = builder.zext(wide, ir.VectorType(SHORT, 2 * LANES))
                for line, total in zip(lines, totals, strict=True):
                    those = load(builder, line, j, SHORT, 2 * LANES)
                    _add_products(builder, target, total, wide, those)
            for i, total in enumerate(totals):
                summed = call(builder, "llvm.vector.reduce.add.v16i32", INT, builder.load(total))
                builder.store(summed, builder.gep(found.data, [LONG(i)]))
            with cgutils.for_range_slice(builder, whole, dim, LONG(1)) as (j, _):
                byte = builder.zext(builder.load(builder.gep(row, [j])), INT)
                for i, line in enumerate(lines):
                    number = builder.sext(builder.load(builder.gep(line, [j])), INT)
                    add_to(builder, builder.gep(found.data, [LONG(i)]), builder.mul(byte, number))
            return context.get_dummy_value()

        return types.void(matrix, i64, numbers, i64, out), generate

    return products


def _add_products(builder: Any, target: Target | None, total: Any, a: Any, b: Any) -> None:
    """Add the products of 32 numbers of 16 bits, two by two, to 16 sums. Which is added to which
    does not matter: they are whole numbers."""
    kind = ir.VectorType(INT, LANES)
    if target == VBMI:
        pairs = [builder.bitcast(x, kind) for x in (a, b)]
        add = "llvm.x86.avx512.vpdpwssd.512"
        builder.store(call(builder, add, kind, builder.load(total), *pairs), total)
        return
    for half in (range(LANES), range(LANES, 2 * LANES)):
        x, y = (builder.sext(reorder(builder, each, each, list(half)), kind) for each in (a, b))
        add_to(builder, total, builder.mul(x, y))


products_of_one: Final = _products_of(1)
products_of_four: Final = _products_of(TOGETHER)


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
    kind = ir.VectorType(FLOAT, BLOCK_ROWS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        blocks, found, scores = (
            _array(context, builder, signature, arguments, i) for i in (0, 3, 9)
        )
        here = _block(context, builder, signature, arguments)
        here = builder.bitcast(builder.gep(here, [arguments[2]]), FLOAT.as_pointer())
        size = builder.sub(builder.extract_value(blocks.shape, 1), arguments[2])

        step, offset, bias, worst = (
            spread(builder, arguments[i], BLOCK_ROWS) for i in (5, 6, 7, 8)
        )
        whole = load(builder, found.data, arguments[4], INT, BLOCK_ROWS)
        score = builder.fmul(builder.sitofp(whole, kind), step)
        total = variable(builder, builder.fadd(score, offset))
        for i, combine in enumerate((builder.fmul, builder.fadd)):
            before = 4 * BLOCK_ROWS * i
            with builder.if_then(builder.icmp_signed(">", size, LONG(before))):
                column = load(builder, here, LONG(BLOCK_ROWS * i), FLOAT, BLOCK_ROWS)
                builder.store(combine(builder.load(total), column), total)
        score = builder.fadd(builder.load(total), bias)
        store(builder, score, scores.data, 0)
        reached = builder.fcmp_unordered(">=", score, worst)
        return builder.zext(builder.bitcast(reached, INT), LONG)

    return i64(blocks, i64, i64, sums, i64, f32, f32, f32, f32, out), generate


@intrinsic
def nearest_of_block(
    typing_context: Any,
    lanes: Any,
    start: Any,
    width: Any,
    centroids: Any,
    first: Any,
    count: Any,
    errors: Any,
    labels: Any,
) -> Any:
    """The nearest of ``count`` centroids to each of 32 points; among equals the first.

    Coordinates of the points are the rows ``start : start + width`` of ``lanes: float32[.., 32]``,
    those of the centroids the rows ``first : first + width`` of ``centroids: float32[.., any]``.
    Writes the squared distances to ``errors: float32[32]``, the numbers to ``labels: int32[32]``.
    """
    floats, whole = ir.VectorType(FLOAT, BLOCK_ROWS), ir.VectorType(INT, BLOCK_ROWS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes, centroids, errors, labels = (
            _array(context, builder, signature, arguments, i) for i in (0, 3, 6, 7)
        )
        start, width, first, count = (arguments[i] for i in (1, 2, 4, 5))
        row = builder.extract_value(centroids.shape, 1)
        least = variable(builder, splat(FLOAT, BLOCK_ROWS, float("inf")))
        label = variable(builder, ir.Constant(whole, None))
        distance = variable(builder, ir.Constant(floats, None))
        with cgutils.for_range(builder, count) as outer:
            builder.store(ir.Constant(floats, None), distance)
            with cgutils.for_range(builder, width) as inner:
                at = builder.mul(builder.add(start, inner.index), LONG(BLOCK_ROWS))
                entry = builder.mul(builder.add(first, inner.index), row)
                entry = builder.gep(centroids.data, [builder.add(entry, outer.index)])
                centroid = spread(builder, builder.load(entry), BLOCK_ROWS)
                away = builder.fsub(load(builder, lanes.data, at, FLOAT, BLOCK_ROWS), centroid)
                away = builder.fmul(away, away)
                builder.store(builder.fadd(builder.load(distance), away), distance)
            here, before = builder.load(distance), builder.load(least)
            nearer = builder.fcmp_ordered("<", here, before)
            builder.store(builder.select(nearer, here, before), least)
            number = spread(builder, builder.trunc(outer.index, INT), BLOCK_ROWS)
            builder.store(builder.select(nearer, number, builder.load(label)), label)
        store(builder, builder.load(least), errors.data, 0)
        store(builder, builder.load(label), labels.data, 0)
        return context.get_dummy_value()

    return types.void(lanes, i64, i64, centroids, i64, i64, errors, labels), generate


@intrinsic
def products_of_sub(
    typing_context: Any, query: Any, codebook: Any, first: Any, last: Any, sub: Any, out: Any
) -> Any:
    """Write the sum of ``query[j] * codebook[j]``, j from ``first`` to ``last - 1``, to row
    ``sub`` of ``out: float32[m, 16]``.

    ``codebook: float32[d, 16]``. The sum stays in one register; as a plain loop over 16 numbers it
    goes through memory for each j, which takes four to seven times as long.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        query, codebook, out = (
            _array(context, builder, signature, arguments, i) for i in (0, 1, 5)
        )
        total = variable(builder, ir.Constant(ir.VectorType(FLOAT, 16), None))
        with cgutils.for_range_slice(builder, arguments[2], arguments[3], LONG(1)) as (j, _):
            number = spread(builder, builder.load(builder.gep(query.data, [j])), 16)
            entries = load(builder, codebook.data, builder.mul(j, LONG(16)), FLOAT, 16)
            product = builder.fmul(number, entries)
            builder.store(builder.fadd(builder.load(total), product), total)
        start = builder.gep(out.data, [builder.mul(arguments[4], LONG(16))])
        store(builder, builder.load(total), start, 0)
        return context.get_dummy_value()

    return types.void(query, codebook, i64, i64, i64, out), generate


@intrinsic
def range_of_table(typing_context: Any, numbers: Any, sub: Any) -> Any:
    """The least and the greatest of row ``sub`` of ``numbers: float32[m, 16]``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        low = high = _table(context, builder, signature, arguments)
        for distance in (8, 4, 2, 1):
            order = [i ^ distance for i in range(16)]
            other = reorder(builder, low, low, order)
            low = builder.select(builder.fcmp_ordered("<", other, low), other, low)
            other = reorder(builder, high, high, order)
            high = builder.select(builder.fcmp_ordered(">", other, high), other, high)
        ends = [builder.extract_element(x, INT(0)) for x in (low, high)]
        return context.make_tuple(builder, signature.return_type, ends)

    two = types.UniTuple(types.float32, 2)
    return two(numbers, i64), generate


@intrinsic
def bytes_of_table(
    typing_context: Any, numbers: Any, sub: Any, least: Any, inverse: Any, out: Any
) -> Any:
    """Round ``(numbers[sub] - least) * inverse`` to ``out[16 * sub : 16 * sub + 16]``.

    What is below 0 or above 255 becomes that; NaN, from numbers that overflowed, becomes 0.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        level = _table(context, builder, signature, arguments)
        level = builder.fsub(level, spread(builder, arguments[2], 16))
        level = builder.fmul(level, spread(builder, arguments[3], 16))
        level = builder.fadd(level, splat(FLOAT, 16, 0.5))
        zero, most = splat(FLOAT, 16, 0.0), splat(FLOAT, 16, 255.0)
        level = builder.select(builder.fcmp_ordered(">", level, zero), level, zero)
        level = builder.select(builder.fcmp_ordered("<", level, most), level, most)
        whole = builder.fptosi(level, ir.VectorType(INT, 16))
        table = _array(context, builder, signature, arguments, 4)
        start = builder.gep(table.data, [builder.mul(arguments[1], LONG(16))])
        store(builder, builder.trunc(whole, ir.VectorType(BYTE, 16)), start, 0, align=1)
        return context.get_dummy_value()

    f32 = types.float32
    return types.void(numbers, i64, f32, f32, out), generate


def _table(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Row ``arguments[1]`` of the float32[m, 16] ``arguments[0]``."""
    numbers = _array(context, builder, signature, arguments, 0)
    return load(builder, numbers.data, builder.mul(arguments[1], LONG(16)), FLOAT, 16)


@intrinsic
def within(typing_context: Any, line: Any, start: Any, after: Any, until: Any) -> Any:
    """Which of the 16 numbers from ``line[start]`` on are above ``after`` and at most ``until``, as
    bits."""
    f32 = types.float32

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line = _array(context, builder, signature, arguments, 0)
        numbers = load(builder, line.data, arguments[1], FLOAT, LANES)
        above = builder.fcmp_ordered(">", numbers, spread(builder, arguments[2], LANES))
        reached = builder.fcmp_ordered("<=", numbers, spread(builder, arguments[3], LANES))
        bits = builder.bitcast(builder.and_(above, reached), ir.IntType(LANES))
        return builder.zext(bits, LONG)

    return i64(line, i64, f32, f32), generate


@intrinsic
def count_trailing_zeros(typing_context: Any, word: Any) -> Any:
    """The number of the lowest bit set in an int64 that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return i64(i64), generate


@intrinsic
def count_ones(typing_context: Any, word: Any) -> Any:
    """How many bits are set in an int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return i64(i64), generate
