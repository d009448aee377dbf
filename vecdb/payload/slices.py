"""Slices: into which part of all ids a point falls, as Qdrant deals them out.

The hash of an id modulo the number of parts: SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast
short-input PRF", 2012) with a key of zeros, of the 8 bytes of a number, the lowest first, or of the
16 bytes of a UUID.
"""

from __future__ import annotations

import uuid
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vecdb.models.conditions import PointId

Integers = npt.NDArray[np.uint64]
Word: TypeAlias = Any
"""64 bits of one id, an int, or of many, an array: the arithmetic is the same."""

_BLOCK = 1 << 13
"""So many ids at once stay in the processor's cache."""
_MASK = (1 << 64) - 1
_KEYED = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


def slice_of(point_id: PointId, total: int) -> int:
    """The slice of one id, out of so many."""
    if isinstance(point_id, int):
        return int(_hash([point_id]) % total)
    data = uuid.UUID(point_id).bytes
    words = [int.from_bytes(half, "little") for half in (data[:8], data[8:])]
    return int(_hash(words) % total)


def slices_of(ids: Integers, total: int) -> Integers:
    """The slices of many ids, as `vecdb.ids` has them in arrays: numbers ``(n,)``, or keys with
    UUIDs among them ``(n, 2)``."""
    slices = np.empty(len(ids), dtype=np.uint64)
    for start in range(0, len(ids), _BLOCK):
        block = ids[start : start + _BLOCK]
        slices[start : start + _BLOCK] = _hashes(block) % np.uint64(total)
    return slices


def _hashes(ids: Integers) -> Integers:
    if ids.ndim == 1:
        return _hash([ids])  # type: ignore[no-any-return]
    high, low = ids[:, 0], ids[:, 1]
    # The key of a UUID is its value plus 2**64.
    of_uuids = _hash([(high - np.uint64(1)).byteswap(), low.byteswap()])
    hashes: Integers = np.asarray(np.where(high == 0, _hash([low]), of_uuids))
    return hashes


def _hash(words: list[Word]) -> Word:
    """SipHash-2-4 of 64-bit words, the first byte of each the lowest."""
    a, b, c, d = (words[0] * 0 + start for start in _KEYED)
    for word in (*words, words[0] * 0 + (8 * len(words) << 56)):  # the last has the length
        d = d ^ word
        for _ in range(2):
            a, b, c, d = _round(a, b, c, d)
        a = a ^ word
    c = c ^ 0xFF
    for _ in range(4):
        a, b, c, d = _round(a, b, c, d)
    return a ^ b ^ c ^ d


def _round(a: Word, b: Word, c: Word, d: Word) -> tuple[Word, Word, Word, Word]:
    a = (a + b) & _MASK
    c = (c + d) & _MASK
    b = _turned(b, 13) ^ a
    d = _turned(d, 16) ^ c
    a = _turned(a, 32)
    c = (c + b) & _MASK
    a = (a + d) & _MASK
    b = _turned(b, 17) ^ c
    d = _turned(d, 21) ^ a
    return a, b, _turned(c, 32), d


def _turned(word: Word, bits: int) -> Word:
    return (word << bits & _MASK) | (word >> (64 - bits))
