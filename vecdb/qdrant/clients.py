"""QdrantClient and AsyncQdrantClient: Qdrant's own, with vecdb in the place of its local mode."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from inspect import signature
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import qdrant_client
from qdrant_client import models

from vecdb.database import VecDB
from vecdb.qdrant.coroutines import AsyncVecDBLocal
from vecdb.qdrant.local import VecDBLocal
from vecdb.qdrant.opening import MEMORY, OF_BUDGET

_USED_THERE = ("cloud_inference", "local_inference_batch_size")
# Arguments that a constructor takes without naming them: those of the HTTP client of a server, two
# that it reads before, and one that newer versions name.
_FURTHER = {*signature(httpx.Client).parameters, "grpc_compression", "metadata", "pool_size"}
_FURTHER |= {*OF_BUDGET}  # and those of ``VecDB``


class QdrantClient(qdrant_client.QdrantClient):
    """Qdrant's client, on a database of vecdb.

    ``path``: the directory, made with its parents if it is not there. ``location=":memory:"``: a
    temporary database. An address (``url``, ``host``, another ``location``, or none of all this,
    which is localhost) is refused, unless addresses lead to a path (``install``). What else the
    constructor of Qdrant's client takes, from version 1.15 on, is accepted; ``memory_limit`` and
    ``on_over_budget`` are those of ``VecDB``.

    Its verbs take and return what Qdrant's do, its errors are those of ``vecdb.qdrant.errors``, and
    what ``VecDB`` has besides (``search``, ``flush``, ``wait_for_optimizer``) is there, too.

    Raises InvalidInputError for an address, TypeError for an argument that Qdrant's has not,
    AlreadyOpen, and what ``VecDB`` raises.
    """

    _client: VecDBLocal

    # What ``VecDB`` has besides: these are for type checkers, ``__getattr__`` finds them.
    check: Callable[[], Any]
    discover: Callable[..., list[models.ScoredPoint]]
    discover_batch: Callable[..., list[list[models.ScoredPoint]]]
    flush: Callable[..., None]
    memory_report: Callable[..., dict[str, Any]]
    recommend: Callable[..., list[models.ScoredPoint]]
    recommend_batch: Callable[..., list[list[models.ScoredPoint]]]
    recommend_groups: Callable[..., models.GroupsResult]
    search: Callable[..., list[models.ScoredPoint]]
    search_batch: Callable[..., list[list[models.ScoredPoint]]]
    search_groups: Callable[..., models.GroupsResult]
    wait_for_optimizer: Callable[..., bool]

    if not TYPE_CHECKING:  # a type checker knows Qdrant's signatures

        @wraps(qdrant_client.QdrantClient.__init__)
        def __init__(self, *positional: Any, **named: Any) -> None:
            given = _given(qdrant_client.QdrantClient, positional, named)
            super().__init__(location=MEMORY, **{name: given[name] for name in _USED_THERE})
            self._init_options = given
            _leave_bm25(self)
            self._client = VecDBLocal(given)

        def __getattr__(self, name: str) -> Any:
            """A verb of ``VecDB`` that this version of Qdrant's client has not."""
            if not _is_verb(name):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return getattr(self._client, name, None) or _further(self._client, name)

        @wraps(qdrant_client.QdrantClient.query_points)
        def query_points(
            self, collection_name: str, query: Any = None, *more: Any, **given: Any
        ) -> Any:
            if _is_vector(query) and not more and not given.get("prefetch"):
                return self._client.query_points(collection_name, query=query, **given)
            return super().query_points(collection_name, query, *more, **given)

    def __del__(self) -> None:
        """Nothing: the database is let go of with ``_client``, which some may still refer to."""

    def __enter__(self) -> QdrantClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def database(self) -> VecDB:
        """The database itself."""
        return self._client.database


