"""Exports and imports: what comes out goes in again, others read it, wrong files change nothing."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange_tools import FORMATS, ONE_VECTOR, SEVERAL, of_two_vectors, points_of, with_vector
from exchange_tools import small_parts as small_parts  # a fixture
from safetensors import safe_open
from safetensors.numpy import save_file

from vecdb import VecDB, exchange, models
from vecdb.errors import AlreadyExistsError, InvalidInputError, LockedError, NotFoundError
from vecdb.exchange import extras
from vecdb.storage import fs


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


# -- there and back ----------------------------------------------------------------------------


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("format", SEVERAL)
def test_a_collection_comes_back_whole(db: VecDB, tmp_path: Path, format: str) -> None:
    given = of_two_vectors(db)
    path = tmp_path / f"points.{format}"
    report = exchange.export_collection(given, path)
    assert (report.points, report.left_out, report.format) == (250, 0, format)
    assert report.bytes == path.stat().st_size
    read = exchange.import_collection(db, "copy", path, batch_size=33)
    assert (read.points, read.skipped) == (250, 0)
    assert points_of(db.collection("copy")) == points_of(given)
    assert db.get_collection("copy").config == given.info().config
    assert not [name for name in names_in(tmp_path) if "exporting" in name]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("format", ONE_VECTOR)
def test_the_vectors_of_one_name_come_back(db: VecDB, tmp_path: Path, format: str) -> None:
    given = of_two_vectors(db)
    path = tmp_path / f"points.{format}"
    with pytest.raises(InvalidInputError, match=f"{format} holds the vectors of one name"):
        exchange.export_collection(given, path)
    assert not names_in(tmp_path)
    report = exchange.export_collection(given, path, vectors="a")
    wanted = with_vector(given, "a")
    assert (report.points, report.left_out) == (len(wanted), 250 - len(wanted))
    exchange.import_collection(db, "copy", path, batch_size=33)
    assert points_of(db.collection("copy")) == wanted
    config = db.get_collection("copy").config
    assert config.params.vectors == {"a": given.info().config.params.vectors["a"]}  # type: ignore[index]
    assert config.payload_schema == given.info().config.payload_schema


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("count", [0, 1])
def test_next_to_nothing_comes_back_too(db: VecDB, tmp_path: Path, format: str, count: int) -> None:
    db.create_collection("one", {"size": 5, "distance": "Manhattan"})
    for number in range(count):
        db.upsert("one", [{"id": number, "vector": [0.1, 0.2, 0.3, 0.4, 0.5]}])
    path = tmp_path / f"points.{format}"
    assert exchange.export_collection(db.collection("one"), path).points == count
    assert exchange.import_collection(db, "copy", path).points == count
    assert points_of(db.collection("copy")) == points_of(db.collection("one"))
    assert db.get_collection("copy").config == db.get_collection("one").config


@pytest.mark.parametrize("format", SEVERAL)
def test_points_without_vectors_come_back(db: VecDB, tmp_path: Path, format: str) -> None:
    db.create_collection("bare")
    db.upsert("bare", [{"id": n, "vector": {}, "payload": {"n": n}} for n in range(9)])
    path = tmp_path / f"points.{format}"
    exchange.export_collection(db.collection("bare"), path)
    exchange.import_collection(db, "copy", path)
    assert points_of(db.collection("copy")) == points_of(db.collection("bare"))


@pytest.mark.parametrize("format", FORMATS)
def test_payloads_may_be_left_out_and_points_chosen(db: VecDB, tmp_path: Path, format: str) -> None:
    given = of_two_vectors(db)
    path = tmp_path / f"points.{format}"
    chosen = {"must": [{"key": "number", "range": {"lt": 100}}]}
    exchange.export_collection(given, path, vectors=["b"], scroll_filter=chosen, with_payload=False)
    exchange.import_collection(db, "copy", path)
    records, _ = given.scroll(chosen, limit=1000, with_vectors=["b"])
    if format in ONE_VECTOR:
        records = [record for record in records if "b" in (record.vector or {})]
    for record in records:
        record.payload = {}
    assert points_of(db.collection("copy")) == records


def test_an_export_that_replaces_another_leaves_nothing_of_it(db: VecDB, tmp_path: Path) -> None:
    """What stood beside the file would be taken for that of the new one."""
    given = of_two_vectors(db)
    path = tmp_path / "points.fvecs"
    exchange.export_collection(given, path, vectors="a")
    with pytest.raises(AlreadyExistsError, match="overwrite=True replaces it"):
        exchange.export_collection(given, path, vectors="b")
    exchange.export_collection(given, path, vectors="b", with_payload=False, overwrite=True)
    assert names_in(tmp_path) == {
        "points.fvecs", "points.fvecs.ids.npy", "points.fvecs.collection.json"
    }  # fmt: skip
    exchange.import_collection(db, "copy", path)
    assert len(db.collection("copy")) == len(with_vector(given, "b"))


# -- others read it ----------------------------------------------------------------------------


def test_parquet_is_what_data_frames_expect(db: VecDB, tmp_path: Path) -> None:
    given = of_two_vectors(db)
    exchange.export_collection(given, tmp_path / "points.parquet")
    table = pq.read_table(tmp_path / "points.parquet")
    assert table.schema.field("vector_a").type == pa.list_(pa.float32(), 7)
    assert table.schema.field("id").type == pa.string()
    for row, point in zip(table.to_pylist(), points_of(given), strict=True):
        assert row["id"] == str(point.id)
        assert row["vector_a"] == point.vector.get("a")  # type: ignore[union-attr]
        assert row["vector_b"] == point.vector.get("b")  # type: ignore[union-attr]
        assert json.loads(row["payload"]) == point.payload


def test_integers_stay_integers_in_parquet(db: VecDB, tmp_path: Path) -> None:
    db.create_collection("one", {"size": 2, "distance": "Dot"})
    db.upsert("one", [{"id": 2**64 - 1, "vector": [1, 2]}])
    exchange.export_collection(db.collection("one"), tmp_path / "points.parquet")
    table = pq.read_table(tmp_path / "points.parquet")
    assert table.schema.field("id").type == pa.uint64()
    assert table.to_pylist() == [{"id": 2**64 - 1, "vector": [1.0, 2.0], "payload": "{}"}]


def test_arrays_are_what_their_libraries_read(db: VecDB, tmp_path: Path) -> None:
    given = of_two_vectors(db)
    points = with_vector(given, "a")
    expected = np.array([p.vector["a"] for p in points], dtype=np.float32)  # type: ignore[index,call-overload]
    for format in ONE_VECTOR:
        exchange.export_collection(given, tmp_path / f"points.{format}", vectors="a")
    assert np.array_equal(np.load(tmp_path / "points.npy"), expected)
    raw = np.fromfile(tmp_path / "points.fvecs", dtype="<i4").reshape(-1, 8)
    assert (raw[:, 0] == 7).all()
    assert np.array_equal(np.ascontiguousarray(raw[:, 1:]).view("<f4"), expected)
    raw = (tmp_path / "points.fbin").read_bytes()
    assert struct.unpack("<II", raw[:8]) == expected.shape
    assert raw[8:] == expected.tobytes()
    with h5py.File(tmp_path / "points.hdf5") as file:
        assert file.attrs["distance"] == "euclidean"
        assert np.array_equal(file["train"][:], expected)
        assert [int(i) if i.isdigit() else i.decode() for i in file["ids"]] == [
            p.id for p in points
        ]


def test_safetensors_is_what_its_library_reads(db: VecDB, tmp_path: Path) -> None:
    given = of_two_vectors(db)
    exchange.export_collection(given, tmp_path / "points.safetensors")
    points = points_of(given)
    with safe_open(tmp_path / "points.safetensors", framework="numpy") as file:
        present = file.get_tensor("present_vector_a")
        values = file.get_tensor("vector_a")
        lines = bytes(file.get_tensor("payload")).decode().split("\n")
    assert present.tolist() == ["a" in (p.vector or {}) for p in points]
    assert values[present].tolist() == [p.vector["a"] for p in points if "a" in p.vector]  # type: ignore
    assert [json.loads(line) for line in lines[:-1]] == [p.payload for p in points]


# -- what others wrote -------------------------------------------------------------------------


def imported(db: VecDB, path: Path, **options: Any) -> list[models.Record]:
    """The points of a new collection of a file."""
    exchange.import_collection(db, "copy", path, distance="Dot", **options)
    return points_of(db.collection("copy"))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", ">f2", "i1", ">i4", "u1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_any_numbers_and_order(db: VecDB, tmp_path: Path, dtype: str, order: Any) -> None:
    rows = np.random.default_rng(0).normal(size=(57, 6)) * 50
    array = np.array(np.abs(rows), dtype=dtype, order=order)
    np.save(tmp_path / "points.npy", array)
    points = imported(db, tmp_path / "points.npy", batch_size=10)
    assert [p.id for p in points] == list(range(57))
    assert np.array_equal(np.array([p.vector for p in points]), array.astype(np.float32))


def test_parquet_of_other_programs(db: VecDB, tmp_path: Path) -> None:
    """Lists of any floats; what is neither vector nor id is payload; no ids: numbers of rows."""
    table = pa.table(
        {
            "title": ["one", "two", None],
            "embedding": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.float64())),
            "when": pa.array([0, 1, 2], pa.timestamp("s")),
        }
    )
    pq.write_table(table, tmp_path / "theirs.parquet")
    points = imported(db, tmp_path / "theirs.parquet")
    assert points == [
        models.Record(0, {"title": "one", "when": "1970-01-01T00:00:00"}, [1.0, 2.0]),
        models.Record(1, {"title": "two", "when": "1970-01-01T00:00:01"}, {}),
        models.Record(2, {"when": "1970-01-01T00:00:02"}, [3.0, 4.0]),
    ]


def test_what_data_frames_write_again_is_read(db: VecDB, tmp_path: Path) -> None:
    """Polars writes large strings, DuckDB lists of any length; neither keeps the configuration."""
    given = of_two_vectors(db)
    path = tmp_path / "points.parquet"
    exchange.export_collection(given, path)
    table = pq.read_table(path)
    floats = pa.large_list(pa.float32())
    for name, kind in (("payload", pa.large_string()), ("vector_a", floats), ("vector_b", floats)):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table.column(name).cast(kind))
    pq.write_table(table.replace_schema_metadata(None), path)
    assert imported(db, path) == points_of(given)


def test_safetensors_of_other_programs(db: VecDB, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(20, 4))
    arrays = {"left": rows.astype(np.float16), "right": np.ascontiguousarray(rows[:, :3])}
    save_file(arrays, tmp_path / "theirs.safetensors")
    points = imported(db, tmp_path / "theirs.safetensors", batch_size=6)
    for name, array in arrays.items():
        got = np.array([point.vector[name] for point in points])  # type: ignore[index,call-overload]
        assert np.array_equal(got, array.astype(np.float32))


def test_bfloat16_is_the_upper_half_of_float32(db: VecDB, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    halves = (rows.view(np.uint32) >> 16).astype("<u2")
    head = {"vector": {"dtype": "BF16", "shape": [5, 4], "data_offsets": [0, 40]}}
    text = json.dumps(head).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + halves.tobytes())
    points = imported(db, tmp_path / "x.safetensors")
    expected = (rows.view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert np.array_equal(np.array([p.vector for p in points]), expected)


def test_hdf5_of_the_benchmarks(db: VecDB, tmp_path: Path) -> None:
    """Their distance is the collection's; queries and neighbours are no points."""
    rows = np.random.default_rng(0).normal(size=(40, 4))
    with h5py.File(tmp_path / "theirs.hdf5", "w") as file:
        file.attrs["distance"] = "angular"
        file.create_dataset("train", data=rows)
        file.create_dataset("test", data=rows[:3])
        file.create_dataset("neighbors", data=np.zeros((3, 10), dtype=np.int32))
    exchange.import_collection(db, "copy", tmp_path / "theirs.hdf5")
    config = db.get_collection("copy").config.params.vectors
    assert config == models.VectorParams(size=4, distance=models.Distance.COSINE)
    assert db.collection("copy").search(rows[7], limit=1)[0].id == 7


