"""Sparse vectors and their parameters at the door: what passes, what is refused, and the JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import models as there

from vecdb import models
from vecdb.errors import InvalidInputError
from vecdb.models.sparse import is_sparse

GIVEN = [3, 1, 4_294_967_295], [0.5, -2.0, 1e-3]


@pytest.mark.parametrize(
    "value",
    [
        models.SparseVector(indices=GIVEN[0], values=GIVEN[1]),
        {"indices": GIVEN[0], "values": GIVEN[1]},
        there.SparseVector(indices=GIVEN[0], values=GIVEN[1]),
        models.SparseVector(indices=np.array(GIVEN[0], np.uint32), values=np.array(GIVEN[1])),
    ],
)
def test_a_sparse_vector_comes_in_any_form(value: Any) -> None:
    assert is_sparse(value)
    read = models.coerce(models.SparseVector, value)
    assert models.to_builtins(read) == {"indices": GIVEN[0], "values": GIVEN[1]}


def test_an_empty_sparse_vector_is_one() -> None:
    assert models.coerce(models.SparseVector, {"indices": [], "values": []}).indices == []


@pytest.mark.parametrize("value", [[1.0], "text", 3, {"a": 1}, None, np.zeros(3)])
def test_what_is_none(value: Any) -> None:
    assert not is_sparse(value)


def test_the_configuration_is_qdrants_json() -> None:
    given = {
        "vectors": {"dense": {"size": 4, "distance": "Dot"}},
        "sparse_vectors": {
            "words": {"modifier": "idf"},
            "splade": {"index": {"on_disk": True, "full_scan_threshold": 7, "datatype": "uint8"}},
            "plain": {},
        },
    }
    params = models.coerce(models.CollectionParams, given)
    assert models.to_builtins(params) == given
    theirs = there.CollectionParams.model_validate(given)
    for name, sparse in (theirs.sparse_vectors or {}).items():
        read = models.coerce(models.SparseVectorParams, sparse)
        assert read == (params.sparse_vectors or {})[name]
    back = there.CollectionParams.model_validate(params, from_attributes=True)
    assert back.sparse_vectors == theirs.sparse_vectors


@pytest.mark.parametrize("given", [None, {}])
def test_no_sparse_vectors(given: Any) -> None:
    assert models.parse_sparse_vectors_config(given) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"": {}}, "expected a name of a sparse vector"),
        ({"n" * 201: {}}, "at most 200 bytes"),
        ({"s": {"modifier": "no"}}, r"\['s'\].modifier: expected one of 'none', 'idf'"),
        ({"s": {"size": 4}}, r"\['s'\]: unknown field 'size'"),
        ({"s": {"index": {"datatype": "float64"}}}, "'float32', 'float16', 'uint8'"),
        (3, "expected a dict"),
    ],
)
def test_a_wrong_configuration_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        models.parse_sparse_vectors_config(given)


def test_names_are_of_one_vector() -> None:
    vectors = {"a": {"size": 1, "distance": "Dot"}}
    with pytest.raises(InvalidInputError, match=r"expected other names .* got 'a'"):
        models.coerce(models.CollectionParams, {"vectors": vectors, "sparse_vectors": {"a": {}}})


def test_an_update_leaves_what_it_does_not_say() -> None:
    known = models.parse_sparse_vectors_config(
        {"a": {"index": {"on_disk": True}, "modifier": "idf"}, "b": {}}
    )
    changed = models.changed_sparse_vectors(
        known, {"a": {"index": {"full_scan_threshold": 3}}, "b": {"modifier": "none"}}
    )
    assert models.to_builtins(changed) == {
        "a": {"index": {"on_disk": True, "full_scan_threshold": 3}, "modifier": "idf"},
        "b": {"modifier": "none"},
    }
    with pytest.raises(InvalidInputError, match="no sparse vector 'c'; this collection has 'a'"):
        models.changed_sparse_vectors(known, {"c": {}})


@pytest.mark.parametrize("datatype", list(models.Datatype))
def test_a_dense_vector_has_any_datatype(datatype: models.Datatype) -> None:
    for given in (datatype, datatype.value):
        params = models.parse_vectors_config({"size": 3, "distance": "Dot", "datatype": given})
        assert isinstance(params, models.VectorParams)
        assert params.datatype is datatype


def test_a_name_for_a_later_vector() -> None:
    given = there.SparseVectorNameConfig(sparse=there.SparseVectorConfig(modifier="idf"))
    params = models.parse_vector_name_config(given)
    assert params == models.SparseVectorParams(modifier=models.Modifier.IDF)
