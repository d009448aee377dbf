"""The memory of an array in another shape, as intrinsics.

Numpy's own ask questions first. Those are settled where these are used, and the texts of the errors
would take a Python to write.
"""

from __future__ import annotations

from typing import Any

from vecdb.kernels.compiling import cgutils, intrinsic, ir, types

__all__ = ["flat", "floats_of"]


@intrinsic
def flat(typing_context: Any, matrix: Any) -> Any:
    """The rows of a contiguous matrix one behind the other: ``ravel``."""
    return _view_of(matrix, matrix.dtype)


@intrinsic
def floats_of(typing_context: Any, line: Any) -> Any:
    """The bytes of a row as float32 numbers: ``view``."""
    return _view_of(line, types.float32)


def _view_of(given: Any, dtype: Any) -> Any:
    result = types.Array(dtype, 1, "C", readonly=not given.mutable)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(given)(context, builder, arguments[0])
        old, new = (
            ir.IntType(64)(context.get_abi_sizeof(context.get_data_type(kind)))
            for kind in (given.dtype, dtype)
        )
        items = builder.udiv(builder.mul(array.nitems, old), new)
        view = context.make_array(result)(context, builder)
        view.meminfo, view.parent = array.meminfo, array.parent
        view.nitems, view.itemsize = items, new
        view.data = builder.bitcast(array.data, view.data.type)
        view.shape = cgutils.pack_array(builder, [items])
        view.strides = cgutils.pack_array(builder, [new])
        value = view._getvalue()
        context.nrt.incref(builder, result, value)
        return value

    return result(given), generate
