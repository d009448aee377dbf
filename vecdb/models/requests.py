"""What callers send: points to write, selections of points, and searches.

Vectors and batches pass through unread: only the engine knows the dimension they must have, and
it checks whole arrays at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from enum import Enum
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from vecdb.errors import InvalidInputError
from vecdb.models.conditions import ExtendedPointId, Filter, Moment, PointId
from vecdb.models.config import Recall
from vecdb.models.documents import Document
from vecdb.models.examples import LookupLocation, VectorInput
from vecdb.models.named import VectorName
from vecdb.models.reading import By, Model, Strict, converter, fields_of
from vecdb.models.sparse import NamedSparseVector, SparseVector
from vecdb.models.validation import read


def _unread(value: Any) -> Any:
    return value


Payload = dict[str, Any]
DenseVector = Sequence[float] | np.ndarray[Any, Any]
MultiVector = Sequence[DenseVector] | np.ndarray[Any, Any]
Vector = Annotated[DenseVector, By(_unread, "a vector")]
VectorStruct = Annotated[
    DenseVector | MultiVector | Mapping[str, DenseVector | MultiVector | SparseVector | Document],
    By(_unread, "a vector or a dict of name to vector"),
]
Limit = Annotated[int, Meta(ge=1)]
Offset = Annotated[int, Meta(ge=0)]


# Not a Model: points are made by the million, in an eighth of the time that a Model takes.
class PointStruct(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A point to write: id, vector or vectors by name, payload."""

    id: ExtendedPointId
    vector: VectorStruct
    payload: Payload | None = None


