"""MaxSim: scores of multivectors, each token of a query against all tokens of a row at once.

A block of rows is two arrays: ``offsets: int64[n + 1]`` and ``tokens: float32[m, d]``; those of row
``i`` are ``tokens[offsets[i] : offsets[i + 1]]``. A query of ``q`` tokens is *packed*, in groups of
16: ``packed: float32[ceil(q / 16), d, 16]`` has number ``j`` of token ``16 * g + l`` at ``[g, j,
l]``, and 0 where there is no such token.

A score is the sum, over the tokens of the query, of the best score against any token of the row.
Six tokens of the row meet sixteen of the query in registers, as in a product of matrices, and only
the best of each sixteen is kept. A score of two tokens is summed in the order of their numbers, the
sum of the best ones in float64: equal rows have equal scores.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from vecdb.kernels.compiling import cgutils, intrinsic, ir, njit, types
from vecdb.kernels.shuffle import (
    BYTE,
    FLOAT,
    LONG,
    SHORT,
    call,
    load,
    splat,
    spread,
    store,
    variable,
)
from vecdb.kernels.signatures import (
    DOT,
    EUCLID,
    bytes_1,
    bytes_2,
    f32,
    floats_2,
    i64,
    ints_1,
    out_floats_1,
    out_int32s_1,
    out_ints_1,
    shorts_1,
)
from vecdb.kernels.topk import topk_push

__all__ = ["LANES", "NARROW", "add_best", "scan_maxsim", "score_maxsim"]

LANES: Final = 16
"""Tokens of a query that are scored together: two registers of 32 bytes."""
NARROW: Final = 32
"""Tokens of a query whose scores are bytes that are looked up together."""
_TOKENS: Final = 6
"""Tokens of a row that are: their sums and the numbers of the query fill 16 registers."""
_FUSED: Final = ("contract",)


def _dot(builder: Any, total: Any, token: Any, query: Any) -> Any:
    return builder.fadd(total, builder.fmul(token, query, flags=_FUSED), flags=_FUSED)


def _euclid(builder: Any, total: Any, token: Any, query: Any) -> Any:
    apart = builder.fsub(token, query)
    return builder.fsub(total, builder.fmul(apart, apart, flags=_FUSED), flags=_FUSED)


def _manhattan(builder: Any, total: Any, token: Any, query: Any) -> Any:
    apart = builder.fsub(token, query)
    return builder.fsub(total, call(builder, f"llvm.fabs.v{LANES}f32", apart.type, apart))


def _best_of(add: Any) -> Any:
    """An intrinsic: the best scores of six tokens of a row against a group of the query, where they
    are better than those before.

    ``(tokens: float32[m, d], first, last, packed: float32[g * d, 16], group, best: float32[16 *
    g])``: of the tokens from ``first`` on; one after ``last`` is taken for ``last``.
    """

    @intrinsic
    def best_of_tokens(
        typing_context: Any, tokens: Any, first: Any, last: Any, packed: Any, group: Any, best: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            rows, queries, found = (
                context.make_array(signature.args[i])(context, builder, arguments[i])
                for i in (0, 3, 5)
            )
            dim = builder.extract_value(rows.shape, 1)
            lines = []
            for i in range(_TOKENS):
                at = builder.add(arguments[1], LONG(i))
                over = builder.icmp_signed(">", at, arguments[2])
                at = builder.select(over, arguments[2], at)
                lines.append(builder.gep(rows.data, [builder.mul(at, dim)]))
            group = builder.mul(arguments[4], LONG(LANES))
            numbers = builder.gep(queries.data, [builder.mul(group, dim)])
            totals = [variable(builder, splat(FLOAT, LANES, 0.0)) for _ in lines]
            with cgutils.for_range(builder, dim) as loop:
                at = builder.mul(loop.index, LONG(LANES))
                query = load(builder, numbers, at, FLOAT, LANES)
                for line, total in zip(lines, totals, strict=True):
                    number = builder.load(builder.gep(line, [loop.index]))
                    token = spread(builder, number, LANES)
                    builder.store(add(builder, builder.load(total), token, query), total)
            here = builder.gep(found.data, [group])
            most = load(builder, here, LONG(0), FLOAT, LANES)
            for total in totals:
                score = builder.load(total)
                # What is no number, of infinities, is no better.
                better = builder.fcmp_ordered(">", score, most)
                most = builder.select(better, score, most)
            store(builder, most, here, 0)
            return context.get_dummy_value()

        return types.void(tokens, i64, i64, packed, i64, best), generate

    return best_of_tokens


_best_dot: Final = _best_of(_dot)
_best_euclid: Final = _best_of(_euclid)
_best_manhattan: Final = _best_of(_manhattan)


@njit(
    f32(i64, floats_2, i64, i64, floats_2, i64, out_floats_1),
    nogil=True,
    cache=True,
)
def _score(metric, tokens, start, stop, packed, queries, best):  # type: ignore[no-untyped-def]
    """The score of the row of the tokens from ``start`` to ``stop``, which has one at least."""
    groups = best.shape[0] // LANES
    for j in range(best.shape[0]):
        best[j] = -np.inf
    # The six of a turn stay in the cache while all groups of the query pass by.
    for first in range(start, stop, _TOKENS):
        for group in range(groups):
            if metric == DOT:
                _best_dot(tokens, first, stop - 1, packed, group, best)
            elif metric == EUCLID:
                _best_euclid(tokens, first, stop - 1, packed, group, best)
            else:
                _best_manhattan(tokens, first, stop - 1, packed, group, best)
    total = 0.0
    for j in range(queries):
        total += np.float64(best[j])
    return np.float32(total)


@njit(
    i64(
        *(i64, ints_1, floats_2, floats_2, i64, bytes_1, i64),
        *(out_floats_1, out_floats_1, out_ints_1, i64),
    ),
    nogil=True,
    cache=True,
)
def scan_maxsim(metric, offsets, tokens, packed, queries, mask, base, best, scores, rows, filled):  # type: ignore[no-untyped-def]
    """Offer every allowed row of a block that has a token to the running top-k, as ``base + row``.
    The mask is of the whole segment. ``packed``: its first two axes as one; ``queries``: how many
    tokens the query has; ``best: float32[16 * groups]``: room. Returns the new ``filled``."""
    for row in range(offsets.shape[0] - 1):
        place = base + row
        if offsets[row] == offsets[row + 1]:
            continue
        if mask.shape[0] == 0 or (mask[place >> 3] >> (place & 7)) & 1:
            score = _score(metric, tokens, offsets[row], offsets[row + 1], packed, queries, best)
            filled = topk_push(scores, rows, filled, score, place)
    return filled


@njit(
    types.void(i64, ints_1, floats_2, floats_2, i64, out_floats_1, ints_1, out_floats_1),
    nogil=True,
    cache=True,
)
def score_maxsim(metric, offsets, tokens, packed, queries, best, row_numbers, out):  # type: ignore[no-untyped-def]
    """Write the scores of the rows ``row_numbers: int64[r]``, which have a token each, to ``out:
    float32[r]``. The rest is as in `scan_maxsim`."""
    for i in range(row_numbers.shape[0]):
        row = row_numbers[i]
        out[i] = _score(metric, tokens, offsets[row], offsets[row + 1], packed, queries, best)


@intrinsic
def _sum_of_best(typing_context: Any, labels: Any, start: Any, stop: Any, table: Any) -> Any:
    """The sum of the largest bytes, in each of the 32 columns, of the lines of ``table: uint8[c,
    32]`` that ``labels: uint16[start : stop]`` name."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        of_tokens, lines = (
            context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 3)
        )
        most = variable(builder, splat(BYTE, NARROW, 0))
        with cgutils.for_range_slice(builder, arguments[1], arguments[2], LONG(1)) as (at, _):
            label = builder.zext(builder.load(builder.gep(of_tokens.data, [at])), LONG)
            line = load(builder, lines.data, builder.mul(label, LONG(NARROW)), BYTE, NARROW)
            before = builder.load(most)
            larger = builder.icmp_unsigned(">", line, before)
            builder.store(builder.select(larger, line, before), most)
        wide = builder.zext(builder.load(most), ir.VectorType(SHORT, NARROW))
        total = call(builder, f"llvm.vector.reduce.add.v{NARROW}i16", SHORT, wide)
        return builder.zext(total, LONG)

    return i64(labels, i64, i64, table), generate


@njit(types.void(ints_1, shorts_1, bytes_2, bytes_1, out_int32s_1), nogil=True, cache=True)
def add_best(offsets, labels, table, mask, sums):  # type: ignore[no-untyped-def]
    """Add to ``sums: int32[n]``, of each allowed row that has a token, about what 32 tokens of a
    query score: the best bytes by the labels of its tokens, ``labels: uint16[m]``, which name lines
    of ``table: uint8[c, 32]``. Labels are not checked."""
    for row in range(offsets.shape[0] - 1):
        if offsets[row] == offsets[row + 1]:
            continue
        if mask.shape[0] == 0 or (mask[row >> 3] >> (row & 7)) & 1:
            sums[row] += _sum_of_best(labels, offsets[row], offsets[row + 1], table)
