"""The budget of a database: what a limit may be, and who gets how much of it."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from vecdb.engine.budget import LEAST, Budget, Pin, parse_limit, parse_over
from vecdb.engine.pins import is_asked
from vecdb.engine.schema import schema_of
from vecdb.engine.write.configure import new_config
from vecdb.errors import InvalidInputError


class Owner:
    """Stands for an open collection."""


def pin(size: int, part: str = "codes", *, asked: bool = True, segment: int = 1) -> Pin:
    return Pin("c", segment, part, "", size, asked)


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (None, None),
        (LEAST, LEAST),
        (np.int64(LEAST), LEAST),
        ("512MB", 512_000_000),
        ("512 MB", 512_000_000),
        ("1GiB", 1 << 30),
        ("1.5GB", 1_500_000_000),
        (" 40000KiB ", 40_000 << 10),
    ],
)
def test_a_limit_is_bytes_or_a_size_with_its_unit(given: Any, size: int | None) -> None:
    assert parse_limit(given) == size


@pytest.mark.parametrize(
    "given",
    [
        "",
        "512",
        "MB",
        "512mb",
        "-1GB",
        "1e9",
        "512MB!",
        True,
        1e9,
        b"512MB",
        ["512MB"],
        {},
        "nanGB",
    ],
)
def test_anything_else_is_refused_and_says_what_was_expected(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="memory_limit: expected bytes or a size as"):
        parse_limit(given)


@pytest.mark.parametrize("given", [0, -1, LEAST - 1, "31MiB", "1KB"])
def test_a_limit_that_is_too_small_for_anything_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"at least 33,554,432 bytes \(32MiB\)"):
        parse_limit(given)


@pytest.mark.parametrize("given", [None, "", "map", True, 1, ["demote"], np.array(["demote", "x"])])
def test_what_becomes_of_pins_without_room_is_one_of_two_words(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="on_over_budget: expected 'raise' or 'demote'"):
        parse_over(given)


def test_without_a_limit_there_is_room_for_everything() -> None:
    budget, owner = Budget(), Owner()
    assert min(budget.rows, budget.build, budget.pins, budget.remembered_of(9)) > 1 << 60
    assert budget.rows_of_build(fields=3) > 1 << 60
    assert budget.fullest(owner, 1 << 50) is None
    wanted = [pin(1 << 50), pin(1 << 50, segment=2)]
    assert set(budget.grant(owner, wanted)) == set(wanted)


@pytest.mark.parametrize("limit", [LEAST, 10**9, 1 << 40])
def test_the_shares_come_to_the_limit_whatever_is_pinned(limit: int) -> None:
    budget, owner = Budget(limit), Owner()
    alone = budget.build
    for size in (0, budget.pins // 2, budget.pins):
        assert budget.grant(owner, [pin(size)]) == [pin(size)]
        assert budget.pinned == size
        assert budget.build == alone - size  # what is not pinned is the build's
        assert 2 * budget.rows + budget.build + size + budget.remembered_of(1) < limit
    assert budget.build >= limit // 4


def test_what_was_asked_for_comes_first_then_what_searches_read_most() -> None:
    budget, owner = Budget(LEAST), Owner()
    half = budget.pins // 2
    asked, index = pin(half, "originals"), pin(half, "index", asked=False)
    other = pin(half, "originals", asked=False)
    assert budget.grant(owner, [other, index, asked]) == [asked, index]
    small, large = pin(1, segment=3), pin(2 * half, segment=2)
    assert budget.grant(owner, [large, small]) == [small]  # both do not fit


def test_collections_share_the_room_for_pins_and_give_it_back() -> None:
    budget, first, second = Budget(LEAST), Owner(), Owner()
    everything = pin(budget.pins)
    assert budget.grant(first, [everything]) == [everything]
    assert budget.grant(second, [pin(1)]) == []
    budget.forget(first)
    assert budget.grant(second, [everything]) == [everything]
    del second
    gc.collect()
    assert budget.pinned == 0, "nobody refers to that collection any more"


def test_the_fullest_collection_is_named_when_all_have_too_much() -> None:
    budget = Budget(LEAST)
    small, large = Owner(), Owner()
    assert budget.fullest(large, 2 * budget.rows) is None
    assert budget.fullest(small, 1) is large
    assert budget.fullest(large, 0) is None
    assert budget.fullest(large, 2 * budget.rows) is large
    budget.forget(large)
    assert budget.fullest(small, 2) is None


def test_filters_of_each_segment_have_an_equal_part() -> None:
    budget, first, second = Budget(LEAST), Owner(), Owner()
    whole = budget.remembered_of(1)
    assert budget.remembered_of(4) == whole // 4
    budget.enter(first)
    budget.enter(second)
    assert budget.remembered_of(4) == whole // 8


def test_what_is_said_of_a_part_holds_for_those_that_follow_it() -> None:
    def asked(quantization: Any = None, **vector: Any) -> list[str]:
        config = new_config({"size": 4, "distance": "Dot", **vector}, None, quantization)
        schema = schema_of(config)
        return [part for part in ("originals", "codes", "index") if is_asked(schema, part, "")]

    scalar = {"scalar": {"type": "int8"}}
    in_memory = {"scalar": {"type": "int8", "always_ram": True}}
    assert asked() == asked(scalar) == asked(on_disk=True) == []
    assert asked(on_disk=False) == ["originals", "codes", "index"]
    assert asked(in_memory) == asked(in_memory, on_disk=True) == ["codes", "index"]
    assert asked({"scalar": {"type": "int8", "always_ram": False}}, on_disk=False) == ["originals"]
