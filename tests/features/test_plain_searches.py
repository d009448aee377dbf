"""Plain searches have a way of their own. They find what the way of all others finds, and leave it
to that one whenever there is more to do.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

import vecdb
from vecdb import models
from vecdb.engine.read import plain
from vecdb.engine.read.segment import widen
from vecdb.storage import arrays, files

RNG = np.random.default_rng(5)
CENTERS = RNG.standard_normal((40, 48))
SIZE, DIM = 3000, 48


def draw(count: int) -> Any:
    rows = CENTERS[RNG.integers(0, len(CENTERS), count)]
    return (rows + 0.5 * RNG.standard_normal((count, DIM))).astype(np.float32)


ROWS, QUERIES = draw(SIZE), draw(30)
SURE = ROWS[7]
"""A query that leaves no doubts."""
SMALL = {"indexing_threshold": 1, "default_segment_number": 1, "vacuum_min_vector_number": 10**6}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each search that might be plain was, and took nothing but calls of kernels."""
    calls: list[bool] = []
    others: list[str] = []
    known = plain.plain_search

    def noted(*arguments: Any) -> Any:
        others.clear()
        points = known(*arguments)
        calls.append(points is not None and not others)
        return points

    def noting(name: str) -> None:
        other = getattr(plain, name)

        def note(*arguments: Any) -> Any:
            others.append(name)
            return other(*arguments)

        monkeypatch.setattr(plain, name, note)

    for module in ("collection", "querying"):
        monkeypatch.setattr(f"vecdb.{module}.plain_search", noted)
    noting("search_segment")
    noting("until_confident")
    noting("searched_deeper")
    return calls


def make(db: vecdb.VecDB, distance: str = "Cosine", ids: Any = None, **more: Any) -> Any:
    segments = more.pop("segments", 1)
    db.create_collection(
        "c",
        {"size": DIM, "distance": distance},
        optimizers_config={**SMALL, "default_segment_number": segments},
        **more,
    )
    ids = list(range(SIZE)) if ids is None else ids
    for some in np.array_split(np.arange(SIZE), segments):
        batch = models.Batch(
            ids=[ids[i] for i in some],
            vectors=ROWS[some],
            payloads=[{"n": int(i)} for i in some],
        )
        db.upsert("c", batch)
        db.flush("c")
    assert db.wait_for_optimizer("c", timeout=200)
    warm(db.collection("c"))
    return db.collection("c")


@pytest.fixture(scope="module")
def unchanged() -> Iterator[Callable[[str], Any]]:
    """Collections by distance, for who changes nothing: to make one takes a second."""
    made: dict[str, Any] = {}
    with ExitStack() as opened:

        def of(distance: str) -> Any:
            if distance not in made:
                made[distance] = make(opened.enter_context(vecdb.VecDB()), distance)
            return made[distance]

        yield of


def warm(collection: Any) -> None:
    """Of a file every block is verified once, when it is first read."""
    for row in ROWS[::7]:
        collection.query_points(row, limit=60, explain=True)


def same(collection: Any, query: Any, **options: Any) -> None:
    """The same points with the same scores as by the way of all searches, which is the only one
    that explains."""
    other = collection.query_points(query, explain=True, **options).points
    assert collection.search(query, **options) == other
    assert collection.query_points(query, **options).points == other


@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid", "Manhattan"])
def test_they_find_what_all_searches_find(
    unchanged: Callable[[str], Any], taken: list[bool], distance: str
) -> None:
    collection = unchanged(distance)
    taken.clear()
    for query in QUERIES:
        for limit in (1, 10, 50):
            for with_payload in (True, False):
                same(collection, query, limit=limit, with_payload=with_payload)
        for recall in (0.8, 0.99, 1.0):
            same(collection, query, search_params=models.SearchParams(recall=recall))
    assert taken.count(True) > len(taken) // 2


