"""Ids: one ordered key for numbers and UUIDs, in Python and in arrays."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vecdb import ids
from vecdb.errors import InvalidInputError

KEYS = st.one_of(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**128 - 2**64 - 1).map(lambda n: n + 2**64),
    st.integers(0, 40),
    st.integers(0, 40).map(lambda n: n + 2**64),
)


def test_numbers_stand_for_themselves_and_sort_before_uuids() -> None:
    assert ids.key_of(7) == 7
    assert ids.key_of(np.uint64(2**64 - 1)) == 2**64 - 1
    nil = uuid.UUID(int=0)
    assert ids.key_of(nil) == ids.key_of(str(nil)) == ids.key_of(nil.hex) == 2**64
    assert ids.external(ids.key_of(nil)) == "00000000-0000-0000-0000-000000000000"
    assert ids.key_of(2**64 - 1) < ids.key_of(nil)


@given(st.integers(0, 2**128 - 2**64 - 1))
@example(0)
@example(1)
@example(2**64)
@example(2**128 - 2**64 - 1)
def test_a_uuid_looks_as_the_standard_library_writes_it(value: int) -> None:
    text = str(uuid.UUID(int=value))
    assert ids.external(value + 2**64) == text
    for form in (text, text.upper(), f"{{{text}}}", f"urn:uuid:{text}", text.replace("-", "")):
        assert ids.key_of(form) == value + 2**64


# One character of a good UUID replaced, left out or put in: most of what nearly looks like one.
NEARLY = st.builds(
    lambda text, position, new, length: text[:position] + new + text[position + length :],
    st.uuids().map(str),
    st.integers(0, 36),
    st.text("0aFg-{}_+ \n\u0661\uff11", max_size=2),
    st.integers(0, 2),
)


@given(NEARLY)
@example("00000000-0000-0000-0000-000000000000\n")
@example("0000000-00000-0000-0000-000000000000")
@example("0000000\u0661-0000-0000-0000-000000000000")
@example("ffffffff-ffff-ffff-0000-000000000000")
def test_strings_are_read_as_the_standard_library_does(text: str) -> None:
    try:
        value = uuid.UUID(text).int
    except ValueError:
        value = 2**128
    if value < 2**128 - 2**64:
        assert ids.key_of(text) == value + 2**64
    else:
        with pytest.raises(InvalidInputError, match="point id"):
            ids.key_of(text)


@pytest.mark.parametrize(
    "bad", [-1, 2**64, 1.0, True, None, "x", b"1", uuid.UUID(int=2**128 - 1), [1]]
)
def test_what_is_no_id_is_refused(bad: object) -> None:
    with pytest.raises(InvalidInputError, match="id"):
        ids.key_of(bad)


def test_an_array_with_a_negative_id_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="-3"):
        ids.keys_of(np.array([1, -3]))


@pytest.mark.parametrize(
    "given", [[1, 2, -5, "x"], (1, 2, -5), np.array([1, 2, -5]), (i for i in (1, 2, -5))]
)
def test_which_id_of_several_is_wrong_is_said(given: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^ids\[2\]: point id -5: expected 0 <= id < 2"):
        ids.keys_of(given)


@given(st.lists(KEYS, unique=True, max_size=40), st.lists(KEYS, max_size=20))
def test_find_agrees_with_a_dict(keys: list[int], others: list[int]) -> None:
    array = ids.to_array(keys)
    assert ids.from_array(array) == keys
    order = ids.sort_order(array)
    assert [keys[i] for i in order] == sorted(keys)
    wanted = keys[::2] + others
    position = {key: row for row, key in enumerate(keys)}
    found = ids.find(array, order, ids.to_array(wanted))
    assert found.tolist() == [position.get(key, -1) for key in wanted]


@given(st.lists(KEYS, unique=True, min_size=1, max_size=40), KEYS)
def test_position_is_the_first_not_below(keys: list[int], start: int) -> None:
    array = ids.to_array(keys)
    position = int(ids.position(array, ids.sort_order(array), ids.to_array([start]))[0])
    assert sorted(keys)[position:] == [key for key in sorted(keys) if key >= start]


def test_concatenate_widens_only_when_needed() -> None:
    numbers, mixed = ids.to_array([1, 2]), ids.to_array([3, 2**64])
    assert ids.concatenate([numbers, numbers]).ndim == 1
    assert ids.from_array(ids.concatenate([numbers, mixed])) == [1, 2, 3, 2**64]


def test_a_masked_array_is_refused() -> None:
    """Its mask was ignored, and a None taken for an id."""
    with pytest.raises(InvalidInputError, match="masked array"):
        ids.keys_of(np.ma.array([1, 2], mask=[True, False]))
