"""The table of operations: what a server can be asked to do, by name, whatever the protocol."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from vecdb import models
from vecdb.models.reading import drop_unknown
from vecdb.server.requests import Fields

if TYPE_CHECKING:
    from vecdb.server.service import Service
    from vecdb.server.workers.links import Writer


class Right(IntEnum):
    """What a caller must be allowed to do. A larger one includes the smaller."""

    OPEN = 0
    """Nothing: anybody may ask."""
    READ = 1
    WRITE = 2
    """Change a collection."""
    MANAGE = 3
    """Change which collections there are, or something beyond one of them."""


def _as_they_are(points: Any) -> Any:
    return points


class Shapes(Struct, frozen=True):
    """What a protocol makes of points. It is made where they were found: to write ten thousand of
    them would hold up the event loop."""

    hits: Callable[[Sequence[models.ScoredPoint]], Any] = _as_they_are
    points: Callable[[Sequence[models.Record]], Any] = _as_they_are
    point: Callable[[models.Record], Any] = _as_they_are


class Call(Struct, kw_only=True):
    """One request, as an operation sees it."""

    collection: str = ""
    item: str = ""
    """What is meant in the collection, or beside it: a point's id, a field, a vector's or a
    snapshot's name."""
    shard: str | None = None
    """The number of the only one, if it was said."""
    body: dict[str, Any] = msgspec.field(default_factory=dict)
    options: Mapping[str, str] = msgspec.field(default_factory=dict)
    """``wait``, ``timeout`` and whatever else stands beside the body."""
    wait: bool = False
    timeout: float | None = None
    alone: bool = False
    """Whether nobody else asks meanwhile, as far as can be told: the last call came from the same
    connection."""
    shapes: Shapes = Shapes()
    stream: AsyncIterator[bytes] | None = None
    """The body of an operation that ``streams``, as it comes in."""
    headers: Mapping[bytes, bytes] = msgspec.field(default_factory=dict)


Run = Callable[["Service", Call], Awaitable[Any]]


class Operation(Struct, frozen=True):
    """One thing a server can be asked to do."""

    name: str
    right: Right
    run: Run
    fields: Fields | None
    """Of the body; None: it has none."""
    streams: bool
    at_writer: bool
    """Whether it is done, or known, by the process that writes."""
    summary: str

    async def do(self, service: Service, call: Call) -> Any:
        """Do what a call asks for."""
        if self.fields is not None and self.fields.strict:
            drop_unknown.set(None)
        if self.right <= Right.READ:
            return await self.run(service, call)
        try:
            return await self.run(service, call)
        finally:
            service.changed(collections=self.right is Right.MANAGE)

    def writer_of(self, service: Service) -> Writer | None:
        """Whom to ask for it; None: it is done here. A read is answered by what is known here if
        there is no writer at the moment."""
        if not self.at_writer or service.peers is None:
            return None
        if self.right <= Right.READ and not service.has_writer:
            return None
        return service.peers.writer


OPERATIONS: dict[str, Operation] = {}


def operation(
    right: Right, fields: Fields | None = None, *, streams: bool = False, at_writer: bool = False
) -> Callable[[Run], Run]:
    """Add a coroutine to the table, under its name; its docstring begins with what it does."""

    def add(run: Run) -> Run:
        name = run.__name__
        summary = (inspect.getdoc(run) or "").partition("\n\n")[0].replace("\n", " ")
        assert name not in OPERATIONS, name
        assert summary, name
        at = at_writer or right > Right.READ
        OPERATIONS[name] = Operation(name, right, run, fields, streams, at, summary)
        return run

    return add
