"""``vecdb.qdrant``: Qdrant's client classes on a database of vecdb. What programs rely on, but for
the answers, which another file compares."""

from __future__ import annotations

import gc
import inspect
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_client
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse
from qdrant_client.local.qdrant_local import QdrantLocal

import vecdb
import vecdb.qdrant
from vecdb import errors
from vecdb.qdrant import AlreadyOpen, NotSupported, QdrantClient, install, opening, uninstall

PARAMS = models.VectorParams(size=3, distance=models.Distance.COSINE)
POINT = models.PointStruct(id=1, vector=[1.0, 0.0, 0.0], payload={"a": "x"})


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    with QdrantClient(":memory:") as client:
        client.create_collection("c", vectors_config=PARAMS)
        client.upsert("c", [POINT])
        yield client


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Path]:
    """Addresses lead to this directory."""
    install(tmp_path / "served")
    yield tmp_path / "served"
    uninstall()


# -- what it is ------------------------------------------------------------------------------


def test_it_is_qdrants_client_in_local_mode(client: QdrantClient) -> None:
    assert isinstance(client, qdrant_client.QdrantClient)
    assert isinstance(client._client, QdrantLocal)
    assert not client._client.persistent
    assert isinstance(client.database, vecdb.VecDB)
    assert vecdb.qdrant.models is models
    with pytest.raises(NotImplementedError):
        _ = client.http
    ours, theirs = QdrantClient.__init__, qdrant_client.QdrantClient.__init__
    assert inspect.signature(ours) == inspect.signature(theirs)


def test_no_verb_of_local_mode_is_left(client: QdrantClient) -> None:
    """Each that were would work on a store of its own, which nobody sees and nobody keeps."""
    kept = {
        name
        for name, theirs in inspect.getmembers(QdrantLocal, inspect.isfunction)
        if getattr(type(client._client), name) is theirs and name[0] != "_"
    }
    assert kept == {"info"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_public_method_of_the_client_can_be_called(client: QdrantClient) -> None:
    """What vecdb has not yet is refused in words; nothing fails inside."""
    values: dict[str, Any] = {
        "collection_name": "c",
        "vectors_config": PARAMS,
        "query": [1.0, 0.0, 0.0],
        "query_vector": [1.0, 0.0, 0.0],
        "points": [1],
        "points_selector": [1],
        "ids": [1],
        "vectors": [""],
        "keys": ["a"],
        "payload": {},
        "requests": [],
        "update_operations": [],
        "change_aliases_operations": [],
    }
    skipped = {"close", "migrate", "recreate_collection", "upload_collection", "upload_records"}
    asked, refusals = 0, []
    for name, verb in inspect.getmembers(qdrant_client.QdrantClient, inspect.isfunction):
        if name[0] == "_" or name in skipped:
            continue
        required = [
            p.name
            for p in inspect.signature(verb).parameters.values()
            if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
        ]
        try:
            getattr(client, name)(**{each: values.get(each, "x") for each in required[1:]})
        except (UnexpectedResponse, errors.VecdbError, ImportError) as refused:
            refusals.append(refused)
        asked += 1
    assert asked > 40
    assert all(map(str, refusals))
    assert len(refusals) < asked


def test_what_only_vecdb_has_is_there_too(client: QdrantClient) -> None:
    further: Any = client
    assert further.wait_for_optimizer("c", timeout=30) is True
    further.flush()
    assert further.memory_report("c")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = further.nothing
    assert not hasattr(client, "check_that_is_none")


@pytest.mark.filterwarnings("ignore:.search:DeprecationWarning")
def test_searches_of_older_clients_work_with_any_version(client: QdrantClient) -> None:
    older: Any = client
    found = older.search("c", query_vector=[1.0, 0, 0], limit=3, append_payload=True, timeout=1)
    assert type(found[0]) is models.ScoredPoint
    assert [point.id for point in found] == [1]
    found = older.search("c", np.float32([1, 0, 0]), None, None, 1)
    assert found[0].payload == {"a": "x"}
    request = {"vector": [1.0, 0.0, 0.0], "limit": 2, "with_payload": True}
    assert older.search_batch("c", requests=[request]) == [found]


# -- arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "points",
    [
        [POINT],
        models.PointsList(points=[POINT]),
        models.Batch(ids=[1], vectors=[[1.0, 0.0, 0.0]], payloads=[{"a": "x"}]),
        models.PointsBatch(batch=models.Batch(ids=[1], vectors=[[1.0, 0.0, 0.0]])),
    ],
    ids=["list", "PointsList", "Batch", "PointsBatch"],
)
def test_points_are_taken_in_every_form(points: Any) -> None:
    with QdrantClient(":memory:") as client:
        client.create_collection("c", vectors_config=PARAMS)
        # Not by the client's own upsert, which knows fewer forms in some of its versions.
        client._client.upsert(collection_name="c", points=points)
        assert client.count("c").count == 1


