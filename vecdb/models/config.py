"""What a collection is: vectors, quantization, optimizer, index and WAL settings."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from vecdb.errors import InvalidInputError
from vecdb.models.multivectors import MultiVectorConfig, require_float32
from vecdb.models.named import Datatype, vector_name
from vecdb.models.payload_schema import Memory, PayloadFieldSchema
from vecdb.models.quantization import QuantizationConfig, QuantizationConfigDiff
from vecdb.models.reading import (
    By,
    Model,
    Refused,
    converter,
    fields_of,
    known_fields,
    refuse,
)
from vecdb.models.sparse import (
    SparseVectorNameConfig,
    SparseVectorParams,
    params_of,
    require_named,
)
from vecdb.models.validation import Checked, read

MAX_DIMENSIONS = 65536  # Qdrant's own limit

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Ratio = Annotated[float, Meta(ge=0.0, le=1.0)]
Recall = Annotated[float, Meta(gt=0.0, le=1.0)]


class Distance(str, Enum):
    """How vectors are compared. The best score is the largest of ``Cosine`` and ``Dot``, and the
    smallest of the others, which are distances."""

    COSINE = "Cosine"
    EUCLID = "Euclid"
    DOT = "Dot"
    MANHATTAN = "Manhattan"


class HnswConfigDiff(Checked, frozen=True, kw_only=True):
    """What of an index may be said. Its place is what it says; the clustered index has no use for
    the rest, which is accepted and stored for compatibility."""

    m: Count | None = None
    ef_construct: Count | None = None
    full_scan_threshold: Count | None = None
    max_indexing_threads: Count | None = None
    on_disk: bool | None = None
    memory: Memory | None = None
    payload_m: Count | None = None
    inline_storage: bool | None = None


class HnswConfig(Checked, frozen=True, kw_only=True):
    """What a collection says of its indexes, as `HnswConfigDiff`."""

    m: Count = 16
    ef_construct: Count = 100
    full_scan_threshold: Count = 10_000
    max_indexing_threads: Count = 0
    on_disk: bool | None = None
    memory: Memory | None = None
    payload_m: Count | None = None
    inline_storage: bool | None = None


class WalConfigDiff(Checked, frozen=True, kw_only=True):
    """Accepted, checked, stored and shown for compatibility; decides nothing."""

    wal_capacity_mb: Positive | None = None
    wal_segments_ahead: Count | None = None
    wal_retain_closed: Positive | None = None


class WalConfig(Checked, frozen=True, kw_only=True):
    """Accepted, checked, stored and shown for compatibility; decides nothing."""

    wal_capacity_mb: Positive = 32
    wal_segments_ahead: Count = 0
    wal_retain_closed: Positive = 1


class MaxOptimizationThreadsSetting(str, Enum):
    """As many as the database thinks best, which is what not to say it means."""

    AUTO = "auto"


class OptimizersConfigDiff(Checked, frozen=True, kw_only=True):
    """What is said of `OptimizersConfig`; None: what was said before, or its default."""

    deleted_threshold: Ratio | None = None
    vacuum_min_vector_number: Count | None = None
    default_segment_number: Count | None = None
    max_segment_size: Count | None = None
    memmap_threshold: Count | None = None
    indexing_threshold: Count | None = None
    flush_interval_sec: Count | None = None
    max_optimization_threads: Count | MaxOptimizationThreadsSetting | None = None
    prevent_unoptimized: bool | None = None
    recall: Recall | None = None
    automatic_indexes: bool | None = None


class OptimizersConfig(Checked, frozen=True, kw_only=True):
    """Thresholds and sizes are kilobytes of vector data: 1 KB is one 256-d float32 vector."""

    deleted_threshold: Ratio = 0.2
    vacuum_min_vector_number: Count = 1000
    default_segment_number: Count = 0
    """0: one; a search asks each segment in turn."""
    max_segment_size: Count | None = None
    memmap_threshold: Count | None = None
    """None or 0: originals stay in RAM."""
    indexing_threshold: Count = 10_000
    """0: never index."""
    flush_interval_sec: Count = 5
    """So long after the last write, what is left in memory of a large collection is indexed."""
    max_optimization_threads: Count | None = None
    prevent_unoptimized: bool | None = None
    recall: Recall = 0.97
    """What searches aim for that do not say it themselves: the share of true neighbours."""
    automatic_indexes: bool = True
    """A field of the payload that filters keep asking for gets an index by itself."""


class VectorParams(Checked, frozen=True, kw_only=True):
    """The vectors of one name: their size and metric, which stay, and how they are kept."""

    size: Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)]
    distance: Distance
    hnsw_config: HnswConfigDiff | None = None
    quantization_config: QuantizationConfig | None = None
    on_disk: bool | None = None
    memory: Memory | None = None
    """Where originals are kept; it counts more than ``on_disk``."""
    datatype: Datatype | None = None
    multivector_config: MultiVectorConfig | None = None
    """None: a point has one vector of this name."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_float32(self)