class AsyncQdrantClient(qdrant_client.AsyncQdrantClient):
    """``QdrantClient`` for asyncio: the same arguments, errors and results, awaited.

    Short reads run in the event loop, all other calls in threads. One that writes and is cancelled
    is waited for before CancelledError goes on: what it asked for is done, or nothing of it, and
    nothing happens later. As in Qdrant's, ``upload_points`` and ``upload_collection`` are no
    coroutines.
    """

    _client: AsyncVecDBLocal

    check: Callable[[], Coroutine[Any, Any, Any]]
    discover: Callable[..., Coroutine[Any, Any, list[models.ScoredPoint]]]
    discover_batch: Callable[..., Coroutine[Any, Any, list[list[models.ScoredPoint]]]]
    flush: Callable[..., Coroutine[Any, Any, None]]
    memory_report: Callable[..., Coroutine[Any, Any, dict[str, Any]]]
    recommend: Callable[..., Coroutine[Any, Any, list[models.ScoredPoint]]]
    recommend_batch: Callable[..., Coroutine[Any, Any, list[list[models.ScoredPoint]]]]
    recommend_groups: Callable[..., Coroutine[Any, Any, models.GroupsResult]]
    search: Callable[..., Coroutine[Any, Any, list[models.ScoredPoint]]]
    search_batch: Callable[..., Coroutine[Any, Any, list[list[models.ScoredPoint]]]]
    search_groups: Callable[..., Coroutine[Any, Any, models.GroupsResult]]
    wait_for_optimizer: Callable[..., Coroutine[Any, Any, bool]]

    if not TYPE_CHECKING:  # a type checker knows Qdrant's signatures

        @wraps(qdrant_client.AsyncQdrantClient.__init__)
        def __init__(self, *positional: Any, **named: Any) -> None:
            given = _given(qdrant_client.AsyncQdrantClient, positional, named)
            super().__init__(location=MEMORY, **{name: given[name] for name in _USED_THERE})
            self._init_options = given
            _leave_bm25(self)
            self._client = AsyncVecDBLocal(VecDBLocal(given))

        def __getattr__(self, name: str) -> Any:
            """A verb of ``VecDB`` that this version of Qdrant's client has not."""
            if not _is_verb(name):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return getattr(self._client, name, None) or _further_async(self._client, name)

        @wraps(qdrant_client.AsyncQdrantClient.query_points)
        async def query_points(
            self, collection_name: str, query: Any = None, *more: Any, **given: Any
        ) -> Any:
            if _is_vector(query) and not more and not given.get("prefetch"):
                return await self._client.query_points(collection_name, query=query, **given)
            return await super().query_points(collection_name, query, *more, **given)

    async def __aenter__(self) -> AsyncQdrantClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def database(self) -> VecDB:
        """The database itself."""
        return self._client.sync.database


def _given(base: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a constructor by name, with the defaults, as ``init_options`` has them.

    Raises TypeError for one that Qdrant's client has in no version: a ``path`` that is misspelt
    would be another place.
    """
    bound = signature(base.__init__).bind(None, *positional, **named)
    bound.apply_defaults()
    given: dict[str, Any] = dict(list(bound.arguments.items())[1:])  # without self
    further: dict[str, Any] = given.pop("kwargs", {})
    for name in further:
        if name not in _FURTHER:
            raise TypeError(f"{base.__name__}() got an unexpected keyword argument {name!r}")
    return given | further


def _leave_bm25(client: Any) -> None:
    """Let a client pass texts for BM25 on, as to a server: vecdb makes vectors of them. Versions of
    Qdrant's before 1.16 make them themselves, by FastEmbed."""
    embedder: Any = getattr(client, "_model_embedder", None)
    if hasattr(embedder, "_is_builtin_embedder_available"):
        embedder._is_builtin_embedder_available = True
        embedder.embedder._use_core_bm25 = True


def _is_verb(name: str) -> bool:
    """Whether ``VecDB`` has it."""
    return name[0] != "_" and callable(getattr(VecDB, name, None))


def _is_vector(query: Any) -> bool:
    """Whether it is numbers, in which nothing has to be found that a model must embed first."""
    if isinstance(query, np.ndarray):
        return True
    return (
        isinstance(query, (list, tuple)) and len(query) > 0 and isinstance(query[0], (float, int))
    )


def _further(client: VecDBLocal, name: str) -> Callable[..., Any]:
    def call(*positional: Any, **given: Any) -> Any:
        return client.call(name, *positional, **given)

    return call


def _further_async(client: AsyncVecDBLocal, name: str) -> Callable[..., Any]:
    async def call(*positional: Any, **given: Any) -> Any:
        return await client.call(name, *positional, **given)

    return call
