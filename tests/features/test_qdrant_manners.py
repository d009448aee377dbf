"""What programs written for Qdrant's client take for granted: how it is constructed, what it takes,
what its errors and results are.
"""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

import vecdb.qdrant
from vecdb import AsyncVecDB, VecDB, models
from vecdb.errors import (
    AlreadyExistsError,
    ClosedError,
    InvalidInputError,
    NotADatabaseError,
    NotFoundError,
)

VECTORS = {"size": 2, "distance": "Dot"}

# -- parameters ------------------------------------------------------------------------------

# Every parameter of Qdrant's client that is no parameter here: a value that it may well have.
IGNORED: dict[str, Any] = {
    "api_key": "secret",
    "auth_token_provider": str,
    "check_compatibility": False,
    "consistency": "majority",
    "force_disable_check_same_thread": True,
    "grpc_grace": 1.0,
    "grpc_options": {"grpc.max_send_message_length": 1},
    "grpc_port": 6334,
    "headers": {"a": "b"},
    "https": True,
    "local_inference_batch_size": 8,
    "method": "fork",
    "ordering": "strong",
    "pool_size": 3,
    "port": 6333,
    "prefer_grpc": True,
    "prefix": "v1",
    "priority": "snapshot",
    "replication_factor": 2,
    "shard_number": 3,
    "timeout": 5,
    "write_consistency_factor": 2,
}
# Those that would change the answer: a value that is refused, and a word of the reason.
REFUSED: dict[str, tuple[Any, str]] = {
    "cloud_inference": (True, "caller"),
    "host": ("localhost", "no server"),
    "shard_key_selector": ("a", "one piece"),
    "sharding_method": ("custom", "one piece"),
    "sparse_vectors_config": ({"text": {}}, "dense"),
    "strict_mode_config": ({"enabled": True}, "limited"),
    "url": ("http://localhost:6333", "no server"),
}


def shared_verbs() -> list[str]:
    """What both clients have, and the constructor."""
    names = [name for name, _ in inspect.getmembers(QdrantClient, inspect.isfunction)]
    return ["__init__", *(n for n in names if not n.startswith("_") and hasattr(VecDB, n))]


def foreign(verb: str) -> list[str]:
    """The parameters of a verb of Qdrant's client that ours does not name."""
    theirs = inspect.signature(getattr(QdrantClient, verb)).parameters
    ours = inspect.signature(getattr(VecDB, verb)).parameters
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [n for n, each in theirs.items() if n not in ours and each.kind not in kinds]


def foreign_by_verb() -> list[tuple[str, str]]:
    return [(verb, name) for verb in shared_verbs() for name in foreign(verb)]


def called(database: VecDB, directory: Path, verb: str, **extra: Any) -> Any:
    """A verb with the least that it needs, and something besides."""
    if verb == "__init__":
        return VecDB(directory / "another.db", **extra).close()
    least: dict[str, Any] = {
        "collection_name": "c",
        "count_filter": None,
        "field_name": "a",
        "field_schema": "integer",
        "group_by": "a",
        "ids": [1],
        "key": "a",
        "keys": ["a"],
        "location": "nowhere",
        "payload": {"a": 1},
        "points": [1],
        "points_selector": [1],
        "query": [1.0, 0.0],
        "requests": [],
        "snapshot_name": "none.snapshot",
        "update_operations": [{"delete": {"points": [7]}}],
        "vector_name": f"new {extra}",
        "vector_name_config": {"dense": {"size": 2, "distance": "Dot"}},
        "vectors": [""],
        "vectors_config": VECTORS,
    }
    point = models.PointStruct(id=1, vector=[1.0, 0.0])
    with suppress(ClosedError, NotFoundError):  # after close, and delete_collection
        database.upsert("c", [point])
    if verb in ("upsert", "upload_points"):
        least["points"] = [point]
    if verb == "update_vectors":
        least["points"] = [models.PointVectors(id=1, vector=[0.0, 1.0])]
    if verb in ("create_collection", "recreate_collection"):
        least |= {"collection_name": "new", "payload": None}
    if verb == "upload_collection":
        least |= {"vectors": [[1.0, 0.0]], "payload": None}
    if verb == "update_collection":
        least["vectors_config"] = None
    if verb.endswith("_aliases"):
        least["change_aliases_operations"] = []
    wanted = inspect.signature(getattr(VecDB, verb)).parameters
    return getattr(database, verb)(**{n: v for n, v in least.items() if n in wanted}, **extra)


