"""Querying: the verbs that read a collection, as ``Collection`` has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vecdb import models, qdrant_arguments
from vecdb.engine.read import reader
from vecdb.engine.read.answer import answer
from vecdb.engine.read.arrays import scored_arrays
from vecdb.engine.read.asked import page_size
from vecdb.engine.read.batch import batch
from vecdb.engine.read.facets import facets
from vecdb.engine.read.groups import Lookup, grouped
from vecdb.engine.read.lookup import Elsewhere
from vecdb.engine.read.matrix import as_offsets, as_pairs, matrix
from vecdb.engine.read.plain import plain_search
from vecdb.engine.read.plan import Scroll
from vecdb.engine.read.request import (
    compiled,
    explanation,
    groups,
    nearer,
    unread,
    walk,
)
from vecdb.engine.read.values import Values
from vecdb.engine.read.within import within
from vecdb.engine.view import View
from vecdb.errors import ClosedError, NotFoundError
from vecdb.ids import keys_of
from vecdb.models.validation import read
from vecdb.qdrant_arguments import OfPoints, Unpack
from vecdb.writing import Writing


class Querying(Writing):
    """The part of ``Collection`` that reads."""

    def _view(self) -> View:
        self._database.check_usable()
        view = self._store.view  # first: closed in between, it would be empty
        if self._store.closed:
            raise ClosedError(f"collection {self._store.name!r} {self._store.closed_because}")
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
        return reader.retrieve(view, keys_of(ids), reader.wanted(view, with_payload, with_vectors))

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
            reader.count(view, reader.condition(count_filter, "count_filter", view))
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
        values, count = Values(key, "key"), page_size(limit)
        matching = reader.condition(facet_filter, "facet_filter", view)
        return models.FacetResponse(facets(view, values, matching, count))

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
        prefetch: models.PrefetchInput | None = None,
        lookup_from: models.LookupInput | None = None,
        explain: bool = False,
        **qdrant: Unpack[OfPoints],
    ) -> models.QueryResponse:
        """The nearest points to a vector, or to the point with an id (which is left out).

        Without a ``query``: points in the order of ids, with score 1. A ``NearestQuery`` with
        ``mmr`` chooses points that differ from each other. A ``RecommendQuery``, ``DiscoverQuery``,
        ``ContextQuery`` or ``RelevanceFeedbackQuery`` has several examples, vectors or ids. An
        ``OrderByQuery`` gives points in the order of a value of their payload, a ``SampleQuery``
        some by chance, a ``TextQuery`` those whose texts in the field ``using`` fit best.
        ``lookup_from``: the collection, and the name of its vectors, in which the
        ids of a query are looked up.

        ``prefetch``: points are found first, by each `Prefetch` as many as its limit, and the query
        is made on them, exactly. A ``FusionQuery`` or ``RrfQuery`` makes one list of several, a
        ``FormulaQuery`` computes other scores. ``query_filter`` is for the prefetches, too.

        ``explain``: the answer's ``explanation`` says what was scanned in each segment, and why.
        """
        qdrant_arguments.check("Collection.query_points", qdrant)
        view, explained = self._view(), explanation(explain)
        asked = unread(
            query=query,
            using=using,
            prefetch=prefetch,
            filter=query_filter,
            params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vector=with_vectors,
            score_threshold=score_threshold,
            lookup_from=lookup_from,
        )
        if explained is None and (points := plain_search(view, asked)) is not None:
            return models.QueryResponse(points)
        plan = compiled(view, asked, self._elsewhere(view))
        return models.QueryResponse(answer(view, plan, explained), explained)

    def within(
        self,
        query: models.QueryVectorInput | models.IdInput,
        score_threshold: float,
        using: str | None = None,
        query_filter: models.FilterInput | None = None,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        **qdrant: Unpack[OfPoints],
    ) -> Iterator[models.ScoredPoint]:
        """All points with a better score than the threshold, in no order, as they are found: for
        Euclid and Manhattan those that are nearer to the vector, or the point with an id.

        None is missing, as all originals are compared, and it is one state that is read, whatever
        is written meanwhile. Some thousand points are in memory at a time.
        """
        qdrant_arguments.check("Collection.within", qdrant)
        view = self._view()
        asked = unread(
            query=query,
            using=using,
            filter=query_filter,
            with_payload=with_payload,
            with_vector=with_vectors,
            score_threshold=score_threshold,
        )
        return within(view, nearer(view, asked, self._elsewhere(view)))

    def query_batch_points(
        self, requests: models.QueryRequestsInput, **qdrant: Unpack[OfPoints]
    ) -> list[models.QueryResponse]:
        """Several ``QueryRequest`` on one and the same state; those that differ in their query
        only are searched together."""
        qdrant_arguments.check("Collection.query_batch_points", qdrant)
        view = self._view()
        parsed: list[models.QueryRequest] = read(list[models.QueryRequest], requests, "requests")
        return [models.QueryResponse(p) for p in batch(view, parsed, self._elsewhere(view))]

    def search_arrays(
        self,
        query_vectors: models.ManyVectorsInput,
        using: str | None = None,
        query_filter: models.FilterInput | None = None,
        search_params: models.SearchParamsInput | None = None,
        limit: int | None = 10,
        score_threshold: float | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> models.ScoredArrays:
        """The nearest points to each of many vectors, as arrays of ids and scores: no object is
        made for a point.

        ``query_vectors``: numbers, ``(n, dim)``. The same points as of ``search_batch``, without
        payloads and vectors.
        """
        qdrant_arguments.check("Collection.search_arrays", qdrant)
        view = self._view()
        asked = unread(
            using=using,
            filter=query_filter,
            params=search_params,
            limit=limit,
            with_payload=False,
            score_threshold=score_threshold,
        )
        return scored_arrays(view, asked, query_vectors, self._elsewhere(view))

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
        prefetch: models.PrefetchInput | None = None,
        lookup_from: models.LookupInput | None = None,
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
            prefetch=prefetch,
            filter=query_filter,
            params=search_params,
            limit=limit,
            with_payload=with_payload,
            with_vector=with_vectors,
            score_threshold=score_threshold,
            lookup_from=lookup_from,
        )
        plan = groups(view, asked, group_by, group_size, self._elsewhere(view))
        return models.GroupsResult(grouped(view, plan, self._lookup(with_lookup)))

    def search_matrix_pairs(
        self,
        query_filter: models.FilterInput | None = None,
        limit: int | None = 3,
        sample: int | None = 10,
        using: str | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> models.SearchMatrixPairsResponse:
        """How near points are to each other: ``sample`` points by chance, and for each of them the
        ``limit`` nearest of the others, with their scores.

        Always exact; the time grows with the square of ``sample``.
        """
        qdrant_arguments.check("Collection.search_matrix_pairs", qdrant)
        return as_pairs(matrix(self._view(), query_filter, limit, sample, using))

    def search_matrix_offsets(
        self,
        query_filter: models.FilterInput | None = None,
        limit: int | None = 3,
        sample: int | None = 10,
        using: str | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> models.SearchMatrixOffsetsResponse:
        """The same as ``search_matrix_pairs``, as a sparse matrix of positions in a list of
        ids."""
        qdrant_arguments.check("Collection.search_matrix_offsets", qdrant)
        return as_offsets(matrix(self._view(), query_filter, limit, sample, using))

    def _elsewhere(self, view: View) -> Elsewhere:
        """Knows the states of other collections. Of this one it knows the view that is read."""
        mine = self._store
        return lambda name: view if self._database.store(name) is mine else self._view_of(name)

    def _view_of(self, name: str) -> View:
        """The state of a collection of the same database."""
        return Querying(self._database, self._database.store(name))._view()

    def _lookup(self, given: Any) -> Lookup | None:
        """The state of the collection to look groups up in, and what to return of its points."""
        if given is None:
            return None
        asked = models.parse_with_lookup(given)
        try:
            view = self._view_of(asked.collection)
        except NotFoundError as error:
            raise NotFoundError(f"with_lookup: {error}") from None
        return view, reader.wanted(view, asked.with_payload, asked.with_vectors, "with_lookup.")
