"""What derived files of a segment hold, opened: codes, and a clustered index."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from vecdb.index import ClusteredIndex, Spread
from vecdb.quantization import Quantizer
from vecdb.storage.arrays import PlacedArray
from vecdb.storage.catalog import Bits
from vecdb.storage.format import pack_bits


class QuantizedVectors(Struct, frozen=True):
    """The quantized vectors of one vector name: their codes, and what reads them."""

    quantizer: Quantizer
    codes: PlacedArray
    codec: dict[str, Any]
    regular: Bits | None
    """Bits of the rows that are no strays; None: all of them."""


@dataclass(frozen=True, eq=False)
class Index:
    """The clustered index of one vector name, and the sketches it looks into."""

    clustered: ClusteredIndex
    sketch: PlacedArray
    file_bytes: int
    """Of both files."""
    rows: int
    """Of the segment."""

    @cached_property
    def spread(self) -> Spread:
        """How exact the sketches are. Raises CorruptionError."""
        blocks = self.sketch.verify().reshape(self.clustered.sketch_shape)
        return self.clustered.spread(blocks)

    @cached_property
    def regular(self) -> Bits | None:
        """Bits of the rows that are no strays; None: all of them. Raises CorruptionError."""
        return without_rows(self.spread.strays, self.rows)


def without_rows(rows: npt.NDArray[np.int64], count: int) -> Bits | None:
    """Bits of all of so many rows but some; None: there are none to leave out."""
    if not len(rows):
        return None
    flags = np.ones(count, dtype=np.bool_)
    flags[rows] = False
    return pack_bits(flags)
