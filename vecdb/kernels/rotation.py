"""A random rotation that costs d log d: signs flipped at random, then a Walsh-Hadamard transform.

Repeated, it spreads what any one dimension holds evenly over all: N. Ailon, B. Chazelle, "The fast
Johnson-Lindenstrauss transform and approximate nearest neighbors", SIAM J. Comput. 2009. The
transform needs a power of two. For any other number of dimensions it takes the first ``p``, the
largest power of two there are, and the last ``p`` in turns; as ``2 * p`` is more than all, each
number meets each other within two rounds.

The signs are a fixed function of their position, so nothing has to be stored.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from vecdb.kernels.compiling import njit, types
from vecdb.kernels.signatures import floats_2, i64, out_floats_1, out_floats_2

__all__ = ["make_signs", "rotate", "rotate_lanes"]

_GOLDEN: Final = 0x9E3779B97F4A7C15


def make_signs(dim: int) -> npt.NDArray[np.float32]:
    """What `rotate` multiplies with before each round, ``float32[rounds, dim]``: signs, scaled so
    that the round keeps lengths. Two rounds of the whole, or four of parts.

    The signs are a bit of SplitMix64 (G. L. Steele and others, "Fast splittable pseudorandom number
    generators", OOPSLA 2014) at each position: codes on disk depend on them.
    """
    power = 1 << dim.bit_length() - 1
    rounds = 2 if power == dim else 4
    with np.errstate(over="ignore"):
        word = np.arange(1, rounds * dim + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
        word = (word ^ word >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ word >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    signs = np.where(word >> np.uint64(63), np.float32(-1), np.float32(1)).reshape(rounds, dim)
    for turn in range(rounds):
        first = (dim - power) * (turn & 1)
        signs[turn, first : first + power] *= np.float32(power**-0.5)
    return np.ascontiguousarray(signs)


@njit(types.void(out_floats_1, i64), nogil=True, cache=True)
def _finish(piece, power):  # type: ignore[no-untyped-def]
    """The last three steps of a transform, of numbers less than eight positions apart.

    Written out: a loop over one, two or four neighbours takes four times as long.
    """
    for start in range(0, power, 8):
        eight = piece[start : start + 8]
        a0 = eight[0] + eight[4]
        a1 = eight[1] + eight[5]
        a2 = eight[2] + eight[6]
        a3 = eight[3] + eight[7]
        a4 = eight[0] - eight[4]
        a5 = eight[1] - eight[5]
        a6 = eight[2] - eight[6]
        a7 = eight[3] - eight[7]
        b0 = a0 + a2
        b1 = a1 + a3
        b2 = a0 - a2
        b3 = a1 - a3
        b4 = a4 + a6
        b5 = a5 + a7
        b6 = a4 - a6
        b7 = a5 - a7
        eight[0] = b0 + b1
        eight[1] = b0 - b1
        eight[2] = b2 + b3
        eight[3] = b2 - b3
        eight[4] = b4 + b5
        eight[5] = b4 - b5
        eight[6] = b6 + b7
        eight[7] = b6 - b7


@njit(types.void(out_floats_1, floats_2), nogil=True, cache=True)
def rotate(vector, signs):  # type: ignore[no-untyped-def]
    """Rotate ``vector: float32[d]`` in place; ``signs`` of `make_signs`."""
    dim = vector.shape[0]
    power = 1
    while 2 * power <= dim:
        power *= 2
    for turn in range(signs.shape[0]):
        for j in range(dim):
            vector[j] *= signs[turn, j]
        piece = vector[(dim - power) * (turn & 1) :]
        half = power >> 1
        least = 8 if power >= 16 else 1
        while half >= least:
            for start in range(0, power, 2 * half):
                low = piece[start : start + half]
                high = piece[start + half : start + 2 * half]
                for j in range(half):
                    a = low[j]
                    b = high[j]
                    low[j] = a + b
                    high[j] = a - b
            half >>= 1
        if power >= 16:
            _finish(piece, power)


@njit(types.void(out_floats_2, floats_2), nogil=True, cache=True)
def rotate_lanes(lanes, signs):  # type: ignore[no-untyped-def]
    """Rotate the columns of ``lanes: float32[d, n]`` in place: many vectors at once."""
    dim, n = lanes.shape
    power = 1
    while 2 * power <= dim:
        power *= 2
    for turn in range(signs.shape[0]):
        for j in range(dim):
            for i in range(n):
                lanes[j, i] *= signs[turn, j]
        first = (dim - power) * (turn & 1)
        half = power >> 1
        while half > 0:
            for start in range(first, first + power, 2 * half):
                for j in range(start, start + half):
                    for i in range(n):
                        a = lanes[np.uint64(j), i]
                        b = lanes[np.uint64(j + half), i]
                        lanes[np.uint64(j), i] = a + b
                        lanes[np.uint64(j + half), i] = a - b
            half >>= 1