@pytest.mark.parametrize("verb", ["upsert", "upload_points"])
def test_points_that_are_missing_are_a_type_error(client: QdrantClient, verb: str) -> None:
    """It was a KeyError, where Qdrant's client is not in between."""
    for of in (client, client._client):
        with pytest.raises(TypeError, match=r"missing.*'points'"):
            getattr(of, verb)("c")


@pytest.mark.parametrize("verb", ["count", "upsert", "delete_collection", "flush", "search"])
def test_too_many_arguments_are_a_type_error(client: QdrantClient, verb: str) -> None:
    """Those that no parameter stood for were dropped."""
    for of in (client, client._client) if hasattr(client._client, verb) else (client,):
        with pytest.raises(TypeError, match=r"positional arguments? but|positional argument"):
            getattr(of, verb)("c", *[None] * 30)
    assert client.count("c").count == 1


def test_an_argument_that_is_given_twice_is_a_type_error(client: QdrantClient) -> None:
    for of in (client, client._client):
        with pytest.raises(TypeError, match="multiple values for argument 'collection_name'"):
            of.delete_collection("c", collection_name="d")  # type: ignore[misc]
    assert client.collection_exists("c")


def test_filters_may_be_dicts(client: QdrantClient) -> None:
    wanted: Any = {"must": [{"key": "a", "match": {"value": "x"}}]}
    assert client.count("c", count_filter=wanted).count == 1
    assert len(client.query_points("c", query=[0.0, 1.0, 0.0], query_filter=wanted).points) == 1
    assert len(client.scroll("c", scroll_filter=wanted)[0]) == 1


def test_what_means_something_to_a_cluster_only_is_ignored(client: QdrantClient) -> None:
    client.create_collection(
        "d",
        vectors_config=PARAMS,
        sparse_vectors_config={},
        shard_number=3,
        sharding_method=models.ShardingMethod.CUSTOM,
        replication_factor=2,
        write_consistency_factor=2,
        on_disk_payload=True,
        timeout=9,
        strict_mode_config=models.StrictModeConfig(enabled=True),
    )
    client.upsert("d", [POINT], ordering=models.WriteOrdering.STRONG, shard_key_selector="a")
    found = client.retrieve("d", [1], consistency="all", shard_key_selector=["a"], timeout=1)
    assert len(found) == 1
    client.update_collection("d", optimizer_config=models.OptimizersConfigDiff(), timeout=1)
    client.delete_collection("d", timeout=1)


def test_a_parameter_that_a_later_version_adds_is_no_error_without_a_value(
    client: QdrantClient,
) -> None:
    assert client._client.count(collection_name="c", of_tomorrow=None, others={}).count == 1
    with pytest.raises(TypeError, match="of_tomorrow"):
        client._client.count(collection_name="c", of_tomorrow=3)


def test_the_unnamed_vector_may_be_called_so(client: QdrantClient) -> None:
    client.create_collection("d", vectors_config={"": PARAMS})
    client.upsert("d", [models.PointStruct(id=1, vector={"": [1.0, 0.0, 0.0]})])
    assert client.query_points("d", query=[1.0, 0.0, 0.0], using="").points[0].id == 1
    assert client.get_collection("d").config.params.vectors == PARAMS


