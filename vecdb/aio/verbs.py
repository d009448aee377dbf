"""The verbs of ``AsyncCollection`` with its name first, as ``AsyncVecDB`` has them.

Not written by hand: ``python docs/make_async.py`` makes this file.
"""

from __future__ import annotations

from collections.abc import Sequence

from vecdb import models
from vecdb.aio.querying_verbs import AsyncQueryingVerbs
from vecdb.qdrant_arguments import OfPoints, Unpack


class AsyncVerbs(AsyncQueryingVerbs):
    """One coroutine for each verb of ``AsyncCollection``."""

    async def search(
        self,
        collection_name: str,
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
        return await self.collection(collection_name).search(
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
        self, collection_name: str, requests: models.SearchRequestsInput, **qdrant: Unpack[OfPoints]
    ) -> list[list[models.ScoredPoint]]:
        """Several ``SearchRequest`` on one and the same state; those that differ in their vector
        only are searched together."""
        return await self.collection(collection_name).search_batch(requests=requests, **qdrant)

    async def search_groups(
        self,
        collection_name: str,
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
        return await self.collection(collection_name).search_groups(
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
        collection_name: str,
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
        return await self.collection(collection_name).recommend(
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
        self, collection_name: str, requests: Sequence[models.Given], **qdrant: Unpack[OfPoints]
    ) -> list[list[models.ScoredPoint]]:
        """Several recommendations on one and the same state: the fields of ``recommend``, and
        ``filter``, ``params`` and ``with_vector`` as ``QueryRequest`` calls them."""
        return await self.collection(collection_name).recommend_batch(requests=requests, **qdrant)

    async def recommend_groups(
        self,
        collection_name: str,
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
        return await self.collection(collection_name).recommend_groups(
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
        collection_name: str,
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
        return await self.collection(collection_name).discover(
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
        self, collection_name: str, requests: Sequence[models.Given], **qdrant: Unpack[OfPoints]
    ) -> list[list[models.ScoredPoint]]:
        """Several discoveries on one and the same state, as ``recommend_batch``."""
        return await self.collection(collection_name).discover_batch(requests=requests, **qdrant)
