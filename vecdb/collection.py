"""Collection: the verbs on one collection. Thin: arguments in, engine, results out."""

from __future__ import annotations

from typing import Any

from vecdb import ids, models, qdrant_arguments
from vecdb.engine.read import reader
from vecdb.engine.read.answer import answer, answers
from vecdb.engine.read.facets import facets
from vecdb.engine.read.groups import Lookup, grouped
from vecdb.engine.read.plan import Scroll
from vecdb.engine.read.request import (
    compiled,
    explanation,
    groups,
    page_size,
    ranked,
    several,
    unread,
    walk,
)
from vecdb.engine.read.values import values_at
from vecdb.engine.store import RecoveryReport
from vecdb.engine.view import View
from vecdb.errors import ClosedError
from vecdb.models.validation import read
from vecdb.qdrant_arguments import OfPoints, Unpack
from vecdb.writing import Writing


class Collection(Writing):
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
            f"{v.name + ': ' if v.name else ''}{v.dim}-d {v.distance.value}"
            for v in view.schema.values()
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

    # -- reading ---------------------------------------------------------------------------

    def _view(self) -> View:
        self._database.check_usable()
        view = self._store.view  # first: closed in between, it would be empty
        if self._store.closed:
            raise ClosedError(f"collection {self.name!r} {self._store.closed_because}")
        return view

    def retrieve(
        self,
        ids: models.IdsInput,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        **qdrant: Unpack[OfPoints],
    ) -> list[models.Record]:
        """The points with these ids that exist, in the order asked for."""
        qdrant_arguments.check("Collection.retrieve", qdrant)
        view = self._view()
        return reader.retrieve(view, _keys(ids), reader.wanted(view, with_payload, with_vectors))

    def scroll(
        self,
        scroll_filter: models.FilterInput | None = None,
        limit: int | None = 10,
        offset: models.IdInput | None = None,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        order_by: models.OrderByInput | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> tuple[list[models.Record], int | str | None]:
        """A page of points in id order, from the id ``offset``; and the id of the next page.

        ``order_by``: points in the order of a number or datetime of their payload instead, a key or
        `OrderBy`. Then there is no ``offset``, and None is the second result: the next page has the
        last ``order_value`` as ``start_from``, and begins with the points that have it.
        """
        qdrant_arguments.check("Collection.scroll", qdrant)
        view = self._view()
        asked = walk(
            view,
            filter=scroll_filter,
            limit=limit,
            offset=offset,
            order_by=order_by,
            with_payload=with_payload,
            with_vectors=with_vectors,
        )
        if isinstance(asked, Scroll):
            return reader.scroll(view, asked)
        points = answer(view, asked)
        return [models.Record(p.id, p.payload, p.vector, p.order_value) for p in points], None

    def count(
        self,
        count_filter: models.FilterInput | None = None,
        exact: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.CountResult:
        """How many points there are, or match. Always exact."""
        qdrant_arguments.check("Collection.count", qdrant)
        view = self._view()
        return models.CountResult(
            reader.count(view, reader.condition(count_filter, "count_filter"))
        )

    def facet(
        self,
        key: str,
        facet_filter: models.FilterInput | None = None,
        limit: int | None = 10,
        exact: bool = False,
        **qdrant: Unpack[OfPoints],
    ) -> models.FacetResponse:
        """The values at a path of the payload that most points have, and how many have each.

        Strings, integers and bools count, elements of arrays too, each once a point. The largest
        counts come first, equal ones in the order of the values. Always exact: memory is taken for
        every different value, and time for every point that matches.
        """
        qdrant_arguments.check("Collection.facet", qdrant)
        view = self._view()
        values, count = values_at(key, "key"), page_size(limit)
        matching = reader.condition(facet_filter, "facet_filter")
        return models.FacetResponse(facets(view, values, matching, count))

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
        return answer(view, ranked(view, asked))

    def search_batch(
        self, requests: models.SearchRequestsInput, **qdrant: Unpack[OfPoints]
    ) -> list[list[models.ScoredPoint]]:
        """Several ``SearchRequest`` on one and the same state; those that differ in their vector
        only are searched together."""
        qdrant_arguments.check("Collection.search_batch", qdrant)
        view = self._view()
        parsed: list[models.SearchRequest] = read(list[models.SearchRequest], requests, "requests")
        asked = [
            unread(
                query=each.vector,
                filter=each.filter,
                params=each.params,
                limit=each.limit,
                offset=each.offset,
                with_payload=each.with_payload,
                with_vector=each.with_vector,
                score_threshold=each.score_threshold,
            )
            for each in parsed
        ]
        return answers(view, several(view, asked))

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
        plan = groups(view, asked, group_by, group_size, compile=ranked)
        return models.GroupsResult(grouped(view, plan, self._lookup(with_lookup)))

    def query_points(
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
        ``mmr`` chooses points that differ from each other. An ``OrderByQuery`` gives points in the
        order of a value of their payload, a ``SampleQuery`` some by chance. ``explain``: the
        answer's ``explanation`` says what was scanned in each segment, and why.
        """
        qdrant_arguments.check("Collection.query_points", qdrant)
        view, explained = self._view(), explanation(explain)
        asked = unread(
            query=query,
            using=using,
            filter=query_filter,
            params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vector=with_vectors,
            score_threshold=score_threshold,
        )
        return models.QueryResponse(answer(view, compiled(view, asked), explained), explained)

    def query_batch_points(
        self, requests: models.QueryRequestsInput, **qdrant: Unpack[OfPoints]
    ) -> list[models.QueryResponse]:
        """Several ``QueryRequest`` on one and the same state; those that differ in their query
        only are searched together."""
        qdrant_arguments.check("Collection.query_batch_points", qdrant)
        view = self._view()
        parsed: list[models.QueryRequest] = read(list[models.QueryRequest], requests, "requests")
        return [models.QueryResponse(points) for points in answers(view, several(view, parsed))]

    def query_points_groups(
        self,
        group_by: str,
        query: models.QueryInput | None = None,
        using: str | None = None,
        query_filter: models.FilterInput | None = None,
        search_params: models.SearchParamsInput | None = None,
        limit: int | None = 10,
        group_size: int = 3,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        score_threshold: float | None = None,
        with_lookup: models.WithLookupInput | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> models.GroupsResult:
        """The points that ``query_points`` finds, in groups by what they have at a path of the
        payload: ``limit`` groups, the one with the best point first, each with its best
        ``group_size`` points.

        Strings and integers make groups. A point with an array of them is in several, one that has
        another value there, or none, in no group. Groups are as sure as the search: where its first
        results do not suffice, all payloads that match are read and it is made again among those of
        a group. ``with_lookup``: each group comes with the point of another collection that has its
        value as an id.
        """
        qdrant_arguments.check("Collection.query_points_groups", qdrant)
        view = self._view()
        asked = unread(
            query=query,
            using=using,
            filter=query_filter,
            params=search_params,
            limit=limit,
            with_payload=with_payload,
            with_vector=with_vectors,
            score_threshold=score_threshold,
        )
        plan = groups(view, asked, group_by, group_size)
        return models.GroupsResult(grouped(view, plan, self._lookup(with_lookup)))

    def _lookup(self, given: Any) -> Lookup | None:
        """The state of the collection to look groups up in, and what to return of its points."""
        if given is None:
            return None
        asked = models.parse_with_lookup(given)
        view = Collection(self._database, self._database.store(asked.collection))._view()
        return view, reader.wanted(view, asked.with_payload, asked.with_vectors)

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
        """Bytes of every part: in files, in anonymous memory, mapped, and mapped and resident."""
        from vecdb.engine.memory.report import memory_report

        self._view()
        return memory_report(self._store)


def _keys(wanted: models.IdsInput) -> list[int]:
    return ids.keys_of(wanted)