def test_uploads_are_few_writes(client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    upsert = vecdb.Collection.upsert
    monkeypatch.setattr(
        vecdb.Collection,
        "upsert",
        lambda self, points, *more: (sizes.append(len(points)), upsert(self, points, *more))[1],
    )
    client.upload_points("c", (POINT.model_copy(update={"id": i}) for i in range(1500)))
    assert sizes == [1000, 500]


# -- errors ----------------------------------------------------------------------------------


def test_a_missing_collection_is_what_either_kind_of_program_catches(client: QdrantClient) -> None:
    with pytest.raises(UnexpectedResponse) as caught:
        client.get_collection("other")
    error = caught.value
    assert isinstance(error, ValueError)
    assert isinstance(error, errors.NotFoundError)
    assert error.status_code == 404
    assert "other not found" in error.structured()["status"]["error"]
    assert "doesn't exist" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    for call in (
        lambda: client.upsert("other", [POINT]),
        lambda: client.query_points("other", query=[1.0, 0.0, 0.0]),
        lambda: client.scroll("other"),
        lambda: client.count("other"),
        lambda: client.delete("other", [1]),
    ):
        with pytest.raises(ValueError, match="Collection other not found"):
            call()


def test_one_that_exists_already_is_a_conflict(client: QdrantClient) -> None:
    with pytest.raises(UnexpectedResponse, match="already exists") as caught:
        client.create_collection("c", vectors_config=PARAMS)
    assert isinstance(caught.value, ValueError)
    assert caught.value.status_code == 409


def test_bad_input_is_a_bad_request(client: QdrantClient) -> None:
    with pytest.raises(UnexpectedResponse, match="expected 3 numbers, got 2") as caught:
        client.query_points("c", query=[1.0, 2.0])
    assert isinstance(caught.value, errors.InvalidInputError)
    assert caught.value.status_code == 400


def test_what_vecdb_has_not_is_said(client: QdrantClient) -> None:
    with pytest.raises(NotImplementedError, match="create_shard_key: not supported by vecdb"):
        client.create_shard_key("c", "a")
    with pytest.raises(NotSupported) as caught:
        client.create_shard_snapshot("c", 1)
    assert caught.value.status_code == 501


def test_a_closed_client_says_so(tmp_path: Path) -> None:
    client = QdrantClient(path=str(tmp_path / "db"))
    client.close()
    client.close()
    for kind in (RuntimeError, errors.ClosedError):
        with pytest.raises(kind, match="closed"):
            client.get_collections()


# -- opening ---------------------------------------------------------------------------------


def test_a_client_that_could_not_be_closed_can_be_closed_later(tmp_path: Path) -> None:
    client = QdrantClient(path=str(tmp_path / "db"))
    client.create_collection("c", vectors_config=PARAMS)
    store = client.database.collection("c")._store
    with store.write, pytest.raises(errors.ReentrantCallError):  # as in a signal's handler
        client.close()
    assert client.count("c").count == 0
    client.close()
    QdrantClient(path=str(tmp_path / "db")).close()


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "some" / "where" / "db"  # whose parents are made, too
    client = QdrantClient(path=str(path))
    client.create_collection("c", vectors_config=PARAMS)
    client.upsert("c", [POINT])
    del client
    client = QdrantClient(path=str(path))
    assert client.retrieve("c", [1])[0].payload == {"a": "x"}
    client.close()
    with vecdb.VecDB(path) as database:
        assert database.count("c").count == 1


def test_a_path_that_is_open_says_where(tmp_path: Path) -> None:
    first = QdrantClient(path=str(tmp_path / "db"))
    for kind in (RuntimeError, errors.LockedError):
        with pytest.raises(kind, match=r"already accessed by another instance.*test_qdrant_client"):
            QdrantClient(path=str(tmp_path / "db"))
    assert first.get_collections().collections == []
    first.close()
    QdrantClient(path=str(tmp_path / "db")).close()


def test_a_path_that_a_database_has_open_says_so(tmp_path: Path) -> None:
    with (
        vecdb.VecDB(tmp_path / "db"),
        pytest.raises(AlreadyOpen, match="by another VecDB that was not closed"),
    ):
        QdrantClient(path=str(tmp_path / "db"))


def test_a_client_that_is_garbage_does_not_block_its_path(tmp_path: Path) -> None:
    gc.disable()
    try:
        client: Any = QdrantClient(path=str(tmp_path / "db"))
        client.itself = client
        del client
        QdrantClient(path=str(tmp_path / "db")).close()
    finally:
        gc.enable()


def test_a_client_that_dies_in_the_middle_of_a_call_to_it_is_closed_later(tmp_path: Path) -> None:
    client = QdrantClient(path=str(tmp_path / "db"))
    client.create_collection("c", vectors_config=PARAMS)
    store = client.database.collection("c")._store
    with store.write:  # as when garbage is collected there
        del client
        gc.collect()
    QdrantClient(path=str(tmp_path / "db")).close()


def test_a_client_that_dies_in_a_thread_of_vecdb_is_closed_by_another(tmp_path: Path) -> None:
    held = [QdrantClient(path=str(tmp_path / "db"))]
    thread = threading.Thread(target=held.clear, name="vecdb-optimizer")
    thread.start()
    thread.join()
    QdrantClient(path=str(tmp_path / "db")).close()


def test_an_address_is_shared_by_threads_that_come_and_go(installed: Path) -> None:
    """However they meet, each has the database open; the last that closes closes it."""
    wrong: list[BaseException] = []
    begin = threading.Barrier(8)

    def work(number: int) -> None:
        try:
            begin.wait(60)
            for turn in range(8):
                client: Any = QdrantClient(url="http://there")
                name = f"c{number}-{turn}"
                client.create_collection(name, vectors_config=PARAMS)
                if turn % 4 == 3:  # forgotten, perhaps in a cycle
                    client.itself = client if turn == 7 else None
                    continue
                client.close()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    gc.collect()
    with vecdb.VecDB(installed) as database:
        assert len(database.get_collections().collections) == 64


def test_those_who_come_meanwhile_wait_for_opening_and_closing(
    installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And nobody else: a client of another path is made meanwhile."""
    busy, go_on = threading.Event(), threading.Event()
    made: list[vecdb.VecDB] = []
    closed: list[bool] = []

    class Slow(vecdb.VecDB):
        def __init__(self, path: Any, **options: Any) -> None:
            if Path(path) == installed:
                busy.set()
                assert go_on.wait(60)
                made.append(self)
            super().__init__(path, **options)

        def close(self, **qdrant: Any) -> None:
            if self in made:
                busy.set()
                assert go_on.wait(60)
                closed.append(True)
            super().close()

    def others() -> tuple[list[threading.Thread], list[QdrantClient]]:
        clients: list[QdrantClient] = []
        threads = [
            threading.Thread(target=lambda: clients.append(QdrantClient(url="http://there")))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        return threads, clients

    monkeypatch.setattr(opening, "VecDB", Slow)
    threads, clients = others()  # one of them opens
    assert busy.wait(60)
    QdrantClient(path=str(tmp_path / "other")).close()
    assert not clients
    go_on.set()
    for thread in threads:
        thread.join()
    assert len({id(each.database) for each in clients}) == len(made) == 1

    for each in clients[1:]:
        each.close()
    assert not closed
    busy.clear()
    go_on.clear()
    closing = threading.Thread(target=clients[0].close)
    closing.start()
    assert busy.wait(60)
    threads, later = others()
    QdrantClient(path=str(tmp_path / "other")).close()
    assert not later
    go_on.set()
    for thread in [closing, *threads]:
        thread.join()
    assert closed == [True]
    assert len({id(each.database) for each in later}) == 1
    assert len(made) == 2
    for each in later:
        each.get_collections()
        each.close()


def test_who_waits_for_an_opening_that_fails_is_told(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    QdrantClient(path=str(installed)).close()
    with vecdb.VecDB(installed):
        for _ in range(2):
            with pytest.raises(AlreadyOpen, match="already accessed by another instance"):
                QdrantClient(url="http://there")
    QdrantClient(url="http://there").close()


def test_a_thread_does_not_wait_for_itself(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a handler of signals would that makes a client in the middle of opening or closing."""
    said: list[str] = []

    def interrupted() -> None:
        with pytest.raises(AlreadyOpen) as caught:
            QdrantClient(url="http://there")
        said.append(str(caught.value))

    class Interrupted(vecdb.VecDB):
        def __init__(self, path: Any, **options: Any) -> None:
            if not said:
                interrupted()
            super().__init__(path, **options)

        def close(self, **qdrant: Any) -> None:
            if len(said) == 1:
                interrupted()
            super().close()

    monkeypatch.setattr(opening, "VecDB", Interrupted)
    client = QdrantClient(url="http://there")
    client.close()
    assert len(said) == 2
    QdrantClient(url="http://there").close()


def test_clients_are_made_and_forgotten_in_many_threads(tmp_path: Path) -> None:
    """Each finds its path free, whoever is collecting garbage just then."""
    wrong: list[BaseException] = []

    def work(path: Path) -> None:
        try:
            for turn in range(4):
                client: Any = QdrantClient(path=str(path))
                client.get_collections()
                if turn % 3:
                    client.itself = client
                if turn % 4 == 3:
                    client.close()
                del client
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(tmp_path / f"{n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_database_of_local_mode_is_told_how_to_be_copied(tmp_path: Path) -> None:
    theirs = qdrant_client.QdrantClient(path=str(tmp_path / "db"))
    theirs.close()
    with pytest.raises(errors.NotADatabaseError, match="migrate"):
        QdrantClient(path=str(tmp_path / "db"))


def test_its_options_make_another(tmp_path: Path) -> None:
    first = QdrantClient(path=str(tmp_path / "db"), timeout=3, prefer_grpc=True)
    assert first.init_options["path"] == str(tmp_path / "db")
    assert first.init_options["timeout"] == 3
    first.close()
    QdrantClient(**first.init_options).close()
    assert QdrantClient(":memory:", api_key="k").init_options["location"] == ":memory:"


@pytest.mark.parametrize("kind", [QdrantClient, vecdb.qdrant.AsyncQdrantClient])
@pytest.mark.parametrize("name", ["pth", "persist_directory", "storage", "uri", "self", "qdrant"])
def test_an_argument_that_qdrants_client_has_not_is_refused(
    kind: Any, name: str, tmp_path: Path
) -> None:
    """A misspelt ``path`` made a temporary database without a word."""
    for place in ({}, {"path": str(tmp_path / "db")}, {"location": ":memory:"}):
        with pytest.raises(TypeError, match=rf"argument '?{name}"):
            kind(**place, **{name: str(tmp_path / "x")})
    assert not list(tmp_path.iterdir())


def test_arguments_of_any_version_are_taken() -> None:
    given: dict[str, Any] = {
        "auth": ("user", "word"),
        "cert": None,
        "check_compatibility": False,
        "follow_redirects": True,
        "grpc_compression": None,
        "headers": {"a": "b"},
        "http2": True,
        "limits": None,
        "metadata": {"a": "b"},
        "pool_size": 3,
        "trust_env": False,
        "verify": False,
    }
    client = QdrantClient(":memory:", **given)
    assert given.items() <= client.init_options.items()
    client.close()


def test_a_forked_child_is_told_that_its_parent_has_it(installed: Path) -> None:
    with qdrant_client.QdrantClient(url="http://there"):  # type: ignore[attr-defined]
        child = os.fork()
        if child == 0:
            try:
                qdrant_client.QdrantClient(url="http://there")
            except AlreadyOpen:
                os._exit(7)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_what_the_page_promises_besides_is_known_to_type_checkers() -> None:
    page = (Path(__file__).parents[2] / "docs/integrations.md").read_text()
    [verbs] = re.findall(r"Older verbs .*?`client.database`", page, re.DOTALL)
    promised = set(re.findall(r"`([a-z_]+)`", verbs))
    assert "wait_for_optimizer" in promised
    for cls in (QdrantClient, vecdb.qdrant.AsyncQdrantClient):
        assert promised <= set(vars(cls)["__annotations__"])


def test_an_alias_of_a_missing_collection_names_it(client: QdrantClient) -> None:
    new = models.CreateAlias(collection_name="gone", alias_name="a")
    with pytest.raises(UnexpectedResponse, match=r"^Collection gone not found, it doesn't exist: "):
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=new)])
    with pytest.raises(UnexpectedResponse, match=r"^Collection c2 not found, it doesn't exist: "):
        client.get_collection("c2")


