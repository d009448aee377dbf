"""Field indexes: whatever has columns and whatever is done meanwhile, answers are those without."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from proofs.model.oracle import SCALE
from vecdb import VecDB
from vecdb.engine.read import columns

OpenDB = Callable[..., VecDB]

DIM = 4
WITH, WITHOUT = "with", "without"
FIELDS = ("n", "f", "flag", "city", "at", "owner", "tags", "deep.x", "people[].name")
ALL_KINDS = ("integer", "float", "bool", "keyword", "datetime", "uuid", "keyword", "text", "geo")
KEYS = (*FIELDS, '"city"', "tags[]", "deep", "people", "people[0].age", "nothing")
PLAIN = {"indexing_threshold": 0, "max_optimization_threads": 0, "automatic_indexes": False}
CITIES = ("Bern", "Basel", "Bern ", "Zürich", "", "ä\0")


def scalar(rng: Random) -> Any:
    """A value of any kind; most are like others of their kind."""
    return rng.choice(
        (
            *(rng.randrange(12), rng.randrange(12), -rng.randrange(5), 2**62, -(2**63), 2**64 - 1),
            *(float(rng.randrange(5)), rng.random(), float("nan"), float("inf"), -0.0),
            *(True, False, None, rng.choice(CITIES), rng.choice(CITIES), moment(rng)),
            *(str(uuid.UUID(int=rng.randrange(4))), {"y": 1}, [], ["Bern", [1]]),
        )
    )


def moment(rng: Random) -> str:
    """A text that is a date, in one of several forms."""
    at = dt.datetime(2024, 1, 1 + rng.randrange(4), rng.randrange(24), tzinfo=dt.timezone.utc)
    return rng.choice(
        (at.isoformat(), at.date().isoformat(), at.strftime("%Y-%m-%d %H:%M:%S+02:00"), "2024-13")
    )


def payload(rng: Random) -> dict[str, Any]:
    """What most points have, and now and then anything anywhere."""
    made: dict[str, Any] = {
        "n": rng.randrange(40),
        "f": rng.random() * 4,
        "flag": rng.random() < 0.3,
        "city": rng.choice(CITIES),
        "at": moment(rng),
        "owner": str(uuid.UUID(int=rng.randrange(6))),
        "tags": [rng.choice(("x", "y", 1, 2)) for _ in range(rng.randrange(4))],
        "deep": {"x": scalar(rng)},
        "people": [
            {"name": rng.choice(("Ada", "Bob", None)), "age": rng.randrange(3)}
            for _ in range(rng.randrange(3))
        ],
    }
    for key in rng.sample(sorted(made), rng.randrange(3)):
        if rng.random() < 0.5:
            del made[key]
        else:
            made[key] = rng.choice((scalar(rng), [scalar(rng), scalar(rng)]))
    return made


def bounds(rng: Random, draw: Callable[[], Any]) -> dict[str, Any]:
    return {name: draw() for name in rng.sample(("gt", "gte", "lt", "lte"), rng.randint(1, 2))}


def condition(rng: Random, depth: int = 0) -> dict[str, Any]:
    """One condition of any kind."""
    key = rng.choice(KEYS)
    texts = [*CITIES, "x", "Ada", str(uuid.UUID(int=1)), moment(rng)]
    whole = [rng.randrange(40), rng.randrange(3), 2**62, -(2**63), 2**64 - 1]
    values = rng.choice((texts, whole))
    leaves: list[dict[str, Any]] = [
        {"key": key, "match": {"value": rng.choice((*texts, *whole, True, False))}},
        {"key": key, "match": {"any": rng.sample(values, rng.randrange(4))}},
        {"key": key, "match": {"except": rng.sample(values, rng.randrange(4))}},
        {"key": key, "match": {"text": rng.choice(("Bern", "bern basel", "zürich", ""))}},
        {"key": key, "match": {"text_any": rng.choice(("Bern x", "ada", "y"))}},
        {"key": key, "match": {"phrase": rng.choice(("Bern", "Ada"))}},
        {"key": key, "range": bounds(rng, lambda: rng.choice((rng.randrange(40), 0.5, 2**62)))},
        {"key": key, "range": bounds(rng, lambda: moment(rng).replace("2024-13", "2024-01-02"))},
        {"key": key, "values_count": bounds(rng, lambda: rng.randrange(3))},
        {"key": key, "is_empty": rng.random() < 0.5},
        {"key": key, "is_null": rng.random() < 0.5},
        {"is_empty": {"key": key}},
        {"is_null": {"key": key}},
        {"has_id": [rng.randrange(3000) for _ in range(rng.randrange(40))]},
        {"has_vector": ""},
        {"nested": {"key": rng.choice(("people", "people[]")), "filter": inner(rng)}},
    ]
    if depth < 2:
        leaves += [filter_(rng, depth + 1)] * 2
    return rng.choice(leaves)


def inner(rng: Random) -> dict[str, Any]:
    name = {"key": "name", "match": {"value": rng.choice(("Ada", "Bob"))}}
    age = {"key": "age", "range": {"gte": rng.randrange(3)}}
    null = {"is_null": {"key": "name"}}
    clause = rng.sample([name, age, null], rng.randint(1, 2))
    return {rng.choice(("must", "should", "must_not")): clause}


def filter_(rng: Random, depth: int = 0) -> dict[str, Any]:
    """A filter of one to four conditions."""
    made: dict[str, Any] = {}
    for clause in rng.sample(("must", "must", "should", "must_not", "min_should"), 2):
        some = [condition(rng, depth) for _ in range(rng.randint(1, 2))]
        made[clause] = some
        if clause == "min_should":
            made[clause] = {"conditions": some, "min_count": rng.randint(1, 2)}
        if rng.random() < 0.5:
            break
    return made


def differ(db: VecDB, rng: Random, times: int) -> None:
    """Everything that takes a filter or a field, of both collections."""
    for _ in range(times):
        made, state = filter_(rng), rng.getstate()
        found = []
        for name in (WITH, WITHOUT):
            rng.setstate(state)
            found.append(asked(db.collection(name), made, rng))
        assert found[0] == found[1], made


def asked(collection: Any, made: dict[str, Any], rng: Random) -> list[Any]:
    """What is found by a filter, in every way."""
    key, page, offset = rng.choice(KEYS), rng.choice((1, 7, 5000)), rng.randrange(3000)
    order = {"key": key, "direction": rng.choice(("asc", "desc"))}
    if rng.random() < 0.3:
        order["start_from"] = rng.choice((3, 2.5, "2024-01-02"))
    query = [rng.random() for _ in range(DIM)]
    points = collection.query_points(query, query_filter=made, limit=50).points
    ordered, _ = collection.scroll(made, order_by=order, limit=page)
    return [
        collection.count(made).count,
        [record.id for record in collection.scroll(made, page, offset)[0]],
        [(point.id, point.score) for point in points],
        (key, [(hit.value, hit.count) for hit in collection.facet(key, made, limit=page).hits]),
        (order, [(r.id, r.order_value, type(r.order_value)) for r in ordered]),
    ]


class Pair:
    """The same points in a collection with field indexes, and in one without."""

    def __init__(self, db: VecDB, seed: int) -> None:
        self.db, self.rng = db, Random(seed)
        db.create_collection(WITH, {"size": DIM, "distance": "Dot"}, optimizers_config=PLAIN)
        db.create_collection(WITHOUT, {"size": DIM, "distance": "Dot"}, optimizers_config=PLAIN)

    def write(self) -> None:
        """A write of any kind, to both."""
        rng, db = self.rng, self.db
        some = [rng.randrange(3000) for _ in range(rng.choice((1, 20, 300)))]
        kind = rng.choice(("upsert", "upsert", "delete", "set", "set", "overwrite", "unset", "by"))
        points = [{"id": i, "vector": self._vector(i), "payload": payload(rng)} for i in set(some)]
        new = payload(rng)
        given: dict[str, Any] = {key: new[key] for key in list(new)[:3]}
        ids = {"must": [{"has_id": some}]}
        selected = {"filter": filter_(rng) if kind == "by" else ids}
        for name in (WITH, WITHOUT):
            if kind == "upsert":
                db.upsert(name, points)
            elif kind == "delete":
                db.delete(name, some[:20])
            elif kind == "overwrite":
                db.overwrite_payload(name, given, selected)
            elif kind == "unset":
                db.delete_payload(name, list(given), selected)
            else:
                db.set_payload(name, given, selected)

    @staticmethod
    def _vector(number: int) -> list[float]:
        return [float(number % 7), float(number % 11), 1.0, number / 3000]

    def upkeep(self) -> None:
        """A checkpoint, a step of the optimizer, or an index that comes or goes."""
        rng, db = self.rng, self.db
        what = rng.randrange(5)
        if what == 0:
            db.flush(rng.choice((WITH, WITHOUT)))
        elif what == 1:
            db.optimizer.run_once()
        elif what == 2:
            at = rng.randrange(len(FIELDS))
            db.create_payload_index(WITH, FIELDS[at], ALL_KINDS[at], wait=rng.random() < 0.5)
        elif what == 3:
            db.delete_payload_index(WITH, rng.choice(FIELDS))


@pytest.mark.parametrize("seed", range(2 * SCALE))
@pytest.mark.parametrize("few_edits", [0, columns.FEW_EDITS])
def test_answers_are_the_same(
    open_db: OpenDB, monkeypatch: pytest.MonkeyPatch, seed: int, few_edits: int
) -> None:
    monkeypatch.setattr(columns, "FEW_EDITS", few_edits)
    pair = Pair(open_db(), seed)
    for field, kind in zip(FIELDS, ALL_KINDS, strict=True):
        if pair.rng.random() < 0.6:
            pair.db.create_payload_index(WITH, field, kind)
    for number in range(14):
        pair.write()
        pair.upkeep()
        differ(pair.db, pair.rng, 3)
        if number % 5 == 4:
            pair.db.close()
            pair.db = open_db()
    assert pair.db.check().ok
