"""Queries by a text: the order of Qdrant's local mode, wherever the points are; and what that has
not (other tokens, arrays of documents, a corpus), by scores of Qdrant Edge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as theirs

from vecdb import VecDB
from vecdb.engine import columns as engine_columns
from vecdb.errors import InvalidInputError
from vecdb.payload.columns import collecting
from vecdb.storage.files import COLUMN

WORDS = ["red", "Green", "blue", "apple", "pear", "tree", "été", "2024", "straße", "x"]
FIELD = "doc.text"


def text(rng: Random) -> str:
    """Some words, of which the first are frequent."""
    count = rng.choice((0, 1, 3, 3, 6, 40))
    return " ".join(WORDS[min(int(rng.expovariate(0.4)), len(WORDS) - 1)] for _ in range(count))


def payload(rng: Random) -> dict[str, Any]:
    """The field may be missing, no text, an array, and in an array."""
    found: Any = rng.choice((text(rng), text(rng), [text(rng), text(rng)], [text(rng), 4], 7, None))
    made: dict[str, Any] = {"group": rng.choice("abc"), "n": rng.randrange(6)}
    if rng.random() < 0.9:
        made["doc"] = {"text": found}
    return made


class Both:
    """One database of each kind, which are written to alike."""

    def __init__(self, open_db: Callable[..., VecDB], seed: int) -> None:
        self.rng, self._open = Random(seed), open_db
        self.ours, self.theirs = open_db(), QdrantClient(":memory:")
        index = theirs.TextIndexParams(type=theirs.TextIndexType.TEXT, scoring=True)
        for db in (self.ours, self.theirs):
            db.create_collection("c", theirs.VectorParams(size=2, distance=theirs.Distance.DOT))
            db.create_payload_index("c", FIELD, index)

    def both(self, verb: str, *arguments: Any, **named: Any) -> None:
        for db in (self.ours, self.theirs):
            getattr(db, verb)("c", *arguments, **named)

    def write(self, count: int) -> None:
        """Points, and edits of such as are there."""
        rng = self.rng
        numbers = rng.sample(range(900), count)
        points = [theirs.PointStruct(id=n, vector=[n, 1.0], payload=payload(rng)) for n in numbers]
        self.both("upsert", points)
        self.both("delete", rng.sample(numbers, count // 9))
        there = [record.id for record in self.ours.retrieve("c", numbers)]
        self.both("set_payload", {"doc": {"text": text(rng)}}, rng.sample(there, len(there) // 4))

    def ask(self) -> None:
        rng = self.rng
        for _ in range(2):
            query: Any = theirs.TextQuery(
                text=f"{text(rng)} {rng.choice(WORDS)} {rng.choice('xy')}"
            )
            if rng.random() < 0.5:
                numbers = theirs.Bm25Params(k=rng.choice((0, 0.5, 3)), b=rng.choice((0, 0.3, 1)))
                query = theirs.TextQuery(
                    text=theirs.TextQueryInput(
                        query=query.text, scoring=theirs.Bm25Scoring(bm25=numbers)
                    )
                )
            filter = theirs.Filter(
                must=[theirs.FieldCondition(key="n", match=theirs.MatchValue(value=2))]
            )
            self.asked(query=query, using=FIELD)
            self.asked(query=query, using=FIELD, query_filter=filter)
            self.asked(query=query, using=FIELD, score_threshold=0.7)
            self.asked(query=query, using=FIELD, limit=5, offset=3)
            near = theirs.Prefetch(query=[1.0, 0.5], limit=40)
            self.asked(query=query, using=FIELD, prefetch=near)
            of_text = theirs.Prefetch(query=query, using=FIELD, limit=2000, filter=filter)
            self.asked(query=[0.5, 2.0], prefetch=of_text)

    def asked(self, **query: Any) -> None:
        """The same points with the same scores, but for the order of equal ones."""
        query = {"limit": 2000, "with_payload": False, **query}
        mine = self.ours.query_points("c", **query).points
        wanted = self.theirs.query_points("c", **query).points
        assert [p.score for p in mine] == pytest.approx([p.score for p in wanted], rel=2e-6)
        if query["limit"] == 2000:
            others = {p.id: p.score for p in wanted}
            assert {p.id: p.score for p in mine} == pytest.approx(others, rel=2e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_is_that_of_local_mode(open_db: Callable[..., VecDB], seed: int) -> None:
    both = Both(open_db, seed)
    both.ask()
    for step in range(4):
        both.write((30, 200, 400, 150)[step])
        both.ask()
        if step == 1:
            both.ours.flush()
            both.ask()
        if step == 2:
            both.ours.close()
            both.ours = open_db()
            both.ask()
    both.ours.wait_for_optimizer()
    both.ask()


def test_groups_are_those_of_local_mode(open_db: Callable[..., VecDB]) -> None:
    both = Both(open_db, 7)
    both.write(300)
    both.ours.flush()
    both.write(100)
    query = {"query": theirs.TextQuery(text="apple tree red"), "using": FIELD, "limit": 3}
    mine, wanted = (
        db.query_points_groups("c", "group", group_size=4, **query).groups
        for db in (both.ours, both.theirs)
    )
    assert [group.id for group in mine] == [group.id for group in wanted]
    for one, other in zip(mine, wanted, strict=True):
        scores = [hit.score for hit in other.hits]
        assert [hit.score for hit in one.hits] == pytest.approx(scores, rel=2e-6)


# -- what local mode has not -----------------------------------------------------------------------

FRUIT: list[dict[str, Any]] = [
    {"t": "red apple red"},
    {"t": ["green apple", "red pear pear"]},
    {"t": "blue"},
    {"t": ""},
    {},
    {"t": 5},
    {"t": "apple apple apple tree of apple"},
]
CODE = [{"t": "getUser HTTPServer get"}, {"t": "server user serve"}, {"t": "other"}]
OBJECTS: list[dict[str, Any]] = [
    {"o": [{"t": "red red"}, {"t": "apple red pie"}]},
    {"o": [{"t": "apple"}, {"t": "pie crust"}, {"t": "red red"}]},
    {"o": [{"x": 1}]},
    {"o": [{"t": ["red", "apple"]}]},
]
ENGLISH = {"stopwords": "english", "stemmer": {"type": "snowball", "language": "english"}}
STEMMED = [{"t": "the apples are running"}, {"t": "a run"}, {"t": "apple"}]


def corpus(*numbers: int) -> dict[str, Any]:
    return {"search_params": {"idf": {"corpus": {"must": [{"has_id": numbers}]}}}}


EDGE: list[tuple[str, dict[str, Any], list[dict[str, Any]], str, dict[str, Any], dict[int, float]]]
EDGE = [
    ("corpus", {}, FRUIT, "red apple", corpus(0, 2), {0: 1.4110177, 6: 0.8713850, 1: 0.8591120}),
    ("empty corpus", {}, FRUIT, "red apple", corpus(77), {0: 1.6462245, 1: 1.3862944, 6: 1.173018}),
    ("prefix", {"tokenizer": "prefix"}, CODE, "get ser", {}, {1: 1.3028373, 0: 1.1823695}),
    ("prefix of one", {"tokenizer": "prefix"}, CODE, "getUser", {}, {0: 0.8142733}),
    ("whitespace", {"tokenizer": "whitespace"}, CODE, "getUser", {}, {0: 0.8781843}),
    ("code", {"tokenizer": "code"}, CODE, "get ser", {}, {0: 1.0740302}),
    ("whole names", {"tokenizer": "code"}, CODE, "getUser", {}, {0: 2.1315651, 1: 0.5077718}),
    ("many languages", {"tokenizer": "multilingual"}, CODE, "get ser", {}, {0: 0.8781843}),
    ("nested", {"nested": "o"}, OBJECTS, "red apple", {}, {3: 1.13498, 0: 0.9422475, 1: 0.871385}),
    ("stems", ENGLISH, STEMMED, "the apple runs", {}, {0: 0.7803834, 1: 0.5235484, 2: 0.5235484}),
    (
        "long",
        {},
        [{"t": "a " * 20_000 + "b"}, {"t": "b"}, {"t": "c"}],
        "b c",
        {},
        {2: 1.6596924, 1: 0.7953082, 0: 0.2585194},
    ),
]
"""Text index, payloads, text, what else is asked for; scores of qdrant-edge-py 0.9.0."""


@pytest.mark.parametrize("name", [case[0] for case in EDGE])
def test_scores_are_those_of_edge(open_db: Callable[..., VecDB], name: str) -> None:
    _, index, payloads, query, more, scores = next(case for case in EDGE if case[0] == name)
    field = "o[].t" if "nested" in index else "t"
    db = open_db()
    db.create_collection("c", {"size": 1, "distance": "Dot"})
    points = [{"id": n, "vector": [1.0], "payload": each} for n, each in enumerate(payloads)]
    db.upsert("c", points)
    db.create_payload_index("c", field, {"type": "text", "scoring": True, **index})

    def answer() -> dict[int, float]:
        found = db.query_points("c", {"text": query}, using=field, **more).points
        assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
        return {int(p.id): p.score for p in found}

    in_memory = answer()
    assert in_memory == pytest.approx(scores, rel=1e-6)
    db.flush()
    assert answer() == in_memory


# -- where the numbers are -------------------------------------------------------------------------


@pytest.fixture
def filled(open_db: Callable[..., VecDB]) -> VecDB:
    """A segment in files."""
    db, rng = open_db(), Random(3)
    db.create_collection("c")
    db.create_payload_index("c", "t", {"type": "text", "scoring": True})
    db.upsert("c", [{"id": n, "vector": {}, "payload": {"t": text(rng)}} for n in range(600)])
    db.flush()
    return db


def told(db: VecDB) -> tuple[list[tuple[Any, float]], list[str]]:
    """What a query finds, and by what."""
    found = db.query_points("c", {"text": "apple red"}, using="t", limit=100, explain=True)
    stages = [stage for segment in found.explanation or () for stage in segment.stages]
    return [(p.id, p.score) for p in found.points], [s.reason for s in stages if s.by == "text"]


def test_no_payload_is_read_where_there_is_a_column(filled: VecDB) -> None:
    points, why = told(filled)
    assert len(points) == 100
    assert why == ["t: column"]
    filled.set_payload("c", {"t": "red"}, [1, 2, 3])
    assert told(filled)[1] == ["t: 3 payloads read"]


def test_a_column_that_does_not_count_is_made_anew(
    open_db: Callable[..., VecDB], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is older than queries by text."""
    db, rng = open_db(), Random(3)
    db.create_collection("c")
    with monkeypatch.context() as older:
        for module in (collecting, engine_columns.columns):
            older.setattr(module, "counts_tokens", lambda params: False)
        db.create_payload_index("c", "t", {"type": "text", "scoring": True})
        db.upsert("c", [{"id": n, "vector": {}, "payload": {"t": text(rng)}} for n in range(600)])
        db.flush()
        db.close()
    db = open_db()
    before = told(db)
    assert before[1] == ["t: 600 payloads read"]
    db.wait_for_optimizer()
    assert told(db) == (before[0], ["t: column"])