@pytest.mark.parametrize(("suffix", "dtype"), [("bvecs", "u1"), ("ivecs", "<i4")])
def test_vecs_of_other_numbers(db: VecDB, tmp_path: Path, suffix: str, dtype: str) -> None:
    rows = np.random.default_rng(0).integers(0, 200, size=(11, 6)).astype(dtype)
    data = b"".join(struct.pack("<i", 6) + row.tobytes() for row in rows)
    (tmp_path / f"theirs.{suffix}").write_bytes(data)
    points = imported(db, tmp_path / f"theirs.{suffix}", batch_size=4)
    assert np.array_equal(np.array([p.vector for p in points]), rows)


def test_json_lines_of_other_programs(db: VecDB, tmp_path: Path) -> None:
    (tmp_path / "theirs.jsonl").write_text(
        '{"id": 3, "vector": [1, 2.5]}\n\n'
        '{"payload": null, "vector": {}, "id": "9a6cbea5-3a4c-4b1e-8c1a-2c3b8c1f0a11"}'
    )
    assert imported(db, tmp_path / "theirs.jsonl") == [
        models.Record(3, {}, [1.0, 2.5]),
        models.Record("9a6cbea5-3a4c-4b1e-8c1a-2c3b8c1f0a11", {}, {}),
    ]


