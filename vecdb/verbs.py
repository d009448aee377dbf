"""The verbs of ``Collection`` with its name first, as ``VecDB`` has them.

Not written by hand: ``python docs/make_verbs.py`` makes this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import isfunction

from vecdb import models, qdrant_arguments
from vecdb.qdrant_arguments import OfPoints, Unpack
from vecdb.querying_verbs import QueryingVerbs


class Verbs(QueryingVerbs):
    """One method for each verb of ``Collection``."""

    def search(
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
        qdrant_arguments.check("VecDB.search", qdrant)
        return self.collection(collection_name).search(
            query_vector=query_vector,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            score_threshold=score_threshold,
        )

    def search_batch(
        self, collection_name: str, requests: models.SearchRequestsInput, **qdrant: Unpack[OfPoints]
    ) -> list[list[models.ScoredPoint]]:
        """Several ``SearchRequest`` on one and the same state; those that differ in their vector
        only are searched together."""
        qdrant_arguments.check("VecDB.search_batch", qdrant)
        return self.collection(collection_name).search_batch(requests=requests)

    def search_groups(
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
        qdrant_arguments.check("VecDB.search_groups", qdrant)
        return self.collection(collection_name).search_groups(
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
        )

    def recommend(
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
        qdrant_arguments.check("VecDB.recommend", qdrant)
        return self.collection(collection_name).recommend(
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
        )

    def recommend_batch(
        self, collection_name: str, requests: Sequence[models.Given], **qdrant: Unpack[OfPoints]
    ) -> list[list[models.ScoredPoint]]:
        """Several recommendations on one and the same state: the fields of ``recommend``, and
        ``filter``, ``params`` and ``with_vector`` as ``QueryRequest`` calls them."""
        qdrant_arguments.check("VecDB.recommend_batch", qdrant)
        return self.collection(collection_name).recommend_batch(requests=requests)

    def recommend_groups(
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
        qdrant_arguments.check("VecDB.recommend_groups", qdrant)
        return self.collection(collection_name).recommend_groups(
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
        )

    def discover(
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
        qdrant_arguments.check("VecDB.discover", qdrant)
        return self.collection(collection_name).discover(
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
        )

    def discover_batch(
        self, collection_name: str, requests: Sequence[models.Given], **qdrant: Unpack[OfPoints]
    ) -> list[list[models.ScoredPoint]]:
        """Several discoveries on one and the same state, as ``recommend_batch``."""
        qdrant_arguments.check("VecDB.discover_batch", qdrant)
        return self.collection(collection_name).discover_batch(requests=requests)


for _verb in vars(Verbs).values():
    if isfunction(_verb):  # what Python calls it, when it is called with wrong arguments
        _verb.__qualname__ = f"VecDB.{_verb.__name__}"
