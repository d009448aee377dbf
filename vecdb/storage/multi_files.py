"""The multivectors of one name in the files of a segment, and the index of their tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vecdb.errors import CorruptionError
from vecdb.storage.arrays import PlacedArray
from vecdb.storage.catalog import Bits
from vecdb.storage.format import DamageError, unpack_bits
from vecdb.storage.states import read_token_index
from vecdb.vectors.multi import MultiBlock
from vecdb.vectors.ragged import taken

Offsets = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_LOOKED_AT = 1 << 16
"""Tokens that are looked through together, some 30 MB."""


@dataclass(frozen=True, eq=False)
class TokenIndex:
    """The centroids of the tokens, and which is the nearest of each. They are read when they are
    first asked for."""

    opened: PlacedArray
    """Of the centroids."""
    labels: PlacedArray
    originals: MultiFiles

    def require_fit(self) -> None:
        """Raise CorruptionError unless there is a label for each token."""
        if self.labels.header.rows != self.originals.tokens.header.rows:
            raise CorruptionError(self.labels.path, "does not label each token")

    @cached_property
    def centroids(self) -> Floats:
        """``float32 (c, dim)``. Raises CorruptionError."""
        try:
            size = self.originals.tokens.header.columns
            return read_token_index(self.opened.verify(), size, self.labels.header.rows)
        except DamageError as error:
            raise CorruptionError(self.opened.path, str(error)) from None

    @cached_property
    def of_tokens(self) -> npt.NDArray[np.uint16]:
        """The centroid of each token, ``uint16 (m,)``. Raises CorruptionError."""
        labels: npt.NDArray[np.uint16] = self.labels.verify().reshape(-1).view("<u2")
        if len(labels) and int(labels.max()) >= len(self.centroids):
            raise CorruptionError(self.labels.path, "names centroids that there are not")
        return labels

    @property
    def file_bytes(self) -> int:
        """Of both files."""
        return self.opened.file_size + self.labels.file_size


class MultiFiles:
    """The tokens of all rows, one row behind the other. Where rows begin is verified when they are
    opened, the rest as it is used. Raises CorruptionError."""

    def __init__(self, offsets: PlacedArray, tokens: PlacedArray, has: Bits | None) -> None:
        """``has``: bits of the rows that have a multivector; None: all of them."""
        self.offsets: Offsets = offsets.verify().view(np.int64)
        self.tokens = tokens
        ends = int(self.offsets[0]), int(self.offsets[-1])
        rising = bool((self.offsets[1:] >= self.offsets[:-1]).all())
        if not rising or ends != (0, tokens.header.rows):
            raise CorruptionError(offsets.path, "does not cut the tokens into rows")
        some = self.offsets[1:] > self.offsets[:-1]
        if not (some.all() if has is None else np.array_equal(some, unpack_bits(has, len(some)))):
            raise CorruptionError(offsets.path, "has tokens for other rows than have a multivector")

    @property
    def values(self) -> Floats:
        """The tokens, ``float32 (m, dim)``, verified or not."""
        header = self.tokens.header
        return self.tokens.array.reshape(header.rows, header.columns)

    def take(self, rows: Offsets) -> MultiBlock:
        """Copies of several rows, of which nothing says whether they have a multivector."""
        self.verify_rows(rows)
        offsets, columns = taken(self.offsets, (self.values,), rows)
        return MultiBlock(offsets, *columns)

    def verify_rows(self, rows: Offsets) -> None:
        """Verify every block that holds one of these rows."""
        self.tokens.verify_spans(self.offsets[rows], self.offsets[rows + 1])

    def entries(self, rows: Offsets) -> int:
        """How many tokens several rows have."""
        return int((self.offsets[rows + 1] - self.offsets[rows]).sum())

    def all(self) -> MultiBlock:
        """All rows, verified."""
        self.tokens.verify()
        return MultiBlock(self.offsets, self.values)

    def require_sound(self) -> None:
        """Look through all of it for what nobody could have written. Raises CorruptionError."""
        for start in range(0, self.tokens.header.rows, _LOOKED_AT):
            self.tokens.verify_span(start, start + _LOOKED_AT)
            if not np.isfinite(self.values[start : start + _LOOKED_AT]).all():
                raise CorruptionError(self.tokens.path, "has values that are not finite")
