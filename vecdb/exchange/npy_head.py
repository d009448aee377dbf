"""The head of NumPy's own files, to write arrays behind it piece by piece."""

from __future__ import annotations

import io
from typing import Any

import numpy as np


def npy_head(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """What stands before the numbers of a C-contiguous array."""
    head = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
    np.lib.format.write_array_header_1_0(head, {**described, "shape": shape})
    return head.getvalue()
