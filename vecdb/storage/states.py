"""States: what derived files say that hold several arrays, as an index or a quantizer has."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vecdb.index import ClusteredIndex, Terms
from vecdb.index.centroids import read_centroids
from vecdb.quantization import Quantizer, from_state
from vecdb.storage.format import DamageError, unpack_blocks

_OF_INDEX = ("|u1", "<u4", "<i8", "<f4", "<f8")


def read_quantizer(data: npt.NDArray[np.uint8], kind: str, dim: int) -> Quantizer:
    """The quantizer from the bytes of its file, which must be of this kind and dimension. Raises
    DamageError."""
    try:
        meta, state = _read_state(memoryview(data.tobytes()), ("<f4", "<f8"))
        if (meta["kind"], meta["dim"]) != (kind, dim):
            raise ValueError(f"{meta['kind']!r:.60} of {meta['dim']!r:.60}, not {kind!r} of {dim}")
        return from_state(kind, meta["metric"], dim, state)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DamageError(f"not a valid quantizer: {error}") from None


def read_index(data: npt.NDArray[np.uint8], dim: int, rows: int) -> ClusteredIndex:
    """The index from the bytes of its file, which must be of this dimension. Raises DamageError."""
    try:
        meta, state = _read_state(memoryview(data.tobytes()), _OF_INDEX)
        if meta["dim"] != dim:
            raise ValueError(f"of {meta['dim']!r:.60} dimensions, not {dim}")
        return ClusteredIndex.from_state(meta["metric"], dim, rows, state)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DamageError(f"not a valid index: {error}") from None


def read_terms(data: npt.NDArray[np.uint8], postings: int) -> Terms:
    """The terms of an inverted index from the bytes of their file; ``postings``: how many there are
    in the other. Raises DamageError."""
    try:
        # Without a copy: there may be many.
        meta, state = _read_state(data.data, ("|u1", "<u2", "<u4", "<i8", "<f4"))
        return Terms.from_state(meta["window"], postings, state)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DamageError(f"not valid terms: {error}") from None


def read_token_index(
    data: npt.NDArray[np.uint8], size: int, tokens: int
) -> npt.NDArray[np.float32]:
    """The centroids of so many tokens of ``size`` numbers from the bytes of their file. Raises
    DamageError."""
    try:
        meta, state = _read_state(memoryview(data.tobytes()), ("<f4",))
        if meta["tokens"] != tokens:
            raise ValueError(f"of {meta['tokens']!r:.60} tokens, not {tokens}")
        return read_centroids(state, size)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DamageError(f"not valid centroids: {error}") from None


def _read_state(
    data: memoryview, dtypes: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Its description and its arrays. Raises what wrong bytes lead to."""
    meta, blocks = unpack_blocks(data)
    state = {}
    for (name, dtype, shape), block in zip(meta["arrays"], blocks, strict=True):
        if dtype not in dtypes:
            raise ValueError(f"an array of {dtype!r:.60}")
        state[name] = np.frombuffer(block, dtype=dtype).reshape(shape)
    return meta, state
