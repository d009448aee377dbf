"""The verbs of ``Collection`` as coroutines: those that change it, and those that read.

Not written by hand: ``python docs/make_async.py`` makes this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vecdb import models
from vecdb.aio.calls import Calls
from vecdb.aio.handles import Reading
from vecdb.aio.querying import AsyncQuerying
from vecdb.collection import Collection
from vecdb.engine.store import RecoveryReport
from vecdb.qdrant_arguments import OfPoints, Unpack


class AsyncCollection(AsyncQuerying):
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

    async def search_groups(
        self,
        query_vector: models.QueryVectorInput,
        group_by: str,
        query_filter: models.FilterInput | None = None,
        search_params: models.SearchParamsInput | None = None,
        limit: int | None = 10,
        group_size: int = 1,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        score_threshold: float | None = None,
        with_lookup: models.WithLookupInput | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> models.GroupsResult:
        """``query_points_groups`` of the points nearest to a vector, as ``search`` takes it."""
        return await self._calls.read(
            self._collection,
            Collection.search_groups,
            query_vector=query_vector,
            group_by=group_by,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            group_size=group_size,
            with_payload=with_payload,
            with_vectors=with_vectors,
            score_threshold=score_threshold,
            with_lookup=with_lookup,
            **qdrant,
        )

    async def recommend(
        self,
        positive: Sequence[models.VectorInput] | None = None,
        negative: Sequence[models.VectorInput] | None = None,
        query_filter: models.FilterInput | None = None,
        search_params: models.SearchParamsInput | None = None,
        limit: int | None = 10,
        offset: int | None = 0,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        score_threshold: float | None = None,
        using: str | None = None,
        lookup_from: models.LookupInput | None = None,
        strategy: models.RecommendStrategy | str | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> list[models.ScoredPoint]:
        """``query_points`` with a ``RecommendQuery``: points that are like some examples, vectors
        or ids, and unlike others."""
        return await self._calls.read(
            self._collection,
            Collection.recommend,
            positive=positive,
            negative=negative,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            score_threshold=score_threshold,
            using=using,
            lookup_from=lookup_from,
            strategy=strategy,
            **qdrant,
        )

    async def recommend_batch(
        self, requests: Sequence[models.Given], **qdrant: Unpack[OfPoints]
    ) -> list[list[models.ScoredPoint]]:
        """Several recommendations on one and the same state: the fields of ``recommend``, and
        ``filter``, ``params`` and ``with_vector`` as ``QueryRequest`` calls them."""
        return await self._calls.read(
            self._collection, Collection.recommend_batch, requests=requests, **qdrant
        )

    async def recommend_groups(
        self,
        group_by: str,
        positive: Sequence[models.VectorInput] | None = None,
        negative: Sequence[models.VectorInput] | None = None,
        query_filter: models.FilterInput | None = None,
        search_params: models.SearchParamsInput | None = None,
        limit: int | None = 10,
        group_size: int = 1,
        score_threshold: float | None = None,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        using: str | None = None,
        lookup_from: models.LookupInput | None = None,
        with_lookup: models.WithLookupInput | None = None,
        strategy: models.RecommendStrategy | str | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> models.GroupsResult:
        """``query_points_groups`` of a recommendation."""
        return await self._calls.read(
            self._collection,
            Collection.recommend_groups,
            group_by=group_by,
            positive=positive,
            negative=negative,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            group_size=group_size,
            score_threshold=score_threshold,
            with_payload=with_payload,
            with_vectors=with_vectors,
            using=using,
            lookup_from=lookup_from,
            with_lookup=with_lookup,
            strategy=strategy,
            **qdrant,
        )

    async def discover(
        self,
        target: models.VectorInput | None = None,
        context: models.ContextInput | Sequence[models.Given] | None = None,
        query_filter: models.FilterInput | None = None,
        search_params: models.SearchParamsInput | None = None,
        limit: int | None = 10,
        offset: int | None = 0,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        using: str | None = None,
        lookup_from: models.LookupInput | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> list[models.ScoredPoint]:
        """``query_points`` with a ``DiscoverQuery``: points near a target, on the right side of
        pairs of examples. Without a target the pairs alone count, as in a ``ContextQuery``."""
        return await self._calls.read(
            self._collection,
            Collection.discover,
            target=target,
            context=context,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            using=using,
            lookup_from=lookup_from,
            **qdrant,
        )

    async def discover_batch(
        self, requests: Sequence[models.Given], **qdrant: Unpack[OfPoints]
    ) -> list[list[models.ScoredPoint]]:
        """Several discoveries on one and the same state, as ``recommend_batch``."""
        return await self._calls.read(
            self._collection, Collection.discover_batch, requests=requests, **qdrant
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
        """Bytes of every part: in files, in anonymous memory, mapped, and mapped and resident.

        ``parts``, their ``total``, those of each of the ``vectors`` and ``columns`` by name, the
        same of each of the ``segments``, what ``memory_limit`` left no room for as ``demoted``, and
        an ``explanation`` in words.
        """
        return await self._calls.call(self._collection.memory_report)
