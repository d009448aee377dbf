"""Point ids: unsigned 64-bit integers and UUIDs, as one ordered key.

Outside, an id is an ``int`` or a canonical UUID string. Inside it is a *key*: one integer below
2**128 in which numbers stand for themselves and a UUID is its 128-bit value plus 2**64. So
numbers sort before UUIDs (the order of ``scroll``), and no two ids share a key. The price: UUIDs
whose first 64 bits are all ones (``ffffffff-ffff-ffff-…``, a reserved family) are refused.

In arrays keys are ``uint64 (n,)`` when all are numbers and ``uint64 (n, 2)`` (high, low) when
not; ``order`` is the permutation that sorts them.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb.errors import InvalidInputError

IdArray = npt.NDArray[np.uint64]
Offsets = npt.NDArray[np.int64]

_NUMBER_LIMIT = 1 << 64
_UUID_LIMIT = (1 << 128) - _NUMBER_LIMIT
_LOW = _NUMBER_LIMIT - 1

_usual_form = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}").fullmatch


def key_of(point_id: Any) -> int:
    """The key of one id. Raises InvalidInputError for anything but a u64 or a UUID."""
    if type(point_id) is int and 0 <= point_id < _NUMBER_LIMIT:
        return point_id
    if isinstance(point_id, (str, uuid.UUID)):
        value = point_id.int if isinstance(point_id, uuid.UUID) else _value_of(point_id)
        if value >= _UUID_LIMIT:
            raise InvalidInputError(
                f"point id {uuid.UUID(int=value)}: UUIDs whose first 64 bits are all ones are "
                f"reserved"
            )
        return value + _NUMBER_LIMIT
    if isinstance(point_id, bool) or not isinstance(point_id, (int, np.integer)):
        raise InvalidInputError(
            f"point id: expected an unsigned 64-bit integer or a UUID, got "
            f"{type(point_id).__name__} {point_id!r:.80}"
        )
    number = int(point_id)
    if not 0 <= number < _NUMBER_LIMIT:
        raise InvalidInputError(f"point id {number}: expected 0 <= id < 2**64")
    return number


def _value_of(text: str) -> int:
    """The 128 bits of a UUID in any form that ``uuid.UUID`` reads. Raises InvalidInputError."""
    if _usual_form(text):  # in a third of the time
        return int(text.replace("-", ""), 16)
    try:
        return uuid.UUID(text).int
    except ValueError:
        raise InvalidInputError(
            f"point id: expected an unsigned 64-bit integer or a UUID, got the string {text[:80]!r}"
        ) from None


def external(key: int) -> int | str:
    """The id a user sees for ``key``: an int, or a canonical UUID string."""
    if key < _NUMBER_LIMIT:
        return key
    # What str(uuid.UUID) does, in a quarter of the time: a search makes ten.
    digits = f"{key - _NUMBER_LIMIT:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def external_array(array: IdArray) -> list[int] | list[int | str]:
    """The ids that users see of an id array."""
    if array.ndim == 1:  # numbers, all of them
        return array.tolist()  # type: ignore[no-any-return]
    return [external(key) for key in from_array(array)]


def keys_of(ids: Any) -> list[int]:
    """The keys of a sequence or array of ids, in order."""
    if isinstance(ids, np.ndarray):
        if ids.ndim != 1:
            raise InvalidInputError(f"ids: expected one dimension, got shape {ids.shape}")
        if type(ids) is not np.ndarray and hasattr(ids, "mask"):
            raise InvalidInputError("ids: expected a list of ids, got a masked array")
        if ids.dtype.kind == "u":
            return ids.tolist()  # type: ignore[no-any-return]
        if ids.dtype.kind == "i" and (not len(ids) or int(ids.min()) >= 0):
            return ids.tolist()  # type: ignore[no-any-return]
        ids = ids.tolist()
    elif isinstance(ids, (str, bytes)) or not hasattr(ids, "__iter__"):
        raise InvalidInputError(f"ids: expected a list of ids, got {type(ids).__name__}")
    if not isinstance(ids, (list, tuple)):
        ids = list(ids)  # what can be walked through only once
    try:
        return [i if type(i) is int and 0 <= i < _NUMBER_LIMIT else key_of(i) for i in ids]
    except InvalidInputError:
        raise _wrong_one(ids) from None


def _wrong_one(ids: Sequence[Any]) -> InvalidInputError:
    """What is wrong with the first of them that is wrong, and where it is."""
    for number, each in enumerate(ids):
        try:
            key_of(each)
        except InvalidInputError as error:
            return InvalidInputError(f"ids[{number}]: {error}")
    raise AssertionError("none of the ids is wrong")


def to_array(keys: Sequence[int]) -> IdArray:
    """Keys as ``uint64 (n,)`` if all are numbers, else ``uint64 (n, 2)``."""
    if not keys or max(keys) < _NUMBER_LIMIT:
        return np.array(keys, dtype=np.uint64)
    array = np.empty((len(keys), 2), dtype=np.uint64)
    array[:, 0] = [key >> 64 for key in keys]
    array[:, 1] = [key & _LOW for key in keys]
    return array


def from_array(array: IdArray) -> list[int]:
    """The keys of an id array."""
    if array.ndim == 1:
        return array.tolist()  # type: ignore[no-any-return]
    return [(high << 64) | low for high, low in array.tolist()]


def widen(array: IdArray) -> IdArray:
    """The same keys in the two-column form."""
    if array.ndim == 2:
        return array
    wide = np.zeros((len(array), 2), dtype=np.uint64)
    wide[:, 1] = array
    return wide


def concatenate(arrays: Sequence[IdArray]) -> IdArray:
    """Id arrays one after another, widened only when one of them is."""
    if any(array.ndim == 2 for array in arrays):
        arrays = [widen(array) for array in arrays]
    return np.concatenate(arrays)


def sort_order(array: IdArray) -> npt.NDArray[np.uint32]:
    """The permutation that sorts an id array: ``uint32 (n,)``."""
    if array.ndim == 1:
        return np.argsort(array, kind="stable").astype(np.uint32)
    return np.lexsort((array[:, 1], array[:, 0])).astype(np.uint32)


def position(array: IdArray, order: npt.NDArray[np.uint32], wanted: IdArray) -> Offsets:
    """For each wanted key the first position in ``order`` whose key is not smaller: ``int64
    (m,)``."""
    if array.ndim == 1:
        if wanted.ndim == 1:
            return np.searchsorted(array, wanted, sorter=order).astype(np.int64)
        found = np.searchsorted(array, wanted[:, 1], sorter=order).astype(np.int64)
        found[wanted[:, 0] > 0] = len(array)
        return found
    # numpy cannot search two columns at once: a binary search over all wanted keys in step.
    wanted = widen(wanted)
    low = np.zeros(len(wanted), dtype=np.int64)
    high = np.full(len(wanted), len(array), dtype=np.int64)
    for _ in range(len(array).bit_length()):
        open_ = low < high
        middle = (low + high) >> 1
        rows = array[order[np.minimum(middle, len(array) - 1)]]
        less = (rows[:, 0] < wanted[:, 0]) | (
            (rows[:, 0] == wanted[:, 0]) & (rows[:, 1] < wanted[:, 1])
        )
        low = np.where(open_ & less, middle + 1, low)
        high = np.where(open_ & ~less, middle, high)
    return low


def find(array: IdArray, order: npt.NDArray[np.uint32], wanted: IdArray) -> Offsets:
    """The row of each wanted key in ``array``, or -1: ``int64 (m,)``."""
    if len(array) == 0:
        return np.full(len(wanted), -1, dtype=np.int64)
    at = np.minimum(position(array, order, wanted), len(array) - 1)
    rows = order[at].astype(np.int64)
    hit = array[rows]
    if array.ndim == 1 and wanted.ndim == 1:
        equal = hit == wanted
    else:
        equal = (widen(hit) == widen(wanted)).all(axis=1)
    return np.where(equal, rows, -1)
