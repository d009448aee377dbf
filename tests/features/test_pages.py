"""Pages of a search: page after page, every point comes once, whatever finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from vecdb import VecDB

ROWS, DIM, PAGE = 6000, 64, 20
INDEX = {"indexing_threshold": 500}
CODES = {"indexing_threshold": 0, "memmap_threshold": 1}
PLACES: dict[str, tuple[dict[str, Any], Any]] = {
    "index": (INDEX, None),
    "index and codes": (INDEX, {"binary": {}}),
    "binary codes": (CODES, {"binary": {}}),
    "product codes": (CODES, {"product": {"compression": "x64"}}),
    "scalar codes": (CODES, {"scalar": {"type": "int8"}}),
    "memory": ({}, None),
}
Page = Callable[[VecDB, Any, int, int, Any], list[Any]]
ODD = {"must": [{"key": "odd", "match": {"value": True}}]}


def by_search(db: VecDB, query: Any, limit: int, offset: int, filter: Any) -> list[Any]:
    return db.search("c", query, limit=limit, offset=offset, query_filter=filter)


def by_query(db: VecDB, query: Any, limit: int, offset: int, filter: Any) -> list[Any]:
    return db.query_points("c", query, limit=limit, offset=offset, query_filter=filter).points


def by_batch(db: VecDB, query: Any, limit: int, offset: int, filter: Any) -> list[Any]:
    asked = {"vector": query, "limit": limit, "offset": offset, "filter": filter}
    another = {"vector": -query, "limit": limit, "offset": offset}
    return db.search_batch("c", [another, asked, another])[1]


def by_query_batch(db: VecDB, query: Any, limit: int, offset: int, filter: Any) -> list[Any]:
    asked = {"query": query, "limit": limit, "offset": offset, "filter": filter}
    return db.query_batch_points("c", [asked, {"query": -query, "limit": limit}])[0].points


VERBS: list[Page] = [by_search, by_query, by_batch, by_query_batch]


def rows_and_queries() -> tuple[Any, Any]:
    rng = np.random.default_rng(8)
    middles = rng.normal(size=(40, DIM)) * 0.4
    drawn = middles[rng.integers(40, size=ROWS + 12)] + rng.normal(size=(ROWS + 12, DIM))
    return drawn[:ROWS].astype(np.float32), drawn[ROWS:].astype(np.float32)


VECTORS, QUERIES = rows_and_queries()


@pytest.fixture(scope="module", params=PLACES)
def db(request: pytest.FixtureRequest) -> Iterator[VecDB]:
    options, codes = PLACES[request.param]
    with VecDB(":memory:") as database:
        database.create_collection(
            "c",
            {"size": DIM, "distance": "Cosine"},
            quantization_config=codes,
            optimizers_config=options,
        )
        payload = [{"odd": bool(row % 2)} for row in range(ROWS)]
        # Two segments of which searches may miss something, or one, and some rows in memory.
        for start, end in ((0, 3000), (3000, ROWS - 50), (ROWS - 50, ROWS)):
            database.upload_collection(
                "c", VECTORS[start:end], ids=range(start, end), payload=payload[start:end]
            )
            if request.param != "memory" and end < ROWS:
                database.flush("c")
                assert database.wait_for_optimizer("c", timeout=100)
        yield database


@pytest.mark.parametrize("filter", [None, ODD], ids=["all", "odd"])
@pytest.mark.parametrize("page", VERBS)
def test_a_point_is_on_one_page(db: VecDB, page: Page, filter: Any) -> None:
    for query in QUERIES:
        pages = [page(db, query, PAGE, PAGE * number, filter) for number in range(8)]
        ids = [hit.id for points in pages for hit in points]
        assert len(ids) == len(set(ids)) == 8 * PAGE
        if filter:
            assert all(int(each) % 2 for each in ids)
        assert pages[0] == page(db, query, PAGE, 0, filter)  # as without any other
        for points in pages:
            assert [hit.score for hit in points] == sorted((h.score for h in points), reverse=True)
    # What is found is what should be, as if it were one search.
    exact = db.search(
        "c", QUERIES[-1], limit=8 * PAGE, query_filter=filter, search_params={"exact": True}
    )
    assert len(set(ids) & {hit.id for hit in exact}) >= 0.93 * len(ids)


def test_codes_that_have_the_last_word_have_pages_too(db: VecDB) -> None:
    params = {"quantization": {"rescore": False}}
    for query in QUERIES:
        ids: list[Any] = []
        for offset in range(0, 100, 10):
            ids += [h.id for h in db.search("c", query, offset=offset, search_params=params)]
        assert len(ids) == len(set(ids)) == 100


def test_a_threshold_ends_pages(db: VecDB) -> None:
    query = QUERIES[0]
    pages = [by_search(db, query, PAGE, offset, None) for offset in range(0, 100, PAGE)]
    threshold = pages[2][5].score
    for number, points in enumerate(pages):
        cut = db.search("c", query, limit=PAGE, offset=number * PAGE, score_threshold=threshold)
        assert cut == [hit for hit in points if hit.score > threshold]


def test_pages_end_where_the_points_do(db: VecDB) -> None:
    last = by_search(db, QUERIES[0], 500, ROWS - 100, None)
    assert len(last) == 100
    assert by_search(db, QUERIES[0], 10, ROWS, None) == []
    assert by_search(db, QUERIES[0], 10, 10 * ROWS, None) == []
    every = by_search(db, QUERIES[0], 500, ROWS - 500, None)
    assert {hit.id for hit in last} <= {hit.id for hit in every}


def test_an_explained_page_says_each_segment_once(db: VecDB) -> None:
    explained = db.query_points("c", QUERIES[0], limit=10, offset=50, explain=True).explanation
    assert explained is not None
    ids = [segment.id for segment in explained]
    assert len(ids) == len(set(ids)) > 0
