"""The verbs of ``Collection`` that read it, with its name first, as ``VecDB`` has them.

Not written by hand: ``python docs/make_verbs.py`` makes this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import isfunction

from vecdb import models, qdrant_arguments
from vecdb.qdrant_arguments import OfPoints, Unpack
from vecdb.writing_verbs import WritingVerbs


class QueryingVerbs(WritingVerbs):
    """One method for each verb of ``Collection`` that reads it."""

    def retrieve(
        self,
        collection_name: str,
        ids: models.IdsInput,
        with_payload: models.WithPayloadInput | None = True,
        with_vectors: models.WithVectorsInput | None = False,
        **qdrant: Unpack[OfPoints],
    ) -> list[models.Record]:
        """The points with these ids that exist, in the order asked for."""
        qdrant_arguments.check("VecDB.retrieve", qdrant)
        return self.collection(collection_name).retrieve(
            ids=ids, with_payload=with_payload, with_vectors=with_vectors
        )

    def scroll(
        self,
        collection_name: str,
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
        qdrant_arguments.check("VecDB.scroll", qdrant)
        return self.collection(collection_name).scroll(
            scroll_filter=scroll_filter,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            order_by=order_by,
        )

    def count(
        self,
        collection_name: str,
        count_filter: models.FilterInput | None = None,
        exact: bool = True,
        **qdrant: Unpack[OfPoints],
    ) -> models.CountResult:
        """How many points there are, or match. Always exact."""
        qdrant_arguments.check("VecDB.count", qdrant)
        return self.collection(collection_name).count(count_filter=count_filter, exact=exact)

    def facet(
        self,
        collection_name: str,
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
        qdrant_arguments.check("VecDB.facet", qdrant)
        return self.collection(collection_name).facet(
            key=key, facet_filter=facet_filter, limit=limit, exact=exact
        )

    def query_points(
        self,
        collection_name: str,
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
        qdrant_arguments.check("VecDB.query_points", qdrant)
        return self.collection(collection_name).query_points(
            query=query,
            using=using,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            score_threshold=score_threshold,
            prefetch=prefetch,
            lookup_from=lookup_from,
            explain=explain,
        )

    def within(
        self,
        collection_name: str,
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
        qdrant_arguments.check("VecDB.within", qdrant)
        return self.collection(collection_name).within(
            query=query,
            score_threshold=score_threshold,
            using=using,
            query_filter=query_filter,
            with_payload=with_payload,
            with_vectors=with_vectors,
        )

    def query_batch_points(
        self, collection_name: str, requests: models.QueryRequestsInput, **qdrant: Unpack[OfPoints]
    ) -> list[models.QueryResponse]:
        """Several ``QueryRequest`` on one and the same state; those that differ in their query
        only are searched together."""
        qdrant_arguments.check("VecDB.query_batch_points", qdrant)
        return self.collection(collection_name).query_batch_points(requests=requests)

    def search_arrays(
        self,
        collection_name: str,
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
        qdrant_arguments.check("VecDB.search_arrays", qdrant)
        return self.collection(collection_name).search_arrays(
            query_vectors=query_vectors,
            using=using,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            score_threshold=score_threshold,
        )

    def query_points_groups(
        self,
        collection_name: str,
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
        qdrant_arguments.check("VecDB.query_points_groups", qdrant)
        return self.collection(collection_name).query_points_groups(
            group_by=group_by,
            query=query,
            using=using,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            group_size=group_size,
            with_payload=with_payload,
            with_vectors=with_vectors,
            score_threshold=score_threshold,
            prefetch=prefetch,
            lookup_from=lookup_from,
            with_lookup=with_lookup,
        )

    def search_matrix_pairs(
        self,
        collection_name: str,
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
        qdrant_arguments.check("VecDB.search_matrix_pairs", qdrant)
        return self.collection(collection_name).search_matrix_pairs(
            query_filter=query_filter, limit=limit, sample=sample, using=using
        )

    def search_matrix_offsets(
        self,
        collection_name: str,
        query_filter: models.FilterInput | None = None,
        limit: int | None = 3,
        sample: int | None = 10,
        using: str | None = None,
        **qdrant: Unpack[OfPoints],
    ) -> models.SearchMatrixOffsetsResponse:
        """The same as ``search_matrix_pairs``, as a sparse matrix of positions in a list of
        ids."""
        qdrant_arguments.check("VecDB.search_matrix_offsets", qdrant)
        return self.collection(collection_name).search_matrix_offsets(
            query_filter=query_filter, limit=limit, sample=sample, using=using
        )


for _verb in vars(QueryingVerbs).values():
    if isfunction(_verb):  # what Python calls it, when it is called with wrong arguments
        _verb.__qualname__ = f"VecDB.{_verb.__name__}"
