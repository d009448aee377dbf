"""Collection: the verbs on one collection. Thin: arguments in, engine, results out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vecdb import models, qdrant_arguments
from vecdb.engine.read.answer import answer
from vecdb.engine.read.batch import batch
from vecdb.engine.read.groups import grouped
from vecdb.engine.read.plain import plain_search
from vecdb.engine.read.request import groups, ranked, unread
from vecdb.engine.store import RecoveryReport
from vecdb.models.examples import discover_query, recommend_query
from vecdb.models.reading import fields_of
from vecdb.models.validation import read
from vecdb.qdrant_arguments import OfPoints, Unpack
from vecdb.querying import Querying

_BESIDE_VECTOR = [name for name in models.SearchRequest.__struct_fields__ if name != "vector"]


class Collection(Querying):
    """One collection of an open database: the same verbs as ``VecDB``, without the name.

    Thread-safe. A write returns when it is durable (at sync level ``always``) and visible.
    """

    def __eq__(self, other: object) -> bool:
        """Whether it is a handle of the same open collection."""
        return isinstance(other, Collection) and other._store is self._store

    def __hash__(self) -> int:
        return hash(self._store)

    def __repr__(self) -> str:
        if self._store.closed:
            return f"<Collection {self.name!r}: it {self._store.closed_because}>"
        view = self._store.view
        named = ", ".join(
            f"{v.name + ': ' if v.name else ''}{v.kind}" for v in view.schema.values()
        )
        return f"<Collection {self.name!r}: {view.live} points, {named or 'no vectors'}>"

    def __len__(self) -> int:
        return self._view().live

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._store.name

    @property
    def recovery(self) -> RecoveryReport:
        """What opening the collection found and did."""
        return self._store.report

    # -- older forms of query_points --------------------------------------------------------

    def search(
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
        qdrant_arguments.check("Collection.search", qdrant)
        view = self._view()
        asked = unread(
            query=query_vector,
            filter=query_filter,
            params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vector=with_vectors,
            score_threshold=score_threshold,
        )
        found = plain_search(view, asked)
        return answer(view, ranked(view, asked, self._elsewhere(view))) if found is None else found

    def search_batch(
        self, requests: models.SearchRequestsInput, **qdrant: Unpack[OfPoints]
    ) -> list[list[models.ScoredPoint]]:
        """Several ``SearchRequest`` on one and the same state; those that differ in their vector
        only are searched together."""
        qdrant_arguments.check("Collection.search_batch", qdrant)
        view = self._view()
        parsed: list[models.SearchRequest] = read(list[models.SearchRequest], requests, "requests")
        asked = [
            unread(query=each.vector, **{name: getattr(each, name) for name in _BESIDE_VECTOR})
            for each in parsed
        ]
        return batch(view, asked, self._elsewhere(view))

    def search_groups(
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
        qdrant_arguments.check("Collection.search_groups", qdrant)
        view = self._view()
        asked = unread(
            query=query_vector,
            filter=query_filter,
            params=search_params,
            limit=limit,
            with_payload=with_payload,
            with_vector=with_vectors,
            score_threshold=score_threshold,
        )
        elsewhere = self._elsewhere(view)
        plan = groups(view, asked, group_by, group_size, elsewhere, compile=ranked)
        return models.GroupsResult(grouped(view, plan, self._lookup(with_lookup)))

    def recommend(
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
        qdrant_arguments.check("Collection.recommend", qdrant)
        return self.query_points(
            recommend_query({"positive": positive, "negative": negative, "strategy": strategy}),
            using=using,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            score_threshold=score_threshold,
            lookup_from=lookup_from,
        ).points

    def recommend_batch(
        self, requests: Sequence[models.Given], **qdrant: Unpack[OfPoints]
    ) -> list[list[models.ScoredPoint]]:
        """Several recommendations on one and the same state: the fields of ``recommend``, and
        ``filter``, ``params`` and ``with_vector`` as ``QueryRequest`` calls them."""
        qdrant_arguments.check("Collection.recommend_batch", qdrant)
        return self._batch(requests, recommend_query)

    def recommend_groups(
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
        qdrant_arguments.check("Collection.recommend_groups", qdrant)
        return self.query_points_groups(
            group_by,
            recommend_query({"positive": positive, "negative": negative, "strategy": strategy}),
            using=using,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            group_size=group_size,
            with_payload=with_payload,
            with_vectors=with_vectors,
            score_threshold=score_threshold,
            lookup_from=lookup_from,
            with_lookup=with_lookup,
        )

    def discover(
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
        qdrant_arguments.check("Collection.discover", qdrant)
        return self.query_points(
            discover_query({"target": target, "context": context}),
            using=using,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            lookup_from=lookup_from,
        ).points

    def discover_batch(
        self, requests: Sequence[models.Given], **qdrant: Unpack[OfPoints]
    ) -> list[list[models.ScoredPoint]]:
        """Several discoveries on one and the same state, as ``recommend_batch``."""
        qdrant_arguments.check("Collection.discover_batch", qdrant)
        return self._batch(requests, discover_query)

    def _batch(
        self,
        requests: Sequence[models.Given],
        query: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> list[list[models.ScoredPoint]]:
        asked = []
        for request in requests:
            fields = dict(fields_of(request) or {})
            asked.append({"query": query(fields), **fields})
        return [response.points for response in self.query_batch_points(asked)]

    # -- upkeep ----------------------------------------------------------------------------

    def flush(self) -> None:
        """Checkpoint now: everything written is in segment files and the WAL is empty."""
        self._database.flush(self._store)

    def wait_for_optimizer(self, timeout: float | None = None) -> bool:
        """Wait until the optimizer has nothing left to do here; False after ``timeout`` seconds, or
        if the database is closed first.

        What failed before is tried again at once. Raises OptimizerError if a step fails, or if the
        collection is closed to writes since a failure. With ``max_optimization_threads=0`` there
        is no background work, and the steps are done in this call.
        """
        self._database.check_usable()
        return self._database.optimizer.wait(self._store, timeout)

    def info(self) -> models.CollectionInfo:
        """Configuration, counts, segments, and what the optimizer is doing."""
        from vecdb.engine.optimize.status import collection_info

        self._view()
        return collection_info(self._store)

    def memory_report(self) -> dict[str, Any]:
        """Bytes of every part: in files, in anonymous memory, mapped, and mapped and resident.

        ``parts``, their ``total``, those of each of the ``vectors`` and ``columns`` by name, the
        same of each of the ``segments``, what ``memory_limit`` left no room for as ``demoted``, and
        an ``explanation`` in words.
        """
        from vecdb.engine.memory.report import memory_report

        self._view()
        return memory_report(self._store)
