"""Heaps of equal rows: found in a sample, and all but a hundred rows set aside."""

from __future__ import annotations

import numpy as np
import pytest

from vecdb.index.clustered import heaps
from vecdb.index.clustered.clustering import fit_clustering
from vecdb.index.clustered.heaps import Heaps

DIM = 9


def rows_with_heaps(sizes: tuple[int, ...], others: int) -> np.ndarray:
    random = np.random.default_rng(4)
    rows = random.normal(size=(others + len(sizes), DIM)).astype(np.float32)
    made = np.concatenate((np.repeat(rows[: len(sizes)], sizes, axis=0), rows[len(sizes) :]))
    return made[random.permutation(len(made))]


def test_what_is_a_heap() -> None:
    rows = rows_with_heaps((500, 400, 399, 5), 3000)
    found = Heaps.of(rows, len(rows), 50)
    assert len(found.rows) == 2
    sizes = [(rows == each).all(axis=1).sum() for each in found.rows]
    assert sorted(sizes) == [400, 500]
    assert len(Heaps.of(rows, len(rows), 4).rows) == 1
    assert len(Heaps.of(rows, len(rows), 3).rows) == 0
    assert len(Heaps.of(rows[:1], 100_000, 50).rows) == 0  # one row of a sample is no heap


def test_a_sample_stands_for_all() -> None:
    rows = rows_with_heaps((40,), 960)
    assert len(Heaps.of(rows, 10_000, 50).rows) == 1
    assert len(Heaps.of(rows, 9_000, 50).rows) == 0


@pytest.mark.parametrize("step", [32, 256, 10_000])
def test_the_first_hundred_stay(step: int) -> None:
    rows = rows_with_heaps((600, 450), 2000)
    found = Heaps.of(rows, len(rows), 50)
    labels = np.full(len(rows), 7, np.int32)
    for start in range(0, len(rows), step):
        found.set_aside(rows[start : start + step], labels[start : start + step], 50)
    for heap, row in enumerate(found.rows):
        mine = np.flatnonzero((rows == row).all(axis=1))
        assert (labels[mine[:100]] == 7).all()
        assert (labels[mine[100:]] == 50 + heap).all()
    assert (labels == 7).sum() == 2000 + 200


def test_rows_of_the_same_key_are_not_taken_for_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_with_heaps((600,), 500)
    found = Heaps.of(rows, len(rows), 50)
    monkeypatch.setattr(heaps, "_keys", lambda some: np.repeat(found.keys[:1], len(some)))
    labels = np.zeros(len(rows), np.int32)
    found.set_aside(rows, labels, 50)
    assert (labels == 50).sum() == 500
    assert (rows[labels == 50] == found.rows[0]).all()


def test_what_is_set_aside_has_the_centroid_of_its_equals() -> None:
    rows = rows_with_heaps((600, 450), 2000)
    clustering = fit_clustering(rows, 40)
    found = Heaps.of(rows, len(rows), 40)
    more = found.partitions(clustering)
    assert more.partitions == 42
    near = clustering.assign(found.rows)
    np.testing.assert_array_equal(more.centroids()[:40], clustering.centroids())
    np.testing.assert_array_equal(more.centroids()[40:], clustering.centroids()[near])
