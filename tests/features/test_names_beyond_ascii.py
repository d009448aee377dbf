"""Names of fields beyond ASCII, as they come from JSON.

msgspec finds such a key of a TypedDict only if that very str has its UTF-8 cached, and is silent
where it has not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vecdb import VecDB
from vecdb.errors import InvalidInputError
from vecdb.payload.encoding import encode, field_decoder

NAMES = ("größe", "名前", "цена", "a b", "é")


@pytest.mark.parametrize("name", NAMES)
def test_a_field_is_decoded_whatever_its_name(name: str) -> None:
    field_decoder.cache_clear()
    made = json.loads(json.dumps(name))  # an object of its own
    assert field_decoder(made)(encode({name: 7, "x": 1})) == {name: 7}


@pytest.mark.parametrize("form", ["{}", "{}.w", "{}[].w"])
@pytest.mark.parametrize("name", NAMES)
def test_columns_facets_and_orders_know_it(db_path: Path, name: str, form: str) -> None:
    field_decoder.cache_clear()
    value = {"{}": lambda n: n, "{}.w": lambda n: {"w": n}, "{}[].w": lambda n: [{"w": n}]}[form]
    path = json.loads(json.dumps(form.replace("{}", f'"{name}"')))
    with VecDB(db_path) as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        points = [
            {"id": n, "vector": [1.0, n], "payload": {name: value(n % 10)}} for n in range(50)
        ]
        db.upsert("c", json.loads(json.dumps(points)))
        db.create_payload_index("c", path, "integer")
        db.flush()
        match = {"must": [{"key": path, "match": {"value": 7}}]}
        assert db.count("c", match).count == 5
        assert db.count("c", {"must": [{"key": path, "is_empty": True}]}).count == 0
        assert {
            hit.value: hit.count for hit in db.facet("c", path, limit=20).hits
        } == dict.fromkeys(range(10), 5)
        first, _ = db.scroll("c", order_by=path, limit=5)
        assert [point.id for point in first] == [0, 10, 20, 30, 40]


def test_half_a_character_is_no_path(db_path: Path) -> None:
    with VecDB(db_path) as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        for call in (
            lambda: db.facet("c", "\ud800"),
            lambda: db.scroll("c", order_by="\ud800"),
            lambda: db.create_payload_index("c", "\ud800", "integer"),
        ):
            with pytest.raises(InvalidInputError, match="not a path"):
                call()


def test_tokens_must_have_a_length(db_path: Path) -> None:
    with VecDB(db_path) as db:
        db.create_collection("c", {"size": 2, "distance": "Dot"})
        index = {"type": "text", "min_token_len": 5, "max_token_len": 2}
        with pytest.raises(InvalidInputError, match="min_token_len to be at most"):
            db.create_payload_index("c", "a", index)