def test_ids_may_be_of_any_kind(db: vecdb.VecDB, taken: list[bool]) -> None:
    ids = [str(uuid.UUID(int=i**9)) if i % 3 else i for i in range(SIZE)]
    collection = make(db, ids=ids)
    for query in QUERIES:
        same(collection, query)
    assert True in taken


def test_a_named_vector(db: vecdb.VecDB, taken: list[bool]) -> None:
    config = {name: {"size": DIM, "distance": "Dot"} for name in ("one", "two")}
    db.create_collection("c", config, optimizers_config=SMALL)
    vectors = {"one": ROWS, "two": -ROWS}
    db.upsert("c", models.Batch(ids=list(range(SIZE)), vectors=vectors))
    assert db.wait_for_optimizer("c", timeout=200)
    collection = db.collection("c")
    for using, rows in vectors.items():
        for row in rows[::7]:
            collection.query_points(row, using, limit=60, explain=True)
    for using in ("one", "two"):
        for query in QUERIES:
            other = collection.query_points(query, using, explain=True).points
            assert collection.query_points(query, using).points == other
    assert taken.count(True) > len(QUERIES) // 2
    with pytest.raises(vecdb.errors.InvalidInputError, match="vector"):
        collection.query_points(QUERIES[0], using="three")


OPTIONS: list[dict[str, Any]] = [
    {},
    {"hnsw_ef": 12},
    {"hnsw_ef": 300},
    {"exact": True},
    {"recall": 0.9, "hnsw_ef": 0},
    *({"quantization": {"oversampling": factor}} for factor in (1.0, 2.5, 9.0)),
    {"quantization": {"oversampling": 3.0}, "recall": 0.95},
    {"quantization": {"rescore": False}},
    {"quantization": {"rescore": False}, "hnsw_ef": 60},
    {"quantization": {"ignore": True}},
]
FILTERS: list[Any] = [
    None,
    {"must": [{"key": "n", "range": {"lt": 40}}]},
    {"must": [{"key": "n", "range": {"gte": 500, "lt": 1700}}]},
    {"must_not": [{"key": "n", "range": {"lt": 40}}]},
    {"must": [{"key": "n", "match": {"value": -1}}]},
    {"must": [{"has_id": [3, 4, 5, 2900]}]},
]


@pytest.mark.parametrize("segments", [1, 3])
@pytest.mark.parametrize("codes", [None, {"scalar": {"type": "int8"}}, {"binary": {}}])
@pytest.mark.parametrize("distance", ["Cosine", "Euclid"])
def test_with_options_and_filters_in_any_segments(
    db: vecdb.VecDB, taken: list[bool], distance: str, codes: Any, segments: int
) -> None:
    """Beside deleted rows, too, and rows in memory."""
    collection = make(db, distance, segments=segments, quantization_config=codes)
    collection.create_payload_index("n", "integer")
    changes = [lambda: None, lambda: collection.delete([1, 7, 9, 2000])]
    changes += [lambda: collection.upsert([{"id": 10**6, "vector": SURE, "payload": {"n": 600}}])]
    for change in changes:
        change()
        for params in OPTIONS:
            for query in (SURE, *QUERIES[:3]):
                for filter in FILTERS:
                    same(
                        collection,
                        query,
                        search_params=models.coerce(models.SearchParams, params),
                        query_filter=filter,
                        with_payload=filter is None,
                    )
    assert len(collection._view().segments) == segments + 1
    assert True in taken


def test_what_is_written_meanwhile_is_seen(db: vecdb.VecDB, taken: list[bool]) -> None:
    """What is remembered is of one view."""
    collection = make(db)
    query = SURE
    first = collection.search(query)[0]
    assert taken == [True]
    assert first.id == 7
    collection.set_payload({"n": "new"}, [first.id])
    again = collection.search(query)[0]
    assert (again.id, again.payload) == (first.id, {"n": "new"})
    assert again.version > first.version
    collection.delete([first.id])
    assert first.id not in [hit.id for hit in collection.search(query)]
    same(collection, query)
    collection.upsert([{"id": 10**6, "vector": query, "payload": {}}])
    assert collection.search(query)[0].id == 10**6
    same(collection, query)
    db.update_collection("c", optimizers_config={"recall": 1.0})
    same(collection, query)


