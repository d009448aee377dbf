"""The numbers in data files that say what they hold and of what type it is. Never renumber."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np


class Kind(IntEnum):
    """What a data file holds. Stored in its header; never renumber."""

    IDS = 1
    ORDER = 2
    SEQS = 3
    PAYLOAD = 4
    PAYLOAD_OFFSETS = 5
    VECTORS = 6
    PRESENT = 7
    CODES = 8
    QUANTIZER = 9
    MANIFEST = 10
    INDEX = 11
    SKETCH = 12
    PAYLOAD_EDITS = 13
    COLUMN = 14
    SPARSE_OFFSETS = 15
    SPARSE_INDICES = 16
    SPARSE_VALUES = 17
    TERMS = 18
    POSTINGS = 19
    TOKEN_OFFSETS = 20
    TOKENS = 21
    TOKEN_LABELS = 22
    TOKEN_INDEX = 23


DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<u1"),
    2: np.dtype("<u4"),
    3: np.dtype("<u8"),
    4: np.dtype("<f4"),
    5: np.dtype("<f2"),
}
