"""Ask the processor for memory before it is needed, as an intrinsic."""

from __future__ import annotations

from typing import Any, Final

from vecdb.kernels.compiling import cgutils, intrinsic, ir, njit, types

__all__ = ["prefetch_row", "rows_ahead"]

_AHEAD: Final = 4096
"""Bytes before a row is needed: so far a processor's own look-ahead does not cross a page."""
_SHORT: Final = 256
"""Rows of fewer bytes that stand one behind the other come by themselves, and to ask for them costs
a fifth where they are in a cache."""
_FEWEST: Final = 4
"""Rows that are asked for at once where the processor cannot know which follow."""
_LINE: Final = 64
"""Bytes that come at once, on every processor we know."""


@njit(types.int64(types.int64, types.int64), nogil=True, cache=True)
def rows_ahead(row_bytes, scattered):  # type: ignore[no-untyped-def]
    """How many rows before one is needed it is to be asked for; 0: it comes by itself. Rows are
    ``scattered``, not 0, if some between them are left out."""
    ahead = 1 + _AHEAD // (row_bytes + 1)
    if scattered:
        return max(_FEWEST, ahead)
    return ahead if row_bytes >= _SHORT else 0


@intrinsic
def prefetch_row(typing_context: Any, vectors: Any, row: Any) -> Any:
    """Start to fetch row ``row`` of a 2-d array: a hint, which changes nothing and cannot fail."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, _ = signature.args
        array = context.make_array(kind)(context, builder, arguments[0])
        item = context.get_abi_sizeof(context.get_data_type(kind.dtype))
        long, word = ir.IntType(64), ir.IntType(32)
        size = builder.mul(builder.extract_value(array.shape, 1), long(item))
        pointer = ir.IntType(8).as_pointer()
        start = builder.gep(builder.bitcast(array.data, pointer), [builder.mul(arguments[1], size)])
        hint = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [pointer, word, word, word]),
            "llvm.prefetch.p0",
        )
        lines = builder.udiv(builder.add(size, long(_LINE - 1)), long(_LINE))
        with cgutils.for_range(builder, lines) as loop:
            line = builder.gep(start, [builder.mul(loop.index, long(_LINE))])
            builder.call(hint, [line, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(vectors, row), generate