@pytest.mark.parametrize(
    "query",
    [
        ROWS[7].astype(np.float64),
        ROWS[7].tolist(),
        np.repeat(ROWS[7], 2)[::2],
        ROWS[7][::-1].copy()[::-1],
        np.zeros(DIM, np.float32),
        1e-20 * ROWS[7],
        1e18 * ROWS[7],
        np.frombuffer(b"\0" + ROWS[7].tobytes(), np.float32, DIM, 1),
        7,
    ],
    ids=["float64", "list", "strided", "backwards", "zero", "tiny", "large", "misaligned", "id"],
)
@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid"])
def test_any_form_of_a_query(unchanged: Callable[[str], Any], query: Any, distance: str) -> None:
    collection = unchanged(distance)
    if isinstance(query, np.ndarray):
        query = query.astype(query.dtype, copy=False)
    if not isinstance(query, int):
        assert collection.search(query) == collection.query_points(query, explain=True).points
    other = collection.query_points(query, explain=True).points
    assert collection.query_points(query).points == other


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"query_vector": np.ones(DIM + 1, np.float32)}, "expected 48 numbers"),
        ({"query_vector": np.ones((1, DIM), np.float32)}, "expected 48 numbers"),
        ({"query_vector": np.full(DIM, np.nan, np.float32)}, "NaN|finite|not a number"),
        ({"query_vector": np.full(DIM, 3e38, np.float32)}, "longer than 1.8e19"),
        ({"limit": 0}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": "10"}, "limit"),
        ({"limit": [10]}, "limit"),
        ({"limit": 10**18}, "limit"),
        ({"limit": 2**70}, "limit"),
        ({"with_payload": 3}, "with_payload"),
        ({"search_params": models.SearchParams(recall=-1)}, "recall"),
        ({"search_params": models.SearchParams(recall=float("nan"))}, "recall"),
        ({"search_params": models.SearchParams(recall=[0.9])}, "recall"),
        ({"search_params": models.SearchParams(recall=True)}, "recall"),
        ({"search_params": models.SearchParams(exact=0)}, "exact"),
        ({"search_params": 3}, "search_params"),
    ],
)
def test_what_is_wrong_is_refused_as_ever(
    unchanged: Callable[[str], Any], arguments: dict[str, Any], says: str
) -> None:
    collection = unchanged("Cosine")
    collection.search(QUERIES[0])
    with pytest.raises(vecdb.errors.InvalidInputError, match=says):
        collection.search(**{"query_vector": QUERIES[0], **arguments})


def test_more_than_there_are_is_not_searched_plainly(db: vecdb.VecDB, taken: list[bool]) -> None:
    """Arrays for two billion results were allocated."""
    collection = make(db)
    assert len(collection.search(SURE, limit=2**31 - 1)) == SIZE
    assert taken == [False]


