"""Numbers of originals as float32, whatever type they are kept in, as an intrinsic.

A kernel widens each number as it reads it, so that one body serves all types: in a loop over a row
LLVM does so in registers, many at once.
"""

from __future__ import annotations

from typing import Any, Final

from vecdb.kernels.compiling import intrinsic, ir, types

__all__ = ["widened"]

_HALF_TO_FLOAT: Final = 2.0**112
"""What the exponents of the two formats are apart, as a factor."""


@intrinsic
def widened(typing_context: Any, number: Any) -> Any:
    """A float32, the bits of a finite float16 as uint16, or a uint8, as float32: exactly."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (value,) = arguments
        if number == types.float32:
            return value
        if number == types.uint8:
            return builder.uitofp(value, ir.FloatType())
        if _knows_halves(context):
            return builder.fpext(builder.bitcast(value, ir.HalfType()), ir.FloatType())
        # A call of a runtime library it would be. The bits where float32 has them, the sign on top,
        # are the number but for its exponent; numbers below the normal ones are right, too.
        word = ir.IntType(32)
        bits = builder.shl(builder.sext(value, word), word(13))
        bits = builder.and_(bits, word(0x8FFFE000))
        number_but = builder.bitcast(bits, ir.FloatType())
        return builder.fmul(number_but, ir.Constant(ir.FloatType(), _HALF_TO_FLOAT))

    return types.float32(number), generate


def _knows_halves(context: Any) -> bool:
    """Whether the processor that is compiled for turns float16 into float32."""
    codegen = context.codegen()
    words = str(codegen._tm_features).split(",")
    return "+f16c" in words or "aarch64" in str(codegen._llvm_module.triple)