def test_vectors_go_where_they_are_meant_to(db: VecDB, tmp_path: Path) -> None:
    given = of_two_vectors(db)
    before = len(given)
    np.save(tmp_path / "x.npy", np.ones((3, 7)))
    with pytest.raises(InvalidInputError, match="has vectors '', and 'two' has 'a', 'b'"):
        exchange.import_collection(db, "two", tmp_path / "x.npy")
    exchange.import_collection(db, "two", tmp_path / "x.npy", using="a")
    assert given.retrieve([1], with_vectors=["a"])[0].vector == {"a": [1.0] * 7}
    assert len(given) == before + 2  # there was a point 0
    db.create_collection("named", {"only": {"size": 7, "distance": "Dot"}})
    exchange.import_collection(db, "named", tmp_path / "x.npy")
    assert db.retrieve("named", [1], with_vectors=True)[0].vector == {"only": [1.0] * 7}


# -- wrong files -------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_was_cut_off_is_refused(db: VecDB, tmp_path: Path, format: str) -> None:
    given = of_two_vectors(db)
    path = tmp_path / f"points.{format}"
    exchange.export_collection(given, path, vectors="a")
    whole = path.read_bytes()
    # The last byte of HDF5 is room for what is never read.
    cuts = [0, 3, len(whole) // 2] + ([] if format == "hdf5" else [len(whole) - 2])
    for cut in cuts:
        path.write_bytes(whole[:cut])
        name = f"copy{cut}"
        if format == "jsonl" and cut == 0:  # as many lines as there are
            assert exchange.import_collection(db, name, path).points == 0
            continue
        with pytest.raises(InvalidInputError, match=path.name):
            exchange.import_collection(db, name, path)
        assert not db.collection_exists(name)


def test_a_distance_that_is_not_the_collections_is_refused(db: VecDB, tmp_path: Path) -> None:
    """It was ignored, and not looked at, where the collection or the file had its own."""
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    imported(db, tmp_path / "x.npy")  # of Dot
    exchange.export_collection(db.collection("copy"), tmp_path / "own.jsonl")
    for name, file in (("copy", "x.npy"), ("new", "own.jsonl")):
        with pytest.raises(InvalidInputError, match=r"distance: .* has 'Dot', got 'Cosine'"):
            exchange.import_collection(db, name, tmp_path / file, distance="Cosine")
        with pytest.raises(InvalidInputError, match="distance: expected"):
            exchange.import_collection(db, name, tmp_path / file, distance="cosin")
        assert len(db.collection("copy")) == 3
        assert not db.collection_exists("new")
        exchange.import_collection(db, name, tmp_path / file, distance="Dot")


def test_a_failed_import_leaves_no_empty_collection(db: VecDB, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", [[1.0, np.nan]])
    with pytest.raises(InvalidInputError, match="component 1"):
        imported(db, tmp_path / "x.npy")
    assert not db.collection_exists("copy")
    db.create_collection("mine", {"size": 2, "distance": "Dot"})
    with pytest.raises(InvalidInputError, match="component 1"):
        exchange.import_collection(db, "mine", tmp_path / "x.npy")
    assert db.collection_exists("mine")  # the import did not make it


def test_a_wrong_vector_name_makes_no_collection(db: VecDB, tmp_path: Path) -> None:
    given = of_two_vectors(db)
    exchange.export_collection(given, tmp_path / "a.parquet", vectors="a")
    with pytest.raises(InvalidInputError, match=r"using: there is no vector 'c'; .*has 'a'"):
        exchange.import_collection(db, "new", tmp_path / "a.parquet", using="c")
    assert not db.collection_exists("new")
    with pytest.raises(InvalidInputError, match=r"using: there is no vector 'c'; 'two' has 'a'"):
        exchange.import_collection(db, "two", tmp_path / "a.parquet", using="c")


def test_wrong_dimensions_change_nothing(db: VecDB, tmp_path: Path) -> None:
    given = of_two_vectors(db)
    before = points_of(given)
    for format in FORMATS:
        path = tmp_path / f"points.{format}"
        exchange.export_collection(given, path, vectors="a")
        db.recreate_collection("other", {"a": {"size": 6, "distance": "Dot"}})
        with pytest.raises(
            InvalidInputError, match=r"expected vectors of 6 numbers.*got vectors of 7"
        ):
            exchange.import_collection(db, "other", path)
        assert len(db.collection("other")) == 0
    assert points_of(given) == before


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e300])
def test_what_is_no_number_is_refused_by_its_row(db: VecDB, tmp_path: Path, wrong: float) -> None:
    rows = np.ones((50, 4))
    rows[27, 2] = wrong
    np.save(tmp_path / "x.npy", rows)
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.create_dataset("train", data=rows)
    table = pa.table({"v": pa.FixedSizeListArray.from_arrays(rows.reshape(-1), 4)})
    pq.write_table(table, tmp_path / "x.parquet")
    save_file({"vector": rows}, tmp_path / "x.safetensors")
    for format in ("npy", "hdf5", "parquet", "safetensors"):
        name = f"of {format}"
        with pytest.raises(InvalidInputError, match=r"points 20 to 29: .*row 7, component 2"):
            exchange.import_collection(
                db, name, tmp_path / f"x.{format}", distance="Dot", batch_size=10
            )
        assert len(db.collection(name)) == 20  # the batches before it


