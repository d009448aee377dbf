"""The soak: callers at work, then a rest in which the server is looked at; again and again."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct, field, to_builtins
from qdrant_client import AsyncQdrantClient, models

from proofs.server_soak.callers import Reader, Writer, all_versions
from proofs.server_soak.leaks import Holdings, at_rest, growth
from proofs.server_soak.points import DIM, NAME, Points, version_in
from proofs.server_soak.rude import Rude
from proofs.serving import Server, serving
from vecdb import VecDB

_OF_A_KIND = 3
_RESTS = 20
_MOST_LINES = 50
"""Of a server's log, which should be empty."""


class Found(Struct):
    """What came of a soak."""

    seconds: float = 0.0
    done: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    """Writes."""
    rests: list[Holdings] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """As JSON."""
        plain: dict[str, Any] = to_builtins(self)
        plain["calls"] = self.done.total()
        return plain


def soak(
    seconds: float,
    directory: Path,
    *,
    engine: str = "grpcio",
    workers: int = 1,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
    program: str | None = None,
) -> Found:
    """So long a life of a server, on a database in ``directory``. ``program``: what to run in the
    place of the command."""
    found, points = Found(), Points()
    began = time.monotonic()
    options = ("--grpc-engine", engine, "--workers", str(workers))
    with tempfile.TemporaryFile("w+") as log:
        errors = log.fileno()
        try:
            with serving(*options, directory=directory, program=program, errors=errors) as server:
                asyncio.run(_live(server, workers, seconds, seed, points, found, tell))
        except Exception:  # a caller was told that the server failed; the server says by what
            log.seek(0)
            tell(f"the server said: {log.read()}")
            raise
        log.seek(0)
        found.problems += [f"the server said: {line.rstrip()}" for line in log][:_MOST_LINES]
    found.seconds = time.monotonic() - began
    found.answered = points.answered
    found.problems += growth(found.rests)
    found.problems += points.settle(_stored(directory))
    return found


async def _live(
    server: Server,
    workers: int,
    seconds: float,
    seed: int,
    points: Points,
    found: Found,
    tell: Callable[[str], None],
) -> None:
    client = AsyncQdrantClient(url=server.url, check_compatibility=False)
    size = models.VectorParams(size=DIM, distance=models.Distance.EUCLID)
    await client.create_collection(NAME, vectors_config=size)
    await client.close()
    rounds = max(3, min(_RESTS, round(seconds / 20)))
    for number in range(rounds):
        callers = _callers(server, seed + number * 1000, points, found.done)
        until = time.monotonic() + seconds / rounds
        await asyncio.gather(*(_keep_at_it(each, until) for each in callers))
        found.rests.append(await at_rest(server, workers))
        found.problems += points.settle(await all_versions(server))
        tell(f"{number + 1} of {rounds}: {found.done.total()} calls, {found.rests[-1]}")


def _callers(server: Server, seed: int, points: Points, done: Counter[str]) -> list[Any]:
    """Some of every kind, over either protocol."""
    callers: list[Any] = []
    for number in range(2 * _OF_A_KIND):
        seed += 1
        rest: Any = {"by_grpc": number % 2 == 1, "seed": seed, "done": done}
        callers.append(Writer(number, points, server, **rest))
        callers.append(Reader(server, **rest))
        callers.append(Rude(server, seed=seed, done=done))
    return callers


async def _keep_at_it(caller: Any, until: float) -> None:
    try:
        while time.monotonic() < until:
            await caller.act()
    finally:
        if not isinstance(caller, Rude):
            await caller.close()


def _stored(directory: Path) -> dict[int, int]:
    """The version of each point, from the database that the server has left."""
    with VecDB(directory) as database:
        report = database.check()
        assert report.ok, report
        records, _ = database.collection(NAME).scroll(limit=100_000, with_vectors=True)
        return {int(p.id): version_in(int(p.id), p.payload, p.vector) for p in records}
