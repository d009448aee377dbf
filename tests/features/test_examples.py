"""Queries by examples: recommend, discover, context, feedback; as Qdrant's local mode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import qdrant_client
from qdrant_client import models as theirs

import vecdb.qdrant
from tests.cases import first_few
from vecdb import VecDB, models
from vecdb.errors import InvalidInputError, NotFoundError

DISTANCES = ["Cosine", "Dot", "Euclid", "Manhattan"]
KINDS = ["average_vector", "best_score", "sum_scores", "discover", "context", "feedback"]
POINTS, DIM = 240, 6
ROWS = np.random.default_rng(11).standard_normal((2, POINTS, DIM)).astype(np.float32)
CASES = 10
"""Of each kind and distance, in each of four parts."""
DELETED = {4, 17, 111, 200}
LIVE = [number for number in range(POINTS) if number not in DELETED]
FILTERS: list[dict[str, Any]] = [
    {"must": [{"key": "n", "range": {"gte": 100}}]},
    {"must_not": [{"key": "tag", "match": {"value": "x"}}]},
    {"must": [{"has_id": list(range(1, 60, 2))}]},
    {"must": [{"key": "tag", "match": {"value": "y"}}, {"key": "n", "range": {"lt": 50}}]},
    {"must": [{"key": "n", "range": {"lt": 4}}]},
]


def point_id(number: int) -> int | str:
    return str(UUID(int=number)) if number % 8 == 0 else number


def point(number: int) -> dict[str, Any]:
    """Every ninth has not the vector that is mostly searched by, every fifth not the other one."""
    vector = {}
    if number % 9:
        vector["a"] = ROWS[0, number].tolist()
    if number % 5 or not vector:
        vector["b"] = ROWS[1, number].tolist()
    return {
        "id": point_id(number),
        "vector": vector,
        "payload": {"n": number, "tag": "xyz"[number % 3]},
    }


def fill(db: Any, distance: str) -> None:
    """Two collections; the second has the ids of the first, other vectors, and one name."""
    named = {"a": distance, "b": "Dot"}
    vectors = {
        name: theirs.VectorParams(size=DIM, distance=theirs.Distance(each))
        for name, each in named.items()
    }
    db.create_collection("c", vectors_config=vectors)
    db.create_collection("other", vectors_config={"a": vectors["b"]})
    for first in range(0, POINTS, 60):
        points = [theirs.PointStruct(**point(n)) for n in range(first, first + 60)]
        db.upsert("c", points)
        if isinstance(db, VecDB) and first < 120:
            db.flush("c")
    db.delete("c", [point_id(n) for n in sorted(DELETED)])
    points = [
        theirs.PointStruct(id=n, vector={"a": (ROWS[0, n] * 3 + 1).tolist()}, payload={})
        for n in range(POINTS)
    ]
    db.upsert("other", points)


class Both:
    """Ours and local mode with the same points."""

    def __init__(self, path: Path, distance: str) -> None:
        self.distance = distance
        self.path = path
        with VecDB(path) as ours:
            fill(ours, distance)
        self.ours = VecDB(path)  # opened again: its rows in memory come from the log
        self.client: Any = vecdb.qdrant.QdrantClient(":memory:")
        self.local = qdrant_client.QdrantClient(":memory:")
        fill(self.client, distance)
        fill(self.local, distance)

    def close(self) -> None:
        self.ours.close()
        self.client.close()
        self.local.close()


@pytest.fixture(scope="module", params=DISTANCES)
def both(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    made = Both(tmp_path_factory.mktemp("examples") / "db", request.param)
    yield made
    made.close()


def example(rng: Random, using: str, place: str | None) -> Any:
    """A vector, or the id of a point that has one."""
    if rng.random() < 0.4:
        return np.random.default_rng(rng.randrange(10**6)).standard_normal(DIM).tolist()
    missing = 9 if using == "a" else 5
    if place == "other":
        return rng.choice([n for n in range(POINTS) if n % 8])
    return point_id(rng.choice([n for n in LIVE if n % missing]))


def drawn(rng: Random, kind: str, distance: str) -> dict[str, Any]:
    """A random query of a kind, in the form that all take."""
    using = rng.choice(("a", "a", "b"))
    place = None
    asked: dict[str, Any] = {"using": using}
    if kind != "feedback" and rng.random() < 0.3:  # whose ids local mode looks up in one place
        place, there = rng.choice((("c", "b"), ("c", "a"), ("other", "a"), ("other", None)))
        if there is not None or using == "a":
            asked["lookup_from"] = theirs.LookupLocation(collection=place, vector=there)
        else:
            place = None
        if place == "c":
            using = there or using

    def some(least: int, most: int) -> list[Any]:
        """Some examples: not less than ``least``, not more than ``most``."""
        return [example(rng, using, place) for _ in range(rng.randint(least, most))]

    def pair() -> theirs.ContextPair:
        positive, negative = some(2, 2)
        return theirs.ContextPair(positive=positive, negative=negative)

    query: Any
    if kind == "discover":
        context: Any = [pair() for _ in range(rng.randrange(1, 5))]
        context = context[0] if rng.random() < 0.2 else context
        query = theirs.DiscoverQuery(
            discover=theirs.DiscoverInput(target=some(1, 2)[0], context=context)
        )
    elif kind == "context":
        query = theirs.ContextQuery(context=[pair() for _ in range(rng.randrange(1, 5))])
    elif kind == "feedback":
        feedback = [
            theirs.FeedbackItem(example=each, score=rng.choice((0.1, 0.5, 0.9, -1.0, rng.random())))
            for each in some(0, 5)
        ]
        numbers = theirs.NaiveFeedbackStrategyParams(
            a=rng.choice((1.0, 0.2, 0.0, -0.5)), b=rng.choice((1.0, 0.5, 2.0)), c=rng.uniform(-1, 2)
        )
        query = theirs.RelevanceFeedbackQuery(
            relevance_feedback=theirs.RelevanceFeedbackInput(
                target=some(1, 2)[0],
                feedback=feedback,
                strategy=theirs.NaiveFeedbackStrategy(naive=numbers),
            )
        )
    else:
        positive = some(1 if kind == "average_vector" else 0, 4)
        negative = some(0 if positive else 1, 4)
        strategy: Any = None if kind == "average_vector" and rng.random() < 0.3 else kind
        query = theirs.RecommendQuery(
            recommend=theirs.RecommendInput(
                positive=positive or None, negative=negative or None, strategy=strategy
            )
        )
    asked["query"] = query
    if rng.random() < 0.6:
        asked["query_filter"] = theirs.Filter.model_validate(rng.choice(FILTERS))
    return asked


def smaller_is_better(kind: str, using: str, distance: str) -> bool:
    return kind == "average_vector" and using == "a" and distance in ("Euclid", "Manhattan")


def page(rng: Random) -> dict[str, Any]:
    return {"limit": rng.choice((1, 3, 10, 50, 300)), "offset": rng.choice((None, 0, 1, 5, 40))}


@pytest.mark.parametrize("part", first_few(1, range(4)))
@pytest.mark.parametrize("kind", KINDS)
def test_as_local_mode(both: Both, kind: str, part: int) -> None:
    """Of points with equal scores any may come first: so a page has the scores of the oracle's, and
    each point on it the score that it has there."""
    rng = Random(f"{kind} {both.distance} {part}")
    for _ in range(CASES):
        asked, cut = drawn(rng, kind, both.distance), page(rng)
        smaller = smaller_is_better(kind, asked["using"], both.distance)
        every = both.local.query_points("c", limit=POINTS, with_payload=False, **asked).points
        scores = {each.id: each.score for each in every}
        threshold = None
        if every and rng.random() < 0.3:
            threshold = rng.choice(every).score + (1e-3 if smaller else -1e-3)
        wanted = sorted(scores.values(), reverse=not smaller)
        if threshold is not None:
            sign = -1 if smaller else 1
            wanted = [score for score in wanted if sign * score > sign * threshold]
        start = cut["offset"] or 0
        wanted = wanted[start : start + cut["limit"]]
        for db in (both.ours, both.client):
            found = db.query_points("c", score_threshold=threshold, **cut, **asked).points
            assert [each.score for each in found] == pytest.approx(wanted, rel=1e-4, abs=2e-5)
            assert len({each.id for each in found}) == len(found)
            for each in found:
                assert each.score == pytest.approx(scores[each.id], rel=1e-4, abs=2e-5)


# -- what is refused -----------------------------------------------------------------------------

GOOD = [0.5] * DIM
PAIR = {"positive": 1, "negative": 2}
NAIVE = {"naive": {"a": 1.0, "b": 1.0, "c": 1.0}}


@pytest.fixture(scope="module")
def db() -> Iterator[VecDB]:
    with VecDB(":memory:") as made:
        fill(made, "Dot")
        made.create_collection("narrow", {"a": {"size": 2, "distance": "Dot"}})
        made.upsert("narrow", [{"id": 1, "vector": {"a": [1, 2]}}])
        yield made


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"recommend": {}}, r"^query.recommend.positive: expected at least one .* got none"),
        ({"recommend": {"negative": [1]}}, r"^query.recommend.positive: expected at least one"),
        ({"recommend": {"strategy": "best_score"}}, "^query.recommend: expected at least one"),
        ({"recommend": {"positive": [], "strategy": "sum_scores"}}, "expected at least one"),
        ({"recommend": {"positive": [1], "strategy": "best"}}, "^query.recommend.strategy: "),
        ({"recommend": {"positive": [[1.0, 2.0]]}}, r"positive\[0\]: expected 6 numbers, got 2"),
        ({"recommend": {"positive": [1, None]}}, r"positive\[1\]: .* got None"),
        ({"recommend": {"positive": [1, {"indices": [1], "values": [1.0]}]}}, r"positive\[1\]: "),
        ({"recommend": {"positive": [1, "no id"]}}, r"^query.recommend.positive\[1\]: .*'no id'"),
        ({"recommend": {"positive": [1, -5]}}, r"^query.recommend.positive\[1\]: point id -5: "),
        ({"discover": {"target": 2**64, "context": [PAIR]}}, "^query.discover.target: point id "),
        ({"recommend": {"positive": [[float("nan")] * DIM]}}, "finite"),
        ({"recommend": {"positives": [1]}}, "unknown field 'positives'"),
        ({"discover": {"target": 1}}, "^query.discover: missing field 'context'"),
        ({"discover": {"target": 1, "context": [{"positive": 1}]}}, "missing field 'negative'"),
        ({"discover": {"target": None, "context": [PAIR]}}, "^query.discover.target: "),
        ({"context": []}, "^query.context: expected at least one pair of examples, got none"),
        ({"context": {"positive": 1}}, r"^query.context\[0\]: missing field 'negative'"),
        ({"context": [{"positive": 1, "negative": [1.0]}]}, r"context\[0\].negative: expected 6"),
        ({"relevance_feedback": {"target": 1, "feedback": []}}, "missing field 'strategy'"),
        (
            {
                "relevance_feedback": {
                    "target": 1,
                    "feedback": [{"example": 2, "score": "good"}],
                    "strategy": NAIVE,
                }
            },
            "score: expected a number",
        ),
        (
            {
                "relevance_feedback": {
                    "target": 1,
                    "feedback": [{"example": 2, "score": 1e-5}, {"example": 3, "score": 0}],
                    "strategy": {"naive": {"a": 1, "b": -99, "c": 1}},
                }
            },
            "finite weights",
        ),
    ],
)
def test_what_is_wrong_is_said(db: VecDB, query: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        db.query_points("c", query, using="a")
    batch = words.replace("^", r"^requests\[0\]\.")
    with pytest.raises(InvalidInputError, match=batch):
        db.query_batch_points("c", [{"query": query, "using": "a"}])


def test_examples_that_are_not_there(db: VecDB) -> None:
    def ask(query: Any, **more: Any) -> Any:
        return db.query_points("c", query, **{"using": "a", **more})

    for query in (
        {"recommend": {"positive": [1, 4]}},
        {"discover": {"target": 1, "context": [{"positive": 1, "negative": 4}]}},
        {"context": [{"positive": 4, "negative": 1}]},
    ):
        with pytest.raises(NotFoundError, match="point 4 does not exist"):
            ask(query)
    with pytest.raises(NotFoundError, match="point 9 has no vector 'a'"):
        ask({"recommend": {"positive": [9]}})
    with pytest.raises(NotFoundError, match="'nowhere'"):
        ask({"recommend": {"positive": [1]}}, lookup_from={"collection": "nowhere"})
    with pytest.raises(InvalidInputError, match="'z'"):
        ask(1, lookup_from={"collection": "other", "vector": "z"})
    with pytest.raises(NotFoundError, match="point 777 does not exist in the collection of lookup"):
        ask(777, lookup_from={"collection": "other"})
    with pytest.raises(InvalidInputError, match=r"stands for 6 numbers, got 1, .* has 2"):
        ask({"context": PAIR}, lookup_from={"collection": "narrow"})
    with pytest.raises(InvalidInputError, match=r"^lookup_from: "):
        ask(1, lookup_from="other")
    with pytest.raises(InvalidInputError, match=r"using: expected the name"):
        ask({"context": PAIR}, using=5)


# -- where ids are looked up -----------------------------------------------------------------------


def test_an_example_of_another_collection_may_be_found(db: VecDB) -> None:
    """Here it is another point that happens to have the id."""
    here = db.query_points("c", {"recommend": {"positive": [1]}}, using="a", limit=POINTS).points
    assert 1 not in {point.id for point in here}
    place = models.LookupLocation(collection="other")
    there = db.query_points("c", 1, using="a", limit=POINTS, lookup_from=place).points
    assert 1 in {point.id for point in there}
    other = models.LookupLocation(collection="c", vector="b")
    by_b = db.query_points("c", 1, using="a", limit=POINTS, lookup_from=other).points
    assert 1 not in {point.id for point in by_b}
    best = max(LIVE, key=lambda n: ROWS[0, n] @ ROWS[1, 1] if n % 9 and n != 1 else -np.inf)
    assert by_b[0].id == point_id(best)


def test_an_alias_is_the_collection_itself(db: VecDB) -> None:
    alias = {"create_alias": {"collection_name": "c", "alias_name": "same"}}
    db.update_collection_aliases([alias])
    found = db.query_points("c", 1, using="a", limit=POINTS, lookup_from={"collection": "same"})
    assert 1 not in {point.id for point in found.points}


# -- other verbs -----------------------------------------------------------------------------------


def test_batches_and_groups_answer_as_single_queries(db: VecDB) -> None:
    queries: list[Any] = [
        {"recommend": {"positive": [1, 2]}},
        {"recommend": {"positive": [1, 2], "strategy": "best_score"}},
        {"discover": {"target": 1, "context": [PAIR]}},
        GOOD,
        {"context": PAIR},
    ]
    batch = db.query_batch_points("c", [{"query": q, "using": "a"} for q in queries])
    for query, answer in zip(queries, batch, strict=True):
        alone = db.query_points("c", query, using="a", with_payload=False).points
        assert answer.points == alone
        groups = db.query_points_groups("c", "tag", query, using="a", limit=3, group_size=4).groups
        every = db.query_points("c", query, using="a", limit=POINTS).points
        for group in groups:
            of_group = [p.id for p in every if p.payload and p.payload["tag"] == group.id][:4]
            assert [hit.id for hit in group.hits] == of_group
        assert len(groups) == 3


def test_a_least_score_is_one_under_a_distance_too(tmp_path: Path) -> None:
    """Where Qdrant takes it for a distance."""
    with VecDB(tmp_path / "db") as made:
        fill(made, "Euclid")
        query = {"recommend": {"positive": [1], "negative": [2], "strategy": "best_score"}}
        every = made.query_points("c", query, using="a", limit=POINTS).points
        middle = every[50].score
        some = made.query_points("c", query, using="a", limit=POINTS, score_threshold=middle)
        assert [p.id for p in some.points] == [p.id for p in every if p.score > middle]


# -- by an index and by codes ----------------------------------------------------------------------

MANY, WIDE = 6_000, 24


def clustered(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((40, WIDE)) * 2
    rows = middles[rng.integers(0, 40, MANY)] + rng.standard_normal((MANY, WIDE))
    return rows.astype(np.float32)


@pytest.fixture(scope="module", params=DISTANCES)
def indexed(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VecDB]:
    """With an index, codes, deleted points, and rows in memory."""
    with VecDB(tmp_path_factory.mktemp("indexed") / "db") as made:
        vectors = {"size": WIDE, "distance": request.param}
        made.create_collection(
            "c",
            vectors,
            quantization_config={"scalar": {"type": "int8"}},
            optimizers_config={"indexing_threshold": 100},
        )
        rows = clustered(3)
        payloads = [{"n": number % 10} for number in range(MANY)]
        made.upsert("c", models.Batch(ids=range(MANY), vectors=rows, payloads=payloads))
        assert made.wait_for_optimizer("c", timeout=100)
        made.delete("c", list(range(0, MANY, 17)))
        more = models.Batch(ids=range(MANY, MANY + 50), vectors=rows[:50] + 0.01)
        made.upsert("c", more)
        yield made


def distance_of(db: VecDB) -> str:
    vectors = db.get_collection("c").config.params.vectors
    assert isinstance(vectors, models.VectorParams)
    return vectors.distance.value


def by_examples(kind: str, rng: Random) -> dict[str, Any]:
    live = [number for number in range(MANY) if number % 17]
    one, two, three, four = (rng.choice(live) for _ in range(4))
    if kind == "feedback":
        feedback = [{"example": two, "score": 0.9}, {"example": three, "score": 0.2}]
        given = {"target": one, "feedback": feedback, "strategy": NAIVE}
        return {"relevance_feedback": given}
    if kind == "discover":
        pairs = [{"positive": two, "negative": three}, {"positive": one, "negative": four}]
        return {"discover": {"target": one, "context": pairs}}
    if kind == "context":
        return {"context": [{"positive": one, "negative": two}]}
    given = {"positive": [one, two], "negative": [three]}
    return {"recommend": {**given, "strategy": kind}}


@pytest.mark.parametrize("kind", KINDS)
def test_the_recall_holds(indexed: VecDB, kind: str) -> None:
    """By scores; with a filter, and with candidates from codes, too."""
    distance = distance_of(indexed)
    sign = -1 if smaller_is_better(kind, "a", distance) else 1
    rng, hits, wanted = Random(kind), 0, 0
    for number in range(24):
        query = by_examples(kind, rng)
        filter = {"must": [{"key": "n", "range": {"lt": 4}}]} if number % 3 == 0 else None
        asked: dict[str, Any] = {"limit": 10, "query_filter": filter, "with_payload": False}
        best = indexed.query_points("c", query, search_params={"exact": True}, **asked).points
        params = {"quantization": {"rescore": False}} if number % 4 == 1 else None
        if kind == "average_vector":
            params = None  # codes alone would give scores of their own
        found = indexed.query_points("c", query, search_params=params, **asked).points
        assert len(found) == len(best) == 10
        least = sign * best[-1].score
        slack = 1e-5 * max(1.0, abs(least))
        hits += sum(sign * point.score >= least - slack for point in found)
        wanted += len(best)
        scores = [sign * point.score for point in found]
        assert scores == sorted(scores, reverse=True)
    assert hits / wanted >= 0.95


def test_explain_says_how(indexed: VecDB) -> None:
    distance = distance_of(indexed)

    def stages(query: Any, **more: Any) -> list[models.SearchStage]:
        explanation = indexed.query_points("c", query, explain=True, **more).explanation
        assert explanation is not None
        return explanation[0].stages

    best = {"recommend": {"positive": [1, 2], "strategy": "best_score"}}
    steps = stages(best)
    assert steps[-1].by == "examples"
    assert steps[-1].reason == "against 2 examples, by best_score"
    assert steps[-1].rows < 100 < MANY
    assert len(steps) > 1
    [step] = stages(best, search_params={"exact": True})
    assert step.reason == "against 2 examples, asked for"
    assert step.rows == MANY - len(range(0, MANY, 17)) - 2
    unlike = {"recommend": {"negative": [1], "strategy": "best_score"}}
    [step] = stages(unlike)
    assert step.reason == "against 1 example, best_score has no vector near which the best must be"
    [step] = stages({"context": {"positive": 1, "negative": 2}})
    assert step.rows < MANY, "a page that cannot be better ends it"
    together = {"recommend": {"positive": [1, 2, 3], "strategy": "sum_scores"}}
    searched = len(stages(together)) > 1
    assert searched is (distance != "Manhattan")


def test_pages_do_not_overlap(indexed: VecDB) -> None:
    rng = Random(5)
    for kind in KINDS[1:]:
        query = by_examples(kind, rng)
        pages = [
            indexed.query_points("c", query, limit=10, offset=start, with_payload=False).points
            for start in range(0, 60, 10)
        ]
        ids = [point.id for page in pages for point in page]
        assert len(set(ids)) == len(ids) == 60


def test_examples_that_cancel_out_and_one_that_is_far(indexed: VecDB) -> None:
    """Sums whose weights leave nothing, and vectors as long as they may be."""
    same = {"recommend": {"positive": [1], "negative": [1], "strategy": "sum_scores"}}
    found = indexed.query_points("c", same).points
    assert [point.score for point in found] == [0.0] * 10
    long = {"recommend": {"positive": [[1e18] * WIDE], "strategy": "sum_scores"}}
    assert len(indexed.query_points("c", long).points) == 10
    for kind in ("best_score", "sum_scores"):
        far = {"positive": [[1e18] * WIDE], "negative": [1], "strategy": kind}
        assert len(indexed.query_points("c", {"recommend": far}).points) == 10


# -- matrices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("filter", first_few(3, [*FILTERS[::-1], None]))
def test_a_matrix_of_all_points_is_that_of_local_mode(both: Both, filter: Any) -> None:
    """By as many points as match, chance has nothing to choose."""
    given: Any = {
        "query_filter": None if filter is None else theirs.Filter.model_validate(filter),
        "sample": 300,
        "limit": 4,
        "using": "a",
    }
    wanted = both.local.search_matrix_pairs("c", **given)
    answers = [both.ours.search_matrix_pairs("c", **given)]
    answers.append(both.client.search_matrix_pairs("c", **given))
    for answer in answers:
        assert [(p.a, p.b) for p in answer.pairs] == [(p.a, p.b) for p in wanted.pairs]
        scores = [p.score for p in wanted.pairs]
        assert [p.score for p in answer.pairs] == pytest.approx(scores, rel=1e-4, abs=1e-5)
    sparse = both.local.search_matrix_offsets("c", **given)
    ours = both.client.search_matrix_offsets("c", **given)
    assert type(ours) is type(sparse)
    for name in ("offsets_row", "offsets_col", "ids"):
        assert getattr(ours, name) == getattr(sparse, name)
    assert ours.scores == pytest.approx(sparse.scores, rel=1e-4, abs=1e-5)


def test_a_matrix_of_a_sample(db: VecDB) -> None:
    pairs = db.search_matrix_pairs("c", sample=20, limit=5, using="b").pairs
    assert len(pairs) == 100
    assert len({pair.a for pair in pairs}) == 20
    assert {pair.b for pair in pairs} <= {pair.a for pair in pairs}
    drawn = {frozenset(p.a for p in db.search_matrix_pairs("c", using="b").pairs) for _ in range(9)}
    assert len(drawn) > 1, "always the same"
    few = {"must": [{"has_id": [1]}]}
    assert db.search_matrix_pairs("c", few, using="a").pairs == []
    empty = db.search_matrix_offsets("c", few, using="a")
    assert (empty.ids, empty.scores, empty.offsets_row, empty.offsets_col) == ([], [], [], [])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sample": 1}, "sample: expected an integer >= 2, got 1"),
        ({"sample": True}, "sample: expected an integer >= 2, got True"),
        ({"limit": 0}, "limit: expected an integer >= 1, got 0"),
        ({"using": "z"}, "'z'"),
        ({"using": 3}, "using: expected the name of a vector, got 3"),
        ({"query_filter": {"musts": []}}, "query_filter: unknown field"),
    ],
)
def test_a_wrong_matrix(db: VecDB, given: dict[str, Any], words: str) -> None:
    for verb in ("search_matrix_pairs", "search_matrix_offsets"):
        with pytest.raises(InvalidInputError, match=words):
            getattr(db, verb)("c", **{"using": "a", **given})
