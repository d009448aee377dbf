"""The blocks of `vecdb.kernels.fastscan` by numpy alone: what kernels must read and write."""

from __future__ import annotations

from typing import Any

import numpy as np


def packed(codes: np.ndarray[Any, Any], columns: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Blocks of ``codes: uint8[n, m]`` and ``columns: float32[n, 0 .. 2]``; of a code, the low four
    bits. Row 16 + i of a block is in the high half of the byte of row i."""
    (n, m), width = codes.shape, columns.shape[1]
    blocks, subs = -(-n // 32), -(-m // 4) * 4
    low = np.zeros((blocks * 32, subs), np.uint8)
    low[:n, :m] = codes & 15
    low, high = low.reshape(blocks, 2, 16, subs).transpose(1, 0, 3, 2)
    numbers = np.zeros((blocks * 32, width), np.float32)
    numbers[:n] = columns
    numbers = np.ascontiguousarray(numbers.reshape(blocks, 32, width).transpose(0, 2, 1))
    bytes_ = (low | high << 4).reshape(blocks, 16 * subs)
    return np.hstack([bytes_, numbers.reshape(blocks, 32 * width).view(np.uint8)])
