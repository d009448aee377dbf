"""Names of collections and vectors are any text; on disk they can do no harm and never clash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vecdb import VecDB, models

NAMES = [
    "{collection_name}",
    ".",
    "..",
    "...",
    "/",
    "//",
    "a/b",
    "/etc",
    "../outside",
    "../../outside",
    "..\\outside",
    "a",
    "A",
    "a.",
    "a ",
    " a",
    "%61",
    "%2e%2e",
    "~",
    "~root",
    "$HOME",
    "*",
    "?",
    "a:b",
    "a|b",
    'quote"s',
    "it's",
    "-rf",
    "--help",
    ".hidden",
    ".new-0123456789abcdef",
    ".dropped-0123456789abcdef",
    "LOCK",
    "FORMAT",
    "catalog",
    "collections",
    "con",
    "NUL",
    "new\nline",
    "tab\t",
    "zero\0byte",
    "\x1b[31mred",
    "ünïcödé",
    "u\u0308",  # not the same as the next one
    "\u00fc",
    "日本語",
    "🦀",
    "\u202eright to left",
    "\ufeff",
    "x" * 255,
    "x" * 254 + "y",
    "X" * 255,
    "/" * 255,
    "é" * 127,
    "." * 255,
]


def tree(root: Path, inside: Path) -> set[str]:
    """Everything below ``root`` that is not below ``inside``."""
    return {str(p) for p in root.rglob("*") if inside not in p.parents and p != inside}


def test_any_name_is_safe_distinct_and_survives(tmp_path: Path) -> None:
    assert len(set(NAMES)) == len(NAMES)
    path = tmp_path / "home" / "db"
    path.parent.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    before = tree(tmp_path, path)
    with VecDB(path, sync="never") as db:
        for number, name in enumerate(NAMES):
            db.create_collection(name, models.VectorParams(size=1, distance=models.Distance.DOT))
            db.upsert(name, [models.PointStruct(id=number, vector=[1.0], payload={"name": name})])
        assert [c.name for c in db.get_collections().collections] == sorted(NAMES)
        directories = [p.name for p in (path / "collections").iterdir()]
        assert len({name.lower() for name in directories}) == len(NAMES)
        assert all(len(name.encode()) <= 255 and name.isascii() for name in directories)
        assert {p.name for p in path.iterdir()} == {"FORMAT", "LOCK", "collections"}
    assert tree(tmp_path, path) == before
    with VecDB(path, sync="never") as db:
        assert [c.name for c in db.get_collections().collections] == sorted(NAMES)
        for number, name in enumerate(NAMES):
            assert db.collection(name).name == name
            assert db.scroll(name)[0] == [models.Record(number, {"name": name})]
        for name in NAMES[::2]:
            assert db.delete_collection(name)
        assert [c.name for c in db.get_collections().collections] == sorted(NAMES[1::2])
        for number, name in list(enumerate(NAMES))[1::2]:
            assert db.retrieve(name, [number])[0].payload == {"name": name}
    assert tree(tmp_path, path) == before
    with VecDB(path, sync="never") as db:
        assert [c.name for c in db.get_collections().collections] == sorted(NAMES[1::2])
    assert (outside / "precious").read_text() == "mine"


def test_a_deleted_collections_name_can_be_used_again(tmp_path: Path) -> None:
    path = tmp_path / "db"
    name = "{collection_name}/../x"
    for dim in (1, 2, 3):
        with VecDB(path, sync="never") as db:
            assert db.recreate_collection(name, {"size": dim, "distance": "Dot"})
            db.upsert(name, models.Batch(ids=[dim], vectors=np.ones((1, dim))))
        with VecDB(path, sync="never") as db:
            assert [r.id for r in db.scroll(name)[0]] == [dim]


@pytest.mark.slow
def test_vector_names_are_any_text_too(tmp_path: Path) -> None:
    names = [n for n in NAMES if len(n.encode()) <= 200] + ["x" * 200, "X" * 200, "/" * 200]
    path = tmp_path / "db"
    vectors = {name: {"size": 2, "distance": "Dot"} for name in names}
    points = [{"id": i, "vector": {name: [n, i] for n, name in enumerate(names)}} for i in range(3)]
    before = tree(tmp_path, path)
    with VecDB(path, sync="never") as db:
        db.create_collection(
            "c",
            vectors,
            quantization_config={"binary": {"always_ram": False}},
            optimizers_config={"indexing_threshold": 1},
        )
        db.upsert("c", points)
        more = {n: np.ones((500, 2), np.float32) for n in names}
        db.upsert("c", models.Batch(ids=np.arange(10, 510), vectors=more))
        db.flush()
        assert db.wait_for_optimizer("c", timeout=60)
        (segment,) = db.get_collection("c").segments
        assert segment.vectors.keys() == set(names)
        assert {v.quantization for v in segment.vectors.values()} == {"binary"}
    assert tree(tmp_path, path) == before
    with VecDB(path, sync="never") as db:
        (record,) = db.retrieve("c", [2], with_vectors=True)
        assert record.vector == {name: [n, 2] for n, name in enumerate(names)}
        for name in names:
            exact = models.SearchParams(exact=True)
            hit = db.query_points("c", [1, 3], using=name, limit=1, search_params=exact).points[0]
            assert hit.id in (2, *range(10, 510))


@pytest.mark.parametrize("name", ["x" * 201, "é" * 101])
def test_vector_names_too_long(tmp_path: Path, name: str) -> None:
    with (
        VecDB(":memory:") as db,
        pytest.raises(ValueError, match="vector name of at most 200 bytes"),
    ):
        db.create_collection("c", {name: {"size": 2, "distance": "Dot"}})
