"""The array types of kernel signatures, and the numbers kernels know the metrics by.

Inputs are declared read-only: numba then accepts writable arrays as well, while a signature of
writable arrays refuses a mapped file.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from vecdb.kernels.compiling import types

__all__ = [
    "COSINE",
    "DOT",
    "EUCLID",
    "MANHATTAN",
    "METRIC_CODES",
    "REASSOCIATE",
    "Bytes",
    "Floats",
    "Ints",
    "bytes_1",
    "bytes_2",
    "codes_1",
    "f32",
    "floats_1",
    "floats_2",
    "i64",
    "ints_1",
    "ints_2",
    "originals_2",
    "out_bytes_1",
    "out_bytes_2",
    "out_floats_1",
    "out_floats_2",
    "out_int32s_1",
    "out_ints_1",
    "out_ints_2",
    "out_shorts_1",
    "out_words_1",
    "shorts_1",
    "slots_1",
    "three_ints",
    "two_floats",
    "two_ints",
    "words_1",
]

Floats: TypeAlias = npt.NDArray[np.float32]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Ints: TypeAlias = npt.NDArray[np.int64]

DOT: Final = 0
EUCLID: Final = 1
MANHATTAN: Final = 2
COSINE: Final = 3
"""The inner product over the length of the row; of a row of zeros, 0. For rows that could not be
scaled to length 1; estimates of them are inner products."""
METRIC_CODES: Final[dict[str, int]] = {
    "dot": DOT,
    "euclid": EUCLID,
    "manhattan": MANHATTAN,
    "cosine": COSINE,
}

REASSOCIATE: Final = {"reassoc", "contract", "nsz"}
"""What summing in vector lanes needs of fast-math, and no more: a NaN from inf - inf must still
compare as one, so ``nnan`` and ``ninf`` stay off."""


def _input(dtype: Any, ndim: int) -> Any:
    return types.Array(dtype, ndim, "C", readonly=True)


def _output(dtype: Any, ndim: int) -> Any:
    return types.Array(dtype, ndim, "C")


f32: Final = types.float32
i64: Final = types.int64
two_floats: Final = types.UniTuple(types.float32, 2)
three_ints: Final = types.UniTuple(types.int64, 3)
two_ints: Final = types.UniTuple(types.int64, 2)
bytes_1: Final = _input(types.uint8, 1)
bytes_2: Final = _input(types.uint8, 2)
codes_1: Final = [
    _input(dtype, 1) for dtype in (types.uint8, types.uint16, types.uint32, types.uint64)
]
"""Codes of columns, of any width."""
floats_1: Final = _input(types.float32, 1)
floats_2: Final = _input(types.float32, 2)
originals_2: Final = (floats_2, _input(types.uint16, 2), bytes_2)
"""Rows of float32, of float16 by their bits, and of uint8: what `widening.widened` takes."""
ints_1: Final = _input(types.int64, 1)
ints_2: Final = _input(types.int64, 2)
out_bytes_1: Final = _output(types.uint8, 1)
out_bytes_2: Final = _output(types.uint8, 2)
out_floats_1: Final = _output(types.float32, 1)
out_floats_2: Final = _output(types.float32, 2)
out_int32s_1: Final = _output(types.int32, 1)
out_ints_1: Final = _output(types.int64, 1)
out_ints_2: Final = _output(types.int64, 2)
out_shorts_1: Final = _output(types.uint16, 1)
out_words_1: Final = _output(types.uint32, 1)
shorts_1: Final = _input(types.uint16, 1)
slots_1: Final = _input(types.int32, 1)
words_1: Final = _input(types.uint32, 1)
