"""Bits: a mask with one bit for each row, of some rows, counted, in its shortest form."""

from __future__ import annotations

import numpy as np

from vecdb.engine.view import Offsets
from vecdb.storage.catalog import Bits
from vecdb.storage.format import bits_at, pack_bits
from vecdb.storage.memory import all_alive


def gather_bits(alive: Bits | None, offsets: Offsets) -> Bits:
    """The bits of some rows of a mask, packed in their order."""
    if alive is None:
        return all_alive(len(offsets))
    return pack_bits(bits_at(alive, offsets))


def count_bits(bits: Bits | None, rows: int) -> int:
    """How many of ``rows`` rows a mask lets live."""
    return rows if bits is None else int(np.bitwise_count(bits).sum())


def none_if_all(bits: Bits, rows: int) -> Bits | None:
    """A mask in its shortest form: None when every row lives."""
    return None if count_bits(bits, rows) == rows else bits
