"""The verbs of ``Collection`` as coroutines: those that change it, and those that read.

Not written by hand: ``python docs/make_async.py`` makes this file.
"""

from __future__ import annotations

from typing import Any

from vecdb import models
from vecdb.aio.calls import Calls
from vecdb.aio.handles import Reading
from vecdb.aio.writing import AsyncWriting
from vecdb.collection import Collection
from vecdb.engine.store import RecoveryReport
from vecdb.qdrant_arguments import OfPoints, Unpack


class AsyncCollection(AsyncWriting):
    """One collection of an open database: the same verbs as ``AsyncVecDB``, without the name."""

    def __init__(self, calls: Calls, collection: Collection) -> None:
        self._calls = calls
        self._collection = Reading.of(collection)

    def __eq__(self, other: object) -> bool:
        """Whether it is a handle of the same open collection."""
        return isinstance(other, AsyncCollection) and other._collection == self._collection

    def __hash__(self) -> int:
        return hash(self._collection)

    def __repr__(self) -> str:
        return f"<Async{repr(self._collection)[1:]}"

    def __len__(self) -> int:
        return len(self._collection)

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._collection.name

    @property
    def recovery(self) -> RecoveryReport:
        """What opening the collection found and did."""
        return self._collection.recovery

    async def retrieve(
        self,
        ids: models.IdsInput,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        **qdrant: Unpack[OfPoints],
    ) -> list[models.Record]:
        """The points with these ids that exist, in the order asked for."""
        return await self._calls.read(
            self._collection,
            Collection.retrieve,
            ids=ids,
            with_payload=with_payload,
            with_vectors=with_vectors,
            **qdrant,
        )

    async def scroll(
        self,
        scroll_filter: models.FilterInput | None = None,
        limit: int | None = 10,
        offset: models.IdInput | None = None,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        **qdrant: Unpack[OfPoints],
    ) -> tuple[list[models.Record], int | str | None]:
        """A page of points in id order, from the id ``offset``; and the id of the next page."""
        return await self._calls.read(
            self._collection,
            Collection.scroll,
            scroll_filter=scroll_filter,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            **qdrant,
        )

    async def count(
        self,
        count_filter: models.FilterInput | None = None,
        exact: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.CountResult:
        """How many points there are, or match. Always exact."""
        return await self._calls.read(
            self._collection, Collection.count, count_filter=count_filter, exact=exact, **qdrant
        )

    async def search(
        self,
        query_vector: models.QueryVectorInput,
        query_filter: models.FilterInput | None = None,
        search_params: models.SearchParamsInput | None = None,
        limit: int | None = 10,
        offset: int | None = None,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        score_threshold: float | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> list[models.ScoredPoint]:
        """The nearest points, best first.

        ``query_vector``: ``(dim,)`` numbers, or ``(name, numbers)`` for a named vector. Scores are
        on the metric's scale: similarity for Cosine and Dot, distance for Euclid and Manhattan.
        ``search_params`` says what recall to aim for and how codes are used; ``exact=True`` scans
        the originals.
        """
        return await self._calls.read(
            self._collection,
            Collection.search,
            query_vector=query_vector,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            score_threshold=score_threshold,
            **qdrant,
        )

    async def search_batch(
        self, requests: models.SearchRequestsInput, **qdrant: Unpack[OfPoints]
    ) -> list[list[models.ScoredPoint]]:
        """Several ``SearchRequest`` on one and the same state; those that differ in their vector
        only are searched together."""
        return await self._calls.read(
            self._collection, Collection.search_batch, requests=requests, **qdrant
        )

    async def query_points(
        self,
        query: models.QueryInput | None = None,
        using: str | None = None,
        query_filter: models.FilterInput | None = None,
        search_params: models.SearchParamsInput | None = None,
        limit: int | None = 10,
        offset: int | None = None,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        score_threshold: float | None = None,
        explain: bool = False,
        **qdrant: Unpack[OfPoints],
    ) -> models.QueryResponse:
        """The nearest points to a vector, or to the point with an id (which is left out).

        Without a ``query``: points in the order of ids, with score 1. A ``NearestQuery`` with
        ``mmr`` chooses points that differ from each other. ``explain``: the answer's
        ``explanation`` says what was scanned in each segment, and why.
        """
        return await self._calls.read(
            self._collection,
            Collection.query_points,
            query=query,
            using=using,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            score_threshold=score_threshold,
            explain=explain,
            **qdrant,
        )

    async def query_batch_points(
        self, requests: models.QueryRequestsInput, **qdrant: Unpack[OfPoints]
    ) -> list[models.QueryResponse]:
        """Several ``QueryRequest`` on one and the same state; those that differ in their query
        only are searched together."""
        return await self._calls.read(
            self._collection, Collection.query_batch_points, requests=requests, **qdrant
        )

    async def flush(self) -> None:
        """Checkpoint now: everything written is in segment files and the WAL is empty."""
        await self._calls.last(self._collection.flush)

    async def wait_for_optimizer(self, timeout: float | None = None) -> bool:
        """Wait until the optimizer has nothing left to do here; False after ``timeout`` seconds, or
        if the database is closed first.

        What failed before is tried again at once. Raises OptimizerError if a step fails, or if the
        collection is closed to writes since a failure. With ``max_optimization_threads=0`` there
        is no background work, and the steps are done in this call.
        """
        return await self._calls.wait(self._collection, timeout)

    async def info(self) -> models.CollectionInfo:
        """Configuration, counts, segments, and what the optimizer is doing."""
        return await self._calls.call(self._collection.info)

    async def memory_report(self) -> dict[str, Any]:
        """Bytes of every part: in files, in anonymous memory, mapped, and mapped and resident."""
        return await self._calls.call(self._collection.memory_report)