def test_a_damaged_column_is_done_without(filled: VecDB, open_db: Callable[..., VecDB]) -> None:
    before, path = told(filled)[0], Path(filled.path)
    filled.close()
    [column] = path.rglob(COLUMN.file("t"))
    data = np.fromfile(column, dtype=np.uint8)
    data[len(data) // 2 :] ^= 0xFF
    data.tofile(column)
    db = open_db()
    assert told(db)[0] == before
    db.wait_for_optimizer()
    assert told(db) == (before, ["t: column"])


def test_it_ranks_only_once_the_index_says_so(open_db: Callable[..., VecDB]) -> None:
    db = open_db()
    db.create_collection("c")
    db.upsert("c", [{"id": 1, "vector": {}, "payload": {"t": "red apple"}}])
    db.flush()
    without = "has one without"
    for schema, came in ((None, "has none"), ("text", without), ({"type": "text"}, without)):
        if schema is not None:
            db.create_payload_index("c", "t", schema)
        with pytest.raises(
            InvalidInputError, match=rf"using: .*scoring=True, got 't', which {came}"
        ):
            db.query_points("c", {"text": "red"}, using="t")
    db.create_payload_index("c", "t", {"type": "text", "scoring": {"type": "bm25"}})
    db.wait_for_optimizer()
    [hit] = db.query_points("c", {"text": "red"}, using='"t"').points
    assert hit.id == 1


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"query": {"text": "a"}}, "using: expected the field of the payload"),
        ({"query": {"text": "a"}, "using": "a..b"}, "is not a path"),
        ({"query": {"text": 5}, "using": "t"}, "text: expected a string or TextQueryInput, got 5"),
        ({"query": {"text": {"query": "a", "k": 1}}, "using": "t"}, "unknown field 'k'"),
        (
            {"query": {"text": {"query": "a", "scoring": {"bm25": {"b": 1.5}}}}, "using": "t"},
            r"text.scoring.bm25.b: expected a number from 0.0 to 1.0, got 1.5",
        ),
        (
            {"query": {"text": {"query": "a", "scoring": {"bm25": {"k": -1}}}}, "using": "t"},
            "k: expected a number from 0.0",
        ),
        (
            {
                "query": {"order_by": "t"},
                "prefetch": {"query": {"text": "a"}, "using": "u"},
            },
            "prefetch.using: .*'u', which has none",
        ),
    ],
)
def test_a_wrong_query_is_refused(filled: VecDB, query: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        filled.query_points("c", **query)


def test_a_document_is_still_a_vector(open_db: Callable[..., VecDB]) -> None:
    """It has a text, as a query by text has."""
    db = open_db()
    db.create_collection("c", sparse_vectors_config={"s": {}})
    document = {"text": "red apple", "model": "qdrant/bm25"}
    db.upsert("c", [{"id": 1, "vector": {"s": document}}])
    assert [p.id for p in db.query_points("c", document, using="s").points] == [1]


def test_an_empty_text_finds_nothing(filled: VecDB) -> None:
    for nothing in ("", " ,;", "unheard"):
        assert not filled.query_points("c", {"text": nothing}, using="t").points
