"""Vectors at the door: refused or normalised, never stored wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vecdb.errors import InvalidInputError
from vecdb.vectors import to_matrix, to_query


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "u1"])
def test_every_numeric_dtype_becomes_float32(dtype: str) -> None:
    rows = np.arange(6).reshape(2, 3).astype(dtype)
    out = to_matrix(rows, 3, normalize=False, what="vectors")
    assert out.dtype == np.float32
    assert (out == rows).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1.0, 1e18])
def test_cosine_rows_have_length_one_at_any_scale(scale: float) -> None:
    rows = np.array([[3, 4, 0], [0, 0, 0], [1, 1, 1]], dtype=np.float64) * scale
    out = to_matrix(rows, 3, normalize=True, what="vectors")
    lengths = np.linalg.norm(out, axis=1)
    assert lengths == pytest.approx([1, 0, 1], abs=1e-6)
    one = to_query(rows[0], 3, normalize=True, what="query")
    assert one == pytest.approx([0.6, 0.8, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0, float("nan")], "finite.*nan.*component 1"),
        ([float("inf"), 1.0], "finite.*inf.*component 0"),
        ([1e300, 0.0], "finite"),
        ([3e19, 0.0], "1.8e19"),
        ([1.0, 2.0, 3.0], "expected 2 numbers, got 3"),
        ([[1.0, 2.0]], "shape"),
        (["a", "b"], "expected numbers"),
        ([True, False], "expected numbers"),
        ([1 + 2j, 0], "expected numbers"),
        ([[1.0], [1.0, 2.0]], "expected"),
        ([], "expected"),
        (None, "expected numbers"),
        ("ab", "expected numbers"),
    ],
)
def test_bad_queries_are_refused_with_the_reason(value: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        to_query(value, 2, normalize=False, what="query")


def test_the_caller_keeps_its_array() -> None:
    mine = np.array([[3.0, 4.0]], dtype=np.float32)
    to_matrix(mine, 2, normalize=True, what="vectors")
    assert mine.tolist() == [[3.0, 4.0]]
