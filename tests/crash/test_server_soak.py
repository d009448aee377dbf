"""The soak of the server: a short one finds nothing, and one of a server with a bug finds that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running_proofs import run

from proofs.server_soak.soak import soak

pytestmark = pytest.mark.crash

COMMAND = """
import sys
from vecdb.cli.main import main
sys.exit(main())
"""
BUGS = {
    "descriptors: ": """
from vecdb.server import app
answer, kept = app.App.__call__, []
async def leaking(self, scope, receive, send):
    kept.append(open("/dev/null"))
    await answer(self, scope, receive, send)
app.App.__call__ = leaking
""",
    "tasks: ": """
import asyncio
from vecdb.server import app
answer, kept = app.App.__call__, []
async def leaking(self, scope, receive, send):
    kept.append(asyncio.ensure_future(asyncio.Event().wait()))
    await answer(self, scope, receive, send)
app.App.__call__ = leaking
""",
    "private_bytes beside the points: ": """
from vecdb.server import app
answer, kept = app.App.__call__, []
async def leaking(self, scope, receive, send):
    kept.append(b"x" * 200_000)
    await answer(self, scope, receive, send)
app.App.__call__ = leaking
""",
    ": expected version ": """
import itertools
from vecdb import AsyncCollection, models
write, numbers = AsyncCollection.upsert, itertools.count(1)
async def losing(self, *arguments, **options):
    if next(numbers) % 10 == 0:
        return models.UpdateResult(operation_id=0, status="completed")
    return await write(self, *arguments, **options)
AsyncCollection.upsert = losing
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["grpcio", "h2"])
def test_a_server_that_is_well(engine: str, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = run("server_soak", "--minutes", "0.1", "--grpc-engine", engine, "--json", figures)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(figures.read_text())
    assert found["problems"] == []
    assert len(found["rests"]) == 3
    assert found["answered"] > 0
    assert any("given up" in what for what in found["done"])


@pytest.mark.slow
@pytest.mark.parametrize("shown", BUGS)
def test_a_bug_is_found(shown: str, tmp_path: Path) -> None:
    found = soak(6, tmp_path / "db", program=BUGS[shown] + COMMAND)
    assert any(shown in problem for problem in found.problems), found


def test_no_time_is_refused() -> None:
    done = run("server_soak", "--minutes", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "a number of minutes above 0" in done.stderr