@pytest.fixture
def db(tmp_path: Path) -> Any:
    with VecDB(tmp_path / "db", sync="never") as database:
        database.create_collection("c", VECTORS)
        database.upsert("c", [models.PointStruct(id=1, vector=[1.0, 0.0])])
        yield database


def test_most_verbs_are_shared() -> None:
    assert len(shared_verbs()) >= 35


def test_every_foreign_parameter_is_decided_on() -> None:
    names = {name for _, name in foreign_by_verb()}
    assert not names & IGNORED.keys() & REFUSED.keys()
    undecided = names - IGNORED.keys() - REFUSED.keys()
    assert not undecided, "accept it (qdrant_arguments.py) if it decides nothing, or refuse it"


@pytest.mark.parametrize(("verb", "name"), foreign_by_verb())
def test_a_foreign_parameter_is_ignored_or_refused(
    db: VecDB, tmp_path: Path, verb: str, name: str
) -> None:
    fails = {"recover_snapshot": NotFoundError}  # it has come past its arguments
    for empty in (None, {}):
        if verb in fails:
            with pytest.raises(fails[verb]):
                called(db, tmp_path, verb, **{name: empty})
        else:
            called(db, tmp_path, verb, **{name: empty})
        if verb in ("create_collection", "recreate_collection"):
            assert db.delete_collection("new")
    if name in REFUSED:
        value, why = REFUSED[name]
        with pytest.raises(InvalidInputError, match=f"^{name}: .*{why}"):
            called(db, tmp_path, verb, **{name: value})
    elif verb in fails:
        with pytest.raises(fails[verb]):
            called(db, tmp_path, verb, **{name: IGNORED[name]})
    else:
        called(db, tmp_path, verb, **{name: IGNORED[name]})


@pytest.mark.parametrize("verb", shared_verbs())
def test_a_parameter_that_neither_has_is_a_type_error(db: VecDB, tmp_path: Path, verb: str) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        called(db, tmp_path, verb, colour="red")


def test_values_that_ask_for_what_there_is_anyway(db: VecDB) -> None:
    assert db.create_collection("auto", VECTORS, sharding_method="auto")
    VecDB(cloud_inference=False).close()
    assert db.update_collection("c", optimizer_config={"indexing_threshold": 5})  # its older name
    assert db.get_collection("c").config.optimizer_config.indexing_threshold == 5
    with pytest.raises(InvalidInputError, match="optimizer_config"):
        db.update_collection(
            "c", {"indexing_threshold": 5}, optimizer_config={"max_segment_size": 5}
        )


# -- the constructor -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"location": ":memory:"},
        {"location": ":memory:", "path": None},
        {"path": ":memory:"},
        {"location": ":memory:", "path": ":memory:"},
        {"location": None, "url": None, "host": None},
    ],
)
def test_without_a_path_it_is_in_memory(options: dict[str, Any]) -> None:
    with VecDB(**options) as database:
        path = database.path
        database.create_collection("c", VECTORS)
        database.upsert("c", [models.PointStruct(id=1, vector=[1.0, 0.0])])
        assert database.count("c").count == 1
    assert not path.exists()


