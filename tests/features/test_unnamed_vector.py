"""The unnamed vector, where it is given by its name, which is empty."""

from __future__ import annotations

from pathlib import Path

from vecdb import VecDB, models

ONE = {"size": 2, "distance": "Dot"}


def test_alone_it_is_the_unnamed_vector(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"": models.VectorParams(size=2, distance="Dot")})  # type: ignore[arg-type]
        assert isinstance(db.get_collection("c").config.params.vectors, models.VectorParams)
        db.upsert("c", [{"id": 1, "vector": {"": [1, 2]}}, {"id": 2, "vector": [3, 4]}])
        found = db.query_points("c", [1, 1], using="", with_vectors=True).points
        assert [(hit.id, hit.vector) for hit in found] == [(2, [3, 4]), (1, [1, 2])]


def test_beside_named_vectors_it_is_one_of_them(tmp_path: Path) -> None:
    with VecDB(tmp_path / "db") as db:
        db.create_collection("c", {"": ONE, "b": {"size": 1, "distance": "Dot"}})
        db.upsert("c", [{"id": 1, "vector": {"": [1, 2], "b": [3]}}, {"id": 2, "vector": [3, 4]}])
        db.flush()
    with VecDB(tmp_path / "db") as db:
        assert [hit.id for hit in db.query_points("c", [1, 1]).points] == [2, 1]
        assert [hit.id for hit in db.query_points("c", [1], using="b").points] == [1]
        [first, second] = db.retrieve("c", [1, 2], with_vectors=True)
        assert first.vector == {"": [1, 2], "b": [3]}
        assert second.vector == [3, 4]  # as Qdrant has it: there is no other
        [first] = db.retrieve("c", [1], with_vectors=[""])
        assert first.vector == [1, 2]