@pytest.mark.parametrize("format", SEVERAL)
def test_what_json_has_not_is_null(db: VecDB, tmp_path: Path, format: str) -> None:
    """As Qdrant's client sends it to a server. Here it stays what it is."""
    db.create_collection("c")
    odd = {"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": -float("inf")}}
    db.upsert("c", [{"id": 1, "vector": {}, "payload": odd}])
    [record] = db.retrieve("c", [1])
    assert repr(record.payload) == repr(odd)
    exchange.export_collection(db.collection("c"), tmp_path / f"x.{format}")
    exchange.import_collection(db, "copy", tmp_path / f"x.{format}")
    [copy] = db.retrieve("copy", [1])
    assert copy.payload == {"a": None, "b": [None, 1.5], "c": {"d": None}}


def test_records_that_qdrants_client_dumped_come_in(db: VecDB, tmp_path: Path) -> None:
    """They have keys that are null where nobody asked for them."""
    theirs = pytest.importorskip("qdrant_client.models")
    path = tmp_path / "x.jsonl"
    records = [theirs.Record(id=n, vector=[n, 2.0], payload={"n": n}) for n in range(3)]
    path.write_text("".join(record.model_dump_json() + "\n" for record in records))
    assert '"shard_key":null' in path.read_text()
    assert [(p.id, p.vector, p.payload) for p in imported(db, path)] == [
        (n, [n, 2], {"n": n}) for n in range(3)
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "line 2: expected an object of id, vector and payload"),
        ('{"id": 2', "line 2: is no JSON: Expecting .* delimiter at character [0-9]+$"),
        ('{"id": 2, "vector": [1, 2], "title": null}', "line 2: .*got the key 'title'"),
        ('{"id": 2, "vector": [1, 2], "shard_key": "x"}', "line 2: .*got the key 'shard_key'"),
        ('{"vector": [1, 2]}', "line 2: expected an object of id.*got no id in"),
        ('{"id": 2, "vector": [1, NaN]}', "line 2: expected finite numbers, got NaN"),
        ('{"id": 2, "vector": [1, 2, 3]}', "point 1: expected a vector of 2 numbers, got 3"),
        ('{"id": 2, "vector": [1, "2"]}', "expected numbers, got <U"),
        ('{"id": 2, "vector": [1, [2]]}', "expected numbers in each vector"),
        ('{"id": 2, "vector": [1, null]}', "expected numbers, got object"),
        ('{"id": 2, "vector": {"b": [1, 2]}}', "expected vectors .*got one called 'b'"),
        ('{"id": 2, "vector": 7}', "line 2: expected a list of numbers as vector"),
        ('{"id": 2, "vector": [1, 2], "payload": 7}', "line 2: expected an object as payload"),
        ('{"id": 2, "vectors": [1, 2]}', "line 2: expected an object of id, vector and payload"),
        ('{"id": -2, "vector": [1, 2]}', "expected 0 <= id"),
        ('{"id": "x", "vector": [1, 2]}', "expected an unsigned 64-bit integer or a UUID"),
    ],
)
def test_wrong_lines_are_named(db: VecDB, tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": 1, "vector": [1, 2]}\n' + line + "\n")
    with pytest.raises(InvalidInputError, match=message):
        imported(db, path)
    assert not db.collection_exists("copy")  # nothing came into it


def test_wrong_parquet_is_refused(db: VecDB, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    for column, message in (
        (
            pa.array([[1.0, 2.0], None, [3.0, 4.0], [1.0], []]),
            "row 3 of column 'v': expected vectors of 2 numbers, got 1",
        ),
        (
            pa.array([[1.0, 2.0], None, [3.0, None]]),
            "row 2 of column 'v': null in the place of number 1, .*pandas writes NaN",
        ),
        (
            pa.array([None, [1.0, 2.0], [None, 4.0]], pa.list_(pa.float32(), 2)),
            "row 2 of column 'v': null in the place of number 0",
        ),
        (pa.array([[1.0, 2.0], [3.0, np.nan]]), "row 1, component 1"),
        (pa.array([["a"]]), "expected a column of lists of floats, got v"),
        (pa.array([None], pa.list_(pa.float32())), "no row has a vector in 'v'"),
    ):
        pq.write_table(pa.table({"v": column}), path)
        with pytest.raises(InvalidInputError, match=message):
            imported(db, path)


def test_what_stands_beside_a_file_must_fit(db: VecDB, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.ones((5, 2)))
    np.save(tmp_path / "x.npy.ids.npy", np.arange(4))
    with pytest.raises(InvalidInputError, match=r"x.npy.ids.npy: expected 5 ids, got shape \(4,\)"):
        imported(db, path)
    np.save(tmp_path / "x.npy.ids.npy", np.arange(5) * 10)
    (tmp_path / "x.npy.payload.jsonl").write_text('{"n": 1}\nnull\n')
    with pytest.raises(InvalidInputError, match="expected 5 payloads, one a line, got 2"):
        imported(db, path)
    (tmp_path / "x.npy.payload.jsonl").write_text('{"n": 1}\nnull\n{}\n{}\n{}\n')
    assert [(p.id, p.payload) for p in imported(db, path)] == [
        (0, {"n": 1}), (10, {}), (20, {}), (30, {}), (40, {})
    ]  # fmt: skip


def test_what_is_asked_for_is_looked_at_first(db: VecDB, tmp_path: Path) -> None:
    given = of_two_vectors(db)
    with pytest.raises(InvalidInputError, match=r"expected a name that ends in .jsonl, .parquet"):
        exchange.export_collection(given, tmp_path / "points.csv")
    with pytest.raises(InvalidInputError, match=r"format: expected one of jsonl, .*got 'csv'"):
        exchange.export_collection(given, tmp_path / "points.csv", "csv")
    with pytest.raises(InvalidInputError, match="expected a name that ends in"):
        exchange.export_collection(given, tmp_path / "points.bvecs", vectors="a")
    with pytest.raises(NotFoundError, match="there is no vector 'c' in 'two'; there are: 'a', 'b'"):
        exchange.export_collection(given, tmp_path / "points.jsonl", vectors=["a", "c"])
    with pytest.raises(InvalidInputError, match=r"the directory .* does not exist"):
        exchange.export_collection(given, tmp_path / "no" / "points.jsonl")
    with pytest.raises(InvalidInputError, match="scroll_filter"):
        exchange.export_collection(given, tmp_path / "points.jsonl", scroll_filter={"must": 3})  # type: ignore[dict-item]
    with pytest.raises(NotFoundError, match="there is no such file"):
        exchange.import_collection(db, "copy", tmp_path / "no.jsonl")
    np.save(tmp_path / "x.npy", np.ones((3, 7)))
    with pytest.raises(InvalidInputError, match="does not say how its vectors compare"):
        exchange.import_collection(db, "copy", tmp_path / "x.npy")
    assert not db.collection_exists("copy")
    assert names_in(tmp_path) == {"x.npy"}


def test_a_library_that_is_missing_is_named(
    db: VecDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = of_two_vectors(db)
    for name in ("pyarrow", "h5py"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InvalidInputError, match=r"pyarrow is needed.*vecdb-embedded\[arrow\]"):
        exchange.export_collection(given, tmp_path / "x.parquet")
    with pytest.raises(InvalidInputError, match=r"h5py is needed.*vecdb-embedded\[hdf5\]"):
        exchange.export_collection(given, tmp_path / "x.hdf5", vectors="a")
    assert not names_in(tmp_path)
    with pytest.raises(InvalidInputError, match=r"there_is_none is needed"):
        extras.library("there_is_none", "none")


# -- interrupted -------------------------------------------------------------------------------


class Interrupted:
    """Ctrl-C after a number of calls."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, done: int, total: int | None) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.usefixtures("small_parts")
def test_an_export_goes_on_where_it_was(db: VecDB, tmp_path: Path) -> None:
    given = of_two_vectors(db)
    path = tmp_path / "points.jsonl"
    with pytest.raises(KeyboardInterrupt):
        exchange.export_collection(given, path, progress=Interrupted(10))
    assert names_in(tmp_path) == {"points.jsonl.exporting"}
    with pytest.raises(AlreadyExistsError, match="resume=True goes on with it"):
        exchange.export_collection(given, path)
    with pytest.raises(InvalidInputError, match="was interrupted has another with_payload"):
        exchange.export_collection(given, path, resume=True, with_payload=False)
    seen: list[int] = []
    exchange.export_collection(
        given, path, resume=True, progress=lambda done, total: seen.append(done)
    )
    assert seen[0] == 153  # three parts were there
    assert names_in(tmp_path) == {"points.jsonl", "points.jsonl.collection.json"}
    exchange.import_collection(db, "copy", path)
    assert points_of(db.collection("copy")) == points_of(given)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("written", ["a point", "a payload", "a deletion", "nothing"])
def test_an_export_that_goes_on_is_of_one_state(tmp_path: Path, written: str) -> None:
    """It had the first parts of one state and the others of another, without a word."""
    path = tmp_path / "points.jsonl"
    with VecDB(tmp_path / "my.db") as db:
        given = of_two_vectors(db)
        with pytest.raises(KeyboardInterrupt):
            exchange.export_collection(given, path, progress=Interrupted(10))
    with VecDB(tmp_path / "my.db") as db:
        if written == "a point":
            db.upsert("two", [{"id": 1, "vector": {}}])
        elif written == "a payload":
            db.set_payload("two", {"number": -1}, [0])
        elif written == "a deletion":
            db.delete("two", [0])
    with VecDB(tmp_path / "my.db", read_only=True) as db:
        given = db.collection("two")
        if written == "nothing":
            assert exchange.export_collection(given, path, resume=True).points == 250
            return
        with pytest.raises(InvalidInputError, match=r"'two' was written to .*overwrite=True"):
            exchange.export_collection(given, path, resume=True)
        assert exchange.export_collection(given, path, overwrite=True).points == len(given)


@pytest.mark.usefixtures("small_parts")
def test_an_export_may_begin_anew(db: VecDB, tmp_path: Path) -> None:
    given = of_two_vectors(db)
    path = tmp_path / "points.jsonl"
    with pytest.raises(KeyboardInterrupt):
        exchange.export_collection(given, path, progress=Interrupted(10))
    given.delete([0, 3, 6])
    exchange.export_collection(given, path, overwrite=True)
    assert path.read_bytes().count(b"\n") == 247


def test_two_exports_to_one_file_do_not_meet(db: VecDB, tmp_path: Path) -> None:
    given = of_two_vectors(db)
    path = tmp_path / "points.jsonl"
    with pytest.raises(KeyboardInterrupt):
        exchange.export_collection(given, path, progress=Interrupted(0))
    lock = fs.FileLock(tmp_path / "points.jsonl.exporting" / "lock", "the export")
    with pytest.raises(LockedError):
        exchange.export_collection(given, path, resume=True)
    lock.release()
    assert exchange.export_collection(given, path, resume=True).points == 250


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("how", [{"resume": True}, {"overwrite": True}])
def test_an_export_that_runs_is_left_alone(db: VecDB, tmp_path: Path, how: dict[str, bool]) -> None:
    """Another one threw away its parts before it looked whether somebody was at work."""
    given = of_two_vectors(db)
    path = tmp_path / "points.jsonl"
    refused: list[LockedError] = []

    def another(done: int, total: int | None) -> None:
        try:
            exchange.export_collection(given, path, **how)
        except LockedError as error:
            refused.append(error)

    report = exchange.export_collection(given, path, progress=another)
    assert len(refused) > 2
    assert report.points == path.read_bytes().count(b"\n") == 250
    assert names_in(tmp_path) == {"points.jsonl", "points.jsonl.collection.json"}


@pytest.mark.parametrize("lines", [249, 251])
def test_payloads_that_are_not_as_many_as_vectors(db: VecDB, tmp_path: Path, lines: int) -> None:
    """One line too many moved all payloads behind it to other points."""
    path = tmp_path / "x.npy"
    np.save(path, np.ones((250, 4), dtype=np.float32))
    (tmp_path / "x.npy.payload.jsonl").write_bytes(b'{"a": 1}\n' * lines)
    with pytest.raises(InvalidInputError, match=f"expected 250 payloads, one a line, got {lines}"):
        exchange.import_collection(db, "x", path, distance="Dot")
    assert not db.collection_exists("x")


def test_an_import_goes_on_where_it_was(db: VecDB, tmp_path: Path) -> None:
    given = of_two_vectors(db)
    path = tmp_path / "points.parquet"
    exchange.export_collection(given, path)
    with pytest.raises(KeyboardInterrupt):
        exchange.import_collection(db, "copy", path, batch_size=30, progress=Interrupted(4))
    assert len(db.collection("copy")) == 150
    db.set_payload("copy", {"mine": 1}, [3])
    report = exchange.import_collection(db, "copy", path, batch_size=40, resume=True)
    assert (report.points, report.skipped) == (250, 150)
    assert db.retrieve("copy", [3])[0].payload["mine"] == 1  # type: ignore[index]
    exchange.import_collection(db, "copy", path)
    assert points_of(db.collection("copy")) == points_of(given)


def test_points_that_replace_others_are_counted(db: VecDB, tmp_path: Path) -> None:
    """Of fifty points of one id the report said that there are fifty."""
    path = tmp_path / "x.npy"
    np.save(path, np.arange(100.0).reshape(50, 2))
    np.save(tmp_path / "x.npy.ids.npy", np.array([7] * 50))
    report = exchange.import_collection(db, "same", path, distance="Dot", batch_size=20)
    assert (report.points, report.skipped, report.replaced) == (50, 0, 49)
    assert db.retrieve("same", [7], with_vectors=True)[0].vector == [98, 99]  # the last counts
    report = exchange.import_collection(db, "same", path, resume=True)
    assert (report.points, report.skipped, report.replaced) == (50, 50, 0)
    report = exchange.import_collection(db, "anew", path, distance="Dot", resume=True)
    assert (report.points, report.skipped, report.replaced) == (50, 49, 0)
    np.save(tmp_path / "x.npy.ids.npy", np.arange(50))
    report = exchange.import_collection(db, "same", path)
    assert (report.points, report.replaced, len(db.collection("same"))) == (50, 1, 50)


def test_a_bar_shows_how_far_it_is(
    db: VecDB, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = of_two_vectors(db)
    exchange.export_collection(given, tmp_path / "points.jsonl", progress=True)
    exchange.import_collection(db, "copy", tmp_path / "points.jsonl", progress=True)
    shown = capsys.readouterr().err
    assert "read: 100%" in shown
    assert "written: 100%" in shown
    assert "250 points" in shown
