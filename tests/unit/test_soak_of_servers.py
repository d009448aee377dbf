"""``proofs.server_soak``: what it takes for a loss, and for a leak."""

from __future__ import annotations

import pytest
from msgspec import structs

from proofs.server_soak.leaks import Holdings, growth
from proofs.server_soak.points import Points, vector_of, version_in

REST = Holdings(
    descriptors=30,
    threads=20,
    tasks=3,
    waiting=0,
    in_flight=0,
    private_bytes=60_000_000,
    data_bytes=2_000_000,
)


def test_an_answered_write_is_there() -> None:
    points = Points()
    points.wrote([1, 2], 5, answered=True)
    assert points.settle({1: 5, 2: 5}) == []
    assert points.settle({1: 5}) == ["point 2: expected version 5, found None"]


def test_one_that_was_given_up_may_be_there() -> None:
    points = Points()
    points.wrote([1], 5, answered=True)
    points.wrote([1], 6, answered=False)
    assert 1 not in points.free(0)  # it could still come
    for version in (5, 6):
        points.wrote([1], version, answered=True)
        points.wrote([1], 6, answered=False)
        assert points.settle({1: version}) == []
    assert 1 in points.free(0)
    assert points.settle({1: 5}) == ["point 1: expected version 6, found 5"]


def test_what_nobody_wrote_is_wrong() -> None:
    points = Points()
    assert points.settle({9: 1}) == ["point 9: expected version None, found 1"]
    points.wrote([9], 1, answered=True)
    points.wrote([9], None, answered=True)
    assert points.settle({}) == []


def test_half_a_point_is_noticed() -> None:
    assert version_in(3, {"version": 7}, vector_of(3, 7)) == 7
    with pytest.raises(AssertionError, match="point 3: not the vector of 8"):
        version_in(3, {"version": 8}, vector_of(3, 7))


@pytest.mark.parametrize(
    ("field", "each"),
    [("descriptors", 9), ("threads", 9), ("tasks", 3), ("private_bytes", 12_000_000)],
)
def test_what_grows_is_a_leak(field: str, each: int) -> None:
    rests = [structs.replace(REST, **{field: getattr(REST, field) + n * each}) for n in range(9)]
    assert [problem.partition(":")[0].split()[0] for problem in growth(rests)] == [field]
    assert growth(rests[:1] * 9) == []


def test_memory_that_the_points_take_is_no_leak() -> None:
    """Rows stay in memory until a checkpoint, in each process."""

    def rest(data: int, more: int = 0) -> Holdings:
        taken = REST.private_bytes + data + more
        return structs.replace(REST, private_bytes=taken, data_bytes=REST.data_bytes + data)

    grown = [rest(n * 12_000_000) for n in range(9)]
    assert growth(grown) == []
    assert growth([*grown, *map(rest, [0] * 5)]) == []  # a checkpoint
    leak = growth([rest(n * 12_000_000, more=n * 8_000_000) for n in range(9)])
    assert leak == ["private_bytes beside the points: 74000000 at first, 106000000 at the end"]


def test_what_is_under_way_when_nobody_asks() -> None:
    assert growth([REST, REST, structs.replace(REST, waiting=1)]) == [
        "waiting: 0 at first, 1 at the end"
    ]
