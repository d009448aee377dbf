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
        ([1.0, float("nan")], "^query: expected finite numbers, got nan at component 1$"),
        ([float("inf"), 1.0], "finite.*inf.*component 0"),
        ([1e300, 0.0], r"got 1e\+300, which float32 cannot hold, at component 0"),  # not "got inf"
        ([3e19, 0.0], "^query: the vector is longer than 1.8e19"),
        ([1.0, 2.0, 3.0], "expected 2 numbers, got 3"),
        ([[1.0, 2.0]], "shape"),
        (["a", "b"], "expected numbers, got 'a' at component 0"),
        ([1.0, None], "^query: expected numbers, got None at component 1$"),
        ([1.0, "2"], "^query: expected numbers, got '2' at component 1$"),
        (np.ma.array([1.0, 2.0], mask=[True, False]), "masked array"),
        (np.ma.array([1.0, 2.0], np.float32), "masked array"),
        ([True, False], "expected numbers"),
        ([1 + 2j, 0], "expected numbers"),
        ([[1.0], [1.0, 2.0]], "equal length, got 1 numbers in row 0, 2 numbers in row 1$"),
        ([1.0, [2.0]], "equal length, got 1.0 in row 0, 1 numbers in row 1$"),
        ([], "expected"),
        (None, "expected numbers"),
        ("ab", "expected numbers"),
    ],
)
def test_bad_queries_are_refused_with_the_reason(value: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        to_query(value, 2, normalize=False, what="query")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[1.0, 2.0], [3.0, 1e39]], r"got 1e\+39, which float32 .* at row 1, component 1"),
        ([[1.0, 2.0], [3.0, None]], "expected numbers, got None at row 1, component 1"),
        ([[1.0, 2.0], [3.0, float("inf")]], "finite numbers, got inf at row 1, component 1"),
        ([[1.0, 2.0], None], "equal length, got 2 numbers in row 0, None in row 1"),
        ([[1.0, 2.0], np.ma.array([1.0, 2.0], mask=[0, 1])], "masked array"),  # the mask was lost
    ],
)
def test_bad_rows_are_refused_with_the_reason(value: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        to_matrix(value, 2, normalize=False, what="vectors")


def test_the_caller_keeps_its_array() -> None:
    mine = np.array([[3.0, 4.0]], dtype=np.float32)
    to_matrix(mine, 2, normalize=True, what="vectors")
    assert mine.tolist() == [[3.0, 4.0]]
