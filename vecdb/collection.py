"""Collection: the verbs on one collection. Thin: arguments in, engine, results out."""

from __future__ import annotations

from typing import Any

from vecdb import ids, models, qdrant_arguments
from vecdb.engine.read import reader
from vecdb.engine.read.answer import answer, answers
from vecdb.engine.read.request import compiled, explanation, ranked, several, unread, walk
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
        **qdrant: Unpack[OfPoints],
    ) -> tuple[list[models.Record], int | str | None]:
        """A page of points in id order, from the id ``offset``; and the id of the next page."""
        qdrant_arguments.check("Collection.scroll", qdrant)
        view = self._view()
        asked = walk(
            view,
            filter=scroll_filter,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
        )
        return reader.scroll(view, asked)

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
        ``mmr`` chooses points that differ from each other. ``explain``: the answer's
        ``explanation`` says what was scanned in each segment, and why.
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
