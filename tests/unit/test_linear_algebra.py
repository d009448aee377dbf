"""Products that one thread makes alone."""

from __future__ import annotations

import numpy as np
import pytest

from vecdb import linear_algebra
from vecdb.linear_algebra import dots


@pytest.mark.parametrize("dim", [1, 3, 17, 384, 10_000, 10_001])
def test_rows_times_a_vector(dim: int) -> None:
    random = np.random.default_rng(dim)
    rows = random.standard_normal((37, dim)).astype(np.float32)
    vector = random.standard_normal(dim).astype(np.float32)
    found = dots(rows, vector)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, rows.astype(np.float64) @ vector, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dim", [3, 17, 385])
def test_equal_rows_have_equal_products_wherever_they_stand(dim: int) -> None:
    random = np.random.default_rng(dim)
    rows = random.standard_normal((101, dim)).astype(np.float32)
    rows[40:] = rows[3]
    products = dots(rows, random.standard_normal(dim).astype(np.float32))
    assert len(set(products[40:].tolist())) == 1
    assert products[3] == products[40]


def test_rows_of_common_lengths_take_no_threads_of_openblas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a busy machine a search of 5,000 rows took 25 times as long as by one thread."""
    monkeypatch.setattr(linear_algebra, "product", None)  # would raise
    dots(np.ones((5000, 384), dtype=np.float32), np.ones(384, dtype=np.float32))
