"""Sparse vectors and multivectors in files: what comes out goes in again, others read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange_tools import ONE_VECTOR, SEVERAL, of_unequal_vectors, points_of
from exchange_tools import small_parts as small_parts  # a fixture
from safetensors.numpy import load_file, save_file

from vecdb import VecDB, exchange, models
from vecdb.errors import InvalidInputError


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("format", SEVERAL)
def test_they_come_back(db: VecDB, tmp_path: Path, format: str, dense: bool) -> None:
    given = of_unequal_vectors(db, dense)
    path = tmp_path / f"points.{format}"
    assert exchange.export_collection(given, path).points == 250
    exchange.import_collection(db, "copy", path, batch_size=33)
    assert points_of(db.collection("copy")) == points_of(given)
    assert db.get_collection("copy").config == given.info().config


@pytest.mark.parametrize("format", SEVERAL)
def test_one_name_alone_comes_back(db: VecDB, tmp_path: Path, format: str) -> None:
    given = of_unequal_vectors(db)
    path = tmp_path / f"points.{format}"
    exchange.export_collection(given, path, vectors="words", with_payload=False)
    exchange.import_collection(db, "copy", path)
    config = db.get_collection("copy").config.params
    assert (config.vectors, list(config.sparse_vectors or ())) == ({}, ["words"])
    wanted = given.scroll(limit=1000, with_vectors=["words"])[0]
    assert [p.vector for p in points_of(db.collection("copy"))] == [p.vector for p in wanted]


@pytest.mark.parametrize("format", ONE_VECTOR)
def test_files_of_one_array_have_no_room(db: VecDB, tmp_path: Path, format: str) -> None:
    given, path = of_unequal_vectors(db), tmp_path / f"points.{format}"
    expected = f"{format} holds the vectors of one name, which are all of one length; choose one"
    for name in ("words", "many"):
        with pytest.raises(InvalidInputError, match=rf"{expected} of 'd', got '{name}'"):
            exchange.export_collection(given, path, vectors=name)
    with pytest.raises(InvalidInputError, match=rf"{expected} of 'd'$"):
        exchange.export_collection(given, path)
    assert not list(tmp_path.iterdir())
    exchange.export_collection(given, path, vectors="d")
    exchange.import_collection(db, "copy", path)
    assert db.get_collection("copy").config.params.sparse_vectors is None


def test_others_read_them(db: VecDB, tmp_path: Path) -> None:
    given = of_unequal_vectors(db, count=8)
    points = points_of(given)
    vectors = [(p.vector or {}).get("words") for p in points]  # type: ignore[union-attr]
    many = [(p.vector or {}).get("many") for p in points]  # type: ignore[union-attr]
    for format in SEVERAL:
        exchange.export_collection(given, tmp_path / f"x.{format}")
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    table = pq.read_table(tmp_path / "x.parquet").column("vector_words").to_pylist()
    arrays = load_file(tmp_path / "x.safetensors")
    indptr, of_many = arrays["indptr_vector_words"], arrays["indptr_vector_many"]
    assert pq.read_table(tmp_path / "x.parquet").column("vector_many").to_pylist() == many
    for row, tokens in enumerate(many):
        assert lines[row]["vector"].get("many") == tokens
        found = arrays["tokens_vector_many"][of_many[row] : of_many[row + 1]]
        assert found.tolist() == (tokens or [])
    for row, vector in enumerate(vectors):
        wanted = vector and {"indices": vector.indices, "values": vector.values}
        assert lines[row]["vector"].get("words") == wanted
        assert table[row] == wanted
        assert arrays["present_vector_words"][row] == (vector is not None)
        numbers = slice(indptr[row], indptr[row + 1])
        assert arrays["indices_vector_words"][numbers].tolist() == (wanted or {}).get("indices", [])
        assert arrays["values_vector_words"][numbers].tolist() == (wanted or {}).get("values", [])


def test_files_of_other_programs_come_in(db: VecDB, tmp_path: Path) -> None:
    """They need no distance: sparse vectors compare in one way."""
    rows: list[Any] = [{"indices": [9, 4], "values": [1.0, 2.5]}, None]
    lines = [{"id": n, "vector": {"s": row} if row else {}} for n, row in enumerate(rows)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, lines)))
    kind = pa.struct([("values", pa.large_list(pa.float64())), ("indices", pa.list_(pa.int64()))])
    table = pa.table({"id": [0, 1], "s": pa.array(rows, kind), "n": [5, 6]})
    pq.write_table(table, tmp_path / "x.parquet")
    csr = {
        "indptr_vector_s": np.array([0, 2, 2]),
        "indices_vector_s": np.array([4, 9], dtype=np.int32),
        "values_vector_s": np.array([2.5, 1.0]),
    }
    save_file(csr, tmp_path / "x.safetensors")
    for format in SEVERAL:
        exchange.import_collection(db, format, tmp_path / f"x.{format}")
        first, second = points_of(db.collection(format))
        assert first.vector == {"s": models.SparseVector(indices=[4, 9], values=[2.5, 1.0])}
        absent = models.SparseVector(indices=[], values=[]) if format == "safetensors" else None
        assert second.vector == ({"s": absent} if absent else {})
    assert points_of(db.collection("parquet"))[0].payload == {"n": 5}


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ({"indices": [1], "values": []}, "point 1: vector 's': expected as many indices as val"),
        ({"indices": [1, 1], "values": [1, 2]}, "point 1: vector 's': .*twice"),
        ({"indices": [-1], "values": [1]}, "point 1: vector 's': expected indices from 0"),
        ({"indices": [1], "values": ["a"]}, "point 1: vector 's': expected numbers as values"),
        ({"indices": [1]}, "point 1: vector 's': expected a sparse vector with indices and"),
        ([1.0, 2.0], "point 1: vector 's': "),
    ],
)
def test_wrong_lines_are_named(db: VecDB, tmp_path: Path, vector: Any, message: str) -> None:
    path = tmp_path / "x.jsonl"
    good = {"id": 1, "vector": {"s": {"indices": [1], "values": [1.5]}}}
    path.write_text(f"{json.dumps(good)}\n{json.dumps({'id': 2, 'vector': {'s': vector}})}\n")
    with pytest.raises(InvalidInputError, match=message):
        exchange.import_collection(db, "c", path)
    assert not db.collection_exists("c")


def test_a_sparse_vector_in_the_place_of_numbers(db: VecDB, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    lines = ({"a": [1.0, 2.0]}, {"a": {"indices": [1], "values": [1.5]}})
    path.write_text("\n".join(json.dumps({"id": n, "vector": v}) for n, v in enumerate(lines)))
    with pytest.raises(InvalidInputError, match="point 1: expected 2 numbers of 'a', got a sparse"):
        exchange.import_collection(db, "c", path, distance="Dot")


@pytest.mark.parametrize(
    ("part", "array", "message"),
    [
        ("indptr", [0, 2, 1], "expected rising numbers up to 2 in rows 0 to 1"),
        ("indptr", [0, 1, 9], "expected rising numbers up to 2 in rows 0 to 1"),
        ("indptr", [-1, 1, 2], "expected rising numbers up to 2 in rows 0 to 1"),
        ("indptr", [0, 2], "expected 3 of 'indptr_vector_s'"),
        ("indices", [4], "as many 'indices_vector_s' as values"),
        ("indices", [9, 4], "expected the indices of each row to rise in rows 0 to 1"),
    ],
)
def test_wrong_rows_of_safetensors(
    db: VecDB, tmp_path: Path, part: str, array: list[int], message: str
) -> None:
    csr = {
        "ids": np.array([1, 2]),
        "indptr_vector_s": np.array([0, 2, 2]),
        "indices_vector_s": np.array([4, 9]),
        "values_vector_s": np.array([2.5, 1.0]),
    }
    csr[f"{part}_vector_s"] = np.array(array)
    save_file(csr, tmp_path / "x.safetensors")
    with pytest.raises(InvalidInputError, match=message):
        exchange.import_collection(db, "c", tmp_path / "x.safetensors")
    assert not db.collection_exists("c")


@pytest.mark.parametrize(("wrong", "value"), [("indices", [4, -1]), ("indices", [4, 2**40])])
def test_indices_beyond_32_bits_are_refused(
    db: VecDB, tmp_path: Path, wrong: str, value: list[int]
) -> None:
    """They were cut to 32 bits, and were other indices."""
    csr = {
        "indptr_vector_s": np.array([0, 2]),
        "indices_vector_s": np.array([4, 9]),
        "values_vector_s": np.array([2.5, 1.0]),
    }
    csr[f"{wrong}_vector_s"] = np.array(value)
    save_file(csr, tmp_path / "x.safetensors")
    with pytest.raises(InvalidInputError, match="indices"):
        exchange.import_collection(db, "c", tmp_path / "x.safetensors")


def test_multivectors_of_other_programs_come_in(db: VecDB, tmp_path: Path) -> None:
    """Lists of lists, of one length by their type or not."""
    rows: list[Any] = [[[1.0, 2.0]], [[0.5, 1.0], [2.0, 3.0]], None]
    points = [{"id": n, "vector": {"m": row} if row else {}} for n, row in enumerate(rows)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, points)))
    for number, kind in enumerate((pa.list_(pa.float64()), pa.list_(pa.float32(), 2))):
        table = pa.table({"id": [0, 1, 2], "m": pa.array(rows, pa.list_(kind))})
        pq.write_table(table, tmp_path / f"{number}.parquet")
    csr = {"indptr_vector_m": np.array([0, 1, 3]), "tokens_vector_m": np.array(rows[0] + rows[1])}
    save_file(csr, tmp_path / "x.safetensors")
    for number, name in enumerate(("x.jsonl", "0.parquet", "1.parquet", "x.safetensors")):
        into = f"c{number}"
        exchange.import_collection(db, into, tmp_path / name, distance="Dot", using="m")
        params: Any = db.get_collection(into).config.params.vectors
        assert (params["m"].size, params["m"].multivector_config is not None) == (2, True)
        copies: Any = points_of(db.collection(into))
        assert [(p.vector or {}).get("m") for p in copies] == rows[: len(copies)]


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([[1.0, 2.0, 3.0]], "point 1: vector 'm': expected rows of 2 numbers"),
        ([], "point 1: vector 'm': expected a multivector of at least one vector"),
        ([[1.0, 2.0], [1.0]], "point 1: vector 'm': expected rows of equal length"),
        ([["a", "b"]], "point 1: vector 'm': expected numbers"),
        ({"indices": [1], "values": [1]}, "point 1: vector 'm': "),
    ],
)
def test_wrong_multivectors_are_named(db: VecDB, tmp_path: Path, vector: Any, message: str) -> None:
    path = tmp_path / "x.jsonl"
    lines = ({"m": [[1.0, 2.0]]}, {"m": vector})
    path.write_text("\n".join(json.dumps({"id": n, "vector": v}) for n, v in enumerate(lines)))
    with pytest.raises(InvalidInputError, match=message):
        exchange.import_collection(db, "c", path, distance="Dot")


def test_kinds_are_compared_before_anything_is_written(db: VecDB, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    exchange.export_collection(of_unequal_vectors(db), path, vectors="words")
    db.create_collection("other", {"words": {"size": 2, "distance": "Dot"}})
    expected = "expected vectors of 2 numbers, as 'other' has, got sparse vectors"
    with pytest.raises(InvalidInputError, match=expected):
        exchange.import_collection(db, "other", path)
    db.create_collection("third", sparse_vectors_config={"s": {}})
    exchange.import_collection(db, "third", path)  # there is no doubt which is meant
    wanted = [p.vector["words"] for p in points_of(db.collection("c"), ["words"]) if p.vector]  # type: ignore[call-overload,index]
    assert [p.vector["s"] for p in points_of(db.collection("third")) if p.vector] == wanted  # type: ignore[call-overload,index]
