"""Body: arrays and a few facts as the bytes of a column file, read as views without trust.

The facts are a msgpack map; in it an array is ``[its number, bytes of an element]``. The bytes are
those of `pack_blocks`, which docs/file-format.md describes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb.storage.format import DamageError, pack_blocks, unpack_blocks

Array = npt.NDArray[Any]

VERSION = 1

_UNSIGNED: dict[int, np.dtype[Any]] = {width: np.dtype(f"<u{width}") for width in (1, 2, 4, 8)}


def narrowest(most: int) -> np.dtype[Any]:
    """The unsigned type that holds numbers up to ``most``."""
    return _UNSIGNED[next(width for width in _UNSIGNED if most >> 8 * width == 0)]


class Writer:
    """Collects arrays while the facts are put together."""

    def __init__(self) -> None:
        self._arrays: list[Array] = []

    def put(self, array: Array) -> list[int]:
        """Take an array; what stands for it among the facts."""
        self._arrays.append(np.ascontiguousarray(array))
        return [len(self._arrays) - 1, array.dtype.itemsize]

    def pack(self, facts: dict[str, Any]) -> list[Any]:
        """The buffers of the body."""
        return pack_blocks({"version": VERSION, **facts}, [a.view(np.uint8) for a in self._arrays])


class Reader:
    """The facts and arrays of a body. Everything it gives was checked for its type and length, no
    array for its numbers. All methods raise DamageError."""

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self.facts, self._blocks = unpack_blocks(memoryview(data))  # type: ignore[arg-type]
        version = self.facts.get("version")
        if version != VERSION:
            raise DamageError(f"a column of version {version!r}; this vecdb reads {VERSION}")

    def array(self, spec: Any, length: int | None = None, width: int | None = None) -> Array:
        """The array that ``spec`` stands for: so many unsigned numbers of ``width`` bytes each."""
        if not (type(spec) is list and len(spec) == 2 and all(type(n) is int for n in spec)):
            raise DamageError(f"{spec!r:.60} stands for no array")
        number, found = spec
        if (
            not 0 <= number < len(self._blocks)
            or found not in _UNSIGNED
            or (width is not None and found != width)
        ):
            raise DamageError(f"{spec!r} stands for no array")
        block = self._blocks[number]
        if len(block) % found or (length is not None and len(block) != length * found):
            raise DamageError(f"an array of {len(block)} bytes, expected {length} numbers")
        array: Array = np.frombuffer(block, dtype=_UNSIGNED[found])
        array.setflags(write=False)
        return array

    def keys(self, spec: Any) -> npt.NDArray[np.int64]:
        """The array as signed numbers of 64 bits."""
        return self.array(spec, width=8).view(np.int64)


def whole(value: Any, least: int, most: int) -> int:
    """A fact that is an integer. Raises DamageError."""
    if type(value) is not int or not least <= value <= most:
        raise DamageError(f"{value!r:.60} is no integer from {least} to {most}")
    return value
