"""Ask the processor for memory before it is needed, as an intrinsic."""

from __future__ import annotations

from typing import Any, Final

from vecdb.kernels.compiling import cgutils, intrinsic, ir, types

__all__ = ["AHEAD", "prefetch_row"]

AHEAD: Final = 4096
"""Bytes before a row is needed: so far a processor's own look-ahead does not cross a page."""

_LINE: Final = 64
"""Bytes that come at once, on every processor we know."""


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
