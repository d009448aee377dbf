"""What the numbers of a vector are, in memory, in files and in the log."""

from __future__ import annotations

import numpy as np

STORED = np.dtype("<f4")


def bytes_per_vector(*dims: int) -> int:
    """Bytes of a vector, or of a row with several."""
    return STORED.itemsize * sum(dims)