ADDRESSES: list[dict[str, Any]] = [
    {"url": "http://localhost:6333"},
    {"host": "there"},
    {"location": "there"},
    # To Qdrant's client these are the server at localhost, and vecdb made a temporary database.
    {},
    {"port": 6333},
    {"grpc_port": 6334, "prefer_grpc": True},
    {"https": True, "api_key": "k"},
    {"prefix": "p"},
    {"headers": {"a": "b"}},
]


@pytest.mark.parametrize("kind", [QdrantClient, vecdb.qdrant.AsyncQdrantClient])
@pytest.mark.parametrize("given", ADDRESSES, ids=",".join)
def test_an_address_is_refused_with_what_to_do(kind: Any, given: dict[str, Any]) -> None:
    what_to_do = r"Give path=.*':memory:'.*VECDB_QDRANT_PATH.*install"
    with pytest.raises(errors.InvalidInputError, match=what_to_do):
        kind(**given)


@pytest.mark.parametrize("given", ADDRESSES, ids=",".join)
def test_every_address_leads_where_it_is_installed(installed: Path, given: dict[str, Any]) -> None:
    with QdrantClient(**given) as client:
        assert Path(client.database.path) == installed


def test_one_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one of location, url, host and path"):
        QdrantClient(":memory:", path=str(tmp_path / "db"))
    with pytest.raises(TypeError, match="location"):
        QdrantClient(":memory:", location=":memory:")  # type: ignore[misc]


