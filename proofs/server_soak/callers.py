"""Callers: those that write and read by Qdrant's own client, and often change their minds."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import httpx
from qdrant_client import AsyncQdrantClient, models
from qdrant_client import grpc as messages
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from proofs.server_soak.points import NAME, Points, vector_of, version_in
from proofs.serving import Server

_R = TypeVar("_R")

REFUSED = (UnexpectedResponse, ResponseHandlingException, grpc.RpcError, httpx.HTTPError)
_GIVEN_UP = 0.3
"""Of the calls."""
_BUSY = (503, grpc.StatusCode.UNAVAILABLE)


class GivenUp(Exception):
    """A call whose answer nobody waited for."""


class Caller:
    """One of them, with a client of its own. ``done`` counts what it did, by its name."""

    def __init__(self, server: Server, *, by_grpc: bool, seed: int, done: Counter[str]) -> None:
        self._random = random.Random(seed)
        self._client = AsyncQdrantClient(
            host="127.0.0.1",
            port=server.port,
            grpc_port=server.grpc_port,
            prefer_grpc=by_grpc,
            timeout=60,
            check_compatibility=False,
        )
        self._by_grpc = by_grpc
        self._done = done

    async def close(self) -> None:
        """Hang up."""
        await self._client.close()

    async def call(self, what: str, begun: Awaitable[_R]) -> _R:
        """The answer to a call. Raises GivenUp if it was ended before, or refused as too many are
        under way; what else is refused is an error of the server's."""
        patience = self._random.expovariate(50) if self._random.random() < _GIVEN_UP else 30
        try:
            answer = await asyncio.wait_for(begun, patience)
        except asyncio.TimeoutError:
            if patience >= 30:
                raise AssertionError(f"{what}: no answer in {patience} seconds") from None
            self._done[f"{what}, given up"] += 1
            raise GivenUp from None
        except REFUSED as error:
            status = error.code() if isinstance(error, grpc.RpcError) else _status(error)
            if status not in _BUSY:
                raise
            self._done[f"{what}, refused as busy"] += 1
            raise GivenUp from None
        self._done[what] += 1
        return answer


def _status(error: Exception) -> Any:
    return getattr(error, "status_code", None)


class Writer(Caller):
    """Writes to points of its own."""

    def __init__(self, number: int, points: Points, server: Server, **rest: Any) -> None:
        super().__init__(server, **rest)
        self._number = number
        self._points = points

    async def act(self) -> None:
        """One write."""
        free = self._points.free(self._number)
        if not free:
            await asyncio.sleep(0.1)
            return
        ids = self._random.sample(free, min(len(free), self._random.randint(1, 8)))
        version: int | None = self._points.new_version()
        assert version is not None
        if self._random.random() < 0.8:
            begun = self._client.upsert(
                NAME,
                [
                    models.PointStruct(
                        id=id, vector=vector_of(id, version), payload={"version": version}
                    )
                    for id in ids
                ],
            )
        else:
            begun, version = self._client.delete(NAME, models.PointIdsList(points=[*ids])), None
        try:
            await self.call("write", begun)
        except GivenUp:
            self._points.wrote(ids, version, answered=False)
        else:
            self._points.wrote(ids, version, answered=True)


class Reader(Caller):
    """Reads, and looks whether points are whole."""

    async def act(self) -> None:
        """One read."""
        kinds: list[Callable[[], Awaitable[None]]] = [self._query, self._scroll, self._count]
        if self._by_grpc:
            kinds.append(self._with_deadline)
        try:
            await self._random.choice(kinds)()
        except GivenUp:
            pass

    async def _query(self) -> None:
        vector = vector_of(self._random.randrange(1000), self._random.randrange(1000))
        found = await self.call(
            "query",
            self._client.query_points(
                NAME, query=vector, limit=10, with_payload=True, with_vectors=True
            ),
        )
        for point in found.points:
            version_in(int(point.id), point.payload, point.vector)

    async def _scroll(self) -> None:
        limit = self._random.choice((10, 100, 1000))
        records, _ = await self.call(
            "scroll", self._client.scroll(NAME, limit=limit, with_vectors=True)
        )
        for point in records:
            version_in(int(point.id), point.payload, point.vector)

    async def _count(self) -> None:
        await self.call("count", self._client.count(NAME))

    async def _with_deadline(self) -> None:
        """A call with so little time that it may be over at any moment of it."""
        request = messages.QueryPoints(collection_name=NAME, limit=10)
        seconds = self._random.expovariate(200)
        try:
            await self._client.grpc_points.Query(request, timeout=seconds)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
        self._done["query with a deadline"] += 1


async def all_versions(server: Server) -> dict[int, int]:
    """The version of each point that is there, by its id."""
    client = AsyncQdrantClient(url=server.url, check_compatibility=False, timeout=60)
    found: dict[int, int] = {}
    offset: Any = None
    while True:
        records, offset = await client.scroll(NAME, limit=500, offset=offset, with_vectors=True)
        for point in records:
            found[int(point.id)] = version_in(int(point.id), point.payload, point.vector)
        if offset is None:
            await client.close()
            return found