class VectorParamsDiff(Checked, frozen=True, kw_only=True):
    """What of a vector may change later."""

    hnsw_config: HnswConfigDiff | None = None
    quantization_config: QuantizationConfigDiff | None = None
    on_disk: bool | None = None
    memory: Memory | None = None


def _may_be_params(value: Any) -> bool:
    return isinstance(value, VectorParams) or fields_of(value) is not None


def _vectors_config(value: Any) -> Any:
    one = converter(VectorParams)
    if isinstance(value, VectorParams):
        return one(value)
    fields = fields_of(value)
    if fields is None:
        raise refuse("VectorParams or a dict of name to VectorParams", value)
    size = fields.get("size")  # of one vector; or what a vector is that has this name
    if (size is not None and not _may_be_params(size)) or not isinstance(value, dict):
        return one(fields)
    named = {}
    for name, params in fields.items():
        vector_name(name)
        if not _may_be_params(params):
            if known_fields(VectorParams)[0].keys() & fields.keys():
                return one(fields)  # without its size, and not a vector called "distance"
            raise refuse("VectorParams or its dict", params).under(f"[{name!r}]")
        try:
            named[name] = one(params)
        except Refused as refused:
            raise refused.under(f"[{name!r}]") from None
    return named[""] if list(named) == [""] else named


VectorsConfig = Annotated[
    VectorParams | dict[str, VectorParams],
    By(_vectors_config, "VectorParams or a dict of name to VectorParams"),
]


class DenseVectorConfig(Checked, frozen=True, kw_only=True):
    """A vector that comes to a collection that is there."""

    size: Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)]
    distance: Distance
    multivector_config: MultiVectorConfig | None = None
    datatype: Datatype | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_float32(self)


class DenseVectorNameConfig(Checked, frozen=True, kw_only=True):
    """What ``create_vector_name`` takes for vectors that are not sparse."""

    dense: DenseVectorConfig


def _sparse_vectors(value: Any) -> Any:
    if value is None:
        return None
    named = converter(dict[str, SparseVectorParams])(_none_is_empty(value))
    for name in named:
        vector_name(name)
        require_named(name)
    return named or None


def _none_is_empty(value: Any) -> Any:
    """A name of which nothing is said has parameters of which nothing is said."""
    fields = fields_of(value)
    if fields is None:
        return value
    return {name: {} if params is None else params for name, params in fields.items()}


SparseVectorsConfig = Annotated[
    dict[str, SparseVectorParams] | None,
    By(_sparse_vectors, "a dict of name to SparseVectorParams"),
]


class PayloadStorageParams(Checked, frozen=True, kw_only=True):
    """Where payloads are kept."""

    memory: Memory | None = None
    """It counts more than ``on_disk_payload``."""


class IdTrackerParams(Checked, frozen=True, kw_only=True):
    """Where ids and versions are kept."""

    memory: Memory | None = None


