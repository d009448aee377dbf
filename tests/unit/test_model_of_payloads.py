"""What is asked of payloads, compared with the model: no right answer is wrong, no bug right."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any
from uuid import UUID

import pytest

from proofs.model.by_payload import asked_of_payloads, faceted, grouped, ordered, sampled
from proofs.model.drawing import FIELDS, random_conditions, random_payload
from proofs.model.meaning import matches
from proofs.model.oracle import Oracle
from proofs.model.writes import Pool
from vecdb import VecDB, models
from vecdb.payload.filters import compile_filter

Change = Callable[[Any], None]


class Lying:
    """A collection of which one verb answers something else."""

    def __init__(self, collection: Any, change: Change | None = None) -> None:
        self._collection = collection
        self._change = change

    def __getattr__(self, verb: str) -> Any:
        def call(*positional: Any, **named: Any) -> Any:
            answer = getattr(self._collection, verb)(*positional, **named)
            if self._change is not None:
                self._change(answer)
            return answer

        return call


def _first(answer: Any) -> Any:
    """The list of what an answer has."""
    for name in ("points", "hits", "groups"):
        if hasattr(answer, name):
            return getattr(answer, name)
    return answer[0]


def drop(answer: Any) -> None:
    del _first(answer)[:1]


def swap(answer: Any) -> None:
    _first(answer).reverse()


def repeat(answer: Any) -> None:
    found = _first(answer)
    found += found[-1:]


def miscount(answer: Any) -> None:
    for hit in _first(answer):
        hit.count += 1


def misplace(answer: Any) -> None:
    for record in _first(answer):
        record.order_value = 77


def empty_payload(answer: Any) -> None:
    for point in _first(answer):
        point.payload = {}


def fewer_hits(answer: Any) -> None:
    for group in answer.groups:
        del group.hits[-1:]


def other_hits(answer: Any) -> None:
    for group in answer.groups:
        group.hits[:1] = group.hits[-1:]


def other_ids(answer: Any) -> None:
    for group in answer.groups:
        group.id = "nobody"


def wrong_scores(answer: Any) -> None:
    for group in answer.groups:
        for hit in group.hits:
            hit.score += 0.5


@pytest.fixture(params=[{}, {"": (3, "Cosine")}, {"": (3, "Euclid")}], ids=["none", "cos", "l2"])
def there(request: Any) -> Any:
    rng, oracle = Random(3), Oracle(request.param)
    pool = Pool("payloads", request.param, 60)
    rows = []
    for point_id in pool.ids:
        vectors = {name: [rng.gauss(0, 1) for _ in range(3)] for name in request.param}
        rows.append((point_id, random_payload(rng), vectors))
    oracle.upsert(rows)
    with VecDB() as db:
        config = {"size": 3, "distance": oracle.vectors[""][1]} if oracle.vectors else None
        db.create_collection("c", config)
        db.upsert(
            "c",
            [{"id": i, "vector": v.get("", {}), "payload": payload} for i, payload, v in rows],
        )
        yield db.collection("c"), oracle, pool


def test_filters_mean_in_the_model_what_they_mean_in_vecdb() -> None:
    """Each by itself, and neither knows of the other."""
    rng, ids = Random(5), [1, 2, 2**64 - 1, str(UUID(int=5)), str(UUID(int=2**100))]
    apart = 0
    for _ in range(400):
        filter = random_conditions(rng, rng.sample(ids, 2), "a")
        texts = [field for field in FIELDS if rng.random() < 0.3]
        schema = dict.fromkeys(texts, models.parse_field_schema("text"))
        test = compile_filter(models.coerce(models.Filter, filter), schema)
        found = set()
        for payload in [random_payload(rng) for _ in range(20)]:
            point_id, vectors = rng.choice(ids), rng.choice((["a"], []))
            wanted = matches(filter, point_id, payload, vectors, texts)
            assert test(point_id, payload, vectors) == wanted, (filter, payload, texts)
            found.add(wanted)
        apart += len(found) > 1
    assert apart > 150


def test_conditions_of_every_kind_are_drawn() -> None:
    rng, drawn = Random(6), set()

    def look(filter: dict[str, Any]) -> None:
        for clause, conditions in filter.items():
            drawn.add(clause)
            of_clause = conditions["conditions"] if clause == "min_should" else conditions
            for each in of_clause:
                if each.keys() & {"must", "should", "must_not"}:
                    look(each)
                elif "nested" in each:
                    drawn.add("nested")
                    look(each["nested"]["filter"])
                else:
                    drawn.update(each, each.get("match", ()))

    for _ in range(500):
        look(random_conditions(rng, [1], ""))
    tests = {"value", "any", "except", "text", "text_any", "phrase", "prefix", "substring"}
    others = {"has_id", "has_vector", "slice", "nested"}
    fields = {*models.Filter.__struct_fields__, *models.FieldCondition.__struct_fields__}
    assert drawn == fields | tests | others


def test_right_answers(there: Any) -> None:
    collection, oracle, pool = there
    for seed in range(40):
        assert asked_of_payloads(collection, oracle, pool, Random(seed)) is None


@pytest.mark.parametrize(
    ("compare", "change"),
    [
        *((ordered, change) for change in (drop, swap, repeat, misplace, empty_payload)),
        *((sampled, change) for change in (drop, repeat, empty_payload)),
        *((faceted, change) for change in (drop, swap, miscount)),
        *((grouped, change) for change in (drop, swap, repeat, fewer_hits, other_hits, other_ids)),
    ],
)
def test_wrong_answers(there: Any, compare: Any, change: Change) -> None:
    collection, oracle, pool = there
    lying = Lying(collection, change)
    assert any(compare(lying, oracle, pool, Random(seed)) for seed in range(10))


def test_wrong_scores(there: Any) -> None:
    collection, oracle, pool = there
    lying = Lying(collection, wrong_scores)
    found = [grouped(lying, oracle, pool, Random(seed)) for seed in range(10)]
    assert any(found) is bool(oracle.vectors)
