"""The loops that sketch residuals, and the sketches they make, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from block_layout import packed

from vecdb.index.clustered.clustering import Clustering
from vecdb.index.clustered.sketch import Sketcher, width_for
from vecdb.kernels import clustering, fastscan, residuals


@pytest.mark.parametrize(("rows", "dim", "width"), [(0, 5, 2), (1, 1, 1), (33, 18, 4), (64, 7, 3)])
def test_products_with_codes(rows: int, dim: int, width: int) -> None:
    random = np.random.default_rng(9)
    subs = -(-dim // width)
    points = random.standard_normal((rows, dim)).astype(np.float32)
    codebook = random.standard_normal((subs * width, 16)).astype(np.float32)
    codes = random.integers(0, 16, (rows, subs), dtype=np.uint8)
    blocks = packed(codes, np.ones((rows, 1), np.float32))
    products = np.empty(rows, np.float32)
    residuals.products_with_codes(points, codebook, width, blocks, products)
    dimensions = np.arange(dim)
    stands_for = codebook[dimensions, codes[:, dimensions // width]]
    np.testing.assert_allclose(products, (stands_for * points).sum(axis=1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("m", "dim", "width"), [(1, 1, 1), (32, 6, 3), (70, 11, 4)])
def test_chunks_turn_points(m: int, dim: int, width: int) -> None:
    points = np.random.default_rng(8).standard_normal((m, dim)).astype(np.float32)
    covered = []
    for chunk, lanes in clustering.chunks_of(points, width):
        wide = chunk.stop - chunk.start
        assert lanes.flags.c_contiguous
        turned = lanes.reshape(-1, wide, 32).transpose(0, 2, 1).reshape(-1, wide)
        np.testing.assert_array_equal(turned[:m], points[:, chunk])
        assert not turned[m:].any()
        covered += range(dim)[chunk]
    assert covered == list(range(dim))


@pytest.mark.parametrize("distance", [False, True])
@pytest.mark.parametrize(("rows", "dim"), [(1, 3), (200, 190), (333, 1030)])
def test_a_sketch_says_what_its_codes_and_numbers_should_be(
    rows: int, dim: int, distance: bool
) -> None:
    random = np.random.default_rng(10)
    vectors = random.standard_normal((rows, dim)).astype(np.float32)
    low, scale = vectors.min(axis=0), np.full(dim, 0.01, np.float32)
    middle = random.standard_normal(dim).astype(np.float32)
    stretch = random.uniform(0.5, 2.0, 3).astype(np.float32)
    codes = random.integers(0, 256, (3, dim), dtype=np.uint8)
    kept = Clustering(codes, low, scale, middle, stretch)
    labels = random.integers(0, 3, rows).astype(np.int32)
    vectors[::50] *= 100  # outliers are coded at another length
    sketcher = Sketcher.fit(vectors, labels, kept, distance=distance)
    width = width_for(dim)
    subs = -(-dim // width)
    assert sketcher.codebook.shape == (subs * width, 16)
    assert not sketcher.codebook[dim:].any()
    blocks, squares = sketcher.encode(vectors, labels)

    points = np.zeros((rows, subs * width), np.float32)
    points[:, :dim] = vectors - middle - kept.centroids()[labels]
    lengths = np.linalg.norm(points, axis=1)
    coded = np.clip(lengths, sketcher.usual / 2, sketcher.usual * 2)
    residuals, points = points, points * (coded / lengths)[:, None]
    entries = sketcher.codebook.reshape(subs, width, 16)
    errors = np.square(points.reshape(rows, subs, width, 1) - entries).sum(axis=2)
    codes = np.empty((rows, subs), np.uint8)
    fastscan.unpack(blocks, codes)
    chosen = np.take_along_axis(errors, codes[:, :, None].astype(int), axis=2)[:, :, 0]
    np.testing.assert_allclose(chosen, errors.min(axis=2), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(squares, np.square(residuals).sum(axis=1), rtol=1e-4)

    stands_for = entries.transpose(0, 2, 1)[np.arange(subs), codes].reshape(rows, -1)
    corrections = coded * coded / (stands_for * points).sum(axis=1)
    assert ((corrections > 0) & (corrections < 8)).all()
    corrections *= lengths / coded
    columns = [corrections]
    if distance:
        lengths = np.square(kept.centroids()).sum(axis=1)[labels]
        lengths -= np.square(vectors - middle).sum(axis=1)
        columns = [2 * corrections, lengths]
    numbers = np.stack(columns, axis=1).astype(np.float32)
    want = packed(codes, numbers)
    codes_end = -128 * len(columns)
    np.testing.assert_array_equal(blocks[:, :codes_end], want[:, :codes_end])
    np.testing.assert_allclose(
        np.ascontiguousarray(blocks[:, codes_end:]).view(np.float32),
        np.ascontiguousarray(want[:, codes_end:]).view(np.float32),
        rtol=1e-3,
        atol=1e-4,
    )


def test_a_codebook_lowers_the_error() -> None:
    random = np.random.default_rng(11)
    vectors = random.standard_normal((600, 384)).astype(np.float32)
    nothing = np.zeros(384, np.float32)
    kept = Clustering(np.zeros((1, 384), np.uint8), nothing, nothing, nothing, nothing[:1] + 1)
    labels = np.zeros(600, np.int32)
    entries = Sketcher.fit(vectors, labels, kept, distance=False).codebook.reshape(96, 4, 16)

    def error(entries: np.ndarray) -> float:
        gaps = vectors.reshape(600, 96, 4, 1) - entries
        return float(np.square(gaps).sum(axis=2).min(axis=2).sum())

    assert error(entries) < 0.8 * error(vectors[:16].T.reshape(96, 4, 16))


def test_residuals() -> None:
    random = np.random.default_rng(12)
    vectors = random.standard_normal((40, 9)).astype(np.float32)
    vectors[3] *= 100
    centroids = random.integers(0, 256, (5, 9), dtype=np.uint8)
    low, middle = random.standard_normal((2, 9)).astype(np.float32)
    scale = random.uniform(0, 0.01, 9).astype(np.float32)
    stretch = random.uniform(0.5, 2, 5).astype(np.float32)
    labels = random.integers(0, 5, 40).astype(np.int32)
    vectors[5] = middle + stretch[labels[5]] * (low + scale * centroids[labels[5]])
    out = np.empty_like(vectors)
    squares, lengths = np.empty((2, 40), np.float32)
    left = vectors - middle - stretch[labels, None] * (low + scale * centroids)[labels]
    long = np.linalg.norm(left, axis=1)
    least, most = np.quantile(long, (0.2, 0.7)).tolist()
    residuals.residuals(
        *(vectors, labels, centroids, low, scale, stretch, middle),
        *(least, most, out, squares, lengths),
    )
    np.testing.assert_allclose(squares, np.square(vectors - middle).sum(axis=1), 1e-4)
    np.testing.assert_allclose(lengths, long, 1e-4, 1e-5)
    left, out = np.delete(left, 5, axis=0), np.delete(out, 5, axis=0)  # its direction is rounding
    long = np.delete(long, 5)
    np.testing.assert_allclose(out, left * (np.clip(long, least, most) / long)[:, None], 1e-3, 1e-4)