class CollectionParams(Checked, frozen=True, kw_only=True):
    """The vectors of a collection, and where payloads and ids are kept."""

    vectors: VectorsConfig
    sparse_vectors: SparseVectorsConfig = None
    """By name; None: vectors are dense."""
    on_disk_payload: bool | None = None
    payload: PayloadStorageParams | None = None
    id_tracker: IdTrackerParams | None = None

    def _problem(self) -> str | None:
        dense = {} if isinstance(self.vectors, VectorParams) else self.vectors
        for name in self.sparse_vectors or ():
            if name in dense:
                return f"expected other names for sparse vectors than for dense ones, got {name!r}"
        return None

    # What programs written for Qdrant look for. A collection is in one piece, here.

    @property
    def shard_number(self) -> int:
        """1."""
        return 1

    @property
    def sharding_method(self) -> None:
        """None: there is nothing to decide."""

    @property
    def replication_factor(self) -> int:
        """1."""
        return 1

    @property
    def write_consistency_factor(self) -> int:
        """1."""
        return 1


class CollectionConfig(Checked, frozen=True, kw_only=True):
    """Everything that is configured of a collection."""

    params: CollectionParams
    hnsw_config: HnswConfig = HnswConfig()
    optimizer_config: OptimizersConfig = OptimizersConfig()
    wal_config: WalConfig = WalConfig()
    quantization_config: QuantizationConfig | None = None
    payload_schema: dict[str, PayloadFieldSchema] | None = None
    """By field; None: nothing was said of any."""
    metadata: dict[str, Any] | None = None
    """Whatever the collection's owner wants to keep with it."""

    @property
    def strict_mode_config(self) -> None:
        """None: nothing is limited. Qdrant has one."""


M = TypeVar("M", bound=Model)


def merge(base: M, diff: Model) -> M:
    """``base`` with the fields that ``diff`` sets: ``merge(OptimizersConfig(), diff)``."""
    changes = {name: getattr(diff, name) for name in diff.__struct_fields__}
    changes = {name: value for name, value in changes.items() if value is not None}
    for name, value in changes.items():
        if value is MaxOptimizationThreadsSetting.AUTO:
            changes[name] = None
    return msgspec.structs.replace(base, **changes)


def parse_vectors_config(
    value: Any, what: str = "vectors_config"
) -> VectorParams | dict[str, VectorParams]:
    """One VectorParams, or name to VectorParams. A dict with a ``size`` is one VectorParams,
    unless that is a vector's itself; None is no vectors."""
    given = {} if value is None else value
    vectors: VectorParams | dict[str, VectorParams] = read(VectorsConfig, given, what)
    return vectors


def parse_sparse_vectors_config(
    value: Any, what: str = "sparse_vectors_config"
) -> dict[str, SparseVectorParams] | None:
    """Name to SparseVectorParams; None, as an empty dict, is no sparse vectors."""
    sparse: dict[str, SparseVectorParams] | None = read(SparseVectorsConfig, value, what)
    return sparse


def changed_sparse_vectors(
    known: dict[str, SparseVectorParams] | None,
    value: Any,
    what: str = "sparse_vectors_config",
) -> dict[str, SparseVectorParams] | None:
    """The sparse vectors of a collection with what an update says of some. What it does not say
    stays. Raises InvalidInputError for a name that is not there."""
    changed = dict(known or {})
    for name, given in (parse_sparse_vectors_config(value, what) or {}).items():
        if name not in changed:
            there = ", ".join(map(repr, changed)) or "none"
            raise InvalidInputError(
                f"{what}: there is no sparse vector {name!r}; this collection has {there}"
            )
        old = changed[name]
        if given.index is not None and old.index is not None:
            given = merge(given, SparseVectorParams(index=merge(old.index, given.index)))
        changed[name] = merge(old, given)
    return changed or None


def parse_vector_name_config(
    value: Any, what: str = "vector_name_config"
) -> VectorParams | SparseVectorParams:
    """What ``create_vector_name`` says of a vector."""
    given = read(DenseVectorNameConfig | SparseVectorNameConfig, value, what)
    if isinstance(given, SparseVectorNameConfig):
        return params_of(given.sparse)
    dense = given.dense
    return VectorParams(
        size=dense.size,
        distance=dense.distance,
        datatype=dense.datatype,
        multivector_config=dense.multivector_config,
    )
