"""Programs written for Qdrant's client get from vecdb what its local mode answers, call by call.

``census`` has the programs. Their client is made by the unchanged words, after one call of
``vecdb.qdrant.install``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import qdrant_client
from census import applications, pipelines, stores, tutorials
from census.calls import PROGRAMS, Calls, Program, same
from qdrant_client.http.exceptions import UnexpectedResponse

import vecdb.qdrant


@pytest.fixture
def local() -> Iterator[Any]:
    """Qdrant's own client, which has to be made before vecdb's takes its place."""
    client = qdrant_client.QdrantClient(":memory:")
    yield client
    client.close()


@pytest.fixture
def installed(local: Any, tmp_path: Path) -> Iterator[Path]:
    vecdb.qdrant.install(path=tmp_path / "served")
    yield tmp_path
    vecdb.qdrant.uninstall()


def made_by(program: Program, directory: Path) -> Any:
    """The client that the program's own constructor makes."""
    given = dict(program.constructor)
    if given.get("path") not in (None, ":memory:"):
        given["path"] = str(directory / given["path"])
    return qdrant_client.QdrantClient(**given)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # recreate_collection, which many call
@pytest.mark.filterwarnings("ignore::UserWarning")  # what local mode does not do, an insecure key
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_gets_the_answers_of_local_mode(
    program: Program, local: Any, installed: Path
) -> None:
    client = made_by(program, installed)
    assert type(client) is vecdb.qdrant.QdrantClient
    assert isinstance(client, qdrant_client.QdrantClient)
    theirs, ours = Calls(local), Calls(client)
    program.run(theirs)
    program.run(ours)
    assert [verb for verb, _ in ours.answers] == [verb for verb, _ in theirs.answers]
    for number, ((verb, expected), (_, answer)) in enumerate(
        zip(theirs.answers, ours.answers, strict=True)
    ):
        if verb == "update_collection":  # of optimizers, which local mode has not: it says False
            expected = True
        assert same(answer, expected), f"call {number}, {verb}: {answer} instead of {expected}"
    for error in ours.errors:  # as a server says it, so that programs for a server understand it
        assert isinstance(error, UnexpectedResponse)
        assert error.status_code in (400, 404, 409)
    client.close()


def test_the_table_has_each_program_once() -> None:
    names = [program.name for program in PROGRAMS]
    assert len(set(names)) == len(names)
    modules = (applications, pipelines, stores, tutorials)
    assert {program.run.__module__ for program in PROGRAMS} == {each.__name__ for each in modules}
    assert sum(not program.needs for program in PROGRAMS) == 29
    assert len(names) == 64
