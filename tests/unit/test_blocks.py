"""Blocks of rows and of vectors: presence is kept, and said only where it says something."""

from __future__ import annotations

import numpy as np

from vecdb import ids
from vecdb.storage.row_block import RowBlock
from vecdb.vectors.block import VectorBlock
from vecdb.vectors.datatypes import bytes_per_vector

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)
SOME = np.array([True, False, True, True])


def test_rows_are_taken_with_their_flags() -> None:
    whole, part = VectorBlock(VALUES), VectorBlock(VALUES, SOME)
    assert (len(whole), whole.dim, whole.nbytes) == (4, 3, 4 * bytes_per_vector(3))
    assert whole.flags().all()
    rows = np.array([3, 1])
    assert whole.take(rows).has is None
    taken = part.take(rows)
    assert (taken.values == VALUES[rows]).all()
    assert taken.flags().tolist() == [True, False]
    assert part.take([0, 2]).has is not None  # the log keeps what was said
    assert not np.shares_memory(whole.take(rows).values, VALUES)


def test_blocks_are_joined_with_flags_if_one_has_some() -> None:
    whole, part = VectorBlock(VALUES), VectorBlock(VALUES, SOME)
    assert VectorBlock.concat([whole, whole]).has is None
    both = VectorBlock.concat([whole, part])
    assert (both.values == np.concatenate([VALUES, VALUES])).all()
    assert both.flags().tolist() == [True] * 4 + SOME.tolist()


def test_rows_without_a_vector_hold_zeros() -> None:
    some = VectorBlock.of_some(VALUES[SOME], SOME)
    assert (some.values[SOME] == VALUES[SOME]).all()
    assert not some.values[~SOME].any()
    none = VectorBlock.of_none(2, 3)
    assert none.values.shape == (2, 3)
    assert not none.values.any()
    assert not none.flags().any()
    assert VectorBlock.of(VALUES, np.ones(4, bool)).has is None
    assert VectorBlock.of(VALUES, SOME).has is SOME


def test_rows_of_several_segments_are_put_in_order() -> None:
    def rows(keys: list[int], has: np.ndarray | None) -> RowBlock:
        vectors = {"a": VectorBlock(VALUES[: len(keys)], has)}
        payloads = [b"%d" % key for key in keys]
        return RowBlock(
            ids.to_array(keys),
            np.array([key % 100 for key in keys], dtype=np.uint64),
            payloads,
            vectors,
        )

    joined = RowBlock.concat([rows([7, 2**70], None), rows([3, 5], np.array([False, True]))])
    taken = joined.take(np.array([2, 0, 3, 1]))
    assert ids.from_array(taken.keys) == [3, 7, 5, 2**70]
    assert taken.seqs.tolist() == [3, 7, 5, 2**70 % 100]
    assert taken.payloads == [b"3", b"7", b"5", b"%d" % 2**70]
    assert (taken.vectors["a"].values == VALUES[[0, 0, 1, 1]]).all()
    assert taken.vectors["a"].flags().tolist() == [False, True, True, True]