def test_a_doubtful_search_goes_on_where_it_was(
    db: vecdb.VecDB, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it was made again before it went deeper. It goes deeper by calls of kernels, until
    there is no deeper visit."""
    collection = make(db)
    unlike = RNG.standard_normal((50, DIM)).astype(np.float32)
    visits: list[int] = []
    tried = widen._tried

    def note(search: Any, visit: Any) -> Any:
        visits.append(visit.candidates)
        return tried(search, visit)

    monkeypatch.setattr(widen, "_tried", note)
    [file] = [s.segment.vectors("") for s in collection._view().segments if s.live]
    for query in unlike:
        file.waits = False  # as it may be on a busy machine
        same(collection, query)
    [(_, remembered)] = collection._view().plain.values()
    calls = []
    [part] = [part for part in remembered.parts if part.call is not None]
    call = part.call
    while call is not None:
        calls.append(call.visit.candidates)
        call = call.deeper
    assert len(calls) > 1
    depths = set()
    for query in (SURE, *unlike):
        file.waits = False
        visits.clear()
        collection.search(query)
        apart, visits[:] = visits[:], []
        collection.query_points(query, explain=True)
        depths.add(len(visits))
        assert visits == calls[: len(visits)]
        assert not apart
    assert len(depths) > 1


def test_few_kinds_are_remembered(db: vecdb.VecDB) -> None:
    collection = make(db)
    for limit in range(1, 200):
        assert len(collection.search(SURE, limit=limit)) == limit
    assert len(collection._view().plain) <= 64


def test_a_file_whose_rows_are_waited_for_is_left_to_the_other_way(
    db: vecdb.VecDB, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one asks for all rows at once. What is not verified is left to it, too."""
    monkeypatch.setattr(arrays, "has_read", lambda: False)
    collection = make(db)
    same(collection, SURE)
    assert taken == [True, True]
    [file] = [s.segment.vectors("") for s in collection._view().segments if s.live]
    found = collection.search(SURE)
    file.waits = True
    assert collection.search(SURE) == found
    assert not file.waits
    assert collection.search(SURE) == found
    assert taken[-3:] == [True, False, True]
    file.unverified_blocks = 1
    assert collection.search(SURE) == found
    assert not taken[-1]


def test_a_sketch_that_is_damaged_in_the_file_is_met_by_the_other_way(
    db: vecdb.VecDB, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = make(db)
    [segment] = [s.segment for s in collection._view().segments if s.live]
    sketch = segment.index("").sketch

    def damaged() -> Any:
        raise vecdb.errors.CorruptionError(_sketch_of(segment), "planted")

    monkeypatch.setattr(sketch, "verify", damaged)
    assert collection.search(SURE)[0].id == 7
    assert taken == [False]
    assert segment.index("") is None


def _sketch_of(segment: Any) -> str:
    return str(segment.path / files.SKETCH.file(""))


def test_an_index_found_damaged_is_not_used(db: vecdb.VecDB, taken: list[bool]) -> None:
    collection = make(db)
    same(collection, SURE)
    [segment] = [s.segment for s in collection._view().segments if s.live]
    segment.quarantine("", vecdb.errors.CorruptionError(_sketch_of(segment), "planted"))
    assert collection.query_points(SURE, explain=True).explanation[0].stages[-1].rows == SIZE
    same(collection, SURE)
    assert taken == [True, True, False, False]


def test_a_closed_collection_is_closed(db: vecdb.VecDB) -> None:
    collection = make(db)
    collection.search(SURE)
    db.delete_collection("c")
    with pytest.raises(vecdb.errors.ClosedError):
        collection.search(SURE)


@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid", "Manhattan"])
@pytest.mark.parametrize(
    "codes", [{"scalar": {"type": "int8"}}, {"binary": {}}, {"product": {"compression": "x16"}}]
)
def test_codes_between_sketches_and_originals_are_one_call(
    db: vecdb.VecDB, taken: list[bool], codes: Any, distance: str
) -> None:
    """Each stage was several calls: twice the time of a search without codes."""
    collection = make(db, distance, quantization_config=codes)
    for change in (lambda: None, lambda: collection.delete([1, 7, 9, 2000])):
        change()
        taken.clear()
        for params in OPTIONS[5:8] + OPTIONS[9:11]:
            for limit in (1, 10):
                for query in ROWS[::150]:
                    options = models.coerce(models.SearchParams, params)
                    same(collection, query, limit=limit, search_params=options)
        assert True in taken


def test_codes_alone_need_no_originals(db: vecdb.VecDB, taken: list[bool]) -> None:
    """Whether these are in memory does not matter."""
    collection = make(db, quantization_config={"scalar": {"type": "int8"}})
    [file] = [s.segment.vectors("") for s in collection._view().segments if s.live]
    options = models.coerce(models.SearchParams, {"quantization": {"rescore": False}})
    for query in ROWS[::300]:
        file.waits = True
        same(collection, query, search_params=options)
    assert all(taken)
