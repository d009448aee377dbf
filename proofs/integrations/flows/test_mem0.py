"""mem0's Qdrant store: memories in, searched, listed, changed; filters in its own language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mem0.vector_stores.qdrant import Qdrant
from qdrant_client import QdrantClient

ROWS = [[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
IDS = [f"00000000-0000-0000-0000-{n:012d}" for n in range(4)]


@pytest.fixture
def store() -> Qdrant:
    store = Qdrant("mem", 3, client=QdrantClient(":memory:"))
    payloads = [
        {"data": f"text {n}", "user_id": "ab"[n % 2], "n": n, "at": f"2026-01-0{n + 1}T00:00:00Z"}
        for n in range(4)
    ]
    store.insert(ROWS, payloads=payloads, ids=IDS)
    return store


def found(hits: Any) -> list[str]:
    return [hit.id for hit in hits]


def test_the_nearest_come_first(store: Qdrant) -> None:
    hits = store.search("text", ROWS[0], top_k=2)
    assert found(hits) == IDS[:2]
    assert hits[0].payload["data"] == "text 0"
    assert hits[0].score == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"user_id": "b"}, {1, 3}),
        ({"user_id": "b", "n": 3}, {3}),
        ({"n": {"gte": 1, "lt": 3}}, {1, 2}),
        ({"at": {"gte": "2026-01-03T00:00:00Z"}}, {2, 3}),
        ({"n": {"in": [0, 3]}}, {0, 3}),
        ({"n": {"nin": [0, 3]}}, {1, 2}),
        ({"n": {"ne": 0}}, {1, 2, 3}),
        ({"$or": [{"n": 0}, {"n": 1}]}, {0, 1}),
        ({"$not": [{"user_id": "a"}]}, {1, 3}),
    ],
    ids=str,
)
def test_a_filter(store: Qdrant, filters: dict[str, Any], expected: set[int]) -> None:
    hits = store.search("text", ROWS[0], top_k=9, filters=filters)
    assert set(found(hits)) == {IDS[n] for n in expected}


def test_several_searches(store: Qdrant) -> None:
    answers = store.search_batch(["a", "b"], [ROWS[0], ROWS[3]], top_k=1)
    assert [found(hits) for hits in answers] == [[IDS[0]], [IDS[3]]]


def test_a_memory_is_read_changed_and_deleted(store: Qdrant) -> None:
    assert store.get(IDS[2]).payload["n"] == 2
    store.update(IDS[2], vector=ROWS[0], payload={"data": "new", "user_id": "a"})
    assert store.get(IDS[2]).payload == {"data": "new", "user_id": "a"}
    store.delete(IDS[2])
    assert store.get(IDS[2]) is None


def test_memories_are_listed(store: Qdrant) -> None:
    records, _ = store.list(filters={"user_id": "a"}, top_k=10)
    assert set(found(records)) == {IDS[0], IDS[2]}
    assert len(store.list()[0]) == 4


def test_collections_are_managed(store: Qdrant) -> None:
    assert "mem" in [each.name for each in store.list_cols().collections]
    assert store.col_info().points_count == 4
    store.reset()
    assert store.col_info().points_count == 0
    store.delete_col()
    assert store.list_cols().collections == []


def test_a_store_in_a_directory(tmp_path: Path) -> None:
    store = Qdrant("mem", 3, path=str(tmp_path / "db"), on_disk=True)
    store.insert(ROWS, payloads=[{"data": str(n)} for n in range(4)], ids=IDS)
    store.client.close()
    again = Qdrant("mem", 3, path=str(tmp_path / "db"), on_disk=True)
    assert found(again.search("", ROWS[3], top_k=1)) == [IDS[3]]
    again.client.close()
