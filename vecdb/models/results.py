"""What callers get back. Mutable, and quick to make: a search creates one per hit."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal

import numpy as np
from msgspec import Struct, field

from vecdb.models.conditions import ExtendedPointId
from vecdb.models.config import CollectionConfig
from vecdb.models.payload_schema import PayloadIndexInfo
from vecdb.models.requests import Payload, VectorStruct


class Result(Struct, forbid_unknown_fields=True):
    """Base of what comes back. Code that was written for Qdrant's pydantic objects finds what it
    most often calls of them."""

    def model_dump(
        self, *, mode: str = "python", by_alias: bool = False, exclude_none: bool = False
    ) -> dict[str, Any]:
        """The fields as plain dicts, lists, numbers and strings. ``mode`` and ``by_alias`` are
        accepted for compatibility."""
        fields: dict[str, Any] = _plain(self, exclude_none)
        return fields

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Names and values of the fields."""
        return ((name, getattr(self, name)) for name in self.__struct_fields__)


def _plain(value: Any, exclude_none: bool) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Struct):
        fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
        return {k: _plain(v, exclude_none) for k, v in fields if not (exclude_none and v is None)}
    if isinstance(value, dict):
        return {key: _plain(each, exclude_none) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each, exclude_none) for each in value]
    return value


OrderValue = int | float


class Record(Result, forbid_unknown_fields=True):
    """A point that was read, without a score."""

    id: ExtendedPointId
    payload: Payload | None = None
    vector: VectorStruct | None = None
    order_value: OrderValue | None = None
    """What the record is placed by, if an order was asked for; a datetime in microseconds since
    1970."""


class ScoredPoint(Result, forbid_unknown_fields=True):
    """A point that was found, with its score."""

    id: ExtendedPointId
    version: int
    score: float
    payload: Payload | None = None
    vector: VectorStruct | None = None
    order_value: OrderValue | None = None
    """As of a `Record`."""


class ScoredArrays(Struct, eq=False):
    """The points nearest to each of ``n`` vectors, a row each, best first."""

    ids: np.ndarray[Any, Any]
    """``uint64 (n, limit)``; text, ``<U36``, if a UUID is among them."""
    scores: np.ndarray[Any, Any]
    """``float32 (n, limit)``."""
    counts: np.ndarray[Any, Any]
    """``int64 (n,)``: how many points were found. Beyond them ids are 0, or no text, and scores
    NaN."""

    def to_dicts(self) -> list[list[dict[str, Any]]]:
        """For each vector the points as ``{"id": …, "score": …}``; ids as other verbs have them."""
        return [
            [{"id": _id_of(i), "score": s} for i, s in zip(ids[:n], scores[:n], strict=True)]
            for ids, scores, n in zip(
                self.ids.tolist(), self.scores.tolist(), self.counts.tolist(), strict=True
            )
        ]


