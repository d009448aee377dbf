"""The planner, as a table: statistics in, the one next step out."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from vecdb import models
from vecdb.engine.planner import (
    MEMORY_BUDGET,
    Plan,
    SegmentStats,
    Stats,
    absorbed,
    over_budget,
    plan,
)
from vecdb.engine.schema import schema_of

SCALAR = {"kind": "scalar", "quantile": None}
BINARY = {"kind": "binary"}


def config(quantized: bool = True, **optimizer: Any) -> models.CollectionConfig:
    """256-d: one row is one kilobyte."""
    return models.CollectionConfig(
        params=models.CollectionParams(
            vectors=models.VectorParams(size=256, distance=models.Distance.DOT)
        ),
        optimizer_config=models.OptimizersConfig(
            **{"indexing_threshold": 1000, "default_segment_number": 2} | optimizer
        ),
        quantization_config=models.coerce(
            models.ScalarQuantization, {"scalar": {"type": "int8"}}, "q"
        )
        if quantized
        else None,
    )


def segment(
    number: int,
    rows: int,
    live: int | None = None,
    codec: Any = None,
    committed: int | None = None,
    indexed: bool | None = None,
) -> SegmentStats:
    """``indexed``: as a build would leave it, unless told otherwise."""
    live = rows if live is None else live
    if indexed is None:
        indexed = codec is not None
    committed = live if committed is None else committed
    return SegmentStats(number, rows, live, committed, {"": codec}, indexed)


def lacking_columns(number: int, rows: int, **more: Any) -> SegmentStats:
    return msgspec.structs.replace(segment(number, rows, **more), columns_due=True)


TABLE: list[tuple[str, Any, list[SegmentStats], int, Plan | None]] = [
    ("nothing at all", config(), [], 0, None),
    ("small stays plain", config(), [segment(1, 500)], 499, None),
    ("small in a large collection", config(), [segment(1, 500)], 500, Plan("convert", (1,))),
    ("columns, the largest first", config(),
     [lacking_columns(1, 300), lacking_columns(2, 400)], 0, Plan("columns", (2,))),
    ("columns before codes", config(),
     [segment(1, 1000), lacking_columns(2, 300)], 0, Plan("columns", (2,))),
    ("a merge makes columns, too", config(default_segment_number=1),
     [lacking_columns(1, 300), segment(2, 300), segment(3, 300)], 0, Plan("merge", (1, 2, 3))),
    ("no columns where nothing lives", config(), [lacking_columns(1, 300, live=0, committed=0)],
     0, None),
    ("too small for an index", config(), [segment(1, 255)], 745, None),
    ("much in memory of a large collection", config(),
     [segment(1, 1000, codec=SCALAR)], 2048, Plan("checkpoint")),
    ("the rest in memory waits for a pause", config(indexing_threshold=5000),
     [segment(1, 5000, codec=SCALAR)], 2047, None),
    ("to be indexed", config(quantized=False), [segment(1, 1000)], 0, Plan("convert", (1,))),
    ("is indexed", config(quantized=False), [segment(1, 1000, indexed=True)], 0, None),
    ("memory reached the threshold", config(), [], 1000, Plan("checkpoint")),
    ("memory, to be indexed", config(quantized=False), [], 1000, Plan("checkpoint")),
    ("memory, nothing to build", config(False, indexing_threshold=0), [], 5000, None),
    ("memory, to be mapped", config(False, memmap_threshold=10), [], 10, Plan("checkpoint")),
    ("convert", config(), [segment(1, 1000)], 0, Plan("convert", (1,))),
    ("converted", config(), [segment(1, 1000, codec=SCALAR)], 0, None),
    ("at memmap_threshold", config(memmap_threshold=100), [segment(1, 100)], 0,
     Plan("convert", (1,))),
    ("indexing off", config(indexing_threshold=0), [segment(1, 99_999)], 0, None),
    ("mapped, indexing off", config(indexing_threshold=0, memmap_threshold=100),
     [segment(1, 999, codec=SCALAR, indexed=False)], 0, None),
    ("other codec", config(), [segment(1, 1000, codec=BINARY)], 0, Plan("rebuild", (1,))),
    ("codec removed", config(quantized=False), [segment(1, 1000, codec=BINARY)], 0,
     Plan("rebuild", (1,))),
    ("small keeps its codes", config(), [segment(1, 10, codec=SCALAR)], 0, None),
    ("largest first", config(), [segment(1, 1000), segment(2, 2000)], 0, Plan("convert", (2,))),
    ("one too many is let be", config(), [segment(n, 10) for n in (1, 2, 3)], 0, None),
    ("merge the smallest", config(), [segment(1, 50), segment(2, 10), segment(3, 20),
     segment(4, 5)], 0, Plan("merge", (4, 2, 3))),
    ("merge before convert", config(), [segment(n, 1000 * n) for n in (1, 2, 3, 4)], 0,
     Plan("merge", (1, 2, 3))),
    ("too large to merge", config(max_segment_size=100), [segment(n, 60) for n in (1, 2, 3, 4)],
     0, None),
    ("dead segments do not count", config(),
     [segment(1, 10), segment(2, 10), segment(3, 10, 0), segment(4, 10, 0)], 0, None),
    ("all dead since the last checkpoint", config(), [segment(1, 10, 0, committed=10)], 0,
     Plan("checkpoint")),
    ("mostly dead", config(), [segment(1, 2000, 1500, SCALAR)], 0, Plan("vacuum", (1,))),
    ("mostly dead, not in the catalog yet", config(),
     [segment(1, 2000, 1500, SCALAR, committed=2000)], 0, Plan("checkpoint")),
    ("mostly dead in the catalog, and more since", config(),
     [segment(1, 2000, 1000, SCALAR, committed=1500)], 0, Plan("vacuum", (1,))),
    ("dead enough, but small", config(), [segment(1, 900, 100)], 0, None),
    ("dead, below the threshold", config(), [segment(1, 2000, 1700, SCALAR)], 0, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "conf", "segments", "memory", "expected"), TABLE)
def test_plan(
    name: str,
    conf: models.CollectionConfig,
    segments: list[SegmentStats],
    memory: int,
    expected: Plan | None,
) -> None:
    assert plan(Stats(segments, memory), schema_of(conf), conf.optimizer_config) == expected


def on_disk(conf: models.CollectionConfig) -> models.CollectionConfig:
    assert isinstance(conf.params.vectors, models.VectorParams)
    vectors = msgspec.structs.replace(conf.params.vectors, on_disk=True)
    return msgspec.structs.replace(conf, params=models.CollectionParams(vectors=vectors))


@pytest.mark.parametrize("pause", ["settled", "pressed"])
@pytest.mark.parametrize(
    ("conf", "rows", "payload", "expected"),
    [
        (on_disk(config(False)), 64, 0, Plan("checkpoint")),
        (on_disk(config(False)), 63, 0, None),  # or each pause would leave a segment behind
        (on_disk(config(False, indexing_threshold=0)), 64, 0, Plan("checkpoint")),
        (config(False), 900, 0, None),  # files would be read into memory again
        (config(False), 9, 1 << 20, Plan("checkpoint")),  # payloads are on disk in any case
        (config(False), 9, (1 << 20) - 1, None),
        (config(False), 0, 1 << 20, Plan("checkpoint")),  # payload edits
        (on_disk(config(False)), 0, 0, None),
    ],
)
def test_what_belongs_on_disk_does_not_stay_in_memory(
    pause: str, conf: models.CollectionConfig, rows: int, payload: int, expected: Plan | None
) -> None:
    """Below the threshold it did, as long as the collection was open."""
    schema = schema_of(conf)
    stats = Stats([], rows, payload_bytes=payload)
    assert plan(stats, schema, conf.optimizer_config) is None
    stats = msgspec.structs.replace(stats, **{pause: True})
    assert plan(stats, schema, conf.optimizer_config) == expected


def test_the_most_in_memory_goes_first_until_all_is_within_the_budget() -> None:
    half = MEMORY_BUDGET // 2
    assert over_budget({}) == set()
    assert over_budget({"a": half, "b": half}) == set()
    assert over_budget({"a": half, "b": 1, "c": half}) == {"a"}
    assert over_budget({"a": 3 * half, "b": 2 * half, "c": half, "d": half}) == {"a", "b"}
    assert over_budget({"a": 9 * half}) == {"a"}


def test_a_plan_is_the_same_for_the_same_numbers() -> None:
    conf = config()
    stats = Stats([segment(n, 7) for n in range(9)])
    plans = {plan(stats, schema_of(conf), conf.optimizer_config) for _ in range(3)}
    assert len(plans) == 1


SETTLED: list[tuple[str, Any, list[SegmentStats], int, Plan | None]] = [
    ("the rest in memory", config(), [segment(1, 1000, codec=SCALAR)], 300, Plan("checkpoint")),
    ("too little for an index", config(False), [segment(1, 1000, indexed=True)], 255, None),
    ("a small collection is let be", config(), [segment(1, 500)], 100, None),
    ("down to the number asked for", config(), [segment(n, 1000, codec=SCALAR) for n in (1, 2, 3)],
     0, Plan("merge", (1, 2))),
    ("one by default", config(default_segment_number=0),
     [segment(n, 1000, codec=SCALAR) for n in (1, 2, 3)], 0, Plan("merge", (1, 2, 3))),
    ("little is merged into much", config(default_segment_number=1),
     [segment(1, 100_000, codec=SCALAR), segment(2, 2000, codec=SCALAR)], 0,
     Plan("merge", (2, 1))),
    ("a point is not", config(default_segment_number=1),
     [segment(1, 10_000, codec=SCALAR), segment(2, 1)], 0, None),
    ("a few points are merged with one another", config(default_segment_number=1),
     [segment(1, 10_000, codec=SCALAR), segment(2, 1), segment(3, 2)], 0, Plan("merge", (2, 3))),
    ("but not into very much", config(default_segment_number=1),
     [segment(1, 200_000, codec=SCALAR), segment(2, 1000, codec=SCALAR)], 0, None),
    ("unless it is an eighth of it", config(default_segment_number=1),
     [segment(1, 200_000, codec=SCALAR), segment(2, 25_000, codec=SCALAR)], 0,
     Plan("merge", (2, 1))),
    ("not beyond the limit", config(default_segment_number=1, max_segment_size=1999),
     [segment(n, 1000, codec=SCALAR) for n in (1, 2)], 0, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "conf", "segments", "memory", "expected"), SETTLED)
def test_plan_when_writing_has_paused(
    name: str,
    conf: models.CollectionConfig,
    segments: list[SegmentStats],
    memory: int,
    expected: Plan | None,
) -> None:
    stats = Stats(segments, memory, settled=True)
    assert plan(stats, schema_of(conf), conf.optimizer_config) == expected


# -- what a checkpoint takes along -----------------------------------------------------------------


def absorb(sizes: list[int], memory: int, apart: set[int] = frozenset(), **optimizer: Any) -> Any:  # type: ignore[assignment]
    """Sizes in rows, of a kilobyte each; the answer, too."""
    conf = config(**{"default_segment_number": 0} | optimizer)
    stats = Stats(
        [
            SegmentStats(number, rows, rows, rows, file_bytes=rows << 10)
            for number, rows in enumerate(sizes)
        ],
        memory,
        memory << 10,
    )
    chosen = absorbed(stats, apart, schema_of(conf), conf.optimizer_config)
    return [sizes[number] for number in chosen]


def test_few_segments_are_let_be() -> None:
    assert absorb([1] * 9, 1) == []
    assert absorb([1] * 19, 1, default_segment_number=16) == []


def test_a_checkpoint_takes_what_it_must_and_its_like() -> None:
    big = [500_000, 300_000, 100_000, 60_000, 40_000, 30_000, 20_000, 9000, 4000]
    assert absorb([*big, 2000], 1) == [2000]
    assert absorb([*big, 2000], 3000) == [2000, 4000, 9000]
    assert absorb([1] * 10, 1) == [1] * 10
    assert absorb([5000] * 60, 5000) == [5000] * 60
    assert absorb([*big, 500, 500, 500], 1) == [500, 500, 500]  # together a trifle


def test_a_checkpoint_takes_no_segment_that_cannot_be_merged() -> None:
    assert absorb([1000] * 20, 10, max_segment_size=1500) == []
    assert absorb([700] * 20, 10, max_segment_size=1500) == [700, 700]


def test_a_checkpoint_leaves_alone_what_is_being_rewritten() -> None:
    assert absorb([1] * 10, 1, set(range(10))) == []
    assert absorb([1] * 12, 1, set(range(10))) == [1, 1]


def test_no_segment_is_planned_that_a_build_has_no_room_for() -> None:
    conf = config(default_segment_number=1)
    schema, optimizer = schema_of(conf), conf.optimizer_config

    def planned(most_rows: int, **more: Any) -> Plan | None:
        segments = [segment(n, 2000, codec=SCALAR) for n in (1, 2, 3)]
        return plan(Stats(segments, most_rows=most_rows, **more), schema, optimizer)

    assert planned(6000, settled=True) == Plan("merge", (1, 2, 3))
    assert planned(5999, settled=True) == Plan("merge", (1, 2))
    assert planned(3999, settled=True) is None
    # What cannot be merged with another of its size is indexed in the middle of a load.
    raw = [segment(1, 2000), segment(2, 10)]
    for most_rows, wanted in ((4000, None), (3999, Plan("convert", (1,)))):
        stats = Stats(raw, rushing=True, most_rows=most_rows)
        assert plan(stats, schema, optimizer) == wanted
    crowd = [segment(n, 700) for n in range(20)]
    for most_rows, taken in ((1399, 0), (1400, 1), (2109, 2)):
        stats = Stats(crowd, 10, most_rows=most_rows)
        assert len(absorbed(stats, set(), schema, optimizer)) == taken


@pytest.mark.parametrize("kind", ["points", "loads", "anything"])
def test_taking_along_keeps_few_segments_and_writes_little_again(kind: str) -> None:
    rng = random.Random(3)
    choices = {"points": [1], "loads": [65_536], "anything": [1, 1, 100, 5000, 65_536]}[kind]
    sizes: list[int] = []
    fresh = again = 0
    for _ in range(28 if kind == "loads" else 1000):
        memory = rng.choice(choices)
        taken = absorb(sizes, memory, max_segment_size=1 << 30)
        for size in taken:
            sizes.remove(size)
        sizes.append(memory + sum(taken))
        assert len(sizes) <= 10
        fresh, again = fresh + memory, again + sum(taken)
    # A trifle of a megabyte is written again as often as it likes.
    assert again <= 4 * fresh + 1000 * 1024


def test_without_space_for_a_step_a_vacuum_frees_some() -> None:
    conf = config(default_segment_number=1, vacuum_min_vector_number=10**6)
    dead = SegmentStats(7, 1000, 100, 100, {"": SCALAR}, True, file_bytes=1 << 20)
    whole = [SegmentStats(n, 1000, 1000, 1000, {"": SCALAR}, True, file_bytes=1 << 20)
             for n in (1, 2, 3)]  # fmt: skip
    for free, expected in (
        (None, Plan("merge", (7, 1, 2, 3))),
        (1 << 23, Plan("merge", (7, 1, 2, 3))),
        (1 << 20, Plan("vacuum", (7,))),
        (1 << 10, Plan("merge", (7, 1, 2, 3))),  # there is nothing to be done; it says so
    ):
        stats = Stats([dead, *whole], free_bytes=free)
        assert plan(stats, schema_of(conf), conf.optimizer_config) == expected


def test_in_a_rush_only_what_is_final_is_indexed() -> None:
    conf = config(default_segment_number=1, indexing_threshold=100, max_segment_size=5000)
    segments = [segment(n, 1000) for n in range(4)]
    schema, optimizer = schema_of(conf), conf.optimizer_config
    assert plan(Stats(segments, rushing=True), schema, optimizer) is None
    assert plan(Stats(segments), schema, optimizer) == Plan("merge", (0, 1, 2, 3))
    assert plan(Stats(segments, 3000, rushing=True), schema, optimizer) == Plan("checkpoint")
    segments.append(segment(9, 3000))
    assert plan(Stats(segments, rushing=True), schema, optimizer) == Plan("convert", (9,))


def test_a_crowd_is_merged_before_it_gets_one_more() -> None:
    conf = config(default_segment_number=1, indexing_threshold=100)
    segments = [segment(n, 1000, codec=SCALAR) for n in range(6)]
    stats = Stats(segments, 3000)
    assert plan(stats, schema_of(conf), conf.optimizer_config) == Plan("merge", tuple(range(6)))
    stats = Stats(segments, 3000, settled=True)
    assert plan(stats, schema_of(conf), conf.optimizer_config) == Plan("checkpoint")


# -- without vectors -------------------------------------------------------------------------------


def plan_of_files(kilobytes: list[int], **optimizer: Any) -> Plan | None:
    """The next step in a collection without vectors whose segments have files of these sizes, once
    writing has paused."""
    segments = [
        SegmentStats(number, 1000 * kb, 1000 * kb, 1000 * kb, file_bytes=1024 * kb)
        for number, kb in enumerate(kilobytes, 1)
    ]
    settings = models.OptimizersConfig(
        **{"indexing_threshold": 1, "memmap_threshold": 1} | optimizer
    )
    return plan(Stats(segments, memory_rows=5000, settled=True), {}, settings)


def test_without_vectors_there_is_nothing_to_index() -> None:
    assert plan_of_files([]) is None
    assert plan_of_files([1]) is None
    assert plan_of_files([100_000]) is None


def test_without_vectors_files_tell_what_is_large() -> None:
    assert plan_of_files([10, 20, 30]) == Plan("merge", (1, 2, 3))
    assert plan_of_files([10, 20, 30], max_segment_size=40) == Plan("merge", (1, 2))
    assert plan_of_files([30, 30, 30], max_segment_size=40) is None
    assert plan_of_files([1, 1, 100_000]) == Plan("merge", (1, 2))
    assert plan_of_files([1_500_000, 1_500_000, 1_500_000]) is None


def test_without_vectors_a_checkpoint_takes_what_it_must_and_its_like() -> None:
    def absorb_files(kilobytes: list[int], **optimizer: Any) -> list[int]:
        segments = [
            SegmentStats(number, 10, 10, 10, file_bytes=1024 * kb)
            for number, kb in enumerate(kilobytes)
        ]
        settings = models.OptimizersConfig(**optimizer)
        chosen = absorbed(Stats(segments, memory_rows=10, memory_bytes=1024), set(), {}, settings)
        return [kilobytes[number] for number in chosen]

    big = [500_000, 300_000, 100_000, 60_000, 40_000, 30_000, 20_000, 9000, 4000]
    assert absorb_files(big) == []
    assert absorb_files([*big, 2000]) == [2000]
    assert absorb_files([700] * 20, max_segment_size=1500) == [700, 700]
    assert absorb_files([1000] * 20, max_segment_size=1500) == []