class PointVectors(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Vectors of a point that is there, for ``update_vectors``."""

    id: ExtendedPointId
    vector: VectorStruct


class Batch(Model, frozen=True, kw_only=True, eq=False):
    """Points as columns. ``vectors`` is one 2-d array, or a dict of name to 2-d array."""

    ids: Annotated[Sequence[int | str] | np.ndarray[Any, Any], By(_unread, "a list of ids")]
    vectors: Annotated[
        Sequence[DenseVector] | np.ndarray[Any, Any] | Mapping[str, Any],
        By(_unread, "an array or a dict of name to array"),
    ]
    payloads: Annotated[Sequence[Payload | None] | None, By(_unread, "a list of payloads")] = None

    def _problem(self) -> str | None:
        columns: dict[str, Any] = {"ids": self.ids, "payloads": self.payloads}
        if isinstance(self.vectors, Mapping):
            columns |= {f"vectors[{name!r}]": rows for name, rows in self.vectors.items()}
        else:
            columns["vectors"] = self.vectors
        if self.payloads is None:
            del columns["payloads"]
        for name, column in columns.items():
            if isinstance(column, np.ndarray) and column.ndim == 0:
                return f"expected {name} to be a list or an array, got a scalar"
            if not isinstance(column, (list, tuple, range, np.ndarray)):
                return f"expected {name} to be a list or an array, got {type(column).__name__}"
            if len(column) != len(self.ids):
                return f"expected {len(self.ids)} {name}, one per id, got {len(column)}"
        return None


class NamedVector(Model, frozen=True, kw_only=True):
    """The older form of a query by a vector of a name."""

    name: VectorName
    vector: Vector


class PayloadSelectorInclude(Strict, frozen=True, kw_only=True):
    """Nothing of the payload but these paths."""

    include: list[str]


class PayloadSelectorExclude(Strict, frozen=True, kw_only=True):
    """The payload without these paths."""

    exclude: list[str]


class PayloadSelector(Strict, frozen=True, kw_only=True):
    """Both at once, which Qdrant has not: of what is included all but what is excluded."""

    include: list[str]
    exclude: list[str]


WithPayload = bool | list[str] | PayloadSelector | PayloadSelectorInclude | PayloadSelectorExclude
WithVector = bool | list[str]


class PointIdsList(Strict, frozen=True, kw_only=True):
    """The points with these ids."""

    points: list[ExtendedPointId]


class FilterSelector(Strict, frozen=True, kw_only=True):
    """The points that match a filter."""

    filter: Filter


class QuantizationSearchParams(Model, frozen=True, kw_only=True):
    """What a search makes of codes."""

    ignore: bool = False
    rescore: bool | None = None
    oversampling: Annotated[float, Meta(ge=1.0)] | None = None


class AcornSearchParams(Model, frozen=True, kw_only=True):
    """Accepted for compatibility: no graph is walked, so a filter cuts none into pieces."""

    enable: bool | None = None
    max_selectivity: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None


class IdfScope(str, Enum):
    """The points of the collection, among which an index is rare or frequent."""

    GLOBAL = "global"


class IdfCorpusParams(Strict, frozen=True, kw_only=True):
    """How rare an index is among the points that match a filter, and not in the collection: each
    search looks at the vectors of all of these."""

    corpus: Filter


def _candidates(value: Any) -> Any:
    """0 says nothing, as None."""
    return converter(Annotated[int, Meta(ge=0)])(value) or None


class SearchParams(Model, frozen=True, kw_only=True):
    """How much effort a search makes."""

    hnsw_ef: Annotated[int | None, By(_candidates, "an integer >= 0")] = None
    exact: bool = False
    quantization: QuantizationSearchParams | None = None
    indexed_only: bool = False
    recall: Recall | None = None
    """The share of true neighbours to aim for; None: what the collection says. Searches of an
    index take the cheapest effort that was measured to reach it, those of codes alone as many
    candidates as prove enough. ``hnsw_ef`` (candidates) is taken instead of what that takes; so is
    ``oversampling`` (originals, by codes) if no recall is said.
    """
    acorn: AcornSearchParams | None = None
    idf: IdfScope | IdfCorpusParams | None = None
    """For sparse vectors with ``Modifier.IDF``; None: of the collection."""


class SearchRequest(Model, frozen=True, kw_only=True):
    """One search of ``search_batch``. What ``search`` calls ``query_vector``, ``query_filter``,
    ``search_params`` and ``with_vectors`` is ``vector``, ``filter``, ``params`` and
    ``with_vector`` here, and ``with_payload`` is False if not given, all as in Qdrant."""

    vector: Vector | NamedVector | NamedSparseVector
    limit: Limit
    filter: Filter | None = None
    params: SearchParams | None = None
    offset: Offset = 0
    with_payload: WithPayload = False
    with_vector: WithVector = False
    score_threshold: float | None = None


class Mmr(Model, frozen=True, kw_only=True):
    """Maximal marginal relevance: of the nearest points choose some that differ from each other.

    The nearest comes first. Each next one has the largest ``(1 - diversity) * relevance -
    diversity * likeness``: its similarity to the query, and to the most similar point that was
    chosen before it. Similarities are exact: the inner product for Cosine and Dot, minus the
    squared distance for Euclid, minus the distance for Manhattan. Hits are in the order of the
    choice, with the scores they have without it.
    """

    diversity: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    """0: the nearest, in their order; 1: after the first, only that they differ counts."""
    candidates_limit: Annotated[int, Meta(ge=1, le=16_384)] | None = None
    """From how many of the nearest points is chosen; None: ``limit``, so that what a plain search
    finds is put into another order. All of ``limit + offset`` are chosen from these."""


class NearestQuery(Model, frozen=True, kw_only=True):
    """The points nearest to a vector, or to the point with an id, as without this object; and with
    ``mmr`` a choice of them."""

    nearest: VectorInput
    mmr: Mmr | None = None


class Direction(str, Enum):
    """Of an order."""

    ASC = "asc"
    DESC = "desc"


def _start(value: Any) -> Any:
    dated = isinstance(value, (str, date, np.datetime64))
    return converter(Moment if dated else int | float)(value)


StartFrom = Annotated[
    int | float | date | str | np.datetime64,
    By(_start, "a number, a datetime or an RFC 3339 string"),
]


class OrderBy(Strict, frozen=True, kw_only=True):
    """The order of a value of the payload: numbers, and datetimes, which are strings as filters
    read them, by their microseconds since 1970. Of one value the points are in the order of their
    ids, in the same direction.

    A point without such a value is left out; one with an array of them comes once for each."""

    key: str
    """A path, as in filters."""
    direction: Direction = Direction.ASC
    start_from: StartFrom | None = None
    """The first value that is wanted, and with it what comes after it in this direction."""


OrderByInterface = str | OrderBy


class OrderByQuery(Model, frozen=True, kw_only=True):
    """Points in the order of a value of their payload: a key, or `OrderBy`. The score is 1, and
    ``order_value`` is what a point is placed by."""

    order_by: OrderByInterface


class Sample(str, Enum):
    """How a sample is drawn."""

    RANDOM = "random"


class SampleQuery(Model, frozen=True, kw_only=True):
    """Points drawn by chance, each as likely as any other, in no order; the score is 1. An
    ``offset`` leaves out none."""

    sample: Sample


class Prefetch(Model, frozen=True, kw_only=True):
    """Points to find first, for a query to be made on instead of on all points. Without a
    ``query``: the first in the order of ids. With prefetches of its own, its query is made on
    those."""

    prefetch: list[Prefetch] | Prefetch | None = None
    query: Any = None
    using: str | None = None
    filter: Filter | None = None
    """Besides the filter of the query that it is for."""
    params: SearchParams | None = None
    score_threshold: float | None = None
    limit: Limit = 10
    lookup_from: LookupLocation | None = None


class Fusion(str, Enum):
    """How one list is made of several, which have scores that do not compare."""

    RRF = "rrf"
    """By ranks, as `Rrf` has it."""
    DBSF = "dbsf"
    """By scores: of each list they are moved and scaled so that its mean is 0.5, and three standard
    deviations below and above are 0 and 1. A point gets the sum over the lists it is in."""


class FusionQuery(Model, frozen=True, kw_only=True):
    """The points of all prefetches in one list. A larger score is better, and one that equals the
    ``score_threshold`` suffices."""

    fusion: Fusion


class Rrf(Model, frozen=True, kw_only=True):
    """Reciprocal rank fusion (Cormack, Clarke, Büttcher 2009): a point gets, of each prefetch with
    the weight ``w`` that it is in, at the rank ``r`` from 0, ``1 / ((r + 1) / w + k - 1)``."""

    k: Annotated[int, Meta(ge=1)] | None = None
    """The larger, the less the first ranks are ahead of the others; None: 2."""
    weights: list[float] | None = None
    """As many as there are prefetches; None: each 1. With 0, or less, ranks give nothing."""


class RrfQuery(Model, frozen=True, kw_only=True):
    """`FusionQuery` by ranks, with numbers of its own."""

    rrf: Rrf


class WithLookup(Strict, frozen=True, kw_only=True):
    """Where the points are whose ids are the ids of groups, and what to return of them."""

    collection: str
    with_payload: WithPayload = True
    with_vectors: WithVector = False


WithLookupInterface = str | WithLookup


class QueryRequest(Model, frozen=True, kw_only=True):
    """One search of ``query_batch_points``. Without a ``query``: points in the order of ids. With
    ``prefetch`` it is made on the points found there.

    What ``query_points`` calls ``query_filter``, ``search_params`` and ``with_vectors`` is
    ``filter``, ``params`` and ``with_vector`` here, and ``with_payload`` is False if not given,
    all as in Qdrant."""

    query: Any = None
    using: str | None = None
    filter: Filter | None = None
    params: SearchParams | None = None
    limit: Limit = 10
    offset: Offset = 0
    with_payload: WithPayload = False
    with_vector: WithVector = False
    score_threshold: float | None = None
    prefetch: list[Prefetch] | Prefetch | None = None
    lookup_from: LookupLocation | None = None


def parse_points(value: Any, what: str = "points") -> Batch | list[PointStruct]:
    """Points to write: a Batch, or a list or an iterator of PointStruct."""
    fields = fields_of(value)
    if isinstance(value, PointStruct) or (fields is not None and "id" in fields):
        raise InvalidInputError(f"{what}: expected a list of points, got one point; put it in []")
    if isinstance(value, Iterator):
        value = list(value)
    kind = Batch if isinstance(value, Batch) or fields is not None else list[PointStruct]
    points: Batch | list[PointStruct] = read(kind, value, what)
    return points


def parse_point_id(value: Any, what: str = "id") -> PointId:
    """An id in its canonical form."""
    point_id: PointId = read(ExtendedPointId, value, what)
    return point_id


def parse_order_by(value: Any, what: str = "order_by") -> OrderBy:
    """An order: a key of the payload alone, or OrderBy."""
    order: OrderByInterface = read(OrderByInterface, value, what)
    return OrderBy(key=order) if isinstance(order, str) else order


def parse_prefetch(value: Any, what: str = "prefetch") -> list[Prefetch]:
    """What to find first: one Prefetch, or a list of them; None: nothing."""
    given: list[Prefetch] | Prefetch | None = read(list[Prefetch] | Prefetch | None, value, what)
    if given is None:
        return []
    return given if isinstance(given, list) else [given]


def parse_with_lookup(value: Any, what: str = "with_lookup") -> WithLookup:
    """Where to look up groups: a collection's name alone, or WithLookup."""
    lookup: WithLookupInterface = read(WithLookupInterface, value, what)
    return WithLookup(collection=lookup) if isinstance(lookup, str) else lookup


def parse_points_selector(value: Any, what: str = "points_selector") -> list[PointId] | Filter:
    """The points meant: a list of ids, PointIdsList, Filter or FilterSelector."""
    if isinstance(value, Mapping) and not value:  # what came may be all that is left of a filter
        raise InvalidInputError(
            f"{what}: expected ids or a filter, got an empty dict; Filter() selects all points"
        )
    if isinstance(value, Iterator):  # as retrieve takes it
        value = list(value)
    selected = read(_Selector, value, what)
    if isinstance(selected, PointIdsList):
        return selected.points  # type: ignore[return-value]  # canonical by now
    if isinstance(selected, FilterSelector):
        return selected.filter
    ids_or_filter: list[PointId] | Filter = selected
    return ids_or_filter


def parse_with_payload(value: Any, what: str = "with_payload") -> WithPayload:
    """What of the payload to return; None means nothing of it, an empty list none of its keys."""
    wanted: WithPayload | None = read(WithPayload | None, value, what)
    return False if wanted is None else wanted


def parse_with_vectors(value: Any, what: str = "with_vectors") -> WithVector:
    """Which vectors to return; None means none."""
    wanted: WithVector = read(WithVector | None, value, what) or False
    return wanted


_Selector = list[ExtendedPointId] | PointIdsList | FilterSelector | Filter