def _id_of(value: int | str) -> int | str:
    """An integer that stands as text among UUIDs, or what is given."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


class SearchMatrixPair(Result, forbid_unknown_fields=True):
    """A point of a sample, one of the points of the sample nearest to it, and their score."""

    a: ExtendedPointId
    b: ExtendedPointId
    score: float


class SearchMatrixPairsResponse(Result, forbid_unknown_fields=True):
    """The nearest neighbours of points of a sample, as pairs."""

    pairs: list[SearchMatrixPair]
    """In the order of ``a``; of each the nearest first."""


class SearchMatrixOffsetsResponse(Result, forbid_unknown_fields=True):
    """The same pairs as a sparse matrix: entry ``i`` is in row ``offsets_row[i]``, column
    ``offsets_col[i]``, and is ``scores[i]``. Rows and columns are positions in ``ids``."""

    offsets_row: list[int]
    offsets_col: list[int]
    scores: list[float]
    ids: list[ExtendedPointId]


class SearchStage(Result, forbid_unknown_fields=True):
    """One step of a search in one segment: by what how many rows were tested or scored, how many
    went on, and why."""

    by: str
    """``filter``, ``condition`` (one in the filter, by itself), ``sketches``, ``codes``,
    ``postings`` (of an inverted index: ``rows`` are these), ``estimates`` (by centroids of tokens),
    ``originals``, ``examples``, ``text``,
    ``mmr``; without scores ``ids``, ``values`` or ``sample``."""
    rows: int
    kept: int
    reason: str


class SegmentSearch(Result, forbid_unknown_fields=True):
    """What a search did in one segment."""

    id: str
    kind: str
    points: int
    stages: list[SearchStage]
    prefetch: str | None = None
    """Which prefetch was searched for, as ``prefetch[0].prefetch[1]``; None: the query itself."""


class QueryResponse(Result, forbid_unknown_fields=True):
    """The points that a query found, best first."""

    points: list[ScoredPoint]
    explanation: list[SegmentSearch] | None = None
    """Segment by segment what was scanned, if asked for with ``explain=True``."""


GroupId = int | str


class PointGroup(Result, forbid_unknown_fields=True):
    """Points that have one value in common, best first."""

    hits: list[ScoredPoint]
    id: GroupId
    """The value."""
    lookup: Record | None = None
    """The point with this id in another collection, if that was asked for and there is one."""


class GroupsResult(Result, forbid_unknown_fields=True):
    """Groups, that of the best point first."""

    groups: list[PointGroup]


FacetValue = bool | int | str


class FacetValueHit(Result, forbid_unknown_fields=True):
    """A value of a field."""

    value: FacetValue
    count: int
    """Points that have it."""


class FacetResponse(Result, forbid_unknown_fields=True):
    """The values of a field, the most frequent first."""

    hits: list[FacetValueHit]


class CountResult(Result, forbid_unknown_fields=True):
    """How many points there are."""

    count: int


class UpdateStatus(str, Enum):
    """How far a write has come."""

    ACKNOWLEDGED = "acknowledged"
    """In the log; it survives a crash, and searches may not see it yet."""
    COMPLETED = "completed"


class UpdateResult(Result, forbid_unknown_fields=True):
    """What became of a write."""

    operation_id: int | None
    status: UpdateStatus
    deleted: int | None = None
    """How many points a deletion took; None: it was none. 0 of any write that had nothing to do."""


class CollectionStatus(str, Enum):
    """Whether a collection is as it is configured."""

    GREEN = "green"
    """Everything is as configured."""
    YELLOW = "yellow"
    """The optimizer is at work."""
    GREY = "grey"
    """There is work for the optimizer, and it has not started."""
    RED = "red"
    """Something failed; see ``optimizer_status``."""


class OptimizersStatusError(Result, forbid_unknown_fields=True):
    """Why the optimizer failed."""

    error: str


class CollectionWarning(Result, forbid_unknown_fields=True):
    """What the configuration has that is unlikely to be meant."""

    message: str


class SearchEffort(Result, forbid_unknown_fields=True):
    """What a recall takes in one segment, as measured when it was built, for ten results."""

    recall: float
    rows: int
    """Sketches that are looked at, in the median."""
    candidates: int
    """Rows that go on from there."""
    survivors: int
    """Of those, rows whose originals are read after codes have ranked them; 0: all."""


class IndexInfo(Result, forbid_unknown_fields=True):
    """The clustered index of one named vector of one segment."""

    partitions: int
    sketch_bytes: int
    bytes_per_vector: float
    """On disk, sketches and all else that the index has."""
    placement: str
    efforts: list[SearchEffort]


class SegmentVectors(Result, forbid_unknown_fields=True):
    """One named vector of one segment, and where it is."""

    bytes: int
    placement: str
    quantization: str | None = None
    codes_placement: str | None = None
    index: IndexInfo | None = None


class SegmentInfo(Result, forbid_unknown_fields=True):
    """One segment: how many rows it has, of which some are dead, and its vectors."""

    id: str
    kind: str
    points: int
    deleted: int
    vectors: dict[str, SegmentVectors] = field(default_factory=dict)


class OptimizerProgress(Result, forbid_unknown_fields=True):
    """What the optimizer does with a collection: now, next, and how often it did something."""

    running: str | None = None
    rows_done: int = 0
    """Rows copied, then encoded once for each quantized vector name."""
    rows_total: int = 0
    pending: str | None = None
    completed: int = 0


class DamagedFile(Result, forbid_unknown_fields=True):
    """A derived file (codes, quantizer, order) that does not match its checksum. Answers stay
    exact without it, and the optimizer writes its segment anew."""

    path: str
    detail: str


class ColumnInfo(Result, forbid_unknown_fields=True):
    """The columns of one field of the payload: what its index is here."""

    automatic: bool
    """Nobody asked for it: filters did."""
    points: int
    """How many points are in segments with a column in a file. Those in memory need none."""
    bytes: int
    """Of the files."""


class CollectionInfo(Result, kw_only=True, forbid_unknown_fields=True):
    """A collection: how many points it has, what it is made of, what is being done with it."""

    status: CollectionStatus
    optimizer_status: Literal["ok"] | OptimizersStatusError
    points_count: int
    vectors_count: int
    indexed_vectors_count: int
    segments_count: int
    wal_bytes: int = 0
    last_operation_id: int = 0
    """That of the last write, as it was answered; 0: there was none."""
    optimizer_progress: OptimizerProgress = field(default_factory=OptimizerProgress)
    config: CollectionConfig
    payload_schema: dict[str, PayloadIndexInfo] = field(default_factory=dict)
    columns: dict[str, ColumnInfo] = field(default_factory=dict)
    """By field: those of ``payload_schema``, and those that got an index by themselves."""
    warnings: list[CollectionWarning] = field(default_factory=list)
    segments: list[SegmentInfo] = field(default_factory=list)
    damaged_files: list[DamagedFile] = field(default_factory=list)


class CollectionDescription(Result, forbid_unknown_fields=True):
    """A collection's name."""

    name: str


class CollectionsResponse(Result, forbid_unknown_fields=True):
    """The collections of a database."""

    collections: list[CollectionDescription]


class SnapshotDescription(Result, forbid_unknown_fields=True):
    """A snapshot: a file with all of a collection."""

    name: str
    creation_time: str | None
    """UTC, ``2024-05-31T12:00:00``."""
    size: int
    checksum: str | None
    """SHA-256 of the file, in hexadecimal."""


class VersionInfo(Result, forbid_unknown_fields=True):
    """What answers."""

    title: str
    version: str
    """Of vecdb, not of Qdrant."""
    commit: str | None = None
