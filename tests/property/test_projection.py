"""``with_payload``: what comes back is what qdrant_client's local mode returns."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from qdrant_client.local.local_collection import LocalCollection
from qdrant_client.models import PayloadSelectorExclude, PayloadSelectorInclude

from proofs.model.oracle import SCALE
from vecdb import models
from vecdb.payload.projection import projection

names = st.sampled_from(["a", "b", "c"])
values = st.recursive(
    st.none() | st.integers(0, 9) | st.just("a") | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)
payloads = st.dictionaries(names, values, max_size=3)
steps = st.builds(lambda name, brackets: name + brackets, names, st.sampled_from(["", "", "[]", "[][]"]))  # fmt: skip  # noqa: E501
paths = st.lists(st.lists(steps, min_size=1, max_size=3).map(".".join), max_size=4)
BOOKS = {"a": [{"b": 1, "c": "1"}, {"b": 2}, 5, [{"b": 3}]], "b": 5, "c": {"a": {}}}


@settings(max_examples=400 * SCALE)
@given(payloads, paths)
@example(BOOKS, ["a[].b"])
@example(BOOKS, ["a.b", "b.c", "c.b"])
@example(BOOKS, ["a[].b", "a"])
def test_projections_are_those_of_qdrant(payload: dict[str, Any], keys: list[str]) -> None:
    before = deepcopy(payload)
    for ours, theirs in [
        (keys, keys),
        (models.PayloadSelectorInclude(include=keys), PayloadSelectorInclude(include=keys)),
        (models.PayloadSelectorExclude(exclude=keys), PayloadSelectorExclude(exclude=keys)),
    ]:
        expected = LocalCollection._process_payload(payload, theirs)
        assert projection(ours)(payload) == expected, ours
        assert payload == before


@given(payloads, names, names)
def test_an_index_names_nothing_to_return(payload: dict[str, Any], name: str, field: str) -> None:
    for path in (f"{name}[0]", f"{name}[0].{field}"):
        expected = LocalCollection._process_payload(payload, [path])
        assert projection([path])(payload) == expected
