"""The sparse vectors of one name in the files of a segment, and their inverted index."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vecdb.errors import CorruptionError
from vecdb.index import Terms
from vecdb.storage.arrays import PlacedArray
from vecdb.storage.format import DamageError
from vecdb.storage.states import read_terms
from vecdb.vectors.sparse import SparseBlock, ascend, rows_of

Offsets = npt.NDArray[np.int64]


class SparseFiles:
    """The vectors. Where rows begin is verified when they are opened, the rest as it is used.
    Raises CorruptionError."""

    def __init__(self, offsets: PlacedArray, indices: PlacedArray, values: PlacedArray) -> None:
        self.offsets: Offsets = offsets.verify().view(np.int64)
        self.indices, self.values = indices, values
        ends = int(self.offsets[0]), int(self.offsets[-1])
        rising = bool((self.offsets[1:] >= self.offsets[:-1]).all())
        if not rising or ends != (0, len(indices.array)):
            raise CorruptionError(offsets.path, "does not cut the numbers into rows")
        if len(indices.array) != len(values.array):
            raise CorruptionError(values.path, f"is not as long as {indices.path.name}")

    def take(self, rows: Offsets) -> SparseBlock:
        """Copies of several rows, of which nothing says whether they have a vector."""
        self.verify_rows(rows)
        return rows_of(*self.parts, rows)

    @property
    def parts(self) -> tuple[Offsets, npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
        """The arrays as they are, verified or not."""
        return self.offsets, self.indices.array, self.values.array

    @property
    def is_verified(self) -> bool:
        """Whether nothing is left to verify."""
        return not (self.indices.unverified_blocks or self.values.unverified_blocks)

    def verify_rows(self, rows: Offsets) -> None:
        """Verify every block that holds one of these rows."""
        if not self.is_verified:
            starts, stops = self.offsets[rows], self.offsets[rows + 1]
            self.indices.verify_spans(starts, stops)
            self.values.verify_spans(starts, stops)

    def entries(self, rows: Offsets) -> int:
        """How many numbers several rows have."""
        return int((self.offsets[rows + 1] - self.offsets[rows]).sum())

    def all(self) -> SparseBlock:
        """All rows, verified."""
        return SparseBlock(self.offsets, self.indices.verify(), self.values.verify())

    def require_sound(self) -> None:
        """Look through all of it for what nobody could have written. Raises CorruptionError."""
        block = self.all()
        if not ascend(block.offsets, block.indices):
            raise CorruptionError(self.indices.path, "has indices that do not ascend")
        if not np.isfinite(block.values).all():
            raise CorruptionError(self.values.path, "has values that are not finite")


@dataclass(frozen=True, eq=False)
class Postings:
    """The inverted index. The terms are read when they are first asked for."""

    opened: PlacedArray
    """Of the terms."""
    postings: PlacedArray
    originals: SparseFiles

    @cached_property
    def terms(self) -> Terms:
        """The terms and where their postings are. Raises CorruptionError."""
        try:
            return read_terms(self.opened.verify(), self.postings.header.rows)
        except DamageError as error:
            raise CorruptionError(self.opened.path, str(error)) from None

    @property
    def file_bytes(self) -> int:
        """Of both files."""
        return self.opened.file_size + self.postings.file_size
