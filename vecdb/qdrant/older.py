"""Older: verbs that Qdrant's client had before ``query_points`` could do all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vecdb import models
from vecdb.database import VecDB
from vecdb.models.examples import discover_query, recommend_query
from vecdb.models.reading import fields_of


class Older:
    """The verbs on one database. Arguments and results are those of local mode."""

    def __init__(self, database: VecDB) -> None:
        self._database = database

    def recommend(
        self,
        collection_name: str,
        positive: Sequence[Any] | None = None,
        negative: Sequence[Any] | None = None,
        query_filter: Any = None,
        search_params: Any = None,
        limit: int = 10,
        offset: int | None = 0,
        with_payload: Any = True,
        with_vectors: Any = False,
        score_threshold: float | None = None,
        using: str | None = None,
        lookup_from: Any = None,
        strategy: Any = None,
    ) -> list[models.ScoredPoint]:
        """Points that are like some examples and unlike others."""
        return self._database.query_points(
            collection_name,
            recommend_query({"positive": positive, "negative": negative, "strategy": strategy}),
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            score_threshold=score_threshold,
            using=using,
            lookup_from=lookup_from,
        ).points

    def recommend_groups(
        self,
        collection_name: str,
        group_by: str,
        positive: Sequence[Any] | None = None,
        negative: Sequence[Any] | None = None,
        query_filter: Any = None,
        search_params: Any = None,
        limit: int = 10,
        group_size: int = 1,
        score_threshold: float | None = None,
        with_payload: Any = True,
        with_vectors: Any = False,
        using: str | None = None,
        lookup_from: Any = None,
        with_lookup: Any = None,
        strategy: Any = None,
    ) -> models.GroupsResult:
        """The same in groups."""
        return self._database.query_points_groups(
            collection_name,
            group_by,
            recommend_query({"positive": positive, "negative": negative, "strategy": strategy}),
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
        )

    def recommend_batch(
        self, collection_name: str, requests: Sequence[Any]
    ) -> list[list[models.ScoredPoint]]:
        """Several recommendations: objects of ``RecommendRequest``."""
        return self._batch(collection_name, requests, recommend_query)

    def discover(
        self,
        collection_name: str,
        target: Any = None,
        context: Sequence[Any] | None = None,
        query_filter: Any = None,
        search_params: Any = None,
        limit: int = 10,
        offset: int | None = 0,
        with_payload: Any = True,
        with_vectors: Any = False,
        using: str | None = None,
        lookup_from: Any = None,
    ) -> list[models.ScoredPoint]:
        """Points near a target, on the right side of pairs of examples. Without a target the pairs
        alone count."""
        return self._database.query_points(
            collection_name,
            discover_query({"target": target, "context": context}),
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            using=using,
            lookup_from=lookup_from,
        ).points

    def discover_batch(
        self, collection_name: str, requests: Sequence[Any]
    ) -> list[list[models.ScoredPoint]]:
        """Several discoveries: objects of ``DiscoverRequest``."""
        return self._batch(collection_name, requests, discover_query)

    def _batch(
        self,
        collection_name: str,
        requests: Sequence[Any],
        query: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> list[list[models.ScoredPoint]]:
        asked = []
        for request in requests:
            fields = dict(fields_of(request) or {})
            asked.append({"query": query(fields), **fields})
        found = self._database.query_batch_points(collection_name, asked)
        return [response.points for response in found]