def test_a_server_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    for options in ({"url": "http://localhost:6333"}, {"host": "localhost", "port": 6333}):
        with pytest.raises(InvalidInputError, match="path= is a directory"):
            VecDB(**options)
    for address in ("http://localhost:6333", "localhost", str(tmp_path / "db")):
        with pytest.raises(InvalidInputError, match="path= is a directory"):
            VecDB(location=address)
    with pytest.raises(InvalidInputError, match="path: expected None"):
        VecDB(tmp_path / "db", location=":memory:")
    with pytest.raises(InvalidInputError, match="read_only"):
        VecDB(read_only=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("positional", [True, False])
@pytest.mark.parametrize("cls", [VecDB, AsyncVecDB])
def test_a_path_that_is_none_is_refused(
    cls: type[Any], positional: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that was not set, as ``os.environ.get("DB")``, must not be a database in memory."""
    monkeypatch.chdir(tmp_path)

    async def opened() -> None:
        db = cls(None) if positional else cls(path=None, url=None, location=None)
        await db if cls is AsyncVecDB else db.close()

    with pytest.raises(InvalidInputError, match=r"expected the name of a directory.* got None"):
        asyncio.run(opened())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["http://localhost:6333", "file:///tmp/db"])
def test_a_path_that_is_an_address_is_refused(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for open_it in (VecDB, lambda path: vecdb.qdrant.QdrantClient(path=path)):
        with pytest.raises(InvalidInputError, match="no server; path= is a directory") as raised:
            open_it(address)
        assert address in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_missing_parents_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "my.db"
    with VecDB(path) as database:
        database.create_collection("c", VECTORS)
    for directory in (tmp_path / "a", tmp_path / "a" / "b", path):
        assert directory.stat().st_mode & 0o777 == 0o700
    with VecDB(path) as database:
        assert database.collection_exists("c")
    with pytest.raises(NotADatabaseError, match="there is nothing of that name"):
        VecDB(tmp_path / "c" / "my.db", read_only=True)  # a reader makes nothing
    assert not (tmp_path / "c").exists()


def test_new_parents_are_durable_before_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vecdb.storage import fs

    synced: list[Path] = []
    sync_dir, make_dir = fs.sync_dir, fs.make_dir

    def noted(path: Path) -> None:
        sync_dir(path)
        synced.append(path)

    def made(path: Path) -> None:
        if path.name == "collections":
            # A process that was killed may have made some of them: all are synced, whoever did.
            assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b"} <= set(synced)
        make_dir(path)

    monkeypatch.setattr(fs, "sync_dir", noted)
    monkeypatch.setattr(fs, "make_dir", made)
    (tmp_path / "a").mkdir()
    VecDB(tmp_path / "a" / "b" / "my.db").close()


# -- errors and results ----------------------------------------------------------------------


def test_a_missing_collection_is_a_value_error(db: VecDB) -> None:
    for error in (ValueError, LookupError, NotFoundError):
        with pytest.raises(error, match=r"'there\.is\.none' not found"):
            db.get_collection("there.is.none")
    with pytest.raises(AlreadyExistsError, match="already exists"):
        db.create_collection("c", VECTORS)


def test_info_is_of_vecdb(db: VecDB) -> None:
    info = db.info()
    assert (info.title, info.version, info.commit) == ("vecdb", vecdb.__version__, None)


def test_results_are_dumped_and_iterated_as_pydantic_objects_are(db: VecDB) -> None:
    db.upsert("c", [models.PointStruct(id=2, vector=[0.0, 1.0], payload={"a": {"b": [1, None]}})])
    (record,) = db.retrieve("c", [2], with_vectors=True)
    assert record.model_dump() == {
        "id": 2,
        "payload": {"a": {"b": [1, None]}},
        "vector": [0.0, 1.0],
        "order_value": None,
    }
    hits = db.query_points("c", [1.0, 0.0], limit=1, with_payload=False)
    (hit,) = hits.model_dump(mode="json", exclude_none=True)["points"]
    assert (hit["id"], hit["score"]) == (1, 1.0)
    assert hit.keys() == {"id", "version", "score"}
    info = db.get_collection("c")
    dumped = info.model_dump()
    assert dumped["status"] == info.status.value
    assert dumped["config"]["params"]["vectors"]["size"] == 2
    assert dumped.keys() == {name for name, _ in info}
    assert dict(info)["points_count"] == 2
