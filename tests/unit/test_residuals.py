"""The loops that sketch residuals, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from vecdb.kernels import residuals


@pytest.mark.parametrize(("rows", "dim", "width"), [(1, 1, 1), (33, 18, 4), (64, 7, 3)])
def test_encode_residuals(rows: int, dim: int, width: int) -> None:
    random = np.random.default_rng(9)
    places = -(-dim // width)
    points = random.standard_normal((rows, dim)).astype(np.float32)
    codebook = random.standard_normal((places * width, 16)).astype(np.float32)
    codebook[dim:] = 0
    codes = np.empty((rows, places), np.uint8)
    squares, products = np.empty(rows, np.float32), np.empty(rows, np.float32)
    residuals.encode_residuals(points, codebook, width, codes, squares, products)
    padded = np.zeros((rows, places * width), np.float32)
    padded[:, :dim] = points
    entries = codebook.reshape(places, width, 16)
    distances = np.square(padded.reshape(rows, places, width, 1) - entries).sum(axis=2)
    chosen = np.take_along_axis(distances, codes[:, :, None].astype(int), axis=2)[:, :, 0]
    np.testing.assert_allclose(chosen, distances.min(axis=2), rtol=1e-4, atol=1e-6)
    stands_for = entries.transpose(0, 2, 1)[np.arange(places), codes].reshape(rows, -1)
    np.testing.assert_allclose(squares, np.square(points).sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(products, (stands_for * padded).sum(axis=1), rtol=1e-3, atol=1e-4)


def test_fit_codebook_lowers_the_error() -> None:
    random = np.random.default_rng(10)
    points = random.standard_normal((600, 10)).astype(np.float32)
    codebook = np.zeros((12, 16), np.float32)
    codebook[:10] = points[:16].T

    def error(book: np.ndarray) -> float:
        padded = np.zeros((600, 12), np.float32)
        padded[:, :10] = points
        gaps = padded.reshape(600, 3, 4, 1) - book.reshape(3, 4, 16)
        return float(np.square(gaps).sum(axis=2).min(axis=2).sum())

    before = error(codebook)
    residuals.fit_codebook(points, 4, 8, codebook)
    assert error(codebook) < 0.8 * before
    assert not codebook[10:].any()


def test_residuals() -> None:
    random = np.random.default_rng(12)
    vectors = random.standard_normal((40, 9)).astype(np.float32)
    centroids = random.integers(0, 256, (5, 9), dtype=np.uint8)
    low = random.standard_normal(9).astype(np.float32)
    scale = random.uniform(0, 0.01, 9).astype(np.float32)
    labels = random.integers(0, 5, 40).astype(np.int32)
    out = np.empty_like(vectors)
    residuals.residuals(vectors, labels, centroids, low, scale, out)
    np.testing.assert_allclose(out, vectors - (low + scale * centroids)[labels], 1e-5, 1e-6)