def test_addresses_lead_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECDB_QDRANT_PATH", str(tmp_path / "served"))
    with QdrantClient(url="http://localhost:6333", api_key="k") as first:
        first.create_collection("c", vectors_config=PARAMS)
        with QdrantClient("localhost", port=6333) as second:  # as many as a server would have
            assert second.collection_exists("c")
            second.upsert("c", [POINT])
        with pytest.raises(RuntimeError, match="closed"):
            second.count("c")
        assert first.count("c").count == 1
    with vecdb.VecDB(tmp_path / "served") as database:
        assert database.count("c").count == 1


# -- a program of which nothing is changed ------------------------------------------------------


def test_nothing_is_changed_unless_it_is_installed() -> None:
    code = """
import qdrant_client
new = qdrant_client.QdrantClient.__new__
import vecdb.qdrant
assert qdrant_client.QdrantClient.__new__ is new is object.__new__
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_installed_it_is_what_the_program_gets(installed: Path) -> None:
    theirs = qdrant_client.QdrantClient  # a name that was imported before
    with theirs(url="http://localhost:6333") as client:  # type: ignore[attr-defined]
        assert type(client) is QdrantClient
        assert Path(client.database.path) == installed
        with theirs(":memory:") as other:  # type: ignore[attr-defined]
            assert other.database is not client.database


def test_uninstalled_it_is_qdrants_again(tmp_path: Path) -> None:
    install(tmp_path / "db")
    install(tmp_path / "other")
    uninstall()
    client = qdrant_client.QdrantClient(":memory:")
    assert type(client) is qdrant_client.QdrantClient
    assert type(client._client) is QdrantLocal
    with pytest.raises(errors.InvalidInputError, match="Give path="):
        QdrantClient(url="http://localhost:6333")


# -- inference -------------------------------------------------------------------------------


def test_documents_go_through_fastembed(
    client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What embeds them is Qdrant's client, which is asked for the vectors of a model here."""
    asked = []

    def embed(self: Any, raw_models: Any, is_query: bool = False, **_: Any) -> Iterator[Any]:
        asked.append(is_query)
        for each in raw_models if isinstance(raw_models, list) else [raw_models]:
            field = "nearest" if is_query else "vector"
            yield each.model_copy(update={field: [0.0, 1.0, 0.0]})

    monkeypatch.setattr(QdrantClient, "_embed_models", embed)
    text = models.Document(text="words", model="sentence-transformers/all-MiniLM-L6-v2")
    client.upsert("c", [models.PointStruct(id=2, vector=text)])
    assert client.query_points("c", query=text, limit=1).points[0].id == 2
    assert asked == [False, True]


def test_without_fastembed_a_document_is_the_same_error_as_of_a_server() -> None:
    """A server's client leaves BM25 to the server, and needs FastEmbed for other models."""
    text = models.Document(text="words", model="sentence-transformers/all-MiniLM-L6-v2")
    said = []
    for client in (
        qdrant_client.QdrantClient("http://localhost:1", check_compatibility=False),
        QdrantClient(":memory:"),
    ):
        with pytest.raises((ValueError, ImportError), match="fastembed") as caught:
            client.query_points("c", query=text)
        said.append(str(caught.value))
        client.close()
    assert said[0] == said[1]
